//! Output files of a run that lasts months.
//!
//! [`RollingOutput`] has one owner, which hands it records and alerts and tells
//! it the time once a second. It never makes its owner wait: not for a slow
//! disk, not for one that hangs, not for a full one. What can't be written is
//! counted by kind, told once when that begins and once when it ends, and
//! output goes on by itself when it can.
//!
//! What holds for the files:
//! - A file is named for its begin ([`FileName`]) and has `.part` behind its
//!   name until it is complete: the final name comes by an atomic rename and is
//!   that of a whole file with head and end. A file without records is never
//!   made. Other users of the machine can't read them (mode 0640).
//! - Everything that was handed over before [`RollingOutput::second`] is in the
//!   kernel before it is called again a second later: a process that is killed
//!   loses no more, unless writing doesn't keep up, which is counted. Parquet
//!   is complete each minute; until then its last records, fewer than a row
//!   group, are in memory alone. After a power cut the newest files may lack what
//!   the kernel had not written yet.
//! - Text is the same bytes as [`super::Pipeline`] writes, heads and ends
//!   aside, and no file ends in half a record.
//! - What a killed run left is completed at the next start: [`Recovered`].
//!
//! Never reads the clock, never removes or changes a file whose name is not
//! ours. Start at [`RollingOutput::open`].

mod disk;
mod names;
mod queue;
mod recovery;
pub mod retention;
mod stream;
mod tally;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use self::disk::{Disk, OsDisk};
pub use self::names::{ALERT_STEMS, FLOW_STEMS, FileName, FileState, Kind, Stem};
use self::queue::{Backlog, Chunk, Encoding, Lane, LaneId};
pub use self::recovery::{Recovered, Recovery};
pub use self::retention::{Limits, Removed};
use self::stream::{EventSender, Roll, Stream};
use self::tally::Tally;
pub use self::tally::{KindCounters, OutputCounters, OutputEvent};
use self::writer::{LaneFiles, Message, Writer};
use super::access::make_folders;
use super::folder_lock::{FolderLock, LockError, RUN_LOCK};
use super::observed::{Observed, ObservedLines};
use super::privacy::Privacy;
use super::run_folder::{self, FolderError, Holds};
use super::{Encoder, Format};
use crate::alert::Alert;
use crate::engine::Joined;
use crate::flow::FlowRecord;
use crate::telemetry::Observation;

/// Records of a chunk: as in [`super::Pipeline`].
const CHUNK_RECORDS: usize = 512;

/// Emptied chunks and pieces that are kept for the next ones: enough for what
/// is under way when writing keeps up. More would hold a burst's memory for
/// good.
const SPARE_BUFFERS: usize = 16;

/// Parquet files are complete each minute: what a kill can cost.
const COLUMNS_EVERY_NS: i64 = 60_000_000_000;

/// Events that wait to be taken.
const MAX_EVENTS: usize = 256;

/// Lines of other sources that wait for the disk: their number is bounded too, but one can
/// be a megabyte long. So many of the usual few hundred bytes are a million lines.
const MAX_OBSERVED_BYTES: u64 = 512 << 20;

/// When a file is complete and the next one is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// At each multiple of this since the epoch: full minutes, hours, days UTC.
    /// Parquet is complete each minute at least. An hour by default: at a
    /// thousand flows a second a few gigabytes of NDJSON, which tools still
    /// take whole.
    pub every: Option<Duration>,
    /// Before a piece (at most 512 records; 16,384 of Parquet) that would make
    /// it larger than this. 1 GiB by default.
    pub bytes: Option<u64>,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { every: Some(Duration::from_secs(3600)), bytes: Some(1 << 30) }
    }
}

