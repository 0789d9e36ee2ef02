//! Clock marks of our own recordings: the stream's clock moves where it moved.

use proptest::prelude::*;

use super::writer::{Packet, Pcapng};
use crate::input::{Counters, Input, InputOptions, LATENESS_S, frame_flag};

const SECOND: u64 = 1_000_000;
const START: u64 = 1_700_000_000 * SECOND;

/// What a recording holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Frame(u64),
    Mark(u64),
}
use Item::{Frame, Mark};

/// How the clock stood when something came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stood {
    time_us: u64,
    late: bool,
    /// Of the stream before it.
    clock_us: Option<u64>,
}

fn write(application: &str, big_endian: bool, items: &[Item]) -> Vec<u8> {
    let mut file = Pcapng::new(big_endian);
    file.out.clear();
    file.section_of(application);
    file.interface(1, 0, 6, "eth0");
    for item in items {
        match *item {
            Frame(micros) => file.enhanced(0, micros, &Packet::at(micros)),
            Mark(micros) => file.mark(0, micros),
        }
    }
    file.out
}

struct Read {
    frames: Vec<Stood>,
    /// At the end.
    clock_us: Option<u64>,
    closed_before_s: Option<i64>,
    counters: Counters,
    /// Marks that moved the clock by over an hour: frames before, clock after.
    jumps: Vec<(usize, u64)>,
}

fn read(captures: Vec<Vec<u8>>, options: InputOptions) -> Read {
    let mut input = Input::from_bytes(captures, options);
    let (mut frames, mut clock_ns, mut closed) = (Vec::new(), i64::MIN, None);
    let (mut sequence, mut jumps) = (0, Vec::new());
    while let Some(block) = input.next_block() {
        assert_eq!(block.sequence, sequence);
        assert_eq!(block.first_frame, frames.len() as u64);
        sequence += 1;
        assert!(!block.frames.is_empty() || block.latest_ns > clock_ns, "it says something");
        for frame in &block.frames {
            frames.push(Stood {
                time_us: (frame.time_ns / 1_000) as u64,
                late: frame.flags & frame_flag::LATE != 0,
                clock_us: (clock_ns != i64::MIN).then_some((clock_ns / 1_000) as u64),
            });
            clock_ns = clock_ns.max(frame.time_ns);
        }
        assert!(block.latest_ns >= clock_ns);
        if block.frames.is_empty() && block.latest_ns.saturating_sub(clock_ns) > 3_600_000_000_000 {
            jumps.push((frames.len(), (block.latest_ns / 1_000) as u64));
        }
        clock_ns = block.latest_ns;
        closed = Some(block.closed_before_s);
    }
    let clock_us = (clock_ns != i64::MIN).then_some((clock_ns / 1_000) as u64);
    Read { frames, clock_us, closed_before_s: closed, counters: input.counters(), jumps }
}

/// The same by the definition, item by item.
fn expected(items: &[Item], lateness_s: u64) -> (Vec<Stood>, Option<u64>) {
    let mut clock_us = None;
    let mut frames = Vec::new();
    for item in items {
        match *item {
            Frame(time_us) => {
                let late = clock_us.is_some_and(|clock: u64| {
                    time_us / SECOND < (clock / SECOND).saturating_sub(lateness_s)
                });
                frames.push(Stood { time_us, late, clock_us });
                clock_us = clock_us.max(Some(time_us));
            }
            Mark(time_us) => clock_us = clock_us.max(Some(time_us)),
        }
    }
    (frames, clock_us)
}

