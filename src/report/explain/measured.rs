//! Whether what an alert measured, and how severe it calls itself, agree with the rest of
//! what it says.
//!
//! A detector measures in the traffic, of which an alert has only figures: what can be
//! held against one of those is, and of the rest it is said that nothing was.

use serde_json::{Value, json};

use super::number;
use crate::alert::Severity;
use crate::report::detail::word;

/// What the measured value is held against.
struct Against {
    name: &'static str,
    value: f64,
    /// Figures are cut to whole ones, the threshold too.
    within: f64,
    /// Of a second that others share, it is at most so much.
    at_most: bool,
}

/// From here on the ratio of sent to received is told as this: there may be no answer at all.
const MOST_RATIO: f64 = 1e6;

impl Against {
    fn of(alert: &Value) -> Option<Self> {
        let (evidence, score) = (&alert["evidence"], &alert["case"]["score"]);
        let rule = &evidence["rule"];
        let (name, unit) = (word(&rule["name"]), word(&rule["unit"]));
        let exact = |name, value: f64| Self { name, value, within: 1.0, at_most: false };
        if unit.starts_with("points") {
            return Some(exact("score", score["value"].as_f64()?));
        }
        // The busiest second's, whatever the score is of.
        if unit.ends_with("/s") {
            let peak = number(&evidence["peak"]["packets_per_s"]);
            let counts = peak > 0.0 && matches!(&*unit, "packets/s" | "connections/s");
            return counts.then_some(Self {
                name: "peak",
                value: peak,
                within: 1.0,
                at_most: true,
            });
        }
        let term = |name: &str| {
            let terms = score["terms"].as_array()?;
            terms.iter().find(|term| term["name"] == name)?["value"].as_f64()
        };
        if let Some(times) = term("times_threshold") {
            let threshold = number(&rule["threshold"]);
            // Told with six digits, and of a threshold that was cut to a whole figure.
            let within = 1.0 + times + threshold * 1e-6;
            return Some(Self { within, ..exact("times_threshold", times * threshold) });
        }
        match &*name {
            "process_class" => Some(exact("payload_bytes", term("payload_bytes")?)),
            "payload_shift_threshold" => Some(exact("divergence", term("divergence")? * 1000.0)),
            "data_ratio_threshold" => {
                let ratio = term("send_receive_ratio")?;
                (ratio < MOST_RATIO).then(|| exact("send_receive_ratio", ratio))
            }
            _ => None,
        }
    }

    fn agrees(&self, measured: f64) -> bool {
        let over = measured - self.value;
        over < self.within && (self.at_most || over > -self.within)
    }
}

/// The measured value with its threshold, and what it was held against, if anything.
pub(super) fn measured(alert: &Value, differences: &mut Vec<String>) -> Value {
    let evidence = &alert["evidence"];
    let rule = &evidence["rule"];
    let (value, threshold) = (number(&evidence["measured"]), number(&rule["threshold"]));
    let against = Against::of(alert);
    if let Some(against) = against.as_ref().filter(|against| !against.agrees(value)) {
        let most = if against.at_most { "at most " } else { "" };
        differences.push(format!(
            "measured: {most}{} by {}, recorded as {}",
            against.value,
            against.name.replace('_', " "),
            word(&evidence["measured"])
        ));
    }
    let score = &alert["case"]["score"];
    // A stage of a chain is told by itself too, as nothing to get up for.
    let is_stage = rule["name"] == "chain" && alert["severity"] == "informational";
    let reached = value >= threshold;
    if !reached && !is_stage {
        differences.push(format!(
            "measured: {} is below the threshold of {}",
            word(&evidence["measured"]),
            word(&rule["threshold"])
        ));
    }
    let low = number(&score["value"]) < number(&score["threshold"]);
    if low && !is_stage {
        differences.push(format!(
            "score: {} is below the threshold of {}",
            word(&score["value"]),
            word(&score["threshold"])
        ));
    }
    json!({
        "value": evidence["measured"], "threshold": rule["threshold"], "unit": rule["unit"],
        "rule": rule["name"], "formula": rule["formula"], "reached": reached,
        "at": evidence["peak"]["time"], "held_against": against.map(|against| against.name),
    })
}

/// A severity that its detector chose, held against the one that its reason names, if any.
pub(super) fn chosen_severity(alert: &Value, differences: &mut Vec<String>) {
    let (recorded, reason) = (&alert["severity"], word(&alert["severity_reason"]));
    let raised = reason.rsplit_once(" As severe as the alert by ");
    let named = match raised.and_then(|(_, by)| by.trim_end_matches('.').rsplit_once(": ")) {
        Some((_, named)) => named,
        None => reason.split_once(": ").map_or("", |(named, _)| named),
    };
    let named = named.to_ascii_lowercase();
    let is_one =
        (0..=Severity::Critical as u64).any(|steps| Severity::of_steps(steps).name() == named);
    if is_one && recorded.as_str() != Some(&*named) {
        differences
            .push(format!("severity: {named} by its reason, recorded as {}", word(recorded)));
    }
}
