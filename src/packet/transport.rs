//! Transport headers, and the facts of a flow once they are read.

use std::net::IpAddr;

use etherparse::{TcpHeaderSlice, UdpHeaderSlice};

use super::cursor::{Cursor, be16};
use super::facts::{Facts, PacketClass, tcp_flag};
use super::icmp;
use super::ip::{IpPacket, proto};
use super::key::{Address, FlowKey, from_ip};

/// What the transport header of one packet says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transport<'a> {
    pub(super) src_port: u16,
    pub(super) dst_port: u16,
    one_way: bool,
    echo_id: u16,
    class: PacketClass,
    tcp_seq: u32,
    tcp_ack: u32,
    tcp_flags: u16,
    icmp_type: u8,
    icmp_code: u8,
    /// Starts and, on the wire, ends with the payload.
    pub(super) payload: Cursor<'a>,
}

impl<'a> Transport<'a> {
    /// Reads the header that `packet` leads to; what was cut is 0.
    pub(super) fn read(packet: &IpPacket<'a>) -> Self {
        let nothing = Self {
            src_port: 0,
            dst_port: 0,
            one_way: false,
            echo_id: 0,
            class: class_of(packet.proto),
            tcp_seq: 0,
            tcp_ack: 0,
            tcp_flags: 0,
            icmp_type: 0,
            icmp_code: 0,
            payload: packet.payload,
        };
        if !packet.at_transport {
            return nothing;
        }
        match packet.proto {
            proto::TCP => nothing.tcp(packet.fragment.is_some()),
            proto::UDP => nothing.udp(),
            proto::UDP_LITE => nothing.with_ports().past(8),
            proto::SCTP => nothing.with_ports().past(12),
            proto::ICMP | proto::ICMPV6 => nothing.icmp(packet.proto),
            _ => nothing,
        }
    }

    fn tcp(self, fragmented: bool) -> Self {
        const LEN: usize = 20;

        let header = self.payload;
        let ported = self.with_ports();
        if let Ok(tcp) = TcpHeaderSlice::from_slice(header.captured()) {
            let payload = ported.past(tcp.slice().len()).payload;
            let flags = flags_of(&tcp);
            return Self {
                tcp_seq: tcp.sequence_number(),
                tcp_ack: tcp.acknowledgment_number(),
                tcp_flags: flags,
                class: tcp_class(flags, payload.wire_left() > 0),
                payload,
                ..ported
            };
        }
        // Cut off, or a data offset that can't be. Without the data offset the
        // least possible header is assumed.
        let Some(&[_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3, offset, flags]) = header.peek()
        else {
            return ported.past(LEN);
        };
        let header_bytes = usize::from(offset >> 4) * 4;
        if header_bytes < LEN || (header_bytes > header.wire_left() && !fragmented) {
            return Self { payload: header.limited(0), ..ported };
        }
        let payload = ported.past(header_bytes).payload;
        let tcp_seq = u32::from_be_bytes([s0, s1, s2, s3]);
        let tcp_ack = u32::from_be_bytes([a0, a1, a2, a3]);
        let tcp_flags = u16::from(offset & 1) << 8 | u16::from(flags);
        let class = tcp_class(tcp_flags, payload.wire_left() > 0);
        Self { tcp_seq, tcp_ack, tcp_flags, class, payload, ..ported }
    }

    fn udp(self) -> Self {
        const LEN: usize = 8;

        let ported = self.with_ports();
        let Ok(udp) = UdpHeaderSlice::from_slice(self.payload.captured()) else {
            return ported.past(LEN);
        };
        let length = usize::from(udp.length());
        if (LEN..=self.payload.wire_left()).contains(&length) {
            return Self { payload: self.payload.limited(length), ..ported }.past(LEN);
        }
        // 0 is offload or a jumbogram (RFC 2675 section 4); in a first fragment
        // it is the whole datagram's.
        ported.past(LEN)
    }

    fn icmp(self, proto: u8) -> Self {
        const LEN: usize = 8;

        let Some(&[icmp_type, icmp_code]) = self.payload.peek::<2>() else { return self.past(LEN) };
        let ports = icmp::ports(proto, icmp_type, icmp_code);
        let echo_id = match self.payload.peek::<6>() {
            Some([.., high, low]) if ports.has_identifier => be16([*high, *low]),
            _ => 0,
        };
        Self {
            src_port: ports.src,
            dst_port: ports.dst,
            one_way: ports.one_way,
            echo_id,
            icmp_type,
            icmp_code,
            ..self.past(LEN)
        }
    }

    fn with_ports(self) -> Self {
        let Some(&[s0, s1, d0, d1]) = self.payload.peek::<4>() else { return self };
        Self { src_port: be16([s0, s1]), dst_port: be16([d0, d1]), ..self }
    }

    fn past(self, header_bytes: usize) -> Self {
        let mut payload = self.payload;
        payload.advance(header_bytes);
        Self { payload, ..self }
    }

