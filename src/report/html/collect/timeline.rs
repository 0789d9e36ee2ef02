//! Packets and bytes over time.

use std::collections::BTreeMap;

use super::grid::{Width, merged};

/// Buckets: about one for two pixels of a wide screen, and a hundred bytes each.
pub(super) const MOST: i64 = 480;

/// What was seen in a bucket of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::report::html) struct Bucket {
    pub(in crate::report::html) packets: u64,
    pub(in crate::report::html) bytes: u64,
    /// Of the second with the most: a burst is seen in a wide bucket too.
    pub(in crate::report::html) peak_packets: u64,
    pub(in crate::report::html) peak_bytes: u64,
}

impl Bucket {
    fn merge(&mut self, other: Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.peak_packets = self.peak_packets.max(other.peak_packets);
        self.peak_bytes = self.peak_bytes.max(other.peak_bytes);
    }
}

#[derive(Debug)]
pub(in crate::report::html) struct Timeline {
    pub(in crate::report::html) width: Width,
    buckets: BTreeMap<i64, Bucket>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { width: Width::new(MOST), buckets: BTreeMap::new() }
    }
}

impl Timeline {
    pub(super) fn add(&mut self, second: i64, packets: u64, bytes: u64) {
        let before_s = self.width.seconds();
        if self.width.cover(second) {
            let buckets = std::mem::take(&mut self.buckets);
            self.buckets = merged(buckets, before_s, &self.width, Bucket::merge);
        }
        let more = Bucket { packets, bytes, peak_packets: packets, peak_bytes: bytes };
        self.buckets.entry(self.width.bucket(second)).or_default().merge(more);
    }

    /// Each bucket's first second with what was in it, without gaps: where nothing was
    /// seen it says so.
    pub(in crate::report::html) fn all(&self) -> Vec<(i64, Bucket)> {
        let (Some(first), Some(last)) = (
            self.buckets.first_key_value().map(|(&bucket, _)| bucket),
            self.buckets.last_key_value().map(|(&bucket, _)| bucket),
        ) else {
            return Vec::new();
        };
        let of = |bucket| self.buckets.get(&bucket).copied().unwrap_or_default();
        let start = |bucket: i64| bucket.saturating_mul(self.width.seconds());
        (first..=last).map(|bucket| (start(bucket), of(bucket))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_of_seconds_takes_no_more_buckets_than_allowed_and_keeps_its_peak() {
        let mut timeline = Timeline::default();
        // Every minute of a year, and one burst.
        for minute in 0..525_600_i64 {
            let packets = if minute == 300_000 { 1_000_000 } else { 7 };
            timeline.add(1_700_000_000 + 60 * minute, packets, 100 * packets);
        }
        let all = timeline.all();
        assert!(all.len() as i64 <= MOST, "{}", all.len());
        let packets: u64 = all.iter().map(|(_, bucket)| bucket.packets).sum();
        assert_eq!(packets, 525_599 * 7 + 1_000_000);
        assert_eq!(all.iter().map(|(_, bucket)| bucket.peak_packets).max(), Some(1_000_000));
    }

    #[test]
    fn seconds_without_packets_are_there() {
        let mut timeline = Timeline::default();
        timeline.add(10, 1, 60);
        timeline.add(13, 1, 60);
        let packets: Vec<u64> = timeline.all().iter().map(|(_, bucket)| bucket.packets).collect();
        assert_eq!(packets, [1, 0, 0, 1]);
    }
}
