//! One act, told by several detectors: which of its alerts stands for it.
//!
//! A process that floods is seen as a flood between two addresses, as egress of its
//! instance and as a flood by the process. These are one act where all of this holds:
//!
//! - it is the same process, or one of the same workload, where both name one;
//! - the same address sends with the same protocol, and to the same one (or one of them
//!   knows only "many");
//! - in the same second, or minute where one of them judges minutes;
//! - what the one measured is at least half of what the other did, in that second or in
//!   the busiest of the minute: otherwise somebody else does the most of it.
//!
//! The alert that knows best who did it stands ([`Rank`]): a process before a workload,
//! that before an address or instance, a second before a minute. The
//! others stay alerts of their own with all their evidence, but are informational and
//! name it ([`super::Alert::part_of`]); it names them, is as severe as the worst of them
//! and answers their analytics too. What goes on for [`RELEASED_AFTER_S`] after it was
//! last explained so is told for itself again.
//!
//! An alert that is informational by itself stands for nothing: it may be expected.
//!
//! Limits: an act of several processes, none of which does half of it, is told by each
//! and by their address. One that an `[[allow]]` entry covers has no alert to be part of.
//!
//! Bounds: [`TRACES`] pairs of addresses an alert, [`MINUTES`] minutes of each, and
//! [`PARTS`] parts.

use std::collections::{BTreeMap, BTreeSet};

use super::open::Open;
use super::{EntityKind, Related, Severity};
use crate::detect::{Act, Family, Finding, Shape, Subject};
use crate::engine::window::Host;

/// Pairs of addresses that an alert remembers: those seen last.
const TRACES: usize = 4;
/// Longer than the longest interval of a flow log (10 minutes).
const MINUTES: usize = 16;
/// Three detectors at most look at one process, two at its address and one at its
/// instance.
const PARTS: usize = 16;
/// A minute, so that what judges minutes is not told anew between two of them.
const RELEASED_AFTER_S: i64 = 60;

/// How much a detector knows of who did it, most last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// What of an address's or an instance's minute looks odd (`data_ratio`).
    AddressMinute,
    /// `egress`: a minute of an instance or address.
    Instance,
    /// Floods between addresses.
    Address,
    /// What a workload did in a minute.
    WorkloadMinute,
    /// A program that is not to talk did, in a minute.
    ProcessClass,
    /// What else a process did in a minute.
    ProcessMinute,
    /// Connections of a workload, and of a process.
    WorkloadConnections,
    ProcessConnections,
    /// `tool_flood`.
    Process,
}

impl Rank {
    fn of(finding: &Finding) -> Option<Self> {
        let kind = finding.entity.kind;
        match (finding.detector, kind) {
            ("tool_flood", _) => Some(Self::Process),
            ("connection_rate", EntityKind::Process) => Some(Self::ProcessConnections),
            ("connection_rate", _) => Some(Self::WorkloadConnections),
            ("data_ratio" | "payload_shift", EntityKind::Process) => Some(Self::ProcessMinute),
            ("non_networking", EntityKind::Process) => Some(Self::ProcessClass),
            ("data_ratio", EntityKind::Address | EntityKind::Instance) => Some(Self::AddressMinute),
            ("dormant_active", EntityKind::Workload) => Some(Self::WorkloadMinute),
            ("egress", _) => Some(Self::Instance),
            _ if finding.case.is_none() => Some(Self::Address),
            _ => None,
        }
    }

    /// Judges minutes.
    fn by_minutes(self) -> bool {
        match self {
            Self::AddressMinute | Self::Instance | Self::WorkloadMinute => true,
            Self::ProcessClass | Self::ProcessMinute => true,
            Self::Address | Self::WorkloadConnections | Self::ProcessConnections => false,
            Self::Process => false,
        }
    }

    /// Whether an alert of this rank can stand for one of the other. A minute can't say
    /// of one second who sent in it; that a workload woke is more than who in it sent.
    fn stands_for(self, other: Self) -> bool {
        let woke = other == Self::WorkloadMinute;
        self > other && (!self.by_minutes() || other.by_minutes() && !woke)
    }
}

/// What an alert's findings say of who sent to whom.
#[derive(Debug, Default)]
pub(super) struct Acts {
    rank: Option<Rank>,
    who: Who,
    traces: Vec<Trace>,
    /// The alert that stands for it, and until when it was seen to.
    part_of: Option<(u64, Related, i64)>,
    /// Those that it stands for.
    parts: BTreeMap<u64, Related>,
}

/// What makes news: what it is part of, how many parts it has, how severe they are.
pub(super) type News = (Option<u64>, usize, Option<Severity>);

