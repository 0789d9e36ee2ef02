//! Learned normal: what each entity usually does, held in memory and kept on disk.
//!
//! A [`Profile`] is what is known of one entity: robust quantiles of its measures a
//! minute, by hour of week once there is enough of it, payload sizes, destinations,
//! and the days on which it was active. [`Baselines`] has all of them, learns
//! minute by minute, and learns nothing of an entity while it is alerting.
//!
//! Whose normal it is decides the caller: a profile's key is [`Who::baseline`].
//!
//! [`Who::baseline`]: crate::entity::Who

mod metric;
mod normal;
mod profile;

pub use metric::Metric;
pub use normal::{Basis, Normal};
pub use profile::{Destination, Profile};

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::entity::Minute;

/// How much there must be, and how much may be held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BaselineSettings {
    /// Days of history from which a baseline counts as mature.
    pub mature_days: f64,
    /// Entities held in memory; others wait on disk.
    pub held: usize,
}

impl Default for BaselineSettings {
    fn default() -> Self {
        // A week has every hour of the week once; ANALYTICS.md.
        Self { mature_days: 7.0, held: 100_000 }
    }
}

/// All profiles.
#[derive(Debug, Default)]
pub struct Baselines {
    settings: BaselineSettings,
    profiles: BTreeMap<Arc<str>, Profile>,
    /// Entities that are alerting, until when nothing of them is learned.
    frozen: BTreeMap<Arc<str>, i64>,
    learning: bool,
}

impl Baselines {
    /// Empty, in memory alone.
    pub fn in_memory(settings: BaselineSettings, learning: bool) -> Self {
        Self { settings, learning, ..Self::default() }
    }

    pub fn settings(&self) -> &BaselineSettings {
        &self.settings
    }

    /// What is known of an entity.
    pub fn profile(&self, key: &str) -> Option<&Profile> {
        self.profiles.get(key)
    }

    pub fn is_mature(&self, key: &str) -> bool {
        self.profile(key).is_some_and(|profile| profile.days() >= self.settings.mature_days)
    }

    /// Until when nothing of it is learned, where it was alerting.
    pub fn frozen_until(&self, key: &str) -> Option<i64> {
        self.frozen.get(key).copied()
    }

    /// Nothing of the entity's minutes up to this second is learned.
    pub fn freeze(&mut self, key: &Arc<str>, until_s: i64) {
        let until = self.frozen.entry(Arc::clone(key)).or_insert(until_s);
        *until = (*until).max(until_s);
    }

    /// Takes a minute that is over, after detectors have looked at it.
    pub fn learn(&mut self, minute: &Minute) {
        if !self.learning {
            return;
        }
        let key = &minute.who.baseline;
        if self.frozen.get(key).is_some_and(|&until_s| minute.start_s <= until_s) {
            return;
        }
        self.frozen.remove(key);
        self.profiles.entry(Arc::clone(key)).or_default().learn(minute);
    }
}
