//! What a live capture lost, and what to know of it: the part of the summary
//! that a file does not have.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::engine::RunReport;
use crate::engine::accounting::Overload;
use crate::engine::run::LiveCapture;
use crate::flow::totals::InferredLoss;
use crate::input::live::TapStatus;
use crate::output::recording::RecordingCounters;
use crate::output::rolling::{Finished, KindCounters};
use crate::service::deliver::TargetCounters;

#[derive(Debug, Serialize)]
pub struct CaptureSummary {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sensor: String,
    /// At the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_synchronised: Option<bool>,
    /// A filter ran in the kernel: nobody counted what it refused.
    pub filter_in_kernel: bool,
    /// Sums over the interfaces. Not in `packets`.
    pub kernel_drops: u64,
    pub interface_drops: u64,
    pub interfaces: Vec<CapturedInterface>,
    pub overload: Overload,
    /// What is on disk of it, and the evidence of alerts; absent without `--record`.
    /// Whoever recorded fills it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingCounters>,
    /// What became of records and alerts; absent where none were kept. Whoever wrote
    /// them fills it in, as far as it was known before the summary itself was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputSummary>,
    /// By receiver of alerts, in the order given. Whoever delivered fills it in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delivery: Vec<TargetCounters>,
}

/// Records and alerts that were written, and those that were not.
#[derive(Debug, Serialize)]
pub struct OutputSummary {
    /// By kind of file: `alerts`, a format of flow records, or what other sources
    /// observed.
    pub kinds: BTreeMap<&'static str, OutputKind>,
    /// Records that a disk which did not answer at the end was not given any more.
    pub unwritten_records: u64,
    /// Files that were too old or too much.
    pub flow_files_removed: u64,
    pub alert_files_removed: u64,
}

/// Lines of alerts count as records.
#[derive(Debug, Serialize)]
pub struct OutputKind {
    pub records: u64,
    pub bytes: u64,
    pub files: u64,
    /// Lost because the disk or the encoding was too slow.
    pub lost_queue: u64,
    /// Lost because writing failed.
    pub lost_disk: u64,
}

impl OutputSummary {
    pub fn new(finished: &Finished) -> Self {
        let counters = &finished.counters;
        let kind = |of: &KindCounters| OutputKind {
            records: of.written,
            bytes: of.written_bytes,
            files: of.files,
            lost_queue: of.lost_queue,
            lost_disk: of.lost_disk,
        };
        Self {
            kinds: counters.kinds.iter().map(|of| (of.kind.name(), kind(of))).collect(),
            unwritten_records: if finished.complete { 0 } else { counters.queued_records },
            flow_files_removed: counters.removed_flow_files.files,
            alert_files_removed: counters.removed_alert_files.files,
        }
    }

    /// Records that are in no file.
    pub fn lost(&self) -> u64 {
        let kinds = self.kinds.values().map(|kind| kind.lost_queue + kind.lost_disk);
        kinds.sum::<u64>() + self.unwritten_records
    }
}

#[derive(Debug, Serialize)]
pub struct CapturedInterface {
    /// As in records: the one that it was named by.
    pub name: String,
    /// Its name at the end, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called: Option<String>,
    pub present: bool,
    pub up: bool,
    pub packets: u64,
    pub wire_bytes: u64,
    /// Frames that found the ring full.
    pub kernel_drops: u64,
    /// Frames that the device or its driver dropped.
    pub interface_drops: u64,
    /// Frames longer than the MTU: several packets put together by an offload.
    pub oversized_packets: u64,
    /// Frames whose checksum was left to the device.
    pub checksum_pending_packets: u64,
    /// Frames stamped by the device's clock.
    pub hardware_stamped_packets: u64,
    pub clock_steps_back: u64,
    pub rings: usize,
    /// Loss as acknowledgements tell it: before us, and what the counters above
    /// have of TCP data.
    pub inferred_loss: InferredLoss,
}

impl CaptureSummary {
    pub(super) fn new(capture: &LiveCapture, report: &RunReport) -> Self {
        let sum = |of: fn(&TapStatus) -> u64| capture.taps.iter().map(of).sum();
        Self {
            sensor: capture.sensor.clone(),
            clock_synchronised: capture.clock_synchronised,
            filter_in_kernel: capture.filter_in_kernel,
            kernel_drops: sum(|tap| tap.kernel_drops),
            interface_drops: sum(|tap| tap.interface_drops),
            interfaces: capture
                .taps
                .iter()
                .zip(&capture.inferred)
                .map(|(tap, &inferred_loss)| CapturedInterface {
                    name: tap.name.clone(),
                    called: (tap.called != tap.name).then(|| tap.called.clone()),
                    present: tap.present,
                    up: tap.up,
                    packets: tap.frames,
                    wire_bytes: tap.wire_bytes,
                    kernel_drops: tap.kernel_drops,
                    interface_drops: tap.interface_drops,
                    oversized_packets: tap.oversized,
                    checksum_pending_packets: tap.checksum_pending,
                    hardware_stamped_packets: tap.hardware_stamps,
                    clock_steps_back: tap.clock_steps_back,
                    rings: tap.rings,
                    inferred_loss,
                })
                .collect(),
            overload: Overload::new(&report.accounting.shed, report.table.sampled_packets),
            recording: None,
            output: None,
            delivery: Vec::new(),
        }
    }
}
