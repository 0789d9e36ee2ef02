//! What is read whole again and again: counters in a file like `/proc/net/dev`, or
//! behind a URL like an exporter's `/metrics`.
//!
//! A thread for each. A reading that fails is told once, until one succeeds. Start at
//! `start`.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ureq::Agent;

use super::decode::{Bad, Context, Out};
use super::framing::{Next, Records};
use super::kind::{HEAD_BYTES, Head, Kind, recognise};
use super::live::Shared;
use super::report::SourceReport;

/// Longest reading: an exporter on a node with hundreds of containers gives some
/// megabytes.
const MAX_BYTES: u64 = 64 << 20;

/// How often a waiting thread looks whether the run is over.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Longest that a server may take, and so hold up the end of a run.
const MAX_TIMEOUT: Duration = Duration::from_secs(5);

/// What is read, and how often.
#[derive(Clone, Debug)]
pub struct Scrape {
    pub place: Place,
    /// Instead of what its content says.
    pub kind: Option<&'static Kind>,
    pub context: Context,
    pub every: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    File(PathBuf),
    Url(String),
}

impl Place {
    /// A path, `http://...` or `https://...`; without user names in it.
    pub fn new(text: &str) -> Result<Self, String> {
        let Some((scheme, _)) = text.split_once("://") else {
            return Ok(Self::File(text.into()));
        };
        let url: ureq::http::Uri =
            text.parse().map_err(|error| format!("{text} is no URL: {error}"))?;
        let has_user = url.authority().is_none_or(|host| host.as_str().contains('@'));
        if !matches!(scheme, "http" | "https") || url.host().is_none_or(str::is_empty) || has_user {
            return Err(format!("{text}: give a path, http://HOST/... or https://HOST/..."));
        }
        Ok(Self::Url(text.to_owned()))
    }

    /// For people. A query can have secrets.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(url) => url.split('?').next().unwrap_or_default().to_owned(),
        }
    }
}

/// Reads now and then, until the run is over. Certificates are read now, while files
/// can still be opened.
pub(super) fn start(scrape: Scrape, shared: Shared) -> io::Result<JoinHandle<()>> {
    let agent = match &scrape.place {
        Place::File(_) => None,
        Place::Url(url) => {
            let config = crate::https::config(url, None).map_err(io::Error::other)?;
            let timeout = scrape.every.min(MAX_TIMEOUT);
            Some(config.timeout_global(Some(timeout)).build().new_agent())
        }
    };
    thread::Builder::new().name("scrape".to_owned()).spawn(move || run(&scrape, agent, &shared))
}

fn run(scrape: &Scrape, agent: Option<Agent>, shared: &Shared) {
    let name = scrape.context.name.clone();
    let mut failing = false;
    let mut next = Instant::now();
    while !shared.stop.load(Ordering::Acquire) {
        if Instant::now() < next {
            thread::sleep(LOOK_INTERVAL.min(scrape.every));
            continue;
        }
        // Not from when it was read: a slow server must not stretch the schedule.
        next += scrape.every;
        let read = fetch(&scrape.place, agent.as_ref())
            .and_then(|bytes| decode(scrape, &name, &bytes, shared));
        match read {
            Ok(()) if std::mem::take(&mut failing) => {
                shared.notice("source.resumed", &name, format!("{name} can be read again"));
            }
            Ok(()) => {}
            Err(error) if !std::mem::replace(&mut failing, true) => {
                shared.notice("source.unreadable", &name, format!("can't read {name}: {error}"));
            }
            Err(_) => {}
        }
        next = next.max(Instant::now());
    }
}

fn fetch(place: &Place, agent: Option<&Agent>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut body: Box<dyn Read> = match (place, agent) {
        (Place::File(path), _) if !path.metadata()?.is_file() => {
            return Err(io::Error::other("it is no plain file"));
        }
        (Place::File(path), _) => Box::new(File::open(path)?),
        (Place::Url(url), Some(agent)) => {
            let answer = agent.get(url).call().map_err(io::Error::other)?;
            if !answer.status().is_success() {
                return Err(io::Error::other(format!("the server says {}", answer.status())));
            }
            Box::new(answer.into_body().into_reader())
        }
        (Place::Url(_), None) => return Err(io::Error::other("nobody to ask")),
    };
    body.by_ref().take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it is longer than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(bytes)
}

fn decode(scrape: &Scrape, name: &str, bytes: &[u8], shared: &Shared) -> io::Result<()> {
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    let kind = scrape.kind.or_else(|| recognise(&Head::new(head, head.len() == bytes.len())));
    let kind =
        kind.ok_or_else(|| io::Error::other("it is of no kind that is known (`flowtap inputs`)"))?;
    let context = Context {
        name: name.to_owned(),
        modified_ns: now_ns(),
        host: scrape.context.host.clone(),
        format: scrape.context.format.clone(),
    };
    let mut decoder = (kind.decoder)(&context).map_err(io::Error::other)?;
    let mut records = Records::new(bytes, kind.framing);
    let mut out = Out::default();
    let mut counted = SourceReport::new(name, kind);
    counted.bytes = bytes.len() as u64;
    loop {
        let bad = match records.next_record()? {
            Next::Record(record) => decoder.record(record, &mut out).err(),
            Next::TooLong => Some(Bad::new("longer than is read")),
            Next::NoJson => Some(Bad::new("no JSON")),
            Next::End => break,
        };
        counted.records += 1;
        if let Some(bad) = bad {
            counted.count_bad(&bad, records.began_in_line());
        }
    }
    decoder.end(&mut out);
    let report = shared.report(name, kind);
    shared.hand_on(report, counted, &mut out);
    Ok(())
}

pub(super) fn now_ns() -> Option<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_nanos()).ok()
}
