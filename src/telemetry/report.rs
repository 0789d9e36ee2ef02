//! What became of each source, so that nothing is left out in silence.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decode::{Bad, MAX_UNKNOWN_FIELDS, Out};
use super::kind::Kind;
use super::observation::Observation;

/// Reasons and names that decoders give are static; of files this many bad parts
/// are enough to see what is wrong.
#[derive(Clone, Debug)]
pub struct SourceReport {
    /// As the user named it, or as it was found in a folder.
    pub name: String,
    pub kind: &'static Kind,
    pub bytes: u64,
    /// Records that the source holds, whatever became of them.
    pub records: u64,
    pub observations: Counts,
    /// Records that are fine and say nothing that is used, by what they are.
    pub passed: BTreeMap<&'static str, u64>,
    /// What the source says that it lost itself, and what went before it was read.
    pub lost: BTreeMap<&'static str, u64>,
    /// Records that are left out, by reason.
    pub bad: BTreeMap<&'static str, u64>,
    /// Values left out of records that are used otherwise, by reason.
    pub bad_parts: BTreeMap<&'static str, u64>,
    /// The first bad record: line and what is wrong.
    pub first_bad: Option<String>,
    /// Fields that this version does not know, by name, and how often they had a value.
    pub unknown_fields: BTreeMap<Arc<str>, u64>,
    pub further_unknown_fields: u64,
    /// Of the observations' times.
    pub first_ns: Option<i64>,
    pub last_ns: Option<i64>,
    /// Observations of files that came after later ones had gone, for want of room to put
    /// them in order; live those that came later by the clock than the kind's lateness
    /// allows. Told all the same, out of order.
    pub late: u64,
    /// Why reading ended early.
    pub error: Option<String>,
}

/// What sources lack within the flows that they tell of.
const LOST_WITHIN_FLOWS: [&str; 2] = ["missed bytes", "packets the kernel dropped before Suricata"];

/// Observations by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub flows: u64,
    pub requests: u64,
    pub hosts: u64,
    pub counters: u64,
}

impl Counts {
    pub fn sum(&self) -> u64 {
        self.flows + self.requests + self.hosts + self.counters
    }
}

impl SourceReport {
    /// It told of flows, and that it left some out.
    pub fn lost_flows(&self) -> bool {
        let records = self.lost.keys().filter(|what| !LOST_WITHIN_FLOWS.contains(what));
        self.observations.flows > 0 && records.count() > 0
    }

    /// Flow logs of AWS: these never hold what an instance exchanges with its metadata
    /// service, with Amazon's resolver, or by DHCP and with the time service.
    pub fn omits_platform(&self) -> bool {
        self.observations.flows > 0 && self.kind.name.starts_with("aws-")
    }

    pub fn new(name: &str, kind: &'static Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            bytes: 0,
            records: 0,
            observations: Counts::default(),
            passed: BTreeMap::new(),
            lost: BTreeMap::new(),
            bad: BTreeMap::new(),
            bad_parts: BTreeMap::new(),
            first_bad: None,
            unknown_fields: BTreeMap::new(),
            further_unknown_fields: 0,
            first_ns: None,
            last_ns: None,
            late: 0,
            error: None,
        }
    }

    pub(super) fn count(&mut self, observation: &Observation) {
        let counts = &mut self.observations;
        *match observation {
            Observation::Flow(_) => &mut counts.flows,
            Observation::Request(_) => &mut counts.requests,
            Observation::Host(_) => &mut counts.hosts,
            Observation::Counter(_) => &mut counts.counters,
            // Counted as what was lost.
            Observation::Gap(_) => return,
        } += 1;
        let time_ns = observation.time_ns();
        self.first_ns = Some(self.first_ns.map_or(time_ns, |first_ns| first_ns.min(time_ns)));
        self.last_ns = self.last_ns.max(Some(time_ns));
    }

    pub(super) fn count_bad(&mut self, bad: &Bad, line: u64) {
        *self.bad.entry(bad.reason).or_default() += 1;
        self.first_bad.get_or_insert_with(|| format!("line {line}: {bad}"));
    }

    /// A datagram that was left out, by who sent it.
    pub(super) fn count_bad_from(&mut self, bad: &Bad, sender: &str) {
        *self.bad.entry(bad.reason).or_default() += 1;
        self.first_bad.get_or_insert_with(|| format!("from {sender}: {bad}"));
    }

    /// Takes over what a decoder has counted since the last time.
    pub(super) fn take_tallies(&mut self, out: &mut Out) {
        add(&mut self.passed, std::mem::take(&mut out.passed));
        add(&mut self.lost, std::mem::take(&mut out.lost));
        add(&mut self.bad_parts, std::mem::take(&mut out.bad_parts));
        // Where nobody took them, the counts say the same.
        out.notices.clear();
        self.add_unknown_fields(std::mem::take(&mut out.unknown_fields));
        self.further_unknown_fields += std::mem::take(&mut out.further_unknown_fields);
    }

    /// Adds what another part of the same source came to.
    pub(super) fn add(&mut self, part: Self) {
        self.bytes += part.bytes;
        self.records += part.records;
        let counts = &mut self.observations;
        counts.flows += part.observations.flows;
        counts.requests += part.observations.requests;
        counts.hosts += part.observations.hosts;
        counts.counters += part.observations.counters;
        add(&mut self.passed, part.passed);
        add(&mut self.lost, part.lost);
        add(&mut self.bad, part.bad);
        add(&mut self.bad_parts, part.bad_parts);
        self.add_unknown_fields(part.unknown_fields);
        self.further_unknown_fields += part.further_unknown_fields;
        self.first_bad = self.first_bad.take().or(part.first_bad);
        self.first_ns = [self.first_ns, part.first_ns].into_iter().flatten().min();
        self.last_ns = self.last_ns.max(part.last_ns);
        self.late += part.late;
        self.error = part.error.or_else(|| self.error.take());
    }

    fn add_unknown_fields(&mut self, fields: BTreeMap<Arc<str>, u64>) {
        for (name, count) in fields {
            if let Some(sum) = self.unknown_fields.get_mut(&name) {
                *sum += count;
            } else if self.unknown_fields.len() < MAX_UNKNOWN_FIELDS {
                self.unknown_fields.insert(name, count);
            } else {
                self.further_unknown_fields += count;
            }
        }
    }
}

fn add(sums: &mut BTreeMap<&'static str, u64>, counts: BTreeMap<&'static str, u64>) {
    for (name, count) in counts {
        *sums.entry(name).or_default() += count;
    }
}
