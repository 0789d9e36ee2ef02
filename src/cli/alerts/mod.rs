//! `flowtap alerts`: a run's alerts, and what analysts found of them.

mod draft;
mod list;
mod mark;
mod told;
mod verdicts;

use std::process::ExitCode;

use clap::Subcommand;

pub(super) use verdicts::of_alert as verdicts_of;

#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    List(list::ListArgs),
    Mark(mark::MarkArgs),
}

pub(super) fn run(command: &AlertsCommand) -> anyhow::Result<ExitCode> {
    match command {
        AlertsCommand::List(args) => list::run(args),
        AlertsCommand::Mark(args) => mark::run(args),
    }
}
