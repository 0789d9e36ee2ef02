//! What holds of the decoder for any bytes, and against another parser.

use crate::frames::*;
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use flowtap::packet::fuzzing::{facts_are_sound, paths_agree};
use flowtap::packet::key::mapped;
use flowtap::packet::{Address, DecodeOptions, Decoder, Facts, LinkType, Verdict};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn options() -> impl Strategy<Value = DecodeOptions> {
    (any::<bool>(), any::<bool>())
        .prop_map(|(no_decap, key_vlan)| DecodeOptions { no_decap, key_vlan })
}

/// Ports that mean something to the decoder, and some that don't.
fn port() -> impl Strategy<Value = u16> {
    prop_oneof![
        any::<u16>(),
        select(vec![53, 443, 4789, 8472, 4790, 6081, 2152, 3544, 1701, 4341, 5247, 6635]),
    ]
}

/// The shapes that the direct reader is made for.
fn plain_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = vec(any::<u8>(), 0..80);
    let vlan = proptest::option::of(any::<u16>());
    (any::<bool>(), any::<bool>(), port(), port(), any::<u8>(), payload, vlan).prop_map(
        |(v6, is_tcp, src, dst, flags, payload, vlan)| {
            let transport =
                if is_tcp { tcp(src, dst, flags, &payload) } else { udp(src, dst, &payload) };
            let proto = if is_tcp { 6 } else { 17 };
            let (ether_type, packet) = if v6 {
                (0x86dd, ipv6(proto, B6, A6, &transport))
            } else {
                (0x0800, ipv4(proto, B4, A4, &transport))
            };
            match vlan {
                Some(id) => eth(0x8100, &tag(id, ether_type, &packet)),
                None => eth(ether_type, &packet),
            }
        },
    )
}

/// Layers around an inner packet, in any order and number.
fn stacked_frame() -> impl Strategy<Value = Vec<u8>> {
    (any::<bool>(), vec((0..14_u8, any::<u32>()), 0..10)).prop_map(|(v6, layers)| {
        let mut packet = if v6 { inner_v6() } else { inner_v4() };
        for (layer, value) in layers {
            let ip_type = if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
            let ip_proto = if packet[0] >> 4 == 6 { 41 } else { 4 };
            let mirrored = eth(ip_type, &packet);
            let word = value.to_be_bytes();
            packet = match layer {
                0 => ipv4(ip_proto, A4, B4, &packet),
                1 => ipv6(ip_proto, A6, B6, &packet),
                2 => ipv4(17, A4, B4, &udp(9, 4789, &vxlan(value & 0xff_ffff, &mirrored))),
                3 => ipv6(17, A6, B6, &udp(9, 6081, &geneve(7, 0x6558, &word, &mirrored))),
                4 => ipv4(17, A4, B4, &udp(2152, 2152, &gtp_u(0x30, 255, value, &[], &packet))),
                5 => ipv4(47, A4, B4, &gre(0, 0, ip_type, &[], &packet)),
                6 => ipv4(47, A4, B4, &gre(0xb0, 0, 0x6558, &[0; 12], &mirrored)),
                7 => ipv4(47, A4, B4, &gre(0, 0, 0x88be, &[], &mirrored)),
                8 => {
                    let mirrored = [&[0x10, 0, word[0], 0, 0, 0, 0, 0][..], &mirrored].concat();
                    ipv4(47, A4, B4, &gre(0x10, 0, 0x88be, &word, &mirrored))
                }
                9 => ipv6(44, A6, B6, &[&[ip_proto, 0, 0, 1][..], &word, &packet].concat()),
                10 => ipv6(60, A6, B6, &[&[ip_proto, 0, 1, 4, 0, 0, 0, 0][..], &packet].concat()),
                11 => ipv4_fragment(ip_proto, A4, B4, 9, 0x2000, &packet),
                12 => ipv4(137, A4, B4, &[&[0, 0, 1, 64][..], &packet].concat()),
                _ => ipv4(51, A4, B4, &[&[ip_proto, 1, 0, 0][..], &[3; 8], &packet].concat()),
            };
        }
        eth(if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 }, &packet)
    })
}

