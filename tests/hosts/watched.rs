//! A capture with watchers of processes beside it, and what its records say.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, Live, written};
use crate::support::netns::{Netns, Running, wait_for};

pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// On a machine that has other things to do, a second may be late; then records may
/// say so, and it is done again.
const ATTEMPTS: usize = 4;

/// Does what returns false when it says nothing, since something was late.
pub(crate) fn in_time(attempt: impl Fn() -> bool) {
    let done = (0..ATTEMPTS).any(|_| attempt());
    assert!(done, "watchers did not keep up in {ATTEMPTS} captures");
}

/// A capture under way.
pub(crate) struct Watched {
    pub(crate) live: Live,
    pub(crate) out: PathBuf,
    /// The map that it records.
    pub(crate) map: PathBuf,
}

impl Watched {
    /// Comes back when watchers have told what is there and frames are heard.
    pub(crate) fn start(
        lab: &Lab,
        (space, interfaces): (usize, &[&str]),
        how: &str,
        more: &[&str],
    ) -> Self {
        let (out, map) = (lab.dir.path("live"), lab.dir.path("map.jsonl"));
        let mut args = vec!["--procs", how, "--procs-record", map.to_str().unwrap()];
        args.extend(["--out", out.to_str().unwrap()]);
        args.extend(more);
        let live = lab.listen_on(space, interfaces, &args);
        Self { live, out, map }
    }

    pub(crate) fn stop(self) -> Records {
        let summary = self.live.stop();
        let text = written(&self.out, "flows");
        Records { summary, flows: parse(&text), text }
    }
}

/// A run's summary and records.
pub(crate) struct Records {
    pub(crate) summary: Value,
    pub(crate) flows: Vec<Value>,
    pub(crate) text: String,
}

