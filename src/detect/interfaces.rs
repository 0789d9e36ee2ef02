//! Addresses that clouds' logs call their interfaces'.
//!
//! AWS names the interface's own address. Azure and GCP have those of the packets alone,
//! and one at the interface of a firewall, a router or another appliance that forwards is
//! that of any client. So of theirs it is taken what an interface can have and what is not
//! many: private addresses of IPv4 (the public ones are translated before the interface),
//! and few of IPv6. Who shows more of them forwards: nothing of it is believed.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ahash::{HashMap, HashSet};

use crate::engine::window::Host;

/// Addresses that are remembered, and as many observers: a large account's, 8 MB.
const MOST: usize = 1 << 16;
/// Addresses of IPv6 of one observer: interfaces have one or two.
const MOST_V6: usize = 16;
/// And of IPv4: as many as Azure gives an interface.
const MOST_V4: usize = 256;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Interfaces {
    /// That a source names.
    named: HashSet<Host>,
    /// Of packets, with how many observers have them.
    seen: HashMap<Host, u32>,
    observers: HashMap<Arc<str>, Observer>,
    /// Addresses of all observers.
    held: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Observer {
    /// An end of what it counts.
    End(Vec<Host>),
    /// Between the ends.
    Forwards,
}

impl Interfaces {
    pub(super) fn contain(&self, host: &Host) -> bool {
        (!self.named.is_empty() && self.named.contains(host))
            || (!self.seen.is_empty() && self.seen.contains_key(host))
    }

    pub(super) fn add(&mut self, host: Host) {
        if self.named.len() + self.held < MOST {
            self.named.insert(host);
        }
    }

    /// Packets at an observer's end had this address. One without a name may be any.
    pub(super) fn add_seen(&mut self, host: Host, observer: &Arc<str>) {
        if observer.is_empty() || !is_an_interfaces(host.ip()) {
            return;
        }
        if !self.observers.contains_key(observer) {
            if self.observers.len() >= MOST {
                return;
            }
            self.observers.insert(Arc::clone(observer), Observer::End(Vec::new()));
        }
        let Some(known) = self.observers.get_mut(observer) else { return };
        let Observer::End(addresses) = known else { return };
        if addresses.contains(&host) {
            return;
        }
        let is_v4 = host.ip().is_ipv4();
        let of_version = addresses.iter().filter(|known| known.ip().is_ipv4() == is_v4).count();
        let most = if is_v4 { MOST_V4 } else { MOST_V6 };
        if of_version >= most {
            self.held -= addresses.len();
            for host in std::mem::take(addresses) {
                if let Some(count) = self.seen.get_mut(&host) {
                    *count -= 1;
                    if *count == 0 {
                        self.seen.remove(&host);
                    }
                }
            }
            *known = Observer::Forwards;
        } else if self.named.len() + self.held < MOST {
            addresses.push(host);
            self.held += 1;
            *self.seen.entry(host).or_default() += 1;
        }
    }
}

/// Whether a cloud gives it to an interface.
fn is_an_interfaces(address: IpAddr) -> bool {
    /// RFC 6598; virtual networks may have it.
    const SHARED: [u8; 2] = [100, 64];
    let is_shared = |v4: Ipv4Addr| {
        let [first, second, ..] = v4.octets();
        [first, second & 0xc0] == SHARED
    };
    match address {
        IpAddr::V4(v4) => v4.is_private() || is_shared(v4),
        IpAddr::V6(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        Host::from(text.parse::<IpAddr>().expect("an address"))
    }

    #[test]
    fn of_ipv4_packets_only_what_an_interface_can_have_is_taken() {
        let mut known = Interfaces::default();
        let nic = "000D3A000001".into();
        for address in ["198.51.100.7", "100.128.0.1", "10.1.2.3", "100.127.0.1", "2600:1f18::5"] {
            known.add_seen(host(address), &nic);
        }
        for ours in ["10.1.2.3", "100.127.0.1", "2600:1f18::5"] {
            assert!(known.contain(&host(ours)), "{ours}");
        }
        for foreign in ["198.51.100.7", "100.128.0.1"] {
            assert!(!known.contain(&host(foreign)), "{foreign}");
        }
        // Named, it is what the source says.
        known.add(host("198.51.100.7"));
        assert!(known.contain(&host("198.51.100.7")));
        known.add_seen(host("2600:1f18::6"), &"".into());
        assert!(!known.contain(&host("2600:1f18::6")), "nobody knows whose it is");
    }

    #[test]
    fn who_shows_many_addresses_forwards_and_nothing_of_it_is_kept() {
        let mut known = Interfaces::default();
        let (appliance, nic) = ("appliance".into(), "nic".into());
        let client = |n: usize| host(&format!("2001:db8::{:x}", n + 1));
        known.add_seen(client(0), &nic);
        for n in 0..MOST_V6 {
            known.add_seen(client(n), &appliance);
            known.add_seen(client(n), &appliance);
        }
        assert!((0..MOST_V6).all(|n| known.contain(&client(n))));
        for n in MOST_V6..1_000 {
            known.add_seen(client(n), &appliance);
        }
        known.add_seen(client(1), &appliance);
        assert!(known.contain(&client(0)), "an interface's own as well");
        assert!((1..1_000).all(|n| !known.contain(&client(n))));
        // It took no place of others.
        known.add_seen(client(3), &nic);
        assert!(known.contain(&client(3)));
        assert_eq!(known.held, 2);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut known = Interfaces::default();
        for n in 0..MOST + 10 {
            let observer = format!("nic-{n}").into();
            known.add_seen(host(&format!("2001:db8:1::{:x}:{:x}", n >> 8, n & 0xff)), &observer);
        }
        assert_eq!((known.held, known.seen.len()), (MOST, MOST));
        known.add(host("2600:1f18::5"));
        assert!(!known.contain(&host("2600:1f18::5")));
        assert!(known.observers.len() <= MOST);
    }
}
