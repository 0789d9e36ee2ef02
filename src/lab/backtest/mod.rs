//! Settings tried on one's own recorded flows: how many alerts each value would have
//! raised, on whom, and where the curve bends, before a threshold is changed for real.
//!
//! Each value is a whole run of detection over the records ([`judge`]), with the same
//! baselines, which learn nothing. What flow records can't show is not judged, and said
//! ([`NOT_JUDGED`](crate::engine::recorded::NOT_JUDGED)). Nothing is written.
//!
//! Start at [`Backtest::rows`]; [`knee`] is the bend.

mod folder;
mod knee;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

pub use folder::Folder;
pub use knee::{Knee, LEAST_POINTS, NoKnee, knee};

use crate::alert::{Alert, Entity, EntityKind};
use crate::baseline::Lent;
use crate::detect::DetectSettings;
use crate::engine::recorded::{Judged, judge};
use crate::engine::{RecordSink, RunOptions};
use crate::flow::FlowRecord;
use crate::time::rfc3339;

const HOUR_NS: i64 = 3_600_000_000_000;
/// Entities told of a value.
const TOP: usize = 3;

/// Values of settings, in the order in which they were given.
pub type Values = Vec<(String, String)>;

/// What one value would have raised.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub values: Values,
    pub flows: u64,
    /// From the first flow's start to the last one's end.
    pub days: f64,
    pub alerts: u64,
    pub alerts_per_day: f64,
    pub alerts_per_hour: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busiest_hour: Option<Hour>,
    pub entities: u64,
    /// Those with the most alerts, and how many.
    pub top_entities: Vec<(String, u64)>,
    pub severities: BTreeMap<&'static str, u64>,
    pub detectors: BTreeMap<String, u64>,
    /// Alerts that an entry allowed, and that there was no place for.
    pub allowed: u64,
    pub suppressed: u64,
    /// Flows that came when their seconds were closed already.
    pub late_flows: u64,
    /// All of them.
    #[serde(skip)]
    pub by_entity: BTreeMap<String, u64>,
}

/// An hour of the clock, UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hour {
    pub start: String,
    pub alerts: u64,
}

/// Settings to be tried, and on what.
#[derive(Debug)]
pub struct Backtest<'a> {
    pub folder: &'a Folder,
    /// Each with the settings that it means.
    pub tried: Vec<(Values, DetectSettings)>,
    /// Flows held at once.
    pub max_flows: usize,
}

impl Backtest<'_> {
    /// Tries each in turn, told as it is done. `lend` opens the baselines for a run;
    /// `flows` counts the flows of all runs.
    pub fn rows<E>(
        &self,
        lend: impl Fn(&DetectSettings) -> Result<Option<Lent>, E>,
        flows: &AtomicU64,
        mut told: impl FnMut(&Row),
    ) -> Result<Vec<Row>, E> {
        let mut rows = Vec::new();
        for (values, settings) in &self.tried {
            let options = RunOptions {
                detect: settings.clone(),
                baselines: lend(settings)?,
                max_flows: self.max_flows,
                ..RunOptions::default()
            };
            let records = self.folder.records().inspect(|_| {
                flows.fetch_add(1, Ordering::Relaxed);
            });
            let Folder { horizon_ns, named, .. } = *self.folder;
            let judged = judge(records, horizon_ns, named, &options, &mut Nowhere);
            let row = row_of(values.clone(), &judged, self.folder.days());
            told(&row);
            rows.push(row);
        }
        Ok(rows)
    }
}

/// Records are read again to be judged, not to be written.
struct Nowhere;

impl RecordSink for Nowhere {
    fn record(&mut self, _: FlowRecord) -> std::io::Result<()> {
        Ok(())
    }
}

fn row_of(values: Values, judged: &Judged, days: f64) -> Row {
    let mut hours: BTreeMap<i64, u64> = BTreeMap::new();
    let mut by_entity: BTreeMap<String, u64> = BTreeMap::new();
    let (mut severities, mut detectors) = (BTreeMap::new(), BTreeMap::new());
    for Alert { start_ns, entity, severity, detector, .. } in &judged.alerts {
        *hours.entry(start_ns.div_euclid(HOUR_NS)).or_default() += 1;
        *by_entity.entry(name_of(entity)).or_default() += 1;
        *severities.entry(severity.name()).or_default() += 1;
        *detectors.entry(detector.clone()).or_default() += 1;
    }
    let alerts = judged.alerts.len() as u64;
    // The first of equals.
    let busiest = hours.iter().max_by_key(|&(&hour, &alerts)| (alerts, std::cmp::Reverse(hour)));
    let mut top: Vec<(String, u64)> = by_entity.clone().into_iter().collect();
    top.sort_by(|x, y| y.1.cmp(&x.1).then_with(|| x.0.cmp(&y.0)));
    top.truncate(TOP);
    let per_day = if days > 0.0 { alerts as f64 / days } else { 0.0 };
    Row {
        values,
        flows: judged.flows,
        days: round(days, 1e4),
        alerts,
        alerts_per_day: round(per_day, 100.0),
        alerts_per_hour: round(per_day / 24.0, 1e3),
        busiest_hour: busiest
            .map(|(&hour, &alerts)| Hour { start: rfc3339(hour.saturating_mul(HOUR_NS)), alerts }),
        entities: by_entity.len() as u64,
        top_entities: top,
        severities,
        detectors,
        allowed: judged.counters.allowed.iter().map(|allowed| allowed.suppressed).sum(),
        suppressed: judged.counters.alerts_suppressed,
        late_flows: judged.late_flows,
        by_entity,
    }
}

/// As people tell it from others over time: a process by its name, not its number.
fn name_of(entity: &Entity) -> String {
    match (entity.kind, entity.labels.get("name")) {
        (EntityKind::Process, Some(name)) => format!("process {name}"),
        (EntityKind::Address | EntityKind::Prefix, _) => entity.id.clone(),
        (kind, Some(name)) => format!("{} {name}", kind.name()),
        (kind, None) => format!("{} {}", kind.name(), entity.id),
    }
}

fn round(value: f64, places: f64) -> f64 {
    libm::round(value * places) / places
}
