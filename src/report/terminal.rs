//! The summary for people: what was read, what is in it, what is wrong with it.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::Path;

use super::detail::printable;
use crate::alert::{Alert, Severity, sentence, thousands as grouped, towards_words};
use crate::flow::sizes::bin_of;
use crate::output::Summary;
use crate::output::capture::{CaptureSummary, OutputSummary};
use crate::output::summary::{InputFile, PayloadSizes};

/// Columns of the distribution's bars.
const BAR_COLUMNS: usize = 32;
/// Alerts and protocols shown before the rest is only counted.
const MAX_ALERTS: usize = 20;
const MAX_PROTOCOLS: usize = 10;
const MAX_TALKERS: usize = 5;

/// Colour or not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    pub colour: bool,
}

impl Style {
    /// Colour on a terminal, unless `NO_COLOR` is set (no-color.org).
    pub fn for_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colour: wanted && std::io::stdout().is_terminal() }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn title(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn warning(self, text: &str) -> String {
        self.paint("33", text)
    }
}

/// The whole page. `dir` is where the results were written.
pub fn render(summary: &Summary, dir: Option<&Path>, style: Style) -> String {
    let mut page = String::new();
    head(&mut page, summary, style);
    if summary.packets > 0 || summary.sources.is_empty() {
        accounting(&mut page, summary, style);
    }
    super::sources::sources(&mut page, &summary.sources, style);
    protocols(&mut page, summary, style);
    talkers(&mut page, summary, style);
    if let Some(coverage) = &summary.coverage
        && (summary.packets > 0 || summary.sources.is_empty())
    {
        // Plain numbers and names: always JSON.
        let coverage = serde_json::to_value(coverage).unwrap_or_default();
        line(&mut page, format_args!("\n{}", super::coverage::hosts(&coverage, style).trim_end()));
    }
    if summary.packets > 0 || summary.sources.is_empty() {
        sizes(&mut page, &summary.payload_sizes, style);
    }
    alerts(&mut page, summary, style);
    if let Some(dir) = dir {
        line(&mut page, format_args!("\nResults in {}", dir.display()));
    }
    page
}

pub(super) fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = page.write_fmt(text);
    page.push('\n');
}

fn head(page: &mut String, summary: &Summary, style: Style) {
    let counted = |count: u64, what: &str| {
        format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
    };
    let read = format!(
        "{}, {} on the wire, {} of {}",
        counted(summary.packets, "packet"),
        bytes(summary.wire_bytes),
        counted(summary.flows, "flow"),
        counted(summary.conversations, "conversation")
    );
    if summary.packets > 0 || summary.sources.is_empty() {
        line(page, format_args!("{}", style.title(&read)));
    }
    let how = if summary.capture.is_some() { "captured for" } else { "read in" };
    if let (Some(first), Some(last)) = (&summary.first_packet, &summary.last_packet) {
        line(page, format_args!("{first} to {last}"));
    }
    if summary.packets == 0 && !summary.sources.is_empty() {
        line(page, format_args!("{how} {:.2} s", summary.elapsed_s));
        return;
    }
    let rate = summary.packets as f64 / summary.elapsed_s.max(0.001);
    line(
        page,
        format_args!(
            "{how} {:.2} s by {} worker{} ({:.2} Mpkt/s)",
            summary.elapsed_s,
            summary.workers,
            plural(summary.workers as u64),
            rate / 1e6
        ),
    );
}

