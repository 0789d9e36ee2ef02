use super::*;
use crate::baseline::{BaselineSettings, Baselines};
use crate::detect::analytic::Inputs;
use crate::detect::{DetectSettings, Names};
use crate::engine::window::Seed;

/// 2026-03-02T00:00:00Z, a Monday.
const MONDAY_S: i64 = 1_772_409_600;
const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;

struct Site {
    spike: ErrorSpike,
    baselines: Baselines,
    source: Source,
}

impl Site {
    fn new() -> Self {
        let source = Source { name: "access.log".into(), kind: "nginx", lateness_ns: 0 };
        let baselines = Baselines::in_memory(BaselineSettings::default(), true);
        Self { spike: ErrorSpike::default(), baselines, source }
    }

    /// Answers of a minute, of which so many are failures; true where a burst is told.
    fn minute(&mut self, at_s: i64, good: u64, failures: u64) -> bool {
        let (settings, inputs) = (DetectSettings::default(), Inputs::default());
        let served = Served { host: Some("web-1".into()), ..Served::default() };
        let mut told = false;
        for number in 0..good + failures {
            let ctx = AnalyticContext {
                settings: &settings,
                baselines: &self.baselines,
                inputs: &inputs,
                names: &Names::default(),
                seed: Seed::default(),
            };
            let request = Request {
                time_ns: at_s * 1_000_000_000,
                uri: Some("/search".into()),
                status: Some(if number < good { 200 } else { 500 }),
                ..Request::default()
            };
            told |= self.spike.look(&self.source, &request, &served, &ctx).is_some();
            let mut taught = Vec::new();
            self.spike.teach(&mut taught);
            for Measured { key, metric, at_s, value, is_usual } in taught {
                match is_usual {
                    true => self.baselines.learn_value(&key, metric, at_s, value),
                    false => self.baselines.learn_habit(&key, metric, at_s, value),
                }
            }
        }
        told
    }

    /// An hour of two good answers a minute, of which 20 minutes have failures too.
    fn hour(&mut self, from_s: i64, failures: u64) -> bool {
        let mut told = false;
        for minute in 0..60 {
            let failures = if (10..30).contains(&minute) { failures } else { 0 };
            told |= self.minute(from_s + 60 * minute, 2, failures);
        }
        told
    }
}

#[test]
fn failures_of_each_night_are_a_habit_of_the_night_and_a_burst_at_noon() {
    let mut site = Site::new();
    let (mut nights, mut noons) = (Vec::new(), Vec::new());
    for day in 0..10 {
        let day_s = MONDAY_S + day * DAY_S;
        nights.push(site.hour(day_s + 3 * HOUR_S, 80));
        noons.push(site.hour(day_s + 12 * HOUR_S, 0));
    }
    // Three nights make it one; the day it is learned on is over when the next hour is.
    assert_eq!(nights, [true, true, true, false, false, false, false, false, false, false]);
    assert_eq!(noons, [false; 10]);
    let next_s = MONDAY_S + 10 * DAY_S;
    assert!(site.hour(next_s + 12 * HOUR_S, 80), "the same at noon");
    assert!(site.hour(next_s + DAY_S + 3 * HOUR_S, 400), "five times as many at night");
}

#[test]
fn one_bad_night_is_no_habit() {
    let mut site = Site::new();
    for day in 0..6 {
        let told = site.hour(MONDAY_S + day * DAY_S + 3 * HOUR_S, if day == 2 { 80 } else { 0 });
        assert_eq!(told, day == 2);
    }
    assert!(site.hour(MONDAY_S + 6 * DAY_S + 3 * HOUR_S, 80));
}
