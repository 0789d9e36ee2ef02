//! Alerts of a page: the table, and each alert's evidence below it.
//!
//! Works on alerts as JSON has them: what a report says is what files say. Start at
//! [`section`].

use serde_json::Value;

use super::super::detail::{files, list, plain, same_act, word};
use super::super::terminal::bytes;
use super::charts::{Chart, Lane, Marked, Unit, bars, lanes};
use super::markup::{Cell, Html, SEVERITIES, Table, figure_text};
use crate::alert::{bits, thousands};
use crate::engine::window::{SIZE_BINS, size_bin, size_bin_range};
use crate::report::known;

/// Alerts with their evidence on a page: the most severe. More nobody reads one by one, and
/// the file stays one that a browser opens at once.
const SHOWN: usize = 500;

/// Alerts with a chart of sizes or of a chain; further ones have words alone. A chart is
/// some ten kilobytes.
const DRAWN: usize = 60;

/// An alert as it is written, and what the entity's baseline has of sizes.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) record: Value,
    pub(super) learned: Option<[u64; SIZE_BINS]>,
}

impl Shown {
    pub(super) fn severity(&self) -> &str {
        self.record["severity"].as_str().unwrap_or_default()
    }

    pub(super) fn span_s(&self) -> Option<(f64, f64)> {
        Some((seconds(&self.record["start"])?, seconds(&self.record["end"])?))
    }

    fn element(&self) -> String {
        format!("alert-{}", word(&self.record["id"]))
    }

    pub(super) fn label(&self) -> String {
        format!("{} {}", word(&self.record["detector"]), self.subject())
    }

    /// Whom it is about as people call it. The whole identifier is in the evidence.
    fn subject(&self) -> String {
        let (entity, workload) = (&self.record["entity"], &self.record["case"]["workload"]);
        let id = word(&entity["id"]);
        let (name, pid) = (word(&entity["labels"]["name"]), pid_of(&id));
        match (word(&entity["kind"]).as_str(), pid) {
            ("process", Some(pid)) if !name.is_empty() => format!("{name}({pid})"),
            ("workload", _) if workload["name"].is_string() => word(&workload["name"]),
            _ => short_id(&id),
        }
    }

    /// One thing led to another in it.
    pub(super) fn is_chain(&self) -> bool {
        self.timeline().len() > 1
    }

    fn timeline(&self) -> &[Value] {
        self.record["case"]["timeline"].as_array().map(Vec::as_slice).unwrap_or_default()
    }
}

/// Most severe first, then as they began; the alerts beyond [`SHOWN`] are left out.
pub(super) fn ordered(mut alerts: Vec<Shown>) -> (Vec<Shown>, usize) {
    let rank = |shown: &Shown| {
        let severity = SEVERITIES.iter().position(|name| *name == shown.severity());
        (std::cmp::Reverse(severity), word(&shown.record["start"]))
    };
    alerts.sort_by_cached_key(rank);
    let left_out = alerts.len().saturating_sub(SHOWN);
    alerts.truncate(SHOWN);
    (alerts, left_out)
}

/// Of a process's identifier: boot, pid and start time.
fn pid_of(id: &str) -> Option<&str> {
    let mut parts = id.split(':');
    let (boot, pid, start) = (parts.next()?, parts.next()?, parts.next()?);
    let number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let is_process = boot.len() == 36 && number(pid) && number(start) && parts.next().is_none();
    is_process.then_some(pid)
}

/// Letters of a container's identifier: as many as its own tools show.
const CONTAINER_LETTERS: usize = 12;

/// An identifier that fits a cell: containers by the letters that their tools show, processes
/// by their number and the boot.
pub(super) fn short_id(id: &str) -> String {
    if let Some(pid) = pid_of(id) {
        return format!("pid {pid} of boot {}", id.get(..8).unwrap_or(id));
    }
    let at = id.rfind(':').map_or(0, |colon| colon + 1);
    let last = &id[at..];
    if last.len() == 64 && last.bytes().all(|it| it.is_ascii_hexdigit()) {
        return id[..at + CONTAINER_LETTERS].to_owned();
    }
    id.to_owned()
}

/// Seconds since the epoch of an RFC 3339 time.
pub(super) fn seconds(time: &Value) -> Option<f64> {
    let time: jiff::Timestamp = time.as_str()?.parse().ok()?;
    Some(time.as_nanosecond() as f64 / 1e9)
}

/// Down to the second: more digits tell nothing in a table.
pub(super) fn short(time: &str) -> String {
    time.get(..19).map_or_else(|| time.to_owned(), |short| short.replace('T', " "))
}

