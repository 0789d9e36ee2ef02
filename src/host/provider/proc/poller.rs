//! Starts and ends of processes by looking at `/proc` now and again: for where
//! the connector can't be had.
//!
//! What lives shorter than an interval is never seen, and times are those of the
//! look. A new process is told as an exec: whether it ran a program or is a copy
//! can't be known.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::thread;
use std::time::{Duration, Instant};

use super::{KernelClock, Lost, ProcEvent, ProcessReader, ProcessSource};
use crate::host::provider::ProviderError;

const WHAT: &str = "/proc";

/// Programs change soon after a process began: for so long each look is a close
/// one.
const YOUNG: Duration = Duration::from_secs(2);

/// Older processes are looked at closely in turn, one in so many each time: all
/// within five seconds of the usual interval of a tenth of a second.
const TURNS: u32 = 50;

/// Looks at `/proc` at intervals.
#[derive(Debug)]
pub struct ProcPoller {
    interval: Duration,
    next_look: Instant,
    look: u32,
    known: HashMap<u32, Seen>,
    reader: ProcessReader,
}

#[derive(Debug)]
struct Seen {
    mark: Mark,
    first_look: Instant,
    last_look: u32,
}

/// What changes with each program that a process runs.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    start_ticks: u64,
    stack_start: u64,
    name: String,
}

impl ProcPoller {
    /// Its first look tells every process there is.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            next_look: Instant::now(),
            look: 0,
            known: HashMap::new(),
            reader: ProcessReader::new(),
        }
    }

    fn look(&mut self, out: &mut Vec<ProcEvent>) -> Result<(), ProviderError> {
        let time_ns = KernelClock::wall_now_ns();
        self.look = self.look.wrapping_add(1);
        let look = self.look;
        let (first, now) = (out.len(), Instant::now());
        for pid in process_numbers()? {
            let entry = self.known.entry(pid);
            if let Entry::Occupied(mut seen) = entry {
                let seen = seen.get_mut();
                seen.last_look = look;
                let is_young = now.duration_since(seen.first_look) < YOUNG;
                if !is_young && pid.wrapping_add(look) % TURNS != 0 {
                    continue;
                }
                let Some(mark) = mark(&mut self.reader, pid) else { continue };
                if mark == seen.mark {
                    continue;
                }
                if mark.start_ticks != seen.mark.start_ticks {
                    out.push(ProcEvent::Exit { pid, time_ns });
                    seen.first_look = now;
                }
                out.push(ProcEvent::Exec { pid, time_ns });
                seen.mark = mark;
            } else if let Some(mark) = mark(&mut self.reader, pid) {
                out.push(ProcEvent::Exec { pid, time_ns });
                entry.or_insert(Seen { mark, first_look: now, last_look: look });
            }
        }
        let mut ended = Vec::new();
        self.known.retain(|&pid, seen| {
            let is_there = seen.last_look == look;
            if !is_there {
                ended.push(ProcEvent::Exit { pid, time_ns });
            }
            is_there
        });
        out.splice(first..first, ended);
        Ok(())
    }
}

impl ProcessSource for ProcPoller {
    fn next(&mut self, timeout: Duration, out: &mut Vec<ProcEvent>) -> Result<Lost, ProviderError> {
        let wait = self.next_look.saturating_duration_since(Instant::now());
        if wait > timeout {
            thread::sleep(timeout);
            return Ok(Lost::default());
        }
        thread::sleep(wait);
        self.next_look = Instant::now() + self.interval;
        self.look(out)?;
        Ok(Lost::default())
    }

    fn is_exact(&self) -> bool {
        false
    }
}

fn mark(reader: &mut ProcessReader, pid: u32) -> Option<Mark> {
    reader.with_stat(pid, |stat| Mark {
        start_ticks: stat.start_ticks,
        stack_start: stat.stack_start,
        name: stat.name.into_owned(),
    })
}

/// Numbers of the processes that there are now.
pub(super) fn process_numbers() -> Result<Vec<u32>, ProviderError> {
    let error = |source| ProviderError::Io { what: WHAT, source };
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir("/proc").map_err(error)? {
        let name = entry.map_err(error)?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(numbers)
}
