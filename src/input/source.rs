//! The front door: everything that was named, as one stream of blocks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use super::ahead::ReadAhead;
use super::block::{Block, BlockBytes, Frame, Shed, frame_flag};
use super::ending;
use super::error::{InputError, InputErrorKind};
use super::live::{Live, LiveError, LiveOptions, LiveStatus, Taken, TapStatus};
use super::merge::Merge;
use super::opening::ReadOptions;
use super::origin::{Origins, Watch};
use super::pool::Pool;
use super::reader::{Batch, FileReader, Shared, recognise};
use super::report::{Counters, FileReport, Interface, InterfaceTable, Progress};
use super::rescale::Rescale;
use super::stream::FileStream;
use super::walk::{Limits, Tally};
use crate::pace::Speed;

/// A second in the unit of time stamps.
const SECOND_NS: i64 = 1_000_000_000;

/// Bounds of [`InputOptions::block_bytes`]: offsets in a block are 32 bits.
const BLOCK_BYTES_RANGE: (usize, usize) = (4 << 10, 256 << 20);

/// Bound of [`InputOptions::block_frames`]: positions in a block have 16 bits,
/// fragments that waited come on top.
const MAX_BLOCK_FRAMES: usize = 1 << 15;

/// When to map a file instead of reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mapping {
    /// Where it is better: many files, since a map holds no descriptor.
    #[default]
    Auto,
    Never,
    /// Every regular file that is not compressed.
    Always,
}

/// How long a window stays open after its end, in seconds. Packets of one
/// capture point, merged by time, are out of order by less than milliseconds. A
/// flood that fills a whole window is told within two seconds and its length:
/// three, where it began within a window and did not fill that.
pub const LATENESS_S: i64 = 1;

/// How to read.
#[derive(Clone, Debug)]
pub struct InputOptions {
    /// About how many bytes a block has. From 4 KiB to 256 MiB.
    pub block_bytes: usize,
    /// At most how many frames a block has; over 32,768 is as that.
    pub block_frames: usize,
    /// How long a window stays open after its end, in packet time.
    pub lateness_s: i64,
    pub mapping: Mapping,
    /// Times as if the capture were replayed at this speed; at [`Speed::Max`]
    /// they stay.
    pub time_scale: Option<Speed>,
    /// Told how far reading has come.
    pub progress: Option<Arc<Progress>>,
}

impl Default for InputOptions {
    fn default() -> Self {
        Self {
            block_bytes: 1 << 20,
            block_frames: 8192,
            lateness_s: LATENESS_S,
            mapping: Mapping::Auto,
            time_scale: None,
            progress: None,
        }
    }
}

/// Time between two looks at rings that were empty: much less than what they
/// hold, and few enough wake-ups that an idle capture costs next to nothing.
pub(crate) const LIVE_WAIT: Duration = Duration::from_millis(5);

/// What a live capture is watched and ended with.
#[derive(Clone, Debug)]
pub struct LiveHandle {
    /// Set it: what has come until then is handed out, then the stream ends.
    pub stop: Arc<AtomicBool>,
    pub status: Arc<LiveStatus>,
}

/// One thing to read.
#[derive(Debug)]
pub(super) enum Source {
    Path(PathBuf),
    Bytes(Arc<[u8]>),
    /// Given to a reader.
    Used,
}

/// Sees a stream as it is handed out, without ever holding it up.
pub trait Recorder: Send {
    /// The next block; one without frames moves the clock alone.
    fn block(&mut self, block: &Block, interfaces: &[Interface]);

    /// What the interfaces of a live capture have counted so far.
    fn counted(&mut self, taps: &[TapStatus]);
}

/// What comes next in a stream.
#[derive(Debug)]
pub enum Next {
    Block(Block),
    /// Live: nothing yet. Ask again a little later.
    Nothing,
    End,
}

