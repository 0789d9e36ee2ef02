//! Helpers that make traffic.

use std::net::IpAddr;

use crate::alert::{Alert, Counters};
use crate::detect::{DetectSettings, Detection, Telemetry};
use crate::engine::window::{Delta, Host, LinkDelta, Seed, Slice, WindowSettings, size_bin};
use crate::packet::PacketClass;

pub(super) fn host(text: &str) -> Host {
    text.parse::<IpAddr>().expect("an address").into()
}

/// Public addresses, as many as wanted, spread by a hash.
pub(super) fn stranger(n: u64) -> Host {
    let bits = Seed::default().mix(n, 77) as u32;
    // 44.0.0.0/6 is nobody's home network.
    IpAddr::from((0x2c00_0000 | bits & 0x03ff_ffff).to_be_bytes()).into()
}

pub(super) fn delta(src: Host, dst: Host, class: PacketClass, packets: u32, payload: u32) -> Delta {
    let proto = match class {
        PacketClass::Udp => 17,
        PacketClass::Icmp => 1,
        PacketClass::Gre => 47,
        PacketClass::OtherIp => 50,
        _ => 6,
    };
    let (src_port, dst_port) = match proto {
        1 => (8, 0), // echo request
        6 | 17 => (40_000, 443),
        _ => (0, 0),
    };
    let mut delta = Delta::new(src, dst, proto, src_port, dst_port);
    delta.classes[class as usize] = packets;
    delta.sizes[size_bin(payload)] = packets;
    delta.payload_bytes = u64::from(packets) * u64::from(payload);
    delta.wire_bytes = u64::from(packets) * u64::from(payload + 42);
    delta
}

pub(super) fn ports(mut delta: Delta, src_port: u16, dst_port: u16) -> Delta {
    (delta.src_port, delta.dst_port) = (src_port, dst_port);
    delta
}

/// The same packets the other way.
pub(super) fn back(mut delta: Delta, packets: u32) -> Delta {
    (delta.src, delta.dst) = (delta.dst, delta.src);
    (delta.src_port, delta.dst_port) = (delta.dst_port, delta.src_port);
    let before = delta.packets().max(1);
    for count in &mut delta.classes {
        *count = if *count > 0 { packets } else { 0 };
    }
    for count in &mut delta.sizes {
        *count = if *count > 0 { packets } else { 0 };
    }
    delta.payload_bytes = delta.payload_bytes / u64::from(before) * u64::from(packets);
    delta.wire_bytes = delta.wire_bytes / u64::from(before) * u64::from(packets);
    delta
}

/// A run of detection over seconds that a closure fills.
pub(super) struct Run {
    pub(super) detection: Detection,
    pub(super) telemetry: Telemetry,
    pub(super) windows: WindowSettings,
}

impl Run {
    pub(super) fn new() -> Self {
        Self::with(DetectSettings::default())
    }

    pub(super) fn with(settings: DetectSettings) -> Self {
        Self {
            detection: Detection::new(settings),
            telemetry: Telemetry::default(),
            windows: WindowSettings::default(),
        }
    }

    pub(super) fn second(&mut self, second: i64, deltas: &[Delta]) -> &mut Self {
        self.second_with_links(second, deltas, &[])
    }

    pub(super) fn second_with_links(
        &mut self,
        second: i64,
        deltas: &[Delta],
        links: &[LinkDelta],
    ) -> &mut Self {
        let mut slice = Slice::new(second, &self.windows);
        for delta in deltas {
            slice.add(delta);
        }
        for link in links {
            slice.add_link(link);
        }
        self.detection.observe(&slice, &self.telemetry);
        self
    }

    pub(super) fn alerts(self) -> Vec<Alert> {
        self.finish().0
    }

    pub(super) fn finish(mut self) -> (Vec<Alert>, Counters) {
        self.detection.finish()
    }
}

/// Alerts of one second of traffic.
pub(super) fn alerts_of_seconds(seconds: &[(i64, Vec<Delta>)]) -> Vec<Alert> {
    let mut run = Run::new();
    for (second, deltas) in seconds {
        run.second(*second, deltas);
    }
    run.alerts()
}

pub(super) fn detectors(alerts: &[Alert]) -> Vec<&str> {
    alerts.iter().map(|alert| alert.detector.as_str()).collect()
}
