//! What is measured of an entity in a minute.

use serde::{Deserialize, Serialize};

use crate::entity::Minute;

/// A number a minute. Bytes are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    EgressBytes,
    EgressPackets,
    EgressFlows,
    /// Distinct addresses sent to.
    Destinations,
    IngressBytes,
    /// Most packets sent in one second.
    PeakPackets,
}

impl Metric {
    pub const ALL: [Self; 6] = [
        Self::EgressBytes,
        Self::EgressPackets,
        Self::EgressFlows,
        Self::Destinations,
        Self::IngressBytes,
        Self::PeakPackets,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::EgressBytes => "egress_bytes",
            Self::EgressPackets => "egress_packets",
            Self::EgressFlows => "egress_flows",
            Self::Destinations => "destinations",
            Self::IngressBytes => "ingress_bytes",
            Self::PeakPackets => "peak_packets",
        }
    }

    /// Its value in a minute; of a longer time the mean of its minutes.
    pub fn of(self, minute: &Minute) -> f64 {
        let measures = &minute.measures;
        let minutes = (minute.length_s as f64 / 60.0).max(1.0);
        match self {
            Self::EgressBytes => measures.sent.wire_bytes as f64 / minutes,
            Self::EgressPackets => measures.sent.packets as f64 / minutes,
            Self::EgressFlows => measures.flows.estimate() as f64 / minutes,
            Self::Destinations => measures.peers.estimate() as f64,
            Self::IngressBytes => measures.received.wire_bytes as f64 / minutes,
            Self::PeakPackets => measures.busiest.1 as f64,
        }
    }
}
