//! The hash behind every estimate in a window.
//!
//! HyperLogLog registers and bottom-k samples end up in alerts, so their hash
//! must give the same number on every machine: no CPU-dependent hasher here.
//! Offline the seed is fixed; a live run may draw one, the same for all shards.

use super::Host;

const A: u64 = 0x9e37_79b9_7f4a_7c15;
const B: u64 = 0xd1b5_4a32_d192_ed03;

/// Seed of the hash; equal for all slices that are ever merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Default for Seed {
    fn default() -> Self {
        // Fixed, so that two offline runs agree.
        Self(0x5fb0_3c1e_77d2_98a4)
    }
}

impl Seed {
    #[inline]
    pub fn mix(self, a: u64, b: u64) -> u64 {
        fold(fold(a ^ self.0, b ^ A) ^ B, self.0 ^ A)
    }

    /// One round only: for filters, whose collisions cost time and no more.
    #[inline]
    pub(super) fn word(self, value: u64) -> u64 {
        fold(value ^ self.0, B)
    }

    /// One round of both: for samples of a flood, of whose every flow it is asked. Who knows
    /// the seed finds an `a` or a `b` of which the other decides nothing: it is to differ from
    /// sample to sample.
    #[inline]
    pub(crate) fn pair(self, a: u64, b: u64) -> u64 {
        fold(a ^ self.0, b ^ self.0.rotate_left(32) ^ A)
    }

    /// Of a text, eight bytes at a time.
    pub fn text(self, start: u64, text: &str) -> u64 {
        let word = |chunk: &[u8]| chunk.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        text.as_bytes().chunks(8).fold(start, |sum, chunk| self.mix(sum, word(chunk)))
    }

    #[inline]
    pub fn host(self, host: &Host) -> u64 {
        let [high, low] = halves(&host.address);
        self.mix(high ^ (host.version as u64) << 56, low)
    }
}

/// Multiply to 128 bits and fold: each input bit reaches each output bit.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[inline]
pub(super) fn halves(address: &[u8; 16]) -> [u64; 2] {
    let value = u128::from_be_bytes(*address);
    [(value >> 64) as u64, value as u64]
}
