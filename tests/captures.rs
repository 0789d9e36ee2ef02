//! The captures of this repository against their manifest, which tshark and
//! capinfos counted: packets and flows, and one alert for each attack.
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

/// Attacks of the manifest that stay under the thresholds, and why.
const BELOW_THRESHOLDS: [(&str, &str); 1] =
    [("hping3-icmp-flood.pcap.zst", "6,005 answered echo requests/s; the threshold is 10,000")];

/// The detector that finds an attack of the manifest.
fn detector(attack: &Value) -> &'static str {
    let prefix = text(attack, "victim").contains('/');
    match text(attack, "kind") {
        "udp_flood" if prefix => "carpet_bombing",
        "udp_flood" => "udp_flood",
        "icmp_flood" => "icmp_flood",
        "syn_flood" => "tcp_syn_flood",
        "scan_vertical" => "port_scan",
        "scan_horizontal" => "host_scan",
        "scan_sweep" => "ping_sweep",
        "dns_tunnel" => "dns_tunnel",
        other => panic!("a kind without a detector: {other}"),
    }
}

/// Whom the alert is about: the sender where it is one of ours or scans, else
/// the victim (senders of a flood from outside may be forged).
fn entity(attack: &Value) -> &str {
    let scan = text(attack, "kind").starts_with("scan");
    let sender = scan || text(attack, "direction") == "outbound";
    text(attack, if sender { "entity" } else { "victim" })
}

#[test]
fn each_attack_over_the_thresholds_raises_its_alert_and_nothing_else_does() {
    let mut wrong = Vec::new();
    let mut attacks_seen = 0;
    for entry in manifest() {
        let file = text(&entry, "file");
        let attacks = entry["attacks"].as_array().unwrap();
        let below = BELOW_THRESHOLDS.iter().any(|&(name, _)| name == file);
        let expected: BTreeSet<_> = attacks
            .iter()
            .filter(|_| !below)
            .map(|attack| (detector(attack), entity(attack), text(attack, "direction")))
            .collect();
        attacks_seen += attacks.len();
        let said = summary(&entry, &[]);
        let alerts: Vec<&Value> = said["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|alert| alert["severity"] != "informational")
            .collect();
        let raised: BTreeSet<_> = alerts
            .iter()
            .map(|alert| {
                let of = text(&alert["entity"], "id");
                (text(alert, "detector"), of, text(&alert["evidence"], "direction"))
            })
            .collect();
        if raised != expected || alerts.len() != expected.len() {
            wrong.push(format!("{file}: raised {raised:?}, expected {expected:?}"));
            continue;
        }
        for (alert, attack) in alerts.iter().zip(attacks) {
            let start = 1_000_000_000 * attack["first_second"].as_i64().unwrap();
            let start_text = jiff::Timestamp::from_nanosecond(start.into()).unwrap();
            if alert["start"] != format!("{start_text:.9}") {
                wrong.push(format!("{file}: starts at {}, not {start_text}", alert["start"]));
            }
            let sentence = text(alert, "summary");
            let readable = sentence.len() < 250 && !sentence.contains(".000000000Z");
            if !readable || !sentence.contains(text(&alert["entity"], "id")) {
                wrong.push(format!("{file}: {sentence}"));
            }
            // What a detector measured can't be more than was sent.
            let sent = attack["packets"].as_u64().unwrap();
            let peak = attack["peak_packets_in_one_second"].as_u64().unwrap();
            let evidence = &alert["evidence"];
            let counted = evidence["packets"].as_u64().unwrap();
            let peak_counted = evidence["peak"]["packets_per_s"].as_u64().unwrap();
            // Of a tunnel it is points.
            let points = text(attack, "kind").ends_with("tunnel");
            let measured = if points { 0 } else { evidence["measured"].as_u64().unwrap() };
            if counted > sent || peak_counted > peak || measured > sent {
                wrong.push(format!(
                    "{file}: {counted} packets, {peak_counted} at most, {measured} measured; \
                     sent {sent}, {peak} at most"
                ));
            }
            let flood = text(attack, "kind").ends_with("flood");
            if flood && counted < sent * 19 / 20 {
                wrong.push(format!("{file}: {counted} packets of {sent} in the alert"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(attacks_seen >= 16, "{attacks_seen} attacks in the manifest");
}
