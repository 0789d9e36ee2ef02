//! The captures of this repository against their manifest, which tshark and
//! capinfos counted.
#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures")
}

fn manifest() -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join("manifest.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn text<'a>(entry: &'a Value, name: &str) -> &'a str {
    entry[name].as_str().unwrap_or_else(|| panic!("{name} in {entry}"))
}

fn summary(entry: &Value, options: &[&str]) -> Value {
    let capture = folder().join(text(entry, "file"));
    let output = Command::new(env!("CARGO_BIN_EXE_flowtap"))
        .args(["read", "--json"])
        .args(options)
        .arg(&capture)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", capture.display());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_manifest_lists_exactly_the_captures_that_are_there() {
    let listed: BTreeSet<String> =
        manifest().iter().map(|entry| text(entry, "file").to_owned()).collect();
    let there: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".pcap"))
        .collect();
    assert_eq!(listed, there);
    assert!(listed.len() > 60);
}

#[test]
fn crafted_captures_are_what_the_generator_makes_today() {
    use clap::Parser;
    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        synth: flowtap::lab::synth::SynthArgs,
    }
    let made = tempfile::tempdir().unwrap();
    let arguments = ["synth", "shapes", "-o", made.path().to_str().unwrap()];
    flowtap::lab::synth::run(&Arguments::parse_from(arguments).synth).unwrap();
    let mut compared = 0;
    for entry in std::fs::read_dir(made.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if name == "shapes.json" {
            continue;
        }
        let kept = std::fs::read(folder().join(name)).unwrap();
        assert!(
            kept == std::fs::read(&path).unwrap(),
            "{name:?} differs: run captures/make crafted"
        );
        compared += 1;
    }
    assert!(compared > 40);
}

#[test]
fn every_capture_is_counted_as_its_manifest_says() {
    let mut differences = Vec::new();
    for entry in manifest() {
        let said = summary(&entry, &[]);
        let mut compare = |name: &str, said: &Value, truth: &Value| {
            if said != truth {
                differences
                    .push(format!("{}: {name}: said {said}, truth {truth}", text(&entry, "file")));
            }
        };
        for name in ["packets", "wire_bytes", "conversations", "first_packet", "last_packet"] {
            compare(name, &said[name], &entry[name]);
        }
        compare("non_ip", &said["accounting"]["non_ip"], &entry["non_ip_packets"]);
        for (name, packets) in entry["protocols"].as_object().unwrap() {
            // Protocols without a name here may have one there.
            if name.parse::<u8>().is_err() {
                compare(name, &said["protocols"][name]["packets"], packets);
            }
        }
        let outer = summary(&entry, &["--no-decap"]);
        compare("no-decap", &outer["conversations"], &entry["conversations_no_decap"]);
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
