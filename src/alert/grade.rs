//! Severity and confidence of an alert.
//!
//! Severity says how bad it would be if true, confidence how sure we are. Both
//! are small sums of stated terms that stand in the alert, so that a reader can
//! redo them. Start at [`Grade::of`].

use serde::Serialize;

use super::{ConfidenceTerm, State};
use crate::detect::{Direction, Family, Finding};

/// Until a baseline is mature nobody knows what is normal here.
pub const CONFIDENCE_WITHOUT_BASELINE: f64 = 0.6;

/// The least that is ever said.
const LEAST_CONFIDENCE: f64 = 0.05;

#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    serde::Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// So many steps up from the least; beyond the last it stays there.
    pub fn of_steps(steps: u64) -> Self {
        const STEPS: [Severity; 5] = [
            Severity::Informational,
            Severity::Low,
            Severity::Medium,
            Severity::High,
            Severity::Critical,
        ];
        let last = STEPS.len() - 1;
        STEPS[usize::try_from(steps).unwrap_or(last).min(last)]
    }
}

/// A part of a severity: so many steps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SeverityTerm {
    pub name: &'static str,
    pub steps: u64,
}

/// Severity and confidence, with what they are made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Grade {
    /// Their sum, from informational up, is the severity; empty where the
    /// detector chose it by its own rule, which is the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub severity_terms: Vec<SeverityTerm>,
    /// In a sentence.
    pub severity_reason: String,
    /// Their sum, from 0.05 to the cap, is the confidence.
    pub confidence_terms: Vec<ConfidenceTerm>,
    pub confidence_cap: f64,
    /// In a sentence.
    pub confidence_reason: String,
}

/// What is known beside the finding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances<'a> {
    pub(super) peak_packets: u64,
    pub(super) state: State,
    pub(super) one_sided: bool,
    pub(super) further_gaps: usize,
    /// Another alert stands for it.
    pub(super) is_part: bool,
    /// The most severe of those that it stands for.
    pub(super) worst_part: Option<(&'a str, Severity)>,
}

impl Grade {
    /// How an alert whose worst finding this is stands.
    pub(super) fn of(finding: &Finding, at: &Circumstances<'_>) -> (Severity, f64, Self) {
        let mut grade = Self::default();
        let mut severity = Severity::Low;
        match &finding.case {
            Some(case) => {
                severity = case.severity;
                grade.severity_reason.clone_from(&case.severity_reason);
                grade.confidence_terms.clone_from(&case.confidence_terms);
                grade.confidence_terms.extend(other_gaps(at.further_gaps));
                grade.confidence_cap = case.confidence_cap();
            }
            None => {
                grade.severity_terms = severity_terms(finding, at);
                grade.confidence_terms = confidence_terms(finding, at);
                grade.confidence_cap = match finding.family {
                    Family::Sensor => 1.0,
                    _ if finding.background.baseline_mature => 1.0,
                    _ => CONFIDENCE_WITHOUT_BASELINE,
                };
            }
        }
        if !grade.severity_terms.is_empty() {
            severity = Severity::of_steps(grade.severity_terms.iter().map(|term| term.steps).sum());
            let words = grade.severity_terms.iter().map(|term| severity_words(term.name));
            grade.severity_reason = sentence_of(severity.name(), words.collect());
        }
        severity = grade.among_others(severity, at);
        let sum = grade.confidence_terms.iter().map(|term| term.points).sum();
        let confidence = clipped(sum, grade.confidence_cap);
        grade.confidence_reason = grade.confidence_words(finding, sum, confidence);
        (severity, confidence, grade)
    }

    /// An alert of an act that another tells of as well.
    fn among_others(&mut self, own: Severity, at: &Circumstances<'_>) -> Severity {
        if at.is_part {
            // Chosen by this rule, not by a sum.
            self.severity_terms.clear();
            self.severity_reason = format!(
                "Informational: part of another alert, which stands for it; by itself {} ({})",
                own.name(),
                self.severity_reason
            );
            return Severity::Informational;
        }
        let Some((detector, worst)) = at.worst_part.filter(|(_, worst)| *worst > own) else {
            return own;
        };
        if !self.severity_terms.is_empty() {
            let steps = worst as u64 - own as u64;
            self.severity_terms.push(SeverityTerm { name: "worst_part", steps });
        }
        if !self.severity_reason.ends_with('.') {
            self.severity_reason.push('.');
        }
        self.severity_reason.push_str(&format!(
            " As severe as the alert by {detector} that is part of it: {}.",
            worst.name()
        ));
        worst
    }

