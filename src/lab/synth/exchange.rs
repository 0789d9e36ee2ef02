//! The conversations inside every shape, described before they are built, so
//! that their truth never comes from the bytes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::frame::{Frame, Tcp, ip_proto};
use super::shapes::{Truth, ip};
use crate::packet::facts::tcp_flag::{ACK, FIN, PSH, SYN};

/// Packets between two hosts, in order.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) packets: Vec<Packet>,
}

/// One packet from the transport's payload to its IP header.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    /// From the client to the server.
    pub(super) forward: bool,
    pub(super) proto: u8,
    pub(super) client: IpAddr,
    pub(super) server: IpAddr,
    pub(super) client_port: u16,
    pub(super) server_port: u16,
    pub(super) payload_bytes: usize,
    tcp_flags: u16,
    seq: u32,
    ack: u32,
    ipv4_options: &'static [u8],
    ipv6_extensions: &'static [u8],
    authenticated: bool,
}

/// A TCP connection (handshake, request, response, close: 8 packets), a UDP
/// request and answer, a ping and its reply: 12 packets, 3 conversations.
pub(super) fn exchange(client: &str, server: &str) -> Exchange {
    let (client, server) = (ip(client), ip(server));
    let packet = |forward, proto, client_port, server_port, payload_bytes| Packet {
        forward,
        proto,
        client,
        server,
        client_port,
        server_port,
        payload_bytes,
        tcp_flags: 0,
        seq: 0,
        ack: 0,
        ipv4_options: &[],
        ipv6_extensions: &[],
        authenticated: false,
    };
    let tcp = |forward, tcp_flags, seq, ack, payload_bytes| Packet {
        tcp_flags,
        seq,
        ack,
        ..packet(forward, ip_proto::TCP, 40_001, 9_001, payload_bytes)
    };
    let ping = if client.is_ipv4() { ip_proto::ICMP } else { ip_proto::ICMPV6 };
    Exchange {
        packets: vec![
            tcp(true, SYN, 1_000, 0, 0),
            tcp(false, SYN | ACK, 5_000, 1_001, 0),
            tcp(true, ACK, 1_001, 5_001, 0),
            tcp(true, ACK | PSH, 1_001, 5_001, 120),
            tcp(false, ACK | PSH, 5_001, 1_121, 900),
            tcp(true, ACK | FIN, 1_121, 5_901, 0),
            tcp(false, ACK | FIN, 5_901, 1_122, 0),
            tcp(true, ACK, 1_122, 5_902, 0),
            packet(true, ip_proto::UDP, 40_002, 9_002, 31),
            packet(false, ip_proto::UDP, 40_002, 9_002, 410),
            packet(true, ping, 777, 0, 56),
            packet(false, ping, 777, 0, 56),
        ],
    }
}

/// Protocols beside the common four: SCTP, UDP-Lite, IGMP, ESP, and one that
/// has no name here.
pub(super) fn other_protocols() -> Exchange {
    let template = exchange("198.51.100.10", "203.0.113.20");
    let of = |proto, payload_bytes, ports: bool| {
        template.packets.iter().skip(8).take(2).map(move |packet| Packet {
            proto,
            payload_bytes,
            client_port: if ports { 40_003 } else { 0 },
            server_port: if ports { 9_003 } else { 0 },
            ..packet.clone()
        })
    };
    let mut packets: Vec<Packet> = of(ip_proto::SCTP, 20, true).collect();
    packets.extend(of(ip_proto::UDP_LITE, 64, true));
    packets.extend(of(ip_proto::ESP, 100, false));
    packets.extend(of(253, 80, false)); // for experiments, RFC 3692
    packets.extend(
        of(ip_proto::IGMP, 0, false)
            .take(1)
            .map(|packet| Packet { server: ip("224.0.0.251"), ..packet }),
    );
    Exchange { packets }
}

impl Exchange {
    pub(super) fn and(mut self, other: Self) -> Self {
        self.packets.extend(other.packets);
        self
    }

    pub(super) fn options(mut self, options: &'static [u8]) -> Self {
        self.packets.iter_mut().for_each(|packet| packet.ipv4_options = options);
        self
    }

