//! What analysts say of alerts, and what baselines then know.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use super::{known, learning, make, severities};
use crate::common::{Dir, captures, text};

/// First second of the flood's capture.
const SECOND: u32 = 1_795_651_200;
/// Of each record, with its header.
const RECORD_BYTES: usize = 70;
const FILE_HEADER_BYTES: usize = 24;

/// Three minutes: a client asks each tenth of a second; for twenty seconds of the second
/// minute a flood of SYNs comes too, and is answered.
fn flooded() -> Vec<u8> {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([0, 0, 4, 0, 1, 0, 0, 0]);
    let mut add = |at_ms: u32, from: [u8; 4], to: [u8; 4], ports: [u16; 2], flags: u8| {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
        frame.extend(from.into_iter().chain(to));
        frame.extend(ports.into_iter().flat_map(u16::to_be_bytes));
        frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0]);
        file.extend((SECOND + at_ms / 1_000).to_le_bytes());
        file.extend((at_ms % 1_000 * 1_000).to_le_bytes());
        file.extend([frame.len() as u32; 2].into_iter().flat_map(u32::to_le_bytes));
        file.extend(frame);
    };
    let (server, client) = ([10, 0, 0, 2], [10, 0, 0, 9]);
    for at in 0..1_800_u32 {
        let port = 40_000 + (at % 1_000) as u16;
        add(at * 100, client, server, [port, 80], 2);
        add(at * 100, server, client, [80, port], 0x12);
        for n in 0..if (620..820).contains(&at) { 100 } else { 0_u32 } {
            let mixed = (at * 100 + n).wrapping_mul(2_654_435_761).to_be_bytes();
            let from = [203, 0, mixed[0], mixed[1]];
            let port = u16::from_be_bytes([mixed[2], mixed[3]]) | 0x8000;
            add(at * 100 + n % 100, from, server, [port, 80], 2);
            add(at * 100 + n % 100, server, from, [80, port], 0x12);
        }
    }
    file
}

/// Bytes of the records before this second of it.
fn until(file: &[u8], second: u32) -> usize {
    let records = file[FILE_HEADER_BYTES..].chunks_exact(RECORD_BYTES);
    let is_before =
        |record: &[u8]| u32::from_le_bytes(record[..4].try_into().expect("four")) < SECOND + second;
    FILE_HEADER_BYTES + RECORD_BYTES * records.take_while(|record| is_before(record)).count()
}

fn ids(summary: &Value) -> Vec<String> {
    let alerts = summary["alerts"].as_array().expect("alerts").iter();
    alerts.map(|alert| alert["id"].as_str().expect("an id").to_owned()).collect()
}

