//! Processes of hosts as a log tells them: numbers to identities that are safe
//! against reuse, and what was told of each.
//!
//! Logs name a process by its number. Its identity is here the number and the time
//! of the first event that is known of it, or what the source itself has (a start
//! time, an identifier of its own). Bounded: of too many processes those that were
//! quiet longest are forgotten, and begin anew when they are seen again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ahash::RandomState;

use super::command::set_executable;
use crate::host::attribution::{Basis, Method};
use crate::host::event::{HostEvent, MAP_VERSION, MapStart, Socket, SocketKind, What};
use crate::host::map::KEEP_NS;
use crate::host::process::{Process, ProcessId, in_usual_writable_folder};
use crate::host::workload::Workload;
use crate::telemetry::decode::{Bad, Context, Out};

const NS_PER_TICK: i64 = 10_000_000;

/// As many as maps tell apart.
const MAX_HOSTS: usize = 1 << 12;

/// The longest name that DNS has.
const MAX_HOST_BYTES: usize = 255;

/// Processes of all hosts together; about 100 bytes each.
const MAX_PROCESSES: usize = 1 << 17;

/// Containers whose description is remembered, so that it is told once.
const MAX_CONTAINERS: usize = 1 << 14;

/// After so long it is told once more: the map gives up containers whose last process
/// ended [`KEEP_NS`] ago, and this one has something to do again.
const TELL_AGAIN_NS: i64 = KEEP_NS / 2;

/// A child's first program can be told before its parent's fork is, and what a process
/// did after its end: a log has system calls in the order in which they end, about.
const FORK_NS: i64 = 2_000_000_000;

/// A host of this source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct HostNumber(pub(super) u32);

/// How a process was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It was made: whoever had its number before has ended.
    Begins,
    /// It runs another program from now on.
    Execs,
    /// It did something.
    Runs,
}

/// What an event says of a process that decides which one it is.
#[derive(Debug)]
pub(super) struct Sighting<'a> {
    pub(super) seen: Seen,
    pub(super) pid: u32,
    /// When it began, in the ticks of [`ProcessId`]; 0 where the source has no time.
    pub(super) start_ticks: u64,
    /// Path of its executable; empty where the source has none.
    pub(super) exe: &'a str,
    pub(super) parent: Option<u32>,
    /// The source's own identifier of this run, where it has one.
    pub(super) instance: Option<u64>,
}

#[derive(Debug)]
struct Known {
    id: ProcessId,
    first_ns: i64,
    last_ns: i64,
    /// Kept for a while: what it did before can be told after its end.
    ended_ns: Option<i64>,
    parent: Option<u32>,
    /// Of the executable's path.
    exe: u64,
    instance: Option<u64>,
    /// More than its number was told.
    told: bool,
}

#[derive(Debug)]
struct Host {
    name: Arc<str>,
    boot: String,
    begun: bool,
}

/// The hosts of one source.
#[derive(Debug)]
pub(super) struct Hosts {
    numbers: HashMap<Arc<str>, HostNumber, RandomState>,
    hosts: Vec<Host>,
    processes: HashMap<(HostNumber, u32), Known, RandomState>,
    containers: HashMap<(HostNumber, u64), (u64, i64), RandomState>,
    /// Where a record names no host.
    default: Arc<str>,
    hasher: RandomState,
}

impl Hosts {
    pub(super) fn new(context: &Context) -> Self {
        Self {
            numbers: HashMap::default(),
            hosts: Vec::new(),
            processes: HashMap::default(),
            containers: HashMap::default(),
            default: context.host.clone().unwrap_or_default(),
            hasher: RandomState::new(),
        }
    }

    /// The host of that name; an empty one stands for the one that the user named.
    pub(super) fn host(&mut self, name: &[u8], out: &mut Out) -> Result<HostNumber, Bad> {
        let name = if name.is_empty() { Arc::clone(&self.default) } else { out.names.of(name) };
        if let Some(&host) = self.numbers.get(&name) {
            return Ok(host);
        }
        if name.len() > MAX_HOST_BYTES {
            return Err(Bad::value("host name too long", name.as_bytes()));
        }
        if self.hosts.len() >= MAX_HOSTS {
            return Err(Bad::new("too many hosts"));
        }
        let host = HostNumber(self.hosts.len() as u32);
        self.hosts.push(Host { name: Arc::clone(&name), boot: String::new(), begun: false });
        self.numbers.insert(name, host);
        Ok(host)
    }

