//! The commonest shapes read at fixed offsets: Ethernet, at most one VLAN tag,
//! IPv4 without options or IPv6 without extension headers, unfragmented, TCP
//! or UDP outside tunnels.
//!
//! It must say exactly what [`super::general`] says or nothing at all; see
//! [`super::fuzzing::paths_agree`].

use super::cursor::be16;
use super::decoder::DecodeOptions;
use super::facts::{Facts, PacketClass};
use super::ip::proto;
use super::key::{FlowKey, IpVersion, mapped};
use super::transport::tcp_class;
use super::tunnel::UdpTunnel;

/// `None`: the frame has another shape, and `facts` may hold anything.
#[inline]
pub(super) fn read(
    options: DecodeOptions,
    data: &[u8],
    wire_bytes: u32,
    facts: &mut Facts,
) -> Option<()> {
    let wire_bytes = data.len().max(wire_bytes as usize);
    let (ethernet, rest) = data.split_first_chunk::<14>()?;
    let (dst_mac, after_dst) = ethernet.split_first_chunk::<6>()?;
    let (src_mac, ether_type) = after_dst.split_first_chunk::<6>()?;
    let mut ether_type = be16([ether_type[0], ether_type[1]]);
    let mut packet = rest;
    let mut ip_at = 14;
    let mut vlan = 0;
    let mut vlan_count = 0;
    if ether_type == 0x8100 {
        let ([v0, v1, t0, t1], rest) = rest.split_first_chunk::<4>()?;
        vlan = be16([*v0, *v1]) & 0x0fff;
        vlan_count = 1;
        ether_type = be16([*t0, *t1]);
        packet = rest;
        ip_at = 18;
    }
    facts.key.vlan = if options.key_vlan { vlan } else { 0 };
    match ether_type {
        0x0800 => read_v4(packet, ip_at, wire_bytes, facts)?,
        0x86dd => read_v6(packet, ip_at, wire_bytes, facts)?,
        _ => return None,
    }
    facts.dst_mac = *dst_mac;
    facts.src_mac = *src_mac;
    facts.has_mac = true;
    facts.ip_offset = ip_at as u32;
    facts.vlans = [vlan, 0];
    facts.vlan_count = vlan_count;
    facts.icmp_type = 0;
    facts.icmp_code = 0;
    facts.fragment = None;
    facts.tunnels.clear();
    Some(())
}

