//! `flowtap lab run`: a live lab, from its scenario to its score.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::Usage;
use super::lab::assignment;
use super::lab::score::print_report;
use super::procs::Providers;
use super::stop::stop_on_signals;
use crate::alert::Severity;
use crate::lab::run::plan::{EMBEDDED, load};
use crate::lab::run::{Listening, Outcome, RunOptions, check_rights, remove_leftovers, run};
use crate::lab::scenario::sweep::{Gate, Row};

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A live scenario's file, or the name of one that comes with the program (--list).
    #[arg(required_unless_present_any = ["list", "clean"])]
    scenario: Option<String>,
    /// Folder for truth.json, what was captured and what the tools said; new or empty.
    /// Without it they are removed at the end.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// End after so many seconds, where the scenario is longer.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Set a parameter of the scenario, or LABEL.FIELD of a behaviour; repeat it for several.
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// What the score must meet, such as `recall>=1,false_per_day<=0`; else exit status 4.
    #[arg(long, value_name = "CONDITIONS")]
    gate: Option<Gate>,
    /// Alerts below it are no false ones.
    #[arg(long, value_name = "SEVERITY", default_value = "low")]
    least: Severity,
    /// How sockets are watched for the processes behind them.
    #[arg(long, value_enum, default_value = "auto", value_name = "HOW")]
    procs: Providers,
    /// Settings of `flowtap live` for the capture.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// List the live scenarios that come with the program.
    #[arg(long)]
    list: bool,
    /// Remove what labs that were killed have left; each run does so too.
    #[arg(long)]
    clean: bool,
}

pub(crate) fn run_lab(args: &RunArgs) -> anyhow::Result<ExitCode> {
    if args.list {
        let mut out = std::io::stdout().lock();
        for (name, _) in EMBEDDED {
            let plan = load(name, &[], None)?;
            writeln!(out, "{name:<28} {}", plan.about)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.clean {
        check_rights()?;
        for name in remove_leftovers()? {
            writeln!(std::io::stdout(), "removed {name}")?;
        }
    }
    let Some(name) = &args.scenario else { return Ok(ExitCode::SUCCESS) };
    let refused = |error: anyhow::Error| Usage(format!("{error:#}"));
    let plan = load(name, &args.set, args.seconds.map(Duration::from_secs)).map_err(refused)?;
    if let Some(output) = &args.output {
        take_folder(output)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop).context("can't listen for signals")?;
    let mut more = Vec::new();
    if let Some(config) = &args.config {
        let config = std::path::absolute(config).context("--config")?;
        more.extend(["--config".into(), config.into_os_string()]);
    }
    let options = RunOptions {
        output: args.output.as_ref().map(std::path::absolute).transpose()?,
        listening: Listening { procs: args.procs.name().to_owned(), more },
        least: args.least,
    };
    let outcome = run(&plan, &options, &stop, |told| {
        // A closed standard error is nothing to fail for.
        let _ = writeln!(std::io::stderr(), "flowtap: {told}");
    })?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, &outcome)?;
        writeln!(out)?;
    } else {
        print_outcome(&mut out, &outcome)?;
    }
    let row = Row::of(&outcome.score, outcome.packets);
    let failures: Vec<String> = args.gate.iter().flat_map(|gate| gate.failures(&row)).collect();
    for failure in &failures {
        eprintln!("flowtap: gate not met: {failure}");
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(4) })
}

/// Another run's files would be taken for this one's.
fn take_folder(dir: &PathBuf) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("can't make {}", dir.display()))?;
    let mut entries = fs::read_dir(dir).with_context(|| format!("can't read {}", dir.display()))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Usage(format!("{} is not empty", dir.display())).into()),
    }
}

fn print_outcome(out: &mut impl Write, outcome: &Outcome) -> std::io::Result<()> {
    for ran in &outcome.ran {
        let runs = if ran.runs == 1 { String::new() } else { format!(", {} runs", ran.runs) };
        writeln!(
            out,
            "{}: {} from {} to {}{runs}: {}",
            ran.label, ran.tool, ran.from, ran.to, ran.said
        )?;
        if let Some(failure) = &ran.failure {
            writeln!(out, "    {} failed: {failure}", ran.failed_runs)?;
        }
    }
    for skipped in &outcome.skipped {
        writeln!(out, "left out: {skipped}")?;
    }
    writeln!(out, "{} packets, {} lost by the capture", outcome.packets, outcome.lost_packets)?;
    print_report(out, &outcome.score)
}
