//! `flowtap live`: interfaces in, flow records and alerts out as they come.
//! [`run`] puts a run together; what it gives goes through [`Sink`].

mod heard;
mod hosts;
mod logs;
mod run_file;
mod sink;
mod so_far;
mod troubles;

use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use tracing::{info, warn};

use heard::Heard;
use sink::{Finished, Sink, now_ns};
use so_far::SoFar;
use troubles::Troubles;

use crate::cli::Usage;
use crate::cli::baseline_args::{BaselineArgs, take_back};
use crate::cli::config::Reloader;
use crate::cli::confine_args::{ConfineArgs, bind, explaining, state_folder};
use crate::cli::control::{Control, ControlAt, take_control_socket};
use crate::cli::engine_args::EngineArgs;
use crate::cli::host_args::HostArgs;
use crate::cli::links::folders_along;
use crate::cli::log::LogFormat;
use crate::cli::named::each_once;
use crate::cli::output_args::{OutputArgs, limits};
use crate::cli::read_files::{ALLOWED, write_allowed};
use crate::cli::report_args::ReportArgs;
use crate::cli::rundir::{SO_FAR, Word, state_run, write_whole};
use crate::cli::sensor_id::SensorId;
use crate::cli::stop::stop_on_signals;
use crate::cli::values::{Bytes, Listen, TimeoutNs};
use crate::cli::{log, machine};
use crate::detect::DetectSettings;
use crate::detect::analytic::Inputs;
use crate::engine::{LiveRun, run as run_engine};
use crate::host::map::{HostMap, MapLimits};
use crate::input::live::{KernelClock, LiveOptions, Method};
use crate::input::{Input, InputOptions};
use crate::output::Summary;
use crate::output::recording::{EvidenceSettings, LEAST_RING_BYTES, Recording, RecordingSettings};
use crate::output::rolling::RollingOutput;
use crate::output::run_folder;
use crate::report::html::{RunPage, run_page};
use crate::report::terminal::{self, Style};
use crate::service::confine::{Mode, Plan, User};
use crate::service::control::ControlSocket;
use crate::service::deliver::{Delivery, DeliveryOptions, Target};
use crate::service::http::HttpServer;
use crate::service::metrics::{Published, ReloadCounters};
use crate::service::notify::Notifier;

