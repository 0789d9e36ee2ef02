//! AN0971 and AN0031 from real processes: tools and scripts send in a namespace of the
//! test, `flowtap live --procs auto` listens beside them, and the alerts name each
//! process, its parents and its class. Traffic goes to the test's own other namespace,
//! for some seconds.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "common/mod.rs"]
mod common;
#[path = "live/lab.rs"]
#[allow(dead_code, reason = "shared with tests/live, which uses more of it")]
mod lab;
#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use common::{Dir, text};
use lab::Lab;
use support::netns::{LinkOptions, Running};
use support::program::copy_program;

/// Answers requests on 8080 and takes what comes on 9000.
const SERVER: &str = r#"
import http.server, socket, socketserver, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "2"); self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *rest): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    request_queue_size = 512
    daemon_threads = True
    def handle_error(self, *rest): pass
def sink():
    taken = socket.create_server(("", 9000))
    while True:
        one, _ = taken.accept()
        while one.recv(1 << 16): pass
threading.Thread(target=sink, daemon=True).start()
Server(("", 8080), Handler).serve_forever()
"#;

/// Datagrams of one size, some thousands a second, that nobody asked for.
const DATAGRAMS: &str = r#"
import socket, sys, time
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    for _ in range(60): out.sendto(b"x" * 512, (sys.argv[1], 5555))
    time.sleep(0.01)
"#;

/// A connection each second.
const CALLS: &str = r#"
import socket, sys, time
while True:
    with socket.create_connection((sys.argv[1], 8080)) as one:
        one.sendall(b"GET / HTTP/1.0\r\n\r\n"); one.recv(100)
        # Long enough for watchers that look now and then.
        time.sleep(0.7)
    time.sleep(0.3)
"#;

struct Host {
    lab: Lab,
    running: Vec<Running>,
}

impl Host {
    fn peer(&self) -> &str {
        &self.lab.link.ipv4[1]
    }

    fn start(&mut self, space: usize, words: &[&str]) {
        let mut command = self.lab.net.command(space, words);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.running.push(self.lab.net.spawn(command));
    }

    fn script(&mut self, space: usize, name: &str, script: &str) {
        let path = self.lab.dir.write(name, script.as_bytes());
        let peer = self.peer().to_owned();
        self.start(space, &["python3", path.to_str().unwrap(), &peer]);
    }
}

/// Alerts of a detector of a process with this name.
fn of<'a>(summary: &'a Value, detector: &str, name: &str) -> Vec<&'a Value> {
    let alerts = summary["alerts"].as_array().unwrap();
    let fits =
        |alert: &&Value| alert["detector"] == detector && alert["case"]["process"]["name"] == name;
    alerts.iter().filter(fits).collect()
}

fn summaries(summary: &Value) -> String {
    let alerts = summary["alerts"].as_array().unwrap();
    alerts.iter().map(|alert| format!("{} {}\n", alert["detector"], alert["summary"])).collect()
}

/// Who only looks now and then can't tell short connections of two programs to one
/// server apart: then no process is said to beacon.
fn has_ebpf() -> bool {
    let program = env!("CARGO_BIN_EXE_flowtap");
    let output = Command::new(program).args(["procs", "show", "--procs", "ebpf"]).output().unwrap();
    if !output.status.success() {
        eprintln!("SKIPPED: the beacon of a process: no eBPF here");
    }
    output.status.success()
}

