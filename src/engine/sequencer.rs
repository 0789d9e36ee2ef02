//! Puts decoded blocks back in stream order and hands each shard its part.
//!
//! Workers decode blocks in whatever order they get to it. Everything that
//! depends on order happens after this point: fragments are joined here, flows
//! are updated by their shards from queues that are in stream order. Locked
//! once a block, never for a packet.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::batch::{Batch, BlockData, Decoded, Emptied, FragmentRow, Rows};
use super::fragments::{Fragments, Now};
use crate::input::{BlockBytes, Shed};
use crate::lock::Lock;
use crate::packet::PacketRow;

pub(crate) struct Sequencer {
    state: Lock<State>,
}

struct State {
    next: u64,
    /// Blocks in the whole stream, once known.
    total: Option<u64>,
    latest_ns: i64,
    ended: bool,
    /// From `next` on; `None` where a block is still being decoded.
    waiting: VecDeque<Option<Decoded>>,
    /// What blocks came in that have been sent on.
    emptied: Vec<Emptied>,
    fragments: Fragments,
    shards: Vec<Sender<Batch>>,
    joined: Vec<PacketRow>,
    /// Where the joined packets of the block at hand begin, for each shard.
    tails: Vec<usize>,
    scratch: Vec<(PacketRow, u64)>,
}

/// Shard that owns a flow. Takes the high bits of the hash; the table's index
/// takes the low ones.
pub(crate) fn shard_of(hash: u64, shards: usize) -> usize {
    (((hash >> 32) * shards as u64) >> 32) as usize
}

impl Sequencer {
    pub(crate) fn new(shards: Vec<Sender<Batch>>) -> Self {
        let state = State {
            next: 0,
            total: None,
            latest_ns: 0,
            ended: false,
            waiting: VecDeque::new(),
            emptied: Vec::new(),
            fragments: Fragments::default(),
            shards,
            joined: Vec::new(),
            tails: Vec::new(),
            scratch: Vec::new(),
        };
        Self { state: Lock::new(state) }
    }

    /// Takes a decoded block and sends on everything that is next in line. Gives
    /// back what an earlier block came in.
    pub(crate) fn submit(&self, decoded: Decoded) -> Emptied {
        // A worker that panicked takes the whole run down: see `run`.
        let mut state = self.state.lock();
        // Never more than the blocks under way.
        let at = (decoded.sequence - state.next) as usize;
        if state.waiting.len() <= at {
            state.waiting.resize_with(at + 1, || None);
        }
        state.waiting[at] = Some(decoded);
        state.drain();
        state.emptied.pop().unwrap_or_default()
    }

    /// The stream has `total` blocks and its clock stands at `latest_ns`.
    pub(crate) fn finish(&self, total: u64, latest_ns: i64) {
        let mut state = self.state.lock();
        state.total = Some(total);
        state.latest_ns = latest_ns;
        state.drain();
    }
}

impl State {
    fn drain(&mut self) {
        while let Some(decoded) = self.waiting.front_mut().and_then(Option::take) {
            self.waiting.pop_front();
            self.next += 1;
            self.send(decoded);
        }
        if self.total == Some(self.next) && !self.ended {
            self.ended = true;
            self.send_end();
        }
    }

    fn send(&mut self, mut decoded: Decoded) {
        let shards = self.shards.len();
        self.tails.clear();
        self.tails.extend(decoded.rows.iter().map(|rows| rows.packets.len()));
        for fragment in decoded.fragments.drain(..) {
            let FragmentRow { row, fragment, digest, tunnels } = fragment;
            self.fragments.join(row, fragment, &mut self.joined);
            for joined in self.joined.drain(..) {
                let shard = shard_of(joined.hash, shards);
                decoded.rows[shard].push_tunneled(joined, digest, &tunnels);
            }
        }
        for (rows, &tail) in decoded.rows.iter_mut().zip(&self.tails) {
            // What a first fragment released stays behind it.
            rows.merge_tail(tail, &mut self.scratch);
        }
        for (rows, sender) in decoded.rows.drain(..).zip(&self.shards) {
            let batch = Batch {
                rows,
                data: Arc::clone(&decoded.data),
                first_frame: decoded.first_frame,
                closed_before_s: decoded.closed_before_s,
                shed: decoded.shed,
                end: false,
                latest_ns: 0,
            };
            // A shard that is gone has panicked, and `run` reports that.
            let _ = sender.send(batch);
        }
        self.emptied.push(Emptied { rows: decoded.rows, fragments: decoded.fragments });
    }

    fn send_end(&mut self) {
        let mut last: Vec<Rows> = self.shards.iter().map(|_| Rows::default()).collect();
        let now = Now { clock_ns: self.latest_ns, index: 0 };
        self.fragments.finish(now, &mut self.joined);
        for row in self.joined.drain(..) {
            last[shard_of(row.hash, self.shards.len())].push(row, None);
        }
        let data = Arc::new(BlockData::new(BlockBytes::Owned(Vec::new()), None));
        for (rows, sender) in last.into_iter().zip(&self.shards) {
            let batch = Batch {
                rows,
                data: Arc::clone(&data),
                first_frame: 0,
                closed_before_s: i64::MIN,
                shed: Shed::Nothing,
                end: true,
                latest_ns: self.latest_ns,
            };
            let _ = sender.send(batch);
        }
    }
}

/// Fixed keys offline: results never depend on them, but a run can be repeated
/// to the byte. (Live use draws random keys: there attackers choose tuples.)
pub(crate) fn offline_hash_state() -> ahash::RandomState {
    ahash::RandomState::with_seeds(
        0x243f_6a88_85a3_08d3,
        0x1319_8a2e_0370_7344,
        0xa409_3822_299f_31d0,
        0x082e_fa98_ec4e_6c89,
    )
}
