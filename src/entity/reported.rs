//! What other sources report of flows, as minutes of entities: a ledger for each
//! source, whose measures never add up with another's.
//!
//! A report says how much was sent between two times, not when in between. It feeds a
//! window at least as long as that: of [`LADDER`] the first step that holds the
//! report, and where the source counts by intervals the longest interval that it had
//! so far. Windows are aligned to the epoch; a report belongs to the one that holds
//! its middle, so that at least half of its time lies in it. There are no peaks of a
//! second: `busiest` is the mean of the window.
//!
//! Both directions of a flow are put together before anything is counted, since most
//! sources report each by itself. Where several observers of one source report the
//! same direction of a flow (both ends' interfaces, two routers), the first counts.
//! What was rejected never left: it is counted apart.
//!
//! Bounded: [`ReportedLimits`]; what has no place is counted ([`ReportedCounts`]).
//! Nothing here knows packet sizes or payload: bytes are what the source counts, and
//! sizes are left out.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ahash::HashMap;

use super::ledger::{Ledger, LedgerLimits, Minute, ReportedFacts};
use super::measures::Series;
use super::view::{Leg, View};
use super::who::Who;
use crate::alert::EntityKind;
use crate::detect::HomeNets;
use crate::engine::window::Seed;
use crate::host::side::FlowHosts;
use crate::telemetry::observation::{FlowGap, FlowReport, Span};

#[path = "reported_flow.rs"]
mod flow;

use flow::{End, Flow, Known, Tuple, bytes_of};

/// Lengths of windows: the intervals of AWS, Azure, GCP and of routers, then those of
/// long connections. A connection of more than a day feeds none.
const LADDER: [i64; 9] = [60, 300, 600, 900, 1_800, 3_600, 10_800, 21_600, 86_400];

#[derive(Clone, Copy, Debug)]
pub struct ReportedLimits {
    /// Flows of all open windows, about 400 bytes each.
    pub flows: usize,
    /// Sources; those of others feed nothing.
    pub sources: usize,
    /// Entities of one window.
    pub ledger: LedgerLimits,
}

impl Default for ReportedLimits {
    fn default() -> Self {
        // 50 MB; a site's ten minutes.
        Self { flows: 131_072, sources: 256, ledger: LedgerLimits::default() }
    }
}

/// Bytes, and those of them between ends of which neither is an entity: nobody's egress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    pub all: u64,
    pub nobodys: u64,
}

/// Share of nobody's bytes from which it is told: a hundredth.
const TOLD_FROM_1_OF: u64 = 100;

impl Bytes {
    pub fn add(&mut self, bytes: u64, is_nobodys: bool) {
        self.all = self.all.saturating_add(bytes);
        self.nobodys = self.nobodys.saturating_add(if is_nobodys { bytes } else { 0 });
    }

    /// Enough of it was nobody's to matter.
    pub fn lack_owners(&self) -> bool {
        self.nobodys > 0 && self.nobodys >= self.all / TOLD_FROM_1_OF
    }
}

/// What became of reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportedCounts {
    pub counted: u64,
    pub rejected: u64,
    /// The same direction of a flow by another observer.
    pub duplicates: u64,
    /// Their window was closed already.
    pub late: u64,
    /// Of more than a day.
    pub too_long: u64,
    /// There was no place for the flow, its source or its entity.
    pub refused: u64,
    /// Bytes that were counted.
    pub bytes: Bytes,
}

/// Ledgers of sources.
#[derive(Debug)]
pub struct Reported {
    limits: ReportedLimits,
    seed: Seed,
    sources: BTreeMap<Arc<str>, Source>,
    flows: usize,
    known: Known,
    /// Of a window that is over: its memory, for the next one.
    spare: HashMap<Tuple, Flow>,
    pub counts: ReportedCounts,
}

#[derive(Debug, Default)]
struct Source {
    /// Longest interval that it counted by.
    interval_s: i64,
    /// By length and start.
    windows: BTreeMap<(i64, i64), Window>,
    /// Of the ends of its reports.
    newest_s: i64,
    /// Some came when their window was closed.
    unordered: bool,
    /// It has flows both ways: then one that has but one went unanswered.
    both_ways: bool,
}

