//! Buckets of time that become wider as the time that they cover grows.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Widths in seconds. Each divides the next one, so that buckets merge whole; people know
/// them, so that axes are read at a glance. The last two hold any time that there is.
const WIDTHS_S: [i64; 20] = [
    1,
    2,
    10,
    20,
    60,
    120,
    600,
    1_200,
    3_600,
    7_200,
    21_600,
    43_200,
    86_400,
    604_800,
    2_419_200,
    9_676_800,
    38_707_200,
    154_828_800,
    1_548_288_000,
    15_482_880_000,
];

/// A width, and the time that was seen.
#[derive(Clone, Debug)]
pub(in crate::report::html) struct Width {
    at: usize,
    span_s: Option<(i64, i64)>,
    most: i64,
}

impl Width {
    /// At most so many buckets from the first second to the last.
    pub(super) fn new(most: i64) -> Self {
        Self { at: 0, span_s: None, most }
    }

    pub(in crate::report::html) fn seconds(&self) -> i64 {
        WIDTHS_S[self.at]
    }

    /// The first and the last second that there was anything of.
    pub(in crate::report::html) fn span_s(&self) -> Option<(i64, i64)> {
        self.span_s
    }

    pub(super) fn bucket(&self, second: i64) -> i64 {
        second.div_euclid(self.seconds())
    }

    /// Takes a second in. True where buckets became wider: those that are there are to
    /// be merged by [`merged`].
    pub(super) fn cover(&mut self, second: i64) -> bool {
        let (first_s, last_s) =
            self.span_s.map_or((second, second), |(a, b)| (a.min(second), b.max(second)));
        self.span_s = Some((first_s, last_s));
        let before = self.at;
        while self.bucket(last_s).saturating_sub(self.bucket(first_s)) >= self.most
            && self.at + 1 < WIDTHS_S.len()
        {
            self.at += 1;
        }
        self.at > before
    }
}

/// Buckets of any width put into those of this one.
pub(super) fn merged<V>(
    buckets: BTreeMap<i64, V>,
    before_s: i64,
    width: &Width,
    merge: impl Fn(&mut V, V),
) -> BTreeMap<i64, V> {
    let mut wider = BTreeMap::new();
    for (bucket, value) in buckets {
        match wider.entry(width.bucket(bucket.saturating_mul(before_s))) {
            Entry::Vacant(entry) => _ = entry.insert(value),
            Entry::Occupied(mut entry) => merge(entry.get_mut(), value),
        }
    }
    wider
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_width_divides_the_next() {
        for pair in WIDTHS_S.windows(2) {
            assert!(pair[1] % pair[0] == 0 && pair[1] > pair[0], "{pair:?}");
        }
    }

    #[test]
    fn any_time_fits() {
        let mut width = Width::new(48);
        // As far apart as nanoseconds in 64 bits can be.
        for second in [0, i64::MAX / 1_000_000_000, i64::MIN / 1_000_000_000] {
            width.cover(second);
        }
        let (first_s, last_s) = width.span_s().unwrap();
        assert!(width.bucket(last_s) - width.bucket(first_s) < 48);
    }

    #[test]
    fn merging_keeps_the_sums() {
        let mut width = Width::new(4);
        let mut buckets = BTreeMap::new();
        for second in 0..100 {
            let before_s = width.seconds();
            if width.cover(second) {
                buckets = merged(buckets, before_s, &width, |sum: &mut u64, more| *sum += more);
            }
            *buckets.entry(width.bucket(second)).or_default() += 1;
        }
        assert_eq!(buckets.values().sum::<u64>(), 100);
        assert!(buckets.len() <= 4 && width.seconds() == 60, "{buckets:?}");
    }
}
