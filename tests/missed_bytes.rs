//! Loss that acknowledgements tell, held against captures with known holes.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use flowtap::engine::{RunOptions, run};
use flowtap::flow::FlowRecord;
use flowtap::input::{Input, InputOptions};

/// One direction of a connection.
type Side = (IpAddr, u16, IpAddr, u16);

/// A TCP segment as another decoder sees it.
#[derive(Clone)]
struct Segment {
    /// Place of its frame.
    at: usize,
    side: Side,
    seq: u32,
    payload: u32,
    /// Acknowledges, without SYN or RST.
    ack: Option<u32>,
    syn: bool,
    ends: bool,
}

#[derive(Clone)]
struct RawFrame {
    time_ns: i64,
    wire_bytes: u32,
    data: Vec<u8>,
}

fn frames(capture: &Path) -> Vec<RawFrame> {
    let paths = [capture.to_owned()];
    let mut input = Input::open(&paths, InputOptions::default()).expect("a capture");
    let mut frames = Vec::new();
    while let Some(block) = input.next_block() {
        frames.extend(block.frames.iter().map(|frame| RawFrame {
            time_ns: frame.time_ns,
            wire_bytes: frame.wire_bytes,
            data: block.bytes.frame(frame).to_vec(),
        }));
    }
    frames
}

fn segment(at: usize, data: &[u8]) -> Option<Segment> {
    // Frames may be cut: lengths are the headers'.
    let packet = LaxSlicedPacket::from_ethernet(data).ok()?;
    let (src, dst, payload) = match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            let whole = u32::from(header.total_len()) - u32::from(header.ihl()) * 4;
            (header.source_addr().into(), header.destination_addr().into(), whole)
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            let whole = u32::from(header.payload_length());
            (header.source_addr().into(), header.destination_addr().into(), whole)
        }
        LaxNetSlice::Arp(_) => return None,
    };
    let TransportSlice::Tcp(tcp) = packet.transport? else { return None };
    Some(Segment {
        at,
        side: (src, tcp.source_port(), dst, tcp.destination_port()),
        seq: tcp.sequence_number(),
        payload: payload - u32::from(tcp.data_offset()) * 4,
        ack: (tcp.ack() && !tcp.syn() && !tcp.rst()).then(|| tcp.acknowledgment_number()),
        syn: tcp.syn(),
        ends: tcp.fin() || tcp.rst(),
    })
}

/// Classic pcap in nanoseconds.
fn write(path: &Path, frames: &[RawFrame], dropped: &BTreeSet<usize>) {
    let mut out = Vec::new();
    for field in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        out.extend(field.to_le_bytes());
    }
    for (_, frame) in frames.iter().enumerate().filter(|(at, _)| !dropped.contains(at)) {
        let second = (frame.time_ns / 1_000_000_000) as u32;
        let rest = (frame.time_ns % 1_000_000_000) as u32;
        for field in [second, rest, frame.data.len() as u32, frame.wire_bytes] {
            out.extend(field.to_le_bytes());
        }
        out.extend(&frame.data);
    }
    std::fs::write(path, out).expect("written");
}

fn flows(capture: &Path, workers: usize) -> Vec<FlowRecord> {
    let input = Input::open(&[capture.to_owned()], InputOptions::default()).expect("a capture");
    let mut flows = Vec::new();
    let options = RunOptions { workers, ..RunOptions::default() };
    let report = run(input, &options, &mut |record: &FlowRecord| flows.push(record.clone()));
    let sum: u64 = report.totals.inferred_losses.iter().map(|loss| loss.missed_bytes).sum();
    assert_eq!(sum, missed(&flows), "the run's sum is that of its flows");
    flows
}

fn missed(flows: &[FlowRecord]) -> u64 {
    let sides = flows.iter().flat_map(|flow| [flow.fwd.missed_bytes, flow.rev.missed_bytes]);
    sides.flatten().sum()
}

/// Of each side that began with a SYN: its segments, with numbers counted from it.
fn sides(segments: &[Segment]) -> HashMap<Side, (u32, Vec<&Segment>)> {
    let mut sides = HashMap::<Side, (u32, Vec<&Segment>)>::new();
    let mut doubtful = BTreeSet::new();
    for segment in segments {
        if segment.syn {
            let known = sides.entry(segment.side).or_insert((segment.seq, Vec::new()));
            if known.0 != segment.seq {
                doubtful.insert(segment.side);
            }
        } else if let Some(known) = sides.get_mut(&segment.side) {
            known.1.push(segment);
        }
    }
    sides.retain(|side, _| !doubtful.contains(side));
    sides
}

fn other(side: &Side) -> Side {
    (side.2, side.3, side.0, side.1)
}

/// Data segments that a sender sent once and the receiver acknowledged.
fn droppable(segments: &[Segment]) -> Vec<Segment> {
    let sides = sides(segments);
    let mut chosen = Vec::new();
    for (side, (isn, sent)) in &sides {
        if !sides.contains_key(&other(side)) {
            continue;
        }
        let range = |of: &Segment| {
            let start = of.seq.wrapping_sub(*isn);
            (start, start + of.payload)
        };
        let with_data: Vec<_> = sent.iter().filter(|of| of.payload > 0).collect();
        for (place, of) in with_data.iter().enumerate() {
            let (start, end) = range(of);
            let again = with_data.iter().enumerate().any(|(other, of)| {
                let (from, to) = range(of);
                other != place && from < end && start < to
            });
            if !again && !of.ends {
                chosen.push((**of).clone());
            }
        }
    }
    chosen.sort_by_key(|of| of.at);
    chosen
}

