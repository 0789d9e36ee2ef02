//! `flowtap coverage`: how much of a run has a process, and which analytics could see
//! anything.

use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use super::rundir::{self, SO_FAR};
use crate::report::coverage;
use crate::report::detail;
use crate::report::terminal::Style;

/// Print how much of a run's traffic has a process, a container and an instance,
/// by the method that found it, and why the rest has none; and which analytics could see
/// anything, with what was missing. Of a live run that goes on, or was killed, it is what was
/// known some seconds ago, or last.
#[derive(Debug, Args)]
pub(crate) struct CoverageArgs {
    /// Run directory; the newest run by default.
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Print the figures as JSON: `hosts`, null where the run knew nothing of hosts, and
    /// `analytics`; of a live run without a summary also `as_of`, their time.
    #[arg(long)]
    json: bool,
}

/// What to do for a run to know of hosts.
const HOW: &str = "\
This run knew nothing of hosts: no flow has a process, a container or an instance.
Give it what it should know:
  flowtap live --procs auto            watches the processes of this host
  flowtap read --procs map.jsonl FILE  joins a map that was recorded beside the capture
  --inventory FILE, with either        says whose an address is
";

pub(crate) fn run(args: &CoverageArgs) -> anyhow::Result<ExitCode> {
    let dir = rundir::find(args.run.as_deref())?;
    let told = match read(&dir.join("summary.json"))? {
        Some(summary) => {
            json!({"hosts": summary["coverage"], "analytics": summary["analytics"]})
        }
        None => so_far(&dir)?,
    };
    let (hosts, analytics) = (&told["hosts"], &told["analytics"]);
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", detail::json(&told))?;
        return Ok(ExitCode::SUCCESS);
    }
    if hosts.is_object() {
        write!(out, "{}", coverage::hosts(hosts, Style::for_stdout()))?;
    } else {
        write!(out, "{HOW}")?;
    }
    write!(out, "{}", coverage::analytics(analytics, Style::for_stdout()))?;
    Ok(ExitCode::SUCCESS)
}

/// The object in a file of the run; nothing where there is no file.
fn read(path: &Path) -> anyhow::Result<Option<Value>> {
    if !path.is_file() {
        return Ok(None);
    }
    let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
    let value = serde_json::from_reader(BufReader::new(file));
    value.map(Some).with_context(|| format!("{} is no summary", path.display()))
}

/// What a live run without a summary has last kept.
fn so_far(dir: &Path) -> anyhow::Result<Value> {
    let goes_on = rundir::is_going_on(dir);
    let state = match goes_on {
        true => "this run is still going",
        false => "this run was ended before it could write its summary",
    };
    let Some(told) = read(&dir.join(SO_FAR))? else {
        let what_now = match goes_on {
            true => ", and keeps what it covers from its first seconds on: ask again soon",
            false => "",
        };
        bail!("{}: {state}{what_now}", dir.display());
    };
    let as_of = told["as_of"].as_str().unwrap_or_default();
    eprintln!("flowtap: {state}: flows that had ended by {}", detail::printable(as_of));
    Ok(told)
}
