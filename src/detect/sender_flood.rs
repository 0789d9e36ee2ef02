//! One sender that floods many, no receiver of it over the threshold.
//!
//! Method: what an address sends is judged conversation by conversation and
//! held against the same two thresholds as what an address receives, less what
//! findings on victims and prefixes explain. At least 16 receivers, each hit
//! more often than a scan does; multicast is left to the storm detector. Feeds
//! AN0972 when the sender is at home.

use super::carpet::SCAN_PACKETS_A_TARGET;
use super::flood::peer_list;
use super::kind::Kind;
use super::rate_rule::RateRule;
use super::victims::{Explained, HostIndex, Measure, judge_pair, measure_whole};
use super::{
    Context, Detector, Direction, Finding, PeerRole, PortShare, Rule, Shape, Subject, Window,
};
use crate::alert::Entity;
use crate::engine::window::{Host, HostStats, Slice};

#[derive(Debug, Default)]
pub struct SenderFlood {
    rule: RateRule<(Kind, Host)>,
}

struct Sender {
    host: Host,
    stats: HostStats,
    kinds: Vec<Measure>,
}

impl Detector for SenderFlood {
    fn name(&self) -> &'static str {
        "sender_flood"
    }

    fn observe(&mut self, window: &Window<'_>, ctx: &Context<'_>, out: &mut Vec<Finding>) {
        self.rule.begin();
        let slice = window.slice;
        for sender in measured(slice, ctx, out) {
            for measure in &sender.kinds {
                let receivers = measure.peers.distinct;
                if receivers < ctx.settings.carpet_addresses
                    || measure.judged.flood / receivers.max(1) <= SCAN_PACKETS_A_TARGET
                {
                    continue;
                }
                let finding = finding(slice, &sender, measure, ctx);
                self.rule.offer((measure.kind, sender.host), finding, ctx, out);
            }
        }
    }
}

fn measured(slice: &Slice, ctx: &Context<'_>, found: &[Finding]) -> Vec<Sender> {
    let floor = ctx.settings.unanswered_rate_threshold;
    if slice.total().packets() < floor {
        return Vec::new();
    }
    let mut senders: Vec<Sender> = slice
        .senders()
        .heavy(slice.seed(), floor)
        .into_iter()
        .filter_map(|(host, stats)| {
            let kinds: Vec<_> = Kind::ALL
                .into_iter()
                .filter(|kind| kind.count(&stats.tally) >= floor)
                .map(Measure::new)
                .collect();
            (!kinds.is_empty()).then_some(Sender { host, stats, kinds })
        })
        .collect();
    if senders.is_empty() {
        return senders;
    }
    let Some(pairs) = slice.pairs() else {
        for sender in &mut senders {
            let got = slice.receivers().get(slice.seed(), &sender.host).unwrap_or_default();
            let sample = slice.senders().sample(slice.seed(), &sender.host);
            sender.kinds.retain(|measure| !explains(found, measure.kind, &sender.host));
            for measure in &mut sender.kinds {
                measure_whole(measure, &sender.stats, &got, &sample, ctx);
            }
        }
        return senders;
    };
    let index = HostIndex::of(senders.iter().map(|sender| sender.host));
    let explained = Explained::by(found);
    for (&(src, dst), pair) in pairs.iter() {
        let Some(at) = index.get(&src) else { continue };
        if dst.is_group() {
            continue;
        }
        for measure in &mut senders[at].kinds {
            if !explained.contains(measure.kind.family(), &dst) {
                let judged = judge_pair(slice, &src, &dst, pair, measure.kind, ctx);
                measure.add(dst, &pair.tally, judged, ctx);
            }
        }
    }
    for measure in senders.iter_mut().flat_map(|sender| &mut sender.kinds) {
        measure.finish();
    }
    senders
}

/// A finding of this kind already names the sender.
fn explains(found: &[Finding], kind: Kind, sender: &Host) -> bool {
    found.iter().any(|finding| {
        finding.family == kind.family() && finding.peers.iter().any(|peer| peer.host == *sender)
    })
}

fn finding(slice: &Slice, sender: &Sender, measure: &Measure, ctx: &Context<'_>) -> Finding {
    let kind = measure.kind;
    let home = ctx.settings.home_nets.contains(&sender.host);
    let to_home = measure.peers.home_packets * 2 >= measure.judged.flood.max(1);
    Finding {
        precedence: 5,
        home_sender: home,
        stateless: ctx.is_stateless(kind),
        kind: kind.name(),
        direction: Direction::new(home, to_home),
        shape: Shape::OneToMany,
        traffic: measure.traffic.clone(),
        unanswered: measure.judged.unanswered,
        answer_ratio: (!ctx.one_sided).then(|| super::round3(measure.answer_ratio())),
        destinations: measure.peers.distinct,
        estimated: !slice.senders().is_exact() || slice.pairs_overflowed(),
        src_port: PortShare::of(&sender.stats.src_port),
        dst_port: PortShare::of(&sender.stats.dst_port),
        peers: peer_list(&measure.peers, PeerRole::Destination),
        ..Finding::new(
            "sender_flood",
            kind.family(),
            slice.second(),
            Subject::Sender(sender.host),
            Entity::address(&sender.host),
            Rule::NONE,
        )
    }
}
