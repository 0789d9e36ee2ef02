//! Times, merging, and that neither blocks nor files change either.

use proptest::prelude::*;

use super::writer::{Packet, Pcap, Pcapng, packets};
use super::{Everything, Seen, read_all, read_bytes, read_with};
use crate::input::{Input, InputOptions, frame_flag};

const HOUR: u64 = 3_600_000_000;
const START: u64 = 1_700_000_000_000_000;

fn at(times: &[u64]) -> Vec<u8> {
    Pcap::PLAIN.write(&times.iter().map(|&t| Packet::at(t)).collect::<Vec<_>>())
}

fn times(found: &Everything) -> Vec<u64> {
    found.frames.iter().map(|seen| (seen.frame.time_ns / 1_000) as u64).collect()
}

fn anomalies(found: &Everything) -> Vec<usize> {
    let odd =
        |(i, seen): (usize, &Seen)| (seen.frame.flags & frame_flag::TIME_ANOMALY != 0).then_some(i);
    found.frames.iter().enumerate().filter_map(odd).collect()
}

#[test]
fn one_packet_of_the_future_takes_the_time_before_it() {
    let mut list: Vec<u64> = (0..200).map(|i| START + i).collect();
    list[100] = START + 10_000 * HOUR;
    let found = read_bytes(&at(&list));
    assert_eq!(anomalies(&found), [100]);
    assert_eq!(times(&found)[100], START + 99);
    assert_eq!(found.counters.latest_ns, Some((START as i64 + 199) * 1_000));
}

#[test]
fn a_jump_that_the_packets_after_it_confirm_stands() {
    let mut list: Vec<u64> = (0..100).map(|i| START + i).collect();
    list.extend((0..65).map(|i| START + 24 * HOUR + i));
    // The 64 packets after the first of the new day confirm it: what comes
    // later can't take it back.
    list.push(START + 101);
    let found = read_bytes(&at(&list));
    assert_eq!(anomalies(&found), Vec::<usize>::new());
    assert_eq!(times(&found), list);
    let last = found.frames.last().expect("frames").frame;
    assert_eq!(last.flags, frame_flag::BACKWARD | frame_flag::LATE);
}

#[test]
fn one_packet_too_few_does_not_confirm_a_jump() {
    let mut list: Vec<u64> = (0..100).map(|i| START + i).collect();
    list.extend((0..64).map(|i| START + 24 * HOUR + i));
    list.push(START + 101);
    let found = read_bytes(&at(&list));
    assert_eq!(anomalies(&found), (100..164).collect::<Vec<_>>());
}

#[test]
fn at_the_end_a_jump_stands_when_nothing_contradicts_it() {
    let list = [START, START + 24 * HOUR, START + 48 * HOUR];
    let found = read_bytes(&at(&list));
    assert_eq!(times(&found), list);
    assert_eq!(found.counters.time_anomalies, 0);
}

#[test]
fn an_hour_is_no_jump() {
    let list = [START, START + HOUR, START + 1];
    assert_eq!(read_bytes(&at(&list)).counters.time_anomalies, 0);
    let list = [START, START + HOUR + 1, START];
    assert_eq!(anomalies(&read_bytes(&at(&list))), [1]);
}

#[test]
fn a_first_packet_off_by_years_does_not_decide_for_the_others() {
    let mut list: Vec<u64> = (0..80).map(|i| START + i).collect();
    list[0] = START + 90_000 * HOUR;
    let found = read_bytes(&at(&list));
    assert_eq!(anomalies(&found), [0]);
    assert_eq!(times(&found)[0], START + 1);
    assert_eq!(found.counters.late, 0);
}

#[test]
fn a_fraction_of_a_second_or_more_is_an_anomaly() {
    for (nanos, limit) in [(false, 1_000_000_u32), (true, 1_000_000_000)] {
        let variant = Pcap { nanos, ..Pcap::PLAIN };
        let mut capture = variant.write(&[Packet::at(5_000_000), Packet::at(6_000_000)]);
        let second = 24 + 16 + 8 + 4;
        capture[second..second + 4].copy_from_slice(&(limit - 1).to_le_bytes());
        assert_eq!(read_bytes(&capture).counters.time_anomalies, 0);
        capture[second..second + 4].copy_from_slice(&limit.to_le_bytes());
        let found = read_bytes(&capture);
        assert_eq!(anomalies(&found), [1]);
        assert_eq!(times(&found), [5_000_000, 5_000_000]);
    }
}

#[test]
fn backward_stamps_are_kept_and_late_ones_marked() {
    let second = 1_000_000;
    let list = [10, 11, 8, 12, 9, 10].map(|s| START + s * second);
    let found = read_bytes(&at(&list));
    assert_eq!(times(&found), list);
    let flags: Vec<u32> = found.frames.iter().map(|s| s.frame.flags).collect();
    let (late, back) = (frame_flag::LATE, frame_flag::BACKWARD);
    // With 11 reached, seconds before 10 are closed; with 12, before 11.
    assert_eq!(flags, [0, 0, back | late, 0, back | late, late]);
    assert_eq!((found.counters.backward, found.counters.late), (2, 3));
}

