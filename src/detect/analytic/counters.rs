//! `counter_increase`: counters of a container, an interface or an instance grow much
//! faster than they did, and go on (AN0083; of an instance AN0972).
//!
//! Method: growth of bytes sent, by subject, in windows of a minute at least (readings
//! that are further apart are windows of their own). A window is an increase when its
//! bytes a minute are `container_baseline_network_usage` percent above the median of
//! the windows before, over their 99th percentile, six sigmas out, and over
//! `counter_bytes_per_minute`. Increases that last `counter_increase_s` make a finding.
//! The history is that of the service (a name that stays over restarts and replicas), so
//! that a new replica is held against its siblings: its baseline's, which it teaches,
//! or else [`HISTORY`] windows of this run. Windows of an increase are left out of the
//! run's for a day, and of the baseline.
//!
//! The score adds how many times its normal it is, how long, whether it was idle
//! before, and whether as much comes in as goes out (a relay).
//!
//! Resets and wraps never count: growth knows them (`telemetry::counters::series`). A
//! container of the service that is new within half an hour is a deployment or scaling
//! and explains it: informational. So is an increase before the entity's baseline is
//! mature, unless it was idle and in equals out.
//!
//! Limits: counters name no destination. Containers of one pod share the pod's
//! counters; those of a pod on the host's network are the host's: such subjects are
//! blind and say so where the source does. Memory: [`MAX_SUBJECTS`] and as many
//! services, about 700 bytes each; beyond, those read longest ago go.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Analytic, AnalyticContext, Event, EventKind, Measured};
use crate::alert::{Entity, EntityKind};
use crate::baseline::{Basis, Metric, Normal};
use crate::detect::Finding;
use crate::entity::Who;
use crate::telemetry::counters::series::Growth;
use crate::telemetry::sample::Subject;

#[path = "counters_words.rs"]
mod words;

use words::Increase;

#[derive(Debug, Default)]
pub(super) struct Counters {
    subjects: BTreeMap<(Arc<str>, Subject), Open>,
    services: BTreeMap<(Arc<str>, String), Service>,
    taught: Vec<Measured>,
    refused: u64,
}

/// The window of a subject that is not over.
#[derive(Debug, Default)]
struct Open {
    start_ns: i64,
    end_ns: i64,
    sent: u64,
    received: u64,
    /// Seconds of increase so far.
    over_s: i64,
    from_s: i64,
}

#[derive(Debug, Default)]
struct Service {
    /// Bytes a minute, oldest first.
    history: VecDeque<f64>,
    newest_s: i64,
    /// Containers by the time they were first seen.
    containers: VecDeque<(Arc<str>, i64)>,
}

/// A window that is over.
struct Window {
    start_s: i64,
    end_s: i64,
    sent: u64,
    received: u64,
}

const MAX_SUBJECTS: usize = 8_192;
const HISTORY: usize = 60;
/// Windows from which a normal is one.
const LEAST_HISTORY: usize = 10;
const MAX_CONTAINERS: usize = 32;
const WINDOW_NS: i64 = 60_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;
const DAY_S: i64 = 86_400;
const DEPLOYED_S: i64 = 1_800;
const SIGMAS: f64 = 6.0;
/// Share of the increase that it sent before, up to which it was idle.
const IDLE: f64 = 0.01;
const RELAYS: f64 = 0.85;
const ALERTS_FROM: f64 = 35.0;

const FORMULA: &str = "bytes sent a minute >= (1 + container_baseline_network_usage / 100) * median of the windows \
    before, > their 99th percentile, >= 6 sigmas above, >= counter_bytes_per_minute, for counter_increase_s";

