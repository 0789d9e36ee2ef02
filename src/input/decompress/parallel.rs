//! Threads that unpack, and the reader that puts their work in order.
//!
//! The threads share a [`Splitter`]: who holds its lock takes the next unit, puts
//! that unit's queue into the order of delivery, and unpacks it after letting go
//! of the lock. A frame too long to be held is unpacked without letting go, so
//! that the others wait. The first unit that can't be unpacked is the last.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::split::{Cut, Splitter, Unit};
use super::{Context, decoder};
use crate::input::sniff::Compression;

/// Unpacked bytes that change hands at a time: some hundred microseconds of
/// work, so that waking the other side costs nothing.
const CHUNK_BYTES: usize = 1 << 20;

/// Chunks of a unit that may wait for their turn: `pzstd` makes frames of
/// 8 MiB, which a thread can then finish before the one in front is done.
const UNIT_CHUNKS: usize = 9;

/// Most threads for one stream: eight unpack faster than any disk reads.
const MAX_THREADS: usize = 8;

/// A chunk; an empty one when the unit is done.
type Chunk = io::Result<Vec<u8>>;

struct Shared {
    compression: Compression,
    queue: Mutex<Queue>,
    used: Receiver<Vec<u8>>,
}

struct Queue {
    splitter: Splitter,
    order: Sender<Receiver<Chunk>>,
    /// Threads that may still be started: a stream of one frame needs one only.
    spare_threads: usize,
    threads: usize,
}

/// Unpacks on up to `threads` threads, which end with the stream or when the
/// returned reader is dropped.
pub(in crate::input) fn spawn(
    compression: Compression,
    packed: Box<dyn Read + Send>,
    threads: usize,
) -> io::Result<Unpacked> {
    let threads = threads.clamp(1, MAX_THREADS);
    // More units done and waiting than are in work: BGZF units are short.
    let (order, units) = bounded(2 * threads + 2);
    let (give_back, used) = bounded(2 * threads * UNIT_CHUNKS);
    let splitter = Splitter::new(compression, packed);
    let queue = Mutex::new(Queue { splitter, order, spare_threads: threads - 1, threads: 0 });
    let shared = Arc::new(Shared { compression, queue, used });
    start(&shared, &mut shared.lock())?;
    Ok(Unpacked { units, unit: None, give_back, chunk: Vec::new(), at: 0, ended: false })
}

fn start(shared: &Arc<Shared>, queue: &mut Queue) -> io::Result<()> {
    let shared = Arc::clone(shared);
    let name = format!("unpack {}", queue.threads);
    thread::Builder::new().name(name).spawn(move || work(&shared))?;
    queue.threads += 1;
    Ok(())
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work(shared: &Arc<Shared>) {
    let mut unit = Unit::default();
    let mut context = Context::new();
    loop {
        let mut queue = shared.lock();
        let cut = queue.splitter.next_unit(&mut unit);
        if cut == Cut::Nothing {
            return;
        }
        let (send, chunks) = bounded(UNIT_CHUNKS);
        // A send fails when nobody reads any more: nothing left to do.
        if queue.order.send(chunks).is_err() {
            return;
        }
        let went_well = if cut == Cut::Whole {
            if queue.spare_threads > 0 {
                queue.spare_threads -= 1;
                // Without it the others go on.
                let _ = start(shared, &mut queue);
            }
            drop(queue);
            unpack(shared, decoder(shared.compression, unit.reader(), Some(&mut context)), &send)
        } else {
            let packed = queue.splitter.stream(&mut unit);
            unpack(shared, decoder(shared.compression, packed, Some(&mut context)), &send)
        };
        if !went_well {
            shared.lock().splitter.stop();
            return;
        }
    }
}

/// False when there was an error, or nobody reads any more.
fn unpack(
    shared: &Shared,
    unpacked: io::Result<Box<dyn Read + Send + '_>>,
    send: &Sender<Chunk>,
) -> bool {
    let mut unpacked = match unpacked {
        Ok(unpacked) => unpacked,
        Err(error) => {
            let _ = send.send(Err(error));
            return false;
        }
    };
    loop {
        let mut chunk = shared.used.try_recv().unwrap_or_default();
        chunk.resize(CHUNK_BYTES, 0);
        let mut filled = 0;
        let mut end = None;
        while let Some(room) = chunk.get_mut(filled..).filter(|room| !room.is_empty()) {
            match unpacked.read(room) {
                Ok(0) => {
                    end = Some(Ok(Vec::new()));
                    break;
                }
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    end = Some(Err(error));
                    break;
                }
            }
        }
        chunk.truncate(filled);
        if filled > 0 && send.send(Ok(chunk)).is_err() {
            return false;
        }
        if let Some(end) = end {
            let went_well = end.is_ok();
            return send.send(end).is_ok() && went_well;
        }
    }
}

/// Reads what the threads unpack, in order.
#[derive(Debug)]
pub(in crate::input) struct Unpacked {
    units: Receiver<Receiver<Chunk>>,
    unit: Option<Receiver<Chunk>>,
    give_back: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Unpacked {
    /// The next chunk that is not empty; an empty one at the end.
    fn next_chunk(&mut self) -> Chunk {
        loop {
            let unit = match &self.unit {
                Some(unit) => unit,
                None => match self.units.recv() {
                    Ok(unit) => self.unit.insert(unit),
                    Err(_) => return Ok(Vec::new()),
                },
            };
            match unit.recv() {
                Ok(Ok(chunk)) if chunk.is_empty() => self.unit = None,
                Ok(chunk) => return chunk,
                // Only a bug can end a thread before it said so.
                Err(_) => return Err(io::Error::other("the decoder ended early")),
            }
        }
    }
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            if self.ended {
                return Ok(0);
            }
            // When the channel is full or closed the buffer is simply freed.
            let _ = self.give_back.try_send(std::mem::take(&mut self.chunk));
            self.at = 0;
            self.chunk = self.next_chunk().inspect_err(|_| self.ended = true)?;
            self.ended = self.chunk.is_empty();
        }
        let rest = self.chunk.get(self.at..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}
