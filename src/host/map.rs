//! Who held which socket when: host events turned into something to ask.
//!
//! A [`MapWriter`] adds a stream of events; any thread asks meanwhile, and waits at
//! most for one insert in one shard. What is asked with a time of knowledge gets
//! the same answer whether the map was read whole before or is still being
//! written, as long as everything up to that time has been told
//! ([`HostMap::told_before_ns`]). That makes a recorded map give what the live one
//! gave.
//!
//! Bounded: at [`MapLimits`] new claims and processes are refused and counted; old
//! ones go when [`HostMap::forget_before`] is called. Start at
//! [`MapWriter::apply`]; `resolve.rs` asks.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use ahash::RandomState;
use dashmap::DashMap;

use super::claim::{Claim, Endpoint, ProcessKey, Shapes, SocketName, basis_of};
use super::event::{Address, Ends, HostEvent, MapStart, Nat, Socket, What};
use super::process::{Process, ProcessId};
use super::versions::{Version, Versions};
use super::workload::Workload;
use crate::lock::Lock;

/// Most that a map holds.
#[derive(Clone, Copy, Debug)]
pub struct MapLimits {
    /// Claims on sockets; about 150 bytes each with what points to them.
    pub claims: u64,
    /// Versions of processes; about a kilobyte each.
    pub processes: u64,
    /// Translated connections.
    pub translations: u64,
    pub workloads: u64,
    pub addresses: u64,
}

impl Default for MapLimits {
    /// A gigabyte and a half when all of it is used: a host with a million sockets.
    fn default() -> Self {
        Self {
            claims: 2_000_000,
            processes: 500_000,
            translations: 1_000_000,
            workloads: 100_000,
            addresses: 100_000,
        }
    }
}

/// Claims at one endpoint: a server's address that many short processes take turns
/// at. Past it the oldest one that is closed makes room.
const MAX_CLAIMS_AT_ENDPOINT: usize = 1024;

/// Spans of lost events that are kept apart; then they grow together.
const MAX_LOSSES: usize = 1024;

/// Maps and boots that are told apart.
const MAX_SOURCES: usize = 1 << 12;

/// The programs that a process ran.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) versions: Versions<Arc<Process>>,
    pub(super) exited_ns: Option<i64>,
}

impl History {
    fn lives_since(&self, ns: i64) -> bool {
        self.exited_ns.is_none_or(|exited| exited >= ns)
    }
}

/// When an address was there, and in which namespace.
#[derive(Clone, Debug)]
pub(super) struct Presence {
    pub(super) from_ns: i64,
    pub(super) until_ns: i64,
    pub(super) learned_ns: i64,
    pub(super) source: u16,
    pub(super) netns: Option<u64>,
}

/// A map or boot.
#[derive(Clone, Debug, Default)]
pub(super) struct MapSource {
    pub(super) start: MapStart,
    pub(super) from_ns: i64,
    pub(super) until_ns: i64,
    /// Nothing will be told of later times.
    pub(super) ended: bool,
    /// Spans in which providers lost events.
    pub(super) losses: Vec<(i64, i64)>,
}

#[derive(Debug, Default)]
pub struct HostMap {
    pub(super) claims: DashMap<Endpoint, Vec<Claim>, RandomState>,
    /// What endpoints there are or were, so that others are not looked for.
    pub(super) shapes: Shapes,
    open: DashMap<(u16, SocketName), Vec<Endpoint>, RandomState>,
    pub(super) processes: DashMap<ProcessKey, History, RandomState>,
    pub(super) workloads: DashMap<(u16, String), Versions<Arc<Workload>>, RandomState>,
    pub(super) addresses: DashMap<IpAddr, Vec<Presence>, RandomState>,
    pub(super) translations: DashMap<(u8, Ends), Versions<Ends>, RandomState>,
    pub(super) has_translated: AtomicBool,
    pub(super) sources: Lock<Vec<MapSource>>,
    limits: MapLimits,
    claims_held: AtomicU64,
    processes_held: AtomicU64,
    told_before_ns: AtomicI64,
    pub(super) refused: AtomicU64,
    events: AtomicU64,
    unknown_events: AtomicU64,
    lost_events: AtomicU64,
}

/// What a map holds and what it could not take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MapCounters {
    pub events: u64,
    /// Of kinds that this version does not know.
    pub unknown_events: u64,
    /// Events that providers could not tell.
    pub lost_events: u64,
    /// Claims and processes that found no room.
    pub refused: u64,
    pub claims: u64,
    pub processes: u64,
}

