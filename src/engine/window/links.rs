//! Keys below IP: who sends which EtherType, and what stands behind a MAC.

use serde::Serialize;

use super::Host;
use super::hash::Seed;
use super::hll::Hll;
use super::sample::BottomK;
use super::table::{Coarsen, Merge};
use crate::packet::Mac;

/// Whom a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cast {
    Unicast,
    Multicast,
    Broadcast,
}

/// What one non-IP frame (or several alike) did on the link.
#[derive(Clone, Copy, Debug)]
pub struct LinkDelta {
    pub ether_type: u16,
    pub src_mac: Mac,
    pub src_mac_known: bool,
    pub dst_mac: Mac,
    pub dst_mac_known: bool,
    pub vlan: u16,
    pub vni: u32,
    pub frames: u32,
    pub wire_bytes: u64,
    /// Target address of an ARP request (RFC 826), for sweeps.
    pub arp_target: Option<[u8; 4]>,
}

impl LinkDelta {
    pub(super) fn cast(&self) -> Cast {
        match self.dst_mac {
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] if self.dst_mac_known => Cast::Broadcast,
            // IEEE 802: the group bit of the first octet.
            [first, ..] if self.dst_mac_known && first & 1 == 1 => Cast::Multicast,
            _ => Cast::Unicast,
        }
    }
}

/// A MAC with the virtual network it was seen in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Station {
    /// Nothing when the link layer has none, or after coarsening.
    pub mac: Option<Mac>,
    /// VLAN identifier, 0 without one.
    pub vlan: u16,
    /// VNI plus one, 0 without one.
    pub vni: u32,
}

impl Station {
    fn hash(&self, seed: Seed) -> u64 {
        let mac = self
            .mac
            .map_or(u64::MAX, |[a, b, c, d, e, f]| u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
        seed.mix(mac, u64::from(self.vni) << 16 | u64::from(self.vlan))
    }
}

/// Frames by sender, type and kind of receiver. Levels: station and type, type
/// alone, all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkKey {
    pub station: Station,
    /// 0x0800 and 0x86dd for broadcast and multicast IP packets.
    pub ether_type: u16,
    pub cast: Cast,
    /// UDP inside: media over multicast has other normal rates than the rest.
    pub udp: bool,
}

const NO_STATION: Station = Station { mac: None, vlan: 0, vni: 0 };

impl Coarsen for LinkKey {
    const LEVELS: u8 = 3;

    fn coarsen(self, level: u8) -> Self {
        match level {
            0 => self,
            1 => Self { station: NO_STATION, ..self },
            _ => Self { station: NO_STATION, ether_type: 0, cast: Cast::Unicast, udp: false },
        }
    }

    fn hash(&self, seed: Seed) -> u64 {
        let kind = u64::from(self.ether_type) << 8 | (self.cast as u64) << 1 | u64::from(self.udp);
        seed.mix(self.station.hash(seed), kind)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    pub frames: u64,
    pub wire_bytes: u64,
    /// Distinct targets of ARP requests.
    pub targets: Hll,
}

impl Merge for LinkStats {
    fn merge(&mut self, other: &Self) {
        self.frames = self.frames.saturating_add(other.frames);
        self.wire_bytes = self.wire_bytes.saturating_add(other.wire_bytes);
        self.targets.merge(&other.targets);
    }
}

/// Addresses that stand behind a station. Levels: station, all.
impl Coarsen for Station {
    const LEVELS: u8 = 2;

    fn coarsen(self, level: u8) -> Self {
        if level == 0 { self } else { NO_STATION }
    }

    fn hash(&self, seed: Seed) -> u64 {
        Self::hash(self, seed)
    }
}

/// Sources sampled behind a station: their share outside the home networks
/// tells a spoofing host.
pub const SOURCE_SAMPLE: usize = 32;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StationStats {
    pub packets: u64,
    pub wire_bytes: u64,
    pub sources: Hll,
    pub sample: BottomK<Host, SOURCE_SAMPLE>,
}

impl Merge for StationStats {
    fn merge(&mut self, other: &Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.wire_bytes = self.wire_bytes.saturating_add(other.wire_bytes);
        self.sources.merge(&other.sources);
        self.sample.merge(&other.sample);
    }
}
