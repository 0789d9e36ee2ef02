//! State of a flow while it lives.
//!
//! Most flows of a flood or a scan are one packet: they stay a [`Stub`], their
//! first packet as it came. The second packet makes a [`Live`] flow of it,
//! which has room for histograms, timing and the size sequence.

use super::app::AppInfo;
use super::record::{ConnState, Direction, EndReason, FlowRecord, Gaps, SizeStep};
use super::settings::Timeouts;
use super::sizes::{self, BINS, Sizes};
use super::tcp::{Life, SendSide};
use crate::engine::window::RowRef;
use crate::packet::facts::tcp_flag;
use crate::packet::{FlowKey, PacketClass, PacketRow, TunnelLayer, row_flag};

/// Packets with payload kept in the size sequence.
pub(crate) const SEQUENCE_LEN: usize = 16;
/// VLAN identifiers kept for a flow: two tags in each direction.
const MAX_VLANS: usize = 4;
/// Distinct tunnels kept for a flow: asymmetric paths double the stack.
pub(crate) const MAX_FLOW_TUNNELS: usize = 8;
/// IP protocol numbers with state or time-outs of their own.
pub(crate) const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// What first payloads told, and tunnels: rare or large, so kept beside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    pub(crate) app: Option<Box<AppInfo>>,
    pub(crate) tunnels: Vec<TunnelLayer>,
    /// Bits per byte and bytes looked at, by direction.
    pub(crate) entropy: [Option<(f32, u16)>; 2],
}

/// A flow of one packet.
#[derive(Clone, Debug)]
pub(crate) struct Stub {
    pub(crate) packet: PacketRow,
    pub(crate) extra: Option<Box<Extra>>,
    /// Second of the wheel that will look at it; see [`super::wheel`].
    pub(crate) wheel_s: i64,
    /// When its packet counted for time-outs.
    pub(crate) cut_ns: i64,
    /// Where its packet is written.
    pub(crate) row: RowRef,
    pub(crate) alive: bool,
}

/// One direction's counters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Half {
    pub(crate) packets: u64,
    pub(crate) wire_bytes: u64,
    ip_bytes: u64,
    pub(crate) payload_bytes: u64,
    last_ns: i64,
    pub(crate) size_squares: u128,
    gap_squares: u128,
    gap_sum_ns: u64,
    gap_min_ns: u64,
    gap_max_ns: u64,
    pub(crate) size_min: u32,
    pub(crate) size_max: u32,
    fragments: u32,
    pub(crate) tcp: SendSide,
    tcp_flags: u16,
    ttl_min: u8,
    ttl_max: u8,
    /// ACK-bearing segments without SYN or RST, up to 3: the sign that the
    /// other side speaks, seen here or not.
    pub(crate) acks: u8,
}

/// A flow of two packets or more.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) key: FlowKey,
    pub(crate) hash: u64,
    pub(crate) start_ns: i64,
    end_ns: i64,
    /// Time of the last packet as time-outs see it.
    pub(crate) cut_ns: i64,
    pub(crate) wheel_s: i64,
    /// Where its packets of the second at hand are written.
    pub(crate) row: RowRef,
    pub(crate) halves: [Half; 2],
    bins: [[u16; BINS]; 2],
    /// Bins that ran over `u16`, in units of 65,536.
    spill: Option<Box<[[u32; BINS]; 2]>>,
    sequence_sizes: [u32; SEQUENCE_LEN],
    sequence_gaps_ns: [u64; SEQUENCE_LEN],
    sequence_forward: u16,
    sequence_len: u8,
    pub(crate) life: Life,
    first_direction: u8,
    /// How the one-sidedness of this connection was last reported.
    pub(crate) sided: Sided,
    pub(crate) alive: bool,
    has_mac: bool,
    vlan_count: u8,
    vlans: [u16; MAX_VLANS],
    pub(crate) interface: u16,
    pub(crate) first_vlan: u16,
    /// MACs of `key.a` and `key.b`.
    macs: [[u8; 6]; 2],
    last_payload_ns: i64,
    pub(crate) extra: Option<Box<Extra>>,
}

