//! What the tables of a window are fed with: packets alike in all but their
//! counts, whichever row they come in.

use super::log::{Counts, FlowSecond, Single};
use super::tally::Tally;
use super::{Delta, Host, size_bin};
use crate::memory::prefetch;
use crate::packet::PacketClass as C;
use crate::packet::facts::PACKET_CLASSES;

/// Packets from one host to another, of one flow.
pub(super) trait Counted {
    fn src(&self) -> Host;
    fn dst(&self) -> Host;
    fn proto(&self) -> u8;
    /// For ICMP the type.
    fn src_port(&self) -> u16;
    fn dst_port(&self) -> u16;
    fn wire_bytes(&self) -> u64;
    fn payload_bytes(&self) -> u64;

    /// None went this way, which is known once their counts are at hand.
    fn is_nothing(&self) -> bool {
        false
    }

    /// Packets of some classes.
    fn packets_of(&self, classes: Classes) -> u32;

    /// Adds everything but what ICMP is about.
    fn add_sums(&self, tally: &mut Tally);

    /// Packets whose ports mean something to a detector: UDP, and TCP without
    /// data. Nothing for protocols without ports and for pure data.
    #[inline]
    fn signal_packets(&self) -> Option<u32> {
        const SIGNAL: Classes = Classes::of(&[
            C::Udp,
            C::TcpSyn,
            C::TcpSynAck,
            C::TcpRst,
            C::TcpFin,
            C::TcpAck,
            C::TcpOdd,
            C::TcpUnknown,
        ]);
        let count = self.packets_of(SIGNAL);
        (count > 0).then_some(count)
    }

    /// Port or protocol that the packets probe, if any of them can be a probe.
    #[inline]
    fn probed_target(&self) -> Option<u64> {
        const PROTOCOL: u64 = 1 << 32;
        const PORT_PROBES: Classes =
            Classes::of(&[C::Udp, C::TcpSyn, C::TcpFin, C::TcpAck, C::TcpOdd]);
        const PROTOCOL_PROBES: Classes = Classes::of(&[C::Gre, C::OtherIp]);
        if self.packets_of(PORT_PROBES) > 0 {
            Some(u64::from(self.dst_port()))
        } else if self.packets_of(PROTOCOL_PROBES) > 0 {
            Some(PROTOCOL | u64::from(self.proto()))
        } else {
            None
        }
    }
}

/// A set of packet classes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Classes(u16);

impl Classes {
    pub(super) const UDP: Self = Self::of(&[C::Udp]);
    pub(super) const ICMP: Self = Self::of(&[C::Icmp]);
    pub(super) const ALL: Self = Self((1 << PACKET_CLASSES) - 1);

    const fn of(classes: &[C]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < classes.len() {
            bits |= 1 << classes[at] as u16;
            at += 1;
        }
        Self(bits)
    }

    #[inline]
    fn has(self, class: usize) -> bool {
        self.0 >> class & 1 == 1
    }

    #[inline]
    fn sum<N: Copy + Into<u32>>(self, counts: &[N; PACKET_CLASSES]) -> u32 {
        let mut sum = 0u32;
        for (class, &count) in counts.iter().enumerate() {
            sum = sum.saturating_add(if self.has(class) { count.into() } else { 0 });
        }
        sum
    }
}

#[inline]
fn add(sum: &mut u32, more: u32) {
    *sum = sum.saturating_add(more);
}

#[inline]
fn add_each<N: Copy + Into<u32>, const LEN: usize>(sums: &mut [u32; LEN], more: &[N; LEN]) {
    for (sum, &more) in sums.iter_mut().zip(more) {
        add(sum, more.into());
    }
}

#[inline]
fn add_bytes(tally: &mut Tally, wire: u64, payload: u64) {
    tally.wire_bytes = tally.wire_bytes.saturating_add(wire);
    tally.payload_bytes = tally.payload_bytes.saturating_add(payload);
}

impl Counted for Delta {
    fn src(&self) -> Host {
        self.src
    }

    fn dst(&self) -> Host {
        self.dst
    }

