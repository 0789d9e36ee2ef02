//! What a packet costs in allocations and in locks: nothing.
//!
//! Two captures of the same flows over the same seconds, the second with twice
//! the packets, go through the whole engine under an allocator that counts.
//! Whatever a run, a flow or a second costs is in both; the difference is what
//! packets cost.
//!
//! What may differ, and why: each block of up to 8,192 frames is shared by the
//! shards, which takes one allocation ([`ALLOCATIONS_A_BLOCK`]), and buffers
//! that go round are as many as were on their way at the fullest moment
//! ([`BUFFERS`]), which threads decide. For packets that each open a flow,
//! tables grow by doubling or by halves, and rows of the open second by chunks
//! of 2,048: less than one allocation in 1,000 packets, and one step more of
//! the tables that each second begins anew ([`STEPS_A_SECOND`]).
//!
//! Locks are counted by the engine's own type for them (`flowtap::lock`), in
//! builds with debug assertions. Two things are not counted: what the channels
//! between threads do, which carry blocks and never packets, and what the
//! system allocator does inside, which is nothing where nothing is allocated.
//!
//! Not held to zero, because no steady state repeats it: a flow whose first
//! payloads are understood owns what was read from them, a datagram whose
//! fragments come before its first one owns those, a record owns its lists.
#![allow(unsafe_code, reason = "an allocator can't be written without it")]
#![expect(clippy::expect_used, reason = "a step that fails fails its test")]

