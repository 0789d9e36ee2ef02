//! `flowtap read` as scripts and people use it: exit status, standard output,
//! warnings, the run folder.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::{Dir, captures, text};
use serde_json::Value;

/// A classic pcap with these Ethernet frames, a second apart.
fn pcap(frames: &[&[u8]]) -> Vec<u8> {
    let mut file = Vec::new();
    for field in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(field.to_le_bytes());
    }
    for (at, frame) in frames.iter().enumerate() {
        for field in [1_700_000_000 + at as u32, 0, frame.len() as u32, frame.len() as u32] {
            file.extend(field.to_le_bytes());
        }
        file.extend(*frame);
    }
    file
}

/// Ethernet, IPv4, UDP 10.0.0.1:1000 to 10.0.0.2:2000 with `payload`.
fn udp_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    let total = (28 + payload.len()) as u16;
    frame.extend([0x45, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(1000u16.to_be_bytes());
    frame.extend(2000u16.to_be_bytes());
    frame.extend((8 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

#[test]
fn json_is_the_only_thing_on_standard_output() {
    let dir = Dir::new();
    let file = dir.write("a.pcap", &pcap(&[&udp_frame(b"hello"), &udp_frame(b"hello again")]));
    let summary = dir.summary([&file]);
    assert_eq!(summary["packets"], 2);
    assert_eq!(summary["accounting"]["in_flows"], 2);
    assert_eq!(summary["flows"], 1);
    assert_eq!(summary["protocols"]["udp"]["packets"], 2);
    assert_eq!(summary["payload_sizes"]["min"], 5);
    assert_eq!(summary["first_packet"], "2023-11-14T22:13:20.000000000Z");
    assert_eq!(summary["alerts"], Value::Array(vec![]));
}

#[test]
fn a_cut_tail_is_a_warning_and_what_came_before_counts() {
    let dir = Dir::new();
    let mut bytes = pcap(&[&udp_frame(b"one"), &udp_frame(b"two")]);
    bytes.truncate(bytes.len() - 10);
    let file = dir.write("cut.pcap", &bytes);
    let output = dir.run(["read", "--json", file.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("cut.pcap"), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&summary["packets"], &summary["truncated_records"]), (&1.into(), &1.into()));
}

#[test]
fn a_file_that_is_no_capture_is_named_and_the_others_are_read() {
    let dir = Dir::new();
    let bad = dir.write("notes.txt", b"these are not the packets you are looking for\n");
    let good = dir.write("good.pcap", &pcap(&[&udp_frame(b"x")]));
    let output = dir.command(["read", "--json"]).arg(&bad).arg(&good).output().expect("starts");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("notes.txt") && said.contains("text"), "{said}");
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(summary["packets"], 1);
}

#[test]
fn a_missing_file_and_a_bad_filter_have_their_own_exit_status() {
    let dir = Dir::new();
    assert_eq!(dir.run(["read", "no-such-file.pcap"]).status.code(), Some(1));
    let file = dir.write("a.pcap", &pcap(&[]));
    let output =
        dir.command(["read", "--filter", "udp prot 53"]).arg(&file).output().expect("starts");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("udp prot 53"), "{}", text(&output.stderr));
    assert_eq!(dir.run(["read"]).status.code(), Some(2));
}

#[test]
fn what_the_filter_leaves_out_is_counted() {
    let dir = Dir::new();
    let file = dir.write("a.pcap", &pcap(&[&udp_frame(b"x"), &[0; 60]]));
    let file = file.to_str().expect("UTF-8");
    let summary = dir.summary(["--filter", "udp", file]);
    assert_eq!(summary["accounting"]["in_flows"], 1);
    assert_eq!(summary["accounting"]["filtered"], 1);
    let none = dir.summary(["--filter", "greater 5000", file]);
    assert_eq!((&none["accounting"]["filtered"], &none["flows"]), (&2.into(), &0.into()));
}

#[test]
fn a_pipe_a_file_and_standard_input_give_the_same() {
    let dir = Dir::new();
    let bytes = pcap(&[&udp_frame(b"a"), &udp_frame(b"bc"), &udp_frame(b"def")]);
    let file = dir.write("a.pcap", &bytes);
    let from_file = dir.summary([&file]);
    let mut command = dir.command(["read", "--json", "-"]);
    command.stdin(std::fs::File::open(&file).expect("opens"));
    let output = command.output().expect("starts");
    let from_stdin: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for key in ["packets", "wire_bytes", "accounting", "flows", "protocols", "payload_sizes"] {
        assert_eq!(from_file[key], from_stdin[key], "{key}");
    }
}

#[test]
fn span_copies_are_dropped_and_counted_on_request() {
    let dir = Dir::new();
    let first = udp_frame(b"payload");
    let mut routed = first.clone();
    routed[0] = 9; // another MAC
    routed[22] = 63; // a lower TTL
    // Times are a second apart: widen the window.
    let file = dir.write("a.pcap", &pcap(&[&first, &first, &first, &routed]));
    let file = file.to_str().expect("UTF-8");
    let count = |mode| {
        let summary = dir.summary(["--dedup", mode, "--dedup-us", "5000000", file]);
        let ledger = &summary["accounting"];
        (ledger["in_flows"].as_u64(), ledger["duplicate"].as_u64())
    };
    assert_eq!(dir.summary([file])["accounting"]["duplicate"], 0, "off by default");
    assert_eq!(count("exact"), (Some(3), Some(1)), "third is an original again, fourth differs");
    assert_eq!(count("routed"), (Some(2), Some(2)));
}

#[test]
fn a_run_folder_holds_flows_alerts_summary_and_what_was_run() {
    let dir = Dir::new();
    let file = dir.write("a.pcap", &pcap(&[&udp_frame(b"hello")]));
    let out = dir.path("out");
    let mut command = dir.command(["read", "--quiet", "--out"]);
    let output = command.arg(&out).arg(&file).output().expect("starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    let flows = std::fs::read_to_string(out.join("flows.ndjson")).expect("flows");
    let flow: Value = serde_json::from_str(flows.trim()).expect("one record");
    assert_eq!(flow["src_ip"], "10.0.0.1");
    assert_eq!(flow["fwd"]["payload_bytes"], 5);
    let run: Value =
        serde_json::from_slice(&std::fs::read(out.join("run.json")).expect("run")).expect("JSON");
    let sha256 = run["inputs"][0]["sha256"].as_str().expect("a digest");
    assert_eq!(sha256.len(), 64);
    assert!(out.join("summary.json").is_file() && out.join("alerts.ndjson").is_file());

    let id = flow["community_id"].as_str().expect("an id");
    let mut command = dir.command(["show", "flow", id, "--json", "--run"]);
    let shown = command.arg(&out).output().expect("starts");
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("one record");
    assert_eq!(shown, flow);
}

#[test]
fn the_newest_run_is_kept_for_show_without_out() {
    let dir = Dir::new();
    let file = dir.write("a.pcap", &pcap(&[&udp_frame(b"hello")]));
    assert!(dir.command(["read", "-q"]).arg(&file).output().expect("starts").status.success());
    let output = dir.run(["show", "alert", "0000"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no alert with id 0000"), "{}", text(&output.stderr));
}

#[test]
fn an_alert_and_its_flow_are_shown_as_pages_for_people() {
    let dir = Dir::new();
    let flood = captures().join("demo-udp-flood.pcap.zst");
    let out = dir.path("run");
    let mut command = dir.command(["read", "-q", "--out"]);
    assert!(command.arg(&out).arg(&flood).output().expect("starts").status.success());
    let show = |what: &str, id: &str| {
        let mut command = dir.command(["show", what, id, "--run"]);
        let output = command.arg(&out).output().expect("starts");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let first = |name: &str| -> Value {
        let lines = std::fs::read_to_string(out.join(name)).expect("written");
        serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON")
    };
    let page = show("alert", first("alerts.ndjson")["id"].as_str().expect("an id"));
    for line in [
        "UDP flood from 10.77.0.2 to 203.0.113.7 (outbound): 20,440 packets/s and 90.6 Mbit/s at \
         most, threshold 10,000, unanswered; 6 s from 2026-11-21T13:13:03Z; confidence 0.6 \
         without a baseline.",
        "  measured           20,440 packets/s",
        "  threshold          10,000 packets/s (absolute_rate)",
        "  missing            baseline, cut_packets, process_map",
        "  analytics          AN0972",
        "       512 to 1023 bytes        69,086 packets 100.0%",
    ] {
        assert!(page.lines().any(|shown| shown == line), "{line:?} in\n{page}");
    }
    let flow = first("flows.ndjson");
    let page = show("flow", flow["community_id"].as_str().expect("an id"));
    assert!(page.contains(flow["src_ip"].as_str().expect("an address")), "{page}");
    assert!(
        page.contains("  forward            ") && page.contains("  reverse            "),
        "{page}"
    );
}

#[test]
fn an_alert_sets_the_exit_status_only_when_asked_to() {
    let dir = Dir::new();
    let flood = captures().join("demo-udp-flood.pcap.zst");
    let flood = flood.to_str().expect("UTF-8");
    assert_eq!(dir.run(["read", "-q", flood]).status.code(), Some(0));
    assert_eq!(dir.run(["read", "-q", "--fail-on-alert", flood]).status.code(), Some(3));
    let quiet = dir.write("a.pcap", &pcap(&[&udp_frame(b"hello")]));
    let mut command = dir.command(["read", "-q", "--fail-on-alert"]);
    assert_eq!(command.arg(&quiet).output().expect("starts").status.code(), Some(0));
}

#[test]
fn without_detection_flows_are_the_same_and_there_is_no_alert() {
    let dir = Dir::new();
    let flood = captures().join("demo-udp-flood.pcap.zst");
    let read = |out: &str, options: &[&str]| -> (String, Value) {
        let mut command = dir.command(["read", "--json", "--out", out]);
        let output = command.args(options).arg(&flood).output().expect("starts");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let flows = std::fs::read_to_string(dir.path(out).join("flows.ndjson")).expect("written");
        (flows, serde_json::from_slice(&output.stdout).expect("JSON"))
    };
    let (flows, summary) = read("with", &[]);
    assert!(summary["alerts"].as_array().is_some_and(|alerts| !alerts.is_empty()));
    let (same, summary) = read("without", &["--no-detection"]);
    assert_eq!(flows, same);
    assert_eq!(summary["alerts"], Value::Array(Vec::new()));
    let told = dir.run(["coverage", "--run", "without"]);
    assert!(text(&told.stdout).contains("--no-detection"), "{}", text(&told.stdout));
}

#[test]
fn no_colour_and_no_bar_when_piped() {
    let dir = Dir::new();
    let file = dir.write("a.pcap", &pcap(&[&udp_frame(b"hello")]));
    let output = dir.run(["read", file.to_str().expect("UTF-8")]);
    assert!(!output.stdout.contains(&0x1b), "{}", text(&output.stdout));
    assert_eq!(text(&output.stderr), "");
    assert!(
        text(&output.stdout).contains("1 packets") || text(&output.stdout).contains("1 packet")
    );
}

#[test]
fn the_age_limit_of_records_is_set_for_each_protocol() {
    let dir = Dir::new();
    // Six packets, a second apart.
    let frame = udp_frame(b"hello");
    let file = dir.write("a.pcap", &pcap(&[frame.as_slice(); 6]));
    let file = file.to_str().expect("UTF-8");
    let flows = |args: &[&str]| dir.summary([args, &[file]].concat())["flows"].clone();
    assert_eq!(flows(&[]), 1);
    assert_eq!(flows(&["--active", "2s"]), 2);
    assert_eq!(flows(&["--udp-active", "2s"]), 2);
    assert_eq!(flows(&["--tcp-active", "2s"]), 1);
    assert_eq!(flows(&["--active", "2s", "--udp-active", "never"]), 1);
}
