//! The identity of a flow: who talks to whom over what.
//!
//! A [`FlowKey`] is the same for both directions. It holds what
//! makes a flow's identity and nothing that may differ by direction.

use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP address of either version in 16 bytes; IPv4 in the IPv4-mapped form
/// of RFC 4291 section 2.5.5.2, told apart from a real mapped address by
/// [`FlowKey::version`].
pub type Address = [u8; 16];

/// An IEEE 802 MAC address.
pub type Mac = [u8; 6];

/// IP version of the addresses in a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum IpVersion {
    V4 = 4,
    V6 = 6,
}

/// Bidirectional key of a flow. `a` and `b` are ordered (address, then port)
/// except for one-way ICMP types, where `a` is always the sender, as Community
/// ID does it.
///
/// Laid out so that comparing and hashing take it in whole words.
#[derive(Clone, Copy, Debug, Eq)]
#[repr(C)]
pub struct FlowKey {
    /// TCP, UDP, UDP-Lite, SCTP ports; for ICMP and ICMPv6 Community ID's type
    /// and counterpart type (or code); 0 for everything else and for later
    /// fragments whose first one was not seen.
    pub port_a: u16,
    pub port_b: u16,
    /// Identifier of an ICMP echo (or timestamp, mask) exchange, else 0. Part
    /// of the key, not of the Community ID.
    pub echo_id: u16,
    /// VLAN identifier when `--key-vlan` asks for it, else 0.
    pub vlan: u16,
    /// VNI of the innermost VXLAN or GENEVE tunnel plus one, 0 without one.
    pub vni: u32,
    /// IP protocol number (IANA) of the innermost packet.
    pub proto: u8,
    pub version: IpVersion,
    pub a: Address,
    pub b: Address,
}

impl Ord for FlowKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = |key: &Self| {
            let Self { version, proto, port_a, port_b, echo_id, vlan, vni, a, b } = *key;
            (version, proto, port_a, port_b, echo_id, vlan, vni, a, b)
        };
        order(self).cmp(&order(other))
    }
}

impl PartialOrd for FlowKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for FlowKey {
    /// In whole words: every packet compares its key once.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let word = u128::from_ne_bytes;
        let addresses = (word(self.a) ^ word(other.a)) | (word(self.b) ^ word(other.b));
        addresses == 0 && self.words() == other.words()
    }
}

impl std::hash::Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.words(), self.a, self.b).hash(state);
    }
}

impl FlowKey {
    /// Everything but the addresses.
    #[inline]
    fn words(&self) -> u128 {
        let ids = u64::from(self.port_a)
            | u64::from(self.port_b) << 16
            | u64::from(self.echo_id) << 32
            | u64::from(self.vlan) << 48;
        let kind =
            u64::from(self.vni) | u64::from(self.proto) << 32 | u64::from(self.version as u8) << 40;
        u128::from(kind) << 64 | u128::from(ids)
    }

    pub const ZERO: Self = Self {
        version: IpVersion::V4,
        proto: 0,
        port_a: 0,
        port_b: 0,
        echo_id: 0,
        vlan: 0,
        vni: 0,
        a: [0; 16],
        b: [0; 16],
    };

    /// Keyed hash of the flow's identity; equal for both directions, because
    /// the key is. Table bits and shard bits are taken from different ends of
    /// it.
    #[inline]
    pub fn hash(&self, state: &ahash::RandomState) -> u64 {
        let [a, b] = [self.a, self.b].map(u128::from_le_bytes);
        self.hash_with(a, b, state)
    }

    /// [`Self::hash`] where the addresses are at hand as little-endian numbers: who has
    /// just made the key need not read it back.
    #[inline(always)]
    pub(super) fn hash_with(&self, a: u128, b: u128, state: &ahash::RandomState) -> u64 {
        let mut hasher = state.build_hasher();
        hasher.write_u128(self.words());
        match self.version {
            IpVersion::V4 => {
                let octets = |address: u128| (address >> 96) as u64;
                hasher.write_u64(octets(a) | octets(b) << 32);
            }
            IpVersion::V6 => {
                hasher.write_u128(a);
                hasher.write_u128(b);
            }
        }
        hasher.finish()
    }

    pub fn ip_a(&self) -> IpAddr {
        to_ip(self.version, &self.a)
    }

    pub fn ip_b(&self) -> IpAddr {
        to_ip(self.version, &self.b)
    }
}

/// IPv4-mapped form of an IPv4 address.
#[inline]
pub fn mapped(octets: [u8; 4]) -> Address {
    mapped_number(u32::from_be_bytes(octets)).to_be_bytes()
}

/// The same of the address as a big-endian number.
#[inline]
pub(super) fn mapped_number(address: u32) -> u128 {
    u128::from(address) | 0xffff << 32
}

pub fn to_ip(version: IpVersion, address: &Address) -> IpAddr {
    match version {
        IpVersion::V4 => {
            IpAddr::V4(Ipv4Addr::new(address[12], address[13], address[14], address[15]))
        }
        IpVersion::V6 => IpAddr::V6(Ipv6Addr::from(*address)),
    }
}

pub fn from_ip(ip: IpAddr) -> (IpVersion, Address) {
    match ip {
        IpAddr::V4(v4) => (IpVersion::V4, mapped(v4.octets())),
        IpAddr::V6(v6) => (IpVersion::V6, v6.octets()),
    }
}
