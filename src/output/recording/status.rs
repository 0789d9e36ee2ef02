//! What a recording did and what it lost, for those who watch it.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::lock::Lock;

/// Notices that nobody took: each is told once, so there are few.
const MAX_NOTICES: usize = 64;

/// Worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub about: About,
    /// For people.
    pub text: String,
}

/// What a [`Notice`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// From here on packets can't be written.
    Failing,
    /// They can again.
    Resumed,
    /// Packets of an alert can't be written, or old ones not be removed.
    Evidence,
}

/// Sums so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RecordingCounters {
    /// Packets on disk (also those of files removed since), and their captured
    /// bytes.
    pub packets: u64,
    pub bytes: u64,
    /// Packets that are not in the recording: the disk was too slow or full.
    pub lost_packets: u64,
    pub lost_bytes: u64,
    pub write_errors: u64,
    pub files_begun: u64,
    pub files_removed: u64,
    /// What the files take now.
    pub disk_bytes: u64,
    /// Alerts with evidence, and the packets in it.
    pub evidence_alerts: u64,
    pub evidence_packets: u64,
    /// Packets of alerts that only stand for others in the sample.
    pub evidence_sampled_out: u64,
    /// Alerts without evidence: too many at once, or about nobody in packets.
    pub evidence_refused: u64,
    /// Times that packets of an alert had left the ring before they were taken out: when it
    /// began, or a file that was gone before it was read.
    pub evidence_gaps: u64,
    pub evidence_errors: u64,
    /// Files of alerts that are over, gone because they were too old or too much.
    pub evidence_files_removed: u64,
    pub evidence_bytes_removed: u64,
}

/// Shared by the threads of a recording.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub(super) packets: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) lost_packets: AtomicU64,
    pub(super) lost_bytes: AtomicU64,
    pub(super) write_errors: AtomicU64,
    pub(super) files_begun: AtomicU64,
    pub(super) files_removed: AtomicU64,
    pub(super) disk_bytes: AtomicU64,
    pub(super) evidence_alerts: AtomicU64,
    pub(super) evidence_packets: AtomicU64,
    pub(super) evidence_sampled_out: AtomicU64,
    pub(super) evidence_refused: AtomicU64,
    pub(super) evidence_gaps: AtomicU64,
    pub(super) evidence_errors: AtomicU64,
    pub(super) evidence_files_removed: AtomicU64,
    pub(super) evidence_bytes_removed: AtomicU64,
    notices: Lock<Vec<Notice>>,
}

pub(super) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

impl Status {
    pub(super) fn counters(&self) -> RecordingCounters {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RecordingCounters {
            packets: of(&self.packets),
            bytes: of(&self.bytes),
            lost_packets: of(&self.lost_packets),
            lost_bytes: of(&self.lost_bytes),
            write_errors: of(&self.write_errors),
            files_begun: of(&self.files_begun),
            files_removed: of(&self.files_removed),
            disk_bytes: of(&self.disk_bytes),
            evidence_alerts: of(&self.evidence_alerts),
            evidence_packets: of(&self.evidence_packets),
            evidence_sampled_out: of(&self.evidence_sampled_out),
            evidence_refused: of(&self.evidence_refused),
            evidence_gaps: of(&self.evidence_gaps),
            evidence_errors: of(&self.evidence_errors),
            evidence_files_removed: of(&self.evidence_files_removed),
            evidence_bytes_removed: of(&self.evidence_bytes_removed),
        }
    }

    pub(super) fn lose(&self, packets: u64, bytes: u64) {
        add(&self.lost_packets, packets);
        add(&self.lost_bytes, bytes);
    }

    pub(super) fn notice(&self, about: About, text: String) {
        let mut notices = self.notices.lock();
        if notices.len() < MAX_NOTICES {
            notices.push(Notice { about, text });
        }
    }

    pub(super) fn take_notices(&self) -> Vec<Notice> {
        std::mem::take(&mut self.notices.lock())
    }
}
