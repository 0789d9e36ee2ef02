//! A source of process events, the table they feed, and the telling.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustix::process::setpriority_process;

use super::table::is_unread;
use super::{
    KernelClock, Lost, ProcConnector, ProcEvent, ProcPoller, ProcessSource, ProcessTable, Secrets,
};
use crate::host::event::{HostEvent, What};
use crate::host::process::ProcessId;
use crate::host::provider::{EventSink, ProviderError};

/// So long after a process began or ran a program it is read once more: servers
/// have taken another user and written their titles by then.
const SETTLED: Duration = Duration::from_secs(1);

/// Processes that wait for that look: more begin within a second only in a flood of
/// them, which has nothing to settle.
const MAX_UNSETTLED: usize = 1 << 16;

/// Puts the calling thread before all others of usual scheduling; false without
/// the right (`CAP_SYS_NICE`).
///
/// For the thread that steps a [`ProcessWatch`]. On two processors that seven
/// others wanted each, a thousand `/bin/true` of 1.3 ms had their command lines
/// read in 40 % of cases without this and in 95 % with it.
pub fn run_before_others() -> bool {
    // Linux has priorities by thread; no number is the calling one.
    setpriority_process(None, -20).is_ok()
}

/// A process that a provider may want to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// With its network namespace, where that is known.
    Appeared(ProcessId, Option<u64>),
    /// It runs another program, in this namespace where that could be read.
    Ran(ProcessId, Option<u64>),
    Ended(ProcessId),
}

/// Follows the processes of the host: [`Self::begin`] once, then [`Self::step`]
/// again and again.
pub struct ProcessWatch {
    source: Box<dyn ProcessSource>,
    why_polling: Option<ProviderError>,
    table: ProcessTable,
    events: Vec<ProcEvent>,
    told: Vec<HostEvent>,
    unsettled: VecDeque<(Instant, ProcessId)>,
    lost: u64,
}

impl ProcessWatch {
    /// By the connector, else by looking each `interval`.
    pub fn open(interval: Duration) -> Self {
        match ProcConnector::open() {
            Ok(connector) => Self::new(Box::new(connector)),
            Err(error) => {
                Self { why_polling: Some(error), ..Self::new(Box::new(ProcPoller::new(interval))) }
            }
        }
    }

    pub fn new(source: Box<dyn ProcessSource>) -> Self {
        Self {
            source,
            why_polling: None,
            table: ProcessTable::new(),
            events: Vec::new(),
            told: Vec::new(),
            unsettled: VecDeque::new(),
            lost: 0,
        }
    }

    /// What the processes told from now on have of their secrets.
    pub fn with_secrets(self, secrets: Secrets) -> Self {
        Self { table: ProcessTable::with_secrets(secrets), ..self }
    }

    /// Why the connector is not used, if it was asked for.
    pub fn why_polling(&self) -> Option<&ProviderError> {
        self.why_polling.as_ref()
    }

    /// Events come as they happen.
    pub fn is_exact(&self) -> bool {
        self.source.is_exact()
    }

    pub fn table(&self) -> &ProcessTable {
        &self.table
    }

    /// Events that the kernel could not keep so far, at most.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Tells all processes that there are. False when nobody listens.
    pub fn begin(
        &mut self,
        sink: &EventSink,
        changes: &mut Vec<Change>,
    ) -> Result<bool, ProviderError> {
        self.table.refresh(&mut self.told)?;
        Ok(self.tell(sink, changes))
    }

    /// Waits for what happens, at most `timeout`, tells it and appends whom it
    /// happened to. After a loss everything is looked at again. False when nobody
    /// listens.
    pub fn step(
        &mut self,
        timeout: Duration,
        sink: &EventSink,
        changes: &mut Vec<Change>,
    ) -> Result<bool, ProviderError> {
        self.events.clear();
        let Lost { events: lost } = self.source.next(timeout, &mut self.events)?;
        self.table.set_clock(KernelClock::now());
        for event in self.events.drain(..) {
            self.table.apply(event, &mut self.told);
        }
        self.settle(Instant::now());
        if !self.tell(sink, changes) {
            return Ok(false);
        }
        if lost == 0 {
            return Ok(true);
        }
        self.lost += lost;
        Ok(sink.lost(KernelClock::wall_now_ns(), lost) && self.begin(sink, changes)?)
    }

    fn settle(&mut self, now: Instant) {
        for event in &self.told {
            if let What::ProcessStart(process) | What::ProcessExec(process) = &event.what
                && self.unsettled.len() < MAX_UNSETTLED
            {
                self.unsettled.push_back((now, process.id));
            }
        }
        // What this tells is not looked at once more: some titles change for ever.
        while let Some(&(begun, id)) = self.unsettled.front()
            && now.duration_since(begun) >= SETTLED
        {
            self.unsettled.pop_front();
            self.table.look_again(id, &mut self.told);
        }
    }

    fn tell(&mut self, sink: &EventSink, changes: &mut Vec<Change>) -> bool {
        self.told.drain(..).all(|HostEvent { time_ns, what }| {
            changes.extend(match &what {
                What::ProcessStart(process) => Some(Change::Appeared(process.id, process.netns)),
                What::ProcessExec(process) => {
                    // Of one that was gone by then what it had before is told.
                    let netns = process.netns.filter(|_| !is_unread(process));
                    Some(Change::Ran(process.id, netns))
                }
                What::ProcessExit(id) => Some(Change::Ended(*id)),
                _ => None,
            });
            sink.tell(time_ns, what)
        })
    }
}

impl std::fmt::Debug for ProcessWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessWatch").field("table", &self.table).finish_non_exhaustive()
    }
}
