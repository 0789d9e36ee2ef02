//! The analytics: what an entity does is held against its own normal, or against a
//! pattern. One file a detector; ANALYTICS.md says which ATT&CK analytic needs which.
//!
//! Detectors here see [`Event`]s, which [`super::Detection`] hands them in the order of
//! event time: seconds and minutes of entities, ended flows, and what other sources
//! say. They read baselines and never write them; they never see a packet. Their
//! memory across events is bounded and its policy at the bound stands in their file.
//!
//! A finding here has a [`Case`]: a score of stated terms, what decided, the missing
//! telemetry. [`about`] makes the part that all have in common.

mod beacon;
mod callers;
mod data_ratio;
mod distance;
mod egress;
mod held;
mod held_open;
mod non_networking;
mod not_dns;
mod payload_shift;
mod process_context;
mod signs;
mod slow_leak;
mod tool_flood;

mod chain;
mod connection_rate;
mod counters;
mod dns_tunnel;
mod dormant;
mod error_spike;
mod exploit;
mod first_seen;
mod icmp_tunnel;
mod links;
mod metadata;
mod patterns;
#[cfg(test)]
mod payload_service_tests;
#[cfg(test)]
mod payload_tests;
mod programs;
mod relay;
mod request_flood;
mod room;
mod shell;
mod stage;
mod story;
#[cfg(test)]
pub(crate) mod testing;
mod tunnelled;

pub(super) use room::make_room;

pub(crate) use dns_tunnel::allowed_by_default as dns_allowed_by_default;

use std::net::IpAddr;
use std::sync::Arc;

use super::{
    Act, Busiest, DetectSettings, Direction, Family, Finding, HomeNets, Name, Names, Peer,
    PeerRole, Rule, Shape, Subject,
};
use crate::alert::{Case, Score};
use crate::baseline::{Baselines, Metric, Profile};
use crate::engine::window::Host;
use crate::engine::window::Seed;
use crate::engine::window::features::{
    DnsKey, DnsStats, EchoKey, EchoStats, NotDnsKey, NotDnsStats, ToldKey, ToldName,
};
use crate::entity::{Minute, PeerSums, SecondOf, Who};
use crate::flow::app::AppInfo;
use crate::flow::{FlowRecord, Outline};
use crate::host::execs::Served;
use crate::host::inventory::Instance;
use crate::host::side::{FlowHosts, ProcessView};
use crate::host::workload::Workload;
use crate::telemetry::counters::series::Growth;
use crate::telemetry::observation::FlowReport;
use crate::telemetry::request::Request;
use crate::telemetry::sample::CounterSample;

