//! `flowtap lab run` with real tools, by the real binary: what it finds, what it refuses,
//! and that nothing of it remains, however it ends.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use support::netns::{Netns, Running, wait_for};

/// Labs watch the whole machine, and it has few cores.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn can_run(test: &str, programs: &[&str]) -> bool {
    Netns::or_skip(test, 0, programs).is_some()
}

/// A flood, and somebody who pings as people do.
const FLOOD: &str = r#"
about = "a flood"
duration_s = 30
[parameters]
strength = 2500
[[host]]
name = "app"
[[host]]
name = "desk"
[[host]]
name = "victim"
outside = true
[[behaviour]]
tool = "hping3"
label = "flood"
attack = true
from = "app"
to = "victim"
start_s = 1
duration_s = 10
rate_per_s = "$strength"
[[behaviour]]
tool = "ping"
label = "check"
from = "desk"
to = "victim"
duration_s = 11
[[expect]]
attack = "flood"
detector = "tool_flood"
entity = "flood"
analytic = "AN0971"
[[quiet]]
entity = ["desk", "check"]
"#;

fn lab(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowtap"));
    command.args(["lab", "run"]).args(args).stdin(Stdio::null());
    command
}

/// Namespaces and temporary folders of a lab, by its process id.
fn left_by(pid: u32) -> Vec<String> {
    let own = format!("flowtap-lab-{pid}-");
    let names = ["/run/netns".into(), std::env::temp_dir()].into_iter().flat_map(|folder| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap_or_default())
    });
    names.filter(|name| name.starts_with(&own)).collect()
}

