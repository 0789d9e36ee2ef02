//! What goes in comes out, within bounds, whatever the disk does. The disk's
//! part runs in the test's own thread here, when the test lets it.

mod evidence;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use proptest::prelude::*;

use super::disk::Disk;
use super::tap::Chunk;
use super::*;
use crate::input::{Block, BlockBytes, Frame, Input, InputOptions, Shed};
use crate::packet::LinkType;

const SECOND_NS: i64 = 1_000_000_000;
const START_NS: i64 = 1_700_000_000 * SECOND_NS + 5;

/// A recording without threads.
struct Bench {
    shared: Arc<Shared>,
    tap: Option<Tap>,
    disk: Disk,
    from_tap: Receiver<Chunk>,
    give_back: Sender<Chunk>,
}

impl Bench {
    fn new(dir: &Path, most_bytes: u64, chunk_bytes: usize, chunks: usize) -> Self {
        let shared = Arc::new(Shared {
            interfaces: Lock::new(Vec::new()),
            ring: Lock::new(Ring::open(dir, most_bytes).expect("a folder")),
            status: Arc::default(),
        });
        let (to_disk, from_tap) = bounded(chunks + 1);
        let (give_back, spare) = bounded(chunks + 1);
        let disk = Disk::new(Arc::clone(&shared), most_bytes / RING_FILES, chunk_bytes, None);
        let tap = Tap::new(Arc::clone(&shared), to_disk, spare, chunk_bytes, chunks);
        Self { shared, tap: Some(tap), disk, from_tap, give_back }
    }

    /// The disk's turn.
    fn drain(&mut self) {
        for chunk in self.from_tap.try_iter() {
            self.disk.take(&chunk);
            let _ = self.give_back.try_send(chunk);
        }
    }