/// Whether a TCP connection is seen from one side only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Sided {
    /// Too little seen to say.
    #[default]
    Unknown,
    OneWay,
    TwoWay,
}

impl Live {
    /// Starts a record at this packet. `cut_ns` is its time as time-outs see it.
    pub(crate) fn start(packet: &PacketRow, cut_ns: i64, extra: Option<Box<Extra>>) -> Self {
        let mut live = Self {
            key: packet.key,
            hash: packet.hash,
            start_ns: packet.time_ns,
            end_ns: packet.time_ns,
            cut_ns,
            wheel_s: i64::MAX,
            row: RowRef::default(),
            halves: [Half::default(); 2],
            bins: [[0; BINS]; 2],
            spill: None,
            sequence_sizes: [0; SEQUENCE_LEN],
            sequence_gaps_ns: [0; SEQUENCE_LEN],
            sequence_forward: 0,
            sequence_len: 0,
            life: Life::default(),
            first_direction: packet.direction() as u8,
            sided: Sided::Unknown,
            alive: true,
            has_mac: false,
            vlan_count: 0,
            vlans: [0; MAX_VLANS],
            interface: packet.interface,
            first_vlan: packet.innermost_vlan(),
            macs: [[0; 6]; 2],
            last_payload_ns: packet.time_ns,
            extra,
        };
        live.add(packet, cut_ns);
        live
    }

    /// Counts a packet of this record.
    pub(crate) fn add(&mut self, packet: &PacketRow, cut_ns: i64) {
        let direction = packet.direction();
        let half = &mut self.halves[direction];
        if half.packets > 0 {
            let gap = packet.time_ns.saturating_sub(half.last_ns).max(0) as u64;
            half.gap_min_ns = if half.packets == 1 { gap } else { half.gap_min_ns.min(gap) };
            half.gap_max_ns = half.gap_max_ns.max(gap);
            half.gap_sum_ns = half.gap_sum_ns.saturating_add(gap);
            // Four gaps of centuries fill it, where all time-outs are off.
            half.gap_squares = half.gap_squares.saturating_add(u128::from(gap).pow(2));
            half.ttl_min = half.ttl_min.min(packet.ttl);
            half.ttl_max = half.ttl_max.max(packet.ttl);
            half.last_ns = half.last_ns.max(packet.time_ns);
        } else {
            half.ttl_min = packet.ttl;
            half.ttl_max = packet.ttl;
            half.last_ns = packet.time_ns;
        }
        half.packets += 1;
        half.wire_bytes += u64::from(packet.wire_bytes);
        half.ip_bytes += u64::from(packet.ip_bytes);
        half.payload_bytes += u64::from(packet.payload_bytes);
        half.fragments += u32::from(packet.is(row_flag::LATER_FRAGMENT));
        if packet.payload_bytes > 0 {
            let bytes = packet.payload_bytes;
            half.size_min = if half.size_min == 0 { bytes } else { half.size_min.min(bytes) };
            half.size_max = half.size_max.max(bytes);
            half.size_squares += u128::from(bytes) * u128::from(bytes);
        }
        if self.key.proto == TCP && packet.class != PacketClass::TcpUnknown {
            half.tcp_flags |= packet.tcp_flags;
            half.tcp.segment(packet.tcp_seq, packet.payload_bytes, packet.tcp_flags);
            self.life.packet(direction, packet.tcp_flags);
            let speaks = packet.tcp_flags & (tcp_flag::ACK | tcp_flag::SYN | tcp_flag::RST);
            half.acks = (half.acks + u8::from(speaks == tcp_flag::ACK)).min(3);
        }
        self.count_size(direction, packet.payload_bytes);
        self.remember_step(packet, direction);
        self.start_ns = self.start_ns.min(packet.time_ns);
        self.end_ns = self.end_ns.max(packet.time_ns);
        self.cut_ns = self.cut_ns.max(cut_ns);
        if packet.is(row_flag::HAS_MAC) && !self.has_mac {
            self.has_mac = true;
            self.macs[direction] = packet.src_mac;
            self.macs[1 - direction] = packet.dst_mac;
        }
        for &vlan in &packet.vlans[..usize::from(packet.vlan_count.min(2))] {
            self.remember_vlan(vlan);
        }
    }

