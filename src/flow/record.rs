//! One finished flow record, as writers see it.

use std::net::IpAddr;
use std::sync::Arc;

use super::live::TCP;
use super::tcp::Life;
use crate::flow::app::AppInfo;
use crate::flow::sizes::Sizes;
use crate::host::side::FlowHosts;
use crate::input::Origin;
use crate::packet::{FlowKey, Mac, TunnelLayer};

/// A finished flow record. `fwd` is originator to responder, `src` is the
/// originator.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowRecord {
    pub key: FlowKey,
    /// The originator is `key.a`.
    pub forward_is_a_to_b: bool,
    /// No SYN was seen, or it came second: the first packet decided who is the
    /// originator.
    pub originator_guessed: bool,
    /// The flow has an earlier record, which was cut by age ([`EndReason::Active`]).
    pub continues: bool,
    pub start_ns: i64,
    pub end_ns: i64,
    /// When it was decided that the record is over; orders the output.
    pub decided_ns: i64,
    pub end_reason: EndReason,
    pub state: ConnState,
    /// Both directions carried packets.
    pub answered: bool,
    pub fwd: Direction,
    pub rev: Direction,
    pub src_mac: Option<Mac>,
    pub dst_mac: Option<Mac>,
    /// VLAN identifiers seen, ascending; at most four are kept.
    pub vlans: Vec<u16>,
    /// Distinct tunnels that packets came through, outermost first for the
    /// first packet, then others as they appeared; at most eight.
    pub tunnels: Vec<TunnelLayer>,
    /// First 16 payload-bearing packets.
    pub sequence: Vec<SizeStep>,
    pub app: Option<Box<AppInfo>>,
    pub seen_at: SeenAt,
    /// Names to `seen_at`, where any are known.
    pub origin: Option<Arc<Origin>>,
    /// What is known of the hosts at its ends.
    pub hosts: Option<Box<FlowHosts>>,
}

/// Interfaces by their number in the run's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeenAt {
    /// Of the first packet.
    pub first: u16,
    /// Of the other direction's first packet.
    pub other: Option<u16>,
}

impl FlowRecord {
    pub fn src_ip(&self) -> IpAddr {
        if self.forward_is_a_to_b { self.key.ip_a() } else { self.key.ip_b() }
    }

    pub fn dst_ip(&self) -> IpAddr {
        if self.forward_is_a_to_b { self.key.ip_b() } else { self.key.ip_a() }
    }

    /// Port of the originator; for ICMP the type (see [`FlowKey::port_a`]).
    pub fn src_port(&self) -> u16 {
        if self.forward_is_a_to_b { self.key.port_a } else { self.key.port_b }
    }

    pub fn dst_port(&self) -> u16 {
        if self.forward_is_a_to_b { self.key.port_b } else { self.key.port_a }
    }
}

/// What one direction carried.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Direction {
    pub packets: u64,
    /// Whole frames as on the wire.
    pub wire_bytes: u64,
    /// Innermost IP packets by their headers' lengths.
    pub ip_bytes: u64,
    pub payload_bytes: u64,
    pub sizes: Sizes,
    /// Times between packets of this direction.
    pub gaps: Gaps,
    /// OR of the TCP flags (low nine bits).
    pub tcp_flags: u16,
    pub ttl_min: u8,
    pub ttl_max: u8,
    /// TCP segments whose bytes had all been sent before.
    pub retransmitted: u32,
    /// TCP segments that start before the highest byte sent and bring new
    /// bytes or fill a gap.
    pub out_of_order: u32,
    /// TCP: bytes that the other side acknowledged and that were never seen here,
    /// by our own loss or before us. Nothing where that can't be told: the other
    /// direction or the stream's start was not seen, or fragments hide numbers.
    pub missed_bytes: Option<u64>,
    /// Later fragments counted in this direction.
    pub fragments: u32,
    /// Shannon entropy in bits per byte of the first payload bytes (at most
    /// 256 of the first packet with payload), and how many bytes that was.
    pub entropy: Option<(f32, u16)>,
}

/// Times between consecutive packets, in nanoseconds; negative gaps count as
/// 0. Over `packets - 1` gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    pub count: u64,
    pub min_ns: u64,
    pub max_ns: u64,
    pub sum_ns: u64,
    pub sum_squares: u128,
}

/// One payload-bearing packet in the sequence of the first 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeStep {
    /// Originator to responder.
    pub fwd: bool,
    pub payload_bytes: u32,
    /// Time since the flow's previous payload-bearing packet; 0 for the first.
    pub gap_ns: u64,
}

/// Why a record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndReason {
    Idle,
    Active,
    Closed,
    Evicted,
    EndOfInput,
}

/// Number of reasons.
pub const END_REASONS: usize = 5;

impl EndReason {
    pub const ALL: [Self; END_REASONS] =
        [Self::Idle, Self::Active, Self::Closed, Self::Evicted, Self::EndOfInput];

    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Active => "active",
            Self::Closed => "closed",
            Self::Evicted => "evicted",
            Self::EndOfInput => "end_of_input",
        }
    }
}

/// State of the connection as the record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConnState {
    /// Not TCP, only one direction seen.
    OneWay,
    /// Not TCP, both directions seen.
    Answered,
    /// TCP: SYN without SYN-ACK.
    HalfOpen,
    /// TCP: handshake seen, no end seen.
    Established,
    /// TCP: both sides sent FIN.
    Closed,
    /// TCP: a side sent RST.
    Reset,
    /// TCP: joined in the middle, no handshake seen, no end seen.
    Midstream,
}

impl ConnState {
    /// Of a connection by what its packets said; `answered` counts where there are no such.
    pub(super) fn of(proto: u8, life: Life, answered: bool) -> Self {
        if proto != TCP {
            return if answered { Self::Answered } else { Self::OneWay };
        }
        if life.is_reset() {
            Self::Reset
        } else if life.both_finished() {
            Self::Closed
        } else if life.handshake_answered() {
            Self::Established
        } else if life.is_half_open() {
            Self::HalfOpen
        } else {
            Self::Midstream
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::OneWay => "one_way",
            Self::Answered => "answered",
            Self::HalfOpen => "half_open",
            Self::Established => "established",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Midstream => "midstream",
        }
    }
}
