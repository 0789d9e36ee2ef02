//! Conversations behind address translation.

use super::*;

#[test]
fn a_connection_behind_address_translation_is_followed_to_its_process() {
    let inside = Ends { src: ip("10.1.0.2"), src_port: 40_000, dst: ip(THERE), dst_port: 443 };
    let reply = Ends { src: ip(THERE), src_port: 443, dst: ip(HERE), dst_port: 61_000 };
    let nat = Nat { protocol: 6, original: inside, reply, netns: Some(1) };
    let client = Socket { local: Some(ip("10.1.0.2")), netns: Some(2), ..tcp(1, Basis::Used) };
    let outside = Question { local_port: 61_000, ..from_here() };
    let translated = map([
        at(S, address("10.1.0.2", 2)),
        at(10 * S, What::SocketUse(client)),
        at(10 * S, What::Nat(nat.clone())),
    ]);
    let found = answer(&translated, &outside);
    assert_eq!((found.process.id, found.translated), (pid(1), true));
    // Somebody else's connection only passes through.
    let routed = map([at(10 * S, What::Nat(nat))]);
    assert_eq!(routed.resolve(&outside), Err(Reason::Forwarded));
}

#[test]
fn an_echo_behind_address_translation_is_followed_by_its_identifiers() {
    // As conntrack has them: the identifier, and nothing where the other port would be.
    let ends =
        |src: &str, dst: &str, id| Ends { src: ip(src), src_port: id, dst: ip(dst), dst_port: 0 };
    let (original, reply) = (ends("10.1.0.2", THERE, 7), ends(THERE, HERE, 9));
    let ping = Socket {
        netns: Some(2),
        remote: Some(ip(THERE)),
        ..bound(SocketKind::Ping, 1, Some("10.1.0.2"), 7, 1)
    };
    let map = map([
        at(S, address("10.1.0.2", 2)),
        at(10 * S, What::SocketUse(ping)),
        at(10 * S, What::Nat(Nat { protocol: 1, original, reply, netns: Some(1) })),
    ]);
    let outside = Question { protocol: 1, local_port: 9, remote_port: 0, ..from_here() };
    let found = answer(&map, &outside);
    assert_eq!((found.process.id, found.translated), (pid(1), true));
}

#[test]
fn a_published_port_leads_to_the_server_behind_it() {
    let original = Ends { src: ip(THERE), src_port: 50_000, dst: ip(HERE), dst_port: 8080 };
    let reply = Ends { src: ip("10.1.0.2"), src_port: 80, dst: ip(THERE), dst_port: 50_000 };
    let server = Socket { netns: Some(2), ..bound(SocketKind::Listener, 6, None, 80, 1) };
    let map = map([
        at(S, address("10.1.0.2", 2)),
        at(S, What::SocketOpen(server)),
        at(10 * S, What::Nat(Nat { protocol: 6, original, reply, netns: Some(1) })),
    ]);
    let question = Question { local_port: 8080, remote_port: 50_000, ..from_here() };
    let found = answer(&map, &question);
    assert_eq!((found.process.id, found.basis, found.translated), (pid(1), Basis::Listens, true));
}

#[test]
fn a_port_translated_again_leads_to_who_had_it_at_the_time() {
    let nat = |port, to_port| {
        let original = Ends { src: ip("10.1.0.2"), src_port: port, dst: ip(THERE), dst_port: 443 };
        let reply = Ends { src: ip(THERE), src_port: 443, dst: ip(HERE), dst_port: to_port };
        What::Nat(Nat { protocol: 6, original, reply, netns: Some(1) })
    };
    let client = |process, local_port| {
        let netns = Some(2);
        let cookie = Some(u64::from(process));
        let local = Some(ip("10.1.0.2"));
        What::SocketUse(Socket { local, local_port, netns, cookie, ..tcp(process, Basis::Used) })
    };
    let map = map([
        at(S, address("10.1.0.2", 2)),
        at(10 * S, client(1, 40_000)),
        at(10 * S, nat(40_000, 61_000)),
        at(30 * S, client(2, 40_001)),
        at(30 * S, nat(40_001, 61_000)),
    ]);
    let outside = Question { local_port: 61_000, ..from_here() };
    assert_eq!(who(&map, &outside), 1);
    assert_eq!(who(&map, &Question { start_ns: 30 * S, end_ns: 31 * S, ..outside }), 2);
}

/// Docker keeps a proxy at each published port of the host, and it is idle.
#[test]
fn a_published_port_is_the_containers_whatever_is_bound_to_it_on_the_host() {
    for protocol in [6, 17] {
        let kind = if protocol == 6 { SocketKind::Listener } else { SocketKind::Datagram };
        let original = Ends { src: ip(THERE), src_port: 50_000, dst: ip(HERE), dst_port: 8080 };
        let reply = Ends { src: ip("10.1.0.2"), src_port: 80, dst: ip(THERE), dst_port: 50_000 };
        let server = Socket { netns: Some(2), ..bound(kind, protocol, None, 80, 1) };
        let events = [
            at(S, address("10.1.0.2", 2)),
            at(S, What::SocketOpen(bound(kind, protocol, None, 8080, 3))),
            at(10 * S, What::Nat(Nat { protocol, original, reply, netns: Some(1) })),
        ];
        let question = Question { protocol, local_port: 8080, remote_port: 50_000, ..from_here() };
        let served = map(events.clone().into_iter().chain([at(S, What::SocketOpen(server))]));
        let found = answer(&served, &question);
        assert_eq!((found.process.id, found.translated), (pid(1), true), "{protocol}");
        // Of whom nothing is known behind it, the proxy is not it either.
        assert_eq!(map(events.clone()).resolve(&question), Err(Reason::NoSocket));
        // A client that was not translated came to the proxy.
        let other = Question { remote_port: 50_001, ..question };
        assert_eq!(who(&map(events), &other), 3);
    }
}

