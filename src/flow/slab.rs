//! Storage for many small values at stable 32-bit ids.
//!
//! Grows by chunks of doubling size: nothing ever moves, an almost empty slab
//! is small, and the chunks of a large one lie in huge pages. A growing `Vec`
//! would copy everything and hold twice the memory while it does, just when a
//! flood arrives.

use crate::memory::{populate, prefetch_line, vec_in_huge_pages};

/// Values in the first chunk; each further one holds twice as many.
const FIRST_CHUNK: u32 = 1024;

#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
    len: usize,
    high_water: u32,
}

/// Chunk of an id and its place there. Chunk `c` begins at id
/// `FIRST_CHUNK * (2^c - 1)`.
#[inline]
fn place(id: u32) -> (usize, usize) {
    let shifted = u64::from(id) + u64::from(FIRST_CHUNK);
    let chunk = shifted.ilog2() - FIRST_CHUNK.ilog2();
    (chunk as usize, (shifted - (u64::from(FIRST_CHUNK) << chunk)) as usize)
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0, high_water: 0 }
    }

    /// Values in use.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Ids ever given out: every id is below it.
    pub(crate) fn high_water(&self) -> u32 {
        self.high_water
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if let Some(id) = self.free.pop() {
            self[id] = value;
            return id;
        }
        let id = self.high_water;
        let (chunk, _) = place(id);
        if chunk == self.chunks.len() {
            self.chunks.push(vec_in_huge_pages((FIRST_CHUNK as usize) << chunk));
        }
        self.chunks[chunk].push(value);
        self.high_water += 1;
        id
    }

    /// Takes the memory for so many values now.
    pub(crate) fn preallocate(&mut self, values: usize) {
        let mut missing = values.saturating_sub(self.high_water as usize);
        for chunk in 0.. {
            if chunk == self.chunks.len() {
                if missing == 0 {
                    break;
                }
                self.chunks.push(vec_in_huge_pages((FIRST_CHUNK as usize) << chunk));
            }
            let room = self.chunks[chunk].capacity() - self.chunks[chunk].len();
            populate(&mut self.chunks[chunk], missing);
            missing = missing.saturating_sub(room);
        }
    }

    /// The removed value whose place the next one takes, if any.
    #[inline]
    pub(crate) fn predecessor(&self) -> Option<&T> {
        self.free.last().map(|&id| &self[id])
    }

    /// Gives the id back. The value stays until the id is used again.
    pub(crate) fn remove(&mut self, id: u32) {
        self.len -= 1;
        self.free.push(id);
    }

    /// Asks for a cache line of a value that will be needed soon.
    #[inline]
    pub(crate) fn prefetch(&self, id: u32, offset_bytes: usize) {
        let (chunk, at) = place(id);
        if let Some(value) = self.chunks.get(chunk).and_then(|chunk| chunk.get(at)) {
            prefetch_line(value, offset_bytes);
        }
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, id: u32) -> &T {
        let (chunk, at) = place(id);
        &self.chunks[chunk][at]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut T {
        let (chunk, at) = place(id);
        &mut self.chunks[chunk][at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_keeps_its_value_over_all_chunks() {
        let mut slab = Slab::new();
        for value in 0..20_000u32 {
            assert_eq!(slab.insert(value), value);
        }
        assert!((0..20_000).all(|id| slab[id] == id));
        assert_eq!(slab.predecessor(), None);
        slab.remove(5);
        assert_eq!(slab.predecessor(), Some(&5));
        assert_eq!((slab.insert(77), slab[5], slab.len()), (5, 77, 20_000));
        assert_eq!(slab.high_water(), 20_000);
    }

    #[test]
    fn memory_taken_ahead_is_used() {
        let mut slab = Slab::new();
        slab.insert(7_u32);
        slab.preallocate(5_000);
        let chunks: Vec<_> = slab.chunks.iter().map(|chunk| chunk.as_ptr()).collect();
        for value in 1..5_000_u32 {
            assert_eq!(slab.insert(value), value);
        }
        assert!(slab.chunks.iter().map(|chunk| chunk.as_ptr()).eq(chunks));
        assert_eq!((slab[0], slab[4_999]), (7, 4_999));
    }
}
