//! A profile for people and for files: what `flowtap baseline` prints.

use std::collections::BTreeMap;

use serde::Serialize;

use super::distance::Distances;
use super::metric::Metric;
use super::normal::Normal;
use super::profile::{Profile, Roles};
use super::services::KnownService;
use super::verdict::Verdict;
use super::{DAY_S, size_distance};
use crate::time::rfc3339;

/// Version of its shape.
pub(super) const SCHEMA: &str = "flowtap.baseline.v1";

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    pub schema: &'static str,
    pub entity: String,
    pub mature: bool,
    /// Days of history from which it is.
    pub mature_from_days: f64,
    pub first_seen: Option<String>,
    pub last_seen: Option<String>,
    pub days: f64,
    /// Of the last 64.
    pub active_days: u32,
    pub minutes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub woke: Option<Woke>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<Roles>,
    /// A minute, at the time that is asked about.
    pub normal: BTreeMap<&'static str, Measure>,
    /// Minutes that grew too fast and were learned as less.
    pub clipped: u64,
    pub payload_sizes: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_distances: Option<Distances>,
    /// The same of what it speaks most, each by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceSizes>,
    /// Probability that the next destination is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newness: Option<f64>,
    pub destinations: Vec<Destination>,
    /// What of names is learned since when; none where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Names>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<Said>,
    /// As it is stored.
    pub bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measure {
    #[serde(flatten)]
    pub normal: Normal,
    /// The 99th percentile of all hours may be so much at most today.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceSizes {
    /// `udp/53`; `udp/53 served` where it answers.
    pub service: String,
    /// Halved every 21 days, like sizes.
    pub minutes: u64,
    pub payload_sizes: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_distances: Option<Distances>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Woke {
    pub quiet_s: i64,
    pub at: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Destination {
    pub prefix: String,
    pub first_day: String,
    pub last_day: String,
    pub bytes: u64,
}

/// Domains that it reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Names {
    pub count: usize,
    /// Day of the first that was learned.
    pub since: String,
    /// Probability that the next one is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newness: Option<f64>,
    pub known: Vec<Name>,
}

/// A domain, which nobody kept: the first eight bytes of its SHA-256 in hexadecimal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Name {
    pub digest: String,
    pub first_day: String,
    pub last_day: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Said {
    pub day: String,
    pub verdict: Verdict,
}

fn time_text(second: i64) -> String {
    let mut text = rfc3339(second.saturating_mul(1_000_000_000));
    text.truncate("2026-11-21T09:30:00".len());
    text.push('Z');
    text
}

fn day_text(day: i64) -> String {
    let mut text = rfc3339(day.saturating_mul(DAY_S).saturating_mul(1_000_000_000));
    text.truncate("2026-11-21".len());
    text
}

impl ServiceSizes {
    fn of(known: &KnownService) -> Self {
        Self {
            service: known.service().to_string(),
            minutes: known.minutes(),
            payload_sizes: known.sizes().to_vec(),
            size_distances: known.distances(),
        }
    }
}

/// How far sizes moved, where that is worth a line.
fn moved(was: &[u64], now: &[u64]) -> Option<f64> {
    let distance = size_distance(was.try_into().ok()?, now.try_into().ok()?)?;
    (distance >= 0.15).then_some(distance)
}

impl View {
    /// At a time; without one at that of its last activity.
    pub fn of(entity: &str, profile: &Profile, at_s: Option<i64>, mature_days: f64) -> Self {
        let seen = profile.seen_s();
        let at_s = at_s.or_else(|| seen.map(|(_, last_s)| last_s)).unwrap_or(0);
        let measure = |metric: Metric| {
            let normal = profile.normal(metric, at_s)?;
            Some((metric.name(), Measure { normal, ceiling: profile.ceiling(metric) }))
        };
        let known = profile.destinations().into_iter();
        let destinations = known.map(|(prefix, known)| Destination {
            prefix,
            first_day: day_text(known.first_day),
            last_day: day_text(known.last_day),
            bytes: known.bytes,
        });
        let verdicts = profile.verdicts();
        Self {
            schema: SCHEMA,
            entity: entity.to_owned(),
            mature: profile.days() >= mature_days,
            mature_from_days: mature_days,
            first_seen: seen.map(|(first_s, _)| time_text(first_s)),
            last_seen: seen.map(|(_, last_s)| time_text(last_s)),
            days: (profile.days() * 10.0).round() / 10.0,
            active_days: profile.active_days(),
            minutes: profile.minutes(),
            woke: profile.woke().map(|(quiet_s, at_s)| Woke { quiet_s, at: time_text(at_s) }),
            roles: profile.roles(),
            normal: Metric::EVERY.into_iter().filter_map(measure).collect(),
            clipped: profile.clipped(),
            payload_sizes: profile.sizes().to_vec(),
            size_distances: profile.distances(),
            services: profile.services().iter().map(ServiceSizes::of).collect(),
            newness: profile.newness(),
            destinations: destinations.collect(),
            names: Names::of(profile),
            verdicts: verdicts.map(|(day, verdict)| Said { day: day_text(day), verdict }).collect(),
            bytes: profile.encode().len(),
        }
    }

    /// What became of it since `before`, in a line each; measures from `times` more or
    /// less on.
    pub fn changes(&self, before: &Self, times: f64) -> Vec<String> {
        let mut lines = Vec::new();
        if self.mature != before.mature {
            let now = if self.mature { "mature by now" } else { "not mature any more" };
            lines.push(format!("history: {now}, {:.1} -> {:.1} days", before.days, self.days));
        }
        for (name, now) in &self.normal {
            let Some(was) = before.normal.get(name) else {
                lines.push(format!("{name}: new, median {:.0} a minute", now.normal.median));
                continue;
            };
            for (figure, was, now) in [
                ("median", was.normal.median, now.normal.median),
                ("99 %", was.normal.q99, now.normal.q99),
            ] {
                if now.max(was) >= times * now.min(was).max(1.0) {
                    lines.push(format!("{name}: {figure} {was:.0} -> {now:.0} a minute"));
                }
            }
        }
        if let Some(distance) = moved(&before.payload_sizes, &self.payload_sizes) {
            lines.push(format!("payload sizes: moved by {distance:.2} (Jensen-Shannon, 0 to 1)"));
        }
        for now in &self.services {
            let was = before.services.iter().find(|was| was.service == now.service);
            let moved = was.and_then(|was| moved(&was.payload_sizes, &now.payload_sizes));
            if let Some(distance) = moved {
                lines.push(format!("payload sizes of {}: moved by {distance:.2}", now.service));
            }
        }
        let known = |prefix: &str| before.destinations.iter().any(|was| was.prefix == prefix);
        for new in self.destinations.iter().filter(|now| !known(&now.prefix)) {
            lines.push(format!("destination: new, {} ({} bytes)", new.prefix, new.bytes));
        }
        let names = |view: &Self| view.names.iter().flat_map(|names| names.known.clone()).collect();
        let (now, was): (Vec<Name>, Vec<Name>) = (names(self), names(before));
        let is_new = |name: &&Name| was.iter().all(|was| was.digest != name.digest);
        let new: Vec<&str> = now.iter().filter(is_new).map(|name| name.digest.as_str()).collect();
        if !new.is_empty() {
            lines.push(format!("names: {} new, by digest {}", new.len(), new.join(", ")));
        }
        lines
    }
}

impl Names {
    fn of(profile: &Profile) -> Option<Self> {
        let since = profile.named_since()?;
        let known = profile.names().into_iter().map(|(digest, known)| Name {
            digest: digest.to_string(),
            first_day: day_text(known.first_day),
            last_day: day_text(known.last_day),
        });
        let known: Vec<Name> = known.collect();
        let (count, newness) = (known.len(), profile.name_newness());
        Some(Self { count, since: day_text(since), newness, known })
    }
}
