//! `flowtap coverage`: how much of a run has a process, and which analytics could see
//! anything.

use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use super::rundir;
use crate::report::coverage;
use crate::report::detail;
use crate::report::terminal::Style;

/// Print how much of a run's traffic has a process, a container and an instance,
/// by the method that found it, and why the rest has none; and which analytics could see
/// anything, with what was missing.
#[derive(Debug, Args)]
pub(crate) struct CoverageArgs {
    /// Run directory; the newest run by default.
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Print the figures as JSON: `hosts`, null where the run knew nothing of hosts, and
    /// `analytics`.
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
    let path = dir.join("summary.json");
    if !path.is_file() {
        bail!("{}", rundir::why_no_summary(&dir));
    }
    let file = File::open(&path).with_context(|| format!("can't open {}", path.display()))?;
    let summary: Value = serde_json::from_reader(BufReader::new(file))
        .with_context(|| format!("{} is no summary", path.display()))?;
    let hosts = &summary["coverage"];
    let mut out = std::io::stdout().lock();
    let analytics = &summary["analytics"];
    if args.json {
        let told = json!({"hosts": hosts, "analytics": analytics});
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
