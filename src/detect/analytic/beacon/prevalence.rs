//! How many entities talk to a destination, of how many.
//!
//! Of the last day and the one before: two generations of which the older goes as a
//! whole, so that a long run neither fills up nor counts who left long ago.

use std::collections::BTreeSet;

use ahash::{HashMap, HashSet};

use super::DAY_S;
use crate::engine::window::Host;

/// Entities and destinations of a generation.
const COUNTED: usize = 32_768;
/// From so many talkers on nobody counts on: neither rare nor, in a large network, common.
pub(super) const TALKERS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Prevalence {
    young: Generation,
    old: Generation,
    /// Entities of both.
    in_both: usize,
    /// Of the young one.
    since_s: Option<i64>,
    forgotten: u64,
}

#[derive(Debug, Default)]
struct Generation {
    destinations: HashMap<Host, Talkers>,
    entities: HashSet<u64>,
}

/// Most destinations have one: no memory of its own.
#[derive(Clone, Debug, Default)]
struct Talkers {
    one: Option<u64>,
    others: BTreeSet<u64>,
}

impl Talkers {
    fn add(&mut self, entity: u64) {
        let one = *self.one.get_or_insert(entity);
        if one != entity && self.others.len() < TALKERS {
            self.others.insert(entity);
        }
    }
}

impl Prevalence {
    pub(super) fn count(&mut self, entity: u64, dst: Host, now_s: i64) {
        let since_s = *self.since_s.get_or_insert(now_s);
        let is_full = self.young.destinations.len().max(self.young.entities.len()) >= COUNTED;
        if is_full || now_s.saturating_sub(since_s) >= DAY_S {
            if is_full {
                // Younger than a day.
                self.forgotten += self.old.destinations.len() as u64;
            }
            self.old = std::mem::take(&mut self.young);
            self.since_s = Some(now_s);
            self.in_both = 0;
        }
        if self.young.entities.insert(entity) && self.old.entities.contains(&entity) {
            self.in_both += 1;
        }
        self.young.destinations.entry(dst).or_default().add(entity);
    }

    /// Talkers of a destination, up to [`TALKERS`], and all entities.
    pub(super) fn of(&self, dst: &Host) -> (usize, usize) {
        let generations = [&self.young, &self.old].into_iter();
        let known = generations.filter_map(|generation| generation.destinations.get(dst));
        let talkers: BTreeSet<u64> =
            known.flat_map(|known| known.one.iter().chain(&known.others)).copied().collect();
        let entities = self.young.entities.len() + self.old.entities.len() - self.in_both;
        (talkers.len().min(TALKERS), entities)
    }

    /// Destinations that went before their time.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn host(number: u32) -> Host {
        IpAddr::from((0xcb00_0000 + number).to_be_bytes()).into()
    }

    #[test]
    fn a_new_destination_is_counted_however_many_there_were() {
        let mut prevalence = Prevalence::default();
        for number in 0..3 * COUNTED as u32 {
            prevalence.count(u64::from(number % 100), host(number), 0);
        }
        let new = host(u32::MAX >> 8);
        (0..60).for_each(|entity| prevalence.count(entity, new, 1));
        assert_eq!(prevalence.of(&new), (60, 100), "not rare");
        assert!(prevalence.forgotten() > 0);
    }

    #[test]
    fn who_left_days_ago_is_not_counted() {
        let mut prevalence = Prevalence::default();
        (0..500).for_each(|entity| prevalence.count(entity, host(1), 0));
        assert_eq!(prevalence.of(&host(1)), (TALKERS, 500));
        for day in 1..4 {
            (0..60).for_each(|entity| prevalence.count(entity, host(2), day * DAY_S));
        }
        assert_eq!(prevalence.of(&host(1)), (0, 60));
        assert_eq!(prevalence.of(&host(2)), (60, 60));
        assert_eq!(prevalence.forgotten(), 0, "in its time");
    }
}
