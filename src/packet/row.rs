//! A decoded packet packed for the way from the worker that read it to the
//! shard that owns its flow: facts, time and hash in two cache lines, so
//! that a batch of thousands stays in the second-level cache.

use super::facts::{Facts, Fragment, PacketClass};
use super::key::{FlowKey, IpVersion, Mac};
use crate::input::{Frame, frame_flag};

/// No tunnel: [`PacketRow::tunnels`] points at nothing.
pub const NO_TUNNELS: u32 = u32::MAX;

/// One IP packet on its way to a flow.
#[derive(Clone, Copy, Debug)]
pub struct PacketRow {
    pub key: FlowKey,
    pub hash: u64,
    pub time_ns: i64,
    /// Latest time stamp of the stream up to this packet: the clock that
    /// time-outs of late packets are measured with.
    pub clock_ns: i64,
    /// Position in its block.
    pub index: u32,
    pub wire_bytes: u32,
    pub ip_bytes: u32,
    pub payload_bytes: u32,
    /// Captured payload within the block's bytes.
    pub payload_at: u32,
    pub payload_captured: u32,
    pub tcp_seq: u32,
    /// Index into the batch's tunnels, or [`NO_TUNNELS`].
    pub tunnels: u32,
    pub tcp_flags: u16,
    pub vlans: [u16; 2],
    pub interface: u16,
    pub src_mac: Mac,
    pub dst_mac: Mac,
    pub ttl: u8,
    pub class: PacketClass,
    pub vlan_count: u8,
    pub flags: u8,
}

/// Bits of [`PacketRow::flags`].
pub mod row_flag {
    /// From `key.a` to `key.b`.
    pub const FORWARD: u8 = 1;
    pub const HAS_MAC: u8 = 2;
    pub const FRAGMENT: u8 = 4;
    pub const LATER_FRAGMENT: u8 = 8;
    /// Its window is closed: counted there as late.
    pub const LATE: u8 = 16;
    /// Feeds windows but no flow (a fragment whose flow is not known yet).
    pub const WINDOW_ONLY: u8 = 32;
    /// Feeds its flow but no window (that fragment, once its flow is known).
    pub const FLOW_ONLY: u8 = 64;
    /// May be to a broadcast or multicast address: worth a closer look.
    pub const GROUP: u8 = 128;
}

impl PacketRow {
    pub fn new(facts: &Facts, frame: &Frame, hash: u64, index: u32, clock_ns: i64) -> Self {
        let mut flags = 0;
        if facts.forward {
            flags |= row_flag::FORWARD;
        }
        if facts.has_mac {
            flags |= row_flag::HAS_MAC;
        }
        match facts.fragment {
            Some(Fragment::First(_)) => flags |= row_flag::FRAGMENT,
            Some(Fragment::Later(_)) => flags |= row_flag::FRAGMENT | row_flag::LATER_FRAGMENT,
            None => {}
        }
        if frame.flags & frame_flag::LATE != 0 {
            flags |= row_flag::LATE;
        }
        let mut row = Self {
            key: facts.key,
            hash,
            time_ns: frame.time_ns,
            clock_ns,
            index,
            wire_bytes: frame.wire_bytes,
            ip_bytes: facts.ip_bytes,
            payload_bytes: facts.payload_bytes,
            payload_at: frame.offset.saturating_add(facts.payload_offset),
            payload_captured: facts.payload_captured,
            tcp_seq: facts.tcp_seq,
            tunnels: NO_TUNNELS,
            tcp_flags: facts.tcp_flags,
            vlans: facts.vlans,
            interface: frame.interface,
            src_mac: facts.src_mac,
            dst_mac: facts.dst_mac,
            ttl: facts.ttl,
            class: facts.class,
            vlan_count: facts.vlan_count,
            flags,
        };
        row.mark_group();
        row
    }

    /// Sets [`row_flag::GROUP`] where it is due.
    #[inline]
    pub(crate) fn mark_group(&mut self) {
        let dst = if self.is(row_flag::FORWARD) { &self.key.b } else { &self.key.a };
        let group = match self.key.version {
            IpVersion::V4 => dst[12] >= 0xe0,
            IpVersion::V6 => dst[0] == 0xff,
        };
        // IEEE 802: the group bit of the first octet.
        if group || self.dst_mac[0] & 1 == 1 {
            self.flags |= row_flag::GROUP;
        }
    }

    pub fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// 0 from `key.a` to `key.b`, else 1.
    pub fn direction(&self) -> usize {
        usize::from(!self.is(row_flag::FORWARD))
    }

    /// Identifier of the innermost VLAN tag, 0 without one.
    pub fn innermost_vlan(&self) -> u16 {
        match self.vlan_count {
            0 => 0,
            1 => self.vlans[0],
            _ => self.vlans[1],
        }
    }

    /// Second of event time that its window covers.
    pub fn second(&self) -> i64 {
        self.time_ns.div_euclid(1_000_000_000)
    }
}

const _: () = assert!(size_of::<PacketRow>() == 128, "two cache lines");
