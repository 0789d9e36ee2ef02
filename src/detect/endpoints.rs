//! Addresses and names of services, as somebody lists them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A list of addresses and names. Every flow that ends is held against the addresses: they
/// are read once.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoints {
    listed: Vec<String>,
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
}

impl Endpoints {
    pub fn listed(&self) -> &[String] {
        &self.listed
    }

    /// Whether the address is one of them.
    pub fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.v4.contains(&v4),
            IpAddr::V6(v6) => self.v6.contains(&v6),
        }
    }
}

impl From<Vec<String>> for Endpoints {
    fn from(listed: Vec<String>) -> Self {
        let v4 = listed.iter().filter_map(|text| text.parse().ok()).collect();
        let v6 = listed.iter().filter_map(|text| text.parse().ok()).collect();
        Self { listed, v4, v6 }
    }
}
