//! The first bytes of a sampled packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{IpFragOffset, LaxNetSlice, LaxSlicedPacket, TransportSlice};

use crate::telemetry::observation::FlowReport;

/// What a report takes of a packet.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    protocol: u8,
    ports: Option<(u16, u16)>,
    icmp: Option<(u8, u8)>,
    tcp_flags: Option<u16>,
    ip_bytes: Option<u64>,
    payload_bytes: Option<u64>,
    pub(super) tos: Option<u8>,
    pub(super) vlan: Option<u16>,
}

impl Packet {
    /// Of an agent that says the fields and not the header: source port, destination
    /// port, TCP flags, type of service.
    pub(super) fn of_fields(
        src: IpAddr,
        dst: IpAddr,
        protocol: u32,
        ip_bytes: u32,
        [src_port, dst_port, tcp_flags, tos]: [u32; 4],
    ) -> Self {
        let protocol = protocol as u8;
        let has_ports = matches!(protocol, 6 | 17 | 33 | 132 | 136);
        Self {
            src,
            dst,
            protocol,
            ports: has_ports.then_some((src_port as u16, dst_port as u16)),
            icmp: None,
            tcp_flags: (protocol == 6).then_some(tcp_flags as u16),
            ip_bytes: Some(u64::from(ip_bytes)),
            payload_bytes: None,
            tos: Some(tos as u8),
            vlan: None,
        }
    }

    pub(super) fn fill(&self, flow: &mut FlowReport) {
        flow.protocol = Some(self.protocol);
        (flow.src_port, flow.dst_port) = self.ports.unzip();
        flow.icmp = self.icmp;
        flow.fwd.packets = Some(1);
        flow.fwd.ip_bytes = self.ip_bytes;
        flow.fwd.payload_bytes = self.payload_bytes;
        flow.fwd.tcp_flags = self.tcp_flags;
    }
}

/// The outer IP packet of an Ethernet frame, of which the end may be missing.
pub(super) fn of_ethernet(header: &[u8]) -> Option<Packet> {
    of(&LaxSlicedPacket::from_ethernet(header).ok()?)
}

pub(super) fn of_ip(header: &[u8]) -> Option<Packet> {
    of(&LaxSlicedPacket::from_ip(header).ok()?)
}

fn of(sliced: &LaxSlicedPacket<'_>) -> Option<Packet> {
    let mut packet = match sliced.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            Packet {
                src: Ipv4Addr::from(header.source()).into(),
                dst: Ipv4Addr::from(header.destination()).into(),
                protocol: ip.payload_ip_number().0,
                ports: None,
                icmp: None,
                tcp_flags: None,
                ip_bytes: Some(u64::from(header.total_len())).filter(|&bytes| bytes > 0),
                payload_bytes: None,
                tos: Some(header.dcp().value() << 2 | header.ecn().value()),
                vlan: None,
            }
        }
        LaxNetSlice::Ipv6(ip) => {
            const HEADER_BYTES: u64 = 40;
            let header = ip.header();
            // 0 is that of a packet longer than the field.
            let payload = Some(u64::from(header.payload_length())).filter(|&bytes| bytes > 0);
            Packet {
                src: Ipv6Addr::from(header.source()).to_canonical(),
                dst: Ipv6Addr::from(header.destination()).to_canonical(),
                protocol: ip.payload().ip_number.0,
                ports: None,
                icmp: None,
                tcp_flags: None,
                ip_bytes: payload.map(|bytes| bytes + HEADER_BYTES),
                payload_bytes: None,
                tos: Some(header.traffic_class()),
                vlan: None,
            }
        }
        LaxNetSlice::Arp(_) => return None,
    };
    packet.vlan = sliced.vlan_ids().first().map(|vlan| vlan.value()).filter(|&vlan| vlan > 0);
    let header_bytes = match sliced.transport.as_ref() {
        Some(TransportSlice::Tcp(tcp)) => {
            packet.ports = Some((tcp.source_port(), tcp.destination_port()));
            let [_, flags] = tcp.header_slice().get(12..14)?.try_into().ok()?;
            packet.tcp_flags = Some(u16::from(flags));
            tcp.header_slice().len()
        }
        Some(TransportSlice::Udp(udp)) => {
            packet.ports = Some((udp.source_port(), udp.destination_port()));
            8
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            packet.icmp = Some((icmp.type_u8(), icmp.code_u8()));
            icmp.header_len()
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            packet.icmp = Some((icmp.type_u8(), icmp.code_u8()));
            icmp.header_len()
        }
        Some(TransportSlice::Igmp(_)) | None => return Some(packet),
    };
    // What is before the transport: the packet's length less what its last header says.
    let before = sliced.net.as_ref().and_then(bytes_before_transport);
    packet.payload_bytes = packet
        .ip_bytes
        .zip(before)
        .and_then(|(all, before)| all.checked_sub((before + header_bytes) as u64));
    Some(packet)
}

/// Length of the IP header with its options or extensions; of a fragment none, as it
/// has but a part of what the transport carries.
fn bytes_before_transport(net: &LaxNetSlice<'_>) -> Option<usize> {
    match net {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            let whole = !header.more_fragments() && header.fragments_offset() == IpFragOffset::ZERO;
            let extensions = ip.extensions().auth.map_or(0, |auth| auth.slice().len());
            whole.then(|| header.slice().len() + extensions)
        }
        LaxNetSlice::Ipv6(ip) => {
            let whole = !ip.is_payload_fragmented();
            whole.then(|| ip.header().slice().len() + ip.extensions().slice().len())
        }
        LaxNetSlice::Arp(_) => None,
    }
}
