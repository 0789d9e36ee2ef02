//! The commonest shapes read at fixed offsets: Ethernet, at most one VLAN tag,
//! IPv4 without options or IPv6 without extension headers, unfragmented, TCP
//! or UDP outside tunnels.
//!
//! Everything is inlined into one value that never lies in memory before it is
//! where it goes: loads over fields that were just written one by one wait for
//! all of them. Callers ask for the [`Shape`] first and have code for each: what shapes
//! do not share would otherwise be put aside for the others at every step.
//!
//! It must say exactly what [`super::general`] says or nothing at all; see
//! [`super::fuzzing::paths_agree`].

use super::cursor::be16;
use super::decoder::DecodeOptions;
use super::facts::{Facts, PacketClass};
use super::ip::proto;
use super::key::{FlowKey, IpVersion, mapped_number};
use super::row::{Macs, PacketRow, Vlans, is_group_mac, is_group_v4, is_group_v6, row_flag};
use super::transport::tcp_class;
use super::tunnel::UdpTunnel;

/// A packet of one of the commonest shapes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Direct {
    /// All that the frame says. The payload's place is from the frame's start.
    pub(crate) row: PacketRow,
    /// Where the IP header starts in the frame.
    pub(crate) ip_offset: u32,
    /// The key's addresses as little-endian numbers.
    a: u128,
    b: u128,
}

impl Direct {
    /// [`FlowKey::hash`] of the row's key, of what is at hand.
    #[inline(always)]
    pub(crate) fn hash(&self, state: &ahash::RandomState) -> u64 {
        self.row.key.hash_with(self.a, self.b, state)
    }

    /// Says the same in facts.
    pub(super) fn fill(self, facts: &mut Facts) {
        let Self { row, ip_offset, .. } = self;
        facts.clear();
        facts.forward = row.is(row_flag::FORWARD);
        facts.has_mac = true;
        facts.ip_offset = ip_offset;
        facts.payload_offset = row.payload_at;
        facts.row = PacketRow { payload_at: 0, flags: 0, ..row };
    }
}

/// Which of the shapes a frame may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Tcp4,
    Udp4,
    Tcp6,
    Udp6,
}

/// By the fields alone that tell shapes apart.
#[inline(always)]
pub(super) fn shape(data: &[u8]) -> Option<Shape> {
    let (ethernet, rest) = data.split_first_chunk::<14>()?;
    let [.., t0, t1] = *ethernet;
    let (ether_type, packet) = match be16([t0, t1]) {
        0x8100 => {
            let ([_, _, t0, t1], rest) = rest.split_first_chunk::<4>()?;
            (be16([*t0, *t1]), rest)
        }
        ether_type => (ether_type, rest),
    };
    match ether_type {
        0x0800 => match *packet.get(9)? {
            proto::TCP => Some(Shape::Tcp4),
            proto::UDP => Some(Shape::Udp4),
            _ => None,
        },
        0x86dd => match *packet.get(6)? {
            proto::TCP => Some(Shape::Tcp6),
            proto::UDP => Some(Shape::Udp6),
            _ => None,
        },
        _ => None,
    }
}

/// A frame of any of the shapes.
pub(super) fn read_any(options: DecodeOptions, data: &[u8], wire_bytes: u32) -> Option<Direct> {
    match shape(data)? {
        Shape::Tcp4 => read::<false, false>(options, data, wire_bytes),
        Shape::Udp4 => read::<false, true>(options, data, wire_bytes),
        Shape::Tcp6 => read::<true, false>(options, data, wire_bytes),
        Shape::Udp6 => read::<true, true>(options, data, wire_bytes),
    }
}

