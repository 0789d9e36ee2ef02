//! Where the engine hears of processes: a small trait, and a stand-in that looks
//! at `/proc` now and then.

use std::thread;
use std::time::{Duration, Instant};

use ahash::AHashSet;

use super::index::pids;
use crate::host::provider::{EventSink, ProviderError};

/// Something happened to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessChange {
    /// A copy that holds the same sockets as its parent.
    Fork {
        pid: u32,
    },
    Exec {
        pid: u32,
    },
    Exit {
        pid: u32,
    },
}

/// Tells of processes that appear, run another program, and end.
pub trait ProcessEvents: Send {
    /// Waits until there is something, at most `timeout`, and adds it to `changes`.
    /// Tells `events` of the processes themselves, if it knows more of them than
    /// their numbers. Returns how many notices were lost.
    fn next(
        &mut self,
        timeout: Duration,
        changes: &mut Vec<ProcessChange>,
        events: &EventSink,
    ) -> Result<u64, ProviderError>;
}

/// Sees the processes that live when it looks.
#[derive(Debug)]
pub struct PolledProcesses {
    interval: Duration,
    next: Instant,
    seen: AHashSet<u32>,
}

impl PolledProcesses {
    /// Tells of what changes from now on.
    pub fn new(interval: Duration) -> Self {
        Self { interval, next: Instant::now() + interval, seen: pids().collect() }
    }
}

impl ProcessEvents for PolledProcesses {
    fn next(
        &mut self,
        timeout: Duration,
        changes: &mut Vec<ProcessChange>,
        _events: &EventSink,
    ) -> Result<u64, ProviderError> {
        let now = Instant::now();
        if self.next > now + timeout {
            thread::sleep(timeout);
            return Ok(0);
        }
        thread::sleep(self.next.saturating_duration_since(now));
        let there: AHashSet<u32> = pids().collect();
        changes.extend(self.seen.difference(&there).map(|&pid| ProcessChange::Exit { pid }));
        changes.extend(there.difference(&self.seen).map(|&pid| ProcessChange::Exec { pid }));
        self.seen = there;
        self.next = Instant::now() + self.interval;
        Ok(0)
    }
}
