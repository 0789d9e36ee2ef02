//! The array below the hash tables of flows: lines of the cache with seven slots
//! each, open addressing over lines.
//!
//! The upper half of a slot is its tag, taken from a hash, the lower half is never
//! 0. Slots lie in the line of their tag's home or, where that is full, in one
//! soon after it; a line counts how many went on from it. So a search looks at
//! all seven at once, and mostly at one line: it is not known ahead which further
//! one would be needed, and to wait for memory costs more than all else. Lines lie
//! in the order of their tags' homes, so that growing can spread them where they
//! are: memory that was touched once is not given back for new.

use crate::lanes::equal;
use crate::memory::{populate, prefetch, roomy_vec_in_huge_pages};

/// What a search returns that found nothing.
pub(crate) const FREE: u64 = 0;

const FIRST_LINES: usize = 128;

/// Slots in a line: with the count of those that went on it has 64 bytes.
const SLOTS: usize = 7;
/// A bit for each.
const ALL: u32 = (1 << SLOTS) - 1;

/// Load at which the array grows, by half: it is 44 to 66 % full. Up to there one
/// search in ten at most goes on to a second line (Poisson, 4.6 of 7).
const MAX_LOAD_PERCENT: usize = 66;

/// Lines from which on an array gets room to grow in: half a huge page.
const ROOMY_LINES: usize = 1 << 14;
/// That room at least: 64 MiB of addresses, not of memory, for five million slots.
const ROOM_LINES: usize = 1 << 20;

/// One line of the cache.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Line {
    tags: [u32; SLOTS],
    /// Slots for which this line was full: they lie further on.
    went_on: u32,
    /// 0 where there is none.
    lows: [u32; SLOTS],
    unused: u32,
}

const _: () = assert!(size_of::<Line>() == 64);

impl Line {
    /// A bit for each slot of that tag, and maybe for free ones.
    #[inline(always)]
    fn tagged(&self, tag: u32) -> u32 {
        let [a, b, c, d, e, f, g] = self.tags;
        equal([a, b, c, d, e, f, g, self.went_on], tag) & ALL
    }

    /// A bit for each slot whose lower half is that.
    #[inline(always)]
    fn low(&self, low: u32) -> u32 {
        let [a, b, c, d, e, f, g] = self.lows;
        equal([a, b, c, d, e, f, g, self.unused], low) & ALL
    }

    /// Where there is room for one more.
    #[inline(always)]
    fn free(&self) -> Option<usize> {
        let free = self.low(0);
        (free != 0).then_some(free.trailing_zeros() as usize)
    }

    /// Where the slot is.
    #[inline(always)]
    fn position(&self, slot: u64) -> Option<usize> {
        let found = self.tagged(tag_of(slot)) & self.low(slot as u32);
        (found != 0).then_some(found.trailing_zeros() as usize)
    }

    #[inline(always)]
    fn set(&mut self, at: usize, slot: u64) {
        self.tags[at] = tag_of(slot);
        self.lows[at] = slot as u32;
    }

    /// Its slots, with free ones as [`FREE`].
    #[cfg(test)]
    fn slots(&self) -> impl Iterator<Item = u64> {
        let Self { tags, lows, .. } = *self;
        let join = |(tag, low)| if low == 0 { FREE } else { u64::from(tag) << 32 | u64::from(low) };
        tags.into_iter().zip(lows).map(join)
    }
}

#[derive(Debug)]
pub(crate) struct Slots {
    lines: Vec<Line>,
    len: usize,
}

impl Slots {
    pub(crate) fn new() -> Self {
        Self { lines: vec![Line::default(); FIRST_LINES], len: 0 }
    }

    /// Slots in use.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Asks for the line where the search for a tag begins.
    #[inline]
    pub(crate) fn prefetch(&self, tag: u32) {
        prefetch(&self.lines[self.home(tag)]);
    }

    /// First slot under a tag for which `is_it` holds, or [`FREE`].
    #[inline(always)]
    pub(crate) fn find(&self, tag: u32, mut is_it: impl FnMut(u64) -> bool) -> u64 {
        let mut at = self.home(tag);
        loop {
            let line = &self.lines[at];
            let mut candidates = line.tagged(tag);
            while candidates != 0 {
                let low = line.lows[candidates.trailing_zeros() as usize];
                let slot = u64::from(tag) << 32 | u64::from(low);
                if low != 0 && is_it(slot) {
                    return slot;
                }
                candidates &= candidates - 1;
            }
            if line.went_on == 0 {
                return FREE;
            }
            at = self.after(at);
        }
    }

    /// Adds a slot, which must not be there; its lower half must not be 0.
    #[inline]
    pub(crate) fn insert(&mut self, slot: u64) {
        debug_assert!(slot as u32 != 0);
        if (self.len + 1) * 100 > self.lines.len() * SLOTS * MAX_LOAD_PERCENT {
            self.grow();
        }
        self.len += 1;
        self.place(slot);
    }