impl Analytic for Counters {
    fn name(&self) -> &'static str {
        "counter_increase"
    }

    fn looks_at(&self) -> &'static [EventKind] {
        &[EventKind::Counter]
    }

    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        let Event::Counter { source, growth, .. } = event else { return };
        let Some(window) = self.take(&source.name, growth) else { return };
        out.extend(self.judge(&source.name, &growth.subject, &window, ctx));
    }

    fn teach(&mut self, taught: &mut Vec<Measured>) {
        taught.append(&mut self.taught);
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

impl Counters {
    /// Adds growth to its subject's window; the window, once it is over.
    fn take(&mut self, source: &Arc<str>, growth: &Growth) -> Option<Window> {
        let sent = growth.sent_bytes?;
        let key = (Arc::clone(source), growth.subject.clone());
        if !self.subjects.contains_key(&key) {
            self.make_room();
        }
        let open = self.subjects.entry(key).or_default();
        // A gap (a reset, an outage) begins another, and ends what was going on.
        if open.end_ns != growth.start_ns {
            *open = Open { start_ns: growth.start_ns, ..Open::default() };
        }
        open.end_ns = growth.end_ns;
        open.sent = open.sent.saturating_add(sent);
        open.received = open.received.saturating_add(growth.received_bytes.unwrap_or(0));
        if open.end_ns.saturating_sub(open.start_ns) < WINDOW_NS {
            return None;
        }
        let window = Window {
            start_s: open.start_ns.div_euclid(SECOND_NS),
            end_s: open.end_ns.div_euclid(SECOND_NS),
            sent: open.sent,
            received: open.received,
        };
        (open.start_ns, open.sent, open.received) = (open.end_ns, 0, 0);
        Some(window)
    }

    fn judge(
        &mut self,
        source: &Arc<str>,
        subject: &Subject,
        window: &Window,
        ctx: &AnalyticContext<'_>,
    ) -> Option<Finding> {
        let settings = ctx.settings;
        let service = self.services.entry((Arc::clone(source), service_of(subject))).or_default();
        let begins = service.history.is_empty();
        service.newest_s = service.newest_s.max(window.end_s);
        service.meet(subject, if begins { i64::MIN } else { window.start_s });
        let value = window.per_minute();
        let key = baseline_of(subject);
        let profile = ctx.baselines.profile(&key);
        let learned = profile.and_then(|known| known.normal(Metric::CounterBytes, window.start_s));
        let normal = learned.or_else(|| service.normal());
        let threshold = normal.map(|normal| {
            let above = 1.0 + settings.container_baseline_network_usage / 100.0;
            (normal.median * above).max(normal.q99).max(settings.counter_bytes_per_minute as f64)
        });
        let over = normal.zip(threshold).filter(|(normal, threshold)| {
            value >= *threshold && value > normal.q99 && normal.above(value) >= SIGMAS
        });
        let open = self.subjects.get_mut(&(Arc::clone(source), subject.clone()))?;
        let Some((normal, threshold)) = over else {
            open.over_s = 0;
            service.learn(value);
            let (metric, at_s) = (Metric::CounterBytes, window.start_s);
            self.taught.push(Measured { key, metric, at_s, value, is_usual: true });
            return None;
        };
        if open.over_s == 0 {
            open.from_s = window.start_s;
        }
        open.over_s = window.end_s.saturating_sub(open.from_s);
        if open.over_s > DAY_S {
            service.learn(value);
        }
        if open.over_s < i64::try_from(settings.counter_increase_s).unwrap_or(i64::MAX) {
            return None;
        }
        let deployed = service.newest_container(window.end_s);
        let increase = Increase {
            window,
            from_s: open.from_s,
            over_s: open.over_s,
            value,
            threshold,
            normal,
            learned: learned.is_some(),
            deployed,
        };
        increase.finding(source, subject, ctx)
    }

    fn make_room(&mut self) {
        if self.subjects.len() < MAX_SUBJECTS {
            return;
        }
        let mut ends: Vec<i64> = self.subjects.values().map(|open| open.end_ns).collect();
        ends.sort_unstable();
        let oldest_ns = ends.get(MAX_SUBJECTS / 4).copied().unwrap_or(i64::MAX);
        let before = self.subjects.len();
        self.subjects.retain(|_, open| open.end_ns > oldest_ns);
        self.refused += (before - self.subjects.len()) as u64;
        let oldest_s = oldest_ns.div_euclid(SECOND_NS);
        self.services.retain(|_, service| service.newest_s > oldest_s);
    }
}

impl Window {
    fn per_minute(&self) -> f64 {
        self.sent as f64 * 60.0 / self.end_s.saturating_sub(self.start_s).max(1) as f64
    }
}

impl Service {
    fn meet(&mut self, subject: &Subject, at_s: i64) {
        let known = self.containers.iter().any(|(container, _)| *container == subject.container);
        if known || subject.container.is_empty() {
            return;
        }
        if self.containers.len() >= MAX_CONTAINERS {
            self.containers.pop_front();
        }
        self.containers.push_back((Arc::clone(&subject.container), at_s));
    }

    /// Seconds since the newest container came, if lately.
    fn newest_container(&self, now_s: i64) -> Option<i64> {
        let newest_s = self.containers.iter().map(|&(_, at_s)| at_s).max()?;
        Some(now_s.saturating_sub(newest_s)).filter(|&ago_s| ago_s <= DEPLOYED_S)
    }

    fn learn(&mut self, value: f64) {
        if self.history.len() >= HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(value);
    }

    fn normal(&self) -> Option<Normal> {
        if self.history.len() < LEAST_HISTORY {
            return None;
        }
        let mut values: Vec<f64> = self.history.iter().copied().collect();
        values.sort_by(f64::total_cmp);
        let median = values.get(values.len() / 2).copied()?;
        let mut off: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
        off.sort_by(f64::total_cmp);
        Some(Normal {
            median,
            sigma: 1.4826 * off.get(off.len() / 2)?,
            q99: values.get(values.len() * 99 / 100).copied()?,
            max: values.last().copied()?,
            regular: 0.0,
            minutes: values.len() as u64,
            basis: Basis::All,
        })
    }
}

/// Whose counters.
fn who(subject: &Subject) -> Who {
    let (kind, id) = if !subject.container.is_empty() {
        (EntityKind::Workload, subject.container.to_string())
    } else if !subject.pod.is_empty() || !subject.container_name.is_empty() {
        (EntityKind::Workload, service_of(subject))
    } else if !subject.instance.is_empty() {
        (EntityKind::Instance, subject.instance.to_string())
    } else {
        (EntityKind::Host, service_of(subject))
    };
    let mut entity = Entity::new(kind, id);
    for (name, value) in [
        ("container_name", &subject.container_name),
        ("pod", &subject.pod),
        ("namespace", &subject.namespace),
        ("image", &subject.image),
        ("interface", &subject.interface),
        ("process", &subject.process),
    ] {
        if !value.is_empty() {
            entity.labels.insert(name.to_owned(), value.to_string());
        }
    }
    let baseline = baseline_of(subject);
    Who { entity, baseline, process: None, workload: None, instance: None, certainty: 1.0 }
}

fn baseline_of(subject: &Subject) -> Arc<str> {
    format!("counter:{}", service_of(subject)).into()
}

/// What stays the same over restarts and replicas.
fn service_of(subject: &Subject) -> String {
    let own = if !subject.pod.is_empty() {
        crate::host::workload::without_generated_end(&subject.pod)
    } else if !subject.container_name.is_empty() {
        &subject.container_name
    } else if !subject.container.is_empty() {
        &subject.container
    } else if !subject.instance.is_empty() {
        &subject.instance
    } else {
        &subject.host
    };
    let parts: [&str; 4] = [&subject.namespace, own, &subject.process, &subject.interface];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("/")
}

#[cfg(test)]
#[path = "counters_tests.rs"]
mod tests;
