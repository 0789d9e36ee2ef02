//! A flow of one packet: what its record and its windows need of it.

use super::live::{Entropy, Extra, TCP};
use super::settings::Timeouts;
use crate::engine::window::RowRef;
use crate::packet::facts::{PACKET_CLASSES, tcp_flag};
use crate::packet::{FlowKey, Macs, NO_TUNNELS, PacketClass, PacketRow, Vlans, row_flag};

/// A flow of one packet, on two lines of the cache: a flood touches each of its
/// flows twice, and waits for memory most of all.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Stub {
    pub(crate) key: FlowKey,
    pub(crate) time_ns: i64,
    /// When its packet counted for time-outs.
    pub(crate) cut_ns: i64,
    /// Where its packet is written.
    pub(crate) row: RowRef,
    pub(crate) extra: Option<Box<Extra>>,
    pub(crate) wire_bytes: u32,
    pub(super) ip_bytes: u32,
    pub(crate) payload_bytes: u32,
    tcp_seq: u32,
    /// Second of the wheel that will look at its place; see [`super::wheel`].
    pub(crate) wheel_s: i32,
    /// Below 0: there is none.
    entropy_bits: f32,
    vlans: Vlans,
    interface: u16,
    pub(super) tcp_flags: u16,
    macs: Macs,
    /// Over how many bytes, less one: 1 to 256.
    entropy_bytes: u8,
    ttl: u8,
    /// See [`packed`].
    packed: u8,
    /// The low eight: of messages its record has no use.
    flags: u8,
}

/// Parts of [`Stub::packed`].
mod packed {
    pub(super) const CLASS: u8 = 0x0f;
    pub(super) const ALIVE: u8 = 0x80;
}

const _: () = assert!(size_of::<Stub>() == 128 && PACKET_CLASSES <= packed::CLASS as usize);

impl Stub {
    pub(crate) fn new(
        packet: &PacketRow,
        cut_ns: i64,
        extra: Option<Box<Extra>>,
        entropy: Entropy,
    ) -> Self {
        let (entropy_bits, over_bytes) = entropy.get().unwrap_or((-1.0, 1));
        Self {
            key: packet.key,
            time_ns: packet.time_ns,
            cut_ns,
            row: RowRef::default(),
            extra,
            wire_bytes: packet.wire_bytes,
            ip_bytes: packet.ip_bytes,
            payload_bytes: packet.payload_bytes,
            tcp_seq: packet.tcp_seq,
            wheel_s: i32::MAX,
            entropy_bits,
            vlans: packet.vlans,
            interface: packet.interface,
            tcp_flags: packet.tcp_flags,
            macs: packet.macs,
            entropy_bytes: (over_bytes - 1).min(u16::from(u8::MAX)) as u8,
            ttl: packet.ttl,
            packed: packet.class as u8 | packed::ALIVE,
            flags: packet.flags as u8,
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
            // Not kept: what the flow's first packet acknowledges was sent before it.
            tcp_ack: 0,
            tunnels: NO_TUNNELS,
            tcp_flags: self.tcp_flags,
            vlans: self.vlans,
            interface: self.interface,
            macs: self.macs,
            ttl: self.ttl,
            class: self.class(),
            flags: self.flags.into(),
        }
    }

    pub(super) fn class(&self) -> PacketClass {
        PacketClass::ALL[usize::from(self.packed & packed::CLASS)]
    }

    pub(super) fn direction(&self) -> usize {
        usize::from(!self.is(row_flag::FORWARD))
    }

    /// Entropy of its payload.
    pub(crate) fn entropy(&self) -> Entropy {
        let known = self.entropy_bits >= 0.0;
        Entropy::new(known.then(|| (self.entropy_bits, u16::from(self.entropy_bytes) + 1)))
    }

    #[inline]
    pub(crate) fn is_alive(&self) -> bool {
        self.packed & packed::ALIVE != 0
    }

    pub(crate) fn bury(&mut self) {
        self.packed &= !packed::ALIVE;
    }

    pub(crate) fn is(&self, flag: u16) -> bool {
        u16::from(self.flags) & flag != 0
    }

    /// A RST ended it at once.
    pub(crate) fn is_over(&self) -> bool {
        self.tcp_flags & tcp_flag::RST != 0
    }

    pub(crate) fn idle_ns(&self, timeouts: &Timeouts) -> Option<i64> {
        if self.key.proto == TCP && self.class() != PacketClass::TcpUnknown {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_as_it_went_in() {
        for class in PacketClass::ALL {
            for ids in [&[][..], &[5], &[5, 6]] {
                let mut vlans = Vlans::NONE;
                ids.iter().for_each(|&id| vlans.push(id));
                let packet = PacketRow { class, vlans, ..PacketRow::NOTHING };
                for entropy in [None, Some((0.0, 1)), Some((3.5, 255)), Some((8.0, 256))] {
                    let mut stub = Stub::new(&packet, 0, None, Entropy::new(entropy));
                    assert_eq!(stub.as_row(), packet);
                    assert_eq!(stub.entropy().get(), entropy);
                    assert!(stub.is_alive());
                    stub.bury();
                    assert!(!stub.is_alive() && stub.as_row() == packet);
                }
            }
        }
    }
}
