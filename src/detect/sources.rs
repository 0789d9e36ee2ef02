//! What is known of the sources of probes over minutes, in bounded memory.
//!
//! Nearly every source that ever sends something unanswered does so once. It is
//! kept as that one probe, in a few bytes, and gets a [`Horizon`] with its
//! second: the same sums, only later.
//!
//! At the cap, sources of which nothing is left in five minutes go first, then
//! the half with the fewest probes, which is counted.

use std::collections::hash_map::Entry;

use ahash::HashMap;

use super::horizon::{Horizon, recent_packets};
use super::scan::Style;
use crate::engine::window::{Host, Register};

pub(super) type Key = (Host, Style);

#[derive(Debug, Default)]
pub(super) struct Sources {
    known: HashMap<Key, Known>,
    given_up: u64,
    /// Used when there is no room; kept for its memory.
    ranks: Vec<Rank>,
}

/// Probes of one second that touch no more than one target and one port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Once {
    pub(super) second: i64,
    pub(super) packets: u16,
    pub(super) answers: u16,
    pub(super) target: Register,
    pub(super) port: Register,
}

#[derive(Debug)]
enum Known {
    Once(Once),
    Often(Horizon),
}

/// Who goes first when there is no room: fewest packets, then by key. The
/// address is a number, which compares faster.
type Rank = (u64, crate::packet::IpVersion, u128, Style);

impl Known {
    fn packets(&self, second: i64) -> u64 {
        match self {
            Self::Once(once) => recent_packets(once.second, u64::from(once.packets), second),
            Self::Often(horizon) => horizon.packets(second),
        }
    }

    fn rank(&self, (host, style): &Key, second: i64) -> Rank {
        (self.packets(second), host.version, u128::from_be_bytes(host.address), *style)
    }
}

impl Once {
    fn horizon(&self) -> Horizon {
        let mut horizon = Horizon::default();
        let minute = horizon.add(self.second, u64::from(self.packets), u64::from(self.answers));
        minute.targets.raise(self.target);
        minute.ports.raise(self.port);
        horizon
    }
}

impl Sources {
    pub(super) fn contains(&self, key: &Key) -> bool {
        self.known.contains_key(key)
    }

    /// Notes a source by its one probe. False, and nothing done, when the
    /// source is known already: then its horizon has to take the probe.
    pub(super) fn note(&mut self, key: Key, once: Once, cap: usize) -> bool {
        match self.entry(key, once.second, cap) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(Known::Once(once));
                true
            }
        }
    }

    /// All that is known of a source.
    pub(super) fn horizon(&mut self, key: Key, second: i64, cap: usize) -> &mut Horizon {
        let known = match self.entry(key, second, cap) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(Known::Often(Horizon::default())),
        };
        if let Known::Once(once) = known {
            *known = Known::Often(once.horizon());
        }
        match known {
            Known::Often(horizon) => horizon,
            Known::Once(_) => unreachable!("replaced above"),
        }
    }

    /// How many sources were given up while something was known of them.
    pub(super) fn given_up(&self) -> u64 {
        self.given_up
    }

    /// The key's place; makes room for it where it is new.
    fn entry(&mut self, key: Key, second: i64, cap: usize) -> Entry<'_, Key, Known> {
        let cap = cap.max(2);
        if self.known.len() >= cap && !self.known.contains_key(&key) {
            self.make_room(second, cap);
        }
        self.known.entry(key)
    }

    fn make_room(&mut self, second: i64, cap: usize) {
        self.ranks.clear();
        let ranks = self.known.iter().map(|(key, known)| known.rank(key, second));
        self.ranks.extend(ranks.filter(|&(packets, ..)| packets > 0));
        if self.ranks.len() < cap {
            self.known.retain(|_, known| known.packets(second) > 0);
            return;
        }
        // No two ranks are equal.
        let (_, &mut first_kept, _) = self.ranks.select_nth_unstable(cap / 2);
        self.known.retain(|key, known| known.rank(key, second) >= first_kept);
        self.given_up += cap as u64 / 2;
    }
}
