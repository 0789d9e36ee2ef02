//! Learning goes on while somebody attacks: by the real binary, what that makes of alerts
//! and of baselines.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::{Dir, text};
use flowtap::lab::scenario::load::EMBEDDED;
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

/// The chain's last address is in a prefix that visited the server once, the day before.
#[test]
fn a_visit_from_the_attackers_network_does_not_make_it_known() {
    let dir = Dir::new();
    let (_, scenario) = EMBEDDED.iter().find(|(name, _)| *name == "web-chain").expect("there");
    let visited = scenario.replace(r#""203.0.113.200""#, r#""192.88.77.200""#)
        + r#"
[[host]]
name = "visitor"
address = "192.88.77.5"
outside = true
[[behaviour]]
kind = "requests"
from = "visitor"
to = "nginx"
start_s = 60
duration_s = 60
gap_s = 20
"#;
    dir.write("visited.toml", visited.as_bytes());
    make(&dir, "visited.toml", "before", &["--days-before", "1"]);
    learn(&dir, "before", "known.db");
    let shown =
        dir.run(["baseline", "show", "address:10.0.1.10", "--json", "--baseline", "known.db"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    let destinations = shown["destinations"].as_array().expect("destinations");
    let prefixes: Vec<_> = destinations.iter().map(|known| &known["prefix"]).collect();
    assert_eq!(prefixes, ["192.0.2.0/24"], "the mirror, and no visitor");
    make(&dir, "visited.toml", "attack", &[]);
    let known = learn(&dir, "attack", "known.db");
    assert_eq!(severities(&known, "chain"), ["high"], "{:#}", known["alerts"]);
}
