//! Logs that `flowtap live` follows beside the interfaces.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tracing::{info, warn};

use crate::cli::links::folders_read;
use crate::cli::named::each_log_once;
use crate::cli::telemetry_args::TelemetryArgs;
use crate::cli::values::TimeoutNs;
use crate::host::map::HostMap;
use crate::output::access::make_folders;
#[cfg(target_os = "linux")]
use crate::telemetry::export::listen::Listener;
use crate::telemetry::feed::Feed;
use crate::telemetry::follow::{Options, Target};
use crate::telemetry::live::Follow;
use crate::telemetry::scrape::{Place, Scrape};

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Logs")]
pub(super) struct LogArgs {
    /// Follow this log, through its rotations, or all logs that a folder has and gains; `-` is
    /// standard input, `journal` the systemd journal (`journal:--unit=nginx` and the like choose
    /// from it), `s3://BUCKET/PREFIX` an object store. Repeat it for several. Each is recognised by its content (`flowtap inputs`).
    #[arg(long, value_name = "PATH")]
    log: Vec<PathBuf>,
    /// Keep in this folder how far each log was read, and go on there at the next start.
    /// Without it a log is read from its end on.
    #[arg(long, value_name = "DIR", requires = "log")]
    log_state: Option<PathBuf>,
    /// Read logs from their start where there is no kept place in them.
    #[arg(long, requires = "log")]
    log_from_start: bool,
    /// Read counters again and again: a file like /proc/net/dev, or http(s)://HOST/metrics of an
    /// exporter; repeat it for several.
    #[arg(long, value_name = "PATH|URL", value_parser = Place::new)]
    scrape: Vec<Place>,
    /// How often.
    #[arg(long, value_name = "TIME", default_value = "15s", requires = "scrape")]
    scrape_every: TimeoutNs,
    /// Take NetFlow, IPFIX and sFlow at this UDP address (127.0.0.1:2055); repeat it for several.
    #[cfg(target_os = "linux")]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

/// Shortest time between two readings: counters of most sources change no faster.
const LEAST_EVERY: Duration = Duration::from_secs(1);

impl LogArgs {
    pub(super) fn any(&self) -> bool {
        !self.log.is_empty() || !self.scrape.is_empty() || self.listens()
    }

    #[cfg(target_os = "linux")]
    fn listens(&self) -> bool {
        !self.listen.is_empty()
    }

    #[cfg(not(target_os = "linux"))]
    fn listens(&self) -> bool {
        false
    }

    /// Takes the addresses to listen at, while any can be taken.
    #[cfg(target_os = "linux")]
    pub(super) fn bind(&self) -> anyhow::Result<Option<Listener>> {
        if self.listen.is_empty() {
            return Ok(None);
        }
        let listener = Listener::bind(&self.listen)?;
        for address in listener.addresses()? {
            info!(event = "exports.listening", "listening for flow exports at {address}");
        }
        Ok(Some(listener))
    }

    /// Folders that are read: files in them are replaced.
    pub(super) fn reads(&self) -> impl Iterator<Item = PathBuf> {
        let is_file = |path: &&PathBuf| {
            let is_other = |text: &str| text == "-" || is_journal(text) || is_store(text);
            !path.to_str().is_some_and(is_other)
        };
        let scraped = self.scrape.iter().filter_map(|place| match place {
            Place::File(path) => Some(path.clone()),
            Place::Url(_) => None,
        });
        let logs = self.log.iter().filter(is_file);
        logs.flat_map(|path| folders_read(path)).chain(scraped)
    }

    /// Servers that are asked.
    pub(super) fn urls(&self) -> impl Iterator<Item = &str> {
        self.scrape.iter().filter_map(|place| match place {
            Place::File(_) => None,
            Place::Url(url) => Some(url.as_str()),
        })
    }

    /// Whether programs must be run for it, which confinement forbids.
    pub(super) fn runs_programs(&self) -> bool {
        self.log.iter().any(|path| path.to_str().is_some_and(is_journal))
    }

    /// Whether a store is asked, by an HTTP client with threads and names of its own.
    pub(super) fn asks_stores(&self) -> bool {
        self.log.iter().any(|path| path.to_str().is_some_and(is_store))
    }