/// The table of alerts, and each with its evidence.
pub(super) fn section(html: &mut Html, alerts: &[Shown], left_out: usize, suppressed: u64) {
    html.heading("alerts", "Alerts");
    if alerts.is_empty() {
        html.paragraph("No alerts.");
        return;
    }
    let mut table = Table::new(
        "Alerts",
        &[
            "Severity",
            "Start",
            "Seconds",
            "Detector",
            "About",
            "Analytics",
            "Confidence",
            "Summary",
        ],
    );
    for shown in alerts {
        let record = &shown.record;
        table.row(vec![
            Cell::Severity(shown.severity().to_owned()),
            short(&word(&record["start"])).into(),
            record["evidence"]["active_seconds"].as_u64().unwrap_or_default().into(),
            word(&record["detector"]).into(),
            Cell::Link { to: shown.element(), text: shown.subject() },
            list(&record["analytics"]).into(),
            Cell::figure(record["confidence"].as_f64()),
            word(&record["summary"]).into(),
        ]);
    }
    html.table(&table);
    if left_out > 0 {
        html.paragraph(&format!(
            "{} less severe alerts are left out here; alerts.ndjson of the run has them.",
            thousands(left_out as u64)
        ));
    }
    if suppressed > 0 {
        html.paragraph(&format!(
            "{} windows of attacks got no alert: there were too many alerts.",
            thousands(suppressed)
        ));
    }
    html.raw("<h3>Evidence</h3>\n");
    for (at, shown) in alerts.iter().enumerate() {
        details(html, shown, at < DRAWN);
    }
}

fn details(html: &mut Html, shown: &Shown, drawn: bool) {
    let record = &shown.record;
    let evidence = &record["evidence"];
    html.raw("<details id=\"").text(&shown.element()).raw("\"><summary>");
    html.badge(shown.severity()).raw(" <b>").text(&shown.label()).raw("</b> ");
    html.text(&word(&record["summary"])).raw("</summary>\n");
    let mut facts = vec![
        ("alert", format!("{}, revision {}", word(&record["id"]), word(&record["revision"]))),
        ("severity", word(&record["severity_reason"])),
        ("confidence", word(&record["confidence_reason"])),
        ("about", format!("{} {}", word(&record["entity"]["kind"]), word(&record["entity"]["id"]))),
        ("from", short(&word(&record["start"]))),
        ("to", format!("{} ({})", short(&word(&record["end"])), word(&record["state"]))),
        ("analytics", list(&record["analytics"])),
        ("possible", list(&record["possible_analytics"])),
        ("missing", list(&record["missing_telemetry"])),
        ("captures", files(record)),
    ];
    facts.extend(same_act(record));
    facts.extend(known::facts_of_entity(record));
    html.facts(&facts);
    html.raw("<h3>Measured</h3>\n").facts(&measured(evidence));
    score(html, &record["case"]);
    held_against(html, &record["case"]);
    if drawn && let Some(chart) = sizes(shown) {
        html.chart(&chart);
    }
    story(html, shown, drawn);
    peers(html, &record["peers"]);
    html.raw("</details>\n");
}

fn count(value: &Value) -> String {
    value.as_u64().map_or_else(|| word(value), thousands)
}

fn rounded(value: &Value) -> String {
    value.as_f64().map_or_else(|| word(value), figure_text)
}

fn measured(evidence: &Value) -> Vec<(&str, String)> {
    let (rule, peak) = (&evidence["rule"], &evidence["peak"]);
    let unit = word(&rule["unit"]);
    let port = |port: &Value| {
        let share = port["share"].as_f64();
        share.map_or_else(String::new, |share| {
            format!("{} ({:.0} %)", word(&port["port"]), 100.0 * share)
        })
    };
    let spoofed = if evidence["spoofed_sources"] == true { ", likely spoofed" } else { "" };
    let mut facts = vec![
        ("measured", format!("{} {unit}", count(&evidence["measured"]))),
        ("threshold", format!("{} {unit} ({})", count(&rule["threshold"]), word(&rule["name"]))),
        ("rule", word(&rule["formula"])),
        ("decided by", word(&evidence["decided_by"]).replace('_', " ")),
        ("baseline", word(&evidence["baseline"])),
        (
            "peak",
            format!(
                "{} packets/s, {} at {}",
                count(&peak["packets_per_s"]),
                bits(peak["bits_per_s"].as_u64().unwrap_or_default()),
                short(&word(&peak["time"]))
            ),
        ),
        (
            "in all",
            format!(
                "{} packets, {}, in {} active seconds",
                count(&evidence["packets"]),
                bytes(evidence["wire_bytes"].as_u64().unwrap_or_default()),
                count(&evidence["active_seconds"])
            ),
        ),
        ("sources", format!("{}{spoofed}", count(&evidence["distinct_sources"]))),
        ("destinations", count(&evidence["distinct_destinations"])),
        ("direction", word(&evidence["direction"])),
        ("answer ratio", word(&evidence["answer_ratio"])),
        ("from port", port(&evidence["top_source_port"])),
        ("to port", port(&evidence["top_destination_port"])),
        ("also seen by", list(&evidence["also_seen"])),
    ];
    let details = evidence["details"].as_object().into_iter().flatten();
    facts.extend(details.map(|(name, value)| (name.as_str(), plain(value))));
    facts
}

