//! Baselines: the commands, and that nothing but the last interval is lost to a kill.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{Dir, text};
use flowtap::baseline::{BaselineSettings, Baselines};
use flowtap::engine::window::Host;
use flowtap::entity::{Leg, Measures, Minute, OneService, PeerSums, Service, Spoken, Who};
use serde_json::Value;

/// A Monday.
const START_S: i64 = 20_783 * 86_400;

/// So many hosts that each send a datagram every ten seconds.
fn capture(dir: &Dir, name: &str, hosts: u8, from_s: i64, minutes: i64, payload: usize) -> PathBuf {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([0, 0, 4, 0, 1, 0, 0, 0]);
    for second in (0..minutes * 60).step_by(10) {
        for host in 0..hosts {
            let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
            let total = (28 + payload) as u16;
            frame.extend([0x45, 0]);
            frame.extend(total.to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, host, 203, 0, 113, host]);
            frame.extend([0x9c, 0x40, 0x13, 0x88]);
            frame.extend((total - 20).to_be_bytes());
            frame.extend([0, 0]);
            frame.resize(42 + payload, 0);
            file.extend(((START_S + from_s + second) as u32).to_le_bytes());
            file.extend(u32::from(host).to_le_bytes());
            file.extend((frame.len() as u32).to_le_bytes());
            file.extend((frame.len() as u32).to_le_bytes());
            file.extend(frame);
        }
    }
    dir.write(name, &file)
}

