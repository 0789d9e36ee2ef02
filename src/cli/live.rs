//! `flowtap live`: interfaces in, flow records and alerts out as they come.

use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::Usage;
use super::config::Reloader;
use super::confine_args::{ConfineArgs, bind, explaining, state_folder};
use super::control::{Control, ControlAt};
use super::engine_args::EngineArgs;
use super::machine;
use super::output_args::OutputArgs;
use super::rundir::{new_state_run, write_whole};
use super::sensor_id::SensorId;
use super::stop::stop_on_signals;
use super::values::{Bytes, Listen, TimeoutNs};
use crate::alert::Alert;
use crate::detect::DetectSettings;
use crate::engine::window::Assembled;
use crate::engine::{FlowGauge, LiveRun, RecordSink, Reload, SensorEvent, run as run_engine};
use crate::flow::FlowRecord;
use crate::input::live::{KernelClock, LiveOptions, Method};
use crate::input::{Input, InputOptions, LiveHandle};
use crate::output::Summary;
use crate::output::privacy::Privacy;
use crate::output::recording::{EvidenceSettings, LEAST_RING_BYTES, Recording, RecordingSettings};
use crate::output::rolling::{OutputCounters, RollingOutput};
use crate::report::terminal::{self, Style};
use crate::service::confine::{Confined, Mode, Plan, User};
use crate::service::control::ControlSocket;
use crate::service::deliver::{Delivery, DeliveryOptions, Target};
use crate::service::http::HttpServer;
use crate::service::metrics::{Published, RecordingCounters, ReloadCounters, Snapshot};
use crate::service::notify::Notifier;

/// How long the end of a run waits for a disk that does not answer.
const FINISH_WITHIN: Duration = Duration::from_secs(30);

/// How long it waits for receivers of alerts.
const DELIVER_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct LiveArgs {
    /// Interface to listen to; repeat it for several.
    #[arg(short, long, required = true, value_name = "IFACE")]
    interface: Vec<String>,
    /// Name of this sensor in every record; without it the host's name.
    #[arg(long, value_name = "ID")]
    sensor_id: Option<SensorId>,
    /// How frames are taken from the kernel.
    #[arg(long, value_enum, default_value = "ring", value_name = "METHOD")]
    capture: Method,
    /// Memory of each ring, one a worker and interface [default: together a 64th
    /// of the machine's memory].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(2..=4096))]
    ring_mib: Option<u32>,
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
    /// Keep the packets of each alert in DIR/evidence/ID.pcapng, from 10 s before
    /// to 10 s after it.
    #[arg(long, requires = "record")]
    evidence: bool,
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
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    control: ControlAt,
    /// Print the summary as JSON to standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Print no summary for people, and nothing while listening but what is wrong.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    confine: ConfineArgs,
    /// Become this user before anything is opened; only CAP_NET_RAW is kept. Root's only.
    #[arg(long, value_name = "NAME|UID:GID", help_heading = "Confinement")]
    user: Option<User>,
}

