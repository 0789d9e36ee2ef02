//! Hash tables of a window: one that knows its distinct keys, and two ways to
//! stay under a cap.
//!
//! [`Table`] is plain open addressing over a hash that the caller already has.
//! [`Capped`] is dropped as soon as its distinct keys exceed the cap.
//! [`Coarse`] falls back to a coarser key instead. Both steps depend on the set
//! of keys alone, never on their order, and happen at a merge as well; so any
//! split of the traffic ends in the same state.

use crate::memory::prefetch;

/// Values that are summed.
pub trait Merge {
    fn merge(&mut self, other: &Self);
}

/// Keys, values, and an index of slots. Keys and values lie in an order, mostly of
/// their arrival, that nothing outside may depend on; apart, since values are
/// large and many looks end at the key.
#[derive(Clone, Debug)]
pub struct Table<K, V> {
    /// Index of an entry plus one; 0 is free. Length is 0 or a power of two. Bits that no
    /// index needs are those of the hash, so that hardly any look goes to another's key.
    slots: Vec<u32>,
    keys: Vec<Key<K>>,
    values: Vec<V>,
}

#[derive(Clone, Copy, Debug)]
struct Key<K> {
    hash: u64,
    key: K,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { slots: Vec::new(), keys: Vec::new(), values: Vec::new() }
    }
}

impl<K: Copy + Eq + Ord, V> Table<K, V> {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    #[inline]
    pub fn get(&self, hash: u64, key: &K) -> Option<&V> {
        self.find(hash, key).map(|index| &self.values[index])
    }

    #[inline]
    pub fn get_mut(&mut self, hash: u64, key: &K) -> Option<&mut V> {
        let index = self.find(hash, key)?;
        Some(&mut self.values[index])
    }

    /// Asks for where a look at a key begins.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(slot) = self.slots.get(slot_of(hash) & self.slots.len().wrapping_sub(1)) {
            prefetch(slot);
        }
    }

    /// The same of the entry, once that has come.
    #[inline]
    pub(crate) fn prefetch_entry(&self, hash: u64) {
        let mask = self.slots.len().wrapping_sub(1);
        let Some(&slot) = self.slots.get(slot_of(hash) & mask) else { return };
        if let Some(index) = (slot as usize & mask).checked_sub(1) {
            prefetch(&self.keys[index]);
            prefetch(&self.values[index]);
        }
    }

    /// Adds an entry whose key is not in the table yet.
    #[inline]
    pub fn insert_new(&mut self, hash: u64, key: K, value: V) -> &mut V {
        debug_assert!(self.find(hash, &key).is_none());
        // Three quarters full at most keeps probes short.
        if (self.keys.len() + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let index = self.keys.len();
        self.keys.push(Key { hash, key });
        self.values.push(value);
        self.link(index);
        &mut self.values[index]
    }

    /// Value of an entry by its place.
    #[inline]
    pub(crate) fn at(&mut self, place: usize) -> &mut V {
        &mut self.values[place]
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.keys.iter().map(|entry| &entry.key).zip(&self.values)
    }

    /// The entry at a place of [`Self::iter`].
    pub(crate) fn nth(&self, at: usize) -> Option<(&K, &V)> {
        Some((&self.keys.get(at)?.key, self.values.get(at)?))
    }

    /// Entries by key: the order that detectors see.
    pub fn sorted(&self) -> Vec<(&K, &V)> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_unstable_by_key(|&(key, _)| *key);
        all
    }

    /// Bytes allocated.
    pub fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u32>()
            + self.keys.capacity() * size_of::<Key<K>>()
            + self.values.capacity() * size_of::<V>()
    }

    /// Forgets all entries and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.free_slots();
        self.keys.clear();
        self.values.clear();
    }

    /// Hands out all entries with their hashes and keeps the memory. No iterator of both
    /// together: it would copy values, which are large, at each step.
    pub(super) fn drain(&mut self, mut take: impl FnMut(u64, K, V)) {
        self.free_slots();
        for (entry, value) in self.keys.iter().zip(self.values.drain(..)) {
            take(entry.hash, entry.key, value);
        }
        self.keys.clear();
    }

    fn free_slots(&mut self) {
        if self.keys.len() * 8 < self.slots.len() {
            // A quiet second after a loud one: free the few slots one by one.
            let mask = self.slots.len() - 1;
            for (index, entry) in self.keys.iter().enumerate() {
                let mut at = slot_of(entry.hash) & mask;
                while self.slots[at] as usize & mask != index + 1 {
                    at = (at + 1) & mask;
                }
                self.slots[at] = 0;
            }
        } else {
            self.slots.fill(0);
        }
    }

    pub(super) fn hashes(&self) -> impl Iterator<Item = u64> {
        self.keys.iter().map(|entry| entry.hash)
    }

    /// Forgets entries by their places and hashes and keeps the memory. The last ones take
    /// the places of those that go: values are large.
    pub(crate) fn retain(&mut self, keeps: impl Fn(usize, u64) -> bool) {
        // Where the entry at hand was before.
        let (mut at, mut place) = (0, 0);
        while let Some(entry) = self.keys.get(at) {
            if keeps(place, entry.hash) {
                at += 1;
                place = at;
            } else {
                self.keys.swap_remove(at);
                self.values.swap_remove(at);
                place = self.keys.len();
            }
        }
        self.slots.fill(0);
        (0..self.keys.len()).for_each(|index| self.link(index));
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = (u64, K, V)> {
        self.keys.into_iter().zip(self.values).map(|(entry, value)| (entry.hash, entry.key, value))
    }

    /// Where an entry is in the order of [`Self::iter`].
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &K) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut at = slot_of(hash) & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return None;
            }
            if slot & !(mask as u32) == tag_of(hash, mask)
                && let index = (slot as usize & mask) - 1
                && let entry = &self.keys[index]
                && entry.hash == hash
                && entry.key == *key
            {
                return Some(index);
            }
            at = (at + 1) & mask;
        }
    }

    #[inline]
    fn link(&mut self, index: usize) {
        let mask = self.slots.len() - 1;
        let hash = self.keys[index].hash;
        let mut at = slot_of(hash) & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = tag_of(hash, mask) | (index as u32 + 1);
    }

    #[cold]
    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(16);
        self.slots.clear();
        self.slots.resize(size, 0);
        for index in 0..self.keys.len() {
            self.link(index);
        }
    }
}

