//! Bursts of errors at a target: stage 1 of a chain (AN0223).
//!
//! Method (METHODS section 11; ATT&CK ErrorRateThreshold and ErrorBurst): answers of 4xx
//! and of 5xx a minute, each by target and by target with endpoint (the path's first
//! part), above the target's own 99th percentile and above the floor of
//! `error_rate_threshold` in five minutes, in two of three minutes. A target's normal is
//! that of its baseline at that hour of the week (`target:ADDRESS:PORT`), where there is
//! one, which its minutes teach; else, and of endpoints, whose names anybody can make up,
//! the minutes of this run so far. With fewer than [`ENOUGH`] of either `error_burst`
//! decides. So what scanners cause all day is normal.
//!
//! Minutes of a burst are no part of what is usual. What the same hour of the day has on
//! three days is a habit of it, such as a job at night that fails, and normal then and at
//! no other hour; of a mature baseline as far as a day's growth allows.
//!
//! Requests in clear text count by themselves, with their answers; where there are logs
//! they teach nothing.
//!
//! Limits: a burst that is a stage of a chain counts as its hour's habit like any other;
//! endpoints have no hours.
//!
//! Feeds [`super::chain`] alone. Bounded: [`MAX_TARGETS`] with [`KEPT`] minutes each;
//! past it the target that was quiet longest makes room.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::request_flood::place;
use super::stage::{Place, Sign, Stage, cut};
use super::{AnalyticContext, Measured, PACKETS, Source};
use crate::baseline::{Basis, Metric, Normal};
use crate::host::execs::Served;
use crate::telemetry::request::Request;

const MINUTE_NS: i64 = 60_000_000_000;

/// Minutes of a target that are kept: two hours.
const KEPT: usize = 120;

/// Minutes of which two make a burst: the newest.
const JUDGED: i64 = 3;

/// Minutes from which they are a normal: the 99th percentile of fewer is their maximum,
/// and half an hour has seen a few scanners.
const ENOUGH: usize = 30;

/// Targets and endpoints: a site's few hundred, and what attackers make up beside.
const MAX_TARGETS: usize = 4_096;

/// Endpoint names are an attacker's own: longer ones are cut.
const ENDPOINT_BYTES: usize = 48;

/// Counts errors by target.
#[derive(Debug, Default)]
pub(super) struct ErrorSpike {
    targets: BTreeMap<Arc<str>, Target>,
    taught: Vec<Measured>,
    refused: u64,
}

#[derive(Debug, Default)]
struct Target {
    minutes: BTreeMap<i64, Counts>,
    /// Was told so already.
    told_minute: Option<i64>,
    /// Up to this minute its baseline knows.
    taught_minute: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requests: u64,
    errors: [u64; 2],
    /// One of those that made a burst.
    is_burst: bool,
}

/// Hours keep values in quarter octaves: half of one is what rounding can take off.
const ROUNDED_OFF: f64 = 1.090_507_732_665_257_7;

/// By the kind of errors.
const METRICS: [Metric; 2] = [Metric::Errors4xx, Metric::Errors5xx];

impl ErrorSpike {
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Hands out minutes of targets that are to be learned.
    pub(super) fn teach(&mut self, taught: &mut Vec<Measured>) {
        taught.append(&mut self.taught);
    }

    /// Counts a request; a sign where its target's errors have become a burst with it.
    pub(super) fn look(
        &mut self,
        source: &Source,
        request: &Request,
        served: &Served,
        ctx: &AnalyticContext<'_>,
    ) -> Option<Sign> {
        let status = request.target_status.or(request.status)?;
        let mut name = target_name(request, served)?;
        let is_seen = source.kind == PACKETS;
        if is_seen {
            // A log of the same target counts for itself.
            name.push_str(" in clear");
        }
        let minute = request.time_ns.div_euclid(MINUTE_NS);
        let kind = match status {
            400..=499 => Some(0),
            500..=599 => Some(1),
            _ => None,
        };
        let endpoint = endpoint(request);
        let place = request.target.as_ref().and_then(place).unwrap_or_else(|| name.clone());
        let baseline: Arc<str> = format!("target:{place}").into();
        let keys = [(name.clone(), Some(&baseline)), (format!("{name} {endpoint}"), None)];
        let mut found = None;
        for (key, baseline) in keys {
            let target = self.target(key.as_str().into());
            let counts = target.minutes.entry(minute).or_default();
            counts.requests += 1;
            if let Some(errors) = kind.and_then(|kind| counts.errors.get_mut(kind)) {
                *errors += 1;
            }
            while target.minutes.len() > KEPT {
                target.minutes.pop_first();
            }
            let Some(kind) = kind else { continue };
            if found.is_none()
                && let Some(why) = target.burst(minute, kind, baseline, ctx)
            {
                found = Some((key, kind, why));
            }
        }
        if !(is_seen && ctx.inputs.request_logs) {
            self.learn(&name, &baseline, minute, ctx);
        }
        let (key, kind, why) = found?;
        let address = request.target.as_ref().and_then(|target| target.address);
        let place = Place::of_target(served, address);
        let mut sign = Sign::new(Stage::Request, "error_spike", request.time_ns, place);
        // Something came of it; what, the log does not say.
        sign.strength = [0.4, 0.6].get(kind).copied().unwrap_or_default();
        sign.by_baseline = why.normal.is_some();
        let against = match why.normal {
            Some(q99) if why.is_learned => {
                format!("the 99th percentile of its baseline is {q99}")
            }
            Some(q99) => format!("its own 99th percentile is {q99}"),
            None => format!("without a normal yet, threshold {}", ctx.settings.error_burst),
        };
        let kind = ["4xx", "5xx"].get(kind).copied().unwrap_or_default();
        let (count, requests) = (why.counted, why.requests);
        sign.text =
            format!("{count} answers of {kind} among {requests} a minute at {key}; {against}");
        sign.source = Arc::clone(&source.name);
        sign.may_be_earlier_ns = 3 * MINUTE_NS;
        Some(sign)
    }

