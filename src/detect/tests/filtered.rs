//! What the filters let through is enough: alerts over packets that went
//! through the shards' logs and the filters are those over slices that every
//! packet was counted in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ahash::HashMap;

use crate::detect::{DetectSettings, Detection, Interest, Telemetry};
use crate::engine::feed::WindowFeed;
use crate::engine::window::{
    Assembler, Caps, ChunkPool, Delta, Host, RowRef, Seed, Slice, WindowSettings, size_bin,
};
use crate::packet::key::mapped;
use crate::packet::{FlowKey, IpVersion, Macs, PacketClass as C, PacketRow, row_flag};

const T: i64 = 1_700_000_000;

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 += 1;
        Seed::default().mix(self.0, 1_234) % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.throw(from.len() as u64) as usize]
    }
}

#[derive(Clone, Copy)]
struct Packet {
    second: i64,
    src: Host,
    dst: Host,
    src_port: u16,
    dst_port: u16,
    class: C,
    payload_bytes: u32,
    fragment: bool,
    /// Stands for no flow, as where the flow table is full.
    alone: bool,
}

impl Packet {
    fn proto(&self) -> u8 {
        match self.class {
            C::Udp => 17,
            C::Icmp => 1,
            C::Gre => 47,
            // The port stands for a protocol.
            C::OtherIp => 100 + (self.dst_port % 40) as u8,
            _ => 6,
        }
    }

    fn ports(&self) -> (u16, u16) {
        match self.class {
            C::Gre | C::OtherIp => (0, 0),
            _ => (self.src_port, self.dst_port),
        }
    }

    fn delta(&self) -> Delta {
        let (src_port, dst_port) = self.ports();
        let mut delta = Delta::new(self.src, self.dst, self.proto(), src_port, dst_port);
        delta.classes[self.class as usize] = 1;
        delta.sizes[size_bin(self.payload_bytes)] = 1;
        delta.wire_bytes = u64::from(self.payload_bytes) + 42;
        delta.payload_bytes = u64::from(self.payload_bytes);
        delta.fragments = u32::from(self.fragment);
        delta.src_mac_known = true;
        delta.src_mac =
            [2, 0, 0, 0, 0, self.src.address[15].wrapping_add(u8::from(self.moves())) % 3];
        delta.dst_is_multicast = self.dst.address[12] == 224;
        delta
    }

    /// A copy from the router's other side, as a link seen on both has them.
    fn moves(&self) -> bool {
        self.payload_bytes % 3 == 1
    }

    fn row(&self) -> PacketRow {
        let delta = self.delta();
        let forward = (self.src, delta.src_port) <= (self.dst, delta.dst_port);
        let (a, b, port_a, port_b) = if forward {
            (self.src, self.dst, delta.src_port, delta.dst_port)
        } else {
            (self.dst, self.src, delta.dst_port, delta.src_port)
        };
        let proto = self.proto();
        let (a, b) = (a.address, b.address);
        let key = FlowKey { version: IpVersion::V4, proto, port_a, port_b, a, b, ..FlowKey::ZERO };
        let mut flags = row_flag::HAS_MAC;
        flags |= if forward { row_flag::FORWARD } else { 0 };
        flags |= if self.fragment { row_flag::FRAGMENT } else { 0 };
        let mut row = PacketRow {
            key,
            time_ns: self.second * 1_000_000_000,
            clock_ns: self.second * 1_000_000_000,
            wire_bytes: self.payload_bytes + 42,
            ip_bytes: self.payload_bytes + 28,
            payload_bytes: self.payload_bytes,
            macs: Macs::new(delta.src_mac, [2; 6]),
            ttl: 64,
            class: self.class,
            flags,
            ..PacketRow::NOTHING
        };
        row.mark_group();
        row
    }
}

fn address(n: u64) -> Host {
    // Some in few prefixes, most in their own, a few groups.
    let bytes = match n % 16 {
        0..5 => [198, 51, 100, (n / 16) as u8 % 40],
        5..7 => [10, 0, 0, (n / 16) as u8 % 20],
        7 if n.is_multiple_of(3) => [224, 0, 0, 9],
        _ => ((44 << 24) | (n as u32 * 7_919) & 0x00ff_ffff).to_be_bytes(),
    };
    Host { version: IpVersion::V4, address: mapped(bytes) }
}

