//! Alerts held against the truth.
//!
//! - An expectation is *hit* when an alert has a detector, an entity and (where one is
//!   named) the analytic that it asks for, at its severity or over, and its time overlaps
//!   that of the attack with what may come late. Others that match it as well are
//!   repetitions: they count as true, not twice as hit.
//! - An alert at or above the least severity that matches nothing, but is about somebody
//!   who took part in an attack while it went on, is *related*: neither true nor false.
//! - Everything else is *false*, and so is what breaks a demand for quiet, related or not.
//!
//! Precision is true by true and false alerts, recall hit by all expectations. Start at
//! [`score`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context as _, Result, anyhow, bail};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::truth::{Attack, Expected, Truth};
use crate::alert::Severity;

/// An attack's traces go on so long: windows close, logs come late, alerts end.
const TRACES_NS: i64 = 300_000_000_000;

const DAY_NS: f64 = 86_400e9;

/// What is needed of an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    pub id: String,
    pub detector: String,
    pub analytics: Vec<String>,
    pub severity: Severity,
    pub entity: String,
    pub start_ns: i64,
    pub end_ns: i64,
    /// When it was first told, where that is known; files of alerts do not say.
    pub told_ns: Option<i64>,
    pub summary: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    pub expected: u64,
    pub hit: u64,
    pub true_alerts: u64,
    pub related_alerts: u64,
    pub false_alerts: u64,
    /// Nothing to divide by: nothing.
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub f1: Option<f64>,
    /// Median over what was hit, from the attack's start. Where alerts do not say when they
    /// were told it is from the activity in them, at least 0: a lower bound.
    pub time_to_detect_s: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub all: Figures,
    pub false_per_day: f64,
    pub false_per_day_and_100_hosts: f64,
    /// Times to detect are from when alerts were told; else from the activity in them.
    pub told_times: bool,
    pub by_analytic: BTreeMap<String, Figures>,
    pub by_detector: BTreeMap<String, Figures>,
    pub missed: Vec<String>,
    pub false_alerts: Vec<FalseAlert>,
    /// For each expectation after how long it was hit first; nothing where it was missed.
    #[serde(skip)]
    pub hits_ns: Vec<Option<i64>>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FalseAlert {
    pub id: String,
    pub detector: String,
    pub severity: Severity,
    pub entity: String,
    /// The look-alike that was to be quiet.
    pub broken_quiet: Option<String>,
    pub summary: String,
}

/// `least`: alerts below it are no false ones.
pub fn score(truth: &Truth, alerts: &[Scored], least: Severity) -> Result<Report> {
    let expects = truth.expects.iter().map(Window::of_expected).collect::<Result<Vec<_>>>()?;
    let attacks = truth.attacks.iter().map(Window::of_attack).collect::<Result<Vec<_>>>()?;
    let expects_of = by_entity(truth.expects.iter().map(|it| &it.entities));
    let attacks_of = by_entity(truth.attacks.iter().map(|it| &it.entities));
    let mut hits: Vec<Option<i64>> = vec![None; expects.len()];
    let mut tally = Tally::default();
    let mut false_alerts = Vec::new();
    for alert in alerts {
        let mut is_true = false;
        for &at in expects_of.get(alert.entity.as_str()).into_iter().flatten() {
            let (window, expected, hit) = (&expects[at], &truth.expects[at], &mut hits[at]);
            if !matches(alert, expected) || !window.overlaps(alert) {
                continue;
            }
            is_true = true;
            let at_ns = alert.told_ns.unwrap_or(alert.start_ns);
            // A window begins before what falls into it, but nothing is found before it is there.
            let after_ns = at_ns.saturating_sub(window.from_ns).max(0);
            *hit = Some(hit.map_or(after_ns, |known| known.min(after_ns)));
        }
        let broken = truth.quiets.iter().find(|quiet| {
            !is_true && alert.severity >= quiet.below && quiet.entities.contains(&alert.entity)
        });
        let mut taking_part = attacks_of.get(alert.entity.as_str()).into_iter().flatten();
        let related = taking_part.any(|&at| attacks[at].overlaps(alert));
        let kind = match (is_true, broken, related) {
            (true, ..) => Verdict::True,
            (_, Some(_), _) => Verdict::False,
            (_, None, true) => Verdict::Related,
            _ if alert.severity >= least => Verdict::False,
            _ => continue,
        };
        tally.count(alert, kind);
        if kind == Verdict::False {
            false_alerts.push(FalseAlert {
                id: alert.id.clone(),
                detector: alert.detector.clone(),
                severity: alert.severity,
                entity: alert.entity.clone(),
                broken_quiet: broken.map(|quiet| quiet.name.clone()),
                summary: alert.summary.clone(),
            });
        }
    }
    let mut missed = Vec::new();
    let mut times = Times::default();
    for (expected, hit) in truth.expects.iter().zip(&hits) {
        tally.expect(expected, hit.is_some());
        match hit {
            Some(after_ns) => times.add(expected, *after_ns),
            None => missed.push(expected.name.clone()),
        }
    }
    let days = (time(&truth.end)? - time(&truth.start)?) as f64 / DAY_NS;
    let false_per_day = if days > 0.0 { tally.all.false_alerts as f64 / days } else { 0.0 };
    let hundreds = (truth.home_hosts.max(1)) as f64 / 100.0;
    let mut report = Report {
        false_per_day: round3(false_per_day),
        false_per_day_and_100_hosts: round3(false_per_day / hundreds),
        told_times: !alerts.is_empty() && alerts.iter().all(|alert| alert.told_ns.is_some()),
        all: tally.all.finished(&times.all),
        by_analytic: tally.by_analytic,
        by_detector: tally.by_detector,
        missed,
        false_alerts,
        hits_ns: hits,
    };
    for (analytic, figures) in &mut report.by_analytic {
        *figures = figures.clone().finished(times.by_analytic.get(analytic).map_or(&[], |t| t));
    }
    for figures in report.by_detector.values_mut() {
        *figures = figures.clone().finished(&[]);
    }
    Ok(report)
}

