//! One alert, or all records of one flow, in full for people.
//!
//! Works on the records as they were written, so that those of an older
//! version show too: what is missing is left out, what is unknown is shown as
//! it stands. Names in traffic are an attacker's: every line passes
//! [`printable`], so that none of them can command a terminal.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::terminal::{Style, bytes};
use super::{case, hosts, known};
use crate::alert::{bits, thousands};
use crate::output::printable::is_obeyed;

/// Columns of a field's name.
const NAME_COLUMNS: usize = 18;

/// Fields of a flow record that [`flow`] has words for.
const FLOW_WORDED: [&str; 21] = [
    "schema_version",
    "community_id",
    "src_ip",
    "dst_ip",
    "src_port",
    "dst_port",
    "proto",
    "proto_name",
    "start",
    "end",
    "duration_ns",
    "decided",
    "state",
    "answered",
    "end_reason",
    "fwd",
    "rev",
    "src_mac",
    "dst_mac",
    "src_host",
    "dst_host",
];

/// The alert that stands for the act, and those that it stands for.
pub(super) fn same_act(record: &Value) -> Vec<(&'static str, String)> {
    let named = |other: &Value| {
        let entity = &other["entity"];
        let (id, detector) = (word(&other["id"]), word(&other["detector"]));
        format!("{id}, {detector} of {} {}", word(&entity["kind"]), word(&entity["id"]))
    };
    let whole = Some(&record["part_of"]).filter(|whole| whole.is_object());
    let parts = record["parts"].as_array().into_iter().flatten();
    let whole = whole.map(|whole| ("part of", named(whole)));
    whole.into_iter().chain(parts.map(|part| ("its part", named(part)))).collect()
}

/// Captures that have packets of the alert's time, where it names any.
pub(super) fn files(record: &Value) -> String {
    let named = list(&record["files"]);
    match record["further_files"].as_u64() {
        Some(further) => format!("{named} and {} more", thousands(further)),
        None => named,
    }
}

/// The page of one alert.
pub fn alert(record: &Value, style: Style) -> String {
    let mut page = Page::new(style);
    let evidence = &record["evidence"];
    page.title(&format!("Alert {}, revision {}", word(&record["id"]), word(&record["revision"])));
    page.line(&word(&record["summary"]));
    page.line("");
    page.field(
        "severity",
        format!(
            "{}, {}, confidence {}",
            word(&record["severity"]),
            word(&record["state"]),
            word(&record["confidence"])
        ),
    );
    page.field("because", word(&record["severity_reason"]));
    page.field("confidence", word(&record["confidence_reason"]));
    page.field(
        "about",
        format!("{} {}", word(&record["entity"]["kind"]), word(&record["entity"]["id"])),
    );
    known::of_entity(&mut page, record);
    page.field("from", word(&record["start"]));
    page.field(
        "to",
        format!("{}, {} s active", word(&record["end"]), number(&evidence["active_seconds"])),
    );
    page.field("analytics", list(&record["analytics"]));
    page.field("possible", list(&record["possible_analytics"]));
    page.field("missing", list(&record["missing_telemetry"]));
    page.field("captures", files(record));
    for (name, text) in same_act(record) {
        page.field(name, text);
    }

    page.title("\nMeasured");
    let rule = &evidence["rule"];
    let unit = word(&rule["unit"]);
    page.field("measured", format!("{} {unit}", number(&evidence["measured"])));
    page.field(
        "threshold",
        format!("{} {unit} ({})", number(&rule["threshold"]), word(&rule["name"])),
    );
    page.field("rule", word(&rule["formula"]));
    page.field("baseline", word(&evidence["baseline"]));
    let peak = &evidence["peak"];
    page.field(
        "peak",
        format!(
            "{} packets/s ({} unanswered), {}, {}/s of payload, at {}",
            number(&peak["packets_per_s"]),
            number(&peak["unanswered_packets_per_s"]),
            bits(peak["bits_per_s"].as_u64().unwrap_or_default()),
            bytes(peak["payload_bytes_per_s"].as_u64().unwrap_or_default()),
            word(&peak["time"])
        ),
    );
    page.field("in all", amount(evidence));
    page.field(
        "ends",
        format!(
            "sources {}{}, destinations {}, {}",
            number(&evidence["distinct_sources"]),
            if evidence["spoofed_sources"] == true { " (likely spoofed)" } else { "" },
            number(&evidence["distinct_destinations"]),
            word(&evidence["direction"])
        ),
    );
    page.field("answer ratio", word(&evidence["answer_ratio"]));
    for (name, port) in [
        ("from port", &evidence["top_source_port"]),
        ("to port", &evidence["top_destination_port"]),
    ] {
        if let Some(share) = port["share"].as_f64() {
            page.field(name, format!("{} ({:.0}%)", word(&port["port"]), 100.0 * share));
        }
    }
    page.field("also seen by", list(&evidence["also_seen"]));
    for (name, value) in evidence["details"].as_object().into_iter().flatten() {
        page.field(&name.replace('_', " "), word(value));
    }

    case::part(&mut page, &record["case"]);
    sizes(&mut page, &evidence["payload_sizes"]);
    let peers = record["peers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !peers.is_empty() {
        page.title("\nPeers");
        for peer in peers {
            let address = word(&peer["address"]);
            let line = format!("  {address:<39} {:<12} {}", word(&peer["role"]), amount(peer));
            page.line(line.trim_end());
            let known = known::of_peer(peer);
            if !known.is_empty() {
                page.line(&format!("    {known}"));
            }
        }
    }
    page.text
}