/// The terms of the score, each as a share of what it could have given.
fn score(html: &mut Html, case: &Value) {
    let score = &case["score"];
    if !score.is_object() {
        return;
    }
    html.raw("<h3>Score</h3>\n").paragraph(&format!(
        "{} points; alerts from {}. {}",
        rounded(&score["value"]),
        rounded(&score["threshold"]),
        word(&score["formula"])
    ));
    let mut table = Table::new("Terms", &["Term", "Value", "Low", "High", "Points", "Of"]);
    for term in score["terms"].as_array().into_iter().flatten() {
        let figure = |name: &str| Cell::figure(term[name].as_f64());
        table.row(vec![
            word(&term["name"]).replace('_', " ").into(),
            figure("value"),
            figure("low"),
            figure("high"),
            figure("points"),
            figure("weight"),
        ]);
    }
    html.table(&table);
}

fn held_against(html: &mut Html, case: &Value) {
    if !case.is_object() {
        return;
    }
    let process = &case["process"];
    let command = match word(&process["command_line"]) {
        line if line.is_empty() => list(&process["args"]).replace(", ", " "),
        line => line,
    };
    let mature = if case["baseline_mature"] == true { "mature" } else { "not mature yet" };
    let mut facts = vec![
        ("decided by", word(&case["decided_by"]).replace('_', " ")),
        ("baseline", word(&case["baseline"])),
        ("history", format!("{} days, {mature}", rounded(&case["baseline_days"]))),
        ("baseline of", word(&case["baseline_key"])),
    ];
    let values = case["baseline_values"].as_object().into_iter().flatten();
    // Sizes are drawn.
    let values = values.filter(|(name, _)| *name != "sizes");
    facts.extend(values.map(|(name, value)| (name.as_str(), plain(value))));
    if process.is_object() {
        facts.push(("process", format!("{}({})", word(&process["name"]), word(&process["pid"]))));
        facts.push(("program", word(&process["exe"])));
        facts.push(("command", command));
    }
    facts.push(("class", word(&case["process_class"])));
    if case["workload"].is_object() {
        facts.push(("workload", plain(&case["workload"])));
    }
    html.raw("<h3>Held against</h3>\n").facts(&facts);
}

/// Sizes of the alert's packets next to those that are usual of its entity. Only packets
/// with payload, as analytics compare them, where there is a baseline.
fn sizes(shown: &Shown) -> Option<Chart> {
    let record = &shown.record;
    let mut now = [0_u64; SIZE_BINS];
    for size in record["evidence"]["payload_sizes"].as_array()? {
        let least = u32::try_from(size["min"].as_u64()?).ok()?;
        now[size_bin(least)] += size["packets"].as_u64()?;
    }
    let told: Option<Vec<u64>> =
        serde_json::from_value(record["case"]["baseline_values"]["sizes"].clone()).ok();
    let told = told.and_then(|sizes| <[u64; SIZE_BINS]>::try_from(sizes).ok());
    let mut learned = told.or(shown.learned);
    if let Some(learned) = &mut learned {
        (now[0], learned[0]) = (0, 0);
    }
    let learned = learned.filter(|bins| bins.iter().sum::<u64>() > 0);
    let packets: u64 = now.iter().sum();
    if packets == 0 {
        return None;
    }
    let used = |bin: &usize| now[*bin] > 0 || learned.is_some_and(|bins| bins[*bin] > 0);
    let (first, last) = ((0..SIZE_BINS).find(used)?, (0..SIZE_BINS).rfind(used)?);
    let labels: Vec<String> = (first..=last).map(bin_label).collect();
    let shares = |bins: &[u64; SIZE_BINS]| {
        let all = bins.iter().sum::<u64>().max(1) as f64;
        bins[first..=last].iter().map(|&packets| packets as f64 / all).collect::<Vec<f64>>()
    };
    let mut series = vec![("in the alert", shares(&now))];
    let caption = match &learned {
        Some(learned) => {
            series.push(("baseline", shares(learned)));
            format!(
                "Payload sizes in bytes: {} packets with payload in the alert, and {} in the \
                 entity's baseline.",
                thousands(packets),
                thousands(learned.iter().sum())
            )
        }
        None => format!(
            "Payload sizes in bytes of {} packets. The entity has no baseline of sizes.",
            thousands(packets)
        ),
    };
    Some(bars(caption, &labels, &series, Unit::Share))
}

