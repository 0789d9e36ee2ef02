//! `flowtap lab score`: alerts against a truth.

use std::fs;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::shown;
use crate::alert::Severity;
use crate::cli::report_args::ReportArgs;
use crate::cli::values::TimeoutNs;
use crate::lab::labels::{Kind, LabelOptions, truth_of};
use crate::lab::scenario::score::{Figures, Report, alerts_of, score};
use crate::lab::scenario::truth::Truth;
use crate::report::html::score_page;

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// `truth.json` of a scenario; or labelled flows of CIC-IDS2017, CSE-CIC-IDS2018, CTU-13 or
    /// UNSW-NB15: a file, or a folder of such.
    truth: PathBuf,
    /// `alerts.ndjson` or `summary.json` of a run, Suricata's EVE, Zeek's notices as JSON.
    alerts: PathBuf,
    /// What the truth is [default: by its first line].
    #[arg(long, value_enum, value_name = "KIND")]
    labels: Option<Labels>,
    /// Offset from UTC of local times in labels, such as -03:00 [default: the data set's].
    #[arg(long, value_name = "OFFSET", value_parser = offset, allow_hyphen_values = true)]
    time_zone: Option<i32>,
    /// Seconds to add to the times of labels.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, value_parser = seconds, allow_hyphen_values = true)]
    shift: f64,
    /// Labelled flows of one label, source and destination that are no further apart are one
    /// attack.
    #[arg(long, value_name = "TIME", default_value = "5m")]
    gap: TimeoutNs,
    /// Alerts below it are no false ones, and no hits of labelled flows.
    #[arg(long, value_name = "SEVERITY", default_value = "low")]
    least: Severity,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    report: ReportArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Labels {
    /// A scenario's truth.json.
    Truth,
    /// CSV of CIC-IDS2017 (`TrafficLabelling`) and CSE-CIC-IDS2018.
    CicIds,
    /// binetflow of CTU-13.
    #[value(name = "ctu-13")]
    Ctu13,
    /// CSV of UNSW-NB15.
    #[value(name = "unsw-nb15")]
    UnswNb15,
}

pub(super) fn run(args: &ScoreArgs) -> anyhow::Result<()> {
    args.report.check()?;
    let truth = truth(args)?;
    let alerts = alerts_of(&read(&args.alerts)?)
        .with_context(|| format!("{} has no alerts", args.alerts.display()))?;
    let report = score(&truth, &alerts, args.least)?;
    args.report.write(|| score_page(&truth, &alerts, &report))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        print_report(&mut out, &report)?;
    }
    Ok(())
}

fn truth(args: &ScoreArgs) -> anyhow::Result<Truth> {
    let is_truth = match args.labels {
        Some(labels) => labels == Labels::Truth,
        None => is_json(&args.truth)?,
    };
    if is_truth {
        return serde_json::from_str(&read(&args.truth)?)
            .with_context(|| format!("{} is no truth of a scenario", args.truth.display()));
    }
    let kind = args.labels.and_then(|labels| match labels {
        Labels::Truth => None,
        Labels::CicIds => Some(Kind::CicIds),
        Labels::Ctu13 => Some(Kind::Ctu13),
        Labels::UnswNb15 => Some(Kind::UnswNb15),
    });
    let options = LabelOptions {
        kind,
        offset_s: args.time_zone,
        shift_ns: (args.shift * 1e9) as i64,
        gap_ns: args.gap.0.unwrap_or(i64::MAX),
        least: args.least,
    };
    truth_of(&args.truth, &options)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
}

/// Whether a file begins as JSON does.
fn is_json(path: &Path) -> anyhow::Result<bool> {
    if path.is_dir() {
        return Ok(false);
    }
    let context = || format!("can't read {}", path.display());
    let mut head = Vec::new();
    fs::File::open(path)
        .with_context(context)?
        .take(64)
        .read_to_end(&mut head)
        .with_context(context)?;
    Ok(head.trim_ascii_start().first() == Some(&b'{'))
}

/// Seconds east of UTC: `+02:00`, `-03:00`, `Z`.
fn offset(text: &str) -> Result<i32, String> {
    let wrong = || format!("'{text}' is no offset from UTC: try +02:00, -03:00 or Z");
    if text == "Z" {
        return Ok(0);
    }
    let sign = match text.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Err(wrong()),
    };
    let (hours, minutes) = text.get(1..).and_then(|rest| rest.split_once(':')).ok_or_else(wrong)?;
    let number = |text: &str, most: i32| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number: Option<i32> = text.parse().ok().filter(|number| digits && *number <= most);
        number.ok_or_else(wrong)
    };
    Ok(sign * (number(hours, 18)? * 3_600 + number(minutes, 59)? * 60))
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        // A century.
        Ok(seconds) if seconds.abs() < 3.2e9 => Ok(seconds),
        _ => Err(format!("'{text}' is no number of seconds")),
    }
}

pub(in crate::cli) fn print_report(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    writeln!(
        out,
        "{:<24} precision  recall      F1  hit/expected  detect_s  true related false",
        ""
    )?;
    let mut line = |name: &str, figures: &Figures| {
        let Figures { hit, expected, true_alerts, related_alerts, false_alerts, .. } = figures;
        writeln!(
            out,
            "{name:<24} {:>9} {:>7} {:>7} {:>13} {:>9} {true_alerts:>5} {related_alerts:>7} {false_alerts:>5}",
            shown(figures.precision),
            shown(figures.recall),
            shown(figures.f1),
            format!("{hit}/{expected}"),
            shown(figures.time_to_detect_s),
        )
    };
    line("all", &report.all)?;
    for (name, figures) in report.by_analytic.iter().chain(&report.by_detector) {
        line(name, figures)?;
    }
    writeln!(
        out,
        "false alerts: {} a day, {} a day and 100 hosts",
        report.false_per_day, report.false_per_day_and_100_hosts
    )?;
    for missed in &report.missed {
        writeln!(out, "missed: {missed}")?;
    }
    for alert in &report.false_alerts {
        let quiet = alert.broken_quiet.as_ref().map(|name| format!(" (to be quiet: {name})"));
        let severity = alert.severity.name();
        let quiet = quiet.unwrap_or_default();
        writeln!(
            out,
            "false: {severity} {} {}{quiet}: {}",
            alert.detector, alert.id, alert.summary
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_hours_and_minutes_with_a_sign() {
        assert_eq!(offset("-03:00"), Ok(-10_800));
        assert_eq!(offset("+05:30"), Ok(19_800));
        assert_eq!(offset("Z"), Ok(0));
        for bad in ["", "3", "03:00", "-3:00", "+19:00", "+02:60", "+02", "+-2:00"] {
            assert!(offset(bad).is_err(), "{bad}");
        }
    }
}
