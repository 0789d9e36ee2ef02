//! Whose packet an ICMP error is about.

use super::*;
use crate::flow::app::{AppInfo, Quoted};
use crate::flow::{Direction, FlowRecord};
use crate::host::join::{HostKnowledge, Joiner};
use crate::host::side::HostSide;
use crate::output::samples;
use crate::packet::FlowKey;
use crate::packet::key::from_ip;

const ROUTER: &str = "203.0.113.254";

/// A datagram from port 40,000 that did not arrive.
fn quoted() -> Quoted {
    Quoted {
        proto: 17,
        src: ip(HERE),
        dst: ip(THERE),
        ports: [40_000, 443],
        echo_id: 0,
        several: false,
    }
}

/// Who the error of 12 s from a router to this host is told to have reached.
fn reached(map: &Arc<HostMap>, quoted: Quoted) -> Option<HostSide> {
    reached_by(map, quoted, 1)
}

/// The same of a flow of so many errors, of which this is what the first ones quote.
fn reached_by(map: &Arc<HostMap>, quoted: Quoted, errors: u64) -> Option<HostSide> {
    let [(version, a), (_, b)] = [ROUTER, HERE].map(|text| from_ip(ip(text)));
    let ports = FlowKey { port_a: 3, port_b: 1, ..FlowKey::ZERO };
    let record = FlowRecord {
        key: FlowKey { version, proto: 1, a, b, ..ports },
        forward_is_a_to_b: true,
        start_ns: 12 * S,
        end_ns: 12 * S,
        decided_ns: 40 * S,
        fwd: Direction { packets: errors, ..Direction::default() },
        rev: Default::default(),
        app: Some(Box::new(AppInfo { icmp_error: Some(Box::new(quoted)), ..AppInfo::default() })),
        ..samples::icmp()
    };
    let knowledge = HostKnowledge { map: Some(Arc::clone(map)), ..HostKnowledge::default() };
    Joiner::new(knowledge).join(&record)?.dst
}

fn datagrams(process: u32) -> Socket {
    let socket = Socket { kind: SocketKind::Datagram, protocol: 17, ..tcp(process, Basis::Used) };
    Socket { cookie: Some(process.into()), ..socket }
}

#[test]
fn an_error_reaches_who_sent_what_it_is_about() {
    let socket = || datagrams(1);
    let map = map([at(9 * S, What::SocketOpen(socket())), at(11 * S, What::SocketUse(socket()))]);
    let side = reached(&map, quoted()).expect("a side");
    assert_eq!(side.process.expect("a process").process.id, pid(1));
    let how = side.attribution.expect("attributed");
    assert_eq!((how.provoked, how.basis, how.certainty), (true, Some(Basis::Used), 1.0));

    // Nobody's, not this host's, or of one of several.
    let port = Quoted { ports: [40_001, 443], ..quoted() };
    let of_another = Quoted { src: ip("192.0.2.99"), ..quoted() };
    let of_several = Quoted { several: true, ..quoted() };
    for other in [port, of_another, of_several] {
        let how = reached(&map, other).expect("a side").attribution.expect("asked");
        assert_eq!((how.provoked, how.reason), (false, Some(Reason::NoSocket)));
    }
}

#[test]
fn who_has_closed_its_socket_just_before_is_still_who_it_was() {
    let socket = || datagrams(1);
    let closed_at = |ns| {
        let map = map([at(9 * S, What::SocketOpen(socket())), at(ns, What::SocketClose(socket()))]);
        reached(&map, quoted()).expect("a side").process.is_some()
    };
    assert_eq!((closed_at(11 * S + S / 2), closed_at(10 * S)), (true, false));
}

#[test]
fn of_a_flow_of_more_errors_than_were_read_nobody_is_told_to_have_sent_what_they_are_about() {
    let socket = || datagrams(1);
    let map = map([at(9 * S, What::SocketOpen(socket())), at(11 * S, What::SocketUse(socket()))]);
    let is_told = |errors| reached_by(&map, quoted(), errors).expect("a side").process.is_some();
    assert_eq!((is_told(4), is_told(5)), (true, false));
}
