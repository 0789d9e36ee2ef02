//! State of a flow while it lives.
//!
//! Most flows of a flood or a scan are one packet: they stay a
//! [`Stub`](super::stub::Stub). The second packet makes a [`Live`] flow of it,
//! with room for sums, timing and the size sequence; the seventeenth with
//! payload adds histograms, which up to then follow from the sequence.
//!
//! Memory is what a flow costs: fields are packed, and a test holds the sizes.

use std::mem::offset_of;
use std::num::NonZeroU64;
use std::ops::Range;

use super::app::AppInfo;
use super::began::Began;
use super::half::Half;
use super::missed::{self, Holes, Sent};
use super::record::{ConnState, Direction, EndReason, FlowRecord, SeenAt, SizeStep};
use super::settings::Timeouts;
use super::sizes::{self, BINS, Sizes};
use super::slab::Slab;
use super::stub::Stub;
use super::tcp::{Life, Oddity, Watch};
use crate::engine::window::RowRef;
use crate::packet::facts::tcp_flag::FIN;
use crate::packet::{FlowKey, PacketClass, PacketRow, TunnelLayer, row_flag};

/// Packets with payload kept in the size sequence.
pub(crate) const SEQUENCE_LEN: usize = 16;
/// [`Live::sequence_len`] once the flow has histograms of its own.
const HAS_BINS: u8 = SEQUENCE_LEN as u8 + 1;
/// VLAN identifiers kept for a flow: two tags in each direction.
const MAX_VLANS: usize = 4;
/// Distinct tunnels kept for a flow: asymmetric paths double the stack.
pub(crate) const MAX_FLOW_TUNNELS: usize = 8;
/// The IP protocol that keeps state.
pub(crate) const TCP: u8 = 6;

/// What only some flows need.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    pub(crate) app: Option<Box<AppInfo>>,
    pub(crate) tunnels: Vec<TunnelLayer>,
    /// Steps of the sequence that a [`Step`] has no room for: place, size, gap.
    odd_steps: Vec<(u8, u32, u64)>,
    /// What may be missing in each direction.
    holes: Option<Box<[Holes; 2]>>,
    /// What [`Bins`] has no room for, by bin.
    spill: Option<Box<[[u64; BINS]; 2]>>,
}

/// Entropy of a direction's first payload: bits per byte, over how many bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entropy {
    bits: f32,
    bytes: u16,
}

impl Entropy {
    pub(crate) fn new(entropy: Option<(f32, u16)>) -> Self {
        entropy.map_or_else(Self::default, |(bits, bytes)| Self { bits, bytes })
    }

    pub(crate) fn get(self) -> Option<(f32, u16)> {
        (self.bytes > 0).then_some((self.bits, self.bytes))
    }
}

/// Payload-size histograms of both directions. Packets without payload are
/// left out: they follow from the number of packets. So are the two bins over
/// 57,343 bytes, which no link but a loopback fills.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bins([[u16; BINS - 3]; 2]);

impl Bins {
    const ZERO: Self = Self([[0; BINS - 3]; 2]);

    /// Where a payload of this size is counted, or about there.
    #[inline]
    pub(crate) fn offset(direction: usize, payload_bytes: u32) -> usize {
        let bin = sizes::bin_of(payload_bytes).saturating_sub(1);
        direction * size_of::<Self>() / 2 + bin * size_of::<u16>()
    }

    /// Counts a payload of this bin. What it has no room for comes back.
    #[inline]
    fn add(&mut self, direction: usize, bin: usize) -> Option<NonZeroU64> {
        let Some(count) = self.0[direction].get_mut(bin - 1) else {
            return NonZeroU64::new(1);
        };
        if let Some(more) = count.checked_add(1) {
            *count = more;
            return None;
        }
        *count = 0;
        NonZeroU64::new(1 << 16)
    }
}

/// A payload size in 16 bits and the time since the step before in 40: to 64 KiB
/// and 18 minutes, which is over the usual age limit of a flow.
#[derive(Clone, Copy, Debug, Default)]
struct Step([u8; 7]);

impl Step {
    /// Stands for one that does not fit and lies in [`Extra::odd_steps`].
    const ODD: Self = Self([0xff; 7]);