/// Capture files and streams, or interfaces, as one stream of frames in time
/// order.
///
/// Call [`Input::next_block`] until it gives `None`, and hand buffers back with
/// [`Input::recycle`] so that the steady state allocates nothing. A file that
/// fails never ends the stream: the failure is in [`Input::reports`], and the
/// others go on. [`Input::interfaces`] grows while reading; an index in a block
/// handed out is in it.
pub struct Input {
    feed: Feed,
    pool: Pool,
    interfaces: InterfaceTable,
    reports: Vec<FileReport>,
    counters: Counters,
    sequence: u64,
    rescale: Option<Rescale>,
    marks: Marks,
    /// Its clock mark went first, in a block of its own.
    held: Option<Batch>,
    limits: Limits,
    progress: Option<Arc<Progress>>,
    recorder: Option<Box<dyn Recorder>>,
    origin: Watch,
    /// A stream that ends by itself where reading is to end, and is read to there.
    drains: bool,
    /// Left out of captures: what only a live one has, for tests of what comes of it.
    #[cfg(test)]
    shed: Shed,
}

enum Feed {
    One(Box<FileStream>),
    Many(Box<Merge>),
    Live(Box<Live>),
    Nothing,
}

impl Input {
    /// Opens files, folders (each capture in it, by name, not deeper), and `-`
    /// for standard input. Fails only when there is nothing to try; everything
    /// else is in the report of its file.
    pub fn open(paths: &[PathBuf], options: InputOptions) -> Result<Self, InputError> {
        let mut sources = Vec::new();
        let mut reports = Vec::new();
        let mut failed = Vec::new();
        let mut stdin_named = false;
        for path in paths {
            let name = path.display().to_string();
            if path == Path::new("-") {
                if std::mem::replace(&mut stdin_named, true) {
                    failed.push(failure(&name, InputErrorKind::StdinTwice));
                    continue;
                }
            } else if path.is_dir() {
                match captures_in(path) {
                    Ok((files, skipped)) => {
                        for file in files {
                            reports.push(FileReport::new(&file.display().to_string()));
                            sources.push(Source::Path(file));
                        }
                        failed.extend(skipped);
                    }
                    Err(kind) => failed.push(failure(&name, kind)),
                }
                continue;
            }
            reports.push(FileReport::new(&name));
            sources.push(Source::Path(path.clone()));
        }
        if paths.is_empty() {
            return Err(InputError::new("input", InputErrorKind::NothingNamed));
        }
        Ok(Self::start(sources, reports, failed, options))
    }

    /// Reads captures that are in memory, as if each were a file.
    pub fn from_bytes(captures: Vec<Vec<u8>>, options: InputOptions) -> Self {
        let reports =
            (0..captures.len()).map(|i| FileReport::new(&format!("memory {i}"))).collect();
        let sources = captures.into_iter().map(|bytes| Source::Bytes(bytes.into())).collect();
        Self::start(sources, reports, Vec::new(), options)
    }

    /// Listens to interfaces. Ends when the handle that comes with it is set.
    pub fn live(live: LiveOptions, options: InputOptions) -> Result<(Self, LiveHandle), LiveError> {
        let mut input = Self::start(Vec::new(), Vec::new(), Vec::new(), options);
        let live = Live::open(live, &mut input.interfaces)?;
        let handle = LiveHandle { stop: live.stop_handle(), status: live.status() };
        input.feed = Feed::Live(Box::new(live));
        Ok((input, handle))
    }

    /// The same capture as if it came in too fast.
    #[cfg(test)]
    pub(crate) fn shedding(self, shed: Shed) -> Self {
        Self { shed, ..self }
    }

    /// The next frames; `None` at the end of all inputs. Live, waits for them. A
    /// block without frames moves the stream's clock alone, while nothing comes;
    /// a recording says where it did.
    pub fn next_block(&mut self) -> Option<Block> {
        loop {
            match self.poll() {
                Next::Block(block) => return Some(block),
                Next::Nothing => thread::sleep(LIVE_WAIT),
                Next::End => return None,
            }
        }
    }

    /// Shows each block to `recorder` as it is handed out.
    pub fn record(&mut self, recorder: Box<dyn Recorder>) {
        self.recorder = Some(recorder);
    }

    /// What comes next. Never waits for a packet.
    pub fn poll(&mut self) -> Next {
        let next = self.take_next();
        if let Some(recorder) = &mut self.recorder {
            if let Next::Block(block) = &next {
                recorder.block(block, self.interfaces.list());
            }
            if let Feed::Live(live) = &mut self.feed
                && let Some(taps) = live.take_counted()
            {
                recorder.counted(&taps);
            }
        }
        next
    }

