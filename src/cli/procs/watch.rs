//! `flowtap procs watch`: the second process of `flowtap live --procs`. Writes host
//! events to standard output until standard input ends.
//!
//! Its rights are needed to open the providers; before the first event it gives up
//! those that watching does not take.

use std::io::{self, Read as _};
use std::process::ExitCode;
use std::thread;

use anyhow::Context as _;
use clap::Args;

use super::pods::PodArgs;
use super::providers::{Providers, SecretArgs, Watching};
use crate::cli::confine_args::ConfineArgs;
use crate::cli::log::{self, LogFormat};
use crate::cli::stop::ignore_signals;
use crate::host::log::MapLog;
use crate::host::provider::Stop;
use crate::host::provider::proc::run_before_others;
use crate::service::confine::User;

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[arg(long, value_enum, default_value = "auto")]
    procs: Providers,
    #[command(flatten)]
    secrets: SecretArgs,
    #[command(flatten)]
    pods: PodArgs,
    #[command(flatten)]
    confine: ConfineArgs,
    #[arg(long)]
    user: Option<User>,
    #[arg(long, value_enum, default_value = "text")]
    pub(super) log_format: LogFormat,
}

pub(super) fn run(args: &WatchArgs) -> anyhow::Result<ExitCode> {
    // It ends when who listens ends, which may still have records to join.
    ignore_signals()?;
    let watching = Watching::open(args.procs, args.secrets)?;
    // Its threads take after it. Little is done in them, and what waits for it is the
    // capture: on a busy host seconds would be closed without it.
    run_before_others();
    watching.confine(&args.confine, &args.pods, args.user.as_ref())?;
    log::go_on_behind()?;
    let pods = args.pods.start().context("can't read the pod list")?;
    let stop = Stop::default();
    let ended = stop.clone();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink());
        ended.set();
    });
    let mut log = MapLog::new(io::stdout().lock());
    match watching.run(pods, &stop, &mut |event| log.write(event)) {
        // Who listened is gone.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result?,
    }
    Ok(ExitCode::SUCCESS)
}
