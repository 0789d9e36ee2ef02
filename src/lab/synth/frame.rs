//! A frame built from the inside out: payload, transport, network, link.
//!
//! Each call puts one header in front. The header names what it carries from
//! what is in front already, and every length and checksum is right when the
//! next IP header is put on. One buffer is used again for each frame, so that
//! building allocates nothing in the steady state.
//!
//! Tunnels and link headers are in `encapsulation.rs`.

use std::net::IpAddr;

use super::checksum::{crc32c, fold, sum};

/// Room for headers in front of the payload; grows when it is used up.
const HEADROOM_BYTES: usize = 512;

pub mod ip_proto {
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const IPIP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const GRE: u8 = 47;
    pub const ESP: u8 = 50;
    pub const AH: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT_HEADER: u8 = 59;
    pub const SCTP: u8 = 132;
    pub const UDP_LITE: u8 = 136;
}

/// What the bytes in front are to the next header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Payload,
    /// Something that IP carries, by its protocol number.
    Transport(u8),
    /// Something that Ethernet carries, by its EtherType.
    Network(u16),
    Ethernet,
}

/// A transport checksum that waits for the addresses of the IP header.
#[derive(Clone, Copy, Debug)]
struct Pending {
    start: usize,
    checksum_offset: usize,
    proto: u8,
    /// Bytes that the checksum covers; UDP-Lite may leave the rest out.
    covered_bytes: usize,
}

/// TCP header fields beside the ports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp<'a> {
    pub seq: u32,
    pub ack: u32,
    /// Flags as in [`crate::packet::facts::tcp_flag`].
    pub flags: u16,
    /// Length must be a multiple of 4.
    pub options: &'a [u8],
}

#[derive(Clone, Debug)]
pub struct Frame {
    buffer: Vec<u8>,
    start: usize,
    pub(super) head: Head,
    pending: Option<Pending>,
    /// TTL or hop limit of the IP headers that follow.
    pub ttl: u8,
    /// Identification of the IPv4 headers that follow.
    pub ip_id: u16,
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            buffer: vec![0; HEADROOM_BYTES],
            start: HEADROOM_BYTES,
            head: Head::Payload,
            pending: None,
            ttl: 64,
            ip_id: 1,
        }
    }
}

impl Frame {
    /// Starts over with this payload.
    pub fn payload(&mut self, payload: &[u8]) -> &mut Self {
        self.buffer.truncate(HEADROOM_BYTES);
        self.buffer.extend_from_slice(payload);
        self.start = HEADROOM_BYTES;
        self.head = Head::Payload;
        self.pending = None;
        self
    }

