//! The page of a run: `flowtap read` and `flowtap live`. Start at [`run_page`].

use super::super::terminal::bytes;
use super::alerts::{self, Shown};
use super::charts::{Lane, Marked, Unit, bars, heat, lanes, timeline};
use super::collect::{Collector, Hosts};
use super::markup::{Cell, Html, Table};
use super::{flows, ledger, page};
use crate::alert::{Alert, Severity, thousands};
use crate::baseline::Baselines;
use crate::engine::RunReport;
use crate::engine::window::{Host, SIZE_BINS};
use crate::flow::sizes::{BINS, bin_range};
use crate::output::Summary;
use crate::output::summary::{TopTalker, top_talkers};

/// Top talkers: as many as a table is read for.
const TALKERS: usize = 100;

/// Rows of the heat map, and lanes of alerts: as many as a screen has.
const HEAT_ROWS: usize = 24;
const LANES: usize = 24;

/// Alerts marked in the timeline; with more all is one stain.
const MARKED: usize = 100;

const DAY_S: i64 = 86_400;

/// What a page is made of once the run is over.
#[derive(Debug)]
pub struct RunPage {
    collected: Collector,
    talkers: Vec<TopTalker>,
    learned: Vec<Option<[u64; SIZE_BINS]>>,
}

impl RunPage {
    /// `baselines` are those that the run was lent.
    pub fn new(collected: Collector, report: &RunReport, baselines: Option<&Baselines>) -> Self {
        let mut talkers = top_talkers(&report.totals, TALKERS);
        for talker in &mut talkers {
            talker.ip = collected.privacy().text(&talker.ip);
        }
        let learned = |alert: &Alert| {
            let key = alert.case.as_deref()?.baseline_key.as_deref()?;
            Some(*baselines?.look_up(key)?.sizes())
        };
        Self { talkers, learned: report.alerts.iter().map(learned).collect(), collected }
    }
}

/// The whole page. The summary is as it may leave: pseudonyms are in it already.
pub fn run_page(summary: &Summary, made: &RunPage) -> String {
    let RunPage { collected, talkers, learned } = made;
    let shown = summary.alerts.iter().enumerate().filter_map(|(at, alert)| {
        let learned = learned.get(at).copied().flatten();
        Some(Shown { record: serde_json::to_value(alert).ok()?, learned })
    });
    let (shown, left_out) = alerts::ordered(shown.collect());
    let mut html = Html::default();
    tiles(&mut html, summary);
    over_time(&mut html, collected, &shown);
    alerts::section(&mut html, &shown, left_out, summary.alerts_suppressed);
    alerts::chains(&mut html, &shown);
    sizes(&mut html, summary);
    hosts(&mut html, collected);
    top(&mut html, talkers);
    flows::section(&mut html, &collected.flows);
    ledger::accounting(&mut html, summary);
    ledger::coverage(&mut html, summary);
    let chains = shown.iter().any(|shown| shown.is_chain());
    let sections: Vec<(&'static str, &'static str)> = [
        ("traffic", "Traffic"),
        ("alerts", "Alerts"),
        ("chains", "Chains"),
        ("sizes", "Payload sizes"),
        ("hosts", "Hosts"),
        ("talkers", "Top talkers"),
        ("flows", "Flows"),
        ("accounting", "Accounting"),
        ("coverage", "Coverage"),
    ]
    .into_iter()
    .filter(|(id, _)| chains || *id != "chains")
    .collect();
    let subtitle = match (&summary.first_packet, &summary.last_packet) {
        (Some(first), Some(last)) => {
            format!("{} to {} UTC", alerts::short(first), alerts::short(last))
        }
        _ => "no packets".to_owned(),
    };
    page::framed("Traffic report", &subtitle, &sections, html)
}

fn tiles(html: &mut Html, summary: &Summary) {
    let worst = summary.alerts.iter().map(|alert| alert.severity).max();
    let alerts = match worst {
        None => "alerts",
        Some(Severity::Informational) => "alerts, all informational",
        Some(Severity::Low) => "alerts, the worst: low",
        Some(Severity::Medium) => "alerts, the worst: medium",
        Some(Severity::High) => "alerts, the worst: high",
        Some(Severity::Critical) => "alerts, the worst: critical",
    };
    html.tiles(&[
        ("packets", thousands(summary.packets)),
        ("on the wire", bytes(summary.wire_bytes)),
        ("flow records", thousands(summary.flows)),
        ("conversations", thousands(summary.conversations)),
        (alerts, thousands(summary.alerts.len() as u64)),
    ]);
    for (holds, note) in [
        (!summary.flows_complete, "Flows were cut or refused: the table of flows was full."),
        (summary.one_sided_capture, "Many connections are seen in one direction only."),
        (
            summary.files.iter().any(|file| file.error.is_some()),
            "A file could not be read to its end; see Accounting.",
        ),
        (summary.write_error.is_some(), "Some records could not be written."),
    ] {
        if holds {
            html.raw("<p class=\"note\">").raw(note).raw("</p>\n");
        }
    }
}