pub(crate) fn parse(ndjson: &str) -> Vec<Value> {
    ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Records {
    /// The one record that fits.
    pub(crate) fn one(&self, what: &str, fits: impl Fn(&Value) -> bool) -> &Value {
        let found: Vec<&Value> = self.flows.iter().filter(|flow| fits(flow)).collect();
        let [flow] = found[..] else {
            panic!("{} of {what}: {found:#?}\n{}", found.len(), self.text);
        };
        flow
    }

    pub(crate) fn to_port(&self, proto: u64, port: u16) -> &Value {
        let what = format!("protocol {proto} to port {port}");
        self.one(&what, |flow| flow["proto"] == proto && flow["dst_port"] == port)
    }

    pub(crate) fn by_client_port(&self, proto: u64, port: u64) -> &Value {
        let what = format!("protocol {proto} from port {port}");
        self.one(&what, |flow| flow["proto"] == proto && flow["src_port"] == port)
    }

    /// No second was closed before watchers were up to date and no frame was lost,
    /// as on a busy machine. Events that were lost are part of the map.
    pub(crate) fn is_whole(&self) -> bool {
        let coverage = &self.summary["coverage"];
        let capture = &self.summary["capture"];
        let figures = [
            &coverage["late_seconds"],
            &coverage["map"]["refused"],
            &capture["kernel_drops"],
            &capture["interface_drops"],
        ];
        let whole = figures.iter().all(|figure| **figure == 0);
        if !whole {
            eprintln!("late, not held in the map, not captured: {figures:?}");
        }
        whole
    }
}

/// Holds an end of a flow to a process, with all that is known of one.
pub(crate) fn assert_names(host: &Value, pid: u32, command_line: &str) {
    let process = &host["process"];
    let named = (&process["pid"], &process["command_line"]);
    assert_eq!(named, (&pid.into(), &command_line.into()), "{host:#}");
    assert_eq!(process["user"], "root", "{host:#}");
    assert!(process["exe"].is_string() && process["start_ticks"].is_u64(), "{host:#}");
}

/// Its parents lead to this test.
pub(crate) fn assert_descends(host: &Value, from: u32) {
    let ancestors = host["process"]["ancestors"].as_array().expect("it has parents");
    assert!(ancestors.iter().any(|parent| parent["pid"] == from), "not from {from}: {host:#}");
}

pub(crate) fn assert_how(host: &Value, method: &str, basis: &str, certainty: f64) {
    let how = &host["attribution"];
    assert_eq!((&how["method"], &how["basis"]), (&method.into(), &basis.into()), "{host:#}");
    assert_eq!(how["certainty"].as_f64(), Some(certainty), "{host:#}");
    assert!(how["others"].is_null() && how["reason"].is_null(), "{host:#}");
}

/// Programs in the kernel, or a loud skip.
pub(crate) fn has_ebpf(test: &str) -> bool {
    #[cfg(feature = "ebpf")]
    let available = flowtap::host::provider::ebpf::available().map_err(|error| error.to_string());
    #[cfg(not(feature = "ebpf"))]
    let available: Result<(), String> = Err("built without the feature `ebpf`".to_owned());
    available.map_err(|why: String| eprintln!("SKIP: {test}: {why}")).is_ok()
}

/// Starts a server and waits until it listens on a TCP port.
pub(crate) fn serve(net: &Netns, space: usize, words: &[&str], port: u16) -> Running {
    let mut command = net.command(space, words);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let running = net.spawn(command);
    wait_for_listener(net, space, port);
    running
}

pub(crate) fn wait_for_listener(net: &Netns, space: usize, port: u16) {
    wait_for(&format!("a listener at {port}"), || {
        let tables = net.run(space, ["cat", "/proc/net/tcp", "/proc/net/tcp6"]).stdout;
        String::from_utf8_lossy(&tables).lines().any(|line| {
            line.contains(&format!(":{port:04X} ")) && line.split_whitespace().nth(3) == Some("0A")
        })
    });
}

/// A server with processes of its own, which it ends when it is told to end.
pub(crate) struct Server(Running);

impl Server {
    pub(crate) fn of(running: Running) -> Self {
        Self(running)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let told = Command::new("kill").arg(self.pid().to_string()).status();
        let end = Instant::now() + Duration::from_secs(5);
        // What does not end by then is killed with the rest of the test.
        while told.is_ok()
            && Instant::now() < end
            && !matches!(self.0.child.try_wait(), Ok(Some(_)))
        {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// An nginx with one worker: what it serves is in `www`.
pub(crate) fn nginx(lab: &Lab, address: &str) -> Server {
    let folder = lab.dir.path("www");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("small"), "hello\n").unwrap();
    fs::write(folder.join("large"), vec![b'x'; 600_000]).unwrap();
    let configuration = lab.dir.path("nginx.conf");
    let text = format!(
        "user root; worker_processes 1; daemon off; pid {pid}; error_log stderr;
         events {{}}
         http {{ access_log off; server {{ listen {address}:80; root {root};
             location /large {{ limit_rate 150k; }} }} }}",
        pid = lab.dir.path("nginx.pid").display(),
        root = folder.display(),
    );
    fs::write(&configuration, text).unwrap();
    let server =
        Server::of(serve(&lab.net, 1, &["nginx", "-c", configuration.to_str().unwrap()], 80));
    wait_for("a worker", || !children(server.pid()).is_empty());
    server
}

pub(crate) fn dnsmasq(lab: &Lab, address: &str) -> Running {
    let listen_at = format!("--listen-address={address}");
    let words = [
        "dnsmasq",
        "--no-daemon",
        "--conf-file=/dev/null",
        "--no-hosts",
        "--no-resolv",
        "--user=root",
        "--pid-file=",
        "--bind-interfaces",
        "--address=/lab.test/192.0.2.7",
        &listen_at,
    ];
    serve(&lab.net, 1, &words, 53)
}

pub(crate) fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name: Z is dead and not waited for.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Runs a program to its end: its pid, and what it said.
pub(crate) fn run(net: &Netns, space: usize, words: &[&str]) -> (u32, String) {
    let mut command = net.command(space, words);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}{error}");
    (pid, said)
}

pub(crate) fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().map(|number| number.parse().unwrap()).collect()
}
