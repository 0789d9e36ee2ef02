//! The bare limit: what this machine does when a capture is only walked,
//! parsed, and counted in one table.
//!
//! It has no expiry, no records, no windows and no detectors, and trusts its
//! input: a yardstick, not a tool. Each thread takes a range of the file and
//! fills its own table; the tables are merged at the end, inside the time
//! taken. Tables are allocated and touched before the clock starts.
//!
//! ```text
//! cargo run --release -p limit -- FILE [--threads N] [--flows N] [--clear-gap SECONDS]
//! ```
//!
//! Classic little-endian pcap with Ethernet frames only: what `tools/synth`
//! writes by default. `--flows` sizes the table (at most two thirds
//! full). `--clear-gap` empties the table, off the clock, when time stamps
//! jump further than that: for captures in which generations of flows follow
//! one another.
//!
//! `seconds` is wall time, `cpu_seconds` what the threads were on a core (from
//! the kernel's scheduler statistics): on a shared machine only the second
//! says much.
//!
//! No unsafe code: instead of a prefetch instruction, a batch of packets reads
//! the first word of each of its slots before any slot is updated. The loads
//! do not wait for one another, which is what a prefetch would be for. The
//! file is read by positioned reads into a small buffer that is used again.
#![expect(clippy::expect_used, reason = "a bench stops at its first error")]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use memmap2::{Advice, MmapMut};

/// Fits the second cache level with the table's hot lines beside it.
const BUFFER_BYTES: usize = 1 << 20;
/// As many loads as a core keeps in flight, roughly twice over.
const BATCH: usize = 32;
const FILE_HEADER_BYTES: u64 = 24;
const RECORD_HEADER_BYTES: usize = 16;
/// Plausible record headers in a row that make a record boundary certain.
const BOUNDARY_RECORDS: usize = 16;

fn main() {
    let arguments = Arguments::parse(std::env::args().skip(1));
    let file = File::open(&arguments.file).expect("a readable file");
    let size = file.metadata().expect("a regular file").len();
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, 0).expect("a file header");
    assert_eq!(u32::from_le_bytes(magic), 0xa1b2_c3d4, "not a little-endian pcap file");

    let threads = arguments.threads.max(1);
    assert!(threads == 1 || arguments.clear_gap.is_none(), "--clear-gap needs one thread");
    let mut bounds = vec![FILE_HEADER_BYTES];
    for part in 1..threads as u64 {
        bounds.push(record_boundary(&file, size, size * part / threads as u64));
    }
    bounds.push(size);
    let mut workers: Vec<Worker> =
        (0..threads).map(|_| Worker::new(arguments.flows, arguments.clear_gap)).collect();

    let start = Instant::now();
    let cpu_start = cpu_time();
    thread::scope(|scope| {
        for (worker, range) in workers.iter_mut().zip(bounds.windows(2)) {
            let file = &file;
            scope.spawn(move || worker.read(file, range[0], range[1]));
        }
    });
    let mut total = workers.swap_remove(0);
    for worker in workers {
        total.merge(&worker);
    }
    let seconds = (start.elapsed() - total.off_clock).as_secs_f64();
    let cpu_seconds = (total.cpu + cpu_time() - cpu_start).as_secs_f64();
    let packets = total.packets;
    println!(
        "{{\"packets\":{packets},\"flows\":{},\"one_way_flows\":{},\"other\":{},\"wire_bytes\":{},\
         \"threads\":{threads},\"seconds\":{seconds:.6},\"cpu_seconds\":{cpu_seconds:.6},\"ns_per_packet\":{:.2},\"mpps\":{:.3}}}",
        total.flows,
        total.one_way_flows + total.table.one_way_flows(),
        total.other,
        total.wire_bytes,
        seconds * 1e9 / packets.max(1) as f64,
        packets as f64 / seconds / 1e6,
    );
}

