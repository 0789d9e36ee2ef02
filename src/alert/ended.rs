//! When what was last told, or allowed, of an entity by a detector was over.
//!
//! A finding may reach back over all that goes on, such as a tunnel since its first query. An
//! alert that it opens begins behind the one before, so that no two have one id.

use std::collections::BTreeMap;

use crate::detect::Finding;

/// Detectors and entities that are remembered; of more the half that ended first is
/// forgotten. Few findings reach back further than an hour.
const MOST: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Ended(BTreeMap<(&'static str, String), i64>);

impl Ended {
    /// That was its last second.
    pub(super) fn note(&mut self, detector: &'static str, entity: &str, second: i64) {
        if self.0.len() >= MOST {
            let mut seconds: Vec<i64> = self.0.values().copied().collect();
            seconds.sort_unstable();
            let middle = seconds[MOST / 2];
            self.0.retain(|_, last| *last > middle);
        }
        let last = self.0.entry((detector, entity.to_owned())).or_insert(second);
        *last = second.max(*last);
    }

    /// Lets what begins with the finding begin behind that.
    pub(super) fn begin_behind(&self, finding: &mut Finding) {
        let key = (finding.detector, finding.entity.id.clone());
        if let Some(last) = self.0.get(&key) {
            let behind = last.saturating_add(1).min(finding.second);
            finding.start_second = finding.start_second.max(behind);
        }
    }
}