/// Something that a detector may look at.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// What entities did in one second, by kind and id.
    Second { second: i64, entities: &'a [&'a SecondOf] },
    /// What one entity did in a minute, or in the interval of a source that counts by
    /// longer ones. All of one minute follow one another.
    Minute(&'a Minute),
    /// A flow that ended or was cut by the active time-out; of those that nobody answered, in
    /// a flood a sample alone. With records it has names that without are read only beside a
    /// map, an inventory or a baseline.
    Flow(&'a FlowEnd<'a>),
    /// Its record, with `--out`.
    Record(&'a FlowRecord),
    /// A flow as another source has it.
    Report { source: &'a Source, flow: &'a FlowReport, hosts: Option<&'a FlowHosts> },
    /// A request that a balancer or a server logged, or that was seen in clear in packets:
    /// then the source's kind is `packets`.
    Request { source: &'a Source, request: &'a Request, served: &'a Served },
    /// A request was seen in clear whose answer is waited for: who serves is known at once,
    /// the request itself is told in a second.
    Asked { time_ns: i64, served: &'a Served },
    /// Counters that grew.
    Counter { source: &'a Source, sample: &'a CounterSample, growth: &'a Growth },
    /// What one client asked one server about one domain in one second. By key.
    Dns(&'a DnsSecond<'a>),
    /// What one client and one server sent at UDP port 53 in one second that is no DNS
    /// message: before what they asked in it. By key.
    NotDns(&'a NotDnsSecond<'a>),
    /// Whom a name stands for, by an answer that was asked for. By key.
    Told { second: i64, key: &'a ToldKey, told: &'a ToldName },
    /// What two hosts echoed in one second. By key.
    Echo(&'a EchoSecond<'a>),
    /// A process began or runs another program.
    Exec(&'a Exec),
    /// All seconds of packets before this one are closed: after everything else of a
    /// second in which there was something. What runs out by it must not depend on how
    /// often it is told.
    Time { second: i64 },
    /// Nothing comes any more: what was waited for is judged by what there is.
    End,
}

/// What an event is of, for who looks at a few kinds alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventKind {
    Second,
    Minute,
    Flow,
    Record,
    Report,
    Request,
    Asked,
    Counter,
    Dns,
    NotDns,
    Told,
    Echo,
    Exec,
    Time,
    End,
}

impl EventKind {
    pub(super) const ALL: [Self; 15] = [
        Self::Second,
        Self::Minute,
        Self::Flow,
        Self::Record,
        Self::Report,
        Self::Request,
        Self::Asked,
        Self::Counter,
        Self::Dns,
        Self::NotDns,
        Self::Told,
        Self::Echo,
        Self::Exec,
        Self::Time,
        Self::End,
    ];
}

impl Event<'_> {
    pub(super) fn kind(&self) -> EventKind {
        match self {
            Self::Second { .. } => EventKind::Second,
            Self::Minute(_) => EventKind::Minute,
            Self::Flow(_) => EventKind::Flow,
            Self::Record(_) => EventKind::Record,
            Self::Report { .. } => EventKind::Report,
            Self::Request { .. } => EventKind::Request,
            Self::Asked { .. } => EventKind::Asked,
            Self::Counter { .. } => EventKind::Counter,
            Self::Dns(_) => EventKind::Dns,
            Self::NotDns(_) => EventKind::NotDns,
            Self::Told { .. } => EventKind::Told,
            Self::Echo(_) => EventKind::Echo,
            Self::Exec(_) => EventKind::Exec,
            Self::Time { .. } => EventKind::Time,
            Self::End => EventKind::End,
        }
    }
}

/// Kind of the source that the run's own packets are.
pub const PACKETS: &str = "packets";

/// Where an observation comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Path, address or name, as the user gave it.
    pub name: Arc<str>,
    /// Name of its kind, as `flowtap inputs` lists it.
    pub kind: &'static str,
    /// How late it may tell of something.
    pub lateness_ns: i64,
}

/// A flow that ended.
#[derive(Clone, Copy, Debug)]
pub struct FlowEnd<'a> {
    pub outline: &'a Outline,
    pub app: Option<&'a AppInfo>,
    pub hosts: Option<&'a FlowHosts>,
}

#[derive(Clone, Debug)]
pub struct DnsSecond<'a> {
    pub second: i64,
    pub key: &'a DnsKey,
    pub stats: &'a DnsStats,
    /// Who asked, where that is known better than by address.
    pub who: Option<Arc<Who>>,
}

#[derive(Clone, Debug)]
pub struct NotDnsSecond<'a> {
    pub second: i64,
    pub key: &'a NotDnsKey,
    pub stats: &'a NotDnsStats,
    /// Who sends, where that is known better than by address.
    pub who: Option<Arc<Who>>,
}

#[derive(Clone, Debug)]
pub struct EchoSecond<'a> {
    pub second: i64,
    pub key: &'a EchoKey,
    pub stats: &'a EchoStats,
    /// Of the hashes in it.
    pub seed: Seed,
    /// Who asked, where that is known better than by address.
    pub who: Option<Arc<Who>>,
}

