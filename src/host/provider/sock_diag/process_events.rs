//! Where the engine hears of processes: a small trait, the watch of `/proc`
//! behind it, and a stand-in that only looks who is there.

use std::thread;
use std::time::{Duration, Instant};

use ahash::AHashMap;

use super::index::pids;
use crate::host::process::ProcessId;
use crate::host::provider::proc::{Change, ProcessReader, ProcessWatch};
use crate::host::provider::{EventSink, ProviderError};

/// Tells of processes that appear, run another program, and end.
pub trait ProcessEvents: Send {
    /// Waits until there is something, at most `timeout`, and adds it to `changes`.
    /// Tells `events` of the processes themselves, if it knows more of them than
    /// their numbers, and of notices that were lost. False when nobody listens.
    fn next(
        &mut self,
        timeout: Duration,
        changes: &mut Vec<Change>,
        events: &EventSink,
    ) -> Result<bool, ProviderError>;
}

/// Tells processes in full while their sockets are looked for.
#[derive(Debug)]
pub struct WatchedProcesses {
    watch: ProcessWatch,
    begun: bool,
}

impl WatchedProcesses {
    pub fn new(watch: ProcessWatch) -> Self {
        Self { watch, begun: false }
    }

    /// Why the kernel's notices can't be had.
    pub fn why_polling(&self) -> Option<&ProviderError> {
        self.watch.why_polling()
    }
}

impl ProcessEvents for WatchedProcesses {
    fn next(
        &mut self,
        timeout: Duration,
        changes: &mut Vec<Change>,
        events: &EventSink,
    ) -> Result<bool, ProviderError> {
        if self.begun {
            return self.watch.step(timeout, events, changes);
        }
        self.begun = true;
        // Those that are there already are not young: the engine's own walk reads them.
        self.watch.begin(events, &mut Vec::new())
    }
}

/// Sees the processes that live when it looks, and tells nothing of them: for where
/// another provider does.
#[derive(Debug)]
pub struct PolledProcesses {
    interval: Duration,
    next: Instant,
    seen: AHashMap<u32, ProcessId>,
    reader: ProcessReader,
}

impl PolledProcesses {
    pub fn new(interval: Duration) -> Self {
        Self { interval, next: Instant::now(), seen: AHashMap::new(), reader: ProcessReader::new() }
    }
}

impl ProcessEvents for PolledProcesses {
    fn next(
        &mut self,
        timeout: Duration,
        changes: &mut Vec<Change>,
        _events: &EventSink,
    ) -> Result<bool, ProviderError> {
        let now = Instant::now();
        if self.next > now + timeout {
            thread::sleep(timeout);
            return Ok(true);
        }
        thread::sleep(self.next.saturating_duration_since(now));
        let first = self.seen.is_empty();
        let mut before = std::mem::take(&mut self.seen);
        for pid in pids() {
            if let Some(id) = before.remove(&pid) {
                self.seen.insert(pid, id);
            } else if let Some(id) = self.reader.id_of(pid) {
                self.seen.insert(pid, id);
                // At first the engine's own walk reads them.
                if !first {
                    changes.push(Change::Appeared(id, None));
                }
            }
        }
        changes.extend(before.into_values().map(Change::Ended));
        self.next = Instant::now() + self.interval;
        Ok(true)
    }
}
