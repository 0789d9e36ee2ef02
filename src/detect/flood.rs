//! Floods at one address.
//!
//! Method: per victim and kind of packet, all packets of one second that belong
//! to no answered conversation ([`super::kind`]) are held against the absolute
//! threshold, those that nobody answered against the lower one twice in a row
//! ([`super::rate_rule`]). Defaults: ATT&CK PacketRateThreshold 10,000
//! packets/s; answer ratio 0.05 and the type by a share over 0.9 after
//! FastNetMon. Feeds AN0972 when a home address sends; AN0971 and AN0083 then
//! stay possible, since no process or container was seen.
//!
//! Limits: a burst of less than 10,000 packets that is over within one second
//! opens nothing, however short it was, since a rate is what one window counts;
//! nor does anything under 1,000 packets/s, whatever it is called. A one-way
//! stream over 1,000 packets/s that nobody answers (media without RTCP, a
//! one-way iperf, a busy flow exporter) does: to be documented, not muted. Where a second has more pairs than the window may hold, a victim is
//! judged as a whole; a SYN flood under 10,000 packets/s can then hide behind
//! other traffic of the same victim.

use std::collections::BTreeMap;

use serde_json::json;

use super::kind::Kind;
use super::rate_rule::RateRule;
use super::victims::{Measure, Peers, Victim};
use super::{
    Context, Detector, Direction, Finding, Peer, PeerRole, PortShare, Rule, Shape, Subject, Window,
};
use crate::alert::Entity;
use crate::engine::window::{Host, HostStats, Slice, Station};

/// Floods over protocols without connections: UDP, ICMP, GRE, other IP.
#[derive(Debug, Default)]
pub struct StatelessFlood {
    rule: RateRule<(Kind, Host)>,
}

/// Floods of TCP packets by their flags.
#[derive(Debug, Default)]
pub struct TcpFlood {
    rule: RateRule<(Kind, Host)>,
    /// SYNs and other probes of pairs that look like a fast scan, while it
    /// lasts without a pause.
    scan_like: BTreeMap<(Kind, Host), (i64, u64)>,
}

/// Floods of fragments, whatever protocol they are said to carry.
#[derive(Debug, Default)]
pub struct FragmentFlood {
    rule: RateRule<(Kind, Host)>,
}

impl Detector for StatelessFlood {
    fn name(&self) -> &'static str {
        "stateless_flood"
    }

    fn observe(&mut self, window: &Window<'_>, ctx: &Context<'_>, out: &mut Vec<Finding>) {
        self.rule.begin();
        for victim in &window.victims {
            for measure in &victim.kinds {
                if !measure.kind.stateless() || measure.kind == Kind::Fragment {
                    continue;
                }
                let finding = finding(window.slice, victim, measure, ctx);
                self.rule.offer((measure.kind, victim.host), finding, ctx, out);
            }
        }
    }
}

impl Detector for FragmentFlood {
    fn name(&self) -> &'static str {
        "fragment_flood"
    }

    fn observe(&mut self, window: &Window<'_>, ctx: &Context<'_>, out: &mut Vec<Finding>) {
        self.rule.begin();
        for victim in &window.victims {
            for measure in victim.kinds.iter().filter(|m| m.kind == Kind::Fragment) {
                let mut finding = finding(window.slice, victim, measure, ctx);
                // The attack is that of its protocol; fragments name it when
                // they are nearly all of it.
                let main = Kind::ALL
                    .into_iter()
                    .filter(|&kind| kind != Kind::Fragment)
                    .max_by_key(|kind| kind.count(&victim.stats.tally));
                let of_main = main.map_or(0, |kind| kind.count(&victim.stats.tally));
                finding.family = main.unwrap_or(Kind::Udp).family();
                let typed = measure.count as f64 > ctx.settings.typing_share * of_main as f64;
                finding.precedence = if typed { 1 } else { 3 };
                self.rule.offer((measure.kind, victim.host), finding, ctx, out);
            }
        }
    }
}

impl Detector for TcpFlood {
    fn name(&self) -> &'static str {
        "tcp_flood"
    }

    fn observe(&mut self, window: &Window<'_>, ctx: &Context<'_>, out: &mut Vec<Finding>) {
        self.rule.begin();
        let second = window.slice.second();
        let mut scan_like = BTreeMap::new();
        for victim in &window.victims {
            let tcp = victim.kinds.iter().filter(|m| m.kind.family() == super::Family::Tcp);
            let largest = tcp.clone().map(|m| m.judged.flood).max().unwrap_or(0);
            for measure in tcp {
                let key = (measure.kind, victim.host);
                let mut finding = finding(window.slice, victim, measure, ctx);
                // Several flag sets at one victim are one attack, named by the
                // largest.
                finding.precedence = if measure.judged.flood == largest { 2 } else { 3 };
                let hidden = measure.judged.flood - measure.judged.unanswered;
                if hidden >= ctx.settings.unanswered_rate_threshold {
                    let before = self.scan_like.get(&key).filter(|(at, _)| at + 1 == second);
                    let total = before.map_or(0, |&(_, total)| total) + hidden;
                    scan_like.insert(key, (second, total));
                    if total > TWO_PROBES_OF_EVERY_PORT {
                        finding.unanswered = measure.judged.flood;
                    }
                }
                self.rule.offer(key, finding, ctx, out);
            }
        }
        self.scan_like = scan_like;
    }
}