#[derive(Debug, Args)]
pub(crate) struct LiveArgs {
    /// Interface to listen to; repeat it for several. Needed unless there is something else to
    /// follow: --log, --scrape or --listen.
    #[arg(short, long, value_name = "IFACE")]
    interface: Vec<String>,
    /// Name of this sensor in every record; without it the host's name.
    #[arg(long, value_name = "ID")]
    sensor_id: Option<SensorId>,
    /// How frames are taken from the kernel.
    #[arg(long, value_enum, default_value = "ring", value_name = "METHOD")]
    capture: Method,
    /// Memory of each ring, one a worker and interface [default: together a 128th
    /// of the machine's memory].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(2..=4096))]
    ring_mib: Option<u32>,
    /// Take the memory that a flood of new flows needs at the start, not while it comes:
    /// up to 260 bytes for each of --max-flows.
    #[arg(long)]
    preallocate: bool,
    /// Bytes of each frame that are kept.
    #[arg(long, value_name = "BYTES", default_value_t = 262_144,
          value_parser = clap::value_parser!(u32).range(14..=262_144))]
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
    /// Record all packets into this folder, a ring of pcapng files.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Size of the ring.
    #[arg(long, value_name = "SIZE", default_value = "10GiB", requires = "record")]
    record_size: Bytes,
    /// Keep the packets of each alert in DIR/evidence/ID.pcapng. For these alone
    /// a small ring will do, as long as it holds the seconds before an alert.
    #[arg(long, requires = "record")]
    evidence: bool,
    /// Seconds before an alert that belong to it.
    #[arg(long, value_name = "S", default_value_t = 10, requires = "evidence",
          value_parser = clap::value_parser!(u32).range(..=3600))]
    evidence_before: u32,
    /// Seconds after its end.
    #[arg(long, value_name = "S", default_value_t = 10, requires = "evidence",
          value_parser = clap::value_parser!(u32).range(..=3600))]
    evidence_after: u32,
    /// Remove evidence that is older.
    #[arg(long, value_name = "TIME", default_value = "never", requires = "evidence")]
    keep_evidence_for: TimeoutNs,
    /// Remove the oldest evidence when all takes more than this.
    #[arg(long, value_name = "SIZE", default_value = "10GiB", requires = "evidence")]
    keep_evidence_size: Bytes,
    /// Deliver alerts and what happens to the sensor: syslog://HOST:514 (UDP),
    /// syslog+tcp://HOST:601, http://..., https://..., unix:/path; repeat it for
    /// several.
    #[arg(long, value_name = "TARGET")]
    alert_to: Vec<Target>,
    /// Serve /metrics (Prometheus) and /health at this address, or `none`.
    #[arg(long, value_name = "ADDRESS", default_value = "none")]
    metrics: Listen,
    /// Answer `flowtap top` at this Unix socket, or `none` [default:
    /// flowtap/control.sock in the runtime directory].
    #[arg(long, value_name = "PATH")]
    control: Option<ControlAt>,
    /// Print the summary as JSON to standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Print no summary for people, and nothing while listening but what is wrong.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// How what happens is told on standard error.
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    #[command(flatten)]
    hosts: hosts::LiveHostArgs,
    #[command(flatten)]
    host_files: HostArgs,
    #[command(flatten)]
    logs: logs::LogArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    baselines: BaselineArgs,
    #[command(flatten)]
    confine: ConfineArgs,
    /// Become this user before anything is opened; only CAP_NET_RAW is kept, and by the
    /// watcher of --procs what watching takes. Root's only.
    #[arg(long, value_name = "NAME|UID:GID", help_heading = "Confinement")]
    user: Option<User>,
}

