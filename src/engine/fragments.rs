//! Joins later fragments to the flow that their first fragment names.
//!
//! Runs in stream order, in one place, on fragments only. Nothing is
//! reassembled: overlapping fragments can't do harm, they only count. A later
//! fragment that comes before its first one waits for it; what waits too long,
//! or is pushed out by a flood of fragments, is counted in the flow without
//! ports.

use std::collections::VecDeque;

use ahash::HashMap;

use crate::packet::{Fragment, FragmentId, PacketRow, row_flag};

/// How long the first fragment's ports hold: what Linux waits for a datagram
/// (`net.ipv4.ipfrag_time`, 30 s).
const LIFETIME_NS: i64 = 30_000_000_000;
/// Datagrams followed at once. At the cap the oldest is forgotten.
const MAX_DATAGRAMS: usize = 16_384;
/// Fragments that wait for their first one, over all datagrams. At the cap a
/// new one does not wait.
const MAX_WAITING: usize = 4_096;

/// A place in the block at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) clock_ns: i64,
    pub(crate) index: u16,
}

#[derive(Debug, Default)]
struct Datagram {
    first: Option<PacketRow>,
    waiting: Vec<PacketRow>,
    /// Tells this entry's place in the queue from that of an earlier datagram
    /// of the same identity.
    born: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Fragments {
    datagrams: HashMap<FragmentId, Datagram>,
    /// Oldest first; with the clock at birth.
    queue: VecDeque<(FragmentId, u64, i64)>,
    waiting: usize,
    births: u64,
}

impl Fragments {
    /// Takes the next fragment of the stream and puts into `out` the rows that
    /// can go on now.
    pub(crate) fn join(&mut self, row: PacketRow, fragment: Fragment, out: &mut Vec<PacketRow>) {
        let now = Now { clock_ns: row.clock_ns, index: row.index };
        self.expire(now, out);
        match fragment {
            Fragment::First(id) => {
                let datagram = self.datagram(id, now, out);
                datagram.first = Some(row);
                let waiting = std::mem::take(&mut datagram.waiting);
                self.waiting -= waiting.len();
                out.push(row);
                out.extend(waiting.into_iter().map(|waited| released(waited, &row)));
            }
            Fragment::Later(id) => {
                let may_wait = self.waiting < MAX_WAITING;
                let datagram = self.datagram(id, now, out);
                if let Some(first) = datagram.first {
                    out.push(joined(row, &first));
                } else if may_wait {
                    datagram.waiting.push(row);
                    self.waiting += 1;
                    out.push(PacketRow { flags: row.flags | row_flag::WINDOW_ONLY, ..row });
                } else {
                    out.push(row);
                }
            }
        }
    }

    /// Lets go of everything that still waits, at the end of the input.
    pub(crate) fn finish(&mut self, now: Now, out: &mut Vec<PacketRow>) {
        while let Some((id, born, _)) = self.queue.pop_front() {
            self.forget(id, born, now, out);
        }
    }

    fn datagram(&mut self, id: FragmentId, now: Now, out: &mut Vec<PacketRow>) -> &mut Datagram {
        if !self.datagrams.contains_key(&id) && self.datagrams.len() >= MAX_DATAGRAMS {
            while let Some((oldest, born, _)) = self.queue.pop_front() {
                if self.forget(oldest, born, now, out) {
                    break;
                }
            }
        }
        let births = &mut self.births;
        let queue = &mut self.queue;
        self.datagrams.entry(id).or_insert_with(|| {
            *births += 1;
            queue.push_back((id, *births, now.clock_ns));
            Datagram { born: *births, ..Datagram::default() }
        })
    }

    fn expire(&mut self, now: Now, out: &mut Vec<PacketRow>) {
        while let Some(&(id, born, since_ns)) = self.queue.front() {
            if now.clock_ns.saturating_sub(since_ns) <= LIFETIME_NS {
                break;
            }
            self.queue.pop_front();
            self.forget(id, born, now, out);
        }
    }

    /// Drops a datagram; what waited for it goes on without ports.
    fn forget(&mut self, id: FragmentId, born: u64, now: Now, out: &mut Vec<PacketRow>) -> bool {
        if self.datagrams.get(&id).is_none_or(|datagram| datagram.born != born) {
            return false;
        }
        if let Some(datagram) = self.datagrams.remove(&id) {
            self.waiting -= datagram.waiting.len();
            for row in datagram.waiting {
                out.push(late(row, now));
            }
        }
        true
    }
}

/// A later fragment in the flow of its first one.
fn joined(row: PacketRow, first: &PacketRow) -> PacketRow {
    let direction = row_flag::FORWARD;
    PacketRow {
        key: first.key,
        hash: first.hash,
        flags: (row.flags & !direction) | (first.flags & direction),
        ..row
    }
}

/// One that waited, as it goes on behind its first fragment.
fn released(row: PacketRow, first: &PacketRow) -> PacketRow {
    late(joined(row, first), Now { clock_ns: first.clock_ns, index: first.index })
}

/// One that waited until now.
fn late(row: PacketRow, now: Now) -> PacketRow {
    PacketRow {
        flags: row.flags | row_flag::FLOW_ONLY,
        index: now.index,
        clock_ns: now.clock_ns,
        // Its block is gone.
        payload_captured: 0,
        ..row
    }
}
