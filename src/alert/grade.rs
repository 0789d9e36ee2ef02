//! Severity and confidence of an alert.
//!
//! Severity says how bad it would be if true, confidence how sure we are. Both
//! are small sums of stated terms, so that a reader can redo them.

use serde::Serialize;

use super::State;
use crate::detect::{Direction, Family, Finding};

/// Until a baseline is mature nobody knows what is normal here.
pub const CONFIDENCE_WITHOUT_BASELINE: f64 = 0.6;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
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
}

const STEPS: [Severity; 5] =
    [Severity::Informational, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

/// Starts at low; one step up each for 10,000, 100,000 and a million packets/s
/// at the peak, for being sustained, and for a stateless flood out of the home
/// networks (ATT&CK ProtocolType). A scan is low, or medium from inside. Loss at the
/// sensor is medium, high from a tenth of the packets on, critical from a half.
pub(super) fn severity(finding: &Finding, peak_packets: u64, state: State) -> Severity {
    if let Some(case) = &finding.case {
        return case.severity;
    }
    if finding.family == Family::Sensor {
        let most = finding.measured >= 500;
        return STEPS[2 + usize::from(finding.measured >= 100) + usize::from(most)];
    }
    if finding.family == Family::Scan {
        return STEPS[1 + usize::from(finding.home_sender)];
    }
    let rate = [10_000, 100_000, 1_000_000].iter().filter(|&&step| peak_packets >= step).count();
    let sustained = usize::from(state == State::Sustained);
    let outward = finding.home_sender && finding.direction == Direction::Outbound;
    let step = 1 + rate + sustained + usize::from(outward && finding.stateless);
    STEPS[step.min(STEPS.len() - 1)]
}

/// 0.4, and 0.1 more each for twice the threshold, for hardly any
/// answer, and for being sustained; 0.1 less for sums out of a sketch, 0.15
/// less when answers can't be seen, 0.1 less for each further gap. Loss at the
/// sensor is certain.
pub(super) fn confidence(
    finding: &Finding,
    state: State,
    one_sided: bool,
    further_gaps: usize,
) -> f64 {
    if let Some(case) = &finding.case {
        return case.confidence();
    }
    if finding.family == Family::Sensor {
        // Counted, not inferred.
        return 1.0;
    }
    let mut confidence = 0.4;
    let clear = finding.measured >= 2 * finding.rule.threshold.max(1);
    let silent = finding.unanswered * 10 >= finding.traffic.packets * 9;
    for sign in [clear, silent && !one_sided, state == State::Sustained] {
        confidence += if sign { 0.1 } else { 0.0 };
    }
    confidence -= if finding.estimated { 0.1 } else { 0.0 };
    confidence -= if one_sided { 0.15 } else { 0.0 };
    confidence -= 0.1 * further_gaps.min(3) as f64;
    let clipped = confidence.clamp(0.05, CONFIDENCE_WITHOUT_BASELINE);
    libm::round(clipped * 100.0) / 100.0
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
