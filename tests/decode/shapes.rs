//! What the decoder says of each shape of frame.

use crate::frames::*;
use flowtap::packet::key::mapped;
use flowtap::packet::link::{non_ip_name, pseudo};
use flowtap::packet::{
    DecodeOptions, Decoder, Facts, Fragment, IpVersion, LinkType, MalformedReason, PacketClass,
    TunnelKind, Verdict,
};

fn decode(
    link: LinkType,
    data: &[u8],
    wire_bytes: u32,
    options: DecodeOptions,
) -> (Verdict, Facts) {
    let mut facts = Facts::default();
    let verdict = Decoder::new(options).decode(link, data, wire_bytes, &mut facts);
    (verdict, facts)
}

/// Facts of a whole frame that must be in a flow.
fn flow(link: LinkType, data: &[u8]) -> Facts {
    let (verdict, facts) = decode(link, data, data.len() as u32, DecodeOptions::default());
    assert_eq!(verdict, Verdict::Flow);
    facts
}

fn ethernet_flow(data: &[u8]) -> Facts {
    flow(LinkType::ETHERNET, data)
}

fn verdict(link: LinkType, data: &[u8]) -> Verdict {
    decode(link, data, data.len() as u32, DecodeOptions::default()).0
}

/// The one UDP packet that `inner_v4` and `inner_v6` make.
fn assert_inner(facts: &Facts) {
    assert_eq!(facts.key.proto, 17);
    let ports = (facts.key.port_a, facts.key.port_b);
    assert!(matches!(ports, (1000, 53) | (53, 1000)), "{ports:?}");
    assert_eq!(facts.payload_bytes, 5);
}

#[track_caller]
fn assert_tunnel(frame: &[u8], kind: TunnelKind, id: Option<u32>) -> Facts {
    let facts = ethernet_flow(frame);
    let layers: Vec<_> =
        facts.tunnels.as_slice().iter().map(|layer| (layer.kind, layer.id)).collect();
    assert_eq!(layers, [(kind, id)]);
    assert_inner(&facts);
    facts
}

#[track_caller]
fn assert_stays_outer(frame: &[u8], proto: u8) {
    let facts = ethernet_flow(frame);
    assert!(facts.tunnels.is_empty(), "{:?}", facts.tunnels.as_slice());
    assert_eq!(facts.key.proto, proto);
}

#[test]
fn a_tcp_segment_gives_every_fact() {
    let frame = eth(0x0800, &ipv4(6, B4, A4, &tcp(443, 50_000, ACK, b"hello")));
    let facts = ethernet_flow(&frame);
    assert_eq!(facts.key.version, IpVersion::V4);
    assert_eq!((facts.key.a, facts.key.port_a), (mapped(A4), 50_000));
    assert_eq!((facts.key.b, facts.key.port_b), (mapped(B4), 443));
    assert!(!facts.forward);
    assert_eq!(facts.class, PacketClass::TcpData);
    assert_eq!((facts.ip_bytes, facts.payload_bytes), (45, 5));
    let start = facts.payload_offset as usize;
    assert_eq!(&frame[start..start + facts.payload_captured as usize], b"hello");
    assert_eq!(facts.tcp_seq, 0x0102_0304);
    assert_eq!((facts.tcp_flags, facts.ttl), (0x10, 64));
    assert_eq!((facts.macs.src(), facts.macs.dst()), (SRC_MAC, DST_MAC));
}

#[test]
fn both_directions_have_one_key_and_one_hash() {
    let state = ahash::RandomState::with_seeds(1, 2, 3, 4);
    for (there, back) in [
        (ipv4(6, A4, B4, &tcp(5, 6, SYN, b"")), ipv4(6, B4, A4, &tcp(6, 5, ACK, b""))),
        (ipv6(17, B6, A6, &udp(5, 6, b"")), ipv6(17, A6, B6, &udp(6, 5, b""))),
        (ipv4(1, A4, B4, &icmp(8, 0, 9, b"")), ipv4(1, B4, A4, &icmp(0, 0, 9, b""))),
    ] {
        let there = flow(LinkType::RAW, &there);
        let back = flow(LinkType::RAW, &back);
        assert_eq!(there.key, back.key);
        assert_ne!(there.forward, back.forward);
        assert_eq!(there.key.hash(&state), back.key.hash(&state));
        let mut other = there.key;
        other.echo_id ^= 1;
        assert_ne!(there.key.hash(&state), other.hash(&state));
    }
}

