//! Timer wheel: which flows to look at when a second is over.
//!
//! Entries are hints. A flow says itself when it is over; the wheel only makes
//! sure that it is asked no later than that. A flow whose deadline moved later
//! is asked early and put back, one whose deadline moved earlier is entered
//! again. An entry that is no longer the flow's own is dropped when it comes up.

/// Buckets, one a second: covers the longest default time-out. A deadline
/// further off waits in the last bucket and is put back.
const SECONDS: i64 = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: u32,
    /// Deadline the flow had when it was entered, to recognise stale entries.
    pub(crate) deadline_s: i64,
}

#[derive(Debug)]
pub(crate) struct Wheel {
    buckets: Vec<Vec<Entry>>,
    /// First second not yet swept; nothing is due before it.
    next_s: Option<i64>,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self { buckets: (0..SECONDS).map(|_| Vec::new()).collect(), next_s: None }
    }

    /// `now_s`: no deadline will ever be before the first one told.
    pub(crate) fn insert(&mut self, entry: Entry, now_s: i64) {
        let next_s = *self.next_s.get_or_insert(now_s);
        let at = entry.deadline_s.clamp(next_s, next_s + SECONDS - 1);
        self.buckets[at.rem_euclid(SECONDS) as usize].push(entry);
    }

    /// Takes out everything due before `until_s` into `due`.
    pub(crate) fn take_due(&mut self, until_s: i64, due: &mut Vec<Entry>) {
        let Some(next_s) = self.next_s else { return };
        if until_s <= next_s {
            return;
        }
        // A jump over the whole wheel empties it once.
        for second in next_s..until_s.min(next_s + SECONDS) {
            due.append(&mut self.buckets[second.rem_euclid(SECONDS) as usize]);
        }
        self.next_s = Some(until_s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_asked_later_than_its_deadline_whatever_comes_first() {
        let mut wheel = Wheel::new();
        for deadline_s in [700, 5, 10_000, 6] {
            wheel.insert(Entry { id: deadline_s as u32, deadline_s }, 0);
        }
        let mut due = Vec::new();
        wheel.take_due(7, &mut due);
        let mut early: Vec<_> = due.drain(..).map(|entry| entry.id).collect();
        early.sort_unstable();
        assert_eq!(early, [5, 6]);
        wheel.take_due(1_000_000, &mut due);
        let mut rest: Vec<_> = due.iter().map(|entry| entry.id).collect();
        rest.sort_unstable();
        assert_eq!(rest, [700, 10_000]);
    }
}
