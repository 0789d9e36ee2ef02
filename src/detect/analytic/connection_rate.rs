//! `connection_rate`: a process or workload that opens more connections a second than
//! any client does (AN0083 of a workload; the address's own floods are
//! `connection_flood`'s, which sees who answers).
//!
//! Method: SYNs sent in one second at `empty_connection_rate_threshold` (ntopng: 256
//! flows/s of a host) or more, in [`SECONDS`] of the last fifteen
//! (`burst_time_window_s`). The score adds how many times that it is, whether it goes to
//! one peer, and what nobody answers: a refusal (RST) is an answer here, as in all that is
//! told of processes, and none to `tcp_syn_flood`, which asks for a handshake.
//!
//! Proxies, crawlers and load tests open as many: without one peer that does not answer
//! it is informational.
//!
//! Limits: what a connection is held open for is not seen here. Memory: those over in
//! the last seconds, at most [`MAX_ENTITIES`]; beyond, further ones wait.

use std::collections::BTreeMap;

use serde_json::json;

use super::process_context::subject;
use super::{Analytic, AnalyticContext, Event, EventKind, about};
use crate::alert::{Case, DecidedBy, Entity, EntityKind, Score, Severity, Term, thousands};
use crate::detect::{Act, Busiest, Finding, Peer, PeerRole, Rule, Shape, round3};
use crate::entity::SecondOf;

#[derive(Debug, Default)]
pub(super) struct ConnectionRate {
    over: BTreeMap<Entity, Over>,
    refused: u64,
}

/// Seconds of an entity that were over.
#[derive(Debug)]
struct Over {
    /// The last one.
    last_s: i64,
    /// A bit for each of the 64 up to it.
    bits: u64,
    /// Ports that it opened connections to, with the last second of each.
    ports: BTreeMap<u16, i64>,
    /// The last second of which they are not all there.
    unknown_s: Option<i64>,
}

/// Ports of an entity's seconds that are told apart; whoever opens to more is a scanner.
const PORTS: usize = 16;

const MAX_ENTITIES: usize = 4_096;
const SECONDS: u32 = 5;
const ALERTS_FROM: f64 = 30.0;

const FORMULA: &str = "SYN sent in one second by a process or workload >= empty_connection_rate_threshold, in 5 \
    seconds of burst_time_window_s";

impl Analytic for ConnectionRate {
    fn name(&self) -> &'static str {
        "connection_rate"
    }

    fn looks_at(&self) -> &'static [EventKind] {
        &[EventKind::Second]
    }

    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        let Event::Second { second, entities } = event else { return };
        let threshold = ctx.settings.empty_connection_rate_threshold;
        let window = ctx.settings.burst_time_window_s.clamp(u64::from(SECONDS), 64);
        for entity in entities.iter().filter(|entity| {
            matches!(entity.who.entity.kind, EntityKind::Process | EntityKind::Workload)
                && entity.syn_sent >= threshold
        }) {
            let (seconds, ports) = self.count(entity, *second, window);
            if seconds >= SECONDS {
                let over = (seconds, threshold, ports);
                out.extend(finding(entity, *second, over, ctx));
            }
        }
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

impl ConnectionRate {
    /// Seconds of the window that were over, this one included, and the ports of all of
    /// them; none where one may be missing.
    fn count(&mut self, of: &SecondOf, second: i64, window: u64) -> (u32, Vec<u16>) {
        let entity = &of.who.entity;
        if self.over.len() >= MAX_ENTITIES && !self.over.contains_key(entity) {
            self.over.retain(|_, over| second.saturating_sub(over.last_s) < 64);
            if self.over.len() >= MAX_ENTITIES {
                self.refused += 1;
                return (0, Vec::new());
            }
        }
        let over = self.over.entry(entity.clone()).or_insert_with(|| Over::new(second));
        over.add(second);
        let ports = over.ports_of(of, second, window);
        ((over.bits & (u64::MAX >> (64 - window))).count_ones(), ports)
    }
}

impl Over {
    fn new(second: i64) -> Self {
        Self { last_s: second, bits: 0, ports: BTreeMap::new(), unknown_s: None }
    }

    fn add(&mut self, second: i64) {
        let by = second.saturating_sub(self.last_s).max(0);
        self.bits = if by < 64 { self.bits << by } else { 0 } | 1;
        self.last_s = second.max(self.last_s);
    }

