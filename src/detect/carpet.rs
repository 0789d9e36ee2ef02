//! Carpet bombing: a prefix under attack, no address of it over the threshold.
//!
//! Method: packets to the addresses of a /24 or /64 (coarser prefixes when a
//! second has too many) are judged like those to one address and held against
//! the same two thresholds, less what findings on single addresses explain. At
//! least 16 addresses must be hit, each more often than a scan does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::flood::{Target, describe};
use super::kind::Kind;
use super::rate_rule::RateRule;
use super::victims::{Explained, Measure, judge_pair, measure_whole};
use super::{Context, Detector, Finding, Shape, Subject, Window};
use crate::alert::Entity;
use crate::engine::window::{Host, Prefix, PrefixStats, Slice};

#[derive(Debug, Default)]
pub struct CarpetBombing {
    rule: RateRule<(Kind, Prefix)>,
}

/// Packets to each address up to which a scan is the better word.
pub(crate) const SCAN_PACKETS_A_TARGET: u64 = 3;

struct Candidate {
    prefix: Prefix,
    stats: PrefixStats,
    kinds: Vec<(Measure, BTreeSet<Host>)>,
}

impl Detector for CarpetBombing {
    fn name(&self) -> &'static str {
        "carpet_bombing"
    }

    fn observe(&mut self, window: &Window<'_>, ctx: &Context<'_>, out: &mut Vec<Finding>) {
        self.rule.begin();
        let slice = window.slice;
        let mut candidates = candidates(slice, ctx);
        if candidates.is_empty() {
            return;
        }
        if slice.pairs().is_some() {
            measure_pairs(slice, &mut candidates, ctx, out);
        } else {
            measure_prefixes(slice, &mut candidates, ctx);
        }
        for candidate in candidates {
            for (measure, members) in &candidate.kinds {
                let hit = match members.len() as u64 {
                    0 => candidate.stats.members.estimate(),
                    exact => exact,
                };
                if hit < ctx.settings.carpet_addresses
                    || measure.judged.flood / hit.max(1) <= SCAN_PACKETS_A_TARGET
                {
                    continue;
                }
                let finding = finding(slice, &candidate, measure, hit, ctx);
                self.rule.offer((measure.kind, candidate.prefix), finding, ctx, out);
            }
        }
    }
}

/// Prefixes that got enough of some kind of packet on enough addresses.
fn candidates(slice: &Slice, ctx: &Context<'_>) -> Vec<Candidate> {
    let floor = ctx.settings.unanswered_rate_threshold;
    if Kind::ALL.into_iter().all(|kind| kind.count(slice.total()) < floor)
        || slice.receivers().distinct() * 2 < ctx.settings.carpet_addresses
    {
        return Vec::new();
    }
    let prefixes = slice.receivers().prefixes(slice.seed());
    let group =
        |prefix: &Prefix| Host { version: prefix.version, address: prefix.address }.is_group();
    prefixes
        .into_iter()
        // Half of the addresses wanted: the count of members is an estimate.
        .filter(|(prefix, stats)| {
            !group(prefix) && stats.members.estimate() * 2 >= ctx.settings.carpet_addresses
        })
        .filter_map(|(prefix, stats)| {
            let kinds: Vec<_> = Kind::ALL
                .into_iter()
                .filter(|kind| kind.count(&stats.stats.tally) >= floor)
                .map(|kind| (Measure::new(kind), BTreeSet::new()))
                .collect();
            (!kinds.is_empty()).then_some(Candidate { prefix, stats, kinds })
        })
        .collect()
}

fn measure_pairs(
    slice: &Slice,
    candidates: &mut [Candidate],
    ctx: &Context<'_>,
    found: &[Finding],
) {
    let by_prefix: BTreeMap<Prefix, usize> =
        candidates.iter().enumerate().map(|(at, c)| (c.prefix, at)).collect();
    let explained = Explained::by(found);
    let exact = slice.receivers().is_exact();
    for (&(src, dst), pair) in slice.pairs().into_iter().flat_map(|pairs| pairs.iter()) {
        let at = if exact {
            by_prefix.get(&Prefix::of(&dst)).copied()
        } else {
            candidates.iter().position(|c| c.prefix.contains(&dst))
        };
        let Some(at) = at else { continue };
        for (measure, members) in &mut candidates[at].kinds {
            if explained.contains(measure.kind.family(), &dst) {
                continue;
            }
            let judged = judge_pair(slice, &src, &dst, pair, measure.kind, ctx);
            if judged.flood > 0 {
                members.insert(dst);
            }
            measure.add(src, &pair.tally, judged, ctx);
        }
    }
    for (measure, _) in candidates.iter_mut().flat_map(|c| &mut c.kinds) {
        measure.join_peers();
        measure.finish();
    }
}

/// Without pairs: each prefix against what it sends itself.
fn measure_prefixes(slice: &Slice, candidates: &mut [Candidate], ctx: &Context<'_>) {
    let sent = slice.senders().prefixes(slice.seed());
    for candidate in candidates {
        let back = sent
            .binary_search_by_key(&candidate.prefix, |&(prefix, _)| prefix)
            .map(|at| sent[at].1.stats.clone())
            .unwrap_or_default();
        for (measure, _) in &mut candidate.kinds {
            measure_whole(measure, &candidate.stats.stats, &back, &[], ctx);
        }
    }
}

fn finding(
    slice: &Slice,
    candidate: &Candidate,
    measure: &Measure,
    hit: u64,
    ctx: &Context<'_>,
) -> Finding {
    let prefix = &candidate.prefix;
    let first = Host { version: prefix.version, address: prefix.address };
    let target = Target {
        subject: Subject::Prefix(*prefix),
        entity: Entity::prefix(prefix),
        is_home: ctx.settings.home_nets.contains(&first),
        name: json!(Entity::prefix(prefix).id),
        stats: &candidate.stats.stats,
        estimated: !slice.receivers().is_exact() || slice.pairs_overflowed(),
    };
    let mut finding = describe(slice, &target, measure, ctx);
    finding.detector = "carpet_bombing";
    finding.precedence = 4;
    finding.shape = Shape::Carpet;
    finding.destinations = hit;
    finding.details.insert("addresses_hit", json!(hit));
    finding
}