    fn confidence_words(&self, finding: &Finding, sum: f64, confidence: f64) -> String {
        let terms = self.confidence_terms.iter();
        let mut words: Vec<String> = terms
            .map(|term| format!("{} {:+}", term.name.replace('_', " "), rounded(term.points)))
            .collect();
        if sum > self.confidence_cap {
            let case = finding.case.as_deref();
            let days = case.map(|case| case.baseline_days).or(finding.background.baseline_days);
            words.push(match (case.and_then(|case| case.never_learned), days) {
                (Some(why), _) => format!("at most {} since {why}", self.confidence_cap),
                (None, Some(days)) => format!(
                    "at most {} until the baseline is mature (it has {} days)",
                    self.confidence_cap,
                    rounded(days)
                ),
                (None, None) => format!("at most {} without a baseline", self.confidence_cap),
            });
        }
        sentence_of(&format!("{confidence}"), words)
    }
}

/// `High: 10,000 packets/s or more; sustained.`
fn sentence_of(what: &str, words: Vec<String>) -> String {
    let mut letters = what.chars();
    let what: String =
        letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    format!("{what}: {}.", words.join("; "))
}

fn severity_words(name: &str) -> String {
    match name {
        "start" => "an attack that passed its threshold is low".to_owned(),
        "packets_per_s_10000" => "10,000 packets/s or more".to_owned(),
        "packets_per_s_100000" => "100,000 packets/s or more".to_owned(),
        "packets_per_s_1000000" => "a million packets/s or more".to_owned(),
        "stateless_outbound" => "over a stateless protocol out of the home networks".to_owned(),
        "scan" => "a scan is low".to_owned(),
        "scan_from_home" => "it comes from inside".to_owned(),
        "sensor_loss" => "packets that the sensor lost are medium".to_owned(),
        "lost_a_tenth" => "a tenth of them or more".to_owned(),
        "lost_a_half" => "a half of them or more".to_owned(),
        other => other.replace('_', " "),
    }
}

/// Starts at low; one step up each for 10,000, 100,000 and a million packets/s
/// at the peak, for being sustained, and for a stateless flood out of the home
/// networks (ATT&CK ProtocolType). A scan is low, or medium from inside. Loss at the
/// sensor is medium, high from a tenth of the packets on, critical from a half.
fn severity_terms(finding: &Finding, at: &Circumstances<'_>) -> Vec<SeverityTerm> {
    let outward = finding.home_sender && finding.direction == Direction::Outbound;
    let terms = match finding.family {
        Family::Sensor => vec![
            ("sensor_loss", 2, true),
            ("lost_a_tenth", 1, finding.measured >= 100),
            ("lost_a_half", 1, finding.measured >= 500),
        ],
        Family::Scan => vec![("scan", 1, true), ("scan_from_home", 1, finding.home_sender)],
        _ => vec![
            ("start", 1, true),
            ("packets_per_s_10000", 1, at.peak_packets >= 10_000),
            ("packets_per_s_100000", 1, at.peak_packets >= 100_000),
            ("packets_per_s_1000000", 1, at.peak_packets >= 1_000_000),
            ("sustained", 1, at.state == State::Sustained),
            ("stateless_outbound", 1, outward && finding.stateless),
        ],
    };
    let counted = terms.into_iter().filter(|&(_, _, counts)| counts);
    counted.map(|(name, steps, _)| SeverityTerm { name, steps }).collect()
}

/// 0.4, and 0.1 more each for twice the threshold, for hardly any
/// answer, and for being sustained; 0.1 less for sums out of a sketch, 0.15
/// less when answers can't be seen, 0.1 less for each further gap. Loss at the
/// sensor is certain.
fn confidence_terms(finding: &Finding, at: &Circumstances<'_>) -> Vec<ConfidenceTerm> {
    if finding.family == Family::Sensor {
        // Counted, not inferred.
        return vec![ConfidenceTerm { name: "counted", points: 1.0 }];
    }
    let clear = finding.measured >= 2 * finding.rule.threshold.max(1);
    let silent = finding.unanswered * 10 >= finding.traffic.packets * 9;
    let terms = [
        ("start", 0.4),
        ("twice_the_threshold", if clear { 0.1 } else { 0.0 }),
        ("hardly_answered", if silent && !at.one_sided { 0.1 } else { 0.0 }),
        ("sustained", if at.state == State::Sustained { 0.1 } else { 0.0 }),
        ("estimated_sums", if finding.estimated { -0.1 } else { 0.0 }),
        ("one_sided_capture", if at.one_sided { -0.15 } else { 0.0 }),
    ];
    let counted = terms.into_iter().filter(|&(_, points)| points != 0.0);
    let terms = counted.map(|(name, points)| ConfidenceTerm { name, points });
    terms.chain(other_gaps(at.further_gaps)).collect()
}

/// Detectors that read payloads, and those that judge flows as they end.
const READERS: [&str; 5] = ["chain", "data_ratio", "dns_tunnel", "icmp_tunnel", "request_flood"];
const OF_FLOWS: [&str; 5] = ["beacon", "chain", "data_ratio", "held_open", "relay"];