pub(crate) fn run(args: &LiveArgs) -> anyhow::Result<ExitCode> {
    let mut options = args.engine.run_options()?;
    options.detect = detect_settings(args);
    let filter_in_kernel = options.filter.is_some();
    let rings = options.workers.saturating_mul(args.interface.len());
    let live = LiveOptions {
        interfaces: args.interface.clone(),
        rings: options.workers,
        ring_bytes: (args.ring_mib.unwrap_or_else(|| default_ring_mib(rings)) as usize) << 20,
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
    let listener = args.metrics.0.map(bind).transpose()?;
    let control = args.control.take()?;
    let explain = explaining();
    let confined = args.confine.apply(&plan(args, listener.as_ref(), control.as_ref()))?;
    if confined.mode != Mode::Off && !(args.quiet && confined.missing.is_empty()) {
        eprintln!("flowtap: {}", confined.text());
    }
    let reloader = Reloader::start(&args.engine.from_file, detect_settings);
    options.reloads = Some(reloader.context("can't listen for SIGHUP")?.reloads());
    let (mut input, handle) = Input::live(live, input_options).map_err(explain)?;
    let watched = Arc::new(AtomicBool::new(false));
    let silent_after_s =
        args.silent_after.0.map_or(u64::MAX, |ns| ns.unsigned_abs() / 1_000_000_000);
    options.live = Some(LiveRun {
        status: Arc::clone(&handle.status),
        filter_in_kernel,
        silent_after_s,
        watched: Arc::clone(&watched),
    });
    let recording = start_recording(args, &mut input)?;
    let dir = match &args.output.out {
        Some(dir) => Some(dir.clone()),
        // Without --out a run is kept for `show`, if there is a place for it.
        None => new_state_run().ok(),
    };
    let output = dir.as_ref().map(|dir| {
        let rolling = args.output.rolling(dir.clone(), Arc::clone(&privacy));
        RollingOutput::open(&rolling, now_ns())
    });
    let output = output.transpose()?;
    for recovered in output.iter().flat_map(RollingOutput::recovered) {
        eprintln!("flowtap: {recovered}");
    }
    if let Some(dir) = &dir {
        write_run(dir, args, confined)?;
    }
    let delivery = (!args.alert_to.is_empty())
        .then(|| Delivery::start(&args.alert_to, &DeliveryOptions::default()));
    let delivery = delivery.transpose()?;
    let published = Arc::new(Published::default());
    let server = listener.map(|listener| HttpServer::serve(listener, Arc::clone(&published)));
    let server = server.transpose().context("can't serve metrics")?;
    if let Some(server) = &server {
        eprintln!("flowtap: metrics at http://{}/metrics", server.address());
    }
    let control = Control::start(control, &privacy, &handle, watched)?;
    let notifier = Notifier::from_environment().context("can't reach the service manager")?;
    stop_on_signals(&handle.stop)?;
    for tap in handle.status.taps() {
        let state = if tap.up { "" } else { ", which is down" };
        eprintln!("flowtap: listening on {}{state}", tap.name);
    }
    let started = Instant::now();
    let mut sink = Sink {
        started,
        seconds: args.seconds,
        handle,
        output,
        recording,
        privacy,
        delivery,
        published,
        control,
        notifier,
        alerts: [0; 5],
        listening: format!("listening on {}", args.interface.join(", ")),
        reloads: ReloadCounters::default(),
    };
    sink.notifier.ready(&sink.listening);
    let mut report = run_engine(input, &options, &mut sink);
    let lost = sink.finish();
    let summary = Summary::new(&report, started.elapsed());
    if let Some(dir) = &dir {
        write_whole(&dir.join("summary.json"), &serde_json::to_vec_pretty(&summary)?)?;
    }
    if args.json {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &summary)?;
        writeln!(out)?;
    } else if !args.quiet {
        let text = terminal::render(&summary, args.output.out.as_deref(), Style::for_stdout());
        io::stdout().lock().write_all(text.as_bytes())?;
    }
    if let Some(error) = report.write_error.take() {
        return Err(error).context("some records could not be written");
    }
    anyhow::ensure!(lost == 0, "{lost} records could not be written");
    Ok(args.engine.exit_status(&summary))
}

/// A 64th of the machine's memory, for all rings together: at 10 Gbit/s that is
/// 0.3 s of standstill on a machine with 24 GiB, and never a burden. The bounds:
/// a quarter of a second of 1 Gbit/s, and a whole one of 4 Gbit/s.
fn default_ring_mib(rings: usize) -> u32 {
    let share = machine::memory_bytes().map_or(0, |bytes| bytes / 64 / rings.max(1) as u64);
    u32::try_from(share >> 20).unwrap_or(u32::MAX).clamp(32, 512)
}

/// Alerts are handed out as they come: there may be any number.
fn detect_settings(args: &LiveArgs) -> DetectSettings {
    DetectSettings { total_alerts: usize::MAX, ..args.engine.detect_settings() }
}