/// The page of all records of one Community ID.
pub fn flow(records: &[Value], style: Style) -> String {
    let mut page = Page::new(style);
    let id = records.first().map(|record| word(&record["community_id"])).unwrap_or_default();
    let plural = if records.len() == 1 { "" } else { "s" };
    page.title(&format!("Flow {id}: {} record{plural}", records.len()));
    for record in records {
        let end = |ip: &str, port: &str| {
            let address = word(&record[ip]);
            match record[port].as_u64() {
                Some(port) if address.contains(':') => format!("[{address}]:{port}"),
                Some(port) => format!("{address}:{port}"),
                None => address,
            }
        };
        page.title(&format!(
            "\n{} {} to {}",
            word(&record["proto_name"]),
            end("src_ip", "src_port"),
            end("dst_ip", "dst_port")
        ));
        let seconds = record["duration_ns"].as_f64().unwrap_or_default() / 1e9;
        page.field("from", word(&record["start"]));
        page.field("to", format!("{}, {seconds:.6} s", word(&record["end"])));
        let answered = if record["answered"] == true { "answered" } else { "not answered" };
        let decided = word(&record["decided"]);
        page.field(
            "state",
            format!(
                "{}, {answered}; ended by {}{}{decided}",
                word(&record["state"]),
                word(&record["end_reason"]).replace('_', " "),
                if decided.is_empty() { "" } else { ", decided at " },
            ),
        );
        if record["src_mac"].is_string() || record["dst_mac"].is_string() {
            page.field(
                "link",
                format!("{} to {}", word(&record["src_mac"]), word(&record["dst_mac"])),
            );
        }
        for (name, side) in [("forward", &record["fwd"]), ("reverse", &record["rev"])] {
            if side["packets"].as_u64().unwrap_or_default() == 0 {
                page.field(name, "no packets".to_owned());
                continue;
            }
            page.field(
                name,
                format!("{}, {} of payload", amount(side), bytes_of(side, "payload_bytes")),
            );
            page.field("  sizes", size_words(&side["payload_sizes"]));
            let rest = without(side, &["packets", "wire_bytes", "payload_bytes", "payload_sizes"]);
            for (part, value) in rest {
                page.field(&format!("  {}", part.replace('_', " ")), plain(value));
            }
        }
        for (name, value) in without(record, &FLOW_WORDED) {
            page.field(&name.replace('_', " "), plain(value));
        }
        hosts::part(&mut page, record);
    }
    page.text
}