struct Arguments {
    file: PathBuf,
    threads: usize,
    flows: usize,
    clear_gap: Option<u32>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Self {
        let mut parsed =
            Self { file: PathBuf::new(), threads: 2, flows: 1_000_000, clear_gap: None };
        while let Some(word) = words.next() {
            let mut number = || {
                let value = words.next().and_then(|text| text.parse::<u32>().ok());
                value.unwrap_or_else(|| panic!("{word} needs a number"))
            };
            match word.as_str() {
                "--threads" => parsed.threads = number() as usize,
                "--flows" => parsed.flows = number() as usize,
                "--clear-gap" => parsed.clear_gap = Some(number()),
                _ => parsed.file = word.into(),
            }
        }
        parsed
    }
}

struct Worker {
    table: Table,
    batch: [Packet; BATCH],
    filled: usize,
    packets: u64,
    wire_bytes: u64,
    /// Packets that are not IPv4.
    other: u64,
    flows: u64,
    /// Of tables that were emptied.
    one_way_flows: u64,
    clear_gap_s: u32,
    last_s: u32,
    off_clock: Duration,
    cpu_off_clock: Duration,
    /// Time on a core, without what was off the clock.
    cpu: Duration,
}

impl Worker {
    fn new(flows: usize, clear_gap: Option<u32>) -> Self {
        Self {
            table: Table::new(flows),
            batch: [Packet::default(); BATCH],
            filled: 0,
            packets: 0,
            wire_bytes: 0,
            other: 0,
            flows: 0,
            one_way_flows: 0,
            clear_gap_s: clear_gap.unwrap_or(u32::MAX),
            last_s: u32::MAX,
            off_clock: Duration::ZERO,
            cpu_off_clock: Duration::ZERO,
            cpu: Duration::ZERO,
        }
    }

    fn read(&mut self, file: &File, mut offset: u64, end: u64) {
        let start = cpu_time();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut kept = 0;
        while offset < end {
            let wanted = (buffer.len() - kept).min((end - offset) as usize);
            let got = file.read_at(&mut buffer[kept..kept + wanted], offset).expect("a read");
            if got == 0 {
                break;
            }
            offset += got as u64;
            let filled = kept + got;
            let walked = self.walk(&buffer[..filled]);
            buffer.copy_within(walked..filled, 0);
            kept = filled - walked;
            if kept == buffer.len() {
                buffer.resize(2 * buffer.len(), 0);
            }
        }
        self.update();
        self.cpu = cpu_time() - start - self.cpu_off_clock;
    }

    /// Takes whole records; returns how many bytes they were.
    fn walk(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(record) = bytes.get(at..)
            && let Some((header, rest)) = record.split_first_chunk::<RECORD_HEADER_BYTES>()
        {
            let captured = le32(header, 8) as usize;
            let Some(frame) = rest.get(..captured) else { break };
            at += RECORD_HEADER_BYTES + captured;
            let seconds = le32(header, 0);
            if seconds.saturating_sub(self.last_s) > self.clear_gap_s {
                self.clear();
            }
            self.last_s = seconds;
            self.packets += 1;
            let wire_bytes = le32(header, 12);
            self.wire_bytes += u64::from(wire_bytes);
            let time_us = u64::from(seconds) * 1_000_000 + u64::from(le32(header, 4));
            match parse(frame, time_us, wire_bytes) {
                Some(packet) => {
                    self.batch[self.filled] = packet;
                    self.filled += 1;
                    if self.filled == BATCH {
                        self.update();
                    }
                }
                None => self.other += 1,
            }
        }
        at
    }

    fn update(&mut self) {
        let batch = &self.batch[..self.filled];
        let mut touched = 0;
        for packet in batch {
            touched ^= self.table.touch(packet.hash);
        }
        black_box(touched);
        for packet in batch {
            self.flows += u64::from(self.table.count(packet));
        }
        self.filled = 0;
    }

    fn clear(&mut self) {
        self.update();
        let (start, cpu_start) = (Instant::now(), cpu_time());
        self.one_way_flows += self.table.one_way_flows();
        self.table.bytes.fill(0);
        self.off_clock += start.elapsed();
        self.cpu_off_clock += cpu_time() - cpu_start;
    }

    fn merge(&mut self, other: &Self) {
        self.packets += other.packets;
        self.wire_bytes += other.wire_bytes;
        self.other += other.other;
        self.cpu += other.cpu;
        for slot in other.table.bytes.as_chunks().0 {
            self.flows += u64::from(self.table.merge(slot));
        }
    }
}