/// Whom an alert is about, as far as that is a process or a workload.
#[derive(Debug, Default)]
struct Who {
    process: Option<String>,
    /// Several that belong together, by the name of their parent or of one of them.
    is_group: bool,
    /// Container of the workload, or of the process.
    container: Option<String>,
}

impl Who {
    fn of(finding: &Finding) -> Self {
        let entity = &finding.entity;
        let process = (entity.kind == EntityKind::Process).then(|| entity.id.clone());
        let case = finding.case.as_deref();
        let workload = case.and_then(|case| case.workload.as_ref());
        Self {
            process,
            is_group: entity.labels.contains_key("together_by"),
            container: workload.map(|workload| workload.container.clone()),
        }
    }

    /// Whether it may have done what the other is said to have done.
    fn may_be(&self, other: &Self) -> bool {
        let process = match (&self.process, &other.process) {
            (Some(mine), Some(theirs)) => mine == theirs || self.is_group,
            _ => true,
        };
        process && (other.container.is_none() || self.container == other.container)
    }
}

/// What it is sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Tcp,
    Icmp,
    /// UDP and all others that need no connection.
    Datagrams,
}

impl Wire {
    /// Nothing of a minute, which has all of them.
    fn of(finding: &Finding) -> Option<Self> {
        match (finding.family, finding.kind) {
            (Family::Tcp, _) => Some(Self::Tcp),
            (Family::Icmp, _) => Some(Self::Icmp),
            (Family::Udp | Family::Gre | Family::OtherIp, _) => Some(Self::Datagrams),
            (Family::Case("connection_rate"), _) => Some(Self::Tcp),
            (Family::Case("tool_flood"), "icmp") => Some(Self::Icmp),
            (Family::Case("tool_flood"), "udp") => Some(Self::Datagrams),
            (Family::Case("tool_flood"), _) => Some(Self::Tcp),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct Trace {
    from: Host,
    to: Option<Host>,
    wire: Option<Wire>,
    /// Of the last finding: its time, and the volume of its busiest second.
    span: (i64, i64),
    packets: u64,
    /// By minute, the oldest first: bytes of its busiest second.
    minutes: Vec<(i64, u64)>,
}

impl Trace {
    /// Bytes of the busiest second in some minutes.
    fn busiest(&self, (from, until): (i64, i64)) -> u64 {
        let within = from.div_euclid(60)..=until.div_euclid(60);
        let bytes = self.minutes.iter().filter(|(minute, _)| within.contains(minute));
        bytes.map(|&(_, bytes)| bytes).max().unwrap_or(0)
    }
}

impl Acts {
    /// Adds what a finding says. Who sends in it, where that is told.
    pub(super) fn add(&mut self, finding: &Finding) -> Option<Host> {
        let rank = Rank::of(finding)?;
        let act = act_of(finding)?;
        if self.rank.is_none() {
            self.rank = Some(rank);
            self.who = Who::of(finding);
        }
        let wire = Wire::of(finding);
        let same = |it: &Trace| (it.from, it.to, it.wire) == (act.from, act.to, wire);
        let known = self.traces.iter().position(same);
        let mut trace = match known {
            Some(at) => self.traces.remove(at),
            None => Trace {
                from: act.from,
                to: act.to,
                wire,
                span: (0, 0),
                packets: 0,
                minutes: Vec::new(),
            },
        };
        let busiest = finding.busiest();
        trace.span = match rank.by_minutes() {
            true => (finding.start_second, finding.second),
            false => (finding.second, finding.second),
        };
        trace.packets = act.packets.unwrap_or(busiest.packets);
        let bytes = act.wire_bytes.unwrap_or(busiest.wire_bytes);
        let minute = finding.second.div_euclid(60);
        match trace.minutes.last_mut() {
            Some(last) if last.0 == minute => last.1 = last.1.max(bytes),
            _ => trace.minutes.push((minute, bytes)),
        }
        if trace.minutes.len() > MINUTES {
            trace.minutes.remove(0);
        }
        self.traces.push(trace);
        if self.traces.len() > TRACES {
            self.traces.remove(0);
        }
        Some(act.from)
    }

    pub(super) fn senders(&self) -> impl Iterator<Item = Host> {
        self.traces.iter().map(|trace| trace.from)
    }

    /// Whether this is what the other alert is about, as far as its last second or minute
    /// goes.
    fn explains(&self, other: &Self) -> bool {
        let (Some(rank), Some(others)) = (self.rank, other.rank) else { return false };
        let Some(span) = other.traces.last().map(|trace| trace.span) else { return false };
        rank.stands_for(others)
            && self.who.may_be(&other.who)
            && other.traces.iter().filter(|trace| trace.span == span).all(|theirs| {
                self.traces.iter().any(|mine| {
                    let to = mine.to == theirs.to || mine.to.is_none() || theirs.to.is_none();
                    let wire =
                        mine.wire == theirs.wire || mine.wire.is_none() || theirs.wire.is_none();
                    let same = mine.from == theirs.from && to && wire;
                    same && match rank.by_minutes() || others.by_minutes() {
                        true => mine.busiest(span) * 2 >= theirs.busiest(span).max(1),
                        false => mine.span == span && mine.packets * 2 >= theirs.packets.max(1),
                    }
                })
            })
    }

    /// The alert that stands for it.
    pub(super) fn part_of(&self) -> Option<&Related> {
        self.part_of.as_ref().map(|(_, whole, _)| whole)
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &Related> {
        self.parts.values()
    }

    /// The most severe of its parts.
    pub(super) fn worst_part(&self) -> Option<&Related> {
        self.parts.values().max_by_key(|part| part.severity)
    }

    pub(super) fn news(&self) -> News {
        let whole = self.part_of.as_ref().map(|(number, ..)| *number);
        (whole, self.parts.len(), self.worst_part().map(|part| part.severity))
    }
}

/// Relates an alert that has news to those of the same senders, by their numbers.
pub(super) fn relate(open: &mut BTreeMap<u64, Open>, number: u64, same: &BTreeSet<u64>) {
    let others = same.iter().copied().filter(|&other| other != number);
    let mut pairs: Vec<(u64, u64)> =
        others.flat_map(|other| [(other, number), (number, other)]).collect();
    pairs.sort_unstable();
    for (whole, part) in pairs {
        let (Some(of), Some(it)) = (open.get(&whole), open.get(&part)) else { continue };
        let related = of.related();
        let stands = related.severity > Severity::Informational
            && of.acts.part_of.is_none()
            && of.acts.explains(&it.acts);
        let better = match &it.acts.part_of {
            Some((known, ..)) if *known != whole => {
                let known = open.get(known).and_then(|known| known.acts.rank);
                of.acts.rank > known
            }
            _ => true,
        };
        if stands && better {
            join(open, whole, part, related);
        }
    }
    release(open, number);
}

fn join(open: &mut BTreeMap<u64, Open>, whole: u64, part: u64, related: Related) {
    let Some(it) = open.get_mut(&part) else { return };
    let (mut own, until) = (it.related(), it.last_second);
    let before = it.acts.part_of.replace((whole, related, until));
    // What it stood for is part of the same.
    let inherited = std::mem::take(&mut it.acts.parts);
    if let Some((before, ..)) = before.filter(|(before, ..)| *before != whole)
        && let Some(before) = open.get_mut(&before)
    {
        before.acts.parts.remove(&part);
    }
    let Some(of) = open.get_mut(&whole) else { return };
    let parts = &mut of.acts.parts;
    if let Some(known) = parts.get(&part) {
        own.severity = own.severity.max(known.severity);
    }
    if parts.len() < PARTS || parts.contains_key(&part) {
        parts.insert(part, own);
    }
    let (whole_related, of_second) = (of.related(), of.last_second);
    for (number, related) in inherited {
        let Some(of) = open.get_mut(&whole) else { return };
        if of.acts.parts.len() < PARTS {
            of.acts.parts.insert(number, related);
        }
        if let Some(it) = open.get_mut(&number) {
            it.acts.part_of = Some((whole, whole_related.clone(), of_second));
        }
    }
}

/// Tells for itself what goes on when it is not explained any more.
fn release(open: &mut BTreeMap<u64, Open>, number: u64) {
    let Some(it) = open.get_mut(&number) else { return };
    let last = it.last_second;
    let over = |until: i64| last > until.saturating_add(RELEASED_AFTER_S);
    let Some((whole, ..)) = it.acts.part_of.take_if(|(_, _, until)| over(*until)) else {
        return;
    };
    if let Some(whole) = open.get_mut(&whole) {
        whole.acts.parts.remove(&number);
    }
}

/// Who sends to whom: as the detector says, or as a flood between addresses shows.
fn act_of(finding: &Finding) -> Option<Act> {
    if finding.act.is_some() || finding.case.is_some() {
        return finding.act;
    }
    let (from, to) = match finding.subject {
        Subject::Sender(host) => (host, None),
        Subject::Host(victim) => {
            let id = &finding.entity.id;
            let source = finding.sources_by_packets().find(|peer| match finding.home_sender {
                true => peer.host.ip().to_string() == *id,
                false => finding.shape == Shape::OneToOne,
            })?;
            (source.host, Some(victim))
        }
        _ => return None,
    };
    let peer = finding.sources_by_packets().find(|peer| peer.host == from);
    Some(Act {
        from,
        to,
        packets: peer.and_then(|peer| peer.packets),
        wire_bytes: peer.and_then(|peer| peer.wire_bytes),
    })
}

#[cfg(test)]
#[path = "act_tests.rs"]
mod tests;
