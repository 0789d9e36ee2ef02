//! `flowtap lab`: labelled traffic.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;

use crate::lab::synth::{self, SynthArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Make a capture of synthetic traffic, the same bytes for the same seed.
    Synth(SynthArgs),
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
    }
    Ok(ExitCode::SUCCESS)
}
