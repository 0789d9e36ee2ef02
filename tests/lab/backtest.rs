//! `flowtap lab backtest` by the real binary on recorded runs of scenarios.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{Dir, text};
use serde_json::Value;

/// A scenario made and read, its flows recorded in `NAME-run`.
fn recorded(dir: &Dir, scenario: &str, set: &[&str]) -> PathBuf {
    recorded_of(dir, scenario, set, "ip or ip6")
}

/// The same of packets that a filter lets through.
fn recorded_of(dir: &Dir, scenario: &str, set: &[&str], filter: &str) -> PathBuf {
    let made = dir.path(scenario);
    let run = dir.path(&format!("{scenario}-run"));
    let mut args = vec!["lab", "make", scenario, "--seed", "9001", "-o", made.to_str().unwrap()];
    args.extend(set.iter().flat_map(|pair| ["--set", *pair]));
    succeeds(dir, &args);
    let (capture, map) = (made.join("traffic.pcap"), made.join("map.jsonl"));
    let mut args = vec!["read", capture.to_str().unwrap(), "--out", run.to_str().unwrap()];
    args.extend(["--filter", filter]);
    if map.exists() {
        args.extend(["--procs", map.to_str().unwrap()]);
    }
    succeeds(dir, &args);
    run
}

fn succeeds(dir: &Dir, args: &[&str]) -> (String, String) {
    let output = dir.run(args);
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{args:?}: {errors}");
    (out, errors)
}

fn flood(dir: &Dir) -> PathBuf {
    recorded(dir, "udp-flood", &["strength=1500", "duration_s=200"])
}

/// The rows, the last line, and what was said beside.
fn backtest(dir: &Dir, run: &Path, args: &[&str]) -> (Vec<Value>, Value, String) {
    let mut all = vec!["lab", "backtest", run.to_str().unwrap(), "--json"];
    all.extend(args);
    let (out, errors) = succeeds(dir, &all);
    let mut lines: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let last = lines.pop().expect("a last line");
    (lines, last, errors)
}

/// Alerts of a run's packets by detector.
fn raised(run: &Path) -> BTreeMap<String, u64> {
    let alerts = fs::read_to_string(run.join("alerts.ndjson")).unwrap();
    let alerts = alerts.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |alert: &Value, name: &str| alert[name].as_str().unwrap().to_owned();
    let detectors: BTreeMap<String, String> =
        alerts.map(|alert| (text(&alert, "id"), text(&alert, "detector"))).collect();
    let mut counts = BTreeMap::new();
    for detector in detectors.into_values() {
        *counts.entry(detector).or_default() += 1;
    }
    counts
}

fn by_detector(row: &Value) -> BTreeMap<String, u64> {
    serde_json::from_value(row["detectors"].clone()).unwrap()
}

#[test]
fn recorded_flows_raise_what_their_packets_raised() {
    for (scenario, set, detectors) in [
        ("udp-flood", &["strength=1500", "duration_s=200"][..], &["egress", "udp_flood"][..]),
        ("ping-flood", &["strength=100", "duration_s=300"], &["tool_flood"]),
        ("exfiltration", &["up_bytes=20e6"], &["data_ratio", "non_networking"]),
        ("beacon", &["duration_s=4200"], &["beacon"]),
        ("egress-lookalikes", &["duration_s=400"], &[]),
    ] {
        let dir = Dir::new();
        let run = recorded(&dir, scenario, set);
        let of_packets = raised(&run);
        assert_eq!(of_packets.keys().collect::<Vec<_>>(), detectors, "{scenario}");
        let (rows, _, errors) = backtest(&dir, &run, &[]);
        assert_eq!(by_detector(&rows[0]), of_packets, "{scenario}");
        assert_eq!(errors, "");
    }
}

#[test]
fn recorded_calls_that_nobody_answers_raise_what_their_packets_raised() {
    let dir = Dir::new();
    let run = recorded_of(&dir, "beacon", &["duration_s=4200"], "src net 10.0.0.0/8");
    let of_packets = raised(&run);
    assert!(of_packets.contains_key("beacon"), "{of_packets:?}");
    let (rows, _, _) = backtest(&dir, &run, &[]);
    assert_eq!(by_detector(&rows[0]), of_packets);
}

/// The flood sends 1,500 packets a second, a tenth more or less.
#[test]
fn a_higher_threshold_never_gives_more_alerts() {
    let dir = Dir::new();
    let run = flood(&dir);
    let (rows, last, _) = backtest(
        &dir,
        &run,
        &["--vary", "detect.unanswered_rate_threshold=200,500,1000,1200,3000,8000"],
    );
    let floods: Vec<u64> =
        rows.iter().map(|row| by_detector(row).get("udp_flood").copied().unwrap_or(0)).collect();
    assert_eq!(floods, [1, 1, 1, 1, 0, 0]);
    let alerts: Vec<u64> = rows.iter().map(|row| row["alerts"].as_u64().unwrap()).collect();
    assert!(alerts.is_sorted_by(|before, after| before >= after), "{alerts:?}");
    assert_eq!(rows[0]["values"], serde_json::json!([["detect.unanswered_rate_threshold", "200"]]));
    // One alert more or less is no bend.
    assert_eq!((&last["knee"], &last["no_knee"]), (&Value::Null, &"straight".into()));
}

