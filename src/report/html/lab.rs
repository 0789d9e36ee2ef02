//! Pages of the lab: a score, and the curves of a sweep. Start at [`score_page`] and
//! [`sweep_page`].

use serde_json::json;

use super::alerts::{seconds, short, short_id};
use super::charts::{Lane, Marked, SERIES, Unit, curves, lanes};
use super::markup::{Cell, Html, Table};
use super::page;
use crate::alert::thousands;
use crate::lab::scenario::score::{Figures, Report, Scored};
use crate::lab::scenario::sweep::{Row, Vary};
use crate::lab::scenario::truth::Truth;

/// Lanes of attacks, and of alerts: as many as a screen has.
const LANES: usize = 24;

/// Lines of one chart: as many as there are colours; more are a tangle.
const LINES: usize = SERIES.len();

/// Alerts held against the truth.
pub fn score_page(truth: &Truth, alerts: &[Scored], report: &Report) -> String {
    let mut html = Html::default();
    let all = &report.all;
    html.tiles(&[
        ("attacks hit, of those expected", format!("{}/{}", all.hit, all.expected)),
        ("recall", figure(all.recall)),
        ("precision", figure(all.precision)),
        ("F1", figure(all.f1)),
        ("seconds to detect, median", figure(all.time_to_detect_s)),
        ("false alerts a day", report.false_per_day.to_string()),
        ("false a day and 100 hosts", report.false_per_day_and_100_hosts.to_string()),
    ]);
    over_time(&mut html, truth, alerts, report);
    expectations(&mut html, truth, &report.hits_ns);
    figures(&mut html, report);
    false_alerts(&mut html, report);
    let subtitle = format!(
        "{}, seed {}: {} to {} UTC, {} packets, {} alerts",
        truth.scenario,
        truth.seed,
        short(&truth.start),
        short(&truth.end),
        thousands(truth.packets),
        thousands(alerts.len() as u64)
    );
    let sections = [
        ("time", "Attacks and alerts"),
        ("expected", "Expected"),
        ("figures", "Figures"),
        ("false", "False alerts"),
    ];
    page::framed("Lab score", &subtitle, &sections, html)
}

fn figure(figure: Option<f64>) -> String {
    figure.map_or_else(|| "–".to_owned(), |figure| figure.to_string())
}

fn over_time(html: &mut Html, truth: &Truth, alerts: &[Scored], report: &Report) {
    html.heading("time", "Attacks and alerts");
    let at = |time: &str| seconds(&json!(time));
    let (Some(start_s), Some(end_s)) = (at(&truth.start), at(&truth.end)) else { return };
    let of_attacks = truth.attacks.iter().filter_map(|attack| {
        let marked = Marked { from_s: at(&attack.start)?, to_s: at(&attack.end)?, severity: "" };
        Some(Lane { label: format!("attack: {}", attack.label), marked })
    });
    let of_alerts = alerts.iter().map(|alert| {
        let is_false = report.false_alerts.iter().any(|it| it.id == alert.id);
        let word = if is_false { "false: " } else { "" };
        let (from_s, to_s) = (alert.start_ns as f64 / 1e9, alert.end_ns as f64 / 1e9);
        let marked = Marked { from_s, to_s, severity: alert.severity.name() };
        Lane { label: format!("{word}{} {}", alert.detector, short_id(&alert.entity)), marked }
    });
    let all: Vec<Lane<'_>> = of_attacks.take(LANES).chain(of_alerts.take(LANES)).collect();
    if all.is_empty() {
        html.paragraph("There was no attack, and there is no alert.");
        return;
    }
    let left_out = alerts.len().saturating_sub(LANES);
    let more = if left_out > 0 { format!("; {left_out} alerts more") } else { String::new() };
    let caption = format!("Attacks in grey, alerts by their severity{more}.");
    html.chart(&lanes(caption, (start_s, end_s.max(start_s + 1.0)), &all));
}

