//! The way from the caller to the writer: bounded by records, never waiting.
//!
//! Records travel in chunks. Encoding threads turn a chunk into a piece for
//! each format of its lane, in any order; the writer puts pieces in order. What
//! bounds the way is the number of records on it, whatever form they have, so
//! no channel ever makes anybody wait. Start at [`Lane::offer`].

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};

use super::super::privacy::Privacy;
use super::super::{Encoder, Piece};
use super::tally::Tally;
use super::writer::{Message, Pieces};
use crate::flow::FlowRecord;

/// Seconds that may wait for the writer. They are small, and all but the last
/// could be left out.
const MAX_MARKS: u64 = 64;

/// Formats whose pieces are cut alike share a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneId {
    /// Small pieces, complete each second.
    Text = 0,
    /// Row groups: as large as may be, complete each minute.
    Columns = 1,
}

pub(super) const LANES: usize = 2;

/// What is on its way, and what the writer reports without being asked.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    pub(super) lanes: [LaneBacklog; LANES],
    pub(super) alerts: AtomicU64,
    pub(super) observed: AtomicU64,
    pub(super) observed_bytes: AtomicU64,
    /// Of flows and of alerts.
    pub(super) removed: [RemovedSums; 2],
    /// An encoder panicked, which is a bug: passed on at the end.
    pub(super) panic: Mutex<Option<Box<dyn Any + Send>>>,
}

#[derive(Debug, Default)]
pub(super) struct LaneBacklog {
    pub(super) records: AtomicU64,
    pub(super) marks: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct RemovedSums {
    pub(super) files: AtomicU64,
    pub(super) bytes: AtomicU64,
}

/// The caller's end of a lane.
pub(super) struct Lane {
    pub(super) id: LaneId,
    pub(super) tallies: Vec<Arc<Tally>>,
    pub(super) max_records: u64,
    pub(super) backlog: Arc<Backlog>,
    pub(super) jobs: Sender<Job>,
    pub(super) messages: Sender<Message>,
    pub(super) position: u64,
}

pub(super) type Chunk = Arc<Vec<FlowRecord>>;

/// Chunks that become one piece of each format.
pub(super) struct Job {
    lane: LaneId,
    position: u64,
    /// When the first of its records was handed over.
    began_ns: i64,
    chunks: Vec<Chunk>,
}

impl Lane {
    /// Hands chunks on, or counts their records as lost.
    pub(super) fn offer(&mut self, chunks: Vec<Chunk>, began_ns: i64) {
        let records: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        if records == 0 || self.tallies.is_empty() {
            return;
        }
        let queued = &self.backlog.lanes[self.id as usize].records;
        // Only this thread adds.
        if queued.load(Relaxed) + records > self.max_records {
            for tally in &self.tallies {
                tally.lost_queue.fetch_add(records, Relaxed);
            }
            return;
        }
        queued.fetch_add(records, Relaxed);
        // The threads stay until the sender is gone.
        let _ = self.jobs.send(Job { lane: self.id, position: self.position, began_ns, chunks });
        self.position += 1;
    }

    /// Tells the writer the time, behind all records so far.
    pub(super) fn mark(&mut self, now_ns: i64) {
        let marks = &self.backlog.lanes[self.id as usize].marks;
        if marks.load(Relaxed) >= MAX_MARKS {
            return;
        }
        marks.fetch_add(1, Relaxed);
        let mark = Message::Mark { lane: self.id, position: self.position, now_ns };
        let _ = self.messages.send(mark);
        self.position += 1;
    }
}

/// What an encoding thread has.
pub(super) struct Encoding {
    pub(super) encoders: [Vec<Arc<dyn Encoder>>; LANES],
    pub(super) privacy: Arc<Privacy>,
    pub(super) backlog: Arc<Backlog>,
    pub(super) jobs: Receiver<Job>,
    pub(super) messages: Sender<Message>,
    pub(super) spare_pieces: Receiver<Piece>,
    pub(super) spare_chunks: Sender<Vec<FlowRecord>>,
}

impl Encoding {
    /// Until there are no more jobs.
    pub(super) fn run(&self) {
        for Job { lane, position, began_ns, chunks } in &self.jobs {
            let records = chunks.iter().map(|chunk| chunk.len() as u64).sum();
            // A panic must not leave a gap: the writer would wait for ever.
            let made = catch_unwind(AssertUnwindSafe(|| self.encode(lane, chunks)));
            let made = made.unwrap_or_else(|panic| {
                let mut first = self.backlog.panic.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(panic);
                let formats = self.encoders[lane as usize].iter();
                formats.map(|_| Err(io::Error::other("the encoder panicked"))).collect()
            });
            let pieces = Pieces { lane, position, began_ns, records, made };
            if self.messages.send(Message::Pieces(pieces)).is_err() {
                return;
            }
        }
    }

    fn encode(&self, lane: LaneId, chunks: Vec<Chunk>) -> Vec<io::Result<Piece>> {
        let mut chunk = joined(chunks);
        if chunk.iter().any(|record| self.privacy.concerns(record)) {
            // A copy if the other lane needs the records too.
            Arc::make_mut(&mut chunk).iter_mut().for_each(|record| self.privacy.record(record));
        }
        let made = self.encoders[lane as usize]
            .iter()
            .map(|encoder| {
                let mut piece = self.spare_pieces.try_recv().unwrap_or_default();
                encoder.encode(&chunk, &mut piece).map(|()| piece)
            })
            .collect();
        if let Some(mut records) = Arc::into_inner(chunk) {
            records.clear();
            // Dropped when there are enough.
            let _ = self.spare_chunks.try_send(records);
        }
        made
    }
}

/// One chunk of several. Their records are moved if nobody else has them.
fn joined(mut chunks: Vec<Chunk>) -> Chunk {
    if chunks.len() == 1
        && let Some(chunk) = chunks.pop()
    {
        return chunk;
    }
    let mut all = Vec::with_capacity(chunks.iter().map(|chunk| chunk.len()).sum());
    for chunk in chunks {
        match Arc::try_unwrap(chunk) {
            Ok(mut records) => all.append(&mut records),
            Err(shared) => all.extend_from_slice(&shared),
        }
    }
    Arc::new(all)
}
