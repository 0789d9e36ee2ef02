//! When containers began: when the oldest process did that was ever told of each.
//!
//! A process that is older than all others of its container is the container's first. One
//! that somebody starts in a container which has been there is not, wherever it comes from,
//! since maps begin with all that is there.

use std::collections::HashSet;

use ahash::RandomState;
use dashmap::DashMap;

/// By source of the map and container.
#[derive(Debug, Default)]
pub(super) struct Eldest(DashMap<(u16, String), Vec<Told>, RandomState>);

/// Each is older than the one that was told before it.
#[derive(Clone, Copy, Debug)]
struct Told {
    began_ns: i64,
    learned_ns: i64,
}

/// Older ones that are told apart; telemetry that comes late tells of few.
const MOST_TOLD: usize = 8;

impl Eldest {
    /// A process of the container began. At `most` no further containers are taken: theirs
    /// have no first.
    pub(super) fn note(
        &self,
        (source, container): (u16, &str),
        began_ns: i64,
        learned_ns: i64,
        most: u64,
    ) {
        if container.is_empty() {
            return;
        }
        let key = (source, container.to_owned());
        if self.0.len() as u64 >= most && !self.0.contains_key(&key) {
            return;
        }
        let mut told = self.0.entry(key).or_default();
        if told.last().is_none_or(|oldest| began_ns < oldest.began_ns) && told.len() < MOST_TOLD {
            told.push(Told { began_ns, learned_ns });
        }
    }

    /// When the container began, by what was known then.
    pub(super) fn began_ns(&self, source: u16, container: &str, known_ns: i64) -> Option<i64> {
        let told = self.0.get(&(source, container.to_owned()))?;
        let known = told.iter().filter(|told| told.learned_ns <= known_ns);
        known.map(|told| told.began_ns).min()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Gives up those without a process, but for what was told since then.
    pub(super) fn keep(&self, with_processes: &HashSet<(u16, String)>, since_ns: i64) {
        self.0.retain(|key, told| {
            with_processes.contains(key) || told.iter().any(|told| told.learned_ns >= since_ns)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_is_known_says_when_a_container_began() {
        let eldest = Eldest::default();
        eldest.note((0, "a"), 50, 60, 2);
        eldest.note((0, "a"), 70, 70, 2);
        // Told late: what was answered before stays so.
        eldest.note((0, "a"), 20, 80, 2);
        let began = |known_ns| eldest.began_ns(0, "a", known_ns);
        assert_eq!([59, 60, 79, 80].map(began), [None, Some(50), Some(50), Some(20)]);
        assert_eq!(eldest.began_ns(1, "a", 99), None, "of another host");
        eldest.note((0, ""), 1, 1, 2);
        assert_eq!(eldest.began_ns(0, "", 99), None);
    }

    #[test]
    fn containers_are_bounded_and_those_without_a_process_are_given_up() {
        let eldest = Eldest::default();
        for at in 0..9 {
            eldest.note((0, &format!("c{at}")), at, at, 5);
        }
        assert_eq!(eldest.len(), 5);
        eldest.keep(&HashSet::from([(0, "c1".to_owned())]), 4);
        let left = ["c0", "c1", "c4"].map(|container| eldest.began_ns(0, container, 99));
        assert_eq!(left, [None, Some(1), Some(4)]);
    }
}
