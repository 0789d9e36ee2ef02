//! The second process of a capture: its end, and the capture's.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::text;
use crate::lab::Lab;
use crate::support::netns::{LinkOptions, wait_for};
use crate::watched::{PYTHON, Watched, assert_names, children, in_time, is_alive, run};

const SEND: &str = "\
import socket,sys,time
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('',int(sys.argv[2])))
for _ in range(20): s.sendto(b'x',(sys.argv[1],41301)); time.sleep(0.05)";

fn watcher_of(watched: &Watched) -> u32 {
    let [watcher] = children(watched.live.running.child.id())[..] else {
        panic!("one second process")
    };
    let words = fs::read(format!("/proc/{watcher}/cmdline")).unwrap();
    assert!(text(&words).contains("procs\0watch"), "{}", text(&words));
    watcher
}

#[test]
fn a_capture_ends_at_once_and_its_watcher_with_it() {
    for how in ["auto", "sock-diag", "polling"] {
        let Some(lab) = Lab::or_skip("the end", &["ping"], LinkOptions::default()) else { return };
        let watched = Watched::start(&lab, (1, &[lab.interface()]), how, &[]);
        let watcher = watcher_of(&watched);
        lab.net.run(0, ["ping", "-q", "-c", "3", "-i", "0.05", &lab.link.ipv4[1]]);
        let start = Instant::now();
        let records = watched.stop();
        let took = start.elapsed();
        assert!(took < Duration::from_secs(3), "{how}: {took:?} after SIGINT");
        wait_for("the end of the watcher", || !is_alive(watcher));
        assert!(records.flows.iter().any(|flow| flow["proto"] == 1));
        // The map on disk is whole: no half line at its end.
        let map = fs::read_to_string(lab.dir.path("map.jsonl")).unwrap();
        assert!(map.ends_with("}\n"), "{how}");
        for line in map.lines() {
            assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{how}: {line}");
        }
    }
}

#[test]
fn secrets_in_command_lines_are_masked_unless_they_are_to_be_kept() {
    for (how, more, kept) in [
        ("auto", &[][..], false),
        ("polling", &[][..], false),
        ("auto", &["--procs-unmasked"][..], true),
        ("polling", &["--procs-unmasked"][..], true),
    ] {
        let Some(lab) = Lab::or_skip("secrets", &[], LinkOptions::default()) else { return };
        let mut client = lab.net.command(0, ["sh", "-c", "read x", "mysql", "-phunter2"]);
        client.stdin(Stdio::piped());
        let _before = lab.net.spawn(client);
        let watched = Watched::start(&lab, (1, &[lab.interface()]), how, more);
        run(&lab.net, 0, &["sh", "-c", "sleep 1.5; :", "mysql", "-phunter3"]);
        let map = watched.map.clone();
        watched.stop();
        let map = fs::read_to_string(map).unwrap();
        assert!(map.contains("mysql"), "{how}");
        for secret in ["hunter2", "hunter3"] {
            assert_eq!(map.contains(secret), kept, "{how}, {secret}");
        }
    }
}

#[test]
fn keys_that_end_the_capture_do_not_end_its_watcher_first() {
    in_time(|| {
        let Some(lab) = Lab::or_skip("signals", &["ping"], LinkOptions::default()) else {
            return true;
        };
        let watched = Watched::start(&lab, (1, &[lab.interface()]), "auto", &[]);
        let watcher = watcher_of(&watched);
        for signal in ["INT", "TERM", "HUP"] {
            let sent = Command::new("kill").args(["-s", signal, &watcher.to_string()]).status();
            assert!(sent.unwrap().success());
        }
        let there = lab.link.ipv4[1].as_str();
        let (sender, _) = run(&lab.net, 0, &[PYTHON, "-c", SEND, there, "41302"]);
        assert!(is_alive(watcher), "it ends with its capture alone");
        let records = watched.stop();
        if !records.is_whole() {
            return false;
        }
        assert_eq!(records.by_client_port(17, 41302)["src_host"]["process"]["pid"], sender);
        true
    });
}

#[test]
fn a_watcher_that_is_killed_leaves_the_capture_running() {
    let Some(lab) = Lab::or_skip("a killed watcher", &[], LinkOptions::default()) else { return };
    let there = lab.link.ipv4[1].as_str();
    let mut watched = Watched::start(&lab, (1, &[lab.interface()]), "sock-diag", &[]);
    let watcher = watcher_of(&watched);
    let (before, _) = run(&lab.net, 0, &[PYTHON, "-c", SEND, there, "41303"]);
    wait_for("the sender in the map", || {
        let map = fs::read_to_string(&watched.map).unwrap();
        map.contains(&format!("\"event\":\"process.exit\",\"pid\":{before},"))
    });
    let killed = Command::new("kill").args(["-s", "KILL", &watcher.to_string()]).status();
    assert!(killed.unwrap().success());
    watched.live.wait_for("the watcher of processes is gone");
    run(&lab.net, 0, &[PYTHON, "-c", SEND, there, "41304"]);
    let records = watched.stop();
    let first = &records.by_client_port(17, 41303)["src_host"];
    let words = first["process"]["command_line"].as_str().unwrap_or_default();
    assert_names(first, before, words);
    let after = &records.by_client_port(17, 41304)["src_host"];
    assert!(after["process"].is_null(), "{after:#}");
    assert_eq!(after["attribution"]["reason"], "outside_map", "{after:#}");
    // Replies of closed ports are later too.
    let row = &records.summary["coverage"]["unattributed"]["outside_map"];
    assert!(row["flows"].as_u64() >= Some(1), "{row}");
}

#[test]
fn the_summary_and_the_table_say_how_much_has_a_process() {
    let Some(lab) = Lab::or_skip("the table", &["ping"], LinkOptions::default()) else { return };
    let watched = Watched::start(&lab, (1, &[lab.interface()]), "auto", &[]);
    let there = lab.link.ipv4[1].as_str();
    run(&lab.net, 0, &[PYTHON, "-c", SEND, there, "41305"]);
    let out = watched.out.clone();
    let records = watched.stop();
    let coverage = &records.summary["coverage"];
    let sum = |rows: &serde_json::Value| -> u64 {
        let rows = rows.as_object().unwrap().values();
        rows.map(|row| row["flows"].as_u64().unwrap()).sum()
    };
    let all = sum(&coverage["attributed"]) + sum(&coverage["unattributed"]);
    let elsewhere = coverage["no_host"]["flows"].as_u64().unwrap();
    assert_eq!(all + elsewhere, records.summary["flows"].as_u64().unwrap(), "each in one row");
    assert!(sum(&coverage["attributed"]) >= 1, "{coverage:#}");
    let table = text(&lab.dir.run(["coverage", "--run", out.to_str().unwrap()]).stdout);
    assert!(table.starts_with("Hosts\n") && table.contains("with a process"), "{table}");
    let method = coverage["attributed"].as_object().unwrap().keys().next().unwrap();
    assert!(table.contains(&format!("by {method}")), "{table}");
}
