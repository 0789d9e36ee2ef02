//! What a flood's alert says of its entity's baseline and processes is so.

use std::sync::Arc;

use super::traffic::{Run, delta, host};
use crate::alert::{Alert, CONFIDENCE_WITHOUT_BASELINE};
use crate::baseline::{BaselineSettings, Baselines};
use crate::detect::Telemetry;
use crate::detect::analytic::Event;
use crate::detect::analytic::testing::{Stream, address, minute};
use crate::engine::window::{Delta, Seed};
use crate::entity::{Ledger, LedgerLimits, Leg, View, Who};
use crate::host::side::ProcessView;
use crate::packet::PacketClass as C;
use crate::report::explain::redo;

const T: i64 = 1_700_000_040;
const SENDER: &str = "10.0.0.5";

/// So many days of an hourly minute.
fn learned(days: i64) -> Baselines {
    let mut baselines = Baselines::in_memory(BaselineSettings::default(), true);
    let usual = [Stream::tcp("10.0.0.9", 443, (3, 500), (3, 500))];
    for hour in 0..days * 24 {
        let start_s = T - days * 86_400 + hour * 3_600;
        baselines.learn(&minute(&address(SENDER), start_s, &usual));
    }
    baselines
}

/// A second in which a process of this address sends something.
fn show_process(run: &mut Run, own: &str) {
    let who = Who::process("host", "boot", &Arc::new(ProcessView::default()), None, 1.0);
    let mut ledger = Ledger::new("packets".into(), LedgerLimits::default(), Seed::default());
    ledger.begin(T);
    let id = ledger.id(1, || Arc::new(who)).unwrap();
    let (own, peer) = (host(own), host("10.0.0.9"));
    let sent = delta(own, peer, C::Udp, 3, 100);
    let received = Delta::new(peer, own, 17, 80, 40_000);
    let view = View {
        second: T,
        peer,
        external: false,
        proto: 17,
        local_port: 40_000,
        remote_port: 80,
        leg: Leg::of(40_000, 80),
        sent: &sent,
        received: &received,
        scale: 1,
    };
    ledger.add(id, &view);
    let event = Event::Second { second: T, entities: &ledger.second() };
    run.detection.event(&event, T, &Telemetry::default());
}

/// The alert of twenty seconds of a flood out of 10.0.0.5.
fn flood(baselines: Option<Baselines>, processes_of: Option<&str>) -> Alert {
    let mut run = Run::new();
    if let Some(baselines) = baselines {
        run.detection.set_baselines(baselines);
    }
    if let Some(own) = processes_of {
        show_process(&mut run, own);
    }
    for second in 1..=20 {
        let flood = delta(host(SENDER), host("203.0.113.9"), C::Udp, 30_000, 100);
        run.second(T + second, &[flood]);
    }
    let mut alerts = run.alerts();
    alerts.retain(|alert| alert.detector == "udp_flood");
    let [alert] = &alerts[..] else { panic!("{alerts:#?}") };
    assert_eq!(alert.entity.id, SENDER);
    let redone = redo(&serde_json::to_value(alert).unwrap());
    assert!(!redone.differs, "{:#}", redone.json);
    alert.clone()
}

#[test]
fn with_neither_both_are_missing_and_confidence_is_capped() {
    let alert = flood(None, None);
    assert_eq!(alert.missing_telemetry, ["baseline", "process_map"]);
    assert_eq!(alert.confidence, CONFIDENCE_WITHOUT_BASELINE);
    assert!(alert.evidence.baseline.starts_with("none: "));
    assert!(alert.summary.ends_with("confidence 0.6 without a baseline."), "{}", alert.summary);
}

#[test]
fn a_mature_baseline_is_not_missing_and_caps_nothing() {
    let alert = flood(Some(learned(9)), Some(SENDER));
    assert_eq!(alert.missing_telemetry, Vec::<String>::new());
    assert_eq!(alert.confidence, 0.7);
    let said = &alert.evidence.baseline;
    assert!(said.starts_with("of 9.0 days, not asked") && !said.contains("capped"), "{said}");
    assert_eq!(alert.evidence.decided_by, "absolute_threshold");
    assert!(alert.summary.ends_with("confidence 0.7."), "{}", alert.summary);
}

#[test]
fn an_immature_baseline_is_there_and_caps() {
    let alert = flood(Some(learned(2)), None);
    assert_eq!(alert.missing_telemetry, ["process_map"]);
    assert_eq!(alert.confidence, CONFIDENCE_WITHOUT_BASELINE);
    assert!(alert.grade.confidence_reason.contains("until the baseline is mature (it has "));
    assert!(alert.summary.contains("confidence 0.6 with a baseline of "), "{}", alert.summary);
}

#[test]
fn anothers_processes_are_not_its_own() {
    let alert = flood(None, Some("10.0.0.6"));
    assert_eq!(alert.missing_telemetry, ["baseline", "process_map"]);
}