/// The low bits choose HyperLogLog registers; take others for the slot.
#[inline]
fn slot_of(hash: u64) -> usize {
    (hash >> 20) as usize
}

/// What a slot has of a hash: other bits than those that choose the slot.
#[inline]
fn tag_of(hash: u64, mask: usize) -> u32 {
    (hash >> 32) as u32 & !(mask as u32)
}

impl<K: Copy + Eq + Ord, V: PartialEq> PartialEq for Table<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self
                .keys
                .iter()
                .zip(&self.values)
                .all(|(entry, value)| other.get(entry.hash, &entry.key) == Some(value))
    }
}

/// A table that is emptied for good once it would need more than `cap`
/// distinct keys. Its memory stays for the next second.
#[derive(Clone, Debug, PartialEq)]
pub struct Capped<K: Copy + Eq + Ord, V: PartialEq> {
    cap: usize,
    overflowed: bool,
    table: Table<K, V>,
}

impl<K: Copy + Eq + Ord, V: PartialEq + Default + Merge> Capped<K, V> {
    pub fn new(cap: usize) -> Self {
        Self { cap, overflowed: false, table: Table::default() }
    }

    /// The key's value, or nothing once the table has overflowed.
    #[inline]
    pub fn entry(&mut self, hash: u64, key: K) -> Option<&mut V> {
        if self.overflowed {
            return None;
        }
        if let Some(index) = self.table.find(hash, &key) {
            return Some(&mut self.table.values[index]);
        }
        if self.table.len() >= self.cap {
            self.overflow();
            return None;
        }
        Some(self.table.insert_new(hash, key, V::default()))
    }

    /// Asks for where a look at a key begins.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    pub fn merge(&mut self, other: Self) {
        if other.overflowed {
            self.overflow();
        }
        for (hash, key, value) in other.table.into_entries() {
            let Some(mine) = self.entry(hash, key) else { return };
            mine.merge(&value);
        }
    }

    /// For callers that know that there are more keys than the cap.
    pub(super) fn overflow(&mut self) {
        self.overflowed = true;
        self.table.clear();
    }

    /// Starts anew and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.overflowed = false;
        self.table.clear();
    }

    /// Bytes allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }

    /// The exact table, unless it overflowed.
    pub fn table(&self) -> Option<&Table<K, V>> {
        (!self.overflowed).then_some(&self.table)
    }

    pub fn overflowed(&self) -> bool {
        self.overflowed
    }
}

