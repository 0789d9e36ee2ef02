//! What no raw or packet socket sent: the kernel's own answers, and its connections.
//!
//! Whoever has such a socket open may have sent any packet. But echo replies, ICMP
//! errors, IPv6's neighbours, resets and SYN-ACKs the kernel sends by itself, and a TCP connection past its
//! handshake is one of the kernel's own sockets: who writes packets whole has the kernel
//! reset what comes back. What is left are requests, datagrams, and segments that nobody
//! acknowledged.

use crate::engine::window::{Delta, is_icmp_answer};
use crate::entity::View;
use crate::flow::Outline;
use crate::packet::PacketClass::{self, TcpAck, TcpData, TcpFin, TcpRst, TcpSyn, TcpSynAck};
use crate::packet::facts::tcp_flag::{ACK, RST, SYN};

use super::claim::{ICMPV6, TCP};

/// Of the originator of a flow, and of its responder.
pub(super) fn sent_by_kernel(flow: &Outline) -> [bool; 2] {
    let proto = flow.key.proto;
    let ports = [flow.src_port(), flow.dst_port()];
    [0, 1].map(|end| match proto {
        TCP => is_by_tcp(flow.tcp_flags[end], flow.tcp_flags[1 - end]),
        // An end's own "port" is the type of what it sent.
        _ => {
            let types = [ports[end], ports[1 - end]];
            is_by_icmp(proto, types, [flow.packets[end] > 0, flow.packets[1 - end] > 0])
        }
    })
}

/// The same of one end in one second.
pub(super) fn sent_by_kernel_in(view: &View<'_>) -> bool {
    match view.proto {
        TCP => is_by_tcp(flags_of(view.sent), flags_of(view.received)),
        proto => {
            let types = [view.local_port, view.remote_port];
            is_by_icmp(proto, types, [view.sent.packets() > 0, view.received.packets() > 0])
        }
    }
}

/// By the flags of all that one end sent and received. A reset that answers what is no
/// connection acknowledges a SYN at most, who sends ACKs gets bare ones (RFC 9293 section
/// 3.10.7.1): only in a connection do both acknowledge.
fn is_by_tcp(sent: u16, received: u16) -> bool {
    let acknowledged = sent & ACK != 0 && received & ACK != 0;
    let accepted = sent & ACK != 0 && sent & SYN != 0;
    let refused = sent & RST != 0 && sent & SYN == 0;
    acknowledged || accepted || refused
}

/// By the types of what an end sent and received, and whether it did.
///
/// Answers and errors, and what IPv6 keeps its links by: groups that somebody listens to
/// (RFC 3810), who looks for routers, neighbours, and redirects (RFC 4861). Routers' other
/// words are those of programs, and so is what answers them. Of neighbours and redirects the
/// kernel also is who they are for, whoever else hears them.
fn is_by_icmp(proto: u8, [sent, received]: [u16; 2], [did, heard]: [bool; 2]) -> bool {
    let is_link = proto == ICMPV6;
    let sends = is_link && matches!(sent, 131..=133 | 135..=137 | 143);
    let takes = is_link && matches!(received, 135..=137);
    did && (sends || is_icmp_answer(proto, sent)) || heard && takes
}

