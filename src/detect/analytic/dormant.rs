//! `dormant`: what was quiet for long sends much, and goes on (AN0083, of a workload;
//! of an instance or address possibly).
//!
//! Method (METHODS section 8): an entity is dormant when the 99th percentile of its
//! egress a minute is at most `dormant_bytes_per_minute`, or when it was not active
//! at all for days. With the length of that in days, D, and its egress a minute now, A:
//!
//! ```text
//! rise = log2((A + 1) / (max(q99, habit) + 1)) * min(1, D / dormant_days)
//! ```
//!
//! The score is that of the rise, of how long it goes on, of what leaves to outside and
//! of a new destination. Two minutes in a row from `dormant_active_bytes_per_minute` on
//! open the alert; it is informational until it lasts [`LASTS_MINUTES`].
//!
//! A known schedule is a habit of its hour ([`Normal::regular`]), on which the rise then stands:
//! the backup of each night is none. A deployment explains it: the alert is informational and says so. It is a container of that
//! name whose first process was seen to begin within [`DEPLOYED_S`]; one that is only new to
//! whoever looks, because it sent nothing before, is none.
//! Replicas share a name and its normal; how long one is active is its own.
//!
//! Limits: needs a baseline; without one nobody knows what was dormant. Without a host map
//! (recorded flows, counters), and of what was deployed just before a map began, nobody knows
//! a deployment. Memory: [`MAX_ENTITIES`] that are active or were deployed, with
//! [`MAX_REPLICAS`] containers each, and as many containers that began; beyond, those seen
//! longest ago go.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::held::{self, hold};
use super::room::make_room;
use super::{Analytic, AnalyticContext, Event, EventKind, Exec, about, measured_in};
use crate::alert::{Case, DecidedBy, EntityKind, Score, Severity, Term};
use crate::baseline::{Metric, Normal};
use crate::detect::{Finding, Rule, round3};
use crate::entity::Minute;

#[derive(Debug, Default)]
pub(super) struct Dormant {
    /// By source and baseline.
    known: BTreeMap<(Arc<str>, Arc<str>), Known>,
    /// Containers that were seen to begin, and when.
    begun: BTreeMap<String, i64>,
    refused: u64,
}

#[derive(Debug, Default)]
struct Known {
    /// End of the last minute of any.
    end_s: i64,
    /// By container; what is no workload has one without a name.
    replicas: BTreeMap<String, Replica>,
    deployed: Option<Deployed>,
}

#[derive(Debug, Default)]
struct Replica {
    image: String,
    /// End of its last minute, and minutes in a row that were active.
    end_s: i64,
    run: u64,
}

/// A container began.
#[derive(Clone, Copy, Debug)]
struct Deployed {
    at_s: i64,
    /// No other was there of this image.
    new_image: bool,
}

/// What led up to a minute.
struct Before {
    run: u64,
    deployed: Option<Deployed>,
}

const MAX_ENTITIES: usize = 16_384;
/// Few names have more replicas on what one run sees; 4 KB with ids of 64 characters.
const MAX_REPLICAS: usize = 32;
const LASTS_MINUTES: u64 = 5;
const DEPLOYED_S: i64 = 1_800;
const ALERTS_FROM: f64 = 40.0;
/// A factor of eight to one of four thousand, dormant for all of the time.
const LEAST_RISE: f64 = 3.0;
const MOST_RISE: f64 = 12.0;
const DAY_S: f64 = 86_400.0;

const FORMULA: &str = "egress of a minute >= dormant_active_bytes_per_minute, two in a row, of an entity whose \
    99th percentile is <= dormant_bytes_per_minute or that was not active for a day; \
    rise = log2((A + 1) / (max(q99, habit of the hour) + 1)) * min(1, D / dormant_days)";

