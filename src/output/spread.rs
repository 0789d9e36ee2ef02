//! The figures of a payload-size histogram that writers show, in one pass.

use crate::flow::Sizes;
use crate::flow::sizes::{bin_range, stddev};

/// Percentiles that are written.
const PERCENTS: [u64; 3] = [50, 90, 99];

/// Over packets with payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) mean: f64,
    pub(super) stddev: f64,
    /// p50, p90, p99; as [`Sizes::percentile`] defines them.
    pub(super) percentiles: [u32; 3],
}

impl Spread {
    /// None without payload. Same figures as the methods of [`Sizes`], which
    /// count the bins anew for each.
    pub(super) fn of(sizes: &Sizes) -> Option<Self> {
        let count = sizes.count();
        if count == 0 {
            return None;
        }
        let mut percentiles = [sizes.max; 3];
        let mut pending = PERCENTS
            .into_iter()
            .zip(&mut percentiles)
            .map(|(percent, slot)| ((count * percent).div_ceil(100).max(1), slot))
            .peekable();
        let mut seen = 0;
        for (bin, &packets) in sizes.bins.iter().enumerate().skip(1) {
            seen += u64::from(packets);
            while let Some((_, slot)) = pending.next_if(|(rank, _)| seen >= *rank) {
                *slot = bin_range(bin).1.clamp(sizes.min, sizes.max);
            }
            if pending.peek().is_none() {
                break;
            }
        }
        Some(Self {
            mean: sizes.sum as f64 / count as f64,
            stddev: stddev(count, sizes.sum, sizes.sum_squares)?,
            percentiles,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn one_pass_gives_what_the_histogram_says(
            packets in prop::collection::vec((0..70_000_u32, 0..500_u32), 0..40),
        ) {
            let mut sizes = Sizes::default();
            packets.iter().for_each(|&(bytes, count)| sizes.record(bytes, count));
            let expected = sizes.mean().zip(sizes.stddev()).map(|(mean, stddev)| Spread {
                mean,
                stddev,
                percentiles: [50, 90, 99].map(|percent| sizes.percentile(percent).expect("payload")),
            });
            prop_assert_eq!(Spread::of(&sizes), expected);
        }
    }
}
