//! `flowtap explain`: an alert's figures, redone from its own evidence.
//!
//! Works on the alert as it was written. [`redo`] computes each figure again, by
//! the formulas that the alert names, and lists where one differs from what was
//! told, and what could not be; [`page`] is the same for people. A figure of JSON is read
//! back to the last bit but one, so figures differ from the sixth digit on.

mod measured;

use serde_json::{Map, Value, json};

use super::detail::{Page, word};
use super::terminal::Style;
use crate::alert::{CONFIDENCE_WITHOUT_BASELINE, Scale, Score, Severity, clipped, thousands};

const SAME: f64 = 1.5e-6;

/// What came out.
pub struct Explanation {
    pub json: Value,
    /// A recomputed figure is not the recorded one.
    pub differs: bool,
}

/// What a record lacks that every alert has.
pub fn lacks(alert: &Value) -> Option<&'static str> {
    let is_text = |name: &str| alert[name].as_str().is_some_and(|text| !text.is_empty());
    let of_text = ["id", "detector", "severity"].into_iter().find(|name| !is_text(name));
    let is_measured = alert["evidence"]["measured"].is_u64();
    of_text.or_else(|| (!is_measured).then_some("evidence"))
}

/// Redoes an alert's figures.
pub fn redo(alert: &Value) -> Explanation {
    let mut differences = Vec::new();
    let mut left: Vec<&str> = Vec::new();
    let mut out = Map::new();
    for name in ["id", "revision", "detector", "summary"] {
        out.insert(name.to_owned(), alert[name].clone());
    }
    let evidence = &alert["evidence"];
    out.insert("decided_by".to_owned(), evidence["decided_by"].clone());
    out.insert("baseline".to_owned(), evidence["baseline"].clone());
    let held = measured::measured(alert, &mut differences);
    if held["held_against"].is_null() {
        left.push("measured");
    }
    out.insert("measured".to_owned(), held);
    let score = &alert["case"]["score"];
    if score.is_object() {
        out.insert("score".to_owned(), redo_score(score, &mut differences));
    }
    for (name, redone) in [
        ("severity", redo_severity(alert, &mut differences)),
        ("confidence", redo_confidence(alert, &mut differences)),
    ] {
        if redone["recomputed"].is_null() {
            left.push(name);
        }
        out.insert(name.to_owned(), redone);
    }
    out.insert("not_recomputed".to_owned(), json!(left));
    let differs = !differences.is_empty();
    out.insert("differences".to_owned(), json!(differences));
    Explanation { json: Value::Object(out), differs }
}

fn redo_score(score: &Value, differences: &mut Vec<String>) -> Value {
    let mut sum = Vec::new();
    let mut terms = Vec::new();
    for term in score["terms"].as_array().into_iter().flatten() {
        let scale = match term["scale"].as_str() {
            Some("log2") => Scale::Log2,
            _ => Scale::Linear,
        };
        let points = scale.points(["value", "low", "high", "weight"].map(|of| number(&term[of])));
        compare(
            &format!("points of {}", word(&term["name"])),
            &term["points"],
            points,
            differences,
        );
        sum.push(points);
        let mut told = term.clone();
        told["recomputed"] = json!(points);
        terms.push(told);
    }
    let value = Score::sum(sum.into_iter());
    compare("score", &score["value"], value, differences);
    json!({
        "recorded": score["value"], "recomputed": value, "threshold": score["threshold"],
        "alerts": value >= number(&score["threshold"]), "formula": score["formula"],
        "terms": terms,
    })
}

fn redo_severity(alert: &Value, differences: &mut Vec<String>) -> Value {
    let recorded = &alert["severity"];
    let reason = &alert["severity_reason"];
    let Some(terms) = alert["severity_terms"].as_array() else {
        measured::chosen_severity(alert, differences);
        return json!({"recorded": recorded, "reason": reason});
    };
    let steps = terms.iter().filter_map(|term| term["steps"].as_u64());
    let again = Severity::of_steps(steps.fold(0, u64::saturating_add)).name();
    if recorded.as_str() != Some(again) {
        differences.push(format!("severity: {again}, recorded as {}", word(recorded)));
    }
    hold_terms(alert, "severity", terms, differences);
    json!({"recorded": recorded, "recomputed": again, "reason": reason, "terms": terms})
}

