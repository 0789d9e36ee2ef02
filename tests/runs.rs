//! Folders of runs: whose results lie in them, when the disk is full, when reading is
//! stopped, and which is the newest.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Dir, captures, text};
use serde_json::Value;

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn read(dir: &Dir, args: &[&str], capture: &str) -> Output {
    let mut command = dir.command(["read", "-q"]);
    command.args(args).arg(captures().join(capture)).output().expect("the binary starts")
}

/// Longer than what a format is told by: a run begins before its end.
const PIPED: &str = "nmap-syn.pcap";

/// Reads a capture out of a pipe that stays open.
fn from_pipe(dir: &Dir, args: &[&str]) -> Child {
    let mut command = dir.command(["read", "-"]);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let capture = std::fs::read(captures().join(PIPED)).expect("a capture");
    child.stdin.as_mut().expect("piped").write_all(&capture).expect("taken");
    child
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill starts");
    assert!(sent.success());
}

fn partial_files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.contains("partial")).collect()
}

#[test]
fn what_was_found_is_told_though_its_files_cannot_be_written() {
    let dir = Dir::new();
    let flood = captures().join("demo-udp-flood.pcap.zst");
    for (out, json) in [("a", false), ("b", true)] {
        // Where alerts are written before they have their name.
        std::fs::create_dir_all(dir.path(out).join("alerts.ndjson.partial")).expect("a folder");
        let mut command = dir.command(["read", "--out", out]);
        command.args(json.then_some("--json"));
        let output = command.arg(&flood).output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let why = format!("can't write {out}/alerts.ndjson");
        assert!(text(&output.stderr).contains(&why), "{}", said(&output));
        assert!(text(&output.stdout).contains("UDP flood"), "{}", said(&output));
        assert!(!dir.path(out).join("summary.json").exists(), "no summary without alerts");
    }
}

#[test]
fn a_full_disk_leaves_no_halves_of_files() {
    let dir = Dir::new();
    std::fs::create_dir(dir.path("small")).expect("a folder");
    let script = "mount -t tmpfs -o size=64k tmpfs small && { \"$0\" read --json --out small/r \
                  \"$1\" > told; echo $? > code; ls -A small/r > files; true; }";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, env!("CARGO_BIN_EXE_flowtap")]);
    command.arg(captures().join("demo-udp-flood.pcap.zst")).current_dir(dir.path(""));
    command.env("XDG_STATE_HOME", dir.path("state"));
    let output = command.output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        eprintln!("SKIPPED: no disk of one's own: needs root");
        return;
    };
    let written = |name: &str| std::fs::read_to_string(dir.path(name)).expect("written");
    assert_eq!(written("code"), "1\n", "{}", said(&output));
    let summary: Value = serde_json::from_str(&written("told")).expect("the whole summary");
    assert!(!summary["alerts"].as_array().expect("alerts").is_empty());
    let errors = text(&output.stderr);
    assert!(errors.contains("some records could not be written: No space left"), "{errors}");
    assert!(errors.contains("can't write small/r/alerts.ndjson"), "{errors}");
    assert!(!written("files").contains("partial"), "{}", written("files"));
}