    fn take_next(&mut self) -> Next {
        let (bytes, mut frames, tally) = loop {
            if let Some(held) = self.held.take() {
                if !held.frames.is_empty() {
                    break (held.bytes, held.frames, held.tally);
                }
                held.recycle(&mut self.pool);
            }
            let batch = if let Feed::Live(live) = &mut self.feed {
                match live.next_batch(&mut self.pool, &mut self.interfaces, self.limits) {
                    Taken::Frames(batch) => Some(batch),
                    Taken::Mark(time_ns) => Some(Batch::mark(time_ns)),
                    Taken::Nothing => return Next::Nothing,
                    Taken::End => None,
                }
            } else if !self.drains && ending::is_wanted() {
                self.break_off();
                None
            } else {
                self.read_batch()
            };
            let Some(mut batch) = batch else {
                self.feed = Feed::Nothing;
                return Next::End;
            };
            let mut mark_ns = batch.mark_ns.take();
            if let Some(rescale) = &mut self.rescale {
                mark_ns = mark_ns.and_then(|mark_ns| rescale.mark(mark_ns));
                rescale.frames(&mut batch.frames, &mut batch.tally);
                // Their own times are none of the stream's.
                self.reports.iter_mut().for_each(|report| report.span_ns = None);
            }
            match mark_ns {
                Some(mark_ns) if self.marks.reach(mark_ns) => {
                    self.held = Some(batch);
                    break (BlockBytes::Owned(Vec::new()), Vec::new(), Tally::NOTHING);
                }
                _ if batch.frames.is_empty() => batch.recycle(&mut self.pool),
                _ => break (batch.bytes, batch.frames, batch.tally),
            }
        };
        let first_frame = self.counters.frames;
        if !frames.is_empty() {
            self.origin.note(&frames, self.marks.latest_ns, self.interfaces.list());
            self.marks.mark(&mut frames, &tally, &mut self.counters);
        }
        if let Some(progress) = &self.progress {
            progress.add_packets(frames.len() as u64);
        }
        Next::Block(Block { first_frame, ..self.block(bytes, frames) })
    }

    /// The next block of the stream, as the marks stand now.
    fn block(&mut self, bytes: BlockBytes, frames: Vec<Frame>) -> Block {
        let sequence = self.sequence;
        self.sequence += 1;
        Block {
            sequence,
            first_frame: self.counters.frames,
            bytes,
            frames,
            closed_before_s: self.marks.closed_before_s,
            latest_ns: self.marks.latest_ns,
            shed: match &self.feed {
                Feed::Live(live) => live.shed(),
                #[cfg(test)]
                Feed::One(_) | Feed::Many(_) => self.shed,
                #[cfg(not(test))]
                Feed::One(_) | Feed::Many(_) => Shed::Nothing,
                Feed::Nothing => Shed::Nothing,
            },
        }
    }

    /// Says of each file that is not read to its end that it isn't.
    fn break_off(&mut self) {
        let reports: Vec<usize> = match &self.feed {
            Feed::One(_) => vec![0],
            Feed::Many(merge) => merge.unfinished().collect(),
            Feed::Live(_) | Feed::Nothing => Vec::new(),
        };
        for index in reports {
            if let Some(report) = self.reports.get_mut(index) {
                report.warn("reading was stopped before its end".to_owned());
            }
        }
    }

    fn read_batch(&mut self) -> Option<Batch> {
        let mut shared = Shared { pool: &mut self.pool, interfaces: &mut self.interfaces };
        match &mut self.feed {
            Feed::One(stream) => stream.next_batch(&mut shared, self.reports.first_mut()?),
            Feed::Many(merge) => {
                merge.next_batch(&mut self.pool, &mut self.interfaces, &mut self.reports)
            }
            Feed::Live(_) | Feed::Nothing => None,
        }
    }

    /// What to read ahead, beside this: a single plain file has it. Threads
    /// that take blocks in turn call [`ReadAhead::fill`] before they wait.
    pub fn read_ahead(&self) -> Option<Arc<ReadAhead>> {
        match &self.feed {
            Feed::One(stream) => stream.read_ahead(),
            Feed::Many(_) | Feed::Live(_) | Feed::Nothing => None,
        }
    }