mod common {
    pub(crate) mod frames;
}

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use common::frames::*;
use flowtap::engine::dedup::{DedupMode, DedupSettings};
use flowtap::engine::run::{RecordSink, RunOptions, run};
use flowtap::flow::FlowRecord;
use flowtap::input::{Input, InputOptions};
use flowtap::lab::synth::pcap::{PcapOptions, PcapWriter};
use flowtap::lock;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn count(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

// SAFETY: every call goes on to the system's allocator as it came, and its
// answer comes back as it is; counting touches no memory but two statics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the promises of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size);
        // SAFETY: the caller keeps the promises of `realloc`; `memory` is the
        // system's, as all memory that is handed out here.
        unsafe { System.realloc(memory, layout, new_size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the promises of `dealloc`; `memory` is the
        // system's, as all memory that is handed out here.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts are of the whole process: one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[derive(Clone, Copy, Debug)]
struct Cost {
    allocations: u64,
    bytes: u64,
    /// `None` in builds that don't count them.
    locks: Option<u64>,
    flows: u64,
}

struct CountOnly;

impl RecordSink for CountOnly {
    fn record(&mut self, _: FlowRecord) -> io::Result<()> {
        Ok(())
    }

    fn wants_records(&self) -> bool {
        false
    }
}

/// What one run over a file costs, from its first block to its report.
fn cost(capture: &Path, packets: u64, options: &RunOptions) -> Cost {
    let input = Input::open(&[capture.to_owned()], InputOptions::default()).expect("a capture");
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (allocations, bytes, locks) = (load(&ALLOCATIONS), load(&BYTES), lock::taken());
    let report = run(input, options, &mut CountOnly);
    let cost = Cost {
        allocations: load(&ALLOCATIONS) - allocations,
        bytes: load(&BYTES) - bytes,
        locks: lock::taken().zip(locks).map(|(now, before)| now - before),
        flows: report.flows,
    };
    assert_eq!(report.accounting.total().packets, packets);
    cost
}

/// A capture of `packets` frames, evenly spaced over `seconds`.
fn capture(path: &Path, packets: u64, seconds: u64, frame: impl Fn(u64) -> Vec<u8>) {
    let file = io::BufWriter::new(std::fs::File::create(path).expect("a file"));
    let mut writer = PcapWriter::new(file, PcapOptions::default()).expect("written");
    for n in 0..packets {
        let since_ns = n * seconds * 1_000_000_000 / packets;
        writer.write(1_790_000_000_000_000_000 + since_ns as i64, &frame(n)).expect("written");
    }
    writer.finish().expect("written");
}

/// What `packets` further packets cost a run that has as many already.
struct Further {
    allocations: u64,
    bytes: u64,
    locks: Option<u64>,
    /// Blocks that they fill.
    blocks: u64,
    flows: u64,
}

fn further(
    packets: u64,
    seconds: u64,
    options: &RunOptions,
    frame: impl Fn(u64) -> Vec<u8>,
) -> Further {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("a folder");
    let [(once, once_bytes), (twice, twice_bytes)] = [1, 2].map(|times| {
        let path = folder.path().join(format!("{times}.pcap"));
        capture(&path, times * packets, seconds, &frame);
        let cost = cost(&path, times * packets, options);
        eprintln!("{} workers, {} packets: {cost:?}", options.workers, times * packets);
        (cost, path.metadata().expect("a file").len())
    });
    assert!(once.allocations > 0 && once.locks.is_none_or(|locks| locks > 0), "nothing counts");
    let InputOptions { block_bytes, block_frames, .. } = InputOptions::default();
    let by_bytes = (twice_bytes - once_bytes).div_ceil(block_bytes as u64);
    Further {
        allocations: twice.allocations.saturating_sub(once.allocations),
        bytes: twice.bytes.saturating_sub(once.bytes),
        locks: twice.locks.zip(once.locks).map(|(twice, once)| twice.saturating_sub(once)),
        blocks: by_bytes.max(packets.div_ceil(block_frames as u64)) + 1,
        flows: twice.flows - once.flows,
    }
}

/// The block's bytes are counted references (1), and each queue between
/// threads takes memory for 31 messages at a time.
const ALLOCATIONS_A_BLOCK: u64 = 2;

/// For each worker: up to three more blocks on their way than in the shorter
/// run, each with eight buffers that grow by doubling, eleven steps to the 8,192
/// that a block may hold (of each shard: packets past their share, frames in no
/// flow, tunnels; the block's frames and fragments).
const BUFFERS: u64 = 3 * 8 * 11;

/// Buffers are taken and given back (5), the file's next piece claimed, stored
/// and taken (3), the block taken and handed in (2), each shard's rows given
/// back (1 for each). The rest is for workers that look for a block and find
/// none to take: every 2 ms while others work.
const LOCKS_A_BLOCK: u64 = 64;

fn holds_locks(further: &Further) {
    match further.locks {
        Some(locks) => assert!(locks <= LOCKS_A_BLOCK * further.blocks, "{locks} locks"),
        None => eprintln!("SKIPPED: this build does not count locks"),
    }
}

const FLOWS: u64 = 1_000;

/// A packet of one of 1,000 flows, of every kind that decoding tells apart.
fn known(n: u64) -> Vec<u8> {
    let (flow, round) = (n % FLOWS, n / FLOWS);
    let port = 10_000 + flow as u16;
    let payload = vec![0; (round * 37 % 300) as usize];
    let back = round % 2 == 1;
    let udp4 = |src: [u8; 4], dst: [u8; 4]| {
        let (from, to) = if back { (7_777, port) } else { (port, 7_777) };
        let packet = udp(from, to, &payload);
        if back { ipv4(17, dst, src, &packet) } else { ipv4(17, src, dst, &packet) }
    };
    match flow % 12 {
        0 | 1 if back => eth(0x0800, &ipv4(6, B4, A4, &tcp(443, port, ACK, &payload))),
        0 | 1 => eth(0x0800, &ipv4(6, A4, B4, &tcp(port, 443, ACK, &payload))),
        2 => eth(0x0800, &udp4(A4, B4)),
        3 => eth(0x86dd, &ipv6(17, A6, B6, &udp(port, 7_777, &payload))),
        4 => eth(0x8100, &tag(10, 0x0800, &udp4(A4, C4))),
        5 => eth(0x0800, &ipv4(1, A4, B4, &icmp(8, 0, port, &payload))),
        6 => {
            let inner = eth(0x0800, &udp4(C4, D4));
            eth(0x0800, &ipv4(17, A4, B4, &udp(49_152, 4_789, &vxlan(9, &inner))))
        }
        7 => eth(0x0800, &ipv4(47, A4, B4, &gre(0, 0, 0x0800, &[], &udp4(C4, D4)))),
        8 => {
            let tunnel = gtp_u(0x30, 255, 77, &[], &udp4(C4, D4));
            eth(0x0800, &ipv4(17, A4, B4, &udp(2_152, 2_152, &tunnel)))
        }
        // ARP, and a frame that ends within its IP header.
        9 => eth(0x0806, &[0; 28]),
        10 => eth(0x0800, &[0x45, 0, 0]),
        // Two fragments of a datagram, one in each of two rounds.
        _ => {
            let id = (round / 2 * FLOWS + flow) as u16;
            let offset = if back { 3 } else { 0x2000 };
            let bytes = udp(port, 7_777, &[0; 40]);
            let part = if back { &bytes[24..] } else { &bytes[..24] };
            eth(0x0800, &ipv4_fragment(17, A4, B4, id, offset, part))
        }
    }
}

#[track_caller]
fn holds_for_known_flows(options: &RunOptions) {
    // 300 rounds: no flow learns anything in the second half.
    let further = further(300 * FLOWS, 6, options, known);
    let Further { allocations, bytes, blocks, flows, .. } = further;
    assert_eq!(flows, 0, "all flows were known");
    let bound = ALLOCATIONS_A_BLOCK * blocks + BUFFERS * options.workers as u64;
    assert!(allocations <= bound, "{allocations} allocations in {blocks} blocks");
    if options.workers == 1 {
        // With several, threads decide how many buffers of megabytes go round.
        let bound = (4 << 10) * blocks + (8 << 20);
        assert!(bytes <= bound, "{bytes} bytes in {blocks} blocks");
    }
    holds_locks(&further);
}

#[test]
fn packets_of_known_flows_allocate_and_lock_nothing() {
    for workers in [1, 2] {
        holds_for_known_flows(&RunOptions { workers, ..RunOptions::default() });
    }
}

#[test]
fn packets_of_known_flows_allocate_nothing_where_copies_are_dropped() {
    let dedup = Some(DedupSettings::new(DedupMode::Exact));
    for workers in [1, 2] {
        holds_for_known_flows(&RunOptions { workers, dedup, ..RunOptions::default() });
    }
}

/// The nth SYN of a flow of its own.
fn syn(n: u64, to_one: bool) -> Vec<u8> {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(20);
    let [a, b, c, d, high, low, e, f] = mixed.to_le_bytes();
    let dst = if to_one { B4 } else { [e | 1, f, d, b] };
    eth(
        0x0800,
        &ipv4(6, [a | 1, b, c, d], dst, &tcp(u16::from_le_bytes([high, low]), 80, SYN, &[])),
    )
}

/// A shard's tables of one second that grow with its packets: hosts, pairs,
/// ports. Twice the packets take each a step of growth further.
const STEPS_A_SECOND: u64 = 3;

#[track_caller]
fn holds_for_new_flows(seconds: u64, to_one: bool) {
    const PACKETS: u64 = 300_000;
    for workers in [1, 2] {
        let options = RunOptions { workers, ..RunOptions::default() };
        let further = further(PACKETS, seconds, &options, |n| syn(n, to_one));
        let Further { allocations, flows, .. } = further;
        assert!(flows > PACKETS * 99 / 100, "packets open flows: {flows}");
        let bound = PACKETS / 1_000 + STEPS_A_SECOND * seconds * workers as u64;
        assert!(allocations < bound, "{allocations} allocations, may be {bound}");
        holds_locks(&further);
    }
}

#[test]
fn a_flood_of_new_flows_allocates_less_than_once_in_1000_packets() {
    holds_for_new_flows(6, true);
}

/// SYNs that nobody answers end after 15 s.
#[test]
fn new_flows_while_others_end_allocate_less_than_once_in_1000_packets() {
    holds_for_new_flows(40, false);
}
