//! What an entity's alert rests on, in words: score, baseline, process, timeline.

use serde_json::Value;

use super::detail::{Page, list, plain, word};
use super::hosts;

/// Adds the parts; nothing for an alert that has no case.
pub(super) fn part(page: &mut Page, case: &Value) {
    if !case.is_object() {
        return;
    }
    score(page, &case["score"]);
    page.title("\nHeld against");
    page.field("decided by", word(&case["decided_by"]).replace('_', " "));
    page.field("baseline", word(&case["baseline"]));
    let mature = if case["baseline_mature"] == true { "mature" } else { "not mature yet" };
    page.field("history", format!("{} days, {mature}", word(&case["baseline_days"])));
    for (name, value) in case["baseline_values"].as_object().into_iter().flatten() {
        page.field(&format!("  {}", name.replace('_', " ")), plain(value));
    }
    if case["process"].is_object() || case["workload"].is_object() {
        page.title("\nProcess");
        hosts::of_case(page, &case["process"], &case["workload"]);
        page.field("class", word(&case["process_class"]));
    }
    let moments = case["timeline"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !moments.is_empty() {
        page.title("\nTimeline");
    }
    for moment in moments {
        let what = word(&moment["what"]).replace('_', " ");
        let (time, text, source) =
            (word(&moment["time"]), word(&moment["text"]), word(&moment["source"]));
        page.line(&format!("  {time}  {what}: {text} (by {source})"));
    }
}

/// The terms of a score, as they were told.
fn score(page: &mut Page, score: &Value) {
    page.title(&format!(
        "\nScore {} (alerts from {})",
        word(&score["value"]),
        word(&score["threshold"])
    ));
    for term in score["terms"].as_array().into_iter().flatten() {
        page.line(&format!(
            "  {:<24} {:>14} {:>9} of {}",
            word(&term["name"]).replace('_', " "),
            word(&term["value"]),
            word(&term["points"]),
            word(&term["weight"])
        ));
    }
}

/// Its command line, as far as the record has one.
pub(super) fn command_line(process: &Value) -> String {
    match word(&process["command_line"]) {
        line if line.is_empty() => list(&process["args"]).replace(", ", " "),
        line => line,
    }
}
