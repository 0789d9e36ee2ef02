//! Processes that only may have been it: whom to leave out, and what is said then.

use super::*;
use crate::detect::analytic::testing::outline;
use crate::host::join::{HostKnowledge, Joiner};

/// A process that began at some time, as a watcher of `/proc` tells it.
fn began(process: u32, started_ns: i64) -> HostEvent {
    let process = Process { id: pid(process), started_ns: Some(started_ns), ..Process::default() };
    at(started_ns, What::ProcessStart(Box::new(process)))
}

/// A socket that was destroyed, and who ended with it.
fn ended_with(processes: &[u32]) -> [HostEvent; 2] {
    let (first, others) = processes.split_first().expect("a process");
    let socket = Socket {
        method: Method::SockDiag,
        shared_with: others.iter().map(|&other| pid(other)).collect(),
        since_ns: Some(9 * S),
        ..tcp(*first, Basis::EndedWith)
    };
    [at(13 * S, What::SocketOpen(socket.clone())), at(13 * S, What::SocketClose(socket))]
}

#[test]
fn who_began_after_the_first_packet_did_not_send_it() {
    // 1 is the client, which had ended long before its server did.
    let [open, close] = ended_with(&[3, 2]);
    let map = map([began(2, 9 * S), began(3, 11 * S), open, close]);
    let found = answer(&map, &from_here());
    assert_eq!((found.process.id, found.others), (pid(2), vec![]), "nobody else was there");
    // Of a second that began before the flow, the flow may have begun later.
    let second = Question { begun_by_ns: 12 * S, ..from_here() };
    assert_eq!(answer(&map, &second).others.len(), 1);
    // That a process began is told in time, or it is as if nobody knew.
    let [open, close] = ended_with(&[3]);
    let alone = super::map([began(3, 11 * S), open.clone(), close.clone()]);
    assert_eq!(alone.resolve(&from_here()), Err(Reason::NoSocket));
    let unknown = super::map([open, close]);
    let found = answer(&unknown, &from_here());
    assert_eq!((found.process.id, found.others.len()), (pid(3), 0));
    // Whoever held the socket may live on: one that merely ended is not found to be it.
    assert!(found.basis.certainty() < 0.5, "{found:?}");
}

#[test]
fn sockets_that_any_packet_could_be_of_are_no_sockets_of_the_kernel() {
    let observer = ProcessId { pid: 900, start_ticks: 90_000 };
    let heard = bound(SocketKind::Packet, 0, None, 0, observer.pid);
    let raw = Socket { process: None, ..bound(SocketKind::Raw, 6, None, 0, 0) };
    let raw = Socket { basis: Basis::RawSocket, ..raw };
    let map = Arc::new(HostMap::new(MapLimits::default()));
    let mut writer = map.writer();
    let What::Start(begun) = start().what else { unreachable!("it is a start") };
    let start = MapStart { observers: vec![observer], ..begun };
    for event in [
        at(0, What::Start(start)),
        at(0, address(HERE, 1)),
        at(S, What::SocketOpen(heard)),
        at(S, What::SocketOpen(raw)),
        at(100 * S, What::Time),
    ] {
        writer.apply(&event);
    }
    assert_eq!(map.resolve(&from_here()), Err(Reason::NoSocket));
    let heard_only = Question { sent: false, ..from_here() };
    assert_eq!(map.resolve(&heard_only), Err(Reason::NoSocket));
}

#[test]
fn a_raw_socket_has_no_share_in_what_the_kernel_says_to_neighbours() {
    let (near, router) = ("2001:db8::10", "2001:db8::1");
    let raw = || bound(SocketKind::Raw, 58, None, 0, 5);
    let with = |socket| {
        let open = |socket| at(S, What::SocketOpen(socket));
        let map = map([at(0, address(near, 1)), open(socket)]);
        Joiner::new(HostKnowledge { map: Some(map), ..HostKnowledge::default() })
    };
    // Who sent and who received, by their processes.
    let found = |joiner: &mut Joiner, src: &str, dst: &str, types: (u16, u16)| {
        let mut flow = outline(50, src, dst);
        (flow.key.proto, flow.packets) = (58, [1, 0]);
        (flow.key.port_a, flow.key.port_b) = types;
        let hosts = joiner.join_outline(&flow).unwrap_or_default();
        [hosts.src, hosts.dst].map(|side| side?.process.map(|view| view.process.id.pid))
    };
    let mut joiner = with(raw());
    for (what, src, dst, types, expected) in [
        ("asks", near, "ff02::1:ff00:1", (135, 136), [None, None]),
        ("is asked", router, near, (135, 136), [None, None]),
        ("answers", near, router, (136, 135), [None, None]),
        ("is answered", router, near, (136, 135), [None, None]),
        ("looks for a router", near, "ff02::2", (133, 134), [None, None]),
        ("hears a router", router, near, (134, 133), [None, Some(5)]),
        ("pings", near, router, (128, 129), [Some(5), None]),
    ] {
        assert_eq!(found(&mut joiner, src, dst, types), expected, "{what}");
    }
    // Seen sending there, it did: a program that asks by itself.
    let sent = Socket { basis: Basis::Used, remote: Some(ip("ff02::2")), ..raw() };
    let mut joiner = with(sent);
    assert_eq!(found(&mut joiner, near, "ff02::2", (133, 134)), [Some(5), None]);
}

#[test]
fn who_may_send_anything_did_not_send_what_the_kernel_sends_itself() {
    let map = map([
        at(S, What::SocketOpen(bound(SocketKind::Packet, 0, None, 0, 1))),
        at(S, What::SocketOpen(bound(SocketKind::Raw, 255, None, 0, 2))),
        at(S, What::SocketOpen(bound(SocketKind::Raw, 6, Some(HERE), 0, 3))),
    ]);
    assert_eq!(who(&map, &from_here()), 3);
    let by_kernel = Question { by_kernel: true, ..from_here() };
    assert_eq!(map.resolve(&by_kernel), Err(Reason::NoSocket));
    // Who has the very socket of a connection is named as before.
    let map = super::map([
        at(S, What::SocketOpen(bound(SocketKind::Packet, 0, None, 0, 1))),
        at(S, What::SocketOpen(tcp(4, Basis::Holds))),
    ]);
    assert_eq!(who(&map, &by_kernel), 4);
}
