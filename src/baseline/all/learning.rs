//! What is learned, what waits, and what is never learned.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Baselines;
use crate::baseline::fleet::{Learned, is_place};
use crate::baseline::frozen::Cause;
use crate::baseline::metric::Metric;
use crate::baseline::names::NameDigest;
use crate::baseline::profile::{Profile, Rules};
use crate::baseline::verdict::Hold;
use crate::engine::window::Host;
use crate::entity::Minute;

impl Baselines {
    /// Takes a minute that is over, after detectors have looked at it.
    pub fn learn(&mut self, minute: &Minute) {
        if self.learning {
            let key = &minute.who.baseline;
            let hold = self.hold(key, self.frozen.causes_of(minute));
            let taken = self.teach(key, minute.start_s, &hold, |profile, rules| Learned {
                prefixes: profile.learn(minute, rules),
                ..Learned::default()
            });
            self.count_minute(taken, &hold);
        }
    }

    /// Takes a minute's value of something that is not its traffic.
    pub fn learn_value(&mut self, key: &Arc<str>, metric: Metric, at_s: i64, value: f64) {
        self.teach_value(key, metric, at_s, (value, true));
    }

    /// The same of a minute that was out of the ordinary: what its hour of the day has on
    /// several days becomes normal for that hour, and for no other.
    pub fn learn_habit(&mut self, key: &Arc<str>, metric: Metric, at_s: i64, value: f64) {
        self.teach_value(key, metric, at_s, (value, false));
    }

    fn teach_value(&mut self, key: &Arc<str>, metric: Metric, at_s: i64, value: (f64, bool)) {
        if self.learning {
            let hold = self.hold(key, self.frozen.causes(key, at_s));
            let taken = self.teach(key, at_s, &hold, |profile, rules| {
                profile.learn_value(metric, at_s, value, rules);
                Learned::default()
            });
            self.count_minute(taken, &hold);
        }
    }

    /// Takes a destination that is not among the largest of a minute.
    pub fn learn_destination(&mut self, key: &Arc<str>, host: &Host, at_s: i64, bytes: u64) {
        if self.learning {
            let hold = self.hold(key, self.frozen.causes(key, at_s));
            let taken = self.teach(key, at_s, &hold, |profile, rules| Learned {
                prefixes: vec![profile.meet(host, at_s, bytes, rules)],
                ..Learned::default()
            });
            self.count_minute(taken, &hold);
        }
    }

    /// Takes the names that a flow from one address (`own`) to another had, or that it had
    /// none, after detectors have looked at the minute in which that was known (`at_s`).
    /// Nothing of an entity that has learned no minute yet.
    pub fn learn_names(
        &mut self,
        key: &Arc<str>,
        (own, host): (&Host, &Host),
        names: &[NameDigest],
        at_s: i64,
    ) {
        if self.learning && self.slots.contains_key(key) {
            let hold = self.hold(key, self.frozen.causes_at(key, Some(*own), at_s));
            self.has_names |= !names.is_empty();
            self.teach(key, at_s, &hold, |profile, rules| Learned {
                names: profile.meet_names(host, names, at_s, rules),
                ..Learned::default()
            });
        }
    }

    /// What these alerts make of a minute.
    fn hold(&mut self, key: &Arc<str>, causes: Vec<Cause>) -> Hold {
        if causes.is_empty() {
            self.frozen.thaw_one(key);
        }
        self.standing.settle(causes)
    }

    fn count_minute(&mut self, taken: bool, hold: &Hold) {
        match hold {
            Hold::Nothing => self.counters.minutes += u64::from(taken),
            Hold::Until(_) | Hold::ForGood => self.counters.frozen_minutes += 1,
        }
    }

    /// False where there was no place for it.
    fn teach(
        &mut self,
        key: &Arc<str>,
        at_s: i64,
        hold: &Hold,
        learn: impl FnOnce(&mut Profile, &Rules) -> Learned,
    ) -> bool {
        let rules = self.settings.rules();
        match hold {
            Hold::Nothing => {}
            Hold::Until(causes) => {
                if let Some(span) = self.pending.span(key, at_s, causes) {
                    learn(span, &rules);
                }
                return true;
            }
            Hold::ForGood => return true,
        }
        let Some(profile) = self.profile_mut(key, at_s) else {
            self.counters.refused += 1;
            return false;
        };
        let was_silent = [profile.destinations.len() == 0, profile.names.len() == 0];
        let learned = learn(profile, &rules);
        if is_place(key) {
            self.fleet.learned(was_silent, &learned);
        }
        if self.warm.load(Relaxed) > self.settings.held.max(1) {
            self.make_room();
        }
        true
    }
}
