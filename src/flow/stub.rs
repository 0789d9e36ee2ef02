//! A flow of one packet: what its record and its windows need of it.

use super::live::{Entropy, Extra, TCP};
use super::record::{ConnState, Direction, EndReason, FlowRecord, SeenAt, SizeStep};
use super::settings::Timeouts;
use super::sizes::Sizes;
use super::tcp::Life;
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

    /// What its packet says of the connection; nothing where that is not TCP or can't be read.
    pub(super) fn life(&self) -> Life {
        let mut life = Life::default();
        if self.speaks_tcp() {
            life.packet(self.direction(), self.tcp_flags);
        }
        life
    }

    fn speaks_tcp(&self) -> bool {
        self.key.proto == TCP && self.class() != PacketClass::TcpUnknown
    }

    /// The record of the live flow which it would have become, without making that: in a
    /// flood each flow ends so. Takes what it holds beside itself.
    pub(super) fn record(&mut self, end_reason: EndReason, decided_ns: i64) -> FlowRecord {
        let direction = self.direction();
        let life = self.life();
        let originator = life.originator().unwrap_or(direction);
        let is_forward = originator == direction;
        let payload_bytes = self.payload_bytes;
        let mut sizes = Sizes::default();
        sizes.record(payload_bytes, 1);
        let sent = Direction {
            packets: 1,
            wire_bytes: self.wire_bytes.into(),
            ip_bytes: self.ip_bytes.into(),
            payload_bytes: payload_bytes.into(),
            sizes,
            tcp_flags: if self.speaks_tcp() { self.tcp_flags } else { 0 },
            ttl_min: self.ttl,
            ttl_max: self.ttl,
            fragments: self.is(row_flag::LATER_FRAGMENT).into(),
            entropy: self.entropy().get(),
            ..Direction::default()
        };
        let (fwd, rev) = match is_forward {
            true => (sent, Direction::default()),
            false => (Direction::default(), sent),
        };
        let mut macs = [self.macs.src(), self.macs.dst()];
        if !is_forward {
            macs.reverse();
        }
        let [src_mac, dst_mac] = macs.map(|mac| self.is(row_flag::HAS_MAC).then_some(mac));
        let mut vlans: Vec<u16> = self.vlans.ids().collect();
        vlans.sort_unstable();
        vlans.dedup();
        let step = SizeStep { fwd: is_forward, payload_bytes, gap_ns: 0 };
        let (app, tunnels) = match self.extra.take() {
            Some(extra) => (extra.app, extra.tunnels),
            None => (None, Vec::new()),
        };
        FlowRecord {
            key: self.key,
            forward_is_a_to_b: originator == 0,
            originator_guessed: self.key.proto == TCP && life.originator().is_none(),
            continues: false,
            start_ns: self.time_ns,
            end_ns: self.time_ns,
            decided_ns,
            end_reason,
            state: ConnState::of(self.key.proto, life, false),
            answered: false,
            fwd,
            rev,
            src_mac,
            dst_mac,
            vlans,
            tunnels,
            sequence: if payload_bytes > 0 { vec![step] } else { Vec::new() },
            app,
            seen_at: SeenAt { first: self.interface, other: None },
            origin: None,
            hosts: None,
        }
    }

    /// A RST ended it at once.
    pub(crate) fn is_over(&self) -> bool {
        self.tcp_flags & tcp_flag::RST != 0
    }

    pub(crate) fn idle_ns(&self, timeouts: &Timeouts) -> Option<i64> {
        if self.speaks_tcp() {
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
    use proptest::prelude::*;

    use super::super::app::AppInfo;
    use super::super::live::Live;
    use super::super::slab::Slab;
    use super::*;
    use crate::packet::{IpVersion, TunnelKind, TunnelLayer};

    prop_compose! {
        fn any_packet()(
            proto in prop_oneof![Just(TCP), Just(17), any::<u8>()],
            class in 0..PACKET_CLASSES,
            tcp_flags in 0_u16..0x200,
            flags: u8,
            payload_bytes in prop_oneof![Just(0), 1_u32..2000, Just(0xffff), any::<u32>()],
            wire_bytes: u32,
            times in any::<(u32, u32)>(),
            tags in prop::collection::vec(prop_oneof![Just(5), 0_u16..4096], 0..3),
            numbers: (u16, u32, u8),
        ) -> PacketRow {
            let mut vlans = Vlans::NONE;
            tags.into_iter().for_each(|id| vlans.push(id));
            let (interface, tcp_seq, ttl) = numbers;
            PacketRow {
                key: FlowKey { proto, port_a: 1, port_b: 2, ..FlowKey::ZERO },
                class: PacketClass::ALL[class],
                time_ns: times.0.into(),
                clock_ns: times.1.into(),
                macs: Macs::new([2; 6], [4; 6]),
                ip_bytes: wire_bytes / 2,
                flags: flags.into(),
                tcp_flags, payload_bytes, wire_bytes, vlans, interface, tcp_seq, ttl,
                ..PacketRow::NOTHING
            }
        }
    }

    proptest! {
        #[test]
        fn the_record_is_that_of_the_live_flow_which_it_would_have_become(
            packet in any_packet(),
            entropy: Option<(f32, u8)>,
            has_extra: bool,
        ) {
            let entropy = entropy.map(|(bits, bytes)| (bits.abs().min(8.0), u16::from(bytes) + 1));
            let extra = has_extra.then(|| {
                let mut extra = Box::<Extra>::default();
                extra.app = Some(Box::<AppInfo>::default());
                extra.tunnels = vec![TunnelLayer {
                    kind: TunnelKind::Gre,
                    version: IpVersion::V4,
                    id: Some(3),
                    outer_src: packet.key.a,
                    outer_dst: packet.key.b,
                }];
                extra
            });
            let mut stub = Stub::new(&packet, packet.clock_ns, extra, Entropy::new(entropy));
            let mut bins = Slab::new();
            let live = Live::from_stub(&mut stub.clone(), &mut bins);
            let expected = live.record(EndReason::Idle, 7, &bins);
            prop_assert_eq!(stub.record(EndReason::Idle, 7), expected);
        }
    }

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
