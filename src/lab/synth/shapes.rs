//! One small capture for each encapsulation, with its truth.
//!
//! Every capture holds the same conversations inside: a TCP connection, a UDP
//! request with its answer, and a ping. Only what is around them changes, so
//! whatever reads them must find the same flows each time.

use std::net::IpAddr;

use serde::Serialize;

use super::encapsulation::{CLIENT_MAC, Gre, SERVER_MAC};
use super::exchange::{Exchange, Packet, exchange};
use super::frame::{Frame, fragments_v4, fragments_v6};

/// Names of LINKTYPE_ numbers used here.
mod link {
    pub(super) const NULL: u16 = 0;
    pub(super) const ETHERNET: u16 = 1;
    pub(super) const PPP: u16 = 9;
    pub(super) const RAW: u16 = 101;
    pub(super) const IEEE802_11: u16 = 105;
    pub(super) const LOOP: u16 = 108;
    pub(super) const LINUX_SLL: u16 = 113;
    pub(super) const IEEE802_11_RADIOTAP: u16 = 127;
    pub(super) const IPV4: u16 = 228;
    pub(super) const IPV6: u16 = 229;
    pub(super) const LINUX_SLL2: u16 = 276;
}

/// A capture to be written and what is in it.
#[derive(Clone, Debug)]
pub struct Shape {
    pub name: &'static str,
    pub link_type: u16,
    pub frames: Vec<Vec<u8>>,
    pub truth: Truth,
}

/// What a reader must find, from the definition of the scenario alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Truth {
    pub packets: u64,
    pub wire_bytes: u64,
    pub non_ip_packets: u64,
    /// Packets by protocol of the innermost IP packet.
    pub protocols: std::collections::BTreeMap<String, u64>,
    /// Distinct conversations of the innermost packets, and of the outermost.
    pub conversations: u64,
    pub conversations_no_decap: u64,
    /// Payload bytes of TCP and of UDP, innermost.
    pub tcp_payload_bytes: u64,
    pub udp_payload_bytes: u64,
    /// Tunnels that each flow must name, outermost first.
    pub tunnels: Vec<&'static str>,
    /// Identifier that the innermost tunnel carries, where it has one.
    pub tunnel_ids: Vec<Option<u32>>,
    /// VLAN identifiers of the outermost Ethernet header.
    pub vlans: Vec<u16>,
}

/// Every shape there is, in a fixed order.
pub fn all() -> Vec<Shape> {
    let mut shapes = link_layers();
    shapes.extend(below_ip());
    shapes.extend(tunnels());
    shapes.extend(network_layer());
    shapes
}

/// Puts one header stack around each packet of an exchange.
fn shape(
    name: &'static str,
    link_type: u16,
    exchange: Exchange,
    wrap: &dyn Fn(&mut Frame, &Packet),
) -> Shape {
    let mut truth = exchange.truth();
    truth.conversations_no_decap = truth.conversations;
    let mut frame = Frame::default();
    let frames: Vec<Vec<u8>> = exchange
        .packets
        .iter()
        .map(|packet| {
            packet.build(&mut frame);
            wrap(&mut frame, packet);
            frame.bytes().to_vec()
        })
        .collect();
    truth.wire_bytes = frames.iter().map(|bytes| bytes.len() as u64).sum();
    Shape { name, link_type, frames, truth }
}