    /// IPv6 extension headers, innermost first.
    pub(super) fn extensions(mut self, kinds: &'static [u8]) -> Self {
        self.packets.iter_mut().for_each(|packet| packet.ipv6_extensions = kinds);
        self
    }

    /// Behind an authentication header.
    pub(super) fn authenticated(mut self) -> Self {
        self.packets.iter_mut().for_each(|packet| packet.authenticated = true);
        self
    }

    /// All but the bytes on the wire, which depend on what is around.
    pub(super) fn truth(&self) -> Truth {
        let mut truth = Truth { packets: self.packets.len() as u64, ..Truth::default() };
        let mut conversations = BTreeSet::new();
        for packet in &self.packets {
            *truth.protocols.entry(packet.protocol().to_owned()).or_default() += 1;
            conversations.insert((
                packet.proto,
                packet.client,
                packet.server,
                packet.client_port,
                packet.server_port,
            ));
            match packet.proto {
                ip_proto::TCP => truth.tcp_payload_bytes += packet.payload_bytes as u64,
                ip_proto::UDP => truth.udp_payload_bytes += packet.payload_bytes as u64,
                _ => {}
            }
        }
        truth.conversations = conversations.len() as u64;
        truth
    }
}

impl Packet {
    /// Builds the IP packet.
    pub(super) fn build(&self, frame: &mut Frame) {
        let payload: Vec<u8> = (0..self.payload_bytes).map(|at| b'a' + (at % 26) as u8).collect();
        let (src_port, dst_port) = self.directed(self.client_port, self.server_port);
        let echo = (self.client_port as u32) << 16 | 1;
        frame.payload(&payload);
        match self.proto {
            ip_proto::TCP => {
                // Maximum segment size 1460 on the handshake.
                let options: &[u8] = if self.tcp_flags & SYN != 0 { &[2, 4, 5, 0xb4] } else { &[] };
                let (flags, seq, ack) = (self.tcp_flags, self.seq, self.ack);
                frame.tcp(src_port, dst_port, Tcp { seq, ack, flags, options });
            }
            ip_proto::UDP => {
                frame.udp(src_port, dst_port);
            }
            ip_proto::UDP_LITE => {
                frame.udp_lite(src_port, dst_port, 8);
            }
            ip_proto::ICMP => {
                frame.icmp(if self.forward { 8 } else { 0 }, 0, echo.to_be_bytes());
            }
            ip_proto::ICMPV6 => {
                frame.icmpv6(if self.forward { 128 } else { 129 }, 0, echo.to_be_bytes());
            }
            ip_proto::SCTP => {
                // A DATA chunk, whole message, 16 bytes of header, the rest user data.
                let mut chunk = vec![0, 3];
                chunk.extend_from_slice(&(self.payload_bytes as u16).to_be_bytes());
                chunk.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
                chunk.resize(self.payload_bytes.max(16), b'x');
                frame.payload(&chunk).sctp(src_port, dst_port, 0x1234_5678);
            }
            ip_proto::ESP => {
                frame.esp(if self.forward { 0x0101 } else { 0x0102 }, 1);
            }
            ip_proto::IGMP => {
                frame.igmp(0x16, [224, 0, 0, 251]);
            }
            other => {
                frame.ip_proto(other);
            }
        }
        if self.authenticated {
            frame.ah(0x0202, 1);
        }
        for &kind in self.ipv6_extensions {
            frame.ipv6_extension(kind, 2);
        }
        let (src, dst) = self.directed(self.client, self.server);
        frame.ip_with_options(src, dst, self.ipv4_options);
    }

    /// Name as in the summary's `protocols`.
    pub(super) fn protocol(&self) -> &'static str {
        match self.proto {
            ip_proto::TCP => "tcp",
            ip_proto::UDP => "udp",
            ip_proto::ICMP => "icmp",
            ip_proto::ICMPV6 => "icmpv6",
            ip_proto::SCTP => "sctp",
            ip_proto::UDP_LITE => "udplite",
            ip_proto::ESP => "esp",
            ip_proto::IGMP => "igmp",
            _ => "253",
        }
    }

    fn directed<T>(&self, client: T, server: T) -> (T, T) {
        if self.forward { (client, server) } else { (server, client) }
    }
}
