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
    /// Of a target: requests that it got.
    Requests,
    /// Of a target: answers that the request was wrong.
    Errors4xx,
    /// Of a target: answers that it failed.
    Errors5xx,
    /// Bytes sent by an interface's counters.
    CounterBytes,
    /// Of a process: most packets in one second that it sent in flows without an answer
    /// then.
    PeakUnanswered,
}

impl Metric {
    /// What each minute of traffic has.
    pub const ALL: [Self; 6] = [
        Self::EgressBytes,
        Self::EgressPackets,
        Self::EgressFlows,
        Self::Destinations,
        Self::IngressBytes,
        Self::PeakPackets,
    ];

    /// And what others report.
    pub const EVERY: [Self; Self::COUNT] = [
        Self::EgressBytes,
        Self::EgressPackets,
        Self::EgressFlows,
        Self::Destinations,
        Self::IngressBytes,
        Self::PeakPackets,
        Self::Requests,
        Self::Errors4xx,
        Self::Errors5xx,
        Self::CounterBytes,
        Self::PeakUnanswered,
    ];

    /// Those that profiles have had from the first version on: the first of them all.
    pub(super) const FIRST: usize = 10;

    pub(super) const COUNT: usize = 11;

    pub fn name(self) -> &'static str {
        match self {
            Self::EgressBytes => "egress_bytes",
            Self::EgressPackets => "egress_packets",
            Self::EgressFlows => "egress_flows",
            Self::Destinations => "destinations",
            Self::IngressBytes => "ingress_bytes",
            Self::PeakPackets => "peak_packets",
            Self::Requests => "requests",
            Self::Errors4xx => "errors_4xx",
            Self::Errors5xx => "errors_5xx",
            Self::CounterBytes => "counter_bytes",
            Self::PeakUnanswered => "peak_unanswered",
        }
    }

    /// So little that any entity may do it from one day to the next: below it no
    /// growth is held back.
    pub(super) fn small(self) -> f64 {
        match self {
            Self::EgressBytes | Self::IngressBytes | Self::CounterBytes => 100_000.0,
            Self::EgressPackets => 600.0,
            Self::PeakPackets | Self::PeakUnanswered => 100.0,
            Self::EgressFlows | Self::Requests => 20.0,
            Self::Destinations | Self::Errors4xx | Self::Errors5xx => 10.0,
        }
    }

    /// Its value in a minute; of a longer time the mean of its minutes. Nothing of
    /// what a minute does not have.
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
            Self::PeakUnanswered => measures.most_unanswered as f64,
            Self::Requests | Self::Errors4xx | Self::Errors5xx | Self::CounterBytes => 0.0,
        }
    }
}