#[test]
fn floods_and_odd_senders_are_named_with_their_parents_and_class() {
    let programs = ["ping", "hping3", "curl", "python3", "xargs"];
    let Some(lab) = Lab::or_skip("process side", &programs, LinkOptions::default()) else {
        return;
    };
    let mut host = Host { lab, running: Vec::new() };
    let peer = host.peer().to_owned();
    let settings =
        "[detect]\nbeacon_connections = 6\nbeacon_span_s = 5\nweb_connection_floor = 10\n";
    let config = host.lab.dir.write("flowtap.toml", settings.as_bytes());
    let home = format!("{}/32", host.lab.link.ipv4[0]);
    host.script(1, "server.py", SERVER);
    let interface = host.lab.link.names[0].clone();
    let args = ["--procs", "auto", "--home-net", &home, "--config", config.to_str().unwrap()];
    let live = host.lab.listen_on(0, &[&interface], &args);

    // Echo sockets with an identifier of their own tell two pings apart.
    host.lab.net.run(0, ["sysctl", "-qw", "net.ipv4.ping_group_range=0 0"]);
    let renamed = host.lab.dir.path("x");
    let ping = ["/usr/bin/ping", "/bin/ping"].iter().find(|path| fs::metadata(path).is_ok());
    copy_program(ping.expect("ping is there"), &renamed);
    host.start(0, &["ping", "-q", "-f", &peer]);
    host.start(0, &[renamed.to_str().unwrap(), "-q", "-i", "0.002", &peer]);
    host.start(0, &["hping3", "-q", "--udp", "-p", "7777", "-i", "u500", &peer]);
    host.script(0, "datagrams.py", DATAGRAMS);
    host.script(0, "calls.py", CALLS);
    let url = format!("http://{peer}:8080/");
    let curls = format!("yes {url} | head -n 6000 | exec xargs -P4 -n1 curl -s -o /dev/null");
    host.start(0, &["bash", "-c", &curls]);
    // `cat` inherits the shell's connection.
    let lines = "import time\nfor _ in range(300): print('x' * 4000, flush=True); time.sleep(0.03)";
    let copy = format!(
        "exec 3>/dev/tcp/{peer}/9000; exec cat < <(exec 3>&-; python3 -c \"{lines}\") >&3",
    );
    host.start(0, &["bash", "-c", &copy]);
    // A person's ping, by its rate.
    host.start(0, &["ping", "-q", "-i", "0.5", &host.lab.link.ipv6[1].clone()]);
    std::thread::sleep(Duration::from_secs(14));
    host.running.clear();
    let summary = live.stop();

    let all = summaries(&summary);
    for name in ["ping", "x", "hping3", "python3", "curl"] {
        let found = of(&summary, "tool_flood", name);
        assert!(!found.is_empty(), "no flood of {name}:\n{all}");
        let alert = found[0];
        let analytics = alert["analytics"].as_array().unwrap();
        assert!(analytics.contains(&"AN0971".into()), "{name}: {analytics:?}");
        // What else was seen of the same process is part of it; of several together
        // whatever one of their address did.
        let together = !alert["entity"]["labels"]["together_by"].is_null();
        let parts = alert["parts"].as_array().into_iter().flatten();
        for part in parts.filter(|part| !together && part["entity"]["kind"] == "process") {
            assert_eq!(part["entity"]["id"], alert["entity"]["id"], "{name}: {part}");
        }
        assert!(alert["entity"]["kind"] == "process", "{alert}");
        let case = &alert["case"];
        assert!(case["process"]["ancestors"].as_array().is_some_and(|all| !all.is_empty()));
        let class = case["process_class"].as_str().unwrap();
        let wanted = match name {
            "x" => "unknown",
            "python3" => "interpreter",
            _ => "client",
        };
        assert!(class.starts_with(wanted), "{name}: {class}");
    }
    assert_eq!(of(&summary, "tool_flood", "ping").len(), 1, "not the slow one:\n{all}");
    let cat = of(&summary, "non_networking", "cat");
    assert!(!cat.is_empty(), "no cat:\n{all}");
    assert_eq!(cat[0]["analytics"], serde_json::json!(["AN0031"]));
    assert!(cat[0]["case"]["process_class"].as_str().unwrap().starts_with("never"));
    if has_ebpf() {
        let calls = of(&summary, "beacon", "python3");
        assert!(!calls.is_empty(), "no beacon:\n{all}");
    }
}

#[test]
fn a_table_of_ones_own_is_read_or_told_to_be_wrong() {
    let dir = Dir::new();
    let name = common::manifest()[0]["file"].as_str().unwrap().to_owned();
    let capture = common::captures().join(name);
    let capture = capture.to_str().unwrap();
    let wrong = dir.write("wrong.toml", b"version = \"1\"\n[[class]]\nid = \"a\"\n");
    let output = dir.run(["read", "--process-classes", wrong.to_str().unwrap(), capture]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("line 2: class is missing"), "{}", text(&output.stderr));
    let right = dir.write(
        "right.toml",
        b"version = \"s\"\n[[class]]\nid = \"a\"\nclass = \"agent\"\nnames = [\"x\"]\nreason = \"ours\"\n",
    );
    let output = dir.run(["read", "-q", "--process-classes", right.to_str().unwrap(), capture]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}