    fn end(&mut self) -> RecordingCounters {
        self.drain();
        self.tap = None;
        self.drain();
        self.shared.status.counters()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Packet {
    time_ns: i64,
    wire_bytes: u32,
    interface: u16,
    data: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Step {
    Packets(Vec<Packet>),
    /// The clock stands there; nothing came.
    Mark(i64),
}

fn interfaces() -> Vec<Interface> {
    let of = |position, name: &str, link, fcs_bytes| Interface {
        file: 0,
        section: 0,
        position,
        name: name.to_owned(),
        description: if position == 1 { "the other".to_owned() } else { String::new() },
        link,
        snaplen_bytes: 262_144 * position,
        tsresol: 9,
        fcs_bytes,
        sensor: String::new(),
        clock_synchronised: None,
    };
    vec![
        of(0, "eth0", LinkType::ETHERNET, None),
        of(1, "wlan0", LinkType(127), Some(4)),
        of(2, "", LinkType(101), None),
    ]
}

/// A stream as a live capture hands it out: time goes on, some packets come a
/// little late, and where nothing comes there are marks.
fn stream(most: usize, most_bytes: usize) -> impl Strategy<Value = Vec<Step>> {
    let packet = (
        0_i64..SECOND_NS,
        prop_oneof![4 => Just(0_i64), 1 => 0_i64..3 * SECOND_NS],
        0_u32..5_000,
        0_u16..3,
        prop::collection::vec(any::<u8>(), 0..most_bytes),
    );
    let step = prop_oneof![
        3 => prop::collection::vec(packet, 1..12).prop_map(Ok),
        1 => (0_i64..5 * SECOND_NS).prop_map(Err),
    ];
    prop::collection::vec(step, 0..most).prop_map(|steps| {
        let mut clock_ns = START_NS;
        let mut stream = Vec::new();
        for step in steps {
            stream.push(match step {
                Ok(packets) => {
                    let packets =
                        packets.into_iter().map(|(gap, behind, more, interface, data)| {
                            clock_ns += gap;
                            let wire_bytes = data.len() as u32 + more;
                            Packet { time_ns: clock_ns - behind, wire_bytes, interface, data }
                        });
                    Step::Packets(packets.collect())
                }
                Err(gap) => {
                    clock_ns += gap;
                    Step::Mark(clock_ns)
                }
            });
        }
        stream
    })
}

/// Blocks of a stream, and where its clock stands after each.
fn blocks(stream: &[Step]) -> Vec<Block> {
    let links: Vec<LinkType> = interfaces().iter().map(|interface| interface.link).collect();
    let mut latest_ns = i64::MIN;
    let block = |(sequence, step): (usize, &Step)| {
        let (mut bytes, mut frames) = (Vec::new(), Vec::new());
        match step {
            Step::Mark(time_ns) => latest_ns = latest_ns.max(*time_ns),
            Step::Packets(packets) => {
                for packet in packets {
                    frames.push(Frame {
                        time_ns: packet.time_ns,
                        offset: bytes.len() as u32,
                        captured_bytes: packet.data.len() as u32,
                        wire_bytes: packet.wire_bytes,
                        link: links[usize::from(packet.interface)],
                        interface: packet.interface,
                        flags: 0,
                    });
                    bytes.extend_from_slice(&packet.data);
                    latest_ns = latest_ns.max(packet.time_ns);
                }
            }
        }
        Block {
            sequence: sequence as u64,
            first_frame: 0,
            bytes: BlockBytes::Owned(bytes),
            frames,
            closed_before_s: 0,
            latest_ns,
            shed: Shed::Nothing,
        }
    };
    stream.iter().enumerate().map(block).collect()
}

/// Packets, each with the clock before it, and the clock at the end.
type Played = (Vec<(Packet, i64)>, i64);

fn played(stream: &[Step]) -> Played {
    let mut clock_ns = i64::MIN;
    let mut packets = Vec::new();
    for step in stream {
        match step {
            Step::Mark(time_ns) => clock_ns = clock_ns.max(*time_ns),
            Step::Packets(list) => {
                for packet in list {
                    packets.push((packet.clone(), clock_ns));
                    clock_ns = clock_ns.max(packet.time_ns);
                }
            }
        }
    }
    (packets, clock_ns)
}

fn read_back(paths: &[PathBuf]) -> (Played, Vec<Interface>) {
    let mut input = Input::open(paths, InputOptions::default()).expect("files");
    let mut packets = Vec::new();
    let mut clock_ns = i64::MIN;
    while let Some(block) = input.next_block() {
        for frame in &block.frames {
            let data = block.bytes.frame(frame).to_vec();
            let Frame { time_ns, wire_bytes, interface, .. } = *frame;
            assert_eq!(frame.link, input.interfaces()[usize::from(interface)].link);
            packets.push((Packet { time_ns, wire_bytes, interface, data }, clock_ns));
            clock_ns = clock_ns.max(time_ns);
        }
        clock_ns = clock_ns.max(block.latest_ns);
    }
    for report in input.reports() {
        assert_eq!((&report.error, &report.warnings[..]), (&None, &[][..]), "{}", report.path);
    }
    ((packets, clock_ns), input.interfaces().to_vec())
}

fn ring_files(dir: &Path) -> Vec<PathBuf> {
    files_in(dir).expect("a folder").into_iter().map(|(_, path)| path).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_recording_read_back_is_the_stream(
        stream in stream(40, 300),
        chunk_bytes in 200_usize..20_000,
        file_bytes in 2_000_u64..30_000,
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        // Many files, none of which has to go.
        let mut bench = Bench::new(dir.path(), file_bytes * RING_FILES, chunk_bytes, 4_096);
        let mut all = interfaces();
        for (at, block) in blocks(&stream).iter().enumerate() {
            // Interfaces come as their packets come.
            let used = block.frames.iter().map(|frame| usize::from(frame.interface) + 1).max();
            let tap = bench.tap.as_mut().expect("not ended");
            tap.block(block, &all[..used.unwrap_or(1).max(tap.interfaces())]);
            if at % 3 == 0 {
                bench.drain();
            }
        }
        let counters = bench.end();
        let (packets, clock_ns) = played(&stream);
        prop_assert_eq!(counters.packets, packets.len() as u64);
        prop_assert_eq!(counters.lost_packets, 0);
        let files = ring_files(dir.path());
        if counters.files_removed > 0 || packets.is_empty() {
            return Ok(());
        }
        let ((found, found_clock_ns), interfaces) = read_back(&files);
        prop_assert_eq!(found, packets);
        prop_assert_eq!(found_clock_ns, clock_ns);
        all.truncate(interfaces.len());
        for (found, mut expected) in interfaces.into_iter().zip(all) {
            (expected.file, expected.section) = (found.file, found.section);
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_ring_stays_under_its_size_whatever_comes(
        stream in stream(60, 2_000),
        most_bytes in 1_000_u64..60_000,
        chunk_bytes in 100_usize..4_000,
        earlier in prop::collection::vec(0_usize..20_000, 0..5),
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        for (at, &bytes) in earlier.iter().enumerate() {
            let name = format!("flowtap-2020010{}T000000.000000000Z.pcapng", at + 1);
            fs::write(dir.path().join(name), vec![0; bytes]).expect("written");
        }
        let sum = || {
            let files = ring_files(dir.path());
            files.iter().map(|path| fs::metadata(path).expect("there").len()).sum::<u64>()
        };
        let mut bench = Bench::new(dir.path(), most_bytes, chunk_bytes, 64);
        prop_assert!(sum() <= most_bytes);
        let mut given = 0;
        for block in blocks(&stream) {
            given += block.frames.len() as u64;
            bench.tap.as_mut().expect("not ended").block(&block, &interfaces());
            for chunk in bench.from_tap.try_iter() {
                bench.disk.take(&chunk);
                let _ = bench.give_back.try_send(chunk);
                prop_assert!(sum() <= most_bytes, "{} of {most_bytes}", sum());
                prop_assert_eq!(bench.shared.ring.lock().bytes(), sum());
            }
        }
        let counters = bench.end();
        prop_assert!(sum() <= most_bytes);
        prop_assert_eq!(counters.disk_bytes, sum());
        prop_assert_eq!(counters.packets + counters.lost_packets, given);
        // What is left is the end of the stream.
        let kept: Vec<PathBuf> = ring_files(dir.path())
            .into_iter()
            .filter(|path| !path.to_string_lossy().contains("flowtap-2020"))
            .collect();
        if counters.lost_packets == 0 && !kept.is_empty() {
            let ((found, _), _) = read_back(&kept);
            let (packets, _) = played(&stream);
            let skipped = packets.len() - found.len();
            let found: Vec<Packet> = found.into_iter().map(|(packet, _)| packet).collect();
            let tail: Vec<Packet> = packets.into_iter().skip(skipped).map(|(p, _)| p).collect();
            prop_assert_eq!(found, tail);
        }
    }

    #[test]
    fn what_a_slow_disk_loses_is_counted_and_said_in_the_file(
        stream in stream(60, 600),
        chunk_bytes in 300_usize..2_000,
        turns in prop::collection::vec(any::<bool>(), 60),
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let mut bench = Bench::new(dir.path(), 1 << 30, chunk_bytes, 2);
        for (block, turn) in blocks(&stream).iter().zip(turns) {
            bench.tap.as_mut().expect("not ended").block(block, &interfaces());
            if turn {
                bench.drain();
            }
        }
        let counters = bench.end();
        let (packets, clock_ns) = played(&stream);
        prop_assert_eq!(counters.packets + counters.lost_packets, packets.len() as u64);
        if counters.packets == 0 {
            return Ok(());
        }
        let files = ring_files(dir.path());
        let ((found, found_clock_ns), _) = read_back(&files);
        prop_assert_eq!(found.len() as u64, counters.packets);
        // The clock stands where it stood, also before what came through.
        prop_assert_eq!(found_clock_ns, clock_ns);
        let mut left = packets.iter();
        for packet in &found {
            prop_assert!(left.any(|given| given == packet), "in order, with its clock");
        }
        let bytes: Vec<u8> = files.iter().flat_map(|path| fs::read(path).expect("there")).collect();
        let said: u64 = said_missing(&bytes);
        prop_assert_eq!(said, counters.lost_packets);
    }

    #[test]
    fn a_recording_cut_anywhere_is_read_to_its_last_whole_block(
        stream in stream(20, 200),
        cut in any::<prop::sample::Index>(),
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let mut bench = Bench::new(dir.path(), 1 << 30, 4_096, 64);
        for block in blocks(&stream) {
            bench.tap.as_mut().expect("not ended").block(&block, &interfaces());
        }
        bench.end();
        let files = ring_files(dir.path());
        let Some(whole) = files.first().map(|path| fs::read(path).expect("there")) else {
            return Ok(());
        };
        let bytes = whole[..cut.index(whole.len() + 1)].to_vec();
        let mut input = Input::from_bytes(vec![bytes], InputOptions::default());
        let mut found = Vec::new();
        while let Some(block) = input.next_block() {
            found.extend(block.frames.iter().map(|frame| block.bytes.frame(frame).to_vec()));
        }
        let all: Vec<Vec<u8>> = played(&stream).0.into_iter().map(|(packet, _)| packet.data).collect();
        prop_assert_eq!(&found[..], &all[..found.len()]);
    }
}

/// Sum over "N packets (M captured bytes) are missing".
fn said_missing(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    text.match_indices(" packets (")
        .filter(|(at, _)| text[*at..].contains("are missing before this place"))
        .filter_map(|(at, _)| {
            let digits: String =
                text[..at].chars().rev().take_while(char::is_ascii_digit).collect();
            digits.chars().rev().collect::<String>().parse::<u64>().ok()
        })
        .sum()
}

fn one_packet(time_ns: i64, data: &[u8]) -> Step {
    let wire_bytes = data.len() as u32;
    Step::Packets(vec![Packet { time_ns, wire_bytes, interface: 0, data: data.to_vec() }])
}

#[test]
fn a_folder_that_is_gone_is_told_once_and_used_again_when_it_is_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let ring = dir.path().join("ring");
    let mut bench = Bench::new(&ring, 1 << 20, 1_000, 8);
    fs::remove_dir_all(&ring).expect("removed");
    let stream: Vec<Step> =
        (0..10).map(|second| one_packet(START_NS + second * SECOND_NS, &[7; 60])).collect();
    for (second, block) in blocks(&stream).iter().enumerate() {
        if second == 6 {
            fs::create_dir(&ring).expect("made again");
        }
        bench.tap.as_mut().expect("not ended").block(block, &interfaces());
        bench.drain();
    }
    let counters = bench.end();
    let notices = bench.shared.status.take_notices();
    assert_eq!(notices.len(), 2, "{notices:?}");
    let about: Vec<About> = notices.iter().map(|notice| notice.about).collect();
    assert_eq!(about, [About::Failing, About::Resumed], "{notices:?}");
    assert!(notices[0].text.contains("can't be written"), "{notices:?}");
    assert_eq!(counters.packets + counters.lost_packets, 10);
    assert!((4..=5).contains(&counters.packets), "{counters:?}");
    let ((found, clock_ns), _) = read_back(&ring_files(&ring));
    assert_eq!(found.len() as u64, counters.packets);
    assert_eq!(clock_ns, START_NS + 9 * SECOND_NS);
    let bytes = fs::read(&ring_files(&ring)[0]).expect("there");
    assert_eq!(said_missing(&bytes), counters.lost_packets);
}

#[test]
fn what_came_is_on_disk_within_a_second_of_the_stream() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut bench = Bench::new(dir.path(), 1 << 20, 1 << 16, 8);
    let steps = [one_packet(START_NS, &[1; 60]), Step::Mark(START_NS + SECOND_NS)];
    for block in blocks(&steps) {
        bench.tap.as_mut().expect("not ended").block(&block, &interfaces());
        bench.drain();
    }
    assert_eq!(read_back(&ring_files(dir.path())).0.0.len(), 1, "the tap is still there");
}

#[test]
fn counters_of_interfaces_are_in_the_file_and_move_no_clock() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut bench = Bench::new(dir.path(), 1 << 20, 1 << 16, 8);
    let tap = bench.tap.as_mut().expect("not ended");
    tap.block(&blocks(&[one_packet(START_NS, &[1; 60])])[0], &interfaces());
    tap.statistics(
        1,
        InterfaceCounters {
            received: Some(70),
            dropped_by_interface: Some(5),
            dropped_by_system: Some(6),
        },
    );
    bench.end();
    let files = ring_files(dir.path());
    let mut input = Input::open(&files, InputOptions::default()).expect("files");
    while input.next_block().is_some() {}
    let report = &input.reports()[0];
    assert_eq!((report.interface_drops, report.system_drops), (Some(5), Some(6)));
    assert_eq!(read_back(&files).0.1, START_NS);
}