/// Everything that output can be told.
#[derive(Clone, Debug)]
pub struct RollingOptions {
    /// Made if it is not there.
    pub folder: PathBuf,
    /// Formats of flow records; none writes alerts alone. NDJSON by default.
    pub formats: Vec<Format>,
    pub rotation: Rotation,
    /// What is kept of flow records, over all formats; by default everything.
    pub keep_flows: Limits,
    /// What is kept of `alerts-*.ndjson`; by default everything.
    pub keep_alerts: Limits,
    /// Threads that encode, besides the one that writes; 2 by default.
    pub threads: usize,
    /// Records on their way to the disk, for text and for Parquet each. A
    /// record takes one to two kilobytes. 2^18 by default: half a second of
    /// the fastest floods, in which a scan's flows end all at once.
    pub queue_records: usize,
    /// Alerts on their way to the disk; 4096 by default.
    pub queue_alerts: usize,
    /// What is changed in records and alerts before they are written. By
    /// default values in query strings are masked.
    pub privacy: Arc<Privacy>,
}

impl RollingOptions {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            formats: vec![Format::Ndjson],
            rotation: Rotation::default(),
            keep_flows: Limits::default(),
            keep_alerts: Limits::default(),
            threads: 2,
            queue_records: 1 << 18,
            queue_alerts: 4096,
            privacy: Arc::default(),
        }
    }
}

/// Why output could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("can't write into {}: {error}", folder.display())]
    Io { folder: PathBuf, error: io::Error },
    #[error(transparent)]
    Locked(#[from] LockError),
    #[error(transparent)]
    Taken(#[from] FolderError),
}

/// What became of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    pub counters: OutputCounters,
    /// Events that were not taken before.
    pub events: Vec<OutputEvent>,
    /// All that could be written was, and all files have their names. Otherwise
    /// the disk did not answer in time and what is queued is lost.
    pub complete: bool,
}

/// Writes records and alerts into files for as long as it takes.
pub struct RollingOutput {
    filling: Vec<FlowRecord>,
    /// Chunks that wait to be a row group.
    columns: Vec<Chunk>,
    columns_records: usize,
    /// When the first of them was handed over.
    columns_began_ns: i64,
    columns_every_ns: i64,
    now_ns: i64,
    /// `None` at the end: then the threads stop.
    lanes: Option<Lanes>,
    group_records: usize,
    alerts_tallies: Vec<Arc<Tally>>,
    /// Lines that are handed on with the next second.
    observed: ObservedLines,
    observed_tallies: [Arc<Tally>; 3],
    max_observed: u64,
    max_alerts: u64,
    privacy: Arc<Privacy>,
    tallies: Vec<Arc<Tally>>,
    backlog: Arc<Backlog>,
    events: Receiver<OutputEvent>,
    event_sender: EventSender,
    spare_chunks: Receiver<Vec<FlowRecord>>,
    threads: Vec<JoinHandle<()>>,
    done: Receiver<()>,
    recovered: Vec<Recovered>,
    /// Set while the queue overflows: what had been lost before that.
    overflow_from: Option<u64>,
    /// Lost to the queue up to the last second.
    lost_before: u64,
    _lock: Option<FolderLock>,
}

struct Lanes {
    text: Lane,
    columns: Lane,
    messages: Sender<Message>,
}

impl RollingOutput {
    /// Opens a folder: completes what an earlier run left there and starts the
    /// threads. `now_ns` is the wall clock's time, as later in
    /// [`Self::second`].
    pub fn open(options: &RollingOptions, now_ns: i64) -> Result<Self, OpenError> {
        let folder = &options.folder;
        let io_error = |error| OpenError::Io { folder: folder.clone(), error };
        make_folders(folder).map_err(io_error)?;
        let lock = FolderLock::take(folder, RUN_LOCK)?;
        if run_folder::holds(folder).map_err(io_error)? == Holds::Read {
            return Err(FolderError::Read(folder.clone()).into());
        }
        let recovered = recovery::recover(folder).map_err(io_error)?;
        let mut output = Self::start(options, now_ns, Arc::new(OsDisk)).map_err(io_error)?;
        output.recovered = recovered;
        output._lock = Some(lock);
        Ok(output)
    }

