//! What a detector hands over: one window's measurement of one attack.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::Background;
use crate::alert::{Case, Entity, Severity};
use crate::engine::window::features::Carried;
use crate::engine::window::{Host, PortBits, Prefix, SIZE_BINS, Station, Tally};

/// One window of one attack. The alert book joins findings of the same attack.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub detector: &'static str,
    /// Detectors of one family that see the same subject see the same attack.
    pub family: Family,
    /// Of several findings of a family in one window the lowest names it.
    pub precedence: u8,
    pub second: i64,
    /// First second of what the finding rests on; a scan's evidence may be
    /// minutes old.
    pub start_second: i64,
    /// Enough to open an alert; otherwise it only continues an open one.
    pub opens: bool,
    /// What is attacked, or who acts where there is no one victim.
    pub subject: Subject,
    /// Whom the alert is about.
    pub entity: Entity,
    /// The entity is inside the home networks and sends.
    pub home_sender: bool,
    /// Protocol that needs no connection (ATT&CK ProtocolType).
    pub stateless: bool,
    pub kind: &'static str,
    pub direction: Direction,
    pub shape: Shape,
    pub rule: Rule,
    /// What was held against the rule's threshold.
    pub measured: u64,
    pub traffic: Traffic,
    /// The busiest second, where `traffic` is of more than one.
    pub busiest: Option<Busiest>,
    /// Packets of `traffic` that nobody answered.
    pub unanswered: u64,
    pub answer_ratio: Option<f64>,
    pub sources: u64,
    pub destinations: u64,
    pub spoofed_sources: bool,
    /// Sums come from a sketch.
    pub estimated: bool,
    pub src_port: Option<PortShare>,
    pub dst_port: Option<PortShare>,
    pub peers: Vec<Peer>,
    /// Whom it went to, as `to_ports`; none where all of `peers` count.
    pub to_peers: Vec<Host>,
    /// Whether `peers` has everybody whom it went to; nothing where `destinations` says it.
    pub names_all_peers: Option<bool>,
    /// Ports that it went to: those of a hundredth of it and more, where none of those is left
    /// out and what is less is not what the finding is about; else none.
    pub to_ports: Vec<u16>,
    /// The detector's own measurements.
    pub details: BTreeMap<&'static str, Value>,
    /// Of an entity's behaviour, where that is judged rather than a flood.
    pub case: Option<Box<Case>>,
    /// What is known of the entity, where there is no case that says it.
    pub background: Background,
    /// Who sends to whom, where an entity's detector says it: several alerts may be of one
    /// act.
    pub act: Option<Act>,
    /// Seconds in which there was any, where `traffic` is of more than one and they are
    /// told apart.
    pub active_s: Option<u64>,
    /// Bytes of a minute, where `traffic` is of more or less than one.
    pub minute_bytes: Option<u64>,
    /// A coarser source's view of what a finer one decides: it stands in the alert by
    /// this name and adds nothing to its sums.
    pub corroborated_by: Option<Arc<str>>,
    /// Digest of what it tells the whole of, from `start_second` to now: a later finding of
    /// the same whole holds the earlier ones. Nothing where it is of a window of its own.
    pub whole: Option<u64>,
}

impl Finding {
    /// A finding of one second with nothing measured yet.
    pub fn new(
        detector: &'static str,
        family: Family,
        second: i64,
        subject: Subject,
        entity: Entity,
        rule: Rule,
    ) -> Self {
        Self {
            detector,
            family,
            precedence: 2,
            second,
            start_second: second,
            opens: false,
            subject,
            entity,
            home_sender: false,
            stateless: false,
            kind: "",
            direction: Direction::Crossing,
            shape: Shape::OneToOne,
            rule,
            measured: 0,
            traffic: Traffic::default(),
            busiest: None,
            unanswered: 0,
            answer_ratio: None,
            sources: 1,
            destinations: 1,
            spoofed_sources: false,
            estimated: false,
            src_port: None,
            dst_port: None,
            peers: Vec::new(),
            to_peers: Vec::new(),
            names_all_peers: None,
            to_ports: Vec::new(),
            details: BTreeMap::new(),
            case: None,
            background: Background::default(),
            act: None,
            active_s: None,
            minute_bytes: None,
            corroborated_by: None,
            whole: None,
        }
    }