    fn count_size(&mut self, direction: usize, bytes: u32) {
        let bin = sizes::bin_of(bytes);
        let slot = &mut self.bins[direction][bin];
        if let Some(more) = slot.checked_add(1) {
            *slot = more;
        } else {
            *slot = 0;
            let spill = self.spill.get_or_insert_with(|| Box::new([[0; BINS]; 2]));
            spill[direction][bin] = spill[direction][bin].saturating_add(1);
        }
    }

    fn remember_step(&mut self, packet: &PacketRow, direction: usize) {
        let at = usize::from(self.sequence_len);
        if packet.payload_bytes == 0 || at == SEQUENCE_LEN {
            return;
        }
        self.sequence_sizes[at] = packet.payload_bytes;
        if at > 0 {
            let gap = packet.time_ns.saturating_sub(self.last_payload_ns).max(0);
            self.sequence_gaps_ns[at] = gap as u64;
        }
        self.sequence_forward |= u16::from(direction == 0) << at;
        self.sequence_len += 1;
        self.last_payload_ns = packet.time_ns;
    }

    fn remember_vlan(&mut self, vlan: u16) {
        let known = &self.vlans[..usize::from(self.vlan_count)];
        if !known.contains(&vlan) && known.len() < MAX_VLANS {
            self.vlans[known.len()] = vlan;
            self.vlan_count += 1;
        }
    }

    pub(crate) fn idle_ns(&self, timeouts: &Timeouts) -> Option<i64> {
        if self.key.proto == TCP {
            if self.life.is_over() {
                return timeouts.closed_ns;
            }
            if self.state() == ConnState::HalfOpen {
                return timeouts.half_open_ns;
            }
        }
        idle_of_protocol(self.key.proto, timeouts)
    }

    /// Direction of the originator, and whether that is a guess.
    pub(crate) fn originator(&self) -> (usize, bool) {
        match self.life.originator() {
            Some(direction) => (direction, false),
            None => (usize::from(self.first_direction), self.key.proto == TCP),
        }
    }

    pub(crate) fn answered(&self) -> bool {
        self.halves[0].packets > 0 && self.halves[1].packets > 0
    }

    fn state(&self) -> ConnState {
        if self.key.proto != TCP {
            return if self.answered() { ConnState::Answered } else { ConnState::OneWay };
        }
        if self.life.is_reset() {
            ConnState::Reset
        } else if self.life.both_finished() {
            ConnState::Closed
        } else if self.life.handshake_answered() {
            ConnState::Established
        } else if self.life.syn_seen() && self.only_syns() {
            ConnState::HalfOpen
        } else {
            ConnState::Midstream
        }
    }

    /// Nobody has acknowledged anything yet.
    fn only_syns(&self) -> bool {
        (self.halves[0].tcp_flags | self.halves[1].tcp_flags) & tcp_flag::ACK == 0
    }

    /// Adds this direction's histogram to `sums`.
    pub(crate) fn add_bins(&self, direction: usize, sums: &mut [u64; BINS]) {
        for (sum, &count) in sums.iter_mut().zip(&self.bins[direction]) {
            *sum += u64::from(count);
        }
        if let Some(spill) = &self.spill {
            for (sum, &count) in sums.iter_mut().zip(&spill[direction]) {
                *sum += u64::from(count) << 16;
            }
        }
    }

