//! How flows leave the table: pushed out, idle, or cut off by the input's end.
//!
//! Always some at a time, so that what they touch can be asked for ahead: the
//! flows themselves, the sums of their addresses, their slots in the index.
//! Start at [`FlowTable::sweep`].

use std::mem::offset_of;

use super::{FlowTable, LIVE};
use crate::flow::live::Live;
use crate::flow::outlet::Ended;
use crate::flow::record::EndReason;
use crate::flow::settings::Wanted;
use crate::flow::stub::Stub;
use crate::flow::talkers::Sought;
use crate::packet::FlowKey;

const SECOND_NS: i64 = 1_000_000_000;

/// Flows ended at once, so that their memory is asked for together.
pub(super) const ENDED_AT_ONCE: usize = 32;
/// Part of the table that eviction empties at once at most: of a small table
/// hardly more than it must.
const EVICTED_SHARE: usize = 1024;

/// Records handed over at once at the end of the input: about a megabyte.
const TAIL_RECORDS: usize = 1024;

/// Stands for no entry in the wheel. A flow's place keeps its entry when the
/// flow ends: the next one there is asked then, and needs none of its own.
pub(super) const NO_ENTRY: i32 = i32::MAX;

/// A flow on its way out, and what was looked up for that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    id: u32,
    reason: EndReason,
    decided_ns: i64,
    hash: u64,
    addresses: [Sought; 2],
}

impl Ending {
    fn new(id: u32, reason: EndReason, decided_ns: i64) -> Self {
        Self { id, reason, decided_ns, hash: 0, addresses: Default::default() }
    }
}

impl FlowTable {
    /// Pushes out flows of one packet that have waited longest, roughly: the
    /// hand goes round the slab in the order of arrival. Some at a time, so that
    /// what they touch can be asked for ahead.
    pub(super) fn evict_stubs(&mut self, cut_ns: i64) -> bool {
        if self.stubs.len() * 2 < self.settings.max_flows {
            return false;
        }
        let wanted = (self.settings.max_flows / EVICTED_SHARE).clamp(1, ENDED_AT_ONCE);
        let ids = self.stubs.high_water();
        for _ in 0..ids {
            self.hand = if self.hand + 1 < ids { self.hand + 1 } else { 0 };
            if self.stubs[self.hand].is_alive() {
                self.ending.push(Ending::new(self.hand, EndReason::Evicted, cut_ns));
                if self.ending.len() == wanted {
                    break;
                }
            }
        }
        let found = self.ending.len();
        self.counters.evicted += found as u64;
        self.end_all(true);
        found > 0
    }

    /// Ends the flows in `ending`. What that touches is asked for ahead: the
    /// flows, the sums of their addresses, and their slots in the index unless
    /// the table itself ends, which need not forget them.
    fn end_all(&mut self, forget: bool) {
        let mut ending = std::mem::take(&mut self.ending);
        for end in &ending {
            if end.id & LIVE == 0 {
                self.stubs.prefetch_all(end.id);
            } else {
                self.lives.prefetch_all(end.id & !LIVE);
            }
        }
        for end in &mut ending {
            let key = self.key_of(end.id);
            if forget {
                end.hash = key.hash(&self.hash_state);
                self.index.prefetch(end.hash);
                if let Some(ended) = &self.ended {
                    ended.prefetch(end.hash);
                }
            }
            end.addresses = self.outlet.totals.seek_addresses(key);
        }
        for end in &mut ending {
            for address in &mut end.addresses {
                self.outlet.totals.talkers.guess(address);
            }
        }
        for end in ending.drain(..) {
            self.hand_out(&end);
            if forget {
                self.forget(&end);
            }
        }
        self.ending = ending;
    }

    #[cfg(test)]
    pub(crate) fn wheel_entries(&self) -> usize {
        self.wheel.entries()
    }

    fn key_of(&self, id: u32) -> &FlowKey {
        if id & LIVE != 0 { &self.lives[id & !LIVE].key } else { &self.stubs[id].key }
    }

    /// Enters the flow in the wheel where its deadline came closer.
    pub(super) fn schedule(&mut self, id: u32) {
        let Self { stubs, lives, wheel, settings, .. } = self;
        let (last_ns, idle_ns, wheel_s) = if id & LIVE != 0 {
            let live = &mut lives[id & !LIVE];
            (live.cut_ns, live.idle_ns(&settings.timeouts), &mut live.wheel_s)
        } else {
            let stub = &mut stubs[id];
            (stub.cut_ns, stub.idle_ns(&settings.timeouts), &mut stub.wheel_s)
        };
        let Some(idle_ns) = idle_ns else { return };
        let epoch_s = *self.epoch_s.get_or_insert_with(|| {
            // A flow's deadline is never before its last packet's time, and that
            // never more than the lateness before the first packet's.
            let now_s = last_ns.saturating_sub(settings.lateness_ns).div_euclid(SECOND_NS);
            wheel.start(now_s);
            now_s
        });
        let deadline_s = last_ns.saturating_add(idle_ns).div_euclid(SECOND_NS);
        if wheel_time(deadline_s, epoch_s) < *wheel_s {
            *wheel_s = wheel_time(wheel.insert(id, deadline_s), epoch_s);
        }
    }

    /// When the flow is over if no further packet comes.
    fn deadline_ns(&self, id: u32) -> Option<i64> {
        let (last_ns, idle_ns) = if id & LIVE != 0 {
            let live = &self.lives[id & !LIVE];
            (live.cut_ns, live.idle_ns(&self.settings.timeouts))
        } else {
            let stub = &self.stubs[id];
            (stub.cut_ns, stub.idle_ns(&self.settings.timeouts))
        };
        Some(last_ns.saturating_add(idle_ns?))
    }