/// Places in a list by the entities of its entries: data sets have very many.
fn by_entity<'a>(entities: impl Iterator<Item = &'a Vec<String>>) -> HashMap<&'a str, Vec<usize>> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, entities) in entities.enumerate() {
        for entity in entities.iter().collect::<BTreeSet<_>>() {
            places.entry(entity).or_default().push(at);
        }
    }
    places
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    True,
    Related,
    False,
}

#[derive(Default)]
struct Tally {
    all: Figures,
    by_analytic: BTreeMap<String, Figures>,
    by_detector: BTreeMap<String, Figures>,
}

impl Tally {
    fn count(&mut self, alert: &Scored, verdict: Verdict) {
        let add = |figures: &mut Figures| match verdict {
            Verdict::True => figures.true_alerts += 1,
            Verdict::Related => figures.related_alerts += 1,
            Verdict::False => figures.false_alerts += 1,
        };
        add(&mut self.all);
        add(self.by_detector.entry(alert.detector.clone()).or_default());
        for analytic in &alert.analytics {
            add(self.by_analytic.entry(analytic.clone()).or_default());
        }
    }

    fn expect(&mut self, expected: &Expected, hit: bool) {
        let add = |figures: &mut Figures| {
            figures.expected += 1;
            figures.hit += u64::from(hit);
        };
        add(&mut self.all);
        if let Some(analytic) = &expected.analytic {
            add(self.by_analytic.entry(analytic.clone()).or_default());
        }
        for detector in expected.detectors.iter().filter(|name| !name.contains('*')) {
            add(self.by_detector.entry(detector.clone()).or_default());
        }
    }
}

#[derive(Default)]
struct Times {
    all: Vec<i64>,
    by_analytic: BTreeMap<String, Vec<i64>>,
}

impl Times {
    fn add(&mut self, expected: &Expected, after_ns: i64) {
        self.all.push(after_ns);
        if let Some(analytic) = &expected.analytic {
            self.by_analytic.entry(analytic.clone()).or_default().push(after_ns);
        }
    }
}

impl Figures {
    fn finished(mut self, times: &[i64]) -> Self {
        let share = |part: u64, of: u64| (of > 0).then(|| round3(part as f64 / of as f64));
        self.precision = share(self.true_alerts, self.true_alerts + self.false_alerts);
        self.recall = share(self.hit, self.expected);
        self.f1 = match (self.precision, self.recall) {
            (Some(precision), Some(recall)) if precision + recall > 0.0 => {
                Some(round3(2.0 * precision * recall / (precision + recall)))
            }
            (None, Some(0.0)) | (Some(0.0), Some(0.0)) => Some(0.0),
            _ => None,
        };
        let mut times = times.to_vec();
        times.sort_unstable();
        self.time_to_detect_s =
            times.get(times.len().saturating_sub(1) / 2).map(|&ns| round3(ns as f64 / 1e9));
        self
    }
}

struct Window {
    from_ns: i64,
    until_ns: i64,
}

impl Window {
    fn of_expected(expected: &Expected) -> Result<Self> {
        Ok(Self { from_ns: time(&expected.start)?, until_ns: time(&expected.until)? })
    }

    fn of_attack(attack: &Attack) -> Result<Self> {
        let until_ns = time(&attack.end)?.saturating_add(TRACES_NS);
        Ok(Self { from_ns: time(&attack.start)?, until_ns })
    }

    /// An alert that began before the attack is about something else, but for the second
    /// or minute that both are in.
    fn overlaps(&self, alert: &Scored) -> bool {
        alert.start_ns <= self.until_ns && alert.end_ns > self.from_ns
    }
}

/// Whether it is what was expected of its entity.
fn matches(alert: &Scored, expected: &Expected) -> bool {
    let analytic = expected.analytic.as_ref();
    expected.detectors.iter().any(|pattern| is_like(pattern, &alert.detector))
        && analytic.is_none_or(|analytic| alert.analytics.contains(analytic))
        && alert.severity >= expected.severity
}

