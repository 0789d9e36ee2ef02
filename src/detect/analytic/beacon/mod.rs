//! AN0031: connections that come as by a clock.
//!
//! Method: the score of RITA v5 ([`rita`], METHODS 5) of the connections of a day between
//! an entity (a program by its baseline's key: each turn of a loop is a process of its
//! own; else the address that calls) and an address and port outside, from ended flows or a log
//! of connections (Zeek, Suricata). At
//! `beacon_connections` over `beacon_span_s` and at a score of `beacon_score` there is an
//! alert; RITA's modifiers are terms of their own, those that lower it raise the
//! threshold. 86,400 connections a day are a strobe, whatever their rhythm.
//!
//! RITA ranks pairs for people; busy pairs without any rhythm reach 70. An alert needs
//! more: a timing of [`LEAST_TIMING`], and intervals that fill the time ([`FILLED`]), so
//! that the quick calls of a page are none.
//!
//! Quiet: name, time and address services (DNS, NTP, DHCP, multicast) over UDP, names
//! over TCP where they were read, echo; programs whose class is agent, server or kernel,
//! since they beacon by design; the whitelist. Connections of a person's own programs
//! are informational.
//!
//! A flow that the active time-out cuts goes on as the same connection; the same ports
//! again after an end are another: who calls may choose its own.
//!
//! Limits: connections that stay open have no rhythm that flows show. Over UDP, on a port
//! of [`SERVICES`], nothing is. A log that splits long flows is known by that alone: a
//! fixed port is one connection where it pauses for less than it lasted. Memory: [`PAIRS`]
//! pairs that called twice or more with [`CONNECTIONS`] of the latest connections each, 100 MB
//! at most, further pairs are refused; and calls that may be a pair's first ([`first_calls`]).

mod finding;
mod first_calls;
mod prevalence;
mod rita;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::HashMap;

use self::finding::Judged;
use self::first_calls::{FirstCall, FirstCalls};
use self::prevalence::{Prevalence, TALKERS};
use super::callers::Callers;
use super::room::Gate;
use super::{Analytic, AnalyticContext, Event, EventKind, FlowEnd, add};
use crate::alert::{Score, Term};
use crate::detect::Finding;
use crate::detect::classes::{ClassKind, matches};
use crate::engine::window::{Host, Seed};
use crate::entity::Who;
use crate::host::side::FlowHosts;
use crate::telemetry::observation::{Action, FlowReport, Measures, Span};

const NAME: &str = "beacon";
const PAIRS: usize = 8_192;
/// One a minute for half a day.
const CONNECTIONS: usize = 720;
const DAY_S: i64 = 86_400;
/// RITA's: as many in a day are a strobe.
const STROBE: u64 = 86_400;
/// Part of timing that an alert needs. Calls by chance (exponential intervals) have 0.52,
/// evenly drawn intervals 0.75; a beacon with a jitter of 90 % has 0.80, of 50 % 0.92.
const LEAST_TIMING: f64 = 0.8;
/// Few calls look regular by chance: of 4,000 runs of exponential intervals the most regular
/// had a timing of 0.91 with 20 of them, 0.89 with 30, 0.85 with 50 and 0.77 with 100.
fn least_timing(connections: usize) -> f64 {
    LEAST_TIMING.max(0.7 + 1.0 / libm::sqrt(connections.max(1) as f64))
}
/// Median interval times connections by the time they took, at least: a beacon that
/// sleeps at night has a third, pages and their parts hundredths.
const FILLED: f64 = 0.25;
/// RITA's modifiers of prevalence need a network to have a share of.
const NETWORK: usize = 50;
const SECOND_NS: i64 = 1_000_000_000;
/// Of what is longer ago no flow is the rest: twice the usual time-outs.
const SAME_CONNECTION_S: i64 = 600;
/// Flows of a pair that others may go on with.
const LATEST: usize = 8;

