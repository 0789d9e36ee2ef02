//! What a packet costs its shard's log, what a row costs the assembly, what a
//! delta costs the tables, and what a window costs detection.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flowtap::detect::{DetectSettings, Detection, Interest, Telemetry};
use flowtap::engine::feed::WindowFeed;
use flowtap::engine::window::{
    Assembler, ChunkPool, Delta, Host, RowRef, Seed, Slice, WindowSettings, size_bin,
};
use flowtap::input::Frame;
use flowtap::packet::row_flag;
use flowtap::packet::{Facts, LinkType, PacketClass, PacketRow};

const DELTAS: u64 = 50_000;

fn host(n: u64) -> Host {
    IpAddr::from(Ipv4Addr::from_bits(Seed::default().mix(n, 1) as u32)).into()
}

fn deltas(sources: u64, destinations: u64) -> Vec<Delta> {
    (0..DELTAS)
        .map(|n| {
            let (src, dst) = (host(n * 7 % sources), host((1 << 40) + n % destinations));
            let mut delta = Delta::new(src, dst, 17, n as u16, 443);
            delta.classes[PacketClass::Udp as usize] = 4;
            delta.sizes[size_bin(900)] = 4;
            (delta.wire_bytes, delta.payload_bytes) = (3_768, 3_600);
            delta
        })
        .collect()
}

fn windows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("window");
    for (name, sources, destinations) in
        [("few hosts", 20, 50), ("5,000 hosts", 5_000, 5_000), ("spoofed sources", DELTAS, 1)]
    {
        let deltas = deltas(sources, destinations);
        let fill = || {
            let mut slice = Slice::new(0, &WindowSettings::default());
            for delta in &deltas {
                slice.add(delta);
            }
            slice
        };
        group.throughput(Throughput::Elements(DELTAS));
        group.bench_function(format!("add, {name}"), |bencher| bencher.iter(fill));
        let slice = fill();
        group.bench_function(format!("merge, {name}"), |bencher| {
            bencher.iter(|| {
                let mut merged = Slice::new(0, &WindowSettings::default());
                merged.merge(slice.clone());
                merged
            });
        });
        group.bench_function(format!("detect, {name}"), |bencher| {
            bencher.iter(|| {
                let mut detection = Detection::new(DetectSettings::default());
                detection.observe(black_box(&slice), &Telemetry::default());
                detection.finish()
            });
        });
    }
    group.finish();
}

const PACKETS: u64 = 200_000;

/// Packets of one second, `flow_packets` to a flow: to one victim, or between
/// all sorts of hosts.
fn packets(flow_packets: u64, victim: bool) -> Vec<PacketRow> {
    let frame = Frame {
        time_ns: 0,
        offset: 0,
        captured_bytes: 60,
        wire_bytes: 60,
        link: LinkType::ETHERNET,
        interface: 0,
        flags: 0,
    };
    (0..PACKETS)
        .map(|n| {
            // Packets of one flow are far apart.
            let flow = n % (PACKETS / flow_packets);
            let mut facts = Facts::default();
            facts.key.proto = 17;
            (facts.key.port_a, facts.key.port_b) = (flow as u16, 443);
            facts.key.a = host(flow * 2).address;
            facts.key.b = host(if victim { 1 } else { flow * 2 + 1 }).address;
            // Data: nothing that a scan could be.
            facts.class = if victim { PacketClass::Udp } else { PacketClass::TcpData };
            facts.forward = victim || (n / (PACKETS / flow_packets)).is_multiple_of(2);
            let mut row = *facts.row_of(&frame, 0, n as u16, 0);
            row.flags |= row_flag::HAS_MAC;
            row
        })
        .collect()
}

fn feed(feed: &mut WindowFeed, rows: &mut [RowRef], packets: &[PacketRow], singles: bool) {
    for (packet, at) in packets.iter().zip((0..rows.len()).cycle()) {
        if singles {
            feed.packet(packet);
        } else {
            feed.live_packet(&mut rows[at], packet);
        }
    }
}

fn logs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log");
    for (name, flow_packets, victim) in [
        ("flood, a packet a flow", 1, true),
        ("ordinary, a packet a flow", 1, false),
        ("ordinary, 8 packets a flow", 8, false),
    ] {
        let settings = WindowSettings::default();
        let pool = Arc::new(ChunkPool::default());
        let packets = packets(flow_packets, victim);
        let singles = flow_packets == 1;
        let flows = (PACKETS / flow_packets) as usize;
        group.throughput(Throughput::Elements(PACKETS));
        group.bench_function(format!("write, {name}"), |bencher| {
            bencher.iter(|| {
                let mut shard = WindowFeed::new(settings, Arc::clone(&pool));
                feed(&mut shard, &mut vec![RowRef::default(); flows], &packets, singles);
                shard.close_next(i64::MAX)
            });
        });
        group.throughput(Throughput::Elements(flows as u64));
        let interest = Interest::of(&DetectSettings::default());
        let mut assembler = Assembler::new(settings, interest, Arc::clone(&pool));
        group.bench_function(format!("assemble, {name}"), |bencher| {
            bencher.iter_batched(
                || {
                    let mut shard = WindowFeed::new(settings, Arc::clone(&pool));
                    feed(&mut shard, &mut vec![RowRef::default(); flows], &packets, singles);
                    shard.close_next(i64::MAX)
                },
                |window| {
                    let Some(window) = window else { return };
                    let second = assembler.assemble(window.slice, vec![window.log], false, false);
                    assembler.recycle(second);
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, windows, logs);
criterion_main!(benches);