#[test]
fn the_next_run_in_a_folder_leaves_nothing_of_the_one_before() {
    let dir = Dir::new();
    let many = ["--out", "run", "--format", "ndjson,csv,eve,zeek"];
    assert!(read(&dir, &many, "demo-udp-flood.pcap.zst").status.success());
    std::fs::write(dir.path("run/notes.txt"), "mine").expect("written");
    let output = read(&dir, &["--out", "run"], "dns.pcap");
    assert!(output.status.success(), "{}", said(&output));
    for name in ["flows.csv", "eve.json", "conn.log"] {
        assert!(!dir.path("run").join(name).exists(), "{name}");
    }
    assert!(dir.path("run/notes.txt").exists() && dir.path("run/flows.ndjson").exists());

    // One that is killed leaves nothing of the one before either.
    let mut child = from_pipe(&dir, &["--out", "run"]);
    wait_until("it begins", || !dir.path("run/summary.json").exists());
    let second = read(&dir, &["--out", "run"], "dns.pcap");
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another process (pid"), "{}", said(&second));
    signal(&child, "KILL");
    child.wait().expect("it ends");
    for name in ["alerts.ndjson", "summary.json", "run.json"] {
        assert!(!dir.path("run").join(name).exists(), "{name}");
    }
    let output = dir.run(["alerts", "list", "--run", "run"]);
    assert!(text(&output.stderr).contains("holds no run"), "{}", said(&output));
    assert!(read(&dir, &["--out", "run"], "dns.pcap").status.success());
}

#[test]
fn other_programs_files_and_what_is_read_are_left_alone() {
    let dir = Dir::new();
    std::fs::create_dir(dir.path("run")).expect("a folder");
    std::fs::copy(captures().join("dns.pcap"), dir.path("run/conn.log")).expect("copied");
    for _ in 0..2 {
        assert!(read(&dir, &["--out", "run"], "dns.pcap").status.success());
    }
    assert!(dir.path("run/conn.log").exists(), "no run of ours had that format");
    let args = ["read", "-q", "--out", "run", "--format", "zeek", "run/conn.log"];
    let output = dir.run(args);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("would be written over"), "{}", said(&output));
    let kept = std::fs::read(dir.path("run/conn.log")).expect("kept");
    assert!(kept == std::fs::read(captures().join("dns.pcap")).expect("a capture"));
}

#[test]
fn files_that_no_run_of_ours_wrote_stay() {
    let dir = Dir::new();
    std::fs::create_dir(dir.path("run")).expect("a folder");
    for name in ["flows.csv", "requests.ndjson"] {
        std::fs::write(dir.path("run").join(name), "mine").expect("written");
    }
    for _ in 0..2 {
        assert!(read(&dir, &["--out", "run"], "dns.pcap").status.success());
    }
    for name in ["flows.csv", "requests.ndjson"] {
        assert_eq!(std::fs::read_to_string(dir.path("run").join(name)).expect("kept"), "mine");
    }
    // A folder that is read, and whose log the output would be written over.
    std::fs::create_dir(dir.path("logs")).expect("a folder");
    std::fs::write(dir.path("logs/conn.log"), "#separator \\x09\n").expect("written");
    let output = dir.run(["read", "-q", "--out", "logs", "--format", "zeek", "logs"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("would be written over"), "{}", said(&output));
    assert!(std::fs::read_to_string(dir.path("logs/conn.log")).expect("kept").starts_with('#'));
}

#[test]
fn runs_of_read_and_of_live_do_not_share_a_folder() {
    let dir = Dir::new();
    dir.write("access.log", b"");
    let live = |out: &str| {
        let args = ["live", "-q", "--log", "access.log", "--seconds", "1", "--control", "none"];
        dir.command(args).args(["--out", out]).output().expect("the binary starts")
    };
    for _ in 0..2 {
        assert!(live("live").status.success(), "start by start");
    }
    let output = read(&dir, &["--out", "live"], "dns.pcap");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("holds the results of a live run"), "{}", said(&output));
    assert!(!dir.path("live/flows.ndjson").exists());
    assert!(read(&dir, &["--out", "read"], "dns.pcap").status.success());
    let output = live("read");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("results of `flowtap read`"), "{}", said(&output));
    assert!(dir.path("read/summary.json").exists());
}