/// Stamps of every kind: mostly forward, some back, some wild, some broken.
fn wild_capture() -> impl Strategy<Value = Vec<u8>> {
    let step = prop_oneof![
        8 => (0_i64..2_000_000).boxed(),
        2 => (-5_000_000_i64..0).boxed(),
        1 => (-20_000_000_000_i64..20_000_000_000).boxed(),
    ];
    let data = prop::collection::vec(any::<u8>(), 0..600);
    let one = (step, any::<bool>(), 0_u8..40, data);
    prop::collection::vec(one, 1..300).prop_map(|list| {
        let mut now = START as i64;
        let mut capture = Pcap::PLAIN.write(&[]);
        for (step, stays, odd, data) in list {
            let stamp = now + step;
            if stays {
                now = stamp;
            }
            let wire_bytes = data.len() as u32;
            let start = capture.len();
            let packet = Packet { micros: stamp as u64, data, wire_bytes };
            Pcap::PLAIN.record(&packet, &mut capture);
            if odd == 1 {
                // Another file was joined to it here.
                capture.extend(Pcap::PLAIN.write(&[]));
            }
            if odd == 0 {
                capture[start + 4..start + 8].copy_from_slice(&u32::MAX.to_le_bytes());
            }
        }
        capture
    })
}

fn options(block_bytes: usize, block_frames: usize) -> InputOptions {
    InputOptions { block_bytes, block_frames, ..InputOptions::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn blocks_change_nothing(
        capture in wild_capture(),
        block_bytes in 4_096_usize..200_000,
        block_frames in 1_usize..300,
    ) {
        let one = read_with(&capture, options(1 << 20, 100_000));
        prop_assert_eq!(one.blocks, 1);
        let many = read_with(&capture, options(block_bytes, block_frames));
        prop_assert_eq!(&one.frames, &many.frames);
        prop_assert_eq!(one.counters, many.counters);
        prop_assert_eq!(one.reports, many.reports);
    }

    #[test]
    fn marks_follow_from_times_alone(capture in wild_capture(), lateness_s in 0_i64..10) {
        let found = read_with(&capture, InputOptions { lateness_s, ..InputOptions::default() });
        let mut latest = None;
        let mut previous = None;
        for seen in &found.frames {
            let t = seen.frame.time_ns;
            let late = latest.is_some_and(|l: i64| {
                t.div_euclid(1_000_000_000) < l.div_euclid(1_000_000_000) - lateness_s
            });
            prop_assert_eq!(seen.frame.flags & frame_flag::LATE != 0, late);
            let backward = previous.is_some_and(|p| t < p);
            prop_assert_eq!(seen.frame.flags & frame_flag::BACKWARD != 0, backward);
            latest = latest.max(Some(t));
            previous = Some(t);
        }
    }

    #[test]
    fn several_files_come_in_time_order(
        lists in prop::collection::vec(packets(60), 2..6),
        block_frames in 1_usize..50,
    ) {
        let captures: Vec<Vec<u8>> = lists
            .iter()
            .enumerate()
            .map(|(i, list)| match i % 2 {
                0 => Pcap::PLAIN.write(list),
                _ => Pcapng::write(true, list),
            })
            .collect();
        let found = read_all(Input::from_bytes(captures, options(4_096, block_frames)));
        // Oracle: a stable sort, files ranked by their start, then as given.
        let mut ranks: Vec<usize> = (0..lists.len()).collect();
        ranks.sort_by_key(|&i| (lists[i].first().map(|p| p.micros), i));
        let mut expected: Vec<(u64, Vec<u8>)> = Vec::new();
        for i in ranks {
            expected.extend(lists[i].iter().map(|p| (p.micros, p.data.clone())));
        }
        expected.sort_by_key(|(micros, _)| *micros);
        let got: Vec<(u64, Vec<u8>)> = times(&found)
            .into_iter()
            .zip(found.frames.iter().map(|s| s.data.clone()))
            .collect();
        prop_assert_eq!(got, expected);
        prop_assert_eq!(found.counters.backward, 0);
    }

    #[test]
    fn a_capture_cut_into_files_is_the_same_stream(
        packets in packets(200),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..30),
        block_frames in 1_usize..100,
    ) {
        let whole = read_bytes(&Pcap::PLAIN.write(&packets));
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(packets.len() + 1)).collect();
        at.extend([0, packets.len()]);
        at.sort_unstable();
        let mut pieces: Vec<Vec<u8>> =
            at.windows(2).map(|ends| Pcap::PLAIN.write(&packets[ends[0]..ends[1]])).collect();
        let split = read_all(Input::from_bytes(pieces.clone(), options(4_096, block_frames)));
        prop_assert_eq!(&whole.frames, &split.frames);
        prop_assert_eq!(whole.counters, split.counters);
        prop_assert_eq!(whole.interfaces.len(), split.interfaces.len());

        // Times that differ need no order of files either.
        let apart = packets.windows(2).all(|two| two[0].micros < two[1].micros);
        if apart {
            pieces.reverse();
            let reversed = read_all(Input::from_bytes(pieces, options(4_096, block_frames)));
            prop_assert_eq!(&whole.frames, &reversed.frames);
        }
    }

    #[test]
    fn merging_wild_files_loses_nothing_and_does_not_depend_on_blocks(
        captures in prop::collection::vec(wild_capture(), 2..4),
        block_frames in 1_usize..300,
    ) {
        let alone: u64 = captures.iter().map(|c| read_bytes(c).counters.frames).sum();
        let few = read_all(Input::from_bytes(captures.clone(), options(1 << 20, 100_000)));
        let many = read_all(Input::from_bytes(captures, options(4_096, block_frames)));
        prop_assert_eq!(few.counters.frames, alone);
        prop_assert_eq!(&few.frames, &many.frames);
        prop_assert_eq!(few.counters, many.counters);
    }
}
