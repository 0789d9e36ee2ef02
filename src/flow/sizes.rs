//! Payload-size histogram: 61 log-linear bins.
//!
//! 0 to 7 bytes exactly, then four bins an octave up to 65,535, one for
//! everything over. The quarter-octave width bounds the error of a percentile
//! at 25 %. Fixed bins make merging an addition.

/// Number of bins.
pub const BINS: usize = 61;

/// Bin of a payload size in bytes.
#[inline]
pub fn bin_of(bytes: u32) -> usize {
    // Four bins an octave from 4 on, up to 7 of one size each; below, the same goes on. No
    // branch on the size: which one comes next nobody guesses.
    let shift = (bytes | 4).ilog2() - 2;
    ((shift * 4 + (bytes >> shift)) as usize).min(BINS - 1)
}

/// Smallest and largest size of a bin, both inclusive.
pub fn bin_range(bin: usize) -> (u32, u32) {
    match bin {
        0..8 => (bin as u32, bin as u32),
        8..60 => {
            let octave = 3 + (bin as u32 - 8) / 4;
            let quarter = (bin as u32 - 8) % 4;
            let width = 1 << (octave - 2);
            let low = (4 + quarter) * width;
            (low, low + width - 1)
        }
        _ => (65_536, u32::MAX),
    }
}

/// Payload sizes of a set of packets: histogram and exact moments.
///
/// Sums are integers, so merging is exact in any order. Zero-length payloads
/// are counted in bin 0 but left out of everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub bins: [u32; BINS],
    /// Over packets with payload; 0 when there are none.
    pub min: u32,
    pub max: u32,
    pub sum: u64,
    pub sum_squares: u128,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { bins: [0; BINS], min: 0, max: 0, sum: 0, sum_squares: 0 }
    }
}

impl Sizes {
    pub fn record(&mut self, bytes: u32, count: u32) {
        self.bins[bin_of(bytes)] = self.bins[bin_of(bytes)].saturating_add(count);
        if bytes == 0 || count == 0 {
            return;
        }
        self.min = if self.min == 0 { bytes } else { self.min.min(bytes) };
        self.max = self.max.max(bytes);
        self.sum += u64::from(bytes) * u64::from(count);
        self.sum_squares += u128::from(bytes) * u128::from(bytes) * u128::from(count);
    }

    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.bins.iter_mut().zip(&other.bins) {
            *mine = mine.saturating_add(*theirs);
        }
        self.min = match (self.min, other.min) {
            (0, theirs) => theirs,
            (mine, 0) => mine,
            (mine, theirs) => mine.min(theirs),
        };
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.sum_squares += other.sum_squares;
    }

    /// Packets with at least one byte of payload.
    pub fn count(&self) -> u64 {
        self.bins[1..].iter().map(|&n| u64::from(n)).sum()
    }

    /// Packets without payload.
    pub fn empty(&self) -> u32 {
        self.bins[0]
    }

    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum as f64 / count as f64)
    }

    /// Population standard deviation.
    pub fn stddev(&self) -> Option<f64> {
        stddev(self.count(), self.sum, self.sum_squares)
    }

    /// Upper edge of the bin that holds the `percent`-th percentile, clipped
    /// to `[min, max]`. At most 25 % over the true value.
    pub fn percentile(&self, percent: u32) -> Option<u32> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (count * u64::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        for (bin, &n) in self.bins.iter().enumerate().skip(1) {
            seen += u64::from(n);
            if seen >= rank {
                return Some(bin_range(bin).1.clamp(self.min, self.max));
            }
        }
        Some(self.max)
    }
}

/// Population standard deviation of `count` integers from their exact sums.
pub fn stddev(count: u64, sum: u64, sum_squares: u128) -> Option<f64> {
    if count == 0 {
        return None;
    }
    let n = u128::from(count);
    // n * sum_squares >= sum^2 (Cauchy-Schwarz), exact in integers.
    let numerator = (n.saturating_mul(sum_squares))
        .saturating_sub(u128::from(sum).saturating_mul(u128::from(sum)));
    Some(libm::sqrt(numerator as f64) / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_cover_every_size_once_and_in_order() {
        let mut previous = 0;
        for bytes in 0..=65_536u32 {
            let bin = bin_of(bytes);
            let (low, high) = bin_range(bin);
            assert!((low..=high).contains(&bytes), "{bytes} in bin {bin} {low}..={high}");
            assert!(bin == previous || bin == previous + 1);
            previous = bin;
        }
        assert_eq!(bin_of(65_535), BINS - 2);
        assert_eq!(bin_of(u32::MAX), BINS - 1);
    }

    #[test]
    fn percentile_is_at_most_a_quarter_over_the_true_value() {
        let mut sizes = Sizes::default();
        for bytes in 1..=2000 {
            sizes.record(bytes, 1);
        }
        for percent in [1, 50, 90, 99, 100] {
            let exact = 20 * percent;
            let got = sizes.percentile(percent).expect("not empty");
            assert!(got >= exact && f64::from(got) <= f64::from(exact) * 1.25, "p{percent} {got}");
        }
    }

    #[test]
    fn empty_payloads_stay_out_of_the_statistics() {
        let mut sizes = Sizes::default();
        sizes.record(0, 10);
        assert_eq!((sizes.empty(), sizes.count()), (10, 0));
        assert_eq!((sizes.percentile(50), sizes.mean(), sizes.stddev()), (None, None, None));
        sizes.record(100, 2);
        sizes.record(200, 2);
        assert_eq!((sizes.min, sizes.max, sizes.mean()), (100, 200, Some(150.0)));
        assert_eq!(sizes.stddev(), Some(50.0));
    }
}