/// Over UDP: DNS, DHCP, NTP, DHCPv6, DNS over QUIC, SSDP, multicast DNS, LLMNR. Over TCP
/// none but the first is: clocks and addresses are not asked so, and TLS on 853 can be
/// anything.
const SERVICES: [u16; 10] = [NAMES, 67, 68, 123, 546, 547, 853, 1900, 5353, 5355];
const NAMES: u16 = 53;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Source, entity, destination, protocol, port: the same call told by two is not two.
type Key = (Arc<str>, Caller, Host, u8, u16);

/// The entity that calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Caller {
    /// By its baseline's key.
    Named(Arc<str>),
    /// Of which nothing else is known.
    Address(Host),
}

#[derive(Default)]
pub(super) struct Beacons {
    pairs: HashMap<Key, Pair>,
    first_calls: FirstCalls,
    /// Processes that were seen to send, for the flows that name them by number.
    callers: Callers,
    prevalence: Prevalence,
    first_s: Option<i64>,
    gate: Gate,
    /// Name of the source that packets are.
    packets: Arc<str>,
    refused: u64,
}

/// A connection that ended.
struct Call<'a> {
    source: &'a Arc<str>,
    src: Host,
    dst: Host,
    proto: u8,
    source_port: u16,
    port: u16,
    start_s: i64,
    end_s: i64,
    bytes: u64,
    /// Of both ends, where they are known.
    both: Volume,
    /// Both ends sent something.
    answered: bool,
    hosts: Option<&'a FlowHosts>,
    /// It carries questions about names.
    is_dns: bool,
    part: Part,
}

/// Packets and their bytes, both ways.
#[derive(Clone, Copy, Debug, Default)]
struct Volume {
    packets: u64,
    wire_bytes: u64,
}

impl Volume {
    fn add(&mut self, other: Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.wire_bytes = self.wire_bytes.saturating_add(other.wire_bytes);
    }
}

/// What shows whether a call is only more of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A flow of packets: whether its opening was seen, as only TCP has one, and whether
    /// the active time-out cut it.
    Flow { opened: bool, is_cut: bool },
    /// Another source does not say where it splits.
    Reported,
}

impl<'a> Call<'a> {
    fn of_flow(flow: &FlowEnd<'a>, source: &'a Arc<str>) -> Self {
        let outline = flow.outline;
        Self {
            source,
            src: outline.src(),
            dst: outline.dst(),
            proto: outline.key.proto,
            source_port: outline.src_port(),
            port: outline.dst_port(),
            start_s: outline.start_ns.div_euclid(SECOND_NS),
            end_s: outline.end_ns.div_euclid(SECOND_NS),
            bytes: outline.sent_ip_bytes,
            both: Volume {
                packets: outline.packets[0] + outline.packets[1],
                wire_bytes: outline.wire_bytes,
            },
            answered: outline.answered(),
            hosts: flow.hosts,
            is_dns: flow.app.is_some_and(|app| app.dns.is_some()),
            part: Part::Flow {
                opened: outline.key.proto == TCP && !outline.originator_guessed,
                is_cut: outline.is_cut,
            },
        }
    }

    /// Of a log of whole connections: those of intervals have no rhythm but their own.
    fn of_report(
        source: &'a Arc<str>,
        flow: &FlowReport,
        hosts: Option<&'a FlowHosts>,
    ) -> Option<Self> {
        let whole = flow.span == Span::Packets && flow.originator_known;
        if !whole || flow.action == Some(Action::Rejected) {
            return None;
        }
        let bytes_of = |sent: &Measures| sent.ip_bytes.or(sent.wire_bytes).or(sent.payload_bytes);
        let bytes = bytes_of(&flow.fwd);
        let mut both = Volume::default();
        for sent in [Some(&flow.fwd), flow.rev.as_ref()].into_iter().flatten() {
            both.add(Volume {
                packets: sent.packets.unwrap_or(0),
                wire_bytes: sent.wire_bytes.or(sent.ip_bytes).unwrap_or(0),
            });
        }
        Some(Self {
            source,
            src: Host::from(flow.src),
            dst: Host::from(flow.dst),
            proto: flow.protocol?,
            source_port: flow.src_port?,
            port: flow.dst_port?,
            start_s: flow.start_ns.div_euclid(SECOND_NS),
            end_s: flow.end_ns.div_euclid(SECOND_NS),
            bytes: bytes.unwrap_or(0),
            both,
            // Not every source counts what came back.
            answered: flow.rev.as_ref().and_then(bytes_of) != Some(0),
            hosts,
            is_dns: flow.app.as_deref() == Some("dns"),
            part: Part::Reported,
        })
    }

