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

/// A verdict settled whatever waited within an hour of the alert: an attack that was marked as
/// one was learned, since an alert of before was expected.
#[test]
fn what_is_said_of_one_alert_settles_no_minute_of_another() {
    for (first, second) in [(Verdict::Expected, Verdict::True), (Verdict::True, Verdict::False)] {
        let mut baselines = Baselines::in_memory(BaselineSettings::default(), true);
        let who = Arc::new(Who::address(&host("10.0.0.1")));
        for (alert, from_s) in [("a1", START_S), ("a2", START_S + 2_100)] {
            open_alert(&mut baselines, &who, alert, from_s + 120);
            for at in [0, 60, 120] {
                baselines.learn(&minute(&who, from_s + at, 1e6, "203.0.113.7"));
            }
        }
        let mut judged = |alert: &str, from_s, verdict| {
            let (key, alert) = (who.baseline.to_string(), Some(alert.to_owned()));
            let word = Word { key, alert, from_s, until_s: from_s + 125, verdict, at_s: from_s };
            baselines.judge(&word).minutes
        };
        assert_eq!(judged("unheard of", START_S, first), 0);
        // Their times touch.
        assert_eq!(judged("a1", START_S, first), 3, "{first:?}");
        assert_eq!(judged("a2", START_S + 2_100, second), 3, "{second:?}");
        assert_eq!((baselines.pending(), learned_minutes(&baselines, &who)), (0, 3));
    }
}

/// Both alerts at once: each minute waits for those that it is of.
#[test]
fn a_minute_of_two_alerts_waits_for_both_and_is_kept_so_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("normal.redb");
    let mut baselines = Baselines::open(&path, BaselineSettings::default(), true).unwrap();
    let who = Arc::new(Who::address(&host("10.0.0.1")));
    open_alert(&mut baselines, &who, "a1", START_S + 600);
    baselines.learn(&minute(&who, START_S, 1e6, "203.0.113.7"));
    open_alert(&mut baselines, &who, "a2", START_S + 600);
    baselines.learn(&minute(&who, START_S + 60, 1e6, "203.0.113.7"));
    assert!(baselines.flush());
    drop(baselines);
    let mut baselines = Baselines::open(&path, BaselineSettings::default(), true).unwrap();
    let mut judged = |alert: &str| {
        let (key, alert) = (who.baseline.to_string(), Some(alert.to_owned()));
        let (from_s, until_s, verdict) = (START_S, START_S + 300, Verdict::Expected);
        baselines.judge(&Word { key, alert, from_s, until_s, verdict, at_s: START_S }).minutes
    };
    assert_eq!([judged("a1"), judged("a1"), judged("a2")], [1, 0, 1]);
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