fn lines(output: &std::process::Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn show(dir: &Dir, file: &str) -> Vec<Value> {
    lines(&dir.run(["baseline", "show", "--json", "--baseline", file]))
}

#[test]
fn what_was_learned_is_shown_compared_exported_and_forgotten() {
    let dir = Dir::new();
    capture(&dir, "monday.pcap", 3, 0, 90, 100);
    capture(&dir, "tuesday.pcap", 4, 86_400, 90, 1_000);
    let learn = ["baseline", "learn", "monday.pcap", "--baseline", "normal.db"];
    let learned = dir.run(learn);
    assert!(learned.status.success(), "{}", text(&learned.stderr));
    let told = text(&learned.stderr);
    assert!(told.contains("270 minutes learned") && told.contains("3 entities known"), "{told}");

    let shown = show(&dir, "normal.db");
    assert_eq!(shown.len(), 3);
    assert_eq!(
        (&shown[0]["entity"], &shown[0]["minutes"]),
        (&"address:10.0.0.0".into(), &90.into())
    );
    let median = shown[0]["normal"]["egress_packets"]["median"].as_f64().expect("a number");
    assert!((median / 6.0 - 1.0).abs() < 0.05, "{median}");
    assert_eq!(shown[0]["destinations"][0]["prefix"], "203.0.113.0/24");

    // Reading alone changes nothing, learning does.
    std::fs::copy(dir.path("normal.db"), dir.path("before.db")).expect("copied");
    let read = ["read", "-q", "tuesday.pcap", "--baseline", "normal.db"];
    assert!(dir.run(read).status.success());
    assert_eq!(show(&dir, "normal.db"), shown);
    assert!(dir.run([&read[..], &["--learn"]].concat()).status.success());
    let both = show(&dir, "normal.db");
    assert_eq!((both.len(), &both[0]["minutes"]), (4, &180.into()));

    let changed = lines(&dir.run(["baseline", "diff", "before.db", "normal.db", "--json"]));
    let kinds: Vec<_> = changed.iter().map(|entity| &entity["change"]).collect();
    assert_eq!(kinds, ["changed", "changed", "changed", "new"]);
    assert!(changed[0]["what"].to_string().contains("egress_bytes: 99 %"), "{}", changed[0]);
    let same = lines(&dir.run(["baseline", "diff", "normal.db", "normal.db", "--json"]));
    assert!(same.is_empty());

    let page = text(&dir.run(["baseline", "show", "0.0.3", "--baseline", "normal.db"]).stdout);
    assert!(page.contains("address:10.0.0.3") && page.contains("role"), "{page}");
    let csv = text(&dir.run(["baseline", "export", "--baseline", "normal.db"]).stdout);
    assert!(csv.starts_with("entity,metric,median") && csv.lines().count() == 25, "{csv}");
    assert_eq!(lines(&dir.run(["baseline", "export", "--json", "--baseline", "normal.db"])), both);

    let forget = ["baseline", "forget", "address:10.0.0.1", "--baseline", "normal.db"];
    assert!(dir.run(forget).status.success());
    assert_eq!(show(&dir, "normal.db").len(), 3);
    assert_eq!(dir.run(forget).status.code(), Some(1));
}

#[test]
fn a_file_that_was_learned_from_is_passed_over_until_it_is_to_count_twice() {
    let dir = Dir::new();
    capture(&dir, "monday.pcap", 1, 0, 30, 100);
    capture(&dir, "tuesday.pcap", 1, 86_400, 30, 100);
    let learn = |files: &[&str]| {
        dir.run([&["baseline", "learn", "--baseline", "normal.db"], files].concat())
    };
    let minutes = || show(&dir, "normal.db")[0]["minutes"].clone();
    assert!(learn(&["monday.pcap"]).status.success());
    assert_eq!(minutes(), 30);

    // Whatever it is called.
    std::fs::rename(dir.path("monday.pcap"), dir.path("other.pcap")).expect("renamed");
    let again = learn(&["other.pcap"]);
    assert_eq!(again.status.code(), Some(0));
    let told = text(&again.stderr);
    let words =
        "other.pcap: learned before with what was from 2026-11-26T00:00Z to 2026-11-26T00:29Z";
    assert!(told.contains(words) && told.contains("--again"), "{told}");
    assert!(told.contains("all of it was learned before: nothing is read"), "{told}");
    assert_eq!(minutes(), 30);

    // Of several those that are new are learned.
    let both = learn(&["other.pcap", "tuesday.pcap"]);
    assert!(both.status.success(), "{}", text(&both.stderr));
    assert!(text(&both.stderr).contains("other.pcap: learned before"));
    assert!(!text(&both.stderr).contains("tuesday.pcap: learned before"));
    assert_eq!(minutes(), 60);
    let folder = dir.path("folder");
    std::fs::create_dir(&folder).expect("made");
    std::fs::copy(dir.path("other.pcap"), folder.join("a.pcap")).expect("copied");
    capture(&dir, "folder/b.pcap", 1, 2 * 86_400, 30, 100);
    assert!(learn(&["folder"]).status.success());
    assert_eq!(minutes(), 90);

    assert!(learn(&["other.pcap", "--again"]).status.success());
    assert_eq!(minutes(), 120);
    assert!(text(&learn(&["other.pcap"]).stderr).contains("learned before"));
}

#[test]
fn reading_with_learning_refuses_what_was_learned_from_and_reading_alone_does_not() {
    let dir = Dir::new();
    capture(&dir, "monday.pcap", 1, 0, 30, 100);
    let read = |more: &[&str]| {
        let read = ["read", "-q", "monday.pcap", "--baseline", "normal.db"];
        dir.run([&read[..], more].concat())
    };
    assert!(read(&["--learn"]).status.success());
    let before = show(&dir, "normal.db");
    let refused = read(&["--learn", "--out", "run"]);
    assert_eq!(refused.status.code(), Some(2));
    let told = text(&refused.stderr);
    assert!(told.contains("monday.pcap: learned before with what was from"), "{told}");
    assert!(told.contains("leave --learn out, or give --again"), "{told}");
    assert!(!dir.path("run/summary.json").exists());
    assert!(read(&[]).status.success());
    assert_eq!(show(&dir, "normal.db"), before);
    assert!(read(&["--learn", "--again"]).status.success());
    assert_eq!(show(&dir, "normal.db")[0]["minutes"], 60);
}

#[test]
fn maturity_is_as_the_configuration_has_it_and_said_so() {
    let dir = Dir::new();
    capture(&dir, "monday.pcap", 1, 0, 60, 100);
    capture(&dir, "later.pcap", 1, 36_000, 60, 100);
    dir.write("soon.toml", b"[detect]\nbaseline_mature_days = 0.25\n");
    let learn = ["baseline", "learn", "-q", "monday.pcap", "--baseline"];
    assert!(dir.run([&learn[..], &["before.db"]].concat()).status.success());
    assert!(dir.run([&learn[..], &["after.db", "later.pcap"]].concat()).status.success());
    let show =
        |more: &[&str]| dir.run([&["baseline", "show", "--baseline", "after.db"], more].concat());
    let soon = ["--config", "soon.toml"];
    let json = |more: &[&str]| lines(&show(&[more, &["--json"]].concat())).remove(0);
    assert_eq!(json(&[])["mature"], false);
    assert_eq!(json(&[])["mature_from_days"], 7.0);
    assert_eq!(json(&soon)["mature"], true);
    assert_eq!(json(&soon)["mature_from_days"], 0.25);
    let table = text(&show(&soon).stdout);
    assert!(table.contains("1 mature from 0.25 days on (by soon.toml)"), "{table}");
    let page = text(&show(&["10.0.0.0"]).stdout);
    assert!(page.contains("not yet mature from 7 days on (the default)"), "{page}");

    let diff =
        |more: &[&str]| dir.run([&["baseline", "diff", "before.db", "after.db"], more].concat());
    let soon = diff(&soon);
    assert!(
        text(&soon.stdout).contains("history: mature by now, 0.0 -> 0."),
        "{}",
        text(&soon.stdout)
    );
    assert!(text(&soon.stderr).contains("mature from 0.25 days on (by soon.toml)"));
    let plain = diff(&[]);
    assert!(!text(&plain.stdout).contains("mature"), "{}", text(&plain.stdout));
    assert!(text(&plain.stderr).contains("mature from 7 days on (the default)"));
    let nonsense = diff(&["--config", "nothing.toml"]);
    assert_eq!(nonsense.status.code(), Some(2), "{}", text(&nonsense.stderr));
}

#[test]
fn learning_takes_a_configuration_as_reading_does() {
    let dir = Dir::new();
    capture(&dir, "monday.pcap", 1, 0, 5, 100);
    dir.write("wrong.toml", b"[detect]\nbaseline_mature_days = 0\n");
    // Nobody of it is at home: there is nobody to learn of.
    dir.write("elsewhere.toml", b"[read]\nhome-net = [\"192.0.2.0/24\"]\n");
    let learn = |config: &str| {
        let args = ["baseline", "learn", "monday.pcap", "--baseline", "b.db", "--config", config];
        dir.run(args)
    };
    let wrong = learn("wrong.toml");
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
    assert!(text(&wrong.stderr).contains("wrong.toml:2: baseline_mature_days"));
    let elsewhere = learn("elsewhere.toml");
    assert!(elsewhere.status.success(), "{}", text(&elsewhere.stderr));
    let told = text(&elsewhere.stderr);
    assert!(told.contains("0 minutes learned"), "{told}");
    // Of which nothing was learned is no file that was learned from.
    dir.write("here.toml", b"[read]\nhome-net = [\"10.0.0.0/8\"]\n");
    let here = text(&learn("here.toml").stderr);
    assert!(here.contains("5 minutes learned"), "{here}");
}

#[test]
fn what_is_no_file_of_baselines_is_said() {
    let dir = Dir::new();
    capture(&dir, "monday.pcap", 1, 0, 5, 100);
    let read = ["read", "-q", "monday.pcap", "--baseline", "normal.db"];
    let missing = dir.run(read);
    assert_eq!(missing.status.code(), Some(2), "{}", text(&missing.stderr));
    assert!(text(&missing.stderr).contains("no baselines yet"));

    dir.write("normal.db", b"somebody's notes");
    let foreign = dir.run(read);
    assert_eq!(foreign.status.code(), Some(1));
    assert!(text(&foreign.stderr).contains("no baselines of flowtap"), "{}", text(&foreign.stderr));
    let learning = [&read[..], &["--learn"]].concat();
    let refused = dir.run(&learning);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("not a file of baselines"), "{}", text(&refused.stderr));
    assert_eq!(std::fs::read(dir.path("normal.db")).expect("kept"), b"somebody's notes");

    // What is left of one after the power went.
    dir.write("normal.db", &[0; 5_000]);
    let learned = dir.run(&learning);
    assert!(learned.status.success(), "{}", text(&learned.stderr));
    assert!(text(&learned.stderr).contains("set aside as normal.db.damaged-1"));
    assert_eq!(std::fs::read(dir.path("normal.db.damaged-1")).expect("kept"), [0; 5_000]);
    assert_eq!(show(&dir, "normal.db").len(), 1);
}

