//! Process logs: a recorded audit log beside the capture of what its programs sent,
//! and logs of other tools as they are documented.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/process_log").join(name)
}

/// Runs `flowtap read` on files into a folder of its own.
fn read(folder: &TempDir, files: &[&str]) -> PathBuf {
    let out = folder.path().join("out");
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowtap"));
    command.args(["read", "--quiet", "--format", "ndjson", "--out"]).arg(&out);
    command.args(files.iter().map(|name| fixture(name)));
    let output = command.env("XDG_STATE_HOME", folder.path().join("state")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out
}

/// The end of each flow by its address's port: program, first word, basis.
fn ends(out: &Path) -> BTreeMap<(u64, &'static str), (String, String, String)> {
    let mut ends = BTreeMap::new();
    let text = fs::read_to_string(out.join("flows.ndjson")).unwrap();
    for flow in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let service = flow["dst_port"].as_u64().unwrap();
        for end in ["src", "dst"] {
            let host = &flow[format!("{end}_host")];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let process = &host["process"];
            let basis = text(&host["attribution"]["basis"]);
            ends.insert(
                (service, end),
                (text(&process["name"]), text(&process["command_line"]), basis),
            );
        }
    }
    ends
}

#[test]
fn a_capture_beside_the_audit_log_names_who_sent_and_who_served() {
    let folder = tempfile::tempdir().unwrap();
    let out = read(&folder, &["auditd-raw.pcap", "auditd-raw.log"]);
    let ends = ends(&out);
    let of = |service, end| {
        let (name, _, basis) = &ends[&(service, end)];
        (name.as_str(), basis.as_str())
    };
    // The log says nothing of the clients' ports: they are found by whom they called
    // and when.
    assert_eq!(of(8443, "src"), ("bash", "connected_to"));
    assert_eq!(of(8443, "dst"), ("python3", "opened"));
    assert_eq!(of(8080, "src"), ("python3", "connected_to"));
    assert_eq!(of(8080, "dst"), ("python3", "opened"));
    assert_eq!(of(53, "src"), ("python3", "connected_to"));
    // Refused: nobody was there.
    assert_eq!(of(9, "src"), ("python3", "connected_to"));
    assert_eq!(of(9, "dst"), ("", ""));
    let command = |service, end| ends[&(service, end)].1.as_str();
    assert!(command(8443, "src").starts_with("bash -c"), "{}", command(8443, "src"));
    assert_eq!(command(8443, "dst"), "python3 -");
    assert!(command(8080, "src").starts_with("python3 -c"), "{}", command(8080, "src"));
}

#[test]
fn no_record_of_any_log_is_left_out() {
    for (name, kind) in [
        ("auditd-enriched.log", "auditd"),
        ("sysmon-linux.log", "sysmon-linux"),
        ("sysmon-linux.jsonl", "sysmon-linux"),
        ("osquery.jsonl", "osquery"),
        ("falco.jsonl", "falco"),
        ("tetragon.jsonl", "tetragon"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let out = read(&folder, &[name]);
        let summary: Value =
            serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
        let source = &summary["sources"][0];
        assert_eq!(source["kind"], kind, "{source}");
        for key in ["bad", "bad_parts", "error"] {
            assert_eq!(source.get(key), None, "{source}");
        }
        assert!(source["host_events"].as_u64().unwrap() > 3, "{source}");
    }
}
