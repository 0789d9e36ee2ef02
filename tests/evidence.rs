//! What analysts are told of alerts, inputs and packets that are not what they were.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::process::Output;

use common::{Dir, captures, text};
use serde_json::{Value, json};

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// A run with these alerts and nothing else.
fn run_of(dir: &Dir, alerts: &[Value]) {
    std::fs::create_dir_all(dir.path("run")).expect("a folder");
    std::fs::write(dir.path("run/summary.json"), "{}").expect("written");
    let lines: String = alerts.iter().map(|alert| format!("{alert}\n")).collect();
    std::fs::write(dir.path("run/alerts.ndjson"), lines).expect("written");
}

/// Chosen by its detector as to severity, and scored by one term that gives all its points.
fn scored(detector: &str, rule: &Value, measured: u64, term: (&str, f64), points: f64) -> Value {
    let (name, value) = term;
    let terms = json!([{
        "name": name, "value": value, "low": 0.0, "high": value, "weight": points,
        "scale": "linear", "points": points,
    }]);
    json!({
        "id": "00ff", "detector": detector, "severity": "medium", "confidence": 0.5,
        "severity_reason": "as such programs do", "confidence_cap": 0.6,
        "confidence_terms": [{"name": "start", "points": 0.5}], "confidence_reason": "0.5.",
        "summary": "something", "missing_telemetry": [],
        "evidence": {"measured": measured, "rule": rule, "peak": {"packets_per_s": 0}},
        "case": {
            "baseline_mature": false,
            "score": {"value": points, "threshold": 30.0, "formula": "sum", "terms": terms},
        },
    })
}

fn beacon() -> Value {
    let rule = json!({"name": "beacon_score", "threshold": 80, "unit": "points of 100"});
    scored("beacon", &rule, 97, ("timing", 0.9), 97.4)
}

fn egress() -> Value {
    let rule = json!({"name": "egress_floor", "threshold": 60_000, "unit": "packets/minute"});
    scored("egress", &rule, 112_763, ("times_threshold", 1.879_383), 40.0)
}

/// Of so many bytes that the sixth digit of the term is dozens of them.
fn large_egress() -> Value {
    let rule = json!({
        "name": "instance_traffic_threshold", "threshold": 75_000_000, "unit": "bytes/minute",
    });
    scored("egress", &rule, 141_621_170, ("times_threshold", 1.888_282), 45.0)
}