fn accounting(page: &mut String, summary: &Summary, style: Style) {
    let packets = &summary.accounting.sums;
    let wire = &summary.accounting_bytes;
    line(page, format_args!("\n{}", style.title("Every packet")));
    let details = |map: &std::collections::BTreeMap<String, u64>| {
        let mut all: Vec<_> = map.iter().collect();
        all.sort_by_key(|&(name, &count)| (std::cmp::Reverse(count), name));
        let shown: Vec<_> = all
            .iter()
            .take(4)
            .map(|(name, count)| format!("{name} {}", grouped(**count)))
            .collect();
        let more = if all.len() > 4 { ", ..." } else { "" };
        format!("{}{more}", shown.join(", "))
    };
    for (name, packets, wire_bytes, why) in [
        ("in flows", packets.in_flows, wire.in_flows, String::new()),
        ("not IP", packets.non_ip, wire.non_ip, details(&summary.accounting.non_ip_types)),
        (
            "malformed",
            packets.malformed,
            wire.malformed,
            details(&summary.accounting.malformed_reasons),
        ),
        ("filtered", packets.filtered.unwrap_or(0), wire.filtered.unwrap_or(0), String::new()),
        ("duplicate", packets.duplicate, wire.duplicate, String::new()),
        ("untracked", packets.untracked, wire.untracked, "flow table full".to_owned()),
    ] {
        if packets > 0 || name == "in flows" {
            let row =
                format!("  {name:<10} {:>15} {:>11}  {why}", grouped(packets), bytes(wire_bytes));
            line(page, format_args!("{}", row.trim_end()));
        }
    }
    let total = format!(
        "  {:<10} {:>15} {:>11}",
        "total",
        grouped(summary.packets),
        bytes(summary.wire_bytes)
    );
    line(page, format_args!("{total}"));
    if let Some(capture) = &summary.capture {
        captured(page, capture);
    }
    for note in notes(summary) {
        line(page, format_args!("  {}", style.warning(&note)));
    }
}

/// What never came to be counted.
fn captured(page: &mut String, capture: &CaptureSummary) {
    for interface in &capture.interfaces {
        let state = match (interface.present, interface.up) {
            (false, _) => ", gone",
            (true, false) => ", down",
            (true, true) => "",
        };
        line(
            page,
            format_args!(
                "  {}{state}: {} packets, lost {} in the kernel's ring and {} at the interface",
                interface.name,
                grouped(interface.packets),
                grouped(interface.kernel_drops),
                grouped(interface.interface_drops)
            ),
        );
    }
}

/// What a careful reader must know before believing the figures.
fn notes(summary: &Summary) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |count: u64, text: &str| {
        if count > 0 {
            notes.push(format!("{} {text}", grouped(count)));
        }
    };
    note(
        summary.cut_packets,
        "packets were cut by the snap length: counted in full, payload not all seen",
    );
    note(summary.truncated_records, "records were cut off at the end of a file: not counted");
    let dropped = |of: fn(&InputFile) -> Option<u64>| summary.files.iter().filter_map(of).sum();
    note(
        dropped(|file| file.interface_drops),
        "packets were lost at interfaces before they were written, the captures say",
    );
    note(
        dropped(|file| file.system_drops),
        "packets were lost in the systems that captured, the captures say",
    );
    note(
        dropped(|file| file.unplaced_drops),
        "packets were lost before others that were written, the captures say",
    );
    note(summary.time_anomalies, "time stamps made no sense: the packet before gave the time");
    note(
        summary.length_anomalies,
        "claimed wire lengths were over 16 MiB: what was captured counts",
    );
    note(summary.late_packets, "packets came too late for their second's window");
    note(summary.flows_evicted, "flows of one packet made room for others: the table was full");
    if let Some(capture) = &summary.capture {
        let overload = &capture.overload;
        let mut note = |count: u64, text: &str| {
            if count > 0 {
                notes.push(format!("{} packets came too fast: {text}", grouped(count)));
            }
        };
        note(overload.application_hints, "application hints were left out");
        note(overload.payload_entropy, "payload entropy was left out");
        note(overload.new_flows_sampled, "one new flow in eight was taken in");
    }
    if let Some(capture) = &summary.capture {
        not_kept(capture, &mut notes);
    }
    let capture = summary.capture.iter().flat_map(|capture| &capture.interfaces);
    for interface in capture.filter(|interface| interface.oversized_packets > 0) {
        notes.push(format!(
            "{} frames of {} were longer than its MTU: an offload put packets together \
             (ethtool -K {} gro off lro off)",
            grouped(interface.oversized_packets),
            interface.name,
            interface.name
        ));
    }
    if summary.one_sided_capture {
        notes.push(
            "one-sided capture: many TCP connections are seen in one direction only".to_owned(),
        );
    }
    notes
}

