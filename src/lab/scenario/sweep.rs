//! Scenarios made, read and scored, over values and seeds.
//!
//! Reading is what `flowtap read` does, by the library: captures, host maps and logs in,
//! alerts out. Start at [`sweep`]; [`run_made`] reads one.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Serialize;

use super::learn::Learned;
use super::load::load;
use super::make::{self, Made, Making, make_with};
use super::score::{Report, Scored, alerts_from, score};
use super::{Learn, Scenario, Stopped};
use crate::alert::{Alert, Severity};
use crate::baseline::Lent;
use crate::detect::{DetectSettings, SETTINGS, SettingRange, SettingValue};
use crate::engine::{FlowGauge, RecordSink, RunOptions, run};
use crate::flow::FlowRecord;
use crate::host::join::HostKnowledge;
use crate::host::log::read_map;
use crate::host::map::{HostMap, MapLimits};
use crate::input::{Input, InputOptions};
use crate::lab::formats::Format;
use crate::telemetry::Context;
use crate::telemetry::feed::Feed;
use crate::telemetry::hosts::read_into_map;
use crate::telemetry::kind::Gives;
use crate::telemetry::source::{Named, recognise_path};

/// Settings of detection are set by this, and their name.
const DETECT: &str = "detect.";

/// What to vary: a key and its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vary {
    pub key: String,
    pub values: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Sweep {
    pub scenario: String,
    pub set: Vec<(String, String)>,
    pub vary: Vec<Vary>,
    pub seeds: Vec<u64>,
    pub scale: f64,
    /// Days before the scenario that baselines know; by the scenario, where not given.
    pub learn_days: Option<u32>,
    /// Logs in these formats are read alone, without packets and host maps.
    pub formats: Vec<Format>,
    pub least: Severity,
    /// Where captures lie while they are read.
    pub folder: PathBuf,
}

/// Figures of one combination of values, over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub values: Vec<(String, String)>,
    pub seeds: u64,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub f1: Option<f64>,
    /// Median over seeds.
    pub time_to_detect_s: Option<f64>,
    pub false_per_day: f64,
    pub false_per_day_and_100_hosts: f64,
    pub packets: u64,
    pub missed: BTreeMap<String, u64>,
    /// False alerts by detector and entity.
    pub false_alerts: BTreeMap<String, u64>,
}

impl Row {
    /// Figures of one report alone.
    pub fn of(report: &Report, packets: u64) -> Self {
        row_of(Vec::new(), std::slice::from_ref(report), packets)
    }
}

/// Each combination of values in turn, told as it is done. With `stop` set those that are
/// done are all, and its folder is left as it is.
pub fn sweep(sweep: &Sweep, stop: &AtomicBool, mut told: impl FnMut(&Row)) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut learned = Learned::default();
    for values in combinations(&sweep.vary) {
        let set: Vec<(String, String)> = sweep.set.iter().chain(&values).cloned().collect();
        let mut reports = Vec::new();
        let mut packets = 0;
        for &seed in &sweep.seeds {
            let (report, made) = match one(sweep, &set, seed, &mut learned, stop) {
                // What is made or read of it when that is broken off may make no sense.
                Err(_) if stop.load(Ordering::Acquire) => return Ok(rows),
                done => done?,
            };
            packets += made.played.packets;
            reports.push(report);
        }
        let row = row_of(values, &reports, packets);
        told(&row);
        rows.push(row);
    }
    learned.remove()?;
    Ok(rows)
}

fn one(
    sweep: &Sweep,
    set: &[(String, String)],
    seed: u64,
    learned: &mut Learned,
    stop: &AtomicBool,
) -> Result<(Report, Made)> {
    let (of_detection, of_scenario) = parted(set.iter());
    let detect = settings(&DetectSettings::default(), &of_detection)?;
    let (name, scenario) = sweep.load(&of_scenario)?;
    let how = Making { seed, scale: sweep.scale, formats: &sweep.formats, stop };
    let baselines = learned.of((&name, &scenario), &sweep.folder, how, &detect)?;
    let dir = sweep.folder.join(format!("{name}-{seed}"));
    let made = make_with(&name, &scenario, &dir, how)?;
    let alerts = run_made(&made, &detect, baselines);
    let removed = fs::remove_dir_all(&dir);
    if stop.load(Ordering::Acquire) {
        bail!(Stopped);
    }
    let report = score(&made.truth, &alerts?, sweep.least)?;
    removed.with_context(|| format!("can't remove {}", dir.display()))?;
    Ok((report, made))
}

