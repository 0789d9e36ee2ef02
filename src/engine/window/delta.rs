//! What a window is fed with.

use super::{Host, SIZE_BINS, Station};
use crate::packet::Mac;
use crate::packet::facts::PACKET_CLASSES;

/// What one flow did in one second in one direction: the unit that windows are
/// fed with. Splitting it in several never changes the result.
#[derive(Clone, Copy, Debug)]
pub struct Delta {
    pub src: Host,
    pub dst: Host,
    pub proto: u8,
    /// For ICMP the type of the packets.
    pub src_port: u16,
    pub dst_port: u16,
    /// Packets by [class](crate::packet::PacketClass).
    pub classes: [u32; PACKET_CLASSES],
    pub wire_bytes: u64,
    pub payload_bytes: u64,
    /// IP fragments among them (first and later ones).
    pub fragments: u32,
    /// Packets by payload size, in [`SIZE_BINS`] coarse bins.
    pub sizes: [u32; SIZE_BINS],
    /// The frames' source MAC.
    pub src_mac: Mac,
    pub src_mac_known: bool,
    pub dst_is_broadcast: bool,
    pub dst_is_multicast: bool,
    /// Innermost VLAN identifier, 0 without one.
    pub vlan: u16,
    /// VNI plus one, 0 without one; as in the flow key.
    pub vni: u32,
}

impl Delta {
    /// Nothing yet from `src` to `dst`; the caller fills in what it counted.
    pub fn new(src: Host, dst: Host, proto: u8, src_port: u16, dst_port: u16) -> Self {
        Self {
            src,
            dst,
            proto,
            src_port,
            dst_port,
            classes: [0; PACKET_CLASSES],
            wire_bytes: 0,
            payload_bytes: 0,
            fragments: 0,
            sizes: [0; SIZE_BINS],
            src_mac: [0; 6],
            src_mac_known: false,
            dst_is_broadcast: false,
            dst_is_multicast: false,
            vlan: 0,
            vni: 0,
        }
    }

    #[inline]
    pub fn packets(&self) -> u32 {
        let all: u64 = self.classes.iter().map(|&packets| u64::from(packets)).sum();
        u32::try_from(all).unwrap_or(u32::MAX)
    }

    /// Adds what the same flow did in the same second and direction.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (sum, &packets) in self.classes.iter_mut().zip(&other.classes) {
            *sum = sum.saturating_add(packets);
        }
        for (sum, &packets) in self.sizes.iter_mut().zip(&other.sizes) {
            *sum = sum.saturating_add(packets);
        }
        self.wire_bytes += other.wire_bytes;
        self.payload_bytes += other.payload_bytes;
        self.fragments = self.fragments.saturating_add(other.fragments);
    }

    pub(super) fn station(&self) -> Station {
        let mac = self.src_mac_known.then_some(self.src_mac);
        Station { mac, vlan: self.vlan, vni: self.vni }
    }
}
