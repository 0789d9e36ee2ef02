//! Memory of a run that reads a log without end, and of one that reads what has broken
//! parsers.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use serde_json::Value;

/// A run that reads its standard input.
struct Reading {
    child: Child,
    summary: JoinHandle<Vec<u8>>,
    _folder: tempfile::TempDir,
}

impl Reading {
    fn start(kind: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_flowtap"))
            .args(["read", "--json", "--as", kind, "-"])
            .env("XDG_STATE_HOME", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut told = child.stdout.take().unwrap();
        let summary = thread::spawn(move || {
            let mut summary = Vec::new();
            told.read_to_end(&mut summary).unwrap();
            summary
        });
        Self { child, summary, _folder: folder }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.child.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// The most memory that it has had.
    fn peak_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    /// What it says of its only source.
    fn end(mut self) -> Value {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
        let summary: Value = serde_json::from_slice(&self.summary.join().unwrap()).unwrap();
        summary["sources"][0].clone()
    }
}

/// Ten a second.
fn records(numbers: std::ops::Range<u64>) -> String {
    numbers
        .map(|n| {
            let end = 1_760_000_000 + n / 10;
            format!(
                "2 111122223333 eni-0a1b2c3d 10.0.1.{} 203.0.113.{} {} 443 6 {} {} {} {end} ACCEPT OK\n",
                n % 250,
                n * 7 % 250,
                1024 + n * 31 % 60_000,
                n % 900 + 1,
                n * 1337 % 90_000 + 40,
                end - 58,
            )
        })
        .collect()
}

#[test]
fn a_log_without_end_takes_no_more_memory_than_its_first_part() {
    /// More than may wait to be put in order.
    const PART: u64 = 300_000;
    /// A tenth of what the records of a part take, at some 500 bytes each.
    const SLACK: u64 = 15 << 20;
    let mut run = Reading::start("aws-vpc");
    run.write(records(0..PART).as_bytes());
    let before = run.peak_bytes();
    run.write(records(PART..2 * PART).as_bytes());
    let after = run.peak_bytes();
    assert_eq!(run.end()["flows"], 2 * PART);
    assert!(after <= before + SLACK, "{before} bytes, then {after}");
}

#[test]
fn hostile_lines_are_counted_at_bounded_memory() {
    /// A line that would not end: more than all that the run may take.
    const ENDLESS: usize = 128 << 20;
    const MOST: u64 = 64 << 20;
    let nested = [r#"{"a":"#.repeat(1000), "1".to_owned(), "}".repeat(1000)].concat();
    let lines = [
        vec![b'a'; 3 << 20],
        b"[".repeat(1 << 20),
        nested.into_bytes(),
        b"\xff\xfe\x00\x80 \xc3\x28".to_vec(),
        b"99999999999999999999999 -1 1e400 -9223372036854775809".to_vec(),
    ];
    for kind in ["aws-vpc", "combined", "aws-alb", "zeek-conn-json", "suricata-eve", "gcp-lb"] {
        let mut run = Reading::start(kind);
        run.write(b"{\"a\":\"");
        (0..ENDLESS >> 20).for_each(|_| run.write(&lines[0][..1 << 20]));
        run.write(b"\n");
        for line in &lines {
            run.write(line);
            run.write(b"\n");
        }
        let peak = run.peak_bytes();
        let source = run.end();
        // An object that says nothing of use is well-formed, however deep it is.
        let counts = ["bad", "passed"].map(|key| source[key].as_object().into_iter().flatten());
        let counted = counts.into_iter().flatten().map(|(_, count)| count.as_u64().unwrap());
        assert_eq!(counted.sum::<u64>(), 1 + lines.len() as u64, "{kind}: {source}");
        assert!(peak <= MOST, "{kind}: {peak} bytes");
    }
}