    /// Of each flow that ends it is asked whether it is a call at all.
    fn is_wanted_of(flow: &FlowEnd<'_>, ctx: &AnalyticContext<'_>) -> bool {
        let outline = flow.outline;
        let is_dns = || flow.app.is_some_and(|app| app.dns.is_some());
        is_wanted((outline.key.proto, outline.dst_port()), is_dns, &outline.dst(), ctx)
    }

    fn is_wanted(&self, ctx: &AnalyticContext<'_>) -> bool {
        is_wanted((self.proto, self.port), || self.is_dns, &self.dst, ctx)
    }

    /// Whether it is more of a connection, of which this was the part before.
    fn goes_on(&self, before: &Latest) -> bool {
        let pause_s = self.start_s.saturating_sub(before.end_s);
        if self.source_port != before.port || pause_s >= SAME_CONNECTION_S {
            return false;
        }
        match self.part {
            Part::Flow { opened: true, .. } => false,
            // Joined in the middle; without connections only the time-out cuts.
            Part::Flow { .. } => self.proto == TCP || before.is_cut,
            Part::Reported => pause_s <= before.end_s.saturating_sub(before.start_s).max(1),
        }
    }
}

/// A call to outside that is to no service which is asked by the clock. Also where neither
/// end is at home: the home networks may not have been told.
fn is_wanted(
    (proto, port): (u8, u16),
    is_dns: impl FnOnce() -> bool,
    dst: &Host,
    ctx: &AnalyticContext<'_>,
) -> bool {
    let is_service = match proto {
        TCP => port == NAMES && is_dns(),
        UDP => SERVICES.contains(&port),
        _ => return false,
    };
    !is_service && !ctx.home().contains(dst) && !dst.is_group()
}

/// A flow that others may go on with.
#[derive(Clone, Copy, Debug)]
struct Latest {
    port: u16,
    start_s: i64,
    end_s: i64,
    is_cut: bool,
}

impl Latest {
    fn of(call: &Call<'_>) -> Self {
        Self {
            port: call.source_port,
            start_s: call.start_s,
            end_s: call.end_s,
            is_cut: matches!(call.part, Part::Flow { is_cut: true, .. }),
        }
    }
}

impl Caller {
    fn digest(&self, seed: Seed) -> u64 {
        match self {
            Self::Named(baseline) => seed.text(0, baseline),
            Self::Address(host) => {
                let address = u128::from_ne_bytes(host.address);
                seed.pair(address as u64, (address >> 64) as u64)
            }
        }
    }
}

struct Pair {
    /// The first that was seen: whom alerts are about.
    who: Arc<Who>,
    /// Start and bytes, as flows ended.
    connections: VecDeque<(i64, u64)>,
    /// Of this day, beyond those that are kept too.
    counted: u64,
    first_s: i64,
    last_s: i64,
    /// Of different ports, the oldest first.
    latest: VecDeque<Latest>,
    /// Connections when it was last scored.
    scored: u64,
    /// Of all of them, and what no finding has told of.
    volume: Volume,
    untold: Volume,
    /// Calls that no finding has told of.
    untold_calls: u64,
}

impl Analytic for Beacons {
    fn name(&self) -> &'static str {
        NAME
    }

    fn looks_at(&self) -> &'static [EventKind] {
        &[EventKind::Second, EventKind::Flow, EventKind::Report]
    }

    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        match event {
            Event::Second { second, entities } => self.callers.remember(*second, entities),
            Event::Flow(flow) if Call::is_wanted_of(flow, ctx) => {
                let packets = Arc::clone(&self.packets);
                add(self.call(&Call::of_flow(flow, &packets), ctx), out);
            }
            Event::Report { source, flow, hosts } => {
                let call = Call::of_report(&source.name, flow, *hosts);
                if let Some(call) = call.filter(|call| call.is_wanted(ctx)) {
                    add(self.call(&call, ctx), out);
                }
            }
            _ => {}
        }
    }

    fn refused(&self) -> u64 {
        self.refused + self.prevalence.forgotten() + self.first_calls.forgotten()
    }
}