#[test]
fn ethernet_padding_is_no_payload() {
    let mut frame = eth(0x0800, &ipv4(17, A4, B4, &udp(1, 2, b"xy")));
    frame.resize(60, 0);
    assert_eq!(ethernet_flow(&frame).payload_bytes, 2);
}

#[test]
fn a_packet_cut_by_the_snap_length_keeps_its_full_lengths() {
    let whole = eth(0x0800, &ipv4(6, A4, B4, &tcp(1, 2, ACK, &[7; 900])));
    let full = ethernet_flow(&whole);
    for captured in [34 + 4, 34 + 13, 34 + 20, 34 + 100] {
        let (verdict, facts) = decode(
            LinkType::ETHERNET,
            &whole[..captured],
            whole.len() as u32,
            DecodeOptions::default(),
        );
        assert_eq!(verdict, Verdict::Flow);
        assert_eq!(facts.key, full.key);
        assert_eq!((facts.ip_bytes, facts.payload_bytes), (940, 900));
        assert_eq!(facts.payload_captured as usize, captured.saturating_sub(34 + 20));
    }
}

#[test]
fn a_packet_cut_before_its_ports_is_in_a_flow_without_them() {
    let whole = eth(0x86dd, &ipv6(6, A6, B6, &tcp(1, 2, SYN, &[7; 100])));
    let (verdict, facts) =
        decode(LinkType::ETHERNET, &whole[..54], whole.len() as u32, DecodeOptions::default());
    assert_eq!(verdict, Verdict::Flow);
    assert_eq!((facts.key.proto, facts.key.port_a, facts.key.port_b), (6, 0, 0));
    assert_eq!(facts.class, PacketClass::TcpUnknown);
}

#[test]
fn only_a_wire_that_is_too_short_is_malformed() {
    let whole = eth(0x0800, &ipv4(17, A4, B4, &udp(1, 2, b"")));
    for captured in 0..34 {
        let cut = decode(
            LinkType::ETHERNET,
            &whole[..captured],
            whole.len() as u32,
            DecodeOptions::default(),
        );
        assert_eq!(cut.0, Verdict::Malformed(MalformedReason::CutInHeaders));
        let reason = if captured < 14 {
            MalformedReason::LinkTooShort
        } else {
            MalformedReason::Ipv4TooShort
        };
        assert_eq!(verdict(LinkType::ETHERNET, &whole[..captured]), Verdict::Malformed(reason));
    }
}

#[test]
fn ip_headers_that_contradict_themselves_are_malformed() {
    let with = |at: usize, value: u8| {
        let mut packet = ipv4(17, A4, B4, &udp(1, 2, b""));
        packet[at] = value;
        verdict(LinkType::ETHERNET, &eth(0x0800, &packet))
    };
    assert_eq!(with(0, 0x65), Verdict::Malformed(MalformedReason::IpVersion));
    assert_eq!(with(0, 0x44), Verdict::Malformed(MalformedReason::Ipv4HeaderLength));
    assert_eq!(with(3, 19), Verdict::Malformed(MalformedReason::Ipv4TotalLength));
    let mut chain = ipv6(0, A6, B6, &[0, 9, 0, 0, 0, 0, 0, 0]);
    assert_eq!(verdict(LinkType::IPV6, &chain), Verdict::Malformed(MalformedReason::Ipv6Extension));
    chain = ipv6(60, A6, B6, &[60, 0, 1, 4, 0, 0, 0, 0].repeat(20));
    assert_eq!(
        verdict(LinkType::IPV6, &chain),
        Verdict::Malformed(MalformedReason::Ipv6ExtensionCount)
    );
}