fn redo_confidence(alert: &Value, differences: &mut Vec<String>) -> Value {
    let recorded = &alert["confidence"];
    let Some(terms) = alert["confidence_terms"].as_array() else {
        return json!({"recorded": recorded});
    };
    let case = &alert["case"];
    // A flood has no case: what it knows of its entity's baseline is among its details.
    let of_flood = alert["evidence"]["details"]["baseline_mature"].as_bool();
    let mature = case["baseline_mature"].as_bool().or(of_flood);
    let cap = match (mature, alert["detector"].as_str()) {
        (Some(true), _) | (None, Some("sensor_loss")) => 1.0,
        _ => CONFIDENCE_WITHOUT_BASELINE,
    };
    compare("confidence_cap", &alert["confidence_cap"], cap, differences);
    let again = clipped(terms.iter().map(|term| number(&term["points"])).sum(), cap);
    compare("confidence", recorded, again, differences);
    hold_terms(alert, "confidence", terms, differences);
    json!({
        "recorded": recorded, "recomputed": again, "cap": cap,
        "reason": alert["confidence_reason"], "terms": terms,
    })
}

/// Terms of floods follow from the evidence: each stands there if, and only if, the
/// evidence says so. What the evidence does not settle is left alone.
fn hold_terms(alert: &Value, of: &str, terms: &[Value], differences: &mut Vec<String>) {
    let is_flood = terms.iter().any(|term| term["name"] == "start") && !alert["case"].is_object();
    if !is_flood {
        return;
    }
    let evidence = &alert["evidence"];
    let (peak, threshold) =
        (number(&evidence["peak"]["packets_per_s"]), number(&evidence["rule"]["threshold"]));
    let lacks = |gap: &str| {
        alert["missing_telemetry"].as_array().is_some_and(|all| all.iter().any(|one| one == gap))
    };
    let expected: &[(&str, bool)] = match of {
        "severity" => &[
            ("packets_per_s_10000", peak >= 1e4),
            ("packets_per_s_100000", peak >= 1e5),
            ("packets_per_s_1000000", peak >= 1e6),
            ("sustained", alert["state"] == "sustained"),
        ],
        _ => &[
            ("twice_the_threshold", number(&evidence["measured"]) >= 2.0 * threshold.max(1.0)),
            ("sustained", alert["state"] == "sustained"),
            ("one_sided_capture", lacks("one_sided_capture")),
        ],
    };
    for &(name, holds) in expected {
        if terms.iter().any(|term| term["name"] == name) != holds {
            let told = if holds { "left out, though" } else { "counted, though not" };
            differences.push(format!("{of}: {name} is {told} so by the evidence"));
        }
    }
}

