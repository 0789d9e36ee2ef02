//! The map asked: who had a socket when, told by events of every kind.

use std::net::IpAddr;
use std::sync::Arc;

use super::attribution::{Basis, Method};
use super::claim::ProcessKey;
use super::event::{Address, Ends, HostEvent, MapStart, Nat, Socket, SocketKind, What};
use super::map::{HostMap, MapLimits, MapWriter};
use super::process::{Process, ProcessId};
use super::resolve::{Answer, Question};
use super::side::Reason;

mod any_events;
mod candidates;
mod connected;
mod errors;
mod forks;
mod groups;
mod outside;
mod places;
mod port;
mod room;
mod translated;
mod turns;

const S: i64 = 1_000_000_000;

const HERE: &str = "192.0.2.10";
const THERE: &str = "198.51.100.7";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn pid(pid: u32) -> ProcessId {
    ProcessId { pid, start_ticks: u64::from(pid) * 100 }
}

fn tcp(process: u32, basis: Basis) -> Socket {
    Socket {
        method: Method::Ebpf,
        basis,
        kind: SocketKind::Stream,
        protocol: 6,
        local: Some(ip(HERE)),
        local_port: 40_000,
        remote: Some(ip(THERE)),
        remote_port: 443,
        dual_stack: false,
        process: Some(pid(process)),
        shared_with: Vec::new(),
        cookie: Some(7),
        inode: None,
        netns: Some(1),
        interface_index: None,
        alone: false,
        since_ns: None,
    }
}

fn bound(kind: SocketKind, protocol: u8, local: Option<&str>, port: u16, process: u32) -> Socket {
    Socket {
        kind,
        protocol,
        basis: Basis::Holds,
        local: local.map(ip),
        local_port: port,
        remote: None,
        remote_port: 0,
        cookie: Some(u64::from(process) << 16 | u64::from(port)),
        ..tcp(process, Basis::Holds)
    }
}

fn at(time_ns: i64, what: What) -> HostEvent {
    HostEvent { time_ns, what }
}

fn address(text: &str, netns: u64) -> What {
    What::AddressUp(Address {
        address: ip(text),
        broadcast: None,
        interface: "eth0".to_owned(),
        interface_index: 2,
        netns: Some(netns),
    })
}

fn start() -> HostEvent {
    let start =
        MapStart { version: 1, boot: "a".to_owned(), netns: Some(1), ..MapStart::default() };
    at(0, What::Start(start))
}

/// A map of a host with one address, and these events.
fn map(events: impl IntoIterator<Item = HostEvent>) -> Arc<HostMap> {
    let map = Arc::new(HostMap::new(MapLimits::default()));
    let mut writer = map.writer();
    [start(), at(0, address(HERE, 1))].iter().for_each(|event| writer.apply(event));
    events.into_iter().for_each(|event| writer.apply(&event));
    writer.apply(&at(100 * S, What::Time));
    map
}

fn from_here() -> Question {
    Question {
        protocol: 6,
        local: ip(HERE),
        local_port: 40_000,
        remote: ip(THERE),
        remote_port: 443,
        sent: true,
        by_kernel: false,
        start_ns: 10 * S,
        end_ns: 12 * S,
        begun_by_ns: 10 * S,
        known_ns: 60 * S,
    }
}

fn who(map: &HostMap, question: &Question) -> u32 {
    answer(map, question).process.id.pid
}

fn answer(map: &HostMap, question: &Question) -> Answer {
    map.resolve(question).expect("attributed").expect("a host of the map")
}

#[test]
fn who_used_the_socket_is_named_whoever_made_it() {
    let map = map([
        at(9 * S, What::SocketOpen(tcp(1, Basis::Opened))),
        // A child, or one that the socket was passed to.
        at(11 * S, What::SocketUse(tcp(2, Basis::Used))),
    ]);
    let found = answer(&map, &from_here());
    assert_eq!((found.process.id, found.basis, found.method), (pid(2), Basis::Used, Method::Ebpf));
    assert!(found.others.is_empty());
}

