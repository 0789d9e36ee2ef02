//! The summary of a run: what `--json` prints and `summary.json` holds.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::alert::{Alert, AllowCount};
use crate::detect::analytic::Inputs;
use crate::engine::RunReport;
use crate::engine::accounting::Accounting;
use crate::flow::talkers::Talker;
use crate::flow::totals::{FlowTotals, InferredLoss};
use crate::flow::{EndReason, sizes};
use crate::host::coverage::Coverage;
use crate::input::FileReport;
use crate::output::analytics::{AnalyticState, Given, states};
use crate::output::capture::CaptureSummary;
use crate::output::names::proto_name;
use crate::output::sources::InputSource;
use crate::packet::key::to_ip;
use crate::packet::link::non_ip_name;
use crate::packet::{Address, IpVersion};
use crate::telemetry::report::SourceReport;
use crate::time::rfc3339;

/// Version of the summary's shape; see `schema/summary.schema.json`.
pub const SUMMARY_SCHEMA: &str = "flowtap.summary.v1";

/// Top talkers and conversations shown.
const TOP: usize = 10;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub schema: &'static str,
    pub packets: u64,
    pub wire_bytes: u64,
    pub accounting: Ledger,
    pub accounting_bytes: LedgerSums,
    pub flows: u64,
    pub conversations: u64,
    pub conversations_exact: bool,
    /// False when the table's cap cut or refused flows.
    pub flows_complete: bool,
    pub flows_evicted: u64,
    pub flow_ends: BTreeMap<&'static str, u64>,
    pub protocols: BTreeMap<String, Protocol>,
    pub payload_sizes: PayloadSizes,
    pub top_talkers: Vec<TopTalker>,
    /// Addresses beyond the cap that top talkers were not chosen from.
    pub talkers_dropped: u64,
    pub first_packet: Option<String>,
    pub last_packet: Option<String>,
    pub cut_packets: u64,
    pub late_packets: u64,
    pub time_anomalies: u64,
    pub length_anomalies: u64,
    pub backward_timestamps: u64,
    pub truncated_records: u64,
    pub one_sided_capture: bool,
    pub tcp_sides: Vec<TcpSides>,
    pub interfaces: Vec<InputInterface>,
    pub files: Vec<InputFile>,
    /// Logs, exports and counters; absent where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<InputSource>,
    /// How much of it has a process; absent where nothing was known of hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// Which analytics could see anything, and what was missing.
    pub analytics: Vec<AnalyticState>,
    /// Of a live run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture: Option<CaptureSummary>,
    pub alerts: Vec<Alert>,
    pub alerts_suppressed: u64,
    /// What entries of the configuration allowed; absent where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alerts_allowed: Vec<AllowCount>,
    /// Those alerts, for a file of their own.
    #[serde(skip)]
    pub allowed_alerts: Vec<Alert>,
    pub write_error: Option<String>,
    pub elapsed_s: f64,
    pub workers: usize,
}

#[derive(Debug, Serialize)]
pub struct LedgerSums {
    pub in_flows: u64,
    pub non_ip: u64,
    pub malformed: u64,
    /// Nothing where the kernel filtered.
    pub filtered: Option<u64>,
    pub duplicate: u64,
    pub untracked: u64,
}

