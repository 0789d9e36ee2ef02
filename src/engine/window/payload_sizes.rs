//! Payload sizes of a second: in coarse bins for each host, in fine ones for all together.

use crate::flow::sizes::{BINS, bin_of, bin_range};

/// Coarse payload-size bins of windows: 0, 1 to 63, then by octave to 32,767,
/// over: enough to name a flood's size and cheap to carry for each host.
pub const SIZE_BINS: usize = 12;

/// Coarse bin of a payload size.
#[inline]
pub fn size_bin(bytes: u32) -> usize {
    // No branch on the size: which one comes next nobody guesses.
    let octave = (bytes | 32).ilog2() as usize - 4;
    if bytes == 0 { 0 } else { octave.min(SIZE_BINS - 1) }
}

/// Smallest and largest payload size of a coarse bin, both inclusive; the last
/// one has no upper end.
pub fn size_bin_range(bin: usize) -> (u32, Option<u32>) {
    match bin {
        0 => (0, Some(0)),
        1 => (1, Some(63)),
        2..11 => (16 << bin, Some((32 << bin) - 1)),
        _ => (32_768, None),
    }
}

/// Packets by payload size in the bins of flow records: one for a second, not
/// one for each host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FineSizes {
    pub bins: [u64; BINS],
    /// Over packets with payload; 0 when there are none.
    pub min: u32,
    pub max: u32,
}

impl Default for FineSizes {
    fn default() -> Self {
        Self { bins: [0; BINS], min: 0, max: 0 }
    }
}

impl FineSizes {
    #[inline]
    pub fn record(&mut self, bytes: u32) {
        self.bins[bin_of(bytes)] += 1;
        self.max = self.max.max(bytes);
        // 0 stands for none: it wraps to the largest.
        self.min = self.min.wrapping_sub(1).min(bytes.wrapping_sub(1)).wrapping_add(1);
    }

    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.bins.iter_mut().zip(&other.bins) {
            *mine = mine.saturating_add(*theirs);
        }
        self.max = self.max.max(other.max);
        self.min = self.min.wrapping_sub(1).min(other.min.wrapping_sub(1)).wrapping_add(1);
    }

    /// Packets with at least one byte of payload.
    pub fn count(&self) -> u64 {
        self.bins[1..].iter().sum()
    }

    /// As [`crate::flow::sizes::Sizes::percentile`].
    pub fn percentile(&self, percent: u64) -> Option<u32> {
        let count = self.count();
        let rank = count.saturating_mul(percent).div_ceil(100).max(1);
        let mut seen = 0u64;
        let at = self.bins.iter().enumerate().skip(1).find(|&(_, &packets)| {
            seen = seen.saturating_add(packets);
            seen >= rank
        });
        at.map(|(bin, _)| bin_range(bin).1.clamp(self.min, self.max))
    }
}