/// The library that reads the file panics where a damaged one holds what can't be: people
/// are told that it is damaged, not where in whose source.
#[test]
fn a_damaged_file_is_said_without_the_text_of_a_panic_and_a_cut_one_is_set_aside() {
    let dir = Dir::new();
    capture(&dir, "monday.pcap", 60, 0, 90, 100);
    let learn = ["read", "-q", "monday.pcap", "--learn", "--baseline"];
    assert!(dir.run([&learn[..], &["whole.db"]].concat()).status.success());
    let whole = std::fs::read(dir.path("whole.db")).expect("there");
    // Where what is read first lies is the library's: some sixth of its pages holds some of it.
    // Others hold profiles alone, each of which is damaged by itself.
    let sixth = (whole.len() - 4_096) / 6;
    let damaged = (0..6).map(|part| {
        let mut damaged = whole.clone();
        damaged[4_096 + part * sixth..][..sixth].fill(0);
        damaged
    });
    let opens = |bytes: &[u8]| {
        dir.write("normal.db", bytes);
        let output = dir.run(["baseline", "export", "--baseline", "normal.db"]);
        let said = text(&output.stderr);
        assert!(!said.contains("panicked"), "{said}");
        !said.contains("or damaged: ")
    };
    let damaged: Vec<_> = damaged.filter(|bytes| !opens(bytes)).collect();
    let damaged = damaged.first().expect("one that can't be read");
    let mut cuts = (1..9).rev().map(|ninths| &whole[..whole.len() * ninths / 9]);
    let cut = cuts.find(|bytes| !opens(bytes)).expect("one that can't be read");
    for bytes in [&damaged[..], cut, &whole[..300]] {
        let _ = std::fs::remove_file(dir.path("normal.db.damaged-1"));
        dir.write("normal.db", bytes);
        dir.write("whole.db", &whole);
        for command in [
            &["baseline", "export", "--baseline", "normal.db"][..],
            &["baseline", "show", "--baseline", "normal.db"],
            &["baseline", "diff", "whole.db", "normal.db"],
            &["read", "-q", "monday.pcap", "--baseline", "normal.db"],
        ] {
            let said = text(&dir.run(command).stderr);
            assert!(!said.contains("panicked"), "{command:?}: {said}");
            assert!(said.contains("or damaged: "), "{command:?}: {said}");
        }
        let learned = dir.run([&learn[..], &["normal.db"]].concat());
        assert!(learned.status.success(), "{}", text(&learned.stderr));
        let said = text(&learned.stderr);
        assert!(said.contains("set aside as normal.db.damaged-1"), "{said}");
        assert_eq!(std::fs::read(dir.path("normal.db.damaged-1")).expect("kept"), bytes);
    }
}

