//! Learning goes on while somebody attacks: by the real binary, what that makes of alerts
//! and of baselines.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::{Dir, text};
use serde_json::Value;

fn make(dir: &Dir, scenario: &str, out: &str, more: &[&str]) {
    let args = ["lab", "make", scenario, "-o", out];
    let made = dir.run([&args[..], more].concat());
    assert!(made.status.success(), "{}", text(&made.stderr));
}

/// Reads a scenario's packets and processes while it learns.
fn learn(dir: &Dir, made: &str, baselines: &str) -> Value {
    let [capture, map] = ["traffic.pcap", "map.jsonl"].map(|file| format!("{made}/{file}"));
    dir.summary([&capture, "--procs", &map, "--baseline", baselines, "--learn"])
}

fn severities<'a>(summary: &'a Value, detector: &str) -> Vec<&'a str> {
    let alerts = summary["alerts"].as_array().expect("alerts");
    let of = alerts.iter().filter(|alert| alert["detector"] == detector);
    of.filter_map(|alert| alert["severity"].as_str()).collect()
}

#[test]
fn a_chain_is_as_high_where_it_is_learned_from_as_without_baselines() {
    let dir = Dir::new();
    make(&dir, "web-chain", "attack", &[]);
    let fresh = learn(&dir, "attack", "fresh.db");
    assert_eq!(severities(&fresh, "chain"), ["high"], "{:#}", fresh["alerts"]);
    for days in ["2", "1"] {
        make(&dir, "web-chain", "before", &["--days-before", days]);
        learn(&dir, "before", "known.db");
    }
    let known = learn(&dir, "attack", "known.db");
    assert_eq!(severities(&known, "chain"), ["high"], "{:#}", known["alerts"]);
}