/// `*` stands for any letters.
fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| is_like(after, rest)))
        }),
    }
}

/// Alerts of a file: our `alerts.ndjson` or summary, Suricata's EVE, Zeek's notices as
/// JSON. Of revisions the last one counts.
pub fn alerts_of(text: &str) -> Result<Vec<Scored>> {
    let mut values: Vec<Value> = Vec::new();
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(mut summary)) if summary.contains_key("alerts") => {
            match summary.remove("alerts") {
                Some(Value::Array(alerts)) => values = alerts,
                _ => bail!("alerts: must be a list"),
            }
        }
        Ok(Value::Array(alerts)) => values = alerts,
        _ => {
            for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let value = serde_json::from_str(line);
                values.push(value.with_context(|| format!("line {}: no JSON", at + 1))?);
            }
        }
    }
    let mut by_id: BTreeMap<String, Scored> = BTreeMap::new();
    for value in &values {
        for alert in alerts_from(value)? {
            by_id.insert(alert.id.clone(), alert);
        }
    }
    let mut alerts: Vec<Scored> = by_id.into_values().collect();
    alerts.sort_by(|x, y| (x.start_ns, &x.id).cmp(&(y.start_ns, &y.id)));
    Ok(alerts)
}

/// An alert of ours, or another tool's, which is about both ends.
pub fn alerts_from(value: &Value) -> Result<Vec<Scored>> {
    if value.get("entity").is_some() {
        return Ok(vec![own(value)?]);
    }
    if value.get("event_type").and_then(Value::as_str) == Some("alert") {
        return eve(value);
    }
    if value.get("note").is_some() {
        return notice(value);
    }
    // Other events of EVE and the like.
    match value.is_object() {
        true => Ok(Vec::new()),
        false => bail!("an alert must be an object"),
    }
}

fn own(value: &Value) -> Result<Scored> {
    let text = |pointer: &str| {
        let found = value.pointer(pointer).and_then(Value::as_str);
        found.ok_or_else(|| anyhow!("an alert without {pointer}"))
    };
    let analytics = value.get("analytics").and_then(Value::as_array);
    Ok(Scored {
        id: text("/id")?.to_owned(),
        detector: text("/detector")?.to_owned(),
        analytics: analytics
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        severity: serde_json::from_value(value.get("severity").cloned().unwrap_or_default())?,
        entity: text("/entity/id")?.to_owned(),
        start_ns: time(text("/start")?)?,
        end_ns: time(text("/end")?)?,
        told_ns: None,
        summary: text("/summary").unwrap_or_default().to_owned(),
    })
}

/// Both ends are named: whose alert it is, a signature does not say.
fn both_ends(
    value: &Value,
    keys: [&str; 2],
    name: &str,
    at_ns: i64,
    severity: Severity,
) -> Vec<Scored> {
    let ends: BTreeSet<&str> = keys.iter().filter_map(|key| value.get(*key)?.as_str()).collect();
    ends.into_iter()
        .map(|entity| Scored {
            id: format!("{name}:{entity}:{at_ns}"),
            detector: name.to_owned(),
            analytics: Vec::new(),
            severity,
            entity: entity.to_owned(),
            start_ns: at_ns,
            end_ns: at_ns.saturating_add(1),
            told_ns: Some(at_ns),
            summary: name.to_owned(),
        })
        .collect()
}

fn eve(value: &Value) -> Result<Vec<Scored>> {
    let name = value.pointer("/alert/signature").and_then(Value::as_str).unwrap_or("alert");
    let at = value.get("timestamp").and_then(Value::as_str);
    let at = at.ok_or_else(|| anyhow!("an alert of EVE without timestamp"))?;
    // Suricata writes the offset without a colon.
    let at_ns = time(at).or_else(|_| {
        let parsed = jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", at)?.to_timestamp()?;
        anyhow::Ok(i64::try_from(parsed.as_nanosecond())?)
    })?;
    let severity = match value.pointer("/alert/severity").and_then(Value::as_u64) {
        Some(1) => Severity::High,
        Some(2) => Severity::Medium,
        _ => Severity::Low,
    };
    Ok(both_ends(value, ["src_ip", "dest_ip"], name, at_ns, severity))
}

fn notice(value: &Value) -> Result<Vec<Scored>> {
    let name = value.get("note").and_then(Value::as_str).unwrap_or("notice");
    let at_ns = match value.get("ts") {
        Some(Value::Number(seconds)) => (seconds.as_f64().unwrap_or(0.0) * 1e9) as i64,
        Some(Value::String(text)) => time(text)?,
        _ => bail!("a notice without ts"),
    };
    Ok(both_ends(value, ["src", "dst"], name, at_ns, Severity::Medium))
}

fn time(text: &str) -> Result<i64> {
    let time: Timestamp = text.parse().with_context(|| format!("{text} is no time"))?;
    Ok(i64::try_from(time.as_nanosecond())?)
}

fn round3(value: f64) -> f64 {
    libm::round(value * 1000.0) / 1000.0
}

#[cfg(test)]
#[path = "score_tests.rs"]
mod tests;
