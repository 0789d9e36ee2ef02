//! The array below the hash tables of flows: 8-byte slots, open addressing,
//! linear probing.
//!
//! The upper half of a slot is its tag, taken from a hash. Slots lie in the
//! order of their tags' homes, so that growing can spread them where they are:
//! memory that was touched once is not given back for new. One cache line holds
//! eight candidates. The value 0 is a free slot.

use crate::memory::{prefetch, roomy_vec_in_huge_pages};

/// A slot that holds nothing.
pub(crate) const FREE: u64 = 0;

const FIRST_SLOTS: usize = 1024;

/// Load at which the array grows, by half: it is 44 to 66 % full. Up to there
/// linear probing takes two probes for a hit and five to find that there is none.
const MAX_LOAD_PERCENT: usize = 66;

/// Slots from which on an array gets room to grow in: half a huge page.
const ROOMY_SLOTS: usize = 1 << 17;
/// That room at least: 64 MiB of addresses, not of memory, for five million.
const ROOM_SLOTS: usize = 1 << 23;

#[derive(Debug)]
pub(crate) struct Slots {
    slots: Vec<u64>,
    len: usize,
}

impl Slots {
    pub(crate) fn new() -> Self {
        Self { slots: vec![FREE; FIRST_SLOTS], len: 0 }
    }

    /// Slots in use.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Asks for the line where the search for a tag begins.
    #[inline]
    pub(crate) fn prefetch(&self, tag: u32) {
        prefetch(&self.slots[self.home(tag)]);
    }

    /// First slot under a tag for which `is_it` holds, or [`FREE`].
    #[inline(always)]
    pub(crate) fn find(&self, tag: u32, mut is_it: impl FnMut(u64) -> bool) -> u64 {
        let is_end = |&slot: &u64| slot == FREE || (tag_of(slot) == tag && is_it(slot));
        let (before, from) = self.slots.split_at(self.home(tag));
        from.iter().chain(before).copied().find(is_end).unwrap_or(FREE)
    }

    /// Adds a slot, which must not be there and not be 0.
    pub(crate) fn insert(&mut self, slot: u64) {
        if (self.len + 1) * 100 > self.slots.len() * MAX_LOAD_PERCENT {
            self.grow();
        }
        self.len += 1;
        self.place(slot);
    }

    /// Puts another slot of the same tag in this one's place.
    pub(crate) fn replace(&mut self, old: u64, new: u64) {
        if let Some(at) = self.position(old) {
            self.slots[at] = new;
        }
    }

    /// Takes a slot out and closes the gap, so that no tombstones build up over
    /// months.
    pub(crate) fn remove(&mut self, slot: u64) {
        let Some(mut gap) = self.position(slot) else { return };
        let len = self.slots.len();
        let distance =
            |from: usize, to: usize| if to >= from { to - from } else { to + len - from };
        let mut at = gap;
        loop {
            at = if at + 1 == len { 0 } else { at + 1 };
            let slot = self.slots[at];
            if slot == FREE {
                break;
            }
            // Move it back unless its home lies between the gap and here.
            if distance(self.home(tag_of(slot)), at) >= distance(gap, at) {
                self.slots[gap] = slot;
                gap = at;
            }
        }
        self.slots[gap] = FREE;
        self.len -= 1;
    }

    /// Where the search for a tag begins.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.slots.len() as u64) >> 32) as usize
    }

    fn position(&self, slot: u64) -> Option<usize> {
        let home = self.home(tag_of(slot));
        let (before, from) = self.slots.split_at(home);
        let found = from.iter().chain(before).position(|&at| at == FREE || at == slot)?;
        let at = if found < from.len() { home + found } else { found - from.len() };
        (self.slots[at] == slot).then_some(at)
    }

    #[inline]
    fn place(&mut self, slot: u64) {
        let home = self.home(tag_of(slot));
        let (before, from) = self.slots.split_at_mut(home);
        if let Some(free) = from.iter_mut().chain(before).find(|at| **at == FREE) {
            *free = slot;
        }
    }

    fn grow(&mut self) {
        let old_len = self.slots.len();
        let len = old_len / 2 * 3;
        if len > self.slots.capacity() {
            let room = if len < ROOMY_SLOTS { len } else { ROOM_SLOTS.max(len * 4) };
            let mut roomy = roomy_vec_in_huge_pages(len, room);
            roomy.extend_from_slice(&self.slots);
            self.slots = roomy;
        }
        self.slots.resize(len, FREE);
        // From the back: nearly all slots move up, into what is free by then.
        let mut strays = Vec::new();
        for at in (0..old_len).rev() {
            let slot = std::mem::replace(&mut self.slots[at], FREE);
            if slot == FREE {
                continue;
            }
            let home = self.home(tag_of(slot));
            // Below `at` nothing is in its place yet: what would land there waits.
            match self.slots[home..].iter_mut().find(|at| **at == FREE) {
                Some(free) if home > at => *free = slot,
                _ => strays.push(slot),
            }
        }
        for slot in strays {
            self.place(slot);
        }
    }
}

fn tag_of(slot: u64) -> u32 {
    (slot >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    /// Tags in clusters at both ends and in the middle, so that they run over
    /// the end and growing finds strays; few enough that many are equal.
    fn slot() -> impl Strategy<Value = u64> {
        let tag = prop_oneof![0..300_u32, u32::MAX - 300..=u32::MAX, Just(1 << 31), any::<u32>()];
        (tag, 1..40_u32).prop_map(|(tag, low)| u64::from(tag) << 32 | u64::from(low))
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(ops in proptest::collection::vec((0..4, slot()), 0..4_000)) {
            let mut slots = Slots::new();
            let mut model = HashSet::new();
            for (op, slot) in ops {
                if op > 0 {
                    if model.insert(slot) {
                        slots.insert(slot);
                    }
                } else if let Some(&slot) = model.iter().next() {
                    slots.remove(slot);
                    model.remove(&slot);
                }
            }
            prop_assert_eq!(slots.len(), model.len());
            for &slot in &model {
                prop_assert_eq!(slots.find(tag_of(slot), |found| found == slot), slot);
            }
            let held: HashSet<_> = slots.slots.iter().copied().filter(|&at| at != FREE).collect();
            prop_assert_eq!(held, model);
        }
    }

    #[test]
    fn all_are_found_after_each_growth() {
        let mut slots = Slots::new();
        let slot = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut size = slots.slots.len();
        for n in 0..300_000 {
            slots.insert(slot(n));
            if slots.slots.len() != size {
                size = slots.slots.len();
                assert!(
                    (0..=n).all(|n| slots.find(tag_of(slot(n)), |at| at == slot(n)) == slot(n))
                );
            }
        }
        assert!(size > ROOMY_SLOTS);
    }
}
