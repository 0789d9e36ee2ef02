//! `flowtap lab backtest`: settings tried on recorded flows.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use clap::builder::Resettable;
use indicatif::{ProgressBar, ProgressStyle};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::baseline_args::BaselineArgs;
use super::lab::{assignment, vary};
use super::values::prefix;
use super::{Usage, config, machine, records};
use crate::alert::{Severity, thousands};
use crate::detect::{DetectSettings, HomeNets};
use crate::engine::recorded::NOT_JUDGED;
use crate::lab::backtest::{Backtest, Folder, Knee, NoKnee, Row, Values, knee};
use crate::lab::scenario::sweep::{Vary, combinations, settings};
use crate::time::rfc3339;

/// Try settings of detection on your own recorded flows: alerts a day for each value, on
/// whom, and where the curve bends.
///
/// Every value is a whole run of detection over the folder's flows, as `read --out` and
/// `live --out` write them. Baselines are read and learn nothing; nothing is written.
/// What flow records can't show is not judged, and the output says what that is.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BacktestArgs {
    /// Run folder with recorded flows (NDJSON, plain or compressed).
    dir: PathBuf,
    /// Only flows that began in the last N days of the records.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: Option<u64>,
    /// A setting of detection and its values (`flowtap config show` lists them); repeat it
    /// for all combinations.
    #[arg(long, value_name = "KEY=A,B,C", value_parser = vary)]
    vary: Vec<Vary>,
    /// Set one of them for all.
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Take thresholds, home networks and what is allowed from this TOML file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Our side: prefixes, repeated or separated by commas [default: private ranges].
    #[arg(long, value_delimiter = ',', value_name = "PREFIX", value_parser = prefix)]
    home_net: Vec<IpNet>,
    #[command(flatten)]
    baseline: BaselineArgs,
    /// Print JSON: a row a line, then the knee.
    #[arg(long, help_heading = Resettable::Reset)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  flowtap lab backtest RUN --vary packet_rate_threshold=500,1000,2000,5000,10000
  flowtap lab backtest RUN --days 7 --baseline site.redb --vary detect.egress_deviation=3,6,9,12";

/// Memory of a flow that is held while its seconds are put together.
const BYTES_PER_FLOW: u64 = 2_048;
/// Time between two looks at the count: smooth to the eye, free of cost.
const REFRESH: Duration = Duration::from_millis(100);
/// In the order in which they are printed.
const SEVERITIES: [Severity; 5] =
    [Severity::Critical, Severity::High, Severity::Medium, Severity::Low, Severity::Informational];
/// Entities without an alert at the knee that are named.
const MOST_NAMED: usize = 5;

