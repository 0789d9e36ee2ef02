//! Logs, exports and counters on the summary's page: what each held, and what of it
//! could not be used.

use std::collections::BTreeMap;

use super::terminal::{Style, bytes, line, plural};
use crate::alert::thousands as grouped;
use crate::output::sources::InputSource;

/// Sources that have a line of their own; the rest is added up.
const MAX_SOURCES: usize = 20;
/// Unknown fields that are named.
const MAX_FIELDS: usize = 6;

pub(super) fn sources(page: &mut String, sources: &[InputSource], style: Style) {
    if sources.is_empty() {
        return;
    }
    line(page, format_args!("\n{}", style.title("Every record")));
    let shown = &sources[..sources.len().min(MAX_SOURCES)];
    let width = shown.iter().map(|source| source.kind.len()).max().unwrap_or(0);
    for source in shown {
        line(
            page,
            format_args!(
                "  {:width$}  {}: {} record{} in {}, {}",
                source.kind,
                source.path.escape_debug(),
                grouped(source.records),
                plural(source.records),
                bytes(source.bytes),
                given(source)
            ),
        );
        details(page, source, width, style);
    }
    let rest = &sources[shown.len()..];
    if !rest.is_empty() {
        let records = rest.iter().map(|source| source.records).sum();
        line(page, format_args!("  and {} more with {} records", rest.len(), grouped(records)));
    }
}

/// What became of its records.
fn given(source: &InputSource) -> String {
    let counts = [
        (source.flows, "flow"),
        (source.requests, "request"),
        (source.host_events, "host event"),
        (source.counters, "counter sample"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let given: Vec<_> = counts
        .map(|(count, name)| format!("{} {name}{}", grouped(*count), plural(*count)))
        .collect();
    if given.is_empty() { "nothing of use".to_owned() } else { given.join(", ") }
}

fn details(page: &mut String, source: &InputSource, width: usize, style: Style) {
    let mut detail = |text: String, warns: bool| {
        let text = if warns { style.warning(&text) } else { text };
        line(page, format_args!("  {:width$}  {text}", ""));
    };
    if let (Some(first), Some(last)) = (&source.first, &source.last) {
        detail(format!("{first} to {last}"), false);
    }
    let passed = listed(&source.passed);
    if !passed.is_empty() {
        detail(format!("passed over: {passed}"), false);
    }
    let lost = listed(&source.lost);
    if !lost.is_empty() {
        detail(format!("lost: {lost}"), true);
    }
    let bad = listed(&source.bad);
    if !bad.is_empty() {
        detail(format!("left out: {bad}"), true);
    }
    let bad_parts = listed(&source.bad_parts);
    if !bad_parts.is_empty() {
        detail(format!("values left out: {bad_parts}"), true);
    }
    if source.late > 0 {
        detail(format!("too late to be put in order: {}", grouped(source.late)), true);
    }
    if !source.unknown_fields.is_empty() {
        let names = source.unknown_fields.keys().take(MAX_FIELDS);
        let names: Vec<_> = names.map(|name| name.escape_debug().to_string()).collect();
        let more = source.unknown_fields.len().saturating_sub(MAX_FIELDS);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        detail(format!("fields kept without a meaning: {}{more}", names.join(", ")), false);
    }
    if let Some(error) = &source.error {
        detail(format!("ended early: {error}"), true);
    }
}

fn listed(counts: &BTreeMap<&'static str, u64>) -> String {
    let counts = counts.iter().map(|(name, count)| format!("{name} {}", grouped(*count)));
    counts.collect::<Vec<_>>().join(", ")
}
