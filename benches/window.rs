//! What a flow's second costs a window, and what a window costs detection.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowtap::detect::{DetectSettings, Detection, Telemetry};
use flowtap::engine::window::{Delta, Host, Seed, Slice, WindowSettings, size_bin};
use flowtap::packet::PacketClass;

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

criterion_group!(benches, windows);
criterion_main!(benches);