    /// Takes back the buffers of a block that has been processed.
    pub fn recycle(&mut self, bytes: Vec<u8>, frames: Vec<Frame>) {
        self.pool.give_bytes(bytes);
        self.pool.give_frames(frames);
    }

    /// The table that [`Frame::interface`] counts in, so far.
    pub fn interfaces(&self) -> &[Interface] {
        self.interfaces.list()
    }

    /// Where the packets handed out so far came from.
    pub(crate) fn origins(&self) -> Arc<Origins> {
        self.origin.origins()
    }

    /// One report for each file, in the order named; complete at the end.
    pub fn reports(&self) -> &[FileReport] {
        &self.reports
    }

    /// Sums over the blocks handed out so far.
    pub fn counters(&self) -> Counters {
        let truncated_records = self.reports.iter().map(|r| r.truncated_records).sum();
        Counters { truncated_records, ..self.counters }
    }

    fn start(
        mut sources: Vec<Source>,
        mut reports: Vec<FileReport>,
        failed: Vec<FileReport>,
        options: InputOptions,
    ) -> Self {
        let (least, most) = BLOCK_BYTES_RANGE;
        let limits = Limits {
            frames: options.block_frames.clamp(1, MAX_BLOCK_FRAMES),
            bytes: options.block_bytes.clamp(least, most),
        };
        if let Some(progress) = &options.progress {
            progress.set_total(total_bytes(&sources));
        }
        let mut pool = Pool::new(limits.bytes);
        let mut interfaces = InterfaceTable::default();
        let read = ReadOptions {
            limits,
            mapping: options.mapping,
            unpack_threads: thread::available_parallelism().map_or(1, usize::from),
            progress: options.progress.clone(),
        };
        let drains = matches!(sources.as_slice(), [only] if !only.reopens());
        let feed = match (sources.len(), sources.pop()) {
            (1, Some(source)) => open_one(source, &read, &mut interfaces, &mut reports),
            (_, Some(source)) => {
                sources.push(source);
                let merge = Merge::new(sources, read, &mut pool, &mut interfaces, &mut reports);
                Feed::Many(Box::new(merge))
            }
            (_, None) => Feed::Nothing,
        };
        reports.extend(failed);
        Self {
            feed,
            pool,
            interfaces,
            reports,
            counters: Counters::default(),
            sequence: 0,
            rescale: options.time_scale.map(Rescale::new),
            marks: Marks::new(options.lateness_s),
            held: None,
            recorder: None,
            origin: Watch::default(),
            drains,
            #[cfg(test)]
            shed: Shed::Nothing,
            limits,
            progress: options.progress,
        }
    }
}

fn open_one(
    source: Source,
    options: &ReadOptions,
    interfaces: &mut InterfaceTable,
    reports: &mut [FileReport],
) -> Feed {
    let Some(report) = reports.first_mut() else { return Feed::Nothing };
    let reader = source
        .into_origin()
        .map_err(|e| InputErrorKind::Open(e.to_string()))
        .and_then(|origin| FileReader::open(origin, options, 0, report, interfaces));
    match reader {
        Ok(reader) => Feed::One(Box::new(FileStream::new(reader))),
        Err(kind) => {
            report.error = Some(InputError::new(&report.path, kind));
            Feed::Nothing
        }
    }
}

/// Size of all sources; `None` when one is a stream.
fn total_bytes(sources: &[Source]) -> Option<u64> {
    sources
        .iter()
        .map(|source| match source {
            Source::Path(path) => {
                let metadata = path.metadata().ok();
                // What can't be opened adds nothing.
                metadata.map_or(Some(0), |m| m.is_file().then_some(m.len()))
            }
            Source::Bytes(bytes) => Some(bytes.len() as u64),
            Source::Used => Some(0),
        })
        .sum()
}

fn failure(path: &str, kind: InputErrorKind) -> FileReport {
    FileReport { error: Some(InputError::new(path, kind)), ..FileReport::new(path) }
}