/// A program that began.
#[derive(Clone, Debug, PartialEq)]
pub struct Exec {
    pub time_ns: i64,
    pub process: Arc<ProcessView>,
    pub workload: Option<Arc<Workload>>,
    /// It is the first of its container, which began with it.
    pub begins_container: bool,
    /// The host's name, and its boot.
    pub host: Arc<str>,
    pub boot: Arc<str>,
    /// What the host is by the inventory.
    pub instance: Option<Arc<Instance>>,
    /// Addresses that the host had then, without those of containers.
    pub addresses: Vec<IpAddr>,
}

/// What a detector may ask.
pub struct AnalyticContext<'a> {
    pub settings: &'a DetectSettings,
    pub baselines: &'a Baselines,
    pub inputs: &'a Inputs,
    /// What destinations are called.
    pub names: &'a Names,
    pub seed: Seed,
}

impl AnalyticContext<'_> {
    /// `enough`: whether a score of an entity makes a finding. Where somebody asks about
    /// the entity (see [`super::Watch`]), the score is taken down before.
    pub(super) fn decide(
        &self,
        detector: &'static str,
        who: &Who,
        second: i64,
        score: &Score,
        enough: bool,
    ) -> bool {
        self.decide_part(detector, who, None, second, (score, enough))
    }

    /// The same of a part of what the entity did, by name.
    pub(super) fn decide_part(
        &self,
        detector: &'static str,
        who: &Who,
        part: Option<&str>,
        second: i64,
        (score, enough): (&Score, bool),
    ) -> bool {
        if let Some(watch) = &self.settings.watch {
            let frozen_until_s = self.baselines.frozen_until(&who.baseline);
            watch.score(detector, (who, part), second, (score, None), frozen_until_s);
        }
        enough
    }

    /// The same of an entity that is not judged, and why, where somebody asks.
    pub(super) fn lacks(
        &self,
        detector: &'static str,
        who: &Who,
        second: i64,
        score: &Score,
        lacked: impl FnOnce() -> String,
    ) {
        if let Some(watch) = &self.settings.watch {
            let frozen_until_s = self.baselines.frozen_until(&who.baseline);
            watch.score(detector, (who, None), second, (score, Some(lacked())), frozen_until_s);
        }
    }

    /// Where somebody asks about the entity, a measure that is too low to make a score of
    /// is taken down.
    pub(super) fn missed(
        &self,
        detector: &'static str,
        who: &Who,
        second: i64,
        (value, rule): (f64, &Rule),
    ) {
        if let Some(watch) = &self.settings.watch {
            watch.measure(detector, who, second, (value, rule));
        }
    }

    /// Somebody asks about some entity.
    pub(super) fn is_asked(&self) -> bool {
        self.settings.watch.is_some()
    }

    pub fn home(&self) -> &HomeNets {
        &self.settings.home_nets
    }

    /// Whether a peer of its minute is a destination that an entity did not know, neither
    /// its prefix nor the name that DNS gives its address; nothing of one that it answered
    /// alone.
    fn is_new(&self, profile: &Profile, minute: &Minute, peer: &PeerSums<Host>) -> Option<bool> {
        let is_new = profile.is_new(peer)?;
        let at_ns = minute.start_s.saturating_add(minute.length_s).saturating_mul(1_000_000_000);
        let own = minute.measures.own.map_or(peer.key, |(own, _)| own);
        let named = || {
            let names = self.names.of(&own, &peer.key, None, at_ns);
            let known = (self.home(), self.baselines);
            self.names.vouched((&own, profile), &peer.key, &names, at_ns, known)
        };
        // Of a flow that ended in a minute before, the name may be learned by now.
        let day = minute.start_s.div_euclid(86_400);
        let is_known =
            |name: &Name| profile.name(name.digest).is_some_and(|known| known.first_day < day);
        Some(is_new && !named().is_some_and(is_known))
    }
}