/// What a run with these options needs once everything named in them is read.
fn plan(args: &LiveArgs, metrics: Option<&TcpListener>, control: Option<&ControlSocket>) -> Plan {
    let folders = args.output.out.iter().chain(&args.record).cloned();
    let mut plan = Plan::live(folders.collect(), &args.alert_to);
    plan.user.clone_from(&args.user);
    let socket = control.and_then(|socket| std::path::absolute(socket.path()).ok());
    plan.sockets.extend(socket.as_deref().and_then(Path::parent).map(PathBuf::from));
    // The folder: an editor puts another file in the place of the one that was read.
    plan.reads.extend(args.engine.from_file.folder());
    if args.output.out.is_none() {
        plan.keeps = state_folder();
    }
    // At its end the server wakes its threads by connecting to itself.
    let own = metrics.and_then(|listener| listener.local_addr().ok());
    plan.connects.extend(own.map(|address| address.port()));
    plan
}

fn start_recording(args: &LiveArgs, input: &mut Input) -> anyhow::Result<Option<Recording>> {
    let Some(dir) = &args.record else { return Ok(None) };
    if args.record_size.0 < LEAST_RING_BYTES {
        let least = LEAST_RING_BYTES >> 20;
        return Err(Usage(format!("--record-size must be at least {least}MiB")).into());
    }
    let settings = RecordingSettings {
        evidence: args.evidence.then(EvidenceSettings::default),
        ..RecordingSettings::new(dir, args.record_size.0)
    };
    let (recording, tap) = Recording::start(&settings)
        .with_context(|| format!("can't record into {}", dir.display()))?;
    input.record(Box::new(tap));
    Ok(Some(recording))
}

/// What was run: `run.json`.
#[derive(Debug, Serialize)]
struct RunRecord {
    schema: &'static str,
    flowtap: &'static str,
    arguments: Vec<String>,
    interfaces: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<RecordingPlace>,
    confinement: Confined,
}

#[derive(Debug, Serialize)]
struct RecordingPlace {
    dir: PathBuf,
}

fn write_run(dir: &Path, args: &LiveArgs, confinement: Confined) -> anyhow::Result<()> {
    let place = |dir: &PathBuf| RecordingPlace {
        dir: std::path::absolute(dir).unwrap_or_else(|_| dir.clone()),
    };
    let record = RunRecord {
        schema: "flowtap.run.v1",
        flowtap: env!("CARGO_PKG_VERSION"),
        arguments: std::env::args().skip(1).collect(),
        interfaces: args.interface.clone(),
        recording: args.record.as_ref().map(place),
        confinement,
    };
    write_whole(&dir.join("run.json"), &serde_json::to_vec_pretty(&record)?)
}

/// Where a live run's results go. Nothing in here waits.
struct Sink {
    started: Instant,
    seconds: Option<u64>,
    handle: LiveHandle,
    output: Option<RollingOutput>,
    recording: Option<Recording>,
    privacy: Arc<Privacy>,
    delivery: Option<Delivery>,
    published: Arc<Published>,
    control: Control,
    notifier: Notifier,
    /// Opened, by severity.
    alerts: [u64; 5],
    /// For the service manager.
    listening: String,
    reloads: ReloadCounters,
}

impl Sink {
    /// Ends the files and what is on its way. How many records could not be
    /// written.
    fn finish(mut self) -> u64 {
        self.notifier.stopping();
        self.tell_troubles();
        if let Some(delivery) = self.delivery.take() {
            let (counters, changes) = delivery.finish(DELIVER_WITHIN);
            changes.iter().for_each(|change| eprintln!("flowtap: {change}"));
            for target in counters.iter().filter(|target| target.lost > 0) {
                eprintln!("flowtap: {} messages to {} were lost", target.lost, target.target);
            }
        }
        if let Some(recording) = self.recording.take() {
            let counters = recording.finish();
            if counters.lost_packets > 0 {
                eprintln!(
                    "flowtap: {} packets are missing in the recording",
                    counters.lost_packets
                );
            }
        }
        let Some(output) = self.output.take() else { return 0 };
        let finished = output.finish(FINISH_WITHIN);
        for event in &finished.events {
            eprintln!("flowtap: {event}");
        }
        let left = if finished.complete { 0 } else { finished.counters.queued_records };
        finished.counters.lost() + left
    }