#[test]
fn a_port_used_again_belongs_to_who_had_it_at_the_time() {
    let closed = |time_ns, cookie| {
        at(time_ns, What::SocketClose(Socket { cookie: Some(cookie), ..tcp(0, Basis::Used) }))
    };
    let used = |time_ns, process, cookie| {
        let socket = Socket { cookie: Some(cookie), ..tcp(process, Basis::Used) };
        at(time_ns, What::SocketUse(socket))
    };
    let map = map([used(10 * S, 1, 7), closed(12 * S, 7), used(20 * S, 2, 8), closed(22 * S, 8)]);
    assert_eq!(who(&map, &from_here()), 1);
    let later = Question { start_ns: 20 * S, end_ns: 22 * S, ..from_here() };
    assert_eq!(who(&map, &later), 2);
    let between = Question { start_ns: 15 * S, end_ns: 16 * S, ..from_here() };
    assert_eq!(map.resolve(&between), Err(Reason::NoSocket));
    // Of one record that holds both, both are named: the one that was there longer first.
    let both = Question { start_ns: 11 * S, end_ns: 22 * S, ..from_here() };
    let found = answer(&map, &both);
    assert_eq!(
        (found.process.id, found.others),
        (pid(2), vec![ProcessKey { source: 0, id: pid(1) }])
    );
}

#[test]
fn a_number_used_again_is_another_process() {
    let id = |start_ticks| ProcessId { pid: 5, start_ticks };
    let process = |start_ticks, name: &str| {
        What::ProcessStart(Box::new(Process {
            id: id(start_ticks),
            name: name.to_owned(),
            ..Process::default()
        }))
    };
    let used = |start_ticks| {
        What::SocketUse(Socket { process: Some(id(start_ticks)), ..tcp(5, Basis::Used) })
    };
    let map = map([
        at(8 * S, process(100, "first")),
        at(10 * S, used(100)),
        at(13 * S, What::ProcessExit(id(100))),
        at(14 * S, process(200, "second")),
        at(
            15 * S,
            What::SocketUse(Socket {
                process: Some(id(200)),
                ..bound(SocketKind::Datagram, 17, Some(HERE), 53, 5)
            }),
        ),
    ]);
    let found = answer(&map, &from_here());
    let ran = map.process_at(found.process, 10 * S, 60 * S).expect("known");
    assert_eq!(ran.process.name, "first");
}

#[test]
fn a_claim_ends_with_its_process_even_if_nobody_says_so() {
    let map = map([
        at(5 * S, What::SocketUse(tcp(1, Basis::Used))),
        at(6 * S, What::ProcessExit(pid(1))),
    ]);
    // The process is not known to the map, so its exit says nothing.
    assert_eq!(who(&map, &from_here()), 1);
    let known = self::map([
        at(4 * S, What::ProcessStart(Box::new(Process { id: pid(1), ..Process::default() }))),
        at(5 * S, What::SocketUse(tcp(1, Basis::Used))),
        at(6 * S, What::ProcessExit(pid(1))),
    ]);
    assert_eq!(known.resolve(&from_here()), Err(Reason::NoSocket));
}

#[test]
fn servers_are_found_by_their_port_and_accepted_connections_by_who_serves_them() {
    let listener = bound(SocketKind::Listener, 6, None, 443, 1);
    let worker = Socket { local_port: 443, remote_port: 50_000, ..tcp(2, Basis::Used) };
    let map = map([at(S, What::SocketOpen(listener)), at(11 * S, What::SocketUse(worker))]);
    let to_here = |remote_port| Question { local_port: 443, remote_port, ..from_here() };
    assert_eq!(who(&map, &to_here(50_000)), 2);
    let unserved = answer(&map, &to_here(50_001));
    assert_eq!((unserved.process.id, unserved.basis), (pid(1), Basis::Listens));
    assert!(unserved.basis.certainty() < 0.7);
}

#[test]
fn dual_stack_sockets_take_both_versions_and_others_do_not() {
    let open = |dual_stack| {
        let any = Socket { dual_stack, ..bound(SocketKind::Datagram, 17, Some("::"), 53, 1) };
        map([at(S, What::SocketOpen(any)), at(S, address("2001:db8::1", 1))])
    };
    let question = |local: &str, remote: &str| Question {
        protocol: 17,
        local: ip(local),
        local_port: 53,
        remote: ip(remote),
        ..from_here()
    };
    for dual_stack in [false, true] {
        let map = open(dual_stack);
        assert_eq!(who(&map, &question("2001:db8::1", "2001:db8::2")), 1);
        let over_ipv4 = map.resolve(&question(HERE, THERE)).ok().flatten();
        assert_eq!(over_ipv4.is_some(), dual_stack);
    }
}