pub(crate) fn run(args: &BacktestArgs) -> anyhow::Result<ExitCode> {
    // A folder that is not there is told before what to try on it.
    records::files_of(&args.dir, "flows.ndjson")?;
    let tried = args.tried()?;
    let files = args.files()?;
    // A baseline that can't be opened is told before anything is printed.
    drop(args.baseline.open(&tried[0].1, false)?);
    let folder = Folder::survey(&files, args.days);
    for bad in &folder.bad {
        eprintln!("flowtap: warning: {bad}");
    }
    if folder.bad_lines > folder.bad.len() as u64 {
        let count = thousands(folder.bad_lines);
        eprintln!("flowtap: warning: {count} lines are no flow records and are left out");
    }
    if folder.flows == 0 {
        bail!("{} holds no flow records", args.dir.display());
    }
    let backtest = Backtest { folder: &folder, tried, max_flows: max_flows() };
    let flows = Arc::new(AtomicU64::new(0));
    let bar = Bar::start(Arc::clone(&flows), folder.flows * backtest.tried.len() as u64);
    let mut out = io::stdout().lock();
    if !args.json {
        heading(&mut out, &args.dir, &folder)?;
    }
    let lend = |settings: &DetectSettings| args.baseline.open(settings, false);
    let mut printed = Ok(());
    let rows = backtest.rows(lend, &flows, |row| {
        if printed.is_ok() {
            printed = bar.bar.suspend(|| print_row(&mut out, row, args.json));
        }
    })?;
    drop(bar);
    printed?;
    let found = args.knee(&rows);
    if args.json {
        writeln!(out, "{}", last_line(&found, &rows))?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{}", not_judged(&folder))?;
    if let [vary] = args.vary.as_slice() {
        writeln!(out, "{}", sentence(&found, &vary.key, &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl BacktestArgs {
    fn tried(&self) -> anyhow::Result<Vec<(Values, DetectSettings)>> {
        let mut base = match &self.config {
            None => DetectSettings::default(),
            Some(path) => {
                let (detect, warnings) = config::detection(path)?;
                warnings.iter().for_each(|warning| eprintln!("flowtap: warning: {warning}"));
                detect
            }
        };
        if !self.home_net.is_empty() {
            base.home_nets = HomeNets::new(self.home_net.clone());
        }
        let keys =
            self.vary.iter().map(|vary| &vary.key).chain(self.set.iter().map(|(key, _)| key));
        for key in keys {
            let name = key.strip_prefix("detect.").unwrap_or(key);
            if let Some(entry) = NOT_JUDGED.iter().find(|entry| entry.settings.contains(&name)) {
                return Err(Usage(format!(
                    "{key} is a setting of {}, which recorded flows can't be judged by: they lack {}",
                    entry.detectors.join(" and "),
                    entry.needs
                ))
                .into());
            }
        }
        let tried = combinations(&self.vary).into_iter().map(|values| {
            let set: Values = self.set.iter().chain(&values).cloned().collect();
            let settings = settings(&base, &set).map_err(|error| Usage(error.to_string()))?;
            Ok((values, settings))
        });
        tried.collect()
    }

    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let files = records::files_of(&self.dir, "flows.ndjson")?;
        if !files.is_empty() {
            return Ok(files);
        }
        let others = records::files_of(&self.dir, "flows.parquet")?;
        let dir = self.dir.display();
        if others.is_empty() {
            bail!("{dir} has no flows.ndjson: record flows with `read --out` or `live --out`");
        }
        bail!("{dir} has its flows as Parquet alone: record them with --format ndjson as well");
    }

    /// Of one setting's values.
    fn knee(&self, rows: &[Row]) -> Result<Knee, NoKnee> {
        let [vary] = self.vary.as_slice() else { return Err(NoKnee::TooFew) };
        let number = |text: &String| text.parse::<f64>().unwrap_or(f64::NAN);
        let values = vary.values.iter().map(number);
        let points: Vec<(f64, f64)> =
            values.zip(rows).map(|(value, row)| (value, row.alerts as f64)).collect();
        knee(&points)
    }
}

/// An eighth of the machine's memory, as of the flow table.
fn max_flows() -> usize {
    let bytes = machine::memory_bytes();
    let flows = bytes.map_or(1 << 19, |bytes| bytes / 8 / BYTES_PER_FLOW);
    flows.clamp(1 << 15, 1 << 25) as usize
}

fn heading(out: &mut impl Write, dir: &Path, folder: &Folder) -> io::Result<()> {
    let (first, last) = (rfc3339(folder.first_ns), rfc3339(folder.last_ns));
    let hours = folder.days() * 24.0;
    let span = match hours < 48.0 {
        true => format!("{hours:.1} hours"),
        false => format!("{:.1} days", folder.days()),
    };
    let flows = thousands(folder.flows);
    writeln!(
        out,
        "{}: {flows} flows over {span}, {} to {}",
        dir.display(),
        &first[..19],
        &last[..19]
    )?;
    if folder.days() < 1.0 {
        writeln!(out, "less than a day: alerts a day are those of a whole day like it")?;
    }
    writeln!(
        out,
        "{:<40} {:>7} {:>9} {:>8}  {:<24} {:>8}  severities",
        "", "alerts", "a day", "an hour", "busiest hour (UTC)", "entities"
    )
}

fn print_row(out: &mut impl Write, row: &Row, json: bool) -> anyhow::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, row)?;
        return Ok(writeln!(out)?);
    }
    let busiest = row.busiest_hour.as_ref().map_or_else(
        || "-".to_owned(),
        |hour| format!("{} ({})", hour.start[..16].replace('T', " "), hour.alerts),
    );
    let severities: Vec<String> = SEVERITIES
        .iter()
        .filter_map(|severity| {
            let alerts = row.severities.get(severity.name())?;
            Some(format!("{alerts} {}", severity.name()))
        })
        .collect();
    writeln!(
        out,
        "{:<40} {:>7} {:>9} {:>8}  {busiest:<24} {:>8}  {}",
        values_of(&row.values),
        thousands(row.alerts),
        row.alerts_per_day,
        row.alerts_per_hour,
        thousands(row.entities),
        severities.join(", "),
    )?;
    if !row.top_entities.is_empty() {
        let top = row.top_entities.iter().map(|(name, alerts)| format!("{name} ({alerts})"));
        writeln!(out, "    on {}", top.collect::<Vec<_>>().join(", "))?;
    }
    for (count, what) in [
        (row.allowed, "allowed"),
        (
            row.suppressed,
            "seconds of attacks without an alert: there were more than open_alerts or total_alerts",
        ),
        (row.late_flows, "flows not judged in their first seconds: too many at a time"),
    ] {
        if count > 0 {
            writeln!(out, "    {} {what}", thousands(count))?;
        }
    }
    Ok(())
}

fn values_of(values: &Values) -> String {
    match values.as_slice() {
        [] => "as it is".to_owned(),
        values => {
            let pairs = values.iter().map(|(key, value)| format!("{key}={value}"));
            pairs.collect::<Vec<_>>().join(" ")
        }
    }
}

fn not_judged(folder: &Folder) -> String {
    let mut told: Vec<String> = NOT_JUDGED
        .iter()
        .map(|entry| format!("{} ({})", entry.detectors.join(", "), entry.needs))
        .collect();
    if !folder.named.processes {
        told.push("tool_flood, non_networking (processes: these records name none)".to_owned());
    }
    format!("not judged from recorded flows: {}", told.join("; "))
}

/// The knee in a sentence: what it is, and what is gained and lost there.
fn sentence(found: &Result<Knee, NoKnee>, key: &str, rows: &[Row]) -> String {
    let Knee { at, .. } = match found {
        Ok(knee) => *knee,
        Err(why) => return format!("no knee: {}", why.text()),
    };
    let (Some(here), Some(most)) = (rows.get(at), rows.iter().max_by_key(|row| row.alerts)) else {
        return String::new();
    };
    let value = |row: &Row| row.values.first().map(|(_, value)| value.clone()).unwrap_or_default();
    let lost = lost(most, here);
    let named: Vec<&str> = lost.iter().take(MOST_NAMED).copied().collect();
    let lost = match lost.len() {
        0 => "every entity with an alert there still has one".to_owned(),
        many => format!(
            "{many} of {} entities have no alert any more ({}{})",
            most.entities,
            named.join(", "),
            if many > MOST_NAMED { ", ..." } else { "" }
        ),
    };
    format!(
        "knee: {key}={} (farthest from the chord of alerts over values; Satopaa et al. 2011): \
         {} alerts a day instead of {} at {}, and {lost}",
        value(here),
        here.alerts_per_day,
        most.alerts_per_day,
        value(most),
    )
}

/// Entities with an alert in one row and none in another.
fn lost<'a>(most: &'a Row, here: &Row) -> Vec<&'a str> {
    let names = most.by_entity.keys().filter(|name| !here.by_entity.contains_key(*name));
    names.map(String::as_str).collect()
}

