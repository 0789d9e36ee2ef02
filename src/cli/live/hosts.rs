//! Host watchers beside a capture: a second process with the rights that it takes
//! to watch, which this one never has.
//!
//! It is started before this process gives up its rights, gives up those of its own
//! that it needs no more, and says what happens as lines of `map.jsonl` over a socket
//! pair. It ends when this end of the pair does.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use tracing::{info, warn};

use crate::cli::confine_args::ConfineArgs;
use crate::cli::host_args::{HostArgs, HostFiles};
use crate::cli::log::LogFormat;
use crate::cli::procs::{PodArgs, Providers, SecretArgs};
use crate::cli::values::Bytes;
use crate::engine::RunOptions;
use crate::host::event::{HostEvent, What};
use crate::host::join::HostKnowledge;
use crate::host::log::MapLog;
use crate::host::map::{HostMap, MapLimits};
use crate::host::map_file::MapFile;
use crate::service::confine::User;

#[derive(Debug, Args)]
#[command(next_help_heading = "Hosts")]
pub(crate) struct LiveHostArgs {
    /// Name the process behind each flow of this host: how its sockets are watched.
    /// A second process does that, with the rights it takes.
    #[arg(long, value_enum, default_value = "off", value_name = "HOW")]
    pub(super) procs: Providers,
    /// Record what the watchers say, for `flowtap read --procs`. A map that is there goes
    /// on.
    #[arg(long, value_name = "FILE")]
    pub(super) procs_record: Option<PathBuf>,
    /// Stop recording when the file is so large.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", requires = "procs_record")]
    procs_record_size: Bytes,
    #[command(flatten)]
    secrets: SecretArgs,
    #[command(flatten)]
    pods: PodArgs,
}

impl LiveHostArgs {
    /// Options of watching that are given where nothing is watched.
    pub(super) fn idle(&self) -> Vec<&'static str> {
        if self.procs != Providers::Off {
            return Vec::new();
        }
        let given = [
            ("--procs-record", self.procs_record.is_some()),
            ("--procs-unmasked", self.secrets.arguments().is_some()),
            ("--pods", !self.pods.arguments().is_empty()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }

    /// A map is written.
    pub(super) fn records(&self) -> bool {
        self.procs_record.is_some()
    }
}

/// Reads the user's files of hosts.
pub(super) fn open_files(args: &HostArgs) -> anyhow::Result<HostFiles> {
    let files = args.open()?;
    for warning in &files.warnings {
        warn!(event = "hosts.file", "{warning}");
    }
    Ok(files)
}

/// Longest that a capture waits for its watcher: loading programs into a busy
/// machine's kernel takes seconds.
const START_PATIENCE: Duration = Duration::from_secs(10);

const START_LOOK: Duration = Duration::from_millis(5);

/// How often files are looked at: [`HostFiles::look`] takes over what has been the
/// same for two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What the run is told of hosts, where it is told anything; files are looked at
/// again from now on.
pub(super) fn knowledge(
    map: Option<Arc<HostMap>>,
    is_watched: bool,
    files: &Arc<HostFiles>,
    options: &RunOptions,
) -> io::Result<Option<HostKnowledge>> {
    if map.is_none() && files.is_empty() {
        return Ok(None);
    }
    if !files.is_empty() {
        let files = Arc::downgrade(files);
        // Ends with the run, which holds the files.
        thread::Builder::new().name("host-files".to_owned()).spawn(move || {
            while let Some(files) = files.upgrade() {
                for told in files.look(Instant::now()) {
                    info!(event = "hosts.file", "{told}");
                }
                drop(files);
                thread::sleep(LOOK_INTERVAL);
            }
        })?;
    }
    Ok(Some(HostKnowledge {
        map,
        // Logs come when they come: no second waits for them.
        live: is_watched,
        inventory: files.inventory.clone(),
        lists: Some(Arc::clone(&files.lists)),
        home_nets: options.detect.home_nets.clone(),
    }))
}

/// The second process, started and not yet listened to.
#[derive(Debug)]
pub(super) struct Watcher {
    socket: BufReader<UnixStream>,
    log: Option<(MapLog<File>, PathBuf)>,
}

/// The watcher says its first word when its providers are open. Programs of the
/// kernel are there within a second, on a host under load in a few.
const BEGINS_WITHIN: Duration = Duration::from_secs(60);

impl Watcher {
    /// Starts it, where the options ask for it, and waits until it watches. Before this
    /// process is confined, and with the user's rights that it has now.
    pub(super) fn start(
        args: &LiveHostArgs,
        confine: &ConfineArgs,
        user: Option<&User>,
        log_format: LogFormat,
    ) -> anyhow::Result<Option<Self>> {
        if args.procs == Providers::Off {
            return Ok(None);
        }
        let log = args.procs_record.as_ref().map(|path| {
            let log = || {
                let MapFile { file, bytes, is_new } = MapFile::open(path)?;
                if let Some(user) = user.filter(|_| is_new) {
                    user.take_over(&file)?;
                }
                let left_bytes = args.procs_record_size.0.saturating_sub(bytes);
                io::Result::Ok((MapLog::up_to(file, left_bytes), path.clone()))
            };
            log().with_context(|| format!("can't record the host map into {}", path.display()))
        });
        let log = log.transpose()?;
        let (socket, theirs) = UnixStream::pair().context("can't make a socket pair")?;
        let start = || -> io::Result<()> {
            let input: OwnedFd = theirs.try_clone()?.into();
            let output: OwnedFd = theirs.into();
            Command::new(std::env::current_exe()?)
                .args(["procs", "watch", "--procs", args.procs.name()])
                .args(["--log-format", log_format.name()])
                .args(confine.arguments())
                .args(user.iter().flat_map(|user| ["--user".to_owned(), user.to_string()]))
                .args(args.secrets.arguments())
                .args(args.pods.arguments())
                .stdin(Stdio::from(input))
                .stdout(Stdio::from(output))
                // The keys that end this process must not end that one first.
                .process_group(0)
                .spawn()
                .map(drop)
        };
        start().context("can't start the watcher of processes")?;
        let mut socket = BufReader::with_capacity(1 << 16, socket);
        let begins = |socket: &mut BufReader<UnixStream>| -> io::Result<bool> {
            socket.get_ref().set_read_timeout(Some(BEGINS_WITHIN))?;
            let begun = !socket.fill_buf()?.is_empty();
            socket.get_ref().set_read_timeout(None)?;
            Ok(begun)
        };
        let begun = begins(&mut socket).context("the watcher of processes does not begin")?;
        // It has said why.
        anyhow::ensure!(begun, "processes can't be watched (--procs {})", args.procs.name());
        Ok(Some(Self { socket, log }))
    }