/// A second of conversations, floods, scans and reflections, all small.
fn traffic(dice: &mut Dice, second: i64, actors: &[u64]) -> Vec<Packet> {
    let mut packets = Vec::new();
    for episode in 0..8 + dice.throw(12) {
        // The same actors again and again: alerts need two seconds.
        let salt = if dice.throw(3) == 0 { dice.throw(1_000) } else { episode };
        let (one, other) = (address(dice.pick(actors)), address(dice.pick(actors) + salt));
        let class = dice.pick(&C::ALL);
        let count = dice.pick(&[1, 3, 12, 40, 90]);
        let answers = dice.pick(&[0, 0, 1, 2]);
        let (spread_src, spread_dst, spread_port) =
            (dice.throw(4) == 0, dice.throw(4) == 0, dice.throw(3) == 0);
        let src_port = dice.pick(&[8, 53, 123, 40_000]);
        let payload_bytes = dice.pick(&[0, 8, 300, 1_400, 40_000]);
        let fragment = dice.throw(5) == 0;
        let lonely = dice.throw(6) == 0;
        for n in 0..count {
            let packet = Packet {
                second,
                src: if spread_src { address(n * 16 + salt % 5) } else { one },
                dst: if spread_dst { address(n * 16 + salt % 5) } else { other },
                src_port,
                dst_port: if spread_port { 1_000 + n as u16 } else { 443 },
                class,
                payload_bytes: payload_bytes + n as u32 % 3,
                fragment,
                alone: lonely || dice.throw(20) == 0,
            };
            packets.push(packet);
            if answers > 0 && n % answers == 0 {
                let class = match class {
                    C::TcpSyn => C::TcpSynAck,
                    C::TcpData => C::TcpAck,
                    same => same,
                };
                // The type of an echo reply is 0.
                let icmp = class == C::Icmp;
                packets.push(Packet {
                    src: packet.dst,
                    dst: packet.src,
                    src_port: if icmp { 0 } else { packet.dst_port },
                    dst_port: if icmp { 8 } else { packet.src_port },
                    class,
                    payload_bytes: dice.pick(&[0, 10, 1_200]),
                    ..packet
                });
            }
        }
    }
    packets
}

/// What needs more than one kind of packet to be seen: an amplifier, and
/// connections that are answered and gone on with.
fn dialogues(dice: &mut Dice, second: i64) -> Vec<Packet> {
    let (amplifier, server) = (address(3), address(7_000));
    let packet = Packet {
        second,
        src: amplifier,
        dst: address(21),
        src_port: 53,
        dst_port: 7,
        class: C::Udp,
        payload_bytes: dice.pick(&[300, 60_000]),
        fragment: false,
        alone: false,
    };
    let mut packets = Vec::new();
    for n in 0..dice.pick(&[5, 30, 60]) {
        let response = Packet { dst: address(16 * (n % 7)), ..packet };
        let request = Packet {
            src: response.dst,
            dst: amplifier,
            src_port: 7,
            dst_port: 53,
            payload_bytes: 20,
            ..packet
        };
        packets.extend([request, response]);
    }
    for n in 0..dice.pick(&[5, 25, 40]) {
        let client = address(if n % 2 == 0 { 5 } else { 16 * n });
        let syn = Packet {
            src: client,
            dst: server,
            src_port: 2_000 + n as u16,
            dst_port: 80,
            class: C::TcpSyn,
            payload_bytes: 0,
            ..packet
        };
        let back = Packet {
            src: server,
            dst: client,
            src_port: 80,
            dst_port: syn.src_port,
            class: C::TcpSynAck,
            ..syn
        };
        packets.extend([syn, back, Packet { class: C::TcpAck, ..syn }]);
    }
    packets
}

