//! Several files as one stream in time order.
//!
//! A file's place is the latest time stamp it has reached, so that a packet
//! stamped backwards follows the one before it instead of waiting; ties go to
//! the file that started first, then to the one named first. Files are opened
//! when their first packet's turn comes: a ring of a thousand files that do not
//! overlap holds one open.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::block::{BlockBytes, Frame};
use super::error::{InputError, InputErrorKind};
use super::opening::{Origin, ReadOptions, open_path};
use super::pool::Pool;
use super::reader::{Batch, FileReader, Shared};
use super::report::{FileReport, Interface, InterfaceTable};
use super::stream::FileStream;
use super::walk::{Found, Limits};
use super::{Mapping, Source};

/// Streams (compressed, piped, or not to be mapped) open at once: each has a
/// descriptor, buffers of some MiB, and often a thread. Mapped files need none
/// of it and are not limited.
const MAX_OPEN_STREAMS: usize = 64;

/// Over this many files, plain ones are mapped: a map holds no descriptor and
/// no buffer.
const READ_UP_TO_FILES: usize = 16;

/// Of a file that is only looked at.
const PEEK_LIMITS: Limits = Limits { frames: 128, bytes: 64 << 10 };

/// The files of a merge that have frames left.
pub(super) struct Merge {
    files: Vec<MergeFile>,
    /// Next frame (or clock mark) of each file: its place in time, its rank.
    heap: BinaryHeap<Reverse<(i64, usize)>>,
    options: ReadOptions,
    open_streams: usize,
}

struct MergeFile {
    report: usize,
    state: State,
    /// Latest time so far: the file's place.
    reached_ns: i64,
}

enum State {
    Waiting(Source),
    Open(Box<OpenFile>),
    Done,
}

struct OpenFile {
    stream: FileStream,
    batch: Batch,
    /// Next frame of the batch.
    at: usize,
    /// Among the open streams, which are limited.
    counted: bool,
}

impl Merge {
    /// Looks at the first frame of each source. What can't be read is in its
    /// report, and left out.
    pub(super) fn new(
        sources: Vec<Source>,
        mut options: ReadOptions,
        pool: &mut Pool,
        interfaces: &mut InterfaceTable,
        reports: &mut [FileReport],
    ) -> Self {
        if sources.len() > READ_UP_TO_FILES && options.mapping == Mapping::Auto {
            options.mapping = Mapping::Always;
        }
        let mut merge =
            Self { files: Vec::new(), heap: BinaryHeap::new(), options, open_streams: 0 };
        for (index, source) in sources.into_iter().enumerate() {
            let Some(report) = reports.get_mut(index) else { continue };
            let file = if source.reopens() {
                merge.peek(index, source, pool, interfaces, report)
            } else {
                merge.open(index, source, pool, interfaces, report)
            };
            merge.files.extend(file);
        }
        // Files are ranked by their start: the index into `files` is the rank.
        merge.files.sort_by_key(|file| (file.reached_ns, file.report));
        merge.heap =
            merge.files.iter().enumerate().map(|(i, f)| Reverse((f.reached_ns, i))).collect();
        merge
    }