/// What is missing in files and at receivers.
fn not_kept(capture: &CaptureSummary, notes: &mut Vec<String>) {
    let mut note = |count: u64, text: &str| {
        if count > 0 {
            notes.push(format!("{} {text}", grouped(count)));
        }
    };
    note(capture.output.as_ref().map_or(0, OutputSummary::lost), "records could not be written");
    let missing = capture.recording.as_ref().map_or(0, |recording| recording.lost_packets);
    note(missing, "packets are missing in the recording: the disk was too slow or full");
    for receiver in &capture.delivery {
        note(receiver.lost, &format!("messages to {} were lost", receiver.target));
        note(receiver.refused, &format!("messages were refused by {}", receiver.target));
    }
}

fn protocols(page: &mut String, summary: &Summary, style: Style) {
    if summary.protocols.is_empty() {
        return;
    }
    line(page, format_args!("\n{}", style.title("Protocols")));
    line(page, format_args!("  {:<12} {:>13} {:>11} {:>11}", "", "packets", "bytes", "flows"));
    let mut all: Vec<_> = summary.protocols.iter().collect();
    all.sort_by_key(|&(name, protocol)| (std::cmp::Reverse(protocol.packets), name));
    for (name, protocol) in all.iter().take(MAX_PROTOCOLS) {
        line(
            page,
            format_args!(
                "  {name:<12} {:>13} {:>11} {:>11}",
                grouped(protocol.packets),
                bytes(protocol.wire_bytes),
                grouped(protocol.flows)
            ),
        );
    }
    if all.len() > MAX_PROTOCOLS {
        line(page, format_args!("  and {} more", all.len() - MAX_PROTOCOLS));
    }
}

fn talkers(page: &mut String, summary: &Summary, style: Style) {
    if summary.top_talkers.is_empty() {
        return;
    }
    line(page, format_args!("\n{}", style.title("Top talkers")));
    line(page, format_args!("  {:<39} {:>11} {:>11} {:>9}", "", "sent", "received", "flows"));
    for talker in summary.top_talkers.iter().take(MAX_TALKERS) {
        line(
            page,
            format_args!(
                "  {:<39} {:>11} {:>11} {:>9}",
                talker.ip,
                bytes(talker.sent_bytes),
                bytes(talker.received_bytes),
                grouped(talker.flows)
            ),
        );
    }
}

/// The payload-size distribution, one row an octave.
fn sizes(page: &mut String, sizes: &PayloadSizes, style: Style) {
    let (Some(min), Some(max), Some(mean)) = (sizes.min, sizes.max, sizes.mean) else { return };
    line(page, format_args!("\n{}", style.title("Payload sizes")));
    line(
        page,
        format_args!(
            "  {} packets with payload: {min} to {max} bytes, mean {mean:.0}, median {}, p90 {}, p99 {}; {} without",
            grouped(sizes.count),
            sizes.p50.unwrap_or_default(),
            sizes.p90.unwrap_or_default(),
            sizes.p99.unwrap_or_default(),
            grouped(sizes.empty)
        ),
    );
    // Octaves: 1 to 7 together, then 8 to 15, 16 to 31, ...
    let mut octaves = [0u64; 15];
    for &(low, packets) in sizes.histogram.iter().filter(|&&(low, _)| low > 0) {
        let octave = if low < 8 { 0 } else { (bin_of(low) - 8) / 4 + 1 };
        octaves[octave.min(14)] += packets;
    }
    let most = octaves.iter().copied().max().unwrap_or(1).max(1);
    let first = octaves.iter().position(|&packets| packets > 0).unwrap_or(0);
    let last = octaves.iter().rposition(|&packets| packets > 0).unwrap_or(0);
    for (octave, &packets) in octaves.iter().enumerate().take(last + 1).skip(first) {
        let low = if octave == 0 { 1 } else { 4 << octave };
        let label = match octave {
            0 => "1-7".to_owned(),
            14 => "65536 up".to_owned(),
            _ => format!("{low}-{}", low * 2 - 1),
        };
        let bar = blocks(packets as f64 / most as f64);
        let share = 100.0 * packets as f64 / sizes.count.max(1) as f64;
        line(page, format_args!("  {label:>11} {} {share:>5.1}%", style.paint("36", &bar)));
    }
}

