//! What analysts are told of alerts, inputs and packets that are not what they were.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::process::Output;

use common::{Dir, text};
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