    /// Hands out every flow that was over before second `until_s`.
    pub(crate) fn sweep(&mut self, until_s: i64) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.take_due(until_s, &mut due);
        let prefetch_group = |table: &Self, group: Option<&[(u32, i64)]>| {
            for &(id, _) in group.into_iter().flatten() {
                table.prefetch_deadline(id);
            }
        };
        let mut groups = due.chunks(ENDED_AT_ONCE).peekable();
        prefetch_group(self, groups.peek().copied());
        while let Some(group) = groups.next() {
            prefetch_group(self, groups.peek().copied());
            for &(id, second) in group {
                self.ask(id, second, until_s);
            }
            self.end_all(true);
        }
        due.clear();
        self.due = due;
    }

    /// Asks a flow that the wheel brings up for `second` whether it is over.
    fn ask(&mut self, id: u32, second: i64, until_s: i64) {
        let epoch_s = self.epoch_s.unwrap_or_default();
        let (alive, over, wheel_s) = if id & LIVE != 0 {
            let live = &mut self.lives[id & !LIVE];
            (live.is_alive(), live.life.is_over(), &mut live.wheel_s)
        } else {
            let stub = &mut self.stubs[id];
            (stub.is_alive(), stub.is_over(), &mut stub.wheel_s)
        };
        if *wheel_s != wheel_time(second, epoch_s) {
            return;
        }
        *wheel_s = NO_ENTRY;
        if !alive {
            return;
        }
        match self.deadline_ns(id) {
            Some(deadline_ns) if deadline_ns.div_euclid(SECOND_NS) < until_s => {
                let reason = if over { EndReason::Closed } else { EndReason::Idle };
                self.ending.push(Ending::new(id, reason, deadline_ns));
            }
            _ => self.schedule(id),
        }
    }

    /// Asks for the lines that [`Self::ask`] reads.
    fn prefetch_deadline(&self, id: u32) {
        if id & LIVE != 0 {
            self.lives.prefetch(id & !LIVE, offset_of!(Live, cut_ns));
            self.lives.prefetch(id & !LIVE, offset_of!(Live, life));
        } else {
            self.stubs.prefetch(id, offset_of!(Stub, wheel_s));
            self.stubs.prefetch(id, offset_of!(Stub, cut_ns));
        }
    }

    /// Ends everything left: `end_of_input`, decided at `latest_ns`. `tail` takes
    /// the records in the order of their start and key, some at a time: a table
    /// full of flows is never in memory as records. The table is of no use
    /// afterwards.
    pub(crate) fn finish(&mut self, latest_ns: i64, mut tail: impl FnMut(Ended)) {
        let lives = (0..self.lives.high_water()).filter(|&id| self.lives[id].is_alive());
        let stubs = (0..self.stubs.high_water()).filter(|&id| self.stubs[id].is_alive());
        if self.outlet.wanted != Wanted::Records {
            let left: Vec<u32> = lives.map(|id| id | LIVE).chain(stubs).collect();
            for ids in left.chunks(ENDED_AT_ONCE) {
                self.end_input(ids.iter().copied(), latest_ns);
                if self.outlet.ended.outlines.len() >= TAIL_RECORDS {
                    tail(self.outlet.take());
                }
            }
            if self.outlet.wanted != Wanted::Counts {
                tail(self.outlet.take());
            }
            return;
        }
        let lives = lives.map(|id| (self.lives[id].start_ns, self.lives[id].key, id | LIVE));
        let stubs = stubs.map(|id| (self.stubs[id].time_ns, self.stubs[id].key, id));
        let mut left: Vec<_> = lives.chain(stubs).collect();
        left.sort_unstable();
        for chunk in left.chunks(TAIL_RECORDS) {
            // Records are large: a list that grows would move each of them once more.
            self.outlet.ended.records.reserve_exact(chunk.len());
            for flows in chunk.chunks(ENDED_AT_ONCE) {
                self.end_input(flows.iter().map(|&(_, _, id)| id), latest_ns);
            }
            tail(self.outlet.take());
        }
    }

    fn end_input(&mut self, ids: impl Iterator<Item = u32>, latest_ns: i64) {
        self.ending.extend(ids.map(|id| Ending::new(id, EndReason::EndOfInput, latest_ns)));
        self.end_all(false);
    }

    fn hand_out(&mut self, end: &Ending) {
        let &Ending { id, reason, decided_ns, addresses, .. } = end;
        if id & LIVE != 0 {
            let live = &self.lives[id & !LIVE];
            self.outlet.end_live(live, &self.bins, addresses, reason, decided_ns);
        } else {
            let stub = &mut self.stubs[id];
            self.outlet.end_stub(stub, addresses, reason, decided_ns);
        }
    }

    fn forget(&mut self, end: &Ending) {
        let id = end.id;
        if id & LIVE != 0 {
            self.lives[id & !LIVE].bury(&mut self.bins);
            self.lives.remove(id & !LIVE);
        } else {
            self.stubs[id].bury();
            self.stubs.remove(id);
        }
        self.index.remove(end.hash, id);
        if let Some(ended) = &mut self.ended
            && !ended.insert(end.hash)
        {
            self.counters.conversations_inexact = true;
            self.ended = None;
        }
    }
}

/// A second as flows note it: they have 32 bits for it.
fn wheel_time(second: i64, epoch_s: i64) -> i32 {
    let since = second.saturating_sub(epoch_s);
    since.clamp(i64::from(i32::MIN), i64::from(NO_ENTRY) - 1) as i32
}
