//! How far payload sizes of a minute lie from what is usual (METHODS 7).

use super::sketch::Sketch;
use crate::engine::window::SIZE_BINS;

/// Packets with payload from which sizes say anything.
pub const LEAST_PACKETS: u64 = 200;

/// Jensen-Shannon divergence, base 2, of two histograms of payload sizes: 0 where they
/// are alike, 1 where they have no size in common. Packets without payload are left
/// out. Nothing where one has under [`LEAST_PACKETS`].
pub fn size_distance(usual: &[u64; SIZE_BINS], now: &[u64; SIZE_BINS]) -> Option<f64> {
    distance_from(usual, now, LEAST_PACKETS)
}

/// The same of histograms of at least so many packets.
pub(super) fn distance_from(
    usual: &[u64; SIZE_BINS],
    now: &[u64; SIZE_BINS],
    least: u64,
) -> Option<f64> {
    let (_, usual) = usual.split_first()?;
    let (_, now) = now.split_first()?;
    let total = |bins: &[u64]| bins.iter().fold(0_u64, |sum, &bin| sum.saturating_add(bin));
    let (usual_total, now_total) = (total(usual), total(now));
    if usual_total.min(now_total) < least.max(1) {
        return None;
    }
    let part = |share: f64, mean: f64| {
        if share > 0.0 { share * libm::log2(share / mean) / 2.0 } else { 0.0 }
    };
    let distance = usual.iter().zip(now).fold(0.0, |sum, (&usual, &now)| {
        let (p, q) = (usual as f64 / usual_total as f64, now as f64 / now_total as f64);
        let mean = (p + q) / 2.0;
        sum + part(p, mean) + part(q, mean)
    });
    Some(distance.clamp(0.0, 1.0))
}

/// How far the entity's own minutes usually lie from its usual.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Distances {
    pub median: f64,
    /// Median absolute deviation.
    pub mad: f64,
    pub q995: f64,
    pub minutes: f64,
}

impl Distances {
    pub(super) fn of(sketch: &Sketch) -> Option<Self> {
        if sketch.is_empty() {
            return None;
        }
        let median = sketch.quantile(0.5);
        let mad = sketch.deviation(median);
        Some(Self { median, mad, q995: sketch.quantile(0.995), minutes: sketch.count() })
    }

    /// What its own minutes rarely reach (METHODS 7, "Calibration").
    pub fn rarely_over(&self) -> f64 {
        self.q995 + 3.0 * self.mad
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_distance_is_symmetric_and_bounded(
            a: [u32; SIZE_BINS],
            b: [u32; SIZE_BINS],
        ) {
            let (a, b) = (a.map(u64::from), b.map(u64::from));
            if let (Some(one), Some(other)) = (size_distance(&a, &b), size_distance(&b, &a)) {
                prop_assert!((one - other).abs() < 1e-12);
                prop_assert!((0.0..=1.0).contains(&one));
            }
            prop_assert!(size_distance(&a, &a).is_none_or(|distance| distance < 1e-12));
        }
    }

    #[test]
    fn sizes_without_one_in_common_are_furthest_apart() {
        let (mut small, mut large) = ([0; SIZE_BINS], [0; SIZE_BINS]);
        (small[1], large[6]) = (1_000, 1_000);
        assert_eq!(size_distance(&small, &large), Some(1.0));
        large[6] = 10;
        assert_eq!(size_distance(&small, &large), None);
    }
}
