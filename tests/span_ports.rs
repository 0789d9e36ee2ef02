//! What SPAN ports do to a capture: packets twice, one direction only. Traffic
//! comes from the generator, which says what it did.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::{Dir, text};
use serde_json::Value;

/// Makes a capture and gives what the generator says of it.
fn synth(dir: &Dir, name: &str, args: &[&str]) -> Value {
    let mut command = dir.command(["lab", "synth"]);
    let output = command.args(args).args(["-o", name]).output().expect("the binary starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the generator's report is JSON")
}

const MANY: [&str; 7] = ["many", "--packets", "20000", "--flows", "2000", "--seconds", "20"];

#[test]
fn each_copy_of_a_span_port_is_dropped_and_nothing_else() {
    let dir = Dir::new();
    for (span, dedup) in [("exact", "exact"), ("exact", "routed"), ("routed", "routed")] {
        let made = synth(&dir, "span.pcap", &[&MANY[..], &["--span", span]].concat());
        assert!(made["duplicates"].as_u64() > Some(10_000), "{made}");
        let plain = dir.summary(["span.pcap"]);
        let clean = dir.summary(["--dedup", dedup, "span.pcap"]);
        assert_eq!(plain["packets"], made["packets"]);
        assert_eq!(clean["packets"], made["packets"], "copies are read, too");
        assert_eq!(clean["accounting"]["duplicate"], made["duplicates"], "{span} {dedup}");
    }
}

#[test]
fn routed_copies_are_not_exact_copies() {
    let dir = Dir::new();
    synth(&dir, "span.pcap", &[&MANY[..], &["--span", "routed"]].concat());
    let clean = dir.summary(["--dedup", "exact", "span.pcap"]);
    assert_eq!(clean["accounting"]["duplicate"], 0);
}

#[test]
fn copies_do_not_depend_on_the_number_of_workers() {
    let dir = Dir::new();
    synth(&dir, "span.pcap", &[&MANY[..], &["--span", "routed"]].concat());
    let counts = |workers| {
        let summary = dir.summary(["--dedup", "routed", "--workers", workers, "span.pcap"]);
        (summary["accounting"].clone(), summary["flows"].clone())
    };
    let one = counts("1");
    assert_eq!(counts("2"), one);
    assert_eq!(counts("5"), one);
}

#[test]
fn a_capture_of_one_direction_is_called_one_sided_and_a_whole_one_is_not() {
    let dir = Dir::new();
    synth(&dir, "whole.pcap", &MANY);
    synth(&dir, "half.pcap", &[&MANY[..], &["--one-sided"]].concat());
    assert_eq!(dir.summary(["whole.pcap"])["one_sided_capture"], false);
    let half = dir.summary(["half.pcap"]);
    assert_eq!(half["one_sided_capture"], true, "{}", half["tcp_sides"]);
}

#[test]
fn vlans_that_separate_flows_leave_routed_copies_no_home() {
    let dir = Dir::new();
    synth(&dir, "a.pcap", &MANY);
    let output = dir.run(["read", "--dedup", "routed", "--key-vlan", "a.pcap"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}
