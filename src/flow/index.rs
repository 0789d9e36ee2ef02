//! Hash index from a flow's hash to where its state lies.
//!
//! Open addressing with linear probing over 8-byte slots: half the hash as a
//! tag and a 32-bit id. One cache line holds eight candidates, and neither
//! growing nor deleting ever touches the flows themselves.

/// Slot value that is free. Ids are below `u32::MAX`.
const EMPTY: u64 = u64::MAX;

/// Load at which the index doubles: linear probing stays at about two probes
/// for a hit up to here.
const MAX_LOAD_PERCENT: usize = 70;

#[derive(Debug)]
pub(crate) struct Index {
    slots: Vec<u64>,
    len: usize,
}

fn slot(hash: u64, id: u32) -> u64 {
    (hash << 32) | u64::from(id)
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { slots: vec![EMPTY; 1024], len: 0 }
    }

    fn mask(&self) -> usize {
        self.slots.len() - 1
    }

    /// First id under this hash for which `is_it` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.mask();
        let mut at = hash as u32 as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == EMPTY {
                return None;
            }
            if (slot >> 32) as u32 == hash as u32 && is_it(slot as u32) {
                return Some(slot as u32);
            }
            at = (at + 1) & mask;
        }
    }

    pub(crate) fn insert(&mut self, hash: u64, id: u32) {
        if (self.len + 1) * 100 > self.slots.len() * MAX_LOAD_PERCENT {
            self.grow();
        }
        self.len += 1;
        self.place(slot(hash, id));
    }

    fn place(&mut self, value: u64) {
        let mask = self.mask();
        let mut at = (value >> 32) as usize & mask;
        while self.slots[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = value;
    }

    fn grow(&mut self) {
        let doubled = self.slots.len() * 2;
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; doubled]);
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
        let mask = self.mask();
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let value = self.slots[at];
            if value == EMPTY {
                break;
            }
            let home = (value >> 32) as usize & mask;
            // Move it back unless its home lies between the gap and here.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                self.slots[gap] = value;
                gap = at;
            }
        }
        self.slots[gap] = EMPTY;
        self.len -= 1;
    }

    fn position(&self, hash: u64, id: u32) -> Option<usize> {
        let mask = self.mask();
        let wanted = slot(hash, id);
        let mut at = hash as u32 as usize & mask;
        loop {
            match self.slots[at] {
                EMPTY => return None,
                found if found == wanted => return Some(at),
                _ => at = (at + 1) & mask,
            }
        }
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
                // Few distinct homes, so that clusters and wrap-around happen.
                let hash = (key % 7) * 0x1_0000_0193 + 1020 + key % 5;
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