/// What this run is given: what is missing lowers confidence and stands in alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Detection was left out of the run.
    pub undetected: bool,
    pub host_map: bool,
    pub inventory: bool,
    pub baseline: bool,
    pub request_logs: bool,
    pub flow_logs: bool,
    pub counters: bool,
    pub packets: bool,
}

impl Inputs {
    /// A kind of telemetry is there once it said something.
    pub(super) fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::Second { .. } | Event::Flow(_) | Event::Record(_) => self.packets = true,
            Event::Report { .. } => self.flow_logs = true,
            Event::Request { source, .. } => self.request_logs |= source.kind != PACKETS,
            Event::Counter { .. } => self.counters = true,
            Event::Exec(_) => self.host_map = true,
            Event::Dns(_)
            | Event::NotDns(_)
            | Event::Told { .. }
            | Event::Echo(_)
            | Event::Asked { .. } => {}
            Event::Minute(_) | Event::Time { .. } | Event::End => {}
        }
    }
}

/// A value of a minute that is not of its traffic: requests of a target, growth of
/// counters.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Whose normal it is.
    pub key: Arc<str>,
    pub metric: Metric,
    pub at_s: i64,
    pub value: f64,
    /// Otherwise it can be a habit of its hour alone.
    pub is_usual: bool,
}

/// A method that finds one sort of behaviour.
pub trait Analytic: Send {
    fn name(&self) -> &'static str;

    /// Kinds of events that it looks at: no others are shown to it.
    fn looks_at(&self) -> &'static [EventKind];

    /// Looks at an event; `out` holds what detectors before this one found in it.
    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>);

    /// Hands out what it measured that is no minute of traffic, to be learned after the
    /// event: baselines are read while it looks.
    fn teach(&mut self, _taught: &mut Vec<Measured>) {}

    /// How often its memory was full.
    fn refused(&self) -> u64 {
        0
    }
}

/// Analytics, and who of them looks at which events: most events concern a few alone.
pub(super) struct Analytics {
    all: Vec<Box<dyn Analytic>>,
    /// Places of those that look at a kind, by kind.
    looking: [Vec<usize>; EventKind::ALL.len()],
}

impl Default for Analytics {
    fn default() -> Self {
        let all = all();
        let looking = EventKind::ALL.map(|kind| {
            let looks = |at: &usize| all[*at].looks_at().contains(&kind);
            (0..all.len()).filter(looks).collect()
        });
        Self { all, looking }
    }
}

impl Analytics {
    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn Analytic> {
        self.all.iter().map(|analytic| &**analytic)
    }

    /// Shows an event, and takes what was measured by it.
    pub(super) fn show(
        &mut self,
        event: &Event<'_>,
        ctx: &AnalyticContext<'_>,
        out: &mut Vec<Finding>,
        taught: &mut Vec<Measured>,
    ) {
        for &at in &self.looking[event.kind() as usize] {
            let analytic = &mut self.all[at];
            analytic.observe(event, ctx, out);
            analytic.teach(taught);
        }
    }
}

/// Adds what was found, if anything. `extend` moves it through the stack even where there is
/// nothing, with each event.
fn add(found: Option<Finding>, out: &mut Vec<Finding>) {
    if let Some(found) = found {
        out.push(found);
    }
}

/// All of them, in the order in which they look.
fn all() -> Vec<Box<dyn Analytic>> {
    vec![
        Box::<egress::Egress>::default(),
        Box::<tool_flood::ToolFlood>::default(),
        Box::<payload_shift::PayloadShift>::default(),
        Box::<data_ratio::DataRatio>::default(),
        Box::<non_networking::NonNetworking>::default(),
        Box::<beacon::Beacons>::default(),
        Box::<chain::Chain>::default(),
        Box::<relay::Relay>::default(),
        Box::<dormant::Dormant>::default(),
        Box::<counters::Counters>::default(),
        Box::<request_flood::RequestFlood>::default(),
        Box::<connection_rate::ConnectionRate>::default(),
        Box::<held_open::HeldOpen>::default(),
        Box::<dns_tunnel::DnsTunnel>::default(),
        Box::<icmp_tunnel::IcmpTunnel>::default(),
    ]
}