/// JSON for people, without anything in it that a terminal would obey.
pub fn json(record: &Value) -> String {
    // Control characters stand within strings only: escapes keep their meaning.
    let text = serde_json::to_string_pretty(record).unwrap_or_default();
    escape(&text, |letter| {
        let mut units = [0; 2];
        letter.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
    })
    .into_owned()
}

/// The text with control and text-direction characters as `\u{..}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    escape(text, |letter| format!("\\u{{{:x}}}", u32::from(letter)))
}

/// Line breaks stay: callers put them there, or JSON has escaped them.
fn escape(text: &str, written: impl Fn(char) -> String) -> Cow<'_, str> {
    let obeyed = |letter| is_obeyed(letter) && letter != '\n';
    if !text.chars().any(obeyed) {
        return Cow::Borrowed(text);
    }
    text.chars()
        .map(|letter| if obeyed(letter) { written(letter) } else { letter.to_string() })
        .collect::<String>()
        .into()
}

pub(super) struct Page {
    pub(super) text: String,
    style: Style,
}

impl Page {
    pub(super) fn new(style: Style) -> Self {
        Self { text: String::new(), style }
    }

    /// May start with a line break of its own.
    pub(super) fn title(&mut self, title: &str) {
        let words = title.trim_start_matches('\n');
        self.text.push_str(&title[..title.len() - words.len()]);
        let words = printable(words).replace('\n', " ");
        self.text.push_str(&self.style.title(&words));
        self.text.push('\n');
    }

    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(&printable(line).replace('\n', " "));
        self.text.push('\n');
    }

    /// Nothing when there is no value.
    pub(super) fn field(&mut self, name: &str, value: String) {
        if !value.is_empty() {
            self.line(&format!("  {name:<NAME_COLUMNS$} {value}"));
        }
    }
}

fn sizes(page: &mut Page, sizes: &Value) {
    let sizes = sizes.as_array().map(Vec::as_slice).unwrap_or_default();
    let all: u64 = sizes.iter().filter_map(|size| size["packets"].as_u64()).sum();
    if all == 0 {
        return;
    }
    page.title("\nPayload sizes");
    for size in sizes {
        let range = match (size["min"].as_u64(), size["max"].as_u64()) {
            (Some(min), Some(max)) if min == max => min.to_string(),
            (Some(min), Some(max)) => format!("{min} to {max}"),
            (min, _) => format!("{} up", min.unwrap_or_default()),
        };
        let packets = size["packets"].as_u64().unwrap_or_default();
        let share = 100.0 * packets as f64 / all as f64;
        page.line(&format!("  {range:>16} bytes {:>13} packets {share:>5.1}%", thousands(packets)));
    }
}

/// "10 packets, 1.2 kB", with what there is of it.
fn amount(record: &Value) -> String {
    let packets = with_unit(&record["packets"], "packets");
    match record["wire_bytes"].as_u64() {
        Some(count) if !packets.is_empty() => format!("{packets}, {}", bytes(count)),
        _ => packets,
    }
}

fn size_words(sizes: &Value) -> String {
    if sizes["min"].is_null() {
        return String::new();
    }
    let empty = sizes["empty"].as_u64().unwrap_or_default();
    if sizes["min"] == sizes["max"] {
        let empty = thousands(empty);
        return format!("all of {} bytes; {empty} packets without", word(&sizes["min"]));
    }
    format!(
        "{} to {} bytes, mean {}, median {}, p90 {}, p99 {}; {} packets without",
        word(&sizes["min"]),
        word(&sizes["max"]),
        word(&sizes["mean"]),
        word(&sizes["p50"]),
        word(&sizes["p90"]),
        word(&sizes["p99"]),
        thousands(empty)
    )
}

fn without<'a>(
    record: &'a Value,
    known: &'a [&str],
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let fields = record.as_object().into_iter().flat_map(Map::iter);
    fields.filter(move |(name, _)| !known.contains(&name.as_str()))
}