fn expectations(html: &mut Html, truth: &Truth, hits: &[Option<i64>]) {
    html.heading("expected", "Expected");
    let mut table = Table::new(
        "Each alert that should be there",
        &["Verdict", "Expected", "By", "About", "Severity at least", "From", "Until", "After s"],
    );
    for (expected, hit) in truth.expects.iter().zip(hits) {
        table.row(vec![
            Cell::Hit(hit.is_some()),
            expected.name.clone().into(),
            any_of(&expected.detectors).into(),
            expected.entities.iter().map(|id| short_id(id)).collect::<Vec<_>>().join(", ").into(),
            Cell::Severity(expected.severity.name().to_owned()),
            short(&expected.start).into(),
            short(&expected.until).into(),
            Cell::figure(hit.map(|ns| libm::round(ns as f64 / 1e6) / 1e3)),
        ]);
    }
    if table.is_empty() {
        html.paragraph("Nothing was expected: every alert is a false one, or related.");
        return;
    }
    html.table(&table);
    for quiet in &truth.quiets {
        html.paragraph(&format!("To be quiet below {}: {}.", quiet.below.name(), quiet.name));
    }
}

fn any_of(detectors: &[String]) -> String {
    if detectors == ["*"] { "any detector".to_owned() } else { detectors.join(", ") }
}

fn figures(html: &mut Html, report: &Report) {
    html.heading("figures", "Figures");
    let mut table = Table::new(
        "By analytic and detector",
        &[
            "Of",
            "Precision",
            "Recall",
            "F1",
            "Hit",
            "Expected",
            "Detected after s",
            "True",
            "Related",
            "False",
        ],
    );
    let mut row = |name: &str, of: &Figures| {
        table.row(vec![
            name.into(),
            Cell::figure(of.precision),
            Cell::figure(of.recall),
            Cell::figure(of.f1),
            of.hit.into(),
            of.expected.into(),
            Cell::figure(of.time_to_detect_s),
            of.true_alerts.into(),
            of.related_alerts.into(),
            of.false_alerts.into(),
        ]);
    };
    row("all", &report.all);
    for (name, of) in report.by_analytic.iter().chain(&report.by_detector) {
        row(name, of);
    }
    html.table(&table);
    html.paragraph(if report.told_times {
        "Times are from the attack's start until an alert was told."
    } else {
        "Times are from the attack's start to the activity in its first alert, and at least 0: \
         files of alerts do not say when they were told. When somebody knew was later: see lab \
         sweep and lab run."
    });
}

fn false_alerts(html: &mut Html, report: &Report) {
    html.heading("false", "False alerts");
    let mut table = Table::new(
        "Alerts that should not be there",
        &["Severity", "Detector", "About", "Alert", "To be quiet", "Summary"],
    );
    for alert in &report.false_alerts {
        table.row(vec![
            Cell::Severity(alert.severity.name().to_owned()),
            alert.detector.clone().into(),
            short_id(&alert.entity).into(),
            alert.id.clone().into(),
            alert.broken_quiet.clone().unwrap_or_default().into(),
            alert.summary.clone().into(),
        ]);
    }
    if table.is_empty() {
        html.paragraph("None.");
    } else {
        html.table(&table);
    }
}

/// Detection over values: a curve for each figure and each key that was varied.
/// `failures` are of the gate.
pub fn sweep_page(
    scenario: &str,
    seeds: u64,
    vary: &[Vary],
    rows: &[Row],
    failures: &[String],
) -> String {
    let mut html = Html::default();
    for failure in failures {
        html.raw("<p class=\"note\">Gate not met: ").text(failure).raw("</p>\n");
    }
    html.heading("curves", "Curves");
    // A key with one value has no curve.
    let varied = || vary.iter().filter(|vary| vary.values.len() > 1);
    if varied().next().is_none() {
        html.paragraph("Nothing was varied.");
    }
    for vary in varied() {
        key_curves(&mut html, vary, rows);
    }
    html.heading("rows", "Figures");
    html.table(&rows_table(rows));
    html.heading("alerts", "Missed, and false alerts");
    wrong(&mut html, rows);
    let each = if seeds == 1 { "seed" } else { "seeds" };
    let subtitle = format!("{scenario}: {} settings, {seeds} {each} for each", rows.len());
    let sections =
        [("curves", "Curves"), ("rows", "Figures"), ("alerts", "Missed, and false alerts")];
    page::framed("Lab sweep", &subtitle, &sections, html)
}

