//! The number of shards and the spread of traffic over them change nothing.

use super::traffic::{delta, host, ports, stranger};
use crate::detect::{DetectSettings, Detection, Telemetry};
use crate::engine::window::{Caps, Delta, Seed, Slice, WindowSettings};
use crate::packet::PacketClass as C;

/// Ten seconds with a bit of everything.
fn mixture(second: i64) -> Vec<Delta> {
    let mut deltas = Vec::new();
    for n in 0..3_000u64 {
        deltas.push(delta(stranger(n * 31 + second as u64), host("10.0.0.9"), C::TcpSyn, 1, 0));
        deltas.push(delta(stranger(n), stranger(n + 9_000), C::TcpData, 3, 900));
        let response = delta(stranger(n % 700), host("10.0.1.1"), C::Udp, 1, 1_200);
        deltas.push(ports(response, 123, 7));
    }
    for port in 0..60 {
        let probe = delta(host("198.51.100.3"), host("10.0.0.7"), C::TcpOdd, 1, 0);
        deltas.push(ports(probe, 50_000, port + 60 * second as u16));
    }
    deltas.push(delta(host("10.0.0.66"), host("203.0.113.7"), C::Gre, 12_000, 700));
    for n in 1..=100 {
        deltas.push(delta(stranger(n), host(&format!("192.0.2.{n}")), C::Icmp, 200, 8));
    }
    deltas
}

fn json(windows: &WindowSettings, shards: usize, salt: u64) -> String {
    let mut detection = Detection::new(DetectSettings::default());
    for second in 0..10 {
        let mut slices: Vec<_> = (0..shards).map(|_| Slice::new(second, windows)).collect();
        for (n, one) in mixture(second).into_iter().enumerate() {
            let shard = Seed::default().mix(n as u64, salt) as usize % shards;
            slices[shard].add(&one);
        }
        slices.rotate_left(salt as usize % shards);
        let merged = slices.into_iter().reduce(|mut all, slice| {
            all.merge(slice);
            all
        });
        detection.observe(&merged.expect("at least one shard"), &Telemetry::default());
    }
    serde_json::to_string(&detection.finish()).expect("serialises")
}

#[test]
fn alerts_are_the_same_bytes_for_any_number_of_shards() {
    let tight = Caps { hosts: 500, pairs: 700, prefixes: 64, services: 50, ..Caps::default() };
    for caps in [Caps::default(), tight] {
        let windows = WindowSettings { caps, ..WindowSettings::default() };
        let one = json(&windows, 1, 0);
        for (shards, salt) in [(2, 1), (3, 2), (8, 3)] {
            assert_eq!(json(&windows, shards, salt), one, "{shards} shards");
        }
        for detector in ["tcp_syn_flood", "reflection", "gre_flood", "carpet_bombing"] {
            assert!(one.contains(detector), "{detector}: {one}");
        }
    }
}
