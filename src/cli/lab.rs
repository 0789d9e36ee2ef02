//! `flowtap lab`: labelled traffic, and how detection does on it.

mod mix;
pub(super) mod score;

use std::fs::{self, DirBuilder};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::report_args::ReportArgs;
use super::stop::StopSignals;
use super::{Usage, backtest};
use crate::alert::Severity;
use crate::input::ending::end_with;
use crate::lab::formats::Format;
use crate::lab::scenario::load::{EMBEDDED, load};
use crate::lab::scenario::make::{Making, make_with};
use crate::lab::scenario::sweep::{Gate, Row, Sweep, Vary, check, sweep};
use crate::lab::synth::{self, SynthArgs};
use crate::report::html::sweep_page;

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Make a capture of synthetic traffic, the same bytes for the same seed.
    Synth(SynthArgs),
    /// Make a scenario's capture, host maps, logs and truth.
    Make(MakeArgs),
    /// Put scenarios' attacks into a capture of your own, on hosts that it has.
    Mix(mix::MixArgs),
    /// List the scenarios that come with the program.
    Scenarios,
    /// Hold alerts against a scenario's truth or a data set's labels: precision, recall, time to detect, false alerts.
    Score(score::ScoreArgs),
    /// Make, read and score a scenario over values and seeds; exit status 4 when a gate is not met.
    Sweep(SweepArgs),
    Backtest(backtest::BacktestArgs),
    /// Run real tools in network namespaces, capture them live, and score that. Needs root.
    #[cfg(target_os = "linux")]
    Run(super::lab_run::RunArgs),
}

#[derive(Debug, Args)]
pub(crate) struct MakeArgs {
    /// A scenario's file, or the name of one that comes with the program.
    scenario: String,
    /// Folder to write into.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// The same seed gives the same bytes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Multiplies the rates of what is no attack.
    #[arg(long, value_name = "K", default_value_t = 1.0, value_parser = scale)]
    scale: f64,
    /// Set a parameter of the scenario, or LABEL.FIELD of a behaviour; repeat it for several.
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Instead, what happened so many days before: without attacks, for baselines.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=366))]
    days_before: Option<u32>,
    /// Logs beside it in the formats of sources of your own, as each would have seen it.
    #[arg(long, value_name = "FORMAT", value_delimiter = ',')]
    formats: Vec<Format>,
}

#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// A scenario's file, or the name of one that comes with the program.
    scenario: String,
    /// A parameter of the scenario, LABEL.FIELD of a behaviour or detect.SETTING, and its
    /// values; repeat it for all combinations.
    #[arg(long, value_name = "KEY=A,B,C", value_parser = vary)]
    vary: Vec<Vary>,
    /// Set one of them for all.
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// So many seeds for each value.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    seeds: u64,
    /// The first of them.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    first_seed: u64,
    /// Multiplies the rates of what is no attack.
    #[arg(long, value_name = "K", default_value_t = 1.0, value_parser = scale)]
    scale: f64,
    /// So many days before, without attacks, are read first and learned; 0 for none
    /// [default: as the scenario says].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=366))]
    learn_days: Option<u32>,
    /// Read logs in these formats alone, without packets and host maps: what detection knows by
    /// such sources.
    #[arg(long, value_name = "FORMAT", value_delimiter = ',')]
    formats: Vec<Format>,
    /// What every value must meet, such as `recall>=0.95,false_per_day<=1`.
    #[arg(long, value_name = "CONDITIONS")]
    gate: Option<Gate>,
    /// Alerts below it are no false ones.
    #[arg(long, value_name = "SEVERITY", default_value = "low")]
    least: Severity,
    /// Folder in which a new one holds captures while they are read [default: that of temporary
    /// files].
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Print JSON, a row a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    report: ReportArgs,
}

pub(crate) fn run(command: &LabCommand) -> anyhow::Result<ExitCode> {
    match command {
        LabCommand::Synth(args) => {
            let written = synth::run(args)?;
            let report = serde_json::to_string(&written)?;
            // Standard output may be the capture itself.
            if args.output == Path::new("-") {
                writeln!(std::io::stderr(), "{report}")?;
            } else {
                writeln!(std::io::stdout(), "{report}")?;
            }
        }
        LabCommand::Make(args) => {
            let (name, mut scenario) =
                load(&args.scenario, &args.set).map_err(|error| Usage(format!("{error:#}")))?;
            if let Some(days) = args.days_before {
                scenario = scenario.days_before(days)?;
            }
            // A signal ends it at once: what it wrote by then has a name that the user gave.
            let stop = AtomicBool::new(false);
            let MakeArgs { seed, scale, ref formats, .. } = *args;
            let how = Making { seed, scale, formats, stop: &stop };
            let made = make_with(&name, &scenario, &args.output, how)?;
            let played = made.played;
            let report = serde_json::json!({
                "packets": played.packets,
                "wire_bytes": played.wire_bytes,
                "conversations": played.conversations,
            });
            writeln!(std::io::stdout(), "{report}")?;
        }
        LabCommand::Mix(args) => mix::run(args)?,
        LabCommand::Scenarios => {
            let mut out = std::io::stdout().lock();
            for (name, _) in EMBEDDED {
                let (_, scenario) = load(name, &[])?;
                writeln!(out, "{name:<28} {}", scenario.about)?;
            }
        }
        LabCommand::Score(args) => score::run(args)?,
        LabCommand::Sweep(args) => return run_sweep(args),
        LabCommand::Backtest(args) => return backtest::run(args),
        #[cfg(target_os = "linux")]
        LabCommand::Run(args) => return super::lab_run::run_lab(args),
    }
    Ok(ExitCode::SUCCESS)
}