impl HostMap {
    pub fn new(limits: MapLimits) -> Self {
        Self { limits, told_before_ns: AtomicI64::new(i64::MIN), ..Self::default() }
    }

    /// Everything that happened before has been told.
    pub fn told_before_ns(&self) -> i64 {
        self.told_before_ns.load(Ordering::Acquire)
    }

    /// A writer for the events of one map.
    pub fn writer(self: &Arc<Self>) -> MapWriter {
        MapWriter { map: Arc::clone(self), source: None, told_ns: i64::MIN }
    }

    /// All that will ever be told has been.
    pub fn complete(&self) {
        self.told_before_ns.store(i64::MAX, Ordering::Release);
    }

    pub fn counters(&self) -> MapCounters {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MapCounters {
            events: of(&self.events),
            unknown_events: of(&self.unknown_events),
            lost_events: of(&self.lost_events),
            refused: of(&self.refused),
            claims: of(&self.claims_held),
            processes: of(&self.processes_held),
        }
    }

    /// Forgets what ended before. Looks at everything, a shard at a time.
    pub fn forget_before(&self, ns: i64) {
        let mut gone = 0;
        self.claims.retain(|at, claims| {
            let before = claims.len();
            claims.retain(|claim| claim.end_ns(at.protocol) >= ns);
            gone += (before - claims.len()) as u64;
            !claims.is_empty()
        });
        self.claims_held.fetch_sub(gone, Ordering::Relaxed);
        self.open.retain(|_, at| at.iter().any(|endpoint| self.claims.contains_key(endpoint)));
        let parents = self.parents_since(ns);
        let mut gone = 0;
        self.processes.retain(|key, history| {
            let keep = history.lives_since(ns) || parents.contains(key);
            gone += if keep { 0 } else { history.versions.len() as u64 };
            keep
        });
        self.processes_held.fetch_sub(gone, Ordering::Relaxed);
        // Nobody says when a translation ends: they stay while there is room.
        if self.translations.len() as u64 > self.limits.translations / 2 {
            self.translations.retain(|_, to| to.told_ns().is_some_and(|told| told >= ns));
        }
        self.addresses.retain(|_, spans| {
            spans.retain(|span| span.until_ns >= ns);
            !spans.is_empty()
        });
    }

    /// Processes from which others come that lived since then.
    fn parents_since(&self, ns: i64) -> HashSet<ProcessKey, RandomState> {
        let mut parents = HashSet::default();
        let mut next: Vec<ProcessKey> = Vec::new();
        let parents_of = |key: &ProcessKey, history: &History, next: &mut Vec<ProcessKey>| {
            let source = key.source;
            let ids = history.versions.iter().filter_map(|version| version.value.parent);
            next.extend(ids.map(|id| ProcessKey { source, id }));
        };
        for known in self.processes.iter().filter(|known| known.lives_since(ns)) {
            parents_of(known.key(), &known, &mut next);
        }
        while let Some(key) = next.pop() {
            if parents.insert(key)
                && let Some(history) = self.processes.get(&key)
            {
                parents_of(&key, &history, &mut next);
            }
        }
        parents
    }

