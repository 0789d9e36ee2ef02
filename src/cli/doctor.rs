//! `flowtap doctor`: whether this machine can capture.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use super::machine;
use crate::service::doctor::{Plan, Status, examine};

/// Say whether this machine can capture, and what would falsify what it captures.
///
/// Changes nothing and takes no packet. Exit status 1 when something is missing that a capture
/// needs.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Interface to look at; repeat it for several. All but loopback by default.
    #[arg(short, long, value_name = "IFACE")]
    interface: Vec<String>,
    /// Workers that are meant to run: each has a ring on each interface. By default one a core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Memory that is meant for each ring [default: as `live`].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(2..=4096))]
    ring_mib: Option<u32>,
    /// Print everything as JSON to standard output.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let rings = args.workers.map_or_else(cores, usize::from);
    let report = examine(&Plan {
        interfaces: args.interface.clone(),
        rings,
        ring_bytes: machine::ring_bytes(args.ring_mib, rings, args.interface.len()),
    });
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        out.write_all(report.text().as_bytes())?;
    }
    let failing = report.status == Status::Failing;
    Ok(if failing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
