//! `flowtap procs` and the maps it makes: shown, recorded, read, damaged.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use crate::common::{Dir, captures, text};
use crate::lab::{Lab, written};
use crate::support::netns::{LinkOptions, Netns, wait_for};
use crate::watched::{PYTHON, Records, assert_names, parse, run};

const FLOWTAP: &str = env!("CARGO_BIN_EXE_flowtap");

#[test]
fn a_listener_is_shown_with_its_process() {
    let Some(net) = Netns::or_skip("procs show", 1, &[]) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let output = net.run(0, [FLOWTAP, "procs", "show"]);
    let table = text(&output.stdout);
    let line = table.lines().find(|line| line.contains(&format!(" {at} ")));
    let line = line.unwrap_or_else(|| panic!("{at} is not among:\n{table}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[0], "tcp", "{line}");
    // What another test starts holds it too until its exec.
    let own = std::process::id().to_string();
    assert!(words.iter().any(|word| word.split(',').any(|pid| pid == own)), "{line}");
    assert!(words.contains(&"root"), "{line}");
    let json = text(&net.run(0, [FLOWTAP, "procs", "show", "--json"]).stdout);
    let events = parse(&json);
    assert_eq!(events[0]["event"], "map.start");
    assert!(events.iter().any(|event| {
        event["event"] == "socket.open"
            && event["kind"] == "listener"
            && event["local_port"] == listener.local_addr().unwrap().port()
            && event["process"]["pid"] == std::process::id()
    }));
}

const SEND_AND_STAY: &str = "\
import socket,sys,time
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('',41300))
for _ in range(15): s.sendto(b'x',(sys.argv[1],41301)); time.sleep(0.1)";

#[test]
fn a_map_recorded_beside_another_capture_names_its_senders() {
    let Some(lab) = Lab::or_skip("procs record", &["tcpdump"], LinkOptions::default()) else {
        return;
    };
    let there = lab.link.ipv4[1].as_str();
    let [map, capture] = ["recorded.jsonl", "capture.pcap"].map(|name| lab.dir.path(name));
    let [map_text, capture_text] = [&map, &capture].map(|path| path.to_str().unwrap());
    let mut record = lab.net.command(0, [FLOWTAP, "procs", "record", "-o", map_text]);
    record.args(["--procs", "sock-diag"]).stderr(Stdio::piped());
    let mut record = lab.net.spawn(record);
    let words = ["tcpdump", "-U", "-w", capture_text, "-i", lab.interface(), "udp"];
    let mut tcpdump = lab.net.command(1, words);
    tcpdump.stderr(Stdio::null());
    let mut tcpdump = lab.net.spawn(tcpdump);
    wait_for("the first time in the map, and the capture", || {
        capture.exists() && fs::read_to_string(&map).is_ok_and(|text| text.contains("\"map.time\""))
    });
    let (sender, _) = run(&lab.net, 0, &[PYTHON, "-c", SEND_AND_STAY, there]);
    for running in [&mut record, &mut tcpdump] {
        running.signal("INT");
        assert!(running.wait(Duration::from_secs(5)).success());
    }
    let mut said = String::new();
    record.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "", "nothing to warn of");

    // A line that is no event is told and left out.
    let good = fs::read_to_string(&map).unwrap();
    let (first, rest) = good.split_once('\n').unwrap();
    let damaged = lab.dir.write("damaged.jsonl", format!("{first}\nhalf a li\n{rest}").as_bytes());
    for (map, warning) in [(map_text, None), (damaged.to_str().unwrap(), Some("1 lines"))] {
        let dir = Dir::new();
        let out = dir.path("out");
        let args = ["read", "-q", "--procs", map, "--out", out.to_str().unwrap(), capture_text];
        let output = dir.run(args);
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        match warning {
            None => assert_eq!(said, ""),
            Some(warning) => assert!(
                said.contains(warning) && said.contains("damaged.jsonl, line 2"),
                "counted, and the place: {said}"
            ),
        }
        let text = written(&out, "flows");
        let records =
            Records { summary: serde_json::Value::Null, flows: parse(&text), text: text.clone() };
        let flow = records.to_port(17, 41301);
        let words = flow["src_host"]["process"]["command_line"].as_str().unwrap_or_default();
        assert_names(&flow["src_host"], sender, words);
        assert!(words.contains("SO") || words.contains("socket"), "{words}");
        assert_eq!(flow["src_host"]["attribution"]["method"], "sock_diag");
    }
}

