//! Calls of pairs that called once. Most never call again, and a flood of made-up addresses is
//! nothing else: they wait here, in little memory, for the call that makes a pair.
//!
//! Those that were answered wait apart from those that were not: nobody answers made-up
//! addresses, so a flood of them that call once pushes out no other call than such. Bounded: of
//! each kind two generations of [`HELD`], of a day at most, of which the older goes as a whole.

use std::sync::Arc;

use ahash::HashMap;

use super::{Call, DAY_S, Key, Latest, Volume};
use crate::entity::Who;

/// As many as a table of 32,768 places holds: with both kinds 131,072 of 152 bytes, 20 MB.
const HELD: usize = 28_672;

/// What is kept of a call that may be the first of a pair.
#[derive(Debug)]
pub(super) struct FirstCall {
    /// Who called, where more is known than an address.
    pub(super) who: Option<Arc<Who>>,
    pub(super) bytes: u64,
    pub(super) both: Volume,
    /// With its start and end.
    pub(super) latest: Latest,
}

#[derive(Debug, Default)]
pub(super) struct FirstCalls {
    answered: Waiting,
    unanswered: Waiting,
    forgotten: u64,
}

#[derive(Debug, Default)]
struct Waiting {
    young: HashMap<Key, FirstCall>,
    old: HashMap<Key, FirstCall>,
    /// Of the young ones.
    since_s: Option<i64>,
}

impl FirstCalls {
    /// The call before this one, which waits no longer. Where there is none, this one waits.
    pub(super) fn before(
        &mut self,
        key: &Key,
        call: &Call<'_>,
        who: Option<&Arc<Who>>,
    ) -> Option<FirstCall> {
        let before = [&mut self.answered, &mut self.unanswered]
            .into_iter()
            .find_map(|waiting| waiting.young.remove(key).or_else(|| waiting.old.remove(key)));
        if before.is_none() {
            let waiting = if call.answered { &mut self.answered } else { &mut self.unanswered };
            let first = FirstCall {
                who: who.map(Arc::clone),
                bytes: call.bytes,
                both: call.both,
                latest: Latest::of(call),
            };
            self.forgotten += waiting.add(key.clone(), first, call.end_s);
        }
        before
    }

    /// Those that went before their time.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

impl Waiting {
    /// How many had to go.
    fn add(&mut self, key: Key, first: FirstCall, now_s: i64) -> u64 {
        let since_s = *self.since_s.get_or_insert(now_s);
        let is_full = self.young.len() >= HELD;
        let mut forgotten = 0;
        if is_full || now_s.saturating_sub(since_s) >= DAY_S {
            // Memory stays: in a flood the next generation is as large.
            std::mem::swap(&mut self.young, &mut self.old);
            forgotten = if is_full { self.young.len() as u64 } else { 0 };
            self.young.clear();
            self.since_s = Some(now_s);
        }
        self.young.insert(key, first);
        forgotten
    }
}
