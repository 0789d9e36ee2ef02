//! `flowtap top`: a running service, or an interface, on a screen.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Args;
use crossbeam_channel::{Receiver, Sender, bounded};

use super::confine_args::explaining;
use super::engine_args::EngineArgs;
use super::named::each_once;
use super::stop::stop_on_signals;
use super::{Usage, machine};
use crate::alert::Alert;
use crate::engine::window::Assembled;
use crate::engine::{FlowGauge, LiveRun, RecordSink, RunOptions, SensorEvent, run as run_engine};
use crate::flow::FlowRecord;
use crate::input::live::{LiveOptions, Method};
use crate::input::{Input, InputOptions};
use crate::output::privacy::Privacy;
use crate::screen::{self, Message};
use crate::service::control::{Client, ClientError, Collector, places};
use crate::time::rfc3339;

/// Between two attempts to reach a service that is gone.
const RETRY: Duration = Duration::from_secs(1);
/// Snapshots that wait for the screen; it only ever shows the newest.
const WAITING: usize = 4;
/// Snapshots that `--once` waits for at most, should the stream's clock not be
/// ours.
const ONCE_AT_MOST: usize = 10;
/// As `live` by default: results are the same.
const SNAPLEN_BYTES: u32 = 262_144;
/// As `live` by default.
const SILENT_AFTER_S: u64 = 60;

/// Show rates, talkers, payload sizes and alerts as they come: of a running
/// `flowtap live`, or with -i of an interface.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Listen to this interface instead, and write nothing; repeat it for
    /// several.
    #[arg(short, long, value_name = "IFACE")]
    interface: Vec<String>,
    /// Socket of the service [default: flowtap/control.sock in the user's runtime
    /// directory, then in /run].
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Print one snapshot, for scripts, once a second has been watched in full:
    /// after four seconds or five. Needs --json.
    #[arg(long, requires = "json")]
    once: bool,
    /// As JSON: with --once alone.
    #[arg(long, requires = "once")]
    json: bool,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