/// Conversations between hosts that say nothing else: no detector asks for
/// them.
fn ordinary(dice: &mut Dice, second: i64) -> Vec<Packet> {
    let mut packets = Vec::new();
    for _ in 0..60 {
        let mut stranger = || address(16 * dice.throw(20_000) + 15);
        let data = Packet {
            second,
            src: stranger(),
            dst: stranger(),
            src_port: 40_000,
            dst_port: 443,
            class: C::TcpData,
            payload_bytes: 900,
            fragment: false,
            alone: false,
        };
        let ack = Packet { src: data.dst, dst: data.src, src_port: 443, dst_port: 40_000, ..data };
        packets.extend([data, Packet { class: C::TcpAck, payload_bytes: 0, ..ack }, data]);
    }
    packets
}

/// Thresholds that small traffic reaches.
fn sensitive() -> DetectSettings {
    DetectSettings {
        packet_rate_threshold: 80,
        unanswered_rate_threshold: 25,
        carpet_addresses: 4,
        connection_rate_threshold: 20,
        empty_connection_rate_threshold: 10,
        scan_ports: 10,
        scan_hosts: 8,
        sweep_hosts: 6,
        scan_protocols: 5,
        reflectors: 5,
        amplification: 3.0,
        storm_rate_threshold: 30,
        bulk_storm_rate_threshold: 60,
        scan_sources: 12,
        ..DetectSettings::default()
    }
}

/// Seconds of packets as the shards and the assembler make slices of them.
fn assembled(
    packets: &BTreeMap<i64, Vec<Packet>>,
    settings: &WindowSettings,
    shards: usize,
    one_sided: bool,
    mut see: impl FnMut(&Slice),
) {
    let pool = Arc::new(ChunkPool::default());
    let mut assembler = Assembler::new(*settings, Interest::of(&sensitive()), Arc::clone(&pool));
    let mut feeds: Vec<_> =
        (0..shards).map(|_| WindowFeed::new(*settings, Arc::clone(&pool))).collect();
    let mut flows = HashMap::<FlowKey, RowRef>::default();
    for (second, packets) in packets {
        for packet in packets {
            let row = packet.row();
            let bytes = [row.key.a[15], row.key.b[15], row.key.port_b as u8];
            let feed = &mut feeds[bytes.map(usize::from).iter().sum::<usize>() % shards];
            if packet.alone {
                feed.packet(&row);
                continue;
            }
            match flows.entry(row.key) {
                std::collections::hash_map::Entry::Occupied(mut flow) => {
                    feed.live_packet(flow.get_mut(), &row);
                }
                std::collections::hash_map::Entry::Vacant(flow) => {
                    flow.insert(feed.packet(&row));
                }
            }
        }
        let mut slice = None::<Slice>;
        let (mut logs, mut coarse) = (Vec::new(), false);
        for window in feeds.iter_mut().filter_map(|feed| feed.close_next(second + 1)) {
            logs.push(window.log);
            coarse |= window.coarse;
            match &mut slice {
                Some(slice) => slice.merge(window.slice),
                None => slice = Some(window.slice),
            }
        }
        if let Some(slice) = slice {
            let done = assembler.assemble(slice, logs, coarse, one_sided);
            see(&done.slice);
            assembler.recycle(done);
        }
    }
}

fn whole(second: i64, packets: &[Packet], settings: &WindowSettings) -> Slice {
    let mut slice = Slice::new(second, settings);
    for packet in packets {
        slice.add(&packet.delta());
    }
    slice
}

fn seconds(case: u64, count: i64) -> BTreeMap<i64, Vec<Packet>> {
    let mut dice = Dice(case << 32);
    let actors: Vec<u64> = (0..6).map(|_| dice.throw(10_000)).collect();
    (T..T + count)
        .map(|second| {
            let mut packets = traffic(&mut dice, second, &actors);
            packets.extend(ordinary(&mut dice, second));
            if case.is_multiple_of(2) {
                packets.extend(dialogues(&mut dice, second));
            }
            (second, packets)
        })
        .collect()
}

