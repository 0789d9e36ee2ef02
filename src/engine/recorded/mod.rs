//! A run over recorded flows instead of packets: the same windows, entities, detectors
//! and baselines, fed by what flow records say of each second.
//!
//! ```text
//! records ──▶ Calendar: seconds, spread by Pace ──▶ correlation: merge, detect
//! ```
//!
//! What a record does not hold can't be judged again: see [`NOT_JUDGED`]. What it holds
//! in sum, packets within a flow of many seconds, is spread ([`pace`](self)): a burst
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