pub(crate) fn run(args: &LiveArgs) -> anyhow::Result<ExitCode> {
    if args.interface.is_empty() && !args.logs.any() {
        let needed =
            "nothing to listen to: give --interface <IFACE>, or --log, --scrape or --listen";
        return Err(Usage(needed.to_owned()).into());
    }
    each_once(&args.interface)?;
    for (at, target) in args.alert_to.iter().enumerate() {
        if args.alert_to[..at].contains(target) {
            return Err(Usage(format!("--alert-to {target} is there twice")).into());
        }
    }
    args.report.check()?;
    for idle in args.idle() {
        warn!(event = "options.idle", "{idle}");
    }
    let mut options = args.engine.run_options()?;
    options.detect = detect_settings(args);
    let filter_in_kernel = options.filter.is_some();
    let live = LiveOptions {
        interfaces: args.interface.clone(),
        rings: options.workers,
        ring_bytes: machine::ring_bytes(args.ring_mib, options.workers, args.interface.len()),
        snaplen_bytes: args.snaplen,
        promiscuous: !args.no_promiscuous,
        filter: options.filter.take(),
        hardware_stamps: args.hardware_stamps,
        method: args.capture,
        sensor: args.sensor_id.clone().unwrap_or_else(SensorId::of_this_machine).0,
        clock: Arc::new(KernelClock),
    };
    let input_options = InputOptions { lateness_s: options.lateness_s, ..InputOptions::default() };
    let privacy = args.output.privacy()?;
    if args.hosts.records() && privacy.pseudonyms.is_some() {
        warn!(
            event = "recording.private",
            "--procs-record keeps addresses as they are, which --pseudonyms leaves out elsewhere"
        );
    }
    if args.record.is_some() && (privacy.pseudonyms.is_some() || privacy.no_payload) {
        warn!(
            event = "recording.private",
            "packets are recorded as they are, with their addresses and payloads: --record keeps \
             what --pseudonyms and --no-payload leave out"
        );
    }
    if args.logs.runs_programs() && !args.confine.is_off() {
        return Err(Usage(
            "--log journal needs --confine off: the journal is read by running journalctl, which a \
             confined process may not"
                .to_owned(),
        )
        .into());
    }
    if args.logs.asks_stores() && !args.confine.is_off() {
        return Err(Usage(
            "--log s3://... needs --confine off: which servers and ports are asked is known to the \
             client of the store alone"
                .to_owned(),
        )
        .into());
    }
    let listener = args.metrics.0.map(bind).transpose()?;
    let exports = args.logs.bind()?;
    let control = take_control_socket(args.control.as_ref())?;
    let watcher =
        hosts::Watcher::start(&args.hosts, &args.confine, args.user.as_ref(), args.log_format)?;
    let host_files = Arc::new(hosts::open_files(&args.host_files)?);
    options.baselines = args.baselines.open(&options.detect, true)?;
    // Once confined no file beside it is made.
    let word = args.output.out.as_deref().map(Word::prepare);
    let explain = explaining();
    let confined = args.confine.apply(&plan(args, listener.as_ref(), control.as_ref()))?;
    log::go_on_behind()?;
    match &*confined.missing {
        _ if confined.mode == Mode::Off => {}
        [] => info!(event = "confined", "{}", confined.text()),
        _ => warn!(event = "confined", "{}", confined.text()),
    }
    let reloader = Reloader::start(&args.engine.from_file, detect_settings);
    options.reloads = Some(reloader.context("can't listen for SIGHUP")?.reloads());
    // Before the first packet: what comes at once has its process too.
    let watcher = watcher.map(hosts::Watcher::follow).transpose()?;
    let (mut input, handle) = Input::live(live, input_options).map_err(explain)?;
    let watched = Arc::new(AtomicBool::new(false));
    let silent_after_s =
        args.silent_after.0.map_or(u64::MAX, |ns| ns.unsigned_abs() / 1_000_000_000);
    let listening = heard::Listening {
        filter: args.engine.filter.as_deref().map(|filter| privacy.text(filter)),
        promiscuous: !args.no_promiscuous,
    };
    let heard_before = match &args.output.out {
        Some(dir) => heard::earlier(dir, &listening, now_ns().div_euclid(1_000_000_000)),
        None => heard::Times::new(),
    };
    options.live = Some(LiveRun {
        status: Arc::clone(&handle.status),
        filter_in_kernel,
        silent_after_s,
        heard_before: heard_before.clone(),
        preallocates: args.preallocate,
        watched: Arc::clone(&watched),
    });
    let watched_map = watcher.as_ref().map(|watcher| Arc::clone(&watcher.map));
    let is_watched = watched_map.is_some();
    let own_map = || Arc::new(HostMap::new(MapLimits::default()));
    let map = watched_map.or_else(|| args.logs.any().then(own_map));
    let silent_after = (silent_after_s < u64::MAX).then(|| Duration::from_secs(silent_after_s));
    options.telemetry = args.logs.follow(silent_after, exports, &handle.stop, map.as_ref())?;
    options.hosts = hosts::knowledge(map, is_watched, &host_files, &options)?;
    let recording = start_recording(args, &mut input)?;
    let dir = match &args.output.out {
        Some(dir) => Some(dir.clone()),
        // Without --out a run is kept for `show`, if there is a place for it.
        None => state_run(),
    };
    let output = dir.as_ref().map(|dir| {
        let rolling = args.output.rolling(dir.clone(), Arc::clone(&privacy));
        RollingOutput::open(&rolling, now_ns())
    });
    let output = output.transpose()?;
    for recovered in output.iter().flat_map(RollingOutput::recovered) {
        info!(event = "output.recovered", "{recovered}");
    }
    let mut owed = None;
    if let Some(dir) = &dir {
        // An earlier start's: this one has none before its end.
        run_folder::remove(&dir.join("summary.json"))
            .and_then(|()| run_folder::remove(&dir.join(ALLOWED)))
            .and_then(|()| run_folder::remove(&dir.join(SO_FAR)))
            .with_context(|| format!("can't write into {}", dir.display()))?;
        owed = run_file::write(dir, args, &privacy, confined)?;
    }
    let delivery = (!args.alert_to.is_empty())
        .then(|| Delivery::start(&args.alert_to, &DeliveryOptions::default()));
    let delivery = delivery.transpose()?;
    let published = Arc::new(Published::default());
    let server = listener.map(|listener| HttpServer::serve(listener, Arc::clone(&published)));
    let server = server.transpose().context("can't serve metrics")?;
    if let Some(server) = &server {
        info!(event = "metrics.serving", "metrics at http://{}/metrics", server.address());
    }
    let control = Control::start(control, &privacy, &handle, watched)?;
    let notifier = Notifier::from_environment().context("can't reach the service manager")?;
    stop_on_signals(&handle.stop)?;
    // Of one that is not there yet the sensor tells.
    for tap in handle.status.taps().into_iter().filter(|tap| tap.present) {
        let state = if tap.up { "" } else { ", which is down" };
        info!(
            event = "interface.listening",
            interface = tap.name,
            "listening on {}{state}",
            tap.name
        );
    }
    if let Some(word) = word {
        word.leave();
    }
    let heard = args.output.out.as_deref();
    let heard = heard
        .map(|dir| Heard::start(dir, listening, heard_before, Arc::clone(&handle.status), owed));
    let heard = heard.transpose()?;
    let started = Instant::now();
    let mut sink = Sink {
        started,
        seconds: args.seconds,
        handle,
        output,
        recording,
        delivery,
        published,
        control,
        notifier,
        alerts: [0; 5],
        listening: args.listening(),
        reloads: ReloadCounters::default(),
        hosts: None,
        inputs: Inputs::default(),
        so_far: dir.as_deref().map(SoFar::start).transpose()?,
        troubles: Troubles::default(),
        telemetry: options.telemetry.clone(),
        keeps_observed: args.output.out.is_some(),
        // Random keys: nobody can foresee which flows are in the sample.
        collector: args.report.collector(Arc::clone(&privacy), ahash::RandomState::new()),
        privacy,
    };
    sink.notifier.ready(&sink.listening);
    let mut report = run_engine(input, &options, &mut sink);
    let learned = take_back(options.baselines.as_ref());
    if let Some(watcher) = watcher {
        watcher.finish();
    }
    if let Some(heard) = heard {
        heard.finish();
    }
    let privacy = Arc::clone(&sink.privacy);
    let (collected, so_far) = (sink.collector.take(), sink.so_far.take());
    let Finished { lost, recording, output, delivery } = sink.finish();
    let mut summary = Summary::new(&report, started.elapsed());
    if let Some(capture) = &mut summary.capture {
        capture.recording = recording;
        capture.output = output;
        capture.delivery = delivery;
    }
    privacy.summary(&mut summary);
    // Printed first and each by itself: a full disk keeps nobody from knowing.
    let printed = print(args, &summary);
    let kept = dir.as_ref().map_or(Ok(()), |dir| {
        write_whole(&dir.join("summary.json"), &serde_json::to_vec_pretty(&summary)?)?;
        if args.output.out.is_some() { write_allowed(dir, &summary) } else { Ok(()) }
    });
    if let Some(so_far) = so_far {
        so_far.finish(kept.is_ok());
    }
    let reported = collected.map_or(Ok(()), |collected| {
        let made = RunPage::new(collected, &report, learned.as_ref());
        args.report.write(|| run_page(&summary, &made))
    });
    let taken = report.write_error.take().map_or(Ok(()), |error| {
        Err(anyhow::Error::new(error).context("some records could not be written"))
    });
    let whole = if lost == 0 {
        Ok(())
    } else {
        Err(anyhow::anyhow!("{lost} records could not be written"))
    };
    let mut failed = None;
    for error in [printed, kept, reported, taken, whole].into_iter().filter_map(Result::err) {
        if let Some(earlier) = failed.replace(error) {
            warn!(event = "run.failed", "{earlier:#}");
        }
    }
    failed.map_or(Ok(()), Err)?;
    Ok(args.engine.exit_status(&summary))
}

