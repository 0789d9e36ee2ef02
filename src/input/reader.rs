//! One file or stream to batches of frames, in its own order.
//!
//! A [`FileReader`] lets a walker index the frames of what [`super::opening`] recognised
//! and unpacks, in place: in the map of the file, or in the buffer that was just
//! read, which then leaves with them. Only a record cut by the end of a buffer
//! is copied. Time stamps are as the file says; [`super::stream`] sets them right.
//!
//! Files are read into buffers that come back, not mapped. A page fault costs
//! more than the copy that it saves, and its cost grows with the threads that
//! share the map; the copy needs no turn ([`super::ahead`]) and leaves the block in the cache of the core that
//! walks and decodes it next. Per packet of 128 bytes, walked and touched (two
//! shared cores, page cache warm, best of six):
//!
//! | | one thread | two threads |
//! |---|---|---|
//! | read into a recycled buffer of 1 MiB | 29 ns | 36 ns, of it 10 ns in turn |
//! | mapped | 37 ns | 45 ns, of it 33 ns in turn |
//! | mapped, each MiB populated ahead (`MADV_POPULATE_READ`) | 38 ns | 46 ns, of it 33 ns in turn |

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use super::ahead::ReadAhead;
use super::block::{BlockBytes, Frame};
use super::error::InputErrorKind;
use super::opening::{Opened, Origin, ReadOptions, cannot_open, open_path, warn_damaged};
use super::pieces::{Pieces, Rest, copy_front, first_bytes, least_bytes};
use super::pool::Pool;
use super::report::{FileReport, InterfaceTable, Progress};
use super::sniff::{Compression, HEAD_BYTES};
use super::walk::{Found, Limits, Notes, Stop, Tally, Walker};
use super::{Mapping, mapping};

/// What readers share.
pub(super) struct Shared<'a> {
    pub(super) pool: &'a mut Pool,
    pub(super) interfaces: &'a mut InterfaceTable,
}

/// Frames with the bytes that they point into. The last one of a file may have
/// none, when the file ends with a clock mark.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: BlockBytes,
    pub(super) frames: Vec<Frame>,
    pub(super) tally: Tally,
    /// The stream's clock had come to this before the first frame.
    pub(super) mark_ns: Option<i64>,
}

impl Batch {
    pub(super) fn new(bytes: BlockBytes, found: Found) -> Self {
        let Found { frames, tally, mark_ns } = found;
        Self { bytes, frames, tally, mark_ns }
    }

    /// The stream's clock alone.
    pub(super) fn mark(time_ns: i64) -> Self {
        let nothing = BlockBytes::Owned(Vec::new());
        Self { mark_ns: Some(time_ns), ..Self::new(nothing, Found::new(Vec::new())) }
    }

    /// Time of what comes first, mark or frame.
    pub(super) fn first_ns(&self) -> Option<i64> {
        self.mark_ns.or_else(|| self.frames.first().map(|frame| frame.time_ns))
    }

    pub(super) fn recycle(self, pool: &mut Pool) {
        if let BlockBytes::Owned(bytes) = self.bytes {
            pool.give_bytes(bytes);
        }
        pool.give_frames(self.frames);
    }
}

pub(super) struct FileReader {
    body: Body,
    walker: Walker,
    compression: Option<Compression>,
    limits: Limits,
    file: u32,
    /// Offset in the (unpacked) file of the next byte to walk over.
    offset: u64,
    done: bool,
    progress: Option<Arc<Progress>>,
}

enum Body {
    Mapped { map: Arc<Mmap>, at: usize },
    Pieces(Pieces),
    Stream(Stream),
}

struct Stream {
    read: Box<dyn Read + Send>,
    /// As in [`Pieces`].
    carry: Vec<u8>,
    /// As in [`Pieces`].
    rest: Option<Rest>,
    ended: bool,
    /// Bytes to read for one block: what its limit of frames will take.
    target_bytes: usize,
}

