//! Whose an address is where no socket says it: the host that has it, and the instance
//! that a host is.
//!
//! A log of processes seldom has addresses, and one of flows no host. What joins them is
//! the map, which knows hosts' addresses, and the inventory: by them, or by the host's
//! name. What several claim is nobody's.

use std::net::IpAddr;
use std::sync::Arc;

use super::inventory::Instance;
use super::join::{HOLD_NS, Joiner};
use super::map::{HostMap, MapSource, Presence};
use super::resolve::Question;
use crate::telemetry::request::Request;

/// Addresses of a host that are remembered; past it the oldest makes room. Hosts have a
/// few: those of their containers are not theirs.
const MAX_OWN: usize = 64;

/// As what the network and the cloud know a host.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    pub(super) instance: Option<Arc<Instance>>,
    /// Its own ones, at the time.
    pub(super) addresses: Vec<IpAddr>,
}

impl HostMap {
    /// A host had the address: whether as its own says [`Self::host_with`].
    pub(super) fn note_own(&self, source: u16, address: IpAddr) {
        if address.is_loopback() {
            return;
        }
        let mut own = self.own.entry(source).or_default();
        if own.contains(&address) {
            return;
        }
        if own.len() >= MAX_OWN {
            own.remove(0);
        }
        own.push(address);
    }

    /// A source of the one host that had the address as its own at some time between.
    /// Nothing where a container had it, or two hosts did.
    pub(super) fn host_with(
        &self,
        address: IpAddr,
        (start_ns, end_ns): (i64, i64),
        known_ns: i64,
    ) -> Option<u16> {
        let spans = self.addresses.get(&address.to_canonical())?;
        let sources = self.sources.lock();
        let was_there = |span: &&Presence| {
            span.from_ns <= end_ns && span.until_ns >= start_ns && span.learned_ns <= known_ns
        };
        let there: Vec<&Presence> = spans.iter().filter(was_there).collect();
        // Containers may share the host's addresses.
        let is_own = there.iter().any(|span| !span.of_container)
            && !there.iter().any(|span| is_in_other_namespace(span, &sources));
        one_host(&there, &sources, start_ns).filter(|_| is_own)
    }

    /// A source of the one host that had the address at a time, or had it ever, be it a
    /// container's.
    pub(super) fn source_at(&self, address: IpAddr, ns: i64) -> Option<u16> {
        let spans = self.addresses.get(&address.to_canonical())?;
        let sources = self.sources.lock();
        let was_there = |span: &&Presence| (span.from_ns..=span.until_ns).contains(&ns);
        let mut there: Vec<&Presence> = spans.iter().filter(was_there).collect();
        if there.is_empty() {
            there = spans.iter().collect();
        }
        one_host(&there, &sources, ns)
    }

    /// Sources that are about a host of that name.
    fn sources_of(&self, host: &str) -> Vec<u16> {
        let sources = self.sources.lock();
        let of_host = sources.iter().enumerate().filter(|(_, of)| of.start.host == host);
        of_host.filter_map(|(source, _)| u16::try_from(source).ok()).collect()
    }
}

/// A source of the host that these are all of. Who stopped telling before may have lost an
/// address since: where others have it as well, it has not.
fn one_host(there: &[&Presence], sources: &[MapSource], start_ns: i64) -> Option<u16> {
    let of = |span: &Presence| sources.get(usize::from(span.source));
    let one = |spans: &[&Presence]| {
        let (first, others) = spans.split_first()?;
        let host = &of(first)?.start.host;
        let is_its = |span: &&Presence| of(span).is_some_and(|of| of.start.host == *host);
        (!host.is_empty() && others.iter().all(is_its)).then_some(first.source)
    };
    let goes_on =
        |span: &&Presence| of(span).is_some_and(|of| !of.ended || of.until_ns >= start_ns);
    one(there).or_else(|| one(&there.iter().copied().filter(goes_on).collect::<Vec<_>>()))
}

/// Not in the namespace of who told it: a container's.
fn is_in_other_namespace(span: &Presence, sources: &[MapSource]) -> bool {
    let heard_in = sources.get(usize::from(span.source)).and_then(|of| of.start.netns);
    heard_in.is_some() && span.netns.is_some() && span.netns != heard_in
}

impl Joiner {
    /// The host of an address that is up there, where no socket is known for the flow.
    pub(super) fn host_without_socket(&mut self, map: &HostMap, asked: &Question) -> Arc<str> {
        let span = (asked.start_ns, asked.end_ns);
        let source = map.host_with(asked.local, span, asked.known_ns);
        source.map(|source| self.host_of(map, source).0).unwrap_or_default()
    }

