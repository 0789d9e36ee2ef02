//! Sums and small summaries that the tables keep for their keys.
//!
//! Packet counts are `u32` and saturate: a saturating sum is the same in any
//! order, and no second holds four thousand million packets of one key.

use super::counted::{Classes, Counted};
use super::hash::Seed;
use super::hll::Hll;
use super::sample::BottomK;
use super::table::Merge;
use super::{Host, SIZE_BINS};
use crate::packet::PacketClass;
use crate::packet::facts::PACKET_CLASSES;

/// Sums that every table keeps for its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    pub classes: [u32; PACKET_CLASSES],
    /// Packets by payload size, see [`super::size_bin`].
    pub sizes: [u32; SIZE_BINS],
    pub wire_bytes: u64,
    pub payload_bytes: u64,
    /// IP fragments among the packets.
    pub fragments: u32,
    /// ICMP and ICMPv6 requests (echo, timestamp, mask) among the packets.
    pub icmp_requests: u32,
    /// Their replies.
    pub icmp_replies: u32,
    /// ICMP and ICMPv6 error messages among the packets.
    pub icmp_errors: u32,
}

impl Default for Tally {
    /// By hand, since that of an array is a call of its own.
    #[inline]
    fn default() -> Self {
        Self {
            classes: [0; PACKET_CLASSES],
            sizes: [0; SIZE_BINS],
            wire_bytes: 0,
            payload_bytes: 0,
            fragments: 0,
            icmp_requests: 0,
            icmp_replies: 0,
            icmp_errors: 0,
        }
    }
}

impl Tally {
    pub fn packets(&self) -> u64 {
        self.classes.iter().map(|&n| u64::from(n)).sum()
    }

    pub fn class(&self, class: PacketClass) -> u64 {
        u64::from(self.classes[class as usize])
    }

    /// Packets of all TCP classes.
    pub fn tcp(&self) -> u64 {
        self.classes[PacketClass::TcpSyn as usize..].iter().map(|&n| u64::from(n)).sum()
    }

    #[inline]
    pub(super) fn add(&mut self, packets: &impl Counted) {
        packets.add_sums(self);
        let icmp = packets.packets_of(Classes::ICMP);
        if icmp > 0 {
            self.add_icmp(packets.proto(), packets.src_port(), icmp);
        }
    }

    /// Counts ICMP packets of one type by what they are.
    pub(super) fn add_icmp(&mut self, proto: u8, icmp_type: u16, packets: u32) {
        let count = match icmp_role(proto, icmp_type) {
            IcmpRole::Request => &mut self.icmp_requests,
            IcmpRole::Reply => &mut self.icmp_replies,
            IcmpRole::Error => &mut self.icmp_errors,
            IcmpRole::Other => return,
        };
        *count = count.saturating_add(packets);
    }
}

impl Merge for Tally {
    fn merge(&mut self, other: &Self) {
        add_each(&mut self.classes, &other.classes);
        add_each(&mut self.sizes, &other.sizes);
        self.wire_bytes = self.wire_bytes.saturating_add(other.wire_bytes);
        self.payload_bytes = self.payload_bytes.saturating_add(other.payload_bytes);
        self.fragments = self.fragments.saturating_add(other.fragments);
        self.icmp_requests = self.icmp_requests.saturating_add(other.icmp_requests);
        self.icmp_replies = self.icmp_replies.saturating_add(other.icmp_replies);
        self.icmp_errors = self.icmp_errors.saturating_add(other.icmp_errors);
    }
}

#[inline]
pub(super) fn add_each<const N: usize>(mine: &mut [u32; N], theirs: &[u32; N]) {
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine = mine.saturating_add(*theirs);
    }
}

enum IcmpRole {
    Request,
    Reply,
    Error,
    Other,
}

/// The sender's "port" of an ICMP delta is the type (Community ID's pairing).
fn icmp_role(proto: u8, icmp_type: u16) -> IcmpRole {
    const ICMP: u8 = 1;
    const ICMPV6: u8 = 58;
    match (proto, icmp_type) {
        // Echo, timestamp, information and mask: RFC 792, RFC 950.
        (ICMP, 8 | 13 | 15 | 17) | (ICMPV6, 128) => IcmpRole::Request,
        (ICMP, 0 | 14 | 16 | 18) => IcmpRole::Reply,
        // Unreachable, source quench, redirect, time exceeded, bad parameter.
        (ICMP, 3 | 4 | 5 | 11 | 12) => IcmpRole::Error,
        (ICMPV6, 129) => IcmpRole::Reply,
        // RFC 4443: error messages are the types below 128.
        (ICMPV6, 0..=127) => IcmpRole::Error,
        _ => IcmpRole::Other,
    }
}

/// An echo, timestamp or mask request.
#[inline]
pub(crate) fn is_icmp_request(proto: u8, icmp_type: u16) -> bool {
    matches!(icmp_role(proto, icmp_type), IcmpRole::Request)
}

/// What answers a request, or says that something did not arrive: the kernel does that
/// by itself.
#[inline]
pub(crate) fn is_icmp_answer(proto: u8, icmp_type: u16) -> bool {
    matches!(icmp_role(proto, icmp_type), IcmpRole::Reply | IcmpRole::Error)
}

/// One counter a bit of a port number: names the port that most packets share.
///
/// A sum in any order, 64 bytes, and no list of ports: the majority port is
/// read off bit by bit, and what the bits disagree on bounds its share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortBits {
    packets: u32,
    ones: [u32; 16],
}