/// What one packet adds to its flow.
#[derive(Clone, Copy, Default)]
struct Packet {
    /// Lower and higher endpoint: address, port; the protocol is in `low`.
    low: u64,
    high: u64,
    hash: u64,
    time_us: u64,
    wire_bytes: u32,
    payload_bytes: u32,
    /// From the higher endpoint to the lower.
    backward: bool,
}

/// Ethernet and IPv4, with the ports of TCP and UDP and the identifier of an
/// ICMP echo.
#[inline(always)]
fn parse(frame: &[u8], time_us: u64, wire_bytes: u32) -> Option<Packet> {
    let head = frame.first_chunk::<34>()?;
    if head[12] != 8 || head[13] != 0 {
        return None;
    }
    let header_bytes = 4 * u32::from(head[14] & 15);
    let total_bytes = u32::from(be16(head, 16));
    let proto = head[23];
    let first_fragment = be16(head, 20) & 0x1fff == 0;
    let mut ports = (0, 0);
    let mut transport_bytes = 0;
    if first_fragment
        && let Some(transport) = frame.get(14 + header_bytes as usize..)
        && let Some(start) = transport.first_chunk::<8>()
    {
        (ports, transport_bytes) = match proto {
            6 => {
                let words = transport.get(12).map_or(5, |byte| u32::from(byte >> 4));
                ((be16(start, 0), be16(start, 2)), 4 * words)
            }
            17 => ((be16(start, 0), be16(start, 2)), 8),
            1 => ((be16(start, 4), be16(start, 4)), 8),
            _ => ((0, 0), 0),
        };
    }
    let end = |at, port| u64::from(le32(head, at)) << 16 | u64::from(port);
    let (source, destination) = (end(26, ports.0), end(30, ports.1));
    let backward = source > destination;
    let (low, high) = if backward { (destination, source) } else { (source, destination) };
    let low = low | u64::from(proto) << 48;
    // The top bit tells a slot in use from an empty one.
    let high = high | 1 << 63;
    Some(Packet {
        low,
        high,
        hash: hash(low, high),
        time_us,
        wire_bytes,
        payload_bytes: total_bytes.saturating_sub(header_bytes + transport_bytes),
        backward,
    })
}

/// Two rounds of multiply and fold. The multipliers are the fractions of the
/// square roots of 2, 3 and 5: any odd numbers without a pattern would do.
fn hash(low: u64, high: u64) -> u64 {
    let first = folded(low ^ 0x6a09_e667_f3bc_c909, high ^ 0xbb67_ae85_84ca_a73b);
    folded(first, 0x3c6e_f372_fe94_f82b)
}

fn folded(x: u64, y: u64) -> u64 {
    let product = u128::from(x) * u128::from(y);
    product as u64 ^ (product >> 64) as u64
}

/// Time that this thread was on a core: 0 where the kernel keeps no statistics.
fn cpu_time() -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = statistics.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

type Slot = [u8; 64];

/// Open addressing with linear probing; a slot is a cache line, in huge pages
/// where the kernel gives them. Words of a slot: low key, high key, packets of
/// both directions (32 bits each), bytes forward, bytes backward, first and
/// last time stamp, payload bytes of both directions (32 bits each).
struct Table {
    bytes: MmapMut,
    mask: usize,
}

impl Table {
    fn new(flows: usize) -> Self {
        // At most two thirds full.
        let slots = (flows + flows / 2).next_power_of_two().max(64);
        let mut bytes = MmapMut::map_anon(slots * size_of::<Slot>()).expect("memory for the table");
        // Small pages where huge ones are turned off: slower, and still right.
        let _ = bytes.advise(Advice::HugePage);
        bytes.fill(0);
        Self { bytes, mask: slots - 1 }
    }

    #[inline(always)]
    fn touch(&self, hash: u64) -> u64 {
        word(&self.bytes.as_chunks::<64>().0[hash as usize & self.mask], 1)
    }

