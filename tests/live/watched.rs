//! What goes wrong beside the packets, for those who watch from elsewhere.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::common::text;
use crate::lab::Lab;
use crate::support::netns::LinkOptions;

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