#[test]
fn a_signal_ends_reading_and_what_was_read_counts() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let dir = Dir::new();
        let mut child = from_pipe(&dir, &["--json", "--out", "run"]);
        // Begun, and all that was written into the pipe is taken.
        wait_until("it begins", || dir.path("run/flows.ndjson").exists());
        std::thread::sleep(Duration::from_millis(500));
        signal(&child, name);
        // Waiting closes it otherwise, and that would end the reading.
        let _open = child.stdin.take();
        let status = child.wait().expect("it ends");
        let (mut told, mut errors) = (String::new(), String::new());
        child.stdout.take().expect("piped").read_to_string(&mut told).expect("text");
        child.stderr.take().expect("piped").read_to_string(&mut errors).expect("text");
        assert_eq!(status.code(), Some(code), "{errors}");
        assert!(errors.contains("stopped by a signal"), "{errors}");
        let summary: Value = serde_json::from_str(&told).expect("the whole summary");
        let whole = dir.summary([captures().join(PIPED)]);
        assert_eq!(summary["packets"], whole["packets"]);
        let output = dir.run(["flows", "--run", "run", "--json"]);
        let flows: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(flows["flows_read"], whole["flows"]);
        assert_eq!(partial_files(&dir.path("run")), [""; 0]);
    }
}

/// Whether a process has a handler for SIGINT, the second of the mask (proc_pid_status(5)).
fn catches_interrupts(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 0b10 != 0)
}

#[test]
fn a_signal_a_while_after_the_first_ends_it_at_once() {
    let dir = Dir::new();
    // Nothing ends the opening of a pipe that nobody writes into.
    let pipe = dir.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts").success());
    let mut command = dir.command(["read", "-q"]);
    let mut child = command.arg(&pipe).spawn().expect("the binary starts");
    wait_until("it listens for signals", || catches_interrupts(child.id()));
    let first = Instant::now();
    // Those that come with it are the same wish.
    signal(&child, "INT");
    signal(&child, "INT");
    wait_until("somebody tries again", || first.elapsed() > Duration::from_millis(1_500));
    assert_eq!(child.try_wait().expect("a child"), None, "the first ones wait");
    signal(&child, "INT");
    use std::os::unix::process::ExitStatusExt as _;
    assert_eq!(child.wait().expect("it ends").signal(), Some(2));
}

#[test]
fn a_sweep_that_is_stopped_leaves_nothing_behind() {
    let dir = Dir::new();
    std::fs::create_dir(dir.path("tmp")).expect("a folder");
    let left = || std::fs::read_dir(dir.path("tmp")).expect("there").count();
    let mut command = dir.command(["lab", "sweep", "ping-flood", "--seeds", "1000"]);
    let command = command.env("TMPDIR", dir.path("tmp")).stdout(Stdio::null());
    let mut child = command.spawn().expect("the binary starts");
    wait_until("it begins", || left() > 0);
    signal(&child, "INT");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert_eq!(left(), 0);
}

/// Killed when dropped: what it does has no end that a test could wait for.
struct Endless(Child);

