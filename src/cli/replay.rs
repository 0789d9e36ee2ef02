//! `flowtap replay`: captures out of an interface, for labs.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;

use super::Usage;
use super::stop::stop_on_signals;
use crate::input::Progress;
use crate::lab::replay::{self, Ended, Options, Report, Speed};
use crate::report::progress::Bar;

/// Send the frames of captures out of an interface: for labs.
///
/// What is sent is what was captured: Ethernet frames, whole, byte for byte, in the order of their
/// time stamps over all captures. Frames that can't be sent so are counted with the reason.
///
/// Replayed attacks are attacks. An interface with a default route through it (its own, or of a
/// bridge, bond or VLAN on it) is refused: use a veth pair into a network namespace.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Captures: files, folders, or - for standard input.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where to send.
    #[arg(long, short, value_name = "IFACE")]
    interface: String,
    /// By the time stamps (1x, 10x, 0.5x), at a rate (100Mbps, 50000pps, 50kpps), or max.
    ///
    /// A rate in bits counts frames from the Ethernet header to their last byte.
    #[arg(long, default_value = "1x", value_name = "SPEED")]
    speed: Speed,
    /// Rounds over all captures; 0 goes on until stopped.
    #[arg(long = "loop", default_value_t = 1, value_name = "N")]
    rounds: u64,
    /// Stop after this many packets were sent.
    #[arg(long, value_name = "PACKETS", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Start as far into a second of the wall clock as the first time stamp is, each round.
    ///
    /// At 1x, windows of a second then cut the live traffic where they cut the capture.
    #[arg(long)]
    align_second: bool,
    /// Fill frames that were cut by a snap length up with zero bytes instead of leaving them out.
    #[arg(long)]
    pad: bool,
    /// Send although a default route leads through the interface: what is sent may leave the lab.
    #[arg(long)]
    despite_default_route: bool,
    /// Print the summary as JSON to standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Print no summary for people and no progress.
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    if args.rounds != 1 && args.paths.iter().any(|path| path == Path::new("-")) {
        return Err(Usage("standard input can be read only once: no --loop".to_owned()).into());
    }
    let progress = Arc::new(Progress::default());
    let options = Options {
        speed: args.speed,
        rounds: (args.rounds > 0).then_some(args.rounds),
        limit: args.limit,
        align_second: args.align_second,
        pad: args.pad,
        despite_default_route: args.despite_default_route,
        progress: Some(Arc::clone(&progress)),
    };
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    let bar = (!args.quiet && io::stderr().is_terminal()).then(|| Bar::start(progress));
    let result = replay::run(&args.paths, &args.interface, &options, &stop);
    drop(bar);
    let report = result.map_err(|error| {
        if error.is_usage() { Usage(error.to_string()).into() } else { anyhow::Error::new(error) }
    })?;
    print(args, &report)?;
    let unread = report.files.iter().any(|file| file.error.is_some());
    let failed = unread || report.ended == Ended::Failed;
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn print(args: &ReplayArgs, report: &Report) -> anyhow::Result<()> {
    for file in &report.files {
        for warning in &file.warnings {
            eprintln!("flowtap: warning: {}: {warning}", file.path);
        }
        if let Some(error) = &file.error {
            eprintln!("flowtap: {error}");
        }
    }
    if let Some(error) = &report.error {
        eprintln!("flowtap: {}: {error}", report.interface);
    }
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, report)?;
        writeln!(out)?;
    } else if !args.quiet {
        write!(out, "{report}")?;
    }
    Ok(())
}
