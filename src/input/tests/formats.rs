//! What was written is what is read, in every variant of every format.

use proptest::prelude::*;

use super::writer::{Packet, Pcap, Pcapng, packets};
use super::{Everything, read_bytes, read_with};
use crate::input::{InputErrorKind, InputOptions, frame_flag};
use crate::packet::LinkType;

fn assert_packets(found: &Everything, expected: &[Packet]) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.reports[0].error.as_ref(), None);
    prop_assert_eq!(&found.reports[0].warnings, &Vec::<String>::new());
    prop_assert_eq!(found.frames.len(), expected.len());
    for (seen, packet) in found.frames.iter().zip(expected) {
        prop_assert_eq!(seen.frame.time_ns, packet.time_ns());
        prop_assert_eq!(seen.frame.wire_bytes, packet.wire_bytes);
        prop_assert_eq!(&seen.data, &packet.data);
        prop_assert_eq!(seen.frame.flags, 0);
    }
    let wire: u64 = expected.iter().map(|p| u64::from(p.wire_bytes)).sum();
    prop_assert_eq!(found.counters.wire_bytes, wire);
    prop_assert_eq!(found.counters.truncated_records, 0);
    Ok(())
}

proptest! {
    #[test]
    fn pcap_is_read_as_written(
        packets in packets(40),
        big_endian: bool,
        nanos: bool,
        modified in prop::sample::select(vec![16_usize, 24, 28]),
        minor in prop::sample::select(vec![0_u16, 2, 3, 4]),
        link in 0_u16..300,
    ) {
        // Modified files never had nanoseconds or old versions, and with a
        // single packet the two modified layouts can't be told apart.
        let plain = modified == 16;
        prop_assume!(plain || packets.len() != 1);
        let variant = Pcap {
            big_endian,
            nanos: nanos && plain,
            record_bytes: modified,
            minor: if plain { minor } else { 4 },
            link_field: u32::from(link),
        };
        let found = read_bytes(&variant.write(&packets));
        assert_packets(&found, &packets)?;
        prop_assert!(found.frames.iter().all(|s| s.frame.link == LinkType(link)));
        prop_assert!(found.reports[0].format.starts_with("pcap"));
    }

    #[test]
    fn pcapng_is_read_as_written(
        packets in packets(60),
        kinds in prop::collection::vec(0_u8..9, 60),
        orders: [bool; 2],
    ) {
        let mut file = Pcapng::new(orders[0]);
        file.interface(1, 0, 6, "eth0");
        file.interface(113, 0, 9, "any");
        // Name and link type of interfaces 0 and 1 of the section.
        let mut section = [("eth0", 1), ("any", 113)];
        let mut expected = Vec::new();
        let mut interfaces = Vec::new();
        for (packet, kind) in packets.iter().zip(&kinds) {
            let interface = match kind {
                0..=2 => {
                    file.enhanced(0, packet.micros, packet);
                    0
                }
                3 | 4 => {
                    file.enhanced(1, packet.micros * 1_000, packet);
                    1
                }
                5 => {
                    file.obsolete(1, packet.micros * 1_000, packet);
                    1
                }
                6 => {
                    // A new section has its own byte order and interfaces.
                    file.big_endian = orders[1];
                    file.section(1);
                    file.interface(101, 0, 6, "tun0");
                    file.interface(1, 0, 9, "eth1");
                    section = [("tun0", 101), ("eth1", 1)];
                    continue;
                }
                _ => {
                    // Unknown, and name resolution.
                    file.block(0x0bad, &packet.data);
                    file.block(4, &packet.data);
                    continue;
                }
            };
            expected.push(packet.clone());
            interfaces.push(section[interface]);
        }
        let found = read_bytes(&file.out);
        assert_packets(&found, &expected)?;
        for (seen, (name, link)) in found.frames.iter().zip(interfaces) {
            prop_assert_eq!(&found.interfaces[usize::from(seen.frame.interface)].name, name);
            prop_assert_eq!(seen.frame.link, LinkType(link));
        }
    }
}