impl Drop for Endless {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_sweep_stops_while_it_writes_a_capture() {
    for (scenario, learned_days, first) in
        [("udp-flood", "0", "udp-flood-1"), ("exfiltration", "1", "exfiltration-1-before")]
    {
        let dir = Dir::new();
        std::fs::create_dir(dir.path("tmp")).expect("a folder");
        let args = ["lab", "sweep", scenario, "--learn-days", learned_days, "--scale", "1000"];
        let ten_days = ["--set", "duration_s=864000"];
        let mut command = dir.command([&args[..], &ten_days].concat());
        let command = command.env("TMPDIR", dir.path("tmp")).stdout(Stdio::null());
        let mut endless = Endless(command.spawn().expect("the binary starts"));
        let child = &mut endless.0;
        let folder = dir.path("tmp").join(format!("flowtap-sweep-{}", child.id())).join(first);
        let written = || std::fs::metadata(folder.join("traffic.pcap")).map_or(0, |it| it.len());
        wait_until("it writes", || written() > 1 << 20);
        signal(child, "TERM");
        let mut code = None;
        wait_until("it ends", || {
            code = child.try_wait().expect("a child").map(|status| status.code());
            code.is_some()
        });
        assert_eq!(code, Some(Some(143)));
        assert_eq!(std::fs::read_dir(dir.path("tmp")).expect("there").count(), 0);
    }
}

#[test]
fn a_sweep_of_what_can_not_be_is_refused_and_leaves_nothing_behind() {
    let dir = Dir::new();
    std::fs::create_dir(dir.path("tmp")).expect("a folder");
    let scenario = |name: &str, behaviour: &str| {
        let host = |name: &str, n: u8| format!("[[host]]\nname={name:?}\naddress=\"10.0.0.{n}\"\n");
        let head = "start=\"2026-03-02T09:00:00Z\"\nduration_s=9\n";
        let text = format!("{head}{}{}[[behaviour]]\n{behaviour}", host("a", 1), host("b", 2));
        dir.write(name, text.as_bytes());
    };
    let behaviour = "kind=\"udp_flood\"\nlabel=\"f\"\nfrom=\"a\"\nto=";
    scenario("nobody.toml", &format!("{behaviour}\"c\"\n"));
    scenario("shares.toml", &format!("{behaviour}\"b\"\njitter_share=1.5\n"));
    let long = format!("{}.toml", "x".repeat(220));
    scenario(&long, &format!("{behaviour}\"b\"\n"));
    let rate = "rate_per_s is";
    let number = "must be a number over 0, at most 1,000,000";
    for (args, said) in [
        (&["udp-flood", "--vary", "strength=100,-5"][..], &["with strength=-5", rate, number][..]),
        (&["udp-flood", "--vary", "strength=0"], &["with strength=0", rate, number]),
        (&["udp-flood", "--set", "strength=NaN"], &["rate_per_s is \"NaN\"", number]),
        (&["udp-flood", "--set", "strength=inf"], &["rate_per_s is \"inf\"", number]),
        (&["udp-flood", "--set", "strength=1e300"], &[rate, number]),
        (&["udp-flood", "--vary", "strength="], &["rate_per_s is \"\"", number]),
        (&["held-open", "--set", "strength=0"], &["connections is 0", "from 1 to 100,000"]),
        (&["relay", "--set", "gap_s=0"], &["gap_s is 0", "over 0"]),
        (&["udp-flood", "--set", "duration_s=-1"], &["duration_s is -1", "over 0"]),
        (&["udp-flood", "--scale", "NaN"], &["a number above 0, at most a million"]),
        (&["udp-flood", "--vary", "detect.egress_deviation=NaN"], &["a number from"]),
        (&["udp-flood", "--gate", "recall>=NaN"], &["NaN is no number"]),
        (&["udp-flood", "--formats", "combined"], &["there is nothing for combined"]),
        (&["udp-flood", "--first-seed", "18446744073709551615"], &["--first-seed"]),
        (&["shares.toml"], &["behaviour 1 (f): jitter_share is 1.5", "from 0 to 1"]),
        (&["nobody.toml"], &["there is no host or process c"]),
        (&[&long], &["at most 200 bytes"]),
        (
            &[""],
            &["there is no scenario or file with an empty name", "udp-flood, egress-lookalikes"],
        ),
        (&["a\u{1b}[2J"], &["there is no scenario or file a\\u{1b}[2J"]),
        (&["/"], &["there is no scenario or file /;"]),
    ] {
        let mut command = dir.command([&["lab", "sweep", "--seeds", "2"], args].concat());
        let command = command.env("TMPDIR", dir.path("tmp")).stdout(Stdio::piped());
        let output = command.output().expect("the binary starts");
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {told}");
        assert!(said.iter().all(|said| told.contains(said)), "{args:?}: {told}");
        assert_eq!(text(&output.stdout), "", "{args:?}");
        assert_eq!(std::fs::read_dir(dir.path("tmp")).expect("there").count(), 0, "{args:?}");
    }
    // A folder of the user's own: what is in it stays, and no more comes.
    std::fs::create_dir_all(dir.path("work/udp-flood-1")).expect("a folder");
    dir.write("work/udp-flood-1/mine", b"");
    let short = ["--set", "duration_s=70", "--seeds", "1", "--work", "work"];
    let output = dir.run([&["lab", "sweep", "udp-flood"], &short[..]].concat());
    assert!(output.status.success(), "{}", said(&output));
    assert!(dir.path("work/udp-flood-1/mine").is_file());
    assert_eq!(std::fs::read_dir(dir.path("work")).expect("there").count(), 1);
}

#[test]
fn the_newest_run_is_also_one_with_a_folder_of_its_own_and_is_told() {
    let dir = Dir::new();
    assert!(read(&dir, &[], "dns.pcap").status.success());
    assert!(read(&dir, &["--out", "nr"], "nmap-syn.pcap").status.success());
    let listed = |dir: &Dir| dir.run(["alerts", "list"]);
    let output = listed(&dir);
    let folder = std::fs::canonicalize(dir.path("nr")).expect("there");
    assert!(text(&output.stderr).contains(&folder.display().to_string()), "{}", said(&output));
    assert!(text(&output.stdout).contains("scan"), "{}", said(&output));
    // A folder that is gone is no run.
    std::fs::remove_dir_all(&folder).expect("removed");
    let output = listed(&dir);
    assert_eq!(text(&output.stdout), "No alerts.\n", "{}", said(&output));
    assert!(text(&output.stderr).contains("state/flowtap/run-"), "{}", said(&output));
    // However often a folder is used, runs that lie nowhere else stay.
    for name in ["a", "b"] {
        for _ in 0..12 {
            assert!(read(&dir, &["--out", name], "ping.pcap").status.success());
        }
        std::fs::remove_dir_all(dir.path(name)).expect("removed");
    }
    assert_eq!(text(&listed(&dir).stdout), "No alerts.\n");
}

#[test]
fn a_run_that_one_may_not_enter_is_no_missing_run() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    /// Nobody's, for a test that root runs, who may enter anything.
    const NOBODY: u32 = 65_534;
    let dir = Dir::new();
    assert!(read(&dir, &["--out", "run"], "nmap-syn.pcap").status.success());
    let run = dir.path("run");
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(dir.path("."), mode(0o755)).expect("ours");
    std::fs::set_permissions(&run, mode(0o000)).expect("ours");
    let mut command = dir.command(["flows", "--run", "run"]);
    let is_root = std::fs::read_dir(&run).is_ok();
    if is_root {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output();
    std::fs::set_permissions(&run, mode(0o755)).expect("ours");
    let output = match output {
        Err(error) if is_root => {
            eprintln!("SKIPPED: the program can't be run as somebody else: {error}");
            return;
        }
        output => output.expect("starts"),
    };
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("run can't be looked into; the folder is user "), "{told}");
    assert!(told.contains("with mode 0000: Permission denied"), "{told}");
}