    /// Reads what it says into a map. Comes back when all that is there has been
    /// told.
    pub(super) fn follow(self) -> io::Result<Following> {
        let map = Arc::new(HostMap::new(MapLimits::default()));
        let socket = self.socket.get_ref().try_clone()?;
        let ending = Arc::new(AtomicBool::new(false));
        let reader = Reader {
            socket: self.socket,
            log: self.log,
            map: Arc::clone(&map),
            ending: Arc::clone(&ending),
        };
        let thread = thread::Builder::new().name("host-map".to_owned());
        let thread = thread.spawn(move || reader.run())?;
        let until = Instant::now() + START_PATIENCE;
        while map.told_before_ns() == i64::MIN {
            if Instant::now() > until {
                warn!(event = "procs.slow", "the watcher of processes is not up yet; going on");
                break;
            }
            thread::sleep(START_LOOK);
        }
        Ok(Following { map, socket, ending, thread })
    }
}

/// A map that grows.
pub(super) struct Following {
    pub(super) map: Arc<HostMap>,
    socket: UnixStream,
    ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Following {
    /// Ends the watchers.
    pub(super) fn finish(self) {
        self.ending.store(true, Ordering::Relaxed);
        // Where it is gone already there is nothing to end.
        let _ = self.socket.shutdown(Shutdown::Both);
        let _ = self.thread.join();
    }
}

struct Reader {
    socket: BufReader<UnixStream>,
    log: Option<(MapLog<File>, PathBuf)>,
    map: Arc<HostMap>,
    /// The capture ends its watcher, not the other way round.
    ending: Arc<AtomicBool>,
}

impl Reader {
    fn run(self) {
        let mut map = self.map.writer();
        let (mut log, path) =
            self.log.map_or_else(Default::default, |(log, path)| (Some(log), path));
        let (mut bad_lines, mut last_ns) = (0_u64, i64::MIN);
        let mut lines = self.socket;
        let mut line = Vec::new();
        loop {
            line.clear();
            // A last line without an end was cut by the watcher's own.
            if lines.read_until(b'\n', &mut line).is_err() || line.last() != Some(&b'\n') {
                break;
            }
            let Ok(event) = serde_json::from_slice::<HostEvent>(&line) else {
                bad_lines += 1;
                continue;
            };
            tell(&event);
            last_ns = last_ns.max(event.time_ns);
            map.apply(&event);
            if let Some(Err(error)) = log.as_mut().map(|log| log.write(&event)) {
                let path = path.display();
                match error.kind() {
                    io::ErrorKind::FileTooLarge => warn!(
                        event = "procs.record",
                        "{path} has its full size (--procs-record-size): the host map is no \
                         longer recorded"
                    ),
                    _ => warn!(
                        event = "procs.record",
                        "can't write {path}: {error}; the host map is no longer recorded"
                    ),
                }
                log = None;
            }
        }
        map.ended(last_ns);
        self.map.complete();
        if !self.ending.load(Ordering::Relaxed) {
            warn!(
                event = "procs.gone",
                "the watcher of processes is gone: flows from now on have none"
            );
        }
        if let Some(Err(error)) = log.map(MapLog::finish) {
            warn!(event = "procs.record", "can't write {}: {error}", path.display());
        }
        if bad_lines > 0 {
            warn!(event = "procs.bad_lines", "{bad_lines} lines of the watcher were no events");
        }
    }
}

fn tell(event: &HostEvent) {
    match &event.what {
        What::Provider(state) if state.running => {
            info!(event = "procs.watching", "watching processes by {}", state.method.name());
        }
        What::Provider(state) if !state.reason.is_empty() => {
            let method = state.method.name();
            warn!(event = "procs.ended", "processes are not watched by {method}: {}", state.reason);
        }
        What::Lost { method, events } => {
            let method = method.name();
            warn!(event = "procs.lost", "{method} lost {events} events");
        }
        _ => {}
    }
}