fn last_line(found: &Result<Knee, NoKnee>, rows: &[Row]) -> Value {
    let not_judged: Vec<&str> =
        NOT_JUDGED.iter().flat_map(|entry| entry.detectors).copied().collect();
    let most = rows.iter().max_by_key(|row| row.alerts);
    let knee = match found {
        Err(_) => Value::Null,
        Ok(knee) => json!({
            "values": rows.get(knee.at).map(|row| &row.values),
            "distance": knee.distance,
            "entities_lost": most.zip(rows.get(knee.at)).map(|(most, here)| lost(most, here)),
        }),
    };
    let why = found.err();
    json!({"knee": knee, "no_knee": why, "not_judged": not_judged})
}

/// How far it is, on a terminal.
struct Bar {
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Bar {
    fn start(flows: Arc<AtomicU64>, total: u64) -> Self {
        let bar = ProgressBar::new(total);
        let style =
            ProgressStyle::with_template("{bar:30} {percent:>3}% {human_pos} flows {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, drawn) = (Arc::clone(&stop), bar.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                drawn.set_position(flows.load(Ordering::Relaxed));
                std::thread::sleep(REFRESH);
            }
            drawn.finish_and_clear();
        });
        Self { bar, stop, thread: Some(thread) }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only draws; nothing is lost if it failed.
            let _ = thread.join();
        }
    }
}