/// The captures of a folder by name, and reports of what is passed over.
fn captures_in(folder: &Path) -> Result<(Vec<PathBuf>, Vec<FileReport>), InputErrorKind> {
    let cannot_open = |e: std::io::Error| InputErrorKind::Open(e.to_string());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot_open)? {
        names.push(entry.map_err(cannot_open)?.path());
    }
    names.sort();
    let mut skipped = Vec::new();
    names.retain(|path| {
        if !path.is_file() || is_hidden(path) {
            return false;
        }
        // A capture that is damaged or can't be opened is no stranger: it stays,
        // and fails.
        let Err(why @ InputErrorKind::NotACapture { .. }) = recognise(path) else { return true };
        let mut report = FileReport::new(&path.display().to_string());
        report.warn(format!("passed over: {why}"));
        skipped.push(report);
        false
    });
    if names.is_empty() { Err(InputErrorKind::EmptyFolder) } else { Ok((names, skipped)) }
}

/// Whether a file of a folder is hidden: what programs keep there for themselves, as a lock.
pub(crate) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether the file is a capture by its content, damaged ones included.
pub(crate) fn is_capture(path: &Path) -> bool {
    !matches!(recognise(path), Err(InputErrorKind::NotACapture { .. } | InputErrorKind::Open(_)))
}

/// What is decided on the merged stream, packet by packet, so that it does not
/// depend on blocks.
struct Marks {
    lateness_s: i64,
    latest_ns: i64,
    previous_ns: i64,
    closed_before_s: i64,
    closed_before_ns: i64,
    /// When `latest_ns` reaches this, another window closes.
    next_close_ns: i64,
}

impl Marks {
    fn new(lateness_s: i64) -> Self {
        Self {
            lateness_s: lateness_s.max(0),
            latest_ns: i64::MIN,
            previous_ns: i64::MIN,
            closed_before_s: i64::MIN,
            closed_before_ns: i64::MIN,
            next_close_ns: i64::MIN,
        }
    }

    fn mark(&mut self, frames: &mut [Frame], tally: &Tally, counters: &mut Counters) {
        counters.frames += frames.len() as u64;
        counters.wire_bytes += tally.wire_bytes;
        counters.captured_bytes += tally.captured_bytes;
        let first_ns = counters.first_ns.get_or_insert(tally.least_ns);
        *first_ns = (*first_ns).min(tally.least_ns);
        let in_order = !tally.backward && tally.least_ns >= self.latest_ns;
        if in_order && tally.flags == 0 {
            // Nothing before the latest time is late: windows close behind it.
            self.previous_ns = tally.last_ns;
            self.reach(tally.latest_ns);
        } else {
            self.mark_each(frames, counters);
        }
        counters.latest_ns = counters.latest_ns.max(Some(tally.latest_ns));
    }

    fn mark_each(&mut self, frames: &mut [Frame], counters: &mut Counters) {
        for frame in frames.iter_mut() {
            let time_ns = frame.time_ns;
            if time_ns < self.previous_ns {
                frame.flags |= frame_flag::BACKWARD;
                counters.backward += 1;
            }
            if time_ns < self.closed_before_ns {
                frame.flags |= frame_flag::LATE;
                counters.late += 1;
            }
            self.previous_ns = time_ns;
            self.reach(time_ns);
            counters.time_anomalies += u64::from(frame.flags & frame_flag::TIME_ANOMALY != 0);
            counters.length_anomalies += u64::from(frame.flags & frame_flag::LENGTH_ANOMALY != 0);
        }
    }

    /// False when the clock was there already.
    fn reach(&mut self, time_ns: i64) -> bool {
        let later = time_ns > self.latest_ns;
        if later {
            self.latest_ns = time_ns;
            if time_ns >= self.next_close_ns {
                self.close(time_ns);
            }
        }
        later
    }

    /// Windows close `lateness_s` after their end, by packet time.
    fn close(&mut self, latest_ns: i64) {
        let second = latest_ns.div_euclid(SECOND_NS);
        self.next_close_ns = (second + 1).saturating_mul(SECOND_NS);
        self.closed_before_s = second.saturating_sub(self.lateness_s);
        self.closed_before_ns = self.closed_before_s.saturating_mul(SECOND_NS);
    }
}