/// A frame with some bytes overwritten, cut at the end.
fn damaged(frames: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = (Vec<u8>, u32)> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (frames, changes, any::<prop::sample::Index>(), any::<bool>(), 0..200_u32).prop_map(
        |(mut frame, changes, end, cut, more)| {
            let whole = frame.len() as u32;
            for (at, value) in changes {
                // Headers are where the decisions are: three in four go there.
                let span = if value % 4 == 0 { frame.len() } else { frame.len().min(60) };
                let at = at.index(span);
                frame[at] = value;
            }
            if cut {
                frame.truncate(end.index(frame.len() + 1));
            }
            (frame, if more < 100 { whole } else { whole.saturating_sub(120) + more })
        },
    )
}

fn link_type() -> impl Strategy<Value = LinkType> {
    prop_oneof![
        select(vec![1, 0, 9, 12, 50, 51, 101, 104, 105, 107, 108, 113, 119, 127, 129, 163, 192])
            .prop_map(LinkType),
        select(vec![8, 10, 11, 14, 100, 204, 205, 206, 228, 229, 239, 276]).prop_map(LinkType),
        any::<u16>().prop_map(LinkType),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_bytes_of_any_link_type_give_sound_facts(
        link in link_type(),
        data in vec(any::<u8>(), 0..300),
        more in 0..300_u32,
        options in options(),
    ) {
        facts_are_sound(options, link, &data, more);
    }

    #[test]
    fn damaged_stacks_of_tunnels_give_sound_facts(
        (data, wire_bytes) in damaged(stacked_frame()),
        options in options(),
    ) {
        facts_are_sound(options, LinkType::ETHERNET, &data, wire_bytes);
        paths_agree(options, &data, wire_bytes);
    }

    #[test]
    fn the_direct_reader_says_what_the_general_path_says(
        (data, wire_bytes) in damaged(plain_frame()),
        options in options(),
    ) {
        paths_agree(options, &data, wire_bytes);
    }

    #[test]
    fn the_direct_reader_agrees_on_any_bytes_behind_an_ethernet_header(
        ether_type in select(vec![0x0800_u16, 0x86dd, 0x8100]),
        first in select(vec![0x45_u8, 0x60, 0x46, 0x00]),
        proto in select(vec![6_u8, 17]),
        fragment in select(vec![[0x40_u8, 0], [0, 0], [0x20, 0], [0x60, 0], [0, 1], [0x1f, 0xff]]),
        mut data in vec(any::<u8>(), 40..120),
        options in options(),
    ) {
        data[0] = first;
        data[9] = proto;
        data[6] = if first == 0x60 { proto } else { fragment[0] };
        data[7] = fragment[1];
        let frame = eth(ether_type, &data);
        paths_agree(options, &frame, 70_000);
    }

    #[test]
    fn the_direct_reader_takes_every_plain_frame(
        src in 10_000..60_000_u16,
        v6: bool,
        is_tcp: bool,
        tagged: bool,
    ) {
        let transport = if is_tcp { tcp(src, 443, ACK, b"x") } else { udp(src, 443, b"x") };
        let proto = if is_tcp { 6 } else { 17 };
        let (ether_type, packet) = if v6 {
            (0x86dd, ipv6(proto, A6, B6, &transport))
        } else {
            (0x0800, ipv4(proto, A4, B4, &transport))
        };
        let frame =
            if tagged { eth(0x8100, &tag(5, ether_type, &packet)) } else { eth(ether_type, &packet) };
        prop_assert!(paths_agree(DecodeOptions::default(), &frame, frame.len() as u32));
    }

    #[test]
    fn plain_frames_are_read_as_etherparse_reads_them(
        (data, wire_bytes) in damaged(plain_frame()),
    ) {
        agrees_with_etherparse(&data, wire_bytes)?;
    }
}

/// Addresses, protocol, ports and, where the packet was whole, payload. Tells
/// nothing about frames that etherparse can't read that far.
fn agrees_with_etherparse(data: &[u8], wire_bytes: u32) -> Result<(), TestCaseError> {
    let mut facts = Facts::default();
    let options = DecodeOptions { no_decap: true, key_vlan: false };
    let verdict = Decoder::new(options).decode(LinkType::ETHERNET, data, wire_bytes, &mut facts);
    let Ok(theirs) = LaxSlicedPacket::from_ethernet(data) else { return Ok(()) };
    let (src, dst): (Address, Address) = match &theirs.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            (mapped(ip.header().source()), mapped(ip.header().destination()))
        }
        Some(LaxNetSlice::Ipv6(ip)) => (ip.header().source(), ip.header().destination()),
        _ => return Ok(()),
    };
    // What etherparse lets pass and we call malformed is not compared.
    if verdict != Verdict::Flow {
        return Ok(());
    }
    let (our_src, our_dst) =
        if facts.forward { (facts.key.a, facts.key.b) } else { (facts.key.b, facts.key.a) };
    prop_assert_eq!((our_src, our_dst), (src, dst));
    let (src_port, dst_port) = if facts.forward {
        (facts.key.port_a, facts.key.port_b)
    } else {
        (facts.key.port_b, facts.key.port_a)
    };
    let captured = facts.payload_offset as usize..;
    let captured = data.get(captured).and_then(|from| from.get(..facts.payload_captured as usize));
    match &theirs.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            prop_assert_eq!(facts.key.proto, 6);
            prop_assert_eq!((src_port, dst_port), (tcp.source_port(), tcp.destination_port()));
            prop_assert_eq!(facts.tcp_seq, tcp.sequence_number());
            prop_assert_eq!(facts.tcp_flags & 0x02 != 0, tcp.syn());
            prop_assert_eq!(facts.tcp_flags & 0x100 != 0, tcp.ns());
            prop_assert_eq!(captured, Some(tcp.payload()));
        }
        Some(TransportSlice::Udp(udp)) => {
            prop_assert_eq!(facts.key.proto, 17);
            prop_assert_eq!((src_port, dst_port), (udp.source_port(), udp.destination_port()));
            if facts.fragment.is_none() {
                prop_assert_eq!(captured, Some(udp.payload()));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Found by the fuzzer: the header after the last one allowed was a later
/// fragment, and its payload was read as ports.
#[test]
fn a_later_fragment_behind_as_many_extension_headers_as_may_be_has_no_ports() {
    for atomic_fragments in 0..20 {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, 44, 64];
        packet.extend([0x11; 16]);
        packet.extend([0x22; 16]);
        for _ in 0..atomic_fragments {
            packet.extend([44, 0, 0, 0, 0, 0, 0, 1]);
        }
        packet.extend([6, 0, 0x01, 0x00, 0, 0, 0, 2]);
        packet.extend([0xab; 40]);
        let payload_bytes = (packet.len() - 40) as u16;
        packet[4..6].copy_from_slice(&payload_bytes.to_be_bytes());
        let link = LinkType(229); // LINKTYPE_IPV6
        facts_are_sound(DecodeOptions::default(), link, &packet, packet.len() as u32);
    }
}

/// The inputs of `tools/fuzz/fuzz_targets/direct_vs_general.rs`, read as there.
#[test]
fn the_two_paths_agree_on_what_fuzzing_found() {
    let mut taken = 0;
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/fuzz/seeds/direct_vs_general");
    for seed in std::fs::read_dir(seeds).expect("seeds") {
        let input = std::fs::read(seed.expect("an entry").path()).expect("a seed");
        let Some(([settings, more], data)) = input.split_first_chunk::<2>() else { continue };
        let options = DecodeOptions { no_decap: settings & 1 != 0, key_vlan: settings & 2 != 0 };
        let wire_bytes = data.len() as u32 + u32::from(*more) * 8;
        taken += usize::from(paths_agree(options, data, wire_bytes));
    }
    assert!(taken > 0, "none was of a shape that the direct reader takes");
}
