//! Verdicts on alerts that go on: what they bring later is settled too.

use std::sync::Arc;

use super::tests::{START_S, host, learned_minutes, minute};
use super::*;
use crate::entity::Who;

/// Marked in its first minute, which is not over, by another process.
fn marked(verdict: Verdict, alert: Option<&str>) -> (tempfile::TempDir, Baselines, Arc<Who>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("normal.redb");
    let mut baselines = Baselines::open(&path, BaselineSettings::default(), true).unwrap();
    let who = Arc::new(Who::address(&host("10.0.0.1")));
    open_alert(&mut baselines, &who, "a1", START_S + 300);
    let word = Word {
        key: who.baseline.to_string(),
        alert: alert.map(str::to_owned),
        from_s: START_S + 5,
        until_s: START_S + 12,
        verdict,
        at_s: START_S + 12,
    };
    leave(&path, &word).unwrap();
    baselines.tick(START_S + 13);
    assert_eq!(baselines.counters().verdicts_taken, 1);
    (dir, baselines, who)
}

fn open_alert(baselines: &mut Baselines, who: &Who, alert: &str, until_s: i64) {
    let (cause, alert) = (Arc::clone(&who.baseline), Some(alert.into()));
    let (keys, addresses) = (Vec::new(), Vec::new());
    baselines.freeze(&Freeze { cause, alert, keys, addresses, all: false, until_s });
}

/// Minutes of it that are learned, and spans that wait, after another of them.
fn after(baselines: &mut Baselines, who: &Arc<Who>, at_s: i64) -> (u64, usize) {
    baselines.learn(&minute(who, at_s, 1e6, "203.0.113.7"));
    (learned_minutes(baselines, who), baselines.pending())
}

#[test]
fn a_verdict_in_the_alerts_own_minute_settles_that_and_what_comes_later() {
    for (verdict, learned) in [(Verdict::Expected, 1), (Verdict::False, 1), (Verdict::True, 0)] {
        let (_dir, mut baselines, who) = marked(verdict, Some("a1"));
        assert_eq!(after(&mut baselines, &who, START_S), (learned, 0), "{verdict:?}");
        assert_eq!(after(&mut baselines, &who, START_S + 60), (2 * learned, 0), "{verdict:?}");
        assert_eq!(baselines.counters().frozen_minutes, 2 - 2 * learned);
    }
}

#[test]
fn another_alert_of_the_same_entity_waits_for_its_own_verdict() {
    let (_dir, mut baselines, who) = marked(Verdict::Expected, Some("a1"));
    assert_eq!(after(&mut baselines, &who, START_S), (1, 0));
    open_alert(&mut baselines, &who, "a2", START_S + 300);
    assert_eq!(after(&mut baselines, &who, START_S + 60), (1, 1));
    // Of several that are true one is enough.
    let (_dir, mut baselines, who) = marked(Verdict::True, Some("a1"));
    open_alert(&mut baselines, &who, "a2", START_S + 300);
    assert_eq!(after(&mut baselines, &who, START_S + 60), (0, 0));
}

#[test]
fn who_does_not_say_which_alert_settles_what_waits_alone() {
    let (_dir, mut baselines, who) = marked(Verdict::Expected, None);
    assert_eq!(after(&mut baselines, &who, START_S), (0, 1));
}

#[test]
fn the_last_of_two_verdicts_counts_and_an_alert_that_is_over_has_none() {
    let (dir, mut baselines, who) = marked(Verdict::Expected, Some("a1"));
    assert_eq!(after(&mut baselines, &who, START_S), (1, 0));
    let word = Word {
        key: who.baseline.to_string(),
        alert: Some("a1".to_owned()),
        from_s: START_S + 5,
        until_s: START_S + 62,
        verdict: Verdict::True,
        at_s: START_S + 70,
    };
    leave(&dir.path().join("normal.redb"), &word).unwrap();
    baselines.tick(START_S + 71);
    assert_eq!(after(&mut baselines, &who, START_S + 60), (1, 0));
    // The same id again, much later: it was forgotten with the alert.
    baselines.tick(START_S + 3_600);
    open_alert(&mut baselines, &who, "a1", START_S + 7_200);
    assert_eq!(after(&mut baselines, &who, START_S + 3_600), (1, 1));
}

/// Alerts past those that are told apart last as long as the last of these, unjudged.
#[test]
fn where_too_many_alerts_hold_it_back_a_verdict_on_one_settles_no_other() {
    let (_dir, mut baselines, who) = marked(Verdict::Expected, Some("n7"));
    for n in 0..20 {
        open_alert(&mut baselines, &who, &format!("n{n}"), START_S + 300);
    }
    assert_eq!(after(&mut baselines, &who, START_S), (0, 1));
}
