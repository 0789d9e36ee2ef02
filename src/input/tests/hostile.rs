//! Cut, damaged and invented files: no panic, and everything before the damage.

use proptest::prelude::*;

use super::writer::{Packet, Pcap, Pcapng, packets};
use super::{Seen, read_bytes};
use crate::input::{InputErrorKind, frame_flag};

fn ten() -> Vec<Packet> {
    (0..10).map(|i| Packet::at(1_700_000_000_000_000 + i * 1_000)).collect()
}

/// Stamps need packets after them to be judged: compare without them.
fn without_time(frames: &[Seen]) -> Vec<Vec<u8>> {
    frames.iter().map(|seen| seen.data.clone()).collect()
}

#[test]
fn a_file_cut_anywhere_gives_the_packets_before_the_cut() {
    for capture in [
        Pcap::PLAIN.write(&ten()),
        Pcap { big_endian: true, record_bytes: 24, ..Pcap::PLAIN }.write(&ten()),
        Pcapng::write(false, &ten()),
        Pcapng::write(true, &ten()),
    ] {
        let whole = read_bytes(&capture);
        assert_eq!(whole.frames.len(), 10);
        let mut most = 0;
        for length in 0..capture.len() {
            let found = read_bytes(&capture[..length]);
            let count = found.frames.len();
            assert_eq!(found.frames[..], whole.frames[..count], "cut at {length}");
            assert!(count >= most, "a longer file has no fewer packets");
            most = count;
            let report = &found.reports[0];
            match report.error.as_ref().map(|e| &e.kind) {
                None => assert!(report.truncated_records <= 1),
                Some(InputErrorKind::NotACapture { .. }) => assert!(length < 12),
                Some(InputErrorKind::Header { .. }) => assert!(length < 24),
                Some(other) => panic!("cut at {length}: {other}"),
            }
            assert_eq!(report.truncated_records == 1, report.warnings.len() == 1);
        }
        assert_eq!(most, 9);
    }
}

#[test]
fn a_cut_record_is_counted_and_its_offset_told() {
    let mut capture = Pcap::PLAIN.write(&ten());
    let length = capture.len();
    capture.truncate(length - 1);
    let found = read_bytes(&capture);
    assert_eq!(found.counters.truncated_records, 1);
    assert_eq!(found.reports[0].error, None);
    let offset = format!("offset {}", length - 24);
    assert!(found.reports[0].warnings[0].contains(&offset), "{:?}", found.reports[0].warnings);
}

#[test]
fn a_skipped_block_cut_off_counts_as_cut() {
    let mut file = Pcapng::new(false);
    file.block(0x0bad, &[0; 5_000]);
    for left in [1, 4, 100, 4_000] {
        let cut = &file.out[..file.out.len() - left];
        assert_eq!(read_bytes(cut).counters.truncated_records, 1, "{left} bytes short");
    }
    assert_eq!(read_bytes(&file.out).counters.truncated_records, 0);
}

#[test]
fn a_record_header_without_sense_ends_the_file_with_its_offset() {
    let mut capture = Pcap::PLAIN.write(&ten());
    let offset = capture.len() as u64;
    capture.extend([0xff; 64]);
    let found = read_bytes(&capture);
    assert_eq!(found.frames.len(), 10);
    let Some(InputErrorKind::Damaged { offset: told, .. }) =
        found.reports[0].error.as_ref().map(|e| &e.kind)
    else {
        panic!("{:?}", found.reports[0]);
    };
    assert_eq!(*told, offset);
}

