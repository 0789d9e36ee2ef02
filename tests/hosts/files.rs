//! The user's files of hosts, and the table of what has a process.

use serde_json::Value;

use crate::common::{Dir, captures, text};
use crate::lab::written;
use crate::watched::parse;

/// A flood, its sender and whom it hits.
const CAPTURE: &str = "demo-udp-flood.pcap.zst";

#[test]
fn instances_owners_and_reputation_stand_in_records_and_alerts() {
    let dir = Dir::new();
    let capture = captures().join(CAPTURE);
    let capture = capture.to_str().unwrap();
    let plain = dir.summary([capture]);
    let entity = plain["alerts"][0]["entity"]["id"].as_str().unwrap();
    let peer = plain["alerts"][0]["peers"][0]["address"].as_str().unwrap();
    let inventory = dir.write(
        "inventory.csv",
        format!("id,address,name,owner,environment\ni-1,{entity},web-1,shop,production\n")
            .as_bytes(),
    );
    let owners = dir.write("owners.csv", format!("{peer}/32,Example Net\n").as_bytes());
    let list =
        format!("address,category,score,note\n{peer},scanner,75,seen before\n{entity},test,1,\n");
    let reputation = dir.write("bad.csv", list.as_bytes());
    let out = dir.path("run");
    let summary = dir.summary([
        "--inventory",
        inventory.to_str().unwrap(),
        "--owners",
        owners.to_str().unwrap(),
        "--reputation",
        reputation.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        capture,
    ]);
    let alerts = summary["alerts"].as_array().unwrap();
    let alert = alerts.iter().find(|alert| alert["entity"]["id"] == entity).unwrap();
    for alert in alerts.iter().filter(|alert| alert["entity"]["kind"] == "instance") {
        assert_eq!(alert["entity"]["id"], "i-1", "{alert:#}");
        assert_eq!(alert["instance"]["name"], "web-1", "{alert:#}");
    }
    assert_eq!(alert["instance"]["id"], "i-1", "{alert:#}");
    assert_eq!(alert["instance"]["name"], "web-1");
    assert_eq!(alert["context"]["reputation"][0]["category"], "test", "{alert:#}");
    assert_eq!(alert["context"]["absent"]["owner"], "nothing_known", "{alert:#}");
    let context = &alert["peers"][0]["context"];
    assert_eq!(context["owner"]["name"], "Example Net", "{context:#}");
    assert_eq!(context["owner"]["prefix"], format!("{peer}/32"));
    let bad = &context["reputation"][0];
    assert_eq!((&bad["category"], &bad["score"]), (&"scanner".into(), &75.0.into()), "{bad:#}");
    assert_eq!(bad["list"].as_str().map(|list| list.contains("bad")), Some(true), "{bad:#}");
    for of in [&context["owner"], bad] {
        assert!(of["as_of"].is_string() && of["age_ns"].is_u64(), "its source and age: {of:#}");
    }
    let kept = parse(&std::fs::read_to_string(out.join("alerts.ndjson")).unwrap());
    assert!(kept.contains(alert), "the same in the file");

    let flows = parse(&written(&out, "flows"));
    let side = |flow: &Value, end: &str| flow[format!("{end}_host")]["instance"]["id"].clone();
    let mut with_instance = 0;
    for flow in &flows {
        for end in ["src", "dst"] {
            let here = flow[format!("{end}_ip")] == entity;
            assert_eq!(side(flow, end) == "i-1", here, "{flow:#}");
            with_instance += u64::from(here);
        }
    }
    assert!(with_instance > 0);
    assert_eq!(summary["coverage"]["with_instance"]["flows"], with_instance);

    let out = out.to_str().unwrap();
    let table = dir.run(["coverage", "--run", out]);
    let table = text(&table.stdout);
    assert!(table.contains("with an instance"), "{table}");
    let json = text(&dir.run(["coverage", "--json", "--run", out]).stdout);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["hosts"]["with_instance"]["flows"], with_instance);
}

#[test]
fn alerts_name_the_instance_that_only_a_mirror_session_tells() {
    let dir = Dir::new();
    let made = dir.path("mirrored");
    let made = made.to_str().unwrap();
    let done = dir.run(["lab", "make", "mirrored-flood", "-o", made, "--set", "strength=1200"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let inventory = dir.write("inventory.csv", b"id,name,interface\ni-app,app,vni:4242\n");
    let capture = format!("{made}/traffic.pcap");
    let summary = dir.summary(["--inventory", inventory.to_str().unwrap(), &capture]);
    let alerts = summary["alerts"].as_array().unwrap();
    let flood = alerts.iter().find(|alert| alert["detector"] == "udp_flood").expect("the flood");
    assert_eq!(flood["instance"]["id"], "i-app", "{flood:#}");
}

#[test]
fn a_run_that_knew_nothing_of_hosts_says_how_to_tell_it() {
    let dir = Dir::new();
    let out = dir.path("run");
    let out = out.to_str().unwrap();
    let summary = dir.summary(["--out", out, captures().join(CAPTURE).to_str().unwrap()]);
    assert!(summary["coverage"].is_null() && summary["alerts"][0]["context"].is_null());
    let told = text(&dir.run(["coverage", "--run", out]).stdout);
    assert!(told.contains("knew nothing of hosts") && told.contains("--procs auto"), "{told}");
}

#[test]
fn files_that_are_no_good_are_errors_of_usage() {
    let dir = Dir::new();
    let capture = captures().join(CAPTURE);
    let overlapping = "id,address\ni-1,192.0.2.1\ni-2,192.0.2.1\n";
    let inventory = dir.write("twice.csv", overlapping.as_bytes());
    let output =
        dir.run(["read", "--inventory", inventory.to_str().unwrap(), capture.to_str().unwrap()]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("line 2") && said.contains(":3"), "both lines are named: {said}");
    for option in ["--owners", "--reputation", "--inventory"] {
        let output = dir.run(["read", option, "/nowhere", capture.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{option}: {}", text(&output.stderr));
    }
}