impl FileReader {
    /// Recognises what is in `origin`. Fills in the report's format.
    pub(super) fn open(
        origin: Origin,
        options: &ReadOptions,
        file: u32,
        report: &mut FileReport,
        interfaces: &mut InterfaceTable,
    ) -> Result<Self, InputErrorKind> {
        let plain = match &origin {
            Origin::File(file) => Some(file.try_clone().map_err(|e| cannot_open(&e))?),
            Origin::Stream(_) => None,
        };
        let opened = Opened::new(origin, options, report)?;
        let (walker, offset) = opened.walker(&mut Notes { interfaces, report, file })?;
        let Opened { read, mut head, compression, ended, .. } = opened;
        let plain = plain.filter(|_| compression.is_none());
        let map = plain.as_ref().and_then(|file| map_if_wanted(file, options.mapping, report));
        let body = match (map, plain) {
            (Some(map), _) => Body::Mapped { map, at: offset },
            (None, Some(file)) => {
                let (next, progress) = (head.len() as u64, options.progress.clone());
                let ahead = ReadAhead::new(file, next, first_bytes(options.limits), progress);
                Body::Pieces(Pieces {
                    ahead: Arc::new(ahead),
                    carry: head.split_off(offset),
                    more_in_carry: false,
                    rest: None,
                    ended: false,
                    error: None,
                })
            }
            (None, None) => Body::Stream(Stream {
                read,
                carry: head.split_off(offset),
                rest: None,
                ended,
                target_bytes: first_bytes(options.limits),
            }),
        };
        Ok(Self {
            body,
            walker,
            compression,
            limits: options.limits,
            file,
            offset: offset as u64,
            done: false,
            progress: options.progress.clone(),
        })
    }

    /// True when this reader holds a descriptor or a thread.
    pub(super) fn is_stream(&self) -> bool {
        !matches!(self.body, Body::Mapped { .. })
    }

    pub(super) fn read_ahead(&self) -> Option<Arc<ReadAhead>> {
        match &self.body {
            Body::Pieces(pieces) => Some(Arc::clone(&pieces.ahead)),
            Body::Mapped { .. } | Body::Stream(_) => None,
        }
    }

    /// The next frames, at least one unless a clock mark ends the file; `None` at
    /// the end, whose reason is in the report when it was not the file's own.
    pub(super) fn next_batch(
        &mut self,
        shared: &mut Shared<'_>,
        report: &mut FileReport,
    ) -> Option<Batch> {
        if self.done {
            return None;
        }
        let batch = match self.body {
            Body::Mapped { .. } => self.next_mapped(shared, report),
            Body::Pieces(_) => self.next_piece(shared, report),
            Body::Stream(_) => self.next_streamed(shared, report),
        };
        if self.done
            && let Walker::Pcapng(walker) = &self.walker
        {
            let drops = walker.total_drops();
            report.interface_drops = drops.interface;
            report.system_drops = drops.system;
            report.unplaced_drops = drops.unplaced;
        }
        batch
    }

    fn next_mapped(&mut self, shared: &mut Shared<'_>, report: &mut FileReport) -> Option<Batch> {
        let Body::Mapped { map, at } = &mut self.body else { return None };
        let mut found = Found::new(shared.pool.frames());
        loop {
            let base = *at;
            let rest = map.get(base..).unwrap_or_default();
            let mut notes = Notes { interfaces: shared.interfaces, report, file: self.file };
            let walked = self.walker.walk(rest, 0, self.limits, &mut found, &mut notes);
            *at += walked.at;
            self.offset += walked.at as u64;
            if let Some(progress) = &self.progress {
                // The head was counted when it was read.
                let new = (*at).saturating_sub(HEAD_BYTES.max(base));
                progress.add(new as u64);
            }
            let left = rest.len() - walked.at;
            match walked.stop {
                Stop::Limit => {}
                Stop::Need(_) => {
                    self.done = true;
                    note_cut(report, self.offset, left, &self.walker);
                }
                Stop::Damage(what) => {
                    self.done = true;
                    report.fail(InputErrorKind::Damaged { offset: self.offset, what });
                }
                Stop::Another => {
                    self.done = true;
                    report.fail(InputErrorKind::Another { offset: self.offset });
                }
            }
            if found.is_batch(self.done) {
                let bytes = BlockBytes::Mapped { map: Arc::clone(map), base };
                return Some(Batch::new(bytes, found));
            }
            if self.done {
                shared.pool.give_frames(found.frames);
                return None;
            }
        }
    }

