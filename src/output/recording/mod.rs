//! Packets on disk: the ring of a live capture, and the evidence of alerts.
//!
//! ```text
//!            chunks                   files          frames
//! Tap ─────────────────▶ disk thread ───────▶ ring ──────────▶ evidence thread ──▶ evidence/ID.pcapng
//! one copy a packet,     writes, rotates,     pcapng, each     reads what the      packets of an
//! never waits            removes the oldest   file by itself   alerts are about    alert's entity
//! ```
//!
//! What is recorded is the stream as it was handed out: frames in their order
//! with the times that were set right, and where the stream's clock went on
//! while no packet came (a statistics block with that time; see
//! [`crate::input`]). So a recording read offline closes the same windows and
//! ends the same flows. Comments on its interfaces say which sensor recorded, and
//! whether the clock followed a reference: while it did not, packets name another
//! interface of the same name. What did not fit is counted, and said in the file where
//! it is missing.
//!
//! Start at [`Recording::start`]. Nothing here waits on the packet path, prints,
//! or reads the wall clock.

pub(crate) mod blocks;
mod case;
mod disk;
mod evidence;
mod extract;
mod packets;
mod ring;
mod selector;
mod status;
mod tap;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, bounded};

use crate::alert::Alert;
use crate::input::Interface;
use crate::lock::Lock;
use disk::Disk;
use evidence::{Evidence, Told};
use ring::Ring;
use status::{Status, add};
use tap::Chunk;

pub use evidence::EvidenceSettings;
pub use extract::{ExtractError, Extraction, Wanted, extract};
pub use ring::{files_between, files_in};
pub use selector::{Selector, Sight};
pub use status::{About, Notice, RecordingCounters};
pub use tap::{InterfaceCounters, Tap};

/// Files that the ring's size is divided into.
const RING_FILES: u64 = 16;

/// Bytes of a chunk: a write that is worth its system call, and at most what a
/// SIGKILL takes along.
const CHUNK_BYTES: usize = 1 << 20;

/// Least size of a ring: a chunk for each of its files.
pub const LEAST_RING_BYTES: u64 = RING_FILES * CHUNK_BYTES as u64;

/// Alerts on their way to the evidence thread.
const ALERTS_IN_FLIGHT: usize = 1024;

/// What to record, and where.
#[derive(Clone, Debug)]
pub struct RecordingSettings {
    pub dir: PathBuf,
    /// Bound of all files with our names, those of earlier runs too.
    pub most_bytes: u64,
    /// Chunks that may wait for the disk: what a slow disk is given before
    /// packets are lost.
    pub queue_chunks: usize,
    /// Bytes of a chunk; less only for small rings.
    pub chunk_bytes: usize,
    /// With it, each alert gets its packets in `evidence/ID.pcapng`.
    pub evidence: Option<EvidenceSettings>,
}

impl RecordingSettings {
    /// A ring of `most_bytes` in `dir`.
    pub fn new(dir: &Path, most_bytes: u64) -> Self {
        let file_bytes = usize::try_from(most_bytes / RING_FILES).unwrap_or(usize::MAX);
        Self {
            dir: dir.to_owned(),
            most_bytes,
            queue_chunks: 64,
            chunk_bytes: CHUNK_BYTES.min(file_bytes).max(1),
            evidence: None,
        }
    }
}

/// What the threads of a recording share.
#[derive(Debug)]
struct Shared {
    interfaces: Lock<Vec<Interface>>,
    ring: Lock<Ring>,
    status: Arc<Status>,
}

/// A recording under way. Alerts come here; blocks go to its [`Tap`].
#[derive(Debug)]
pub struct Recording {
    status: Arc<Status>,
    disk: Option<JoinHandle<()>>,
    alerts: Option<Sender<Told>>,
    evidence: Option<JoinHandle<()>>,
}

impl Recording {
    /// Opens the folder and starts the threads. Fails where the folder can't be
    /// made or read.
    pub fn start(settings: &RecordingSettings) -> io::Result<(Self, Tap)> {
        let status = Arc::new(Status::default());
        let shared = Arc::new(Shared {
            interfaces: Lock::new(Vec::new()),
            ring: Lock::new(Ring::open(&settings.dir, settings.most_bytes)?),
            status: Arc::clone(&status),
        });
        let chunk_bytes = settings.chunk_bytes.max(1);
        let queue_chunks = settings.queue_chunks.max(1);
        // One more is being filled.
        let (to_disk, from_tap) = bounded::<Chunk>(queue_chunks + 1);
        let (give_back, spare) = bounded(queue_chunks + 1);
        let mut recording = Self { status, disk: None, alerts: None, evidence: None };
        let mut wake = None;
        if let Some(evidence) = &settings.evidence {
            let (alerts, told) = bounded(ALERTS_IN_FLIGHT);
            let (waker, woken) = bounded(1);
            let worker = Evidence::new(&settings.dir, evidence.clone(), Arc::clone(&shared))?;
            recording.evidence =
                Some(spawn("flowtap-evidence", move || worker.run(&told, &woken))?);
            recording.alerts = Some(alerts);
            wake = Some(waker);
        }
        let file_bytes = settings.most_bytes / RING_FILES;
        let disk = Disk::new(Arc::clone(&shared), file_bytes, chunk_bytes, wake);
        recording.disk = Some(spawn("flowtap-record", move || disk.run(&from_tap, &give_back))?);
        Ok((recording, Tap::new(shared, to_disk, spare, chunk_bytes, queue_chunks)))
    }

    /// An alert was opened or revised, or (`closed`) is over: its packets are
    /// wanted. Nothing without [`RecordingSettings::evidence`].
    pub fn alert(&self, alert: &Alert, closed: bool) {
        if let Some(alerts) = &self.alerts
            && alerts.try_send(Told { alert: Box::new(alert.clone()), closed }).is_err()
        {
            add(&self.status.evidence_refused, 1);
        }
    }

    /// Sums so far.
    pub fn counters(&self) -> RecordingCounters {
        self.status.counters()
    }

    /// What is worth telling since the last call: that writing failed, that it
    /// goes on.
    pub fn take_notices(&self) -> Vec<Notice> {
        self.status.take_notices()
    }

    /// Waits until everything is on disk. The tap has to be dropped before, and
    /// all alerts told. What is worth telling of it comes too.
    pub fn finish(mut self) -> (RecordingCounters, Vec<Notice>) {
        self.alerts = None;
        for thread in [self.disk.take(), self.evidence.take()].into_iter().flatten() {
            if thread.join().is_err() {
                self.status.write_errors.fetch_add(1, Ordering::Relaxed);
                let text = "a thread of the recording failed".to_owned();
                self.status.notice(About::Failing, text);
            }
        }
        (self.status.counters(), self.status.take_notices())
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(body)
}

#[cfg(test)]
mod tests;