#[test]
fn filtered_slices_give_the_alerts_of_whole_ones() {
    let settings = WindowSettings::default();
    let (mut seen, mut hosts, mut all_hosts) = (BTreeSet::new(), 0, 0);
    for case in 0..250 {
        let packets = seconds(case, 5);
        let telemetry = Telemetry { one_sided: case % 5 == 0, ..Telemetry::default() };
        let mut expected = Detection::new(sensitive());
        for (&second, packets) in &packets {
            let slice = whole(second, packets, &settings);
            all_hosts += slice.receivers().distinct();
            expected.observe(&slice, &telemetry);
        }
        let mut filtered = Detection::new(sensitive());
        assembled(&packets, &settings, 1 + case as usize % 3, telemetry.one_sided, |slice| {
            hosts += slice.receivers().distinct();
            filtered.observe(slice, &telemetry);
        });
        let (expected, filtered) = (expected.finish(), filtered.finish());
        seen.extend(expected.0.iter().map(|alert| alert.detector.clone()));
        let json = |all| serde_json::to_string_pretty(&all).expect("serialises");
        assert_eq!(json(filtered), json(expected), "case {case}");
    }
    for detector in [
        "reflection",
        "reflector",
        "fragment_flood",
        "udp_flood",
        "tcp_syn_flood",
        "carpet_bombing",
        "sender_flood",
        "connection_flood",
        "multicast_storm",
        "port_scan",
        "host_scan",
        "ping_sweep",
        "protocol_scan",
    ] {
        assert!(seen.contains(detector), "{detector} not in {seen:?}");
    }
    // Enough was left out for this to say something.
    assert!(hosts * 2 < all_hosts, "{hosts} of {all_hosts}");
}

#[test]
fn any_number_of_shards_makes_the_same_slices() {
    let settings = WindowSettings::default();
    for case in 1_000..1_030 {
        let packets = seconds(case, 2);
        let slices = |shards| {
            let mut all = Vec::new();
            assembled(&packets, &settings, shards, false, |slice| all.push(slice.clone()));
            all
        };
        let one = slices(1);
        for shards in [2, 3, 7] {
            assert!(slices(shards) == one, "case {case}, {shards} shards");
        }
    }
}

#[test]
fn pairs_are_given_up_exactly_when_they_are_more_than_the_cap() {
    let with = |pairs| WindowSettings {
        caps: Caps { pairs, ..Caps::default() },
        ..WindowSettings::default()
    };
    for case in 3_000..3_030 {
        let packets = seconds(case, 1);
        let slice = |pairs| {
            let mut found = None;
            let shards = 1 + case as usize % 3;
            assembled(&packets, &with(pairs), shards, false, |slice| found = Some(slice.clone()));
            found.expect("a second")
        };
        let all = slice(usize::MAX);
        let count = all.pairs().expect("no cap").len();
        assert!(count >= 8, "{count} in case {case}");
        for cap in [0, 1, count / 4, count / 2, count - 1, count, count + 1] {
            let capped = slice(cap);
            assert_eq!(capped.pairs_overflowed(), count > cap, "{cap} of {count}, case {case}");
            assert!(capped.pairs().is_none_or(|pairs| Some(pairs) == all.pairs()));
            assert!(capped.receivers().exact() == all.receivers().exact());
            assert!(capped.senders().exact() == all.senders().exact());
            assert!(capped.services() == all.services());
        }
    }
}

#[test]
fn a_second_with_too_many_flows_is_counted_whole_by_any_number_of_shards() {
    let tight = |log_flows, log_bytes| WindowSettings {
        caps: Caps { log_flows, log_bytes, ..Caps::default() },
        ..WindowSettings::default()
    };
    for case in 2_000..2_030 {
        let packets = seconds(case, 2);
        // By the number of flows, and by what the rows take.
        for settings in [tight(4, usize::MAX), tight(0, 0)] {
            let expected: Vec<_> = packets
                .iter()
                .map(|(&second, packets)| whole(second, packets, &settings))
                .collect();
            for shards in [1, 2, 5] {
                let mut slices = Vec::new();
                assembled(&packets, &settings, shards, false, |one| slices.push(one.clone()));
                assert!(slices == expected, "case {case}, {shards} shards");
            }
        }
    }
}
