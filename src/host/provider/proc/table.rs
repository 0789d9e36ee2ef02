//! All processes of the host as known now, and what to tell of their changes.
//!
//! No clock, no source and no queue of its own: events come in by
//! [`ProcessTable::apply`], what they mean is appended for the caller to tell, in
//! the order of its times and parents before children.

use std::collections::HashMap;
use std::sync::Arc;

use super::poller::process_numbers;
use super::reader::{ProcessReader, Secrets};
use super::{KernelClock, ProcEvent};
use crate::host::event::{HostEvent, What};
use crate::host::process::{Process, ProcessId};
use crate::host::provider::ProviderError;

/// Processes that are kept: eight times Linux's usual `pid_max`. A hundred
/// megabytes or so when there really are as many.
const MAX_PROCESSES: usize = 1 << 18;

/// Parents that are looked up for one process. Real chains have about ten.
const MAX_ANCESTORS: usize = 64;

/// A start that is further from its fork than this is that of a later process with
/// the same number.
const MAX_START_DIFFERENCE_NS: i64 = 1_000_000_000;

/// Events this much before the last one told are an older clock's: somebody set
/// it back.
const CLOCK_STEP_NS: i64 = 1_000_000_000;

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounters {
    pub started: u64,
    pub execs: u64,
    pub ended: u64,
    /// Programs that had ended before their command lines could be read: told
    /// with what their process had before.
    pub unread: u64,
    /// Processes told but not kept, because the table was full. Their children
    /// are read without what the parent had.
    pub not_kept: u64,
}

/// Processes by number.
#[derive(Debug)]
pub struct ProcessTable {
    processes: HashMap<u32, Arc<Process>>,
    reader: ProcessReader,
    counters: TableCounters,
    max: usize,
    told_ns: i64,
}

impl Default for ProcessTable {
    fn default() -> Self {
        Self::new()
    }
}

impl ProcessTable {
    pub fn new() -> Self {
        Self::with_max(MAX_PROCESSES)
    }

    pub fn with_secrets(secrets: Secrets) -> Self {
        Self { reader: ProcessReader::with(secrets), ..Self::new() }
    }

    /// Keeps at most `max` processes.
    pub fn with_max(max: usize) -> Self {
        Self {
            processes: HashMap::new(),
            reader: ProcessReader::new(),
            counters: TableCounters::default(),
            max,
            told_ns: i64::MIN,
        }
    }

    /// Reads all of `/proc`: at the beginning, and after events were lost. Tells what
    /// is new, runs another program or is gone since.
    pub fn refresh(&mut self, told: &mut Vec<HostEvent>) -> Result<(), ProviderError> {
        let time_ns = self.in_order(KernelClock::wall_now_ns());
        self.reader.set_clock(KernelClock::now());
        let mut found = HashMap::new();
        for pid in process_numbers()? {
            if let Ok(read) = self.reader.read_with_parent_pid(pid) {
                found.insert(pid, read);
            }
        }
        let gone = self.processes.values().map(|process| process.id);
        let gone =
            gone.filter(|id| found.get(&id.pid).is_none_or(|(process, _)| process.id != *id));
        for id in gone.collect::<Vec<_>>() {
            self.end(id, time_ns, told);
        }
        let numbers: Vec<u32> = found.keys().copied().collect();
        let mut chain = Vec::new();
        for pid in numbers {
            let mut next = pid;
            while let Some((process, parent)) = found.remove(&next) {
                chain.push((process, parent));
                next = parent;
            }
            // The eldest is the last.
            while let Some((process, parent)) = chain.pop() {
                let parent = self.processes.get(&parent).map(|parent| parent.id);
                self.found(process, parent, time_ns, told);
            }
        }
        Ok(())
    }

