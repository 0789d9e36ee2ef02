//! Flows to addresses that are of several hosts at once.

use super::*;
use crate::detect::analytic::testing::outline;
use crate::host::join::{HostKnowledge, Joiner};

fn to(address: &str) -> Question {
    Question { local: ip(address), local_port: 5353, protocol: 17, sent: false, ..from_here() }
}

fn with_broadcast(broadcast: &str) -> HostEvent {
    let What::AddressUp(up) = address(HERE, 1) else { unreachable!("it is an address") };
    at(S, What::AddressUp(Address { broadcast: Some(ip(broadcast)), ..up }))
}

#[test]
fn who_gets_packets_to_a_group_or_to_all_hosts_is_nobody_and_why_is_said() {
    let map = map([with_broadcast("192.0.2.255")]);
    for (address, expected) in [
        ("224.0.0.251", Err(Reason::Multicast)),
        ("ff02::1:ff00:1", Err(Reason::Multicast)),
        ("255.255.255.255", Err(Reason::Broadcast)),
        ("192.0.2.255", Err(Reason::Broadcast)),
        ("198.51.100.255", Ok(None)),
        (THERE, Ok(None)),
    ] {
        assert_eq!(map.resolve(&to(address)), expected, "{address}");
    }
    // Before it was told the address may have been anybody's.
    let early = Question { known_ns: S - 1, ..to("192.0.2.255") };
    assert_eq!(map.resolve(&early), Ok(None));
}

#[test]
fn who_is_bound_to_a_group_is_named_as_before() {
    let listens = bound(SocketKind::Datagram, 17, Some("224.0.0.251"), 5353, 4);
    let map = map([at(S, What::SocketOpen(listens))]);
    assert_eq!(who(&map, &to("224.0.0.251")), 4);
    let other = Question { local_port: 1900, ..to("224.0.0.251") };
    assert_eq!(map.resolve(&other), Err(Reason::Multicast));
}

#[test]
fn records_and_the_coverage_say_that_a_flow_went_to_a_group() {
    let hosts = HostKnowledge { map: Some(map([])), ..HostKnowledge::default() };
    let mut joiner = Joiner::new(hosts);
    let mut flow = outline(50, THERE, "224.0.0.251");
    flow.packets = [1, 0];
    let found = joiner.join_outline(&flow).expect("something to say");
    assert_eq!(found.src, None);
    let side = found.dst.expect("the group");
    assert_eq!(side.attribution.and_then(|how| how.reason), Some(Reason::Multicast));
    assert_eq!(&*side.host, "");
    let coverage = joiner.coverage();
    assert_eq!(coverage.unattributed["multicast"].flows, 1);
    assert_eq!(coverage.no_host.flows, 0);
}