    /// Starts over with a finished IP packet (a fragment, say).
    pub fn packet(&mut self, packet: &[u8]) -> &mut Self {
        self.payload(packet);
        let version = packet.first().map_or(4, |byte| byte >> 4);
        self.head = Head::Network(if version == 6 { 0x86dd } else { 0x0800 });
        self
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    pub fn udp(&mut self, src_port: u16, dst_port: u16) -> &mut Self {
        let length = (self.len() + 8) as u16;
        let mut header = [0; 8];
        header[0..2].copy_from_slice(&src_port.to_be_bytes());
        header[2..4].copy_from_slice(&dst_port.to_be_bytes());
        header[4..6].copy_from_slice(&length.to_be_bytes());
        self.push(&header);
        self.transport(ip_proto::UDP, 6, self.len())
    }

    /// UDP-Lite (RFC 3828) whose checksum covers the header and the first
    /// `covered_payload_bytes`.
    pub fn udp_lite(
        &mut self,
        src_port: u16,
        dst_port: u16,
        covered_payload_bytes: u16,
    ) -> &mut Self {
        let coverage = covered_payload_bytes.saturating_add(8).min((self.len() + 8) as u16);
        let mut header = [0; 8];
        header[0..2].copy_from_slice(&src_port.to_be_bytes());
        header[2..4].copy_from_slice(&dst_port.to_be_bytes());
        header[4..6].copy_from_slice(&coverage.to_be_bytes());
        self.push(&header);
        self.transport(ip_proto::UDP_LITE, 6, usize::from(coverage))
    }

    pub fn tcp(&mut self, src_port: u16, dst_port: u16, tcp: Tcp<'_>) -> &mut Self {
        self.push(tcp.options);
        let mut header = [0; 20];
        header[0..2].copy_from_slice(&src_port.to_be_bytes());
        header[2..4].copy_from_slice(&dst_port.to_be_bytes());
        header[4..8].copy_from_slice(&tcp.seq.to_be_bytes());
        header[8..12].copy_from_slice(&tcp.ack.to_be_bytes());
        let data_offset = (5 + tcp.options.len() / 4) as u16;
        header[12..14].copy_from_slice(&(data_offset << 12 | tcp.flags & 0x1ff).to_be_bytes());
        header[14..16].copy_from_slice(&0xff00u16.to_be_bytes());
        self.push(&header);
        self.transport(ip_proto::TCP, 16, self.len())
    }

    /// SCTP common header (RFC 9260) in front of finished chunks.
    pub fn sctp(&mut self, src_port: u16, dst_port: u16, verification_tag: u32) -> &mut Self {
        let mut header = [0; 12];
        header[0..2].copy_from_slice(&src_port.to_be_bytes());
        header[2..4].copy_from_slice(&dst_port.to_be_bytes());
        header[4..8].copy_from_slice(&verification_tag.to_be_bytes());
        self.push(&header);
        let crc = crc32c(self.bytes());
        self.put(8, &crc.to_le_bytes());
        self.head = Head::Transport(ip_proto::SCTP);
        self
    }

    /// An ICMP message; `rest` is the second half of its 8-byte header.
    pub fn icmp(&mut self, icmp_type: u8, code: u8, rest: [u8; 4]) -> &mut Self {
        let [a, b, c, d] = rest;
        self.push(&[icmp_type, code, 0, 0, a, b, c, d]);
        let checksum = fold(sum(self.bytes()));
        self.put(2, &checksum.to_be_bytes());
        self.head = Head::Transport(ip_proto::ICMP);
        self
    }

    /// An ICMPv6 message, like [`Self::icmp`]; the checksum covers the addresses.
    pub fn icmpv6(&mut self, icmp_type: u8, code: u8, rest: [u8; 4]) -> &mut Self {
        let [a, b, c, d] = rest;
        self.push(&[icmp_type, code, 0, 0, a, b, c, d]);
        self.transport(ip_proto::ICMPV6, 2, self.len())
    }

    /// IGMPv2 message (RFC 2236).
    pub fn igmp(&mut self, igmp_type: u8, group: [u8; 4]) -> &mut Self {
        let [a, b, c, d] = group;
        self.push(&[igmp_type, 0, 0, 0, a, b, c, d]);
        let checksum = fold(sum(self.bytes()));
        self.put(2, &checksum.to_be_bytes());
        self.head = Head::Transport(ip_proto::IGMP);
        self
    }

    /// ESP header (RFC 4303); the payload stands for the encrypted part.
    pub fn esp(&mut self, spi: u32, sequence: u32) -> &mut Self {
        self.push(&sequence.to_be_bytes());
        self.push(&spi.to_be_bytes());
        self.head = Head::Transport(ip_proto::ESP);
        self
    }

    /// Authentication header (RFC 4302) with a 96-bit integrity value of zeros.
    pub fn ah(&mut self, spi: u32, sequence: u32) -> &mut Self {
        let mut header = [0; 24];
        header[0] = self.carried_proto();
        header[1] = 4; // length in 32-bit words, minus 2
        header[4..8].copy_from_slice(&spi.to_be_bytes());
        header[8..12].copy_from_slice(&sequence.to_be_bytes());
        self.push(&header);
        self.head = Head::Transport(ip_proto::AH);
        self
    }

    /// An IP protocol that has no builder here, by number.
    pub fn ip_proto(&mut self, proto: u8) -> &mut Self {
        self.head = Head::Transport(proto);
        self
    }

    /// IPv6 hop-by-hop (0), destination (60) or routing (43, no segments left)
    /// header of `8 * units` bytes.
    pub fn ipv6_extension(&mut self, kind: u8, units: u8) -> &mut Self {
        let length = 8 * usize::from(units.max(1));
        let mut header = vec![0; length];
        header[0] = self.carried_proto();
        header[1] = units.max(1) - 1;
        if kind == 43 {
            // Type 4 would need segments in the pseudo header; type 253 is
            // experimental (RFC 4727) and means nothing once none are left.
            header[2] = 253;
        } else {
            header[2] = 1; // PadN over all the rest
            header[3] = (length - 4) as u8;
        }
        self.push(&header);
        self.head = Head::Transport(kind);
        self
    }

    /// IPv6 fragment header; offset in bytes, a multiple of 8.
    pub fn ipv6_fragment(
        &mut self,
        carried: u8,
        offset_bytes: u16,
        more: bool,
        id: u32,
    ) -> &mut Self {
        let field = offset_bytes & !7 | u16::from(more);
        let mut header = [carried, 0, 0, 0, 0, 0, 0, 0];
        header[2..4].copy_from_slice(&field.to_be_bytes());
        header[4..8].copy_from_slice(&id.to_be_bytes());
        self.push(&header);
        self.head = Head::Transport(44);
        self
    }

    /// The IP header of the addresses' version (the source's, should they differ).
    pub fn ip(&mut self, src: IpAddr, dst: IpAddr) -> &mut Self {
        self.ip_with_options(src, dst, &[])
    }

    /// [`Self::ip`]; IPv4 with options, whose length must be a multiple of 4.
    pub fn ip_with_options(&mut self, src: IpAddr, dst: IpAddr, options: &[u8]) -> &mut Self {
        let proto = self.carried_proto();
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let (src, dst) = (src.octets(), dst.octets());
                self.finish_transport(sum(&src) + sum(&dst));
                self.push(options);
                let words = (5 + options.len() / 4) as u8;
                let mut header = [0; 20];
                header[0] = 0x40 | words;
                header[2..4].copy_from_slice(&((self.len() + 20) as u16).to_be_bytes());
                header[4..6].copy_from_slice(&self.ip_id.to_be_bytes());
                header[8] = self.ttl;
                header[9] = proto;
                header[12..16].copy_from_slice(&src);
                header[16..20].copy_from_slice(&dst);
                let checksum = fold(sum(&header) + sum(options));
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
                self.push(&header);
                self.head = Head::Network(0x0800);
            }
            (src, dst) => {
                let (src, dst) = (octets_v6(src), octets_v6(dst));
                self.finish_transport(sum(&src) + sum(&dst));
                let mut header = [0; 40];
                header[0] = 0x60;
                header[4..6].copy_from_slice(&(self.len() as u16).to_be_bytes());
                header[6] = proto;
                header[7] = self.ttl;
                header[8..24].copy_from_slice(&src);
                header[24..40].copy_from_slice(&dst);
                self.push(&header);
                self.head = Head::Network(0x86dd);
            }
        }
        self
    }

    /// Fills up with zeros behind the packet, as Ethernet does below 60 bytes.
    pub fn pad_to(&mut self, length: usize) -> &mut Self {
        let wanted = self.start + length;
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        self
    }

    pub(super) fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    pub(super) fn push(&mut self, header: &[u8]) {
        if header.len() > self.start {
            self.grow(header.len());
        }
        self.start -= header.len();
        self.put(0, header);
    }

    /// Overwrites bytes that are there already.
    pub(super) fn put(&mut self, offset: usize, bytes: &[u8]) {
        let at = self.start + offset;
        self.buffer[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn grow(&mut self, needed: usize) {
        let room = needed + HEADROOM_BYTES;
        self.buffer.splice(0..0, std::iter::repeat_n(0, room));
        self.start += room;
        if let Some(pending) = &mut self.pending {
            pending.start += room;
        }
    }

    fn transport(&mut self, proto: u8, checksum_offset: usize, covered_bytes: usize) -> &mut Self {
        self.pending = Some(Pending { start: self.start, checksum_offset, proto, covered_bytes });
        self.head = Head::Transport(proto);
        self
    }

    fn finish_transport(&mut self, address_sum: u64) {
        let Some(pending) = self.pending.take() else { return };
        let segment = &mut self.buffer[pending.start..];
        let pseudo = address_sum + u64::from(pending.proto) + segment.len() as u64;
        let mut checksum = fold(pseudo + sum(&segment[..pending.covered_bytes]));
        // RFC 768: a computed zero is sent as all ones, zero means none.
        if checksum == 0 && pending.proto == ip_proto::UDP {
            checksum = 0xffff;
        }
        segment[pending.checksum_offset..pending.checksum_offset + 2]
            .copy_from_slice(&checksum.to_be_bytes());
    }

    fn carried_proto(&self) -> u8 {
        match self.head {
            Head::Transport(proto) => proto,
            Head::Network(0x0800) => ip_proto::IPIP,
            Head::Network(0x86dd) => ip_proto::IPV6,
            Head::Network(0x8847) => 137, // MPLS in IP, RFC 4023
            Head::Network(_) | Head::Ethernet | Head::Payload => ip_proto::NO_NEXT_HEADER,
        }
    }
}

/// Cuts an IPv4 packet into fragments of at most `payload_bytes` (rounded down
/// to a multiple of 8) behind their headers.
pub fn fragments_v4(packet: &[u8], payload_bytes: usize) -> Vec<Vec<u8>> {
    let header_bytes = packet.first().map_or(0, |byte| usize::from(byte & 15) * 4);
    let (Some(header), Some(body)) = (packet.get(..header_bytes), packet.get(header_bytes..))
    else {
        return Vec::new();
    };
    let step = (payload_bytes & !7).max(8);
    let mut offset = 0;
    body.chunks(step)
        .map(|piece| {
            let mut fragment = [header, piece].concat();
            let more = u16::from(offset + piece.len() < body.len());
            fragment[2..4].copy_from_slice(&((header_bytes + piece.len()) as u16).to_be_bytes());
            fragment[6..8].copy_from_slice(&(more << 13 | (offset / 8) as u16).to_be_bytes());
            fragment[10..12].fill(0);
            let checksum = fold(sum(&fragment[..header_bytes]));
            fragment[10..12].copy_from_slice(&checksum.to_be_bytes());
            offset += piece.len();
            fragment
        })
        .collect()
}

/// Cuts an IPv6 packet without extension headers into fragments.
pub fn fragments_v6(packet: &[u8], payload_bytes: usize, id: u32) -> Vec<Vec<u8>> {
    let (Some(header), Some(body)) = (packet.get(..40), packet.get(40..)) else {
        return Vec::new();
    };
    let step = (payload_bytes & !7).max(8);
    let mut offset = 0;
    body.chunks(step)
        .map(|piece| {
            let more = u16::from(offset + piece.len() < body.len());
            let field = (offset as u16) | more;
            let mut fragment = header.to_vec();
            fragment[4..6].copy_from_slice(&((piece.len() + 8) as u16).to_be_bytes());
            fragment[6] = 44;
            fragment.extend_from_slice(&[header[6], 0]);
            fragment.extend_from_slice(&field.to_be_bytes());
            fragment.extend_from_slice(&id.to_be_bytes());
            fragment.extend_from_slice(piece);
            offset += piece.len();
            fragment
        })
        .collect()
}

fn octets_v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    proptest! {
        /// etherparse computes every checksum on its own.
        #[test]
        fn ipv4_and_udp_checksums_agree_with_etherparse(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            src_port: u16, dst_port: u16, ttl: u8, ip_id: u16,
        ) {
            let mut frame = Frame { ttl, ip_id, ..Frame::default() };
            frame.payload(&payload).udp(src_port, dst_port).ip(v4(1), v4(2));
            let sliced = etherparse::SlicedPacket::from_ip(frame.bytes()).unwrap();
            let Some(etherparse::NetSlice::Ipv4(ip)) = &sliced.net else { panic!() };
            let Some(etherparse::TransportSlice::Udp(udp)) = &sliced.transport else { panic!() };
            prop_assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
            let expected = udp.to_header().calc_checksum_ipv4(&ip.header().to_header(), &payload).unwrap();
            prop_assert_eq!(udp.checksum(), expected);
            prop_assert_eq!(udp.payload(), &payload[..]);
        }

        #[test]
        fn tcp_checksum_over_ipv6_agrees_with_etherparse(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            seq: u32, flags in 0u16..0x200,
        ) {
            let mut frame = Frame::default();
            let (src, dst) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
            frame.payload(&payload).tcp(1, 2, Tcp { seq, flags, options: &[1; 8], ..Tcp::default() }).ip(src, dst);
            let sliced = etherparse::SlicedPacket::from_ip(frame.bytes()).unwrap();
            let Some(etherparse::NetSlice::Ipv6(ip)) = &sliced.net else { panic!() };
            let Some(etherparse::TransportSlice::Tcp(tcp)) = &sliced.transport else { panic!() };
            let expected = tcp.to_header().calc_checksum_ipv6(&ip.header().to_header(), &payload).unwrap();
            prop_assert_eq!(tcp.checksum(), expected);
        }

        #[test]
        fn ipv4_fragments_join_to_the_packet(
            payload in proptest::collection::vec(any::<u8>(), 1..3_000), step in 8usize..600,
        ) {
            let mut frame = Frame::default();
            frame.payload(&payload).udp(1, 2).ip(v4(1), v4(2));
            let fragments = fragments_v4(frame.bytes(), step);
            let joined: Vec<u8> = fragments.iter().flat_map(|f| f[20..].to_vec()).collect();
            prop_assert_eq!(&joined[..], &frame.bytes()[20..]);
            for (index, fragment) in fragments.iter().enumerate() {
                prop_assert_eq!(fold(sum(&fragment[..20])), 0);
                prop_assert_eq!(fragment[6] & 0x20 != 0, index + 1 < fragments.len());
            }
        }
    }

    #[test]
    fn headers_beyond_the_headroom_keep_the_checksum_right() {
        let mut frame = Frame::default();
        let (src, dst) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        frame.payload(b"x").udp(1, 2);
        let segment_start = frame.len();
        frame.ipv6_extension(60, 255).ip(src, dst);
        let bytes = frame.bytes();
        let segment = &bytes[bytes.len() - segment_start..];
        let pseudo = sum(&bytes[8..40]) + u64::from(ip_proto::UDP) + segment.len() as u64;
        assert_eq!(fold(pseudo + sum(segment)), 0);
    }
}
