//! `flowtap procs`: who owns what now, and maps of it over time.

mod pods;
mod providers;
mod record;
mod show;
mod watch;

use std::process::ExitCode;

use clap::Subcommand;

pub(crate) use pods::PodArgs;
pub(crate) use providers::{Providers, SecretArgs};

use crate::cli::log::{self, LogFormat};

#[derive(Debug, Subcommand)]
pub(crate) enum ProcsCommand {
    /// Print who owns which socket now.
    Show(show::ShowArgs),
    /// Write what happens to processes and sockets into a map, for
    /// `flowtap read --procs`.
    Record(record::RecordArgs),
    #[command(hide = true)]
    Watch(watch::WatchArgs),
}

pub(crate) fn run(command: &ProcsCommand) -> anyhow::Result<ExitCode> {
    let format = match command {
        ProcsCommand::Watch(args) => args.log_format,
        ProcsCommand::Show(_) | ProcsCommand::Record(_) => LogFormat::Text,
    };
    log::start(format, true);
    match command {
        ProcsCommand::Show(args) => show::run(args),
        ProcsCommand::Record(args) => record::run(args),
        ProcsCommand::Watch(args) => watch::run(args),
    }
}