    pub(super) fn name(&self, host: HostNumber) -> Arc<str> {
        self.hosts.get(host.0 as usize).map(|host| Arc::clone(&host.name)).unwrap_or_default()
    }

    /// Tells an event of a host, and before its first one who speaks.
    pub(super) fn tell(&mut self, host: HostNumber, time_ns: i64, what: What, out: &mut Out) {
        let Some(host) = self.hosts.get_mut(host.0 as usize) else { return };
        if !std::mem::replace(&mut host.begun, true) {
            let start = MapStart {
                version: MAP_VERSION,
                host: host.name.to_string(),
                boot: host.boot.clone(),
                providers: vec![Method::Imported],
                ..MapStart::default()
            };
            out.host(&host.name, HostEvent { time_ns, what: What::Start(start) });
        }
        out.host(&host.name, HostEvent { time_ns, what });
    }

    /// The host was started anew: its processes have nothing in common with those before.
    pub(super) fn boots(&mut self, host: HostNumber, boot: String) {
        self.processes.retain(|&(of, _), _| of != host);
        if let Some(host) = self.hosts.get_mut(host.0 as usize) {
            (host.boot, host.begun) = (boot, false);
        }
    }

    /// Who has the number now.
    pub(super) fn id(&mut self, host: HostNumber, pid: u32, time_ns: i64) -> ProcessId {
        if let Some(known) = self.processes.get_mut(&(host, pid))
            && known.ended_ns.is_none_or(|ended_ns| time_ns <= ended_ns.saturating_add(FORK_NS))
        {
            known.last_ns = known.last_ns.max(time_ns);
            return known.id;
        }
        let id = ProcessId { pid, start_ticks: ticks(time_ns) };
        self.insert(host, Known::new(id, time_ns));
        id
    }

    /// Whether the number is of the run that the source calls so.
    pub(super) fn is_instance(&self, host: HostNumber, pid: u32, instance: u64) -> bool {
        self.processes.get(&(host, pid)).is_some_and(|known| known.instance == Some(instance))
    }

    /// Tells of a process what is new about it, which `describe` then says.
    pub(super) fn sighted(
        &mut self,
        host: HostNumber,
        time_ns: i64,
        sighting: &Sighting<'_>,
        out: &mut Out,
        describe: impl FnOnce(&mut Process),
    ) -> ProcessId {
        let pid = sighting.pid;
        let exe = sighting.exe.strip_suffix(" (deleted)").unwrap_or(sighting.exe);
        let exe_hash = self.hasher.hash_one(exe);
        let before = self.processes.get(&(host, pid));
        if before.is_none_or(|known| known.is_another(sighting, time_ns)) {
            // Two runs of a number within a tick are still two processes.
            let least = before.map_or(0, |known| known.id.start_ticks + 1);
            let start_ticks = match sighting.start_ticks {
                0 => ticks(time_ns).max(least),
                ticks => ticks,
            };
            self.insert(host, Known::new(ProcessId { pid, start_ticks }, time_ns));
        }
        let Some(known) = self.processes.get_mut(&(host, pid)) else {
            return ProcessId { pid, start_ticks: ticks(time_ns) };
        };
        known.last_ns = known.last_ns.max(time_ns);
        known.parent = sighting.parent.or(known.parent);
        known.instance = sighting.instance.or(known.instance);
        let (id, parent) = (known.id, known.parent);
        let is_first = !std::mem::replace(&mut known.told, true);
        let runs_another = !exe.is_empty() && known.exe != exe_hash;
        let is_exec = match sighting.seen {
            Seen::Execs => true,
            Seen::Runs => runs_another,
            // Told after its first program.
            Seen::Begins => false,
        };
        if !is_first && !is_exec {
            return id;
        }
        known.exe = exe_hash;
        let mut process = Box::new(Process::default());
        describe(&mut process);
        process.id = id;
        process.parent = parent.map(|parent| self.id(host, parent, time_ns));
        if process.exe.is_empty() {
            set_executable(&mut process, sighting.exe);
        }
        process.exe_in_writable_folder |= in_usual_writable_folder(&process.exe);
        let what = if is_first { What::ProcessStart(process) } else { What::ProcessExec(process) };
        self.tell(host, time_ns, what, out);
        id
    }

