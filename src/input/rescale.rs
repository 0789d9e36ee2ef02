//! Another time scale: a capture as it would have been heard, replayed so fast.
//!
//! Only times change, all of them on the merged stream, and the first packet
//! keeps its own. Start at [`Rescale::frames`].

use super::block::Frame;
use super::walk::Tally;
use crate::pace::{Pace, Speed};

pub(super) struct Rescale {
    speed: Speed,
    pace: Pace,
    started: bool,
}

impl Rescale {
    pub(super) fn new(speed: Speed) -> Self {
        Self { speed, pace: Pace::new(speed), started: false }
    }

    /// Sets the times of `frames`, and with them what their `tally` says.
    pub(super) fn frames(&mut self, frames: &mut [Frame], tally: &mut Tally) {
        for frame in frames.iter_mut() {
            frame.time_ns = self.due_ns(frame.time_ns, u64::from(frame.wire_bytes));
        }
        *tally = Tally::of(frames);
    }

    /// Where a clock mark comes to lie. A rate has no time between packets.
    pub(super) fn mark(&mut self, mark_ns: i64) -> Option<i64> {
        matches!(self.speed, Speed::Times(_)).then(|| self.due_ns(mark_ns, 0))
    }

    fn due_ns(&mut self, time_ns: i64, wire_bytes: u64) -> i64 {
        if !std::mem::replace(&mut self.started, true) {
            // Times that are set right are on or after the epoch.
            self.pace.begin(time_ns.max(0).unsigned_abs(), time_ns);
        }
        let due_ns = self.pace.due_ns(time_ns, wire_bytes);
        due_ns.map_or(time_ns, |due_ns| i64::try_from(due_ns).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::LinkType;

    fn frames(times_ns: &[i64]) -> Vec<Frame> {
        times_ns
            .iter()
            .map(|&time_ns| Frame {
                time_ns,
                offset: 0,
                captured_bytes: 100,
                wire_bytes: 100,
                interface: 0,
                link: LinkType::ETHERNET,
                flags: 0,
            })
            .collect()
    }

    fn rescaled(speed: Speed, times_ns: &[i64]) -> Vec<i64> {
        let mut frames = frames(times_ns);
        let mut tally = Tally::of(&frames);
        Rescale::new(speed).frames(&mut frames, &mut tally);
        let times: Vec<_> = frames.iter().map(|frame| frame.time_ns).collect();
        assert_eq!(Some(tally.last_ns), times.last().copied());
        times
    }

    #[test]
    fn ten_times_as_fast_is_a_tenth_of_the_gaps_from_the_first_time_on() {
        let times = rescaled(Speed::Times(10.0), &[5_000, 6_000, 15_000]);
        assert_eq!(times, [5_000, 5_100, 6_000]);
    }

    #[test]
    fn a_rate_leaves_only_the_first_time() {
        let times = rescaled(Speed::PacketsPerSecond(1e6), &[5_000, 5_001, 9_999_999]);
        assert_eq!(times, [5_000, 6_000, 7_000]);
    }

    #[test]
    fn marks_are_scaled_as_packets_are_and_a_rate_has_none() {
        let mut scale = Rescale::new(Speed::Times(2.0));
        assert_eq!(scale.mark(100), Some(100), "the first time stays");
        assert_eq!(scale.mark(300), Some(200));
        assert_eq!(Rescale::new(Speed::PacketsPerSecond(1.0)).mark(100), None);
    }
}
