//! Reflection and amplification: seen from the victim and from the reflector.
//!
//! Method (ports of US-CERT TA14-017A and since). The port
//! alone decides nothing:
//! - Victim: responses of one amplifying port, at least 1,000 packets/s, that
//!   the receiver did not ask for (requests under a tenth of responses). From
//!   50 reflectors on that is proof enough in one second; from fewer it takes
//!   the flood rule, and payloads that an amplifier sends.
//! - Victim, any other port: at least 50 sources, 90 % of the packets from one
//!   source port, payloads over 100 bytes, unanswered.
//! - Victim, TCP: SYN-ACKs that nobody asked for, from 50 sources on.
//! - Reflector: response payload at least ten times the request payload
//!   (the measured amplification factor) at 1,000 responses/s or 10 Mbit/s, in
//!   two seconds in a row. A home reflector feeds AN0972.
//!
//! In a one-sided capture requests are not seen: then only the absolute
//! threshold counts, and no reflector is called.

use std::collections::BTreeMap;

use serde_json::json;

use super::flood::peer_list;
use super::kind::Kind;
use super::rate_rule::RateRule;
use super::victims::{Measure, Victim};
use super::{
    Context, Detector, Direction, Family, Finding, Peer, PeerRole, PortShare, Rule, Shape, Subject,
    Traffic, Window,
};
use crate::alert::Entity;
use crate::engine::window::{
    Host, SIZE_BINS, ServiceSide, ServiceStats, Slice, amplifier_name, size_bin,
};

#[derive(Debug, Default)]
pub struct Reflection {
    rule: RateRule<(Host, u16)>,
    /// Reflectors of the window before.
    reflectors: BTreeMap<(Host, u16), Finding>,
}

/// Requests by responses from which the responses count as asked for.
const ASKED_SHARE: u64 = 10;

/// Mean payload from which a few sources count as amplifiers: requests and
/// plain floods are smaller (TA14-017A: factors from 3.8 on requests of 40 to
/// 60 bytes).
const AMPLIFIED_PAYLOAD_BYTES: u64 = 200;

/// The same for an unlisted port with many sources.
const UNLISTED_PAYLOAD_BYTES: u64 = 100;

/// Response bytes a second that make a reflector worth an alert: 10 Mbit/s.
pub(super) const REFLECTOR_BYTES_A_SECOND: u64 = 1_250_000;

const MANY_REFLECTORS: &str = "unasked responses of one second >= unanswered_rate_threshold from \
                               >= reflectors sources; unasked: requests < responses / 10";

const REFLECTOR: &str = "response payload bytes / request payload bytes >= amplification at \
                         >= unanswered_rate_threshold responses/s or 10 Mbit/s, two seconds in a row";

impl Detector for Reflection {
    fn name(&self) -> &'static str {
        "reflection"
    }

    fn observe(&mut self, window: &Window<'_>, ctx: &Context<'_>, out: &mut Vec<Finding>) {
        self.rule.begin();
        let slice = window.slice;
        for victim in &window.victims {
            for measure in &victim.kinds {
                match measure.kind {
                    Kind::Udp => self.judge_udp(slice, victim, measure, ctx, out),
                    Kind::TcpSynAck => judge_synack(slice, victim, measure, ctx, out),
                    _ => {}
                }
            }
        }
        self.judge_reflectors(slice, ctx, out);
    }
}

/// Responses of one port at one victim.
struct Responses {
    port: u16,
    packets: u64,
    wire_bytes: u64,
    payload_bytes: u64,
    requests: u64,
    reflectors: u64,
    listed: bool,
}

impl Reflection {
    fn judge_udp(
        &mut self,
        slice: &Slice,
        victim: &Victim,
        measure: &Measure,
        ctx: &Context<'_>,
        out: &mut Vec<Finding>,
    ) {
        for responses in responses_to(slice, victim, measure, ctx) {
            let floor = ctx.settings.unanswered_rate_threshold;
            let asked = !ctx.one_sided && responses.requests * ASKED_SHARE >= responses.packets;
            if responses.packets < floor || asked {
                continue;
            }
            let mut finding = finding(slice, victim, measure, ctx);
            describe_responses(&mut finding, &responses, measure);
            let many = responses.reflectors >= ctx.settings.reflectors;
            if many && !ctx.one_sided {
                finding.opens = true;
                finding.rule = many_rule(ctx);
                finding.measured = responses.packets;
                out.push(finding);
            } else if responses.payload_bytes >= AMPLIFIED_PAYLOAD_BYTES * responses.packets {
                finding.unanswered = responses.packets;
                self.rule.offer((victim.host, responses.port), finding, ctx, out);
            }
        }
    }