/// A frame that may have this shape, by [`shape`]. `None`: it has another.
#[inline(always)]
pub(super) fn read<const V6: bool, const UDP: bool>(
    options: DecodeOptions,
    data: &[u8],
    wire_bytes: u32,
) -> Option<Direct> {
    let wire_bytes = data.len().max(wire_bytes as usize);
    let (ethernet, rest) = data.split_first_chunk::<14>()?;
    let (macs, ether_type) = ethernet.split_first_chunk::<12>()?;
    let mut link = Link { macs, vlans: Vlans::NONE };
    let mut key_vlan = 0;
    let mut packet = rest;
    if be16([ether_type[0], ether_type[1]]) == 0x8100 {
        let ([v0, v1, ..], rest) = rest.split_first_chunk::<4>()?;
        let vlan = be16([*v0, *v1]) & 0x0fff;
        link.vlans = Vlans::one(vlan);
        key_vlan = if options.key_vlan { vlan } else { 0 };
        packet = rest;
    }
    let ip_at = data.len() - packet.len();
    let ip = if V6 {
        read_v6::<UDP>(packet, wire_bytes - ip_at)?
    } else {
        read_v4::<UDP>(packet, wire_bytes - ip_at)?
    };
    Some(Direct {
        a: ip.a.0,
        b: ip.b.0,
        row: ip.row(link, key_vlan, ip_at),
        ip_offset: ip_at as u32,
    })
}

struct Link<'a> {
    macs: &'a [u8; 12],
    vlans: Vlans,
}

/// An IP packet with its transport header.
struct Ip {
    version: IpVersion,
    proto: u8,
    ttl: u8,
    header_bytes: usize,
    ip_bytes: usize,
    /// Captured from the transport header on.
    captured: usize,
    transport: Transport,
    forward: bool,
    /// To a multicast or broadcast address.
    group: bool,
    /// Addresses as little-endian numbers and ports. Bytes that are looked at one by one
    /// would be written one by one as well.
    a: (u128, u16),
    b: (u128, u16),
}

impl Ip {
    #[inline(always)]
    fn row(self, link: Link<'_>, key_vlan: u16, ip_at: usize) -> PacketRow {
        let Self { version, proto, ttl, transport, a, b, .. } = self;
        let key = FlowKey {
            port_a: a.1,
            port_b: b.1,
            echo_id: 0,
            vlan: key_vlan,
            vni: 0,
            proto,
            version,
            a: a.0.to_le_bytes(),
            b: b.0.to_le_bytes(),
        };
        let skipped = transport.header_bytes.min(self.captured);
        let direction = if self.forward { row_flag::FORWARD } else { 0 };
        let group = self.group || is_group_mac(link.macs);
        let group = if group { row_flag::GROUP } else { 0 };
        PacketRow {
            key,
            ip_bytes: self.ip_bytes as u32,
            payload_bytes: transport.payload_bytes as u32,
            payload_at: (ip_at + self.header_bytes + skipped) as u32,
            payload_captured: (self.captured - skipped).min(transport.payload_bytes) as u32,
            tcp_seq: transport.tcp_seq,
            tcp_ack: transport.tcp_ack,
            tcp_flags: transport.tcp_flags,
            vlans: link.vlans,
            macs: Macs::of_frame(link.macs),
            ttl,
            class: transport.class,
            flags: row_flag::HAS_MAC | direction | group,
            ..PacketRow::NOTHING
        }
    }
}

