//! Storage for many small values at stable 32-bit ids.
//!
//! Grows by chunks: a growing `Vec` would copy everything and hold twice the
//! memory while it does, just when a flood arrives.

/// Values a chunk holds: large enough to amortise the allocation, small enough
/// that an almost empty slab stays small.
const CHUNK: usize = 1024;

#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }

    /// Values in use.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Ids ever given out: every id is below it.
    pub(crate) fn high_water(&self) -> u32 {
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        (full + self.chunks.last().map_or(0, Vec::len)) as u32
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if let Some(id) = self.free.pop() {
            self[id] = value;
            return id;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let chunks = self.chunks.len();
        let chunk = &mut self.chunks[chunks - 1];
        chunk.push(value);
        ((chunks - 1) * CHUNK + chunk.len() - 1) as u32
    }

    /// Gives the id back. The value stays until the id is used again.
    pub(crate) fn remove(&mut self, id: u32) {
        self.len -= 1;
        self.free.push(id);
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, id: u32) -> &T {
        &self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut T {
        &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }
}