    fn judge_reflectors(&mut self, slice: &Slice, ctx: &Context<'_>, out: &mut Vec<Finding>) {
        let before = std::mem::take(&mut self.reflectors);
        if ctx.one_sided {
            return;
        }
        let Some(services) = slice.services() else { return };
        let mut loud: Vec<_> = services
            .iter()
            .filter(|(key, stats)| {
                let rate = u64::from(stats.responses) >= ctx.settings.unanswered_rate_threshold
                    || stats.response_wire_bytes >= REFLECTOR_BYTES_A_SECOND;
                key.side == ServiceSide::Server
                    && rate
                    && stats.request_bytes > 0
                    && amplification(stats) >= ctx.settings.amplification
            })
            .collect();
        loud.sort_unstable_by_key(|(key, _)| **key);
        for (key, stats) in loud {
            let mut finding = reflector(slice, &key.host, key.port, stats, ctx);
            let previous = before
                .get(&(key.host, key.port))
                .filter(|previous| previous.second + 1 == slice.second())
                // Amplification may have been asked less of a second ago.
                .filter(|previous| previous.measured >= ctx.settings.amplification as u64);
            finding.opens = previous.is_some();
            if let Some(previous) = previous.filter(|previous| !previous.opens) {
                out.push(Finding { opens: true, ..previous.clone() });
            }
            self.reflectors.insert((key.host, key.port), finding.clone());
            out.push(finding);
        }
    }
}

fn amplification(stats: &ServiceStats) -> f64 {
    stats.response_bytes as f64 / stats.request_bytes.max(1) as f64
}

/// Responses at a victim by listed port, in order; else those of the one port
/// that nearly all its packets come from.
fn responses_to(
    slice: &Slice,
    victim: &Victim,
    measure: &Measure,
    ctx: &Context<'_>,
) -> Vec<Responses> {
    let mut found: Vec<Responses> = Vec::new();
    if let Some(services) = slice.services() {
        let mine = services
            .iter()
            .filter(|(key, _)| key.side == ServiceSide::Client && key.host == victim.host);
        found.extend(mine.map(|(key, stats)| Responses {
            port: key.port,
            packets: u64::from(stats.responses),
            wire_bytes: stats.response_wire_bytes,
            payload_bytes: stats.response_bytes,
            requests: u64::from(stats.requests),
            reflectors: stats.peers.estimate(),
            listed: true,
        }));
        found.sort_unstable_by_key(|responses| responses.port);
    }
    let Some((port, share)) = victim.stats.src_port.majority() else { return found };
    let flood = measure.judged.flood;
    let known = found.iter().any(|responses| responses.port == port);
    let listed = amplifier_name(port).is_some();
    let unlisted = measure.peers.distinct >= ctx.settings.reflectors
        && measure.traffic.payload_bytes >= UNLISTED_PAYLOAD_BYTES * flood;
    let silent = measure.judged.unanswered * 10 >= flood * 9;
    if !known && share >= 0.9 && silent && (listed || unlisted) {
        found.push(Responses {
            port,
            packets: flood,
            wire_bytes: measure.traffic.wire_bytes,
            payload_bytes: measure.traffic.payload_bytes,
            requests: measure.judged.answers,
            reflectors: measure.peers.distinct,
            listed,
        });
    }
    found
}

fn judge_synack(
    slice: &Slice,
    victim: &Victim,
    measure: &Measure,
    ctx: &Context<'_>,
    out: &mut Vec<Finding>,
) {
    let enough = measure.judged.unanswered >= ctx.settings.unanswered_rate_threshold
        && measure.peers.distinct >= ctx.settings.reflectors;
    if enough && !ctx.one_sided {
        let mut finding = finding(slice, victim, measure, ctx);
        finding.opens = true;
        finding.rule = many_rule(ctx);
        finding.measured = measure.judged.unanswered;
        finding.details.insert("service", json!("tcp"));
        out.push(finding);
    }
}

fn many_rule(ctx: &Context<'_>) -> Rule {
    Rule {
        name: "reflected_responses",
        threshold: ctx.settings.unanswered_rate_threshold,
        unit: "packets/s",
        formula: MANY_REFLECTORS,
    }
}