#[test]
fn a_total_length_of_zero_is_offload_and_means_the_wire() {
    let mut packet = ipv4(6, A4, B4, &tcp(1, 2, ACK, &[1; 3000]));
    packet[2..4].fill(0);
    let facts = ethernet_flow(&eth(0x0800, &packet));
    assert_eq!((facts.ip_bytes, facts.payload_bytes), (3040, 3000));
    let mut packet = ipv6(6, A6, B6, &tcp(1, 2, ACK, &[1; 3000]));
    packet[4..6].fill(0);
    let facts = ethernet_flow(&eth(0x86dd, &packet));
    assert_eq!((facts.ip_bytes, facts.payload_bytes), (3060, 3000));
}

#[test]
fn a_length_beyond_the_wire_counts_no_payload_that_was_not_there() {
    let mut packet = ipv4(17, A4, B4, &udp(1, 2, b"xy"));
    packet[2..4].copy_from_slice(&u16::MAX.to_be_bytes());
    let facts = ethernet_flow(&eth(0x0800, &packet));
    assert_eq!((facts.ip_bytes, facts.payload_bytes), (65_535, 2));
}

#[test]
fn a_tcp_header_that_lies_is_in_its_flow_without_payload() {
    for offset in [0x40, 0xf0] {
        let mut segment = tcp(80, 81, SYN, b"data");
        segment[12] = offset;
        let facts = flow(LinkType::RAW, &ipv4(6, A4, B4, &segment));
        assert_eq!((facts.key.port_a, facts.key.port_b), (80, 81));
        assert_eq!((facts.class, facts.payload_bytes), (PacketClass::TcpUnknown, 0));
        assert_eq!(facts.tcp_flags, 0);
    }
}

#[test]
fn tcp_flags_give_the_class() {
    use PacketClass as Class;
    for (flags, payload, class) in [
        (0x02, &b""[..], Class::TcpSyn),
        (0xc2, b"", Class::TcpSyn),
        (0x12, b"", Class::TcpSynAck),
        (0x04, b"", Class::TcpRst),
        (0x14, b"", Class::TcpRst),
        (0x11, b"", Class::TcpFin),
        (0x10, b"", Class::TcpAck),
        (0x18, b"", Class::TcpAck),
        (0x18, b"x", Class::TcpData),
        (0x00, b"", Class::TcpOdd),
        (0x01, b"", Class::TcpOdd),
        (0x29, b"", Class::TcpOdd),
        (0x03, b"", Class::TcpOdd),
        (0x08, b"x", Class::TcpOdd),
        (0x06, b"", Class::TcpOdd),
    ] {
        let facts = flow(LinkType::RAW, &ipv4(6, A4, B4, &tcp(1, 2, flags, payload)));
        assert_eq!(facts.class, class, "flags {flags:#04x}");
    }
}

#[test]
fn other_protocols_count_payload_after_their_own_headers() {
    let payload_of = |proto: u8, bytes: &[u8]| {
        let facts = flow(LinkType::RAW, &ipv4(proto, A4, B4, bytes));
        (facts.class, facts.key.port_a, facts.payload_bytes)
    };
    let sctp = [&[0x12, 0x34, 0x56, 0x78][..], &[0; 20]].concat();
    assert_eq!(payload_of(132, &sctp), (PacketClass::OtherIp, 0x1234, 12));
    assert_eq!(payload_of(136, &udp(7, 8, b"lite")), (PacketClass::OtherIp, 7, 4));
    assert_eq!(payload_of(2, &[0x16; 8]), (PacketClass::OtherIp, 0, 8));
    assert_eq!(payload_of(50, &[1; 30]), (PacketClass::OtherIp, 0, 30));
    assert_eq!(payload_of(47, &[0xff; 9]), (PacketClass::Gre, 0, 9));
    assert_eq!(payload_of(1, &icmp(3, 1, 0, b"quoted")), (PacketClass::Icmp, 3, 6));
}

#[test]
fn an_icmp_error_is_a_flow_of_its_own_and_its_quote_is_not() {
    let quoted = ipv4(6, B4, A4, &tcp(1, 2, SYN, b""));
    let facts = flow(LinkType::RAW, &ipv4(1, B4, A4, &icmp(3, 13, 0, &quoted)));
    assert_eq!(facts.key.proto, 1);
    // One-way: the sender stays first, type and code are the ports.
    assert_eq!((facts.key.a, facts.key.port_a, facts.key.port_b), (mapped(B4), 3, 13));
    assert!(facts.forward);
    assert_eq!((facts.icmp_type, facts.icmp_code), (3, 13));
}