fn bytes_of(record: &Value, name: &str) -> String {
    bytes(record[name].as_u64().unwrap_or_default())
}

fn with_unit(value: &Value, unit: &str) -> String {
    if value.is_null() { String::new() } else { format!("{} {unit}", number(value)) }
}

fn number(value: &Value) -> String {
    value.as_u64().map_or_else(|| word(value), thousands)
}

/// A string without its quotes; nothing for null.
pub(super) fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) fn list(value: &Value) -> String {
    value.as_array().into_iter().flatten().map(word).collect::<Vec<_>>().join(", ")
}

/// A nested value in a line: `method GET, host example.test`.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match value {
                Value::Object(_) => format!("{name}: {}", plain(value)),
                _ => format!("{} {}", name.replace('_', " "), plain(value)),
            })
            .collect::<Vec<_>>()
            .join(", "),
        Value::Array(items) if items.iter().all(|item| !item.is_array() && !item.is_object()) => {
            list(value)
        }
        _ => word(value),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn is_harmless(text: &str) -> bool {
        text.chars().all(|letter| {
            (!letter.is_control() || letter == '\n') && !('\u{202a}'..='\u{202e}').contains(&letter)
        })
    }

    proptest! {
        #[test]
        fn nothing_in_a_record_reaches_the_terminal_as_a_command(
            text in prop::collection::vec(any::<char>(), 0..40),
            low in prop::collection::vec(0_u8..0xa0, 0..20),
        ) {
            let hostile: String = text.into_iter().chain(low.into_iter().map(char::from)).collect();
            let record = json!({
                "id": &hostile, "summary": &hostile, "community_id": &hostile, "src_ip": &hostile,
                "app": {"http": {"path": &hostile}}, (hostile.as_str()): [&hostile],
                "src_host": {"process": {"name": &hostile, (hostile.as_str()): &hostile},
                    "workload": {"pod": &hostile, "labels": {(hostile.as_str()): &hostile}},
                    "instance": {(hostile.as_str()): &hostile},
                    "attribution": {"method": &hostile, "reason": &hostile}},
                "entity": {"id": &hostile}, "peers": [{"address": &hostile}],
                "evidence": {"details": {(hostile.as_str()): &hostile}},
            });
            let style = Style { colour: false };
            prop_assert!(is_harmless(&alert(&record, style)));
            prop_assert!(is_harmless(&flow(std::slice::from_ref(&record), style)));
            let text = json(&record);
            prop_assert!(is_harmless(&text));
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), record);
        }
    }

    #[test]
    fn a_line_break_in_a_name_forges_no_line() {
        let record = json!({"app": {"dns": {"query": "a\n  severity     low"}}});
        let page = flow(&[record], Style { colour: false });
        assert!(!page.lines().any(|line| line.starts_with("  severity")), "{page}");
        assert!(page.contains("  app                dns: query a   severity     low"), "{page}");
    }

    #[test]
    fn what_a_record_leaves_out_is_said_in_words() {
        let record = json!({
            "state": "one_way", "answered": false, "end_reason": "end_of_input",
            "fwd": {
                "packets": 2, "wire_bytes": 120, "payload_bytes": 22,
                "payload_sizes": {"min": 22, "max": 22, "empty": 1, "histogram": [[0, 1], [20, 1]]},
            },
        });
        let page = flow(&[record], Style { colour: false });
        assert!(page.contains("  sizes            all of 22 bytes; 1 packets without\n"), "{page}");
        assert!(page.contains("  reverse            no packets\n"), "{page}");
        assert!(page.contains("one_way, not answered; ended by end of input\n"), "{page}");
    }

    #[test]
    fn fields_without_words_are_shown_as_they_stand() {
        let page = flow(&[json!({"vlans": [5, 7], "new_field": 3})], Style { colour: false });
        assert!(page.contains("  vlans              5, 7\n"), "{page}");
        assert!(page.contains("  new field          3\n"), "{page}");
    }
}
