//! A table of sums that keeps the keys of lowest rank.
//!
//! A rank is drawn from the key and the second. A key that is among the lowest of a
//! whole second is so at any time and in any part of it, hence never left out: its
//! sum is whole, and the same for any order and any split. Another second has other
//! ranks, so that no key is left out for good.

use super::super::Seed;
use super::super::table::{Merge, Table};

#[derive(Clone, Debug)]
pub struct Kept<K: Copy + Eq + Ord, V> {
    keep: usize,
    second: i64,
    seed: Seed,
    table: Table<K, V>,
    /// No key above it is among the kept.
    highest: u64,
    /// Messages, of kept keys or not.
    pub messages: u64,
    /// Kept for its memory.
    ranks: Vec<u64>,
}

impl<K: Copy + Eq + Ord, V: Clone + Default + Merge> Kept<K, V> {
    pub(super) fn new(keep: usize, second: i64, seed: Seed) -> Self {
        let (table, ranks) = (Table::default(), Vec::new());
        Self { keep, second, seed, table, highest: u64::MAX, messages: 0, ranks }
    }

    /// Empty, for another second; the memory stays.
    pub(super) fn begin(&mut self, second: i64, seed: Seed) {
        self.table.clear();
        (self.second, self.seed) = (second, seed);
        (self.highest, self.messages) = (u64::MAX, 0);
    }

    /// The sums of a key whose hash is this, unless it can't be among the kept.
    pub(super) fn entry(&mut self, hash: u64, key: K) -> Option<&mut V> {
        let rank = self.rank(hash);
        if rank > self.highest {
            return None;
        }
        if let Some(at) = self.table.find(hash, &key) {
            return Some(self.table.at(at));
        }
        let has_room = self.has_room(rank);
        has_room.then(|| self.table.insert_new(hash, key, V::default()))
    }

    /// Makes room for a new key, unless it can't be among the kept any more.
    fn has_room(&mut self, rank: u64) -> bool {
        if self.table.len() >= 2 * self.keep {
            self.trim();
        }
        rank <= self.highest
    }

    /// Takes over the sums of another, which has none then.
    pub(super) fn merge(&mut self, other: &mut Self) {
        self.messages = self.messages.saturating_add(other.messages);
        other.table.drain(|hash, key, value| {
            let rank = self.rank(hash);
            if rank > self.highest {
                return;
            }
            if let Some(sum) = self.table.get_mut(hash, &key) {
                sum.merge(&value);
            } else if self.has_room(rank) {
                // As they are: values are large, and most are of one shard.
                self.table.insert_new(hash, key, value);
            }
        });
        self.highest = self.highest.min(other.highest);
    }

    pub(super) fn settle(&mut self) {
        if self.table.len() > self.keep {
            self.trim();
        }
    }

    fn rank(&self, hash: u64) -> u64 {
        rank(self.seed, self.second, hash)
    }

    /// Keeps the `keep` lowest.
    #[cold]
    fn trim(&mut self) {
        let (seed, second) = (self.seed, self.second);
        self.ranks.clear();
        self.ranks.extend(self.table.hashes().map(|hash| rank(seed, second, hash)));
        let Some(last) = self.keep.checked_sub(1).filter(|&last| last < self.ranks.len()) else {
            return;
        };
        // Keys of one rank (one in 2^64) go together, whatever their order.
        let highest = *self.ranks.select_nth_unstable(last).1;
        self.table.retain(|_, hash| rank(seed, second, hash) <= highest);
        self.highest = highest;
    }
}

fn rank(seed: Seed, second: i64, hash: u64) -> u64 {
    seed.mix(hash, second as u64)
}

impl<K: Copy + Eq + Ord, V> Kept<K, V> {
    /// By key.
    pub fn sorted(&self) -> Vec<(&K, &V)> {
        self.table.sorted()
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Not all keys were kept.
    pub fn overflowed(&self) -> bool {
        self.highest < u64::MAX
    }
}

/// Equal once settled where what is kept is.
impl<K: Copy + Eq + Ord, V: PartialEq> PartialEq for Kept<K, V> {
    fn eq(&self, other: &Self) -> bool {
        (self.second, self.seed, self.messages) == (other.second, other.seed, other.messages)
            && self.table == other.table
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Sum(u64);

    impl Merge for Sum {
        fn merge(&mut self, other: &Self) {
            self.0 += other.0;
        }
    }

    fn filled(keys: impl IntoIterator<Item = u16>) -> Kept<u16, Sum> {
        let seed = Seed::default();
        let mut kept = Kept::<u16, Sum>::new(8, 77, seed);
        for key in keys {
            kept.messages += 1;
            if let Some(sum) = kept.entry(seed.mix(key.into(), 5), key) {
                sum.0 += 1;
            }
        }
        kept
    }

    proptest! {
        #[test]
        fn any_order_and_any_split_keep_the_same_sums(
            keys in prop::collection::vec(0u16..60, 0..300),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let mut whole = filled(keys.iter().copied());
            whole.settle();
            let mut parts = vec![Vec::new(); cuts.len() + 1];
            for (at, &key) in keys.iter().enumerate().rev() {
                parts[cuts.iter().filter(|cut| cut.index(keys.len()) < at).count()].push(key);
            }
            let mut merged = filled([]);
            for part in parts {
                merged.merge(&mut filled(part));
            }
            merged.settle();
            prop_assert_eq!(&merged, &whole);
            prop_assert!(whole.len() <= 8);
            for (key, sum) in whole.sorted() {
                prop_assert_eq!(sum.0, keys.iter().filter(|&other| other == key).count() as u64);
            }
        }
    }

    #[test]
    fn another_second_keeps_others() {
        let kept = |second| {
            let seed = Seed::default();
            let mut kept = Kept::<u16, Sum>::new(8, second, seed);
            for key in 0..100 {
                kept.entry(seed.mix(key.into(), 5), key);
            }
            kept.settle();
            assert!(kept.overflowed());
            kept.sorted().into_iter().map(|(key, _)| *key).collect::<Vec<_>>()
        };
        assert_ne!(kept(1), kept(2));
    }
}