#[test]
fn authentication_headers_are_gone_over() {
    // Next header, length in words less two, reserved, SPI, sequence, value.
    let ah = |next: u8, payload: &[u8]| [&[next, 4, 0, 0][..], &[9; 20], payload].concat();
    let facts = flow(LinkType::RAW, &ipv4(51, A4, B4, &ah(17, &udp(1, 2, b"abc"))));
    assert_eq!((facts.key.proto, facts.payload_bytes), (17, 3));
    let facts = flow(LinkType::RAW, &ipv6(51, A6, B6, &ah(17, &udp(1, 2, b"abc"))));
    assert_eq!((facts.key.proto, facts.payload_bytes), (17, 3));
}

#[test]
fn every_ipv6_extension_header_is_gone_over() {
    let mut payload = udp(1, 2, b"abc");
    let mut next = 17;
    for header in [0_u8, 43, 60, 135, 139, 140] {
        payload = [&[next, 1][..], &[0; 14], &payload].concat();
        next = header;
    }
    let facts = flow(LinkType::RAW, &ipv6(next, A6, B6, &payload));
    assert_eq!((facts.key.proto, facts.payload_bytes), (17, 3));
    // A mobility header with nothing behind it is what the packet is about.
    let mobility = [&[59, 1][..], &[0; 14]].concat();
    assert_eq!(flow(LinkType::RAW, &ipv6(135, A6, B6, &mobility)).key.proto, 135);
    assert_eq!(flow(LinkType::RAW, &ipv6(59, A6, B6, b"")).payload_bytes, 0);
}

#[test]
fn fragments_say_which_datagram_they_are_of() {
    let segment = udp(5, 6, &[1; 24]);
    let first = flow(LinkType::RAW, &ipv4_fragment(17, A4, B4, 77, 0x2000, &segment[..16]));
    let later = flow(LinkType::RAW, &ipv4_fragment(17, A4, B4, 77, 0x0002, &segment[16..]));
    let (Some(Fragment::First(id)), Some(Fragment::Later(same))) = (first.fragment, later.fragment)
    else {
        panic!("{:?} {:?}", first.fragment, later.fragment);
    };
    assert_eq!((id, id.id), (same, 77));
    assert_eq!((first.key.port_a, first.payload_bytes), (5, 8));
    assert_eq!((later.key.port_a, later.payload_bytes), (0, 16));

    let fragment = |field: u16, bytes: &[u8]| {
        let [high, low] = field.to_be_bytes();
        let header = [17, 0, high, low, 0, 0, 1, 2];
        flow(LinkType::RAW, &ipv6(44, A6, B6, &[&header[..], bytes].concat()))
    };
    let (first, later) = (fragment(1, &segment[..16]), fragment(16, &segment[16..]));
    let (Some(Fragment::First(id)), Some(Fragment::Later(same))) = (first.fragment, later.fragment)
    else {
        panic!("{:?} {:?}", first.fragment, later.fragment);
    };
    assert_eq!((id, id.id), (same, 0x0102));
    assert_eq!((first.key.port_a, later.key.port_a), (5, 0));
    // Atomic: all of the datagram.
    assert_eq!(fragment(0, &segment).fragment, None);
}

#[test]
fn a_fragmented_tunnel_is_opened_by_its_first_fragment_alone() {
    let tunnelled = udp(4000, 4789, &vxlan(3, &eth(0x0800, &inner_v4())));
    let first = flow(LinkType::RAW, &ipv4_fragment(17, A4, B4, 5, 0x2000, &tunnelled));
    assert_inner(&first);
    assert!(matches!(first.fragment, Some(Fragment::First(id)) if id.src == mapped(A4)));
    let inner = inner_v4();
    let later = flow(LinkType::RAW, &ipv4_fragment(4, A4, B4, 5, 0x0001, &inner));
    assert_eq!((later.key.proto, later.tunnels.is_empty()), (4, true));
}

