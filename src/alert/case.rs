//! What an alert of an entity rests on, beyond what was measured: a score that can be
//! recomputed, the normal it was held against, the process, and what happened when.
//!
//! A detector makes a [`Case`]; the book of alerts keeps that of the worst finding.
//! Nothing here decides: [`Score::of`] is the one formula of all scores, so that
//! whoever holds the alert can redo it ([`Score::recompute`]).

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::grade::clipped;
use super::{CONFIDENCE_WITHOUT_BASELINE, Severity, rfc3339};
use crate::host::inventory::Instance;
use crate::host::side::ProcessView;
use crate::host::workload::Workload;

/// The formula of every [`Score`], as alerts show it.
pub const SCORE_FORMULA: &str = "score = sum of points; points = weight * clamp((f(value) - f(low)) / (f(high) - f(low)), 0, 1); \
     f is the identity, or log2(1 + x) where scale is log2";

/// Why an entity stands in an alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Case {
    pub score: Score,
    pub decided_by: DecidedBy,
    /// What the entity's baseline says, in a sentence, or why there is none.
    pub baseline: String,
    /// The baseline's figures that were used.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub baseline_values: Value,
    /// Why the severity is what it is, in a sentence; the alert says it.
    #[serde(skip)]
    pub severity_reason: String,
    /// Their sum, clipped to what is allowed, is the confidence; the alert has them.
    #[serde(skip)]
    pub confidence_terms: Vec<ConfidenceTerm>,
    /// Days of history behind the baseline; under the maturity that is set the
    /// confidence is capped.
    pub baseline_days: f64,
    pub baseline_mature: bool,
    /// Why nothing can be learned of the entity, where that is so.
    #[serde(skip)]
    pub never_learned: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "super::shared")]
    pub process: Option<Arc<ProcessView>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "super::shared")]
    pub workload: Option<Arc<Workload>>,
    /// It stands in the alert itself.
    #[serde(skip)]
    pub instance: Option<Arc<Instance>>,
    /// What happened, in order of time; of a chain its stages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Moment>,
    /// Class of the program and the rule that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_class: Option<String>,
    /// Whose baseline: nothing is learned of it while the alert is open, and
    /// `[[allow]]` names it so.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "super::shared_text")]
    pub baseline_key: Option<Arc<str>>,
    /// Baselines that the same traffic counts for, as far as only the detector knows them.
    #[serde(skip)]
    pub same_traffic: Vec<Arc<str>>,
    #[serde(skip)]
    pub severity: Severity,
    /// ATT&CK analytics that it answers, and those that it would with more telemetry.
    #[serde(skip)]
    pub analytics: Vec<&'static str>,
    #[serde(skip)]
    pub possible_analytics: Vec<&'static str>,
    /// What was missing to be sure, by the names that alerts use.
    #[serde(skip)]
    pub missing: Vec<&'static str>,
    /// The alert in a sentence.
    #[serde(skip)]
    pub summary: String,
    /// Seconds without news after which the alert is over; at least the setting's.
    #[serde(skip)]
    pub quiet_s: i64,
}

impl Case {
    /// A case of nothing yet; the detector fills in the rest.
    pub fn new(score: Score) -> Self {
        Self {
            score,
            decided_by: DecidedBy::AbsoluteThreshold,
            baseline: "none: no baseline was given".to_owned(),
            baseline_values: Value::Null,
            severity_reason: String::new(),
            confidence_terms: Vec::new(),
            baseline_days: 0.0,
            baseline_mature: false,
            never_learned: None,
            process: None,
            workload: None,
            instance: None,
            timeline: Vec::new(),
            process_class: None,
            baseline_key: None,
            same_traffic: Vec::new(),
            severity: Severity::Low,
            analytics: Vec::new(),
            possible_analytics: Vec::new(),
            missing: Vec::new(),
            summary: String::new(),
            quiet_s: 0,
        }
    }

    /// `curl(4720) in shop/web-1/web`: process and workload, as far as known.
    pub fn actor(&self) -> String {
        let process = self.process.as_deref().map(|view| {
            let process = &view.process;
            format!("{}({})", process.name, process.id.pid)
        });
        let workload = self.workload.as_deref().map(|one| {
            let names = [&one.namespace, &one.pod, &one.name].into_iter();
            let names: Vec<&str> =
                names.filter(|name| !name.is_empty()).map(String::as_str).collect();
            if names.is_empty() { one.container.clone() } else { names.join("/") }
        });
        let parts: Vec<String> = process.into_iter().chain(workload).collect();
        parts.join(" in ")
    }

    /// Adds a term of the confidence.
    pub fn confident(&mut self, name: &'static str, points: f64) {
        self.confidence_terms.push(ConfidenceTerm { name, points });
    }

    /// Sum of the terms from 0.05 to 1, and at most [`CONFIDENCE_WITHOUT_BASELINE`]
    /// until the baseline is mature; two digits.
    pub fn confidence(&self) -> f64 {
        let sum: f64 = self.confidence_terms.iter().map(|term| term.points).sum();
        clipped(sum, self.confidence_cap())
    }