/// A bar of block characters, an eighth of a column fine.
fn blocks(share: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * (BAR_COLUMNS * 8) as f64).ceil() as usize;
    let bar = format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8]);
    format!("{bar}{}", " ".repeat(BAR_COLUMNS.saturating_sub(bar.chars().count())))
}

fn alerts(page: &mut String, summary: &Summary, style: Style) {
    if summary.alerts.is_empty() {
        line(page, format_args!("\nNo alerts."));
        allowed(page, summary);
        return;
    }
    let is_part = |alert: &&Alert| alert.part_of.is_some();
    let parts = summary.alerts.iter().filter(is_part).count();
    let mut all: Vec<_> = summary.alerts.iter().filter(|alert| !is_part(alert)).collect();
    let title = match parts {
        0 => format!("{} alert{}", all.len(), plural(all.len() as u64)),
        1 => format!("{} alert{}, and 1 that is part of one", all.len(), plural(all.len() as u64)),
        _ => format!(
            "{} alert{}, and {parts} that are part of one",
            all.len(),
            plural(all.len() as u64)
        ),
    };
    line(page, format_args!("\n{}", style.title(&title)));
    all.sort_by_key(|alert| std::cmp::Reverse(alert.severity));
    for alert in all.iter().take(MAX_ALERTS) {
        let colour = match alert.severity {
            Severity::Critical | Severity::High => "31",
            Severity::Medium => "33",
            Severity::Low | Severity::Informational => "36",
        };
        let severity = style.paint(colour, alert.severity.name());
        // Processes choose their names.
        line(page, format_args!("  {} {severity} {}", alert.id, one_line(&sentence(alert))));
        let actor = alert.case.as_ref().map(|case| case.actor()).unwrap_or_default();
        if !actor.is_empty() {
            line(page, format_args!("    by {}", one_line(&actor)));
        }
        for part in &alert.parts {
            line(page, format_args!("    with {} {}", part.id, part.detector));
        }
    }
    if all.len() > MAX_ALERTS {
        line(page, format_args!("  and {} more: see alerts.ndjson", all.len() - MAX_ALERTS));
    }
    allowed(page, summary);
}

fn one_line(text: &str) -> String {
    printable(text).replace('\n', " ")
}

/// What was kept from being an alert, by entry.
fn allowed(page: &mut String, summary: &Summary) {
    for entry in summary.alerts_allowed.iter().filter(|entry| entry.suppressed > 0) {
        let (count, entity) = (grouped(entry.suppressed), &entry.entity);
        let to = towards_words(&entry.peer, &entry.port);
        let (reason, owner) = (&entry.reason, &entry.owner);
        line(page, format_args!("  {count} allowed to {entity}{to} ({reason}, by {owner})"));
    }
}

pub(super) fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Bytes in decimal units, as links are sold.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_in_units() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(999_960), "1.0 MB");
        assert_eq!(bytes(u64::MAX), "18.4 EB");
    }

    #[test]
    fn a_bar_is_as_wide_as_its_column_whatever_the_share() {
        for share in [0.0, 1e-9, 0.3, 0.999, 1.0, 7.0] {
            assert_eq!(blocks(share).chars().count(), BAR_COLUMNS);
        }
        assert!(blocks(1e-9).starts_with('▏'), "something is never drawn as nothing");
    }
}
