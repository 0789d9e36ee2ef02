//! Distances between two distributions of payload sizes (METHODS 7).
//!
//! Over the bins of windows without the first: packets without payload say nothing of
//! sizes. All are 0 where either side has no packets.

use crate::engine::window::{SIZE_BINS, size_bin_range};

/// Packets by payload size.
pub(super) type Sizes = [u64; SIZE_BINS];

/// Packets with payload.
pub(super) fn with_payload(sizes: &Sizes) -> u64 {
    sizes.iter().skip(1).sum()
}

/// Jensen-Shannon divergence in bits: 0 for the same shape, 1 for nothing in common.
pub(super) fn jsd(p: &Sizes, q: &Sizes) -> f64 {
    let (Some(p), Some(q)) = (shares(p), shares(q)) else { return 0.0 };
    jsd_of(&p, &q)
}

/// How far sizes moved, in doublings: the mean over packets.
pub(super) fn emd_bits(p: &Sizes, q: &Sizes) -> f64 {
    let (Some(p), Some(q)) = (shares(p), shares(q)) else { return 0.0 };
    let mut gap = 0.0;
    let mut sum = 0.0;
    for (p, q) in p.iter().zip(&q) {
        gap += p - q;
        sum += gap.abs();
    }
    sum
}

/// The bin with the most packets, and its share of those with payload.
pub(super) fn top_bin(sizes: &Sizes) -> Option<(usize, f64)> {
    let shares = shares(sizes)?;
    let top = shares.iter().enumerate().max_by(|x, y| x.1.total_cmp(y.1).then(y.0.cmp(&x.0)));
    top.map(|(bin, share)| (bin, *share))
}

/// Distance to sizes drawn evenly from one byte up to the largest bin in use.
pub(super) fn jsd_from_random(sizes: &Sizes) -> Option<f64> {
    let shares = shares(sizes)?;
    let largest = shares.iter().rposition(|&share| share > 0.01)?;
    let mut even = [0.0; SIZE_BINS];
    let width = |bin: usize| match size_bin_range(bin) {
        (low, Some(high)) => f64::from(high - low) + 1.0,
        (low, None) => f64::from(low),
    };
    let mut all: f64 = (1..=largest).map(width).sum();
    // An Ethernet packet ends within its bin.
    let mtu_bin = crate::engine::window::size_bin(1_472);
    let last = if largest == mtu_bin { 1_472.0 - 1_023.0 } else { width(largest) };
    all += last - width(largest);
    for (bin, share) in even.iter_mut().enumerate().take(largest + 1).skip(1) {
        *share = (if bin == largest { last } else { width(bin) }) / all;
    }
    Some(jsd_of(&shares, &even))
}

fn jsd_of(p: &[f64; SIZE_BINS], q: &[f64; SIZE_BINS]) -> f64 {
    let half = |x: f64, m: f64| if x > 0.0 { x * libm::log2(x / m) } else { 0.0 };
    let sum: f64 = p
        .iter()
        .zip(q)
        .map(|(&p, &q)| {
            let m = (p + q) / 2.0;
            half(p, m) + half(q, m)
        })
        .sum();
    (sum / 2.0).clamp(0.0, 1.0)
}

fn shares(sizes: &Sizes) -> Option<[f64; SIZE_BINS]> {
    let all = with_payload(sizes);
    if all == 0 {
        return None;
    }
    let mut shares = [0.0; SIZE_BINS];
    for (share, &packets) in shares.iter_mut().zip(sizes).skip(1) {
        *share = packets as f64 / all as f64;
    }
    Some(shares)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::window::size_bin;

    fn sizes(of: impl Iterator<Item = u32>) -> Sizes {
        let mut sizes = [0; SIZE_BINS];
        of.for_each(|bytes| sizes[size_bin(bytes)] += 1);
        sizes
    }

    proptest! {
        #[test]
        fn divergence_is_a_bounded_symmetric_distance(
            p in prop::array::uniform12(0u64..1_000),
            q in prop::array::uniform12(0u64..1_000),
        ) {
            let d = jsd(&p, &q);
            prop_assert!((0.0..=1.0).contains(&d));
            prop_assert!((d - jsd(&q, &p)).abs() < 1e-12);
            prop_assert!(jsd(&p, &p) < 1e-12);
            prop_assert!(emd_bits(&p, &q) <= SIZE_BINS as f64);
            prop_assert!((emd_bits(&p, &q) - emd_bits(&q, &p)).abs() < 1e-9);
        }
    }

    #[test]
    fn known_distances() {
        let (small, large) = (sizes([100; 9].into_iter()), sizes([800; 9].into_iter()));
        assert_eq!(jsd(&small, &large), 1.0);
        assert_eq!(emd_bits(&small, &large), 3.0);
        assert_eq!(top_bin(&small), Some((2, 1.0)));
        assert_eq!(jsd(&small, &[0; SIZE_BINS]), 0.0);
    }

    #[test]
    fn random_sizes_are_told_from_ordinary_ones() {
        let random = sizes((0..4_000u32).map(|at| 1 + at * 7_919 % 1_400));
        assert!(jsd_from_random(&random).is_some_and(|d| d < 0.02));
        let web = sizes((0..4_000).map(|at| if at % 3 == 0 { 300 } else { 1_448 }));
        assert!(jsd_from_random(&web).is_some_and(|d| d > 0.05));
        assert_eq!(jsd_from_random(&[0; SIZE_BINS]), None);
    }
}
