//! Windows are functions of the set of packets: any split, any order.

use proptest::prelude::*;

use std::sync::Arc;

use super::*;
use crate::engine::feed::WindowFeed;
use crate::packet::facts::PACKET_CLASSES;
use crate::packet::key::mapped;
use crate::packet::{FlowKey, Macs, PacketRow, row_flag};

fn v4(value: u32) -> Host {
    Host { version: IpVersion::V4, address: mapped(value.to_be_bytes()) }
}

fn v6(value: u128) -> Host {
    Host { version: IpVersion::V6, address: (0x2001_0db8 << 96 | value).to_be_bytes() }
}

/// A packet to change.
pub(super) fn any_packet() -> PacketRow {
    PacketRow {
        key: FlowKey { proto: 6, ..FlowKey::ZERO },
        wire_bytes: 60,
        ip_bytes: 40,
        macs: Macs::new([2; 6], [4; 6]),
        ttl: 64,
        class: PacketClass::TcpAck,
        ..PacketRow::NOTHING
    }
}

fn tiny(caps: usize) -> WindowSettings {
    let caps = Caps {
        hosts: caps,
        prefixes: caps,
        sketch_buckets: 16,
        pairs: caps * 2,
        services: caps,
        links: caps,
        stations: caps,
        ..Caps::default()
    };
    WindowSettings { caps, seed: Seed::default() }
}

fn delta(src: Host, dst: Host, class: PacketClass, packets: u32) -> Delta {
    let proto = match class {
        PacketClass::Udp => 17,
        PacketClass::Icmp => 1,
        PacketClass::Gre => 47,
        PacketClass::OtherIp => 132,
        _ => 6,
    };
    let mut delta = Delta::new(src, dst, proto, 40_000, 53);
    delta.classes[class as usize] = packets;
    delta.sizes[size_bin(100)] = packets;
    delta.wire_bytes = u64::from(packets) * 142;
    delta.payload_bytes = u64::from(packets) * 100;
    delta
}

prop_compose! {
    fn any_delta()(
        src in 0u32..40,
        dst in 0u32..40,
        six in any::<bool>(),
        class in 0usize..PACKET_CLASSES,
        packets in 1u32..2_000,
        src_port in prop_oneof![Just(53u16), Just(0), any::<u16>()],
        dst_port in prop_oneof![Just(123u16), any::<u16>()],
        mac in 0u8..20,
        group in 0u8..3,
    ) -> Delta {
        // Addresses in several /24 and /16, so that prefixes coarsen too.
        let host = |n: u32| {
            if six { v6(u128::from(n) << 60) } else { v4(0x0a00_0000 | n << 13) }
        };
        let mut delta = delta(host(src), host(dst), PacketClass::ALL[class], packets);
        delta.src_port = src_port;
        delta.dst_port = dst_port;
        delta.src_mac = [2, 0, 0, 0, 0, mac];
        delta.src_mac_known = mac > 0;
        delta.vlan = u16::from(mac) % 3;
        delta.dst_is_broadcast = group == 1;
        delta.dst_is_multicast = group == 2;
        delta.fragments = packets / 3;
        delta
    }
}

prop_compose! {
    fn any_link()(
        ether_type in 0u16..40,
        mac in 0u8..20,
        group in any::<bool>(),
        frames in 1u32..500,
        target in any::<Option<[u8; 4]>>(),
    ) -> LinkDelta {
        LinkDelta {
            ether_type,
            src_mac: [2, 0, 0, 0, 0, mac],
            src_mac_known: true,
            dst_mac: if group { [0xff; 6] } else { [2; 6] },
            dst_mac_known: true,
            vlan: 0,
            vni: 0,
            frames,
            wire_bytes: u64::from(frames) * 60,
            arp_target: target,
        }
    }
}

