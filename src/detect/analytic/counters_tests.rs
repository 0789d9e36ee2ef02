use serde_json::json;

use super::*;
use crate::alert::Severity;
use crate::detect::analytic::Source;
use crate::detect::analytic::testing::Bench;
use crate::telemetry::counters::series::Series;
use crate::telemetry::sample::{CounterSample, Reading};

struct Run {
    bench: Bench<Counters>,
    series: Series,
    /// What the counters of each subject stand at.
    totals: BTreeMap<Subject, (u64, u64)>,
}

impl Run {
    fn new() -> Self {
        let bench = Bench::new(Counters::default());
        Self { bench, series: Series::default(), totals: BTreeMap::new() }
    }

    /// Reads the counters of a subject at a time, after this much more.
    fn read(&mut self, subject: &Subject, at_s: i64, sent: u64, received: u64) -> Vec<Finding> {
        let totals = self.totals.entry(subject.clone()).or_default();
        (totals.0, totals.1) = (totals.0 + sent, totals.1 + received);
        let sample = CounterSample {
            time_ns: at_s * SECOND_NS,
            reading: Reading::Total,
            subject: subject.clone(),
            received_bytes: Some(totals.1),
            sent_bytes: Some(totals.0),
            received_packets: None,
            sent_packets: None,
            received_drops: None,
            sent_drops: None,
            labels: Vec::new(),
        };
        let Some(growth) = self.series.take(&sample) else { return Vec::new() };
        let source = Source { name: "docker".into(), kind: "docker-stats", lateness_ns: 0 };
        self.bench.see(&Event::Counter { source: &source, sample: &sample, growth: &growth })
    }

    /// Half an hour of little, read each half minute.
    fn idle(subject: &Subject) -> Self {
        let mut run = Self::new();
        for at in 0..60 {
            assert!(
                run.read(subject, at * 30, 20_000 + (at as u64 % 5) * 1_000, 30_000).is_empty()
            );
        }
        run
    }
}

fn container(id: &str) -> Subject {
    Subject { container: id.into(), container_name: "shop".into(), ..Subject::default() }
}

const MUCH: u64 = 50_000_000;

#[test]
fn an_idle_container_that_relays_for_minutes_is_an_alert() {
    let subject = container("c1");
    let mut run = Run::idle(&subject);
    let mut found = Vec::new();
    for at in 60..90 {
        let now = run.read(&subject, at * 30, MUCH, MUCH);
        assert!(now.is_empty() || at >= 68, "not before five minutes: {at}");
        found.extend(now);
    }
    let case = found[0].case.as_ref().unwrap();
    assert_eq!((case.severity, &*case.analytics), (Severity::Medium, &["AN0083"][..]));
    assert_eq!(found[0].details["idle_before"], json!(true));
}

#[test]
fn short_jobs_resets_and_backups_are_at_most_informational() {
    let subject = container("c1");
    // Three minutes, again and again.
    let mut run = Run::idle(&subject);
    for at in 60..120 {
        let busy = at % 16 < 6;
        let found = run.read(&subject, at * 30, if busy { MUCH } else { 20_000 }, 30_000);
        assert!(found.is_empty(), "{at}");
    }
    // A backup: nothing comes back.
    let mut run = Run::idle(&subject);
    for at in 60..120 {
        for finding in run.read(&subject, at * 30, MUCH, 1_000_000) {
            assert_eq!(finding.case.as_ref().unwrap().severity, Severity::Informational);
        }
    }
    // A restart: counters begin again.
    let mut run = Run::idle(&subject);
    run.totals.clear();
    for at in 60..90 {
        assert!(run.read(&subject, at * 30, 20_000, 30_000).is_empty());
    }
}

#[test]
fn a_deployment_and_replicas_explain_an_increase() {
    let mut run = Run::idle(&container("c1"));
    for at in 60..90 {
        for finding in run.read(&container("c2"), at * 30, MUCH, MUCH) {
            let case = finding.case.as_ref().unwrap();
            assert_eq!(case.severity, Severity::Informational);
            assert!(case.severity_reason.contains("deployment or scaling"));
        }
    }
}

#[test]
fn an_instance_is_the_clouds_and_an_interface_only_possibly_a_workload() {
    let instance = Subject { instance: "i-0abc".into(), ..Subject::default() };
    let interface = Subject { host: "h".into(), interface: "eth0".into(), ..Subject::default() };
    for (subject, analytics) in [(instance, vec!["AN0972"]), (interface, vec![])] {
        let mut run = Run::idle(&subject);
        let found: Vec<_> =
            (60..90).flat_map(|at| run.read(&subject, at * 30, MUCH, MUCH)).collect();
        assert_eq!(found[0].case.as_ref().unwrap().analytics, analytics);
    }
}

#[test]
fn pods_of_one_owner_are_one_service() {
    let pod =
        |pod: &str| Subject { namespace: "shop".into(), pod: pod.into(), ..Subject::default() };
    assert_eq!(service_of(&pod("api-5d8f7c9b6d-x2x9z")), "shop/api");
    assert_eq!(service_of(&pod("api-5d8f7c9b6d-zq7kp")), "shop/api");
    assert_eq!(
        service_of(&Subject { host: "h".into(), interface: "eth0".into(), ..Subject::default() }),
        "h/eth0"
    );
}