#[test]
fn who_is_bound_to_the_port_that_a_masqueraded_sender_has_outside_is_not_the_sender() {
    let inside = Ends { src: ip("10.1.0.2"), src_port: 51_820, dst: ip(THERE), dst_port: 443 };
    let reply = Ends { src: ip(THERE), src_port: 443, dst: ip(HERE), dst_port: 51_820 };
    let client =
        Socket { netns: Some(2), ..bound(SocketKind::Datagram, 17, Some("10.1.0.2"), 51_820, 1) };
    let idle = bound(SocketKind::Datagram, 17, None, 51_820, 3);
    let map = map([
        at(S, address("10.1.0.2", 2)),
        at(S, What::SocketOpen(client)),
        at(S, What::SocketOpen(idle)),
        at(10 * S, What::Nat(Nat { protocol: 17, original: inside, reply, netns: Some(1) })),
    ]);
    let outside = Question { protocol: 17, local_port: 51_820, ..from_here() };
    let found = answer(&map, &outside);
    assert_eq!((found.process.id, found.translated), (pid(1), true));
    // Inside it has its own address.
    let found = answer(&map, &Question { local: ip("10.1.0.2"), ..outside });
    assert_eq!((found.process.id, found.translated), (pid(1), false));
}

#[test]
fn a_socket_with_both_ends_is_its_own_after_a_translation_of_the_same_ends_is_over() {
    let original = Ends { src: ip(THERE), src_port: 443, dst: ip(HERE), dst_port: 40_000 };
    let reply = Ends { src: ip("10.1.0.2"), src_port: 80, dst: ip(THERE), dst_port: 443 };
    let map = map([
        at(S, address("10.1.0.2", 2)),
        at(2 * S, What::Nat(Nat { protocol: 6, original, reply, netns: Some(1) })),
        at(9 * S, What::SocketUse(tcp(1, Basis::Used))),
    ]);
    let found = answer(&map, &from_here());
    assert_eq!((found.process.id, found.translated), (pid(1), false));
}

/// A container's datagrams to there, by one of its ports and one of the host's.
fn masqueraded(port: u16, to_port: u16) -> Nat {
    let original = Ends { src: ip("10.1.0.2"), src_port: port, dst: ip(THERE), dst_port: 443 };
    let reply = Ends { src: ip(THERE), src_port: 443, dst: ip(HERE), dst_port: to_port };
    Nat { protocol: 17, original, reply, netns: Some(1) }
}

/// A map of a host with such a container, whose socket stays open.
fn with_container(events: impl IntoIterator<Item = HostEvent>) -> Arc<HostMap> {
    let client =
        Socket { netns: Some(2), ..bound(SocketKind::Datagram, 17, Some("10.1.0.2"), 40_000, 1) };
    let before = [at(S, address("10.1.0.2", 2)), at(S, What::SocketOpen(client))];
    map(before.into_iter().chain(events))
}

fn outside(start_s: i64) -> Question {
    let (start_ns, end_ns) = (start_s * S, (start_s + 1) * S);
    let (begun_by_ns, known_ns) = (start_ns, end_ns + S);
    Question {
        protocol: 17,
        local_port: 61_000,
        start_ns,
        end_ns,
        begun_by_ns,
        known_ns,
        ..from_here()
    }
}

#[test]
fn a_translation_that_ended_leads_nowhere() {
    let nat = masqueraded(40_000, 61_000);
    let ended = at(20 * S, What::NatEnd(nat.clone()));
    let map = with_container([at(10 * S, What::Nat(nat.clone())), ended.clone()]);
    assert_eq!(who(&map, &outside(15)), 1);
    assert_eq!(map.resolve(&outside(21)), Err(Reason::NoSocket));
    // Begun again it is another one.
    let again = at(30 * S, What::Nat(nat.clone()));
    let map = with_container([at(10 * S, What::Nat(nat)), ended, again]);
    assert_eq!(map.resolve(&outside(25)), Err(Reason::NoSocket));
    assert_eq!(who(&map, &outside(30)), 1);
}

#[test]
fn a_translation_ends_when_its_connection_is_translated_to_something_else() {
    let map = with_container([
        at(10 * S, What::Nat(masqueraded(40_000, 61_000))),
        at(20 * S, What::Nat(masqueraded(40_000, 62_000))),
    ]);
    assert_eq!(who(&map, &outside(10)), 1);
    assert_eq!(map.resolve(&outside(21)), Err(Reason::NoSocket));
    assert_eq!(who(&map, &Question { local_port: 62_000, ..outside(21) }), 1);
    // The same ends in another namespace are another connection's.
    let elsewhere = Nat { netns: Some(3), ..masqueraded(40_000, 62_000) };
    let map = with_container([
        at(10 * S, What::Nat(masqueraded(40_000, 61_000))),
        at(20 * S, What::Nat(elsewhere)),
    ]);
    assert_eq!(who(&map, &outside(21)), 1);
}

/// A name server that is asked again and again from one port, through a masquerading host.
#[test]
fn a_translation_that_comes_again_and_again_fills_no_map() {
    let nat = masqueraded(40_000, 61_000);
    let asked = (4..140).flat_map(|time| {
        let begun = at(time * S / 2, What::Nat(nat.clone()));
        [begun, at(time * S / 2 + S / 4, What::NatEnd(nat.clone()))]
    });
    let map = with_container(asked);
    assert_eq!(who(&map, &outside(3)), 1);
    assert_eq!(who(&map, &outside(69)), 1);
    assert_eq!(map.resolve(&outside(80)), Err(Reason::NoSocket), "no full map");
}