/// What is said of a verdict.
fn mark(dir: &Dir, run: &str, id: &str, verdict: &str, baselines: &str) -> String {
    let args = ["alerts", "mark", id, verdict, "--why", "a test", "--by", "ann"];
    let output = dir.run(args.iter().chain(&["--run", run, "--baseline", baselines]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_flood_is_not_learned_of_its_victim() {
    let dir = Dir::new();
    dir.write("flooded.pcap", &flooded());
    let told = dir.summary(["flooded.pcap", "--baseline", "normal.db", "--learn"]);
    assert!(!severities(&told, "tcp_syn_flood").is_empty(), "{:#}", told["alerts"]);
    // The first of three minutes; the last is within what an alert takes to be over.
    let server = known(&dir, "address:10.0.0.2", "normal.db");
    assert_eq!(server["minutes"], 1, "{server:#}");
}

#[test]
fn a_verdict_on_an_alert_that_goes_on_settles_what_it_brings_later() {
    let dir = Dir::new();
    let file = flooded();
    dir.write("flooded.pcap", &file);
    let told = dir.summary(["flooded.pcap", "--out", "run"]);
    let alerts = ids(&told);
    assert!(!alerts.is_empty());
    for (verdict, minutes) in [("expected", 3), ("true", 1)] {
        let baselines = format!("{verdict}.db");
        let mut command = dir.command(["read", "-", "--baseline", &baselines, "--learn"]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut reader = command.spawn().expect("the binary starts");
        let mut input = reader.stdin.take().expect("piped");
        // Its first seconds: more than a pipe holds, so that it is reading.
        let (before, after) = file.split_at(until(&file, 70));
        input.write_all(before).expect("it reads");
        for id in &alerts {
            let said = mark(&dir, "run", id, verdict, &baselines);
            assert!(said.contains("Another process is learning"), "{said}");
            assert!(said.contains("while the alert is open"), "{said}");
        }
        input.write_all(after).expect("it reads");
        drop(input);
        assert!(reader.wait().expect("it ends").success());
        let shown = text(&dir.run(["baseline", "show", "--baseline", &baselines]).stdout);
        assert!(shown.contains("0 spans wait for a verdict"), "{verdict}: {shown}");
        let server = known(&dir, "address:10.0.0.2", &baselines);
        assert_eq!(server["minutes"], minutes, "{verdict}: {server:#}");
    }
}

#[test]
fn who_corrects_a_verdict_is_told_what_it_did_and_how_that_is_taken_back() {
    let dir = Dir::new();
    dir.write("flooded.pcap", &flooded());
    let args = ["flooded.pcap", "--baseline", "a.db", "--learn", "--out", "run"];
    let told = dir.summary(args);
    let alerts = told["alerts"].as_array().expect("alerts").iter();
    let flood = alerts.filter(|alert| alert["detector"] == "tcp_syn_flood").collect::<Vec<_>>();
    let [flood] = flood[..] else { panic!("{:#}", told["alerts"]) };
    let id = flood["id"].as_str().expect("an id");
    let first = mark(&dir, "run", id, "false", "a.db");
    assert!(first.contains("2 minutes of address:10.0.0.2 that waited are learned"), "{first}");
    let second = mark(&dir, "run", id, "true", "a.db");
    assert!(second.contains("already learned by the verdict of ann, false, at 20"), "{second}");
    let (_, rest) = second.split_once("`flowtap ").expect("a command");
    let (command, _) = rest.split_once('`').expect("its end");
    assert_eq!(command, "baseline forget address:10.0.0.2 --baseline a.db");
    assert!(dir.run(command.split(' ')).status.success());
    assert_eq!(known_or_nothing(&dir, "address:10.0.0.2", "a.db"), None);

    // One that never saw the run.
    let capture = captures().join("dns.pcap");
    let learn = ["--baseline", "b.db", "--learn"];
    let args = [capture.to_str().expect("UTF-8")].into_iter().chain(learn);
    dir.summary(args);
    let third = mark(&dir, "run", id, "expected", "b.db");
    assert!(third.contains("No minutes of address:10.0.0.2 waited"), "{third}");
    assert!(third.contains("b.db knows nothing of it"), "{third}");
    assert!(third.contains("--baseline b.db --learn"), "{third}");
}

fn known_or_nothing(dir: &Dir, entity: &str, baselines: &str) -> Option<Value> {
    let shown = dir.run(["baseline", "show", entity, "--json", "--baseline", baselines]);
    serde_json::from_slice(&shown.stdout).ok()
}

/// Digests of the names that an address reached.
fn names(dir: &Dir, address: &str, baselines: &str) -> Vec<String> {
    let known = known(dir, address, baselines);
    let all = known["names"]["known"].as_array().expect("names").iter();
    all.map(|name| name["digest"].as_str().expect("a digest").to_owned()).collect()
}

/// The flow that carries it off ends before the minute, and the alert comes with that.
#[test]
fn the_name_that_an_attack_goes_to_waits_for_the_verdict_on_it() {
    /// The first eight bytes of SHA-256 of `drop.example`.
    const DROP: &str = "60f522a2fb51ddca";
    const THIEF: &str = "address:10.0.5.10";
    let dir = Dir::new();
    let learn = |out: &str, more: &[&str]| {
        make(&dir, "exfiltration", out, &[&["--seed", "3"], more].concat());
        let mut args = learning(&dir, out, "known.db");
        args.extend(["--out".to_owned(), format!("{out}-run")]);
        dir.summary(args)
    };
    learn("before", &["--days-before", "1"]);
    let before = names(&dir, THIEF, "known.db");
    assert!(!before.is_empty() && !before.contains(&DROP.to_owned()), "{before:?}");
    let alerts = ids(&learn("attack", &[]));
    assert!(!alerts.is_empty());
    assert_eq!(names(&dir, THIEF, "known.db"), before, "held back");
    std::fs::copy(dir.path("known.db"), dir.path("other.db")).expect("copied");
    for id in &alerts {
        mark(&dir, "attack-run", id, "true", "known.db");
        mark(&dir, "attack-run", id, "expected", "other.db");
    }
    assert_eq!(names(&dir, THIEF, "known.db"), before, "never learned");
    assert!(names(&dir, THIEF, "other.db").contains(&DROP.to_owned()), "it waited");
}