#[test]
fn a_mark_closes_windows_where_it_stands() {
    let at = |seconds: u64| START + seconds * SECOND;
    let items = [Frame(at(0)), Mark(at(9)), Frame(at(1)), Frame(at(10)), Mark(at(30))];
    let found = read(vec![write("flowtap 9.9", false, &items)], InputOptions::default());
    assert_eq!(found.frames.iter().map(|f| f.late).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(found.clock_us, Some(at(30)));
    assert_eq!(found.closed_before_s, Some((at(30) / SECOND) as i64 - LATENESS_S));
    let counters = found.counters;
    assert_eq!(counters.first_ns, Some(at(0) as i64 * 1_000));
    assert_eq!(counters.latest_ns, Some(at(10) as i64 * 1_000), "of packets alone");
    assert_eq!((counters.frames, counters.late, counters.backward), (3, 1, 0));
}

#[test]
fn statistics_of_other_tools_say_nothing_about_the_clock() {
    let items = [Frame(START), Mark(START + 60 * SECOND), Frame(START + 1)];
    for application in ["Dumpcap (Wireshark) 4.4", "flowtapper 1", "xflowtap 1", ""] {
        let found = read(vec![write(application, false, &items)], InputOptions::default());
        assert_eq!(found.counters.late, 0, "{application}");
        assert_eq!(found.clock_us, Some(START + 1));
    }
}

#[test]
fn a_recording_of_silence_has_no_packets_and_a_clock() {
    let found = read(
        vec![write("flowtap 1", false, &[Mark(START), Mark(START + 1)])],
        InputOptions::default(),
    );
    assert_eq!(found.counters, Counters::default());
    assert_eq!(found.clock_us, Some(START + 1));
}

#[test]
fn a_silence_of_hours_is_no_anomaly_when_marks_tell_it() {
    let mut items = vec![Frame(START)];
    items.extend((1..600).map(|minutes| Mark(START + minutes * 60 * SECOND)));
    items.push(Frame(START + 600 * 60 * SECOND));
    items.push(Frame(START + 600 * 60 * SECOND + 1));
    let found = read(vec![write("flowtap 1", false, &items)], InputOptions::default());
    assert_eq!(found.counters.time_anomalies, 0);
    assert_eq!(found.frames, expected(&items, LATENESS_S as u64).0);
}

#[test]
fn a_mark_of_the_far_future_that_packets_contradict_is_nothing() {
    for items in [
        [Mark(START + 9_000_000 * SECOND), Frame(START), Frame(START + 1)],
        [Frame(START), Mark(START + 9_000_000 * SECOND), Frame(START + 1)],
    ] {
        let found = read(vec![write("flowtap 1", false, &items)], InputOptions::default());
        assert_eq!((found.counters.late, found.clock_us), (0, Some(START + 1)), "{items:?}");
    }
}

#[test]
fn marks_in_a_merge_wait_for_their_turn() {
    let at = |seconds: u64| START + seconds * SECOND;
    let recording = write("flowtap 1", false, &[Frame(at(0)), Mark(at(20)), Frame(at(21))]);
    let other = write("editcap", true, &[Frame(at(1)), Frame(at(19)), Frame(at(25))]);
    let found = read(vec![recording, other], InputOptions::default());
    let times: Vec<_> = found.frames.iter().map(|frame| (frame.time_us - START) / SECOND).collect();
    assert_eq!(times, [0, 1, 19, 21, 25]);
    assert_eq!(found.counters.late, 0);
    let clock = found.frames.get(3).and_then(|frame| frame.clock_us);
    assert_eq!(clock, Some(at(20)));
}

/// Frames and marks as a live capture has them: a clock that goes on, packets a
/// little behind it.
fn recordings(most: usize) -> impl Strategy<Value = Vec<Item>> {
    let one =
        (0_u64..4 * SECOND, prop_oneof![3 => Just(false), 2 => Just(true)], 0_u64..6 * SECOND);
    prop::collection::vec(one, 0..most).prop_map(|list| {
        let mut clock = START;
        list.into_iter()
            .map(|(step, is_mark, behind)| {
                clock += step;
                match is_mark {
                    true => Mark(clock),
                    false if behind > 4 * SECOND => Frame(clock - behind),
                    false => Frame(clock),
                }
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_clock_moves_as_it_did_whatever_the_blocks(
        items in recordings(200),
        big_endian: bool,
        block_bytes in 4_096_usize..100_000,
        block_frames in 1_usize..100,
        lateness_s in 0_i64..5,
    ) {
        let options =
            InputOptions { block_bytes, block_frames, lateness_s, ..InputOptions::default() };
        let found = read(vec![write("flowtap 1", big_endian, &items)], options);
        let (frames, clock_us) = expected(&items, lateness_s as u64);
        prop_assert_eq!(found.frames.len(), frames.len());
        for (found, expected) in found.frames.iter().zip(&frames) {
            prop_assert_eq!((found.time_us, found.late), (expected.time_us, expected.late));
            prop_assert_eq!(found.clock_us, expected.clock_us);
        }
        prop_assert_eq!(found.clock_us, clock_us);
        let times = || frames.iter().map(|frame| frame.time_us as i64 * 1_000);
        prop_assert_eq!(found.counters.first_ns, times().min());
        prop_assert_eq!(found.counters.latest_ns, times().max());
    }

    #[test]
    fn a_ring_is_the_stream_that_it_was_cut_from(
        items in recordings(120),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        block_frames in 1_usize..60,
    ) {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(items.len() + 1)).collect();
        at.extend([0, items.len()]);
        at.sort_unstable();
        let mut clock = None;
        let files: Vec<Vec<u8>> = at
            .windows(2)
            .map(|ends| {
                let piece = &items[ends[0]..ends[1]];
                // Each file begins with where the clock stood.
                let begin: Vec<Item> = clock.map(Mark).into_iter().collect();
                for item in piece {
                    let (Frame(time) | Mark(time)) = *item;
                    clock = clock.max(Some(time));
                }
                write("flowtap 1", false, &[&begin, piece].concat())
            })
            .collect();
        let options = InputOptions { block_frames, ..InputOptions::default() };
        let found = read(files, options);
        let (frames, clock_us) = expected(&items, LATENESS_S as u64);
        prop_assert_eq!(found.frames, frames);
        prop_assert_eq!(found.clock_us, clock_us);
    }

    #[test]
    fn wild_marks_are_held_to_what_a_time_stamp_is_held_to(
        items in prop::collection::vec((any::<bool>(), prop_oneof![
            3 => (0_u64..100 * SECOND).prop_map(|offset| START + offset),
            1 => any::<u64>(),
        ]), 1..80),
        big_endian: bool,
        block_frames in 1_usize..50,
    ) {
        let items: Vec<Item> = items
            .into_iter()
            .map(|(is_mark, time)| if is_mark { Mark(time) } else { Frame(time) })
            .collect();
        let options = InputOptions { block_frames, ..InputOptions::default() };
        let found = read(vec![write("flowtap 1", big_endian, &items)], options);
        let frames: Vec<u64> = items
            .iter()
            .filter_map(|item| match *item {
                Frame(time) => Some(time),
                Mark(_) => None,
            })
            .collect();
        prop_assert_eq!(found.counters.frames, frames.len() as u64);
        for (before, clock_us) in found.jumps {
            let range = |time: u64| i64::try_from(i128::from(time) * 1_000).is_ok();
            let earlier = frames[before..]
                .iter()
                .take(64)
                .find(|&&time| range(time) && clock_us.saturating_sub(time) > 3_600 * SECOND);
            prop_assert_eq!(earlier, None, "the packets after a jump confirm it");
        }
    }
}
