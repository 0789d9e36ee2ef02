//! Logs and exports to observations: bytes a second through framing and decoder, or
//! records a second out of datagrams, one core.
//!
//! Lines are made from the kinds' own samples with addresses, ports and times that
//! change, so that nothing is the same line twice; datagrams have the fields that
//! softflowd sends, about as many to a datagram as an Ethernet frame takes.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowtap::telemetry::decode::{Context, Out};
use flowtap::telemetry::framing::{Next, Records};
use flowtap::telemetry::kind::named;

/// Enough that caches are cold and a round takes some milliseconds.
const RECORDS: u64 = 20_000;

fn vpc() -> Vec<u8> {
    (0..RECORDS)
        .map(|n| {
            let end = 1_760_000_000 + n / 100;
            format!(
                "2 111122223333 eni-0a1b2c3d{:02x} 10.0.{}.{} 203.0.113.{} {} {} {} {} {} {} {end} ACCEPT OK\n",
                n % 40,
                n % 16,
                n % 250,
                n * 7 % 250,
                1024 + n * 31 % 60_000,
                [53, 443, 80, 123][n as usize % 4],
                [17, 6, 6, 17][n as usize % 4],
                n % 900 + 1,
                n * 1337 % 900_000 + 40,
                end - 58,
            )
        })
        .collect::<String>()
        .into_bytes()
}

fn alb() -> Vec<u8> {
    (0..RECORDS)
        .map(|n| {
            format!(
                "https 2026-03-01T10:{:02}:{:02}.{:06}Z app/shop/0a1b2c3d4e5f6071 198.51.100.{}:{} 10.0.3.{}:8080 \
                 0.001 0.012 0.000 {} 200 {} {} \"GET https://shop.example:443/item?id={n}&q=a%20b HTTP/1.1\" \
                 \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 \
                 arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop/01 \"Root=1-{n:x}-0\" \
                 \"shop.example\" \"arn:aws:acm:eu-west-1:111122223333:certificate/a\" 3 \
                 2026-03-01T10:15:02.101000Z \"forward\" \"-\" \"-\" \"10.0.3.21:8080\" \"200\" \"-\" \"-\" TID_{n:x}\n",
                n / 60 % 60,
                n % 60,
                n * 37 % 1_000_000,
                n % 250,
                1024 + n * 31 % 60_000,
                n % 8,
                [200, 304, 404, 500][n as usize % 4],
                n % 900 + 100,
                n * 1337 % 90_000,
            )
        })
        .collect::<String>()
        .into_bytes()
}

fn combined() -> Vec<u8> {
    (0..RECORDS)
        .map(|n| {
            format!(
                "198.51.100.{} - - [01/Mar/2026:10:{:02}:{:02} +0000] \"GET /item?id={n} HTTP/1.1\" {} {} \
                 \"https://shop.example/\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\"\n",
                n % 250,
                n / 60 % 60,
                n % 60,
                [200, 304, 404, 500][n as usize % 4],
                n * 1337 % 90_000,
            )
        })
        .collect::<String>()
        .into_bytes()
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("telemetry");
    group.measurement_time(Duration::from_secs(3)).sample_size(20);
    let logs = [("aws-vpc", vpc()), ("aws-alb", alb()), ("combined", combined())];
    for (name, log) in logs {
        let Some(kind) = named(name) else { continue };
        group.throughput(Throughput::Bytes(log.len() as u64));
        group.bench_function(name, |bencher| {
            let context = Context::default();
            bencher.iter(|| {
                let Ok(mut decoder) = (kind.decoder)(&context) else { return 0 };
                let mut records = Records::new(&log[..], kind.framing);
                let mut out = Out::default();
                let mut observed = 0;
                while let Ok(Next::Record(record)) = records.next_record() {
                    let _ = decoder.record(record, &mut out);
                    // As a source does: handed on in chunks.
                    if out.observations.len() >= 256 {
                        observed += black_box(std::mem::take(&mut out.observations)).len();
                    }
                }
                decoder.end(&mut out);
                observed += out.observations.len();
                assert_eq!(observed as u64, RECORDS, "every record is one observation");
                observed
            });
        });
    }
    group.finish();
}

/// Records of a datagram.
const A_DATAGRAM: u32 = 28;
const EXPORTED_S: u32 = 1_760_000_000;

/// What an exporter tells of one flow, in every format's own order and width.
struct Exported {
    source: [u8; 4],
    destination: [u8; 4],
    ports: [u16; 2],
    packets: u32,
    bytes: u32,
    first_ms: u32,
    last_ms: u32,
    protocol: u8,
}

impl Exported {
    fn of(n: u32) -> Self {
        Self {
            source: [10, 0, (n % 16) as u8, (n % 250) as u8],
            destination: [203, 0, 113, (n * 7 % 250) as u8],
            ports: [(1024 + n * 31 % 60_000) as u16, [53, 443, 80, 123][n as usize % 4]],
            packets: n % 900 + 1,
            bytes: n * 1337 % 900_000 + 40,
            first_ms: 1_000_000 + n,
            last_ms: 1_000_500 + n,
            protocol: [17, 6, 6, 17][n as usize % 4],
        }
    }

