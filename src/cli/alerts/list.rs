//! `flowtap alerts list`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum as _};
use serde_json::Value;

use super::verdicts;
use crate::alert::{DETECTORS, Severity, towards_words};
use crate::cli::config::did_you_mean;
use crate::cli::{Usage, records, rundir};
use crate::report::detail;

/// List a run's alerts with their verdicts, by the time they began.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Run directory; the newest run by default.
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Only those of this severity or above.
    #[arg(long, value_enum, value_name = "SEVERITY")]
    severity: Option<Severity>,
    /// Only those of this detector.
    #[arg(long, value_name = "NAME")]
    detector: Option<String>,
    /// Those that entries of the configuration allowed, each with its entry, instead of alerts.
    #[arg(long)]
    allowed: bool,
    /// Print the alerts as JSON lines, each with its `verdict`.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ListArgs) -> anyhow::Result<ExitCode> {
    if let Some(name) = &args.detector
        && !DETECTORS.contains(&name.as_str())
    {
        let meant = did_you_mean(name, DETECTORS.into_iter());
        return Err(Usage(format!("--detector {name}: there is no such detector{meant}")).into());
    }
    let dir = rundir::find(args.run.as_deref())?;
    let verdicts = verdicts::read(&dir)?;
    let mut alerts = match args.allowed {
        true => records::allowed(&dir)?,
        false => records::alerts(&dir)?,
    };
    alerts.retain(|alert| args.wants(alert));
    let key = |alert: &Value| (word(alert, "start"), word(alert, "id"));
    alerts.sort_by_key(key);
    let mut out = std::io::stdout().lock();
    let last = if args.allowed { "allowed to" } else { "verdict" };
    if !args.json && !alerts.is_empty() {
        writeln!(out, "{:<16}  {:<13} {:>4}  {:<20}  {}", "id", "severity", "sure", "from", last)?;
    }
    for alert in &mut alerts {
        let verdict = verdicts::last(&verdicts, &word(alert, "id"));
        if args.json {
            if let (Some(fields), Some(verdict)) = (alert.as_object_mut(), verdict) {
                fields.insert("verdict".to_owned(), verdict.clone());
            }
            // One line each; letters that a terminal obeys stay escaped.
            let text = detail::json(alert);
            let line: String = text.lines().map(str::trim_start).collect();
            writeln!(out, "{line}")?;
            continue;
        }
        let told = match args.allowed {
            true => entry(&alert["evidence"]["details"]["allowed_by"]),
            false => verdict.map_or_else(|| "-".to_owned(), |verdict| word(verdict, "verdict")),
        };
        let from: String = word(alert, "start").chars().take(19).collect();
        let line = format!(
            "{:<16}  {:<13} {:>4}  {from}Z  {told}\n    {}",
            word(alert, "id"),
            word(alert, "severity"),
            alert["confidence"],
            word(alert, "summary").replace('\n', " ")
        );
        writeln!(out, "{}", detail::printable(&line))?;
    }
    if !args.json && alerts.is_empty() {
        let none = if args.allowed { none_allowed(&dir) } else { "No alerts." };
        writeln!(out, "{none}")?;
    }
    Ok(ExitCode::SUCCESS)
}

impl ListArgs {
    fn wants(&self, alert: &Value) -> bool {
        let of = Severity::from_str(&word(alert, "severity"), false).ok();
        self.severity.is_none_or(|least| of.is_some_and(|of| of >= least))
            && self.detector.as_ref().is_none_or(|name| word(alert, "detector") == *name)
    }
}

/// An entry, as `[[allow]]` has it.
fn entry(by: &Value) -> String {
    let of = |name: &str| word(by, name).replace('\n', " ");
    let all = |name: &str| by[name].as_array().into_iter().flatten();
    let peers: Vec<String> = all("peer").filter_map(Value::as_str).map(str::to_owned).collect();
    let ports = all("port").filter_map(Value::as_u64).filter_map(|port| port.try_into().ok());
    format!(
        "{}{} by {} ({}, by {})",
        of("entity"),
        towards_words(&peers, &ports.collect::<Vec<u16>>()),
        of("detector"),
        of("reason"),
        of("owner")
    )
}

fn none_allowed(dir: &Path) -> &'static str {
    match rundir::is_kept(dir) {
        true => "This run kept none that were allowed: run it again with --out DIR.",
        false => "No allowed alerts.",
    }
}

fn word(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}
