//! A decoded packet packed for the way from the worker that read it to the
//! shard that owns its flow: facts, time and hash in two cache lines, so
//! that a batch of thousands stays in the second-level cache.

use super::facts::PacketClass;
use super::key::{FlowKey, IpVersion, Mac};
use crate::input::{Frame, frame_flag};

/// No tunnel: [`PacketRow::tunnels`] points at nothing.
pub const NO_TUNNELS: u16 = u16::MAX;

/// One IP packet on its way to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketRow {
    pub key: FlowKey,
    pub hash: u64,
    pub time_ns: i64,
    /// Latest time stamp of the stream up to this packet: the clock that
    /// time-outs of late packets are measured with.
    pub clock_ns: i64,
    pub wire_bytes: u32,
    /// Length of the innermost IP packet by its header (header included).
    pub ip_bytes: u32,
    /// Payload length by the headers (after the transport header; ICMP after 8
    /// bytes, SCTP after 12, other protocols after the IP headers, later
    /// fragments whole).
    pub payload_bytes: u32,
    /// Captured payload within the block's bytes.
    pub payload_at: u32,
    pub payload_captured: u32,
    /// TCP header fields; flags are the low nine bits of RFC 9293 with NS; 0
    /// when not TCP or cut off.
    pub tcp_seq: u32,
    /// Means something where the flags have ACK.
    pub tcp_ack: u32,
    /// Position in its block.
    pub index: u16,
    /// Index into the batch's tunnels, or [`NO_TUNNELS`].
    pub tunnels: u16,
    pub tcp_flags: u16,
    /// Of the outermost Ethernet header.
    pub vlans: Vlans,
    pub interface: u16,
    /// Where flags have [`row_flag::HAS_MAC`].
    pub macs: Macs,
    /// TTL or hop limit of the innermost IP header.
    pub ttl: u8,
    pub class: PacketClass,
    /// See [`row_flag`].
    pub flags: u16,
}

/// Bits of [`PacketRow::flags`].
pub mod row_flag {
    /// From `key.a` to `key.b`.
    pub const FORWARD: u16 = 1;
    pub const HAS_MAC: u16 = 2;
    pub const FRAGMENT: u16 = 4;
    pub const LATER_FRAGMENT: u16 = 8;
    /// Its window is closed: counted there as late.
    pub const LATE: u16 = 16;
    /// Feeds windows but no flow (a fragment whose flow is not known yet).
    pub const WINDOW_ONLY: u16 = 32;
    /// Feeds its flow but no window (that fragment, once its flow is known).
    pub const FLOW_ONLY: u16 = 64;
    /// May be to a broadcast or multicast address: worth a closer look.
    pub const GROUP: u16 = 128;
    /// Its payload may be a message that detectors read.
    pub const SPEAKS: u16 = 256;
    /// Its payload may tell names. Known only where these are all that is read of flows; of
    /// DNS over TCP wherever detectors read.
    pub const TELLS: u16 = 512;
}

/// Both MAC addresses as they stand in an Ethernet frame: the destination first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Macs([u8; 12]);

impl Macs {
    pub(crate) const NONE: Self = Self([0; 12]);

    pub(crate) fn new(src: Mac, dst: Mac) -> Self {
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&dst);
        macs[6..].copy_from_slice(&src);
        Self(macs)
    }

    /// Of a frame's first bytes: a copy as a whole.
    #[inline(always)]
    pub(super) fn of_frame(bytes: &[u8; 12]) -> Self {
        Self(*bytes)
    }

    #[inline]
    pub fn src(self) -> Mac {
        let [.., a, b, c, d, e, f] = self.0;
        [a, b, c, d, e, f]
    }

    #[inline]
    pub fn dst(self) -> Mac {
        let [a, b, c, d, e, f, ..] = self.0;
        [a, b, c, d, e, f]
    }
}

/// Up to two VLAN identifiers (IEEE 802.1Q: 12 bits each) in four bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Vlans(u32);

impl Vlans {
    pub const NONE: Self = Self(0);
    const ID_BITS: u32 = 12;
    const ID: u32 = (1 << Self::ID_BITS) - 1;
    /// Where their number is.
    const COUNT: u32 = 2 * Self::ID_BITS;