    fn start(options: &RollingOptions, now_ns: i64, disk: Arc<dyn Disk>) -> io::Result<Self> {
        let (jobs, take_jobs) = unbounded();
        let (messages, take_messages) = unbounded();
        let (spare_pieces, take_pieces) = bounded(SPARE_BUFFERS);
        let (spare_chunks, take_chunks) = bounded(SPARE_BUFFERS);
        let (event_sender, events) = bounded(MAX_EVENTS);
        let event_sender = EventSender { events: event_sender, dropped: Arc::default() };
        let backlog = Arc::new(Backlog::default());
        let roll = Roll {
            every_ns: options.rotation.every.map(nanoseconds),
            max_bytes: options.rotation.bytes,
        };
        let columns_every_ns =
            roll.every_ns.map_or(COLUMNS_EVERY_NS, |ns| ns.min(COLUMNS_EVERY_NS));

        let (mut streams, mut encoders) = (<[Vec<Stream>; 2]>::default(), <[Vec<_>; 2]>::default());
        let mut tallies = Vec::new();
        let mut group_records = CHUNK_RECORDS;
        let stream = |kind, roll| {
            let tally = Arc::new(Tally::new(kind));
            let folder = options.folder.clone();
            Stream::new(tally, folder, roll, Arc::clone(&disk), event_sender.clone())
        };
        let mut formats = options.formats.clone();
        formats.sort_by_key(|format| Format::ALL.iter().position(|known| known == format));
        formats.dedup();
        for &format in &formats {
            let lane = lane_of(format);
            // Encoders of a format are alike, whichever writer they come from.
            let encoder: Arc<dyn Encoder> = format.writer(io::sink())?.encoder();
            let roll = match lane {
                LaneId::Text => roll,
                LaneId::Columns => {
                    group_records = encoder.chunk_records();
                    Roll { every_ns: Some(columns_every_ns), ..roll }
                }
            };
            let stream = stream(Kind::Flows(format), roll);
            tallies.push(Arc::clone(&stream.tally));
            streams[lane as usize].push(stream);
            encoders[lane as usize].push(encoder);
        }
        let alerts = stream(Kind::Alerts, roll);
        tallies.push(Arc::clone(&alerts.tally));
        let observed = Observed::ALL.map(|observed| stream(Kind::Observed(observed), roll));
        let observed_tallies = observed.each_ref().map(|stream| Arc::clone(&stream.tally));
        tallies.extend(observed_tallies.iter().cloned());
        let eve = streams[0].iter().position(|s| s.tally.kind == Kind::Flows(Format::Eve));
        let mut alerts_tallies = vec![Arc::clone(&alerts.tally)];
        alerts_tallies.extend(eve.map(|at| Arc::clone(&streams[0][at].tally)));

        let lane = |id: LaneId| Lane {
            id,
            tallies: streams[id as usize].iter().map(|s| Arc::clone(&s.tally)).collect(),
            max_records: options.queue_records as u64,
            backlog: Arc::clone(&backlog),
            jobs: Sender::clone(&jobs),
            messages: Sender::clone(&messages),
            position: 0,
        };
        let lanes = Lanes {
            text: lane(LaneId::Text),
            columns: lane(LaneId::Columns),
            messages: messages.clone(),
        };
        let mut threads = Vec::new();
        for _ in 0..options.threads.max(1) {
            let encoding = Encoding {
                encoders: encoders.clone(),
                privacy: Arc::clone(&options.privacy),
                backlog: Arc::clone(&backlog),
                jobs: take_jobs.clone(),
                messages: messages.clone(),
                spare_pieces: take_pieces.clone(),
                spare_chunks: spare_chunks.clone(),
            };
            threads.push(spawn("flowtap-encode", move || encoding.run())?);
        }
        let writer = Writer {
            folder: options.folder.clone(),
            lanes: streams.map(|streams| LaneFiles { streams, ..LaneFiles::default() }),
            alerts,
            observed,
            eve,
            keep_flows: options.keep_flows,
            keep_alerts: options.keep_alerts,
            backlog: Arc::clone(&backlog),
            events: event_sender.clone(),
            spare_pieces,
            now_ns,
            pruned_ns: None,
            pruned_files: 0,
            retention_failed: false,
        };
        let (done_sender, done) = bounded(1);
        threads.push(spawn("flowtap-write", move || {
            writer.run(&take_messages);
            // Nobody may be waiting any more.
            let _ = done_sender.try_send(());
        })?);
        Ok(Self {
            filling: Vec::with_capacity(CHUNK_RECORDS),
            columns: Vec::new(),
            columns_records: 0,
            columns_began_ns: now_ns,
            columns_every_ns,
            now_ns,
            lanes: Some(lanes),
            group_records,
            alerts_tallies,
            observed: ObservedLines::default(),
            observed_tallies,
            max_observed: options.queue_records as u64,
            max_alerts: options.queue_alerts as u64,
            privacy: Arc::clone(&options.privacy),
            tallies,
            backlog,
            events,
            event_sender,
            spare_chunks: take_chunks,
            threads,
            done,
            recovered: Vec::new(),
            overflow_from: None,
            lost_before: 0,
            _lock: None,
        })
    }