#[test]
fn fcs_and_flag_bits_are_masked_from_the_link_type() {
    // Bit 26: the length in the top four bits counts, in units of two bytes.
    let variant = Pcap { link_field: 0x2400_0001, ..Pcap::PLAIN };
    let found = read_bytes(&variant.write(&[Packet::at(5)]));
    assert_eq!(found.frames[0].frame.link, LinkType::ETHERNET);
    assert_eq!(found.interfaces[0].fcs_bytes, Some(4));
    assert!(found.reports[0].warnings.is_empty());

    let reserved = Pcap { link_field: 0x0009_0001, ..Pcap::PLAIN };
    let found = read_bytes(&reserved.write(&[Packet::at(5)]));
    assert_eq!(found.frames[0].frame.link, LinkType::ETHERNET);
    assert!(found.reports[0].warnings[0].contains("0x00090001"));
}

/// Every variant that one tells apart by its magic number.
fn forms() -> Vec<Pcap> {
    let mut forms = Vec::new();
    for big_endian in [false, true] {
        for (nanos, record_bytes) in [(false, 16), (true, 16), (false, 24)] {
            forms.push(Pcap { big_endian, nanos, record_bytes, ..Pcap::PLAIN });
        }
    }
    forms
}

#[test]
fn captures_of_one_form_that_were_joined_are_one() {
    let packets: Vec<Packet> = (0..7).map(|n| Packet::at(1_700_000_000_000_000 + n)).collect();
    for form in forms() {
        for (first, second) in [(0, 7), (1, 6), (3, 4), (7, 0)] {
            let (one, other) = packets.split_at(first);
            let joined = [form.write(one), form.write(&[]), form.write(other)].concat();
            assert_eq!(other.len(), second);
            for block_frames in [1, 2, 100] {
                let options = InputOptions { block_frames, ..InputOptions::default() };
                let found = read_with(&joined, options);
                assert_packets(&found, &packets).expect("as written");
            }
        }
    }
}

#[test]
fn a_capture_of_another_form_ends_what_it_was_joined_to() {
    let packet = [Packet::at(1_700_000_000_000_000)];
    let mut others = forms();
    others.push(Pcap { link_field: 101, ..Pcap::PLAIN });
    for one in forms() {
        let first = one.write(&packet);
        for other in others.iter().filter(|other| format!("{other:?}") != format!("{one:?}")) {
            let found = read_bytes(&[first.clone(), other.write(&packet)].concat());
            assert_eq!(found.frames.len(), 1, "{one:?} {other:?}");
            let expected = InputErrorKind::Another { offset: first.len() as u64 };
            assert_eq!(found.reports[0].error.as_ref().map(|e| &e.kind), Some(&expected));
        }
    }
}

/// Magic numbers are times of the year 2055, and half of one is a second of any day.
#[test]
fn packets_whose_time_is_a_magic_number_are_packets() {
    for form in forms() {
        let packets: Vec<Packet> = [0xa1b2_c3d4_u64, 0xa1b2_3c4d, 0xa1b2_cd34, 0xd4c3_b2a1]
            .into_iter()
            .flat_map(|second| [0, 1, 262_146].map(|micros| second * 1_000_000 + micros))
            .map(Packet::at)
            .collect();
        for packet in packets {
            let found = read_bytes(&form.write(std::slice::from_ref(&packet)));
            assert_eq!(found.frames.len(), 1, "{form:?} {packet:?}");
            assert_eq!(found.frames[0].frame.time_ns, packet.time_ns());
        }
    }
}

#[test]
fn modified_records_under_the_plain_magic_are_recognised() {
    let list = [Packet::at(1_000_000), Packet::at(2_000_000), Packet::at(3_000_000)];
    let mut capture = Pcap { record_bytes: 24, ..Pcap::PLAIN }.write(&list);
    capture[..4].copy_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
    let found = read_bytes(&capture);
    assert_eq!(found.frames.len(), 3);
    assert!(found.reports[0].warnings[0].contains("24 bytes"));
}

#[test]
fn packets_longer_than_the_snap_length_are_whole() {
    let long = Packet { micros: 1, data: vec![7; 5_000], wire_bytes: 5_000 };
    let found = read_bytes(&Pcap::PLAIN.write(std::slice::from_ref(&long)));
    assert_eq!(found.frames[0].data, long.data);
}

#[test]
fn a_simple_packet_has_the_time_of_the_packet_before_and_is_no_anomaly() {
    let mut file = Pcapng::new(false);
    file.interface(1, 6, 6, "eth0");
    file.enhanced(0, 5_000_000, &Packet::at(5_000_000));
    file.simple(&Packet { micros: 0, data: vec![1; 6], wire_bytes: 100 });
    let found = read_bytes(&file.out);
    assert_eq!(found.frames[1].frame.time_ns, 5_000_000_000);
    assert_eq!(found.frames[1].frame.wire_bytes, 100);
    assert_eq!(found.frames[1].data, vec![1; 6]);
    assert_eq!(found.frames[1].frame.flags, 0);
    assert_eq!(found.counters.time_anomalies, 0);
}