    /// Adds those of this second.
    fn ports_of(&mut self, of: &SecondOf, second: i64, window: u64) -> Vec<u16> {
        let from = second.saturating_sub(window.cast_signed());
        self.ports.retain(|_, last_s| *last_s > from);
        match of.ports.much() {
            Some(ports) => self.ports.extend(ports.into_iter().map(|port| (port, second))),
            None => self.unknown_s = Some(second),
        }
        while self.ports.len() > PORTS {
            self.ports.pop_last();
            self.unknown_s = Some(second);
        }
        match self.unknown_s.is_some_and(|unknown_s| unknown_s > from) {
            true => Vec::new(),
            false => self.ports.keys().copied().collect(),
        }
    }
}

fn finding(
    entity: &SecondOf,
    second: i64,
    (seconds, threshold, ports): (u32, u64, Vec<u16>),
    ctx: &AnalyticContext<'_>,
) -> Option<Finding> {
    let packets = entity.sent.packets.max(1) as f64;
    let one_peer = entity.top_peer.map_or(0.0, |(_, packets_to)| packets_to as f64 / packets);
    let unanswered = entity.unanswered_packets as f64 / packets;
    let times = entity.syn_sent as f64 / threshold.max(1) as f64;
    let score = Score::of(
        vec![
            Term::doubling("times_threshold", times, 0.0, 8.0, 50.0),
            Term::new("one_peer", one_peer, 0.5, 1.0, 20.0),
            Term::new("unanswered_share", unanswered, 0.2, 0.9, 30.0),
        ],
        ALERTS_FROM,
    );
    let enough = score.alerts() && score.dimensions() >= 2;
    if !ctx.decide("connection_rate", &entity.who, second, &score, enough) {
        return None;
    }
    let rule = Rule {
        name: "empty_connection_rate_threshold",
        threshold,
        unit: "connections/s",
        formula: FORMULA,
    };
    let who = &entity.who;
    let span = (second.saturating_sub(i64::from(seconds) - 1), second);
    let mut finding = about("connection_rate", who, span, rule, score, ctx.seed);
    finding.kind = "tcp_syn";
    finding.measured = entity.syn_sent;
    finding.traffic.packets = entity.sent.packets;
    finding.traffic.wire_bytes = entity.sent.wire_bytes;
    finding.traffic.payload_bytes = entity.sent.payload_bytes;
    finding.traffic.sizes = entity.sent.sizes;
    finding.busiest = Some(Busiest {
        second,
        packets: entity.sent.packets,
        wire_bytes: entity.sent.wire_bytes,
        payload_bytes: entity.sent.payload_bytes,
        unanswered: entity.unanswered_packets,
    });
    finding.unanswered = entity.unanswered_packets;
    finding.shape = if one_peer >= 0.9 { Shape::OneToOne } else { Shape::OneToMany };
    finding.peers = entity
        .top_peer
        .iter()
        .map(|&(host, packets)| Peer {
            host,
            role: PeerRole::Destination,
            packets: Some(packets),
            wire_bytes: None,
        })
        .collect();
    finding.to_ports = ports;
    finding.act = entity.own.map(|(from, _)| Act {
        from,
        to: entity.top_peer.filter(|_| one_peer >= 0.5).map(|(host, _)| host),
        packets: None,
        wire_bytes: None,
    });
    finding.details.extend([
        ("connections_per_s", json!(entity.syn_sent)),
        ("seconds", json!(seconds)),
        ("unanswered_share", json!(round3(unanswered))),
        ("remote_port", json!(entity.remote_port)),
    ]);
    let case = finding.case.as_mut()?;
    fill(case, entity, one_peer >= 0.5 && unanswered >= 0.5, ctx);
    case.summary = format!(
        "{} opens {} connections/s (threshold {}), in {seconds} of the last seconds, {:.0} % of the packets to one \
         address, {:.0} % in flows without any packet back, not even a RST.",
        subject(who),
        thousands(entity.syn_sent),
        thousands(threshold),
        one_peer * 100.0,
        unanswered * 100.0,
    );
    Some(finding)
}

