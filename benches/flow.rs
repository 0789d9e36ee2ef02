//! What the steps of the flow table cost: hash of a key, packet of a known flow,
//! packet of a new one, expiry, payload sizes; with few flows, which the caches
//! hold, and with a million.
//!
//! Packets go through a shard in blocks, as in a run, but feed no window.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flowtap::engine::bench::Flows;
use flowtap::flow::settings::Wanted;
use flowtap::flow::sizes::{Sizes, bin_of};
use flowtap::flow::{TableSettings, Timeouts};
use flowtap::input::Frame;
use flowtap::packet::key::mapped;
use flowtap::packet::{Facts, LinkType, PacketRow, row_flag};

const FLOWS: [(u64, &str); 2] = [(1_000, "1k"), (1_000_000, "1M")];

/// Packets of a block of the input.
const BLOCK: usize = 8_192;

/// Well behind the idle time of all flows.
const ALL_OVER_S: i64 = 1_000;

fn mixed(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A packet of each flow, in blocks, the flows in an order of their own.
fn packets(flows: u64, forward: bool, order: impl Fn(u64) -> u64) -> Vec<Vec<PacketRow>> {
    let frame = Frame {
        time_ns: 1_000_000_000,
        offset: 0,
        captured_bytes: 60,
        wire_bytes: 160,
        link: LinkType::ETHERNET,
        interface: 0,
        flags: 0,
    };
    let state = Flows::hash_state();
    let mut rows: Vec<(u64, PacketRow)> = (0..flows)
        .map(|n| {
            let mut facts = Facts { forward, ..Facts::default() };
            facts.payload_bytes = 100;
            facts.key.proto = 17;
            (facts.key.port_a, facts.key.port_b) = (4_000, 40_001);
            facts.key.a = mapped((n as u32).to_be_bytes());
            facts.key.b = mapped([198, 51, 100, 2]);
            let hash = facts.key.hash(&state);
            let mut row = *facts.row_of(&frame, hash, 0, frame.time_ns);
            row.flags |= row_flag::FLOW_ONLY;
            (order(n), row)
        })
        .collect();
    rows.sort_unstable_by_key(|&(place, _)| place);
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    rows.chunks(BLOCK).map(<[_]>::to_vec).collect()
}

fn table() -> Flows {
    let timeouts = Timeouts::default();
    Flows::new(TableSettings {
        timeouts,
        max_flows: 2_000_000,
        lateness_ns: 0,
        wanted: Wanted::Counts,
        names: false,
    })
}

fn filled(blocks: &mut [Vec<PacketRow>]) -> Flows {
    let mut flows = table();
    blocks.iter_mut().for_each(|block| flows.take(block));
    flows
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flow");
    group.sample_size(10);
    let state = Flows::hash_state();
    for (count, name) in FLOWS {
        group.throughput(Throughput::Elements(count));
        let mut first = packets(count, true, |n| n);
        // In another order than that in which the table laid them down.
        let mut further = packets(count, false, mixed);
        group.bench_function(format!("hash/{name}"), |bencher| {
            bencher.iter(|| {
                let keys = further.iter().flatten().map(|row| &row.key);
                keys.fold(0, |all, key| all ^ key.hash(&state))
            });
        });
        let mut flows = filled(&mut first);
        further.iter_mut().for_each(|block| flows.take(block));
        group.bench_function(format!("table_hit/{name}"), |bencher| {
            bencher.iter(|| further.iter_mut().for_each(|block| flows.take(block)));
        });
        let (ended, counters) = flows.counters();
        assert_eq!((ended, counters.conversations), (0, count), "every packet was of a known flow");
        group.bench_function(format!("table_miss/{name}"), |bencher| {
            let miss = |mut flows: Flows| {
                further.iter_mut().for_each(|block| flows.take(block));
                flows
            };
            bencher.iter_batched(table, miss, BatchSize::PerIteration);
        });
        group.bench_function(format!("expiry/{name}"), |bencher| {
            let expire = |mut flows: Flows| {
                flows.close(ALL_OVER_S);
                flows
            };
            bencher.iter_batched(|| filled(&mut first), expire, BatchSize::PerIteration);
        });
        let mut flows = filled(&mut first);
        flows.close(ALL_OVER_S);
        assert_eq!(flows.counters().0, count, "every flow was over");
    }
    group.finish();
}

fn histogram(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("histogram");
    let sizes: Vec<u32> = (0..BLOCK as u64).map(|n| (mixed(n) >> 40) as u32 % 1_461).collect();
    group.throughput(Throughput::Elements(sizes.len() as u64));
    group.bench_function("bin_of", |bencher| {
        bencher.iter(|| sizes.iter().fold(0, |all, &bytes| all + bin_of(black_box(bytes))));
    });
    group.bench_function("record", |bencher| {
        let mut all = Sizes::default();
        bencher.iter(|| sizes.iter().for_each(|&bytes| all.record(black_box(bytes), 1)));
    });
    group.finish();
}

criterion_group!(benches, steps, histogram);
criterion_main!(benches);
