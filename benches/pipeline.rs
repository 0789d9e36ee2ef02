//! Packets a second through the whole pipeline: input, decode, flows, windows,
//! all detectors; records are counted and written nowhere. Captures are made
//! in memory, so that no disk and no page cache is measured.
//!
//! `two_workers` over `one_worker` is what a second core brings, and either over the same
//! with `_undetected` what detection costs.
#![expect(clippy::expect_used, reason = "a bench stops at its first error")]

use std::hint::black_box;
use std::io;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flowtap::engine::run::{RecordSink, RunOptions, run};
use flowtap::flow::FlowRecord;
use flowtap::input::{Input, InputOptions};
use flowtap::lab::synth::pcap::{PcapOptions, PcapWriter};
use flowtap::lab::synth::traffic::{self, Amount, Receive};

const PACKETS: u64 = 1_000_000;

struct Capture(PcapWriter<Vec<u8>>);

impl Receive for Capture {
    fn packet(&mut self, time_ns: i64, frame: &[u8], _: bool) -> io::Result<()> {
        self.0.write(time_ns, frame)
    }
}

fn capture(snap_length: u32, make: impl FnOnce(&mut dyn Receive) -> io::Result<()>) -> Vec<u8> {
    let options = PcapOptions { snap_length, ..PcapOptions::default() };
    let mut capture = Capture(PcapWriter::new(Vec::new(), options).expect("to memory"));
    make(&mut capture).expect("to memory");
    capture.0.finish().expect("to memory")
}

/// As `flowtap read` without `--out`: counts records.
struct Counted;

impl RecordSink for Counted {
    fn record(&mut self, _: FlowRecord) -> io::Result<()> {
        Ok(())
    }

    fn wants_records(&self) -> bool {
        false
    }
}

fn pipeline(criterion: &mut Criterion) {
    let amount =
        Amount { packets: PACKETS, flows: 100_000, seconds: 6.0, seed: 42, frame_bytes: None };
    let few = Amount { packets: PACKETS / 10, flows: 100, ..amount };
    let captures = [
        ("many_128", capture(128, |out| traffic::many_flows(amount, out)), amount),
        ("many", capture(262_144, |out| traffic::many_flows(amount, out)), amount),
        ("flood", capture(128, |out| traffic::flood(amount, out)), amount),
        ("elephants", capture(262_144, |out| traffic::elephants(few, out)), few),
    ];
    let mut group = criterion.benchmark_group("pipeline");
    group.sample_size(10);
    for (name, bytes, amount) in captures {
        group.throughput(Throughput::Elements(amount.packets));
        for (workers, detects, label) in [
            (1, true, "one_worker"),
            (1, false, "one_worker_undetected"),
            (2, true, "two_workers"),
            (2, false, "two_workers_undetected"),
        ] {
            let options = RunOptions { workers, detects, ..RunOptions::default() };
            group.bench_function(format!("{name}/{label}"), |bencher| {
                let input = || Input::from_bytes(vec![bytes.clone()], InputOptions::default());
                let read = |input| {
                    let report = run(input, &options, &mut Counted);
                    assert_eq!(report.accounting.total().packets, amount.packets);
                    black_box(report)
                };
                bencher.iter_batched(input, read, BatchSize::PerIteration);
            });
        }
    }
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