    /// True when the flow is new.
    #[inline(always)]
    fn count(&mut self, packet: &Packet) -> bool {
        let (slot, new) = self.find(packet.low, packet.high, packet.hash);
        if new {
            put(slot, 5, packet.time_us);
        }
        let side = u64::from(packet.backward);
        let bytes = 3 + side as usize;
        put(slot, 2, word(slot, 2).wrapping_add(1 << (32 * side)));
        put(slot, bytes, word(slot, bytes).wrapping_add(u64::from(packet.wire_bytes)));
        put(slot, 6, packet.time_us);
        let payload_bytes = u64::from(packet.payload_bytes) << (32 * side);
        put(slot, 7, word(slot, 7).wrapping_add(payload_bytes));
        new
    }

    /// Adds another table's slot. True when the flow is new to this table.
    fn merge(&mut self, other: &Slot) -> bool {
        let (low, high) = (word(other, 0), word(other, 1));
        if high == 0 {
            return false;
        }
        let (slot, new) = self.find(low, high, hash(low, high));
        if new {
            put(slot, 5, word(other, 5));
        }
        for at in [2, 3, 4, 7] {
            put(slot, at, word(slot, at).wrapping_add(word(other, at)));
        }
        put(slot, 6, word(other, 6));
        new
    }

    #[inline(always)]
    fn find(&mut self, low: u64, high: u64, hash: u64) -> (&mut Slot, bool) {
        let slots = self.bytes.as_chunks_mut::<64>().0;
        let mut at = hash as usize & self.mask;
        // `--flows` was too small for the capture when no slot is free.
        for _ in 0..=self.mask {
            let slot = &slots[at];
            if word(slot, 0) == low && word(slot, 1) == high {
                return (&mut slots[at], false);
            }
            if word(slot, 1) == 0 {
                let slot = &mut slots[at];
                put(slot, 0, low);
                put(slot, 1, high);
                return (slot, true);
            }
            at = (at + 1) & self.mask;
        }
        panic!("the table is full: give --flows the number of flows in the capture");
    }

    fn one_way_flows(&self) -> u64 {
        let directions = |slot: &Slot| {
            let packets = word(slot, 2);
            u64::from(packets as u32 > 0) + u64::from(packets >> 32 > 0)
        };
        self.bytes.as_chunks::<64>().0.iter().map(directions).sum()
    }
}

#[inline(always)]
fn word(slot: &Slot, at: usize) -> u64 {
    u64::from_le_bytes(slot.as_chunks().0[at])
}

#[inline(always)]
fn put(slot: &mut Slot, at: usize, value: u64) {
    slot.as_chunks_mut().0[at] = value.to_le_bytes();
}

#[inline(always)]
fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline(always)]
fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The first record at or after `offset`: where many plausible headers follow
/// one another.
fn record_boundary(file: &File, size: u64, offset: u64) -> u64 {
    const LARGEST_RECORD_BYTES: usize = 262_144;
    let offset = offset.max(FILE_HEADER_BYTES);
    let mut window = vec![0; BUFFER_BYTES.max(2 * BOUNDARY_RECORDS * LARGEST_RECORD_BYTES)];
    let mut first = [0; RECORD_HEADER_BYTES];
    file.read_exact_at(&mut first, FILE_HEADER_BYTES).expect("a first record");
    let start_s = le32(&first, 0);
    let got = file.read_at(&mut window, offset).expect("a read");
    let window = &window[..got];
    let plausible = |at: usize| {
        let header = window.get(at..at + RECORD_HEADER_BYTES)?;
        let captured = le32(header, 8) as usize;
        let sound = le32(header, 0).wrapping_sub(start_s) < 30 * 86_400
            && le32(header, 4) < 1_000_000
            && (14..=LARGEST_RECORD_BYTES).contains(&captured)
            && captured <= le32(header, 12) as usize;
        sound.then_some(at + RECORD_HEADER_BYTES + captured)
    };
    let is_boundary = |&at: &usize| {
        let mut next = at;
        for _ in 0..BOUNDARY_RECORDS {
            match plausible(next) {
                Some(after) => next = after,
                None => return false,
            }
        }
        true
    };
    (0..got).find(is_boundary).map_or(size, |at| offset + at as u64)
}
