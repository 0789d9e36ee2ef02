//! Hash index from a flow's hash to where its state lies.
//!
//! A slot is half the hash and a 32-bit id, so neither growing nor deleting
//! ever touches the flows themselves.

use super::slots::{FREE, Slots};

#[derive(Debug)]
pub(crate) struct Index {
    slots: Slots,
}

/// Ids are stored plus one: 0 is a free slot.
fn slot(hash: u64, id: u32) -> u64 {
    (hash << 32) | (u64::from(id) + 1)
}

/// The shard took the hash's other half.
fn tag(hash: u64) -> u32 {
    hash as u32
}

fn id_of(slot: u64) -> u32 {
    (slot as u32).wrapping_sub(1)
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { slots: Slots::new() }
    }

    /// Takes the memory for so many entries now.
    pub(crate) fn preallocate(&mut self, entries: usize) {
        self.slots.preallocate(entries);
    }

    /// Asks for the slots of a hash that will be looked for soon.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.slots.prefetch(tag(hash));
    }

    /// First id under this hash's tag, which may be another flow's.
    #[inline]
    pub(crate) fn guess(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// First id under this hash for which `is_it` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let slot = self.slots.find(tag(hash), |slot| is_it(id_of(slot)));
        (slot != FREE).then(|| id_of(slot))
    }

    pub(crate) fn insert(&mut self, hash: u64, id: u32) {
        self.slots.insert(slot(hash, id));
    }

    /// Gives an entry another id.
    pub(crate) fn replace(&mut self, hash: u64, old: u32, new: u32) {
        self.slots.replace(slot(hash, old), slot(hash, new));
    }

    pub(crate) fn remove(&mut self, hash: u64, id: u32) {
        self.slots.remove(slot(hash, id));
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
                    prop_assert_eq!(index.slots.len(), model.len());
                }
            }
        }
    }
}