fn fill(case: &mut Case, entity: &SecondOf, flood: bool, ctx: &AnalyticContext<'_>) {
    case.decided_by = DecidedBy::AbsoluteThreshold;
    case.confident("rate_over_the_threshold", 0.4);
    if flood {
        case.confident("one_peer_that_does_not_answer", 0.1);
    }
    case.missing.push("baseline");
    if entity.who.workload.is_some() {
        case.analytics.push("AN0083");
    } else {
        case.possible_analytics.push("AN0083");
    }
    if entity.who.entity.kind == EntityKind::Process {
        case.analytics.push("AN0971");
    }
    case.baseline_days =
        ctx.baselines.profile(&entity.who.baseline).map_or(0.0, |known| known.days());
    (case.severity, case.severity_reason) = match flood {
        true => {
            (Severity::Medium, "Medium: connections to one address that hardly answers.".to_owned())
        }
        false => (
            Severity::Informational,
            "Informational: many connections, as proxies, crawlers and load tests open.".to_owned(),
        ),
    };
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::*;
    use crate::detect::analytic::testing::{Bench, process, workload};
    use crate::engine::window::{Delta, Host, Seed};
    use crate::entity::{Ledger, LedgerLimits, Leg, View, Who};
    use crate::packet::PacketClass;

    fn run(syn: u32, answered: bool, seconds: i64) -> Vec<Finding> {
        run_of(|| workload("app", "app:1"), syn, answered, seconds)
    }

    fn run_of(who: impl Fn() -> Arc<Who>, syn: u32, answered: bool, seconds: i64) -> Vec<Finding> {
        run_to(who, |_| 80, syn, answered, seconds)
    }

    fn run_to(
        who: impl Fn() -> Arc<Who>,
        port: impl Fn(i64) -> u16,
        syn: u32,
        answered: bool,
        seconds: i64,
    ) -> Vec<Finding> {
        let mut bench = Bench::new(ConnectionRate::default());
        let mut ledger = Ledger::new("packets".into(), LedgerLimits::default(), Seed::default());
        let own: Host = IpAddr::from([10, 0, 0, 1]).into();
        let peer: Host = IpAddr::from([203, 0, 113, 9]).into();
        let mut found = Vec::new();
        for second in 0..seconds {
            ledger.begin(second);
            let id = ledger.id(1, &who).unwrap();
            let port = port(second);
            let mut sent = Delta::new(own, peer, 6, 40_000, port);
            sent.classes[PacketClass::TcpSyn as usize] = syn;
            sent.wire_bytes = u64::from(syn) * 60;
            let mut received = Delta::new(peer, own, 6, port, 40_000);
            received.classes[PacketClass::TcpSynAck as usize] = if answered { syn } else { 0 };
            let view = View {
                second,
                peer,
                external: true,
                proto: 6,
                local_port: 40_000,
                remote_port: port,
                leg: Leg::Opened,
                sent: &sent,
                received: &received,
                scale: 1,
            };
            ledger.add(id, &view);
            let entities = ledger.second();
            found.extend(bench.see(&Event::Second { second, entities: &entities }));
        }
        found
    }

    #[test]
    fn a_workload_that_floods_one_address_is_an_alert_after_five_seconds() {
        let found = run(600, false, 6);
        assert_eq!(found.len(), 2);
        let case = found[0].case.as_ref().unwrap();
        assert_eq!((case.severity, &*case.analytics), (Severity::Medium, &["AN0083"][..]));
        let answered = run(600, true, 6);
        assert!(
            answered.iter().all(|finding| {
                finding.case.as_ref().unwrap().severity == Severity::Informational
            })
        );
    }

    /// `tcp_syn_flood` says of it that there is no SYN-ACK.
    #[test]
    fn a_refusal_is_said_to_be_an_answer() {
        let [answered, silent] = [true, false].map(|answered| {
            let found = run(600, answered, 5);
            found[0].case.as_ref().unwrap().summary.clone()
        });
        let words = "% in flows without any packet back, not even a RST.";
        assert!(answered.contains(&format!(" 0 {words}")), "{answered}");
        assert!(silent.contains(&format!(" 100 {words}")), "{silent}");
    }

    #[test]
    fn a_process_is_named() {
        let found = run_of(|| process("/usr/bin/wrk"), 600, false, 5);
        let summary = &found[0].case.as_ref().unwrap().summary;
        assert!(summary.starts_with("wrk (pid 7) opens 600 connections/s"), "{summary}");
    }

    #[test]
    fn ports_of_all_seconds_that_it_rests_on_are_named() {
        let ports = |port: fn(i64) -> u16, seconds| {
            let found = run_to(|| workload("app", "app:1"), port, 600, false, seconds);
            found.last().unwrap().to_ports.clone()
        };
        assert_eq!(ports(|_| 443, 5), [443]);
        assert_eq!(ports(|second| if second == 0 { 22 } else { 443 }, 5), [22, 443]);
        assert_eq!(ports(|second| if second == 0 { 22 } else { 443 }, 40), [443], "long over");
        let many = |second: i64| 1_000 + (second % 20) as u16;
        assert_eq!(ports(many, 15).len(), 15);
        let unknown = |second: i64| if second == 3 { 0 } else { 443 };
        assert!(ports(unknown, 10).is_empty());
        assert_eq!(ports(unknown, 40), [443]);
    }

    #[test]
    fn clients_and_bursts_are_none() {
        assert!(run(200, false, 60).is_empty());
        assert!(run(2_000, false, 4).is_empty());
    }
}