    /// One tag.
    #[inline]
    pub(crate) fn one(id: u16) -> Self {
        Self(u32::from(id) & Self::ID | 1 << Self::COUNT)
    }

    /// Adds the next tag inwards; a third is not kept.
    pub(crate) fn push(&mut self, id: u16) {
        let count = self.0 >> Self::COUNT;
        if count < 2 {
            self.0 |= (u32::from(id) & Self::ID) << (count * Self::ID_BITS);
            self.0 += 1 << Self::COUNT;
        }
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Outer first.
    pub fn ids(self) -> impl Iterator<Item = u16> {
        let id = move |at| (self.0 >> (at * Self::ID_BITS) & Self::ID) as u16;
        (0..self.0 >> Self::COUNT).map(id)
    }

    pub fn outermost(self) -> Option<u16> {
        self.ids().next()
    }

    #[inline]
    pub fn innermost(self) -> Option<u16> {
        self.ids().last()
    }
}

impl std::fmt::Debug for Vlans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

/// Multicast (RFC 5771), or 240.0.0.0/4 with the broadcast, by the first octet.
#[inline(always)]
pub(super) fn is_group_v4(first: u8) -> bool {
    first >= 0xe0
}

/// Multicast (RFC 4291, 2.7), by the first octet.
#[inline(always)]
pub(super) fn is_group_v6(first: u8) -> bool {
    first == 0xff
}

/// IEEE 802: the group bit of the first octet of the destination, where a frame begins.
#[inline(always)]
pub(super) fn is_group_mac(frame: &[u8]) -> bool {
    frame.first().is_some_and(|first| first & 1 == 1)
}

impl PacketRow {
    /// A packet of which nothing is known yet.
    pub(crate) const NOTHING: Self = Self {
        key: FlowKey::ZERO,
        hash: 0,
        time_ns: 0,
        clock_ns: 0,
        index: 0,
        wire_bytes: 0,
        ip_bytes: 0,
        payload_bytes: 0,
        payload_at: 0,
        payload_captured: 0,
        tcp_seq: 0,
        tcp_ack: 0,
        tunnels: NO_TUNNELS,
        tcp_flags: 0,
        vlans: Vlans::NONE,
        interface: 0,
        macs: Macs::NONE,
        ttl: 0,
        class: PacketClass::OtherIp,
        flags: 0,
    };

    /// Adds what the frame's place in the stream says; so far the payload's
    /// place was from the frame's start.
    #[inline(always)]
    pub(crate) fn put_in_stream(&mut self, frame: &Frame, hash: u64, index: u16, clock_ns: i64) {
        self.hash = hash;
        self.time_ns = frame.time_ns;
        self.clock_ns = clock_ns;
        self.index = index;
        self.wire_bytes = frame.wire_bytes;
        self.payload_at = frame.offset.saturating_add(self.payload_at);
        self.interface = frame.interface;
        if frame.flags & frame_flag::LATE != 0 {
            self.flags |= row_flag::LATE;
        }
    }

    /// Sets [`row_flag::GROUP`] where it is due.
    #[inline(always)]
    pub(crate) fn mark_group(&mut self) {
        let dst = if self.is(row_flag::FORWARD) { &self.key.b } else { &self.key.a };
        let group = match self.key.version {
            IpVersion::V4 => is_group_v4(dst[12]),
            IpVersion::V6 => is_group_v6(dst[0]),
        };
        if group || is_group_mac(&self.macs.dst()) {
            self.flags |= row_flag::GROUP;
        }
    }

    pub fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// 0 from `key.a` to `key.b`, else 1.
    pub fn direction(&self) -> usize {
        usize::from(!self.is(row_flag::FORWARD))
    }

    /// Identifier of the innermost VLAN tag, 0 without one.
    pub fn innermost_vlan(&self) -> u16 {
        self.vlans.innermost().unwrap_or(0)
    }

    /// Second of event time that its window covers.
    pub fn second(&self) -> i64 {
        self.time_ns.div_euclid(1_000_000_000)
    }
}

const _: () = assert!(size_of::<PacketRow>() == 128, "two cache lines");
