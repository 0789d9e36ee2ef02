//! Figures of the packets and the evidence that are kept on disk.

use super::Page;
use crate::output::recording::RecordingCounters;

/// Its name, its help and its count.
type Row = (&'static str, &'static str, fn(&RecordingCounters) -> u64);

const ROWS: [Row; 11] = [
    ("flowtap_recording_packets_total", "Packets kept on disk.", |r| r.packets),
    ("flowtap_recording_bytes_total", "Bytes written for them.", |r| r.bytes),
    (
        "flowtap_recording_packets_lost_total",
        "Packets that the disk was too slow or too full for.",
        |r| r.lost_packets,
    ),
    ("flowtap_recording_files_removed_total", "Files removed to make room.", |r| r.files_removed),
    ("flowtap_evidence_alerts_total", "Alerts whose packets are kept.", |r| r.evidence_alerts),
    ("flowtap_evidence_packets_total", "Packets kept of them.", |r| r.evidence_packets),
    (
        "flowtap_evidence_refused_total",
        "Alerts without evidence: too many at once, or about nobody in packets.",
        |r| r.evidence_refused,
    ),
    (
        "flowtap_evidence_gaps_total",
        "Files of the recording that were gone before evidence was taken out of them.",
        |r| r.evidence_gaps,
    ),
    ("flowtap_evidence_errors_total", "Evidence that can't be written.", |r| r.evidence_errors),
    ("flowtap_evidence_files_removed_total", "Evidence that was too old or too much.", |r| {
        r.evidence_files_removed
    }),
    ("flowtap_evidence_bytes_removed_total", "Bytes of it.", |r| r.evidence_bytes_removed),
];

impl Page {
    pub(super) fn recording(&mut self, recording: &RecordingCounters) {
        for (name, help, count) in ROWS {
            self.counter(name, help, count(recording));
        }
        let name = "flowtap_recording_disk_bytes";
        self.family(name, "gauge", "What the recorded packets take on disk, without evidence.");
        self.sample(name, &[], recording.disk_bytes);
    }
}