    /// The process has ended; its number can be another's from now on.
    pub(super) fn exits(&mut self, host: HostNumber, pid: u32, time_ns: i64, out: &mut Out) {
        if let Some(known) = self.processes.get_mut(&(host, pid))
            && known.ended_ns.is_none()
        {
            known.ended_ns = Some(time_ns);
            let id = known.id;
            self.tell(host, time_ns, What::ProcessExit(id), out);
        }
    }

    /// Tells a container once, again when more of it is known, and where the map may have
    /// given it up.
    pub(super) fn contains(
        &mut self,
        host: HostNumber,
        time_ns: i64,
        workload: Workload,
        out: &mut Out,
    ) {
        let text = serde_json::to_vec(&workload).unwrap_or_default();
        let hash = self.hasher.hash_one(&text);
        if self.containers.len() >= MAX_CONTAINERS {
            self.containers.clear();
        }
        let key = (host, self.hasher.hash_one(&workload.container));
        let is_known = self.containers.get(&key).is_some_and(|&(told, told_ns)| {
            told == hash && time_ns.saturating_sub(told_ns) < TELL_AGAIN_NS
        });
        if !is_known {
            self.containers.insert(key, (hash, time_ns));
            self.tell(host, time_ns, What::Workload(Box::new(workload)), out);
        }
    }

    fn insert(&mut self, host: HostNumber, known: Known) {
        if self.processes.len() >= MAX_PROCESSES {
            self.forget_quiet();
        }
        self.processes.insert((host, known.id.pid), known);
    }

    /// The half that was quiet longest.
    fn forget_quiet(&mut self) {
        let mut times: Vec<i64> = self.processes.values().map(|known| known.last_ns).collect();
        let middle = times.len() / 2;
        let (_, &mut median, _) = times.select_nth_unstable(middle);
        self.processes.retain(|_, known| known.last_ns > median);
        if self.processes.len() > MAX_PROCESSES / 2 {
            self.processes.clear();
        }
    }
}

impl Known {
    fn new(id: ProcessId, time_ns: i64) -> Self {
        Self {
            id,
            first_ns: time_ns,
            last_ns: time_ns,
            ended_ns: None,
            parent: None,
            exe: 0,
            instance: None,
            told: false,
        }
    }

    /// Whether what is seen now under the number is not this process.
    fn is_another(&self, sighting: &Sighting<'_>, time_ns: i64) -> bool {
        // The source says which it is; an exec can change it.
        if let (Seen::Runs | Seen::Begins, Some(known), Some(instance)) =
            (sighting.seen, self.instance, sighting.instance)
        {
            return known != instance;
        }
        let has_ended = self.ended_ns.is_some_and(|ended_ns| ended_ns < time_ns);
        match sighting.seen {
            Seen::Begins => {
                let told_before = time_ns..time_ns.saturating_add(FORK_NS);
                !told_before.contains(&self.first_ns)
            }
            _ if has_ended => true,
            // Orphans go to the first process, or to one that asked for them before.
            Seen::Execs => match (self.parent, sighting.parent) {
                (Some(known), Some(parent)) => known != parent && parent != 1,
                _ => false,
            },
            Seen::Runs => false,
        }
    }
}

/// The source's own identifier as a number: of texts that are compared alone.
pub(super) fn instance(text: &str) -> Option<u64> {
    let fixed = RandomState::with_seeds(1, 2, 3, 4);
    (!text.is_empty()).then(|| fixed.hash_one(text))
}

/// Hundredths of a second since the epoch.
fn ticks(time_ns: i64) -> u64 {
    (time_ns / NS_PER_TICK).max(0).cast_unsigned()
}

/// A claim that another tool tells, of everything but who, on what and whose.
pub(super) fn claim(kind: SocketKind, protocol: u8, basis: Basis, process: ProcessId) -> Socket {
    Socket {
        method: Method::Imported,
        basis,
        kind,
        protocol,
        local: None,
        local_port: 0,
        remote: None,
        remote_port: 0,
        dual_stack: false,
        process: Some(process),
        shared_with: Vec::new(),
        cookie: None,
        inode: None,
        netns: None,
        interface_index: None,
        alone: false,
        since_ns: None,
    }
}

/// An address as claims have it: none where it is open.
pub(super) fn bound(address: Option<IpAddr>) -> Option<IpAddr> {
    address.map(|address| address.to_canonical()).filter(|address| !address.is_unspecified())
}
