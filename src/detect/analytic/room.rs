//! Room in a full table: an eighth of it, what was seen longest ago, leaves at once.
//!
//! To search the whole table for the oldest at each newcomer would make a flood of
//! newcomers as many searches.

use std::collections::BTreeMap;

/// Lets the oldest by `age` go where there are `most` or more, and says how many went.
/// Of equals those with the lower keys.
pub(super) fn make_room<K: Ord + Clone, V, A: Ord>(
    table: &mut BTreeMap<K, V>,
    most: usize,
    age: impl Fn(&V) -> A,
) -> u64 {
    if table.len() < most {
        return 0;
    }
    let mut oldest: Vec<(A, &K)> = table.iter().map(|(key, value)| (age(value), key)).collect();
    let leaving = (most / 8).max(1);
    let last = leaving.min(oldest.len()) - 1;
    oldest.select_nth_unstable(last);
    let leaving: Vec<K> = oldest[..=last].iter().map(|&(_, key)| key.clone()).collect();
    leaving.iter().for_each(|key| {
        table.remove(key);
    });
    leaving.len() as u64
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
}