/// Keys with coarser forms. At the last level all keys are equal.
pub trait Coarsen: Copy + Eq + Ord {
    const LEVELS: u8;
    /// The form of this key (itself at a finer or equal level) at `level`.
    fn coarsen(self, level: u8) -> Self;
    fn hash(&self, seed: super::Seed) -> u64;
}

/// A table that steps to coarser keys whenever the distinct keys of its level
/// exceed `cap`: the level is the finest at which they fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Coarse<K: Coarsen, V: PartialEq> {
    cap: usize,
    level: u8,
    table: Table<K, V>,
}

impl<K: Coarsen, V: PartialEq + Default + Merge> Coarse<K, V> {
    pub fn new(cap: usize) -> Self {
        Self { cap: cap.max(1), level: 0, table: Table::default() }
    }

    pub fn level(&self) -> u8 {
        self.level
    }

    pub fn table(&self) -> &Table<K, V> {
        &self.table
    }

    pub fn entry(&mut self, seed: super::Seed, finest: K) -> &mut V {
        let index = self.index(seed, finest);
        &mut self.table.values[index]
    }

    /// Where the key's entry is: good until the level changes.
    pub(super) fn index(&mut self, seed: super::Seed, finest: K) -> usize {
        loop {
            let key = finest.coarsen(self.level);
            let hash = key.hash(seed);
            if let Some(index) = self.table.find(hash, &key) {
                return index;
            }
            if self.table.len() < self.cap || self.level + 1 >= K::LEVELS {
                self.table.insert_new(hash, key, V::default());
                return self.table.len() - 1;
            }
            self.coarsen_to(seed, self.level + 1);
        }
    }

    /// Value of an entry that [`Self::index`] found at this level.
    #[inline]
    pub(super) fn at(&mut self, index: usize) -> &mut V {
        &mut self.table.values[index]
    }

    pub fn merge(&mut self, seed: super::Seed, other: Self) {
        if other.level > self.level {
            self.coarsen_to(seed, other.level);
        }
        for (_, key, value) in other.table.into_entries() {
            self.entry(seed, key).merge(&value);
        }
    }

    fn coarsen_to(&mut self, seed: super::Seed, level: u8) {
        self.level = level;
        let fine = std::mem::take(&mut self.table);
        for (_, key, value) in fine.into_entries() {
            self.entry(seed, key).merge(&value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cleared_table_is_an_empty_one(
            before in prop::collection::btree_set(0u64..500, 0..300),
            after in prop::collection::btree_set(0u64..500, 0..20),
            again in prop::collection::btree_set(0u64..500, 0..300),
        ) {
            // Slots collide: one in eight differs. So do tags: one in three.
            let hash = |key: u64| (key / 8) << 20 | (key / 3) << 40;
            let mut table = Table::<u64, u64>::default();
            for keys in [before, after, again] {
                table.clear();
                for key in 0..500 {
                    prop_assert_eq!(table.get(hash(key), &key), None);
                }
                for &key in &keys {
                    table.insert_new(hash(key), key, key + 1);
                }
                prop_assert_eq!(table.len(), keys.len());
                for &key in &keys {
                    prop_assert_eq!(table.get(hash(key), &key), Some(&(key + 1)));
                }
            }
        }

        #[test]
        fn what_is_kept_is_found_and_nothing_else(
            keys in prop::collection::btree_set(0u64..500, 0..300),
            divisor in 1usize..5,
        ) {
            let hash = |key: u64| (key / 8) << 20 | (key / 3) << 40;
            let mut table = Table::<u64, u64>::default();
            keys.iter().for_each(|&key| *table.insert_new(hash(key), key, 0) = key + 1);
            table.retain(|place, _| place % divisor == 0);
            let kept: Vec<_> = keys.iter().copied().step_by(divisor).collect();
            prop_assert!(table.sorted().into_iter().map(|(key, _)| key).eq(&kept));
            for key in 0..500 {
                let value = kept.contains(&key).then_some(key + 1);
                prop_assert_eq!(table.get(hash(key), &key).copied(), value);
            }
        }
    }
}