/// `wire_bytes` is what the frame had on the wire from the IP header on.
#[inline(always)]
fn read_v4<const UDP: bool>(packet: &[u8], wire_bytes: usize) -> Option<Ip> {
    const LEN: usize = 20;

    let (header, rest) = packet.split_first_chunk::<LEN>()?;
    let [first, _, l0, l1, _, _, f0, f1, ttl, _, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    let ip_bytes = usize::from(be16([l0, l1]));
    // Version 4 without options; no more fragments and no offset.
    let common = first == 0x45 && be16([f0, f1]) & 0x3fff == 0 && ip_bytes >= LEN;
    if !common || ip_bytes > wire_bytes {
        return None;
    }
    let transport = read_transport::<UDP>(rest, ip_bytes - LEN)?;
    let src = u32::from_be_bytes([s0, s1, s2, s3]);
    let dst = u32::from_be_bytes([d0, d1, d2, d3]);
    let from = u64::from(src) << 16 | u64::from(transport.src_port);
    let to = u64::from(dst) << 16 | u64::from(transport.dst_port);
    let forward = from <= to;
    let (a, b) = if forward { (from, to) } else { (to, from) };
    let end = |end: u64| (mapped_number((end >> 16) as u32).swap_bytes(), end as u16);
    Some(Ip {
        version: IpVersion::V4,
        proto: if UDP { proto::UDP } else { proto::TCP },
        ttl,
        header_bytes: LEN,
        ip_bytes,
        captured: rest.len(),
        transport,
        forward,
        group: is_group_v4((dst >> 24) as u8),
        a: end(a),
        b: end(b),
    })
}

/// As [`read_v4`].
#[inline(always)]
fn read_v6<const UDP: bool>(packet: &[u8], wire_bytes: usize) -> Option<Ip> {
    const LEN: usize = 40;

    let (header, rest) = packet.split_first_chunk::<LEN>()?;
    let ([first, _, _, _, l0, l1, _, ttl], addresses) = header.split_first_chunk::<8>()?;
    let payload_bytes = usize::from(be16([*l0, *l1]));
    if first >> 4 != 6 || payload_bytes == 0 || LEN + payload_bytes > wire_bytes {
        return None;
    }
    let (src, dst) = addresses.split_first_chunk::<16>()?;
    let dst = dst.first_chunk::<16>()?;
    let transport = read_transport::<UDP>(rest, payload_bytes)?;
    let from = (u128::from_be_bytes(*src), transport.src_port);
    let to = (u128::from_be_bytes(*dst), transport.dst_port);
    let forward = from <= to;
    let (a, b) = if forward { (from, to) } else { (to, from) };
    Some(Ip {
        version: IpVersion::V6,
        proto: if UDP { proto::UDP } else { proto::TCP },
        ttl: *ttl,
        header_bytes: LEN,
        ip_bytes: LEN + payload_bytes,
        captured: rest.len(),
        transport,
        forward,
        group: is_group_v6(dst[0]),
        a: (a.0.swap_bytes(), a.1),
        b: (b.0.swap_bytes(), b.1),
    })
}

struct Transport {
    src_port: u16,
    dst_port: u16,
    header_bytes: usize,
    payload_bytes: usize,
    class: PacketClass,
    tcp_seq: u32,
    tcp_ack: u32,
    tcp_flags: u16,
}

/// `bytes` is what was captured from the transport header on, `ip_payload`
/// what the IP header says there is.
#[inline(always)]
fn read_transport<const UDP: bool>(bytes: &[u8], ip_payload: usize) -> Option<Transport> {
    if UDP { read_udp(bytes, ip_payload) } else { read_tcp(bytes, ip_payload) }
}

#[inline(always)]
fn read_tcp(bytes: &[u8], ip_payload: usize) -> Option<Transport> {
    let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, ..] =
        *bytes.first_chunk::<20>()?;
    let header_bytes = usize::from(offset >> 4) * 4;
    if header_bytes < 20 || header_bytes > ip_payload {
        return None;
    }
    let payload_bytes = ip_payload - header_bytes;
    let tcp_flags = u16::from(offset & 1) << 8 | u16::from(flags);
    Some(Transport {
        src_port: be16([s0, s1]),
        dst_port: be16([d0, d1]),
        header_bytes,
        payload_bytes,
        class: tcp_class(tcp_flags, payload_bytes > 0),
        tcp_seq: u32::from_be_bytes([q0, q1, q2, q3]),
        tcp_ack: u32::from_be_bytes([a0, a1, a2, a3]),
        tcp_flags,
    })
}

#[inline(always)]
fn read_udp(bytes: &[u8], ip_payload: usize) -> Option<Transport> {
    let [s0, s1, d0, d1, l0, l1, ..] = *bytes.first_chunk::<8>()?;
    let (src_port, dst_port) = (be16([s0, s1]), be16([d0, d1]));
    let length = usize::from(be16([l0, l1]));
    if UdpTunnel::by_port(src_port, dst_port).is_some() || !(8..=ip_payload).contains(&length) {
        return None;
    }
    Some(Transport {
        src_port,
        dst_port,
        header_bytes: 8,
        payload_bytes: length - 8,
        class: PacketClass::Udp,
        tcp_seq: 0,
        tcp_ack: 0,
        tcp_flags: 0,
    })
}