    pub(super) fn confidence_cap(&self) -> f64 {
        if self.baseline_mature { 1.0 } else { CONFIDENCE_WITHOUT_BASELINE }
    }
}

/// What decided: CONTRACT's `decided_by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DecidedBy {
    Baseline,
    AbsoluteThreshold,
    /// What it did, whatever is normal: a shell below a web server, a tunnel.
    Pattern,
}

impl DecidedBy {
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::AbsoluteThreshold => "absolute_threshold",
            Self::Pattern => "pattern",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfidenceTerm {
    pub name: &'static str,
    pub points: f64,
}

/// A sum of terms, each of which can be redone from its own figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Sum of the points, three digits.
    pub value: f64,
    /// At or above it there is an alert.
    pub threshold: f64,
    pub formula: &'static str,
    pub terms: Vec<Term>,
}

/// One dimension of a score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Term {
    pub name: &'static str,
    pub value: f64,
    /// Value that gives no points, and value from which it gives all.
    pub low: f64,
    pub high: f64,
    pub weight: f64,
    pub scale: Scale,
    pub points: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    Linear,
    /// Each doubling counts the same.
    Log2,
}

impl Scale {
    /// The points of a term with this value, low, high and weight.
    pub fn points(self, [value, low, high, weight]: [f64; 4]) -> f64 {
        let f = |x: f64| match self {
            Self::Linear => x,
            Self::Log2 => libm::log2(1.0 + x.max(0.0)),
        };
        let (value, low, high) = (f(value), f(low), f(high));
        let width = high - low;
        let share = match width == 0.0 {
            // A step.
            true => f64::from(u8::from(value >= high)),
            false => ((value - low) / width).clamp(0.0, 1.0),
        };
        round6(weight * share)
    }
}

impl Term {
    pub fn new(name: &'static str, value: f64, low: f64, high: f64, weight: f64) -> Self {
        Self::scaled(name, value, low, high, weight, Scale::Linear)
    }

    /// Each doubling from `low` to `high` gives the same.
    pub fn doubling(name: &'static str, value: f64, low: f64, high: f64, weight: f64) -> Self {
        Self::scaled(name, value, low, high, weight, Scale::Log2)
    }

    fn scaled(
        name: &'static str,
        value: f64,
        low: f64,
        high: f64,
        weight: f64,
        scale: Scale,
    ) -> Self {
        let value = round6(value);
        let mut term = Self { name, value, low, high, weight, scale, points: 0.0 };
        term.points = term.recompute();
        term
    }

    /// Whether it gave at least a third of what it can.
    pub fn is_dimension(&self) -> bool {
        self.points * 3.0 >= self.weight
    }

    /// The points by the term's own figures.
    pub fn recompute(&self) -> f64 {
        self.scale.points([self.value, self.low, self.high, self.weight])
    }
}

impl Score {
    pub fn of(terms: Vec<Term>, threshold: f64) -> Self {
        let value = Self::sum(terms.iter().map(|term| term.points));
        Self { value, threshold, formula: SCORE_FORMULA, terms }
    }

    pub fn alerts(&self) -> bool {
        self.value >= self.threshold
    }

    /// The value by the terms' own figures.
    pub fn recompute(&self) -> f64 {
        Self::sum(self.terms.iter().map(Term::recompute))
    }

    /// The score of terms with these points.
    pub fn sum(points: impl Iterator<Item = f64>) -> f64 {
        libm::round(points.sum::<f64>() * 1000.0) / 1000.0
    }

    /// Terms that gave at least a third of what they can: one dimension alone is
    /// never enough.
    pub fn dimensions(&self) -> usize {
        self.terms.iter().filter(|term| term.is_dimension()).count()
    }
}

/// Figures are shown with six digits, and computed from what is shown.
fn round6(value: f64) -> f64 {
    libm::round(value * 1e6) / 1e6
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moment {
    #[serde(rename = "time", serialize_with = "rfc3339")]
    pub time_ns: i64,
    /// `exploit_request`, `shell_from_service`, `new_destination`, ...
    pub what: String,
    pub text: String,
    /// Who said so: `packets`, or the name of a source.
    pub source: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_redone_from_what_it_shows() {
        let score = Score::of(
            vec![
                Term::new("share", 0.75, 0.5, 1.0, 40.0),
                Term::doubling("bytes", 3.0, 0.0, 15.0, 60.0),
                Term::new("step", 2.0, 2.0, 2.0, 5.0),
                Term::new("below", 0.1, 0.5, 1.0, 40.0),
            ],
            50.0,
        );
        assert_eq!(score.value, 20.0 + 30.0 + 5.0);
        assert_eq!(score.recompute(), score.value);
        assert_eq!(score.dimensions(), 3);
        assert!(score.alerts());
    }

    #[test]
    fn confidence_is_capped_until_the_baseline_is_mature() {
        let mut case = Case::new(Score::of(Vec::new(), 0.0));
        case.confident("clear", 0.9);
        assert_eq!(case.confidence(), CONFIDENCE_WITHOUT_BASELINE);
        case.baseline_mature = true;
        assert_eq!(case.confidence(), 0.9);
        case.confident("no_process_map", -2.0);
        assert_eq!(case.confidence(), 0.05);
    }
}