impl Sweep {
    fn load(&self, set: &[(String, String)]) -> Result<(String, Scenario)> {
        let (name, mut scenario) = load(&self.scenario, set)?;
        if let Some(days) = self.learn_days {
            let duration_s = scenario.learn.and_then(|learn| learn.duration_s);
            scenario.learn = Some(Learn { days, duration_s });
        }
        Ok((name, scenario))
    }
}

/// Reads what was made, and of formats that were asked for these alone; alerts with the time
/// at which each was first told.
pub fn run_made(
    made: &Made,
    detect: &DetectSettings,
    baselines: Option<Lent>,
) -> Result<Vec<Scored>> {
    let mut options = RunOptions { detect: detect.clone(), baselines, ..RunOptions::default() };
    let alone = !made.asked.is_empty();
    let logs: Vec<&PathBuf> = match alone {
        true => made.asked.iter().collect(),
        false => [&made.access_log, &made.vpc_log, &made.counters].into_iter().flatten().collect(),
    };
    let mut sources = Vec::new();
    for path in logs {
        let Some(kind) = recognise_path(path)? else { continue };
        let host = made.truth.log_host.as_deref().map(Arc::from);
        sources.push(Named::new(path, kind, &Context { host, ..Context::default() }));
    }
    let of_hosts: Vec<Named> =
        sources.iter().filter(|named| named.kind.gives == Gives::Hosts).cloned().collect();
    let maps = if alone { &[] } else { made.maps.as_slice() };
    if !maps.is_empty() || !of_hosts.is_empty() {
        let map = Arc::new(HostMap::new(MapLimits::default()));
        for path in maps {
            let read = read_map(path, &mut map.writer())?;
            if let Some(first) = read.first_bad {
                bail!("a map that was made can't be read: {first}");
            }
        }
        read_into_map(of_hosts, &map);
        map.complete();
        options.hosts = Some(HostKnowledge {
            map: Some(map),
            live: false,
            home_nets: detect.home_nets.clone(),
            ..HostKnowledge::default()
        });
    }
    if !sources.is_empty() {
        options.telemetry = Some(Feed::start(sources));
    }
    let input_options = InputOptions { lateness_s: options.lateness_s, ..InputOptions::default() };
    let input = match alone {
        true => Input::from_bytes(Vec::new(), input_options),
        false => Input::open(std::slice::from_ref(&made.capture), input_options)?,
    };
    let mut told = Told::default();
    let report = run(input, &options, &mut told);
    let mut alerts = Vec::new();
    for alert in &report.alerts {
        for mut scored in alerts_from(&serde_json::to_value(alert)?)? {
            scored.told_ns = told.at_ns.get(&scored.id).copied();
            alerts.push(scored);
        }
    }
    Ok(alerts)
}

/// When alerts are told first: the end of the last second that was closed by then.
#[derive(Default)]
struct Told {
    new: Vec<String>,
    at_ns: BTreeMap<String, i64>,
}

impl RecordSink for Told {
    fn record(&mut self, _: FlowRecord) -> std::io::Result<()> {
        Ok(())
    }

    fn alert(&mut self, alert: &Alert, _closed: bool) {
        if !self.at_ns.contains_key(&alert.id) {
            // Until the second is known at whose end it is told.
            self.at_ns.insert(alert.id.clone(), alert.end_ns);
            self.new.push(alert.id.clone());
        }
    }

    fn closed_before(&mut self, second: i64, _: FlowGauge) {
        for id in self.new.drain(..) {
            self.at_ns.insert(id, second.saturating_mul(1_000_000_000));
        }
    }

    fn wants_records(&self) -> bool {
        false
    }
}