fn bin_label(bin: usize) -> String {
    match size_bin_range(bin) {
        (min, Some(max)) if min == max => min.to_string(),
        (min, Some(max)) => format!("{min}–{max}"),
        (min, None) => format!("{min}+"),
    }
}

/// What happened, in order of time; of a chain its stages.
fn story(html: &mut Html, shown: &Shown, drawn: bool) {
    let moments = shown.timeline();
    if moments.is_empty() {
        return;
    }
    html.raw("<h3>What happened</h3>\n");
    if drawn && let Some(chart) = story_chart(shown) {
        html.chart(&chart);
    }
    let first_s = moments.iter().find_map(|moment| seconds(&moment["time"]));
    html.raw("<ol class=\"story\">");
    for moment in moments {
        html.raw("<li><time>").text(&word(&moment["time"])).raw("</time>");
        if let (Some(first_s), Some(at_s)) = (first_s, seconds(&moment["time"])) {
            html.text(&format!("+{:.1} s ", at_s - first_s));
        }
        html.raw("<b>").text(&word(&moment["what"]).replace('_', " ")).raw("</b>: ");
        html.text(&word(&moment["text"])).raw(" <small>by ");
        html.text(&word(&moment["source"])).raw("</small></li>\n");
    }
    html.raw("</ol>\n");
}

/// The moments as marks, a lane for each; a single one needs no chart.
fn story_chart(shown: &Shown) -> Option<Chart> {
    let moments: Vec<(String, f64)> = shown
        .timeline()
        .iter()
        .filter_map(|moment| {
            Some((word(&moment["what"]).replace('_', " "), seconds(&moment["time"])?))
        })
        // As many as fit a screen.
        .take(16)
        .collect();
    let first_s = moments.iter().map(|(_, at_s)| *at_s).reduce(f64::min)?;
    let last_s = moments.iter().map(|(_, at_s)| *at_s).reduce(f64::max)?;
    if last_s <= first_s {
        return None;
    }
    let margin_s = (last_s - first_s) * 0.03;
    let marks: Vec<Lane<'_>> = moments
        .iter()
        .enumerate()
        .map(|(at, (what, at_s))| Lane {
            label: format!("{}. {what}", at + 1),
            marked: Marked { from_s: *at_s, to_s: *at_s, severity: shown.severity() },
        })
        .collect();
    let caption = format!("What happened when: {}.", shown.label());
    Some(lanes(caption, (first_s - margin_s, last_s + margin_s), &marks))
}

/// Alerts that are a chain of stages: those with a timeline.
pub(super) fn chains(html: &mut Html, alerts: &[Shown]) {
    let stories: Vec<&Shown> = alerts.iter().filter(|shown| shown.is_chain()).collect();
    if stories.is_empty() {
        return;
    }
    html.heading("chains", "Chains");
    html.paragraph(
        "Alerts in which one thing led to another. Each is told in full in its evidence.",
    );
    for shown in stories.iter().take(DRAWN) {
        html.raw("<p>").badge(shown.severity()).raw(" <a href=\"#").text(&shown.element());
        html.raw("\">").text(&shown.label()).raw("</a></p>\n");
        if let Some(chart) = story_chart(shown) {
            html.chart(&chart);
        }
    }
}

fn peers(html: &mut Html, peers: &Value) {
    let mut table = Table::new("Peers", &["Address", "Role", "Packets", "Bytes", "Known"]);
    for peer in peers.as_array().into_iter().flatten() {
        table.row(vec![
            word(&peer["address"]).into(),
            word(&peer["role"]).replace('_', " ").into(),
            peer["packets"].as_u64().unwrap_or_default().into(),
            Cell::bytes(peer["wire_bytes"].as_u64().unwrap_or_default()),
            known::of_peer(peer).into(),
        ]);
    }
    if !table.is_empty() {
        html.table(&table);
    }
}