    fn tell_troubles(&mut self) {
        for event in self.output.iter_mut().flat_map(RollingOutput::take_events) {
            eprintln!("flowtap: {event}");
        }
        for change in self.delivery.iter().flat_map(Delivery::take_changes) {
            eprintln!("flowtap: {change}");
        }
        for notice in self.recording.iter().flat_map(Recording::take_notices) {
            eprintln!("flowtap: {notice}");
        }
    }

    /// What metrics and health are made of.
    fn publish(&self, second: i64, flows_held: u64) {
        let taps = self.handle.status.taps();
        let output = self.output.as_ref().map(RollingOutput::counters);
        let written = output.iter().flat_map(|output| &output.kinds);
        let closed_ns = second.saturating_mul(1_000_000_000);
        self.published.publish(Snapshot {
            packets: taps.iter().map(|tap| tap.frames).sum(),
            wire_bytes: taps.iter().map(|tap| tap.wire_bytes).sum(),
            flows_held,
            records_written: written.map(|kind| kind.written).sum(),
            records_lost: output.as_ref().map_or(0, OutputCounters::lost),
            alerts: self.alerts,
            reloads: self.reloads.clone(),
            taps,
            inferred: self.handle.status.inferred(),
            sensor: self.handle.status.sensor().to_owned(),
            clock_synchronised: self.handle.status.clock_synchronised(),
            overload: self.handle.status.shed(),
            seconds_behind: now_ns().saturating_sub(closed_ns) as f64 / 1e9,
            recording: self.recording.as_ref().map(|recording| {
                let counters = recording.counters();
                RecordingCounters {
                    packets: counters.packets,
                    bytes: counters.bytes,
                    packets_lost: counters.lost_packets,
                }
            }),
            delivery: self.delivery.as_ref().map(Delivery::counters).unwrap_or_default(),
        });
    }
}

impl RecordSink for Sink {
    fn record(&mut self, record: FlowRecord) -> io::Result<()> {
        if let Some(output) = &mut self.output {
            output.record(record);
        }
        Ok(())
    }

    fn wants_records(&self) -> bool {
        self.output.as_ref().is_some_and(RollingOutput::wants_records)
    }

    fn alert(&mut self, alert: &Alert, closed: bool) {
        if let Some(output) = &mut self.output {
            output.alert(alert);
        }
        if let Some(recording) = &self.recording {
            recording.alert(alert, closed);
        }
        if alert.revision == 1 {
            self.alerts[alert.severity as usize] += 1;
        }
        let shown = self.privacy.alert(alert);
        self.control.alert(&shown, closed);
        if let Some(delivery) = &self.delivery {
            delivery.deliver(&shown);
        }
        let over = if closed { " (over)" } else { "" };
        eprintln!("flowtap: {}{over}: {}", shown.severity.name(), shown.summary);
    }

    fn window(&mut self, window: &Assembled) {
        self.control.window(window);
    }

    fn sensor_event(&mut self, event: &SensorEvent) {
        eprintln!("flowtap: {}", event.text);
        self.control.event(event);
        if let Some(delivery) = &self.delivery {
            delivery.deliver_event(event);
        }
    }

    fn reloaded(&mut self, reload: &Reload) {
        self.notifier.reloading();
        self.reloads.count(reload.settings.is_some());
        self.notifier.ready(&self.listening);
    }

    fn closed_before(&mut self, second: i64, flows: FlowGauge) {
        if let Some(output) = &mut self.output {
            output.second(now_ns());
        }
        self.tell_troubles();
        self.publish(second, flows.held);
        self.control.closed(second, flows, now_ns());
        self.notifier.progress();
        if self.seconds.is_some_and(|seconds| self.started.elapsed().as_secs() >= seconds) {
            self.handle.stop.store(true, Ordering::Release);
        }
    }
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
