//! A run over recorded flows instead of packets: the same windows, entities, detectors
//! and baselines, fed by what flow records say of each second.
//!
//! ```text
//! records ──▶ Calendar: seconds, spread by Pace ──▶ correlation: merge, detect
//! ```
//!
//! What a record does not hold can't be judged again: see [`NOT_JUDGED`]. What it holds
//! in sum, packets within a flow of many seconds, is spread evenly (`pace.rs`): a burst
//! within a long flow is flattened. Start at [`judge`].

mod calendar;
mod pace;
mod told;

use std::sync::Arc;
use std::thread;

use crossbeam_channel::bounded;

use super::correlation::Correlation;
use super::run::{RecordSink, RunOptions};
use super::window::{Assembler, ChunkPool, WindowSettings};
use crate::alert::{self, Alert};
use crate::detect::Interest;
use crate::detect::analytic::Inputs;
use crate::flow::FlowRecord;
use calendar::Calendar;
pub(super) use told::Told;

/// What records name at the ends of their flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub processes: bool,
    pub instances: bool,
}

/// Detectors that need what no flow record holds.
#[derive(Clone, Copy, Debug)]
pub struct NotJudged {
    pub detectors: &'static [&'static str],
    /// What is lacking.
    pub needs: &'static str,
    /// Settings of these detectors alone.
    pub settings: &'static [&'static str],
}

/// What is never judged from records.
pub const NOT_JUDGED: &[NotJudged] = &[
    NotJudged {
        detectors: &["arp_sweep", "non_ip_storm"],
        needs: "frames without IP",
        settings: &["arp_sweep_hosts"],
    },
    NotJudged {
        detectors: &["dns_tunnel"],
        needs: "the names of all queries",
        settings: &[
            "dns_tunnel_names",
            "dns_tunnel_bytes",
            "dns_tunnel_score",
            "dns_tunnel_allowed_domains",
        ],
    },
    NotJudged {
        detectors: &["icmp_tunnel"],
        needs: "what echoes carry",
        settings: &["icmp_tunnel_packets", "icmp_tunnel_bytes", "icmp_tunnel_score"],
    },
    NotJudged {
        detectors: &["request_flood", "chain's requests, errors and starts of programs"],
        needs: "logs and the start of programs",
        settings: &[
            "log_lateness_s",
            "suspicious_patterns",
            "long_uri_bytes",
            "error_rate_threshold",
            "error_burst",
            "request_rate_threshold",
            "target_request_rate_threshold",
        ],
    },
    NotJudged {
        detectors: &["counter_increase"],
        needs: "counters",
        settings: &[
            "container_baseline_network_usage",
            "counter_bytes_per_minute",
            "counter_increase_s",
        ],
    },
    NotJudged {
        detectors: &["sensor_loss"],
        needs: "the sensor's own counters",
        settings: &["loss_per_mille"],
    },
];

/// Seconds on the way to the correlation stage: enough that neither waits for the other.
const IN_FLIGHT: usize = 64;

/// What came of a run over records.
#[derive(Debug)]
pub struct Judged {
    /// By start and id.
    pub alerts: Vec<Alert>,
    pub counters: alert::Counters,
    pub flows: u64,
    /// Flows whose first seconds were closed when they came: more were open at a time
    /// than [`RunOptions::max_flows`].
    pub late_flows: u64,
}

/// Has the detectors look at recorded flows, which come in the order of their decision.
/// `horizon_ns` is the longest that a flow was decided after its start.
pub fn judge(
    flows: impl Iterator<Item = FlowRecord> + Send,
    horizon_ns: i64,
    named: Named,
    options: &RunOptions,
    sink: &mut dyn RecordSink,
) -> Judged {
    let windows = WindowSettings::default();
    let pool = Arc::new(ChunkPool::default());
    let assembler = Assembler::new(windows, Interest::of(&options.detect), Arc::clone(&pool));
    let mut correlation = Correlation::new(1, options, assembler, Arc::default(), sink);
    // Who was at their ends, records alone know.
    correlation.samples = false;
    if named != Named::default() {
        correlation.entities.see_all_rows();
        let inputs = correlation.detection.inputs().clone();
        correlation.detection.set_inputs(Inputs {
            host_map: named.processes,
            inventory: named.instances,
            ..inputs
        });
    }
    let (out, outputs) = bounded(IN_FLIGHT);
    let mut calendar = Calendar::new(horizon_ns, options.max_flows, windows, pool);
    let (count, late_flows) = thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut count = 0_u64;
            for flow in flows {
                count += 1;
                calendar.take(flow);
                while let Some(output) = calendar.close_next(false) {
                    // Nobody listens any more only where the correlation stage panicked.
                    let _ = out.send(output);
                }
            }
            while let Some(output) = calendar.close_next(true) {
                let _ = out.send(output);
            }
            let _ = out.send(calendar.last());
            (count, calendar.late_flows)
        });
        correlation.follow(&outputs);
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    correlation.end_tails(std::iter::empty());
    correlation.finish_telemetry();
    let (alerts, counters, _, _) = correlation.finish();
    Judged { alerts, counters, flows: count, late_flows }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::record::EndReason;
    use crate::output::samples;

    const SECOND_NS: i64 = 1_000_000_000;

    struct Sink(Vec<(i64, i64)>);

    impl RecordSink for Sink {
        fn record(&mut self, record: FlowRecord) -> std::io::Result<()> {
            self.0.push((record.decided_ns / SECOND_NS, record.start_ns / SECOND_NS));
            Ok(())
        }
    }

    fn flow(start_s: i64, length_s: i64, decided_s: i64) -> FlowRecord {
        let start_ns = start_s * SECOND_NS;
        FlowRecord {
            start_ns,
            end_ns: start_ns + length_s * SECOND_NS,
            decided_ns: decided_s * SECOND_NS,
            end_reason: EndReason::Idle,
            ..samples::dns()
        }
    }

    /// One begins each second and is decided 100 s after; the last one began with the
    /// first.
    fn flows() -> impl Iterator<Item = FlowRecord> + Send {
        (1_000..1_300).map(|at| flow(at, 0, at + 100)).chain([flow(1_000, 300, 1_400)])
    }

    fn judged(max_flows: usize, horizon_s: i64) -> (Judged, Vec<(i64, i64)>) {
        let mut sink = Sink(Vec::new());
        let options = RunOptions { max_flows, ..RunOptions::default() };
        let horizon_ns = horizon_s * SECOND_NS;
        let judged = judge(flows(), horizon_ns, Named::default(), &options, &mut sink);
        (judged, sink.0)
    }

    #[test]
    fn seconds_wait_for_the_flows_that_are_decided_last() {
        let (told, records) = judged(1_000, 400);
        assert_eq!((told.flows, told.late_flows, told.counters.windows), (301, 0, 300));
        let mut expected: Vec<_> = (1_000..1_300).map(|at| (at + 100, at)).collect();
        expected.push((1_400, 1_000));
        assert_eq!(records, expected);
    }

    #[test]
    fn with_more_flows_than_may_be_held_short_ones_are_judged_and_late_ones_told() {
        let (told, records) = judged(10, 400);
        assert_eq!((told.flows, told.late_flows, records.len()), (301, 1, 301));
        assert_eq!(told.counters.windows, 300);
        // Ends are told when there is no place any more, in their order.
        assert!(records.is_sorted());
        assert_eq!((records[0], records[300]), ((1_000, 1_000), (1_400, 1_000)));
    }
}