/// The whole in one slice, and the same in `shards` slices that are merged in
/// a shuffled order, each delta given by `assign`.
fn whole_and_merged(
    settings: &WindowSettings,
    deltas: &[Delta],
    links: &[LinkDelta],
    assign: &[u8],
    shards: usize,
) -> (Slice, Slice) {
    let mut whole = Slice::new(7, settings);
    let mut parts: Vec<Slice> = (0..shards).map(|_| Slice::new(7, settings)).collect();
    let shard = |index: usize| usize::from(assign[index % assign.len()]) % shards;
    for (index, delta) in deltas.iter().enumerate() {
        whole.add(delta);
        // Halve some deltas over two shards: splitting must not matter.
        let packets = delta.packets();
        if index % 3 == 0 && packets > 1 {
            let mut first = *delta;
            let mut second = *delta;
            for class in 0..PACKET_CLASSES {
                first.classes[class] = delta.classes[class] / 2;
                second.classes[class] = delta.classes[class] - first.classes[class];
            }
            for bin in 0..SIZE_BINS {
                first.sizes[bin] = delta.sizes[bin] / 2;
                second.sizes[bin] = delta.sizes[bin] - first.sizes[bin];
            }
            first.wire_bytes = delta.wire_bytes / 2;
            second.wire_bytes = delta.wire_bytes - first.wire_bytes;
            first.payload_bytes = delta.payload_bytes / 2;
            second.payload_bytes = delta.payload_bytes - first.payload_bytes;
            first.fragments = delta.fragments / 2;
            second.fragments = delta.fragments - first.fragments;
            parts[shard(index)].add(&first);
            parts[shard(index + 1)].add(&second);
        } else {
            parts[shard(index)].add(delta);
        }
    }
    for (index, link) in links.iter().enumerate() {
        whole.add_link(link);
        parts[shard(index)].add_link(link);
    }
    // Some merges start from an empty slice, in an order taken from `assign`.
    parts.rotate_left(usize::from(assign[0]) % shards);
    let mut merged = Slice::new(7, settings);
    while parts.len() > 1 {
        let at = usize::from(assign[parts.len() % assign.len()]) % (parts.len() - 1);
        let part = parts.swap_remove(at);
        match parts.get_mut(at).filter(|_| at % 2 == 1) {
            Some(other) => other.merge(part),
            None => merged.merge(part),
        }
    }
    for part in parts {
        merged.merge(part);
    }
    (whole, merged)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_split_over_shards_merges_to_the_same_slice(
        deltas in prop::collection::vec(any_delta(), 0..120),
        links in prop::collection::vec(any_link(), 0..40),
        assign in prop::collection::vec(any::<u8>(), 1..60),
        shards in 1usize..9,
        caps in prop_oneof![Just(1usize), Just(4), Just(16), Just(1_000)],
    ) {
        let (whole, merged) = whole_and_merged(&tiny(caps), &deltas, &links, &assign, shards);
        prop_assert!(whole == merged, "caps {caps}, shards {shards}");
        let seed = whole.seed();
        prop_assert_eq!(whole.receivers().heavy(seed, 100), merged.receivers().heavy(seed, 100));
        prop_assert_eq!(whole.senders().prefixes(seed), merged.senders().prefixes(seed));
    }

    #[test]
    fn tables_never_hold_more_than_their_caps(
        deltas in prop::collection::vec(any_delta(), 0..200),
        caps in 1usize..12,
    ) {
        let mut slice = Slice::new(0, &tiny(caps));
        for delta in &deltas {
            slice.add(delta);
        }
        for table in [slice.receivers(), slice.senders()] {
            prop_assert!(table.exact().is_none_or(|exact| exact.len() <= caps));
            prop_assert!(table.is_exact() || table.prefixes(slice.seed()).len() <= caps);
        }
        prop_assert!(slice.pairs().is_none_or(|pairs| pairs.len() <= caps * 2));
        prop_assert!(slice.services().is_none_or(|services| services.len() <= caps));
        prop_assert!(slice.stations().table().len() <= caps);
        prop_assert!(slice.links().table().len() <= caps);
    }

    #[test]
    fn sums_below_the_caps_equal_a_plain_count(
        deltas in prop::collection::vec(any_delta(), 1..80),
    ) {
        let mut slice = Slice::new(0, &WindowSettings::default());
        let mut expected = std::collections::BTreeMap::<(Host, Host), (u64, u64)>::new();
        for delta in &deltas {
            slice.add(delta);
            let sums = expected.entry((delta.src, delta.dst)).or_default();
            sums.0 += u64::from(delta.packets());
            sums.1 += delta.wire_bytes;
        }
        let pairs = slice.pairs().expect("far below the cap");
        prop_assert_eq!(pairs.len(), expected.len());
        for ((src, dst), (packets, bytes)) in expected {
            let pair = slice.pair(&src, &dst).expect("counted");
            prop_assert_eq!((pair.tally.packets(), pair.tally.wire_bytes), (packets, bytes));
        }
    }
}