#[test]
fn binary_time_resolution_and_drops_of_all_sections_are_read() {
    let mut file = Pcapng::new(true);
    file.interface(1, 0, 0x80 | 20, "eth0");
    file.enhanced(0, (1_000 << 20) + (1 << 19), &Packet::at(0));
    file.statistics(0, 2, 10);
    file.statistics(0, 3, 11);
    file.section(1);
    file.interface(1, 0, 6, "eth0");
    file.statistics(0, 100, 1_000);
    let found = read_bytes(&file.out);
    assert_eq!(found.frames[0].frame.time_ns, 1_000_500_000_000);
    assert_eq!(found.reports[0].interface_drops, Some(103));
    assert_eq!(found.reports[0].system_drops, Some(1_011));
    // The same interface in both sections.
    assert_eq!(found.interfaces.len(), 1);
    assert_eq!(found.reports[0].error, None);
}

#[test]
fn packets_say_what_was_lost_before_them() {
    let packet = |second: u64| Packet::at(second * 1_000_000);
    for big_endian in [false, true] {
        let mut file = Pcapng::new(big_endian);
        file.interface(1, 0, 6, "eth0");
        file.enhanced(0, 1_000_000, &packet(1));
        let drops = |file: &Pcapng| {
            let found = read_bytes(&file.out);
            assert_eq!(found.reports[0].error, None);
            let report = &found.reports[0];
            (report.interface_drops, report.system_drops, report.unplaced_drops)
        };
        assert_eq!(drops(&file), (None, None, None));
        file.enhanced_after(0, &packet(2), 5);
        file.enhanced_after(0, &packet(3), 7);
        assert_eq!(drops(&file), (None, None, Some(12)));
        file.obsolete_after(0, 4_000_000, &packet(4), 3);
        file.obsolete_after(0, 5_000_000, &packet(5), u16::MAX);
        assert_eq!(drops(&file), (None, None, Some(15)));
        // The statistics count the same losses, and one that no packet told.
        file.statistics(0, 6, 10);
        assert_eq!(drops(&file), (Some(6), Some(10), Some(0)));
        // Another interface lost other packets: the one's count takes nothing from the other's.
        file.interface(1, 0, 6, "eth1");
        file.enhanced_after(1, &packet(6), 8);
        file.statistics(1, 1, 2);
        assert_eq!(drops(&file), (Some(7), Some(12), Some(5)));
        file.section(1);
        file.interface(1, 0, 6, "eth0");
        file.enhanced_after(0, &packet(7), 100);
        assert_eq!(drops(&file), (Some(7), Some(12), Some(105)));
        file.enhanced_after(0, &packet(8), u64::MAX);
        assert_eq!(drops(&file).2, Some(u64::MAX));
    }
}

#[test]
fn wire_lengths_over_the_bound_are_replaced_and_counted() {
    let huge = Packet { micros: 1, data: vec![1; 60], wire_bytes: 1 << 30 };
    let short = Packet { micros: 2, data: vec![1; 60], wire_bytes: 40 };
    let largest = Packet { micros: 3, data: vec![1; 60], wire_bytes: 16 << 20 };
    let found = read_bytes(&Pcap::PLAIN.write(&[huge, short, largest]));
    let lengths: Vec<u32> = found.frames.iter().map(|s| s.frame.wire_bytes).collect();
    assert_eq!(lengths, [60, 40, 16 << 20]);
    let odd = frame_flag::LENGTH_ANOMALY;
    let flags: Vec<u32> = found.frames.iter().map(|s| s.frame.flags & odd).collect();
    assert_eq!(flags, [odd, 0, 0]);
    assert_eq!(found.counters.length_anomalies, 1);
}

#[test]
fn a_header_alone_is_a_capture_of_no_packets() {
    for capture in [Pcap::PLAIN.write(&[]), Pcapng::write(true, &[])] {
        let found = read_bytes(&capture);
        assert_eq!(found.frames.len(), 0);
        assert_eq!(found.reports[0].error, None);
        assert_eq!(found.counters.first_ns, None);
        assert_eq!(found.counters.truncated_records, 0);
    }
}