/// Any number of workers teaches the same.
#[test]
fn what_is_learned_does_not_depend_on_workers() {
    let dir = Dir::new();
    capture(&dir, "monday.pcap", 40, 0, 60, 300);
    let learned: Vec<Vec<Value>> = ["1", "2", "4"]
        .iter()
        .map(|workers| {
            let file = format!("{workers}.db");
            let args = ["read", "-q", "monday.pcap", "--learn", "--workers", workers];
            assert!(dir.run([&args[..], &["--baseline", &file]].concat()).status.success());
            show(&dir, &file)
        })
        .collect();
    assert!(learned[0].len() == 40 && learned.iter().all(|other| *other == learned[0]));
}

const ENTITIES: u32 = 50;

fn minute_of(n: u32, at: i64) -> Minute {
    let ip = |a: u8| IpAddr::V4(Ipv4Addr::new(a, (n >> 16) as u8, (n >> 8) as u8, n as u8));
    let mut measures = Measures::default();
    let bytes = 10_000 + u64::from(n) * 7 + (at as u64 % 17) * 1_000;
    measures.sent.packets = bytes / 500;
    measures.sent.wire_bytes = bytes;
    measures.sent.sizes[4] = bytes / 500;
    measures.busiest = (at * 60, bytes / 5_000, bytes / 10, bytes / 10);
    measures.top.push(PeerSums {
        key: Host::from(ip(203)),
        sent_bytes: bytes,
        sent_packets: bytes / 500,
        sent_payload: bytes,
        opened_bytes: bytes,
        unasked_bytes: 0,
        received_bytes: 0,
        received_packets: 0,
        received_payload: 0,
        error_bytes: 0,
        service: OneService::None,
    });
    Minute {
        who: Arc::new(Who::address(&Host::from(ip(10)))),
        start_s: START_S + at * 60,
        length_s: 60,
        source: "packets".into(),
        measures,
        reported: None,
    }
}