    /// Takes one event of the host's; in the order of their times.
    pub fn apply(&mut self, event: ProcEvent, told: &mut Vec<HostEvent>) {
        let time_ns = self.in_order(event.time_ns());
        match event {
            ProcEvent::Fork { parent, child, .. } => self.fork(parent, child, time_ns, told),
            ProcEvent::Exec { pid, .. } => self.exec(pid, time_ns, told),
            ProcEvent::Exit { pid, .. } => {
                let kept = self.processes.get(&pid).map(|process| process.id);
                if let Some(id) = kept.or_else(|| self.id_of_zombie(pid)) {
                    self.end(id, time_ns, told);
                }
            }
        }
    }

    /// Reads a process again and tells what changed without an event: servers take
    /// another user, leave the terminal and write their titles after they began.
    pub fn look_again(&mut self, id: ProcessId, told: &mut Vec<HostEvent>) {
        let Some(parent) = self.get(id).map(|known| known.parent) else { return };
        let Ok((process, _)) = self.reader.read_with_parent_pid(id.pid) else { return };
        if process.id == id {
            let time_ns = self.in_order(KernelClock::wall_now_ns());
            self.found(process, parent, time_ns, told);
        }
    }

    /// The wall clock may have been set: call it now and then.
    pub fn set_clock(&mut self, clock: KernelClock) {
        self.reader.set_clock(clock);
    }

    pub fn get(&self, id: ProcessId) -> Option<&Arc<Process>> {
        self.processes.get(&id.pid).filter(|process| process.id == id)
    }

