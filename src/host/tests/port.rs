//! Several datagram sockets at one port.

use super::*;

const PORT: u16 = 5353;

fn socket(process: u32, local: Option<&str>) -> Socket {
    bound(SocketKind::Datagram, 17, local, PORT, process)
}

fn opened(time_ns: i64, process: u32, local: Option<&str>) -> HostEvent {
    at(time_ns, What::SocketOpen(Socket { basis: Basis::Opened, ..socket(process, local) }))
}

/// It read from its socket, whoever had sent that.
fn read(time_ns: i64, process: u32, local: Option<&str>) -> HostEvent {
    at(time_ns, What::SocketUse(Socket { basis: Basis::Used, ..socket(process, local) }))
}

/// It sent to the other end of the flow.
fn sent(time_ns: i64, process: u32, local: Option<&str>) -> HostEvent {
    let socket = Socket {
        basis: Basis::Used,
        local: Some(ip(HERE)),
        remote: Some(ip(THERE)),
        remote_port: 443,
        ..socket(process, local)
    };
    at(time_ns, What::SocketUse(socket))
}

fn to_here() -> Question {
    Question { protocol: 17, local_port: PORT, sent: false, ..from_here() }
}

fn named(events: impl IntoIterator<Item = HostEvent>) -> (u32, Basis, Vec<u32>) {
    let found = answer(&map(events), &to_here());
    let others = found.others.iter().map(|other| other.id.pid).collect();
    (found.process.id.pid, found.basis, others)
}

#[test]
fn what_comes_to_an_address_is_that_of_who_is_bound_to_it_not_of_who_reads_from_all() {
    let (all, exact) = (None, Some(HERE));
    let both = [opened(S, 1, all), opened(2 * S, 2, exact)];
    let reads = both.into_iter().chain([read(3 * S, 1, all)]);
    assert_eq!(named(reads.clone()), (2, Basis::Opened, vec![]));
    assert_eq!(named(reads.chain([read(11 * S, 2, exact)])), (2, Basis::Used, vec![]));
}

#[test]
fn who_answered_is_named_whatever_else_is_bound() {
    let (all, exact) = (None, Some(HERE));
    let events = [opened(S, 1, all), opened(2 * S, 2, exact), sent(10 * S, 1, all)];
    assert_eq!(named(events), (1, Basis::Used, vec![]));
}

#[test]
fn who_was_bound_to_the_address_after_the_packets_did_not_get_them() {
    let events = [opened(S, 1, None), read(3 * S, 1, None), opened(11 * S, 2, Some(HERE))];
    assert_eq!(named(events), (1, Basis::Used, vec![]));
}

#[test]
fn of_a_group_at_one_port_the_members_that_did_not_read_yet_may_have_the_packet_too() {
    let group = [opened(S, 1, None), opened(S, 2, None), read(3 * S, 1, None)];
    assert_eq!(named(group.clone()), (1, Basis::Used, vec![2]));
    // Its answer tells.
    assert_eq!(named(group.into_iter().chain([sent(11 * S, 2, None)])), (2, Basis::Used, vec![]));
}

#[test]
fn who_opened_the_sockets_that_its_children_use_is_no_member_of_the_group() {
    let by = |process, socket: u64, event: HostEvent| {
        let named =
            |socket_of| Socket { cookie: Some(socket), process: Some(pid(process)), ..socket_of };
        match event {
            HostEvent { time_ns, what: What::SocketOpen(of) } => {
                at(time_ns, What::SocketOpen(named(of)))
            }
            HostEvent { time_ns, what: What::SocketUse(of) } => {
                at(time_ns, What::SocketUse(named(of)))
            }
            other => other,
        }
    };
    let events = [
        by(1, 71, opened(S, 1, None)),
        by(1, 72, opened(S, 1, None)),
        by(2, 71, read(3 * S, 2, None)),
        by(3, 72, read(4 * S, 3, None)),
    ];
    let (process, basis, others) = named(events);
    assert_eq!((process.min(others[0]), process.max(others[0])), (2, 3));
    assert_eq!((basis, others.len()), (Basis::Used, 1));
}

#[test]
fn connections_are_still_those_of_who_used_them() {
    // Two listeners at one port: the accepted connection says whose it is.
    let listener = |process, local| {
        let socket = bound(SocketKind::Listener, 6, local, 443, process);
        at(S, What::SocketOpen(socket))
    };
    let accepted = Socket { local_port: 443, remote_port: 50_000, ..tcp(1, Basis::Used) };
    let map =
        map([listener(1, None), listener(2, Some(HERE)), at(11 * S, What::SocketUse(accepted))]);
    let found = answer(&map, &Question { local_port: 443, remote_port: 50_000, ..from_here() });
    assert_eq!((found.process.id, found.others.len()), (pid(1), 0));
}

#[test]
fn any_loopback_address_is_the_hosts_own() {
    let events = [at(0, address("127.0.0.1", 1)), opened(S, 1, None)];
    let map = map(events);
    let loopback = Question { local: ip("127.0.0.53"), remote: ip("127.0.0.1"), ..to_here() };
    assert_eq!(who(&map, &loopback), 1);
}

#[test]
fn a_socket_bound_to_any_address_takes_its_own_version_alone() {
    let at_any = |process, any| at(S, What::SocketOpen(socket(process, Some(any))));
    let events = [at(0, address("2001:db8::1", 1)), at_any(1, "0.0.0.0"), at_any(2, "::")];
    let map = map(events);
    let v6 = Question { local: ip("2001:db8::1"), remote: ip("2001:db8::2"), ..to_here() };
    let found = [to_here(), v6].map(|question| answer(&map, &question));
    assert_eq!(found.clone().map(|found| found.process.id.pid), [1, 2]);
    assert!(found.iter().all(|found| found.others.is_empty()));
}
