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
//! [`MapWriter::apply`] (`writer.rs`); `resolve.rs` asks.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use ahash::RandomState;
use dashmap::DashMap;

use super::attribution::Basis;
use super::claim::{Claim, Endpoint, MayHave, ProcessKey, Shapes, SocketName};
use super::eldest::Eldest;
use super::event::{Address, Ends, MapStart, Presence as AtTerminal};
use super::execs::Begun;
use super::forks::Forks;
use super::numbers::Numbers;
use super::presence::{self, AtMachine, Presences};
use super::process::Process;
use super::translation::Translation;
use super::versions::Versions;
use super::workload::Workload;
pub use super::writer::MapWriter;
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
    /// Containers. From half of it on those that ended are given up.
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
pub(super) const MAX_CLAIMS_AT_ENDPOINT: usize = 4096;

/// So long ago a claim ends at most that another one's beginning ends: far less than
/// what records wait for watchers.
const REACHES_BACK_NS: i64 = 100_000_000;

/// Nobody asks for what ended so long ago while a map grows: three times the longest
/// default time-out of a flow.
pub(crate) const KEEP_NS: i64 = 900_000_000_000;

/// A connection that other telemetry told of is looked for so long, while its process
/// is not known to have ended: longer ones lose it in maps that grow.
const ENDLESS_NS: i64 = 6 * 3600 * 1_000_000_000;

/// The programs that a process ran.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) versions: Versions<Arc<Process>>,
    pub(super) exited_ns: Option<i64>,
}

impl History {
    pub(super) fn lives_since(&self, ns: i64) -> bool {
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
    /// Told by a socket of a container: it need not be the host's.
    pub(super) of_container: bool,
}

/// A map or boot.
#[derive(Clone, Debug, Default)]
pub(super) struct MapSource {
    pub(super) start: MapStart,
    pub(super) from_ns: i64,
    pub(super) until_ns: i64,
    /// Up to when its first look told everything; before, nobody asks.
    pub(super) first_told_ns: Option<i64>,
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
    pub(super) open: DashMap<(u16, SocketName), Vec<Endpoint>, RandomState>,
    pub(super) processes: DashMap<ProcessKey, History, RandomState>,
    pub(super) numbers: Numbers,
    pub(super) workloads: DashMap<(u16, String), Versions<Arc<Workload>>, RandomState>,
    pub(super) addresses: DashMap<IpAddr, Vec<Presence>, RandomState>,
    /// Addresses of all hosts of a network, and when each was told.
    pub(super) broadcasts: DashMap<IpAddr, i64, RandomState>,
    /// By source: addresses that were up there, those of containers left out.
    pub(super) own: DashMap<u16, Vec<IpAddr>, RandomState>,
    pub(super) may_have: MayHave,
    pub(super) translations: DashMap<(u8, Ends), Versions<Translation>, RandomState>,
    pub(super) has_translated: AtomicBool,
    /// By the host's name: what says it need not be what knows its processes.
    presences: DashMap<String, Presences, RandomState>,
    has_presences: AtomicBool,
    pub(super) sources: Lock<Vec<MapSource>>,
    pub(super) limits: MapLimits,
    claims_held: AtomicU64,
    pub(super) processes_held: AtomicU64,
    pub(super) told_before_ns: AtomicI64,
    refused: AtomicU64,
    /// When the first one was.
    refused_since_ns: AtomicI64,
    pub(super) events: AtomicU64,
    pub(super) unknown_events: AtomicU64,
    pub(super) lost_events: AtomicU64,
    pub(super) begun: Begun,
    pub(super) forks: Forks,
    pub(super) containers: Eldest,
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
        Self {
            limits,
            told_before_ns: AtomicI64::new(i64::MIN),
            refused_since_ns: AtomicI64::new(i64::MAX),
            ..Self::default()
        }
    }

    /// Who speaks in a source of the map.
    pub(crate) fn start_of(&self, source: u16) -> MapStart {
        let sources = self.sources.lock();
        sources.get(usize::from(source)).map(|source| source.start.clone()).unwrap_or_default()
    }

    /// Who was at a host's machine, as far as snapshots told by then say.
    pub(crate) fn at_machine(&self, host: &str, ns: i64, known_ns: i64) -> Option<AtMachine> {
        if !self.has_presences.load(Ordering::Acquire) {
            return None;
        }
        self.presences.get(host)?.at(ns, known_ns).cloned()
    }

