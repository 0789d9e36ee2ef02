//! What a flow is joined to hosts by, and what analytics see of it: who talked to whom, when,
//! and how much.
//!
//! Where nobody wants records, this is all that is kept of a flow that ended: a record
//! has ten times as much, most of it put together only to be dropped.

use std::net::IpAddr;

use super::app::AppInfo;
use super::live::{Live, TCP};
use super::record::{EndReason, FlowRecord};
use super::stub::Stub;
use crate::engine::window::Host;
use crate::packet::FlowKey;

/// A flow in outline. `src` is the originator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outline {
    pub key: FlowKey,
    /// See [`FlowRecord`]'s fields of these names.
    pub forward_is_a_to_b: bool,
    pub originator_guessed: bool,
    pub start_ns: i64,
    pub end_ns: i64,
    pub decided_ns: i64,
    /// Sent by the originator, by the responder.
    pub packets: [u64; 2],
    /// TCP flags that the originator sent, that the responder sent: of all packets.
    pub tcp_flags: [u16; 2],
    /// Of both directions.
    pub wire_bytes: u64,
    /// Sent by the originator.
    pub sent_ip_bytes: u64,
    /// The responder sent payload.
    pub had_response: bool,
    /// By the active time-out: the flow goes on in another.
    pub is_cut: bool,
}

/// A flow that ended and has no record.
#[derive(Clone, Debug, PartialEq)]
pub struct EndedFlow {
    pub outline: Outline,
    /// Names are learned from it.
    pub app: Option<Box<AppInfo>>,
}

impl Outline {
    pub fn src_ip(&self) -> IpAddr {
        if self.forward_is_a_to_b { self.key.ip_a() } else { self.key.ip_b() }
    }

    pub fn dst_ip(&self) -> IpAddr {
        if self.forward_is_a_to_b { self.key.ip_b() } else { self.key.ip_a() }
    }

    /// The same as a window's key.
    pub fn src(&self) -> Host {
        self.host(self.forward_is_a_to_b)
    }

    pub fn dst(&self) -> Host {
        self.host(!self.forward_is_a_to_b)
    }

    fn host(&self, is_a: bool) -> Host {
        let address = if is_a { self.key.a } else { self.key.b };
        Host { version: self.key.version, address }
    }

    pub fn src_port(&self) -> u16 {
        if self.forward_is_a_to_b { self.key.port_a } else { self.key.port_b }
    }

    pub fn dst_port(&self) -> u16 {
        if self.forward_is_a_to_b { self.key.port_b } else { self.key.port_a }
    }

    /// Both directions carried packets.
    pub fn answered(&self) -> bool {
        self.packets.iter().all(|&packets| packets > 0)
    }
}

impl FlowRecord {
    pub fn outline(&self) -> Outline {
        Outline {
            key: self.key,
            forward_is_a_to_b: self.forward_is_a_to_b,
            originator_guessed: self.originator_guessed,
            start_ns: self.start_ns,
            end_ns: self.end_ns,
            decided_ns: self.decided_ns,
            packets: [self.fwd.packets, self.rev.packets],
            tcp_flags: [self.fwd.tcp_flags, self.rev.tcp_flags],
            wire_bytes: self.fwd.wire_bytes + self.rev.wire_bytes,
            sent_ip_bytes: self.fwd.ip_bytes,
            had_response: self.rev.payload_bytes > 0,
            is_cut: self.end_reason == EndReason::Active,
        }
    }
}

impl Live {
    pub(super) fn outline(&self, reason: EndReason, decided_ns: i64) -> Outline {
        let (originator, originator_guessed) = self.originator();
        let [fwd, rev] = [originator, 1 - originator].map(|side| &self.halves[side]);
        Outline {
            key: self.key,
            forward_is_a_to_b: originator == 0,
            originator_guessed,
            start_ns: self.start_ns,
            end_ns: self.end_ns(),
            decided_ns,
            packets: [fwd.packets, rev.packets],
            tcp_flags: [fwd.tcp_flags(), rev.tcp_flags()],
            wire_bytes: fwd.wire_bytes + rev.wire_bytes,
            sent_ip_bytes: fwd.ip_bytes,
            had_response: rev.payload_bytes > 0,
            is_cut: reason == EndReason::Active,
        }
    }
}

impl Stub {
    /// As that of the live flow which it would have become.
    pub(super) fn outline(&self, reason: EndReason, decided_ns: i64) -> Outline {
        let direction = self.direction();
        let is_tcp = self.key.proto == TCP;
        let originator = self.life().originator();
        let forward = originator.unwrap_or(direction);
        Outline {
            key: self.key,
            forward_is_a_to_b: forward == 0,
            originator_guessed: is_tcp && originator.is_none(),
            start_ns: self.time_ns,
            end_ns: self.time_ns,
            decided_ns,
            packets: if forward == direction { [1, 0] } else { [0, 1] },
            tcp_flags: match forward == direction {
                true => [self.tcp_flags, 0],
                false => [0, self.tcp_flags],
            },
            wire_bytes: u64::from(self.wire_bytes),
            sent_ip_bytes: if forward == direction { self.ip_bytes.into() } else { 0 },
            had_response: forward != direction && self.payload_bytes > 0,
            is_cut: reason == EndReason::Active,
        }
    }
}