/// Settings of detection by name, with `detect.` in front of it or without; the others
/// are those of `base`.
pub fn settings(base: &DetectSettings, set: &[(String, String)]) -> Result<DetectSettings> {
    let mut settings = base.clone();
    for (key, value) in set {
        let name = key.strip_prefix(DETECT).unwrap_or(key);
        let setting = SETTINGS.iter().find(|setting| setting.name == name);
        let setting = setting.ok_or_else(|| anyhow!("there is no setting of detection {name}"))?;
        let parsed = match setting.range {
            SettingRange::Count(..) => value.parse().ok().map(SettingValue::Count),
            SettingRange::Ratio(..) => value.parse().ok().map(SettingValue::Ratio),
            _ => None,
        };
        let parsed = parsed.ok_or_else(|| anyhow!("{key}: {value} is no figure for it"))?;
        setting.set(&mut settings, parsed).map_err(|error| anyhow!("{key}: {error}"))?;
    }
    Ok(settings)
}

/// What each combination of values sets, all of it known and in range, and makes a scenario
/// that can be played. Writes nothing.
pub fn check(sweep: &Sweep) -> Result<()> {
    let stop = AtomicBool::new(false);
    let seed = sweep.seeds.first().copied().unwrap_or_default();
    let how = Making { seed, scale: sweep.scale, formats: &sweep.formats, stop: &stop };
    let one = |values: &Set| -> Result<()> {
        let (of_detection, of_scenario) = parted(sweep.set.iter().chain(values));
        settings(&DetectSettings::default(), &of_detection)?;
        let (name, scenario) = sweep.load(&of_scenario)?;
        if let Some(learn) = scenario.learn.filter(|learn| learn.days > 0) {
            make::check(&name, &scenario.days_before(learn.days)?, how)?;
        }
        make::check(&name, &scenario, how)
    };
    for values in combinations(&sweep.vary) {
        let checked = one(&values);
        let told = || {
            let pairs = values.iter().map(|(key, value)| format!("{key}={value}"));
            format!("with {}", pairs.collect::<Vec<_>>().join(" "))
        };
        if values.is_empty() { checked? } else { checked.with_context(told)? }
    }
    Ok(())
}

/// Keys and their values.
type Set = Vec<(String, String)>;

/// Of detection, and of the scenario.
fn parted<'a>(set: impl Iterator<Item = &'a (String, String)>) -> (Set, Set) {
    set.cloned().partition(|(key, _)| key.starts_with(DETECT))
}

/// All combinations of the values of several keys.
pub fn combinations(vary: &[Vary]) -> Vec<Vec<(String, String)>> {
    let mut all = vec![Vec::new()];
    for Vary { key, values } in vary {
        let longer = |so_far: Vec<(String, String)>| {
            values.iter().map(move |value| {
                let mut longer = so_far.clone();
                longer.push((key.clone(), value.clone()));
                longer
            })
        };
        all = all.into_iter().flat_map(longer).collect();
    }
    all
}

fn row_of(values: Vec<(String, String)>, reports: &[Report], packets: u64) -> Row {
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let share = |part: u64, of: u64| (of > 0).then(|| round3(part as f64 / of as f64));
    let true_alerts = sum(|report| report.all.true_alerts);
    let precision = share(true_alerts, true_alerts + sum(|report| report.all.false_alerts));
    let recall = share(sum(|report| report.all.hit), sum(|report| report.all.expected));
    let mut times: Vec<f64> =
        reports.iter().filter_map(|report| report.all.time_to_detect_s).collect();
    times.sort_by(f64::total_cmp);
    let mean = |of: fn(&Report) -> f64| {
        round3(reports.iter().map(of).sum::<f64>() / reports.len().max(1) as f64)
    };
    let (mut missed, mut false_alerts) = (BTreeMap::new(), BTreeMap::new());
    for report in reports {
        for name in &report.missed {
            *missed.entry(name.clone()).or_default() += 1;
        }
        for alert in &report.false_alerts {
            let name = alert.broken_quiet.as_deref().unwrap_or(&alert.entity);
            let name = format!("{} {} of {name}", alert.severity.name(), alert.detector);
            *false_alerts.entry(name).or_default() += 1;
        }
    }
    Row {
        values,
        seeds: reports.len() as u64,
        f1: match (precision, recall) {
            (Some(precision), Some(recall)) if precision + recall > 0.0 => {
                Some(round3(2.0 * precision * recall / (precision + recall)))
            }
            (_, Some(0.0)) => Some(0.0),
            _ => None,
        },
        precision,
        recall,
        time_to_detect_s: times.get(times.len().saturating_sub(1) / 2).copied(),
        false_per_day: mean(|report| report.false_per_day),
        false_per_day_and_100_hosts: mean(|report| report.false_per_day_and_100_hosts),
        packets,
        missed,
        false_alerts,
    }
}