#[derive(Debug, Serialize)]
pub struct Ledger {
    #[serde(flatten)]
    pub sums: LedgerSums,
    pub non_ip_types: BTreeMap<String, u64>,
    pub malformed_reasons: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
pub struct Protocol {
    pub packets: u64,
    pub wire_bytes: u64,
    pub flows: u64,
}

#[derive(Debug, Serialize)]
pub struct PayloadSizes {
    /// Packets with payload.
    pub count: u64,
    /// Packets without.
    pub empty: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stddev: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p90: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<u64>,
    /// Lower edge of each bin that is not empty, and its packets.
    pub histogram: Vec<(u32, u64)>,
}

#[derive(Debug, Serialize)]
pub struct TopTalker {
    pub ip: String,
    pub sent_packets: u64,
    pub sent_bytes: u64,
    pub received_packets: u64,
    pub received_bytes: u64,
    pub flows: u64,
}

/// TCP connections by whether both their directions are in the capture.
#[derive(Debug, Serialize)]
pub struct TcpSides {
    pub interface: u16,
    pub vlan: u16,
    pub one_way: i64,
    pub two_way: i64,
}

/// A capture interface; its place in the list is the number that `tcp_sides` use.
#[derive(Debug, Serialize)]
pub struct InputInterface {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub link_type: String,
    /// 0 when unlimited or not stated.
    pub snaplen_bytes: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sensor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_synchronised: Option<bool>,
    /// Nothing where no flow tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inferred_loss: Option<InferredLoss>,
}

#[derive(Debug, Serialize)]
pub struct InputFile {
    pub path: String,
    pub format: String,
    pub packets: u64,
    pub wire_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_packet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_packet: Option<String>,
    pub truncated_records: u64,
    /// What a pcapng file says was lost before it was written: at its interfaces, and in the
    /// system that captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface_drops: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_drops: Option<u64>,
    /// What its packets say was lost before them, beyond those two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unplaced_drops: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Summary {
    pub fn new(report: &RunReport, elapsed: Duration) -> Self {
        let totals = &report.totals;
        let total = report.accounting.total();
        let in_kernel = report.capture.as_ref().is_some_and(|capture| capture.filter_in_kernel);
        Self {
            schema: SUMMARY_SCHEMA,
            packets: report.input.frames,
            wire_bytes: report.input.wire_bytes,
            accounting: ledger(&report.accounting, in_kernel),
            accounting_bytes: sums(&report.accounting, in_kernel, |count| count.wire_bytes),
            flows: report.flows,
            conversations: report.table.conversations,
            conversations_exact: !report.table.conversations_inexact,
            flows_complete: report.flows_complete(),
            flows_evicted: report.table.evicted,
            flow_ends: EndReason::ALL
                .into_iter()
                .map(|reason| (reason.name(), totals.ends[reason as usize]))
                .filter(|&(_, flows)| flows > 0)
                .collect(),
            protocols: protocols(&report.accounting, totals),
            payload_sizes: payload_sizes(totals),
            top_talkers: top_talkers(totals, TOP),
            talkers_dropped: totals.talkers.dropped,
            first_packet: report.input.first_ns.map(rfc3339),
            last_packet: report.input.latest_ns.map(rfc3339),
            cut_packets: report.accounting.cut,
            late_packets: report.late_packets,
            time_anomalies: report.input.time_anomalies,
            length_anomalies: report.input.length_anomalies,
            backward_timestamps: report.input.backward,
            truncated_records: report.input.truncated_records,
            one_sided_capture: report.sided.iter().any(|(_, count)| count.is_one_sided()),
            tcp_sides: report
                .sided
                .iter()
                .map(|&((interface, vlan), count)| TcpSides {
                    interface,
                    vlan,
                    one_way: count.one_way,
                    two_way: count.two_way,
                })
                .collect(),
            interfaces: report
                .interfaces
                .iter()
                .enumerate()
                .map(|(number, interface)| InputInterface {
                    name: interface.name.clone(),
                    description: interface.description.clone(),
                    link_type: interface.link.name(),
                    snaplen_bytes: interface.snaplen_bytes,
                    sensor: interface.sensor.clone(),
                    clock_synchronised: interface.clock_synchronised,
                    inferred_loss: totals
                        .inferred_losses
                        .get(number)
                        .copied()
                        .filter(|loss| loss.expected_bytes > 0),
                })
                .collect(),
            files: report
                .files
                .iter()
                .map(|file| InputFile {
                    path: file.path.clone(),
                    format: file.format.clone(),
                    packets: file.frames,
                    wire_bytes: file.wire_bytes,
                    first_packet: file.span_ns.map(|(first_ns, _)| rfc3339(first_ns)),
                    last_packet: file.span_ns.map(|(_, last_ns)| rfc3339(last_ns)),
                    truncated_records: file.truncated_records,
                    interface_drops: file.interface_drops,
                    system_drops: file.system_drops,
                    unplaced_drops: file.unplaced_drops,
                    warnings: file.warnings.clone(),
                    error: file.error.as_ref().map(ToString::to_string),
                })
                .collect(),
            sources: report.sources.iter().map(InputSource::new).collect(),
            coverage: report.coverage.clone(),
            analytics: states(&Given {
                inputs: &Inputs {
                    packets: report.inputs.packets || total.packets > 0,
                    ..report.inputs.clone()
                },
                hosts: report.coverage.as_ref(),
                flows: report.flows,
                wire_bytes: report.accounting.in_flows.wire_bytes,
                flows_in_vni: totals.flows_in_vni,
                flow_records_lost: report.sources.iter().any(SourceReport::lost_flows),
                records_unordered: report.left_out_unordered(),
                senders_unknown: report.bytes.lack_owners() || report.reported.bytes.lack_owners(),
                platform_omitted: report.sources.iter().any(SourceReport::omits_platform),
            }),
            capture: report.capture.as_ref().map(|capture| CaptureSummary::new(capture, report)),
            alerts: in_files(&report.alerts, &report.files),
            alerts_suppressed: report.detection.alerts_suppressed,
            alerts_allowed: report.detection.allowed.clone(),
            allowed_alerts: in_files(&report.detection.allowed_alerts, &report.files),
            write_error: report.write_error.as_ref().map(ToString::to_string),
            elapsed_s: round3(elapsed.as_secs_f64()),
            workers: report.workers,
        }
        .check(total)
    }

