//! Figures of the packets and the evidence that are kept on disk.

use super::Page;
use crate::output::recording::RecordingCounters;

/// Its name, its help and its count.
type Row = (&'static str, &'static str, fn(&RecordingCounters) -> u64);

const ROWS: [Row; 15] = [
    ("flowtap_recording_packets_total", "Packets kept on disk.", |r| r.packets),
    ("flowtap_recording_bytes_total", "Bytes written for them.", |r| r.bytes),
    (
        "flowtap_recording_packets_lost_total",
        "Packets that the disk was too slow or too full for.",
        |r| r.lost_packets,
    ),
    ("flowtap_recording_bytes_lost_total", "Captured bytes of these.", |r| r.lost_bytes),
    ("flowtap_recording_write_errors_total", "Writes of packets that failed.", |r| r.write_errors),
    ("flowtap_recording_files_total", "Files begun.", |r| r.files_begun),
    ("flowtap_recording_files_removed_total", "Files removed to make room.", |r| r.files_removed),
    ("flowtap_evidence_alerts_total", "Alerts whose packets are kept.", |r| r.evidence_alerts),
    ("flowtap_evidence_packets_total", "Packets kept of them.", |r| r.evidence_packets),
    (
        "flowtap_evidence_sampled_out_total",
        "Packets of alerts that only stand for others in the sample.",
        |r| r.evidence_sampled_out,
    ),
    (
        "flowtap_evidence_refused_total",
        "Alerts without evidence: too many at once, or about nobody in packets.",
        |r| r.evidence_refused,
    ),
    (
        "flowtap_evidence_gaps_total",
        "Times that packets of an alert had left the recording before they were taken out of it.",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_of_the_summary_stands_in_metrics_too() {
        // All fields by name: one that comes to them has to come here.
        let counters = RecordingCounters {
            packets: 101,
            bytes: 102,
            lost_packets: 103,
            lost_bytes: 104,
            write_errors: 105,
            files_begun: 106,
            files_removed: 107,
            disk_bytes: 108,
            evidence_alerts: 109,
            evidence_packets: 110,
            evidence_sampled_out: 111,
            evidence_refused: 112,
            evidence_gaps: 113,
            evidence_errors: 114,
            evidence_files_removed: 115,
            evidence_bytes_removed: 116,
        };
        let mut page = Page::default();
        page.recording(&counters);
        let samples = page.text.lines().filter(|line| !line.starts_with('#'));
        let mut shown: Vec<&str> = samples.filter_map(|line| line.rsplit(' ').next()).collect();
        shown.sort_unstable();
        let all: Vec<String> = (101..=116).map(|count| count.to_string()).collect();
        assert_eq!(shown, all);
    }
}