    fn next_piece(&mut self, shared: &mut Shared<'_>, report: &mut FileReport) -> Option<Batch> {
        let Body::Pieces(pieces) = &mut self.body else { return None };
        let mut found = Found::new(shared.pool.frames());
        let mut need = 1;
        loop {
            let Rest { mut buffer, start, end } = pieces.join(need, shared.pool);
            if let Some(error) = pieces.error.take() {
                let offset = self.offset + (end - start) as u64;
                let kind = InputErrorKind::Read { offset, error: error.to_string() };
                report.fail(kind);
            }
            let mut notes = Notes { interfaces: shared.interfaces, report, file: self.file };
            let limits = Limits { bytes: usize::MAX, ..self.limits };
            let walked = self.walker.walk(&buffer[..end], start, limits, &mut found, &mut notes);
            let consumed = walked.at - start;
            self.offset += consumed as u64;
            pieces.more_in_carry = false;
            match walked.stop {
                Stop::Limit if consumed < end - walked.at => {
                    let front = shared.pool.bytes();
                    let front = copy_front(&buffer[start..walked.at], start, front, &mut found);
                    let buffer = std::mem::replace(&mut buffer, front);
                    pieces.rest = Some(Rest { buffer, start: walked.at, end });
                }
                Stop::Limit => pieces.more_in_carry = true,
                Stop::Need(_) if pieces.ended => {
                    self.done = true;
                    note_cut(report, self.offset, end - walked.at, &self.walker);
                }
                Stop::Need(bytes) => need = bytes,
                Stop::Damage(what) => {
                    self.done = true;
                    report.fail(InputErrorKind::Damaged { offset: self.offset, what });
                }
                Stop::Another => {
                    self.done = true;
                    report.fail(InputErrorKind::Another { offset: self.offset });
                }
            }
            if pieces.rest.is_none() {
                pieces.carry.extend_from_slice(&buffer[walked.at..end]);
            }
            if found.is_batch(self.done) {
                pieces.aim(consumed, found.frames.len(), self.limits);
                return Some(Batch::new(BlockBytes::Owned(buffer), found));
            }
            shared.pool.give_bytes(buffer);
            if self.done {
                shared.pool.give_frames(found.frames);
                return None;
            }
        }
    }