#[test]
fn a_live_run_with_a_folder_of_its_own_is_the_newest_too() {
    let dir = Dir::new();
    dir.write("access.log", b"");
    assert!(read(&dir, &[], "nmap-syn.pcap").status.success());
    let live = ["live", "-q", "--log", "access.log", "--seconds", "1", "--control", "none"];
    for out in ["first", "second", "first"] {
        let output = dir.command(live).args(["--out", out]).output().expect("the binary starts");
        assert!(output.status.success(), "{}", said(&output));
        let output = dir.run(["alerts", "list"]);
        let folder = std::fs::canonicalize(dir.path(out)).expect("there");
        let told = format!("flowtap: run {}\n", folder.display());
        assert_eq!(text(&output.stderr), told, "{}", said(&output));
        assert_eq!(text(&output.stdout), "No alerts.\n");
    }
}

#[test]
fn a_live_run_that_does_not_start_is_not_the_newest() {
    let dir = Dir::new();
    dir.write("access.log", b"");
    let live = |args: &[&str]| {
        let mut command = dir.command(["live", "-q", "--seconds", "1", "--control", "none"]);
        command.args(args).output().expect("the binary starts")
    };
    let begun = |out: &str| live(&["--log", "access.log", "--out", out]);
    assert!(begun("earlier").status.success());
    assert!(read(&dir, &["--out", "results"], "nmap-syn.pcap").status.success());
    assert!(begun("newest").status.success());
    let newest = |why: &str| {
        let output = dir.run(["alerts", "list"]);
        let folder = std::fs::canonicalize(dir.path("newest")).expect("there");
        let told = format!("flowtap: run {}\n", folder.display());
        assert_eq!(text(&output.stderr), told, "{why}: {}", said(&output));
    };
    newest("it began");
    for _ in 0..3 {
        assert_eq!(begun("results").status.code(), Some(1), "results of `flowtap read`");
        newest("its folder is another's");
        let output = live(&["-i", "nosuch0", "--out", "earlier"]);
        assert!(!output.status.success(), "{}", said(&output));
        newest("nothing to listen to");
        // Nor does its own former run lose its word.
        let output = live(&["-i", "nosuch0", "--out", "newest"]);
        assert!(!output.status.success(), "{}", said(&output));
        newest("the same folder");
    }
    let words = std::fs::read_dir(dir.path("state/flowtap")).expect("there").count();
    assert!(words <= 4, "{words}: starts that fail pile up");
}

