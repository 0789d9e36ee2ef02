//! Time stamps of one ring, kept from running backward.
//!
//! Somebody sets the machine's clock back while packets come in: left as they
//! are, stamps would lie in windows that are closed, and nothing would be
//! counted until the clock has caught up. So a step back of over a second is
//! made good with an offset, and the offset is worked off slowly. A step ahead
//! is left as it is: to the flows it is a pause.
//!
//! This is the only place where stamps are changed; what is recorded has them
//! as they leave here. Small steps back (two processors, two rings) are ordinary
//! and left alone.

/// A step back over this is the clock's, not the capture's: within it, windows
/// are open still (a second of lateness).
const STEP_NS: i64 = 1_000_000_000;

/// The offset shrinks by this share of the time that passes: rates are wrong by
/// 1 % while it does, and a step of a minute is gone in under two hours.
const WORKED_OFF_PER: i64 = 100;

#[derive(Debug, Default)]
pub(super) struct RimClock {
    /// Last stamp as it came.
    last_raw_ns: i64,
    /// Last stamp as it left.
    last_ns: i64,
    offset_ns: i64,
    /// Raw stamps' progress that has not yet worked off a whole nanosecond.
    rest_ns: i64,
    /// The largest step since it was asked for.
    step_ns: Option<i64>,
}

impl RimClock {
    /// The stamp to use.
    #[inline]
    pub(super) fn set_right(&mut self, raw_ns: i64) -> i64 {
        let passed_ns = raw_ns - self.last_raw_ns;
        if passed_ns < -STEP_NS {
            self.step_back(raw_ns);
        } else if self.offset_ns > 0 && passed_ns > 0 {
            let due_ns = passed_ns + self.rest_ns;
            self.rest_ns = due_ns % WORKED_OFF_PER;
            self.offset_ns = (self.offset_ns - due_ns / WORKED_OFF_PER).max(0);
        }
        self.last_raw_ns = raw_ns;
        // Only a clock that was set back by centuries, again and again, gets there.
        self.last_ns = raw_ns.saturating_add(self.offset_ns);
        self.last_ns
    }

    /// What the next stamps are put ahead by.
    pub(super) fn offset_ns(&self) -> i64 {
        self.offset_ns
    }

    /// The largest step back since this was asked last.
    pub(super) fn take_step(&mut self) -> Option<i64> {
        self.step_ns.take()
    }

    #[cold]
    fn step_back(&mut self, raw_ns: i64) {
        let step_ns = self.last_raw_ns - raw_ns;
        self.offset_ns = self.last_ns - raw_ns;
        self.rest_ns = 0;
        self.step_ns = self.step_ns.max(Some(step_ns));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;
    const START_NS: i64 = 1_700_000_000 * SECOND_NS;

    #[test]
    fn a_clock_set_back_goes_on_where_it_was_and_is_met_again() {
        let mut clock = RimClock::default();
        clock.set_right(START_NS);
        assert_eq!(clock.set_right(START_NS - 60 * SECOND_NS), START_NS);
        assert_eq!(clock.take_step(), Some(60 * SECOND_NS));
        // Ten packets a second for two hours.
        let mut raw_ns = START_NS - 60 * SECOND_NS;
        let mut last_ns = START_NS;
        for _ in 0..72_000 {
            raw_ns += SECOND_NS / 10;
            let now_ns = clock.set_right(raw_ns);
            assert!(now_ns > last_ns);
            last_ns = now_ns;
        }
        assert_eq!(last_ns, raw_ns, "the clock's own time again");
    }

    #[test]
    fn a_clock_set_ahead_is_followed() {
        let mut clock = RimClock::default();
        clock.set_right(START_NS);
        assert_eq!(clock.set_right(START_NS + 3600 * SECOND_NS), START_NS + 3600 * SECOND_NS);
        assert_eq!(clock.take_step(), None);
    }

    #[test]
    fn packets_that_overtake_each_other_are_left_alone() {
        let mut clock = RimClock::default();
        clock.set_right(START_NS);
        assert_eq!(clock.set_right(START_NS - STEP_NS), START_NS - STEP_NS);
        assert_eq!(clock.take_step(), None);
    }

    proptest! {
        #[test]
        fn time_never_runs_back_by_more_than_a_step(
            stamps in prop::collection::vec(0..4_000_000_000 * SECOND_NS, 1..100),
        ) {
            let mut clock = RimClock::default();
            let mut before_ns = i64::MIN;
            for stamp in stamps {
                let now_ns = clock.set_right(stamp);
                prop_assert!(now_ns >= stamp);
                prop_assert!(before_ns.saturating_sub(now_ns) <= STEP_NS);
                before_ns = now_ns;
            }
        }
    }
}
