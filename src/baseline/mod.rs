//! Learned normal: what each entity usually does, held in memory and kept on disk.
//!
//! A [`Profile`] is what is known of one entity: robust quantiles of its measures a
//! minute, by hour of week once there is enough of it, payload sizes, as a whole and by
//! service, destinations,
//! and the days on which it was active. [`Baselines`] has all of them, learns
//! minute by minute, and learns nothing of an entity while it is alerting, or what the same
//! traffic counts for.
//!
//! Whose normal it is decides the caller: a profile's key is [`Who::baseline`].
//!
//! [`Who::baseline`]: crate::entity::Who

mod all;
mod calendar;
mod code;
mod destinations;
mod distance;
mod drift;
mod fleet;
mod frozen;
mod inbox;
mod learned;
mod metric;
mod names;
mod normal;
mod pending;
mod profile;
mod season;
mod services;
mod sketch;
mod store;
mod verdict;
mod view;
mod wire;

#[cfg(test)]
mod names_tests;
#[cfg(test)]
mod service_tests;
#[cfg(test)]
mod standing_tests;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod tests;

pub use all::{BaselineCounters, Baselines, Judged};
pub use destinations::Destination;
pub(crate) use destinations::{Prefix, prefix_of};
pub use distance::{Distances, LEAST_PACKETS, size_distance};
pub use fleet::Others;
pub use frozen::Freeze;
pub use inbox::{Word, inbox_path, leave};
pub use learned::{FileMark, LearnedFile};
pub use metric::Metric;
pub use names::NameDigest;
pub use normal::{Basis, Normal};
pub use profile::{MOST_BYTES, Profile, Roles};
pub use services::KnownService;
pub use store::StoreError;
pub use verdict::Verdict;
pub use view::View;

use std::sync::Arc;

use profile::Rules;

use crate::detect::DetectSettings;
use crate::lock::Lock;

const DAY_S: i64 = 86_400;

/// How much there must be, and how much may be held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BaselineSettings {
    /// Days of history from which a baseline counts as mature.
    pub mature_days: f64,
    /// Entities held in memory; others wait on disk.
    pub held: usize,
    /// Entities that are known at all; others are counted and not learned.
    pub entities: usize,
    /// Share by which the 99th percentile of a mature entity's measures may grow from
    /// one day of activity to the next.
    pub drift_per_day: f64,
    /// Seconds of event time between writes: what a kill can cost.
    pub flush_s: i64,
    /// Days for which minutes under alert wait for a verdict.
    pub pending_days: f64,
    /// Days after which an entity that was not seen is forgotten.
    pub unseen_days: i64,
}

impl Default for BaselineSettings {
    fn default() -> Self {
        Self {
            // A week has every hour of the week once; ANALYTICS.md.
            mature_days: 7.0,
            // Under 1 GiB, of profiles that are as large as they get.
            held: 100_000,
            // 150 bytes each in memory while they are on disk.
            entities: 1_000_000,
            // A service that doubles in a week is followed; who wants ten times the
            // traffic to be normal needs 24 days.
            drift_per_day: 0.1,
            // Long against what a write takes, short against a half-life of weeks.
            flush_s: 600,
            // Analysts have a weekend.
            pending_days: 7.0,
            // Twice as long as counts last.
            unseen_days: 180,
        }
    }
}

impl From<&DetectSettings> for BaselineSettings {
    fn from(settings: &DetectSettings) -> Self {
        let minutes = i64::try_from(settings.baseline_flush_minutes).unwrap_or(i64::MAX);
        Self {
            mature_days: settings.baseline_mature_days,
            held: settings.baseline_held,
            drift_per_day: settings.baseline_drift_per_day,
            flush_s: minutes.saturating_mul(60),
            pending_days: settings.baseline_pending_days,
            ..Self::default()
        }
    }
}

impl BaselineSettings {
    fn rules(&self) -> Rules {
        Rules { mature_days: self.mature_days, growth: 1.0 + self.drift_per_day }
    }
}

/// Baselines on their way into a run and out of it again: whoever runs keeps one of
/// two handles.
#[derive(Clone, Debug)]
pub struct Lent(Arc<Lock<Option<Baselines>>>);

impl Lent {
    pub fn new(baselines: Baselines) -> Self {
        Self(Arc::new(Lock::new(Some(baselines))))
    }

    /// Takes them out; nothing where somebody has them.
    pub fn take(&self) -> Option<Baselines> {
        self.0.lock().take()
    }

    pub fn give_back(&self, baselines: Baselines) {
        *self.0.lock() = Some(baselines);
    }
}
