//! Requests to and responses from UDP services that reflect and amplify.
//!
//! Ports of US-CERT TA14-017A and vendors' reports since. A port alone proves
//! nothing: the reflection detector measures who asked and how much came back.

use super::Host;
use super::counted::Counted;
use super::hash::Seed;
use super::hll::Hll;
use super::table::Merge;

/// UDP services known to amplify, by port.
pub const AMPLIFIERS: [(u16, &str); 31] = [
    (17, "qotd"),
    (19, "chargen"),
    (53, "dns"),
    (69, "tftp"),
    (111, "portmap"),
    (123, "ntp"),
    (137, "netbios_ns"),
    (161, "snmp"),
    (389, "cldap"),
    (427, "slp"),
    (500, "isakmp"),
    (520, "ripv1"),
    (1434, "mssql"),
    (1900, "ssdp"),
    (3283, "ard"),
    (3389, "rdp"),
    (3702, "ws_discovery"),
    (4500, "ipsec_nat_t"),
    (5093, "sentinel"),
    (5353, "mdns"),
    (5683, "coap"),
    (6881, "bittorrent"),
    (10_001, "ubiquiti"),
    (10_074, "tp240_phonehome"),
    (11_211, "memcached"),
    (20_800, "quake_engine"),
    (27_015, "steam"),
    (27_960, "quake3"),
    (30_718, "lantronix"),
    (32_414, "plex"),
    (37_810, "dvr"),
];

/// Name of an amplifying service.
pub fn amplifier_name(port: u16) -> Option<&'static str> {
    AMPLIFIERS.binary_search_by_key(&port, |&(port, _)| port).ok().map(|index| AMPLIFIERS[index].1)
}

/// One bit a port: the test runs on every UDP delta.
static IS_AMPLIFIER: [u64; 1024] = {
    let mut bits = [0u64; 1024];
    let mut index = 0;
    while index < AMPLIFIERS.len() {
        let port = AMPLIFIERS[index].0 as usize;
        bits[port / 64] |= 1 << (port % 64);
        index += 1;
    }
    bits
};

#[inline]
pub(super) fn is_amplifier(port: u16) -> bool {
    IS_AMPLIFIER[usize::from(port) / 64] >> (port % 64) & 1 == 1
}

/// Which side of the service the host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceSide {
    /// Gets the responses: a client, or the victim of a reflection.
    Client,
    /// Gives them: a server, or the reflector.
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    pub host: Host,
    pub port: u16,
    pub side: ServiceSide,
}

impl ServiceKey {
    #[inline]
    pub(super) fn hash(&self, seed: Seed, host_hash: u64) -> u64 {
        seed.mix(host_hash, u64::from(self.port) << 1 | self.side as u64)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceStats {
    pub requests: u32,
    pub responses: u32,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// Whole frames of the responses.
    pub response_wire_bytes: u64,
    /// Distinct hosts at the other end that sent responses (client side) or
    /// got them (server side).
    pub peers: Hll,
}

impl ServiceStats {
    #[inline]
    pub(super) fn add_response(&mut self, packets: &impl Counted, udp: u32, peer_hash: u64) {
        self.responses = self.responses.saturating_add(udp);
        self.response_bytes = self.response_bytes.saturating_add(packets.payload_bytes());
        self.response_wire_bytes = self.response_wire_bytes.saturating_add(packets.wire_bytes());
        self.peers.insert(peer_hash);
    }

    #[inline]
    pub(super) fn add_request(&mut self, packets: &impl Counted, udp: u32) {
        self.requests = self.requests.saturating_add(udp);
        self.request_bytes = self.request_bytes.saturating_add(packets.payload_bytes());
    }
}

impl Merge for ServiceStats {
    fn merge(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.responses = self.responses.saturating_add(other.responses);
        self.request_bytes = self.request_bytes.saturating_add(other.request_bytes);
        self.response_bytes = self.response_bytes.saturating_add(other.response_bytes);
        self.response_wire_bytes =
            self.response_wire_bytes.saturating_add(other.response_wire_bytes);
        self.peers.merge(&other.peers);
    }
}
