//! `flowtap live`: interfaces in, flow records and alerts out as they come.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;

use super::engine_args::EngineArgs;
use super::stop::stop_on_signals;
use super::values::TimeoutNs;
use crate::alert::Alert;
use crate::engine::{LiveRun, RecordSink, SensorEvent, run as run_engine};
use crate::flow::FlowRecord;
use crate::input::live::{LiveOptions, Method};
use crate::input::{Input, InputOptions, LiveHandle};
use crate::output::Summary;
use crate::report::terminal::{self, Style};

#[derive(Debug, Args)]
pub(crate) struct LiveArgs {
    /// Interface to listen to; repeat it for several.
    #[arg(short, long, required = true, value_name = "IFACE")]
    interface: Vec<String>,
    /// How frames are taken from the kernel.
    #[arg(long, value_enum, default_value = "ring", value_name = "METHOD")]
    capture: Method,
    /// Memory of each ring, one a worker and interface.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=4096))]
    ring_mib: u32,
    /// Bytes of each frame that are kept.
    #[arg(long, value_name = "BYTES", default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(14..=262_144))]
    snaplen: u32,
    /// Only frames for this station.
    #[arg(long)]
    no_promiscuous: bool,
    /// Use the device's time stamps where it has any.
    #[arg(long)]
    hardware_stamps: bool,
    /// Say when an interface that had traffic has none for so long.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    silent_after: TimeoutNs,
    /// Stop after so many seconds.
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// Print the summary as JSON to standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Print no summary for people.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

pub(crate) fn run(args: &LiveArgs) -> anyhow::Result<ExitCode> {
    let mut options = args.engine.run_options()?;
    let filter_in_kernel = options.filter.is_some();
    let live = LiveOptions {
        interfaces: args.interface.clone(),
        rings: options.workers,
        ring_bytes: (args.ring_mib as usize) << 20,
        snaplen_bytes: args.snaplen,
        promiscuous: !args.no_promiscuous,
        filter: options.filter.take(),
        hardware_stamps: args.hardware_stamps,
        method: args.capture,
    };
    let input_options = InputOptions { lateness_s: options.lateness_s, ..InputOptions::default() };
    let (input, handle) = Input::live(live, input_options)?;
    options.live = Some(LiveRun {
        status: Arc::clone(&handle.status),
        filter_in_kernel,
        silent_after_s: args
            .silent_after
            .0
            .map_or(u64::MAX, |ns| ns.unsigned_abs() / 1_000_000_000),
    });
    stop_on_signals(&handle.stop)?;
    for tap in handle.status.taps() {
        let state = if tap.up { "" } else { ", which is down" };
        eprintln!("flowtap: listening on {}{state}", tap.name);
    }
    let started = Instant::now();
    let mut sink = Sink { started, seconds: args.seconds, handle };
    let report = run_engine(input, &options, &mut sink);
    let summary = Summary::new(&report, started.elapsed());
    if args.json {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &summary)?;
        writeln!(out)?;
    } else if !args.quiet {
        let text =
            terminal::render(&summary, None::<&PathBuf>.map(PathBuf::as_path), Style::for_stdout());
        io::stdout().lock().write_all(text.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

struct Sink {
    started: Instant,
    seconds: Option<u64>,
    handle: LiveHandle,
}

impl RecordSink for Sink {
    fn record(&mut self, _: FlowRecord) -> io::Result<()> {
        Ok(())
    }

    fn wants_records(&self) -> bool {
        false
    }

    fn alert(&mut self, alert: &Alert) {
        eprintln!("flowtap: {} {}", alert.severity.name(), alert.summary);
    }

    fn sensor_event(&mut self, event: &SensorEvent) {
        eprintln!("flowtap: {}", event.text);
    }

    fn closed_before(&mut self, _: i64) {
        if self.seconds.is_some_and(|seconds| self.started.elapsed().as_secs() >= seconds) {
            self.handle.stop.store(true, std::sync::atomic::Ordering::Release);
        }
    }
}