/// As far as classes of packets tell: whether a reset acknowledges, they do not.
fn flags_of(delta: &Delta) -> u16 {
    let of = |(class, flags): (PacketClass, u16)| match delta.classes[class as usize] {
        0 => 0,
        _ => flags,
    };
    [
        (TcpSyn, SYN),
        (TcpSynAck, SYN | ACK),
        (TcpRst, RST),
        (TcpFin, ACK),
        (TcpAck, ACK),
        (TcpData, ACK),
    ]
    .into_iter()
    .fold(0, |flags, one| flags | of(one))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::detect::analytic::testing::outline;
    use crate::engine::window::{FlowRow, Host};
    use crate::packet::facts::tcp_flag::{FIN, PSH};

    #[test]
    fn connections_resets_and_answers_are_the_kernels_and_floods_are_not() {
        let all = SYN | ACK | PSH | FIN;
        for (what, sent, received, by_kernel) in [
            ("a connection, from who opened it", all, SYN | ACK | PSH, true),
            ("from who accepted it", SYN | ACK | PSH, all, true),
            ("in the middle of one", ACK | PSH, ACK, true),
            ("aborted", SYN | ACK | RST, SYN | ACK, true),
            ("a port refuses", RST | ACK, SYN, true),
            ("a port accepts what nobody follows", SYN | ACK, SYN | RST, true),
            ("a reset of what nobody knows", RST, ACK, true),
            ("a SYN flood unheard", SYN, 0, false),
            ("one that is refused", SYN, RST | ACK, false),
            ("one that is accepted, which the kernel resets", SYN | RST, SYN | ACK, false),
            ("an ACK flood that is reset", ACK, RST, false),
            ("packets without a flag", 0, RST | ACK, false),
        ] {
            assert_eq!(is_by_tcp(sent, received), by_kernel, "{what}");
        }
    }

    #[test]
    fn of_icmp_answers_and_errors_are_the_kernels_and_requests_are_not() {
        // ICMP, ICMPv6: types of what both ends sent, or type and code.
        for (what, proto, ports, packets, by_kernel) in [
            ("an echo", 1, (8, 0), [3, 3], [false, true]),
            ("one of IPv6", 58, (128, 129), [3, 3], [false, true]),
            ("one unheard", 1, (8, 0), [3, 0], [false, false]),
            ("an answer alone", 1, (0, 8), [3, 0], [true, false]),
            ("a port unreachable", 1, (3, 3), [1, 0], [true, false]),
            ("one of IPv6", 58, (1, 4), [1, 0], [true, false]),
            ("who looks for a neighbour", 58, (135, 136), [1, 1], [true, true]),
            ("and is heard by the neighbour alone", 58, (135, 136), [1, 0], [true, true]),
            ("a neighbour's word unasked", 58, (136, 135), [1, 0], [true, true]),
            ("a redirect", 58, (137, 0), [1, 0], [true, true]),
            ("who looks for a router", 58, (133, 134), [1, 0], [true, false]),
            ("a router's word", 58, (134, 133), [1, 0], [false, false]),
            ("who is in which group", 58, (143, 0), [1, 0], [true, false]),
            ("a datagram to a port of that number", 17, (0, 3), [1, 1], [false, false]),
        ] {
            let mut flow = outline(0, "192.0.2.1", "192.0.2.2");
            (flow.key.port_a, flow.key.port_b) = ports;
            (flow.key.proto, flow.packets) = (proto, packets);
            assert_eq!(sent_by_kernel(&flow), by_kernel, "{what}");
        }
    }

    #[test]
    fn a_second_tells_the_same_as_a_flow() {
        let host = |last| Host::from(IpAddr::from([192, 0, 2, last]));
        let of = |proto, ports: (u16, u16), sent: &[PacketClass], received: &[PacketClass]| {
            let delta = |src, dst, from, to, classes: &[PacketClass]| {
                let mut delta = Delta::new(host(src), host(dst), proto, from, to);
                classes.iter().for_each(|&class| delta.classes[class as usize] += 1);
                delta
            };
            let row = FlowRow {
                there: delta(1, 2, ports.0, ports.1, sent),
                back: delta(2, 1, ports.1, ports.0, received),
                echo_id: 0,
                scale: 1,
                first_there: None,
            };
            [true, false].map(|there| sent_by_kernel_in(&View::of(&row, 0, there, false)))
        };
        let ports = (40_000, 80);
        assert_eq!(of(6, ports, &[TcpData], &[TcpAck]), [true, true], "a connection");
        assert_eq!(of(6, ports, &[TcpSyn], &[TcpRst]), [false, true], "a flood refused");
        assert_eq!(of(6, ports, &[TcpSyn, TcpRst], &[TcpSynAck]), [false, true], "accepted");
        assert_eq!(of(1, (8, 0), &[PacketClass::Icmp], &[PacketClass::Icmp]), [false, true]);
        assert_eq!(of(17, ports, &[PacketClass::Udp], &[]), [false, false]);
    }
}