impl Analytic for Dormant {
    fn name(&self) -> &'static str {
        "dormant_active"
    }

    fn looks_at(&self) -> &'static [EventKind] {
        &[EventKind::Minute, EventKind::Exec]
    }

    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        let minute = match event {
            Event::Minute(minute) => minute,
            Event::Exec(exec) => return self.begins(exec),
            _ => return,
        };
        if !matches!(
            minute.who.entity.kind,
            EntityKind::Workload | EntityKind::Instance | EntityKind::Address
        ) {
            return;
        }
        let bytes = Metric::EgressBytes.of(minute);
        let active = bytes >= ctx.settings.dormant_active_bytes_per_minute as f64;
        let Some(before) = self.follow(minute, active) else { return };
        if !active || before.run < 2 {
            return;
        }
        out.extend(Rise::of(minute, bytes, ctx).and_then(|rise| rise.finding(&before, ctx)));
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

impl Dormant {
    /// What is known of the entity with this minute; only workloads are remembered
    /// while they are not active.
    fn follow(&mut self, minute: &Minute, active: bool) -> Option<Before> {
        let key = (Arc::clone(&minute.source), Arc::clone(&minute.who.baseline));
        let workload = minute.who.workload.as_ref();
        if !active && workload.is_none() {
            self.known.remove(&key);
            return None;
        }
        if !self.known.contains_key(&key) {
            self.make_room();
        }
        let end_s = minute.start_s.saturating_add(minute.length_s);
        let known = self.known.entry(key).or_default();
        known.end_s = known.end_s.max(end_s);
        let (container, image) = workload
            .map_or(("", ""), |workload| (workload.container.as_str(), workload.image.as_str()));
        // A minute comes after what began in it.
        let began_s = self
            .begun
            .get(container)
            .copied()
            .filter(|began_s| minute.start_s.saturating_sub(*began_s) <= DEPLOYED_S);
        let replica = known.replica(container, image, began_s);
        let follows = replica.end_s == minute.start_s || replica.run == 0;
        replica.run = match (active, follows) {
            (false, _) => 0,
            (true, true) => replica.run + 1,
            (true, false) => 1,
        };
        replica.end_s = end_s;
        Some(Before { run: replica.run, deployed: known.deployed })
    }

    fn begins(&mut self, exec: &Exec) {
        let Some(workload) = exec.workload.as_ref().filter(|_| exec.begins_container) else {
            return;
        };
        make_room(&mut self.begun, MAX_ENTITIES, |&began_s| began_s);
        let began_s = exec.time_ns.div_euclid(1_000_000_000);
        self.begun.insert(workload.container.clone(), began_s);
    }

    fn make_room(&mut self) {
        if self.known.len() < MAX_ENTITIES {
            return;
        }
        let mut ends: Vec<i64> = self.known.values().map(|known| known.end_s).collect();
        ends.sort_unstable();
        let oldest_s = ends.get(MAX_ENTITIES / 4).copied().unwrap_or(i64::MAX);
        let before = self.known.len();
        self.known.retain(|_, known| known.end_s > oldest_s);
        self.refused += (before - self.known.len()) as u64;
    }
}

impl Known {
    /// The container of that name; one that began just now is a deployment.
    fn replica(&mut self, container: &str, image: &str, began_s: Option<i64>) -> &mut Replica {
        if !self.replicas.contains_key(container) {
            if let Some(began_s) = began_s {
                self.deploy(image, began_s);
            }
            self.forget_one();
        }
        let replica = self.replicas.entry(container.to_owned()).or_default();
        if replica.image != image {
            image.clone_into(&mut replica.image);
        }
        replica
    }

    fn deploy(&mut self, image: &str, began_s: i64) {
        let mut others = self.replicas.values().peekable();
        let other_image = others.peek().is_some() && others.all(|other| other.image != image);
        // The next replicas of a roll-out have the image of the first.
        let goes_on = self.deployed.is_some_and(|deployed| {
            deployed.new_image && began_s.saturating_sub(deployed.at_s) <= DEPLOYED_S
        });
        self.deployed = Some(Deployed { at_s: began_s, new_image: other_image || goes_on });
    }

