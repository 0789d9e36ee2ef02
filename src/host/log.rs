//! `map.jsonl`: host events as lines, written and read.
//!
//! A line that is no event is counted, told once, and never fatal; so is one whose time
//! can't be right. Maps may be compressed, and come from a pipe. Start at [`read_map`].

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::event::{HostEvent, MAP_VERSION, What};
use super::map::MapWriter;
use super::writer::BACK_NS;
use crate::input::text::{next_line, open_lines};
use crate::time::rfc3339;

/// Longest line that is read: a process with all its arguments takes a few
/// thousand bytes, a workload with many labels some more.
pub(super) const MAX_LINE_BYTES: usize = 1 << 20;

/// A time so far ahead of those in the lines before and after it is wrong. Watchers write
/// in the order of time, to within a second or two.
const AHEAD_NS: i64 = 60_000_000_000;

/// What reading a map came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapRead {
    pub events: u64,
    /// Lines that are no events, and the first of them in words.
    pub bad_lines: u64,
    pub first_bad: Option<String>,
    /// Lines whose time is far ahead of their neighbours' or goes back, and the first of
    /// them in words.
    pub odd_times: u64,
    pub first_odd: Option<String>,
    /// The host that it is about; empty where it does not say.
    pub host: String,
    /// The time that it covers, without those.
    pub from_ns: i64,
    pub until_ns: i64,
}

/// Why a map can't be read.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    #[error("can't read the host map {}: {source}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{} is no host map: its first line must be an event like {{\"time\":..., \
         \"event\":\"map.start\",\"version\":{MAP_VERSION}}} ({reason}); `flowtap procs record` makes one",
        path.display()
    )]
    NoMap { path: PathBuf, reason: String },
    #[error("{} is a host map of version {version}; this flowtap reads up to {MAP_VERSION}", path.display())]
    Version { path: PathBuf, version: u32 },
}

/// Reads a recorded map into `map`.
pub fn read_map(path: &Path, map: &mut MapWriter) -> Result<MapRead, MapError> {
    let io = |source| MapError::Io { path: path.to_owned(), source };
    let mut lines = open_lines(path).map_err(io)?;
    let mut events = Events::new(path, map);
    let (mut line, mut number) = (Vec::new(), 0_u64);
    loop {
        number += 1;
        let event = match next_line(&mut *lines, &mut line, MAX_LINE_BYTES).map_err(io)? {
            Some(false) => break,
            Some(true) if line.iter().all(u8::is_ascii_whitespace) => continue,
            Some(true) => {
                serde_json::from_slice::<HostEvent>(&line).map_err(|error| error.to_string())
            }
            None => Err(format!("is longer than {MAX_LINE_BYTES} bytes")),
        };
        let event = match event {
            Ok(event) => event,
            Err(reason) if events.held.is_none() => {
                return Err(MapError::NoMap { path: path.to_owned(), reason });
            }
            Err(reason) => {
                events.read.bad_lines += 1;
                note(&mut events.read.first_bad, path, number, &reason);
                continue;
            }
        };
        if let What::Start(start) = &event.what
            && start.version > MAP_VERSION
        {
            let version = start.version;
            return Err(MapError::Version { path: path.to_owned(), version });
        }
        events.add(number, event);
    }
    let nothing = || MapError::NoMap { path: path.to_owned(), reason: "it is empty".to_owned() };
    events.finish().ok_or_else(nothing)
}

fn note(first: &mut Option<String>, path: &Path, line: u64, what: &str) {
    first.get_or_insert_with(|| format!("{}, line {line}: {what}", path.display()));
}

/// Events on their way into a map, each once the next one's time is known.
struct Events<'a> {
    path: &'a Path,
    map: &'a mut MapWriter,
    read: MapRead,
    /// The last one, with its line.
    held: Option<(u64, HostEvent)>,
    /// The time of the one before it.
    before_ns: Option<i64>,
    /// First and last time.
    span: Option<(i64, i64)>,
    /// The map's own time.
    told_ns: i64,
    /// The boot that the last start told of.
    boot: Option<String>,
}

impl<'a> Events<'a> {
    fn new(path: &'a Path, map: &'a mut MapWriter) -> Self {
        let (read, told_ns) = (MapRead::default(), i64::MIN);
        Self { path, map, read, held: None, before_ns: None, span: None, told_ns, boot: None }
    }

    fn add(&mut self, line: u64, event: HostEvent) {
        let next_ns = event.time_ns;
        if let Some((line, held)) = self.held.replace((line, event)) {
            self.apply(line, held, Some(next_ns));
        }
    }