    /// What an earlier run had left, and what became of it.
    pub fn recovered(&self) -> &[Recovered] {
        &self.recovered
    }

    /// False if records need not be handed over: only alerts are written.
    pub fn wants_records(&self) -> bool {
        self.lanes.as_ref().is_some_and(|lanes| {
            !(lanes.text.tallies.is_empty() && lanes.columns.tallies.is_empty())
        })
    }

    /// Adds a record. Never waits.
    pub fn record(&mut self, record: FlowRecord) {
        self.filling.push(record);
        if self.filling.len() >= CHUNK_RECORDS {
            self.hand_on();
        }
    }

    /// Adds a revision of an alert. Never waits.
    pub fn alert(&mut self, alert: &Alert) {
        let Some(lanes) = &self.lanes else { return };
        // Only this thread adds.
        if self.backlog.alerts.load(Relaxed) >= self.max_alerts {
            for tally in &self.alerts_tallies {
                tally.lost_queue.fetch_add(1, Relaxed);
            }
            return;
        }
        self.backlog.alerts.fetch_add(1, Relaxed);
        let alert = Box::new(self.privacy.alert(alert));
        let _ = lanes.messages.send(Message::Alert(alert));
    }

    /// Adds what another source observed. Never waits.
    pub fn observed(&mut self, source: u16, observation: &Observation, joined: &Joined<'_>) {
        let changed = self.privacy.observed(observation, joined.hosts);
        let (observation, hosts) = match &changed {
            Some((observation, hosts)) => (observation, hosts.as_ref()),
            None => (observation, joined.hosts),
        };
        let joined = Joined { hosts, ..*joined };
        if let Some(full) = self.observed.add(source, observation, &joined) {
            self.hand_on_observed(full);
        }
    }

    /// A second has passed, and it is `now_ns` on the wall clock: everything
    /// so far goes to the disk, and files whose time has come are completed.
    /// Never waits.
    pub fn second(&mut self, now_ns: i64) {
        self.hand_on();
        Observed::ALL.into_iter().for_each(|observed| self.hand_on_observed(observed));
        let period = |ns: i64| ns.div_euclid(self.columns_every_ns.max(1));
        if period(now_ns) != period(self.now_ns) {
            self.hand_on_columns();
        }
        self.now_ns = now_ns;
        if let Some(lanes) = &mut self.lanes {
            lanes.text.mark(now_ns);
            if !lanes.columns.tallies.is_empty() {
                lanes.columns.mark(now_ns);
            }
        }
        self.tell_overflow();
    }

    /// Events since the last call, oldest first.
    pub fn take_events(&mut self) -> Vec<OutputEvent> {
        self.events.try_iter().collect()
    }

    /// Numbers up to now.
    pub fn counters(&self) -> OutputCounters {
        let removed = |at: usize| Removed {
            files: self.backlog.removed[at].files.load(Relaxed),
            bytes: self.backlog.removed[at].bytes.load(Relaxed),
        };
        let queued = self.backlog.lanes.iter().map(|lane| lane.records.load(Relaxed)).sum::<u64>();
        let queued = queued + self.backlog.observed.load(Relaxed);
        OutputCounters {
            kinds: self.tallies.iter().map(|tally| tally.counters()).collect(),
            removed_flow_files: removed(0),
            removed_alert_files: removed(1),
            queued_records: queued + (self.filling.len() + self.columns_records) as u64,
            events_dropped: self.event_sender.dropped.load(Relaxed),
        }
    }

