//! When a flood opens: one window at the absolute threshold, or two in a row
//! over the lower one without answers.

use std::collections::BTreeMap;

use super::{Context, Finding, Rule};

pub(crate) const ABSOLUTE: &str = "packets of one second, without answered conversations, >= \
                                   packet_rate_threshold";
pub(crate) const UNANSWERED: &str = "packets of one second without answers (packets back / packets \
                                     in < answer_ratio) >= unanswered_rate_threshold in two \
                                     seconds in a row";

/// Memory of the window before: bounded by what one window can hold over the
/// floor.
#[derive(Debug)]
pub(crate) struct RateRule<K> {
    previous: BTreeMap<K, Finding>,
    current: BTreeMap<K, Finding>,
}

impl<K> Default for RateRule<K> {
    fn default() -> Self {
        Self { previous: BTreeMap::new(), current: BTreeMap::new() }
    }
}

impl<K: Ord> RateRule<K> {
    /// Call once a window before its findings.
    pub(crate) fn begin(&mut self) {
        self.previous = std::mem::take(&mut self.current);
    }

    /// Decides whether the finding opens an alert, and hands it on (with the
    /// one of the second before, if that now counts) when it may.
    pub(crate) fn offer(
        &mut self,
        key: K,
        mut finding: Finding,
        ctx: &Context<'_>,
        out: &mut Vec<Finding>,
    ) {
        let floor = ctx.settings.unanswered_rate_threshold;
        let over = !ctx.one_sided && finding.unanswered >= floor;
        // The floor may have been another one a second ago.
        let before = self.previous.remove(&key).filter(|before| {
            over && before.second + 1 == finding.second && before.unanswered >= floor
        });
        if finding.traffic.packets >= ctx.settings.packet_rate_threshold {
            finding.opens = true;
            finding.measured = finding.traffic.packets;
            finding.rule = Rule {
                name: "absolute_rate",
                threshold: ctx.settings.packet_rate_threshold,
                unit: "packets/s",
                formula: ABSOLUTE,
            };
        } else if over {
            finding.opens = before.is_some();
            finding.measured = finding.unanswered;
            finding.rule = Rule {
                name: "unanswered_rate",
                threshold: floor,
                unit: "packets/s",
                formula: UNANSWERED,
            };
        } else {
            return;
        }
        if over {
            self.current.insert(key, finding.clone());
        }
        if let Some(mut before) = before.filter(|before| !before.opens) {
            before.opens = true;
            out.push(before);
        }
        out.push(finding);
    }
}