pub(crate) fn run(args: &TopArgs) -> anyhow::Result<ExitCode> {
    let on_terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    if !args.once && !on_terminal {
        let text = "top needs a terminal at its input and output; for scripts: \
                    flowtap top --once --json";
        return Err(Usage(text.to_owned()).into());
    }
    each_once(&args.interface)?;
    let (give, take) = bounded(WAITING);
    let (source, stop, engine) = if args.interface.is_empty() {
        let path = find_service(args.control.as_deref())?;
        attach(path.clone(), give)?;
        (path.display().to_string(), Arc::new(AtomicBool::new(false)), None)
    } else {
        let (stop, engine) = listen(args, give)?;
        (args.interface.join(", "), stop, Some(engine))
    };
    stop_on_signals(&stop)?;
    let shown = if args.once {
        once(&take, &stop)
    } else {
        screen::run(&take, &stop, &source).context("the terminal failed")
    };
    // Who still gives is not kept waiting.
    drop(take);
    stop.store(true, Ordering::Release);
    if let Some(engine) = engine
        && engine.join().is_err()
    {
        anyhow::bail!("the engine failed");
    }
    match shown? {
        Some(why) => anyhow::bail!(why),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn once(messages: &Receiver<Message>, stop: &AtomicBool) -> anyhow::Result<Option<String>> {
    /// How long a signal may wait.
    const LOOK: Duration = Duration::from_millis(100);
    // Of one length: they can be compared as they are.
    let whole_at = rfc3339(now_ns().saturating_add(1_000_000_000));
    let mut seen = 0;
    while !stop.load(Ordering::Acquire) {
        match messages.recv_timeout(LOOK) {
            Ok(Message::Snapshot(snapshot)) => {
                seen += 1;
                if snapshot.time >= whole_at || seen >= ONCE_AT_MOST {
                    let mut out = io::stdout().lock();
                    serde_json::to_writer(&mut out, &snapshot)?;
                    writeln!(out)?;
                    return Ok(None);
                }
            }
            Ok(Message::Lost(why) | Message::Ended(why)) => return Ok(Some(why)),
            Err(error) if error.is_timeout() => {}
            Err(_) => return Ok(Some("it ended".to_owned())),
        }
    }
    Ok(Some("stopped before the first snapshot".to_owned()))
}

/// The socket named, or the first of the usual places that has one.
fn find_service(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let places = places();
    // A service that runs comes before one that is gone.
    let found = |wanted: fn(&Path) -> bool| places.iter().find(|path| wanted(path)).cloned();
    let lives = |path: &Path| std::os::unix::net::UnixStream::connect(path).is_ok();
    found(lives).or_else(|| found(Path::exists)).with_context(|| {
        let places: Vec<_> = places.iter().map(|path| path.display().to_string()).collect();
        format!(
            "no service runs here (looked for {}); start `flowtap live`, name its socket with \
             --control PATH, or watch an interface: flowtap top -i IFACE",
            places.join(", ")
        )
    })
}

/// Connects, and again whenever the service is gone. The first time it has to be
/// there.
fn attach(path: PathBuf, give: Sender<Message>) -> anyhow::Result<()> {
    let first = Client::watch(&path).map_err(|error| match &error {
        ClientError::Unreachable { error: cause, .. }
            if cause.kind() == io::ErrorKind::PermissionDenied =>
        {
            anyhow::anyhow!("{error}: the socket is open to its owner and group")
        }
        _ => error.into(),
    })?;
    // It is not waited for: it ends with the process, and holds nothing.
    thread::Builder::new().name("attach".to_owned()).spawn(move || {
        let mut client = Some(first);
        loop {
            let message = match &mut client {
                Some(connected) => match connected.snapshot() {
                    Ok(snapshot) => Message::Snapshot(Box::new(snapshot)),
                    Err(error) => {
                        client = None;
                        Message::Lost(error.to_string())
                    }
                },
                None => {
                    thread::sleep(RETRY);
                    match Client::watch(&path) {
                        Ok(connected) => client = Some(connected),
                        Err(error) if give.send(Message::Lost(error.to_string())).is_err() => {
                            return;
                        }
                        Err(_) => {}
                    }
                    continue;
                }
            };
            if give.send(message).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// Runs the engine on interfaces, until the flag is set that comes back.
fn listen(
    args: &TopArgs,
    give: Sender<Message>,
) -> anyhow::Result<(Arc<AtomicBool>, JoinHandle<()>)> {
    let mut options = args.engine.run_options()?;
    // Kept by the collector, and few.
    options.detect.total_alerts = usize::MAX;
    let filter_in_kernel = options.filter.is_some();
    let live = LiveOptions {
        interfaces: args.interface.clone(),
        rings: options.workers,
        ring_bytes: machine::ring_bytes(None, options.workers, args.interface.len()),
        snaplen_bytes: SNAPLEN_BYTES,
        promiscuous: true,
        filter: options.filter.take(),
        hardware_stamps: false,
        method: Method::Ring,
        ..LiveOptions::default()
    };
    let input_options = InputOptions { lateness_s: options.lateness_s, ..InputOptions::default() };
    let (input, handle) = Input::live(live, input_options).map_err(explaining())?;
    // Always: there is nobody else that it is done for.
    let watched = Arc::new(AtomicBool::new(true));
    options.live = Some(LiveRun {
        status: Arc::clone(&handle.status),
        filter_in_kernel,
        silent_after_s: SILENT_AFTER_S,
        heard_before: std::collections::BTreeMap::new(),
        preallocates: false,
        watched: Arc::clone(&watched),
    });
    let privacy = Arc::new(Privacy::none());
    let collector = Collector::new(Arc::clone(&privacy), Arc::clone(&handle.status), watched);
    let mut sink = Sink { collector, privacy, give };
    let engine = thread::Builder::new().name("engine".to_owned());
    let engine = engine.spawn(move || listen_on(input, &options, &mut sink))?;
    Ok((handle.stop, engine))
}

fn listen_on(input: Input, options: &RunOptions, sink: &mut Sink) {
    let report = run_engine(input, options, sink);
    let why = report
        .files
        .iter()
        .find_map(|file| file.error.as_ref().map(ToString::to_string))
        .unwrap_or_else(|| "listening ended".to_owned());
    let _ = sink.give.try_send(Message::Ended(why));
}

/// What the engine says, for the screen alone. Nothing in here waits.
struct Sink {
    collector: Collector,
    privacy: Arc<Privacy>,
    give: Sender<Message>,
}

impl RecordSink for Sink {
    fn record(&mut self, _: FlowRecord) -> io::Result<()> {
        Ok(())
    }

    fn wants_records(&self) -> bool {
        false
    }

    fn window(&mut self, window: &Assembled) {
        self.collector.window(window);
    }

    fn alert(&mut self, alert: &Alert, closed: bool) {
        self.collector.alert(&self.privacy.alert(alert), closed);
    }

    fn sensor_event(&mut self, event: &SensorEvent) {
        self.collector.event(event);
    }

    fn closed_before(&mut self, second: i64, flows: FlowGauge) {
        if let Some(snapshot) = self.collector.closed(second, flows, now_ns()) {
            // A screen that is stuck has enough of them.
            let _ = self.give.try_send(Message::Snapshot(Box::new(snapshot)));
        }
    }
}

fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
}