    /// Room for one more, which is then taken.
    fn admit(&self, held: &AtomicU64, most: u64) -> bool {
        // One writer a map: two at once could pass the limit by one each.
        let fits = held.load(Ordering::Relaxed) < most;
        if fits {
            held.fetch_add(1, Ordering::Relaxed);
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }

    /// False when there is no room.
    fn claim(&self, at: Endpoint, claim: Claim) -> bool {
        let mut claims = self.claims.entry(at).or_default();
        // One that reaches further back is news, and as such has its own time.
        let again = |known: &&mut Claim| known.is_again(&claim, at.protocol);
        if let Some(known) = claims.iter_mut().rev().find(again) {
            known.told_ns = claim.told_ns;
            return true;
        }
        if claims.len() >= MAX_CLAIMS_AT_ENDPOINT
            && let Some(oldest) = claims.iter().position(|claim| claim.until_ns < i64::MAX)
        {
            claims.remove(oldest);
            self.claims_held.fetch_sub(1, Ordering::Relaxed);
        }
        if claims.len() >= MAX_CLAIMS_AT_ENDPOINT {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let fits = self.admit(&self.claims_held, self.limits.claims);
        if fits {
            claims.push(claim);
            self.shapes.add(&at);
        }
        fits
    }

    fn close(&self, source: u16, name: SocketName, at_ns: i64) {
        let Some((_, endpoints)) = self.open.remove(&(source, name)) else { return };
        for endpoint in endpoints {
            let Some(mut claims) = self.claims.get_mut(&endpoint) else { continue };
            for claim in claims.iter_mut() {
                if claim.name == Some(name) && claim.source == source {
                    claim.until_ns = claim.until_ns.min(at_ns);
                }
            }
        }
    }

    fn address_is_up(&self, ns: i64, learned_ns: i64, source: u16, up: &Address) {
        let address = up.address.to_canonical();
        if self.addresses.len() as u64 >= self.limits.addresses
            && !self.addresses.contains_key(&address)
        {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut spans = self.addresses.entry(address).or_default();
        let is_up = |span: &Presence| {
            span.until_ns == i64::MAX && (span.source, span.netns) == (source, up.netns)
        };
        if spans.len() < MAX_CLAIMS_AT_ENDPOINT && !spans.iter().any(is_up) {
            spans.push(Presence {
                from_ns: ns,
                until_ns: i64::MAX,
                learned_ns,
                source,
                netns: up.netns,
            });
        }
    }

    fn address_is_down(&self, ns: i64, source: u16, down: &Address) {
        let Some(mut spans) = self.addresses.get_mut(&down.address.to_canonical()) else { return };
        for span in spans.iter_mut() {
            if (span.source, span.netns) == (source, down.netns) && span.until_ns == i64::MAX {
                span.until_ns = ns;
            }
        }
    }

    fn translate(&self, ns: i64, learned_ns: i64, nat: &Nat) {
        let as_seen_behind = Ends {
            src: nat.reply.dst,
            src_port: nat.reply.dst_port,
            dst: nat.reply.src,
            dst_port: nat.reply.src_port,
        };
        let insert = |from: Ends, to: Ends| {
            let key = (nat.protocol, from);
            if self.translations.len() as u64 >= self.limits.translations
                && !self.translations.contains_key(&key)
            {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let mut known = self.translations.entry(key).or_default();
            let version = Version { from_ns: ns, learned_ns, value: to };
            if known.latest(ns) != Some(&to) && !known.insert(version) {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        };
        insert(nat.original, as_seen_behind);
        insert(as_seen_behind, nat.original);
        self.has_translated.store(true, Ordering::Release);
    }
}

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
                self.told_ns = known_ns;
                self.seen_until(source, ns);
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
            What::AddressUp(address) => map.address_is_up(ns, known_ns, source, address),
            What::AddressDown(address) => map.address_is_down(known_ns, source, address),
            What::Counters(_) | What::Provider(_) => {}
            What::Workload(workload) => {
                self.workload(ns, source, workload);
            }
            What::Nat(nat) => map.translate(ns, known_ns, nat),
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
            known.losses.push((known.until_ns, ns));
            return source;
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
        let mut history = self.map.processes.entry(key).or_default();
        // What was there before the map began, or is told late, was so from its start.
        let mut from_ns = match process.started_ns {
            Some(started_ns) if !is_exec => started_ns.min(ns),
            _ => ns,
        };
        let versions = &mut history.versions;
        if versions.latest(from_ns).is_some_and(|known| **known == *process) {
            return;
        }
        // The same start told by another provider, with more or less of it.
        if !is_exec && let Some(first) = versions.first() {
            if !(first.value.args.is_empty() && first.value.exe.is_empty()) {
                return;
            }
            from_ns = first.from_ns;
        }
        let value = Arc::new(process.clone());
        let version = Version { from_ns, learned_ns: ns.max(self.told_ns), value };
        if versions.has_room()
            && self.map.admit(&self.map.processes_held, self.map.limits.processes)
        {
            versions.insert(version);
        }
    }

    fn workload(&self, ns: i64, source: u16, workload: &Workload) {
        let map = &self.map;
        let key = (source, workload.container.clone());
        let fits =
            (map.workloads.len() as u64) < map.limits.workloads || map.workloads.contains_key(&key);
        let version = Version {
            // It was so all along; only nobody knew.
            from_ns: i64::MIN,
            learned_ns: ns.max(self.told_ns),
            value: Arc::new(workload.clone()),
        };
        if !fits {
            map.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut known = map.workloads.entry(key).or_default();
        if known.latest(i64::MAX).is_none_or(|known| **known != *workload) && !known.insert(version)
        {
            map.refused.fetch_add(1, Ordering::Relaxed);
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
                interface: String::new(),
                interface_index: 0,
                netns: socket.netns,
            };
            self.map.address_is_up(from_ns, ns.max(self.told_ns), source, &address);
        }
    }
}