/// More probes in a row than this are no scan of one target.
const TWO_PROBES_OF_EVERY_PORT: u64 = 2 * 65_536;

/// Share of a flood that one source must send for the alert to be about it.
const MAIN_SOURCE: f64 = 0.5;

/// Sources from which a flood with hardly a packet from each is spoofed.
const SPOOFED_SOURCES: u64 = 100;
const SPOOFED_PACKETS_A_SOURCE: u64 = 10;

fn finding(slice: &Slice, victim: &Victim, measure: &Measure, ctx: &Context<'_>) -> Finding {
    let target = Target {
        subject: Subject::Host(victim.host),
        entity: Entity::address(&victim.host),
        is_home: ctx.settings.home_nets.contains(&victim.host),
        name: json!(victim.host.ip()),
        stats: &victim.stats,
        estimated: victim.estimated,
    };
    let mut finding = describe(slice, &target, measure, ctx);
    finding.peers.insert(
        0,
        Peer {
            host: victim.host,
            role: PeerRole::Destination,
            packets: Some(measure.judged.flood),
            wire_bytes: Some(measure.traffic.wire_bytes),
        },
    );
    finding
}

/// What a flood goes to.
pub(crate) struct Target<'a> {
    pub subject: Subject,
    pub entity: Entity,
    pub is_home: bool,
    pub name: serde_json::Value,
    pub stats: &'a HostStats,
    pub estimated: bool,
}

/// The finding of a flood whose measured peers are its sources.
pub(crate) fn describe(
    slice: &Slice,
    target: &Target<'_>,
    measure: &Measure,
    ctx: &Context<'_>,
) -> Finding {
    let (kind, peers) = (measure.kind, &measure.peers);
    let (flood, sources) = (measure.judged.flood, peers.distinct.max(1));
    let spoofed = sources >= SPOOFED_SOURCES
        && flood / sources <= SPOOFED_PACKETS_A_SOURCE
        && measure.judged.unanswered * 10 >= flood * 9;
    let main = peers
        .top
        .first()
        .filter(|top| !spoofed && top.packets as f64 >= MAIN_SOURCE * flood as f64);
    let home_source = main.filter(|top| ctx.settings.home_nets.contains(&top.host));
    let station =
        (spoofed && !target.is_home).then(|| spoofing_station(slice, flood, ctx)).flatten();
    let entity = match (home_source, station) {
        (Some(source), _) => Entity::address(&source.host),
        (None, Some(station)) => Entity::station(&station),
        (None, None) => target.entity.clone(),
    };
    let one =
        main.is_some_and(|top| top.packets as f64 >= ctx.settings.typing_share * flood as f64);
    Finding {
        home_sender: home_source.is_some(),
        stateless: ctx.is_stateless(kind),
        kind: kind.name(),
        direction: Direction::new(peers.home_packets * 2 >= flood.max(1), target.is_home),
        shape: if one { Shape::OneToOne } else { Shape::ManyToOne },
        traffic: measure.traffic.clone(),
        unanswered: measure.judged.unanswered,
        answer_ratio: (!ctx.one_sided).then(|| super::round3(measure.answer_ratio())),
        sources: peers.distinct,
        spoofed_sources: spoofed,
        estimated: target.estimated,
        src_port: PortShare::of(&target.stats.src_port),
        dst_port: PortShare::of(&target.stats.dst_port),
        peers: peer_list(peers, PeerRole::Source),
        details: [
            ("victim", target.name.clone()),
            ("distinct_ports", json!(target.stats.ports.estimate())),
        ]
        .into(),
        ..Finding::new(
            kind.detector(),
            kind.family(),
            slice.second(),
            target.subject,
            entity,
            Rule::NONE,
        )
    }
}

pub(crate) fn peer_list(peers: &Peers, role: PeerRole) -> Vec<Peer> {
    let exact = peers.top.iter().map(|sum| Peer {
        host: sum.host,
        role,
        packets: Some(sum.packets),
        wire_bytes: Some(sum.wire_bytes),
    });
    let sampled =
        peers.sample.iter().map(|&host| Peer { host, role, packets: None, wire_bytes: None });
    exact.chain(sampled).collect()
}

/// The one station that can have sent a spoofed flood to an outside address:
/// it carries at least as many packets, and most addresses behind it are not
/// ours.
fn spoofing_station(slice: &Slice, flood: u64, ctx: &Context<'_>) -> Option<Station> {
    let mut stations = slice.stations().table().iter().filter(|(station, stats)| {
        let outside =
            stats.sample.iter().filter(|host| !ctx.settings.home_nets.contains(host)).count();
        station.mac.is_some()
            && stats.packets * 10 >= flood * 9
            && stats.sources.estimate() >= SPOOFED_SOURCES / 2
            && outside * 2 > stats.sample.iter().count()
    });
    let station = *stations.next()?.0;
    stations.next().is_none().then_some(station)
}
