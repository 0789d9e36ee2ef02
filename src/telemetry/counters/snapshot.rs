//! Times of snapshots that have none themselves.
//!
//! A recorder is a loop in any shell, for any program that prints counters:
//!
//! ```text
//! while sleep 10; do date +%s.%N; cat /proc/net/dev; done >> counters.log
//! ```
//!
//! A line before a snapshot says when it was taken: seconds since the epoch, or RFC
//! 3339. Others say what it is about, until the next time: `# host NAME`,
//! `# netns INODE`, `# container ID`. A file of one snapshot needs none of them: its
//! time is when the file was last changed. Of several without times only the last
//! one has that; the others are left out and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::telemetry::decode::{Context, Out};
use crate::telemetry::names::Names;
use crate::telemetry::sample::{CounterSample, Reading, Subject};
use crate::telemetry::text::{epoch_s_ns, number, rfc3339_ns};

/// Subjects in one snapshot: a host has some thousand interfaces at most.
const MAX_SUBJECTS: usize = 1 << 16;

/// Gives the samples of a source their times and their host.
#[derive(Debug)]
pub(super) struct Snapshots {
    host: Arc<str>,
    modified_ns: Option<i64>,
    time_ns: Option<i64>,
    about: Subject,
    /// Whose samples came since the last time.
    seen: BTreeSet<Subject>,
    /// The last snapshot, as long as it has no time.
    waiting: BTreeMap<Subject, CounterSample>,
}

impl Snapshots {
    pub(super) fn new(context: &Context) -> Self {
        Self {
            host: context.host.clone().unwrap_or_default(),
            modified_ns: context.modified_ns,
            time_ns: None,
            about: Subject::default(),
            seen: BTreeSet::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// Takes a line of the recorder's; false for any other.
    pub(super) fn recorder_line(&mut self, line: &[u8], out: &mut Out) -> bool {
        let Some(line) = Line::of(line) else { return false };
        match line {
            Line::Time(ns) => {
                self.leave_out_untimed(out);
                self.time_ns = Some(ns);
                self.about = Subject::default();
                self.seen.clear();
            }
            Line::Host(name) => self.about.host = out.names.of(name),
            Line::Netns(inode) => self.about.netns = Some(inode),
            Line::Container(id) => self.about.container = out.names.of(id),
        }
        true
    }

    /// A sample of totals of `subject`, to be filled: with what the recorder says of
    /// it, and without a time.
    pub(super) fn sample(&self, mut subject: Subject) -> CounterSample {
        if subject.host.is_empty() {
            let hosts = [&self.about.host, &self.host];
            let host = hosts.into_iter().find(|host| !host.is_empty());
            subject.host = host.map(Arc::clone).unwrap_or_default();
        }
        if subject.container.is_empty() {
            subject.container = Arc::clone(&self.about.container);
        }
        subject.netns = subject.netns.or(self.about.netns);
        totals(0, subject)
    }

    /// Hands out a sample when its time is known.
    pub(super) fn add(&mut self, mut sample: CounterSample, out: &mut Out) {
        if self.time_ns.is_some() && self.seen.contains(&sample.subject) {
            // The same again under one time: a later snapshot that has none.
            self.time_ns = None;
        }
        match self.time_ns {
            Some(time_ns) => {
                if self.seen.len() < MAX_SUBJECTS {
                    self.seen.insert(sample.subject.clone());
                }
                sample.time_ns = time_ns;
                out.counter(sample);
            }
            None if self.waiting.len() >= MAX_SUBJECTS => out.bad_part("too many in one snapshot"),
            None => {
                if self.waiting.insert(sample.subject.clone(), sample).is_some() {
                    out.bad_part(UNTIMED);
                }
            }
        }
    }

    pub(super) fn end(&mut self, out: &mut Out) {
        // Behind a snapshot with a time its time would be a guess.
        let Some(time_ns) = self.modified_ns.filter(|_| self.seen.is_empty()) else {
            return self.leave_out_untimed(out);
        };
        for mut sample in std::mem::take(&mut self.waiting).into_values() {
            sample.time_ns = time_ns;
            out.counter(sample);
        }
    }

    fn leave_out_untimed(&mut self, out: &mut Out) {
        for _ in std::mem::take(&mut self.waiting) {
            out.bad_part(UNTIMED);
        }
    }
}

const UNTIMED: &str = "counters of a snapshot without a time";

/// A line between snapshots.
enum Line<'a> {
    Time(i64),
    Host(&'a [u8]),
    Netns(u64),
    Container(&'a [u8]),
}

impl<'a> Line<'a> {
    fn of(line: &'a [u8]) -> Option<Self> {
        let line = line.trim_ascii();
        if let Some(time_ns) = time(line) {
            return Some(Self::Time(time_ns));
        }
        let rest = line.strip_prefix(b"#")?.trim_ascii_start();
        let space = rest.iter().position(|&byte| byte == b' ')?;
        let (key, value) = (&rest[..space], rest[space..].trim_ascii());
        match key {
            b"time" => time(value).map(Self::Time),
            b"host" => Some(Self::Host(value)),
            b"netns" => number(value).map(Self::Netns),
            b"container" => Some(Self::Container(value)),
            _ => None,
        }
    }
}

/// Whether a recorder wrote it: what may stand before a snapshot.
pub(super) fn is_recorder_line(line: &[u8]) -> bool {
    Line::of(line).is_some()
}

/// Seconds since the epoch, or RFC 3339.
fn time(text: &[u8]) -> Option<i64> {
    /// A number on a line of its own that is less is something else: the year 2001.
    const LEAST_NS: i64 = 1_000_000_000_000_000_000;
    epoch_s_ns(text)
        .filter(|&ns| ns >= LEAST_NS)
        .or_else(|| (text.get(4) == Some(&b'-')).then(|| rfc3339_ns(text)).flatten())
}

/// A sample of totals without any yet.
pub(super) fn totals(time_ns: i64, subject: Subject) -> CounterSample {
    CounterSample {
        time_ns,
        reading: Reading::Total,
        subject,
        received_bytes: None,
        sent_bytes: None,
        received_packets: None,
        sent_packets: None,
        received_drops: None,
        sent_drops: None,
        labels: Vec::new(),
    }
}

/// A name that may be empty.
pub(super) fn name(text: &str, names: &mut Names) -> Arc<str> {
    if text.is_empty() { Arc::default() } else { names.of(text.as_bytes()) }
}
