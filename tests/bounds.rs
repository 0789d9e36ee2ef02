//! What a full flow table may cost, and what it may not.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::{Dir, captures, text};
use serde_json::Value;

fn synth(dir: &Dir, args: &[&str]) {
    let mut command = dir.command(["lab", "synth"]);
    let output = command.args(args).output().expect("the binary starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Alerts are a function of the packets, however many flows were refused.
#[test]
fn alerts_do_not_depend_on_how_full_the_flow_table_is() {
    let dir = Dir::new();
    synth(&dir, &["flood", "--packets", "60000", "--seconds", "3", "-o", "flood.pcap"]);
    let mut files = vec![dir.path("flood.pcap")];
    for name in ["demo-udp-flood", "hping3-syn-flood-spoofed", "hping3-syn-flood", "hping3-carpet"]
    {
        files.push(captures().join(format!("{name}.pcap.zst")));
    }
    for file in files {
        let file = file.to_str().expect("UTF-8");
        let free = dir.summary([file]);
        assert_eq!(free["flows_complete"], true);
        assert_ne!(free["alerts"], Value::Array(vec![]), "{file}");
        for (max_flows, workers) in [("4", "2"), ("100", "1"), ("100", "3")] {
            let full = dir.summary(["--max-flows", max_flows, "--workers", workers, file]);
            assert_eq!(full["flows_complete"], false, "{file}");
            assert_eq!(full["alerts"], free["alerts"], "{file} with {max_flows} flows");
            assert_eq!(full["packets"], free["packets"]);
        }
    }
}

/// What a flow that was refused sends is looked at packet by packet, each of which is too
/// small to be looked at.
#[test]
fn a_relay_whose_flows_found_no_place_is_found() {
    let dir = Dir::new();
    let mut command = dir.command(["lab", "make", "relay", "-o", "relay"]);
    for change in ["gap_s=1", "relay.start_s=10", "duration_s=120"] {
        command.args(["--set", change]);
    }
    let output = command.output().expect("the binary starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let free = dir.summary(["relay/traffic.pcap"]);
    assert_eq!(free["flows_complete"], true);
    assert!(free["alerts"].to_string().contains("\"relay\""), "{}", free["alerts"]);
    for (max_flows, workers) in [("1", "1"), ("8", "1"), ("8", "2"), ("100", "3")] {
        let limits = ["--max-flows", max_flows, "--workers", workers];
        let full = dir.summary([&limits[..], &["relay/traffic.pcap"]].concat());
        assert_eq!(full["flows_complete"], false, "{max_flows} flows, {workers} workers");
        assert_eq!(full["alerts"], free["alerts"], "{max_flows} flows, {workers} workers");
    }
}

#[test]
fn a_flood_of_new_flows_pushes_out_no_established_one() {
    let dir = Dir::new();
    let elephants = ["elephants", "--packets", "20000", "--flows", "10", "--seconds", "10"];
    synth(&dir, &[&elephants[..], &["-o", "elephants.pcap"]].concat());
    synth(&dir, &["flood", "--packets", "200000", "--seconds", "10", "-o", "flood.pcap"]);
    let flows = |max_flows: &str, files: &[&str]| -> Vec<(String, u64)> {
        let mut command = dir.command(["read", "-q", "--out", "out", "--max-flows", max_flows]);
        let output = command.args(files).output().expect("the binary starts");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines = std::fs::read_to_string(dir.path("out").join("flows.ndjson")).expect("flows");
        let mut flows: Vec<_> = lines
            .lines()
            .map(|line| {
                let flow: Value = serde_json::from_str(line).expect("JSON");
                let packets = |side: &str| flow[side]["packets"].as_u64().unwrap_or(0);
                let id = flow["community_id"].as_str().unwrap_or_default().to_owned();
                (id, packets("fwd") + packets("rev"))
            })
            .filter(|&(_, packets)| packets > 10)
            .collect();
        flows.sort();
        flows
    };
    let alone = flows("1000000", &["elephants.pcap"]);
    assert_eq!(alone.iter().map(|(_, packets)| packets).sum::<u64>(), 20_000);
    // A table that the flood fills two hundred times over.
    assert_eq!(flows("1000", &["elephants.pcap", "flood.pcap"]), alone);
}
