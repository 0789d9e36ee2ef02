//! `flowtap procs record`: host events into a file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::pods::PodArgs;
use super::providers::{Providers, SecretArgs, Watching};
use crate::cli::confine_args::ConfineArgs;
use crate::cli::stop::stop_on_signals;
use crate::host::event::{HostEvent, What};
use crate::host::log::MapLog;
use crate::host::map_file::MapFile;
use crate::host::provider::Stop;

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// File to write, or - for standard output. A map that is there goes on.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// How sockets are watched.
    #[arg(long, value_parser = Providers::watching(), default_value = "auto", value_name = "HOW")]
    procs: Providers,
    /// Stop after so many seconds.
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    #[command(flatten)]
    secrets: SecretArgs,
    #[command(flatten)]
    pods: PodArgs,
    #[command(flatten)]
    confine: ConfineArgs,
}

pub(super) fn run(args: &RecordArgs) -> anyhow::Result<ExitCode> {
    let watching = Watching::open(args.procs, args.secrets)?;
    let out: Box<dyn Write> = if args.output == Path::new("-") {
        Box::new(io::stdout())
    } else {
        let map = MapFile::open(&args.output);
        Box::new(map.with_context(|| format!("can't write {}", args.output.display()))?.file)
    };
    watching.confine(&args.confine, &args.pods, None)?;
    let stop = Stop::default();
    let signalled = std::sync::Arc::default();
    stop_on_signals(&signalled)?;
    let seconds = args.seconds.map_or(Duration::MAX, Duration::from_secs);
    let (by_time, flag) = (stop.clone(), signalled);
    thread::spawn(move || {
        let step = Duration::from_millis(20);
        let mut waited = Duration::ZERO;
        while waited < seconds && !flag.load(Ordering::Relaxed) && !by_time.is_set() {
            thread::sleep(step);
            waited += step;
        }
        by_time.set();
    });
    let mut log = MapLog::new(out);
    let pods = args.pods.start().context("can't read the pod list")?;
    watching.run(pods, &stop, &mut |event| {
        complain(event);
        log.write(event)
    })?;
    log.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// What a person should know of the watching itself.
fn complain(event: &HostEvent) {
    match &event.what {
        What::Provider(state) if !state.running && !state.reason.is_empty() => {
            eprintln!("flowtap: warning: {} ended: {}", state.method.name(), state.reason);
        }
        What::Lost { method, events } => {
            eprintln!("flowtap: warning: {} lost {events} events", method.name());
        }
        _ => {}
    }
}