fn run_sweep(args: &SweepArgs) -> anyhow::Result<ExitCode> {
    args.report.check()?;
    let parent = args.work.clone().unwrap_or_else(std::env::temp_dir);
    let folder = parent.join(format!("flowtap-sweep-{}", std::process::id()));
    let told = Sweep {
        scenario: args.scenario.clone(),
        set: args.set.clone(),
        vary: args.vary.clone(),
        seeds: args.seeds()?,
        scale: args.scale,
        learn_days: args.learn_days,
        formats: args.formats.clone(),
        least: args.least,
        folder: folder.clone(),
    };
    check(&told).map_err(|error| Usage(format!("{error:#}")))?;
    let (stop, signal) = (Arc::default(), Arc::default());
    // What was made is read in this process too.
    end_with(&stop);
    StopSignals::listen()?.set(&stop, &signal)?;
    let folder = WorkFolder::create(folder)?;
    let mut out = std::io::stdout().lock();
    if !args.json {
        writeln!(
            out,
            "{:<32} precision  recall      F1  detect_s  false/day  /day/100 hosts",
            format!("{} ({} seeds)", args.scenario, args.seeds)
        )?;
    }
    let mut failures = Vec::new();
    let rows = sweep(&told, &stop, |row| {
        // A pipe that is closed shows with the next row's failure at the latest.
        let _ = print_row(&mut out, row, args.json);
        for failure in args.gate.iter().flat_map(|gate| gate.failures(row)) {
            let failure = format!("{}: {failure}", values_of(row));
            eprintln!("flowtap: gate not met: {failure}");
            failures.push(failure);
        }
    });
    drop(folder);
    let rows = rows?;
    if let signal @ 1.. = signal.load(Ordering::Acquire) {
        eprintln!("flowtap: stopped by a signal");
        // Both are far under 128: what a shell makes of a program that a signal ended.
        return Ok(ExitCode::from(128 + signal as u8));
    }
    args.report.write(|| sweep_page(&args.scenario, args.seeds, &args.vary, &rows, &failures))?;
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(4) })
}

impl SweepArgs {
    fn seeds(&self) -> Result<Vec<u64>, Usage> {
        let last = self.first_seed.checked_add(self.seeds - 1);
        let refused = || Usage(format!("--first-seed: {} seeds go beyond 2^64", self.seeds));
        Ok((self.first_seed..=last.ok_or_else(refused)?).collect())
    }
}

/// A folder that nobody else had a hand in; gone when dropped, with the gigabytes of captures
/// that may lie in it.
struct WorkFolder(PathBuf);

impl WorkFolder {
    fn create(folder: PathBuf) -> anyhow::Result<Self> {
        let wrong = || format!("can't make {}", folder.display());
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).with_context(wrong)?;
        }
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder).with_context(wrong)?;
        Ok(Self(folder))
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("flowtap: warning: can't remove {}: {error}", self.0.display());
        }
    }
}

fn print_row(out: &mut impl Write, row: &Row, json: bool) -> anyhow::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, row)?;
        return Ok(writeln!(out)?);
    }
    writeln!(
        out,
        "{:<32} {:>9} {:>7} {:>7} {:>9} {:>10} {:>15}",
        values_of(row),
        shown(row.precision),
        shown(row.recall),
        shown(row.f1),
        shown(row.time_to_detect_s),
        row.false_per_day,
        row.false_per_day_and_100_hosts,
    )?;
    for (name, seeds) in &row.missed {
        writeln!(out, "    missed with {seeds} seeds: {name}")?;
    }
    for (name, times) in &row.false_alerts {
        writeln!(out, "    false {times} times: {name}")?;
    }
    Ok(())
}

fn values_of(row: &Row) -> String {
    let pair = |(key, value): &(String, String)| format!("{key}={value}");
    match row.values.as_slice() {
        [] => "as it is".to_owned(),
        values => values.iter().map(pair).collect::<Vec<_>>().join(" "),
    }
}

fn shown(figure: Option<f64>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string())
}

pub(super) fn vary(text: &str) -> Result<Vary, String> {
    let (key, values) = assignment(text)?;
    let values: Vec<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
    Ok(Vary { key, values })
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1e6 => Ok(value),
        _ => Err("a number above 0, at most a million".to_owned()),
    }
}

pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| "must be KEY=VALUE".to_owned())?;
    Ok((key.to_owned(), value.to_owned()))
}
