//! Hash index from a flow's hash to where its state lies.
//!
//! Open addressing with linear probing over 8-byte slots: half the hash as a
//! tag and a 32-bit id. One cache line holds eight candidates, and neither
//! growing nor deleting ever touches the flows themselves. A slot's place is
//! in the order of its tag, so that growing reads and writes straight through.

use crate::memory::{prefetch, zeros_in_huge_pages};

/// Slot value that is free: ids are stored plus one.
const EMPTY: u64 = 0;

/// Load at which the index grows: up to here linear probing takes two probes
/// for a hit and five to find that there is none.
const MAX_LOAD_PERCENT: usize = 66;

#[derive(Debug)]
pub(crate) struct Index {
    slots: Vec<u64>,
    len: usize,
}

fn slot(hash: u64, id: u32) -> u64 {
    (hash << 32) | (u64::from(id) + 1)
}

fn tag_of(slot: u64) -> u32 {
    (slot >> 32) as u32
}

fn id_of(slot: u64) -> u32 {
    (slot as u32).wrapping_sub(1)
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { slots: zeros_in_huge_pages(1024), len: 0 }
    }

    /// Where the search for a tag begins. The shard took the hash's other half.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.slots.len() as u64) >> 32) as usize
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    /// First slot from the tag's home on for which `is_it` holds. There must be
    /// one: the free slots are, where `is_it` takes those.
    #[inline(always)]
    fn search(&self, tag: u32, mut is_it: impl FnMut(u64) -> bool) -> (usize, u64) {
        let mut at = self.home(tag);
        loop {
            for (offset, &slot) in self.slots[at..].iter().enumerate() {
                if is_it(slot) {
                    return (at + offset, slot);
                }
            }
            at = 0;
        }
    }

    /// Asks for the slots of a hash that will be looked for soon.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        prefetch(&self.slots[self.home(hash as u32)]);
    }

    /// First id under this hash's tag, which may be another flow's.
    #[inline]
    pub(crate) fn guess(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// First id under this hash for which `is_it` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = hash as u32;
        let is_end = |slot| slot == EMPTY || (tag_of(slot) == tag && is_it(id_of(slot)));
        let (_, slot) = self.search(tag, is_end);
        (slot != EMPTY).then(|| id_of(slot))
    }

    pub(crate) fn insert(&mut self, hash: u64, id: u32) {
        if (self.len + 1) * 100 > self.slots.len() * MAX_LOAD_PERCENT {
            self.grow();
        }
        self.len += 1;
        self.place(slot(hash, id));
    }

    fn place(&mut self, value: u64) {
        let (at, _) = self.search(tag_of(value), |slot| slot == EMPTY);
        self.slots[at] = value;
    }

    /// By half: at 1.5 times the slots the load never falls under 44 %.
    fn grow(&mut self) {
        let larger = self.slots.len() / 2 * 3;
        let old = std::mem::replace(&mut self.slots, zeros_in_huge_pages(larger));
        for value in old {
            if value != EMPTY {
                self.place(value);
            }
        }
    }

    /// Gives an entry another id.
    pub(crate) fn replace(&mut self, hash: u64, old: u32, new: u32) {
        if let Some(at) = self.position(hash, old) {
            self.slots[at] = slot(hash, new);
        }
    }

    /// Takes an entry out and closes the gap, so that no tombstones build up
    /// over months.
    pub(crate) fn remove(&mut self, hash: u64, id: u32) {
        let Some(mut gap) = self.position(hash, id) else { return };
        let len = self.slots.len();
        let distance =
            |from: usize, to: usize| if to >= from { to - from } else { to + len - from };
        let mut at = gap;
        loop {
            at = self.next(at);
            let value = self.slots[at];
            if value == EMPTY {
                break;
            }
            // Move it back unless its home lies between the gap and here.
            if distance(self.home(tag_of(value)), at) >= distance(gap, at) {
                self.slots[gap] = value;
                gap = at;
            }
        }
        self.slots[gap] = EMPTY;
        self.len -= 1;
    }

    fn position(&self, hash: u64, id: u32) -> Option<usize> {
        let wanted = slot(hash, id);
        let (at, found) = self.search(hash as u32, |slot| slot == EMPTY || slot == wanted);
        (found != EMPTY).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn behaves_like_a_map(ops in proptest::collection::vec((any::<bool>(), 0u64..400), 0..3000)) {
            let mut index = Index::new();
            let mut model = HashMap::new();
            for (n, (insert, key)) in ops.into_iter().enumerate() {
                // Few distinct homes near the end, so that clusters and wrap-around happen.
                let hash = (key % 7) << 32 | u64::from(u32::MAX - (key % 5) as u32 * 0x2f_ffff);
                let id = key as u32;
                if insert && !model.contains_key(&id) {
                    index.insert(hash, id);
                    model.insert(id, hash);
                } else if let Some(hash) = model.remove(&id) {
                    index.remove(hash, id);
                }
                if n % 16 == 0 {
                    for (&id, &hash) in &model {
                        prop_assert_eq!(index.find(hash, |found| found == id), Some(id));
                    }
                    prop_assert_eq!(index.len, model.len());
                }
            }
        }
    }
}