#[test]
fn a_run_of_files_named_from_its_folder_is_asked_from_anywhere() {
    let dir = Dir::new();
    let flood = captures().join("demo-udp-flood.pcap.zst");
    std::fs::copy(flood, dir.path("flood.pcap.zst")).expect("copied");
    assert!(dir.run(["read", "-q", "--out", "run", "flood.pcap.zst"]).status.success());
    let lines = std::fs::read_to_string(dir.path("run/alerts.ndjson")).expect("alerts");
    let alert: Value = serde_json::from_str(lines.lines().next().expect("one")).expect("JSON");
    let id = alert["id"].as_str().expect("an id");
    let elsewhere = Dir::new();
    std::fs::rename(dir.path("run"), elsewhere.path("run")).expect("on one disk");
    let output = elsewhere.run(["bundle", id, "--run", "run", "-o", "a.tar.zst"]);
    assert!(text(&output.stdout).contains("packets.pcapng"), "{}", said(&output));
    let output = elsewhere.run(["why-not", "10.77.0.2", "--run", "run"]);
    assert!(output.status.success(), "{}", said(&output));

    // Captures that were named and can't be read are missing, and that is said.
    let bundle = ["bundle", id, "--run", "run", "-o", "b.tar.zst", "--from"];
    let output = elsewhere.command(bundle).arg("nope").output().expect("starts");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(text(&output.stdout).contains("no packets: nope: cannot be opened"));
    let mut command = elsewhere.command(bundle);
    command.arg(dir.path("flood.pcap.zst")).args(["--from", "nope"]);
    let output = command.output().expect("starts");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let page = text(&output.stdout);
    assert!(page.contains("packets.pcapng") && page.contains("nope: cannot be opened"), "{page}");
}

#[test]
fn a_terminal_obeys_no_name_of_a_file() {
    let dir = Dir::new();
    let mut bytes = std::fs::read(captures().join("dns.pcap")).expect("a capture");
    bytes.truncate(bytes.len() - 5);
    dir.write("a\u{1b}[2Jb\nc.pcap", &bytes);
    dir.write("d\u{1b}[2J.pcap", b"no packets at all in this one");
    let output = dir.run(["read", "-q", "a\u{1b}[2Jb\nc.pcap", "d\u{1b}[2J.pcap"]);
    let errors = text(&output.stderr);
    assert!(!errors.contains('\u{1b}'), "{errors:?}");
    assert!(errors.contains(r"a\u{1b}[2Jb\u{a}c.pcap: "), "{errors:?}");
    assert!(errors.contains(r"d\u{1b}[2J.pcap: "), "{errors:?}");
}
