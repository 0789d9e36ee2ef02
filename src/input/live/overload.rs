//! What is left out when packets come in faster than they are counted.
//!
//! The rings fill up before packets are lost, so how full they are says how far
//! behind we are. Each step gives up something that costs much and that the
//! counts do not need; the packets of flows already known are always counted.
//! Steps are taken one at a time and taken back slowly, so that they do not
//! flicker.

use std::time::{Duration, Instant};

use crate::input::Shed;

/// From here on the rings fill faster than they empty.
const FULL_PERCENT: u8 = 50;
/// Nearly nothing waits.
const EMPTY_PERCENT: u8 = 12;

/// Time that a step has to show before the next one. At half full and 1 Mpkt/s
/// a ring of the default size lasts a quarter of a second more.
const RAISE_AFTER: Duration = Duration::from_millis(60);
/// Time with empty rings before a step is taken back.
const LOWER_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Overload {
    step: Shed,
    changed: Instant,
    /// Since when nearly nothing waits.
    calm_since: Option<Instant>,
}

impl Overload {
    pub(super) fn new(now: Instant) -> Self {
        Self { step: Shed::Nothing, changed: now, calm_since: None }
    }

    /// The step to take with rings this full.
    pub(super) fn observe(&mut self, fill_percent: u8, now: Instant) -> Shed {
        if fill_percent >= FULL_PERCENT {
            self.calm_since = None;
            let first = self.step == Shed::Nothing;
            if first || now.duration_since(self.changed) >= RAISE_AFTER {
                self.set(self.step.more(), now);
            }
        } else if fill_percent > EMPTY_PERCENT {
            self.calm_since = None;
        } else {
            let since = *self.calm_since.get_or_insert(now);
            if now.duration_since(since) >= LOWER_AFTER {
                self.set(self.step.less(), now);
                self.calm_since = Some(now);
            }
        }
        self.step
    }

    fn set(&mut self, step: Shed, now: Instant) {
        if step != self.step {
            self.step = step;
            self.changed = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn full_rings_shed_step_by_step_and_no_further_than_new_flows() {
        let start = Instant::now();
        let mut overload = Overload::new(start);
        assert_eq!(overload.observe(40, start), Shed::Nothing);
        assert_eq!(overload.observe(50, after(start, 1)), Shed::Hints);
        assert_eq!(overload.observe(90, after(start, 2)), Shed::Hints, "gets time to show");
        assert_eq!(overload.observe(90, after(start, 61)), Shed::Entropy);
        assert_eq!(overload.observe(90, after(start, 121)), Shed::NewFlows);
        assert_eq!(overload.observe(100, after(start, 500)), Shed::NewFlows);
    }

    #[test]
    fn steps_are_taken_back_one_by_one_once_it_has_been_calm() {
        let start = Instant::now();
        let mut overload = Overload::new(start);
        overload.observe(50, start);
        overload.observe(50, after(start, 60));
        assert_eq!(overload.observe(0, after(start, 100)), Shed::Entropy);
        assert_eq!(overload.observe(30, after(start, 2_000)), Shed::Entropy, "not calm");
        overload.observe(0, after(start, 2_100));
        assert_eq!(overload.observe(0, after(start, 4_100)), Shed::Hints);
        assert_eq!(overload.observe(0, after(start, 5_000)), Shed::Hints);
        assert_eq!(overload.observe(0, after(start, 6_100)), Shed::Nothing);
    }
}
