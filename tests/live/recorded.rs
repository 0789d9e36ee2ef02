//! What `--record` and `--evidence` keep: how much, for how long, and for whom.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::common::text;
use crate::lab::{Lab, read};
use crate::support::netns::{LinkOptions, wait_for};

fn time_ns(value: &Value) -> i64 {
    let time: jiff::Timestamp = value.as_str().unwrap().parse().unwrap();
    i64::try_from(time.as_nanosecond()).unwrap()
}

/// Evidence of an earlier run.
fn earlier(folder: &Path, id: &str, bytes: u64, hours_ago: u64) {
    let file = File::create(folder.join(format!("{id}.pcapng"))).unwrap();
    file.set_len(bytes).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(hours_ago * 3600)).unwrap();
}

#[test]
fn evidence_reaches_as_far_around_an_alert_as_the_options_say() {
    let programs = ["hping3", "ping"];
    let Some(lab) = Lab::or_skip("evidence_span", &programs, LinkOptions::default()) else {
        return;
    };
    let ring = lab.dir.path("ring");
    let config = lab.dir.write("flowtap.toml", b"[live]\nevidence-before = 2\n");
    let args = ["--config", config.to_str().unwrap(), "--record", ring.to_str().unwrap()];
    let live = lab.listen(&[&args[..], &["--evidence", "--evidence-after", "1"]].concat());
    let address = lab.link.ipv4[1].as_str();
    // The same two hosts, before, while and after they are in the alert.
    let ping = lab.net.command(0, ["ping", "-q", "-i", "0.1", "-c", "110", address]);
    let mut ping = lab.net.spawn(ping);
    std::thread::sleep(Duration::from_secs(4));
    let flood = ["hping3", "-q", "--udp", "-p", "53", "-c", "20000", "-i", "u50", address];
    lab.net.command(0, flood).output().unwrap();
    ping.wait(Duration::from_secs(30));
    let summary = live.stop();
    let alert = &summary["alerts"][0];
    assert_eq!(alert["detector"], "udp_flood");
    let id = alert["id"].as_str().unwrap();
    let evidence = read(&[ring.join(format!("evidence/{id}.pcapng")).to_str().unwrap()]);
    let before_ns = time_ns(&alert["start"]) - time_ns(&evidence["first_packet"]);
    let after_ns = time_ns(&evidence["last_packet"]) - time_ns(&alert["end"]);
    // A ping each tenth of a second: one lies close to either edge.
    assert!((1_500_000_000..=2_000_000_000).contains(&before_ns), "{before_ns}");
    assert!((500_000_000..=1_000_000_000).contains(&after_ns), "{after_ns}");
    let recording = &summary["capture"]["recording"];
    assert_eq!(recording["evidence_alerts"], 1);
    assert_eq!(recording["packets"], summary["packets"]);
    let schema: Value = serde_json::from_str(flowtap::output::SUMMARY_SCHEMA).unwrap();
    jsonschema::validate(&schema, &summary).unwrap();
}

#[test]
fn evidence_that_is_too_old_or_too_much_goes_the_oldest_first_and_is_counted() {
    let Some(lab) = Lab::or_skip("evidence_kept", &["hping3"], LinkOptions::default()) else {
        return;
    };
    let ring = lab.dir.path("ring");
    let evidence = ring.join("evidence");
    fs::create_dir_all(&evidence).unwrap();
    for (id, hours_ago) in [("00000000000000aa", 50), ("00000000000000bb", 3)] {
        earlier(&evidence, id, 1_500_000, hours_ago);
    }
    earlier(&evidence, "00000000000000cc", 1_500_000, 2);
    fs::write(evidence.join("notes.txt"), [0; 4096]).unwrap();
    let args = ["--record", ring.to_str().unwrap(), "--evidence", "--keep-evidence-for", "24h"];
    let live = lab.listen(&[&args[..], &["--keep-evidence-size", "4000000"]].concat());
    let is_there = |id: &str| evidence.join(format!("{id}.pcapng")).exists();
    assert!(!is_there("00000000000000aa"), "older than a day");
    assert!(is_there("00000000000000bb") && is_there("00000000000000cc"), "both fit");
    let address = lab.link.ipv4[1].as_str();
    let flood = ["hping3", "-q", "--udp", "-p", "53", "-c", "20000", "-i", "u50", address];
    lab.net.command(0, flood).output().unwrap();
    let summary = live.stop();
    let id = summary["alerts"][0]["id"].as_str().unwrap();
    assert!(is_there(id) && !is_there("00000000000000bb"), "the alert's packets need the room");
    assert!(evidence.join("notes.txt").exists());
    let held = fs::read_dir(&evidence).unwrap().map(|entry| entry.unwrap());
    let held = held.filter(|entry| entry.file_name() != "notes.txt");
    let held: u64 = held.map(|entry| entry.metadata().unwrap().len()).sum();
    assert!(held <= 4_000_000, "{held}");
    let recording = &summary["capture"]["recording"];
    let gone = 3 - u64::from(is_there("00000000000000cc"));
    assert_eq!(recording["evidence_files_removed"], gone);
    assert_eq!(recording["evidence_bytes_removed"], gone * 1_500_000);
}

#[test]
fn a_folder_that_another_process_records_into_is_refused_with_its_name() {
    let Some(lab) = Lab::or_skip("recorded_twice", &["ping"], LinkOptions::default()) else {
        return;
    };
    let ring = lab.dir.path("ring");
    let record = ["--record", ring.to_str().unwrap()];
    let mut first = lab.listen(&record);
    let again = [env!("CARGO_BIN_EXE_flowtap"), "live", "--seconds", "60", "-i", lab.interface()];
    let output = lab.net.command(1, again).args(record).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("writes into {}", ring.display())), "{said}");
    let (_, pid) = said.split_once("(pid ").unwrap();
    let (pid, _) = pid.split_once(')').unwrap();
    let who = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(who.trim(), "flowtap");
    // Nobody has to tidy up behind one that was killed.
    first.running.signal("KILL");
    first.running.wait(Duration::from_secs(5));
    let next = lab.listen(&record);
    lab.net.run(0, ["ping", "-q", "-c", "1", &lab.link.ipv4[1]]);
    wait_for("the recording", || {
        let files = fs::read_dir(&ring).unwrap().map(|entry| entry.unwrap().file_name());
        files.filter(|name| name.to_str().unwrap().ends_with(".pcapng")).count() > 0
    });
    next.stop();
}
