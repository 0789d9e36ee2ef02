//! The serial stage: frames indexed a second, by format and way of reading.

#![expect(clippy::expect_used, reason = "a bench that can't be set up has to stop")]

use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowtap::input::{BlockBytes, Input, InputOptions, Mapping};

const PACKETS: u32 = 1_000_000;
/// Packets cut to 64 bytes: records of 80 bytes, the serial stage at its worst.
const CAPTURED: u32 = 64;

fn pcap() -> Vec<u8> {
    let mut out = Vec::with_capacity(24 + PACKETS as usize * 80);
    out.extend(0xa1b2_c3d4_u32.to_le_bytes());
    out.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 96, 0, 0, 0, 1, 0, 0, 0]);
    for i in 0..PACKETS {
        for field in [1_700_000_000 + i / 100_000, i % 100_000 * 10, CAPTURED, 1_000] {
            out.extend(field.to_le_bytes());
        }
        out.extend([i as u8; CAPTURED as usize]);
    }
    out
}

fn pcapng() -> Vec<u8> {
    let mut out = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        out.extend(kind.to_le_bytes());
        out.extend((body.len() as u32 + 12).to_le_bytes());
        out.extend(body);
        out.extend((body.len() as u32 + 12).to_le_bytes());
    };
    block(0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat());
    block(1, &[1, 0, 0, 0, 0, 0, 0, 0]);
    for i in 0..PACKETS {
        let micros = 1_700_000_000_000_000 + u64::from(i) * 10;
        let mut body = vec![0; 4];
        for field in [(micros >> 32) as u32, micros as u32, CAPTURED, 1_000] {
            body.extend(field.to_le_bytes());
        }
        body.resize(20 + CAPTURED as usize, i as u8);
        block(6, &body);
    }
    out
}

fn walk(paths: &[PathBuf], mapping: Mapping) -> u64 {
    let options = InputOptions { mapping, ..InputOptions::default() };
    let Ok(mut input) = Input::open(paths, options) else { return 0 };
    while let Some(block) = input.next_block() {
        black_box(&block.frames);
        match block.bytes {
            BlockBytes::Owned(bytes) => input.recycle(bytes, block.frames),
            BlockBytes::Mapped { .. } => input.recycle(Vec::new(), block.frames),
        }
    }
    input.counters().frames
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("written");
    path
}

fn input(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = pcap();
    let pcap_path = write(folder.path(), "a.pcap", &plain);
    let pcapng_path = write(folder.path(), "a.pcapng", &pcapng());
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.write_all(&plain).expect("to memory");
    let zstd_path = write(folder.path(), "a.pcap.zst", &encoder.finish().expect("to memory"));
    let (first, second) = plain[24..].split_at(plain.len() / 2 / 80 * 80);
    let halves = [("1.pcap", first), ("2.pcap", second)]
        .map(|(name, records)| write(folder.path(), name, &[&plain[..24], records].concat()));

    let mut group = criterion.benchmark_group("input");
    group.throughput(Throughput::Elements(u64::from(PACKETS))).sample_size(10);
    for (name, paths, mapping) in [
        ("pcap_mapped", vec![pcap_path.clone()], Mapping::Always),
        ("pcap_read", vec![pcap_path.clone()], Mapping::Never),
        ("pcapng_mapped", vec![pcapng_path.clone()], Mapping::Always),
        ("pcapng_read", vec![pcapng_path], Mapping::Never),
        ("pcap_zstd", vec![zstd_path], Mapping::Auto),
        ("ring_of_two", halves.to_vec(), Mapping::Always),
        ("two_interleaved", vec![pcap_path.clone(), pcap_path], Mapping::Always),
    ] {
        let expected = u64::from(PACKETS) * if name == "two_interleaved" { 2 } else { 1 };
        assert_eq!(walk(&paths, mapping), expected);
        group.bench_function(name, |b| b.iter(|| walk(&paths, mapping)));
    }
    group.finish();
}

criterion_group!(benches, input);
criterion_main!(benches);
