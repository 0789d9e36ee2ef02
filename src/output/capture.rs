//! What a live capture lost, and what to know of it: the part of the summary
//! that a file does not have.

use serde::Serialize;

use crate::engine::run::LiveCapture;
use crate::input::live::TapStatus;

#[derive(Debug, Serialize)]
pub struct CaptureSummary {
    /// A filter ran in the kernel: nobody counted what it refused.
    pub filter_in_kernel: bool,
    /// Sums over the interfaces. Not in `packets`.
    pub kernel_drops: u64,
    pub interface_drops: u64,
    pub interfaces: Vec<CapturedInterface>,
}

#[derive(Debug, Serialize)]
pub struct CapturedInterface {
    pub name: String,
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
}

impl CaptureSummary {
    pub(super) fn new(capture: &LiveCapture) -> Self {
        let sum = |of: fn(&TapStatus) -> u64| capture.taps.iter().map(of).sum();
        Self {
            filter_in_kernel: capture.filter_in_kernel,
            kernel_drops: sum(|tap| tap.kernel_drops),
            interface_drops: sum(|tap| tap.interface_drops),
            interfaces: capture
                .taps
                .iter()
                .map(|tap| CapturedInterface {
                    name: tap.name.clone(),
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
                })
                .collect(),
        }
    }
}
