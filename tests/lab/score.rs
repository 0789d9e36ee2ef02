//! `flowtap lab score` by the real binary, on truths, labels and alerts written by hand.

use crate::common::{Dir, text};
use serde_json::{Value, json};

const TRUTH: &str = r#"{
  "schema": "flowtap.lab.truth.v1", "scenario": "by hand", "seed": 0,
  "start": "2026-03-02T00:00:00Z", "end": "2026-03-03T00:00:00Z",
  "home_hosts": 50, "log_host": null, "packets": 0, "wire_bytes": 0,
  "attacks": [
    {"label": "one", "start": "2026-03-02T01:00:00Z", "end": "2026-03-02T01:02:00Z",
     "entities": ["10.0.0.1", "203.0.113.7"]},
    {"label": "two", "start": "2026-03-02T05:00:00Z", "end": "2026-03-02T05:02:00Z",
     "entities": ["10.0.0.2"]}
  ],
  "expects": [
    {"name": "one", "detectors": ["*flood"], "entities": ["10.0.0.1"], "analytic": "AN0972",
     "severity": "medium", "start": "2026-03-02T01:00:00Z", "until": "2026-03-02T01:03:00Z"},
    {"name": "two", "detectors": ["scan"], "entities": ["10.0.0.2"], "analytic": null,
     "severity": "low", "start": "2026-03-02T05:00:00Z", "until": "2026-03-02T05:03:00Z"}
  ],
  "quiets": [{"name": "backup", "entities": ["10.0.0.9"], "below": "informational"}]
}"#;

fn alert(id: u32, detector: &str, severity: &str, entity: &str, clock: &str) -> String {
    let alert = json!({
        "id": format!("{id:016x}"), "revision": 0, "detector": detector,
        "analytics": if detector == "udp_flood" { vec!["AN0972"] } else { Vec::new() },
        "severity": severity, "entity": {"kind": "address", "id": entity},
        "start": format!("2026-03-02T{clock}Z"), "end": format!("2026-03-02T{clock}.9Z"),
        "summary": format!("{detector} of {entity}"),
    });
    format!("{alert}\n")
}