    pub fn by_pid(&self, pid: u32) -> Option<&Arc<Process>> {
        self.processes.get(&pid)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Process>> {
        self.processes.values()
    }

    pub fn len(&self) -> usize {
        self.processes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    pub fn counters(&self) -> TableCounters {
        self.counters
    }

    fn fork(&mut self, parent: u32, child: u32, time_ns: i64, told: &mut Vec<HostEvent>) {
        let id = self.id_of_child(child, time_ns);
        match self.processes.get(&child).map(|process| process.id) {
            // Read with the snapshot, before its event was.
            Some(known) if known == id => return,
            Some(known) => self.end(known, time_ns, told),
            None => {}
        }
        let parent = self.ensure(parent, time_ns, told);
        let copy = parent.and_then(|parent| self.get(parent)).map(|parent| (**parent).clone());
        let mut process = match copy {
            Some(copy) => copy,
            None => self.reader.read_process(child).unwrap_or_default(),
        };
        process.id = id;
        process.parent = parent.or(process.parent);
        process.started_ns = Some(time_ns);
        process.netns = self.reader.netns_of(child).or(process.netns);
        self.start(process, time_ns, told);
    }

    /// Of a child that is gone already the start is worked out from its fork.
    fn id_of_child(&mut self, child: u32, time_ns: i64) -> ProcessId {
        let clock = self.reader.clock();
        let is_same = |id: &ProcessId| {
            (clock.start_to_wall_ns(id.start_ticks) - time_ns).abs() < MAX_START_DIFFERENCE_NS
        };
        self.reader.id_of(child).filter(is_same).unwrap_or_else(|| ProcessId {
            pid: child,
            start_ticks: clock.wall_to_start_ticks(time_ns),
        })
    }

    /// One that is not kept still has its start time until its parent takes note.
    fn id_of_zombie(&mut self, pid: u32) -> Option<ProcessId> {
        let id = |start_ticks| ProcessId { pid, start_ticks };
        self.reader.with_stat(pid, |stat| stat.is_dead().then(|| id(stat.start_ticks))).flatten()
    }

    fn exec(&mut self, pid: u32, time_ns: i64, told: &mut Vec<HostEvent>) {
        let read = self.reader.read_with_parent_pid(pid).ok();
        let known = self.processes.get(&pid).cloned();
        let is_known = |id: ProcessId| known.as_ref().is_some_and(|known| known.id == id);
        match (read, &known) {
            (Some((process, _)), Some(known)) if is_known(process.id) && is_unread(&process) => {
                self.counters.unread += 1;
                self.ran(without_program(known, process.name), None, time_ns, told);
            }
            (Some((process, parent)), _) => {
                self.counters.unread += u64::from(is_unread(&process));
                if let Some(known) = known.filter(|known| known.id != process.id) {
                    self.end(known.id, time_ns, told);
                }
                let parent = self.ensure(parent, time_ns, told);
                self.ran(process, parent, time_ns, told);
            }
            (None, Some(known)) => {
                self.counters.unread += 1;
                self.ran(without_program(known, String::new()), None, time_ns, told);
            }
            // Nothing was ever known of it; not even when it began.
            (None, None) => self.counters.unread += 1,
        }
    }

    /// Makes sure that a process and its ancestors have been told.
    fn ensure(&mut self, pid: u32, time_ns: i64, told: &mut Vec<HostEvent>) -> Option<ProcessId> {
        let mut chain = Vec::new();
        let mut next = pid;
        while !self.processes.contains_key(&next) && chain.len() < MAX_ANCESTORS {
            let Ok((process, parent)) = self.reader.read_with_parent_pid(next) else { break };
            if self.is_full() {
                return Some(process.id);
            }
            chain.push((process, parent));
            next = parent;
        }
        while let Some((process, parent)) = chain.pop() {
            let parent = self.processes.get(&parent).map(|parent| parent.id);
            self.found(process, parent, time_ns, told);
        }
        self.processes.get(&pid).map(|process| process.id)
    }

    /// A process as it is: new, changed, or as before.
    fn found(
        &mut self,
        mut process: Process,
        parent: Option<ProcessId>,
        time_ns: i64,
        told: &mut Vec<HostEvent>,
    ) {
        if let Some(known) = self.get(process.id) {
            process.parent = known.parent;
            process.started_ns = known.started_ns;
            // Of a zombie less is left than is known.
            if is_unread(&process) || process == **known {
                return;
            }
        }
        self.ran(process, parent, time_ns, told);
    }

    /// A process that is new or runs another program.
    fn ran(
        &mut self,
        mut process: Process,
        parent: Option<ProcessId>,
        time_ns: i64,
        told: &mut Vec<HostEvent>,
    ) {
        let Some(known) = self.get(process.id) else {
            process.parent = parent;
            return self.start(process, time_ns, told);
        };
        // Who started it says more than who took it over when that one ended.
        process.parent = known.parent.or(parent);
        process.started_ns = known.started_ns;
        self.counters.execs += 1;
        self.processes.insert(process.id.pid, Arc::new(process.clone()));
        told.push(HostEvent { time_ns, what: What::ProcessExec(Box::new(process)) });
    }

    fn start(&mut self, process: Process, time_ns: i64, told: &mut Vec<HostEvent>) {
        self.counters.started += 1;
        if self.is_full() {
            self.counters.not_kept += 1;
        } else {
            self.processes.insert(process.id.pid, Arc::new(process.clone()));
        }
        told.push(HostEvent { time_ns, what: What::ProcessStart(Box::new(process)) });
    }

    fn end(&mut self, id: ProcessId, time_ns: i64, told: &mut Vec<HostEvent>) {
        self.counters.ended += 1;
        self.processes.remove(&id.pid);
        told.push(HostEvent { time_ns, what: What::ProcessExit(id) });
    }

    fn is_full(&self) -> bool {
        self.processes.len() >= self.max
    }

    /// Not before what was told already, unless the clock was set back.
    fn in_order(&mut self, time_ns: i64) -> i64 {
        let is_step = time_ns < self.told_ns.saturating_sub(CLOCK_STEP_NS);
        self.told_ns = if is_step { time_ns } else { time_ns.max(self.told_ns) };
        self.told_ns
    }
}

/// It had ended when it was read; of a program that runs at least the executable
/// is there, unless the right to see it is missing.
pub(super) fn is_unread(process: &Process) -> bool {
    process.exe.is_empty() && process.args.is_empty()
}

/// What stays true of a process when it runs a program that nobody saw.
fn without_program(process: &Process, name: String) -> Process {
    Process {
        name,
        exe: String::new(),
        exe_deleted: false,
        exe_in_writable_folder: false,
        args: Vec::new(),
        args_cut: false,
        ..process.clone()
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