    #[inline]
    fn new(payload_bytes: u32, gap_ns: u64) -> Option<Self> {
        if payload_bytes >= 0xffff || gap_ns >= 1 << 40 {
            return None;
        }
        let [a, b, c, d, e, f, g, _] = (gap_ns << 16 | u64::from(payload_bytes)).to_le_bytes();
        Some(Self([a, b, c, d, e, f, g]))
    }

    /// Size alone.
    #[inline]
    fn size(self) -> Option<u32> {
        let [a, b, ..] = self.0;
        let size = u16::from_le_bytes([a, b]);
        // No other step has this size.
        (size != 0xffff).then_some(size.into())
    }

    /// Size and gap.
    fn get(self) -> Option<(u32, u64)> {
        let [a, b, c, d, e, f, g] = self.0;
        let packed = u64::from_le_bytes([a, b, c, d, e, f, g, 0]);
        (self.0 != Self::ODD.0).then_some((packed as u32 & 0xffff, packed >> 16))
    }
}

/// A flow of two packets or more. In the order in which a packet touches it, and
/// on lines of the cache: packets of many flows wait for memory most of all.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Live {
    pub(crate) key: FlowKey,
    /// Time of the last packet as time-outs see it.
    pub(crate) cut_ns: i64,
    /// Where its packets of the second at hand are written.
    pub(crate) row: RowRef,
    pub(crate) start_ns: i64,
    /// Latest time of a packet with payload; the histograms' id in its place
    /// once the sequence has no use for the time.
    mark: i64,
    pub(crate) extra: Option<Box<Extra>>,
    /// Second of the wheel that will look at its place; see [`super::wheel`].
    pub(crate) wheel_s: i32,
    /// Highest number that each side acknowledged; see [`Half::knows_ack`].
    highest_acks: [u32; 2],
    /// Less one; means something where [`Self::entropy_bits`] is not below 0.
    entropy_bytes: [u8; 2],
    sequence_forward: u16,
    sequence_len: u8,
    pub(crate) life: Life,
    began: Began,
    /// How the one-sidedness of this connection was last reported.
    pub(crate) sided: Sided,
    state: LiveState,
    vlan_count: u8,
    /// Where the first packet of each direction was seen.
    interfaces: [u16; 2],
    pub(crate) first_vlan: u16,
    /// MACs of `key.a` and `key.b`.
    macs: [[u8; 6]; 2],
    pub(crate) halves: [Half; 2],
    sequence: [Step; SEQUENCE_LEN],
    vlans: [u16; MAX_VLANS],
    entropy_bits: [f32; 2],
}