    /// The busiest second; one of nothing where seconds are not told apart.
    pub fn busiest(&self) -> Busiest {
        let second = self.second;
        match self.busiest {
            Some(busiest) => busiest,
            None if self.seconds() > 1 => Busiest { second, ..Busiest::default() },
            None => Busiest {
                second,
                packets: self.traffic.packets,
                wire_bytes: self.traffic.wire_bytes,
                payload_bytes: self.traffic.payload_bytes,
                unanswered: self.unanswered,
            },
        }
    }

    /// What is measured is a rate of a second, and its sentence says it: both are the
    /// busiest second's, whatever the score of it.
    pub(crate) fn is_rate(&self) -> bool {
        self.case.is_none() || self.rule.unit.ends_with("/s")
    }

    /// Its sources, those with the most packets first.
    pub(crate) fn sources_by_packets(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|peer| peer.role == PeerRole::Source)
    }

    /// Packets of its busiest second, or of a mean one where that is not known; nothing
    /// where its detector counts none.
    pub(crate) fn packets_per_s(&self) -> Option<u64> {
        let packets = match self.busiest {
            Some(busiest) => busiest.packets,
            None => self.traffic.packets.div_ceil(self.seconds()),
        };
        (packets > 0).then_some(packets)
    }

    /// Bytes of a minute, at the rate of the finding; nothing where its detector counts
    /// none.
    pub(crate) fn bytes_per_minute(&self) -> Option<u64> {
        let bytes = match (self.minute_bytes, self.busiest) {
            (Some(bytes), _) => bytes,
            (None, Some(busiest)) => busiest.wire_bytes.saturating_mul(60),
            (None, None) => self.traffic.wire_bytes.saturating_mul(60) / self.seconds(),
        };
        (bytes > 0).then_some(bytes)
    }

    /// Seconds in which it was seen, as far as they are told apart.
    pub(crate) fn active_seconds(&self) -> u64 {
        self.active_s.unwrap_or(u64::MAX).clamp(1, self.seconds())
    }

    /// Seconds that `traffic` is of. A scan's evidence is older than its traffic.
    fn seconds(&self) -> u64 {
        let span = self.second.saturating_sub(self.start_second).saturating_add(1);
        if self.case.is_some() { span.unsigned_abs().max(1) } else { 1 }
    }

    /// Severity, score in thousandths, and moments: of the findings of one alert the highest
    /// has its case. Nothing where there is no case.
    pub(crate) fn case_rank(&self) -> Option<(Severity, u64, usize)> {
        let case = self.case.as_ref()?;
        let score = (case.score.value.max(0.0) * 1000.0) as u64;
        Some((case.severity, score, case.timeline.len()))
    }
}

/// Somebody sends to somebody, or to many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    pub from: Host,
    /// Nothing where it is many.
    pub to: Option<Host>,
    /// Of the busiest second, where that is less than all that was sent in it.
    pub packets: Option<u64>,
    pub wire_bytes: Option<u64>,
}

/// Groups of detectors whose findings on one subject are one attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    Udp,
    Icmp,
    Gre,
    OtherIp,
    Tcp,
    Link,
    Scan,
    Reflector,
    /// Of the sensor itself.
    Sensor,
    /// Behaviour of an entity, by the detector that judges it.
    Case(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// An address that is attacked.
    Host(Host),
    /// A prefix that is attacked.
    Prefix(Prefix),
    /// An address that acts on many others.
    Sender(Host),
    /// A station and the EtherType it sends.
    Station(Station, u16),
    /// An interface of the sensor, by its number.
    Interface(u16),
    /// An entity, by a digest of its kind and id and of what it is about.
    Entity(u64),
}