#[test]
fn the_step_to_a_coarser_form_is_at_one_key_over_the_cap() {
    let settings = tiny(8);
    let mut slice = Slice::new(0, &settings);
    for n in 0..8 {
        slice.add(&delta(v4(n), v4(1_000), PacketClass::Udp, 1));
    }
    assert!(slice.senders().is_exact());
    slice.add(&delta(v4(7), v4(1_000), PacketClass::Udp, 1));
    assert!(slice.senders().is_exact(), "a known key needs no room");
    slice.add(&delta(v4(8), v4(1_000), PacketClass::Udp, 1));
    assert!(!slice.senders().is_exact());
    assert!(slice.receivers().is_exact());
}

#[test]
fn the_sketch_gives_back_every_heavy_host_among_ten_times_as_much_noise() {
    let settings = WindowSettings::default();
    let mut slice = Slice::new(0, &settings);
    let seed = slice.seed();
    let victims: Vec<Host> =
        (0..20).map(|n| if n % 2 == 0 { v4(0xc000_0200 + n) } else { v6(u128::from(n)) }).collect();
    for (index, &victim) in victims.iter().enumerate() {
        slice.add(&delta(v4(1), victim, PacketClass::Udp, 1_000 + index as u32 * 37));
    }
    // 20 victims with some 27,000 packets; 270,000 of noise over 90,000 hosts.
    for n in 0..90_000u64 {
        let address = seed.mix(n, 99);
        let host = if n % 2 == 0 { v4(address as u32) } else { v6(u128::from(address) << 9) };
        slice.add(&delta(v4(2), host, PacketClass::TcpData, 3));
    }
    assert!(!slice.receivers().is_exact());
    let found = slice.receivers().heavy(seed, 900);
    for (index, victim) in victims.iter().enumerate() {
        let truth = 1_000.0 + index as f64 * 37.0;
        let (_, stats) =
            found.iter().find(|(host, _)| host == victim).expect("every victim is found");
        let estimate = stats.tally.class(PacketClass::Udp) as f64;
        assert!((estimate - truth).abs() <= 0.05 * truth, "{estimate} for {truth}");
    }
    assert_eq!(found.len(), victims.len(), "and nobody else: {found:?}");
}

#[test]
fn the_port_that_most_packets_share_is_read_back() {
    let mut slice = Slice::new(0, &WindowSettings::default());
    let victim = v4(9);
    for n in 0..95u32 {
        let mut one = delta(v4(100 + n), victim, PacketClass::Udp, 10);
        (one.src_port, one.dst_port) = (11_211, n as u16 * 601);
        slice.add(&one);
    }
    let stats = slice.receivers().get(slice.seed(), &victim).expect("received");
    assert_eq!(stats.src_port.majority(), Some((11_211, 1.0)));
    assert_eq!(stats.dst_port.majority(), None);
    let mut other = delta(v4(1), victim, PacketClass::Udp, 50);
    other.src_port = 1;
    slice.add(&other);
    let stats = slice.receivers().get(slice.seed(), &victim).expect("received");
    let (port, share) = stats.src_port.majority().expect("still a majority");
    assert_eq!(port, 11_211);
    assert!((0.5..=0.95).contains(&share), "a lower bound of 0.95: {share}");
}

#[test]
fn both_ends_of_an_amplifying_service_are_counted() {
    let mut slice = Slice::new(0, &WindowSettings::default());
    let (client, server) = (v4(1), v4(2));
    let mut request = delta(client, server, PacketClass::Udp, 2);
    (request.src_port, request.dst_port, request.payload_bytes) = (40_000, 53, 80);
    let mut response = delta(server, client, PacketClass::Udp, 2);
    (response.src_port, response.dst_port, response.payload_bytes) = (53, 40_000, 6_000);
    slice.add(&request);
    slice.add(&response);
    let services = slice.services().expect("few").sorted();
    assert_eq!(services.len(), 2);
    for (key, stats) in services {
        let host = if key.side == ServiceSide::Client { client } else { server };
        assert_eq!((key.host, key.port), (host, 53));
        assert_eq!((stats.requests, stats.responses), (2, 2));
        assert_eq!((stats.request_bytes, stats.response_bytes), (80, 6_000));
        assert_eq!(stats.peers.estimate(), 1);
    }
}