    /// Reports of files that have more.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = usize> {
        let more = self.files.iter().filter(|file| !matches!(file.state, State::Done));
        more.map(|file| file.report)
    }

    /// The next frames in order, at least one (or a clock mark, with which the
    /// last file ends), in one buffer.
    pub(super) fn next_batch(
        &mut self,
        pool: &mut Pool,
        interfaces: &mut InterfaceTable,
        reports: &mut [FileReport],
    ) -> Option<Batch> {
        let limits = self.options.limits;
        let mut found = Found::new(pool.frames());
        let mut bytes = pool.bytes();
        bytes.clear();
        while found.frames.len() < limits.frames && bytes.len() < limits.bytes {
            let Some(Reverse((_, index))) = self.heap.pop() else { break };
            if !self.make_ready(index, pool, interfaces, reports) {
                continue;
            }
            // Up to where another file's turn comes.
            let until = self.heap.peek().map(|Reverse(next)| *next);
            let Some(file) = self.files.get_mut(index) else { continue };
            let State::Open(open) = &mut file.state else { continue };
            let OpenFile { batch, at, .. } = open.as_mut();
            if let Some(mark_ns) = batch.mark_ns {
                let place = file.reached_ns.max(mark_ns);
                if !found.frames.is_empty() {
                    // A mark comes before the frames of its batch.
                    self.heap.push(Reverse((place, index)));
                    break;
                }
                batch.mark_ns = None;
                found.mark_ns = found.mark_ns.max(Some(mark_ns));
                file.reached_ns = place;
                self.queue(index, pool, interfaces, reports);
                continue;
            }
            if *at == 0
                && found.frames.is_empty()
                && until
                    .is_none_or(|until| (batch.tally.latest_ns.max(file.reached_ns), index) < until)
            {
                // No other file comes between: the batch goes on as it is.
                let empty = Found::new(Vec::new());
                let mut whole =
                    std::mem::replace(batch, Batch::new(BlockBytes::Owned(Vec::new()), empty));
                whole.mark_ns = found.mark_ns;
                file.reached_ns = file.reached_ns.max(whole.tally.latest_ns);
                self.queue(index, pool, interfaces, reports);
                pool.give_bytes(bytes);
                pool.give_frames(found.frames);
                return Some(whole);
            }
            let mut taken = false;
            while let Some(frame) = batch.frames.get(*at) {
                let place = file.reached_ns.max(frame.time_ns);
                let full = found.frames.len() >= limits.frames || bytes.len() >= limits.bytes;
                if taken && (full || until.is_some_and(|until| (place, index) > until)) {
                    break;
                }
                let offset = bytes.len() as u32;
                bytes.extend_from_slice(batch.bytes.frame(frame));
                found.push(Frame { offset, ..*frame });
                file.reached_ns = place;
                *at += 1;
                taken = true;
            }
            self.queue(index, pool, interfaces, reports);
        }
        if !found.is_batch(true) {
            pool.give_bytes(bytes);
            pool.give_frames(found.frames);
            return None;
        }
        Some(Batch::new(BlockBytes::Owned(bytes), found))
    }

    /// Puts the file's next frame on the heap; closes the file when it has none.
    fn queue(
        &mut self,
        index: usize,
        pool: &mut Pool,
        interfaces: &mut InterfaceTable,
        reports: &mut [FileReport],
    ) {
        let Some(file) = self.files.get_mut(index) else { return };
        let Some(report) = reports.get_mut(file.report) else { return };
        let State::Open(open) = &mut file.state else { return };
        let OpenFile { stream, batch, at, counted } = open.as_mut();
        if *at >= batch.frames.len() && batch.mark_ns.is_none() {
            let mut shared = Shared { pool, interfaces };
            match stream.next_batch(&mut shared, report) {
                Some(next) => {
                    std::mem::replace(batch, next).recycle(shared.pool);
                    *at = 0;
                }
                None => {
                    self.open_streams -= usize::from(*counted);
                    file.state = State::Done;
                    return;
                }
            }
        }
        let next_ns = batch.mark_ns.or_else(|| batch.frames.get(*at).map(|frame| frame.time_ns));
        if let Some(next_ns) = next_ns {
            self.heap.push(Reverse((file.reached_ns.max(next_ns), index)));
        }
    }

    /// Opens a file whose turn has come; false when that fails.
    fn make_ready(
        &mut self,
        index: usize,
        pool: &mut Pool,
        interfaces: &mut InterfaceTable,
        reports: &mut [FileReport],
    ) -> bool {
        let Some(file) = self.files.get_mut(index) else { return false };
        let State::Waiting(source) = &mut file.state else { return true };
        let source = std::mem::replace(source, Source::Used);
        let position = file.report;
        let Some(report) = reports.get_mut(position) else { return false };
        let opened = self.open(position, source, pool, interfaces, report);
        let Some(file) = self.files.get_mut(index) else { return false };
        match opened {
            Some(opened) => {
                *file = opened;
                true
            }
            None => {
                file.state = State::Done;
                false
            }
        }
    }

    /// Reads the first frames, and lets go of the file again.
    fn peek(
        &self,
        index: usize,
        source: Source,
        pool: &mut Pool,
        interfaces: &mut InterfaceTable,
        report: &mut FileReport,
    ) -> Option<MergeFile> {
        let options = ReadOptions {
            limits: PEEK_LIMITS,
            mapping: Mapping::Never,
            unpack_threads: 0,
            progress: None,
        };
        // What is found now will be found again: only a file that gives no
        // frame and no mark keeps the report and the interfaces of this look.
        let mut first_report = FileReport::new(&report.path);
        let mut scratch = InterfaceTable::default();
        let opened = source.origin().map_err(|e| InputErrorKind::Open(e.to_string()));
        let reader = opened.and_then(|origin| {
            FileReader::open(origin, &options, 0, &mut first_report, &mut scratch)
        });
        let first_ns = match reader {
            Ok(reader) => {
                let mut shared = Shared { pool, interfaces: &mut scratch };
                let batch = FileStream::new(reader).next_batch(&mut shared, &mut first_report);
                let first_ns = batch.as_ref().and_then(Batch::first_ns);
                if let Some(batch) = batch {
                    batch.recycle(pool);
                }
                first_ns
            }
            Err(kind) => {
                first_report.error = Some(InputError::new(&report.path, kind));
                None
            }
        };
        match first_ns {
            Some(reached_ns) => {
                Some(MergeFile { report: index, state: State::Waiting(source), reached_ns })
            }
            None => {
                for interface in scratch.list() {
                    let file = index as u32;
                    // A full table is said by the file that has frames for it.
                    let _ = interfaces.enter(Interface { file, ..interface.clone() });
                }
                *report = first_report;
                None
            }
        }
    }

    fn open(
        &mut self,
        index: usize,
        source: Source,
        pool: &mut Pool,
        interfaces: &mut InterfaceTable,
        report: &mut FileReport,
    ) -> Option<MergeFile> {
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        // Files that overlap share the cores.
        let threads = self.options.unpack_threads / (self.open_streams + 1);
        let options = ReadOptions { unpack_threads: threads.max(1), ..self.options.clone() };
        let opened = source
            .into_origin()
            .map_err(|e| InputErrorKind::Open(e.to_string()))
            .and_then(|origin| FileReader::open(origin, &options, number, report, interfaces))
            .and_then(|reader| {
                let full = self.open_streams >= MAX_OPEN_STREAMS;
                if reader.is_stream() && full {
                    return Err(InputErrorKind::TooManyOpen { open: self.open_streams });
                }
                Ok(FileStream::new(reader))
            });
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(kind) => {
                report.error = Some(InputError::new(&report.path, kind));
                return None;
            }
        };
        let mut shared = Shared { pool, interfaces };
        let batch = stream.next_batch(&mut shared, report)?;
        let reached_ns = batch.first_ns()?;
        let counted = stream.is_stream();
        self.open_streams += usize::from(counted);
        Some(MergeFile {
            report: index,
            state: State::Open(Box::new(OpenFile { stream, batch, at: 0, counted })),
            reached_ns,
        })
    }
}

impl Source {
    /// True when it can be opened, looked at, and opened again.
    pub(super) fn reopens(&self) -> bool {
        match self {
            Self::Path(path) => path.is_file(),
            Self::Bytes(_) => true,
            Self::Used => false,
        }
    }

    fn origin(&self) -> std::io::Result<Origin> {
        match self {
            Self::Path(path) => open_path(path),
            Self::Bytes(bytes) => {
                Ok(Origin::Stream(Box::new(std::io::Cursor::new(std::sync::Arc::clone(bytes)))))
            }
            Self::Used => Err(std::io::Error::other("opened twice")),
        }
    }

    pub(super) fn into_origin(self) -> std::io::Result<Origin> {
        self.origin()
    }
}