    /// Puts another slot of the same tag in this one's place.
    pub(crate) fn replace(&mut self, old: u64, new: u64) {
        if let Some((line, at)) = self.position(old) {
            self.lines[line].set(at, new);
        }
    }

    /// Takes a slot out. Leaves nothing behind that would build up over months.
    #[inline]
    pub(crate) fn remove(&mut self, slot: u64) {
        let Some((found, at)) = self.position(slot) else { return };
        self.lines[found].set(at, FREE);
        self.len -= 1;
        let mut line = self.home(tag_of(slot));
        while line != found {
            self.lines[line].went_on -= 1;
            line = self.after(line);
        }
    }

    /// Line where the search for a tag begins.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.lines.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, line: usize) -> usize {
        if line + 1 == self.lines.len() { 0 } else { line + 1 }
    }

    /// Line of a slot, and its place there.
    #[inline]
    fn position(&self, slot: u64) -> Option<(usize, usize)> {
        let mut line = self.home(tag_of(slot));
        loop {
            if let Some(at) = self.lines[line].position(slot) {
                return Some((line, at));
            }
            if self.lines[line].went_on == 0 {
                return None;
            }
            line = self.after(line);
        }
    }

    #[inline]
    fn place(&mut self, slot: u64) {
        let mut at = self.home(tag_of(slot));
        loop {
            let line = &mut self.lines[at];
            if let Some(free) = line.free() {
                line.set(free, slot);
                return;
            }
            line.went_on += 1;
            at = self.after(at);
        }
    }

    /// Takes the memory for so many slots now. The array grows into it as it would
    /// have: few slots stay close together.
    pub(crate) fn preallocate(&mut self, slots: usize) {
        let mut lines = self.lines.len();
        while slots * 100 > lines * SLOTS * MAX_LOAD_PERCENT {
            lines = lines / 2 * 3;
        }
        if lines > self.lines.capacity() {
            self.move_to(lines, lines);
        }
        let missing = lines - self.lines.len();
        populate(&mut self.lines, missing);
    }

    /// To memory with room for `needed` lines, and `wished` ones where that can be had.
    fn move_to(&mut self, needed: usize, wished: usize) {
        let mut roomy = roomy_vec_in_huge_pages(needed, wished);
        roomy.extend_from_slice(&self.lines);
        self.lines = roomy;
    }

    #[cold]
    fn grow(&mut self) {
        let old_len = self.lines.len();
        let len = old_len / 2 * 3;
        if len > self.lines.capacity() {
            let room = if len < ROOMY_LINES { len } else { ROOM_LINES.max(len * 4) };
            self.move_to(len, room);
        }
        self.lines.resize(len, Line::default());
        // From the back: nearly all slots move up, into lines that are empty by then.
        let mut strays = Vec::new();
        for at in (0..old_len).rev() {
            let line = std::mem::take(&mut self.lines[at]);
            let mut held = !line.low(0) & ALL;
            while held != 0 {
                let place = held.trailing_zeros() as usize;
                held &= held - 1;
                let slot = u64::from(line.tags[place]) << 32 | u64::from(line.lows[place]);
                let home = self.home(line.tags[place]);
                // Up to `at` nothing is in its place yet: what belongs there waits, as
                // does what finds no room in its own line.
                match self.lines[home].free() {
                    Some(free) if home > at => self.lines[home].set(free, slot),
                    _ => strays.push(slot),
                }
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
            let held = slots.lines.iter().flat_map(Line::slots).filter(|&slot| slot != FREE);
            let held: HashSet<_> = held.collect();
            prop_assert_eq!(&held, &model);
            for slot in model {
                slots.remove(slot);
            }
            let left = |line: &Line| line.went_on > 0 || line.slots().any(|slot| slot != FREE);
            prop_assert!(slots.len() == 0 && !slots.lines.iter().any(left));
        }
    }

    #[test]
    fn memory_taken_ahead_is_grown_into() {
        let mut slots = Slots::new();
        let slot = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        slots.insert(slot(0));
        slots.preallocate(100_000);
        let (memory, first_lines) = (slots.lines.as_ptr(), slots.lines.len());
        assert_eq!(first_lines, FIRST_LINES);
        (1..100_000).for_each(|n| slots.insert(slot(n)));
        assert!(slots.lines.as_ptr() == memory && slots.lines.len() > 100 * first_lines);
        assert!((0..100_000).all(|n| slots.find(tag_of(slot(n)), |at| at == slot(n)) == slot(n)));
    }

    #[test]
    fn all_are_found_after_each_growth() {
        let mut slots = Slots::new();
        let slot = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut size = slots.lines.len();
        for n in 0..300_000 {
            slots.insert(slot(n));
            if slots.lines.len() != size {
                size = slots.lines.len();
                assert!(
                    (0..=n).all(|n| slots.find(tag_of(slot(n)), |at| at == slot(n)) == slot(n))
                );
            }
        }
        assert!(size > ROOMY_LINES);
    }
}