#[derive(Debug, Default)]
struct Window {
    flows: HashMap<Tuple, Flow>,
    /// Observers that left out flows.
    skipping: BTreeSet<Arc<str>>,
    /// There was no place for another of these: it may be any.
    any_skips: bool,
}

/// Observers that left out flows, of all open windows of a source, at most.
const MAX_SKIPPING: usize = 4_096;

impl Reported {
    pub fn new(limits: ReportedLimits, seed: Seed) -> Self {
        let counts = ReportedCounts::default();
        Self {
            limits,
            seed,
            sources: BTreeMap::new(),
            flows: 0,
            known: Known::default(),
            spare: HashMap::default(),
            counts,
        }
    }

    /// Takes a report; hands out the windows of its source that are over. Reports come
    /// in the order of their ends, give or take what `late` counts. `both_ways`: a source
    /// of this kind has both directions of all that it reports; of another it is known
    /// once it had both of one flow.
    pub fn take(
        &mut self,
        source: &Arc<str>,
        both_ways: bool,
        flow: &FlowReport,
        hosts: Option<&FlowHosts>,
        home: &HomeNets,
    ) -> Vec<Minute> {
        if !self.sources.contains_key(source) && self.sources.len() >= self.limits.sources {
            self.counts.refused += 1;
            return Vec::new();
        }
        let start_s = second(flow.start_ns);
        let end_s = second(flow.end_ns.saturating_sub(1)).max(start_s);
        let known = self.sources.entry(Arc::clone(source)).or_default();
        known.newest_s = known.newest_s.max(end_s);
        known.both_ways |= both_ways;
        if flow.span == Span::Interval {
            known.note_interval(start_s, end_s);
        }
        match known.window_of(start_s, end_s) {
            None => self.counts.too_long += 1,
            Some(key) if is_over(key, known.newest_s) => {
                self.counts.late += 1;
                known.unordered = true;
            }
            Some(key) => {
                let spare = &mut self.spare;
                let window = known.windows.entry(key);
                let window = window.or_insert_with(|| Window {
                    flows: std::mem::take(spare),
                    ..Window::default()
                });
                let (tuple, from) = Tuple::of(flow);
                match window.flow(tuple, self.limits.flows, &mut self.flows) {
                    None => self.counts.refused += 1,
                    Some(of_window) => {
                        for (side, end) in [(from, End::Src), (1 - from, End::Dst)] {
                            if of_window.who[side].iter().all(Option::is_none) {
                                of_window.who[side] = self.known.owners(flow, end, hosts, home);
                            }
                        }
                        of_window.add(flow, from, &mut self.counts);
                        let is_nobodys = of_window.who.iter().flatten().all(Option::is_none)
                            && !tuple.ends.iter().any(|(host, _)| host.is_group());
                        self.counts.bytes.add(bytes_of(&flow.fwd), is_nobodys);
                        self.counts.bytes.add(flow.rev.as_ref().map_or(0, bytes_of), is_nobodys);
                        known.both_ways |= of_window.is_both_ways();
                    }
                }
            }
        }
        let newest_s = known.newest_s;
        self.close_before(source, newest_s, home)
    }

    /// Notes that a source left out flows; hands out the windows of it that are over, as
    /// [`Self::take`] does: a source may have nothing but such notes. One is of the window
    /// that holds its middle, and of the open ones that it covers. How long a source counts
    /// by is for its flows to say.
    pub fn take_gap(&mut self, source: &Arc<str>, gap: &FlowGap, home: &HomeNets) -> Vec<Minute> {
        if !self.sources.contains_key(source) && self.sources.len() >= self.limits.sources {
            return Vec::new();
        }
        let known = self.sources.entry(Arc::clone(source)).or_default();
        let start_s = second(gap.start_ns);
        let end_s = second(gap.end_ns.saturating_sub(1)).max(start_s);
        known.newest_s = known.newest_s.max(end_s);
        let newest_s = known.newest_s;
        if let Some(key) = known.window_of(start_s, end_s).filter(|&key| !is_over(key, newest_s)) {
            known.windows.entry(key).or_default();
            let mut named: usize = known.windows.values().map(|window| window.skipping.len()).sum();
            for (&at, window) in &mut known.windows {
                if at == key || is_of(at, start_s, end_s) {
                    window.skip(&gap.observer, &mut named);
                }
            }
        }
        self.close_before(source, newest_s, home)
    }