#[test]
fn vlan_tags_are_those_of_the_outermost_header() {
    let inner = eth(0x8100, &tag(99, 0x0800, &inner_v4()));
    let outer = ipv4(17, A4, B4, &udp(4000, 4789, &vxlan(7, &inner)));
    let frame = eth(0x88a8, &tag(10, 0x8100, &tag(20, 0x0800, &outer)));
    let facts = assert_tunnel(&frame, TunnelKind::Vxlan, Some(7));
    assert_eq!(facts.vlans.ids().collect::<Vec<_>>(), [10, 20]);
    assert_eq!((facts.key.vni, facts.key.vlan), (8, 0));
    assert_eq!(facts.macs.src(), SRC_MAC);
    let options = DecodeOptions { key_vlan: true, no_decap: true };
    let (_, facts) = decode(LinkType::ETHERNET, &frame, frame.len() as u32, options);
    assert_eq!((facts.key.vlan, facts.key.port_b), (10, 4789));
    // Also for frames that are not IP.
    let arp = eth(0x8100, &tag(5, 0x0806, &[0; 28]));
    let (verdict, facts) = decode(LinkType::ETHERNET, &arp, 46, DecodeOptions::default());
    assert_eq!((verdict, facts.vlans.outermost()), (Verdict::NonIp(0x0806), Some(5)));
}

#[test]
fn gre_is_opened_in_all_its_forms() {
    let frame = |gre: &[u8]| eth(0x0800, &ipv4(47, A4, B4, gre));
    let v4 = inner_v4();
    let kind = TunnelKind::Gre;
    assert_tunnel(&frame(&gre(0, 0, 0x0800, &[], &v4)), kind, None);
    assert_tunnel(&frame(&gre(0, 0, 0x86dd, &[], &inner_v6())), kind, None);
    let options = [0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1];
    assert_tunnel(&frame(&gre(0xb0, 0, 0x0800, &options, &v4)), kind, Some(9));
    assert_tunnel(
        &frame(&gre(0x20, 0, 0x6558, &[0, 0, 5, 0], &eth(0x0800, &v4))),
        kind,
        Some(1280),
    );
    let routed = [0, 0, 0, 0, 0, 2, 0, 4, 9, 9, 9, 9, 0, 0, 0, 0];
    assert_tunnel(&frame(&gre(0x40, 0, 0x0800, &routed, &v4)), kind, None);
    assert_tunnel(&frame(&gre(0, 0, 0x883e, &[1, 2, 3, 4], &v4)), kind, None);
    let ppp = [&[0xff, 0x03, 0x00, 0x21][..], &v4].concat();
    let length = (ppp.len() as u16).to_be_bytes();
    let options = [length[0], length[1], 0x01, 0x02, 0, 0, 0, 1, 0, 0, 0, 1];
    assert_tunnel(&frame(&gre(0x30, 0x81, 0x880b, &options, &ppp)), kind, Some(0x0102));
    // Not IP inside, or no room for what the flags announce.
    assert_stays_outer(&frame(&gre(0, 0, 0x6558, &[], &eth(0x0806, &[0; 28]))), 47);
    assert_stays_outer(&frame(&gre(0xb0, 0, 0x0800, &[], &[0; 4])), 47);
}

#[test]
fn erspan_is_told_apart_by_sequence_and_version() {
    let frame = |gre: &[u8]| eth(0x0800, &ipv4(47, A4, B4, gre));
    let mirrored = eth(0x0800, &inner_v4());
    let sequence = [0, 0, 0, 1];
    assert_tunnel(&frame(&gre(0, 0, 0x88be, &[], &mirrored)), TunnelKind::ErspanI, None);
    let two = [&[0x10, 0x0a, 0x08, 0x64, 0, 0, 0, 0][..], &mirrored].concat();
    let kind = TunnelKind::ErspanII;
    assert_tunnel(&frame(&gre(0x10, 0, 0x88be, &sequence, &two)), kind, Some(100));
    let three = |flags: u8| [&[0x20, 0x0a, 0x03, 0xff, 0, 0, 0, 0, 0, 0, 0, flags][..]].concat();
    let plain = [&three(0)[..], &mirrored].concat();
    let kind = TunnelKind::ErspanIII;
    assert_tunnel(&frame(&gre(0x10, 0, 0x22eb, &sequence, &plain)), kind, Some(1023));
    let platform = [&three(1)[..], &[5; 8], &mirrored].concat();
    assert_tunnel(&frame(&gre(0x10, 0, 0x22eb, &sequence, &platform)), kind, Some(1023));
}

