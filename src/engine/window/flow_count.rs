//! How many flows a second had, estimated from the rows of its log.
//!
//! It never says which, and is asked only where there may be too many to keep. Start at
//! [`FlowCount::insert`].

use super::hash::{Seed, halves};
use crate::packet::Address;

/// Bits of a hash that choose a register.
const COUNT_BITS: u32 = 12;

/// Distinct flows of a second: HyperLogLog with 4,096 registers (standard error
/// 1.6 %), a function of the set of flows alone.
#[derive(Clone, Debug)]
pub(super) struct FlowCount {
    registers: Box<[u8; 1 << COUNT_BITS]>,
    /// Rows counted so far.
    pub(super) singles: u32,
    pub(super) flows: u32,
}

impl Default for FlowCount {
    fn default() -> Self {
        Self { registers: Box::new([0; 1 << COUNT_BITS]), singles: 0, flows: 0 }
    }
}

impl FlowCount {
    #[inline]
    pub(super) fn insert(&mut self, seed: Seed, proto: u8, a: (Address, u16), b: (Address, u16)) {
        let end = |(address, port): (Address, u16)| {
            let [high, low] = halves(&address);
            seed.mix(high ^ u64::from(port) << 32, low)
        };
        let hash = seed.mix(end(a), end(b) ^ u64::from(proto));
        let index = (hash & ((1 << COUNT_BITS) - 1)) as usize;
        let rank = ((hash >> COUNT_BITS) | 1 << (64 - COUNT_BITS)).trailing_zeros() as u8 + 1;
        let register = &mut self.registers[index];
        *register = (*register).max(rank);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.registers.iter_mut().zip(other.registers.iter()) {
            *mine = (*mine).max(*theirs);
        }
    }

    pub(super) fn estimate(&self) -> usize {
        let m = self.registers.len() as f64;
        let zeros = self.registers.iter().filter(|&&r| r == 0).count();
        let sum: f64 =
            self.registers.iter().map(|&r| f64::from_bits((1023 - u64::from(r)) << 52)).sum();
        // Alpha and linear counting as in the paper, see [`super::hll`].
        let raw = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
        let few = raw <= 2.5 * m && zeros > 0;
        (if few { m * libm::log(m / zeros as f64) } else { raw }) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::key::mapped;

    #[test]
    fn distinct_flows_are_estimated_within_five_percent_from_any_split_of_the_rows() {
        let seed = Seed::default();
        let mut parts = [FlowCount::default(), FlowCount::default()];
        let mut whole = FlowCount::default();
        for n in 0..100_000u32 {
            let a = (mapped(n.to_be_bytes()), 1);
            let b = (mapped([10, 0, 0, 1]), 2);
            for _ in 0..2 {
                whole.insert(seed, 6, a, b);
            }
            parts[n as usize % 2].insert(seed, 6, a, b);
        }
        let [mut left, right] = parts;
        left.merge(&right);
        assert_eq!(left.registers, whole.registers);
        assert!((95_000..105_000).contains(&whole.estimate()), "{}", whole.estimate());
    }
}
