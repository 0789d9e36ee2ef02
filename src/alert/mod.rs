//! Alerts: the record, its identity, updates, evidence.
//!
//! An [`Alert`] is one attack, however long it lasts: [`AlertBook`] joins the
//! findings of all windows and detectors that belong to it. What was measured,
//! the threshold it was held against, and what was missing stand in the record
//! itself. Until the entity's baseline is mature, confidence is at most
//! [`CONFIDENCE_WITHOUT_BASELINE`], and the alert says so.

mod act;
mod allow;
mod allowed;
mod book;
mod case;
mod ended;
mod entity;
mod grade;
mod open;
mod sentence;
mod towards;

pub use allow::{AllowCount, AllowEntry, AllowedEntity, DETECTORS};
pub use book::{AlertBook, Update};
pub use case::{Case, ConfidenceTerm, DecidedBy, Moment, SCORE_FORMULA, Scale, Score, Term};
pub(crate) use entity::Beginning;
pub use entity::{Entity, EntityKind};
pub use grade::{CONFIDENCE_WITHOUT_BASELINE, Grade, Severity, SeverityTerm, clipped};
use sentence::seconds_text;
pub use sentence::sentence;
pub(crate) use sentence::{bits, lasted, thousands};
pub use towards::Towards;
pub(crate) use towards::{ALL_AT_ONE_PORT, towards_words};

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::detect::{Direction, PeerRole, PortShare, Rule, Shape};
use crate::host::destination::Context;
use crate::host::inventory::Instance;
use crate::input::FileReport;
use crate::input::origin::Origins;

/// Captures that an alert names: a flood of hours lies in a few files of a ring.
const LISTED_FILES: usize = 16;

/// One attack.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    /// 16 hex digits; see [`alert_id`].
    pub id: String,
    /// Rises with each change worth telling: sustained, twice the peak, over.
    pub revision: u32,
    pub detector: String,
    pub state: State,
    /// ATT&CK analytics that this alert answers.
    pub analytics: Vec<String>,
    /// Analytics that would apply if the process or workload were known.
    pub possible_analytics: Vec<String>,
    pub severity: Severity,
    /// 0 to 1.
    pub confidence: f64,
    /// Why the two are what they are.
    #[serde(flatten)]
    pub grade: Grade,
    /// Start of the first and end of the last second of activity.
    #[serde(rename = "start", serialize_with = "rfc3339")]
    pub start_ns: i64,
    #[serde(rename = "end", serialize_with = "rfc3339")]
    pub end_ns: i64,
    pub entity: Entity,
    /// What is known of the entity's address, where the run was told anything.
    #[serde(flatten)]
    pub known: Known,
    /// Most packets first.
    pub peers: Vec<AlertPeer>,
    pub evidence: Evidence,
    /// Of an entity's alert: what it rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<Box<Case>>,
    /// The alert that tells of the same act and knows better who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part_of: Option<Box<Related>>,
    /// Alerts of the same act that this one stands for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Related>,
    pub missing_telemetry: Vec<String>,
    /// The alert in a sentence.
    pub summary: String,
    /// Id of the sensor, where everything so far came from one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sensor: String,
    /// Interface, where everything so far came in through one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interface: String,
    /// Where it came in through several: those, up to its end. Which of them the packets of the
    /// alert came through is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// Of several captures that were read those with packets from its start to its end, the
    /// first ones first: where to look for its packets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Further ones that are not named.
    #[serde(skip_serializing_if = "is_zero")]
    pub further_files: u64,
    /// Whether the sensor's clock followed a reference from start to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_synchronised: Option<bool>,
}

impl Alert {
    pub(crate) fn set_origin(&mut self, origins: &Origins) {
        let origin = origins.of_span(self.start_ns, self.end_ns);
        self.sensor = origin.sensor;
        self.interface = origin.interface;
        self.interfaces = match self.interface.is_empty() {
            true => origins.interfaces_until(self.end_ns),
            false => Vec::new(),
        };
        self.clock_synchronised = origin.clock_synchronised;
    }

    /// Names those of the captures that were read that its time is in.
    pub(crate) fn set_files(&mut self, captures: &[FileReport]) {
        (self.files, self.further_files) = (Vec::new(), 0);
        let spans = captures.iter().filter_map(|file| Some((file.span_ns?, file)));
        let mut spans: Vec<_> = spans.collect();
        if spans.len() < 2 {
            return;
        }
        spans
            .retain(|&((first_ns, last_ns), _)| first_ns < self.end_ns && last_ns >= self.start_ns);
        spans.sort_by_key(|&((first_ns, _), _)| first_ns);
        self.further_files = spans.len().saturating_sub(LISTED_FILES) as u64;
        let named = spans.iter().take(LISTED_FILES);
        self.files = named.map(|(_, file)| file.path.clone()).collect();
    }
}

