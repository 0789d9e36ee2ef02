//! HyperLogLog with 64 registers: how many distinct peers or ports.
//!
//! Flajolet et al. 2007 with linear counting below 2.5 m. 64 registers give a
//! standard error of 13 %, which is enough to tell 1 from 10 from 1,000, and
//! fit one cache line. Merging is the maximum of each register: idempotent, in
//! any order.

const REGISTERS: usize = 64;
const INDEX_BITS: u32 = 6;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hll {
    registers: [u8; REGISTERS],
}

impl Default for Hll {
    fn default() -> Self {
        Self { registers: [0; REGISTERS] }
    }
}

/// What one hash does to an [`Hll`]: a register and the rank it has at least.
/// The default does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Register {
    index: u8,
    rank: u8,
}

impl Register {
    #[inline]
    pub(crate) fn of(hash: u64) -> Self {
        let index = (hash & (REGISTERS as u64 - 1)) as u8;
        // The guard bit ends the run of zeros at the hash's width.
        let rank = ((hash >> INDEX_BITS) | 1 << (64 - INDEX_BITS)).trailing_zeros() as u8 + 1;
        Self { index, rank }
    }
}

impl Hll {
    #[inline]
    pub fn insert(&mut self, hash: u64) {
        self.raise(Register::of(hash));
    }

    #[inline]
    pub(crate) fn raise(&mut self, to: Register) {
        let register = &mut self.registers[usize::from(to.index) % REGISTERS];
        *register = (*register).max(to.rank);
    }

    /// The register that says all; nothing when several are filled.
    #[inline]
    pub(crate) fn only_register(&self) -> Option<Register> {
        let words = self.registers.as_chunks::<8>().0;
        // No branch for each: which word it is nobody can guess.
        let used = words.iter().enumerate().fold(0, |used: u32, (at, &word)| {
            used | u32::from(u64::from_le_bytes(word) != 0) << at
        });
        let at = used.trailing_zeros() as usize;
        let Some(&word) = words.get(at) else { return Some(Register::default()) };
        let word = u64::from_le_bytes(word);
        let byte = word.trailing_zeros() / 8;
        let rank = (word >> (byte * 8)) as u8;
        let is_only = used == 1 << at && word == u64::from(rank) << (byte * 8);
        is_only.then_some(Register { index: (at * 8) as u8 + byte as u8, rank })
    }

    #[inline]
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.registers.iter_mut().zip(&other.registers) {
            *mine = (*mine).max(*theirs);
        }
    }

    pub(crate) fn registers_in_use(&self) -> usize {
        self.registers.iter().filter(|&&register| register > 0).count()
    }

    pub fn is_empty(&self) -> bool {
        self.registers.iter().all(|&r| r == 0)
    }

    /// Estimated number of distinct hashes.
    pub fn estimate(&self) -> u64 {
        let m = REGISTERS as f64;
        let zeros = self.registers.iter().filter(|&&register| register == 0).count() as u32;
        // Eight sums beside each other, since each addition waits for the one
        // before. Powers of two add up without rounding unless their exponents
        // are more than 47 apart.
        let mut sums = [0.0; 8];
        for registers in self.registers.chunks_exact(8) {
            for (sum, &register) in sums.iter_mut().zip(registers) {
                // 2^-register, straight into the exponent.
                *sum += f64::from_bits((1023 - u64::from(register)) << 52);
            }
        }
        let sum: f64 = sums.iter().sum();
        // 0.709 is alpha for 64 registers.
        let raw = 0.709 * m * m / sum;
        let estimate =
            if raw <= 2.5 * m && zeros > 0 { m * libm::log(m / f64::from(zeros)) } else { raw };
        libm::round(estimate) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::Seed;
    use super::*;

    #[test]
    fn estimate_is_within_three_standard_errors() {
        for count in [0u64, 1, 2, 10, 30, 100, 300, 1_000, 10_000, 1_000_000] {
            let mut hll = Hll::default();
            for item in 0..count {
                hll.insert(Seed::default().mix(item, 7));
            }
            let estimate = hll.estimate() as f64;
            let error = (estimate - count as f64).abs();
            assert!(error <= (0.4 * count as f64).max(0.1), "{count}: {estimate}");
        }
    }

    #[test]
    fn the_only_register_says_all_until_there_are_two() {
        for item in 0..500u64 {
            let mut hll = Hll::default();
            assert_eq!(hll.only_register(), Some(Register::default()));
            let hash = Seed::default().mix(item, 9);
            hll.insert(hash);
            assert_eq!(hll.only_register(), Some(Register::of(hash)));
            let mut again = Hll::default();
            again.raise(Register::of(hash));
            assert_eq!(again, hll);
            hll.insert(hash ^ 1 << (item % u64::from(INDEX_BITS)));
            assert_eq!(hll.only_register(), None);
        }
    }

    #[test]
    fn merging_equals_inserting_everything_in_one() {
        let (mut left, mut right, mut all) = (Hll::default(), Hll::default(), Hll::default());
        for item in 0..5_000u64 {
            let hash = Seed::default().mix(item, 1);
            if item % 3 == 0 { &mut left } else { &mut right }.insert(hash);
            all.insert(hash);
        }
        left.merge(&right);
        left.merge(&right);
        assert_eq!(left, all);
    }
}
