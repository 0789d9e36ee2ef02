//! What a Mac records: read by the real binary. `ps` and `lsof` print the same here, so
//! that theirs is of real programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::support::netns::Netns;
use crate::support::tcpdump::Tcpdump;

/// At twenty a second: as long as two programs take on a busy machine, and more.
const PACKETS: usize = 160;

/// Sends to itself, and stays.
const SENDER: &str = "
import socket, time
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(('127.0.0.1', 5000))
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.bind(('127.0.0.1', 41400))
sender.connect(('127.0.0.1', 5000))
for _ in range(160):
    sender.send(b'x' * 100)
    time.sleep(0.05)
time.sleep(60)
";

fn read(folder: &Path, inputs: &[PathBuf]) -> PathBuf {
    let out = folder.join("out");
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowtap"));
    command.args(["read", "--quiet", "--log-host", "mac1", "--out"]).arg(&out).args(inputs);
    let output = command.env("XDG_STATE_HOME", folder.join("state")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn ps_and_lsof_name_who_sent_a_packet() {
    let programs = ["tcpdump", "python3", "ps", "lsof"];
    let name = "ps_and_lsof_name_who_sent_a_packet";
    let Some(net) = Netns::or_skip(name, 1, &programs) else { return };
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("lo.pcap");
    let tcpdump = Tcpdump::start(&net, 0, "lo", &capture);
    let sender = net.spawn(net.command(0, ["python3", "-c", SENDER, "--token", "hunter2"]));
    // `date` cuts its second off: it must still be one in which packets are sent.
    sleep(Duration::from_millis(1300));
    let record = |name: &str, command: &str| {
        let script = format!("date -u +%Y-%m-%dT%H:%M:%SZ; {command}");
        let path = folder.path().join(name);
        fs::write(&path, net.run(0, ["sh", "-c", &script]).stdout).unwrap();
        path
    };
    let ps = record(
        "ps.txt",
        "TZ=CET-1 LC_ALL=C ps -axo pid,ppid,pgid,sess,tty,user,uid,lstart,command",
    );
    let lsof = record("lsof.txt", "lsof -i -n -P -F");
    tcpdump.finish(PACKETS);

    let out = read(folder.path(), &[capture, ps, lsof]);
    let flows = lines(&out.join("flows.ndjson"));
    let flow = flows.iter().find(|flow| flow["src_port"] == 41400).unwrap();
    let process = &flow["src_host"]["process"];
    assert_eq!(process["pid"], sender.child.id(), "{flow:#}");
    // The name is from either; arguments are from ps, the socket from lsof.
    let words = process["command_line"].as_str().unwrap();
    assert!(words.contains("python3 -c ") && !words.contains("hunter2"), "{words}");
    assert_eq!(flow["dst_host"]["process"]["pid"], sender.child.id(), "{flow:#}");
}

#[test]
fn every_recording_is_read_by_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/macos");
    let mut inputs: Vec<PathBuf> =
        fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.retain(|path| path.extension().is_some_and(|extension| extension != "md"));
    inputs.sort();
    let out = read(folder.path(), &inputs);
    let summary: Value =
        serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
    let sources = summary["sources"].as_array().unwrap();
    assert_eq!(sources.len(), inputs.len());
    for source in sources {
        let path = Path::new(source["path"].as_str().unwrap());
        let name = path.file_name().unwrap().to_str().unwrap();
        let kind = match name.split(['-', '.']).next().unwrap() {
            "macos" => "macos-log",
            "console" => "macos-console",
            kind => kind,
        };
        assert_eq!(source["kind"], kind, "{name}");
        // What `log` says of its filter is no JSON.
        assert_eq!(source.get("bad").is_some(), name == "macos-log.ndjson", "{source}");
        assert!(source.get("bad_parts").is_none() && source.get("error").is_none(), "{source}");
        assert!(source["host_events"].as_u64().unwrap_or(0) > 0, "{source}");
    }
    let counters = lines(&out.join("counters.ndjson"));
    let sent: Vec<_> = counters
        .iter()
        .filter(|sample| sample["process"] == "flood.501")
        .map(|sample| (sample["sent_packets"].as_u64(), sample["sent_bytes"].as_u64()))
        .collect();
    // The log in both of its styles.
    assert_eq!(sent, [(Some(300_000), Some(42_000_000)); 2]);
}

/// A flood from a terminal of its own: whether its person is there, the console says.
const FLOOD: &str = r#"
start = "2026-03-02T09:00:00Z"
duration_s = 60

[[host]]
name = "mac"
address = "10.0.5.10"
watched = true
[[host]]
name = "victim"
address = "203.0.113.77"
outside = true

[[process]]
name = "terminal"
host = "mac"
exe = "/bin/zsh"
args = ["-zsh"]
terminal = "ttys001"
user = "ann"
[[process]]
name = "flooder"
host = "mac"
exe = "/sbin/ping"
args = ["ping", "-f", "203.0.113.77"]
parent = "terminal"
terminal = "ttys001"
user = "ann"

[[behaviour]]
kind = "icmp_flood"
label = "flood"
from = "flooder"
to = "victim"
start_s = 10
duration_s = 30
rate_per_s = 500
"#;

#[test]
fn an_idle_console_says_that_nobody_is_at_the_terminal_of_a_flood() {
    let folder = tempfile::tempdir().unwrap();
    let flowtap = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowtap"));
        let state = folder.path().join("state");
        let output =
            command.args(args).current_dir(folder.path()).env("XDG_STATE_HOME", state).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    fs::write(folder.path().join("flood.toml"), FLOOD).unwrap();
    flowtap(&["lab", "make", "flood.toml", "-o", "lab"]);
    // As `date`, `stat`, `ioreg` and `who` print it.
    let console = |idle_s: u64, who: &str| {
        format!(
            "2026-03-02T08:59:58Z\nann\n    | |   \"HIDIdleTime\" = {}\nann            console      Mar  2 08:00\n{who}",
            idle_s * 1_000_000_000
        )
    };
    let remote = "ann            ttys001      Mar  2 08:30\t(192.0.2.9)\n";
    for (name, text, person, idle) in [
        ("there", console(4, ""), true, Some(4)),
        ("away", console(5_400, ""), false, Some(5_400)),
        // Over the network nobody needs the console.
        ("remote", console(5_400, remote), true, Some(5_400)),
        ("none", String::new(), true, None),
    ] {
        let log = format!("{name}.txt");
        fs::write(folder.path().join(&log), &text).unwrap();
        let mut args = vec!["read", "--quiet", "--log-host", "mac", "--procs", "lab/map.jsonl"];
        args.extend(["--out", name, "lab/traffic.pcap"]);
        if !text.is_empty() {
            args.push(&log);
        }
        flowtap(&args);
        let alerts = lines(&folder.path().join(name).join("alerts.ndjson"));
        let flood = alerts.iter().find(|alert| alert["detector"] == "tool_flood").unwrap();
        let details = &flood["evidence"]["details"];
        assert_eq!(details["person_at_it"], person, "{name}: {flood:#}");
        assert_eq!(details.get("console_idle_s").and_then(Value::as_u64), idle, "{name}");
        // Nobody at it is a step up.
        let severity = if person { "low" } else { "medium" };
        assert_eq!(flood["severity"], severity, "{name}: {flood:#}");
        let terms = flood["case"]["score"]["terms"].as_array().unwrap();
        let nobody = terms.iter().find(|term| term["name"] == "nobody_at_it").unwrap();
        assert_eq!(nobody["points"].as_f64() > Some(0.0), !person, "{name}");
    }
}
