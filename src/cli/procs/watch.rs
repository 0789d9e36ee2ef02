//! `flowtap procs watch`: the second process of `flowtap live --procs`. Writes host
//! events to standard output until standard input ends.

use std::io::{self, Read as _};
use std::process::ExitCode;
use std::thread;

use clap::Args;

use super::providers::{Providers, Watching};
use crate::cli::stop::ignore_signals;
use crate::host::log::MapLog;
use crate::host::provider::Stop;

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[arg(long, value_enum, default_value = "auto")]
    procs: Providers,
}

pub(super) fn run(args: &WatchArgs) -> anyhow::Result<ExitCode> {
    // It ends when who listens ends, which may still have records to join.
    ignore_signals()?;
    let watching = Watching::open(args.procs)?;
    watching.confine()?;
    let stop = Stop::default();
    let ended = stop.clone();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink());
        ended.set();
    });
    let mut log = MapLog::new(io::stdout().lock());
    match watching.run(&stop, &mut |event| log.write(event)) {
        // Who listened is gone.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result?,
    }
    Ok(ExitCode::SUCCESS)
}