fn finding(slice: &Slice, victim: &Victim, measure: &Measure, ctx: &Context<'_>) -> Finding {
    let home = ctx.settings.home_nets.contains(&victim.host);
    let from_home = measure.peers.home_packets * 2 >= measure.judged.flood.max(1);
    Finding {
        precedence: 0,
        stateless: ctx.is_stateless(measure.kind),
        kind: measure.kind.name(),
        direction: Direction::new(from_home, home),
        shape: Shape::ManyToOne,
        traffic: measure.traffic.clone(),
        unanswered: measure.judged.unanswered,
        answer_ratio: (!ctx.one_sided).then(|| super::round3(measure.answer_ratio())),
        sources: measure.peers.distinct,
        estimated: victim.estimated,
        src_port: PortShare::of(&victim.stats.src_port),
        dst_port: PortShare::of(&victim.stats.dst_port),
        peers: peer_list(&measure.peers, PeerRole::Source),
        details: [("victim", json!(victim.host.ip()))].into(),
        ..Finding::new(
            "reflection",
            measure.kind.family(),
            slice.second(),
            Subject::Host(victim.host),
            Entity::address(&victim.host),
            Rule::NONE,
        )
    }
}

fn describe_responses(finding: &mut Finding, responses: &Responses, measure: &Measure) {
    // Of all UDP at the victim the responses are this many.
    let share = responses.packets.min(measure.count) as f64 / measure.count.max(1) as f64;
    finding.traffic = Traffic {
        packets: responses.packets,
        wire_bytes: responses.wire_bytes,
        payload_bytes: responses.payload_bytes,
        sizes: mean_sizes(
            responses.packets,
            responses.payload_bytes,
            &measure.traffic.sizes,
            share,
        ),
    };
    finding.unanswered = finding.unanswered.min(responses.packets);
    finding.sources = responses.reflectors;
    let service = amplifier_name(responses.port).filter(|_| responses.listed).unwrap_or("unlisted");
    let mean = responses.payload_bytes / responses.packets.max(1);
    finding.details.extend([
        ("service", json!(service)),
        ("service_port", json!(responses.port)),
        ("requests_per_s", json!(responses.requests)),
        ("responses_per_s", json!(responses.packets)),
        ("mean_response_payload_bytes", json!(mean)),
        ("reflectors", json!(responses.reflectors)),
    ]);
}

/// The victim's size distribution where the responses are most of it, else
/// their mean size.
fn mean_sizes(packets: u64, bytes: u64, all: &[u64; SIZE_BINS], share: f64) -> [u64; SIZE_BINS] {
    if share >= 0.9 {
        return *all;
    }
    let mut sizes = [0; SIZE_BINS];
    let mean = u32::try_from(bytes / packets.max(1)).unwrap_or(u32::MAX);
    sizes[size_bin(mean)] = packets;
    sizes
}

fn reflector(
    slice: &Slice,
    host: &Host,
    port: u16,
    stats: &ServiceStats,
    ctx: &Context<'_>,
) -> Finding {
    let nets = &ctx.settings.home_nets;
    let home = nets.contains(host);
    let sample = slice.senders().sample(slice.seed(), host);
    let to_home = sample.iter().filter(|peer| nets.contains(peer)).count() * 2 > sample.len();
    let factor = amplification(stats);
    let packets = u64::from(stats.responses);
    let traffic = Traffic {
        packets,
        wire_bytes: stats.response_wire_bytes,
        payload_bytes: stats.response_bytes,
        sizes: mean_sizes(packets, stats.response_bytes, &[0; SIZE_BINS], 0.0),
    };
    let clients = stats.peers.estimate();
    Finding {
        home_sender: home,
        stateless: ctx.is_stateless(Kind::Udp),
        kind: Kind::Udp.name(),
        direction: Direction::new(home, to_home),
        shape: if clients > 1 { Shape::OneToMany } else { Shape::OneToOne },
        measured: factor as u64,
        traffic,
        destinations: clients,
        src_port: Some(PortShare { port, share: 1.0 }),
        peers: sample
            .into_iter()
            .map(|host| Peer { host, role: PeerRole::Destination, packets: None, wire_bytes: None })
            .collect(),
        details: [
            ("service", json!(amplifier_name(port))),
            ("service_port", json!(port)),
            ("amplification", json!(super::round3(factor))),
            ("requests_per_s", json!(stats.requests)),
            ("request_payload_bytes_per_s", json!(stats.request_bytes)),
        ]
        .into(),
        ..Finding::new(
            "reflector",
            Family::Reflector,
            slice.second(),
            Subject::Sender(*host),
            Entity::address(host),
            Rule {
                name: "amplification_factor",
                threshold: ctx.settings.amplification as u64,
                unit: "response bytes by request bytes",
                formula: REFLECTOR,
            },
        )
    }
}
