//! Sources that grow, while they do: a thread for each target follows it, decodes
//! what is new, and hands it on as it comes.
//!
//! A file's kind is told by its first bytes; what is no known kind is told once and
//! passed over. What was handed on is acknowledged a little later, when it has
//! reached the files: after a crash it is read again rather than missed. Start at
//! `Followed::start`.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::decode::{Bad, Context, Decoder, HAND_ON_BYTES, Out};
use super::feed::Notice;
use super::follow::cut::Cutter;
use super::follow::{
    Closed, FollowError, Follower, Opened, Options, Polled, SourceId, Target, Told,
};
use super::framing::{Framing, Mark, Next};
use super::kind::{HEAD_BYTES, Head, Kind, UNKNOWN, recognise};
use super::merge::{Batch, Observed};
use super::observation::{HostReport, Observation};
use super::report::SourceReport;
use super::scrape;
use crate::host::event::What;
use crate::host::map::{HostMap, KEEP_NS, MapWriter};
use crate::lock::Lock;

/// What a refusal may be due to that no rights of files show.
const CONFINED: &str = " (or it is not beneath a folder that was named, or that a link led to, \
                        when the run began: see --confine)";

const NS_PER_S: i64 = 1_000_000_000;

/// Between handing on and acknowledging: twice the second after which what the
/// correlation stage was given is in the kernel.
const ACKNOWLEDGE_AFTER: Duration = Duration::from_secs(2);

/// How long a line may lie before it is read, and still have come in time: an object store
/// is listed once a minute.
const READ_WITHIN_NS: i64 = 60 * NS_PER_S;

/// Observations that are handed on at once.
const BATCH_OBSERVATIONS: usize = 1024;

/// Sources of one target that are held: those of a folder rest most of the time.
const MAX_SOURCES: usize = 1 << 12;

/// Names of files that are read once they are complete.
const PACKED: [&str; 4] = [".gz", ".zst", ".xz", ".lz4"];

/// Files that went, or were truncated, when not all in them may have been read.
const LOST_ENDS: &str = "ends of files";

/// Hosts of one target that have a map of their own.
const MAX_HOSTS: usize = 1 << 12;

/// How often a host map that logs alone fill forgets what is long over.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// What is followed, and how.
#[derive(Clone, Debug)]
pub struct Follow {
    pub target: Target,
    /// Instead of what its content says.
    pub kind: Option<&'static Kind>,
    pub context: Context,
    /// Where the place in it is kept.
    pub state: Option<PathBuf>,
    pub options: Options,
    /// Told as silent when nothing came for this long, or for what its kind's lateness
    /// says where that is longer.
    pub silent_after: Option<Duration>,
}