/// The finding of an entity's behaviour, without what only the detector knows: its
/// measures, peers, the times, the subject.
pub fn about(
    detector: &'static str,
    who: &Who,
    (start_second, second): (i64, i64),
    rule: Rule,
    score: Score,
    seed: Seed,
) -> Finding {
    let id = &who.entity.id;
    let digest = id.bytes().fold(who.entity.kind as u64, |sum, byte| seed.mix(sum, byte.into()));
    let mut case = Case::new(score);
    case.baseline_key = Some(Arc::clone(&who.baseline));
    case.process.clone_from(&who.process);
    case.workload.clone_from(&who.workload);
    case.instance.clone_from(&who.instance);
    let mut finding = Finding::new(
        detector,
        Family::Case(detector),
        second,
        Subject::Entity(digest),
        who.entity.clone(),
        rule,
    );
    finding.start_second = start_second;
    finding.opens = true;
    finding.home_sender = true;
    finding.direction = Direction::Outbound;
    finding.case = Some(Box::new(case));
    finding
}

/// An analytic that needs a process or workload is answered with one, and else only
/// possible (CONTRACT). Whether there is one.
fn answers_with_process(case: &mut Case, who: &Who, analytic: &'static str) -> bool {
    let is_named = who.process.is_some() || who.workload.is_some();
    if is_named {
        case.analytics.push(analytic);
    } else {
        case.possible_analytics.push(analytic);
        case.missing.push("process_map");
    }
    is_named
}

/// The same as a sign of its own.
fn trusts_process(case: &mut Case, who: &Who, analytic: &'static str) {
    match answers_with_process(case, who, analytic) {
        true => case.confident("process_known", 0.1),
        false => case.confident("process_unknown", -0.1),
    }
}

/// Fills a finding with what a minute holds: traffic, busiest second, peers.
pub fn measured_in(finding: &mut Finding, minute: &Minute) {
    let measures = &minute.measures;
    let sent = &measures.sent;
    finding.traffic.packets = sent.packets;
    finding.traffic.wire_bytes = sent.wire_bytes;
    finding.traffic.payload_bytes = sent.payload_bytes;
    finding.traffic.sizes = sent.sizes;
    let (second, packets, wire_bytes, payload_bytes) = measures.busiest;
    let unanswered = measures.busiest_unanswered;
    finding.busiest = Some(Busiest { second, packets, wire_bytes, payload_bytes, unanswered });
    // What another source counted by the minute may have been sent in all of it.
    finding.active_s = minute.reported.is_none().then(|| measures.seconds_active.into());
    finding.unanswered = measures.unanswered_packets;
    finding.answer_ratio = Some(super::round3(measures.answer_ratio()));
    finding.destinations = measures.peers.estimate();
    finding.shape = if finding.destinations <= 1 { Shape::OneToOne } else { Shape::OneToMany };
    finding.act = measures.own.map(|(from, _)| Act {
        from,
        to: measures.top_peer().filter(|(_, share)| *share >= 0.5).map(|(peer, _)| peer.key),
        packets: None,
        wire_bytes: None,
    });
    let mut top = measures.top.clone();
    top.sort_by_key(|peer| (u64::MAX - peer.sent_bytes, peer.key));
    finding.names_all_peers = Some(top.iter().all(|peer| peer.error_bytes == 0));
    finding.peers = top
        .iter()
        .filter(|peer| peer.sent_packets > 0)
        .map(|peer| Peer {
            host: peer.key,
            role: PeerRole::Destination,
            packets: Some(peer.sent_packets),
            wire_bytes: Some(peer.sent_bytes),
        })
        .collect();
}
