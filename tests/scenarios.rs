//! Scenarios end to end: what is made is right and the same again, and detection meets
//! its gates on seeds that nothing was tuned on.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a step that fails fails its test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flowtap::alert::Severity;
use flowtap::lab::scenario::load::{EMBEDDED, load};
use flowtap::lab::scenario::make::{Made, make};
use flowtap::lab::scenario::sweep::{Gate, Row, Sweep, sweep};

/// Seeds from here on are for tests alone.
const FIRST_SEED: u64 = 9_000;

fn set(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn made(name: &str, seed: u64, pairs: &[(&str, &str)], dir: &Path) -> Made {
    let (title, scenario) = load(name, &set(pairs)).unwrap();
    make(&title, &scenario, dir, seed, 1.0).unwrap()
}

/// Small forms of scenarios that have every kind of packet and log.
const SMALL: [(&str, &[(&str, &str)]); 6] = [
    ("udp-flood", &[("strength", "50"), ("duration_s", "200")]),
    ("web-chain", &[("duration_s", "1400")]),
    ("ping-flood", &[("strength", "20"), ("duration_s", "300")]),
    ("curl-loop", &[("strength", "5"), ("duration_s", "440")]),
    ("dns-tunnel", &[("strength", "2"), ("duration_s", "700")]),
    ("icmp-tunnel", &[("strength", "2"), ("duration_s", "700")]),
];

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut names: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
        .into_iter()
        .map(|path| (path.file_name().unwrap().into(), fs::read(&path).unwrap()))
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_others() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    for (dir, seed) in dirs.iter().zip([7, 7, 8]) {
        let made = made("web-chain", seed, &[("duration_s", "1300")], dir.path());
        assert!(made.played.packets > 1_000);
    }
    let [first, again, other] = dirs.each_ref().map(|dir| files(dir.path()));
    assert!(first == again);
    assert!(first != other);
    let names: Vec<_> = first.iter().map(|(name, _)| name.to_str().unwrap()).collect();
    assert_eq!(names, ["access.log", "map.jsonl", "traffic.pcap", "truth.json"]);
}

/// tshark verifies every checksum and reassembles what it knows.
#[test]
fn tshark_finds_nothing_malformed_and_no_bad_checksum() {
    if Command::new("tshark").arg("-v").output().is_err() {
        eprintln!("skipped: there is no tshark");
        return;
    }
    for (name, pairs) in SMALL {
        let dir = tempfile::tempdir().unwrap();
        let made = made(name, FIRST_SEED, pairs, dir.path());
        // The random bytes of the flood (to 7777) look like some protocol now and then.
        let bad = "(_ws.malformed && !(udp.dstport == 7777)) || ip.checksum.status == 0 || tcp.checksum.status == 0 || \
                   udp.checksum.status == 0 || icmp.checksum.status == 0 || \
                   tcp.analysis.lost_segment || tcp.analysis.ack_lost_segment || \
                   tcp.analysis.retransmission || tcp.analysis.out_of_order";
        let output = Command::new("tshark")
            .args(["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"])
            .args(["-o", "udp.check_checksum:TRUE", "-Y", bad, "-r"])
            .arg(&made.capture)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found = String::from_utf8_lossy(&output.stdout);
        let first: Vec<&str> = found.lines().take(5).collect();
        assert!(first.is_empty(), "{name}: {first:#?}");
    }
}

#[test]
fn every_embedded_scenario_is_whole() {
    for (name, _) in EMBEDDED {
        let dir = tempfile::tempdir().unwrap();
        // Names of behaviours and expectations are looked up before anything is made.
        let (_, scenario) = load(name, &set(&[("duration_s", "5")])).unwrap();
        make(name, &scenario, dir.path(), 1, 1.0)
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
}

fn swept(name: &str, seeds: u64, pairs: &[(&str, &str)]) -> Row {
    let dir = tempfile::tempdir().unwrap();
    let told = Sweep {
        scenario: name.to_owned(),
        set: set(pairs),
        vary: Vec::new(),
        seeds: (FIRST_SEED..FIRST_SEED + seeds).collect(),
        scale: 1.0,
        learn_days: None,
        least: Severity::Low,
        folder: dir.path().to_owned(),
    };
    let mut rows = sweep(&told, |_| {}).expect(name);
    rows.remove(0)
}

fn gate(name: &str, seeds: u64, pairs: &[(&str, &str)], conditions: &str) {
    let gate: Gate = conditions.parse().unwrap();
    let row = swept(name, seeds, pairs);
    let failures = gate.failures(&row);
    assert!(failures.is_empty(), "{name}: {failures:?}; {row:#?}");
}

/// What is known before any baseline: a flood, by packets and by flow logs.
#[test]
fn attacks_of_the_analytics_are_found_and_nothing_else() {
    let all = "precision>=1,recall>=1,false_per_day<=0";
    gate("udp-flood", 2, &[("strength", "3000"), ("duration_s", "260")], all);
    gate("web-chain", 2, &[], all);
    gate("ping-flood", 2, &[("strength", "200")], all);
    gate("dns-tunnel", 2, &[("strength", "1")], all);
    gate("icmp-tunnel", 2, &[("strength", "1")], all);
    gate("exfiltration", 2, &[("up_bytes", "5000000")], all);
}

#[test]
fn what_looks_alike_stays_quiet() {
    gate("web-noise", 2, &[], "false_per_day<=0");
    gate("office", 2, &[], "false_per_day<=0");
}

/// Minutes: whole days and full rates.
#[test]
#[ignore = "minutes"]
fn the_whole_suite_holds() {
    let all = "precision>=1,recall>=1,false_per_day<=0";
    for name in ["udp-flood", "web-chain", "ping-flood", "curl-loop", "beacon", "exfiltration"] {
        gate(name, 5, &[], all);
    }
    for name in ["dns-tunnel", "icmp-tunnel"] {
        gate(name, 5, &[], all);
    }
    for name in ["web-noise", "egress-lookalikes", "ordinary-day"] {
        gate(name, 2, &[], "false_per_day<=1");
    }
}