    /// What a host is beside its name.
    pub(super) fn machine(&mut self, map: &HostMap, source: u16, at_ns: i64) -> Machine {
        let host = self.host_of(map, source).0;
        let addresses = self.own_addresses(map, source, at_ns);
        let instance = self.instance_of_host(&host, &addresses);
        Machine { instance, addresses }
    }

    /// Addresses that nobody but this host had at a time.
    fn own_addresses(&mut self, map: &HostMap, source: u16, at_ns: i64) -> Vec<IpAddr> {
        let host = self.host_of(map, source).0;
        let known_ns = at_ns.saturating_add(HOLD_NS);
        let own = map.own.get(&source).map(|own| own.clone()).unwrap_or_default();
        let is_its = |address: &IpAddr| {
            let one = map.host_with(*address, (at_ns, at_ns), known_ns);
            one.is_some_and(|one| one == source || self.host_of(map, one).0 == host)
        };
        own.into_iter().filter(is_its).collect()
    }

    /// The instance that has the addresses, else the one that is called like the host. A
    /// gateway's addresses are of those behind it as well.
    fn instance_of_host(&self, host: &str, addresses: &[IpAddr]) -> Option<Arc<Instance>> {
        let inventory = self.inventory.as_ref()?.get();
        let with = addresses.iter().filter_map(|address| {
            inventory.by_address(*address).filter(|one| one.addresses.contains(address))
        });
        let mut with: Vec<Arc<Instance>> = with.collect();
        with.dedup();
        let named = || inventory.by_host(host);
        let instance = match with.as_slice() {
            [] => named(),
            [one] => Some(Arc::clone(one)),
            // Addresses contradict each other: only one that is called so is it.
            several => named().filter(|named| several.contains(named)),
        };
        instance.filter(|instance| !instance.shared_egress)
    }

    /// Whether the target that a log names is known to be elsewhere than at the host that
    /// the log is said to be of. A server passes on to what may be its own container; a
    /// cloud's balancer names the host itself.
    pub(super) fn is_elsewhere(
        &mut self,
        host: &str,
        request: &Request,
        by_balancer: bool,
    ) -> bool {
        let target = request.target.as_ref().and_then(|target| target.address);
        let Some(address) = target.map(|address| address.to_canonical()) else { return false };
        if address.is_loopback() || address.is_unspecified() {
            return false;
        }
        let inventory = self.inventory.as_ref().map(|inventory| inventory.get());
        let at_target = inventory.as_ref().and_then(|inventory| inventory.by_address(address));
        let at_target = at_target.filter(|one| one.addresses.contains(&address));
        let named = inventory.and_then(|inventory| inventory.by_host(host));
        let mut of_host = self.addresses_of(host, request.time_ns);
        of_host.extend(named.iter().flat_map(|named| named.addresses.iter().copied()));
        if of_host.contains(&address) {
            return false;
        }
        let knows_better = of_host.iter().any(|own| own.is_ipv4() == address.is_ipv4());
        match (at_target, named) {
            (Some(one), Some(named)) => one.id != named.id,
            (at_target, _) => (at_target.is_some() || by_balancer) && knows_better,
        }
    }

