//! `flowtap why-not` for people.

use serde_json::Value;

use super::detail::{Page, word};
use super::terminal::Style;
use crate::alert::thousands;
use crate::time::rfc3339;

/// The page of what was measured of somebody.
pub fn page(told: &Value, style: Style) -> String {
    let mut page = Page::new(style);
    page.title(&format!("Why not: {}", word(&told["who"])));
    let rows = |field: &str| told[field].as_array().map(Vec::as_slice).unwrap_or_default();
    for note in rows("notes") {
        page.line(&format!("  {}", style.warning(&word(note))));
    }
    for alert in rows("alerts") {
        page.line(&format!(
            "  there is an alert: {} {} ({}) about {}",
            word(&alert["id"]),
            word(&alert["detector"]),
            word(&alert["severity"]),
            word(&alert["entity"])
        ));
    }
    if !rows("findings").is_empty() {
        page.title("\nDetectors, where each came nearest");
        page.line(&format!(
            "  {:<24} {:>14} {:>12}  {:<12} about",
            "", "value", "threshold", "unit"
        ));
    }
    for near in rows("findings") {
        page.line(&format!(
            "  {:<24} {:>14} {:>12}  {:<12} {} {}{} at {}",
            word(&near["detector"]),
            figure(&near["value"]),
            figure(&near["threshold"]),
            word(&near["unit"]),
            word(&near["entity_kind"]),
            word(&near["entity"]),
            near["service"].as_str().map(|of| format!(" over {of}")).unwrap_or_default(),
            time(&near["second"])
        ));
        page.line(&format!("    {}", verdict(near)));
        for term in near["score"]["terms"].as_array().into_iter().flatten() {
            page.line(&format!(
                "      {:<26} {:>12}: {} of {} points",
                word(&term["name"]).replace('_', " "),
                figure(&term["value"]),
                figure(&term["points"]),
                figure(&term["weight"])
            ));
        }
    }
    if !rows("windows").is_empty() {
        page.title("\nHighest counts of a second, against what opens a flood");
        page.line(&format!(
            "  {:<24} {:>10} {:>10} {:>10} {:>12}",
            "", "packets", "back", "threshold", "unanswered"
        ));
    }
    for peak in rows("windows") {
        let name = format!("{} {}", word(&peak["kind"]), word(&peak["direction"]));
        page.line(&format!(
            "  {:<24} {:>10} {:>10} {:>10} {:>12}  {} at {}",
            name.replace('_', " "),
            figure(&peak["packets"]),
            figure(&peak["packets_back"]),
            figure(&peak["threshold"]),
            figure(&peak["unanswered_threshold"]),
            word(&peak["address"]),
            time(&peak["second"])
        ));
    }
    if rows("findings").is_empty() && rows("windows").is_empty() {
        page.line("  Nothing of it was seen by any detector: no traffic, or no such entity.");
    }
    let silent: Vec<String> = rows("silent").iter().map(word).collect();
    if !silent.is_empty() {
        page.title("\nDetectors that saw nothing to measure against their threshold");
        for some in silent.chunks(5) {
            page.line(&format!("  {}", some.join(", ")));
        }
    }
    page.text
}

/// What kept it from an alert.
fn verdict(near: &Value) -> String {
    if let Some(entry) = near["allowed_by"].as_str() {
        return format!("allowed: {entry}");
    }
    let mut text = match (near["opens"] == true, near["lacked"].as_str()) {
        (true, _) => "enough for an alert".to_owned(),
        (false, Some(lacked)) => lacked.to_owned(),
        (false, None) if value(&near["value"]) >= value(&near["threshold"]) => {
            "over the threshold, but not long enough, answered, or by one dimension alone"
                .to_owned()
        }
        (false, None) => "below the threshold".to_owned(),
    };
    if let Some(until) = near["frozen_until_s"].as_i64() {
        let until = rfc3339(until.saturating_mul(1_000_000_000));
        text.push_str(&format!("; nothing is learned of it until {until}"));
    }
    text
}

fn value(of: &Value) -> f64 {
    of.as_f64().unwrap_or_default()
}

fn figure(of: &Value) -> String {
    let number = value(of);
    // Counts come as whole numbers, scores with three digits.
    match number.fract() == 0.0 && (0.0..1e15).contains(&number) {
        true => thousands(number as u64),
        false => format!("{number:.3}"),
    }
}

fn time(second: &Value) -> String {
    let text = rfc3339(second.as_i64().unwrap_or_default().saturating_mul(1_000_000_000));
    text.chars().take(19).collect::<String>() + "Z"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_says_how_far_it_was_and_what_kept_it() {
        let told = json!({
            "who": "10.0.0.1",
            "findings": [
                {"detector": "udp_flood", "entity_kind": "address", "entity": "10.0.0.1", "second": 0,
                 "value": 900.0, "threshold": 1000.0, "unit": "packets/s", "opens": false},
                {"detector": "sender_flood", "entity": "10.0.0.1", "second": 0, "value": 20000.0,
                 "threshold": 10000.0, "opens": true, "allowed_by": "backup (by ops)"},
                {"detector": "relay", "entity": "10.0.0.1", "second": 0, "value": 70.0,
                 "threshold": 55.0, "opens": false, "lacked": "one leg alone is known"},
            ],
            "windows": [{"address": "10.0.0.1", "direction": "sent", "kind": "udp", "second": 0,
                         "packets": 12, "packets_back": 3, "threshold": 10_000,
                         "unanswered_threshold": 1_000}],
            "silent": ["port_scan"],
        });
        let page = page(&told, Style::default());
        for part in [
            "900",
            "below the threshold",
            "allowed: backup (by ops)",
            "one leg alone is known",
            "udp sent",
            "port_scan",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
}
