//! The command line: one file a subcommand, thin.
//!
//! Exit status: 0 done; 1 an input could not be read; 2 usage, a bad filter or
//! a bad configuration; 3 with `--fail-on-alert` when there is such an alert.

mod alerts;
mod backtest;
mod baseline;
mod baseline_args;
mod bundle;
mod config;
mod confine_args;
mod confined;
mod control;
mod coverage;
mod digests;
#[cfg(target_os = "linux")]
mod doctor;
mod engine_args;
mod explain;
mod flows;
mod host_args;
mod inputs;
mod lab;
#[cfg(target_os = "linux")]
mod lab_run;
mod learned_files;
mod links;
mod live;
mod log;
mod machine;
mod man;
mod named;
mod output_args;
mod packets;
#[cfg(target_os = "linux")]
mod procs;
mod read;
mod read_files;
mod read_hosts;
mod records;
#[cfg(target_os = "linux")]
mod replay;
mod report_args;
mod rundir;
mod sensor_id;
mod show;
#[cfg(target_os = "linux")]
mod stop;
mod telemetry_args;
#[cfg(unix)]
mod top;
mod values;
mod why_not;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::lab::WrongArguments;

/// Packet capture and flow inspector: flows with payload-size distributions,
/// floods, scans and reflection, from captures of any kind.
#[derive(Debug, Parser)]
#[command(name = "flowtap", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read captures: write flow records, alerts and a summary.
    Read(Box<read::ReadArgs>),
    /// Listen to interfaces: write flow records and alerts as they come.
    Live(Box<live::LiveArgs>),
    #[cfg(unix)]
    Top(Box<top::TopArgs>),
    #[cfg(target_os = "linux")]
    Replay(replay::ReplayArgs),
    #[cfg(target_os = "linux")]
    Doctor(doctor::DoctorArgs),
    #[command(hide = true)]
    Confined(confined::ConfinedArgs),
    /// Which process has which socket.
    #[cfg(target_os = "linux")]
    #[command(subcommand)]
    Procs(procs::ProcsCommand),
    /// Print everything that a run knows about one alert or flow.
    Show(show::ShowArgs),
    Explain(explain::ExplainArgs),
    /// List a run's alerts, or say what became of one.
    #[command(subcommand)]
    Alerts(alerts::AlertsCommand),
    Bundle(bundle::BundleArgs),
    Flows(flows::FlowsArgs),
    /// Look at what was learned of entities, and learn more.
    #[command(subcommand)]
    Baseline(baseline::BaselineCommand),
    WhyNot(why_not::WhyNotArgs),
    Coverage(coverage::CoverageArgs),
    Inputs(inputs::InputsArgs),
    /// Look at a configuration file.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    Man(man::ManArgs),
    /// Make labelled traffic for tests and benchmarks.
    #[command(subcommand)]
    Lab(lab::LabCommand),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Err(Usage(told)) = engine_args::severity_is_joined(&arguments) {
        eprintln!("flowtap: {told}");
        return ExitCode::from(2);
    }
    let (cli, warnings) = match config::parse(&arguments) {
        Ok(parsed) => parsed,
        Err(config::Refusal::Arguments(error)) => error.exit(),
        Err(config::Refusal::File(problems)) => {
            problems.iter().for_each(|problem| eprintln!("flowtap: {problem}"));
            return ExitCode::from(2);
        }
    };
    if let Command::Live(args) = &cli.command {
        log::start(args.log_format, args.quiet);
    }
    for warning in warnings {
        if tracing::dispatcher::has_been_set() {
            tracing::warn!(event = "config.warning", "{warning}");
        } else {
            eprintln!("flowtap: warning: {warning}");
        }
    }
    let result = match cli.command {
        Command::Read(args) => read::run(&args),
        Command::Live(args) => live::run(&args),
        #[cfg(unix)]
        Command::Top(args) => top::run(&args),
        #[cfg(target_os = "linux")]
        Command::Replay(args) => replay::run(&args),
        #[cfg(target_os = "linux")]
        Command::Doctor(args) => doctor::run(&args),
        Command::Confined(args) => confined::run(&args),
        #[cfg(target_os = "linux")]
        Command::Procs(command) => procs::run(&command),
        Command::Show(args) => show::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Alerts(command) => alerts::run(&command),
        Command::Bundle(args) => bundle::run(&args),
        Command::Flows(args) => flows::run(&args),
        Command::Baseline(command) => baseline::run(command),
        Command::WhyNot(args) => why_not::run(&args),
        Command::Coverage(args) => coverage::run(&args),
        Command::Inputs(args) => inputs::run(&args),
        Command::Config(command) => config::run(&command),
        Command::Man(args) => man::run(&args),
        Command::Lab(command) => lab::run(&command),
    };
    let status = result.unwrap_or_else(|error| {
        if is_broken_pipe(&error) {
            // `flowtap ... | head`: the reader has what it wanted.
            return ExitCode::SUCCESS;
        }
        let told = told(&error);
        if tracing::dispatcher::has_been_set() {
            tracing::error!(event = "failed", "{told}");
        } else {
            eprintln!("flowtap: {told}");
        }
        let is_usage = error.is::<Usage>() || error.is::<WrongArguments>();
        ExitCode::from(if is_usage { 2 } else { 1 })
    });
    log::finish();
    status
}

/// An error with its causes, less those that the words before them have already.
fn told(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// An error in how the program was called, not in what it was given to read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let json = || cause.downcast_ref::<serde_json::Error>()?.io_error_kind();
        io.or_else(json) == Some(std::io::ErrorKind::BrokenPipe)
    })
}
