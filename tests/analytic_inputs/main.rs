//! Each kind of input that ANALYTICS.md lists for an analytic raises that analytic's alert
//! by itself, and what looks like it in the same format does not.
//!
//! Records are written here after the formats' own documentation, not by what reads them:
//! who reads them must find in them what was meant. The README's table of analytics and
//! inputs names these tests.
#![expect(clippy::expect_used, reason = "a step that fails fails its test")]

mod access_logs;
mod clear_text;
#[path = "../common/mod.rs"]
mod common;
mod connection_logs;
mod counters;
mod documented;
mod exports;
mod flow_logs;
#[path = "../common/frames.rs"]
mod frames;
mod macos;
#[cfg(feature = "parquet")]
mod parquet;
mod process_logs;
mod snapshots;
mod stages_joined;

use common::{Dir, text};
use jiff::Timestamp;
use serde_json::Value;

/// 2026-03-01T10:15:00Z.
const START_S: i64 = 1_772_360_100;
const SENDER: &str = "10.0.0.6";
const TARGET: &str = "203.0.113.9";

fn at(second: i64, format: &str) -> String {
    let time = Timestamp::from_second(second).expect("a time");
    time.strftime(format).to_string()
}

fn iso(second: i64) -> String {
    at(second, "%Y-%m-%dT%H:%M:%SZ")
}

/// A classic capture of Ethernet, of frames with their times in microseconds.
fn pcap(frames: impl IntoIterator<Item = (i64, Vec<u8>)>) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1] {
        out.extend(u32::to_le_bytes(word));
    }
    for (time_us, frame) in frames {
        let length = frame.len() as u32;
        for word in [(time_us / 1_000_000) as u32, (time_us % 1_000_000) as u32, length, length] {
            out.extend(word.to_le_bytes());
        }
        out.extend(frame);
    }
    out
}

/// Alerts of one file, with what else is said.
fn alerts(kind: &str, content: &(impl AsRef<[u8]> + ?Sized), more: &[&str]) -> Vec<Value> {
    alerts_beside(kind, content, &[], more)
}

/// Alerts of a file of telemetry, and of a capture beside it.
fn alerts_beside(
    kind: &str,
    content: &(impl AsRef<[u8]> + ?Sized),
    capture: &[u8],
    more: &[&str],
) -> Vec<Value> {
    let mut files = vec![("input", content.as_ref())];
    files.extend((!capture.is_empty()).then_some(("capture", capture)));
    let (summary, alerts) = read(&files, more);
    let source = &summary["sources"][0];
    assert_eq!(source["kind"], kind, "{summary:#}");
    assert!(source.get("bad").is_none() && source.get("bad_parts").is_none(), "{source:#}");
    alerts
}

/// Summary and alerts of files.
fn read(files: &[(&str, &[u8])], more: &[&str]) -> (Value, Vec<Value>) {
    let dir = Dir::new();
    let mut args = vec!["read", "--quiet", "--out", "run"];
    args.extend(more);
    for (name, bytes) in files {
        dir.write(name, bytes);
        args.push(name);
    }
    let output = dir.run(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let summary = std::fs::read_to_string(dir.path("run/summary.json")).expect("a summary");
    let lines = std::fs::read_to_string(dir.path("run/alerts.ndjson")).expect("alerts");
    let alerts = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (serde_json::from_str(&summary).expect("JSON"), alerts)
}