    fn proto(&self) -> u8 {
        self.proto
    }

    fn src_port(&self) -> u16 {
        self.src_port
    }

    fn dst_port(&self) -> u16 {
        self.dst_port
    }

    fn wire_bytes(&self) -> u64 {
        self.wire_bytes
    }

    fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    fn packets_of(&self, classes: Classes) -> u32 {
        classes.sum(&self.classes)
    }

    fn add_sums(&self, tally: &mut Tally) {
        add_each(&mut tally.classes, &self.classes);
        add_each(&mut tally.sizes, &self.sizes);
        add(&mut tally.fragments, self.fragments);
        add_bytes(tally, self.wire_bytes, self.payload_bytes);
    }
}

impl Counted for &Single {
    #[inline]
    fn src(&self) -> Host {
        Host { version: self.version(), address: self.src }
    }

    #[inline]
    fn dst(&self) -> Host {
        Host { version: self.version(), address: self.dst }
    }

    #[inline]
    fn proto(&self) -> u8 {
        self.proto
    }

    #[inline]
    fn src_port(&self) -> u16 {
        self.src_port
    }

    #[inline]
    fn dst_port(&self) -> u16 {
        self.dst_port
    }

    #[inline]
    fn wire_bytes(&self) -> u64 {
        self.wire_bytes.into()
    }

    #[inline]
    fn payload_bytes(&self) -> u64 {
        self.payload_bytes.into()
    }

    #[inline]
    fn packets_of(&self, classes: Classes) -> u32 {
        classes.has(self.class as usize).into()
    }

    #[inline]
    fn add_sums(&self, tally: &mut Tally) {
        add(&mut tally.classes[self.class as usize], 1);
        add(&mut tally.sizes[size_bin(self.payload_bytes)], 1);
        add(&mut tally.fragments, self.is_fragment().into());
        add_bytes(tally, self.wire_bytes.into(), self.payload_bytes.into());
    }
}

/// One direction of a flow's second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Direction<'a> {
    row: &'a FlowSecond,
    counts: &'a Counts,
    back: bool,
}

impl<'a> Direction<'a> {
    #[inline]
    pub(super) fn there(row: &'a FlowSecond) -> Self {
        Self { row, counts: &row.counts[0], back: false }
    }

    #[inline]
    pub(super) fn back(row: &'a FlowSecond) -> Self {
        Self { row, counts: &row.counts[1], back: true }
    }

    /// Asks for its memory.
    #[inline]
    pub(super) fn prefetch(&self) {
        prefetch(self.row);
        prefetch(self.counts);
    }
}

impl Counted for Direction<'_> {
    #[inline]
    fn is_nothing(&self) -> bool {
        self.counts.packets == 0
    }

    #[inline]
    fn src(&self) -> Host {
        if self.back { self.row.host_b() } else { self.row.host_a() }
    }

    #[inline]
    fn dst(&self) -> Host {
        if self.back { self.row.host_a() } else { self.row.host_b() }
    }

    #[inline]
    fn proto(&self) -> u8 {
        self.row.proto
    }

    #[inline]
    fn src_port(&self) -> u16 {
        if self.back { self.row.port_b } else { self.row.port_a }
    }

    #[inline]
    fn dst_port(&self) -> u16 {
        if self.back { self.row.port_a } else { self.row.port_b }
    }

    #[inline]
    fn wire_bytes(&self) -> u64 {
        self.counts.wire_bytes.into()
    }

    #[inline]
    fn payload_bytes(&self) -> u64 {
        self.counts.payload_bytes.into()
    }

    #[inline]
    fn packets_of(&self, classes: Classes) -> u32 {
        classes.sum(&self.counts.classes)
    }

    #[inline]
    fn add_sums(&self, tally: &mut Tally) {
        add_each(&mut tally.classes, &self.counts.classes);
        add_each(&mut tally.sizes, &self.counts.sizes);
        add(&mut tally.fragments, self.counts.fragments.into());
        add_bytes(tally, self.wire_bytes(), self.payload_bytes());
    }
}