fn print(args: &LiveArgs, summary: &Summary) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, summary)?;
        writeln!(out)?;
    } else if !args.quiet {
        let text = terminal::render(summary, args.output.out.as_deref(), Style::for_stdout());
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

impl LiveArgs {
    /// What was asked for and does nothing: said rather than refused, since a file may set it
    /// for runs of several sorts.
    fn idle(&self) -> Vec<String> {
        let needs = |options: Vec<&str>, what: &str| {
            (!options.is_empty())
                .then(|| format!("{} without {what}: does nothing", options.join(", ")))
        };
        let watching = needs(self.hosts.idle(), "--procs");
        watching.into_iter().chain(needs(self.output.idle(), "--out")).collect()
    }

    /// For the service manager.
    fn listening(&self) -> String {
        match self.interface.as_slice() {
            [] => "following logs".to_owned(),
            interfaces => format!("listening on {}", interfaces.join(", ")),
        }
    }
}

/// Alerts are handed out as they come: there may be any number.
fn detect_settings(args: &LiveArgs) -> DetectSettings {
    DetectSettings { total_alerts: usize::MAX, ..args.engine.detect_settings() }
}

/// What a run with these options needs once everything named in them is read.
fn plan(args: &LiveArgs, metrics: Option<&TcpListener>, control: Option<&ControlSocket>) -> Plan {
    let folders = args.output.out.iter().chain(&args.record).cloned();
    let folders = folders.chain(args.report.folder().map(PathBuf::from));
    let mut plan = Plan::live(folders.collect(), &args.alert_to);
    plan.user.clone_from(&args.user);
    let socket = control.and_then(|socket| std::path::absolute(socket.path()).ok());
    plan.sockets.extend(socket.as_deref().and_then(Path::parent).map(PathBuf::from));
    // The folder: an editor puts another file in the place of the one that was read.
    plan.reads.extend(args.engine.from_file.folders());
    plan.reads.extend(folders_of(args.host_files.paths().chain(args.engine.paths())));
    plan.reads.extend(args.logs.reads());
    plan.writes.extend(args.logs.writes().cloned());
    args.logs.urls().for_each(|url| plan.add_server(url));
    if args.output.out.is_none() {
        plan.keeps = state_folder();
    }
    // At its end the server wakes its threads by connecting to itself.
    let own = metrics.and_then(|listener| listener.local_addr().ok());
    plan.connects.extend(own.map(|address| address.port()));
    plan
}

/// Editors put another file in the place of the one that was read.
fn folders_of<'a>(files: impl Iterator<Item = &'a Path>) -> impl Iterator<Item = PathBuf> {
    files.flat_map(folders_along)
}

fn start_recording(args: &LiveArgs, input: &mut Input) -> anyhow::Result<Option<Recording>> {
    let Some(dir) = &args.record else { return Ok(None) };
    if args.record_size.0 < LEAST_RING_BYTES {
        let least = LEAST_RING_BYTES >> 20;
        return Err(Usage(format!("--record-size must be at least {least}MiB")).into());
    }
    let settings = RecordingSettings {
        evidence: args.evidence.then(|| EvidenceSettings {
            before_s: args.evidence_before,
            after_s: args.evidence_after,
            keep: limits(args.keep_evidence_for, Some(args.keep_evidence_size)),
            ..EvidenceSettings::default()
        }),
        ..RecordingSettings::new(dir, args.record_size.0)
    };
    let (recording, tap) = Recording::start(&settings)
        .with_context(|| format!("can't record into {}", dir.display()))?;
    input.record(Box::new(tap));
    Ok(Some(recording))
}