    fn forget_one(&mut self) {
        if self.replicas.len() < MAX_REPLICAS {
            return;
        }
        // Of those that are active the run would be lost.
        let idle_first =
            |(name, replica): (&String, &Replica)| (replica.run > 0, replica.end_s, name.clone());
        if let Some((_, _, oldest)) = self.replicas.iter().map(idle_first).min() {
            self.replicas.remove(&oldest);
        }
    }
}

/// An active minute of what was dormant.
struct Rise<'a> {
    minute: &'a Minute,
    bytes: f64,
    normal: Normal,
    days: f64,
    value: f64,
    new_destination: bool,
}

impl<'a> Rise<'a> {
    fn of(minute: &'a Minute, bytes: f64, ctx: &AnalyticContext<'_>) -> Option<Self> {
        let settings = ctx.settings;
        let profile = ctx.baselines.profile(&minute.who.baseline)?;
        let normal = profile.normal(Metric::EgressBytes, minute.start_s)?;
        // Nothing is learned while it alerts: that is how long it was quiet.
        let quiet_days = profile.quiet_s(minute.start_s).max(0) as f64 / DAY_S;
        let low = normal.q99 <= settings.dormant_bytes_per_minute as f64;
        let days = match low {
            true => profile.days().max(0.0) + quiet_days,
            false if quiet_days >= 1.0 => quiet_days,
            false => return None,
        };
        // After days of nothing its normal is nothing, but for what this hour has brought on
        // other days.
        let usual = if low { normal.q99 } else { 0.0 };
        let usual = usual.max(normal.regular);
        let rise = libm::log2((bytes + 1.0) / (usual + 1.0));
        let value = rise * (days / settings.dormant_days).min(1.0);
        if value < LEAST_RISE {
            return None;
        }
        let (peer, _) = minute.measures.top_peer()?;
        let new_destination = ctx.is_new(profile, minute, peer) == Some(true);
        Some(Self { minute, bytes, normal, days, value, new_destination })
    }

    fn finding(&self, before: &Before, ctx: &AnalyticContext<'_>) -> Option<Finding> {
        let minute = self.minute;
        let measures = &minute.measures;
        let outside = measures.external.wire_bytes as f64 / measures.sent.wire_bytes.max(1) as f64;
        let new = f64::from(u8::from(self.new_destination));
        let score = Score::of(
            vec![
                Term::new("rise", self.value, LEAST_RISE, MOST_RISE, 60.0),
                Term::new("minutes_active", before.run as f64, 1.0, LASTS_MINUTES as f64, 20.0),
                Term::new("outside_share", outside, 0.0, 0.5, 10.0),
                Term::new("new_destination", new, 0.0, 1.0, 10.0),
            ],
            ALERTS_FROM,
        );
        let enough = score.alerts() && score.dimensions() >= 2;
        if !ctx.decide("dormant_active", &minute.who, minute.start_s, &score, enough) {
            return None;
        }
        let rule = Rule {
            name: "dormant_active",
            threshold: ctx.settings.dormant_active_bytes_per_minute,
            unit: "bytes/minute",
            formula: FORMULA,
        };
        let last_s = minute.start_s.saturating_add(minute.length_s.max(1) - 1);
        let first_s = last_s.saturating_add(1).saturating_sub(minute.length_s.saturating_mul(2));
        let mut finding =
            about("dormant_active", &minute.who, (first_s, last_s), rule, score, ctx.seed);
        measured_in(&mut finding, minute);
        finding.kind = "dormant_active";
        finding.measured = self.bytes as u64;
        finding.minute_bytes = Some(self.bytes as u64);
        finding.details.extend([
            ("source", json!(&*minute.source)),
            ("dormant_days", json!(round3(self.days))),
            ("minutes_active", json!(before.run)),
            ("outside_share", json!(round3(outside))),
            ("new_destination", json!(self.new_destination)),
            (
                "deployed_s_ago",
                json!(before.deployed.map(|deployed| minute.start_s - deployed.at_s)),
            ),
        ]);
        if let Some(case) = &mut finding.case {
            self.fill(case, before, ctx);
        }
        Some(finding)
    }