    pub(super) fn writes(&self) -> Option<&PathBuf> {
        self.log_state.as_ref()
    }

    /// Names of what is scraped, as --as gives them.
    fn scraped(&self) -> impl Iterator<Item = PathBuf> {
        self.scrape.iter().map(|place| PathBuf::from(place.name()))
    }

    /// Begins to follow.
    pub(super) fn follow(
        &self,
        silent_after: Option<Duration>,
        #[cfg(target_os = "linux")] listener: Option<Listener>,
        stop: &Arc<AtomicBool>,
        map: Option<&Arc<HostMap>>,
    ) -> anyhow::Result<Option<Feed>> {
        if !self.any() {
            return Ok(None);
        }
        if let Some(folder) = &self.log_state {
            make_folders(folder).with_context(|| format!("can't make {}", folder.display()))?;
        }
        let context = self.telemetry.context();
        let named: Vec<_> = self.log.iter().cloned().chain(self.scraped()).collect();
        let mut follows = Vec::new();
        let (logs, odd) = each_log_once(&self.log);
        for odd in odd {
            warn!(event = "source.twice", "{odd}");
        }
        for path in &logs {
            let mut context = context.clone();
            context.name = path.display().to_string();
            follows.push(Follow {
                target: target(path)?,
                kind: self.telemetry.forced_for(path, &named)?,
                context,
                state: self.log_state.as_ref().map(|folder| folder.join(state_name(path))),
                options: Options { from_start: self.log_from_start, ..Options::default() },
                silent_after,
            });
        }
        let every = self.scrape_every.0.map_or(u64::MAX, i64::unsigned_abs);
        let every = Duration::from_nanos(every).max(LEAST_EVERY);
        let mut scrapes = Vec::new();
        for (place, name) in self.scrape.iter().zip(self.scraped()) {
            let kind = self.telemetry.forced_for(&name, &named)?;
            let mut context = context.clone();
            // Two that differ in their query alone are two sources.
            let same = |scrape: &&Scrape| scrape.place.name() == place.name();
            let before = scrapes.iter().filter(same).count();
            context.name = match before {
                0 => place.name(),
                _ => format!("{} #{}", place.name(), before + 1),
            };
            scrapes.push(Scrape { place: place.clone(), kind, context, every });
        }
        let feed = Feed::follow(
            follows,
            scrapes,
            #[cfg(target_os = "linux")]
            listener,
            stop,
            map,
        )?;
        Ok(Some(feed))
    }
}

fn target(path: &Path) -> anyhow::Result<Target> {
    Ok(match path.to_str() {
        Some("-") => Target::Stdin,
        Some(url) if is_store(url) => objects(url)?,
        Some(text) if is_journal(text) => {
            let arguments = text.strip_prefix("journal:").unwrap_or_default();
            Target::Journal(arguments.split_ascii_whitespace().map(str::to_owned).collect())
        }
        _ => Target::of_path(path),
    })
}

fn is_store(text: &str) -> bool {
    text.starts_with("s3://")
}

#[cfg(feature = "object-store")]
#[expect(clippy::unnecessary_wraps, reason = "a build without the feature refuses")]
fn objects(url: &str) -> anyhow::Result<Target> {
    // Where the store is and who asks stands in the environment, as for other programs.
    Ok(Target::Objects { url: url.to_owned(), settings: Vec::new() })
}

#[cfg(not(feature = "object-store"))]
fn objects(url: &str) -> anyhow::Result<Target> {
    let why = format!("--log {url}: this build reads no object stores (feature object-store)");
    Err(crate::cli::Usage(why).into())
}

fn is_journal(text: &str) -> bool {
    text == "journal" || text.starts_with("journal:")
}

/// A file name that tells paths apart and is read by people.
fn state_name(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let text = path.to_string_lossy();
    let mut name: String = text
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '_' })
        .collect();
    // Paths that differ only in what was replaced must not share a file.
    let digest = sha2::Digest::finalize(sha2::Digest::chain_update(
        <sha2::Sha256 as sha2::Digest>::new(),
        path.as_os_str().as_encoded_bytes(),
    ));
    let digest: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    const MOST: usize = 180;
    if name.len() > MOST {
        name = name.split_off(name.len() - MOST);
    }
    format!("{name}-{digest}.json")
}