fn over_time(html: &mut Html, collected: &Collector, alerts: &[Shown]) {
    html.heading("traffic", "Traffic");
    let width_s = collected.timeline.width.seconds();
    let all = collected.timeline.all();
    let (Some((first, _)), Some((last, _))) = (all.first(), all.last()) else {
        html.paragraph("No packets.");
        return;
    };
    let span = (*first as f64, last.saturating_add(width_s) as f64);
    let marked: Vec<Marked<'_>> = alerts
        .iter()
        .filter_map(|shown| {
            let (from_s, to_s) = shown.span_s()?;
            Some(Marked { from_s, to_s, severity: shown.severity() })
        })
        .take(MARKED)
        .collect();
    let per_second = |sum: u64| sum as f64 / width_s as f64;
    let packets: Vec<_> = all
        .iter()
        .map(|(at, one)| (*at as f64, per_second(one.packets), one.peak_packets as f64))
        .collect();
    let bits: Vec<_> = all
        .iter()
        .map(|(at, one)| (*at as f64, 8.0 * per_second(one.bytes), 8.0 * one.peak_bytes as f64))
        .collect();
    let of_bucket = if width_s == 1 {
        "each second".to_owned()
    } else {
        format!("the mean of {width_s} s as an area, their busiest second as a line")
    };
    let alerts_marked = if marked.is_empty() { "" } else { "; alerts are shaded" };
    html.chart(&timeline(
        format!("Packets a second, {of_bucket}{alerts_marked}."),
        Unit::PacketsPerSecond,
        span,
        &packets,
        &marked,
    ));
    html.chart(&timeline(
        format!("Bits a second on the wire, {of_bucket}{alerts_marked}."),
        Unit::BitsPerSecond,
        span,
        &bits,
        &marked,
    ));
    alert_lanes(html, span, alerts);
}

fn alert_lanes(html: &mut Html, span: (f64, f64), alerts: &[Shown]) {
    let mut on_lanes: Vec<Lane<'_>> = alerts
        .iter()
        .take(LANES)
        .filter_map(|shown| {
            let (from_s, to_s) = shown.span_s()?;
            let marked = Marked { from_s, to_s, severity: shown.severity() };
            Some(Lane { label: shown.label(), marked })
        })
        .collect();
    if on_lanes.is_empty() {
        return;
    }
    on_lanes.sort_by(|x, y| x.marked.from_s.total_cmp(&y.marked.from_s));
    let more = alerts.len().saturating_sub(LANES);
    let more = if more > 0 { format!("; {more} more are in the table") } else { String::new() };
    html.chart(&lanes(format!("When alerts went on{more}."), span, &on_lanes));
}

/// All packets with payload, in the bins of flow records, two of them to a bar.
fn sizes(html: &mut Html, summary: &Summary) {
    html.heading("sizes", "Payload sizes");
    let sizes = &summary.payload_sizes;
    if sizes.count == 0 {
        html.paragraph("No packets with payload.");
        return;
    }
    let mut bins = [0_u64; BINS];
    for &(edge, packets) in &sizes.histogram {
        bins[crate::flow::sizes::bin_of(edge)] += packets;
    }
    bins[0] = 0;
    let octave = |bin: usize| bin_range(bin).0.max(1).ilog2() as usize;
    let mut octaves = vec![0_u64; octave(BINS - 1) + 1];
    for (bin, packets) in bins.iter().enumerate() {
        octaves[octave(bin)] += packets;
    }
    let used = |at: &usize| octaves[*at] > 0;
    let (Some(first), Some(last)) = ((0..octaves.len()).find(used), (0..octaves.len()).rfind(used))
    else {
        return;
    };
    let labels: Vec<String> = (first..=last)
        .map(|octave| match octave {
            0 => "1".to_owned(),
            16 => "65536+".to_owned(),
            octave => format!("{}–{}", 1_u64 << octave, (2_u64 << octave) - 1),
        })
        .collect();
    let shares = octaves[first..=last].iter().map(|&n| n as f64 / sizes.count as f64).collect();
    html.chart(&bars(
        format!(
            "Payload sizes in bytes of {} packets with payload; {} have none. Alerts show the \
             sizes of their own packets, next to the entity's baseline where there is one.",
            thousands(sizes.count),
            thousands(sizes.empty)
        ),
        &labels,
        &[("all packets", shares)],
        Unit::Share,
    ));
    let figure = |figure: Option<u64>| figure.map_or_else(String::new, |n| format!("{n} bytes"));
    html.facts(&[
        ("smallest", figure(sizes.min.map(u64::from))),
        ("median", figure(sizes.p50)),
        ("90 % up to", figure(sizes.p90)),
        ("99 % up to", figure(sizes.p99)),
        ("largest", figure(sizes.max.map(u64::from))),
        ("mean", sizes.mean.map_or_else(String::new, |mean| format!("{mean} bytes"))),
    ]);
}