/// Whether a gap makes what this detector found less certain. A flood counted by headers
/// is the same where payloads were cut: the gap is listed and costs nothing.
pub(super) fn weighs(gap: &str, detector: &str) -> bool {
    match gap {
        "cut_packets" | "unread_payloads" => READERS.contains(&detector),
        "sampled_flows" => OF_FLOWS.contains(&detector),
        _ => true,
    }
}

/// Gaps of the telemetry that the detector knows nothing of.
fn other_gaps(gaps: usize) -> Option<ConfidenceTerm> {
    let points = rounded(-0.1 * gaps.min(3) as f64);
    (gaps > 0).then_some(ConfidenceTerm { name: "other_gaps", points })
}

/// A sum of confidence terms as it is told; two digits.
pub fn clipped(sum: f64, cap: f64) -> f64 {
    rounded(sum.clamp(LEAST_CONFIDENCE, cap.max(LEAST_CONFIDENCE)))
}

fn rounded(value: f64) -> f64 {
    libm::round(value * 100.0) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Entity;
    use crate::detect::{Rule, Subject};
    use crate::engine::window::Host;

    fn finding(family: Family, measured: u64) -> Finding {
        let rule = Rule { name: "r", threshold: 1_000, unit: "packets/s", formula: "f" };
        let host = Host::default();
        let mut finding =
            Finding::new("d", family, 0, Subject::Host(host), Entity::address(&host), rule);
        finding.measured = measured;
        finding.traffic.packets = measured;
        finding.unanswered = measured;
        finding
    }

    fn at(
        peak_packets: u64,
        state: State,
        one_sided: bool,
        further_gaps: usize,
    ) -> Circumstances<'static> {
        let (is_part, worst_part) = (false, None);
        Circumstances { peak_packets, state, one_sided, further_gaps, is_part, worst_part }
    }

    fn severity(finding: &Finding, peak_packets: u64, state: State) -> Severity {
        Grade::of(finding, &at(peak_packets, state, false, 0)).0
    }

    fn confidence(finding: &Finding, state: State, one_sided: bool, gaps: usize) -> f64 {
        Grade::of(finding, &at(0, state, one_sided, gaps)).1
    }

    #[test]
    fn both_say_why_in_a_sentence() {
        let flood = finding(Family::Udp, 20_000);
        let (_, _, grade) = Grade::of(&flood, &at(20_000, State::Sustained, false, 1));
        assert_eq!(
            grade.severity_reason,
            "High: an attack that passed its threshold is low; 10,000 packets/s or more; sustained."
        );
        assert_eq!(
            grade.confidence_reason,
            "0.6: start +0.4; twice the threshold +0.1; hardly answered +0.1; sustained +0.1; \
             other gaps -0.1."
        );
        let (_, _, grade) = Grade::of(&flood, &at(20_000, State::Sustained, false, 0));
        assert!(grade.confidence_reason.ends_with("at most 0.6 without a baseline."));
    }

    #[test]
    fn a_gap_costs_whom_it_concerns() {
        assert!(!weighs("cut_packets", "udp_flood") && !weighs("sampled_flows", "udp_flood"));
        assert!(weighs("packets_lost", "udp_flood"));
        assert!(weighs("cut_packets", "dns_tunnel") && !weighs("cut_packets", "payload_shift"));
        assert!(weighs("sampled_flows", "beacon"));
    }

    #[test]
    fn severity_steps_with_rate_duration_and_direction() {
        let mut flood = finding(Family::Udp, 5_000);
        assert_eq!(severity(&flood, 9_999, State::Provisional), Severity::Low);
        assert_eq!(severity(&flood, 10_000, State::Provisional), Severity::Medium);
        assert_eq!(severity(&flood, 10_000, State::Sustained), Severity::High);
        assert_eq!(severity(&flood, 1_000_000, State::Sustained), Severity::Critical);
        (flood.home_sender, flood.stateless) = (true, true);
        flood.direction = Direction::Outbound;
        assert_eq!(severity(&flood, 9_999, State::Provisional), Severity::Medium);
        assert_eq!(severity(&finding(Family::Scan, 9), 1_000_000, State::Sustained), Severity::Low);
    }

    #[test]
    fn confidence_rises_with_signs_and_falls_with_gaps() {
        let (weak, clear) = (finding(Family::Udp, 1_999), finding(Family::Udp, 2_000));
        assert_eq!(confidence(&weak, State::Provisional, false, 0), 0.5);
        assert_eq!(confidence(&clear, State::Provisional, false, 0), 0.6);
        assert_eq!(confidence(&clear, State::Sustained, false, 0), CONFIDENCE_WITHOUT_BASELINE);
        assert_eq!(confidence(&clear, State::Provisional, true, 0), 0.35);
        assert_eq!(confidence(&clear, State::Provisional, false, 2), 0.4);
        let estimated = Finding { estimated: true, ..clear };
        assert_eq!(confidence(&estimated, State::Provisional, true, 9), 0.05);
    }
}