    fn next_streamed(&mut self, shared: &mut Shared<'_>, report: &mut FileReport) -> Option<Batch> {
        let Body::Stream(stream) = &mut self.body else { return None };
        let mut found = Found::new(shared.pool.frames());
        let (mut buffer, mut start, mut filled, mut want);
        if let Some(rest) = stream.rest.take() {
            // Nothing is read before it turns out to be needed.
            Rest { buffer, start, end: filled } = rest;
            want = filled;
        } else {
            buffer = shared.pool.bytes();
            (start, filled) = (0, stream.carry.len());
            grow(&mut buffer, filled.max(stream.target_bytes));
            buffer[..filled].copy_from_slice(&stream.carry);
            stream.carry.clear();
            want = stream.target_bytes;
        }
        loop {
            while !stream.ended && filled < want {
                match stream.read.read(&mut buffer[filled..want]) {
                    Ok(0) => stream.ended = true,
                    Ok(n) => filled += n,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        stream.ended = true;
                        let offset = self.offset + filled as u64;
                        match self.compression {
                            Some(compression) => warn_damaged(report, compression, offset, &error),
                            None => {
                                let kind =
                                    InputErrorKind::Read { offset, error: error.to_string() };
                                report.fail(kind);
                            }
                        }
                    }
                }
            }
            let mut notes = Notes { interfaces: shared.interfaces, report, file: self.file };
            let limits = Limits { bytes: usize::MAX, ..self.limits };
            let walked = self.walker.walk(&buffer[..filled], start, limits, &mut found, &mut notes);
            let consumed = walked.at - start;
            let left = filled - walked.at;
            self.offset += consumed as u64;
            let mut need = 0;
            match walked.stop {
                Stop::Limit if consumed < left => {
                    let front = shared.pool.bytes();
                    let front = copy_front(&buffer[start..walked.at], start, front, &mut found);
                    let buffer = std::mem::replace(&mut buffer, front);
                    stream.rest = Some(Rest { buffer, start: walked.at, end: filled });
                }
                Stop::Limit => {}
                Stop::Need(_) if stream.ended => {
                    self.done = true;
                    note_cut(report, self.offset, left, &self.walker);
                }
                Stop::Need(bytes) => need = bytes,
                Stop::Damage(what) => {
                    self.done = true;
                    report.fail(InputErrorKind::Damaged { offset: self.offset, what });
                }
                Stop::Another => {
                    self.done = true;
                    report.fail(InputErrorKind::Another { offset: self.offset });
                }
            }
            if found.is_batch(self.done) {
                if stream.rest.is_none() {
                    stream.carry.extend_from_slice(&buffer[walked.at..filled]);
                }
                stream.aim(consumed, found.frames.len(), self.limits);
                return Some(Batch::new(BlockBytes::Owned(buffer), found));
            }
            if self.done {
                shared.pool.give_frames(found.frames);
                shared.pool.give_bytes(buffer);
                return None;
            }
            // No frame yet: a long record, or blocks without packets.
            buffer.copy_within(walked.at..filled, 0);
            (start, filled) = (0, left);
            want = stream.target_bytes.max(need);
            grow(&mut buffer, want);
        }
    }
}

impl Stream {
    /// Reads what the limit of frames will take, with a little over, so that
    /// small records are not carried from block to block again and again.
    fn aim(&mut self, consumed: usize, frames: usize, limits: Limits) {
        let mean = consumed / frames.max(1) + 1;
        let full = mean.saturating_mul(limits.frames);
        let full = full.saturating_add(full / 16);
        self.target_bytes = full.max(least_bytes(limits)).min(limits.bytes);
    }
}

/// A map of the file where one is asked for.
fn map_if_wanted(file: &File, mapping: Mapping, report: &mut FileReport) -> Option<Arc<Mmap>> {
    if mapping != Mapping::Always || file.metadata().ok()?.len() == 0 {
        return None;
    }
    match mapping::map(file) {
        Ok(map) => Some(map),
        Err(error) => {
            report.warn(format!("cannot be mapped ({error}); read instead"));
            None
        }
    }
}

/// The file ended `left` bytes into a record.
fn note_cut(report: &mut FileReport, offset: u64, left: usize, walker: &Walker) {
    if left == 0 && !walker.is_inside_record() {
        return;
    }
    report.truncated_records += 1;
    report.warn(format!(
        "ends in the middle of a record: {left} bytes at offset {offset} are left over; \
         everything before them was read"
    ));
}

fn grow(buffer: &mut Vec<u8>, length: usize) {
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
}

/// Says what a path that is not a capture is; looks at its first bytes.
pub(super) fn recognise(path: &Path) -> Result<(), InputErrorKind> {
    let options = ReadOptions {
        limits: Limits { frames: 1, bytes: HEAD_BYTES },
        mapping: Mapping::Never,
        unpack_threads: 0,
        progress: None,
    };
    let origin = open_path(path).map_err(|e| cannot_open(&e))?;
    let mut report = FileReport::default();
    FileReader::open(origin, &options, 0, &mut report, &mut InterfaceTable::default()).map(|_| ())
}
