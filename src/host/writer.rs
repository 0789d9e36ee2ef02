//! Events into a map, in their order.
//!
//! Start at [`MapWriter::apply`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::attribution::Method;
use super::claim::{Claim, Endpoint, ProcessKey, SocketName, basis_of};
use super::event::{Address, HostEvent, MapStart, Socket, What};
use super::map::{HostMap, MAX_CLAIMS_AT_ENDPOINT, MapSource};
use super::process::{Process, ProcessId};
use super::versions::Version;
use super::workload::Workload;

/// Spans of lost events that are kept apart; then they grow together.
const MAX_LOSSES: usize = 1024;

/// Maps and boots that are told apart.
const MAX_SOURCES: usize = 1 << 12;

/// A map's own time that goes back further than this was set back, or was wrong.
pub(super) const BACK_NS: i64 = 1_000_000_000;

/// Adds the events of one map, in their order.
#[derive(Debug)]
pub struct MapWriter {
    map: Arc<HostMap>,
    source: Option<u16>,
    /// Everything before should have been told. What comes late all the same was
    /// not known until now: it changes no answer that may have been given.
    told_ns: i64,
}

impl MapWriter {
    pub(super) fn new(map: &Arc<HostMap>) -> Self {
        Self { map: Arc::clone(map), source: None, told_ns: i64::MIN }
    }

