//! When to look at the descriptors of young processes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use ahash::AHashMap;

/// Young processes kept; a fork bomb's others are left to the next full dump.
const MAX_YOUNG: usize = 1 << 14;

/// Longer than between two full dumps.
const YOUNG: Duration = Duration::from_secs(2);

/// A look that comes this late is left out: the next one is due.
const TOO_LATE: Duration = Duration::from_millis(40);

/// Looks at each young process at given ages.
pub(super) struct Schedule {
    ages: Vec<Duration>,
    due: BinaryHeap<Reverse<(Instant, u32, u32, usize)>>,
    /// When each began its present program, as a running number.
    young: AHashMap<u32, Young>,
    number: u32,
}

#[derive(Clone, Copy)]
struct Young {
    number: u32,
    born: Instant,
    /// Its network namespace, where that was told.
    netns: Option<u64>,
}

impl Schedule {
    pub(super) fn new(ages: Vec<Duration>) -> Self {
        Self { ages, due: BinaryHeap::new(), young: AHashMap::new(), number: 0 }
    }

    /// A process appeared or runs another program.
    pub(super) fn add(&mut self, pid: u32, netns: Option<u64>, now: Instant) {
        if self.young.len() >= MAX_YOUNG && !self.young.contains_key(&pid) {
            return;
        }
        self.number = self.number.wrapping_add(1);
        self.young.insert(pid, Young { number: self.number, born: now, netns });
        self.push(pid, self.number, now, 0);
    }

    /// Whether it began its program so short a time ago that full dumps may have
    /// missed its sockets.
    pub(super) fn is_young(&self, pid: u32, now: Instant) -> bool {
        self.young.get(&pid).is_some_and(|young| now - young.born <= YOUNG)
    }

    /// The namespace that it was told to run its program in.
    pub(super) fn netns(&self, pid: u32) -> Option<u64> {
        self.young.get(&pid)?.netns
    }

    pub(super) fn remove(&mut self, pid: u32) {
        self.young.remove(&pid);
    }

    /// Processes to look at now, and what for each of them follows.
    pub(super) fn take_due(&mut self, now: Instant, due: &mut Vec<u32>) {
        while let Some(&Reverse((at, pid, number, step))) = self.due.peek()
            && at <= now
        {
            self.due.pop();
            let Some(&Young { number: current, born, .. }) = self.young.get(&pid) else { continue };
            if current != number {
                continue;
            }
            let mut next = step + 1;
            // The last look is never left out.
            if step < self.ages.len() && (now - at <= TOO_LATE || next == self.ages.len()) {
                due.push(pid);
            }
            while next + 1 < self.ages.len() && born + self.ages[next] <= now {
                next += 1;
            }
            self.push(pid, number, born, next);
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    fn push(&mut self, pid: u32, number: u32, born: Instant, step: usize) {
        match self.ages.get(step) {
            Some(&age) => self.due.push(Reverse((born + age, pid, number, step))),
            None if step == self.ages.len() => {
                self.due.push(Reverse((born + YOUNG, pid, number, step)));
            }
            None => {
                self.young.remove(&pid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_process_is_looked_at_at_each_age_until_it_ends() {
        let start = Instant::now();
        let mut schedule = Schedule::new(vec![ms(0), ms(3), ms(10)]);
        let looks = |schedule: &mut Schedule, at| {
            let mut due = Vec::new();
            schedule.take_due(start + at, &mut due);
            due
        };
        schedule.add(7, Some(1), start);
        assert_eq!(looks(&mut schedule, ms(0)), [7]);
        assert_eq!(looks(&mut schedule, ms(2)), [0; 0]);
        assert_eq!(looks(&mut schedule, ms(3)), [7]);
        // Another program: from the beginning.
        schedule.add(7, Some(2), start + ms(4));
        assert_eq!(schedule.netns(7), Some(2));
        assert_eq!(looks(&mut schedule, ms(4)), [7]);
        // Both that are due by then are one look.
        assert_eq!(looks(&mut schedule, ms(9)), [7]);
        schedule.remove(7);
        assert_eq!(looks(&mut schedule, ms(100)), [0; 0]);
        assert_eq!((schedule.next(), schedule.netns(7)), (None, None));
    }
}