#[test]
fn a_mirror_that_cuts_frames_leaves_the_inner_lengths_right() {
    let mirrored = eth(0x0800, &ipv4(6, C4, D4, &tcp(1, 2, ACK, &[3; 1000])));
    let header = |truncated: u8| [0x10, 0, truncated, 1, 0, 0, 0, 0];
    let frame = |truncated: u8| {
        let body = [&header(truncated)[..], &mirrored[..100]].concat();
        eth(0x0800, &ipv4(47, A4, B4, &gre(0x10, 0, 0x88be, &[0; 4], &body)))
    };
    assert_eq!(ethernet_flow(&frame(0x04)).payload_bytes, 1000);
    assert_eq!(ethernet_flow(&frame(0x00)).payload_bytes, 100 - 54);
}

#[test]
fn tunnels_over_udp_are_opened() {
    let frame = |port: u16, body: &[u8]| eth(0x0800, &ipv4(17, A4, B4, &udp(40_000, port, body)));
    let mirrored = eth(0x0800, &inner_v4());
    for port in [4789, 8472] {
        assert_tunnel(
            &frame(port, &vxlan(0xff_ffff, &mirrored)),
            TunnelKind::Vxlan,
            Some(0xff_ffff),
        );
    }
    let gpe = [&[0x0c, 0, 0, 1, 0, 0, 2, 0][..], &inner_v4()].concat();
    assert_tunnel(&frame(4790, &gpe), TunnelKind::Vxlan, Some(2));
    let kind = TunnelKind::Geneve;
    let facts = assert_tunnel(&frame(6081, &geneve(5, 0x6558, &[1; 12], &mirrored)), kind, Some(5));
    assert_eq!(facts.key.vni, 6);
    assert_tunnel(&frame(6081, &geneve(0, 0x0800, &[], &inner_v4())), kind, Some(0));
    let kind = TunnelKind::GtpU;
    assert_tunnel(&frame(2152, &gtp_u(0x30, 255, 77, &[], &inner_v4())), kind, Some(77));
    let extended = [0, 1, 0, 0x85, 1, 9, 9, 0];
    assert_tunnel(&frame(2152, &gtp_u(0x34, 255, 77, &extended, &inner_v4())), kind, Some(77));
    let l2tp = [&[0x40, 0x02, 0, 45, 0, 1, 0, 9, 0xff, 0x03, 0x00, 0x21][..], &inner_v4()].concat();
    assert_tunnel(&frame(1701, &l2tp), TunnelKind::L2tp, Some(9));
    // No VNI flag, signalling, a packet that is none.
    assert_stays_outer(&frame(4789, &[&[0; 8][..], &mirrored].concat()), 17);
    assert_stays_outer(&frame(2152, &gtp_u(0x30, 1, 0, &[], &inner_v4())), 17);
    assert_stays_outer(&frame(2152, &gtp_u(0x30, 255, 0, &[], b"no IP packet")), 17);
    assert_stays_outer(&frame(4789, &vxlan(1, &eth(0x0806, &[0; 28]))), 17);
}

#[test]
fn ip_in_ip_is_opened_in_all_four_forms_and_6to4_has_its_name() {
    let (v4, v6) = (inner_v4(), inner_v6());
    assert_tunnel(&eth(0x0800, &ipv4(4, A4, B4, &v4)), TunnelKind::IpInIp, None);
    assert_tunnel(&eth(0x0800, &ipv4(41, A4, B4, &v6)), TunnelKind::SixInFour, None);
    assert_tunnel(&eth(0x86dd, &ipv6(4, A6, B6, &v4)), TunnelKind::FourInSix, None);
    let facts = assert_tunnel(&eth(0x86dd, &ipv6(41, A6, B6, &v6)), TunnelKind::SixInSix, None);
    assert_eq!(facts.tunnels.as_slice()[0].outer_src, A6);
    let mut site = A6;
    site[..2].copy_from_slice(&[0x20, 0x02]);
    for (src, dst) in [(site, B6), (B6, site)] {
        let inner = ipv6(17, src, dst, &udp(1000, 53, b"inner"));
        assert_tunnel(&eth(0x0800, &ipv4(41, A4, B4, &inner)), TunnelKind::SixToFour, None);
    }
}

