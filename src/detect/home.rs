//! Networks that are ours.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::interfaces::Interfaces;
use crate::engine::window::Host;
use crate::packet::IpVersion;
use crate::packet::key::from_ip;

/// Networks that are ours; decide what is inbound and what is outbound. So are the
/// addresses that an inventory names, and those of a cloud's interfaces, as its logs have them:
/// addresses of IPv6 are global there, and nobody lists them as networks.
#[derive(Clone, Debug, PartialEq)]
pub struct HomeNets {
    nets: Vec<IpNet>,
    /// Of the nets.
    own: Ranges,
    inventory: Ranges,
    interfaces: Interfaces,
}

impl HomeNets {
    pub fn new(nets: Vec<IpNet>) -> Self {
        let own = Ranges::of(nets.iter().copied());
        Self { own, nets, inventory: Ranges::default(), interfaces: Interfaces::default() }
    }

    pub fn contains(&self, host: &Host) -> bool {
        self.is_listed(host) || self.interfaces.contain(host)
    }

    fn is_listed(&self, host: &Host) -> bool {
        self.own.contain(host) || self.inventory.contain(host)
    }

    /// What an inventory names, instead of what one named before. A prefix of everything
    /// says nothing of whose it is.
    pub fn set_inventory(&mut self, nets: impl IntoIterator<Item = IpNet>) {
        self.inventory = Ranges::of(nets.into_iter().filter(|net| net.prefix_len() > 0));
    }

    /// A source says that an interface of ours has the address.
    pub fn add_interface(&mut self, host: Host) {
        if is_somebody(&host) && !self.is_listed(&host) {
            self.interfaces.add(host);
        }
    }

    /// Packets had the address at the end where an interface counted them: it is ours unless
    /// the interface forwards for others.
    pub fn add_seen_at(&mut self, host: Host, interface: &Arc<str>) {
        if is_somebody(&host) && !self.is_listed(&host) {
            self.interfaces.add_seen(host, interface);
        }
    }

    /// The same nets with what else became known of others.
    pub fn take_over(&mut self, before: &mut Self) {
        self.inventory = std::mem::take(&mut before.inventory);
        self.interfaces = std::mem::take(&mut before.interfaces);
    }

    pub fn contains_ip(&self, address: IpAddr) -> bool {
        let (version, address) = from_ip(address);
        self.contains(&Host { version, address })
    }

    pub fn nets(&self) -> &[IpNet] {
        &self.nets
    }
}

fn is_somebody(host: &Host) -> bool {
    !host.is_group() && !host.ip().is_unspecified()
}

/// First and last addresses of what nets cover, by version, in order and apart: asked for
/// every peer of every victim.
#[derive(Clone, Debug, Default, PartialEq)]
struct Ranges {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Ranges {
    fn of(nets: impl Iterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push((net.network().into(), net.broadcast().into())),
                IpNet::V6(net) => v6.push((net.network().into(), net.broadcast().into())),
            }
        }
        Self { v4: joined(v4), v6: joined(v6) }
    }

    #[inline]
    fn contain(&self, host: &Host) -> bool {
        let number = u128::from_be_bytes(host.address);
        match host.version {
            IpVersion::V4 => within(&self.v4, number as u32),
            IpVersion::V6 => within(&self.v6, number),
        }
    }
}

/// One of the ranges has the number.
#[inline]
fn within<T: Ord>(ranges: &[(T, T)], number: T) -> bool {
    let at = ranges.partition_point(|(_, last)| *last < number);
    ranges.get(at).is_some_and(|(first, _)| *first <= number)
}

/// Ranges in order; those that overlap become one.
fn joined<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let overlap = next.0 <= kept.1;
        if overlap {
            kept.1 = kept.1.max(next.1);
        }
        overlap
    });
    ranges
}

impl Default for HomeNets {
    /// Private ranges: RFC 1918, RFC 6598 (carrier NAT), RFC 4193, link-local
    /// and loopback.
    fn default() -> Self {
        let v4 = |octets: [u8; 4], bits| IpNet::from(Ipv4Net::new_assert(octets.into(), bits));
        let v6 = |first: u16, last: u16, bits| {
            IpNet::from(Ipv6Net::new_assert([first, 0, 0, 0, 0, 0, 0, last].into(), bits))
        };
        Self::new(vec![
            v4([10, 0, 0, 0], 8),
            v4([172, 16, 0, 0], 12),
            v4([192, 168, 0, 0], 16),
            v4([100, 64, 0, 0], 10),
            v4([169, 254, 0, 0], 16),
            v4([127, 0, 0, 0], 8),
            v6(0xfc00, 0, 7),
            v6(0xfe80, 0, 10),
            v6(0, 1, 128),
        ])
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        /// Few bits of address, so that nets meet and contain each other.
        fn any_ip()(v6: bool, high: u8, low: u8) -> IpAddr {
            if v6 {
                Ipv6Addr::new(u16::from(high) << 8, 0, 0, 0, 0, 0, 0, u16::from(low)).into()
            } else {
                Ipv4Addr::new(high, 0, 0, low).into()
            }
        }
    }

    prop_compose! {
        fn any_net()(ip in any_ip(), bits in 0u8..=128) -> IpNet {
            let bits = if ip.is_ipv4() { bits % 33 } else { bits };
            IpNet::new(ip, bits).expect("bits fit the version")
        }
    }

    #[test]
    fn what_an_inventory_or_an_interface_names_is_ours_under_other_settings_too() {
        let host = |text: &str| Host::from(text.parse::<IpAddr>().expect("an address"));
        let net = |text: &str| text.parse::<IpNet>().expect("a net");
        let mut home = HomeNets::default();
        home.set_inventory([net("2600:1f18::5/128"), net("0.0.0.0/0")]);
        for address in ["2600:1f18::6", "ff02::1", "0.0.0.0"] {
            home.add_interface(host(address));
        }
        let mut other = HomeNets::new(vec![net("192.0.2.0/24")]);
        other.take_over(&mut home);
        for ours in ["192.0.2.1", "2600:1f18::5", "2600:1f18::6"] {
            assert!(other.contains(&host(ours)), "{ours}");
        }
        for foreign in ["10.0.0.1", "198.51.100.1", "2600:1f18::7", "ff02::1", "0.0.0.0"] {
            assert!(!other.contains(&host(foreign)), "{foreign}");
        }
        other.set_inventory([]);
        assert!(!other.contains(&host("2600:1f18::5")), "it is in the inventory no more");
    }

    proptest! {
        #[test]
        fn a_host_is_at_home_when_some_net_has_it(
            nets in prop::collection::vec(any_net(), 0..12),
            ips in prop::collection::vec(any_ip(), 1..60),
        ) {
            let home = HomeNets::new(nets.clone());
            for ip in ips {
                let some_net_has_it = nets.iter().any(|net| net.contains(&ip));
                prop_assert_eq!(home.contains(&Host::from(ip)), some_net_has_it, "{}", ip);
            }
        }
    }
}