#[test]
fn payload_bins_cover_every_size_once() {
    for bytes in 0..=70_000u32 {
        let (min, max) = size_bin_range(size_bin(bytes));
        assert!(bytes >= min && max.is_none_or(|max| bytes <= max), "{bytes}");
    }
    assert_eq!(size_bin(u32::MAX), SIZE_BINS - 1);
}

#[test]
fn sums_saturate_instead_of_overflowing() {
    let mut slice = Slice::new(0, &tiny(1));
    for _ in 0..3 {
        for host in [v4(1), v4(2)] {
            let mut most = delta(host, v4(3), PacketClass::Icmp, u32::MAX);
            most.wire_bytes = u64::MAX;
            slice.add(&most);
        }
    }
    assert_eq!(slice.total().class(PacketClass::Icmp), u64::from(u32::MAX));
    assert_eq!(slice.total().wire_bytes, u64::MAX);
}

#[test]
fn an_empty_slice_is_small() {
    assert!(size_of::<Slice>() < 1_500, "{}", size_of::<Slice>());
}

#[test]
fn a_slice_stays_under_its_stated_size_whatever_comes() {
    let mut slice = Slice::new(0, &WindowSettings::default());
    let mut most = 0;
    for n in 0..140_000u64 {
        let bits = slice.seed().mix(n, 5);
        let host =
            |n: u64| if n.is_multiple_of(2) { v4(n as u32) } else { v6(u128::from(n) << 48) };
        // First as many pairs as possible among few hosts, then all new.
        let (src, dst) = if n < 70_000 { (n % 16_000, n / 16_000) } else { (bits, bits >> 20) };
        let mut one = delta(host(src), host(dst), PacketClass::Udp, 1);
        one.src_mac = bits.to_be_bytes()[..6].try_into().expect("six bytes");
        one.src_mac_known = true;
        one.src_port = AMPLIFIERS[n as usize % AMPLIFIERS.len()].0;
        one.dst_is_multicast = n.is_multiple_of(3);
        slice.add(&one);
        if n.is_multiple_of(5_000) {
            most = most.max(slice.memory_bytes());
        }
    }
    assert!(slice.pairs_overflowed() && !slice.senders().is_exact());
    assert!((20 << 20..48_000_000).contains(&most), "{most}");
}

#[test]
fn a_flow_seen_on_both_sides_of_a_router_is_in_few_rows_and_counts_for_both_stations() {
    let mut feed = WindowFeed::new(WindowSettings::default(), Arc::new(ChunkPool::default()));
    let mut row = RowRef::default();
    for n in 0..1_000 {
        let mut packet = any_packet();
        packet.flags = row_flag::HAS_MAC;
        packet.macs = Macs::new([2, 0, 0, 0, 0, n as u8 % 2], packet.macs.dst());
        packet.wire_bytes = 60 + n;
        feed.live_packet(&mut row, &packet);
    }
    let window = feed.close_next(1).expect("a second");
    // The first packet, and the flow.
    assert_eq!(window.log.rows(), 2);
    let mut sums: Vec<_> = window
        .slice
        .stations()
        .table()
        .sorted()
        .into_iter()
        .map(|(_, stats)| (stats.packets, stats.wire_bytes))
        .collect();
    sums.sort_unstable();
    let bytes = |first| (first..1_000).step_by(2).map(|n| 60 + n).sum::<u64>();
    assert_eq!(sums, [(500, bytes(0)), (500, bytes(1))]);
}

proptest! {
    #[test]
    fn a_host_is_written_and_ordered_as_its_address_is(
        hosts in prop::collection::vec(
            prop_oneof![any::<u32>().prop_map(v4), any::<u128>().prop_map(v6)],
            2,
        ),
        octets in any::<[u8; 4]>(),
    ) {
        let one = Host::from(IpAddr::from(octets.map(|octet| octet % 120)));
        for host in hosts.iter().chain([&one]) {
            prop_assert_eq!(host.text_after("at "), format!("at {}", host.ip()));
        }
        let fields = |host: &Host| (host.version, host.address);
        prop_assert_eq!(hosts[0].cmp(&hosts[1]), fields(&hosts[0]).cmp(&fields(&hosts[1])));
    }
}