    fn fill(&self, case: &mut Case, before: &Before, ctx: &AnalyticContext<'_>) {
        let who = &self.minute.who;
        case.decided_by = DecidedBy::Baseline;
        case.quiet_s = 180.max(self.minute.length_s.saturating_mul(3));
        case.confident("active_after_dormancy", 0.4);
        if self.new_destination {
            case.confident("new_destination", 0.1);
        }
        if before.run >= LASTS_MINUTES {
            case.confident("lasts", 0.1);
        }
        if who.entity.kind == EntityKind::Workload {
            case.analytics.push("AN0083");
        } else {
            case.possible_analytics.push("AN0083");
            case.missing.push("workload");
        }
        hold(case, ctx, &who.baseline, &[("egress_bytes", Some(self.normal))]);
        held::lacks(case, self.minute);
        if who.workload.as_ref().is_some_and(|workload| workload.host_network) {
            case.missing.push("host_network");
        }
        let deployed =
            before.deployed.filter(|it| self.minute.start_s.saturating_sub(it.at_s) <= DEPLOYED_S);
        (case.severity, case.severity_reason) = match deployed {
            Some(deployed) => {
                let what = if deployed.new_image { "a new image" } else { "a new container" };
                let reason = format!(
                    "Informational: {what} of the same name came within {} before: a deployment \
                     explains it.",
                    held::span(DEPLOYED_S)
                );
                (Severity::Informational, reason)
            }
            None if before.run < LASTS_MINUTES => {
                let reason = format!("Informational until it lasts {LASTS_MINUTES} minutes.");
                (Severity::Informational, reason)
            }
            None if self.new_destination && case.baseline_mature => {
                let reason = "Medium: it was dormant, goes on, and sends where it is not known to.";
                (Severity::Medium, reason.to_owned())
            }
            None => (Severity::Low, "Low: it was dormant, and goes on being active.".to_owned()),
        };
        case.summary = format!(
            "{} was dormant for {:.1} days (99th percentile {} a minute) and sends {} a minute now, \
             {} minutes in a row; confidence {}.",
            who.entity.id,
            self.days,
            held::bytes(self.normal.q99 as u64),
            held::bytes(self.bytes as u64),
            before.run,
            case.confidence(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::analytic::testing::{Bench, Stream, alert_of, minute, workload};
    use crate::entity::Who;

    const OUTSIDE: &str = "203.0.113.9";

    fn idle() -> Stream {
        Stream::tcp("10.0.0.9", 9_090, (10, 300), (10, 300))
    }

    fn busy() -> Stream {
        Stream::tcp(OUTSIDE, 443, (1_000, 1_514), (400, 66))
    }

    fn bench(days: i64) -> Bench<Dormant> {
        let mut bench = Bench::new(Dormant::default());
        let who = workload("report", "registry/report:1");
        bench.learn(days, |at| Some(minute(&who, at, &[idle()])));
        bench
    }

    #[test]
    fn a_dormant_workload_that_stays_active_is_an_alert() {
        let mut bench = bench(14);
        let who = workload("report", "registry/report:1");
        let severities: Vec<_> = (0..6)
            .map(|at| bench.see(&Event::Minute(&minute(&who, at * 60, &[busy()]))))
            .map(|found| found.first().map(|finding| finding.case.as_ref().unwrap().severity))
            .collect();
        let informational = Some(Severity::Informational);
        assert_eq!(severities[..4], [None, informational, informational, informational]);
        assert_eq!(severities[4..], [Some(Severity::Medium); 2]);
        let last = bench.see(&Event::Minute(&minute(&who, 360, &[busy()])));
        assert_eq!(last[0].case.as_ref().unwrap().analytics, ["AN0083"]);
    }

    /// A burst has the higher score, and says nothing of how long it goes on.
    #[test]
    fn a_burst_before_does_not_lower_what_goes_on() {
        let much = Stream::tcp(OUTSIDE, 443, (15_000, 1_514), (400, 66));
        for first in [busy(), much] {
            let mut bench = bench(14);
            let who = workload("report", "registry/report:1");
            let found = (0..15).flat_map(|at| {
                let stream = if at < 2 { first } else { busy() };
                bench.see(&Event::Minute(&minute(&who, at * 60, &[stream])))
            });
            let (alert, _) = alert_of(found.collect::<Vec<_>>());
            assert_eq!(alert.severity, Severity::Medium, "{}", alert.grade.severity_reason);
            assert!(alert.summary.contains(", 15 minutes in a row"), "{}", alert.summary);
            assert_eq!(alert.evidence.details["minutes_active"], 15);
        }
    }

    /// Of later nights nothing may be known: what alerts is not learned.
    #[test]
    fn a_job_of_three_nights_is_no_rise_and_at_noon_or_a_hundredfold_it_is() {
        const NIGHT_S: i64 = 3 * 3_600;
        let who = workload("report", "registry/report:1");
        let little = Stream::tcp("10.0.0.9", 9_090, (1, 60), (1, 60));
        // 30 MB and 3 GB a minute.
        let job = Stream::tcp(OUTSIDE, 443, (330, 1_514), (40, 66));
        let much = Stream::tcp(OUTSIDE, 443, (33_000, 1_514), (40, 66));
        for (from_s, stream, tells) in
            [(NIGHT_S, job, false), (NIGHT_S, much, true), (12 * 3_600, job, true)]
        {
            let mut bench = Bench::new(Dormant::default());
            bench.inputs.baseline = true;
            for at_s in (-14 * 86_400_i64..0).step_by(60) {
                let in_night_s = at_s.rem_euclid(86_400) - NIGHT_S;
                let stream = if (0..300).contains(&in_night_s) { job } else { little };
                if !(0..3_600).contains(&in_night_s) || at_s < -11 * 86_400 {
                    bench.baselines.learn(&minute(&who, at_s, &[stream]));
                }
            }
            let minutes = (0..5).map(|at| minute(&who, from_s + at * 60, &[stream]));
            let found: Vec<_> =
                minutes.flat_map(|minute| bench.see(&Event::Minute(&minute))).collect();
            assert_eq!(!found.is_empty(), tells, "at {from_s} s: {found:?}");
        }
    }

    #[test]
    fn a_deployment_explains_it() {
        let mut bench = bench(14);
        let old = workload("report", "registry/report:1");
        bench.see(&Event::Minute(&minute(&old, 0, &[idle()])));
        let mut new = (*workload("report", "registry/report:1")).clone();
        let mut container = (**new.workload.as_ref().unwrap()).clone();
        (container.container, container.image) = ("b2".to_owned(), "registry/report:2".to_owned());
        new.workload = Some(Arc::new(container));
        let new = Arc::new(new);
        bench.see(&Event::Exec(&begins(&new, 60)));
        for at in 1..8 {
            for finding in bench.see(&Event::Minute(&minute(&new, at * 60, &[busy()]))) {
                let case = finding.case.as_ref().unwrap();
                assert_eq!(case.severity, Severity::Informational);
                assert!(case.severity_reason.contains("a new image"));
            }
        }
    }

    fn replica(number: u32) -> Arc<Who> {
        let mut who = (*workload("report", "registry/report:1")).clone();
        let mut container = (**who.workload.as_ref().unwrap()).clone();
        container.container = format!("report-{number}");
        who.workload = Some(Arc::new(container));
        Arc::new(who)
    }

    /// Of the last of six minutes, in which each of these does what the function says.
    fn severities(replicas: u32, streams: impl Fn(u32) -> Stream) -> Vec<Severity> {
        let mut bench = bench(14);
        let severity = |finding: &Finding| finding.case.as_ref().unwrap().severity;
        // They are there for two hours, each third of an hour.
        let thirds = (1..=6).rev();
        for (third, number) in thirds.flat_map(|third| (1..=replicas).map(move |it| (third, it))) {
            bench.see(&Event::Minute(&minute(&replica(number), third * -1_200, &[idle()])));
        }
        let mut last = Vec::new();
        for at in 0..6 {
            last.clear();
            for number in 1..=replicas {
                let minute = minute(&replica(number), at * 60, &[streams(number)]);
                last.extend(bench.see(&Event::Minute(&minute)).iter().map(severity));
            }
        }
        last
    }

    #[test]
    fn one_of_two_replicas_that_wakes_is_an_alert_and_so_are_both() {
        let one = |number| if number == 1 { busy() } else { idle() };
        assert_eq!(severities(2, one), [Severity::Medium]);
        let other = |number| if number == 2 { busy() } else { idle() };
        assert_eq!(severities(2, other), [Severity::Medium]);
        assert_eq!(severities(2, |_| busy()), [Severity::Medium; 2]);
        // Known or not: forgotten ones are no deployment.
        assert_eq!(severities(MAX_REPLICAS as u32 + 8, one), [Severity::Medium]);
    }

    /// The first process of its container.
    fn begins(who: &Who, at_s: i64) -> Exec {
        Exec {
            time_ns: at_s * 1_000_000_000,
            process: Arc::default(),
            workload: who.workload.clone(),
            begins_container: true,
            host: "node".into(),
            boot: "boot".into(),
            instance: None,
            addresses: Vec::new(),
        }
    }

    #[test]
    fn a_replica_that_is_started_beside_another_is_a_deployment() {
        let mut bench = bench(14);
        bench.see(&Event::Minute(&minute(&replica(1), -60, &[idle()])));
        bench.see(&Event::Exec(&begins(&replica(2), 5)));
        let mut last = Vec::new();
        for at in 0..6 {
            bench.see(&Event::Minute(&minute(&replica(1), at * 60, &[idle()])));
            last = bench.see(&Event::Minute(&minute(&replica(2), at * 60, &[busy()])));
        }
        let case = last[0].case.as_ref().unwrap();
        assert_eq!(case.severity, Severity::Informational);
        assert!(case.severity_reason.contains("a new container"), "{}", case.severity_reason);
    }

    #[test]
    fn a_replica_that_was_only_silent_before_and_what_is_started_in_it_is_no_deployment() {
        let in_it = Exec { begins_container: false, ..begins(&replica(2), 5) };
        let long_before = begins(&replica(2), -DEPLOYED_S - 60);
        for exec in [in_it, long_before] {
            let mut bench = bench(14);
            bench.see(&Event::Minute(&minute(&replica(1), -60, &[idle()])));
            bench.see(&Event::Exec(&exec));
            let mut last = Vec::new();
            for at in 0..6 {
                bench.see(&Event::Minute(&minute(&replica(1), at * 60, &[idle()])));
                last = bench.see(&Event::Minute(&minute(&replica(2), at * 60, &[busy()])));
            }
            let case = last[0].case.as_ref().unwrap();
            assert_eq!(case.severity, Severity::Medium, "{}", case.severity_reason);
        }
    }

    #[test]
    fn short_use_batch_jobs_and_what_is_young_stay_quiet() {
        let who = workload("report", "registry/report:1");
        // One minute, then nothing.
        let mut bench = bench(14);
        for at in [0, 120, 240] {
            assert!(bench.see(&Event::Minute(&minute(&who, at * 60, &[busy()]))).is_empty());
            assert!(bench.see(&Event::Minute(&minute(&who, at * 60 + 60, &[idle()]))).is_empty());
        }
        // A batch job of each night is in its normal.
        let mut bench = Bench::new(Dormant::default());
        bench.learn(14, |at| {
            let nightly = at.rem_euclid(86_400) == 3 * 3_600;
            Some(minute(&who, at, &[if nightly { busy() } else { idle() }]))
        });
        for at in 0..6 {
            let at = 3 * 3_600 + at * 60;
            assert!(bench.see(&Event::Minute(&minute(&who, at, &[busy()]))).is_empty());
        }
        // Two hours of history are no dormancy.
        let mut bench = Bench::new(Dormant::default());
        for at in -120..0 {
            bench.minute(&minute(&who, at * 60, &[idle()]));
        }
        for at in 0..6 {
            assert!(bench.see(&Event::Minute(&minute(&who, at * 60, &[busy()]))).is_empty());
        }
    }
}
