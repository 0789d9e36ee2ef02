//! What `flowtap read` writes of a run beside its flows: alerts, summary, and what was run.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::rundir::{recorded_arguments, write_whole, write_whole_by};
use crate::engine::RunOptions;
use crate::input::is_hidden;
use crate::output::access::Access;
use crate::output::privacy::Privacy;
use crate::output::{Format, Summary, eve};

/// Digest of one input, for `run.json`.
#[derive(Debug, Serialize)]
struct InputDigest {
    path: String,
    /// Absent for what can't be read twice, and where there was no time.
    sha256: Option<String>,
}

/// Digests that are being made.
pub(super) struct Hashes {
    thread: JoinHandle<Vec<InputDigest>>,
}

impl Hashes {
    /// Of files, and of those in folders; begins none once `stop` is set.
    pub(super) fn start(paths: Vec<PathBuf>, stop: &Arc<AtomicBool>) -> Self {
        let stop = Arc::clone(stop);
        Self { thread: std::thread::spawn(move || digests(paths, &stop)) }
    }
}

fn digests(paths: Vec<PathBuf>, stop: &AtomicBool) -> Vec<InputDigest> {
    let mut files = Vec::new();
    for path in paths {
        match fs::read_dir(&path) {
            Ok(entries) => {
                let entries = entries.flatten().map(|entry| entry.path());
                files.extend(entries.filter(|path| !is_hidden(path)));
            }
            Err(_) => files.push(path),
        }
    }
    files.sort_unstable();
    let digest = |path: PathBuf| InputDigest {
        sha256: path.is_file().then(|| digest(&path, stop)).and_then(Result::ok),
        path: path.display().to_string(),
    };
    files.into_iter().map(digest).collect()
}

pub(super) fn sha256_of(path: &Path) -> io::Result<String> {
    digest(path, &AtomicBool::new(false))
}

fn digest(path: &Path, stop: &AtomicBool) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        if stop.load(Ordering::Acquire) {
            return Err(io::Error::other("stopped"));
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What was run on what: `run.json`.
#[derive(Debug, Serialize)]
struct RunRecord<'a> {
    schema: &'static str,
    flowtap: &'static str,
    arguments: Vec<String>,
    /// Where it was run: names of files are as they were given there.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    inputs: Vec<InputDigest>,
    formats: Vec<&'static str>,
    workers: usize,
    max_flows: usize,
    lateness_s: i64,
    home_nets: Vec<String>,
    filter: Option<&'a str>,
}

/// A run in a folder that was named.
pub(super) struct Named<'a> {
    pub(super) hashes: Hashes,
    pub(super) formats: &'a [Format],
    pub(super) options: &'a RunOptions,
    pub(super) filter: Option<&'a str>,
}

/// Alerts first: where there is a summary they are complete.
pub(super) fn write(dir: &Path, summary: &Summary, named: Option<Named<'_>>) -> anyhow::Result<()> {
    write_whole_by(&dir.join("alerts.ndjson"), Access::Group, |file| {
        for alert in &summary.alerts {
            serde_json::to_writer(&mut *file, alert)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    })?;
    write_whole(&dir.join("summary.json"), &serde_json::to_vec_pretty(summary)?)?;
    let Some(Named { hashes, formats, options, filter }) = named else { return Ok(()) };
    if formats.contains(&Format::Eve) {
        eve::append_alerts(dir, &summary.alerts)?;
    }
    let record = RunRecord {
        schema: "flowtap.run.v1",
        flowtap: env!("CARGO_PKG_VERSION"),
        arguments: recorded_arguments(&Privacy::none()),
        folder: std::env::current_dir()
            .ok()
            .and_then(|path| path.into_os_string().into_string().ok()),
        inputs: hashes.thread.join().unwrap_or_default(),
        formats: formats.iter().map(|format| format.name()).collect(),
        workers: options.workers,
        max_flows: options.max_flows,
        lateness_s: options.lateness_s,
        home_nets: options.detect.home_nets.nets().iter().map(ToString::to_string).collect(),
        filter,
    };
    write_whole(&dir.join("run.json"), &serde_json::to_vec_pretty(&record)?)
}
