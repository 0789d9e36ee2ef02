//! What was written, lost and removed, and the events worth telling.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::names::Kind;
use super::retention::Removed;

/// Numbers since the start. Lines of alerts count as records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputCounters {
    pub kinds: Vec<KindCounters>,
    pub removed_flow_files: Removed,
    pub removed_alert_files: Removed,
    /// Records that wait for their turn now, of all kinds.
    pub queued_records: u64,
    /// Events that nobody took in time.
    pub events_dropped: u64,
}

/// Numbers of one kind of file. What was handed over is written, lost or
/// queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindCounters {
    pub kind: Kind,
    /// In files.
    pub written: u64,
    pub written_bytes: u64,
    /// Lost because the queue was full: the disk or the encoding is too slow.
    pub lost_queue: u64,
    /// Lost because writing failed.
    pub lost_disk: u64,
    /// Files that got their final name.
    pub files: u64,
}

impl OutputCounters {
    /// Records lost for any reason, over all kinds.
    pub fn lost(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.lost_queue + kind.lost_disk).sum()
    }

    /// Numbers of one kind, if it is written.
    pub fn of(&self, kind: Kind) -> Option<&KindCounters> {
        self.kinds.iter().find(|counters| counters.kind == kind)
    }
}

/// Something that an operator wants to know, told once. [`fmt::Display`] gives
/// a line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputEvent {
    /// From now on records of this kind are lost.
    WritingFailed { kind: Kind, path: PathBuf, error: String },
    /// Records are written again, and have been for a while.
    WritingResumed { kind: Kind, path: PathBuf, lost: u64, failed_ns: i64 },
    /// Writing doesn't keep up.
    QueueFull,
    /// It keeps up again; records lost meanwhile, over all kinds.
    QueueDrained { lost: u64 },
    /// Old files can't be removed.
    RetentionFailed { path: PathBuf, error: String },
}

impl fmt::Display for OutputEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WritingFailed { kind, path, error } => {
                write!(f, "can't write {} to {}: {error}", what(*kind), path.display())
            }
            Self::WritingResumed { kind, path, lost, failed_ns } => write!(
                f,
                "writing {} to {} again after {} s; {lost} records were lost",
                what(*kind),
                path.display(),
                failed_ns / 1_000_000_000,
            ),
            Self::QueueFull => f.write_str("output doesn't keep up: records are being lost"),
            Self::QueueDrained { lost } => {
                write!(f, "output keeps up again; {lost} records were lost")
            }
            Self::RetentionFailed { path, error } => {
                write!(f, "can't remove old files in {}: {error}", path.display())
            }
        }
    }
}

fn what(kind: Kind) -> String {
    match kind {
        Kind::Flows(format) => format!("flow records ({})", format.name()),
        Kind::Alerts => "alerts".to_owned(),
        Kind::Observed(observed) => observed.name().replace('_', " "),
    }
}

/// The numbers of one kind while they are counted.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) kind: Kind,
    pub(super) written: AtomicU64,
    pub(super) written_bytes: AtomicU64,
    pub(super) lost_queue: AtomicU64,
    pub(super) lost_disk: AtomicU64,
    pub(super) files: AtomicU64,
}

impl Tally {
    pub(super) fn new(kind: Kind) -> Self {
        let zero = AtomicU64::default;
        Self {
            kind,
            written: zero(),
            written_bytes: zero(),
            lost_queue: zero(),
            lost_disk: zero(),
            files: zero(),
        }
    }

    pub(super) fn counters(&self) -> KindCounters {
        KindCounters {
            kind: self.kind,
            written: self.written.load(Relaxed),
            written_bytes: self.written_bytes.load(Relaxed),
            lost_queue: self.lost_queue.load(Relaxed),
            lost_disk: self.lost_disk.load(Relaxed),
            files: self.files.load(Relaxed),
        }
    }
}