/// Processes in the namespaces of a lab.
fn running_in(names: &[String]) -> Vec<String> {
    let pids = |name: &String| {
        let output = Command::new("ip").args(["netns", "pids", name]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    names.iter().filter(|name| !name.ends_with("-files")).flat_map(pids).collect()
}

fn written(dir: &Path, scenario: &str) -> String {
    let path = dir.join("scenario.toml");
    fs::write(&path, scenario).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_flood_by_a_real_tool_is_found_and_scored() {
    let _alone = alone();
    if !can_run("a flood in a lab", &["hping3", "ping"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let scenario = written(dir.path(), FLOOD);
    let out = dir.path().join("out");
    let gate = "recall>=1,precision>=1,time_to_detect_s<=0.001";
    let mut command = lab(&[&scenario, "--json", "--gate", gate, "-o", out.to_str().unwrap()]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // Nothing is found within a millisecond; all else is as it must be.
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert_eq!(said.matches("gate not met").count(), 1, "{said}");
    assert!(said.contains("gate not met: time_to_detect_s is "), "{said}");
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcome["score"]["all"]["hit"], 1, "{outcome:#}");
    assert_eq!(outcome["score"]["told_times"], true);
    assert_eq!(outcome["ran"][0]["failed_runs"], 0, "{outcome:#}");
    assert_eq!(outcome["ran"][1]["failed_runs"], 0, "{outcome:#}");

    // The capture has all that hping3 says it sent.
    let log = fs::read_to_string(out.join("tools/flood.log")).unwrap();
    let line = log.lines().find(|line| line.contains("packets transmitted")).unwrap();
    let sent: u64 = line.split(' ').next().unwrap().parse().unwrap();
    assert!(sent > 5_000, "{log}");
    assert_eq!(outcome["lost_packets"], 0);
    assert!(outcome["packets"].as_u64().unwrap() >= sent, "{outcome:#}");

    // The truth serves `lab score` as the run's own score.
    let mut score = Command::new(env!("CARGO_BIN_EXE_flowtap"));
    score.args(["lab", "score", "--json"]).args([out.join("truth.json"), out.join("summary.json")]);
    let again: Value = serde_json::from_slice(&score.output().unwrap().stdout).unwrap();
    for figure in ["hit", "expected", "true_alerts", "related_alerts", "false_alerts"] {
        assert_eq!(again["all"][figure], outcome["score"]["all"][figure], "{figure}");
    }
    assert_eq!(left_by(pid), [""; 0]);
}

#[test]
fn ordinary_work_raises_nothing() {
    let _alone = alone();
    if !can_run("a quiet lab", &["iperf3", "curl", "nginx", "dig", "dnsmasq", "ping"]) {
        return;
    }
    let gate = "false_per_day<=0,recall>=1";
    let output = lab(&["quiet", "--seconds", "10", "--json", "--gate", gate]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcome["score"]["all"]["false_alerts"], 0);
    // It did work.
    for ran in outcome["ran"].as_array().unwrap() {
        assert_eq!(ran["failed_runs"], 0, "{ran:#}");
    }
    let ran = |label: &str| {
        let all = outcome["ran"].as_array().unwrap();
        all.iter().find(|ran| ran["label"] == label).unwrap().clone()
    };
    assert!(ran("browsing")["runs"].as_u64().unwrap() >= 3, "{outcome:#}");
    assert!(ran("browsing")["said"].as_str().unwrap().contains("status 200, "), "{outcome:#}");
    assert!(outcome["packets"].as_u64().unwrap() > 100, "{outcome:#}");
}

#[test]
fn what_is_outside_is_refused_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    for outside in ["192.0.2.1", "8.8.8.8", "example.com"] {
        let to = FLOOD.replacen("to = \"victim\"", &format!("to = \"{outside}\""), 1);
        let scenario = written(dir.path(), &to);
        let out = dir.path().join("out");
        let mut command = lab(&[&scenario, "-o", out.to_str().unwrap()]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("to: {outside} is outside of the lab: refused")), "{said}");
        assert!(!out.exists());
        assert_eq!(left_by(pid), [""; 0]);
    }
}

/// curl may be missing, and what is expected of it goes with it.
const OPTIONAL: &str = r#"
duration_s = 3
[[host]]
name = "app"
[[host]]
name = "web"
[[server]]
tool = "nginx"
host = "web"
[[behaviour]]
tool = "hping3"
label = "probe"
attack = true
from = "app"
to = "web"
duration_s = 1
rate_per_s = 10
[[behaviour]]
tool = "curl"
label = "page"
attack = true
optional = true
from = "app"
to = "web"
[[expect]]
attack = "page"
"#;

#[test]
fn a_tool_that_is_missing_is_named_or_left_out() {
    let _alone = alone();
    if !can_run("a lab without curl", &["hping3", "nginx"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let programs = dir.path().join("programs");
    fs::create_dir(&programs).unwrap();
    for name in ["setsid", "setpriv"] {
        let folder = ["/usr/bin", "/bin"].iter().find(|it| Path::new(it).join(name).exists());
        let program = Path::new(folder.unwrap()).join(name);
        std::os::unix::fs::symlink(program, programs.join(name)).unwrap();
    }
    if Path::new("/usr/sbin/curl").exists() {
        eprintln!("SKIPPED: a lab without curl: it is where root looks");
        return;
    }
    let run = |scenario: &str| {
        let scenario = written(dir.path(), scenario);
        let mut command = lab(&[&scenario, "--json", "--procs", "off"]);
        command.env("PATH", &programs).output().unwrap()
    };
    let output = run(OPTIONAL);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    let skipped = serde_json::json!(["page: there is no curl (Debian: curl)"]);
    assert_eq!(outcome["skipped"], skipped);
    assert_eq!(outcome["score"]["all"]["expected"], 0);
    assert_eq!(outcome["ran"].as_array().unwrap().len(), 1);

    let output = run(&OPTIONAL.replace("optional = true\n", ""));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.ends_with("there is no curl (Debian: curl)\n"), "{said}");
}

#[test]
fn without_the_rights_it_says_which_are_missing() {
    if !can_run("a lab without rights", &["setpriv"]) {
        return;
    }
    let output = Command::new("setpriv")
        .args(["--bounding-set", "-net_admin", env!("CARGO_BIN_EXE_flowtap")])
        .args(["lab", "run", "quiet"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("run it as root (missing: CAP_NET_ADMIN)"), "{said}");
}

/// A lab in whose namespaces the flood runs.
fn in_the_middle(dir: &Path) -> (Running, u32, BufReader<ChildStderr>) {
    let scenario = written(dir, &FLOOD.replace("duration_s = 10", "duration_s = 29"));
    let mut child: Child = lab(&[&scenario]).stderr(Stdio::piped()).spawn().unwrap();
    let (pid, said) = (child.id(), child.stderr.take().unwrap());
    let lab = Running { child };
    let mut line = String::new();
    let mut said = BufReader::new(said);
    said.read_line(&mut line).unwrap();
    assert!(line.contains("30 s at the most"), "{line}");
    wait_for("a flood", || {
        running_in(&left_by(pid)).iter().any(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "hping3")
        })
    });
    // Three hosts, the switch and a folder.
    assert_eq!(left_by(pid).len(), 5, "{:?}", left_by(pid));
    (lab, pid, said)
}

#[test]
fn an_interrupted_lab_removes_everything() {
    let _alone = alone();
    if !can_run("an interrupted lab", &["hping3", "ping"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut lab_run, pid, mut said) = in_the_middle(dir.path());
    let names = left_by(pid);
    let pids = running_in(&names);
    // No way leads out.
    for name in names.iter().filter(|name| !name.ends_with("-files")) {
        let mut command = Command::new("ip");
        let output = command.args(["-n", name, "route", "get", "192.0.2.99"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("unreachable"), "{name}: {said}");
    }
    // One that lives is nobody's leftover.
    let clean = lab(&["--clean"]).output().unwrap();
    assert!(clean.status.success());
    assert_eq!(left_by(pid), names);
    lab_run.signal("INT");
    let status = lab_run.wait(std::time::Duration::from_secs(60));
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.contains("interrupted: the lab was removed"), "{line}");
    assert_eq!(status.code(), Some(1));
    assert_eq!(left_by(pid), [""; 0]);
    for pid in pids {
        // One that has ended waits for its parent, which may be the machine's first process.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "still runs: {stat}");
    }
}

#[test]
fn what_a_killed_lab_leaves_is_removed_by_the_next() {
    let _alone = alone();
    if !can_run("a killed lab", &["hping3", "ping"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut lab_run, pid, _said) = in_the_middle(dir.path());
    lab_run.signal("KILL");
    lab_run.wait(std::time::Duration::from_secs(10));
    let names = left_by(pid);
    assert_eq!(names.len(), 5, "{names:?}");
    // What it started ends with it; packets stop at once.
    wait_for("the end of the tools", || {
        running_in(&names).iter().all(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            !["hping3", "ping"].contains(&name.trim())
        })
    });
    let clean = lab(&["--clean"]).output().unwrap();
    let said = String::from_utf8_lossy(&clean.stdout).into_owned();
    assert!(clean.status.success(), "{}", String::from_utf8_lossy(&clean.stderr));
    for name in &names {
        assert!(said.contains(&format!("removed {name}\n")), "{said}");
    }
    assert_eq!(left_by(pid), [""; 0]);
}
