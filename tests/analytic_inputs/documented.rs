//! AN0972's look-alikes once they are documented: what the draft of a verdict says keeps
//! the same traffic quiet, and no more than that.

use serde_json::Value;

use super::common::{Dir, text};
use super::frames::{eth, ipv4, udp};
use super::{START_S, pcap};

const DAY_S: i64 = 86_400;

/// A call of which the other side says nothing: `rate` packets a second.
fn call(day: i64, seconds: i64, rate: i64) -> Vec<u8> {
    let start_us = (START_S + day * DAY_S) * 1_000_000;
    let there = udp(5_004, 5_004, &[0x80; 200]);
    let frame = eth(0x0800, &ipv4(17, [10, 0, 0, 81], [203, 0, 113, 10], &there));
    pcap((0..seconds * rate).map(|at| (start_us + at * 1_000_000 / rate, frame.clone())))
}

fn alerts(dir: &Dir, capture: &[u8], run: &str, more: &[&str]) -> Vec<Value> {
    dir.write("capture.pcap", capture);
    let args = [&["read", "--quiet", "--out", run, "capture.pcap"], more].concat();
    let output = dir.run(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = std::fs::read_to_string(dir.path(run).join("alerts.ndjson")).expect("alerts");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn what_an_alert_stood_for_is_quiet_with_its_draft_too() {
    let dir = Dir::new();
    let found = alerts(&dir, &call(0, 70, 1_200), "day0", &[]);
    let stands = |alert: &&Value| alert.get("part_of").is_none();
    let [whole] = found.iter().filter(stands).collect::<Vec<_>>()[..] else { panic!("{found:#?}") };
    assert_eq!((&whole["detector"], &whole["severity"]), (&"udp_flood".into(), &"high".into()));
    assert_eq!(whole["parts"][0]["detector"], "egress", "{found:#?}");

    let id = whole["id"].as_str().expect("an id");
    let mark = ["alerts", "mark", id, "expected", "--why", "calls", "--by", "av", "--run", "day0"];
    let marked = dir.run(mark);
    assert!(marked.status.success(), "{}", text(&marked.stderr));
    dir.write("documented.toml", &marked.stdout);
    let documented = ["--config", "documented.toml"];
    let next_day = alerts(&dir, &call(1, 70, 1_200), "day1", &documented);
    assert!(next_day.is_empty(), "{next_day:#?}");
    let summary = std::fs::read_to_string(dir.path("day1/summary.json")).expect("a summary");
    let summary: Value = serde_json::from_str(&summary).expect("JSON");
    let counts = summary["alerts_allowed"].as_array().expect("a list");
    let suppressed = |detector: &str| {
        let count = counts.iter().find(|count| count["detector"] == detector);
        count.and_then(|count| count["suppressed"].as_u64())
    };
    assert_eq!((suppressed("udp_flood"), suppressed("egress")), (Some(1), Some(1)), "{counts:#?}");
    // Ten times as much is none of it.
    let more = alerts(&dir, &call(2, 10, 12_000), "day2", &documented);
    assert!(more.iter().any(|alert| alert["detector"] == "udp_flood"), "{more:#?}");
}
