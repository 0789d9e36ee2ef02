//! The invariants of the design, on every capture there is: conservation,
//! determinism over workers, and over how the input is split into files.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use flowtap::engine::{RunOptions, RunReport, run};
use flowtap::flow::{FlowRecord, Timeouts};
use flowtap::input::{Block, Input, InputOptions};

/// Everything that must not depend on workers or files.
#[derive(PartialEq)]
struct Outcome {
    flows: Vec<FlowRecord>,
    alerts: String,
    accounting: flowtap::engine::accounting::Accounting,
    conversations: u64,
}

fn outcome(input: Input, workers: usize) -> (Outcome, RunReport) {
    let mut flows = Vec::new();
    let options = RunOptions { workers, ..RunOptions::default() };
    let report = run(input, &options, &mut |record: &FlowRecord| flows.push(record.clone()));
    let alerts = serde_json::to_string(&report.alerts).expect("alerts are JSON");
    let outcome = Outcome {
        flows,
        alerts,
        accounting: report.accounting.clone(),
        conversations: report.table.conversations,
    };
    (outcome, report)
}

fn assert_same(path: &Path, what: &str, one: &Outcome, other: &Outcome) {
    assert_eq!(one.alerts, other.alerts, "{}: alerts, {what}", path.display());
    assert_eq!(one.flows.len(), other.flows.len(), "{}: flows, {what}", path.display());
    for (x, y) in one.flows.iter().zip(&other.flows) {
        assert_eq!(x, y, "{}: {what}", path.display());
    }
    assert!(one.accounting == other.accounting, "{}: accounting, {what}", path.display());
    assert_eq!(one.conversations, other.conversations, "{}: {what}", path.display());
}

fn open(path: &Path) -> Input {
    Input::open(&[path.to_owned()], InputOptions::default()).expect("one path was named")
}

/// CONTRACT: end decision (second), start, key. Also where flows end by time in
/// the last seconds, which are handed out by another way than the others.
#[test]
fn records_come_in_the_order_of_their_decision_however_late_windows_close() {
    const SECOND_NS: i64 = 1_000_000_000;
    let timeouts = Timeouts {
        tcp_idle_ns: Some(SECOND_NS),
        udp_idle_ns: Some(SECOND_NS / 2),
        icmp_idle_ns: Some(SECOND_NS / 2),
        ..Timeouts::default()
    };
    for path in common::all_captures("order of records") {
        for lateness_s in [0, 2] {
            let mut flows = Vec::new();
            let options = RunOptions { lateness_s, timeouts, ..RunOptions::default() };
            let input = InputOptions { lateness_s, ..InputOptions::default() };
            let input = Input::open(std::slice::from_ref(&path), input).expect("one path");
            run(input, &options, &mut |record: &FlowRecord| {
                let second = record.decided_ns.div_euclid(SECOND_NS);
                flows.push((second, record.start_ns, record.key));
            });
            let wrong = flows.windows(2).find(|two| two[0] > two[1]);
            assert_eq!(wrong, None, "{}: lateness of {lateness_s} s", path.display());
        }
    }
}

#[test]
fn every_packet_and_byte_of_every_capture_is_accounted_for_once() {
    for path in common::all_captures("conservation") {
        let (outcome, report) = outcome(open(&path), 2);
        let total = report.accounting.total();
        assert_eq!(total.packets, report.input.frames, "{}: packets", path.display());
        assert_eq!(total.wire_bytes, report.input.wire_bytes, "{}: bytes", path.display());
        let directions = outcome.flows.iter().flat_map(|flow| [&flow.fwd, &flow.rev]);
        let in_flows = directions.fold((0, 0), |sum, direction| {
            (sum.0 + direction.packets, sum.1 + direction.wire_bytes)
        });
        let counted = report.accounting.in_flows;
        assert_eq!(in_flows, (counted.packets, counted.wire_bytes), "{}", path.display());
    }
}

#[test]
fn results_are_the_same_for_1_2_3_and_8_workers() {
    for path in common::all_captures("workers") {
        let (one, _) = outcome(open(&path), 1);
        for workers in [2, 3, 8] {
            let (more, _) = outcome(open(&path), workers);
            assert_same(&path, &format!("{workers} workers"), &one, &more);
        }
    }
}

/// Blocks of a few frames make every boundary that a large file would have.
#[test]
fn results_do_not_depend_on_the_size_of_blocks() {
    for path in common::all_captures("blocks") {
        let (whole, _) = outcome(open(&path), 2);
        for block_frames in [1, 7] {
            let options = InputOptions { block_frames, ..InputOptions::default() };
            let input = Input::open(std::slice::from_ref(&path), options).expect("one path");
            let (pieces, _) = outcome(input, 2);
            assert_same(&path, &format!("blocks of {block_frames} frames"), &whole, &pieces);
        }
    }
}