    /// Conservation is an invariant: a run that breaks it is a bug, found here
    /// at once instead of in somebody's numbers.
    fn check(self, total: crate::engine::accounting::Count) -> Self {
        debug_assert_eq!(self.packets, total.packets, "packets of the ledger");
        debug_assert_eq!(self.wire_bytes, total.wire_bytes, "wire bytes of the ledger");
        self
    }
}

/// Alerts with the captures that they are in: the engine's own are the same however a capture
/// is cut into files.
fn in_files(alerts: &[Alert], captures: &[FileReport]) -> Vec<Alert> {
    let mut alerts = alerts.to_vec();
    alerts.iter_mut().for_each(|alert| alert.set_files(captures));
    alerts
}

fn sums(
    accounting: &Accounting,
    in_kernel: bool,
    of: impl Fn(&crate::engine::accounting::Count) -> u64,
) -> LedgerSums {
    LedgerSums {
        in_flows: of(&accounting.in_flows),
        non_ip: of(&accounting.non_ip),
        malformed: of(&accounting.malformed),
        filtered: (!in_kernel).then(|| of(&accounting.filtered)),
        duplicate: of(&accounting.duplicate),
        untracked: of(&accounting.untracked),
    }
}

fn ledger(accounting: &Accounting, in_kernel: bool) -> Ledger {
    let mut non_ip_types = BTreeMap::new();
    for (&kind, &packets) in &accounting.non_ip_types {
        *non_ip_types.entry(non_ip_name(kind)).or_default() += packets;
    }
    Ledger {
        sums: sums(accounting, in_kernel, |count| count.packets),
        non_ip_types,
        malformed_reasons: accounting
            .malformed_reasons
            .iter()
            .map(|(reason, &packets)| (reason.name().to_owned(), packets))
            .collect(),
    }
}

fn protocols(accounting: &Accounting, totals: &FlowTotals) -> BTreeMap<String, Protocol> {
    accounting
        .protocols
        .iter()
        .enumerate()
        .filter(|(_, count)| count.packets > 0)
        .map(|(proto, count)| {
            let protocol = Protocol {
                packets: count.packets,
                wire_bytes: count.wire_bytes,
                flows: totals.flows_by_protocol[proto],
            };
            (proto_name(proto as u8).to_owned(), protocol)
        })
        .collect()
}

/// Three decimals are what people read and what stays the same everywhere.
pub fn round3(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn payload_sizes(totals: &FlowTotals) -> PayloadSizes {
    let count: u64 = totals.size_bins[1..].iter().sum();
    // Two digits: the bins themselves are coarser (error at most 25 %).
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 1 << 32, 2).ok();
    if let Some(histogram) = &mut histogram {
        for (bin, &packets) in totals.size_bins.iter().enumerate().skip(1) {
            if packets > 0 {
                let edge = sizes::bin_range(bin).1.clamp(totals.size_min, totals.size_max);
                histogram.saturating_record_n(u64::from(edge), packets);
            }
        }
    }
    let quantile = |q: f64| {
        histogram
            .as_ref()
            .filter(|histogram| !histogram.is_empty())
            .map(|histogram| histogram.value_at_quantile(q).min(u64::from(totals.size_max)))
    };
    PayloadSizes {
        count,
        empty: totals.size_bins[0],
        min: (count > 0).then_some(totals.size_min),
        max: (count > 0).then_some(totals.size_max),
        mean: (count > 0).then(|| round3(totals.size_sum as f64 / count as f64)),
        stddev: sizes::stddev(count, totals.size_sum, totals.size_squares).map(round3),
        p50: quantile(0.5),
        p90: quantile(0.9),
        p99: quantile(0.99),
        histogram: totals
            .size_bins
            .iter()
            .enumerate()
            .filter(|&(_, &packets)| packets > 0)
            .map(|(bin, &packets)| (sizes::bin_range(bin).0, packets))
            .collect(),
    }
}

/// The addresses with the most bytes.
pub(crate) fn top_talkers(totals: &FlowTotals, most: usize) -> Vec<TopTalker> {
    type Entry<'a> = ((IpVersion, Address), &'a Talker);
    let order = |&(key, talker): &Entry<'_>| {
        (std::cmp::Reverse(talker.sent_bytes + talker.received_bytes), key)
    };
    let mut all: Vec<Entry<'_>> = totals.talkers.iter().collect();
    // Millions of addresses: only the first few are put in order.
    if all.len() > most {
        all.select_nth_unstable_by_key(most, order);
        all.truncate(most);
    }
    all.sort_unstable_by_key(order);
    all.into_iter()
        .map(|((version, address), talker)| TopTalker {
            ip: to_ip(version, &address).to_string(),
            sent_packets: talker.sent_packets,
            sent_bytes: talker.sent_bytes,
            received_packets: talker.received_packets,
            received_bytes: talker.received_bytes,
            flows: talker.flows,
        })
        .collect()
}