/// Another alert of the same act.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Related {
    pub id: String,
    pub detector: String,
    pub entity: Entity,
    /// What the identifier is made of, beside the two.
    #[serde(skip)]
    pub start_second: i64,
    /// Its texts are about a process or its host, see [`Alert::case`].
    #[serde(skip)]
    pub has_case: bool,
    /// How severe it would be by itself.
    #[serde(skip)]
    pub severity: Severity,
    #[serde(skip)]
    pub analytics: Vec<String>,
}

/// What an `Arc` holds, as if it were there itself.
fn shared<T: Serialize, S: Serializer>(
    value: &Option<Arc<T>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.as_deref().serialize(serializer)
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn shared_text<S: Serializer>(value: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_deref().serialize(serializer)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Shorter than BurstTimeWindow so far.
    Provisional,
    Sustained,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertPeer {
    pub address: IpAddr,
    pub role: PeerRole,
    /// Nothing for a member of a sample.
    pub packets: Option<u64>,
    pub wire_bytes: Option<u64>,
    #[serde(flatten)]
    pub known: Known,
}

/// What users documented of an address, and what it was seen to be called.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Known {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shared")]
    pub instance: Option<Arc<Instance>>,
    /// Names, owner and reputation, and which of them are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Box<Context>>,
}

/// What was measured and what it was held against.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// Kind of packet.
    pub class: String,
    pub direction: Direction,
    pub shape: Shape,
    pub rule: Rule,
    /// What was held against the rule's threshold, in its unit: of a rate in the second of
    /// the peak, else where the score was highest.
    pub measured: u64,
    /// Which of the two decided, or `pattern`; always `absolute_threshold` of a
    /// detector of windows.
    pub decided_by: String,
    pub baseline: String,
    pub peak: Peak,
    /// Of minutes whose seconds are not told apart (flow logs), all of theirs.
    pub active_seconds: u64,
    pub packets: u64,
    pub wire_bytes: u64,
    pub payload_sizes: Vec<SizeCount>,
    /// Most in any second; an estimate when over a few dozen.
    pub distinct_sources: u64,
    pub distinct_destinations: u64,
    /// Packets back by packets in, of what was measured; nothing where the capture can't
    /// tell.
    pub answer_ratio: Option<f64>,
    /// Ports that most packets share.
    pub top_source_port: Option<PortShare>,
    pub top_destination_port: Option<PortShare>,
    pub spoofed_sources: bool,
    /// Sums come from a sketch.
    pub estimated: bool,
    /// Other detectors that saw the same attack.
    pub also_seen: Vec<String>,
    pub details: BTreeMap<String, Value>,
}

/// The second with the most packets: all figures are its. Of no packets where the detector
/// knows sums of longer times alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Peak {
    #[serde(rename = "time", serialize_with = "rfc3339")]
    pub time_ns: i64,
    pub packets_per_s: u64,
    pub unanswered_packets_per_s: u64,
    pub bits_per_s: u64,
    pub payload_bytes_per_s: u64,
}

/// Packets with a payload from `min` to `max` bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SizeCount {
    pub min: u32,
    pub max: Option<u32>,
    pub packets: u64,
}

/// What detection did and what it left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Counters {
    pub windows: u64,
    /// Windows of an attack that got no alert because the book was full.
    pub alerts_suppressed: u64,
    /// Windows with more pairs than could be kept.
    pub pairs_overflowed_windows: u64,
    /// Windows with more addresses than could be kept exactly.
    pub estimated_windows: u64,
    /// Entries that detectors refused or gave up because their memory was full.
    pub detector_state_refused: u64,
    /// Alerts that were allowed, by entry.
    pub allowed: Vec<AllowCount>,
    /// Those alerts, as far as they are kept; known at the end of a run.
    pub allowed_alerts: Vec<Alert>,
}

/// 16 hex digits of SHA-256 over detector, entity and start second.
pub fn alert_id(detector: &str, entity: &Entity, start_second: i64) -> String {
    let mut hash = Sha256::new();
    // A zero byte between the parts: no two triples share their bytes.
    for part in [detector.as_bytes(), b"\0", entity.id.as_bytes(), b"\0"] {
        hash.update(part);
    }
    hash.update(start_second.to_string().as_bytes());
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 3339 in UTC with nine digits, as everywhere in JSON.
pub(crate) fn time_text(ns: i64) -> String {
    // Every i64 of nanoseconds lies in jiff's range of years.
    Timestamp::from_nanosecond(i128::from(ns))
        .map_or_else(|_| ns.to_string(), |time| format!("{time:.9}"))
}

fn rfc3339<S: Serializer>(ns: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time_text(*ns))
}

/// Nanoseconds at the start of a second; clipped at the ends of time.
pub(crate) fn second_ns(second: i64) -> i64 {
    second.saturating_mul(1_000_000_000)
}