    pub(super) fn is_at_machine(&self, host: &str, ns: i64, learned_ns: i64, who: &AtTerminal) {
        if self.presences.len() >= presence::HOSTS && !self.presences.contains_key(host) {
            self.refuse(learned_ns);
            return;
        }
        self.presences.entry(host.to_owned()).or_default().add(ns, learned_ns, who);
        self.has_presences.store(true, Ordering::Release);
    }

    /// Everything that happened before has been told.
    pub fn told_before_ns(&self) -> i64 {
        self.told_before_ns.load(Ordering::Acquire)
    }

    /// A writer for the events of one map.
    pub fn writer(self: &Arc<Self>) -> MapWriter {
        MapWriter::new(self)
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
            refused: of(&self.refused) + self.begun.left_out(),
            claims: of(&self.claims_held),
            processes: of(&self.processes_held),
        }
    }

    /// Forgets what ended before. Looks at everything, a shard at a time.
    pub fn forget_before(&self, ns: i64) {
        let mut gone = 0;
        self.claims.retain(|at, claims| {
            let before = claims.len();
            claims.retain(|claim| claim.end_ns(at.protocol) >= ns && self.may_last(claim, ns));
            gone += (before - claims.len()) as u64;
            !claims.is_empty()
        });
        self.claims_held.fetch_sub(gone, Ordering::Relaxed);
        self.open.retain(|_, at| at.iter().any(|endpoint| self.claims.contains_key(endpoint)));
        let parents = self.parents_since(ns);
        let mut gone = 0;
        self.processes.retain(|key, history| {
            let keep = history.lives_since(ns) || parents.contains(key);
            if !keep {
                gone += history.versions.len() as u64;
                self.numbers.forget(key);
            }
            keep
        });
        self.processes_held.fetch_sub(gone, Ordering::Relaxed);
        self.forks.forget_before(ns);
        // To know whose processes these are takes a look at all: while there is room they stay.
        let held = self.containers.len().max(self.workloads.len());
        if held as u64 > self.limits.workloads / 2 {
            let with_processes = self.containers_of_processes();
            self.containers.keep(&with_processes, ns);
            self.workloads.retain(|of, known| {
                with_processes.contains(of) || known.told_ns().is_some_and(|told| told >= ns)
            });
        }
        // Of many nobody says when they end: they stay while there is room.
        if self.translations.len() as u64 > self.limits.translations / 2 {
            self.translations.retain(|_, to| to.told_ns().is_some_and(|told| told >= ns));
        }
        self.addresses.retain(|_, spans| {
            spans.retain(|span| span.until_ns >= ns);
            !spans.is_empty()
        });
    }

    fn containers_of_processes(&self) -> HashSet<(u16, String)> {
        let mut containers = HashSet::new();
        for history in &self.processes {
            let versions = history.versions.iter().map(|version| &version.value.container);
            let of_container = versions.filter(|container| !container.is_empty());
            containers.extend(of_container.map(|id| (history.key().source, id.clone())));
        }
        containers
    }

    /// What nobody ends has ended with its process, or is too old to matter.
    fn may_last(&self, claim: &Claim, ns: i64) -> bool {
        if !claim.is_endless() {
            return true;
        }
        let exited_ns = claim
            .process
            .and_then(|id| self.processes.get(&ProcessKey { source: claim.source, id })?.exited_ns);
        exited_ns.is_none_or(|exited_ns| exited_ns >= ns)
            && claim.told_ns >= ns.saturating_sub(ENDLESS_NS)
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

    /// Something found no room.
    pub(super) fn refuse(&self, known_ns: i64) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.refused_since_ns.fetch_min(known_ns, Ordering::Relaxed);
    }

    /// Whether something had found no room by then.
    pub(super) fn had_refused(&self, known_ns: i64) -> bool {
        self.refused_since_ns.load(Ordering::Relaxed) <= known_ns
    }

    /// Room for one more, which is then taken.
    pub(super) fn admit(&self, held: &AtomicU64, most: u64, known_ns: i64) -> bool {
        // One writer a map: two at once could pass the limit by one each.
        let fits = held.load(Ordering::Relaxed) < most;
        if fits {
            held.fetch_add(1, Ordering::Relaxed);
        } else {
            self.refuse(known_ns);
        }
        fits
    }

    /// False when there is no room.
    pub(super) fn claim(&self, at: Endpoint, claim: Claim) -> bool {
        let mut claims = self.claims.entry(at).or_default();
        // One that reaches further back is news, and as such has its own time.
        let again = |known: &&mut Claim| known.is_again(&claim, at.protocol);
        // Of those that nobody ends the latest counts: with another's between two they
        // are two.
        let looked_at = if claim.is_endless() { 1 } else { claims.len() };
        if let Some(known) = claims.iter_mut().rev().take(looked_at).find(again) {
            known.told_ns = claim.told_ns;
            return true;
        }
        if claims.len() >= MAX_CLAIMS_AT_ENDPOINT
            && let Some(oldest) =
                claims.iter().position(|claim| claim.until_ns < i64::MAX || claim.is_endless())
        {
            let oldest = claims.remove(oldest);
            self.claims_held.fetch_sub(1, Ordering::Relaxed);
            if oldest.until_ns >= claim.learned_ns.saturating_sub(KEEP_NS) {
                self.refuse(claim.learned_ns);
            }
        }
        if claims.len() >= MAX_CLAIMS_AT_ENDPOINT {
            self.refuse(claim.learned_ns);
            return false;
        }
        let fits = self.admit(&self.claims_held, self.limits.claims, claim.learned_ns);
        if fits {
            claims.push(claim);
            self.shapes.add(&at);
        }
        fits
    }

    /// Who used the socket at this end does so no more: other processes, and what the
    /// same one ran before.
    pub(super) fn others_ended(&self, at: &Endpoint, new: &Claim) {
        let Some(mut claims) = self.claims.get_mut(at) else { return };
        let program_since_ns = new.process.and_then(|id| {
            let history = self.processes.get(&ProcessKey { source: new.source, id })?;
            history.versions.at(new.told_ns, i64::MAX).map(|version| version.from_ns)
        });
        let is_others = |known: &Claim| {
            known.process != new.process
                || program_since_ns.is_some_and(|since_ns| known.told_ns < since_ns)
        };
        for known in claims.iter_mut() {
            if (known.source, known.name, known.basis) == (new.source, new.name, Basis::Used)
                && is_others(known)
            {
                // What was asked before this was told has been answered.
                let told_ns = new.learned_ns.saturating_sub(REACHES_BACK_NS);
                let until_ns = new.from_ns.max(known.told_ns).max(told_ns);
                known.until_ns = known.until_ns.min(until_ns);
            }
        }
    }

    /// What was open and up when a watch ended: nobody says what became of it. What is still
    /// there is told again.
    pub(super) fn close_all(&self, source: u16, at_ns: i64) {
        let of_source = self.open.iter().map(|open| *open.key()).filter(|(of, _)| *of == source);
        let names: Vec<_> = of_source.collect();
        names.into_iter().for_each(|(_, name)| self.close(source, name, at_ns));
        for mut spans in self.addresses.iter_mut() {
            for span in spans.iter_mut().filter(|span| span.source == source) {
                span.until_ns = span.until_ns.min(at_ns);
            }
        }
    }

    pub(super) fn close(&self, source: u16, name: SocketName, at_ns: i64) {
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

    pub(super) fn address_is_up(
        &self,
        ns: i64,
        learned_ns: i64,
        source: u16,
        up: &Address,
        of_container: bool,
    ) {
        let address = up.address.to_canonical();
        if self.addresses.len() as u64 >= self.limits.addresses
            && !self.addresses.contains_key(&address)
        {
            self.refuse(learned_ns);
            return;
        }
        self.may_have.add(address);
        if let Some(broadcast) = up.broadcast
            && (self.broadcasts.len() as u64) < self.limits.addresses
        {
            self.may_have.add(broadcast);
            let known = self.broadcasts.entry(broadcast);
            known.and_modify(|ns| *ns = learned_ns.min(*ns)).or_insert(learned_ns);
        }
        let mut spans = self.addresses.entry(address).or_default();
        let is_up = |span: &Presence| {
            let same = (span.source, span.netns, span.of_container);
            span.until_ns == i64::MAX && same == (source, up.netns, of_container)
        };
        if spans.len() < MAX_CLAIMS_AT_ENDPOINT && !spans.iter().any(is_up) {
            spans.push(Presence {
                from_ns: ns,
                until_ns: i64::MAX,
                learned_ns,
                source,
                netns: up.netns,
                of_container,
            });
            drop(spans);
            if !of_container {
                self.note_own(source, address);
            }
        }
    }

    pub(super) fn address_is_down(&self, ns: i64, source: u16, down: &Address) {
        let Some(mut spans) = self.addresses.get_mut(&down.address.to_canonical()) else { return };
        for span in spans.iter_mut() {
            if (span.source, span.netns) == (source, down.netns) && span.until_ns == i64::MAX {
                span.until_ns = ns;
            }
        }
    }
}
