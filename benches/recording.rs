//! A recording's cost on the packet path, and how much it takes to page cache.

#![expect(clippy::expect_used, reason = "a bench that can't be set up has to stop")]

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowtap::input::{Block, BlockBytes, Frame, Interface};
use flowtap::output::recording::{Recording, RecordingSettings};
use flowtap::packet::LinkType;

const PACKETS: usize = 8_192;
/// Bytes that wait for the disk at most: well within the queue.
const BYTES_AHEAD: usize = 16 << 20;

fn block(captured_bytes: usize) -> Block {
    let frame = |at: usize| Frame {
        time_ns: 1_700_000_000_000_000_000,
        offset: (at * captured_bytes) as u32,
        captured_bytes: captured_bytes as u32,
        wire_bytes: 1_500,
        link: LinkType::ETHERNET,
        interface: 0,
        flags: 0,
    };
    Block {
        sequence: 0,
        first_frame: 0,
        bytes: BlockBytes::Owned(vec![7; captured_bytes * PACKETS]),
        frames: (0..PACKETS).map(frame).collect(),
        closed_before_s: 0,
        latest_ns: 1_700_000_000_000_000_000,
        shed: flowtap::input::Shed::Nothing,
    }
}

fn interface() -> [Interface; 1] {
    [Interface {
        file: 0,
        section: 0,
        position: 0,
        name: "eth0".to_owned(),
        description: String::new(),
        link: LinkType::ETHERNET,
        snaplen_bytes: 0,
        tsresol: 9,
        fcs_bytes: None,
        sensor: String::new(),
        clock_synchronised: None,
    }]
}

/// Time of the packet path alone, and of everything until it is on disk.
fn record(block: &Block, blocks: u64) -> (Duration, Duration) {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = RecordingSettings::new(dir.path(), 256 << 20);
    let (recording, mut tap) = Recording::start(&settings).expect("a folder");
    let captured_bytes = block.bytes.all().len();
    let ahead = (BYTES_AHEAD / captured_bytes).max(1) * PACKETS;
    let mut on_path = Duration::ZERO;
    let started = Instant::now();
    for number in 0..blocks {
        while recording.counters().packets + (ahead as u64) < number * PACKETS as u64 {
            std::thread::yield_now();
        }
        let begun = Instant::now();
        tap.block(block, &interface());
        on_path += begun.elapsed();
    }
    drop(tap);
    assert_eq!(recording.finish().0.lost_packets, 0);
    (on_path, started.elapsed())
}

fn recording(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recording");
    group.throughput(Throughput::Elements(PACKETS as u64)).sample_size(10);
    for captured_bytes in [64, 128, 1_500] {
        let block = block(captured_bytes);
        group.bench_function(format!("packet path, {captured_bytes} B"), |bencher| {
            bencher.iter_custom(|blocks| record(&block, blocks).0);
        });
        group.bench_function(format!("to page cache, {captured_bytes} B"), |bencher| {
            bencher.iter_custom(|blocks| record(&block, blocks).1);
        });
    }
    group.finish();
}

criterion_group!(benches, recording);
criterion_main!(benches);