/// Bytes of the dropped segments below what the receivers acknowledged in what is
/// left.
fn expected(segments: &[Segment], dropped: &BTreeSet<usize>) -> u64 {
    let sides = sides(segments);
    let mut sum = 0;
    for (side, (isn, sent)) in &sides {
        let Some((_, answers)) = sides.get(&other(side)) else { continue };
        let left = answers.iter().filter(|of| !dropped.contains(&of.at));
        let acks = left.filter_map(|of| of.ack).map(|ack| ack.wrapping_sub(*isn));
        let highest = acks.max().unwrap_or(0);
        for of in sent.iter().filter(|of| dropped.contains(&of.at)) {
            let start = of.seq.wrapping_sub(*isn);
            sum += u64::from(highest.min(start + of.payload).saturating_sub(start));
        }
    }
    sum
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Captures with connections seen from their start, and whole.
fn connections() -> Vec<std::path::PathBuf> {
    ["web.pcap", "web-snaplen-96.pcap", "tcp-trouble.pcap"]
        .map(|name| common::captures().join(name))
        .into()
}

#[test]
fn what_is_taken_out_of_a_capture_is_missed_to_the_byte() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("holes.pcap");
    let mut taken_out = 0;
    for capture in connections() {
        let frames = frames(&capture);
        let all = frames.iter().enumerate();
        let segments: Vec<_> = all.filter_map(|(at, raw)| segment(at, &raw.data)).collect();
        let droppable = droppable(&segments);
        assert!(droppable.len() > 5, "{}: {}", capture.display(), droppable.len());
        write(&path, &frames, &BTreeSet::new());
        let before = missed(&flows(&path, 1));
        for seed in 0..12 {
            // From a few to half of them.
            let share = [20, 6, 2][seed as usize % 3];
            let mut state = seed;
            let dropped: BTreeSet<usize> = droppable
                .iter()
                .filter(|_| next(&mut state).is_multiple_of(share))
                .map(|of| of.at)
                .collect();
            write(&path, &frames, &dropped);
            let expected = expected(&segments, &dropped);
            taken_out += expected;
            let found = flows(&path, 1);
            let name = capture.display();
            assert_eq!(missed(&found) - before, expected, "{name}, seed {seed}: {dropped:?}");
            assert!(flows(&path, 3) == found, "{name}, seed {seed}: whatever the workers");
            lost_by_wireshark(&path, &found);
        }
    }
    assert!(taken_out > 100_000, "{taken_out}");
}

/// Connections of which Wireshark says that unseen segments were acknowledged must
/// have missed bytes. (It says so only where the acknowledgement is ahead of all
/// data so far, so the other way round does not hold.)
fn lost_by_wireshark(capture: &Path, flows: &[FlowRecord]) {
    let mut command = Command::new("tshark");
    command.arg("-n").arg("-r").arg(capture).args(["-Y", "tcp.analysis.ack_lost_segment"]);
    command.args(["-T", "fields", "-e", "tcp.srcport", "-e", "tcp.dstport"]);
    let Ok(output) = command.output() else {
        eprintln!("SKIPPED: there is no tshark; nothing was compared");
        return;
    };
    assert!(output.status.success(), "{}", common::text(&output.stderr));
    for line in common::text(&output.stdout).lines() {
        let mut ports = line.split('\t').map(|port| port.parse::<u16>().expect("a port"));
        let ports = (ports.next().expect("one"), ports.next().expect("two"));
        let lossy = flows.iter().any(|flow| {
            let of = (flow.src_port(), flow.dst_port());
            let here = of == ports || (of.1, of.0) == ports;
            here && [&flow.fwd, &flow.rev].iter().any(|side| side.missed_bytes > Some(0))
        });
        assert!(lossy, "{}: {ports:?}", capture.display());
    }
}

/// A sensor that sees one direction, or that came late, must not cry loss.
#[test]
fn halves_of_connections_and_captures_begun_late_miss_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("part.pcap");
    for capture in connections() {
        let frames = frames(&capture);
        let all = frames.iter().enumerate();
        let segments: Vec<_> = all.filter_map(|(at, raw)| segment(at, &raw.data)).collect();
        let whole = missed(&flows(&capture, 1));
        for client in [true, false] {
            let from_client = |of: &Segment| of.side.1 > of.side.3;
            let half = segments.iter().filter(|of| from_client(of) == client);
            let dropped = half.map(|of| of.at).collect();
            write(&path, &frames, &dropped);
            let found = flows(&path, 1);
            let told = |side: &flowtap::flow::Direction| side.missed_bytes.is_some();
            let first = found.iter().find(|flow| told(&flow.fwd) || told(&flow.rev));
            assert!(first.is_none(), "{}: {first:?}", capture.display());
        }
        for begin in (0..frames.len()).step_by(frames.len().div_ceil(40).max(1)) {
            write(&path, &frames, &(0..begin).collect());
            let late = missed(&flows(&path, 1));
            assert!(late <= whole, "{} from {begin}: {late}", capture.display());
        }
    }
}
