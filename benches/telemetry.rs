//! Logs to observations: bytes a second through framing and decoder, one core.
//!
//! Lines are made from the kinds' own samples with addresses, ports and times that
//! change, so that nothing is the same line twice.

use std::hint::black_box;
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

criterion_group!(benches, decode);
criterion_main!(benches);
