//! What the program writes follows the JSON Schemas that it publishes.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::{Dir, captures, text};
use flowtap::output::{ALERT_SCHEMA, FLOW_SCHEMA, SUMMARY_SCHEMA};
use jsonschema::Validator;
use serde_json::Value;

fn validator(schema: &str) -> Validator {
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema is a JSON Schema")
}

fn check(validator: &Validator, what: &str, value: &Value) {
    let errors: Vec<String> =
        validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {}\n{value}", errors.join("\n"));
}

#[test]
fn flows_alerts_and_summaries_of_every_capture_follow_their_schemas() {
    let (flow, alert, summary) =
        (validator(FLOW_SCHEMA), validator(ALERT_SCHEMA), validator(SUMMARY_SCHEMA));
    let dir = Dir::new();
    let (mut flows, mut alerts) = (0, 0);
    for path in common::all_captures("schemas").iter().filter(|path| path.starts_with(captures())) {
        let out = dir.path("out");
        let mut command = dir.command(["read", "--quiet", "--out"]);
        // Beside another, alerts say which of them they are in.
        let output = command
            .arg(&out)
            .arg(path)
            .arg(captures().join("ping.pcap"))
            .output()
            .expect("the binary starts");
        assert!(output.status.success(), "{}: {}", path.display(), text(&output.stderr));
        let name = path.display().to_string();
        let read = |file: &str| std::fs::read_to_string(out.join(file)).expect("written");
        let whole: Value = serde_json::from_str(&read("summary.json")).expect("JSON");
        check(&summary, &name, &whole);
        // Enough of a flood's flows: all look alike.
        for line in read("flows.ndjson").lines().take(200) {
            check(&flow, &name, &serde_json::from_str(line).expect("JSON"));
            flows += 1;
        }
        for line in read("alerts.ndjson").lines() {
            check(&alert, &name, &serde_json::from_str(line).expect("JSON"));
            alerts += 1;
        }
    }
    assert!(
        flows > 500 && alerts > 3,
        "{flows} flows and {alerts} alerts are too few to mean anything"
    );
}
