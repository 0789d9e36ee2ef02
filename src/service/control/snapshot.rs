//! What a running service says to whoever watches it: one JSON object a second.
//!
//! The schema is `flowtap.control.v1`: fields are added, never changed. Names
//! and texts come from the network and from other processes: whoever draws them
//! has to neutralise control characters.

use serde::{Deserialize, Serialize};

/// Of all lines of the control socket.
pub const SCHEMA: &str = "flowtap.control.v1";

/// A run at the end of a second of the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    pub schema: String,
    /// Of the program that runs.
    pub version: String,
    /// End of the newest closed second, RFC 3339.
    pub time: String,
    /// How far that is behind the clock.
    pub seconds_behind: f64,
    pub uptime_s: u64,
    pub rates: Rates,
    /// Packets and bytes on the wire of each of the last seconds, newest last.
    pub history: Vec<(u64, u64)>,
    pub interfaces: Vec<Interface>,
    /// What is left out because packets come in too fast: `nothing` mostly.
    pub overload: String,
    /// Seconds that talkers, protocols and sizes are sums over.
    pub window_s: u64,
    pub hosts: Hosts,
    pub conversations: Conversations,
    /// Most packets first.
    pub protocols: Vec<Protocol>,
    pub payload_sizes: PayloadSizes,
    pub alerts: Alerts,
    /// What happened to the sensor, newest last.
    pub events: Vec<Event>,
}

/// Of the newest closed second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    pub packets_per_s: u64,
    pub bits_per_s: u64,
    pub new_flows_per_s: u64,
    /// In the flow table now.
    pub flows_held: u64,
    /// Packets that came too late for their second.
    pub late_packets_per_s: u64,
}

/// Counts since the start; rates over the time between two looks at it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    pub name: String,
    pub present: bool,
    pub up: bool,
    pub packets_per_s: u64,
    pub bits_per_s: u64,
    pub lost_per_s: u64,
    pub packets: u64,
    pub wire_bytes: u64,
    /// Packets that found the ring full.
    pub kernel_drops: u64,
    /// Packets that the device or its driver dropped.
    pub interface_drops: u64,
    pub ring_fill_percent: u8,
}

/// Who sent and received most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hosts {
    /// Every host of these seconds was summed up. Otherwise hosts that were
    /// small in a second are missing in it.
    pub complete: bool,
    /// Some sums come from a sketch: there were too many flows to list.
    pub estimated: bool,
    /// Most bytes first; the first by packets are among them as well.
    pub top: Vec<Talker>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Talker {
    pub address: String,
    pub sent_packets: u64,
    pub sent_bytes: u64,
    pub received_packets: u64,
    pub received_bytes: u64,
}

impl Talker {
    pub fn packets(&self) -> u64 {
        self.sent_packets.saturating_add(self.received_packets)
    }

    pub fn bytes(&self) -> u64 {
        self.sent_bytes.saturating_add(self.received_bytes)
    }
}

/// Which 5-tuples had most, in either direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conversations {
    /// As for [`Hosts`].
    pub complete: bool,
    /// Seconds of the window without any, because of too many flows.
    pub seconds_missing: u64,
    pub top: Vec<Conversation>,
}

/// `a` is the smaller end, not the originator: a window does not know that.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conversation {
    pub protocol: String,
    pub a: String,
    /// For ICMP half of the pair of type and code that Community ID makes.
    pub a_port: u16,
    pub b: String,
    pub b_port: u16,
    pub a_to_b_packets: u64,
    pub a_to_b_bytes: u64,
    pub b_to_a_packets: u64,
    pub b_to_a_bytes: u64,
}

impl Conversation {
    pub fn packets(&self) -> u64 {
        self.a_to_b_packets.saturating_add(self.b_to_a_packets)
    }

    pub fn bytes(&self) -> u64 {
        self.a_to_b_bytes.saturating_add(self.b_to_a_bytes)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Protocol {
    pub name: String,
    pub packets: u64,
    /// Not known for a second of too many flows.
    pub wire_bytes: Option<u64>,
}

/// Over packets with a payload, but for `empty`. Sizes are upper edges of bins,
/// at most 25 % over the true value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PayloadSizes {
    pub count: u64,
    pub empty: u64,
    pub min: Option<u32>,
    pub max: Option<u32>,
    pub p50: Option<u32>,
    pub p90: Option<u32>,
    pub p99: Option<u32>,
    /// Smallest size of a bin and its packets; empty bins are left out.
    pub histogram: Vec<(u32, u64)>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alerts {
    /// Under way.
    pub open: u64,
    /// Since the start.
    pub total: u64,
    /// Under way first, then the newest of those that are over.
    pub list: Vec<AlertLine>,
}

/// An alert, as far as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertLine {
    pub id: String,
    pub revision: u32,
    pub severity: String,
    pub detector: String,
    pub entity: String,
    pub start: String,
    pub end: String,
    /// Nothing more comes.
    pub over: bool,
    pub confidence: f64,
    pub summary: String,
    pub analytics: Vec<String>,
    pub peak_packets_per_s: u64,
    pub peak_bits_per_s: u64,
    pub packets: u64,
    pub wire_bytes: u64,
    /// The first few.
    pub peers: Vec<String>,
    pub missing_telemetry: Vec<String>,
    /// Why the severity is what it is.
    pub because: String,
    /// Process and workload, where they are known.
    pub actor: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    pub time: String,
    pub kind: String,
    pub interface: String,
    pub text: String,
}
