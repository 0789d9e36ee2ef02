//! `flowtap procs show`: who owns which socket now.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;

use super::providers::{Providers, SecretArgs, Watching};
use crate::host::event::{HostEvent, What};
use crate::host::log::MapLog;
use crate::host::owners::OwnerTable;
use crate::host::provider::Stop;
use crate::report::owners;

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// How sockets are looked up.
    #[arg(long, value_parser = Providers::watching(), default_value = "sock-diag", value_name = "HOW")]
    procs: Providers,
    /// Print the events of a map instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    secrets: SecretArgs,
}

pub(super) fn run(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let watching = Watching::open(args.procs, args.secrets)?;
    let stop = Stop::default();
    let mut out = io::stdout().lock();
    let mut table = OwnerTable::default();
    let mut log = args.json.then(|| MapLog::new(&mut out));
    watching.run(None, &stop, &mut |event: &HostEvent| {
        match &mut log {
            Some(log) => log.write(event)?,
            None => table.apply(event),
        }
        // All that is there has been told.
        if event.what == What::Time {
            stop.set();
        }
        Ok(())
    })?;
    drop(log);
    if !args.json {
        out.write_all(owners::render(&table).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