    /// Adds an event.
    pub fn apply(&mut self, event: &HostEvent) {
        let ns = event.time_ns;
        self.map.events.fetch_add(1, Ordering::Relaxed);
        if let What::Start(start) = &event.what {
            self.begin(ns, start);
            return;
        }
        let source = match self.source {
            Some(source) => source,
            None => self.begin(ns, &MapStart::default()),
        };
        let known_ns = ns.max(self.told_ns);
        let map = &self.map;
        match &event.what {
            What::Start(_) => {}
            What::Time => {
                // Watchers never go back. A line that was far ahead must not make all that
                // follows late.
                let went_back = ns < self.told_ns.saturating_sub(BACK_NS);
                self.told_ns = if went_back { ns } else { known_ns };
                self.seen_until(source, ns);
                self.first_told(source, ns);
                map.told_before_ns.fetch_max(ns, Ordering::Release);
            }
            What::ProcessStart(process) | What::ProcessExec(process) => {
                self.process(ns, source, process, matches!(event.what, What::ProcessExec(_)));
            }
            What::ProcessExit(id) => {
                if let Some(mut history) = map.processes.get_mut(&ProcessKey { source, id: *id }) {
                    history.exited_ns.get_or_insert(known_ns);
                }
            }
            What::SocketOpen(socket) | What::SocketUse(socket) => self.socket(ns, source, socket),
            What::SocketClose(socket) => {
                for name in
                    [socket.cookie.map(SocketName::Cookie), socket.inode.map(SocketName::Inode)]
                {
                    name.into_iter().for_each(|name| map.close(source, name, known_ns));
                }
            }
            What::AddressUp(address) => map.address_is_up(ns, known_ns, source, address, false),
            What::AddressDown(address) => map.address_is_down(known_ns, source, address),
            What::Presence(presence) => {
                let host = map.start_of(source).host;
                map.is_at_machine(&host, ns, known_ns, presence);
            }
            What::Counters(_) | What::Provider(_) => {}
            What::Workload(workload) => {
                self.workload(ns, source, workload);
            }
            What::Nat(nat) => map.translate(ns, known_ns, source, nat),
            What::NatEnd(nat) => map.untranslate(ns, known_ns, source, nat),
            What::Lost { events, .. } => {
                map.lost_events.fetch_add(*events, Ordering::Relaxed);
                self.lost(source, known_ns);
            }
            What::Unknown => {
                map.unknown_events.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The map ends here: nothing is known of later times.
    pub fn ended(&self, ns: i64) {
        if let Some(source) = self.source {
            self.seen_until(source, ns);
            if let Some(known) = self.map.sources.lock().get_mut(usize::from(source)) {
                known.ended = true;
            }
        }
    }

    /// Another map, or another boot in the same: its processes have nothing in
    /// common with those before.
    fn begin(&mut self, ns: i64, start: &MapStart) -> u16 {
        let mut sources = self.map.sources.lock();
        if let Some(source) = self.source
            && let Some(known) = sources.get_mut(usize::from(source))
            && known.start.boot == start.boot
        {
            // The same host goes on; between, nothing was watched.
            let left_ns = known.until_ns;
            known.losses.push((left_ns, ns));
            drop(sources);
            self.map.close_all(source, left_ns);
            return source;
        }
        if let Some(left) = self.source
            && let Some(known) = sources.get_mut(usize::from(left))
        {
            // Of later times it knows nothing.
            known.ended = true;
        }
        if sources.len() >= MAX_SOURCES {
            let source = self.source.unwrap_or(0);
            self.source = Some(source);
            return source;
        }
        let source = sources.len() as u16;
        let begun =
            MapSource { start: start.clone(), from_ns: ns, until_ns: ns, ..MapSource::default() };
        sources.push(begun);
        self.source = Some(source);
        source
    }

    fn seen_until(&self, source: u16, ns: i64) {
        if let Some(known) = self.map.sources.lock().get_mut(usize::from(source)) {
            known.until_ns = known.until_ns.max(ns);
        }
    }

    fn first_told(&self, source: u16, ns: i64) {
        if let Some(known) = self.map.sources.lock().get_mut(usize::from(source)) {
            known.first_told_ns.get_or_insert(ns);
        }
    }

    fn lost(&self, source: u16, ns: i64) {
        let mut sources = self.map.sources.lock();
        let Some(known) = sources.get_mut(usize::from(source)) else { return };
        // Lost since the provider last said that it was up to date.
        let from_ns = known.until_ns.min(ns);
        let full = known.losses.len() >= MAX_LOSSES;
        match known.losses.last_mut() {
            Some(last) if full || last.1 >= from_ns => last.1 = ns,
            _ => known.losses.push((from_ns, ns)),
        }
    }

    fn process(&self, ns: i64, source: u16, process: &Process, is_exec: bool) {
        let key = ProcessKey { source, id: process.id };
        let map = &self.map;
        let (map_began_ns, is_told_by_others) = {
            let sources = map.sources.lock();
            sources.get(usize::from(source)).map_or((i64::MIN, false), |source| {
                (source.from_ns, source.start.providers.contains(&Method::Imported))
            })
        };
        let mut history = map.processes.entry(key).or_default();
        // It was missing in a snapshot that was cut short.
        if is_told_by_others && history.exited_ns.is_some_and(|exited_ns| exited_ns < ns) {
            history.exited_ns = None;
        }
        // What was there before the map began, or is told late, was so from its start.
        let mut from_ns = match process.started_ns {
            Some(started_ns) if !is_exec => started_ns.min(ns),
            _ => ns,
        };
        let versions = &mut history.versions;
        let before = versions.latest(from_ns);
        if before.is_some_and(|known| **known == *process) {
            return;
        }
        // Another user or session of the same program.
        let is_change = before.is_some_and(|known| {
            is_exec && (&known.exe, &known.args) == (&process.exe, &process.args)
        });
        // The same start told by another provider, with more or less of it.
        if !is_exec && let Some(first) = versions.first() {
            if !(first.value.args.is_empty() && first.value.exe.is_empty()) {
                return;
            }
            from_ns = first.from_ns;
        }
        // A snapshot shows what was there before it. Who never said up to when all is told
        // has not let anything be decided without it.
        let learned_ns = match process.started_ns {
            Some(started_ns) if is_told_by_others && !is_exec && self.told_ns == i64::MIN => {
                started_ns.min(ns)
            }
            _ => ns.max(self.told_ns),
        };
        let container = (source, process.container.as_str());
        map.containers.note(container, from_ns, learned_ns, map.limits.workloads);
        let value = Arc::new(process.clone());
        let limit = self.map.limits.processes;
        if versions.has_room() && self.map.admit(&self.map.processes_held, limit, learned_ns) {
            versions.insert(Version { from_ns, learned_ns, value });
            // Watchers of their own host name no process by its number alone.
            if let Some(started_ns) = process.started_ns.filter(|_| is_told_by_others) {
                map.numbers.note(source, process.id, started_ns);
            }
            // Of what was there before the map the start is known, and no fork.
            if let Some(parent) = process.parent
                && !is_exec
                && from_ns > map_began_ns
            {
                map.forks.note(ProcessKey { source, id: parent }, from_ns, process.id);
            }
            if !is_change && (is_exec || from_ns > map_began_ns) {
                map.begun.note(from_ns, key, limit);
            }
        } else if versions.len() == 0 {
            // Nothing is left of what found no room.
            drop(history);
            self.map.processes.remove(&key);
        }
    }

    fn workload(&self, ns: i64, source: u16, workload: &Workload) {
        let map = &self.map;
        let key = (source, workload.container.clone());
        let fits =
            (map.workloads.len() as u64) < map.limits.workloads || map.workloads.contains_key(&key);
        let learned_ns = ns.max(self.told_ns);
        // It was so all along; only nobody knew.
        let version = Version { from_ns: i64::MIN, learned_ns, value: Arc::new(workload.clone()) };
        if !fits {
            map.refuse(learned_ns);
            return;
        }
        let mut known = map.workloads.entry(key).or_default();
        if known.latest(i64::MAX).is_none_or(|known| **known != *workload) && !known.insert(version)
        {
            map.refuse(learned_ns);
        }
    }

    fn socket(&self, ns: i64, source: u16, socket: &Socket) {
        let name = SocketName::of(socket);
        let from_ns = socket.since_ns.unwrap_or(ns).min(ns);
        let holders: &[ProcessId] = &socket.shared_with;
        let processes = match socket.process {
            None => vec![None],
            Some(first) => [first].iter().chain(holders).map(|&id| Some(id)).collect(),
        };
        for at in Endpoint::of(socket) {
            let mut fits = false;
            for &process in &processes {
                let claim = Claim {
                    from_ns,
                    until_ns: i64::MAX,
                    learned_ns: ns.max(self.told_ns),
                    told_ns: ns,
                    source,
                    process,
                    basis: basis_of(socket),
                    method: socket.method,
                    name,
                    netns: socket.netns,
                };
                if socket.alone {
                    self.map.others_ended(&at, &claim);
                }
                fits |= self.map.claim(at, claim);
            }
            if let Some(name) = name.filter(|_| fits) {
                let mut places = self.map.open.entry((source, name)).or_default();
                if !places.contains(&at) && places.len() < MAX_CLAIMS_AT_ENDPOINT {
                    places.push(at);
                }
            }
        }
        if let Some(local) = socket.local.filter(|local| !local.is_unspecified()) {
            let address = Address {
                address: local,
                broadcast: None,
                interface: String::new(),
                interface_index: 0,
                netns: socket.netns,
            };
            let in_container = |id: ProcessId| {
                let history = self.map.processes.get(&ProcessKey { source, id });
                let latest = history.as_ref().and_then(|history| history.versions.latest(i64::MAX));
                latest.is_some_and(|process| !process.container.is_empty())
            };
            let of_container = socket.process.is_some_and(in_container);
            let known_ns = ns.max(self.told_ns);
            self.map.address_is_up(from_ns, known_ns, source, &address, of_container);
        }
    }
}