/// All ones for each bit that is set in four bits of a port.
const MASKS: [[u32; 4]; 16] = {
    let mut masks = [[0; 4]; 16];
    let mut at = 0;
    while at < 64 {
        masks[at / 4][at % 4] = if (at / 4) >> (at % 4) & 1 == 1 { u32::MAX } else { 0 };
        at += 1;
    }
    masks
};

impl PortBits {
    #[inline]
    pub(super) fn add(&mut self, port: u16, packets: u32) {
        let all = self.packets.checked_add(packets);
        self.packets = all.unwrap_or(u32::MAX);
        for (at, ones) in self.ones.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let masks = &MASKS[usize::from(port >> (at * 4) & 15)];
            for (ones, mask) in ones.iter_mut().zip(masks) {
                // No bit has more than all packets. A mask and a plain sum:
                // every x86-64 does that for four at a time.
                *ones = match all {
                    Some(_) => ones.wrapping_add(packets & mask),
                    None => ones.saturating_add(packets & mask),
                };
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.packets = self.packets.saturating_add(other.packets);
        add_each(&mut self.ones, &other.ones);
    }

    /// Packets that were counted.
    pub fn packets(&self) -> u64 {
        u64::from(self.packets)
    }

    /// The port that more than half of the packets share, with a lower bound of
    /// its share; nothing when the bits don't prove one.
    pub fn majority(&self) -> Option<(u16, f64)> {
        let total = f64::from(self.packets);
        let (mut port, mut strays) = (0u16, 0.0);
        for (bit, &ones) in self.ones.iter().enumerate() {
            let ones = f64::from(ones);
            if ones * 2.0 > total {
                port |= 1 << bit;
                strays += total - ones;
            } else {
                strays += ones;
            }
        }
        let share = 1.0 - strays / total.max(1.0);
        (self.packets > 0 && share > 0.5).then_some((port, share))
    }
}

/// What a host (or prefix) received or sent in one second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostStats {
    pub tally: Tally,
    /// Distinct addresses at the other end.
    pub peers: Hll,
    /// Distinct destination ports of the packets.
    pub ports: Hll,
    /// Ports of UDP and of TCP packets that carry no data.
    pub src_port: PortBits,
    pub dst_port: PortBits,
}

impl HostStats {
    #[inline]
    pub(super) fn add(&mut self, packets: &impl Counted, peer_hash: u64, port_hash: u64) {
        self.tally.add(packets);
        self.peers.insert(peer_hash);
        if let Some(count) = packets.signal_packets() {
            self.ports.insert(port_hash);
            self.src_port.add(packets.src_port(), count);
            self.dst_port.add(packets.dst_port(), count);
        }
    }
}

impl Merge for HostStats {
    fn merge(&mut self, other: &Self) {
        self.tally.merge(&other.tally);
        self.peers.merge(&other.peers);
        self.ports.merge(&other.ports);
        self.src_port.merge(&other.src_port);
        self.dst_port.merge(&other.dst_port);
    }
}

/// A host's statistics and a sample of its peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostEntry {
    pub stats: HostStats,
    pub sample: BottomK<Host, PEER_SAMPLE>,
}

/// Peers sampled for each host: enough to show, and to judge by majority.
pub const PEER_SAMPLE: usize = 8;

impl Merge for HostEntry {
    fn merge(&mut self, other: &Self) {
        self.stats.merge(&other.stats);
        self.sample.merge(&other.sample);
    }
}

/// What one address sent to another in one second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairStats {
    pub tally: Tally,
    /// Distinct destination ports of probing packets: UDP, and TCP without
    /// data, SYN-ACK and RST; of other protocols the protocol number.
    pub ports: Hll,
    /// Distinct (source port, destination port): flows.
    pub flows: Hll,
}

impl PairStats {
    #[inline]
    pub(super) fn add(&mut self, packets: &impl Counted, seed: Seed) {
        self.tally.add(packets);
        let ports = u64::from(packets.src_port()) << 16 | u64::from(packets.dst_port());
        self.flows.insert(seed.mix(ports, 2));
        if let Some(target) = packets.probed_target() {
            self.ports.insert(seed.mix(target, 3));
        }
    }
}

impl Merge for PairStats {
    fn merge(&mut self, other: &Self) {
        self.tally.merge(&other.tally);
        self.ports.merge(&other.ports);
        self.flows.merge(&other.flows);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_bit_of_a_port_has_the_packets_whose_port_has_it(
            ports in prop::collection::vec(
                (any::<u16>(), prop_oneof![Just(1u32), 0u32..100, 1u32 << 30..u32::MAX]),
                0..20,
            ),
        ) {
            let mut bits = PortBits::default();
            for &(port, packets) in &ports {
                bits.add(port, packets);
            }
            let sum = |wanted: &dyn Fn(u16) -> bool| {
                let packets = ports.iter().filter(|&&(port, _)| wanted(port));
                let sum = packets.map(|&(_, packets)| u64::from(packets)).sum::<u64>();
                u32::try_from(sum).unwrap_or(u32::MAX)
            };
            prop_assert_eq!(bits.packets, sum(&|_| true));
            for (bit, &ones) in bits.ones.iter().enumerate() {
                prop_assert_eq!(ones, sum(&|port| port >> bit & 1 == 1), "bit {}", bit);
            }
        }
    }
}
