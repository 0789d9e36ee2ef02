//! What became of each log, export and counter file: `sources` of the summary.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::telemetry::report::SourceReport;
use crate::time::rfc3339;

/// A source; its place in the list is the number that reported flows, requests and
/// counters bear.
#[derive(Debug, Serialize)]
pub struct InputSource {
    pub path: String,
    pub kind: &'static str,
    pub bytes: u64,
    pub records: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub flows: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub requests: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub host_events: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub counters: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// Records that say nothing that is used, by what they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub passed: BTreeMap<&'static str, u64>,
    /// What the source says that it lost itself.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lost: BTreeMap<&'static str, u64>,
    /// Records that were left out, by reason, and the first of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bad: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_bad: Option<String>,
    /// Values that were left out of records, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bad_parts: BTreeMap<&'static str, u64>,
    /// Fields that this version does not know, and how often they had a value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown_fields: BTreeMap<String, u64>,
    /// Observations that came too late: see [`SourceReport::late`].
    #[serde(skip_serializing_if = "is_zero")]
    pub late: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's shape")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl InputSource {
    pub fn new(report: &SourceReport) -> Self {
        let mut unknown_fields: BTreeMap<_, _> =
            report.unknown_fields.iter().map(|(name, &count)| (name.to_string(), count)).collect();
        if report.further_unknown_fields > 0 {
            unknown_fields.insert("(others)".to_owned(), report.further_unknown_fields);
        }
        Self {
            path: report.name.clone(),
            kind: report.kind.name,
            bytes: report.bytes,
            records: report.records,
            flows: report.observations.flows,
            requests: report.observations.requests,
            host_events: report.observations.hosts,
            counters: report.observations.counters,
            first: report.first_ns.map(rfc3339),
            last: report.last_ns.map(rfc3339),
            passed: report.passed.clone(),
            lost: report.lost.clone(),
            bad: report.bad.clone(),
            first_bad: report.first_bad.clone(),
            bad_parts: report.bad_parts.clone(),
            unknown_fields,
            late: report.late,
            error: report.error.clone(),
        }
    }

    /// All that could be used was.
    pub fn failed(&self) -> bool {
        self.error.is_some()
    }
}