/// One capture as a ring of several, cut where time does not go backwards
/// (files are merged by time: a cut inside a disorder would sort it).
#[test]
fn results_are_the_same_for_a_capture_cut_into_files() {
    for path in common::all_captures("split") {
        let mut input = open(&path);
        let mut blocks = Vec::new();
        while let Some(block) = input.next_block() {
            blocks.push(block);
        }
        let frames: usize = blocks.iter().map(|block| block.frames.len()).sum();
        let pieces = split(&blocks, frames);
        if pieces.len() < 2 {
            continue;
        }
        let whole = Input::from_bytes(vec![rewrite(&blocks)], InputOptions::default());
        let parts = Input::from_bytes(pieces, InputOptions::default());
        let (whole, _) = outcome(whole, 2);
        let (parts, _) = outcome(parts, 2);
        assert_same(&path, "cut into files", &whole, &parts);
    }
}

/// Writes frames as pcapng with one interface for each link type. Written
/// here, from the format's draft: nothing of the reader is used.
struct Pcapng {
    bytes: Vec<u8>,
    links: Vec<u16>,
}

impl Pcapng {
    fn new(links: &[u16]) -> Self {
        let mut file = Self { bytes: Vec::new(), links: links.to_vec() };
        let mut section = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
        section.extend([1, 0, 0, 0]);
        section.extend([0xff; 8]);
        file.block(0x0a0d_0d0a, &section);
        for &link in links {
            let mut body = u32::from(link).to_le_bytes().to_vec();
            body.extend([0; 4]);
            // if_tsresol: nanoseconds
            body.extend([9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
            file.block(1, &body);
        }
        file
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let padding = body.len().next_multiple_of(4) - body.len();
        let length = (12 + body.len() + padding) as u32;
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(body);
        self.bytes.extend(vec![0; padding]);
        self.bytes.extend(length.to_le_bytes());
    }

    fn frame(&mut self, link: u16, time_ns: i64, wire_bytes: u32, data: &[u8]) {
        let interface = self.links.iter().position(|&known| known == link).unwrap_or(0) as u32;
        let time_ns = time_ns as u64;
        let mut body = interface.to_le_bytes().to_vec();
        body.extend(((time_ns >> 32) as u32).to_le_bytes());
        body.extend((time_ns as u32).to_le_bytes());
        body.extend((data.len() as u32).to_le_bytes());
        body.extend(wire_bytes.to_le_bytes());
        body.extend(data);
        self.block(6, &body);
    }
}

fn links(blocks: &[Block]) -> Vec<u16> {
    let mut links: Vec<u16> =
        blocks.iter().flat_map(|block| block.frames.iter().map(|frame| frame.link.0)).collect();
    links.sort_unstable();
    links.dedup();
    links
}

fn rewrite(blocks: &[Block]) -> Vec<u8> {
    let mut file = Pcapng::new(&links(blocks));
    for block in blocks {
        for frame in &block.frames {
            file.frame(frame.link.0, frame.time_ns, frame.wire_bytes, block.bytes.frame(frame));
        }
    }
    file.bytes
}

/// Cuts into about four files, each beginning later than all before it ended.
fn split(blocks: &[Block], frames: usize) -> Vec<Vec<u8>> {
    let links = links(blocks);
    let times: Vec<i64> =
        blocks.iter().flat_map(|block| block.frames.iter().map(|frame| frame.time_ns)).collect();
    // Earliest time from each frame on.
    let mut earliest = times;
    for at in (0..earliest.len().saturating_sub(1)).rev() {
        earliest[at] = earliest[at].min(earliest[at + 1]);
    }
    let mut files = vec![Pcapng::new(&links)];
    let (mut at, mut in_file, mut latest) = (0, 0, i64::MIN);
    for block in blocks {
        for frame in &block.frames {
            if in_file >= frames.div_ceil(4) && earliest[at] > latest {
                files.push(Pcapng::new(&links));
                in_file = 0;
            }
            let data = block.bytes.frame(frame);
            if let Some(file) = files.last_mut() {
                file.frame(frame.link.0, frame.time_ns, frame.wire_bytes, data);
            }
            latest = latest.max(frame.time_ns);
            at += 1;
            in_file += 1;
        }
    }
    files.into_iter().map(|file| file.bytes).collect()
}