    /// Hands a target's minutes that are not judged any more to its baseline.
    fn learn(&mut self, name: &str, baseline: &Arc<str>, now: i64, ctx: &AnalyticContext<'_>) {
        if !ctx.baselines.is_learning() {
            return;
        }
        let Some(target) = self.targets.get_mut(name) else { return };
        let until = now - JUDGED;
        let from = target.taught_minute.map_or(i64::MIN, |taught| taught + 1);
        if from > until {
            return;
        }
        for (&minute, counts) in target.minutes.range(from..=until) {
            let measures = METRICS.into_iter().zip(counts.errors);
            for (metric, count) in measures.chain([(Metric::Requests, counts.requests)]) {
                self.taught.push(Measured {
                    key: Arc::clone(baseline),
                    metric,
                    at_s: minute.saturating_mul(60),
                    value: count as f64,
                    is_usual: !counts.is_burst,
                });
            }
        }
        target.taught_minute = Some(until);
    }

    fn target(&mut self, key: Arc<str>) -> &mut Target {
        if self.targets.len() >= MAX_TARGETS && !self.targets.contains_key(&key) {
            let last = |target: &Target| target.minutes.keys().next_back().copied();
            let quiet = self.targets.iter().min_by_key(|(key, target)| (last(target), *key));
            if let Some(quiet) = quiet.map(|(key, _)| Arc::clone(key)) {
                self.targets.remove(&quiet);
                self.refused += 1;
            }
        }
        self.targets.entry(key).or_default()
    }
}

/// What made it a burst.
struct Burst {
    counted: u64,
    requests: u64,
    normal: Option<u64>,
    /// The normal is the baseline's.
    is_learned: bool,
}

impl Target {
    fn burst(
        &mut self,
        minute: i64,
        kind: usize,
        baseline: Option<&Arc<str>>,
        ctx: &AnalyticContext<'_>,
    ) -> Option<Burst> {
        let errors = |counts: &Counts| counts.errors.get(kind).copied().unwrap_or_default();
        if self.told_minute == Some(minute) {
            return None;
        }
        let five: u64 =
            self.minutes.range(minute - 4..=minute).map(|(_, counts)| errors(counts)).sum();
        if five <= ctx.settings.error_rate_threshold {
            return None;
        }
        let first_judged = minute - JUDGED + 1;
        // Those that are judged are no part of the normal.
        let before = self.minutes.range(..first_judged).map(|(_, counts)| errors(counts));
        let learned = baseline.and_then(|key| {
            let metric = METRICS.get(kind)?;
            ctx.baselines.profile(key)?.normal(*metric, minute.saturating_mul(60))
        });
        // An estimate: no fraction of an error is an error.
        let most = |normal: Normal| {
            let of_hours = if normal.basis == Basis::All { 0.0 } else { normal.q99 };
            normal.q99.max(of_hours.max(normal.regular) * ROUNDED_OFF)
        };
        let learned = learned.map(|normal| libm::ceil(most(normal)) as u64);
        let normal = learned.or_else(|| q99(before.collect()));
        let most = normal.unwrap_or(ctx.settings.error_burst);
        let judged = self.minutes.range_mut(first_judged..=minute).map(|(_, counts)| counts);
        let mut over: Vec<&mut Counts> = judged.filter(|counts| errors(counts) > most).collect();
        if over.len() < 2 {
            return None;
        }
        over.iter_mut().for_each(|counts| counts.is_burst = true);
        self.told_minute = Some(minute);
        let worst = over.into_iter().max_by_key(|counts| errors(counts))?;
        let (counted, requests) = (errors(worst), worst.requests);
        Some(Burst { counted, requests, normal, is_learned: learned.is_some() })
    }
}

/// The 99th percentile, where there are enough.
fn q99(mut values: Vec<u64>) -> Option<u64> {
    if values.len() < ENOUGH {
        return None;
    }
    values.sort_unstable();
    values.get(values.len() * 99 / 100).copied()
}

/// The target as people name it; the log's host where it has none.
fn target_name(request: &Request, served: &Served) -> Option<String> {
    if let Some(target) = &request.target {
        if let Some(address) = target.address {
            let port = target.port.map_or_else(String::new, |port| format!(" port {port}"));
            return Some(format!("{address}{port}"));
        }
        if let Some(name) = &target.name {
            return Some(name.to_string());
        }
    }
    let host = served.host.as_deref().or(request.on_host.as_deref());
    let observer = Some(&*request.observer).filter(|observer| !observer.is_empty());
    host.or(observer).map(str::to_owned)
}

/// The path's first part, without a query.
fn endpoint(request: &Request) -> &str {
    let uri = request.uri.as_deref().unwrap_or("/");
    let path = uri.split(['?', '#']).next().unwrap_or("/");
    let end = path.char_indices().skip(1).find(|&(_, letter)| letter == '/');
    cut(end.map_or(path, |(at, _)| path.get(..at).unwrap_or(path)), ENDPOINT_BYTES)
}

#[cfg(test)]
#[path = "error_spike_tests.rs"]
mod tests;
