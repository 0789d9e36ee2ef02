//! Figures of logs, exports and counters that are followed.

use super::Page;
use crate::telemetry::report::SourceReport;

/// Of one source: its name, its kind and its counts.
type Row = (&'static str, &'static str, fn(&SourceReport) -> u64);

const ROWS: [Row; 4] = [
    ("flowtap_source_records_total", "Records read from other sources.", |source| source.records),
    ("flowtap_source_bytes_total", "Bytes read from other sources.", |source| source.bytes),
    (
        "flowtap_source_observations_total",
        "Flows, requests, host events and counter samples that they gave.",
        |source| source.observations.sum(),
    ),
    ("flowtap_source_bad_records_total", "Records that were left out.", |source| {
        source.bad.values().sum()
    }),
];

impl Page {
    pub(super) fn sources(&mut self, sources: &[SourceReport]) {
        if sources.is_empty() {
            return;
        }
        for (name, help, count) in ROWS {
            self.family(name, "counter", help);
            for source in sources {
                let labels = [("source", &*source.name), ("kind", source.kind.name)];
                self.sample(name, &labels, count(source));
            }
        }
        let name = "flowtap_source_lost_total";
        self.family(name, "counter", "What other sources lost, by what.");
        for source in sources {
            for (what, count) in &source.lost {
                let labels =
                    [("source", &*source.name), ("kind", source.kind.name), ("what", what)];
                self.sample(name, &labels, count);
            }
        }
    }
}
