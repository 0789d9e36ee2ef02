//! A program that runs in a namespace of a lab.
//!
//! It has a session of its own, so that no person seems to sit behind it and keys of the
//! terminal do not end it before the lab does; and it ends with the lab, also when that is
//! killed.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};

use super::site::{LOOK, start_ticks};
use super::tool::search_path;
use crate::host::process::ProcessId;

/// Time to say its figures after SIGINT, before it is killed: machines of a lab are busy.
const GRACE: Duration = Duration::from_secs(5);

/// What is read of what a program has said.
const SAID_BYTES: usize = 16_384;

/// A run of a program: who it was and when.
#[derive(Clone, Debug)]
pub(super) struct Ran {
    pub(super) id: ProcessId,
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    /// Why it is no success, where it is none and was not ended by the lab.
    pub(super) failure: Option<String>,
}

#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    ran: Ran,
    log: PathBuf,
    asked_at: Option<Instant>,
}

impl Running {
    /// Starts a program in a namespace; what it says goes to the end of `log`.
    ///
    /// It ends with the *thread* that starts it.
    pub(super) fn start(space: &str, line: &[String], dir: &Path, log: &Path) -> Result<Self> {
        Self::start_with(space, line, dir, log, None, &[])
    }

    /// `output`: where standard output goes, if not to the log too.
    pub(super) fn start_with(
        space: &str,
        line: &[String],
        dir: &Path,
        log: &Path,
        output: Option<Stdio>,
        variables: &[(&str, &Path)],
    ) -> Result<Self> {
        let opened = File::options().create(true).append(true).open(log);
        let opened = opened.with_context(|| format!("can't write {}", log.display()))?;
        // Each replaces itself by the next, so that the process is the program's.
        let mut command = Command::new("setsid");
        command.args(["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", space]).args(line);
        command.env_clear().env("PATH", search_path()).env("LC_ALL", "C").env("HOME", dir);
        command.envs(variables.iter().copied()).current_dir(dir).stdin(Stdio::null());
        match output {
            Some(output) => command.stdout(output),
            None => command.stdout(opened.try_clone()?),
        };
        let start_ns = now_ns();
        let child = command.stderr(opened).spawn().context("can't run setsid (util-linux)")?;
        let pid = child.id();
        // It is there until it is waited for.
        let id = ProcessId { pid, start_ticks: start_ticks(pid).unwrap_or(0) };
        let ran = Ran { id, start_ns, end_ns: start_ns, failure: None };
        Ok(Self { child, ran, log: log.to_owned(), asked_at: None })
    }

    pub(super) fn id(&self) -> ProcessId {
        self.ran.id
    }

    /// What it did, once it has ended.
    pub(super) fn ended(&mut self) -> Result<Option<Ran>> {
        let Some(status) = self.child.try_wait()? else {
            if self.asked_at.is_some_and(|at| at.elapsed() > GRACE) {
                self.child.kill()?;
            }
            return Ok(None);
        };
        self.ran.end_ns = now_ns();
        let failed = !status.success() && self.asked_at.is_none();
        self.ran.failure =
            failed.then(|| format!("{}: {}", how(status), last_line(&said(&self.log))));
        Ok(Some(self.ran.clone()))
    }

    /// Asks it to end; [`Running::ended`] sees to it that it does.
    pub(super) fn end(&mut self) {
        if self.asked_at.is_none() {
            self.asked_at = Some(Instant::now());
            let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            // It has not been waited for, so the number is still its own.
            let _ = pid.map(|pid| kill_process(pid, Signal::INT));
        }
    }

    /// Ends it and waits for that.
    pub(super) fn finish(mut self) -> Result<Ran> {
        self.end();
        loop {
            if let Some(ran) = self.ended()? {
                return Ok(ran);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for its end after it was asked, without killing it before `within`.
    pub(super) fn wait(&mut self, within: Duration) -> Result<Option<ExitStatus>> {
        let until = Instant::now() + within;
        loop {
            match self.child.try_wait()? {
                Some(status) => return Ok(Some(status)),
                None if Instant::now() > until => return Ok(None),
                None => std::thread::sleep(LOOK),
            }
        }
    }

    pub(super) fn said(&self) -> String {
        said(&self.log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The end of a log.
pub(super) fn said(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let from = bytes.len().saturating_sub(SAID_BYTES);
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}

pub(super) fn last_line(said: &str) -> String {
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    // Tools print what others sent them.
    last.unwrap_or("it said nothing").chars().filter(|it| !it.is_control()).take(300).collect()
}

/// By the clock that stamps packets.
pub(super) fn now_ns() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
