//! What a sender floods with, and the floors of its tool.

use crate::detect::DetectSettings;
use crate::detect::classes::{Class, ClassKind, Tool};
use crate::engine::window::{Host, SIZE_BINS};
use crate::entity::{SecondOf, SentPorts, Silent};

/// Servers, agents and kernel threads talk to many by themselves: a proxy opens
/// thousands of connections, a monitor pings a site.
const FACTOR_OF_TALKERS: u64 = 10;

/// So often as many connections as one process may try programs that nobody knows try
/// together: the workers of one server open them as servers do, where each request takes one
/// to a database.
const FACTOR_OF_POOLS: u64 = 10;

/// What one sender, or several together, did in a second.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    pub packets: u64,
    pub wire_bytes: u64,
    pub payload_bytes: u64,
    pub sizes: [u64; SIZE_BINS],
    pub icmp: u64,
    /// UDP, ICMP, GRE and others, and SYNs.
    pub connectionless: u64,
    pub unanswered: u64,
    pub unanswered_bytes: u64,
    /// Where unanswered packets went.
    pub silent: Silent,
    pub connections: u64,
    pub received: u64,
    pub top_peer: Option<(Host, u64)>,
    /// Address of the busiest of them.
    pub own: Option<Host>,
    pub remote_port: u16,
    pub ports: SentPorts,
    /// Processes that sent.
    pub senders: u64,
    /// Packets of the busiest of them, and the most that one of them sent unanswered.
    pub most: u64,
    pub most_unanswered: u64,
}

impl Rates {
    pub(super) fn add(&mut self, second: &SecondOf) {
        let [_tcp, udp, icmp, other] = second.by_protocol;
        let sent = second.sent.packets;
        self.packets += sent;
        self.wire_bytes += second.sent.wire_bytes;
        self.payload_bytes += second.sent.payload_bytes;
        for (sum, packets) in self.sizes.iter_mut().zip(&second.sent.sizes) {
            *sum += packets;
        }
        self.icmp += icmp;
        self.connectionless += udp + icmp + other + second.syn_sent;
        self.unanswered += second.unanswered_packets;
        let share = second.unanswered_packets as f64 / sent.max(1) as f64;
        self.unanswered_bytes += (second.sent.wire_bytes as f64 * share.min(1.0)) as u64;
        self.silent.join(&second.silent);
        self.ports.join(&second.ports);
        self.connections += second.syn_sent;
        self.received += second.received.packets;
        self.senders += u64::from(sent > 0);
        if self.own.is_none() || sent > self.most {
            self.own = second.own.map(|(own, _)| own);
        }
        self.most = self.most.max(sent);
        self.most_unanswered = self.most_unanswered.max(second.unanswered_packets);
        self.top_peer = match (self.top_peer, second.top_peer) {
            (Some((mine, a)), Some((theirs, b))) if mine == theirs => Some((mine, a + b)),
            (Some(mine), Some(theirs)) if theirs.1 > mine.1 => Some(theirs),
            (None, theirs) => theirs,
            (mine, _) => mine,
        };
        if self.remote_port == 0 || self.most == sent {
            self.remote_port = second.remote_port;
        }
    }

    /// Share of its packets that the busiest peer got, at least.
    pub(super) fn concentration(&self) -> f64 {
        self.share(self.top_peer.map_or(0, |(_, packets)| packets))
    }

    pub(super) fn share(&self, packets: u64) -> f64 {
        packets as f64 / self.packets.max(1) as f64
    }
}

/// One rate against its floor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Over {
    /// What is counted.
    pub what: What,
    pub measured: u64,
    pub floor: u64,
}

impl Over {
    pub(super) fn times(&self) -> f64 {
        self.measured as f64 / self.floor.max(1) as f64
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Echo,
    Packets,
    Bytes,
    Connections,
}

impl What {
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Echo | Self::Packets => "packets/s",
            Self::Bytes => "bytes/s",
            Self::Connections => "connections/s",
        }
    }

    pub(super) fn rule(self) -> &'static str {
        match self {
            Self::Echo => "ping_packet_floor",
            Self::Packets => "process_packet_floor",
            Self::Bytes => "process_byte_floor",
            Self::Connections => "process_connection_floor",
        }
    }

    pub(super) fn formula(self) -> &'static str {
        match self {
            Self::Echo => "ICMP packets sent in a second",
            Self::Packets => "packets sent in a second in flows without any packet back",
            Self::Bytes => "bytes sent in a second in flows without any packet back",
            Self::Connections => "TCP connections tried in a second (SYN sent)",
        }
    }
}

/// Packets a second without an answer that no program sends to servers that are down: what
/// [`DetectSettings::process_packet_floor`] is of it, whatever its tool, so that a monitor
/// which pings hosts that are off is below.
pub(super) fn silence_floor(class: &Class, settings: &DetectSettings) -> u64 {
    settings.process_packet_floor.saturating_mul(factor_of(class))
}

fn factor_of(class: &Class) -> u64 {
    let talks = matches!(class.kind, ClassKind::Server | ClassKind::Agent | ClassKind::Kernel);
    if talks { FACTOR_OF_TALKERS } else { 1 }
}

/// The rate that is the farthest over its floor, or the nearest below; of several senders
/// or of one.
///
/// Only what floods: packets and bytes without an answer, echo, and new connections. A
/// download, an upload, a call and an answering server are none of them.
pub(super) fn over(
    rates: &Rates,
    class: &Class,
    together: bool,
    settings: &DetectSettings,
) -> Over {
    let factor = factor_of(class);
    let packets = match class.tool {
        // What it sends is made to be sent: no other program has its rate.
        Tool::Packets | Tool::Ping => settings.ping_packet_floor,
        _ => settings.process_packet_floor,
    };
    let connections = match class.tool {
        Tool::Web | Tool::Packets => settings.web_connection_floor,
        Tool::Other if together => {
            settings.process_connection_floor.saturating_mul(FACTOR_OF_POOLS)
        }
        _ => settings.process_connection_floor,
    };
    let candidates = [
        (What::Echo, rates.icmp, settings.ping_packet_floor),
        (What::Packets, rates.unanswered, packets),
        (What::Bytes, rates.unanswered_bytes, settings.process_byte_floor),
        (What::Connections, rates.connections, connections),
    ];
    let mut best = Over { what: What::Echo, measured: 0, floor: u64::MAX };
    for (what, measured, floor) in candidates {
        let over = Over { what, measured, floor: floor.saturating_mul(factor) };
        if over.times() > best.times() {
            best = over;
        }
    }
    best
}