    /// Writes what is queued and completes all files. Waits for it, but no
    /// longer than `patience`: a disk that hangs does not keep the process.
    ///
    /// # Panics
    /// When a thread panicked, which is a bug: the panic is passed on.
    pub fn finish(mut self, patience: Duration) -> Finished {
        self.hand_on();
        Observed::ALL.into_iter().for_each(|observed| self.hand_on_observed(observed));
        self.hand_on_columns();
        // The threads end when nothing more can come.
        self.lanes = None;
        let complete = match self.done.recv_timeout(patience) {
            Err(RecvTimeoutError::Timeout) => false,
            // Disconnected: it panicked, which joining tells.
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                for thread in self.threads.drain(..) {
                    thread.join().unwrap_or_else(|panic| resume_unwind(panic));
                }
                let panic =
                    self.backlog.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(panic) = panic {
                    resume_unwind(panic);
                }
                true
            }
        };
        Finished { counters: self.counters(), events: self.take_events(), complete }
    }

    fn hand_on(&mut self) {
        if self.filling.is_empty() {
            return;
        }
        let empty = self.spare_chunks.try_recv();
        let empty = empty.unwrap_or_else(|_| Vec::with_capacity(CHUNK_RECORDS));
        let chunk = Arc::new(std::mem::replace(&mut self.filling, empty));
        let Some(lanes) = &mut self.lanes else { return };
        lanes.text.offer(vec![Arc::clone(&chunk)], self.now_ns);
        if lanes.columns.tallies.is_empty() {
            return;
        }
        if self.columns.is_empty() {
            self.columns_began_ns = self.now_ns;
        }
        self.columns_records += chunk.len();
        self.columns.push(chunk);
        if self.columns_records >= self.group_records {
            self.hand_on_columns();
        }
    }

    fn hand_on_observed(&mut self, observed: Observed) {
        let (bytes, records) = self.observed.take(observed);
        let Some(lanes) = &self.lanes else { return };
        if records == 0 {
            return;
        }
        let length = bytes.len() as u64;
        // Only this thread adds.
        if self.backlog.observed.load(Relaxed) + records > self.max_observed
            || self.backlog.observed_bytes.load(Relaxed) + length > MAX_OBSERVED_BYTES
        {
            self.observed_tallies[observed as usize].lost_queue.fetch_add(records, Relaxed);
            return;
        }
        self.backlog.observed.fetch_add(records, Relaxed);
        self.backlog.observed_bytes.fetch_add(length, Relaxed);
        let _ = lanes.messages.send(Message::Lines { observed, bytes, records });
    }

    fn hand_on_columns(&mut self) {
        self.columns_records = 0;
        let chunks = std::mem::take(&mut self.columns);
        if let Some(lanes) = &mut self.lanes {
            lanes.columns.offer(chunks, self.columns_began_ns);
        }
    }

    /// Told when records begin to be lost and when none was for a second.
    fn tell_overflow(&mut self) {
        let lost = self.tallies.iter().map(|tally| tally.lost_queue.load(Relaxed)).sum();
        let since_last = lost > self.lost_before;
        match self.overflow_from {
            None if since_last => {
                self.overflow_from = Some(self.lost_before);
                self.event_sender.send(OutputEvent::QueueFull);
            }
            Some(from) if !since_last => {
                self.overflow_from = None;
                self.event_sender.send(OutputEvent::QueueDrained { lost: lost - from });
            }
            _ => {}
        }
        self.lost_before = lost;
    }
}

fn lane_of(format: Format) -> LaneId {
    match format {
        #[cfg(feature = "parquet")]
        Format::Parquet => LaneId::Columns,
        Format::Ndjson | Format::Csv | Format::Eve | Format::Zeek => LaneId::Text,
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}