fn compare(what: &str, recorded: &Value, again: f64, differences: &mut Vec<String>) {
    let same = recorded.as_f64().is_some_and(|recorded| (recorded - again).abs() < SAME);
    if !same {
        differences.push(format!("{what}: {again}, recorded as {}", word(recorded)));
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// The table for people.
pub fn page(explanation: &Explanation, style: Style) -> String {
    let told = &explanation.json;
    let mut page = Page::new(style);
    page.title(&format!("Alert {}, by {}", word(&told["id"]), word(&told["detector"])));
    page.line(&word(&told["summary"]));

    let measured = &told["measured"];
    page.title("\nMeasured");
    let unit = word(&measured["unit"]);
    let sign = if measured["reached"] == true { "at or over" } else { "below" };
    page.field(
        "measured",
        format!(
            "{} {unit} at {}, {sign} the threshold of {}",
            grouped(&measured["value"]),
            word(&measured["at"]),
            grouped(&measured["threshold"])
        ),
    );
    page.field("rule", format!("{}: {}", word(&measured["rule"]), word(&measured["formula"])));
    page.field("decided by", word(&told["decided_by"]).replace('_', " "));
    page.field("baseline", word(&told["baseline"]));

    let score = &told["score"];
    if score.is_object() {
        page.title("\nScore");
        score_table(&mut page, score);
    }
    let severity = &told["severity"];
    page.title(&format!("\nSeverity {}", word(&severity["recorded"])));
    for term in severity["terms"].as_array().into_iter().flatten() {
        let name = word(&term["name"]).replace("packets_per_s_", "packets/s from ");
        let name = name.replace('_', " ");
        page.line(&format!("  {name:<28} {:>+9}", term["steps"].as_i64().unwrap_or_default()));
    }
    page.line(&format!("  {}", word(&severity["reason"])));
    if severity["recomputed"].is_null() {
        page.line("  Chosen by its detector, not recomputed.");
    }

    let confidence = &told["confidence"];
    page.title(&format!("\nConfidence {}", word(&confidence["recorded"])));
    for term in confidence["terms"].as_array().into_iter().flatten() {
        let name = word(&term["name"]).replace('_', " ");
        page.line(&format!("  {name:<28} {:>+9.2}", number(&term["points"])));
    }
    page.line(&format!("  {}", word(&confidence["reason"])));

    let differences = told["differences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let left: Vec<String> = told["not_recomputed"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|name| if name == "measured" { "what was measured".to_owned() } else { word(name) })
        .collect();
    if differences.is_empty() {
        page.line("");
        page.line("Recomputed from the alert's own evidence: the same as recorded.");
    } else {
        page.title("\nRecomputed from the alert's own evidence: not as recorded");
        for difference in differences {
            page.line(&format!("  {}", style.warning(&word(difference))));
        }
    }
    if !left.is_empty() {
        page.line(&format!("Not recomputed: {}.", left.join(", ")));
    }
    page.text
}

fn score_table(page: &mut Page, score: &Value) {
    page.line(&format!(
        "  {:<28} {:>14} {:>12} {:>12} {:>7} {:>9}",
        "", "value", "no points", "all points", "weight", "points"
    ));
    for term in score["terms"].as_array().into_iter().flatten() {
        let log = if term["scale"] == "log2" { ", by doublings" } else { "" };
        let name = format!("{}{log}", word(&term["name"]).replace('_', " "));
        page.line(&format!(
            "  {name:<28} {:>14} {:>12} {:>12} {:>7} {:>9.3}",
            word(&term["value"]),
            word(&term["low"]),
            word(&term["high"]),
            word(&term["weight"]),
            number(&term["recomputed"])
        ));
    }
    let alerts = if score["alerts"] == true { "an alert" } else { "no alert" };
    page.line(&format!(
        "  {:<28} {:>77.3} ({alerts} from {})",
        "score",
        number(&score["recomputed"]),
        word(&score["threshold"])
    ));
    page.line(&format!("  {}", word(&score["formula"])));
}

fn grouped(value: &Value) -> String {
    value.as_u64().map_or_else(|| word(value), thousands)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Case, Term};

    fn with_case() -> Value {
        let terms = vec![
            Term::new("share", 0.83, 0.5, 1.0, 40.0),
            Term::doubling("bytes", 12345.678, 0.0, 1e6, 60.0),
        ];
        let mut case = Case::new(Score::of(terms, 50.0));
        case.baseline_mature = true;
        json!({
            "id": "00", "detector": "egress_anomaly", "severity": "high", "confidence": 0.8,
            "severity_reason": "High: much.", "confidence_cap": 1.0,
            "confidence_terms": [{"name": "start", "points": 0.4}, {"name": "clear", "points": 0.4}],
            "evidence": {"measured": 7, "rule": {"threshold": 5, "unit": "B/s"}},
            "missing_telemetry": [], "case": case,
        })
    }

    #[test]
    fn what_was_told_is_redone_and_what_was_changed_is_found() {
        let alert = with_case();
        // As it is read back from a file.
        let read: Value = serde_json::from_str(&alert.to_string()).expect("JSON");
        let same = redo(&read);
        assert!(!same.differs, "{}", same.json);
        assert!(page(&same, Style::default()).contains("the same as recorded"));
        for (pointer, value) in [
            ("/case/score/value", json!(99.0)),
            ("/case/score/terms/0/points", json!(39.0)),
            ("/case/score/terms/1/value", json!(1.0)),
            ("/confidence", json!(0.9)),
            ("/confidence_cap", json!(0.6)),
        ] {
            let mut changed = read.clone();
            *changed.pointer_mut(pointer).expect(pointer) = value;
            let other = redo(&changed);
            assert!(other.differs, "{pointer}");
            assert!(page(&other, Style::default()).contains("recorded as"), "{pointer}");
        }
    }

    #[test]
    fn whatever_is_no_alert_makes_a_page() {
        for odd in
            [json!(null), json!([1]), json!({"case": {"score": {"terms": [{"points": "x"}]}}})]
        {
            page(&redo(&odd), Style::default());
        }
    }
}