/// A shape whose flows lie in tunnels; `outer` counts the conversations that a
/// reader sees who does not open them.
fn tunnelled(
    name: &'static str,
    exchange: Exchange,
    tunnels: &[(&'static str, Option<u32>)],
    outer: u64,
    wrap: &dyn Fn(&mut Frame, &Packet),
) -> Shape {
    let mut shape = shape(name, link::ETHERNET, exchange, wrap);
    shape.truth.tunnels = tunnels.iter().map(|(kind, _)| *kind).collect();
    shape.truth.tunnel_ids = tunnels.iter().map(|(_, id)| *id).collect();
    shape.truth.conversations_no_decap = outer;
    shape
}

fn link_layers() -> Vec<Shape> {
    let four = || exchange("198.51.100.10", "203.0.113.20");
    let six = || exchange("2001:db8:1::10", "2001:db8:2::20");
    let both = || four().and(six());
    let plain: &dyn Fn(&mut Frame, &Packet) = &|_, _| {};
    let mut with_non_ip = shape("non-ip", link::ETHERNET, four(), &ethernet);
    with_non_ip.add_non_ip();
    vec![
        shape("ethernet", link::ETHERNET, both(), &ethernet),
        with_non_ip,
        shape("raw", link::RAW, both(), plain),
        shape("raw-ipv4", link::IPV4, four(), plain),
        shape("raw-ipv6", link::IPV6, six(), plain),
        // 24, 28 and 30 are AF_INET6 of NetBSD/OpenBSD, FreeBSD and macOS.
        shape("null-netbsd", link::NULL, both(), &|f, _| {
            f.loopback(24, false);
        }),
        shape("null-freebsd", link::NULL, both(), &|f, _| {
            f.loopback(28, false);
        }),
        shape("null-macos-big-endian", link::NULL, both(), &|f, _| {
            f.loopback(30, true);
        }),
        shape("loop", link::LOOP, both(), &|f, _| {
            f.loopback(24, true);
        }),
        shape("linux-sll", link::LINUX_SLL, both(), &|f, p| {
            f.linux_cooked(mac(p), p.forward);
        }),
        shape("linux-sll2", link::LINUX_SLL2, both(), &|f, p| {
            f.linux_cooked_2(mac(p), p.forward, 3);
        }),
        shape("ppp", link::PPP, both(), &|f, _| {
            f.ppp();
        }),
        shape("wifi", link::IEEE802_11, both(), &|f, p| {
            f.wifi(mac(p), peer_mac(p), p.forward, false);
        }),
        shape("wifi-qos-radiotap", link::IEEE802_11_RADIOTAP, both(), &|f, p| {
            f.wifi(mac(p), peer_mac(p), p.forward, true).radiotap();
        }),
    ]
}

fn below_ip() -> Vec<Shape> {
    let both = || {
        exchange("198.51.100.10", "203.0.113.20").and(exchange("2001:db8:1::10", "2001:db8:2::20"))
    };
    let mut vlan = shape("vlan", link::ETHERNET, both(), &|f, p| {
        f.vlan(100);
        ethernet(f, p);
    });
    vlan.truth.vlans = vec![100];
    let mut qinq = shape("qinq", link::ETHERNET, both(), &|f, p| {
        f.vlan(100).service_vlan(200);
        ethernet(f, p);
    });
    qinq.truth.vlans = vec![200, 100];
    vec![
        vlan,
        qinq,
        shape("mpls", link::ETHERNET, both(), &|f, p| {
            f.mpls(16).mpls(17).mpls(18);
            ethernet(f, p);
        }),
        shape("pppoe", link::ETHERNET, both(), &|f, p| {
            f.pppoe(0x1234);
            ethernet(f, p);
        }),
    ]
}

fn tunnels() -> Vec<Shape> {
    let four = || exchange("10.1.0.10", "10.2.0.20");
    let six = || exchange("2001:db8:1::10", "2001:db8:2::20");
    let mut shapes = vec![
        tunnelled("gre", four(), &[("gre", None)], 1, &|f, p| {
            f.gre(Gre::default());
            outer_four(f, p);
        }),
        tunnelled("gre-key-sequence-checksum", six(), &[("gre", Some(77))], 1, &|f, p| {
            f.gre(Gre { checksum: true, key: Some(77), sequence: Some(1) });
            outer_four(f, p);
        }),
        tunnelled("gre-bridged-over-ipv6", four(), &[("gre", None)], 1, &|f, p| {
            ethernet(f, p);
            f.gre(Gre::default());
            outer_six(f, p);
        }),
        tunnelled("erspan1", four(), &[("erspan1", None)], 1, &|f, p| {
            ethernet(f, p);
            f.erspan_1();
            outer_mirror(f);
        }),
        tunnelled("erspan2", four(), &[("erspan2", Some(42))], 1, &|f, p| {
            ethernet(f, p);
            f.erspan_2(42, 100, 1);
            outer_mirror(f);
        }),
        tunnelled("erspan3", four(), &[("erspan3", Some(43))], 1, &|f, p| {
            ethernet(f, p);
            f.erspan_3(43, 100, 1);
            outer_mirror(f);
        }),
        // The source port is a hash of the inner flow, as RFC 7348 asks for:
        // three inner conversations, one outer each way.
        tunnelled("vxlan", four(), &[("vxlan", Some(5_001))], 6, &|f, p| {
            ethernet(f, p);
            f.vxlan(5_001).udp(hash_port(p), 4_789);
            outer_four(f, p);
        }),
        tunnelled("geneve-options", four(), &[("geneve", Some(5_002))], 6, &|f, p| {
            ethernet(f, p);
            f.geneve(5_002, &[1, 2, 0x80, 1, 0, 0, 0, 1]).udp(hash_port(p), 6_081);
            outer_four(f, p);
        }),
        tunnelled("gtpu", four(), &[("gtpu", None)], 1, &|f, p| {
            f.gtp_u(if p.forward { 0x1001 } else { 0x2002 }, None).udp(2_152, 2_152);
            outer_four(f, p);
        }),
        tunnelled("gtpu-sequence-ipv6", six(), &[("gtpu", None)], 1, &|f, p| {
            f.gtp_u(if p.forward { 0x1001 } else { 0x2002 }, Some(9)).udp(2_152, 2_152);
            outer_four(f, p);
        }),
        tunnelled("ipip", four(), &[("ipip", None)], 1, &outer_four),
        tunnelled("6in4", six(), &[("6in4", None)], 1, &outer_four),
        tunnelled("4in6", four(), &[("4in6", None)], 1, &outer_six),
        tunnelled("6in6", six(), &[("6in6", None)], 1, &outer_six),
        tunnelled(
            "6to4",
            exchange("2002:c633:640a::1", "2002:cb00:7114::1"),
            &[("6to4", None)],
            1,
            &|f, p| {
                let (a, b) = (ip("198.51.100.10"), ip("203.0.113.20"));
                if p.forward {
                    f.ip(a, b)
                } else {
                    f.ip(b, a)
                };
                ethernet(f, p);
            },
        ),
        // Server 203.0.113.1, cone flag clear, client port and address inverted.
        tunnelled(
            "teredo",
            exchange("2001:0:cb00:7101:0:38c7:39cc:9bf5", "2001:db8:2::20"),
            &[("teredo", None)],
            1,
            &|f, p| {
                let (a, b) = (ip("198.51.100.10"), ip("203.0.113.1"));
                if p.forward {
                    f.udp(51_000, 3_544).ip(a, b);
                } else {
                    f.udp(3_544, 51_000).ip(b, a);
                }
                ethernet(f, p);
            },
        ),
    ];
    let mut vlan_inside =
        tunnelled("vxlan-vlan-inside", four(), &[("vxlan", Some(7))], 6, &|f, p| {
            f.vlan(300);
            ethernet(f, p);
            f.vxlan(7).udp(hash_port(p), 4_789);
            outer_four_tagged(f, p);
        });
    vlan_inside.truth.vlans = vec![400];
    shapes.push(vlan_inside);
    // What a cloud mirror of a mobile core looks like: three tunnels deep.
    shapes.push(tunnelled(
        "geneve-vxlan-gtpu",
        four(),
        &[("geneve", Some(8)), ("vxlan", Some(9)), ("gtpu", None)],
        2,
        &|f, p| {
            let (a, b) = (ip("172.16.0.1"), ip("172.16.0.2"));
            f.gtp_u(if p.forward { 1 } else { 2 }, None).udp(2_152, 2_152);
            if p.forward {
                f.ip(a, b)
            } else {
                f.ip(b, a)
            };
            ethernet(f, p);
            let (c, d) = (ip("172.17.0.1"), ip("172.17.0.2"));
            f.vxlan(9).udp(50_000, 4_789);
            if p.forward {
                f.ip(c, d)
            } else {
                f.ip(d, c)
            };
            ethernet(f, p);
            f.geneve(8, &[]).udp(50_001, 6_081);
            outer_four(f, p);
        },
    ));
    shapes
}

fn network_layer() -> Vec<Shape> {
    let four = || exchange("198.51.100.10", "203.0.113.20");
    let six = || exchange("2001:db8:1::10", "2001:db8:2::20");
    let mut frame = Frame::default();
    let mut shapes = vec![
        // Router alert (RFC 2113).
        shape("ipv4-options", link::ETHERNET, four().options(&[0x94, 4, 0, 0]), &ethernet),
        shape("ipv6-extensions", link::ETHERNET, six().extensions(&[60, 43, 0]), &ethernet),
        shape("ah", link::ETHERNET, four().and(six()).authenticated(), &ethernet),
        shape("other-protocols", link::ETHERNET, super::exchange::other_protocols(), &ethernet),
    ];
    for (name, src, dst) in [
        ("ipv4-fragments", "198.51.100.10", "203.0.113.20"),
        ("ipv6-fragments", "2001:db8:1::10", "2001:db8:2::20"),
    ] {
        let exchange = exchange(src, dst);
        let mut truth = exchange.truth();
        truth.conversations_no_decap = truth.conversations;
        truth.packets = 0;
        truth.protocols.clear();
        let mut frames = Vec::new();
        for (index, packet) in exchange.packets.iter().enumerate() {
            frame.ip_id = index as u16 + 1;
            packet.build(&mut frame);
            let pieces = if name == "ipv4-fragments" {
                fragments_v4(frame.bytes(), 256)
            } else if frame.bytes().len() > 40 + 256 {
                fragments_v6(frame.bytes(), 256, index as u32 + 1)
            } else {
                vec![frame.bytes().to_vec()]
            };
            truth.packets += pieces.len() as u64;
            *truth.protocols.entry(packet.protocol().to_owned()).or_default() +=
                pieces.len() as u64;
            for piece in pieces {
                frame.packet(&piece);
                ethernet(&mut frame, packet);
                frames.push(frame.bytes().to_vec());
            }
        }
        truth.wire_bytes = frames.iter().map(|bytes| bytes.len() as u64).sum();
        shapes.push(Shape { name, link_type: link::ETHERNET, frames, truth });
    }
    shapes
}

impl Shape {
    /// ARP and spanning tree behind the conversations.
    fn add_non_ip(&mut self) {
        let mut frame = Frame::default();
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
        arp.extend_from_slice(&CLIENT_MAC);
        arp.extend_from_slice(&[198, 51, 100, 10, 0, 0, 0, 0, 0, 0, 198, 51, 100, 1]);
        frame.payload(&arp).ether_type(0x0806).ethernet(CLIENT_MAC, [0xff; 6]).pad_to(60);
        self.frames.push(frame.bytes().to_vec());
        // A configuration BPDU that is all defaults.
        frame.payload(&[0; 35]).llc(CLIENT_MAC, [1, 0x80, 0xc2, 0, 0, 0], [0x42, 0x42, 3]);
        frame.pad_to(60);
        self.frames.push(frame.bytes().to_vec());
        self.truth.packets += 2;
        self.truth.non_ip_packets = 2;
        self.truth.wire_bytes += 120;
    }
}

fn ethernet(frame: &mut Frame, packet: &Packet) {
    frame.ethernet(mac(packet), peer_mac(packet)).pad_to(60);
}

fn outer_four(frame: &mut Frame, packet: &Packet) {
    let (a, b) = (ip("192.0.2.1"), ip("192.0.2.2"));
    if packet.forward {
        frame.ip(a, b)
    } else {
        frame.ip(b, a)
    };
    ethernet(frame, packet);
}

fn outer_four_tagged(frame: &mut Frame, packet: &Packet) {
    let (a, b) = (ip("192.0.2.1"), ip("192.0.2.2"));
    if packet.forward {
        frame.ip(a, b)
    } else {
        frame.ip(b, a)
    };
    frame.vlan(400);
    ethernet(frame, packet);
}

fn outer_six(frame: &mut Frame, packet: &Packet) {
    let (a, b) = (ip("2001:db8:f::1"), ip("2001:db8:f::2"));
    if packet.forward {
        frame.ip(a, b)
    } else {
        frame.ip(b, a)
    };
    ethernet(frame, packet);
}

/// A mirror sends both directions from the switch to the collector.
fn outer_mirror(frame: &mut Frame) {
    frame.ip(ip("192.0.2.1"), ip("192.0.2.2")).ethernet(CLIENT_MAC, SERVER_MAC);
}

fn mac(packet: &Packet) -> [u8; 6] {
    if packet.forward { CLIENT_MAC } else { SERVER_MAC }
}

fn peer_mac(packet: &Packet) -> [u8; 6] {
    if packet.forward { SERVER_MAC } else { CLIENT_MAC }
}

fn hash_port(packet: &Packet) -> u16 {
    let direction = if packet.forward { 0 } else { 100 };
    50_000 + direction + u16::from(packet.proto)
}

/// Addresses are written in this file; a typing error shows in any test.
pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}
