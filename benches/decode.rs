//! Decoding by shape of frame, and hashing the key that comes out.

#[path = "../tests/common/frames.rs"]
mod frames;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowtap::packet::{Decoder, Facts, LinkType, Verdict};
use frames::*;

/// So many frames that branch prediction does not learn one by heart.
const FRAMES: u16 = 1024;

/// A name and what makes the nth frame.
type Shape = (&'static str, fn(u16) -> Vec<u8>);

fn decode_by_shape(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(u64::from(FRAMES)));
    let shapes: [Shape; 6] = [
        ("v4_tcp", |n| eth(0x0800, &v4_tcp(n))),
        ("v6_udp", |n| eth(0x86dd, &ipv6(17, A6, B6, &udp(1024 + n, 53, &[0; 40])))),
        ("vlan_v4_tcp", |n| eth(0x8100, &tag(10, 0x0800, &v4_tcp(n)))),
        ("v4_options", |n| eth(0x0800, &with_options(v4_tcp(n)))),
        ("vxlan", |n| {
            let inner = eth(0x0800, &v4_tcp(n));
            eth(0x0800, &ipv4(17, A4, B4, &udp(49_152 + n, 4789, &vxlan(9, &inner))))
        }),
        ("gre", |n| eth(0x0800, &ipv4(47, A4, B4, &gre(0, 0, 0x0800, &[], &v4_tcp(n))))),
    ];
    for (name, make) in shapes {
        let frames: Vec<Vec<u8>> = (0..FRAMES).map(make).collect();
        let decoder = Decoder::default();
        let mut facts = Facts::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for frame in &frames {
                    let verdict =
                        decoder.decode(LinkType::ETHERNET, frame, frame.len() as u32, &mut facts);
                    debug_assert_eq!(verdict, Verdict::Flow);
                    black_box((verdict, &facts));
                }
            });
        });
    }
    group.finish();
}

fn hash_keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("key_hash");
    group.throughput(Throughput::Elements(u64::from(FRAMES)));
    let state = ahash::RandomState::with_seeds(1, 2, 3, 4);
    let shapes: [Shape; 2] = [
        ("v4", |n| eth(0x0800, &v4_tcp(n))),
        ("v6", |n| eth(0x86dd, &ipv6(17, A6, B6, &udp(n, 53, b"")))),
    ];
    for (name, make) in shapes {
        let mut facts = Facts::default();
        let keys: Vec<_> = (0..FRAMES)
            .map(|n| {
                let frame = make(n);
                let wire_bytes = frame.len() as u32;
                Decoder::default().decode(LinkType::ETHERNET, &frame, wire_bytes, &mut facts);
                facts.key
            })
            .collect();
        group.bench_function(name, |bencher| {
            bencher.iter(|| keys.iter().fold(0, |all, key| all ^ key.hash(&state)));
        });
        group.bench_function(format!("{name}_field_by_field"), |bencher| {
            bencher.iter(|| keys.iter().fold(0, |all, key| all ^ state.hash_one(key)));
        });
    }
    group.finish();
}

fn v4_tcp(n: u16) -> Vec<u8> {
    let [high, low] = n.to_be_bytes();
    ipv4(6, [10, 1, high, low], B4, &tcp(1024 + n, 443, ACK, &[0; 40]))
}

/// Four bytes of options put into an IPv4 packet.
fn with_options(packet: Vec<u8>) -> Vec<u8> {
    let (header, payload) = packet.split_at(20);
    let mut packet = [header, &[1, 1, 1, 0], payload].concat();
    packet[0] = 0x46;
    let total = packet.len() as u16;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet
}

criterion_group!(benches, decode_by_shape, hash_keys);
criterion_main!(benches);