fn of_two_services(mut minute: Minute) -> Minute {
    for port in [53, 443] {
        let mut spoken = Spoken::new(Service { proto: 17, port, leg: Leg::Opened });
        for bin in [3, 4, 7] {
            spoken.send(bin, 10, 5_000);
        }
        minute.measures.spoken.push(spoken);
    }
    minute
}

/// The process that is killed: learns a minute of each entity, writes, says so.
#[test]
#[ignore = "started by the test below"]
fn learns_until_it_is_killed() {
    let Some(path) = std::env::var_os("FLOWTAP_TEST_BASELINE") else { return };
    let settings = BaselineSettings { flush_s: 60, ..BaselineSettings::default() };
    let mut baselines = Baselines::open(Path::new(&path), settings, true).expect("opens");
    let first = minutes_known(&baselines).first().copied().unwrap_or(0) as i64;
    let mut out = std::io::stdout();
    for at in first.. {
        (0..ENTITIES).for_each(|n| baselines.learn(&minute_of(n, at)));
        baselines.tick(START_S + at * 60);
        if baselines.counters().flushes > 0 && writeln!(out, "written {}", at + 1).is_err() {
            return;
        }
    }
}

/// Of each entity; all have learned the same.
fn minutes_known(baselines: &Baselines) -> Vec<u64> {
    let minutes = |key: &Arc<str>| baselines.look_up(key).map(|profile| profile.minutes());
    baselines.keys().map(|key| minutes(key).expect("whole")).collect()
}

