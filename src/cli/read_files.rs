//! What `flowtap read` writes of a run beside its flows: alerts, summary, and what was run.

use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use super::digests::{Digests, FileDigest, Hashes};
use super::rundir::{recorded_arguments, write_whole, write_whole_by};
use crate::alert::Alert;
use crate::engine::RunOptions;
use crate::output::access::Access;
use crate::output::privacy::Privacy;
use crate::output::{Format, Summary, eve};

/// Of a run in a folder that was named.
pub(super) const ALLOWED: &str = "allowed.ndjson";

/// What was run on what: `run.json`.
#[derive(Debug, Serialize)]
struct RunRecord<'a> {
    schema: &'static str,
    flowtap: &'static str,
    arguments: Vec<String>,
    /// Where it was run: names of files are as they were given there.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    inputs: Vec<FileDigest>,
    /// What the arguments name beside them: configuration, host maps, lists, baselines.
    also_read: Vec<FileDigest>,
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

fn write_alerts(path: &Path, alerts: &[Alert]) -> anyhow::Result<()> {
    write_whole_by(path, Access::Group, |file| {
        for alert in alerts {
            serde_json::to_writer(&mut *file, alert)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// Alerts that entries of the configuration allowed, where there were any.
pub(super) fn write_allowed(dir: &Path, summary: &Summary) -> anyhow::Result<()> {
    if summary.allowed_alerts.is_empty() {
        return Ok(());
    }
    write_alerts(&dir.join(ALLOWED), &summary.allowed_alerts)
}

/// Alerts first: where there is a summary they are complete.
pub(super) fn write(dir: &Path, summary: &Summary, named: Option<Named<'_>>) -> anyhow::Result<()> {
    write_alerts(&dir.join("alerts.ndjson"), &summary.alerts)?;
    if named.is_some() {
        write_allowed(dir, summary)?;
    }
    write_whole(&dir.join("summary.json"), &serde_json::to_vec_pretty(summary)?)?;
    let Some(Named { hashes, formats, options, filter }) = named else { return Ok(()) };
    if formats.contains(&Format::Eve) {
        eve::append_alerts(dir, &summary.alerts)?;
    }
    let Digests { inputs, also_read } = hashes.finish(summary);
    let record = RunRecord {
        schema: "flowtap.run.v1",
        flowtap: env!("CARGO_PKG_VERSION"),
        arguments: recorded_arguments(&Privacy::none()),
        folder: std::env::current_dir()
            .ok()
            .and_then(|path| path.into_os_string().into_string().ok()),
        inputs,
        also_read,
        formats: formats.iter().map(|format| format.name()).collect(),
        workers: options.workers,
        max_flows: options.max_flows,
        lateness_s: options.lateness_s,
        home_nets: options.detect.home_nets.nets().iter().map(ToString::to_string).collect(),
        filter,
    };
    write_whole(&dir.join("run.json"), &serde_json::to_vec_pretty(&record)?)
}
