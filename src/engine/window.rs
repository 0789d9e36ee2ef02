//! One second of event time: bounded summaries that merge exactly.
//!
//! Every worker fills a [`Slice`] for each second it sees; slices of one
//! second merge in any order to the same [`Slice`], whatever the number of
//! workers and however traffic was spread over them. That holds because every
//! part is a function of the *set* of packets: sums, minima, HyperLogLog
//! registers, bottom-k samples, and tables whose step to a coarser form
//! depends on the number of distinct keys alone.
//!
//! A slice never holds more than its caps. Detectors read it through the
//! accessors; they never see a packet.

use ahash::HashMap;

use crate::packet::facts::PACKET_CLASSES;
use crate::packet::{Address, IpVersion, Mac, PacketClass};

/// Address of either version as a window's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host {
    pub version: IpVersion,
    pub address: Address,
}

/// What one flow did in one second in one direction: the unit that windows are
/// fed with. Splitting it in several never changes the result.
#[derive(Clone, Copy, Debug)]
pub struct Delta {
    pub src: Host,
    pub dst: Host,
    pub proto: u8,
    pub src_port: u16,
    pub dst_port: u16,
    /// Packets by [`PacketClass`].
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
}

/// Coarse payload-size bins of windows: 0, 1 to 63, then by octave to 32,767,
/// over: enough to name a flood's size and cheap to carry for each host.
pub const SIZE_BINS: usize = 12;

/// Coarse bin of a payload size.
#[inline]
pub fn size_bin(bytes: u32) -> usize {
    match bytes {
        0 => 0,
        1..64 => 1,
        64..32_768 => (31 - bytes.leading_zeros()) as usize - 4,
        _ => SIZE_BINS - 1,
    }
}

/// Sums that every table keeps for its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub classes: [u64; PACKET_CLASSES],
    pub wire_bytes: u64,
    pub payload_bytes: u64,
    pub fragments: u64,
    pub sizes: [u64; SIZE_BINS],
}

impl Tally {
    pub fn packets(&self) -> u64 {
        self.classes.iter().sum()
    }

    pub fn class(&self, class: PacketClass) -> u64 {
        self.classes[class as usize]
    }
}

/// Placeholder of the table map until the real one is here.
pub type Table<K, V> = HashMap<K, V>;

/// Stand-in.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    pub second: i64,
}
impl Slice {
    pub fn second(&self) -> i64 {
        self.second
    }
    pub fn new(second: i64) -> Self {
        Self { second }
    }
    pub fn add(&mut self, _delta: &Delta) {}
    pub fn merge(&mut self, _other: Self) {}
}

/// Frames without IP of one EtherType between two MACs.
#[derive(Debug, Clone, Copy)]
pub struct LinkDelta {
    pub ether_type: u16,
    pub src_mac: Mac,
    pub dst_mac: Mac,
    pub macs_known: bool,
    pub packets: u32,
    pub wire_bytes: u64,
}
impl Slice {
    pub fn add_link(&mut self, _delta: &LinkDelta) {}
}