#[test]
fn what_was_measured_is_held_against_the_score_or_its_term() {
    let dir = Dir::new();
    for (alert, measured, what) in [
        (beacon(), 55, "measured: 97.4 by score, recorded as 55"),
        (beacon(), 55, "measured: 55 is below the threshold of 80"),
        (beacon(), 99, "measured: 97.4 by score, recorded as 99"),
        (egress(), 1, "by times threshold, recorded as 1"),
        (egress(), 1, "measured: 1 is below the threshold of 60000"),
        (egress(), 900_000, "by times threshold, recorded as 900000"),
        (large_egress(), 141_622_000, "by times threshold, recorded as 141622000"),
    ] {
        run_of(&dir, std::slice::from_ref(&alert));
        let output = dir.run(["explain", "00ff", "--run", "run"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let mut changed = alert;
        changed["evidence"]["measured"] = measured.into();
        run_of(&dir, &[changed]);
        let output = dir.run(["explain", "00ff", "--run", "run"]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(text(&output.stdout).contains(what), "{what}: {}", said(&output));
        assert!(!text(&output.stdout).contains("the same as recorded"), "{}", said(&output));
    }
}

#[test]
fn what_was_not_recomputed_is_named_and_a_severity_is_what_its_reason_says() {
    let dir = Dir::new();
    let mut alert = beacon();
    alert["severity"] = "critical".into();
    run_of(&dir, &[alert.clone()]);
    let output = dir.run(["explain", "00ff", "--run", "run"]);
    let page = text(&output.stdout);
    assert!(page.contains("Chosen by its detector, not recomputed."), "{page}");
    assert!(page.trim_end().ends_with("Not recomputed: severity."), "{page}");
    let output = dir.run(["explain", "00ff", "--run", "run", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["not_recomputed"], json!(["severity"]));
    assert_eq!(told["measured"]["held_against"], "score");
    for (reason, named) in [
        ("Low: hardly any.", "low"),
        ("Informational: part of another alert; by itself high (High: much.)", "informational"),
        ("so. As severe as the alert by egress that is part of it: high.", "high"),
    ] {
        alert["severity_reason"] = reason.into();
        run_of(&dir, &[alert.clone()]);
        let output = dir.run(["explain", "00ff", "--run", "run"]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let what = format!("severity: {named} by its reason, recorded as critical");
        assert!(text(&output.stdout).contains(&what), "{}", said(&output));
    }
    alert["severity_reason"] = "High: very.".into();
    alert["severity"] = "high".into();
    // Nothing that this detector measures is among its figures.
    alert["evidence"]["rule"]["unit"] = "ports".into();
    run_of(&dir, &[alert]);
    let output = dir.run(["explain", "00ff", "--run", "run"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(text(&output.stdout).contains("Not recomputed: what was measured, severity."));
}

#[test]
fn what_is_no_alert_is_not_explained() {
    let dir = Dir::new();
    for lacking in ["detector", "severity", "evidence"] {
        let mut alert = beacon();
        alert.as_object_mut().expect("an object").remove(lacking);
        run_of(&dir, &[alert]);
        let output = dir.run(["explain", "00ff", "--run", "run"]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert_eq!(text(&output.stdout), "");
        assert!(text(&output.stderr).contains(&format!("it lacks {lacking}")), "{lacking}");
    }
}

/// A flood in a capture of its own, with a log beside it.
fn flood(dir: &Dir, more: &[&str]) -> Value {
    std::fs::copy(captures().join("demo-udp-flood.pcap.zst"), dir.path("flood.pcap.zst"))
        .expect("copied");
    dir.write(
        "access.log",
        b"192.0.2.1 - - [02/Mar/2026:09:00:00 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"curl/8\"\n",
    );
    let read = ["read", "-q", "--out", "run", "flood.pcap.zst", "access.log"];
    let output = dir.run(read.iter().chain(more));
    assert!(output.status.success(), "{}", said(&output));
    let lines = std::fs::read_to_string(dir.path("run/alerts.ndjson")).expect("alerts");
    serde_json::from_str(lines.lines().next().expect("an alert")).expect("JSON")
}

fn id(alert: &Value) -> &str {
    alert["id"].as_str().expect("an id")
}

fn edit(dir: &Dir, name: &str, change: impl FnOnce(&mut Value)) {
    let text = std::fs::read(dir.path(name)).expect("it is there");
    let mut value = serde_json::from_slice(&text).expect("JSON");
    change(&mut value);
    std::fs::write(dir.path(name), value.to_string()).expect("written");
}

#[test]
fn a_host_has_the_flows_of_its_peers_and_a_log_is_no_capture() {
    let dir = Dir::new();
    let mut alert = flood(&dir, &[]);
    let peers = alert["peers"].as_array().expect("peers");
    assert!(!peers.is_empty(), "{alert}");
    alert["entity"] = json!({"kind": "host", "id": "web", "labels": {}});
    std::fs::write(dir.path("run/alerts.ndjson"), format!("{alert}\n")).expect("written");
    // A log goes on.
    let mut log = std::fs::read(dir.path("access.log")).expect("the log");
    log.extend_from_within(..);
    std::fs::write(dir.path("access.log"), log).expect("written");
    let bundle = || {
        let output = dir.run(["bundle", id(&alert), "--run", "run", "-o", "b", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let names: Vec<&str> = told["files"]
            .as_array()
            .expect("files")
            .iter()
            .filter_map(|file| file["name"].as_str())
            .collect();
        assert!(names.contains(&"flows.ndjson") && names.contains(&"packets.pcapng"), "{told:#}");
        assert!(!told["left_out"].to_string().contains("access.log"), "{told:#}");
    };
    bundle();
    // Runs did not always say which inputs were logs.
    edit(&dir, "run/run.json", |record| {
        for input in record["inputs"].as_array_mut().expect("inputs") {
            assert!(input.as_object_mut().expect("one").remove("kind").is_some());
        }
    });
    bundle();
    let output = dir.run(["show", "alert", id(&alert), "--run", "run", "--pcap", "p.pcapng"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn packets_are_of_the_captures_that_the_run_read_or_there_are_none() {
    let dir = Dir::new();
    // Another tap's, of the same time.
    std::fs::copy(captures().join("demo-udp-flood.pcap.zst"), dir.path("tap2.pcap.zst"))
        .expect("copied");
    let alert = flood(&dir, &["tap2.pcap.zst"]);
    let id = id(&alert);
    let bundle = || {
        let output = dir.run(["bundle", id, "--run", "run", "-o", "b", "--json"]);
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let files = told["files"].to_string();
        (files.contains("packets.pcapng"), told["left_out"].to_string())
    };
    let show = || dir.run(["show", "alert", id, "--run", "run", "--pcap", "p.pcapng"]);
    let why = "tap2.pcap.zst has changed since it was read";
    let mut bytes = std::fs::read(dir.path("tap2.pcap.zst")).expect("a capture");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    dir.write("tap2.pcap.zst", &bytes);
    // The rest is what it was.
    let (packets, left_out) = bundle();
    assert!(packets && left_out.contains(why), "{left_out}");
    let output = show();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(text(&output.stderr).contains(why) && text(&output.stderr).contains("--from"));
    assert!(!dir.path("p.pcapng").exists());

    std::fs::copy(captures().join("nmap-syn.pcap"), dir.path("flood.pcap.zst")).expect("copied");
    let (packets, left_out) = bundle();
    assert!(!packets && left_out.contains("flood.pcap.zst has changed"), "{left_out}");
    let output = dir.run(["bundle", id, "--run", "run", "-o", "b"]);
    assert!(text(&output.stdout).contains("flood.pcap.zst has changed"), "{}", said(&output));

    // Nobody knows what was read where no digest was kept.
    std::fs::copy(captures().join("demo-udp-flood.pcap.zst"), dir.path("flood.pcap.zst"))
        .expect("copied");
    edit(&dir, "run/run.json", |record| {
        for input in record["inputs"].as_array_mut().expect("inputs") {
            input["sha256"] = Value::Null;
        }
    });
    assert_eq!(show().status.code(), Some(0), "{}", said(&show()));
}

#[test]
fn an_alert_names_the_captures_of_its_time_and_packets_are_looked_for_in_them_alone() {
    let alone = Dir::new();
    assert_eq!(flood(&alone, &[])["files"], Value::Null, "there is no other");
    let dir = Dir::new();
    std::fs::copy(captures().join("dns.pcap"), dir.path("dns.pcap")).expect("copied");
    let mut alert = flood(&dir, &["dns.pcap"]);
    assert_eq!(alert["files"], json!(["flood.pcap.zst"]));
    let id = id(&alert).to_owned();
    let page = dir.run(["show", "alert", &id, "--run", "run"]);
    let stdout = text(&page.stdout);
    let line = stdout.lines().find(|line| line.trim_start().starts_with("captures "));
    assert!(line.is_some_and(|line| line.ends_with(" flood.pcap.zst")), "{}", said(&page));
    // What else was read says nothing of it, whatever became of that.
    std::fs::remove_file(dir.path("dns.pcap")).expect("removed");
    let show = || dir.run(["show", "alert", &id, "--run", "run", "--pcap", "p.pcapng"]);
    assert_eq!(show().status.code(), Some(0), "{}", said(&show()));
    let bundle = dir.run(["bundle", &id, "--run", "run", "-o", "b", "--json"]);
    let told: Value = serde_json::from_slice(&bundle.stdout).expect("JSON");
    assert!(told["files"].to_string().contains("packets.pcapng"), "{told:#}");
    assert!(!told["left_out"].to_string().contains("dns.pcap"), "{told:#}");

    // At another time scale a capture's own times are none of the alert's.
    let scaled = dir.summary(["--time-scale", "10x", "flood.pcap.zst", "access.log"]);
    assert_eq!(scaled["files"][0]["first_packet"], Value::Null);
    let own = dir.summary(["flood.pcap.zst", "access.log"]);
    assert_eq!(own["files"][0]["first_packet"], own["first_packet"]);
    assert_eq!(own["files"][0]["last_packet"], own["last_packet"]);

    for at in ["start", "end"] {
        alert[at] = "2001-01-01T00:00:00Z".into();
    }
    std::fs::write(dir.path("run/alerts.ndjson"), format!("{alert}\n")).expect("written");
    let output = show();
    assert!(text(&output.stderr).contains("has packets of that time"), "{}", said(&output));
}

#[test]
fn why_not_refuses_when_a_file_that_the_arguments_name_is_not_what_it_was() {
    let dir = Dir::new();
    let learn = ["read", "-q", "--baseline", "b.redb", "--learn", "dns.pcap"];
    std::fs::copy(captures().join("dns.pcap"), dir.path("dns.pcap")).expect("copied");
    assert!(dir.run(learn).status.success());
    let files: [(&str, &[u8]); 5] = [
        ("flowtap.toml", b"[detect]\npacket_rate_threshold = 20000\n"),
        ("classes.toml", b"version = \"s\"\n[[class]]\nid = \"a\"\nclass = \"agent\"\nnames = [\"x\"]\nreason = \"r\"\n"),
        ("inventory.csv", b"id,address,name\ni-1,10.0.0.7,web\n"),
        ("owners.csv", b"prefix,owner,note\n192.0.2.0/24,somebody,\n"),
        ("reputation.csv", b"address,category,score,note\n192.0.2.9,scanner,50,\n"),
    ];
    for (name, bytes) in files {
        dir.write(name, bytes);
    }
    let mut read = dir.command(["read", "-q", "--out", "run", "dns.pcap"]);
    read.args(["--config", "flowtap.toml", "--process-classes", "classes.toml"]);
    read.args(["--inventory", "inventory.csv", "--owners", "owners.csv"]);
    read.args(["--reputation", "reputation.csv", "--baseline", "b.redb"]);
    let output = read.output().expect("starts");
    assert!(output.status.success(), "{}", said(&output));
    let ask = || dir.run(["why-not", "192.0.2.1", "--run", "run"]);
    assert_eq!(ask().status.code(), Some(0), "{}", said(&ask()));
    let refused = |what: &str| {
        let output = ask();
        assert_eq!(output.status.code(), Some(1), "{what}: {}", said(&output));
        assert_eq!(text(&output.stdout), "", "{what}");
        assert!(text(&output.stderr).contains(what), "{what}: {}", said(&output));
    };
    for (name, bytes) in files {
        dir.write(name, &[bytes, b"\n"].concat());
        refused(&format!("{name} has changed since it was read"));
        std::fs::remove_file(dir.path(name)).expect("removed");
        refused(&format!("{name} is not there (any more)"));
        dir.write(name, bytes);
    }
    assert_eq!(ask().status.code(), Some(0), "{}", said(&ask()));
    assert!(dir.run([&learn[..], &["--again"]].concat()).status.success());
    refused("b.redb has changed since it was read");
}

/// Why-not's windows of an address, by the real binary.
fn windows(dir: &Dir, who: &str) -> usize {
    let output = dir.run(["why-not", who, "--run", "run", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(told["notes"].to_string().contains("the run learned into b.redb"), "{told:#}");
    told["windows"].as_array().expect("windows").len()
}

#[test]
fn why_not_answers_of_a_run_that_learned_by_what_it_read() {
    let dir = Dir::new();
    for name in ["dns.pcap", "ping.pcap"] {
        std::fs::copy(captures().join(name), dir.path(name)).expect("copied");
    }
    let learn = |files: &[&str]| {
        let args = ["baseline", "learn", "-q", "--baseline", "b.redb", "--out", "run"];
        let output = dir.run(args.iter().chain(files));
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    };
    let client = "10.77.0.1";
    learn(&["dns.pcap"]);
    let of_dns = windows(&dir, client);
    assert!(of_dns > 0);
    // What was learned before is not read once more.
    learn(&["dns.pcap", "ping.pcap"]);
    let of_pings = windows(&dir, client);
    let read = ["read", "-q", "--out", "run", "--baseline", "b.redb", "--learn", "--again"];
    let output = dir.run(read.iter().chain(&["ping.pcap"]));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(windows(&dir, client), of_pings);
}

#[test]
fn why_not_names_the_runs_own_alerts_and_says_what_it_can_not_know() {
    let dir = Dir::new();
    let learn = ["--baseline", "b.redb", "--learn"];
    let mut alert = flood(&dir, &learn);
    let sender = alert["entity"]["id"].as_str().expect("an address").to_owned();
    alert["id"] = "0123456789abcdef".into();
    std::fs::write(dir.path("run/alerts.ndjson"), format!("{alert}\n")).expect("written");
    let ask = || {
        let output = dir.run(["why-not", &sender, "--run", "run", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let told = ask();
    assert_eq!(told["alerts"].as_array().map(Vec::len), Some(1), "{told:#}");
    assert_eq!(told["alerts"][0]["id"], "0123456789abcdef");
    assert!(told["notes"].to_string().contains("learned into b.redb"), "{told:#}");
    edit(&dir, "run/run.json", |record| {
        record.as_object_mut().expect("a record").remove("also_read");
        record["inputs"][0]["sha256"] = Value::Null;
    });
    let notes = ask()["notes"].to_string();
    assert!(notes.contains("digests of its inputs alone"), "{notes}");
    assert!(notes.contains("no digest of access.log"), "{notes}");

    edit(&dir, "run/run.json", |record| {
        record["arguments"].as_array_mut().expect("arguments").push("--nope".into());
    });
    let output = dir.run(["why-not", &sender, "--run", "run"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(text(&output.stderr).contains("unexpected argument '--nope'"), "{}", said(&output));
}

#[test]
fn what_an_entry_allowed_is_listed_with_the_entry() {
    let dir = Dir::new();
    let alert = flood(&dir, &[]);
    assert!(!dir.path("run/allowed.ndjson").exists());
    let none = dir.run(["alerts", "list", "--run", "run", "--allowed"]);
    assert_eq!(text(&none.stdout), "No allowed alerts.\n");
    dir.write(
        "flowtap.toml",
        b"[[allow]]\ndetector = \"any\"\nentity = \"10.0.0.0/8\"\nreason = \"load test\"\n\
          owner = \"ann\"\nexpires = 2036-01-01\n",
    );
    flood_allowed(&dir);
    let lines = std::fs::read_to_string(dir.path("run/allowed.ndjson")).expect("allowed");
    let allowed: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let same = allowed.iter().find(|one| one["id"] == alert["id"]).expect("the flood");
    for field in ["detector", "entity", "start", "end", "severity"] {
        assert_eq!(same[field], alert[field], "{field}");
    }
    assert_eq!(same["evidence"]["measured"], alert["evidence"]["measured"]);
    assert_eq!(same["evidence"]["packets"], alert["evidence"]["packets"]);
    let by = &same["evidence"]["details"]["allowed_by"];
    assert_eq!((&by["entity"], &by["reason"]), (&"10.0.0.0/8".into(), &"load test".into()));
    let schema: Value = serde_json::from_str(flowtap::output::ALERT_SCHEMA).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    assert!(allowed.iter().all(|one| schema.is_valid(one)));
    let summary = std::fs::read(dir.path("run/summary.json")).expect("a summary");
    let summary: Value = serde_json::from_slice(&summary).expect("JSON");
    assert_eq!(summary["alerts_allowed"][0]["suppressed"], allowed.len());

    let output = dir.run(["alerts", "list", "--run", "run", "--allowed"]);
    let page = text(&output.stdout);
    assert!(page.contains(id(&alert)), "{page}");
    assert!(page.contains("10.0.0.0/8 by any (load test, by ann)"), "{page}");
    let output = dir.run(["show", "alert", id(&alert), "--run", "run"]);
    assert!(text(&output.stdout).contains("load test"), "{}", said(&output));

    // Another run into the same folder has what it has itself.
    flood(&dir, &[]);
    assert!(!dir.path("run/allowed.ndjson").exists());
}

fn flood_allowed(dir: &Dir) {
    let read = ["read", "-q", "--out", "run", "flood.pcap.zst", "--config", "flowtap.toml"];
    let output = dir.run(read);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(std::fs::read_to_string(dir.path("run/alerts.ndjson")).expect("alerts"), "");
}

#[test]
fn what_is_asked_of_nobody_or_of_no_detector_is_said() {
    let dir = Dir::new();
    let alert = flood(&dir, &[]);
    let output = dir.run(["alerts", "list", "--run", "run", "--detector", "udp_flod"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(text(&output.stderr).contains("did you mean \"udp_flood\"?"), "{}", said(&output));
    let output = dir.run(["why-not", "garbage", "--run", "run"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(text(&output.stderr).contains("no detector measured anything"), "{}", said(&output));
    let output = dir.run(["why-not", "10.0.0.0/8", "--run", "run", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(told["alerts"].to_string().contains(id(&alert)), "{told:#}");

    let flows = std::fs::read_to_string(dir.path("run/flows.ndjson")).expect("flows");
    let torn = flows.replacen('\n', "\n{broken\n", 2);
    std::fs::write(dir.path("run/flows.ndjson"), torn).expect("written");
    let output = dir.run(["flows", "--run", "run"]);
    let warning = "2 lines are no records and are left out; the first: run/flows.ndjson line 2";
    assert!(text(&output.stderr).contains(warning), "{}", said(&output));
    std::fs::remove_file(dir.path("run/flows.ndjson")).expect("removed");
    let output = dir.run(["flows", "--run", "run"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(text(&output.stderr).contains("their file is not there"), "{}", said(&output));
}