#[test]
fn teredo_is_opened_only_with_its_own_addresses() {
    let mut client = A6;
    client[..4].copy_from_slice(&[0x20, 0x01, 0, 0]);
    let frame = |body: &[u8]| eth(0x0800, &ipv4(17, A4, B4, &udp(3544, 50_000, body)));
    let inner = ipv6(17, client, B6, &udp(1000, 53, b"inner"));
    assert_tunnel(&frame(&inner), TunnelKind::Teredo, None);
    let authentication = [0, 1, 2, 3, 1, 1, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let origin = [0, 0, 1, 2, 3, 4, 5, 6];
    assert_tunnel(
        &frame(&[&authentication[..], &origin, &inner].concat()),
        TunnelKind::Teredo,
        None,
    );
    assert_stays_outer(&frame(&inner_v6()), 17);
}

#[test]
fn nesting_stops_at_the_bound() {
    let mut packet = inner_v4();
    for _ in 0..40 {
        packet = ipv4(4, A4, B4, &packet);
    }
    let facts = ethernet_flow(&eth(0x0800, &packet));
    assert_eq!(facts.tunnels.as_slice().len(), flowtap::packet::MAX_TUNNELS);
    assert_eq!(facts.key.proto, 4);
    let mut tags = inner_v4();
    for _ in 0..40 {
        tags = tag(1, 0x8100, &tags);
    }
    let deep = verdict(LinkType::ETHERNET, &eth(0x8100, &tags));
    assert_eq!(deep, Verdict::NonIp(pseudo::TOO_DEEP));
}

#[test]
fn provider_networks_lead_to_ip() {
    let v4 = inner_v4();
    let labels = |bytes: &[u8]| [&[0, 1, 0, 64, 0, 2, 1, 64][..], bytes].concat();
    for frame in [
        eth(0x8847, &labels(&v4)),
        eth(0x8847, &labels(&inner_v6())),
        eth(0x8847, &labels(&[&[0; 4][..], &eth(0x0800, &v4)].concat())),
        eth(0x8847, &labels(&eth(0x0800, &v4))),
        eth(0x8864, &[&[0x11, 0, 0, 1, 0, 35, 0, 0x21][..], &v4].concat()),
        eth(0x88e7, &[&[0, 0, 0, 9][..], &eth(0x0800, &v4)].concat()),
        eth(0x894f, &[&[0, 2, 1, 1, 0, 0, 0, 9][..], &v4].concat()),
        eth(0x8926, &[&[0, 0, 0, 0, 0x08, 0][..], &v4].concat()),
        eth((8 + v4.len()) as u16, &[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &v4].concat()),
    ] {
        let facts = ethernet_flow(&frame);
        assert_inner(&facts);
        assert!(facts.tunnels.is_empty());
    }
    assert_eq!(
        verdict(LinkType::ETHERNET, &eth(0x8847, &labels(&[0x10; 40]))),
        Verdict::NonIp(pseudo::MPLS_PAYLOAD)
    );
}

#[test]
fn every_link_type_leads_to_ip() {
    let v4 = inner_v4();
    let before = |header: &[u8]| [header, &v4].concat();
    let cooked = [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 5, 0, 0, 0x08, 0x00];
    let cooked_v2 = [0x08, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 2, 0, 0, 0, 0, 5, 0, 0];
    let wlan = |control: u8, flags: u8, rest: usize| {
        let mut header = vec![control, flags];
        header.resize(24 + rest, 0);
        header.extend([0xaa, 0xaa, 3, 0, 0, 0, 8, 0]);
        header
    };
    for (link, frame) in [
        (LinkType::RAW, v4.clone()),
        (LinkType::RAW_BSD, v4.clone()),
        (LinkType::RAW_OPENBSD, inner_v6()),
        (LinkType::IPV4, v4.clone()),
        (LinkType::IPV6, inner_v6()),
        (LinkType::NULL, before(&[2, 0, 0, 0])),
        (LinkType::NULL, before(&[0, 0, 0, 2])),
        (LinkType::LOOP, before(&[0, 0, 0, 2])),
        (LinkType::LINUX_SLL, before(&cooked)),
        (LinkType::LINUX_SLL2, before(&cooked_v2)),
        (LinkType::PPP, before(&[0xff, 0x03, 0x00, 0x21])),
        (LinkType::PPP, before(&[0x21])),
        (LinkType::PPP_HDLC, before(&[0x0f, 0x00, 0x08, 0x00])),
        (LinkType::PPP_WITH_DIR, before(&[1, 0xff, 0x03, 0x00, 0x21])),
        (LinkType::PPP_ETHER, before(&[0x11, 0, 0, 1, 0, 35, 0, 0x21])),
        (LinkType::C_HDLC, before(&[0x0f, 0, 0x08, 0x00])),
        (LinkType::FRELAY, before(&[0x18, 0x41, 0x03, 0xcc])),
        (LinkType::IPOIB, before(&[&[0; 40][..], &[0x08, 0x00, 0, 0]].concat())),
        (LinkType::DSA_TAG_DSA, before(&[&[2; 16][..], &[0x08, 0x00]].concat())),
        (LinkType::DSA_TAG_EDSA, before(&[&[2; 20][..], &[0x08, 0x00]].concat())),
        (LinkType::ARCNET_LINUX, before(&[1, 2, 0, 0, 212, 0, 0, 1])),
        (LinkType::SLIP, before(&[0; 16])),
        (LinkType::NFLOG, before(&[2, 0, 0, 1, 37, 0, 9, 0])),
        (LinkType::IEEE802_11, before(&wlan(0x08, 0x01, 0))),
        (LinkType::IEEE802_11, before(&wlan(0x88, 0x03, 8))),
        (
            LinkType::IEEE802_11_RADIOTAP,
            before(&[&[0, 0, 8, 0, 0, 0, 0, 0][..], &wlan(8, 2, 0)].concat()),
        ),
        // Flags say that the header is padded: QoS makes it 26 bytes.
        (
            LinkType::IEEE802_11_RADIOTAP,
            before(&[&[0, 0, 9, 0, 2, 0, 0, 0, 0x20][..], &wlan(0x88, 2, 4)].concat()),
        ),
        (LinkType::PPI, before(&[&[0, 0, 8, 0, 105, 0, 0, 0][..], &wlan(8, 0, 0)].concat())),
    ] {
        let facts = flow(link, &frame);
        assert_inner(&facts);
    }
    let facts = flow(LinkType::LINUX_SLL, &before(&cooked));
    assert_eq!((facts.macs.src(), facts.has_mac), (SRC_MAC, true));
}

#[test]
fn what_is_not_ip_has_a_name() {
    for (link, frame, name) in [
        (LinkType::ETHERNET, eth(0x0806, &[0; 28]), "arp"),
        (LinkType::ETHERNET, eth(0x88cc, &[0; 28]), "lldp"),
        (LinkType::ETHERNET, eth(38, &[0x42; 46]), "stp"),
        (LinkType::ETHERNET, eth(40, &[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0x00]), "cdp"),
        (LinkType::ETHERNET, eth(0x7777, &[]), "0x7777"),
        (LinkType::IEEE802_11, vec![0x80; 40], "wlan_management"),
        (LinkType::IEEE802_11, [0x08, 0x41, 0, 0].repeat(20), "wlan_encrypted"),
        (LinkType::PPP, vec![0xff, 0x03, 0xc0, 0x21], "ppp_lcp"),
        (LinkType::BLUETOOTH_HCI_H4, vec![1], "linktype_bluetooth_hci_h4"),
        (LinkType(298), vec![], "linktype_298"),
    ] {
        let Verdict::NonIp(kind) = verdict(link, &frame) else {
            panic!("{name}: {:?}", verdict(link, &frame));
        };
        assert_eq!(non_ip_name(kind), name);
    }
}