    /// Hands out all that is open.
    pub fn close(&mut self, home: &HomeNets) -> Vec<Minute> {
        let names: Vec<Arc<str>> = self.sources.keys().cloned().collect();
        names.iter().flat_map(|name| self.close_before(name, i64::MAX, home)).collect()
    }

    fn close_before(&mut self, source: &Arc<str>, now_s: i64, home: &HomeNets) -> Vec<Minute> {
        let Some(known) = self.sources.get_mut(source) else { return Vec::new() };
        let mut over: Vec<(i64, i64)> =
            known.windows.keys().copied().filter(|&key| is_over(key, now_s)).collect();
        // By their end.
        over.sort_by_key(|&(length_s, start_s)| (start_s + length_s, length_s));
        let mut minutes = Vec::new();
        for (length_s, start_s) in over {
            let Some(mut window) = known.windows.remove(&(length_s, start_s)) else { continue };
            self.flows = self.flows.saturating_sub(window.flows.len());
            let Source { unordered, both_ways, .. } = *known;
            let at = At { source, start_s, length_s, unordered, one_sided: !both_ways };
            let (mut of_window, refused) = window.minutes(&at, self.limits.ledger, self.seed, home);
            self.counts.refused += refused;
            minutes.append(&mut of_window);
            window.flows.clear();
            if window.flows.capacity() > self.spare.capacity() {
                self.spare = window.flows;
            }
        }
        minutes
    }
}

/// Reports of a window end up to half its length after it.
fn is_over((length_s, start_s): (i64, i64), now_s: i64) -> bool {
    start_s + length_s + length_s / 2 <= now_s
}

/// What lies between two times covers the middle of a window.
fn is_of((length_s, start_s): (i64, i64), from_s: i64, until_s: i64) -> bool {
    (from_s..=until_s).contains(&(start_s + length_s / 2))
}

impl Source {
    /// Notes how long it counts by; nothing of what is longer than any window.
    fn note_interval(&mut self, start_s: i64, end_s: i64) {
        let interval_s = LADDER.into_iter().find(|&step| step > end_s.saturating_sub(start_s));
        self.interval_s = self.interval_s.max(interval_s.unwrap_or_default());
    }

    /// Length and start of a report's window.
    fn window_of(&self, start_s: i64, end_s: i64) -> Option<(i64, i64)> {
        let own_s = end_s.saturating_sub(start_s).saturating_add(1).max(1);
        let least_s = own_s.max(self.interval_s);
        let length_s = LADDER.into_iter().find(|&step| step >= least_s)?;
        let middle_s = start_s + (end_s - start_s) / 2;
        Some((length_s, middle_s.div_euclid(length_s) * length_s))
    }
}

impl Window {
    /// The flow of a tuple; nothing where there is no place for another.
    fn flow(&mut self, tuple: Tuple, most: usize, held: &mut usize) -> Option<&mut Flow> {
        match self.flows.entry(tuple) {
            Entry::Occupied(flow) => Some(flow.into_mut()),
            Entry::Vacant(_) if *held >= most => None,
            Entry::Vacant(place) => {
                *held += 1;
                Some(place.insert(Flow::default()))
            }
        }
    }

    /// Notes an observer that left out flows, where of all windows (`named`) there is a place.
    fn skip(&mut self, observer: &Arc<str>, named: &mut usize) {
        if observer.is_empty() || *named >= MAX_SKIPPING {
            self.any_skips |= !self.skipping.contains(observer);
        } else if self.skipping.insert(Arc::clone(observer)) {
            *named += 1;
        }
    }

    /// Whether who counted a flow left out others.
    fn skips(&self, flow: &Flow) -> bool {
        let observers = flow.ways.iter().filter_map(|way| way.observer.as_ref());
        self.any_skips || observers.into_iter().any(|observer| self.skipping.contains(observer))
    }