/// What all targets of a run share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) batches: Sender<Batch>,
    pub(super) reports: Arc<Lock<Vec<SourceReport>>>,
    pub(super) notices: Sender<Notice>,
    pub(super) map: Option<Arc<HostMap>>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Shared {
    /// The place of a source's report, which is made if there is none.
    pub(super) fn report(&self, name: &str, kind: &'static Kind) -> u16 {
        let mut reports = self.reports.lock();
        let known = reports.iter().position(|r| r.name == name && r.kind.name == kind.name);
        let awaited = || reports.iter().position(|r| r.name == name && is_awaited(r));
        let at = known.or_else(awaited).unwrap_or_else(|| {
            reports.push(SourceReport::new(name, kind));
            reports.len() - 1
        });
        // What was waited for has come.
        if let Some(report) = reports.get_mut(at).filter(|report| is_awaited(report)) {
            let lost = std::mem::take(&mut report.lost);
            *report = SourceReport { lost, ..SourceReport::new(name, kind) };
        }
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    /// Counts what was decoded and hands it on.
    pub(super) fn hand_on(&self, report: u16, mut counted: SourceReport, out: &mut Out) {
        let observations = std::mem::take(&mut out.observations);
        observations.iter().for_each(|observation| counted.count(observation));
        counted.late = late(&observations, counted.kind, scrape::now_ns());
        if !out.notices.is_empty() {
            let name = self.reports.lock().get(usize::from(report)).map(|it| it.name.clone());
            for text in out.notices.drain(..) {
                self.notice("source.sampling", name.as_deref().unwrap_or_default(), text);
            }
        }
        counted.take_tallies(out);
        if let Some(report) = self.reports.lock().get_mut(usize::from(report)) {
            report.add(counted);
        }
        if observations.is_empty() {
            return;
        }
        let observed = observations
            .into_iter()
            .map(|observation| Observed { source: report, due_s: i64::MIN, observation })
            .collect();
        // The run is over where nobody listens any more.
        let _ = self.batches.send(Batch { clock_s: i64::MIN, observed });
    }

    pub(super) fn notice(&self, kind: &'static str, source: &str, text: String) {
        // Nobody who listens has fallen so far behind for any other reason than a storm.
        let _ = self.notices.try_send(Notice { kind, source: source.to_owned(), text });
    }
}

/// Holds the place of a source that is not there yet.
fn is_awaited(report: &SourceReport) -> bool {
    report.kind.name == UNKNOWN.name
}

/// A target that is followed.
pub(super) struct Followed {
    follow: Follow,
    name: String,
    follower: Follower,
    shared: Shared,
    sources: HashMap<SourceId, Reading>,
    /// Handed on, and not acknowledged yet.
    handed: VecDeque<(Instant, SourceId, Mark)>,
    hosts: HashMap<Arc<str>, MapWriter>,
    /// Of what was told of hosts.
    latest_ns: i64,
    /// When something was read last, and of which kind.
    last: Option<(Instant, &'static Kind)>,
    silent: bool,
    begun: Instant,
    forgot: Instant,
}

/// A source on its way.
enum Reading {
    /// Its first bytes, too few to know it by.
    Unknown {
        opened: Opened,
        head: Vec<u8>,
    },
    Known(Box<Known>),
}

struct Known {
    cutter: Cutter,
    /// Bytes of the source that the cutter was given, and those before.
    fed_bytes: u64,
    /// Was unpacked: it is whole when it is closed.
    packed: bool,
    decoder: Box<dyn Decoder>,
    out: Out,
    /// Place of the target's report of this kind, and what is to be added to it.
    report: u16,
    counted: SourceReport,
    /// When it was given bytes last.
    fed: Instant,
}

impl Reading {
    /// What goes first where there are too many: what rested longest, and rather what
    /// nothing is held of.
    fn keep(&self) -> (u8, Option<Instant>) {
        match self {
            Self::Known(known) => {
                (u8::from(known.cutter.mark().offset < known.fed_bytes), Some(known.fed))
            }
            Self::Unknown { .. } => (2, None),
        }
    }
}

impl Followed {
    /// Goes on where its state says, in a thread of its own.
    pub(super) fn start(follow: Follow, shared: Shared) -> Result<JoinHandle<()>, FollowError> {
        let now = Instant::now();
        let follower =
            Follower::start(&follow.target, follow.state.as_deref(), &follow.options, now)?;
        let followed = Self {
            name: follow.context.name.clone(),
            follow,
            follower,
            shared,
            sources: HashMap::new(),
            handed: VecDeque::new(),
            hosts: HashMap::new(),
            latest_ns: i64::MIN,
            last: None,
            silent: false,
            begun: now,
            forgot: now,
        };
        Ok(thread::spawn(move || followed.run()))
    }

    fn run(mut self) {
        let mut buffer = Vec::new();
        loop {
            if self.shared.stop.load(Ordering::Acquire) {
                break;
            }
            let now = Instant::now();
            self.acknowledge_before(now);
            match self.follower.poll(now) {
                Polled::Opened(opened) => self.open(opened),
                Polled::Bytes { source, bytes } => {
                    buffer.clear();
                    buffer.extend_from_slice(bytes);
                    self.bytes(source, &buffer);
                }
                Polled::Closed { source, why } => self.close(source, why),
                Polled::Told(told) => self.tell(&told),
                Polled::Waiting => {
                    self.look_at_time(now);
                    thread::sleep(self.follow.options.pause);
                }
                Polled::Ended => break,
            }
        }
        // A last line without its end waits for the next run.
        for (_, reading) in std::mem::take(&mut self.sources) {
            if let Reading::Known(mut known) = reading {
                known.decoder.end(&mut known.out);
                self.hand_on(&mut known);
            }
        }
        for (_, source, mark) in std::mem::take(&mut self.handed) {
            self.follower.acknowledge(source, mark);
        }
        if let Err(error) = self.follower.finish() {
            self.shared.notice(
                "source.state",
                &self.name,
                format!("the place in {} could not be kept: {error}", self.name),
            );
        }
    }

    fn open(&mut self, opened: Opened) {
        let source = opened.source;
        // One that rested goes on where it was: what was cut off is still held.
        match self.sources.get(&source) {
            Some(Reading::Known(known)) if known.fed_bytes == opened.from.offset => return,
            Some(Reading::Unknown { head, .. }) if head.len() as u64 == opened.from.offset => {
                return;
            }
            _ => {}
        }
        self.make_room();
        let head = opened.head.clone();
        if let Some(kind) = self.follow.kind {
            self.begin(kind, &opened, &head);
        } else if !head.is_empty()
            && let Some(kind) = recognise(&Head::new(&head, false))
        {
            self.begin(kind, &opened, &head);
        } else {
            self.sources.insert(source, Reading::Unknown { opened, head: Vec::new() });
        }
    }

    /// Begins to decode a source. `head` is what stands before the place where it goes
    /// on: its header is needed, its records were told before.
    fn begin(&mut self, kind: &'static Kind, opened: &Opened, head: &[u8]) {
        let context = Context {
            name: opened.name.clone(),
            modified_ns: opened.modified_ns,
            ..self.follow.context.clone()
        };
        let decoder = match (kind.framing, (kind.decoder)(&context)) {
            (Framing::Lines | Framing::Json | Framing::LargeJson, Ok(decoder)) => decoder,
            (Framing::File | Framing::Datagrams, _) => {
                self.refuse(opened, &format!("{} can't be followed", kind.title));
                return;
            }
            (_, Err(error)) => {
                self.refuse(opened, &error);
                return;
            }
        };
        let report = self.shared.report(&self.name, kind);
        let mut known = Known {
            cutter: Cutter::new(kind.framing, Mark::START),
            fed_bytes: opened.from.offset,
            packed: PACKED.iter().any(|suffix| opened.name.ends_with(suffix)),
            decoder,
            out: Out::default(),
            report,
            counted: SourceReport::new("", kind),
            fed: Instant::now(),
        };
        known.cutter.feed(head);
        while known.decode_all() {
            known.out.observations.clear();
            known.counted.bytes = 0;
        }
        known.out = Out::default();
        known.counted = SourceReport::new("", kind);
        known.cutter = Cutter::new(kind.framing, opened.from);
        self.last = Some((Instant::now(), kind));
        self.sources.insert(opened.source, Reading::Known(Box::new(known)));
    }

    fn refuse(&mut self, opened: &Opened, why: &str) {
        self.follower.ignore(opened.source);
        self.sources.remove(&opened.source);
        self.shared.notice(
            "source.unknown",
            &opened.name,
            format!("{} is passed over: {why}", opened.name),
        );
    }

    fn bytes(&mut self, source: SourceId, bytes: &[u8]) {
        if let Some(Reading::Unknown { opened, head }) = self.sources.get_mut(&source) {
            head.extend_from_slice(bytes);
            let (opened, head) = (opened.clone(), head.clone());
            self.try_to_know(&opened, &head, false);
            return;
        }
        let Some(Reading::Known(mut known)) = self.sources.remove(&source) else {
            // Not ours to decode without what came before: its next bytes open it again.
            let text = format!("{} bytes of a source of {} were not read", bytes.len(), self.name);
            self.shared.notice("source.lost", &self.name, text);
            self.follower.release(source, Mark::START);
            return;
        };
        known.cutter.feed(bytes);
        known.fed_bytes += bytes.len() as u64;
        known.fed = Instant::now();
        self.decode(source, &mut known);
        self.sources.insert(source, Reading::Known(known));
    }

    /// Recognises a source by its first bytes; waits for more where they could be of
    /// any kind yet.
    fn try_to_know(&mut self, opened: &Opened, head: &[u8], whole: bool) {
        let full = whole || head.len() >= HEAD_BYTES;
        match recognise(&Head::new(head, full)) {
            Some(kind) => {
                self.begin(kind, opened, &[]);
                if let Some(Reading::Known(_)) = self.sources.get(&opened.source) {
                    self.bytes(opened.source, head);
                }
            }
            None if full && !head.is_empty() => {
                self.refuse(opened, "it is no log of a kind that is known (`flowtap inputs`)");
            }
            None => {}
        }
    }

    fn decode(&mut self, source: SourceId, known: &mut Known) {
        while known.decode_all() {
            self.hand_on(known);
        }
        self.hand_on(known);
        self.handed.push_back((Instant::now(), source, known.cutter.mark()));
    }

    /// Hands on what was decoded; waits where the correlation stage is behind.
    fn hand_on(&mut self, known: &mut Known) {
        let kind = known.counted.kind;
        if !known.out.observations.is_empty() {
            self.last = Some((Instant::now(), kind));
            for observation in &mut known.out.observations {
                if let Observation::Request(request) = observation {
                    request.on_host.clone_from(&self.follow.context.host);
                }
            }
            self.apply(&known.out.observations);
        }
        let counted = std::mem::replace(&mut known.counted, SourceReport::new("", kind));
        self.shared.hand_on(known.report, counted, &mut known.out);
    }

    /// What it tells of hosts is known at once.
    fn apply(&mut self, observations: &[Observation]) {
        let Some(map) = &self.shared.map else { return };
        for observation in observations {
            let Observation::Host(report) = observation else { continue };
            let HostReport { host, event } = &**report;
            self.latest_ns = self.latest_ns.max(event.time_ns);
            // The source has told all; whoever else fills the map has not.
            if event.what == What::Time {
                continue;
            }
            if self.hosts.len() >= MAX_HOSTS && !self.hosts.contains_key(host) {
                continue;
            }
            // Each file of a host begins anew; its map does not.
            if matches!(event.what, What::Start(_)) && self.hosts.contains_key(host) {
                continue;
            }
            self.hosts.entry(Arc::clone(host)).or_insert_with(|| map.writer()).apply(event);
        }
    }

    fn close(&mut self, source: SourceId, why: Closed) {
        match self.sources.remove(&source) {
            Some(Reading::Unknown { opened, head })
                if why != Closed::Idle
                    || PACKED.iter().any(|suffix| opened.name.ends_with(suffix)) =>
            {
                self.try_to_know(&opened, &head, true);
                if let Some(Reading::Known(_)) = self.sources.get(&source) {
                    self.close(source, why);
                }
            }
            Some(Reading::Unknown { opened, head }) => {
                self.sources.insert(source, Reading::Unknown { opened, head });
            }
            // More may come, perhaps in the middle of a line.
            Some(Reading::Known(known)) if why == Closed::Idle && !known.packed => {
                self.sources.insert(source, Reading::Known(known));
            }
            Some(Reading::Known(mut known)) => {
                known.cutter.end();
                while known.decode_all() {
                    self.hand_on(&mut known);
                }
                known.decoder.end(&mut known.out);
                self.hand_on(&mut known);
                self.handed.push_back((Instant::now(), source, known.cutter.mark()));
            }
            None => {}
        }
    }

    /// Sources that rest are few, but in a folder of many files.
    fn make_room(&mut self) {
        if self.sources.len() < MAX_SOURCES {
            return;
        }
        let least = self.sources.iter().min_by_key(|(id, reading)| (reading.keep(), **id));
        let Some((&source, reading)) = least else { return };
        let mark = match reading {
            Reading::Known(known) => known.cutter.mark(),
            Reading::Unknown { opened, .. } => opened.from,
        };
        self.close(source, Closed::Rotated);
        self.follower.release(source, mark);
    }

    fn tell(&self, told: &Told) {
        let (kind, text) = match told {
            Told::NotThere { name } => {
                // Among the sources, with nothing in it, from now on.
                self.shared.report(&self.name, &UNKNOWN);
                ("source.not_there", format!("{name} is not there yet: waiting for it"))
            }
            Told::Lost { name, offset, surely } => {
                self.count_lost();
                let text = if *surely {
                    format!("what was not read yet of {name}, from byte {offset} on, is gone")
                } else {
                    format!(
                        "{name} went while it was not open: what was added behind its byte \
                         {offset}, if anything, was not read"
                    )
                };
                ("source.lost", text)
            }
            Told::Rewritten { name, offset } => {
                self.count_lost();
                let text = format!(
                    "{name} was rewritten or truncated: what was read of it, {offset} bytes, is \
                     neither in it nor in a copy. It is read from its start again: what is still \
                     in it counts twice, and what was added last may not have been read"
                );
                ("source.rewritten", text)
            }
            Told::Unreadable { name, error } => {
                // Landlock's refusals look like any other.
                let is_denied = error.contains("Permission denied");
                let why = if is_denied { CONFINED } else { "" };
                ("source.unreadable", format!("can't read {name}: {error}{why}"))
            }
            Told::TooManyFiles => (
                "source.too_many_files",
                format!("{} has more files than are looked at", self.name),
            ),
            Told::TooManySources => (
                "source.too_many_sources",
                format!("so many programs write to {} that not all are read", self.name),
            ),
            Told::StateNotKept { error } => {
                ("source.state", format!("the place in {} can't be kept: {error}", self.name))
            }
        };
        self.shared.notice(kind, &self.name, text);
    }

    /// Among what its sources lost, with what was read last.
    fn count_lost(&self) {
        let kind = self.last.map(|(_, kind)| kind).or(self.follow.kind).unwrap_or(&UNKNOWN);
        let at = self.shared.report(&self.name, kind);
        if let Some(report) = self.shared.reports.lock().get_mut(usize::from(at)) {
            *report.lost.entry(LOST_ENDS).or_default() += 1;
        }
    }

    fn acknowledge_before(&mut self, now: Instant) {
        while let Some(&(at, source, mark)) = self.handed.front()
            && now.duration_since(at) >= ACKNOWLEDGE_AFTER
        {
            self.follower.acknowledge(source, mark);
            self.handed.pop_front();
        }
    }

    /// While nothing comes: whether that is too long, and what can be forgotten.
    fn look_at_time(&mut self, now: Instant) {
        if let Some(silent_after) = self.follow.silent_after {
            let (last, kind) = self.last.map_or((self.begun, None), |(at, kind)| (at, Some(kind)));
            let lateness = kind.map_or(0, |kind| kind.lateness_s.unsigned_abs());
            let lateness = Duration::from_secs(lateness);
            let silent = now.duration_since(last) > silent_after.max(lateness);
            if silent != self.silent {
                self.silent = silent;
                let (kind, text) = if silent {
                    ("source.silent", format!("nothing new in {}", self.name))
                } else {
                    ("source.resumed", format!("{} goes on", self.name))
                };
                self.shared.notice(kind, &self.name, text);
            }
        }
        if let Some(map) = &self.shared.map
            && now.duration_since(self.forgot) >= FORGET_EVERY
        {
            self.forgot = now;
            // A log can say any time: the future must not make the map forget.
            let latest_ns = self.latest_ns.min(scrape::now_ns().unwrap_or(i64::MAX));
            map.forget_before(latest_ns.saturating_sub(KEEP_NS));
        }
    }
}

impl Known {
    /// Decodes what is there; true where there may be more than fits a batch.
    fn decode_all(&mut self) -> bool {
        while self.out.observations.len() < BATCH_OBSERVATIONS && self.counted.bytes < HAND_ON_BYTES
        {
            let before_bytes = self.cutter.mark().offset;
            let Some(next) = self.cutter.next_record() else { return false };
            let bad = match next {
                Next::Record(record) => self.decoder.record(record, &mut self.out).err(),
                Next::TooLong => Some(Bad::new("longer than is read")),
                Next::NoJson => Some(Bad::new("no JSON")),
                Next::End => return false,
            };
            self.counted.records += 1;
            self.counted.bytes += self.cutter.mark().offset.saturating_sub(before_bytes);
            if let Some(bad) = bad {
                self.counted.count_bad(&bad, self.cutter.began_in_line());
            }
        }
        true
    }
}

/// How many came later than their kind's lateness allows. Here the clock of the day says
/// so: nothing waits for others, and windows of packets close by it.
fn late(observations: &[Observation], kind: &Kind, now_ns: Option<i64>) -> u64 {
    let allowed_ns = kind.lateness_s.saturating_mul(NS_PER_S).saturating_add(READ_WITHIN_NS);
    let Some(since_ns) = now_ns.and_then(|now_ns| now_ns.checked_sub(allowed_ns)) else { return 0 };
    observations.iter().filter(|observation| observation.time_ns() < since_ns).count() as u64
}

/// Why a run can't follow something.
pub(super) fn explained(name: &str, error: FollowError) -> io::Error {
    io::Error::other(format!("can't follow {name}: {error}"))
}