    /// Fields 8, 12, 22, 21, 1, 2, 7, 11, 6, 4 and 5 of NetFlow v9, which are the same
    /// elements of IPFIX.
    fn templated(&self, to: &mut Vec<u8>) {
        to.extend(self.source);
        to.extend(self.destination);
        for number in [self.first_ms, self.last_ms, self.bytes, self.packets] {
            to.extend(number.to_be_bytes());
        }
        self.ports.iter().for_each(|port| to.extend(port.to_be_bytes()));
        to.extend([0x1b, self.protocol, 0]);
    }

    fn version_5(&self, to: &mut Vec<u8>) {
        to.extend(self.source);
        to.extend(self.destination);
        to.extend([0; 8]);
        for number in [self.packets, self.bytes, self.first_ms, self.last_ms] {
            to.extend(number.to_be_bytes());
        }
        self.ports.iter().for_each(|port| to.extend(port.to_be_bytes()));
        to.extend([0, 0x1b, self.protocol, 0]);
        to.extend([0; 8]);
    }
}

const FIELDS: [(u16, u16); 11] =
    [(8, 4), (12, 4), (22, 4), (21, 4), (1, 4), (2, 4), (7, 2), (11, 2), (6, 1), (4, 1), (5, 1)];

/// A set (or FlowSet) with its header.
fn set(id: u16, content: &[u8]) -> Vec<u8> {
    let length = content.len() as u16 + 4;
    [&id.to_be_bytes()[..], &length.to_be_bytes(), content].concat()
}

fn template() -> Vec<u8> {
    let mut content = [256_u16, FIELDS.len() as u16].map(u16::to_be_bytes).concat();
    FIELDS.iter().for_each(|&(id, length)| {
        content.extend(id.to_be_bytes());
        content.extend(length.to_be_bytes());
    });
    content
}

/// Datagrams of one exporter, the first one with the template where there is one.
fn exports(version: u16) -> Vec<Vec<u8>> {
    let records: Vec<u32> = (0..RECORDS as u32).collect();
    let mut datagrams = Vec::new();
    for (number, chunk) in records.chunks(A_DATAGRAM as usize).enumerate() {
        let mut content = Vec::new();
        for &n in chunk {
            match version {
                5 => Exported::of(n).version_5(&mut content),
                _ => Exported::of(n).templated(&mut content),
            }
        }
        let (count, before) = (chunk.len() as u16, number as u32 * A_DATAGRAM);
        let uptime_ms = 2_000_000_u32;
        let mut header = version.to_be_bytes().to_vec();
        let first = number == 0;
        match version {
            5 => {
                header.extend(count.to_be_bytes());
                for word in [uptime_ms, EXPORTED_S, 0, before, 0] {
                    header.extend(word.to_be_bytes());
                }
            }
            9 => {
                header.extend((count + u16::from(first)).to_be_bytes());
                for word in [uptime_ms, EXPORTED_S, number as u32, 1] {
                    header.extend(word.to_be_bytes());
                }
                header.extend(if first { set(0, &template()) } else { Vec::new() });
                content.resize(content.len().next_multiple_of(4), 0);
                content = set(256, &content);
            }
            _ => {
                // The elements 21 and 22 need to know when the system started.
                let started_ms = u64::from(EXPORTED_S) * 1000 - u64::from(uptime_ms);
                let options = [257_u16, 1, 0, 160, 8].map(u16::to_be_bytes).concat();
                let sets =
                    [set(2, &template()), set(3, &options), set(257, &started_ms.to_be_bytes())];
                content =
                    [if first { sets.concat() } else { Vec::new() }, set(256, &content)].concat();
                header.extend((content.len() as u16 + 16).to_be_bytes());
                for word in [EXPORTED_S, before + u32::from(!first), 1] {
                    header.extend(word.to_be_bytes());
                }
            }
        }
        datagrams.push([header, content].concat());
    }
    datagrams
}

fn export(criterion: &mut Criterion) {
    let Some(kind) = named("netflow") else { return };
    let mut group = criterion.benchmark_group("export");
    group.measurement_time(Duration::from_secs(3)).sample_size(20);
    group.throughput(Throughput::Elements(RECORDS));
    let exporter = SocketAddr::from(([127, 0, 0, 1], 2055));
    let received_ns = i64::from(EXPORTED_S) * 1_000_000_000;
    for (name, version) in [("netflow-v5", 5), ("netflow-v9", 9), ("ipfix", 10)] {
        let datagrams = exports(version);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let Ok(mut decoder) = (kind.decoder)(&Context::default()) else { return 0 };
                let mut out = Out::default();
                let mut observed = 0;
                for datagram in &datagrams {
                    let _ = decoder.datagram(exporter, received_ns, datagram, &mut out);
                    if out.observations.len() >= 256 {
                        observed += black_box(std::mem::take(&mut out.observations)).len();
                    }
                }
                decoder.end(&mut out);
                observed += out.observations.len();
                assert_eq!(observed as u64, RECORDS, "every record is one observation");
                observed
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode, export);
criterion_main!(benches);