    fn sizes(&self, direction: usize) -> Sizes {
        let half = &self.halves[direction];
        let mut bins = [0u32; BINS];
        for (bin, out) in bins.iter_mut().enumerate() {
            let spilled = self.spill.as_ref().map_or(0, |spill| spill[direction][bin]);
            *out = spilled
                .saturating_mul(1 << 16)
                .saturating_add(u32::from(self.bins[direction][bin]));
        }
        Sizes {
            bins,
            min: half.size_min,
            max: half.size_max,
            sum: half.payload_bytes,
            sum_squares: half.size_squares,
        }
    }

    fn direction(&self, direction: usize) -> Direction {
        let half = &self.halves[direction];
        Direction {
            packets: half.packets,
            wire_bytes: half.wire_bytes,
            ip_bytes: half.ip_bytes,
            payload_bytes: half.payload_bytes,
            sizes: self.sizes(direction),
            gaps: Gaps {
                count: half.packets.saturating_sub(1),
                min_ns: half.gap_min_ns,
                max_ns: half.gap_max_ns,
                sum_ns: half.gap_sum_ns,
                sum_squares: half.gap_squares,
            },
            tcp_flags: half.tcp_flags,
            ttl_min: half.ttl_min,
            ttl_max: half.ttl_max,
            retransmitted: half.tcp.retransmitted,
            out_of_order: half.tcp.out_of_order,
            fragments: half.fragments,
            entropy: self.extra.as_ref().and_then(|extra| extra.entropy[direction]),
        }
    }

    /// The finished record.
    pub(crate) fn record(&self, end_reason: EndReason, decided_ns: i64) -> FlowRecord {
        let (originator, originator_guessed) = self.originator();
        let responder = 1 - originator;
        let mut vlans = self.vlans[..usize::from(self.vlan_count)].to_vec();
        vlans.sort_unstable();
        let sequence = (0..usize::from(self.sequence_len))
            .map(|at| SizeStep {
                fwd: (self.sequence_forward >> at & 1 == 1) == (originator == 0),
                payload_bytes: self.sequence_sizes[at],
                gap_ns: self.sequence_gaps_ns[at],
            })
            .collect();
        FlowRecord {
            key: self.key,
            forward_is_a_to_b: originator == 0,
            originator_guessed,
            start_ns: self.start_ns,
            end_ns: self.end_ns,
            decided_ns,
            end_reason,
            state: self.state(),
            answered: self.answered(),
            fwd: self.direction(originator),
            rev: self.direction(responder),
            src_mac: self.has_mac.then_some(self.macs[originator]),
            dst_mac: self.has_mac.then_some(self.macs[responder]),
            vlans,
            tunnels: self.extra.as_ref().map_or_else(Vec::new, |extra| extra.tunnels.clone()),
            sequence,
            app: self.extra.as_ref().and_then(|extra| extra.app.clone()),
        }
    }
}

/// Idle time-out by protocol alone.
fn idle_of_protocol(proto: u8, timeouts: &Timeouts) -> Option<i64> {
    match proto {
        TCP => timeouts.tcp_idle_ns,
        UDP => timeouts.udp_idle_ns,
        ICMP | ICMPV6 => timeouts.icmp_idle_ns,
        _ => timeouts.other_idle_ns,
    }
}

/// Age limit of a record by protocol.
pub(crate) fn active_of_protocol(proto: u8, timeouts: &Timeouts) -> Option<i64> {
    match proto {
        TCP => timeouts.tcp_active_ns,
        UDP => timeouts.udp_active_ns,
        ICMP | ICMPV6 => timeouts.icmp_active_ns,
        _ => timeouts.other_active_ns,
    }
}

/// Idle time-out of a flow that is its first packet.
pub(crate) fn stub_idle_ns(packet: &PacketRow, timeouts: &Timeouts) -> Option<i64> {
    if packet.key.proto == TCP && packet.class != PacketClass::TcpUnknown {
        if packet.tcp_flags & tcp_flag::RST != 0 {
            return timeouts.closed_ns;
        }
        if packet.tcp_flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN {
            return timeouts.half_open_ns;
        }
    }
    idle_of_protocol(packet.key.proto, timeouts)
}
