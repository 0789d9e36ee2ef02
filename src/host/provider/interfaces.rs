//! Addresses and counters of interfaces, by rtnetlink.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::ProviderError;
use super::netlink::{Dump, Netlink, attribute};
use crate::host::event::{Address, Counters, What};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;

const LINK_HEADER_BYTES: usize = 16;
const ADDRESS_HEADER_BYTES: usize = 8;
const IFLA_IFNAME: u16 = 3;
const IFLA_STATS64: u16 = 23;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;

/// Between looks at addresses; a new container's is known within that.
const ADDRESS_INTERVAL: Duration = Duration::from_secs(2);

/// Addresses kept over all namespaces. A host may have thousands, and with them
/// whoever may add them.
const MAX_ADDRESSES: usize = 1 << 16;

/// Interfaces of one namespace.
const MAX_INTERFACES: usize = 1 << 14;

/// What stays open in a namespace.
pub(super) struct InterfaceTables(Netlink);

impl InterfaceTables {
    /// In the namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        Netlink::open(NETLINK_ROUTE).map(Self)
    }

    /// Every interface.
    fn links(&mut self) -> io::Result<(Dump, Vec<Counters>)> {
        let mut found = Vec::new();
        let dump = self.0.dump(RTM_GETLINK, &[0; LINK_HEADER_BYTES], |kind, payload| {
            if kind == RTM_NEWLINK && found.len() < MAX_INTERFACES {
                found.extend(parse_link(payload));
            }
        })?;
        Ok((dump, found))
    }

    /// Every address.
    fn addresses(&mut self) -> io::Result<(Dump, Vec<Found>)> {
        let mut found = Vec::new();
        let dump = self.0.dump(RTM_GETADDR, &[0; ADDRESS_HEADER_BYTES], |kind, payload| {
            if kind == RTM_NEWADDR && found.len() < MAX_ADDRESSES {
                found.extend(parse_address(payload));
            }
        })?;
        Ok((dump, found))
    }
}

/// An address of an interface.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    index: u32,
    address: IpAddr,
    /// That of all hosts of its network.
    broadcast: Option<IpAddr>,
}

/// What has been told of interfaces.
pub(super) struct Interfaces {
    addresses: AHashMap<u64, AHashMap<(u32, IpAddr), String>>,
    counter_interval: Duration,
    next_addresses: Instant,
    next_counters: Instant,
}

impl Interfaces {
    pub(super) fn new(counter_interval: Duration) -> Self {
        let now = Instant::now();
        Self {
            addresses: AHashMap::new(),
            counter_interval,
            next_addresses: now,
            next_counters: now,
        }
    }

    /// Looks where it is time. `soon` where a namespace is new.
    pub(super) fn turn<'a>(
        &mut self,
        namespaces: impl Iterator<Item = (u64, &'a mut InterfaceTables)>,
        soon: bool,
        out: &mut Vec<What>,
    ) {
        let now = Instant::now();
        let (addresses, counters) = (soon || now >= self.next_addresses, now >= self.next_counters);
        if !addresses && !counters {
            return;
        }
        if addresses {
            self.next_addresses = now + ADDRESS_INTERVAL;
        }
        if counters {
            self.next_counters = now + self.counter_interval;
        }
        for (netns, tables) in namespaces {
            let Ok((_, links)) = tables.links() else { continue };
            if addresses && let Ok((Dump::Whole, found)) = tables.addresses() {
                self.compare(netns, &links, found, out);
            }
            if counters {
                let told = links.into_iter().map(|link| Counters { netns: Some(netns), ..link });
                out.extend(told.map(What::Counters));
            }
        }
    }

    /// All addresses of a namespace that is gone are.
    pub(super) fn close(&mut self, netns: u64, out: &mut Vec<What>) {
        for ((index, address), name) in self.addresses.remove(&netns).unwrap_or_default() {
            out.push(What::AddressDown(told(netns, index, address, name)));
        }
    }

    fn compare(&mut self, netns: u64, links: &[Counters], found: Vec<Found>, out: &mut Vec<What>) {
        let others: usize = self
            .addresses
            .iter()
            .filter(|(of, _)| **of != netns)
            .map(|(_, addresses)| addresses.len())
            .sum();
        let known = self.addresses.entry(netns).or_default();
        let found: AHashMap<(u32, IpAddr), Option<IpAddr>> =
            found.into_iter().map(|it| ((it.index, it.address), it.broadcast)).collect();
        known.retain(|&(index, address), name| {
            let there = found.contains_key(&(index, address));
            if !there {
                out.push(What::AddressDown(told(netns, index, address, std::mem::take(name))));
            }
            there
        });
        for ((index, address), broadcast) in found {
            if known.contains_key(&(index, address)) || others + known.len() >= MAX_ADDRESSES {
                continue;
            }
            let name = links
                .iter()
                .find(|link| link.interface_index == index)
                .map(|link| link.interface.clone())
                .unwrap_or_default();
            let up = told(netns, index, address, name.clone());
            out.push(What::AddressUp(Address { broadcast, ..up }));
            known.insert((index, address), name);
        }
    }
}