    /// Addresses that the map knows of a host by its name.
    fn addresses_of(&mut self, host: &str, at_ns: i64) -> Vec<IpAddr> {
        let Some(map) = self.map.clone() else { return Vec::new() };
        let sources = map.sources_of(host);
        sources.into_iter().flat_map(|source| self.own_addresses(&map, source, at_ns)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::event::{Address, HostEvent, MapStart, What};
    use crate::host::join::HostKnowledge;
    use crate::host::map::MapLimits;
    use crate::host::table::Watched;
    use crate::telemetry::request::Target;

    const S: i64 = 1_000_000_000;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Hosts with their addresses, each with its namespace, from then to then.
    fn map(hosts: &[(&str, &str, u64, [i64; 2])]) -> Arc<HostMap> {
        let map = Arc::new(HostMap::new(MapLimits::default()));
        for &(host, address, netns, [from_s, until_s]) in hosts {
            let mut writer = map.writer();
            let start = MapStart {
                version: 1,
                host: host.to_owned(),
                netns: Some(1),
                ..MapStart::default()
            };
            let up = Address {
                address: ip(address),
                broadcast: None,
                interface: String::new(),
                interface_index: 0,
                netns: Some(netns),
            };
            for what in [What::Start(start), What::AddressUp(up)] {
                writer.apply(&HostEvent { time_ns: from_s * S, what });
            }
            writer.ended(until_s * S);
        }
        map
    }

    fn joiner(map: Arc<HostMap>, inventory: &str) -> Joiner {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = format!("id,address,name,shared_egress\n{inventory}");
        std::fs::write(file.path(), text).expect("an inventory");
        let inventory = Watched::open(file.path()).expect("a good one").0;
        let inventory = Some(Arc::new(inventory));
        Joiner::new(HostKnowledge { map: Some(map), inventory, ..HostKnowledge::default() })
    }

    #[test]
    fn an_address_is_of_the_one_host_that_has_it_as_its_own() {
        let asked = |hosts: &[(&str, &str, u64, [i64; 2])], at_s: i64| {
            let map = map(hosts);
            let source = map.host_with(ip("10.0.0.5"), (at_s * S, at_s * S), i64::MAX);
            source.map(|source| map.start_of(source).host)
        };
        let a = ("a", "10.0.0.5", 1, [0, 100]);
        assert_eq!(asked(&[a], 50).as_deref(), Some("a"));
        // After its map ended nothing says that it went to another.
        assert_eq!(asked(&[a], 200).as_deref(), Some("a"));
        assert_eq!(asked(&[a, ("a", "10.0.0.5", 1, [0, 100])], 50).as_deref(), Some("a"));
        assert_eq!(asked(&[a, ("b", "10.0.0.5", 1, [0, 100])], 50), None, "two have it");
        let moved = [a, ("b", "10.0.0.5", 1, [150, 300])];
        assert_eq!(asked(&moved, 50).as_deref(), Some("a"));
        assert_eq!(asked(&moved, 200).as_deref(), Some("b"), "it moved");
        assert_eq!(asked(&[("a", "10.0.0.5", 2, [0, 100])], 50), None, "a container's");
        assert_eq!(asked(&[("", "10.0.0.5", 1, [0, 100])], 50), None, "of no name");
    }

    #[test]
    fn a_host_is_the_instance_with_its_addresses_or_else_with_its_name() {
        let instance = |inventory: &str| {
            let map = map(&[("web", "10.0.0.5", 1, [0, 100])]);
            let machine = joiner(Arc::clone(&map), inventory).machine(&map, 0, 50 * S);
            assert_eq!(machine.addresses, [ip("10.0.0.5")]);
            machine.instance.map(|instance| instance.id.clone())
        };
        assert_eq!(instance("i-1,10.0.0.5,other,\ni-2,10.0.0.6,web,\n").as_deref(), Some("i-1"));
        assert_eq!(instance("i-2,10.0.0.6,web,\n").as_deref(), Some("i-2"));
        assert_eq!(instance("web,10.0.0.6,x,\ni-2,10.0.0.7,web,\n").as_deref(), Some("web"));
        assert_eq!(instance("i-2,10.0.0.6,web,\ni-3,10.0.0.7,web,\n"), None, "two are called so");
        assert_eq!(instance("net,10.0.0.0/8,,\n"), None, "a network is no host");
        assert_eq!(instance("nat,10.0.0.5,web,yes\n"), None, "others leave by it");
    }

    #[test]
    fn a_log_is_not_its_hosts_where_the_target_is_another() {
        let elsewhere = |target: &str, by_balancer: bool, inventory: &str| {
            let map = map(&[("web", "10.0.0.5", 1, [0, 100])]);
            let target = Target { address: Some(ip(target)), port: None, name: None };
            let request = Request { time_ns: 50 * S, target: Some(target), ..Request::default() };
            joiner(map, inventory).is_elsewhere("web", &request, by_balancer)
        };
        assert!(!elsewhere("10.0.0.5", true, ""));
        assert!(elsewhere("10.0.0.6", true, ""), "a balancer names hosts");
        assert!(!elsewhere("10.0.0.6", false, ""), "behind a server may be its container");
        assert!(elsewhere("10.0.0.6", false, "i-2,10.0.0.6,app,\n"), "or another instance");
        assert!(!elsewhere("10.0.0.6", true, "i-1,10.0.0.6;10.0.0.5,web,\n"), "its second one");
        assert!(!elsewhere("127.0.0.1", true, ""));
        assert!(!elsewhere("2001:db8::6", true, ""), "of the others nothing is known");
    }
}
