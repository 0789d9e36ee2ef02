//! Hashes of ended flows: tells a conversation's next record from a new
//! conversation.
//!
//! Only ever grows, up to its cap; beyond it new hashes are refused. Equal
//! hashes of different keys count as one: with 64 bits and four million of them
//! that is one chance in two million for a whole run.

use super::slots::{FREE, Slots};

/// Hashes kept, for each shard: 14 to 21 bytes each.
pub(crate) const MAX_REMEMBERED: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct Remembered {
    /// Hashes with their halves swapped: the shard took the upper one.
    slots: Slots,
    cap: usize,
}

/// The lower half of a slot is never 0.
fn slot(hash: u64) -> u64 {
    let slot = hash.rotate_left(32);
    slot | u64::from(slot as u32 == 0)
}

impl Remembered {
    pub(crate) fn new(cap: usize) -> Self {
        Self { slots: Slots::new(), cap }
    }

    /// Takes the memory for so many flows that ended now.
    pub(crate) fn preallocate(&mut self, flows: usize) {
        self.slots.preallocate(flows.min(self.cap));
    }

    /// Asks for the slots of a hash that will be looked for soon.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.slots.prefetch(hash as u32);
    }

    #[inline]
    pub(crate) fn contains(&self, hash: u64) -> bool {
        let wanted = slot(hash);
        self.slots.find((wanted >> 32) as u32, |found| found == wanted) != FREE
    }

    /// False when the hash is new and the set is full.
    pub(crate) fn insert(&mut self, hash: u64) -> bool {
        if self.contains(hash) {
            return true;
        }
        if self.slots.len() == self.cap {
            return false;
        }
        self.slots.insert(slot(hash));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_like_a_set_up_to_its_cap(
            hashes in proptest::collection::vec(0u64..3_000, 0..4_000),
            cap in 1usize..2_000,
        ) {
            let mut remembered = Remembered::new(cap);
            let mut model = std::collections::HashSet::new();
            for hash in hashes {
                let room = model.len() < cap || model.contains(&hash);
                prop_assert_eq!(remembered.insert(hash), room);
                if room {
                    model.insert(hash);
                }
            }
            prop_assert!((0..3_000).all(|n| remembered.contains(n) == model.contains(&n)));
        }
    }
}