#[inline]
fn read_v4(packet: &[u8], ip_at: usize, wire_bytes: usize, facts: &mut Facts) -> Option<()> {
    const LEN: usize = 20;

    let (header, rest) = packet.split_first_chunk::<LEN>()?;
    let [first, _, l0, l1, _, _, f0, f1, ttl, proto, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
        *header;
    let total_bytes = usize::from(be16([l0, l1]));
    // Version 4 without options; no more fragments and no offset.
    if first != 0x45 || be16([f0, f1]) & 0x3fff != 0 || total_bytes < LEN {
        return None;
    }
    if ip_at + total_bytes > wire_bytes {
        return None;
    }
    let transport = read_transport(proto, rest, total_bytes - LEN, facts)?;
    let src = u32::from_be_bytes([s0, s1, s2, s3]);
    let dst = u32::from_be_bytes([d0, d1, d2, d3]);
    let from = u64::from(src) << 16 | u64::from(transport.src_port);
    let to = u64::from(dst) << 16 | u64::from(transport.dst_port);
    let forward = from <= to;
    let (a, b) = if forward { (from, to) } else { (to, from) };
    facts.key = FlowKey {
        version: IpVersion::V4,
        proto,
        port_a: a as u16,
        port_b: b as u16,
        echo_id: 0,
        vlan: facts.key.vlan,
        vni: 0,
        a: mapped(((a >> 16) as u32).to_be_bytes()),
        b: mapped(((b >> 16) as u32).to_be_bytes()),
    };
    facts.forward = forward;
    facts.ip_bytes = total_bytes as u32;
    facts.ttl = ttl;
    transport.place(ip_at + LEN, rest.len(), facts);
    Some(())
}

#[inline]
fn read_v6(packet: &[u8], ip_at: usize, wire_bytes: usize, facts: &mut Facts) -> Option<()> {
    const LEN: usize = 40;

    let (header, rest) = packet.split_first_chunk::<LEN>()?;
    let ([first, _, _, _, l0, l1, proto, ttl], addresses) = header.split_first_chunk::<8>()?;
    let payload_bytes = usize::from(be16([*l0, *l1]));
    if first >> 4 != 6 || payload_bytes == 0 || ip_at + LEN + payload_bytes > wire_bytes {
        return None;
    }
    let (src, dst) = addresses.split_first_chunk::<16>()?;
    let dst = dst.first_chunk::<16>()?;
    let transport = read_transport(*proto, rest, payload_bytes, facts)?;
    let from = (u128::from_be_bytes(*src), transport.src_port);
    let to = (u128::from_be_bytes(*dst), transport.dst_port);
    let forward = from <= to;
    let (a, b) = if forward { (from, to) } else { (to, from) };
    facts.key = FlowKey {
        version: IpVersion::V6,
        proto: *proto,
        port_a: a.1,
        port_b: b.1,
        echo_id: 0,
        vlan: facts.key.vlan,
        vni: 0,
        a: a.0.to_be_bytes(),
        b: b.0.to_be_bytes(),
    };
    facts.forward = forward;
    facts.ip_bytes = (LEN + payload_bytes) as u32;
    facts.ttl = *ttl;
    transport.place(ip_at + LEN, rest.len(), facts);
    Some(())
}

struct Transport {
    src_port: u16,
    dst_port: u16,
    header_bytes: usize,
    payload_bytes: usize,
}

impl Transport {
    /// Where the payload is in a frame whose transport header starts at `at`
    /// with `captured` bytes from there on.
    #[inline]
    fn place(&self, at: usize, captured: usize, facts: &mut Facts) {
        let skipped = self.header_bytes.min(captured);
        facts.payload_offset = (at + skipped) as u32;
        facts.payload_bytes = self.payload_bytes as u32;
        facts.payload_captured = (captured - skipped).min(self.payload_bytes) as u32;
    }
}

/// `bytes` is what was captured from the transport header on, `ip_payload`
/// what the IP header says there is.
#[inline]
fn read_transport(
    ip_proto: u8,
    bytes: &[u8],
    ip_payload: usize,
    facts: &mut Facts,
) -> Option<Transport> {
    match ip_proto {
        proto::TCP => {
            let [s0, s1, d0, d1, q0, q1, q2, q3, _, _, _, _, offset, flags, ..] =
                *bytes.first_chunk::<20>()?;
            let header_bytes = usize::from(offset >> 4) * 4;
            if header_bytes < 20 || header_bytes > ip_payload {
                return None;
            }
            let payload_bytes = ip_payload - header_bytes;
            facts.tcp_seq = u32::from_be_bytes([q0, q1, q2, q3]);
            facts.tcp_flags = u16::from(offset & 1) << 8 | u16::from(flags);
            facts.class = tcp_class(facts.tcp_flags, payload_bytes > 0);
            Some(Transport {
                src_port: be16([s0, s1]),
                dst_port: be16([d0, d1]),
                header_bytes,
                payload_bytes,
            })
        }
        proto::UDP => {
            let [s0, s1, d0, d1, l0, l1, ..] = *bytes.first_chunk::<8>()?;
            let (src_port, dst_port) = (be16([s0, s1]), be16([d0, d1]));
            let length = usize::from(be16([l0, l1]));
            if UdpTunnel::by_port(src_port, dst_port).is_some()
                || !(8..=ip_payload).contains(&length)
            {
                return None;
            }
            facts.tcp_seq = 0;
            facts.tcp_flags = 0;
            facts.class = PacketClass::Udp;
            Some(Transport { src_port, dst_port, header_bytes: 8, payload_bytes: length - 8 })
        }
        _ => None,
    }
}