/// A host of `web.pcap`, and the times of its first and last packet.
fn captured(dir: &Dir) -> (String, [String; 2]) {
    let capture = captures().join("web.pcap");
    let summary = dir.summary(["--out", "plain", capture.to_str().unwrap()]);
    let time = |name: &str| summary[name].as_str().unwrap().to_owned();
    let flows = parse(&fs::read_to_string(dir.path("plain/flows.ndjson")).unwrap());
    let address = flows[0]["src_ip"].as_str().unwrap().to_owned();
    (address, [time("first_packet"), time("last_packet")])
}

/// What `read` says and writes with a map of these lines.
fn read_with(dir: &Dir, lines: &[String]) -> (String, Vec<serde_json::Value>) {
    dir.write("map.jsonl", lines.join("\n").as_bytes());
    let capture = captures().join("web.pcap");
    let args = ["read", "-q", "--procs", "map.jsonl", "--out", "joined"];
    let output = dir.run(args.into_iter().chain([capture.to_str().unwrap()]));
    assert!(output.status.success());
    let flows = fs::read_to_string(dir.path("joined/flows.ndjson")).unwrap();
    (text(&output.stderr), parse(&flows))
}

fn lines_of(address: &str, from: &str, until: &str) -> Vec<String> {
    vec![
        format!(r#"{{"time":"{from}","event":"map.start","version":1,"host":"h","boot":"b"}}"#),
        format!(r#"{{"time":"{from}","event":"address.up","address":"{address}"}}"#),
        format!(r#"{{"time":"{until}","event":"map.time"}}"#),
    ]
}

#[test]
fn captures_of_another_time_than_their_map_are_told_and_are_outside_of_it() {
    let dir = Dir::new();
    let (address, [first, last]) = captured(&dir);
    let [early, earlier] = ["1999-12-31T00:00:00Z", "1999-01-01T00:00:00Z"];
    let [late, later] = ["2099-01-01T00:00:00Z", "2099-12-31T00:00:00Z"];
    for (from, until, said_of, reason) in [
        (early, late, None, "no_socket"),
        (&*first, &*last, None, "no_socket"),
        (earlier, early, Some("lie outside"), "outside_map"),
        (late, later, Some("lie outside"), "outside_map"),
        (early, &*first, Some("lie partly outside"), "outside_map"),
    ] {
        let (said, flows) = read_with(&dir, &lines_of(&address, from, until));
        match said_of {
            None => assert_eq!(said, "", "{from} to {until}"),
            Some(words) => {
                assert!(said.contains(words), "{from} to {until}: {said}");
                assert_eq!(said.lines().count(), 1, "once: {said}");
                for time in [&*first, &*last, &from[..10], &until[..10], "map.jsonl"] {
                    assert!(said.contains(time), "{time}: {said}");
                }
            }
        }
        let of_host = flows.iter().filter(|flow| flow["src_ip"] == *address);
        let reasons: Vec<&str> = of_host
            .map(|flow| flow["src_host"]["attribution"]["reason"].as_str().unwrap_or("nothing"))
            .collect();
        assert!(reasons.contains(&reason), "{from} to {until}: {reasons:?}");
        assert!(!reasons.contains(&"nothing"), "{from} to {until}: {reasons:?}");
    }
}

#[test]
fn a_line_of_the_future_is_told_with_its_place() {
    let dir = Dir::new();
    let (address, [first, last]) = captured(&dir);
    let mut lines = lines_of(&address, &first, &last);
    lines.insert(2, r#"{"time":"2199-01-01T00:00:00Z","event":"map.time"}"#.to_owned());
    let (said, _) = read_with(&dir, &lines);
    assert!(said.contains("map.jsonl, line 3: its time 2199-01-01"), "{said}");
    assert_eq!(said.lines().count(), 1, "once: {said}");
}

#[test]
fn a_file_that_is_no_map_is_refused() {
    let dir = Dir::new();
    let capture = captures().join("ping.pcap");
    let later = r#"{"time":"2026-01-01T00:00:00Z","event":"map.start","version":99}"#;
    let empty = dir.write("empty.jsonl", b"");
    let text_file = dir.write("text.jsonl", b"hello\nworld\n");
    let later = dir.write("later.jsonl", format!("{later}\n").as_bytes());
    for (path, words) in [
        (dir.path("nowhere.jsonl"), "can't read the host map"),
        (empty, "it is empty"),
        (text_file, "is no host map"),
        (capture.clone(), "is no host map"),
        (later, "of version 99"),
    ] {
        let path = path.to_str().unwrap();
        let output = dir.run(["read", "--procs", path, capture.to_str().unwrap()]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "an input that can't be read: {said}");
        assert!(said.contains(words) && said.contains(path), "{words}: {said}");
    }
}