#[test]
fn several_holders_are_all_named_and_none_is_sure() {
    let pool = Socket {
        basis: Basis::SharesIt,
        shared_with: vec![pid(2), pid(3)],
        ..bound(SocketKind::Datagram, 17, None, 53, 1)
    };
    let map = map([at(S, What::SocketOpen(pool))]);
    let question = Question { protocol: 17, local_port: 53, ..from_here() };
    let found = answer(&map, &question);
    assert_eq!(found.process.id, pid(1));
    assert_eq!(found.others.iter().map(|key| key.id.pid).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn two_namespaces_with_the_same_port_are_told_apart_by_their_addresses() {
    let server = |process, netns| {
        let socket =
            Socket { netns: Some(netns), ..bound(SocketKind::Datagram, 17, None, 53, process) };
        at(S, What::SocketOpen(socket))
    };
    let map = map([server(1, 1), server(2, 2), at(0, address("10.1.0.2", 2))]);
    let question =
        |local: &str| Question { protocol: 17, local: ip(local), local_port: 53, ..from_here() };
    assert_eq!(who(&map, &question(HERE)), 1);
    assert_eq!(who(&map, &question("10.1.0.2")), 2);
    assert_eq!(map.resolve(&question(THERE)), Ok(None), "nobody's address here");
}

#[test]
fn an_address_that_comes_again_is_the_one_of_the_watchers_namespace() {
    let server = |process, netns| {
        let socket =
            Socket { netns: Some(netns), ..bound(SocketKind::Datagram, 17, None, 53, process) };
        at(S, What::SocketOpen(socket))
    };
    let map = map([server(2, 2), server(1, 1), at(0, address(HERE, 2))]);
    let found = answer(&map, &Question { protocol: 17, local_port: 53, ..from_here() });
    assert_eq!((found.process.id, found.others.len()), (pid(1), 0));
}

#[test]
fn what_is_known_of_the_very_conversation_goes_before_what_is_known_of_the_socket() {
    // Two servers at one port; the second one answered.
    let server = |process, remote: Option<&str>, remote_port| {
        let remote = remote.map(ip);
        let cookie = Some(u64::from(process));
        let used =
            Socket { local_port: 53, remote, remote_port, cookie, ..tcp(process, Basis::Used) };
        at(10 * S, What::SocketUse(Socket { protocol: 17, kind: SocketKind::Datagram, ..used }))
    };
    let map = map([server(1, None, 0), server(2, None, 0), server(2, Some(THERE), 443)]);
    let found = answer(&map, &Question { protocol: 17, local_port: 53, ..from_here() });
    assert_eq!((found.process.id, found.others.len()), (pid(2), 0));
}

#[test]
fn loopback_is_the_namespace_that_the_watcher_is_in() {
    let server = |process, netns| {
        let socket = Socket {
            netns: Some(netns),
            ..bound(SocketKind::Datagram, 17, Some("127.0.0.1"), 53, process)
        };
        at(S, What::SocketOpen(socket))
    };
    let map = map([server(2, 2), server(1, 1)]);
    let question = Question {
        protocol: 17,
        local: ip("127.0.0.1"),
        local_port: 53,
        remote: ip("127.0.0.1"),
        ..from_here()
    };
    let found = answer(&map, &question);
    assert_eq!((found.process.id, found.others.len()), (pid(1), 0));
}

#[test]
fn an_echo_is_found_by_its_identifier_and_raw_sockets_are_candidates() {
    let ping = bound(SocketKind::Ping, 1, None, 4711, 1);
    let raw = bound(SocketKind::Raw, 1, None, 0, 2);
    let sniffer = bound(SocketKind::Packet, 0, None, 0, 3);
    let map = map([ping, raw, sniffer].map(|socket| at(S, What::SocketOpen(socket))));
    let echo = |id| Question { protocol: 1, local_port: id, remote_port: 0, ..from_here() };
    assert_eq!(who(&map, &echo(4711)), 1);
    let candidate = answer(&map, &echo(4712));
    assert_eq!((candidate.process.id, candidate.basis), (pid(2), Basis::RawSocket));
    let anything = answer(&map, &Question { protocol: 47, ..echo(0) });
    assert_eq!((anything.process.id, anything.basis), (pid(3), Basis::PacketSocket));
    let heard = Question { protocol: 47, sent: false, ..echo(0) };
    assert!(map.resolve(&heard).is_err(), "what only came in was sent by nobody here");
}

#[test]
fn a_raw_socket_that_writes_headers_itself_is_a_candidate_for_all_that_is_sent() {
    for local in [None, Some(HERE)] {
        let map = map([at(S, What::SocketOpen(bound(SocketKind::Raw, 255, local, 0, 1)))]);
        let sent = Question { protocol: 47, local_port: 0, remote_port: 0, ..from_here() };
        let candidate = answer(&map, &sent);
        assert_eq!((candidate.process.id, candidate.basis), (pid(1), Basis::RawSocket));
        assert!(map.resolve(&Question { sent: false, ..sent }).is_err(), "it hears nothing");
    }
}

#[test]
fn why_nobody_is_named_is_said() {
    let nothing = map([]);
    assert_eq!(nothing.resolve(&from_here()), Err(Reason::NoSocket));
    let late = Question { start_ns: 200 * S, end_ns: 201 * S, known_ns: 300 * S, ..from_here() };
    assert_eq!(nothing.resolve(&late), Err(Reason::OutsideMap));
    let lossy =
        map([at(9 * S, What::Time), at(11 * S, What::Lost { method: Method::Ebpf, events: 3 })]);
    assert_eq!(lossy.resolve(&from_here()), Err(Reason::EventsLost));
    assert_eq!(lossy.counters().lost_events, 3);
    let kernel =
        map([at(9 * S, What::SocketOpen(Socket { process: None, ..tcp(0, Basis::Used) }))]);
    assert_eq!(kernel.resolve(&from_here()), Err(Reason::NoProcess));
}

#[test]
fn what_comes_after_its_time_was_told_changes_no_answer_before() {
    let (in_time, late) = (8, 9);
    let map = map([
        at(10 * S, What::SocketUse(tcp(in_time, Basis::Opened))),
        at(70 * S, What::Time),
        at(11 * S, What::SocketUse(tcp(late, Basis::Used))),
    ]);
    assert_eq!(who(&map, &from_here()), in_time, "known at 60 s");
    assert_eq!(who(&map, &Question { known_ns: 71 * S, ..from_here() }), late);
}

#[test]
fn a_map_that_ended_names_nobody_later() {
    let events = [
        at(S, What::SocketOpen(bound(SocketKind::Listener, 6, None, 443, 1))),
        at(S, What::SocketUse(tcp(1, Basis::Used))),
    ];
    let map = Arc::new(HostMap::new(MapLimits::default()));
    let mut writer = map.writer();
    [start(), at(0, address(HERE, 1))].iter().for_each(|event| writer.apply(event));
    events.iter().for_each(|event| writer.apply(event));
    assert_eq!(who(&map, &from_here()), 1, "may go on");
    writer.ended(5 * S);
    let to_here = Question { local_port: 443, remote_port: 50_000, ..from_here() };
    for question in [from_here(), to_here] {
        assert_eq!(map.resolve(&question), Err(Reason::OutsideMap));
    }
    assert_eq!(who(&map, &Question { start_ns: 4 * S, ..from_here() }), 1);
}

#[test]
fn a_use_that_is_not_told_again_ends_and_a_connection_does_not() {
    let minute = 60 * S;
    let datagrams = || Socket { protocol: 17, kind: SocketKind::Datagram, ..tcp(1, Basis::Used) };
    let map = map([
        at(S, What::SocketUse(datagrams())),
        at(S, What::SocketUse(tcp(1, Basis::Used))),
        at(9 * minute, What::SocketUse(datagrams())),
        at(60 * minute, What::SocketUse(datagrams())),
    ]);
    let known = |protocol, minutes: i64| {
        let time = minutes * minute;
        let question = Question { start_ns: time, end_ns: time, known_ns: time + S, ..from_here() };
        map.resolve(&Question { protocol, ..question }).is_ok_and(|answer| answer.is_some())
    };
    assert_eq!([5, 15, 25, 61].map(|minutes| known(17, minutes)), [true, true, false, true]);
    assert_eq!([5, 15, 25, 61].map(|minutes| known(6, minutes)), [true; 4]);
    // Forgetting changes nothing for those that are asked for later.
    map.forget_before(55 * minute);
    assert!(known(17, 61) && known(6, 61));
}

#[test]
fn parents_of_those_that_live_are_remembered() {
    let process = |n: u32, parent: u32| {
        let parent = Some(pid(parent));
        at(S, What::ProcessStart(Box::new(Process { id: pid(n), parent, ..Process::default() })))
    };
    let exit = |n| at(2 * S, What::ProcessExit(pid(n)));
    let map = map([process(2, 1), process(3, 2), process(4, 3), process(5, 3), exit(2), exit(3)]);
    map.forget_before(50 * S);
    let known = |n| map.process_at(ProcessKey { source: 0, id: pid(n) }, S, S).is_some();
    assert!((2..6).all(known));
}

#[test]
fn a_map_that_is_full_refuses_and_says_so() {
    let map =
        Arc::new(HostMap::new(MapLimits { claims: 10, processes: 5, ..MapLimits::default() }));
    let mut writer = map.writer();
    writer.apply(&start());
    writer.apply(&at(0, address(HERE, 1)));
    for n in 0..50_u32 {
        let local_port = n as u16 + 1;
        let socket = Socket { local_port, cookie: Some(n.into()), ..tcp(n, Basis::Used) };
        writer.apply(&at(10 * S, What::SocketUse(socket)));
        let process = Process { id: pid(n), ..Process::default() };
        writer.apply(&at(10 * S, What::ProcessStart(Box::new(process))));
    }
    writer.apply(&at(15 * S, What::Time));
    let counters = map.counters();
    assert_eq!((counters.claims, counters.processes, counters.refused), (10, 5, 85));
    assert_eq!(map.resolve(&from_here()), Err(Reason::MapFull));
    // What ended makes room again.
    for n in 0..10_u32 {
        let socket = Socket { cookie: Some(n.into()), ..tcp(n, Basis::Used) };
        writer.apply(&at(20 * S, What::SocketClose(socket)));
        writer.apply(&at(20 * S, What::ProcessExit(pid(n))));
    }
    map.forget_before(21 * S);
    let counters = map.counters();
    assert_eq!((counters.claims, counters.processes), (0, 0));
    writer.apply(&at(30 * S, What::SocketUse(tcp(60, Basis::Used))));
    let question = Question { start_ns: 30 * S, end_ns: 31 * S, ..from_here() };
    assert_eq!(who(&map, &question), 60);
}

#[test]
fn what_found_no_room_later_changes_no_reason_before() {
    let map = Arc::new(HostMap::new(MapLimits { claims: 1, ..MapLimits::default() }));
    let mut writer = map.writer();
    [start(), at(0, address(HERE, 1))].iter().for_each(|event| writer.apply(event));
    for (second, port) in [(1, 1), (70, 2)] {
        let socket = Socket { local_port: port, cookie: Some(port.into()), ..tcp(1, Basis::Used) };
        writer.apply(&at(second * S, What::SocketUse(socket)));
    }
    writer.apply(&at(100 * S, What::Time));
    assert_eq!(map.resolve(&from_here()), Err(Reason::NoSocket));
    let later = Question { known_ns: 71 * S, ..from_here() };
    assert_eq!(map.resolve(&later), Err(Reason::MapFull));
}

#[test]
fn at_a_crowded_place_the_oldest_that_ended_makes_room() {
    let one = |process: u32| {
        let second = i64::from(process) + 1;
        let socket = Socket { cookie: Some(process.into()), ..tcp(process, Basis::Used) };
        let close = at(second * S, What::SocketClose(socket.clone()));
        [at(second * S, What::SocketUse(socket)), close]
    };
    let map = map((0..5000).flat_map(one));
    let asked = |second: i64| {
        let time = second * S;
        Question { start_ns: time, end_ns: time, known_ns: 6000 * S, ..from_here() }
    };
    assert_eq!(who(&map, &asked(5000)), 4999);
    assert_eq!(map.resolve(&asked(100)), Err(Reason::NoSocket));
    let counters = map.counters();
    assert_eq!((counters.claims, counters.refused), (4096, 0), "nobody asks for those any more");
}

#[test]
fn another_boot_shares_no_process_with_the_one_before() {
    let begin = |boot: &str| MapStart { version: 1, boot: boot.to_owned(), ..MapStart::default() };
    let named = |name: &str| {
        What::ProcessStart(Box::new(Process {
            id: pid(1),
            name: name.to_owned(),
            ..Process::default()
        }))
    };
    let map = map([
        at(S, named("before")),
        at(5 * S, What::Start(begin("b"))),
        at(6 * S, named("after")),
        at(10 * S, What::SocketUse(tcp(1, Basis::Used))),
    ]);
    let found = answer(&map, &from_here());
    let ran = map.process_at(found.process, 10 * S, 60 * S).expect("known");
    assert_eq!(ran.process.name, "after");
}