/// Hosts by hour of the day, where there is a day of them; else over time.
fn hosts(html: &mut Html, collected: &Collector) {
    html.heading("hosts", "Hosts");
    let hosts = &collected.hosts;
    let top = hosts.top(HEAT_ROWS);
    let Some((first_s, last_s)) = hosts.width.span_s().filter(|_| !top.is_empty()) else {
        html.paragraph("No packets.");
        return;
    };
    let shown = |host: &Host| collected.privacy().text(&host.ip().to_string());
    // The most bytes on top: rows are drawn from below.
    let names: Vec<String> = top.iter().rev().map(|(host, _)| shown(host)).collect();
    let cut = if hosts.cut { " Of hosts that came and went some bytes are missing." } else { "" };
    if last_s.saturating_sub(first_s) >= DAY_S {
        let bytes: Vec<Vec<u64>> =
            top.iter().rev().map(|(_, traffic)| traffic.hours.to_vec()).collect();
        let labels = |every: usize| {
            let label = |hour: usize| {
                if hour.is_multiple_of(every) { format!("{hour:02}") } else { String::new() }
            };
            (0..24).map(label).collect()
        };
        html.chart(&heat(
            format!(
                "Bytes that hosts sent and received, by hour of the day: the {} with the most.{cut}",
                names.len()
            ),
            &names,
            [labels(1), labels(6)],
            &bytes,
        ));
    }
    by_time(html, hosts, &top, &names, cut);
}

fn by_time(
    html: &mut Html,
    hosts: &Hosts,
    top: &[(Host, &super::collect::HostTraffic)],
    names: &[String],
    cut: &str,
) {
    let width_s = hosts.width.seconds();
    let columns = || top.iter().flat_map(|(_, traffic)| traffic.columns.keys().copied());
    let (Some(first), Some(last)) = (columns().min(), columns().max()) else { return };
    let bytes: Vec<Vec<u64>> = top
        .iter()
        .rev()
        .map(|(_, traffic)| {
            let of = |column| traffic.columns.get(&column).copied().unwrap_or_default();
            (first..=last).map(of).collect()
        })
        .collect();
    let all = (last - first + 1) as usize;
    let days = (last - first).saturating_mul(width_s) >= DAY_S;
    let labels = |most: usize| {
        let every = all.div_ceil(most) as i64;
        let label = |column: i64| {
            if column.rem_euclid(every) != 0 {
                return String::new();
            }
            let start_s = column.saturating_mul(width_s);
            let time = crate::time::rfc3339(start_s.saturating_mul(1_000_000_000));
            let part = |range| time.get(range).unwrap_or_default();
            match width_s {
                DAY_S.. => part(2..10).to_owned(),
                60.. if days => format!("{}. {}", part(8..10), part(11..16)),
                60.. => part(11..16).to_owned(),
                _ => part(11..19).to_owned(),
            }
        };
        (first..=last).map(label).collect()
    };
    html.chart(&heat(
        format!(
            "Bytes that hosts sent and received, {} a column: the {} with the most.{cut}",
            span_words(width_s),
            names.len()
        ),
        names,
        [labels(10), labels(3)],
        &bytes,
    ));
}

fn span_words(seconds: i64) -> String {
    match seconds {
        s if s >= DAY_S => format!("{} days", s / DAY_S),
        s if s >= 3_600 => format!("{} h", s / 3_600),
        s if s >= 60 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

fn top(html: &mut Html, talkers: &[TopTalker]) {
    html.heading("talkers", "Top talkers");
    let mut table = Table::new(
        "Addresses with the most bytes",
        &["Address", "Sent", "Received", "Packets sent", "Packets received", "Flows"],
    );
    for talker in talkers {
        table.row(vec![
            talker.ip.clone().into(),
            Cell::bytes(talker.sent_bytes),
            Cell::bytes(talker.received_bytes),
            talker.sent_packets.into(),
            talker.received_packets.into(),
            talker.flows.into(),
        ]);
    }
    html.table(&table);
}
