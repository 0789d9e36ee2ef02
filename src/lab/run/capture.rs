//! `flowtap live` beside the tools: the same program, told to listen where they meet.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::program::{Running, last_line, now_ns};
use super::site::LOOK;
use crate::lab::scenario::score::{Scored, alerts_of};

/// Programs of the kernel are loaded meanwhile; the watcher itself gives up after 60 s.
const LISTENS_WITHIN: Duration = Duration::from_secs(90);

/// At its end it closes all flows and writes them.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// It ends by itself, should nobody end it: so long after the scenario.
const SPARE_S: u64 = 120;

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
    told: Told,
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
        line.extend(["--procs", &how.procs, "--control", "none"].map(str::to_owned));
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
        let log = dir.join("live.log");
        let output = Stdio::from(summary);
        let mut running = Running::start_with(space, &line, dir, &log, output, &variables)?;
        let until = Instant::now() + LISTENS_WITHIN;
        while !running.said().contains("listening on") {
            if running.ended()?.is_some() {
                bail!("flowtap live does not listen: {}", last_line(&running.said()));
            }
            ensure!(!stop.load(Ordering::Relaxed), "interrupted");
            ensure!(Instant::now() < until, "flowtap live does not begin to listen");
            std::thread::sleep(LOOK);
        }
        Ok(Self { running, dir: dir.to_owned(), told: Told::default() })
    }

    /// Looks for new alerts, and whether it still listens.
    pub(super) fn look(&mut self) -> Result<()> {
        self.told.look(&self.dir.join("run"));
        if self.running.ended()?.is_some() {
            bail!("flowtap live has ended: {}", last_line(&self.running.said()));
        }
        Ok(())
    }

    /// Ends it in order; what it found.
    pub(super) fn finish(mut self) -> Result<Captured> {
        self.running.end();
        let status = self.running.wait(ENDS_WITHIN)?.context("flowtap live does not end")?;
        let said = self.running.said();
        ensure!(status.success(), "flowtap live failed: {}", last_line(&said));
        self.told.look(&self.dir.join("run"));
        let path = self.dir.join("summary.json");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("can't read {}", path.display()))?;
        let summary: Value = serde_json::from_str(&text).context("summary of flowtap live")?;
        let mut alerts = alerts_of(&text)?;
        for alert in &mut alerts {
            // What came with the end of the run was told then.
            alert.told_ns = Some(self.told.at_ns.get(&alert.id).copied().unwrap_or_else(now_ns));
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

/// When alerts stood in the run's files first.
#[derive(Debug, Default)]
struct Told {
    at_ns: BTreeMap<String, i64>,
    /// How far each file was read.
    read: BTreeMap<PathBuf, u64>,
}

impl Told {
    /// What can't be read now is read at the next look.
    fn look(&mut self, dir: &Path) {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let is_alerts = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("alerts") && name.ends_with(".ndjson")
        };
        for path in entries.map(|entry| entry.path()).filter(is_alerts) {
            let from = self.read.entry(path.clone()).or_default();
            let mut text = String::new();
            let read = File::open(&path).and_then(|mut file| {
                file.seek(SeekFrom::Start(*from))?;
                file.read_to_string(&mut text)
            });
            // A line that is not whole yet is left for later.
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            if read.is_err() || whole == 0 {
                continue;
            }
            *from += whole as u64;
            for line in text[..whole].lines() {
                let alert = serde_json::from_str::<Value>(line).unwrap_or_default();
                if let Some(id) = alert.get("id").and_then(Value::as_str) {
                    self.at_ns.entry(id.to_owned()).or_insert_with(now_ns);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_told_when_its_line_is_whole() {
        use std::io::Write as _;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alerts-1.ndjson");
        let mut file = File::create(&path).unwrap();
        let mut told = Told::default();
        write!(file, "{{\"id\":\"a\"").unwrap();
        told.look(dir.path());
        assert!(told.at_ns.is_empty());
        writeln!(file, "}}").unwrap();
        told.look(dir.path());
        let first = told.at_ns["a"];
        writeln!(file, "{{\"id\":\"a\"}}\n{{\"id\":\"b\"}}").unwrap();
        told.look(dir.path());
        assert_eq!(told.at_ns["a"], first, "an update is no news");
        assert!(told.at_ns.contains_key("b"));
    }
}