#[test]
fn a_kill_loses_the_last_interval_at_most() {
    let dir = Dir::new();
    let path = dir.path("normal.db");
    let program = std::env::current_exe().expect("this program");
    let (mut written, mut kills, mut seed) = (0, 0, 1_u64);
    while kills < 100 {
        let mut child = Command::new(&program)
            .args(["--exact", "files::learns_until_it_is_killed", "--ignored", "--nocapture"])
            .env("FLOWTAP_TEST_BASELINE", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("starts");
        let mut told = BufReader::new(child.stdout.take().expect("piped")).lines();
        // After so many writes, and in the middle of one.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let writes = seed >> 62;
        let mut last = None;
        let said = |line: std::io::Result<String>| {
            line.ok()?.strip_prefix("written ")?.parse::<u64>().ok()
        };
        for minute in told.by_ref().filter_map(said).take(writes.max(1) as usize) {
            last = Some(minute);
        }
        std::thread::sleep(Duration::from_micros(seed >> 32 & 0x1fff));
        child.kill().expect("killed");
        child.wait().expect("over");
        kills += 1;
        written = last.expect("it wrote before it was killed").max(written);
        let read = Baselines::open(&path, BaselineSettings::default(), false).expect("opens");
        assert_eq!(read.counters().damaged, 0);
        let minutes = minutes_known(&read);
        assert_eq!(minutes.len(), ENTITIES as usize);
        // All of a transaction or nothing.
        assert!(minutes.iter().all(|&known| known == minutes[0]), "{minutes:?}");
        assert!(minutes[0] >= written, "{} known, {written} written", minutes[0]);
        written = minutes[0];
    }
    let aside = std::fs::read_dir(path.parent().expect("a folder")).expect("listed");
    let names: Vec<_> = aside.flatten().map(|entry| entry.file_name()).collect();
    let kept = |name: &&std::ffi::OsString| {
        !["normal.db", "normal.db.verdicts"].contains(&name.to_str().unwrap_or_default())
    };
    assert_eq!(names.iter().find(kept), None, "nothing was set aside");
}

/// The program itself.
#[test]
fn a_killed_run_leaves_baselines_that_open() {
    let dir = Dir::new();
    capture(&dir, "day.pcap", 100, 0, 300, 100);
    dir.write("flowtap.toml", b"[detect]\nbaseline_flush_minutes = 1\n");
    let args = ["read", "-q", "day.pcap", "--learn", "--baseline", "normal.db", "--config"];
    for round in 0..8 {
        let mut child = dir.command(args).arg("flowtap.toml").spawn().expect("starts");
        std::thread::sleep(Duration::from_millis(60 + 40 * round));
        child.kill().expect("killed");
        child.wait().expect("over");
        if dir.path("normal.db").exists() {
            let shown = dir.run(["baseline", "show", "--json", "--baseline", "normal.db"]);
            assert!(shown.status.success(), "{}", text(&shown.stderr));
        }
    }
    let whole = dir.command(args).arg("flowtap.toml").output().expect("starts");
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    assert_eq!(show(&dir, "normal.db").len(), 100);
}

/// `cargo test --release --test baseline -- --ignored --nocapture measured`
#[test]
#[ignore = "a measurement"]
fn measured_with_100_000_entities() {
    let dir = Dir::new();
    let path = dir.path("normal.db");
    let settings = BaselineSettings { flush_s: i64::MAX, ..BaselineSettings::default() };
    let mut baselines = Baselines::open(&path, settings, true).expect("opens");
    let memory = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).map(str::to_owned);
        line.unwrap_or_default()
    };
    let minutes: i64 = 60;
    let start = Instant::now();
    for at in 0..minutes {
        // Spread over four weeks.
        (0..100_000).for_each(|n| baselines.learn(&of_two_services(minute_of(n, at * 671))));
    }
    let learned = start.elapsed();
    let rate = 100_000.0 * minutes as f64 / learned.as_secs_f64();
    eprintln!("learned {rate:.0} minutes of entities a second; {}", memory());
    let bytes: usize =
        baselines.keys().filter_map(|key| baselines.profile(key)).map(|p| p.bytes()).sum();
    eprintln!("{} bytes of memory an entity", bytes / 100_000);
    let start = Instant::now();
    assert!(baselines.flush());
    let size = std::fs::metadata(&path).expect("there").len();
    eprintln!("flush of all: {:?}; {} bytes on disk an entity", start.elapsed(), size / 100_000);
    (0..16_384).for_each(|n| baselines.learn(&minute_of(n, 50_000)));
    let start = Instant::now();
    assert!(baselines.flush());
    eprintln!("flush of 16,384: {:?}", start.elapsed());
    drop(baselines);
    let start = Instant::now();
    let read = Baselines::open(&path, settings, false).expect("opens");
    eprintln!("read-only open: {:?}", start.elapsed());
    let start = Instant::now();
    let some = (0..10_000).filter(|&n| read.profile(&minute_of(n, 0).who.baseline).is_some());
    assert_eq!(some.count(), 10_000);
    eprintln!("10,000 cold look-ups: {:?}", start.elapsed());
    drop(read);
    let start = Instant::now();
    drop(Baselines::open(&path, settings, true).expect("opens"));
    eprintln!("open for learning, with its check: {:?}; {}", start.elapsed(), memory());
}
