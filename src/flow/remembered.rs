//! Hashes of ended flows: tells a conversation's next record from a new
//! conversation.
//!
//! Only ever grows, up to its cap; beyond it new hashes are refused. Equal
//! hashes of different keys count as one: with 64 bits and four million of them
//! that is one chance in two million for a whole run.

use crate::memory::{prefetch, zeros_in_huge_pages};

/// Hashes kept, for each shard: 11 to 21 bytes each.
pub(crate) const MAX_REMEMBERED: usize = 4 << 20;

/// Load at which the set doubles.
const MAX_LOAD_PERCENT: usize = 75;

#[derive(Debug)]
pub(crate) struct Remembered {
    /// 0 is free.
    slots: Vec<u64>,
    len: usize,
    cap: usize,
}

impl Remembered {
    pub(crate) fn new(cap: usize) -> Self {
        Self { slots: Vec::new(), len: 0, cap }
    }

    /// Where the search begins: the shard took the upper half of the hash.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    /// Asks for the slots of a hash that will be looked for soon.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if !self.slots.is_empty() {
            prefetch(&self.slots[self.home(hash)]);
        }
    }

    #[inline]
    pub(crate) fn contains(&self, hash: u64) -> bool {
        let hash = hash.max(1);
        !self.slots.is_empty() && self.slots[self.find(hash)] == hash
    }

    /// False when the hash is new and the set is full.
    pub(crate) fn insert(&mut self, hash: u64) -> bool {
        let hash = hash.max(1);
        if self.contains(hash) {
            return true;
        }
        if self.len == self.cap {
            return false;
        }
        if (self.len + 1) * 100 > self.slots.len() * MAX_LOAD_PERCENT {
            self.grow();
        }
        let at = self.find(hash);
        self.slots[at] = hash;
        self.len += 1;
        true
    }

    /// The hash's slot, or the free one where it belongs.
    #[inline]
    fn find(&self, hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = self.home(hash);
        while self.slots[at] != 0 && self.slots[at] != hash {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        let larger = (self.slots.len() * 2).max(1024);
        let old = std::mem::replace(&mut self.slots, zeros_in_huge_pages(larger));
        for hash in old {
            if hash != 0 {
                let at = self.find(hash);
                self.slots[at] = hash;
            }
        }
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
                // 0 and 1 are one.
                let room = model.len() < cap || model.contains(&hash.max(1));
                prop_assert_eq!(remembered.insert(hash), room);
                if room {
                    model.insert(hash.max(1));
                }
            }
            prop_assert!((0..3_000).all(|n| remembered.contains(n) == model.contains(&n.max(1))));
        }
    }
}