fn round3(value: f64) -> f64 {
    libm::round(value * 1000.0) / 1000.0
}

/// Conditions that every row must meet: `recall>=0.95,false_per_day<=1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    conditions: Vec<(String, bool, f64)>,
}

impl std::str::FromStr for Gate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let condition = |part: &str| {
            let (key, at_least, value) = match (part.split_once(">="), part.split_once("<=")) {
                (Some((key, value)), _) => (key, true, value),
                (_, Some((key, value))) => (key, false, value),
                _ => return Err(format!("{part}: must be FIGURE>=VALUE or FIGURE<=VALUE")),
            };
            let known = FIGURES.iter().any(|(name, _)| *name == key.trim());
            if !known {
                let names: Vec<&str> = FIGURES.iter().map(|(name, _)| *name).collect();
                return Err(format!("there is no figure {key}; there are {}", names.join(", ")));
            }
            let number = value.trim().parse().ok().filter(|number: &f64| number.is_finite());
            let value = number.ok_or_else(|| format!("{value} is no number"))?;
            Ok((key.trim().to_owned(), at_least, value))
        };
        Ok(Self { conditions: text.split(',').map(condition).collect::<Result<_, _>>()? })
    }
}

type Figure = fn(&Row) -> Option<f64>;

const FIGURES: &[(&str, Figure)] = &[
    ("precision", |row| row.precision),
    ("recall", |row| row.recall),
    ("f1", |row| row.f1),
    ("time_to_detect_s", |row| row.time_to_detect_s),
    ("false_per_day", |row| Some(row.false_per_day)),
    ("false_per_day_and_100_hosts", |row| Some(row.false_per_day_and_100_hosts)),
];

impl Gate {
    /// What a row fails in. A figure that can't be worked out meets `<=` (no alert, none
    /// false) and fails `>=`, but for precision without any alert.
    pub fn failures(&self, row: &Row) -> Vec<String> {
        let mut failures = Vec::new();
        for (key, at_least, bound) in &self.conditions {
            let figure = FIGURES.iter().find(|(name, _)| name == key);
            let value = figure.and_then(|(_, figure)| figure(row));
            let met = match (value, at_least) {
                (Some(value), true) => value >= *bound,
                (Some(value), false) => value <= *bound,
                (None, true) => key == "precision" || key == "recall" && row.missed.is_empty(),
                (None, false) => true,
            };
            if !met {
                let sign = if *at_least { ">=" } else { "<=" };
                let value = value.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
                failures.push(format!("{key} is {value}, not {sign} {bound}"));
            }
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_are_all_of_them_in_order() {
        let vary = |key: &str, values: &[&str]| Vary {
            key: key.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let all = combinations(&[vary("a", &["1", "2"]), vary("b", &["x", "y"])]);
        let short: Vec<String> =
            all.iter().map(|one| one.iter().map(|(_, value)| value.as_str()).collect()).collect();
        assert_eq!(short, ["1x", "1y", "2x", "2y"]);
        assert_eq!(combinations(&[]).len(), 1);
    }

    #[test]
    fn a_gate_names_what_is_not_met() {
        let mut row = row_of(Vec::new(), &[], 0);
        row.recall = Some(0.9);
        row.false_per_day = 2.0;
        let gate: Gate = "recall>=0.95, false_per_day<=2,precision>=0.5".parse().unwrap();
        assert_eq!(gate.failures(&row), ["recall is 0.9, not >= 0.95"]);
        assert!("recal>=1".parse::<Gate>().unwrap_err().contains("false_per_day"));
        assert!("recall=1".parse::<Gate>().is_err());
        assert!("recall>=nan".parse::<Gate>().unwrap_err().contains("nan is no number"));
    }

    #[test]
    fn settings_of_detection_are_set_by_name() {
        let base = DetectSettings::default();
        let set = |key: &str, value: &str| settings(&base, &[(key.to_owned(), value.to_owned())]);
        let changed = set("detect.packet_rate_threshold", "500").unwrap();
        assert_eq!(changed.packet_rate_threshold, 500);
        assert!(set("detect.packet_rate_threshold", "x").is_err());
        assert!(set("detect.nothing", "1").is_err());
    }
}