type Figure = fn(&Row) -> Option<f64>;

/// A line for each setting of the other keys.
fn key_curves(html: &mut Html, vary: &Vary, rows: &[Row]) {
    let value = |row: &Row| {
        row.values.iter().find(|(key, _)| *key == vary.key).map(|(_, value)| value.clone())
    };
    let others = |row: &Row| {
        let others = row.values.iter().filter(|(key, _)| *key != vary.key);
        others.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    };
    let mut lines: Vec<String> = Vec::new();
    for row in rows {
        let name = others(row);
        if !lines.contains(&name) {
            lines.push(name);
        }
    }
    let left_out = lines.len().saturating_sub(LINES);
    lines.truncate(LINES);
    let figures: [(&str, Unit, Figure); 3] = [
        ("Recall", Unit::Share, |row| row.recall),
        ("Seconds to detect, median over seeds,", Unit::Plain, |row| row.time_to_detect_s),
        ("False alerts a day", Unit::Plain, |row| Some(row.false_per_day)),
    ];
    for (name, unit, of) in figures {
        let series: Vec<(String, Vec<Option<f64>>)> = lines
            .iter()
            .map(|line| {
                let at = |wanted: &String| {
                    let mut found = rows.iter().filter(|row| others(row) == *line);
                    found.find(|row| value(row).as_ref() == Some(wanted)).and_then(of)
                };
                (line.clone(), vary.values.iter().map(at).collect())
            })
            .collect();
        if series.iter().all(|(_, points)| points.iter().all(Option::is_none)) {
            html.paragraph(&format!("{name} by {}: nothing was detected.", vary.key));
            continue;
        }
        let more = if left_out > 0 {
            format!(" {left_out} further settings are in the table.")
        } else {
            String::new()
        };
        html.chart(&curves(format!("{name} by {}.{more}", vary.key), &vary.values, &series, unit));
    }
}

/// `key=value` of all that was varied.
fn setting(row: &Row) -> String {
    let pairs = row.values.iter().map(|(key, value)| format!("{key}={value}"));
    let setting = pairs.collect::<Vec<_>>().join(" ");
    if setting.is_empty() { "as it is".to_owned() } else { setting }
}

fn rows_table(rows: &[Row]) -> Table {
    let mut table = Table::new(
        "Each setting, over all seeds",
        &[
            "Setting",
            "Precision",
            "Recall",
            "F1",
            "Detected after s",
            "False a day",
            "False a day and 100 hosts",
            "Packets",
        ],
    );
    for row in rows {
        table.row(vec![
            setting(row).into(),
            Cell::figure(row.precision),
            Cell::figure(row.recall),
            Cell::figure(row.f1),
            Cell::figure(row.time_to_detect_s),
            Cell::figure(Some(row.false_per_day)),
            Cell::figure(Some(row.false_per_day_and_100_hosts)),
            row.packets.into(),
        ]);
    }
    table
}

fn wrong(html: &mut Html, rows: &[Row]) {
    let mut table = Table::new("What went wrong", &["Setting", "What", "Which", "Times"]);
    for row in rows {
        let missed = row.missed.iter().map(|(name, &times)| ("missed", name, times));
        let wrong = row.false_alerts.iter().map(|(name, &times)| ("false alert", name, times));
        for (what, name, times) in missed.chain(wrong) {
            table.row(vec![setting(row).into(), what.into(), name.clone().into(), times.into()]);
        }
    }
    if table.is_empty() {
        html.paragraph("Nothing was missed, and no alert was false.");
    } else {
        html.table(&table);
    }
}
