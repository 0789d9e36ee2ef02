//! Bottom-k sample: the k members with the smallest hashes.
//!
//! A uniform sample of the distinct members, whatever their order and however
//! often each came; the k smallest of a union are among the k smallest of its
//! parts, so merging is exact.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BottomK<T, const K: usize> {
    len: u8,
    items: [(u32, T); K],
}

impl<T: Copy + Ord + Default, const K: usize> Default for BottomK<T, K> {
    fn default() -> Self {
        Self { len: 0, items: [(0, T::default()); K] }
    }
}

impl<T: Copy + Ord + Default, const K: usize> BottomK<T, K> {
    /// `hash` must be a function of `item` alone.
    #[inline]
    pub fn insert(&mut self, hash: u64, item: T) {
        let len = self.len as usize;
        let short = (hash >> 32) as u32;
        // Nearly always so once it is full.
        if len == K && short > self.items[K - 1].0 {
            return;
        }
        let entry = (short, item);
        if len == K && entry >= self.items[K - 1] {
            return;
        }
        let Err(at) = self.items[..len].binary_search(&entry) else { return };
        let end = len.min(K - 1);
        self.items.copy_within(at..end, at + 1);
        self.items[at] = entry;
        self.len = (len + 1).min(K) as u8;
    }

    pub fn merge(&mut self, other: &Self) {
        for &(hash, item) in &other.items[..other.len as usize] {
            self.insert(u64::from(hash) << 32, item);
        }
    }

    /// Whether an item of this hash that is not a member yet would become one.
    pub(crate) fn would_take(&self, hash: u64) -> bool {
        let last = self.items.last().map_or(0, |&(last, _)| last);
        !self.is_full() || (hash >> 32) as u32 <= last
    }

    pub(crate) fn is_full(&self) -> bool {
        usize::from(self.len) == K
    }

    /// Items with the upper halves of their hashes, by those.
    pub(crate) fn hashed(&self) -> &[(u32, T)] {
        &self.items[..self.len as usize]
    }

    /// By hash.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.items[..self.len as usize].iter().map(|&(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::Seed;
    use super::*;

    #[test]
    fn keeps_the_smallest_hashes_in_any_order_of_insertion_and_merge() {
        let hash = |item: u32| Seed::default().mix(u64::from(item), 0);
        let mut all: Vec<u32> = (0..200).collect();
        all.sort_by_key(|&item| (hash(item) >> 32, item));
        let mut whole = BottomK::<u32, 8>::default();
        let mut parts = [BottomK::<u32, 8>::default(), BottomK::default()];
        for item in 0..200u32 {
            whole.insert(hash(item), item);
            whole.insert(hash(item), item);
            parts[(item % 2) as usize].insert(hash(199 - item), 199 - item);
        }
        let [mut left, right] = parts;
        left.merge(&right);
        assert_eq!(whole, left);
        assert_eq!(whole.iter().collect::<Vec<_>>(), all[..8]);
    }
}