impl Beacons {
    /// Takes a call that is wanted.
    fn call(&mut self, call: &Call<'_>, ctx: &AnalyticContext<'_>) -> Option<Finding> {
        let who = self.callers.of(call.hosts);
        self.first_s.get_or_insert(call.start_s);
        let caller = match &who {
            Some(who) => Caller::Named(Arc::clone(&who.baseline)),
            None => Caller::Address(call.src),
        };
        let entity = caller.digest(ctx.seed);
        let key = (Arc::clone(call.source), caller, call.dst, call.proto, call.port);
        if !self.pairs.contains_key(&key) {
            let first = self.first_calls.before(&key, call, who.as_ref());
            // Made-up addresses are no part of the network.
            if call.answered || first.is_some() {
                self.prevalence.count(entity, call.dst, call.end_s);
            }
            let first = first?;
            // Neither call waits on: where there is no place, another is no use.
            if !self.make_room(&key, call.end_s) {
                self.refused += 1;
                return None;
            }
            self.pairs.insert(key.clone(), Pair::new(first, &call.src));
        } else {
            self.prevalence.count(entity, call.dst, call.end_s);
        }
        let pair = self.pairs.get_mut(&key)?;
        if pair.continues(call) {
            pair.count(call.both);
            return None;
        }
        pair.add(call.start_s, call.bytes);
        pair.count(call.both);
        let enough = pair.counted >= ctx.settings.beacon_connections;
        let span_s = i64::try_from(ctx.settings.beacon_span_s).unwrap_or(i64::MAX);
        // Scoring sorts: with each eighth of what there is, and no rarer than each 64.
        let step = (pair.counted / 8).clamp(1, 64);
        if !enough || pair.last_s - pair.first_s < span_s || pair.counted < pair.scored + step {
            return None;
        }
        pair.scored = pair.counted;
        let found = self.judge(&key, ctx);
        if found.is_some()
            && let Some(pair) = self.pairs.get_mut(&key)
        {
            (pair.untold, pair.untold_calls) = (Volume::default(), 0);
        }
        found
    }

    /// Whether there is place for a pair; what is over or hardly called goes.
    fn make_room(&mut self, key: &Key, now_s: i64) -> bool {
        self.gate.admits(&mut self.pairs, key, PAIRS, now_s, |pair| {
            let old_s = if pair.counted < 4 { 3_600 } else { DAY_S };
            pair.last_s > now_s - old_s
        })
    }