const _: () = assert!(offset_of!(Live, halves) == 128 && size_of::<Live>() == 512);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LiveState {
    Dead,
    Alive,
    AliveWithMacs,
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
    /// Makes a live flow of a flow of one packet.
    #[inline]
    pub(crate) fn from_stub(stub: &mut Stub, bins: &mut Slab<Bins>) -> Self {
        let first = stub.as_row();
        let mut live = Self::start(&first, stub.cut_ns, stub.extra.take(), bins);
        live.set_entropy(first.direction(), stub.entropy());
        live.row = stub.row;
        live
    }

    /// Starts a record at this packet. `cut_ns` is its time as time-outs see it.
    #[inline]
    pub(crate) fn start(
        packet: &PacketRow,
        cut_ns: i64,
        extra: Option<Box<Extra>>,
        bins: &mut Slab<Bins>,
    ) -> Self {
        let mut live = Self {
            key: packet.key,
            cut_ns,
            row: RowRef::default(),
            start_ns: packet.time_ns,
            mark: packet.time_ns,
            extra,
            wheel_s: i32::MAX,
            highest_acks: [0; 2],
            entropy_bits: [-1.0; 2],
            entropy_bytes: [0; 2],
            sequence_forward: 0,
            sequence_len: 0,
            life: Life::default(),
            began: Began::with(packet.direction()),
            sided: Sided::Unknown,
            state: LiveState::Alive,
            vlan_count: 0,
            vlans: [0; MAX_VLANS],
            interfaces: [packet.interface; 2],
            first_vlan: packet.innermost_vlan(),
            macs: [[0; 6]; 2],
            halves: [Half::default(); 2],
            sequence: [Step::default(); SEQUENCE_LEN],
        };
        live.add(packet, cut_ns, bins);
        // A flow of one packet does not keep it, and results don't depend on that.
        live.halves[packet.direction()].forget_ack();
        live
    }

    /// Counts a packet of this record.
    pub(crate) fn add(&mut self, packet: &PacketRow, cut_ns: i64, bins: &mut Slab<Bins>) {
        self.take_in(packet, cut_ns, bins);
    }

    /// The same as part of the caller, for the way that nearly all packets go. Whether the
    /// flow is in another phase of its life now.
    #[inline(always)]
    pub(crate) fn take_in(
        &mut self,
        packet: &PacketRow,
        cut_ns: i64,
        bins: &mut Slab<Bins>,
    ) -> bool {
        let mut phase_changed = false;
        let direction = packet.direction();
        let half = &mut self.halves[direction];
        if half.packets == 0 {
            self.interfaces[direction] = packet.interface;
        }
        half.add(packet);
        if self.key.proto == TCP && packet.class != PacketClass::TcpUnknown {
            let odd = half.add_tcp(packet, &mut self.highest_acks[direction]);
            if let Some(odd) = odd {
                self.look_for_missed(direction, odd, packet.tcp_flags);
            }
            let before = self.life;
            self.life.packet(direction, packet.tcp_flags);
            phase_changed = self.life != before && self.life.phase() != before.phase();
        }
        if packet.payload_bytes > 0 {
            self.add_size(direction, packet, bins);
        }
        self.start_ns = self.start_ns.min(packet.time_ns);
        self.cut_ns = self.cut_ns.max(cut_ns);
        if self.state != LiveState::AliveWithMacs && packet.is(row_flag::HAS_MAC) {
            self.state = LiveState::AliveWithMacs;
            self.macs[direction] = packet.macs.src();
            self.macs[1 - direction] = packet.macs.dst();
        }
        if !packet.vlans.is_empty() {
            packet.vlans.ids().for_each(|vlan| self.remember_vlan(vlan));
        }
        phase_changed
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.state != LiveState::Dead
    }

    /// Lets go of what it holds beside itself.
    pub(crate) fn bury(&mut self, bins: &mut Slab<Bins>) {
        self.state = LiveState::Dead;
        self.extra = None;
        self.drop_bins(bins);
    }

    /// Gives the histograms back.
    pub(crate) fn drop_bins(&mut self, bins: &mut Slab<Bins>) {
        if let Some(id) = self.bins_id() {
            bins.remove(id);
            self.sequence_len = 0;
        }
    }

    /// Where the next step of the sequence lies within the flow.
    pub(crate) fn next_step_offset(&self) -> usize {
        offset_of!(Self, sequence) + usize::from(self.sequence_len) * size_of::<Step>()
    }

    #[inline]
    pub(crate) fn bins_id(&self) -> Option<u32> {
        (self.sequence_len == HAS_BINS).then_some(self.mark as u32)
    }

    pub(crate) fn entropy(&self, direction: usize) -> Option<(f32, u16)> {
        let bits = self.entropy_bits[direction];
        (bits >= 0.0).then(|| (bits, u16::from(self.entropy_bytes[direction]) + 1))
    }

    pub(crate) fn set_entropy(&mut self, direction: usize, entropy: Entropy) {
        let (bits, bytes) = entropy.get().unwrap_or((-1.0, 1));
        self.entropy_bits[direction] = bits;
        // Over at most 256 bytes.
        self.entropy_bytes[direction] = (bytes - 1).min(u16::from(u8::MAX)) as u8;
    }

    /// Takes in the payload size: as a step of the sequence while there is
    /// room, then in the histograms.
    #[inline(always)]
    fn add_size(&mut self, direction: usize, packet: &PacketRow, bins: &mut Slab<Bins>) {
        let at = usize::from(self.sequence_len);
        if at < SEQUENCE_LEN {
            let gap = (packet.time_ns - self.mark).max(0) as u64;
            let gap_ns = if at == 0 { 0 } else { gap };
            self.sequence[at] = Step::new(packet.payload_bytes, gap_ns).unwrap_or_else(|| {
                let extra = self.extra.get_or_insert_default();
                extra.odd_steps.push((at as u8, packet.payload_bytes, gap_ns));
                Step::ODD
            });
            self.sequence_forward |= u16::from(direction == 0) << at;
            self.sequence_len += 1;
            self.mark = self.mark.max(packet.time_ns);
            return;
        }
        let id = self.bins_id().unwrap_or_else(|| self.begin_bins(bins));
        let bin = sizes::bin_of(packet.payload_bytes);
        if let Some(more) = bins[id].add(direction, bin) {
            self.spill(direction, bin, more);
        }
    }

    /// Makes histograms of what the sequence holds.
    #[cold]
    fn begin_bins(&mut self, bins: &mut Slab<Bins>) -> u32 {
        let mut counts = Bins::ZERO;
        for at in 0..SEQUENCE_LEN {
            let direction = self.step_direction(at);
            let bin = sizes::bin_of(self.step(at).0);
            if let Some(more) = counts.add(direction, bin) {
                self.spill(direction, bin, more);
            }
        }
        let id = bins.insert(counts);
        self.mark = i64::from(id);
        self.sequence_len = HAS_BINS;
        id
    }

    #[cold]
    fn spill(&mut self, direction: usize, bin: usize, more: NonZeroU64) {
        let extra = self.extra.get_or_insert_default();
        let spill = extra.spill.get_or_insert_with(|| Box::new([[0; BINS]; 2]));
        spill[direction][bin] = spill[direction][bin].saturating_add(more.get());
    }

    /// Steps in the sequence.
    fn steps(&self) -> Range<usize> {
        0..usize::from(self.sequence_len).min(SEQUENCE_LEN)
    }

    /// Size and gap of a step.
    fn step(&self, at: usize) -> (u32, u64) {
        self.sequence[at].get().unwrap_or_else(|| {
            let mut odd = self.extra.iter().flat_map(|extra| &extra.odd_steps);
            let found = odd.find(|&&(of, ..)| usize::from(of) == at);
            found.map_or((0, 0), |&(_, payload_bytes, gap_ns)| (payload_bytes, gap_ns))
        })
    }

    fn step_direction(&self, at: usize) -> usize {
        usize::from(self.sequence_forward >> at & 1 == 0)
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
            if self.life.is_half_open() {
                return timeouts.half_open_ns;
            }
        }
        timeouts.idle_ns(self.key.proto)
    }

    /// Direction of the originator, and whether that is a guess.
    pub(crate) fn originator(&self) -> (usize, bool) {
        match (self.life.originator(), self.began.handed_on()) {
            // Both began at once: who was first.
            (Some(_), _) if self.life.both_began() => (self.began.direction(), false),
            (Some(direction), _) => (direction, false),
            (None, Some(known)) => known,
            (None, None) => (self.began.direction(), self.key.proto == TCP),
        }
    }

    /// This record goes on with a flow whose record before said who began it.
    pub(crate) fn goes_on(&mut self, originator: (usize, bool)) {
        self.began.hand_on(originator);
    }

    /// From how many sides the connection has been seen so far.
    pub(crate) fn seen_sides(&self) -> Sided {
        if self.key.proto != TCP {
            Sided::Unknown
        } else if self.answered() {
            Sided::TwoWay
        } else if self.halves.iter().any(|half| half.acks() >= 3) {
            Sided::OneWay
        } else {
            Sided::Unknown
        }
    }

    pub(crate) fn answered(&self) -> bool {
        self.halves[0].packets > 0 && self.halves[1].packets > 0
    }

    /// Calls `add` with each bin of this direction that is not empty.
    pub(crate) fn each_bin(
        &self,
        direction: usize,
        bins: &Slab<Bins>,
        mut add: impl FnMut(usize, u64),
    ) {
        let mut with_payload = 0;
        if let Some(id) = self.bins_id() {
            let spill = self.extra.as_ref().and_then(|extra| extra.spill.as_ref());
            let counts = &bins[id].0[direction];
            for bin in 1..BINS {
                let count = counts.get(bin - 1).copied().map_or(0, u64::from);
                let count = spill.map_or(count, |spill| count + spill[direction][bin]);
                if count > 0 {
                    with_payload += count;
                    add(bin, count);
                }
            }
        } else {
            for at in self.steps().filter(|&at| self.step_direction(at) == direction) {
                with_payload += 1;
                let payload_bytes = self.sequence[at].size().unwrap_or_else(|| self.step(at).0);
                add(sizes::bin_of(payload_bytes), 1);
            }
        }
        let empty = self.halves[direction].packets.saturating_sub(with_payload);
        if empty > 0 {
            add(0, empty);
        }
    }

    fn sizes(&self, direction: usize, bins: &Slab<Bins>) -> Sizes {
        let half = &self.halves[direction];
        let mut counts = [0u32; BINS];
        self.each_bin(direction, bins, |bin, count| {
            counts[bin] = counts[bin].saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        });
        Sizes {
            bins: counts,
            min: half.size_min,
            max: half.size_max,
            sum: half.payload_bytes,
            sum_squares: half.size_squares(),
        }
    }

    fn direction(&self, direction: usize, bins: &Slab<Bins>) -> Direction {
        self.halves[direction].direction(
            self.sizes(direction, bins),
            self.entropy(direction),
            self.missed_bytes(direction),
        )
    }

    /// Time of the last packet of either direction.
    pub(super) fn end_ns(&self) -> i64 {
        let seen = self.halves.iter().filter(|half| half.packets > 0);
        seen.map(|half| half.last_ns).max().unwrap_or(self.start_ns)
    }

    fn size_step(&self, at: usize, originator: usize) -> SizeStep {
        let (payload_bytes, gap_ns) = self.step(at);
        SizeStep { fwd: self.step_direction(at) == originator, payload_bytes, gap_ns }
    }

    fn seen_at(&self) -> SeenAt {
        let first = self.began.direction();
        let other = (self.halves[1 - first].packets > 0).then(|| self.interfaces[1 - first]);
        SeenAt { first: self.interfaces[first], other }
    }

    /// Where the flow's first packet was seen.
    pub(crate) fn interface(&self) -> u16 {
        self.interfaces[self.began.direction()]
    }

    /// Where the first packet of a direction was seen.
    pub(crate) fn interface_of(&self, direction: usize) -> u16 {
        self.interfaces[direction]
    }

    /// Looks closer at a segment, for what may be missing before it.
    #[cold]
    fn look_for_missed(&mut self, direction: usize, odd: Oddity, flags: u16) {
        let peer = 1 - direction;
        let acked = self.halves[peer].knows_ack().then_some(self.highest_acks[peer]);
        let half = &mut self.halves[direction];
        let sent = Sent { bytes: half.payload_bytes, next: half.next_seq(), flags, acked };
        let known = self.extra.as_ref().is_some_and(|extra| extra.holes.is_some());
        let extra = &mut self.extra;
        missed::follow(&mut half.watch, odd, sent, known, || {
            &mut extra.get_or_insert_default().holes.get_or_insert_default()[direction]
        });
    }

    /// Bytes of a direction that the other side acknowledged and nobody here saw.
    pub(crate) fn missed_bytes(&self, direction: usize) -> Option<u64> {
        let (half, peer) = (&self.halves[direction], &self.halves[1 - direction]);
        if half.watch != Watch::Synchronised || half.has_fragments() || !peer.knows_ack() {
            return None;
        }
        let holes = self.extra.as_ref().and_then(|extra| extra.holes.as_ref());
        let acked = self.highest_acks[1 - direction];
        let within = holes.map_or(0, |holes| holes[direction].missed(acked, half.payload_bytes));
        Some(
            within + missed::at_end(half.next_seq(), acked, half.has_sent(FIN), half.payload_bytes),
        )
    }

    /// The finished record.
    pub(crate) fn record(
        &self,
        end_reason: EndReason,
        decided_ns: i64,
        bins: &Slab<Bins>,
    ) -> FlowRecord {
        let (originator, originator_guessed) = self.originator();
        let responder = 1 - originator;
        let mut vlans = self.vlans[..usize::from(self.vlan_count)].to_vec();
        vlans.sort_unstable();
        let macs_known = self.state == LiveState::AliveWithMacs;
        FlowRecord {
            key: self.key,
            forward_is_a_to_b: originator == 0,
            originator_guessed,
            continues: self.began.continues(),
            start_ns: self.start_ns,
            end_ns: self.end_ns(),
            decided_ns,
            end_reason,
            state: ConnState::of(self.key.proto, self.life, self.answered()),
            answered: self.answered(),
            fwd: self.direction(originator, bins),
            rev: self.direction(responder, bins),
            src_mac: macs_known.then_some(self.macs[originator]),
            dst_mac: macs_known.then_some(self.macs[responder]),
            vlans,
            tunnels: self.extra.as_ref().map_or_else(Vec::new, |extra| extra.tunnels.clone()),
            sequence: self.steps().map(|at| self.size_step(at, originator)).collect(),
            app: self.extra.as_ref().and_then(|extra| extra.app.clone()),
            seen_at: self.seen_at(),
            // Names come later: numbers are enough until then.
            origin: None,
            hosts: None,
        }
    }
}
