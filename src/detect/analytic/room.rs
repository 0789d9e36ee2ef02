//! Room in a full table: an eighth of it, what was seen longest ago, leaves at once.
//!
//! To search the whole table for the oldest at each newcomer would make a flood of
//! newcomers as many searches.

use std::collections::BTreeMap;
use std::hash::Hash;

use ahash::HashMap;

/// What room is made in: nothing here depends on a table's order.
pub(in crate::detect) trait Table<K, V> {
    fn len(&self) -> usize;
    fn has(&self, key: &K) -> bool;
    fn entries<'a>(&'a self) -> impl Iterator<Item = (&'a K, &'a V)>
    where
        K: 'a,
        V: 'a;
    fn remove(&mut self, key: &K);
    fn retain(&mut self, stays: impl Fn(&V) -> bool);
}

macro_rules! table {
    ($map:ident of $($key:ident)+) => {
        impl<K: $($key+)+, V> Table<K, V> for $map<K, V> {
            fn len(&self) -> usize {
                self.len()
            }

            fn has(&self, key: &K) -> bool {
                self.contains_key(key)
            }

            fn entries<'a>(&'a self) -> impl Iterator<Item = (&'a K, &'a V)>
            where
                K: 'a,
                V: 'a,
            {
                self.iter()
            }

            fn remove(&mut self, key: &K) {
                self.remove(key);
            }

            fn retain(&mut self, stays: impl Fn(&V) -> bool) {
                self.retain(|_, value| stays(value));
            }
        }
    };
}

table!(BTreeMap of Ord);
table!(HashMap of Hash Eq);

/// Lets the oldest by `age` go where there are `most` or more, and says how many went.
/// Of equals those with the lower keys.
pub(in crate::detect) fn make_room<K: Ord + Clone, V, A: Ord>(
    table: &mut impl Table<K, V>,
    most: usize,
    age: impl Fn(&V) -> A,
) -> u64 {
    if table.len() < most {
        return 0;
    }
    let mut oldest: Vec<(A, &K)> = table.entries().map(|(key, value)| (age(value), key)).collect();
    let leaving = (most / 8).max(1);
    let last = leaving.min(oldest.len()) - 1;
    oldest.select_nth_unstable(last);
    let leaving: Vec<K> = oldest[..=last].iter().map(|&(_, key)| key.clone()).collect();
    leaving.iter().for_each(|key| table.remove(key));
    leaving.len() as u64
}

/// Between two looks for what can go from a table that admits nobody: to look at all of it
/// for each newcomer would be no end.
const CLEARED_EACH_S: i64 = 10;

/// A table that refuses newcomers rather than let go of what it still needs.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// When it was last looked through.
    cleared_s: i64,
}

impl Gate {
    /// Whether there is place for this key; where there is none, all but what `stays` goes.
    pub(super) fn admits<K, V>(
        &mut self,
        table: &mut impl Table<K, V>,
        key: &K,
        most: usize,
        now_s: i64,
        stays: impl Fn(&V) -> bool,
    ) -> bool {
        if table.len() < most || table.has(key) {
            return true;
        }
        if now_s < self.cleared_s.saturating_add(CLEARED_EACH_S) {
            return false;
        }
        self.cleared_s = now_s;
        table.retain(stays);
        table.len() < most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eighth_that_is_oldest_leaves_a_full_table() {
        let mut table: BTreeMap<u32, i64> = (0..16).map(|key| (key, i64::from(key / 4))).collect();
        assert_eq!(make_room(&mut table, 17, |&at| at), 0);
        assert_eq!(table.len(), 16);
        assert_eq!(make_room(&mut table, 16, |&at| -at), 2);
        assert!(!table.contains_key(&12) && !table.contains_key(&13) && table.len() == 14);
    }

    #[test]
    fn a_gate_admits_what_is_known_and_clears_now_and_then() {
        let mut table: BTreeMap<u32, i64> = (0..4).map(|key| (key, 1_000)).collect();
        let mut gate = Gate::default();
        let mut admits = |table: &mut BTreeMap<u32, i64>, key, now_s| {
            gate.admits(table, &key, 4, now_s, |&at_s| at_s > now_s - 100)
        };
        assert!(admits(&mut table, 3, 1_050));
        assert!(!admits(&mut table, 4, 1_095), "all of them stay");
        assert!(!admits(&mut table, 4, 1_101), "looked through six seconds ago");
        assert!(admits(&mut table, 4, 1_105));
        assert!(table.is_empty());
    }
}