    /// Writes what `packet` and its transport header say into `facts`. Leaves
    /// the link layer and tunnels alone; a fragment that was set stays.
    pub(super) fn fill(&self, packet: &IpPacket<'_>, vni: u32, facts: &mut Facts) {
        let (key, forward) = oriented(
            (packet.src, self.src_port),
            (packet.dst, self.dst_port),
            self.one_way,
            FlowKey {
                version: packet.version,
                proto: packet.proto,
                echo_id: self.echo_id,
                vlan: facts.key.vlan,
                vni,
                ..FlowKey::ZERO
            },
        );
        facts.key = key;
        facts.forward = forward;
        facts.class = self.class;
        facts.ip_bytes = packet.ip_bytes;
        facts.payload_bytes = u32::try_from(self.payload.wire_left()).unwrap_or(u32::MAX);
        facts.payload_captured = self.payload.captured().len() as u32;
        facts.payload_offset = self.payload.captured_at() as u32;
        facts.tcp_seq = self.tcp_seq;
        facts.tcp_ack = self.tcp_ack;
        facts.tcp_flags = self.tcp_flags;
        facts.ttl = packet.ttl;
        facts.icmp_type = self.icmp_type;
        facts.icmp_code = self.icmp_code;
        facts.fragment = facts.fragment.or(packet.fragment);
    }
}

/// Puts both ends of a packet into `key` in their order. True: the packet goes
/// from `a` to `b`.
fn oriented(
    src: (Address, u16),
    dst: (Address, u16),
    one_way: bool,
    key: FlowKey,
) -> (FlowKey, bool) {
    let forward = one_way || src <= dst;
    let ((a, port_a), (b, port_b)) = if forward { (src, dst) } else { (dst, src) };
    (FlowKey { a, b, port_a, port_b, ..key }, forward)
}

/// A flow's key from what its record says of originator and responder (of ICMP type and
/// counterpart as ports), and whether `a` is the originator.
pub(crate) fn recorded_key(
    src: (IpAddr, u16),
    dst: (IpAddr, u16),
    key: FlowKey,
) -> (FlowKey, bool) {
    let is_icmp = matches!(key.proto, proto::ICMP | proto::ICMPV6);
    let one_way =
        is_icmp && u8::try_from(src.1).is_ok_and(|kind| icmp::ports(key.proto, kind, 0).one_way);
    let (version, from) = from_ip(src.0);
    let to = from_ip(dst.0).1;
    oriented((from, src.1), (to, dst.1), one_way, FlowKey { version, ..key })
}

/// Class of a packet as far as its protocol alone tells it.
pub(crate) fn class_of(ip_proto: u8) -> PacketClass {
    match ip_proto {
        proto::TCP => PacketClass::TcpUnknown,
        proto::UDP => PacketClass::Udp,
        proto::ICMP | proto::ICMPV6 => PacketClass::Icmp,
        proto::GRE => PacketClass::Gre,
        _ => PacketClass::OtherIp,
    }
}

fn flags_of(tcp: &TcpHeaderSlice<'_>) -> u16 {
    [
        (tcp.fin(), tcp_flag::FIN),
        (tcp.syn(), tcp_flag::SYN),
        (tcp.rst(), tcp_flag::RST),
        (tcp.psh(), tcp_flag::PSH),
        (tcp.ack(), tcp_flag::ACK),
        (tcp.urg(), tcp_flag::URG),
        (tcp.ece(), tcp_flag::ECE),
        (tcp.cwr(), tcp_flag::CWR),
        (tcp.ns(), tcp_flag::NS),
    ]
    .into_iter()
    .filter(|(set, _)| *set)
    .fold(0, |flags, (_, flag)| flags | flag)
}

/// Class of a TCP packet by its flags and whether it has payload.
#[inline]
pub(crate) fn tcp_class(flags: u16, has_payload: bool) -> PacketClass {
    TCP_CLASSES[usize::from(flags & TCP_CLASS_FLAGS)][usize::from(has_payload)]
}

/// What classes go by.
const TCP_CLASS_FLAGS: u16 = tcp_flag::SYN | tcp_flag::ACK | tcp_flag::FIN | tcp_flag::RST;

/// By flags, then whether there is payload: mixed traffic makes a branch of each wrong.
const TCP_CLASSES: [[PacketClass; 2]; TCP_CLASS_FLAGS as usize + 1] = {
    use PacketClass as Class;
    use tcp_flag::{ACK, FIN, RST, SYN};

    let mut classes = [[Class::TcpOdd; 2]; TCP_CLASS_FLAGS as usize + 1];
    classes[SYN as usize] = [Class::TcpSyn; 2];
    classes[(SYN | ACK) as usize] = [Class::TcpSynAck; 2];
    classes[RST as usize] = [Class::TcpRst; 2];
    classes[(RST | ACK) as usize] = [Class::TcpRst; 2];
    classes[(FIN | ACK) as usize] = [Class::TcpFin; 2];
    classes[ACK as usize] = [Class::TcpAck, Class::TcpData];
    classes
};
