//! Storage for many small values at stable 32-bit ids.
//!
//! Grows by chunks of doubling size: nothing ever moves, an almost empty slab
//! is small, and the chunks of a large one lie in huge pages. A growing `Vec`
//! would copy everything and hold twice the memory while it does, just when a
//! flood arrives.

use crate::memory::{populate, prefetch_line, vec_in_huge_pages};

/// Values in the first chunk; each further one holds twice as many.
const FIRST_CHUNK: u32 = 1024;
/// A chunk for each bit that may be the highest of an id, so that none is looked for in vain.
const CHUNKS: usize = 32;

#[derive(Debug)]
pub(crate) struct Slab<T> {
    /// Empty up to that of [`FIRST_CHUNK`]'s bit, and from the first that is not needed.
    chunks: [Vec<T>; CHUNKS],
    free: Vec<u32>,
    len: usize,
    high_water: u32,
}

/// Chunk of an id below 2^31 and its place there: which bit of the id plus [`FIRST_CHUNK`]
/// is the highest, and the bits below it.
#[inline(always)]
fn place(id: u32) -> (usize, usize) {
    let shifted = u64::from(id) + u64::from(FIRST_CHUNK);
    let chunk = shifted.ilog2();
    (chunk as usize % CHUNKS, (shifted ^ 1 << chunk) as usize)
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self { chunks: [const { Vec::new() }; CHUNKS], free: Vec::new(), len: 0, high_water: 0 }
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
        let (at, first) = place(id);
        let chunk = &mut self.chunks[at];
        if first == 0 && chunk.capacity() == 0 {
            *chunk = vec_in_huge_pages(1 << at);
        }
        chunk.push(value);
        self.high_water += 1;
        id
    }

    /// Takes the memory for so many values now.
    pub(crate) fn preallocate(&mut self, values: usize) {
        let mut missing = values.saturating_sub(self.high_water as usize);
        for (at, chunk) in self.chunks.iter_mut().enumerate().skip(place(0).0) {
            if missing == 0 {
                break;
            }
            if chunk.capacity() == 0 {
                *chunk = vec_in_huge_pages(1 << at);
            }
            let room = chunk.capacity() - chunk.len();
            populate(chunk, missing);
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

    /// The value of an id, and none where it was never given out.
    #[inline(always)]
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        let (chunk, at) = place(id);
        self.chunks[chunk].get(at)
    }

    /// See [`Self::get`].
    #[inline(always)]
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let (chunk, at) = place(id);
        self.chunks[chunk].get_mut(at)
    }

    /// Asks for a cache line of a value that will be needed soon.
    #[inline]
    pub(crate) fn prefetch(&self, id: u32, offset_bytes: usize) {
        if let Some(value) = self.get(id) {
            prefetch_line(value, offset_bytes);
        }
    }

    /// Asks for all of a value that will be needed soon.
    #[inline]
    pub(crate) fn prefetch_all(&self, id: u32) {
        if let Some(value) = self.get(id) {
            for offset_bytes in (0..size_of::<T>()).step_by(64) {
                prefetch_line(value, offset_bytes);
            }
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