    /// What its entities did, and for how many flows there was no place.
    fn minutes(
        &self,
        at: &At<'_>,
        limits: LedgerLimits,
        seed: Seed,
        home: &HomeNets,
    ) -> (Vec<Minute>, u64) {
        let mut flows: Vec<(&Tuple, &Flow)> = self.flows.iter().collect();
        flows.sort_unstable_by_key(|(tuple, _)| *tuple);
        let one_sided = at.one_sided;
        let mut ledger = Ledger::new(Arc::clone(at.source), limits, seed);
        ledger.begin(at.start_s);
        // By number in the ledger, which gives them from 0 on.
        let mut facts: Vec<ReportedFacts> = Vec::new();
        for (tuple, flow) in flows {
            for side in 0..2 {
                let (sent, received) = (tuple.delta(flow, side), tuple.delta(flow, 1 - side));
                let peer = tuple.ends[1 - side].0;
                let view = View {
                    second: at.start_s,
                    peer,
                    external: !home.contains(&peer),
                    proto: tuple.proto,
                    local_port: tuple.ends[side].1,
                    remote_port: tuple.ends[1 - side].1,
                    leg: Leg::of(tuple.ends[side].1, tuple.ends[1 - side].1),
                    sent: &sent,
                    received: &received,
                    scale: u64::from(flow.sampled_1_of),
                };
                let is_home = home.contains(&tuple.ends[side].0);
                for who in flow.who[side].iter().flatten() {
                    let entity = &who.entity;
                    // It was taken for an interface's, and turned out to be a client's.
                    if entity.kind == EntityKind::Address && !is_home {
                        continue;
                    }
                    let digest = seed.text(entity.kind as u64, &entity.id);
                    let Some(id) = ledger.id(digest, || Arc::clone(who)) else { continue };
                    ledger.add(id, &view);
                    let place = id as usize;
                    if place >= facts.len() {
                        facts.resize_with(place + 1, ReportedFacts::default);
                    }
                    let facts = &mut facts[place];
                    facts.flows += 1;
                    facts.rejected_flows += flow.ways[side].rejected_flows;
                    facts.rejected_bytes += flow.ways[side].rejected_bytes;
                    facts.sampled_1_of = facts.sampled_1_of.max(flow.sampled_1_of);
                    facts.skipped |= self.skips(flow);
                    facts.unordered = at.unordered;
                    facts.one_sided = one_sided;
                }
            }
        }
        let mut facts: BTreeMap<(EntityKind, String), ReportedFacts> = (0..)
            .zip(facts)
            .filter_map(|(id, facts)| {
                let entity = &ledger.who(id)?.entity;
                Some(((entity.kind, entity.id.clone()), facts))
            })
            .collect();
        let mut minutes: Vec<Minute> = ledger.close().into_minutes().collect();
        for minute in &mut minutes {
            minute.start_s = at.start_s;
            minute.length_s = at.length_s;
            let measures = &mut minute.measures;
            let per_second = |sum: u64| sum / at.length_s.max(1) as u64;
            let sent = &measures.sent;
            measures.busiest = (
                at.start_s,
                per_second(sent.packets),
                per_second(sent.wire_bytes),
                per_second(sent.payload_bytes),
            );
            measures.series = Series::default();
            if one_sided {
                (measures.unanswered_packets, measures.unanswered_bytes) = (0, 0);
                measures.top.iter_mut().for_each(|peer| peer.unasked_bytes = 0);
            }
            measures.busiest_unanswered = per_second(measures.unanswered_packets);
            let entity = &minute.who.entity;
            let facts = facts.remove(&(entity.kind, entity.id.clone()));
            minute.reported = facts.map(Box::new);
        }
        (minutes, ledger.refused)
    }
}

struct At<'a> {
    source: &'a Arc<str>,
    start_s: i64,
    length_s: i64,
    unordered: bool,
    one_sided: bool,
}

fn second(ns: i64) -> i64 {
    ns.div_euclid(1_000_000_000)
}

#[cfg(test)]
#[path = "reported_tests.rs"]
mod tests;
