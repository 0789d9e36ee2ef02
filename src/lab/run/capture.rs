//! `flowtap live` beside the tools: the same program, told to listen where they meet.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::program::{Running, last_line};
use super::site::LOOK;
use crate::lab::scenario::score::{Scored, alerts_of};

/// Programs of the kernel are loaded meanwhile; the watcher itself gives up after 60 s.
const LISTENS_WITHIN: Duration = Duration::from_secs(90);

/// At its end it closes all flows and writes them.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// It ends by itself, should nobody end it: so long after the scenario.
const SPARE_S: u64 = 120;

/// What it says when it listens.
const LISTENS: &str = r#""event":"interface.listening""#;

const LOG: &str = "live.log";

/// How to listen.
#[derive(Clone, Debug)]
pub struct Listening {
    /// `--procs` of `flowtap live`.
    pub procs: String,
    /// More options of `flowtap live`.
    pub more: Vec<OsString>,
}

#[derive(Debug)]
pub(super) struct Capture {
    running: Running,
    dir: PathBuf,
}

/// What a run said of itself at its end.
#[derive(Debug)]
pub(super) struct Captured {
    pub(super) alerts: Vec<Scored>,
    pub(super) packets: u64,
    pub(super) wire_bytes: u64,
    pub(super) lost_packets: u64,
}

impl Capture {
    /// Comes back once it listens.
    pub(super) fn start(
        space: &str,
        interface: &str,
        home: &[String],
        duration: Duration,
        how: &Listening,
        dir: &Path,
        stop: &AtomicBool,
    ) -> Result<Self> {
        let program = std::env::current_exe().context("can't find the program itself")?;
        let path = |name: &str| dir.join(name).display().to_string();
        let seconds = (duration.as_secs() + SPARE_S).to_string();
        let mut line = vec![program.display().to_string(), "live".to_owned()];
        line.extend(["--json", "-i", interface, "--seconds", &seconds].map(str::to_owned));
        line.extend(
            ["--procs", &how.procs, "--control", "none", "--log-format", "json"].map(str::to_owned),
        );
        if how.procs != "off" {
            line.extend(["--procs-record".to_owned(), path("map.jsonl")]);
        }
        line.extend(["--out".to_owned(), path("run")]);
        line.extend(home.iter().flat_map(|net| ["--home-net".to_owned(), net.clone()]));
        for word in &how.more {
            let word = word.to_str().context("an option of flowtap live is not UTF-8")?;
            line.push(word.to_owned());
        }
        let summary = File::create(dir.join("summary.json"))
            .with_context(|| format!("can't write into {}", dir.display()))?;
        let state = dir.join("state");
        let variables = [("XDG_STATE_HOME", state.as_path())];
        let log = dir.join(LOG);
        let output = Some(Stdio::from(summary));
        let mut running = Running::start_with(space, &line, dir, &log, output, &variables)?;
        let until = Instant::now() + LISTENS_WITHIN;
        while !running.said().contains(LISTENS) {
            if running.ended()?.is_some() {
                bail!("flowtap live does not listen: {}", last_message(&running));
            }
            ensure!(!stop.load(Ordering::Relaxed), "interrupted");
            ensure!(Instant::now() < until, "flowtap live does not begin to listen");
            std::thread::sleep(LOOK);
        }
        Ok(Self { running, dir: dir.to_owned() })
    }

    /// An error when it listens no more.
    pub(super) fn look(&mut self) -> Result<()> {
        if self.running.ended()?.is_some() {
            bail!("flowtap live has ended: {}", last_message(&self.running));
        }
        Ok(())
    }

    /// Ends it in order; what it found.
    pub(super) fn finish(mut self) -> Result<Captured> {
        self.running.end();
        let status = self.running.wait(ENDS_WITHIN)?.context("flowtap live does not end")?;
        ensure!(status.success(), "flowtap live failed: {}", last_message(&self.running));
        let told = told_in(&self.dir.join(LOG))?;
        let path = self.dir.join("summary.json");
        let text =
            fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
        let summary: Value = serde_json::from_str(&text).context("summary of flowtap live")?;
        let mut alerts = alerts_of(&text)?;
        for alert in &mut alerts {
            alert.told_ns = told.get(&alert.id).copied();
        }
        let figure = |pointer: &str| summary.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        Ok(Captured {
            alerts,
            packets: figure("/packets"),
            wire_bytes: figure("/wire_bytes"),
            lost_packets: figure("/capture/kernel_drops") + figure("/capture/interface_drops"),
        })
    }
}

fn last_message(running: &Running) -> String {
    let said = running.said();
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    last_line(&line_of(last.unwrap_or_default()).message)
}

/// A line of the log of `flowtap live`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    timestamp: String,
    event: String,
    message: String,
    id: String,
}

fn line_of(text: &str) -> Line {
    // What is no such line is a panic's, or the kernel's.
    serde_json::from_str(text)
        .unwrap_or_else(|_| Line { message: text.to_owned(), ..Line::default() })
}

/// When each alert was told first.
fn told_in(log: &Path) -> Result<BTreeMap<String, i64>> {
    let mut told = BTreeMap::new();
    let file = File::open(log).with_context(|| format!("can't read {}", log.display()))?;
    for text in BufReader::new(file).split(b'\n') {
        let line = line_of(&String::from_utf8_lossy(&text?));
        if line.event != "alert" {
            continue;
        }
        let time: Timestamp = line.timestamp.parse().context("log of flowtap live")?;
        told.entry(line.id).or_insert(i64::try_from(time.as_nanosecond())?);
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_told_by_its_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("live.log");
        let line = |second: u32, event: &str, id: &str| {
            format!(
                "{{\"timestamp\":\"2026-01-01T00:00:0{second}Z\",\"level\":\"WARN\",\"event\":\"{event}\",\
                 \"id\":\"{id}\",\"revision\":1}}\n"
            )
        };
        let text = [
            line(1, "alert", "a"),
            "a word of another\n".to_owned(),
            line(2, "alert", "a"),
            line(3, "alert.closed", "b"),
            line(4, "alert", "b"),
        ];
        fs::write(&log, text.concat()).unwrap();
        let told = told_in(&log).unwrap();
        assert_eq!(told["b"] - told["a"], 3_000_000_000);
        assert_eq!(told.len(), 2);
    }
}