    /// Nothing if there was nothing.
    fn finish(mut self) -> Option<MapRead> {
        let (line, last) = self.held.take()?;
        self.apply(line, last, None);
        (self.read.from_ns, self.read.until_ns) = self.span?;
        self.map.ended(self.read.until_ns);
        Some(self.read)
    }

    fn apply(&mut self, line: u64, mut event: HostEvent, next_ns: Option<i64>) {
        if let What::Start(start) = &event.what
            && self.read.host.is_empty()
        {
            self.read.host.clone_from(&start.host);
        }
        let ns = event.time_ns;
        let is_ahead_of = |other_ns: i64| ns > other_ns.saturating_add(AHEAD_NS);
        // Of the last line nobody can say: a sparse map may end so.
        if let Some(next_ns) = next_ns
            && is_ahead_of(next_ns)
            && self.before_ns.is_none_or(is_ahead_of)
        {
            let near_ns = self.before_ns.unwrap_or(next_ns);
            self.odd(line, ns, "lies far ahead of the lines around it", near_ns);
            // Others than these two speak for themselves alone.
            if matches!(event.what, What::Time | What::Start(_)) {
                // Begun again at no time that can be believed, it ends nothing.
                if let What::Start(start) = &event.what
                    && self.boot.as_ref() == Some(&start.boot)
                {
                    event.what = What::Unknown;
                }
                event.time_ns = near_ns;
                self.before_ns.get_or_insert(near_ns);
            }
        } else {
            self.before_ns = Some(ns);
        }
        if let Some(ns) = self.before_ns {
            let (from_ns, until_ns) = self.span.unwrap_or((ns, ns));
            self.span = Some((from_ns.min(ns), until_ns.max(ns)));
        }
        if event.what == What::Time {
            let went_back = event.time_ns < self.told_ns.saturating_sub(BACK_NS);
            if went_back {
                self.odd(line, event.time_ns, "is before what the map had come to", self.told_ns);
            }
            self.told_ns = if went_back { event.time_ns } else { self.told_ns.max(event.time_ns) };
        }
        if let What::Start(start) = &event.what {
            self.boot = Some(start.boot.clone());
        }
        self.read.events += 1;
        self.map.apply(&event);
    }

    fn odd(&mut self, line: u64, ns: i64, what: &str, other_ns: i64) {
        self.read.odd_times += 1;
        let what = format!("its time {} {what} ({})", rfc3339(ns), rfc3339(other_ns));
        note(&mut self.read.first_odd, self.path, line, &what);
    }
}

/// Writes events as lines. What is written reaches the file each time that
/// providers say that they are up to date.
#[derive(Debug)]
pub struct MapLog<W: Write> {
    out: BufWriter<W>,
    line: Vec<u8>,
    left_bytes: u64,
}

impl<W: Write> MapLog<W> {
    pub fn new(out: W) -> Self {
        Self::up_to(out, u64::MAX)
    }

    /// Writes so many bytes at most: what went before stays a whole map, to be read as
    /// one that ended there.
    pub fn up_to(out: W, bytes: u64) -> Self {
        let out = BufWriter::with_capacity(1 << 16, out);
        Self { out, line: Vec::new(), left_bytes: bytes }
    }

    /// Of the kind [`io::ErrorKind::FileTooLarge`] for an event that no longer fits.
    pub fn write(&mut self, event: &HostEvent) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, event)?;
        self.line.push(b'\n');
        let Some(left_bytes) = self.left_bytes.checked_sub(self.line.len() as u64) else {
            self.out.flush()?;
            // A shorter event must not follow the one that is missing.
            self.left_bytes = 0;
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has its full size"));
        };
        self.left_bytes = left_bytes;
        self.out.write_all(&self.line)?;
        match event.what {
            What::Time | What::Start(_) => self.out.flush(),
            _ => Ok(()),
        }
    }

    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_is_full_has_whole_lines_and_gets_no_more() {
        let event = |time_ns, what| HostEvent { time_ns, what };
        let start = event(1, What::Start(crate::host::event::MapStart::default()));
        let time = event(5, What::Time);
        let length = |event| serde_json::to_vec(event).unwrap().len() as u64 + 1;
        let mut out = Vec::new();
        let mut log = MapLog::up_to(&mut out, length(&start) + length(&time) * 2);
        log.write(&start).unwrap();
        log.write(&time).unwrap();
        let refused = |result: io::Result<()>| result.unwrap_err().kind();
        assert_eq!(refused(log.write(&start)), io::ErrorKind::FileTooLarge);
        assert_eq!(refused(log.write(&time)), io::ErrorKind::FileTooLarge, "it would fit");
        drop(log);
        let lines: Vec<HostEvent> = out
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(lines, [start, time]);
    }
}
