//! What goes wrong beside the packets, for those who watch from elsewhere.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::common::text;
use crate::lab::{Lab, Live, written};
use crate::support::netns::{LinkOptions, wait_for};

/// A small file system of its own, taken away at the end.
struct Mount(PathBuf);

impl Mount {
    fn new(dir: &Path, size: &str) -> Self {
        fs::create_dir(dir).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(dir);
        assert!(command.status().unwrap().success());
        Self(dir.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// The page of a run with `--metrics 127.0.0.1:0`, whatever its status.
fn page(lab: &Lab, live: &Live, name: &str) -> String {
    let at = live.lines.iter().find_map(|line| line.trim().strip_prefix("flowtap: metrics at "));
    let at = at.unwrap().replace("/metrics", name);
    text(&lab.net.run(1, ["curl", "-s", "--noproxy", "*", &at]).stdout)
}

#[test]
fn a_full_disk_is_told_to_receivers_and_in_health_and_the_summary_is_printed() {
    let programs = ["ping", "curl", "mount"];
    let Some(lab) = Lab::or_skip("full_disk", &programs, LinkOptions::default()) else { return };
    let mount = Mount::new(&lab.dir.path("small"), "size=4m");
    let (out, ring) = (mount.0.join("out"), mount.0.join("ring"));
    let socket = lab.dir.path("alerts");
    let receiver = UnixListener::bind(&socket).unwrap();
    let target = format!("unix:{}", socket.display());
    let [out_text, ring_text] = [&out, &ring].map(|path| path.to_str().unwrap());
    let files = ["--out", out_text, "--record", ring_text, "--icmp-idle", "1s"];
    let watched = ["--alert-to", &target, "--metrics", "127.0.0.1:0"];
    let live = lab.listen(&[&files[..], &watched[..]].concat());
    assert!(fs::write(mount.0.join("filler"), vec![0; 4 << 20]).is_err(), "it is full now");
    lab.net.run(0, ["ping", "-q", "-f", "-c", "100", &lab.link.ipv4[1]]);
    let (connection, _) = receiver.accept().unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut lines = BufReader::new(connection).lines();
    let mut missing = vec!["output.failing", "recording.failing"];
    while !missing.is_empty() {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if missing.iter().any(|&kind| event["kind"] == kind) {
            missing.retain(|&kind| event["kind"] != kind);
            // Packets may be missing before the disk is asked for room.
            let said = event["text"].as_str().unwrap();
            let is_full = |text: &str| said.contains(text);
            assert!(is_full("No space left") || is_full("too slow or full"), "{event}");
        }
    }
    wait_for("health that fails", || {
        let health: Value = serde_json::from_str(&page(&lab, &live, "/health")).unwrap();
        let reasons = health["reasons"].as_array().unwrap();
        health["status"] == "failing" && reasons.len() == 2
    });
    let (status, summary, said) = live.end();
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("can't write") && said.contains("summary.json"), "{said}");
    let capture = &summary["capture"];
    assert!(capture["output"]["kinds"]["ndjson"]["lost_disk"].as_u64().unwrap() > 0);
    assert_eq!(capture["output"]["kinds"]["alerts"]["lost_disk"], 0);
    assert!(capture["recording"]["lost_packets"].as_u64().unwrap() >= 200);
    assert_eq!(capture["delivery"][0]["target"], target.as_str());
    assert!(capture["delivery"][0]["delivered"].as_u64().unwrap() >= 2);
    let schema: Value = serde_json::from_str(flowtap::output::SUMMARY_SCHEMA).unwrap();
    jsonschema::validate(&schema, &summary).unwrap();
}

#[test]
fn a_sensor_starts_on_a_full_disk_and_writes_once_there_is_room() {
    let programs = ["ping", "mount"];
    let Some(lab) = Lab::or_skip("full_start", &programs, LinkOptions::default()) else { return };
    let mount = Mount::new(&lab.dir.path("small"), "size=4m");
    let (out, filler) = (mount.0.join("out"), mount.0.join("filler"));
    assert!(fs::write(&filler, vec![0; 5 << 20]).is_err(), "it is full");
    let live = lab.listen(&["--out", out.to_str().unwrap(), "--icmp-idle", "1s"]);
    let told = |line: &String| line.contains("nothing is kept until there is room");
    assert!(live.lines.iter().any(told), "{:?}", live.lines);
    assert!(!out.join("run.json").exists());
    fs::remove_file(&filler).unwrap();
    lab.net.run(0, ["ping", "-q", "-c", "1", &lab.link.ipv4[1]]);
    wait_for("what was owed", || out.join("run.json").exists());
    let (status, summary, said) = live.end();
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(written(&out, "flows").lines().count() as u64, summary["flows"]);
}

#[test]
fn an_interface_keeps_its_name_in_metrics_and_records_when_it_gets_another() {
    let programs = ["ping", "curl"];
    let Some(lab) = Lab::or_skip("renamed", &programs, LinkOptions::default()) else { return };
    let (name, out) = (lab.interface(), lab.dir.path("out"));
    let options = ["--out", out.to_str().unwrap(), "--icmp-idle", "1s"];
    let mut live = lab.listen(&[&options[..], &["--metrics", "127.0.0.1:0"]].concat());
    lab.net.run(1, ["ip", "link", "set", name, "name", "renamed0"]);
    live.wait_for("is called renamed0 now");
    lab.net.run(0, ["ping", "-q", "-f", "-c", "100", &lab.link.ipv4[1]]);
    let info = format!("flowtap_interface_info{{interface=\"{name}\",called=\"renamed0\"}} 1");
    let packets = format!("flowtap_interface_packets_total{{interface=\"{name}\"}} ");
    wait_for("the name in metrics", || {
        let page = page(&lab, &live, "/metrics");
        let counted = page.lines().find_map(|line| line.strip_prefix(packets.as_str()));
        page.contains(&info) && counted.is_some_and(|count| count.parse::<u64>().unwrap() >= 200)
    });
    assert!(!page(&lab, &live, "/metrics").contains("interface=\"renamed0\""));
    wait_for("the flow's record", || written(&out, "flows").contains("icmp"));
    let summary = live.stop();
    let interface = &summary["capture"]["interfaces"][0];
    assert_eq!((&interface["name"], &interface["called"]), (&name.into(), &"renamed0".into()));
    let flows = written(&out, "flows");
    let mut flows = flows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert!(flows.all(|flow| flow["interface"] == name));
    let schema: Value = serde_json::from_str(flowtap::output::SUMMARY_SCHEMA).unwrap();
    jsonschema::validate(&schema, &summary).unwrap();
}

/// Files and folders below, each with its mode.
fn modes(folder: &Path, into: &mut Vec<(PathBuf, u32)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let about = path.symlink_metadata().unwrap();
        into.push((path.clone(), about.permissions().mode() & 0o777));
        if about.is_dir() {
            modes(&path, into);
        }
    }
}

#[test]
fn packets_and_process_maps_are_their_owners_alone_and_nothing_is_everybodys() {
    let Some(lab) = Lab::or_skip("modes", &["hping3"], LinkOptions::default()) else { return };
    let made = lab.dir.path("made");
    fs::create_dir(&made).unwrap();
    let path = |name: &str| made.join(name).to_str().unwrap().to_owned();
    let [out, ring, map, page] = ["a/out", "ring", "map.jsonl", "page.html"].map(path);
    let files = ["--out", &out, "--record", &ring, "--evidence", "--report", &page];
    let mut live =
        lab.listen(&[&files[..], &["--procs", "polling", "--procs-record", &map]].concat());
    let address = lab.link.ipv4[1].as_str();
    let flood = ["hping3", "-q", "--udp", "-p", "53", "-c", "20000", "-i", "u50", address];
    lab.net.command(0, flood).output().unwrap();
    live.wait_for("flood");
    let summary = live.stop();
    let id = summary["alerts"][0]["id"].as_str().unwrap();
    let [pcap, bundle] = ["alert.pcapng", "alert.tar.zst"].map(path);
    for args in [["show", "alert", id, "--pcap", &pcap], ["bundle", id, "--json", "-o", &bundle]] {
        let output = lab.dir.command(args).args(["--run", &out]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let read = made.join("read");
    // The first is kept in the state folder.
    lab.dir.summary([&ring]);
    let formats = ["--format", "ndjson,csv,eve,zeek", "--baseline", &path("normal.redb")];
    let args = ["--learn", "--out", read.to_str().unwrap(), &ring];
    lab.dir.summary([&args[..], &formats].concat());
    let mut found = Vec::new();
    modes(&made, &mut found);
    modes(&lab.dir.path("state"), &mut found);
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    for (path, mode) in &found {
        let closed = [".pcapng", ".jsonl", ".tar.zst"].iter().any(|end| name(path).ends_with(end));
        let most = match (path.is_dir(), closed) {
            (true, _) => 0o750,
            (false, true) => 0o600,
            (false, false) => 0o640,
        };
        assert_eq!(mode & !most, 0, "{} has {mode:o}", path.display());
    }
    let count = |end: &str| found.iter().filter(|(path, _)| name(path).ends_with(end)).count();
    assert!(count(".pcapng") >= 3, "the ring, the evidence, what was shown: {found:?}");
    assert_eq!(count("summary.json"), 3, "of live and of both reads: {found:?}");
    assert_eq!(count("normal.redb"), 1, "{found:?}");
    let evidence = PathBuf::from(&ring).join(format!("evidence/{id}.pcapng"));
    let all = [map.into(), page.into(), bundle.into(), evidence, PathBuf::from(out)];
    assert!(all.iter().all(|path| found.iter().any(|(there, _)| there == path)), "{found:?}");
}
