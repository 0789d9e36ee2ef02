//! `map.jsonl`: host events as lines, written and read.
//!
//! A line that is no event is counted, told once, and never fatal. Maps may be
//! compressed, and come from a pipe. Start at [`read_map`].

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::event::{HostEvent, MAP_VERSION, What};
use super::map::MapWriter;
use crate::input::text::{next_line, open_lines};

/// Longest line that is read: a process with all its arguments takes a few
/// thousand bytes, a workload with many labels some more.
const MAX_LINE_BYTES: usize = 1 << 20;

/// What reading a map came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapRead {
    pub events: u64,
    /// Lines that are no events, and the first of them in words.
    pub bad_lines: u64,
    pub first_bad: Option<String>,
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
    let mut read = MapRead::default();
    let (mut line, mut number, mut last_ns) = (Vec::new(), 0_u64, None);
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
            Err(reason) if last_ns.is_none() => {
                return Err(MapError::NoMap { path: path.to_owned(), reason });
            }
            Err(reason) => {
                read.bad_lines += 1;
                read.first_bad
                    .get_or_insert_with(|| format!("{}, line {number}: {reason}", path.display()));
                continue;
            }
        };
        if let What::Start(start) = &event.what
            && start.version > MAP_VERSION
        {
            let version = start.version;
            return Err(MapError::Version { path: path.to_owned(), version });
        }
        last_ns = last_ns.max(Some(event.time_ns));
        read.events += 1;
        map.apply(&event);
    }
    let Some(last_ns) = last_ns else {
        return Err(MapError::NoMap { path: path.to_owned(), reason: "it is empty".to_owned() });
    };
    map.ended(last_ns);
    Ok(read)
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