fn told(netns: u64, interface_index: u32, address: IpAddr, interface: String) -> Address {
    Address { address, broadcast: None, interface, interface_index, netns: Some(netns) }
}

fn parse_link(payload: &[u8]) -> Option<Counters> {
    let (header, attributes) = payload.split_at_checked(LINK_HEADER_BYTES)?;
    let statistics = attribute(attributes, IFLA_STATS64)?;
    let count = |at: usize| {
        let bytes = statistics.get(at * 8..)?.first_chunk()?;
        Some(u64::from_ne_bytes(*bytes))
    };
    let name = attribute(attributes, IFLA_IFNAME)?.split(|&byte| byte == 0).next()?;
    Some(Counters {
        interface: String::from_utf8_lossy(name).into_owned(),
        interface_index: index(&header[4..])?,
        netns: None,
        received_packets: count(0)?,
        sent_packets: count(1)?,
        received_bytes: count(2)?,
        sent_bytes: count(3)?,
        received_drops: count(6)?,
        sent_drops: count(7)?,
    })
}

fn parse_address(payload: &[u8]) -> Option<Found> {
    let (header, attributes) = payload.split_at_checked(ADDRESS_HEADER_BYTES)?;
    let of = |kind| attribute(attributes, kind).and_then(address);
    // Of a tunnel's end the other attribute is the peer's.
    let (local, of_network) = (of(IFA_LOCAL), of(IFA_ADDRESS));
    let broadcast = of(IFA_BROADCAST)
        .filter(|address| !address.is_unspecified())
        .or_else(|| last_of(of_network?, *header.get(1)?));
    Some(Found { index: index(&header[4..])?, address: local.or(of_network)?, broadcast })
}

/// The last address of a network of IPv4, by which the kernel reaches all hosts whatever it
/// was told; networks of two addresses and of one have none (RFC 3021).
fn last_of(address: IpAddr, prefix_bits: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) if prefix_bits < 31 && !v4.is_loopback() => {
            let hosts = u32::MAX >> prefix_bits;
            Some(IpAddr::from(std::net::Ipv4Addr::from(v4.to_bits() | hosts)))
        }
        _ => None,
    }
}

/// 4 or 16 bytes.
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn index(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|&bytes| u32::from_ne_bytes(bytes))
}

/// Any process may ask for addresses and counters of its own namespace.
pub fn available() -> Result<(), ProviderError> {
    InterfaceTables::open().map(drop).map_err(|error| ProviderError::Unavailable {
        what: "addresses and counters of interfaces (rtnetlink)",
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_an_address_of_all_its_hosts() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (address, bits, expected) in [
            ("192.0.2.10", 24, Some("192.0.2.255")),
            ("10.1.2.3", 22, Some("10.1.3.255")),
            ("10.1.2.3", 31, None),
            ("10.1.2.3", 32, None),
            ("127.0.0.1", 8, None),
            ("2001:db8::1", 64, None),
        ] {
            assert_eq!(last_of(ip(address), bits), expected.map(ip), "{address}/{bits}");
        }
        // As the kernel tells of `ip address add 192.0.2.10/24 brd 192.0.2.127`.
        let attribute = |kind: u16, value: [u8; 4]| {
            [&8_u16.to_ne_bytes()[..], &kind.to_ne_bytes(), &value].concat()
        };
        let mut told = vec![2, 24, 0, 0];
        told.extend(3_u32.to_ne_bytes());
        told.extend([attribute(1, [192, 0, 2, 10]), attribute(2, [192, 0, 2, 10])].concat());
        let found = parse_address(&told).unwrap();
        assert_eq!(found.broadcast, Some(ip("192.0.2.255")));
        told.extend(attribute(4, [192, 0, 2, 127]));
        let found = parse_address(&told).unwrap();
        let expected =
            Found { index: 3, address: ip("192.0.2.10"), broadcast: Some(ip("192.0.2.127")) };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_loopback_interface_has_its_address_and_counters() {
        let mut tables = InterfaceTables::open().unwrap();
        let mut out = Vec::new();
        let mut interfaces = Interfaces::new(Duration::from_secs(10));
        interfaces.turn([(7, &mut tables)].into_iter(), false, &mut out);
        let up = out.iter().find_map(|what| match what {
            What::AddressUp(up) if up.address == IpAddr::from([127, 0, 0, 1]) => Some(up),
            _ => None,
        });
        assert_eq!(up.map(|up| (up.interface.as_str(), up.netns)), Some(("lo", Some(7))));
        // Another source for the same figures; they only grow.
        let read = |name: &str| -> u64 {
            let path = format!("/sys/class/net/lo/statistics/{name}");
            std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
        };
        let (bytes, packets) = (read("rx_bytes"), read("tx_packets"));
        let lo = out.iter().find_map(|what| match what {
            What::Counters(counters) if counters.interface == "lo" => Some(counters),
            _ => None,
        });
        let lo = lo.unwrap();
        assert!(lo.received_bytes <= bytes && lo.sent_packets <= packets);

        out.clear();
        interfaces.close(7, &mut out);
        assert!(out.iter().any(|what| matches!(what, What::AddressDown(_))));
    }
}