    fn judge(&mut self, key: &Key, ctx: &AnalyticContext<'_>) -> Option<Finding> {
        let pair = self.pairs.get(key)?;
        let class = pair.who.process.as_ref().map(|view| ctx.settings.classes.classify(view));
        let exe = pair.who.process.as_ref().map_or("", |view| view.process.exe.as_str());
        let by_design = class.as_ref().is_some_and(|class| {
            matches!(class.kind, ClassKind::Agent | ClassKind::Server | ClassKind::Kernel)
        });
        if by_design || matches(&ctx.settings.process_whitelist, exe) {
            return None;
        }
        let first_s = self.first_s.unwrap_or(pair.first_s).max(pair.last_s - DAY_S);
        let kept: Vec<(i64, u64)> =
            pair.connections.iter().copied().filter(|&(at, _)| at >= first_s).collect();
        let strobe = pair.counted >= STROBE && pair.last_s - pair.first_s <= DAY_S;
        // What is no longer kept is outside of the time that is looked at.
        let from = match pair.counted > pair.connections.len() as u64 {
            true => kept.iter().map(|&(at, _)| at).min().unwrap_or(first_s),
            false => first_s,
        };
        let beacon = rita::score(&kept, (from, pair.last_s))?;
        let took_s = (pair.last_s - pair.first_s.max(from)).max(1) as f64;
        let filled = kept.len() as f64 * beacon.interval_s / took_s;
        if !strobe && (beacon.timing < least_timing(kept.len()) || filled < FILLED) {
            return None;
        }
        let mut threshold = ctx.settings.beacon_score as f64;
        let mut terms = vec![
            Term::new("timing", beacon.timing, 0.0, 1.0, 25.0),
            Term::new("sizes", beacon.sizes, 0.0, 1.0, 25.0),
            Term::new("duration", beacon.duration, 0.0, 1.0, 25.0),
            Term::new("histogram", beacon.histogram, 0.0, 1.0, 25.0),
        ];
        if strobe {
            terms.push(Term::new("strobe", 1.0, 1.0, 1.0, 25.0));
        }
        let (talkers, entities) = self.prevalence.of(&key.2);
        let share = talkers as f64 / entities.max(1) as f64;
        if entities >= NETWORK {
            match share {
                rare if rare <= 0.02 && talkers < TALKERS => {
                    terms.push(Term::new("rare_destination", 1.0, 1.0, 1.0, 15.0));
                }
                common if common >= 0.5 => threshold += 15.0,
                _ => {}
            }
        }
        let profile = ctx.baselines.profile(&pair.who.baseline);
        let known = profile.and_then(|profile| profile.destination(&key.2));
        let known_days = known.map(|known| pair.last_s.div_euclid(DAY_S) - known.first_day);
        match known_days {
            Some(days) if days >= 30 => threshold += 15.0,
            Some(days) if days > 7 => {}
            // Without a history everything is new, and that says nothing.
            None if profile.is_none_or(|profile| profile.days() < 7.0) => {}
            _ => terms.push(Term::new("new_destination", 1.0, 1.0, 1.0, 15.0)),
        }
        let score = Score::of(terms, threshold);
        let enough = score.alerts() && score.dimensions() >= 2;
        if !ctx.decide(NAME, &pair.who, pair.last_s, &score, enough) {
            return None;
        }
        let judged = Judged { key, pair, class, beacon, strobe, share, score };
        Some(judged.finding(ctx))
    }
}

impl Pair {
    fn new(first: FirstCall, src: &Host) -> Self {
        let FirstCall { who, bytes, both, latest } = first;
        let who = who.unwrap_or_else(|| Arc::new(Who::address(src)));
        let mut pair = Self::empty(who, latest.start_s);
        pair.latest.push_back(latest);
        pair.add(latest.start_s, bytes);
        pair.count(both);
        pair
    }

    fn empty(who: Arc<Who>, start_s: i64) -> Self {
        Self {
            who,
            connections: VecDeque::new(),
            counted: 0,
            first_s: start_s,
            last_s: start_s,
            latest: VecDeque::new(),
            scored: 0,
            volume: Volume::default(),
            untold: Volume::default(),
            untold_calls: 0,
        }
    }

    fn count(&mut self, volume: Volume) {
        self.volume.add(volume);
        self.untold.add(volume);
    }

    /// Whether the call is more of one before; it may itself go on.
    fn continues(&mut self, call: &Call<'_>) -> bool {
        let at = self.latest.iter().position(|latest| latest.port == call.source_port);
        let before = at.and_then(|at| self.latest.remove(at));
        if self.latest.len() >= LATEST {
            // What was cut is likelier to go on than what ended.
            let over = self.latest.iter().position(|latest| !latest.is_cut).unwrap_or(0);
            self.latest.remove(over);
        }
        self.latest.push_back(Latest::of(call));
        before.is_some_and(|before| call.goes_on(&before))
    }

    fn add(&mut self, start_s: i64, bytes: u64) {
        if start_s - self.last_s > DAY_S {
            // Another time, another rhythm.
            let latest = std::mem::take(&mut self.latest);
            *self = Self { latest, ..Self::empty(Arc::clone(&self.who), start_s) };
        }
        self.connections.push_back((start_s, bytes));
        if self.connections.len() > CONNECTIONS {
            self.connections.pop_front();
        }
        self.counted += 1;
        self.untold_calls += 1;
        self.first_s = self.first_s.min(start_s);
        self.last_s = self.last_s.max(start_s);
    }
}