#[test]
fn block_lengths_that_lie_end_a_pcapng_file_with_their_offset() {
    let good = Pcapng::write(false, &ten());
    let offset = good.len();
    let with = |kind: u32, head: u32, tail: u32| {
        let mut capture = good.clone();
        capture.extend(kind.to_le_bytes());
        capture.extend(head.to_le_bytes());
        capture.extend([0; 24]);
        capture.extend(tail.to_le_bytes());
        capture.extend([0; 64]);
        capture
    };
    for (kind, head, tail) in [
        (6, 36, 40),
        (6, 35, 35),
        (6, 8, 8),
        (0x0bad, 36, 40),
        (0x0bad, 0, 0),
        (6, u32::MAX - 3, 36),
    ] {
        let found = read_bytes(&with(kind, head, tail));
        assert_eq!(found.frames.len(), 10);
        let error = found.reports[0].error.as_ref().expect("an error").to_string();
        // A skipped block's end is where its length is found out.
        let at = [offset, offset + 32].map(|at| format!("offset {at}:"));
        assert!(at.iter().any(|at| error.contains(at)), "{kind} {head} {tail}: {error}");
    }
}

#[test]
fn a_packet_of_an_interface_that_is_not_there_is_damage() {
    let mut file = Pcapng::new(false);
    file.interface(1, 0, 6, "eth0");
    file.enhanced(0, 1, &Packet::at(1));
    file.enhanced(1, 1, &Packet::at(1));
    let found = read_bytes(&file.out);
    assert_eq!(found.frames.len(), 1);
    assert!(found.reports[0].error.as_ref().expect("an error").to_string().contains("interface 1"));
}

#[test]
fn a_section_of_an_unknown_version_is_passed_over_and_told() {
    let mut file = Pcapng::new(false);
    for major in [1, 2, 1] {
        file.section(major);
        file.interface(1, 0, 6, "eth0");
        file.enhanced(0, 1, &Packet::at(1));
    }
    let found = read_bytes(&file.out);
    assert_eq!(found.frames.len(), 2);
    let error = found.reports[0].error.as_ref().map(|e| &e.kind);
    assert_eq!(error, Some(&InputErrorKind::SectionVersion { section: 2, major: 2, minor: 0 }));
}

#[test]
fn interfaces_are_bounded() {
    let mut file = Pcapng::new(false);
    for _ in 0..65_537 {
        file.interface(1, 0, 6, "");
    }
    file.enhanced(0, 1, &Packet::at(1));
    let found = read_bytes(&file.out);
    assert_eq!(found.interfaces.len(), 65_536);
    assert_eq!(found.frames.len(), 0);
    assert!(found.reports[0].error.as_ref().expect("an error").to_string().contains("65,536"));
}

proptest! {
    #[test]
    fn mutated_captures_never_panic(
        packets in packets(20),
        pcapng: bool,
        big_endian: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let mut capture = if pcapng {
            Pcapng::write(big_endian, &packets)
        } else {
            Pcap { big_endian, ..Pcap::PLAIN }.write(&packets)
        };
        for (at, value) in changes {
            let at = at.index(capture.len());
            capture[at] = value;
        }
        let found = read_bytes(&capture);
        prop_assert!(found.counters.captured_bytes <= capture.len() as u64);
    }

    #[test]
    fn invented_records_never_panic(tail: Vec<u8>, pcapng: bool, modified: bool) {
        let record_bytes = if modified { 24 } else { 16 };
        let mut capture = if pcapng {
            Pcapng::write(false, &ten())
        } else {
            Pcap { record_bytes, ..Pcap::PLAIN }.write(&ten())
        };
        let whole = read_bytes(&capture);
        capture.extend(&tail);
        let found = read_bytes(&capture);
        let before = whole.frames.len();
        prop_assert_eq!(
            without_time(&found.frames[..before]),
            without_time(&whole.frames)
        );
    }

    #[test]
    fn any_stamps_leave_times_in_range(
        stamps in prop::collection::vec((any::<u32>(), any::<u32>()), 1..100),
    ) {
        let mut capture = Pcap::PLAIN.write(&[]);
        for (seconds, fraction) in stamps {
            capture.extend(seconds.to_le_bytes());
            capture.extend(fraction.to_le_bytes());
            capture.extend([0; 8]);
        }
        let found = read_bytes(&capture);
        let mut odd = 0;
        for seen in &found.frames {
            prop_assert!(seen.frame.time_ns >= 0);
            odd += u64::from(seen.frame.flags & frame_flag::TIME_ANOMALY != 0);
        }
        prop_assert_eq!(odd, found.counters.time_anomalies);
    }
}