/// By hand: one attack is hit 20 s after its start, twice; its victim is related; a scan an
/// hour late, a flood of somebody else and a broken quiet are false. Precision 2 / 5, recall
/// 1 / 2, F1 0.4 / 0.9; 3 false ones a day, 6 a day and 100 hosts.
#[test]
fn figures_of_the_command_are_those_worked_out_by_hand() {
    let dir = Dir::new();
    dir.write("truth.json", TRUTH.as_bytes());
    let alerts = [
        alert(1, "udp_flood", "high", "10.0.0.1", "01:00:20"),
        alert(2, "udp_flood", "medium", "10.0.0.1", "01:01:00"),
        alert(3, "udp_flood", "high", "203.0.113.7", "01:00:20"),
        alert(4, "scan", "low", "10.0.0.2", "06:00:00"),
        alert(5, "udp_flood", "high", "10.0.0.3", "12:00:00"),
        alert(6, "egress", "informational", "10.0.0.9", "02:00:00"),
        alert(7, "egress", "informational", "10.0.0.3", "02:00:00"),
    ];
    dir.write("alerts.ndjson", alerts.concat().as_bytes());
    let output = dir.run(["lab", "score", "truth.json", "alerts.ndjson", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        report["all"],
        json!({
            "expected": 2, "hit": 1, "true_alerts": 2, "related_alerts": 1, "false_alerts": 3,
            "precision": 0.4, "recall": 0.5, "f1": 0.444, "time_to_detect_s": 20.0,
        })
    );
    assert_eq!(
        (&report["false_per_day"], &report["false_per_day_and_100_hosts"]),
        (&json!(3.0), &json!(6.0))
    );
    assert_eq!(report["missed"], json!(["two"]));
    assert_eq!(report["by_detector"]["scan"]["hit"], 0);
    assert_eq!(report["by_analytic"]["AN0972"]["precision"], 0.667);
    let broken: Vec<(&Value, &Value)> = report["false_alerts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (&it["entity"], &it["broken_quiet"]))
        .collect();
    assert_eq!(
        broken,
        [
            (&json!("10.0.0.9"), &json!("backup")),
            (&json!("10.0.0.2"), &Value::Null),
            (&json!("10.0.0.3"), &Value::Null),
        ]
    );
    let output = dir.run(["lab", "score", "truth.json", "alerts.ndjson", "--least", "medium"]);
    let said = text(&output.stdout);
    assert!(said.contains("1/2") && said.contains("missed: two"), "{said}");
    assert!(said.contains("(to be quiet: backup)") && !said.contains("scan of"), "{said}");
}

#[test]
fn labelled_flows_are_a_truth_too() {
    let dir = Dir::new();
    dir.write(
        "flows.binetflow",
        b"StartTime,Dur,Proto,SrcAddr,Sport,Dir,DstAddr,Dport,State,sTos,dTos,TotPkts,TotBytes,SrcBytes,Label\n\
          2026/03/02 00:00:00.000000,1,udp,10.0.0.8,1,->,10.0.0.9,53,CON,0,0,2,200,100,flow=Background\n\
          2026/03/02 03:00:00.000000,60,tcp,10.0.0.1,1,->,203.0.113.7,80,CON,0,0,9,900,500,flow=From-Botnet-1\n\
          2026/03/02 03:02:00.000000,60,tcp,10.0.0.1,2,->,203.0.113.7,80,CON,0,0,9,900,500,flow=From-Botnet-1\n\
          2026/03/02 07:00:00.000000,1,tcp,10.0.0.2,1,->,203.0.113.7,80,CON,0,0,9,900,500,flow=From-Botnet-1\n",
    );
    dir.write("alerts.ndjson", alert(1, "beacon", "medium", "203.0.113.7", "01:00:30").as_bytes());
    let scored = |more: &[&str]| {
        let all = [&["lab", "score", "flows.binetflow", "alerts.ndjson", "--json"], more].concat();
        let output = dir.run(all);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    // Two rows are one attack, the clock is two hours ahead.
    let report = scored(&[]);
    assert_eq!(
        (&report["all"]["hit"], &report["all"]["expected"]),
        (&json!(1), &json!(2)),
        "{report:#}"
    );
    assert_eq!(report["all"]["time_to_detect_s"], 30.0);
    assert_eq!(
        report["missed"],
        json!(["From-Botnet-1: 10.0.0.2 to 203.0.113.7, 2026-03-02T05:00:00.000000000Z"])
    );
    assert_eq!(scored(&["--gap", "30s", "--labels", "ctu-13"])["all"]["expected"], 3);
    assert_eq!(scored(&["--time-zone", "+01:00"])["all"]["hit"], 0);
    assert_eq!(scored(&["--time-zone", "+01:00", "--shift", "-3600"])["all"]["hit"], 1);
    assert_eq!(scored(&["--least", "high"])["all"]["hit"], 0);
}

#[test]
fn what_can_t_be_scored_is_said_with_its_place() {
    let dir = Dir::new();
    dir.write("truth.json", TRUTH.as_bytes());
    dir.write("alerts.ndjson", b"");
    dir.write("broken.json", b"{\"schema\": 1}");
    dir.write("other.csv", b"a,b,c\n1,2,3\n");
    dir.write("bad.ndjson", b"{\"id\": \"1\", \"entity\": {}}\n");
    for (arguments, status, expected) in [
        (&["truth.json", "none.ndjson"][..], 1, "can't read none.ndjson"),
        (&["none.json", "alerts.ndjson"], 1, "can't read none.json"),
        (&["broken.json", "alerts.ndjson"], 1, "is no truth of a scenario"),
        (&["other.csv", "alerts.ndjson"], 1, "other.csv: line 1: it begins like no file of labels"),
        (&["truth.json", "bad.ndjson"], 1, "bad.ndjson has no alerts"),
        (
            &["truth.json", "alerts.ndjson", "--labels", "kdd"],
            2,
            "[possible values: truth, cic-ids, ctu-13, unsw-nb15]",
        ),
        (&["truth.json", "alerts.ndjson", "--time-zone", "3"], 2, "is no offset from UTC"),
        (&["truth.json"], 2, "<ALERTS>"),
    ] {
        let output = dir.run([&["lab", "score"], arguments].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    // No alert at all is a score.
    let output = dir.run(["lab", "score", "truth.json", "alerts.ndjson"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("missed: one"));
}
