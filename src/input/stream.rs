//! One file's batches with their times set right.

use std::collections::VecDeque;
use std::sync::Arc;

use super::ahead::ReadAhead;
use super::block::Frame;
use super::clock::{Ahead, Clock};
use super::reader::{Batch, FileReader, Shared};
use super::report::FileReport;

/// A reader with its clock, and the batches that the clock looked ahead into.
pub(super) struct FileStream {
    reader: FileReader,
    clock: Clock,
    /// Read, not yet settled.
    ahead: VecDeque<Batch>,
}

impl FileStream {
    pub(super) fn new(reader: FileReader) -> Self {
        Self { reader, clock: Clock::default(), ahead: VecDeque::new() }
    }

    pub(super) fn is_stream(&self) -> bool {
        self.reader.is_stream()
    }

    pub(super) fn read_ahead(&self) -> Option<Arc<ReadAhead>> {
        self.reader.read_ahead()
    }

    /// The next frames, at least one unless a clock mark ends the file; `None` at
    /// the end.
    pub(super) fn next_batch(
        &mut self,
        shared: &mut Shared<'_>,
        report: &mut FileReport,
    ) -> Option<Batch> {
        let mut batch = match self.ahead.pop_front() {
            Some(batch) => batch,
            None => self.reader.next_batch(shared, report)?,
        };
        let mut later = Later { reader: &mut self.reader, ahead: &mut self.ahead, shared, report };
        batch.mark_ns = batch
            .mark_ns
            .filter(|&mark_ns| self.clock.settle_mark(mark_ns, &batch.frames, &mut later));
        if batch.frames.is_empty() {
            // Nothing follows a batch without frames.
            return if batch.mark_ns.is_some() { Some(batch) } else { None };
        }
        self.clock.settle(&mut batch.frames, &mut batch.tally, &mut later);
        report.wire_bytes += batch.tally.wire_bytes;
        report.captured_bytes += batch.tally.captured_bytes;
        report.frames += batch.frames.len() as u64;
        report.reach(batch.tally.least_ns, batch.tally.latest_ns);
        Some(batch)
    }
}

/// Frames of later batches, read when they are asked for.
struct Later<'a, 'b> {
    reader: &'a mut FileReader,
    ahead: &'a mut VecDeque<Batch>,
    shared: &'a mut Shared<'b>,
    report: &'a mut FileReport,
}

impl Ahead for Later<'_, '_> {
    fn ahead(&mut self, mut index: usize) -> Option<Frame> {
        // At most 64 frames are looked at, so at most 64 batches are passed.
        let mut at = 0;
        loop {
            if at == self.ahead.len() {
                let batch = self.reader.next_batch(self.shared, self.report)?;
                self.ahead.push_back(batch);
            }
            let frames = &self.ahead.get(at)?.frames;
            if let Some(frame) = frames.get(index) {
                return Some(*frame);
            }
            index -= frames.len();
            at += 1;
        }
    }
}
