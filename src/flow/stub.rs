//! A flow of one packet: what its record and its windows need of it.

use super::live::{Entropy, Extra, TCP};
use super::settings::Timeouts;
use crate::engine::window::RowRef;
use crate::packet::facts::tcp_flag;
use crate::packet::{FlowKey, Mac, NO_TUNNELS, PacketClass, PacketRow};

/// A flow of one packet: little over two cache lines.
#[derive(Clone, Debug)]
pub(crate) struct Stub {
    pub(crate) key: FlowKey,
    pub(crate) time_ns: i64,
    /// When its packet counted for time-outs.
    pub(crate) cut_ns: i64,
    pub(crate) extra: Option<Box<Extra>>,
    /// Where its packet is written.
    pub(crate) row: RowRef,
    pub(crate) wire_bytes: u32,
    ip_bytes: u32,
    pub(crate) payload_bytes: u32,
    tcp_seq: u32,
    /// Second of the wheel that will look at its place; see [`super::wheel`].
    pub(crate) wheel_s: i32,
    pub(crate) entropy: Entropy,
    vlans: [u16; 2],
    interface: u16,
    tcp_flags: u16,
    src_mac: Mac,
    dst_mac: Mac,
    ttl: u8,
    class: PacketClass,
    vlan_count: u8,
    pub(crate) flags: u8,
    pub(crate) alive: bool,
}

impl Stub {
    pub(crate) fn new(
        packet: &PacketRow,
        cut_ns: i64,
        extra: Option<Box<Extra>>,
        entropy: Entropy,
    ) -> Self {
        Self {
            key: packet.key,
            time_ns: packet.time_ns,
            cut_ns,
            extra,
            row: RowRef::default(),
            wire_bytes: packet.wire_bytes,
            ip_bytes: packet.ip_bytes,
            payload_bytes: packet.payload_bytes,
            tcp_seq: packet.tcp_seq,
            wheel_s: i32::MAX,
            entropy,
            vlans: packet.vlans,
            interface: packet.interface,
            tcp_flags: packet.tcp_flags,
            src_mac: packet.src_mac,
            dst_mac: packet.dst_mac,
            ttl: packet.ttl,
            class: packet.class,
            vlan_count: packet.vlan_count,
            flags: packet.flags,
            alive: true,
        }
    }

    /// The packet again, for the record that begins with it. What only the way
    /// to the table needed is gone.
    pub(crate) fn as_row(&self) -> PacketRow {
        PacketRow {
            key: self.key,
            hash: 0,
            time_ns: self.time_ns,
            clock_ns: self.cut_ns,
            index: 0,
            wire_bytes: self.wire_bytes,
            ip_bytes: self.ip_bytes,
            payload_bytes: self.payload_bytes,
            payload_at: 0,
            payload_captured: 0,
            tcp_seq: self.tcp_seq,
            tunnels: NO_TUNNELS,
            tcp_flags: self.tcp_flags,
            vlans: self.vlans,
            interface: self.interface,
            src_mac: self.src_mac,
            dst_mac: self.dst_mac,
            ttl: self.ttl,
            class: self.class,
            vlan_count: self.vlan_count,
            flags: self.flags,
        }
    }

    pub(crate) fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// A RST ended it at once.
    pub(crate) fn is_over(&self) -> bool {
        self.tcp_flags & tcp_flag::RST != 0
    }

    pub(crate) fn idle_ns(&self, timeouts: &Timeouts) -> Option<i64> {
        if self.key.proto == TCP && self.class != PacketClass::TcpUnknown {
            if self.is_over() {
                return timeouts.closed_ns;
            }
            if self.tcp_flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN {
                return timeouts.half_open_ns;
            }
        }
        timeouts.idle_ns(self.key.proto)
    }
}
