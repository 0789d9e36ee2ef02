//! Timer wheel: which flows to look at when a second is over.
//!
//! Entries are hints: each names a place where a flow lies. A flow says itself
//! when it is over; the wheel only makes sure that it is asked no later than
//! that. A flow whose deadline moved later is asked early and put back, one whose
//! deadline moved earlier is entered again. A place notes its earliest entry and
//! keeps it for the next flow there, so that a flood that pushes out its own
//! flows enters each place once. Any other entry is dropped when it comes up.

use super::slab::Slab;

/// Buckets, one a second: covers the longest default time-out. A deadline
/// further off waits in the last bucket and is put back.
const SECONDS: i64 = 512;

/// Ids in a chunk: with its length and link 256 bytes, so that a bucket of a
/// few flows stays small.
const CHUNK_IDS: usize = 62;

/// No chunk: no slab has a value there.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Chunk {
    ids: [u32; CHUNK_IDS],
    len: u32,
    next: u32,
}

/// Buckets are lists of chunks that are used again, so that a flood that
/// fills one bucket after the other neither allocates for each flow nor leaves
/// every bucket with the memory of its largest moment.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// First chunk of each bucket: the one that takes ids.
    heads: Vec<u32>,
    chunks: Slab<Chunk>,
    /// First second not yet swept; nothing is due before it.
    next_s: i64,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self { heads: vec![NONE; SECONDS as usize], chunks: Slab::new(), next_s: i64::MIN }
    }

    /// Takes the memory for so many flows now.
    pub(crate) fn preallocate(&mut self, flows: usize) {
        self.chunks.preallocate(flows / CHUNK_IDS);
    }

    /// Says when it is, before the first entry: no deadline will ever be before
    /// it.
    pub(crate) fn start(&mut self, now_s: i64) {
        self.next_s = now_s;
    }

    /// Enters `id` and returns the second in which it will come up: its
    /// deadline or earlier.
    pub(crate) fn insert(&mut self, id: u32, deadline_s: i64) -> i64 {
        let at = deadline_s.clamp(self.next_s, self.next_s.saturating_add(SECONDS - 1));
        let head = &mut self.heads[at.rem_euclid(SECONDS) as usize];
        if let Some(chunk) = self.chunks.get_mut(*head)
            && let Some(place) = chunk.ids.get_mut(chunk.len as usize)
        {
            *place = id;
            chunk.len += 1;
        } else {
            let mut chunk = Chunk { ids: [0; CHUNK_IDS], len: 1, next: *head };
            chunk.ids[0] = id;
            *head = self.chunks.insert(chunk);
        }
        at
    }

    #[cfg(test)]
    pub(crate) fn entries(&self) -> usize {
        let mut entries = 0;
        for &head in &self.heads {
            let mut at = head;
            while at != NONE {
                entries += self.chunks[at].len as usize;
                at = self.chunks[at].next;
            }
        }
        entries
    }

    /// Takes out everything due before `until_s` into `due`, with the second it
    /// was entered for.
    pub(crate) fn take_due(&mut self, until_s: i64, due: &mut Vec<(u32, i64)>) {
        // Before the start there is nothing; the wheel must not run ahead of it.
        if self.next_s == i64::MIN || until_s <= self.next_s {
            return;
        }
        // A jump over the whole wheel empties it once.
        for second in self.next_s..until_s.min(self.next_s.saturating_add(SECONDS)) {
            let bucket = second.rem_euclid(SECONDS) as usize;
            let mut at = std::mem::replace(&mut self.heads[bucket], NONE);
            while at != NONE {
                let chunk = self.chunks[at];
                due.extend(chunk.ids[..chunk.len as usize].iter().map(|&id| (id, second)));
                self.chunks.remove(at);
                at = chunk.next;
            }
        }
        self.next_s = until_s;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_that_of_the_entries_held_not_of_every_buckets_largest_moment() {
        let mut wheel = Wheel::new();
        wheel.start(0);
        let mut due = Vec::new();
        for second in 0..2 * SECONDS {
            for id in 0..1000 {
                wheel.insert(id, second);
            }
            wheel.take_due(second + 1, &mut due);
            assert_eq!(due.len(), 1000);
            due.clear();
        }
        assert!(wheel.chunks.high_water() <= 1000_u32.div_ceil(CHUNK_IDS as u32));
    }

    #[test]
    fn nothing_is_asked_later_than_its_deadline_whatever_comes_first() {
        let mut wheel = Wheel::new();
        wheel.start(0);
        let entered: Vec<_> =
            [700, 5, 10_000, 6].map(|second| wheel.insert(second as u32, second)).into();
        assert_eq!(entered, [SECONDS - 1, 5, SECONDS - 1, 6]);
        let mut due = Vec::new();
        wheel.take_due(7, &mut due);
        due.sort_unstable();
        assert_eq!(due, [(5, 5), (6, 6)]);
        due.clear();
        wheel.take_due(1_000_000, &mut due);
        due.sort_unstable();
        assert_eq!(due, [(700, SECONDS - 1), (10_000, SECONDS - 1)]);
    }
}