#[test]
fn a_row_says_when_on_whom_and_how_bad() {
    let dir = Dir::new();
    let run = flood(&dir);
    let (rows, ..) = backtest(&dir, &run, &[]);
    let row = &rows[0];
    assert_eq!(row["alerts"], 2);
    assert_eq!(row["busiest_hour"]["start"], "2026-03-02T09:00:00.000000000Z");
    assert_eq!(row["busiest_hour"]["alerts"], 2);
    assert_eq!(row["top_entities"], serde_json::json!([["10.0.1.10", 2]]));
    // The egress of the flood's minute is a part of the flood.
    assert_eq!(row["severities"], serde_json::json!({"high": 1, "informational": 1}));
    let (days, per_day) = (row["days"].as_f64().unwrap(), row["alerts_per_day"].as_f64().unwrap());
    // Days are told to four places: 2 in 199 s or so.
    assert!((0.0022..0.0024).contains(&days), "{days}");
    assert!((2.0 / 0.0024..2.0 / 0.0022).contains(&per_day), "{per_day}");
    let (out, _) = succeeds(
        &dir,
        &["lab", "backtest", run.to_str().unwrap(), "--vary", "packet_rate_threshold=500,2000"],
    );
    for words in [
        "packet_rate_threshold=500 ",
        "on 10.0.1.10 (2)",
        "2026-03-02 09:00 (2)",
        "less than a day",
        "not judged from recorded flows: arp_sweep",
        "dns_tunnel",
        "no knee: fewer than 4 different values",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
}

#[test]
fn lines_that_are_no_records_are_named_with_file_and_line_and_left_out() {
    let dir = Dir::new();
    let run = flood(&dir);
    let path = run.join("flows.ndjson");
    let flows = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<&str> = flows.lines().collect();
    let half = &lines[0][..lines[0].len() / 2];
    lines.insert(3, r#"{"ts":1772442000.0,"uid":"CHhAvVGS1DHFjwGM9","id.orig_h":"10.0.1.10"}"#);
    lines.insert(5, "");
    lines.insert(7, "# written by hand");
    lines.push(half);
    fs::write(&path, lines.join("\n")).unwrap();
    let (rows, _, errors) = backtest(&dir, &run, &[]);
    assert_eq!(by_detector(&rows[0]), raised(&run));
    let warnings: Vec<&str> = errors.lines().collect();
    let name = path.display();
    assert_eq!(warnings.len(), 3, "{errors}");
    assert!(warnings[0].starts_with(&format!("flowtap: warning: {name} line 4: no flow record: ")));
    assert!(warnings[1].starts_with(&format!("flowtap: warning: {name} line 8: no JSON: ")));
    assert_eq!(
        warnings[2],
        format!("flowtap: warning: {name} line {}: it is cut off", lines.len())
    );
}

#[test]
fn pieces_of_a_live_run_are_read_in_turn_plain_or_packed() {
    let dir = Dir::new();
    let run = flood(&dir);
    let path = run.join("flows.ndjson");
    let (whole, ..) = backtest(&dir, &run, &[]);
    let flows = fs::read_to_string(&path).unwrap();
    let cut = flows.match_indices('\n').nth(flows.lines().count() / 2).unwrap().0 + 1;
    let (first, second) = flows.split_at(cut);
    let packed = zstd::encode_all(first.as_bytes(), 3).unwrap();
    fs::write(run.join("flows-20260302T090000Z.ndjson.zst"), packed).unwrap();
    fs::write(run.join("flows-20260302T091000Z.ndjson"), second).unwrap();
    fs::remove_file(&path).unwrap();
    let (pieces, ..) = backtest(&dir, &run, &[]);
    assert_eq!(pieces, whole);
    assert_eq!(backtest(&dir, &run, &[]).0, whole, "the same again");
}

#[test]
fn days_are_counted_back_from_the_last_record() {
    let dir = Dir::new();
    let run = flood(&dir);
    let path = run.join("flows.ndjson");
    let (now, ..) = backtest(&dir, &run, &[]);
    let flows = fs::read_to_string(&path).unwrap();
    let before = flows.replace("\"2026-03-02T", "\"2026-02-20T");
    fs::write(&path, before + &flows).unwrap();
    let (both, ..) = backtest(&dir, &run, &[]);
    assert_eq!(both[0]["alerts"], 4);
    assert!((9.9..10.1).contains(&both[0]["days"].as_f64().unwrap()));
    assert_eq!(both[0]["alerts_per_day"], 0.4);
    let (last, ..) = backtest(&dir, &run, &["--days", "5"]);
    assert_eq!(last, now);
}

#[test]
fn a_baseline_is_read_and_learns_nothing() {
    let dir = Dir::new();
    let run = flood(&dir);
    let capture = dir.path("udp-flood/traffic.pcap");
    let (capture, baseline) = (capture.to_str().unwrap(), dir.path("site.redb"));
    let file = baseline.to_str().unwrap();
    succeeds(&dir, &["baseline", "learn", capture, "--baseline", file]);
    let learned = fs::read(&baseline).unwrap();
    // The same as packets with the same baseline.
    let out = dir.path("again");
    succeeds(&dir, &["read", capture, "--baseline", file, "--out", out.to_str().unwrap()]);
    let (rows, ..) = backtest(&dir, &run, &["--baseline", file]);
    assert_eq!(by_detector(&rows[0]), raised(&out));
    assert!(fs::read(&baseline).unwrap() == learned);
    let missing = dir.path("none.redb");
    refused(
        &dir,
        &["lab", "backtest", run.to_str().unwrap(), "--baseline", missing.to_str().unwrap()],
        "none.redb",
    );
}

#[test]
fn what_a_file_allows_and_sets_holds() {
    let dir = Dir::new();
    let run = flood(&dir);
    let config = dir.write(
        "site.toml",
        b"home-net = [\"10.0.0.0/8\"]\n[detect]\nunanswered_rate_threshold = 5000\n\n[[allow]]\n\
          detector = \"egress\"\nentity = \"10.0.1.10\"\nreason = \"test\"\nowner = \"lab\"\n\
          expires = 2200-01-01\n",
    );
    let (rows, ..) = backtest(&dir, &run, &["--config", config.to_str().unwrap()]);
    assert_eq!((&rows[0]["alerts"], &rows[0]["allowed"]), (&0.into(), &1.into()));
    let (rows, ..) = backtest(&dir, &run, &["--home-net", "192.0.2.0/24"]);
    assert_eq!(by_detector(&rows[0]).get("egress"), None, "nobody is at home");
}

fn refused(dir: &Dir, args: &[&str], words: &str) {
    let output = dir.run(args);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
    assert_eq!(text(&output.stdout), "", "{args:?}");
    assert!(errors.contains(words), "{args:?}: {errors}");
}

#[test]
fn wrong_keys_and_values_are_refused_before_anything_is_printed() {
    let dir = Dir::new();
    fs::create_dir(dir.path("run")).unwrap();
    for (vary, words) in [
        ("nonsense=1,2", "there is no setting of detection nonsense"),
        ("detect.nonsense=1", "there is no setting of detection nonsense"),
        ("packet_rate_threshold=500,abc", "abc is no figure"),
        ("packet_rate_threshold=500,1", "a whole number from 10"),
        ("packet_rate_threshold", "KEY=VALUE"),
        ("dns_tunnel_names=10,20", "setting of dns_tunnel, which recorded flows"),
        ("detect.loss_per_mille=1,2", "the sensor's own counters"),
    ] {
        refused(&dir, &["lab", "backtest", "run", "--vary", vary], words);
        refused(
            &dir,
            &[
                "lab",
                "backtest",
                "run",
                "--set",
                vary.split(',').next().unwrap_or(vary),
                "--vary",
                vary,
            ],
            words,
        );
    }
    for (args, words) in [
        (["udp-flood", "--vary", "detect.nonsense=1"], "no setting of detection nonsense"),
        (["udp-flood", "--vary", "strength=100,abc"], "\"abc\""),
        (["udp-flood", "--set", "nobody=1"], "nobody"),
        (["nothing", "--vary", "strength=1"], "nothing"),
    ] {
        let all = ["lab", "sweep"].into_iter().chain(args);
        refused(&dir, &all.collect::<Vec<_>>(), words);
    }
}

#[test]
fn a_folder_without_flows_is_an_error_that_says_so() {
    let dir = Dir::new();
    let run = dir.path("run");
    let fails = |words: &str| {
        let output = dir.run(["lab", "backtest", "run", "--vary", "scan_ports=10,20"]);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert_eq!(text(&output.stdout), "");
        assert!(errors.contains(words), "{errors}");
    };
    fails("can't read run");
    let output = dir.run(["lab", "backtest", "run", "--vary", "nonsense=1"]);
    assert_eq!(output.status.code(), Some(1), "the folder before what to try on it");
    fs::create_dir(&run).unwrap();
    fails("run has no flows.ndjson");
    fs::write(run.join("flows.parquet"), b"PAR1").unwrap();
    fails("as Parquet alone");
    fs::write(run.join("flows.ndjson"), b"").unwrap();
    fails("run holds no flow records");
    fs::write(run.join("flows.ndjson"), b"\0\0\0\n{}\n").unwrap();
    fails("flows.ndjson line 2: no flow record: ");
}
