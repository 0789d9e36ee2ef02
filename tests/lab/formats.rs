//! A scenario's logs in the formats of people's own sources: each alone, without a packet,
//! raises the alert of its analytic, and nothing about who only looks alike.

use crate::common::{Dir, text};
use serde_json::{Value, json};

fn make(dir: &Dir, scenario: &str, formats: &str, set: &[&str]) {
    let mut args = vec!["lab", "make", scenario, "-o", "lab", "--seed", "9001"];
    args.extend(["--formats", formats]);
    args.extend(set.iter().flat_map(|&pair| ["--set", pair]));
    let output = dir.run(args);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Alerts of these files of the scenario, and nothing else.
fn alerts(dir: &Dir, files: &[&str], more: &[&str]) -> Vec<Value> {
    let paths: Vec<String> = files.iter().map(|file| format!("lab/{file}")).collect();
    let run = format!("run-{}", files.join("-"));
    let mut args = vec!["read", "--quiet", "--out", &run];
    args.extend(more);
    args.extend(paths.iter().map(String::as_str));
    let output = dir.run(args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = std::fs::read_to_string(dir.path(&run).join("alerts.ndjson")).expect("alerts");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_flood_is_found_in_flow_logs_alone_and_what_looks_alike_is_not() {
    let dir = Dir::new();
    let set = ["strength=1500", "flood.payload_bytes=1200", "duration_s=240"];
    make(&dir, "udp-flood", "aws-vpc,zeek-conn-json", &set);
    for file in ["vpc.log", "zeek-conn-json.log"] {
        let found = alerts(&dir, &[file], &[]);
        let told: Vec<_> = found.iter().filter(|it| it["severity"] != "informational").collect();
        assert_eq!(told.len(), 1, "{file}: {found:#?}");
        assert_eq!(told[0]["analytics"], json!(["AN0972"]), "{file}");
        assert_eq!(told[0]["entity"]["id"], "10.0.1.10", "{file}: the flooding host");
        assert_eq!(told[0]["peers"][0]["address"], "203.0.113.77", "{file}");
        // And by the scenario's own truth.
        let run = format!("run-{file}/alerts.ndjson");
        let output = dir.run(["lab", "score", "lab/truth.json", &run, "--json"]);
        let score: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let all = &score["all"];
        assert_eq!((&all["recall"], &all["precision"]), (&json!(1.0), &json!(1.0)), "{score:#}");
    }
}

#[test]
fn stages_of_a_chain_are_found_in_logs_of_their_kind_alone() {
    let dir = Dir::new();
    let set = ["duration_s=1400"];
    make(&dir, "web-chain", "aws-alb,combined,auditd,osquery,zeek-conn-json", &set);
    for (file, place, what) in [
        ("aws-alb.log", "10.0.1.10", "exploit_request"),
        ("access.log", "web", "exploit_request"),
        ("auditd.log", "web", "shell_from_service"),
        ("osquery.log", "web", "shell_from_service"),
    ] {
        let more: &[&str] = if file == "access.log" { &["--log-host", "web"] } else { &[] };
        let found = alerts(&dir, &[file], more);
        assert_eq!(found.len(), 1, "{file}: {found:#?}");
        assert_eq!(
            (&found[0]["detector"], &found[0]["entity"]["id"]),
            (&json!("chain"), &json!(place))
        );
        assert_eq!(found[0]["severity"], "informational", "{file}: one stage alone");
        assert_eq!(found[0]["analytics"], json!(["AN0223"]), "{file}");
        assert_eq!(found[0]["case"]["timeline"][0]["what"], what, "{file}");
    }
}

#[test]
fn logs_of_two_kinds_make_a_chain_of_two_stages() {
    let dir = Dir::new();
    make(&dir, "web-chain", "combined,osquery", &["duration_s=1400"]);
    let found = alerts(&dir, &["access.log", "osquery.log"], &["--log-host", "web"]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((&found[0]["detector"], &found[0]["severity"]), (&json!("chain"), &json!("low")));
    assert_eq!(found[0]["entity"]["id"], "web");
}

#[test]
fn a_sweep_by_formats_knows_nothing_but_them() {
    let dir = Dir::new();
    let mut args = vec!["lab", "sweep", "udp-flood", "--formats", "aws-vpc", "--seeds", "1"];
    args.extend(["--vary", "strength=50,1500", "--set", "flood.payload_bytes=1200"]);
    args.extend(["--set", "duration_s=190", "--json"]);
    let output = dir.run(args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rows = text(&output.stdout);
    let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let figure = |row: &Value, name: &str| row[name].as_f64();
    let figures: Vec<_> =
        rows.map(|row| (figure(&row, "recall"), figure(&row, "false_per_day"))).collect();
    assert_eq!(figures, [(Some(0.0), Some(0.0)), (Some(1.0), Some(0.0))]);
}

#[test]
fn a_beacon_is_found_in_a_connection_log_alone() {
    let dir = Dir::new();
    make(&dir, "beacon", "zeek-conn-json", &["duration_s=7200"]);
    let found = alerts(&dir, &["zeek-conn-json.log"], &[]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(
        (&found[0]["detector"], &found[0]["entity"]["id"]),
        (&json!("beacon"), &json!("10.0.1.10"))
    );
    assert_eq!(found[0]["possible_analytics"], json!(["AN0031"]));
    assert_eq!(found[0]["peers"][0]["address"], "203.0.113.66");
}

#[test]
fn a_format_that_a_scenario_has_nothing_for_is_said() {
    let dir = Dir::new();
    for (scenario, format, missing) in
        [("udp-flood", "auditd", "watched host"), ("beacon", "aws-alb", "requests")]
    {
        let output = dir.run(["lab", "make", scenario, "-o", "lab", "--formats", format]);
        assert!(!output.status.success());
        let said = text(&output.stderr);
        assert!(said.contains(&format!("has no {missing}")) && said.contains(format), "{said}");
    }
}
