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
    #[inline]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_versions_are_read_and_names_stay() {
        let listed = ["169.254.169.254", "fd00:ec2::254", "metadata.google.internal", "010.0.0.1"];
        let endpoints = Endpoints::from(listed.map(str::to_owned).to_vec());
        let has = |text: &str| endpoints.has(text.parse().expect("an address"));
        assert!(has("169.254.169.254") && has("fd00:ec2:0::254"));
        assert!(!has("169.254.169.253") && !has("::ffff:169.254.169.254") && !has("10.0.0.1"));
        assert_eq!(endpoints.listed(), listed);
    }
}