/// Where the packets go, seen from the home networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Inbound,
    Outbound,
    /// From one home address to another.
    Internal,
    /// Neither end is at home.
    Crossing,
}

impl Direction {
    pub fn new(from_home: bool, to_home: bool) -> Self {
        match (from_home, to_home) {
            (false, true) => Self::Inbound,
            (true, false) => Self::Outbound,
            (true, true) => Self::Internal,
            (false, false) => Self::Crossing,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::Internal => "internal",
            Self::Crossing => "crossing",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    OneToOne,
    ManyToOne,
    OneToMany,
    /// Many addresses of one prefix, each below the threshold.
    Carpet,
}

impl Shape {
    pub fn words(self) -> &'static str {
        match self {
            Self::OneToOne => "one to one",
            Self::ManyToOne => "many to one",
            Self::OneToMany => "one to many",
            Self::Carpet => "carpet bombing",
        }
    }
}

/// The rule that decided, in figures and as a formula.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rule {
    pub name: &'static str,
    pub threshold: u64,
    pub unit: &'static str,
    pub formula: &'static str,
}

impl Rule {
    /// Of a finding that no rule has judged yet.
    pub(crate) const NONE: Self = Self { name: "", threshold: 0, unit: "", formula: "" };
}

/// What was measured in one window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    pub packets: u64,
    pub wire_bytes: u64,
    pub payload_bytes: u64,
    pub sizes: [u64; SIZE_BINS],
}

impl Traffic {
    pub(crate) fn of(carried: &Carried) -> Self {
        Self {
            packets: carried.packets.into(),
            wire_bytes: carried.wire_bytes,
            payload_bytes: carried.payload_bytes,
            sizes: carried.sizes.map(u64::from),
        }
    }

    /// Adds the share of a tally that `packets` of its packets hold.
    pub fn add_share(&mut self, tally: &Tally, packets: u64) {
        let all = tally.packets().max(1);
        let packets = packets.min(all);
        self.packets += packets;
        if packets == all {
            // The usual case, and worth it: divisions are most of the cost of
            // a pair.
            self.wire_bytes += tally.wire_bytes;
            self.payload_bytes += tally.payload_bytes;
            for (mine, &theirs) in self.sizes.iter_mut().zip(&tally.sizes) {
                *mine += u64::from(theirs);
            }
            return;
        }
        let share = |sum: u64| match sum.checked_mul(packets) {
            Some(product) => product / all,
            None => (u128::from(sum) * u128::from(packets) / u128::from(all)) as u64,
        };
        self.wire_bytes += share(tally.wire_bytes);
        self.payload_bytes += share(tally.payload_bytes);
        for (mine, &theirs) in self.sizes.iter_mut().zip(&tally.sizes) {
            *mine += share(u64::from(theirs));
        }
    }
}

/// What was sent in the busiest second of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busiest {
    pub second: i64,
    pub packets: u64,
    pub wire_bytes: u64,
    pub payload_bytes: u64,
    /// Packets that nobody answered.
    pub unanswered: u64,
}

impl Busiest {
    /// Adds what another sent in the same second.
    pub(crate) fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.wire_bytes += other.wire_bytes;
        self.payload_bytes += other.payload_bytes;
        self.unanswered += other.unanswered;
    }
}

/// A port and the least share of packets that have it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PortShare {
    pub port: u16,
    pub share: f64,
}

impl PortShare {
    pub fn of(bits: &PortBits) -> Option<Self> {
        let (port, share) = bits.majority()?;
        Some(Self { port, share: round3(share) })
    }
}

/// Somebody at the other end of what the alert is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    pub host: Host,
    pub role: PeerRole,
    /// Nothing for a member of a sample.
    pub packets: Option<u64>,
    pub wire_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerRole {
    Source,
    Destination,
}

/// Ratios are shown to three places.
pub(crate) fn round3(value: f64) -> f64 {
    libm::round(value * 1000.0) / 1000.0
}
