//! Samples of counters to growth.
//!
//! Of totals two make a difference. A counter that went back was reset (a restart, a
//! new interface of the old name): what grew in between can't be known, so there is
//! none, and no giant one. It wrapped at 32 bits only where all the growth that this
//! would mean is plausible. What comes out of order is left out and counted.
//!
//! Start at [`Series::take`].

use std::collections::HashMap;

use super::super::sample::{CounterSample, Reading, Subject};

/// Subjects that are remembered: a large cluster's interfaces for a day of churn.
pub const MAX_SUBJECTS: usize = 1 << 16;

/// What is counted of each subject.
const FIELDS: usize = 6;

/// One value of each field that the source has.
type Fields<T> = [Option<T>; FIELDS];

/// How much the counters of a subject grew between two times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    pub subject: Subject,
    pub start_ns: i64,
    pub end_ns: i64,
    pub received_bytes: Option<u64>,
    pub sent_bytes: Option<u64>,
    pub received_packets: Option<u64>,
    pub sent_packets: Option<u64>,
    pub received_drops: Option<u64>,
    pub sent_drops: Option<u64>,
}

/// What came of samples that made no growth, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// First samples of totals: what later ones are held against.
    pub first: u64,
    pub resets: u64,
    /// Values that wrapped at 32 bits: these did make growth.
    pub wraps: u64,
    /// Not later than what came before of the same subject, or of a period without end
    /// or values.
    pub unordered: u64,
    /// Subjects that were forgotten to make room.
    pub forgotten: u64,
}

/// The last reading of each subject.
#[derive(Debug)]
pub struct Series {
    last: HashMap<Subject, Last, ahash::RandomState>,
    max_subjects: usize,
    pub counts: Counts,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    time_ns: i64,
    /// Where the last reading was of a period.
    start_ns: Option<i64>,
    /// Totals, or what was told of the period.
    values: Fields<u64>,
}

impl Default for Series {
    fn default() -> Self {
        Self::new(MAX_SUBJECTS)
    }
}

impl Series {
    pub fn new(max_subjects: usize) -> Self {
        Self {
            last: HashMap::default(),
            max_subjects: max_subjects.max(1),
            counts: Counts::default(),
        }
    }

    /// Subjects that are remembered.
    pub fn subjects(&self) -> usize {
        self.last.len()
    }

    /// The growth up to this sample, where that can be known.
    pub fn take(&mut self, sample: &CounterSample) -> Option<Growth> {
        let values = fields(sample);
        let last = self.last.get(&sample.subject).copied();
        if last.is_none() {
            self.make_room();
        }
        match sample.reading {
            Reading::Since { start_ns } => self.period(sample, start_ns, values, last),
            Reading::Total => self.total(sample, values, last),
        }
    }

    fn total(
        &mut self,
        sample: &CounterSample,
        values: Fields<u64>,
        last: Option<Last>,
    ) -> Option<Growth> {
        let next = Last { time_ns: sample.time_ns, start_ns: None, values };
        let Some(last) = last else {
            self.counts.first += 1;
            self.remember(sample, next);
            return None;
        };
        if sample.time_ns <= last.time_ns {
            self.counts.unordered += 1;
            return None;
        }
        self.remember(sample, next);
        if last.start_ns.is_some() {
            self.counts.first += 1;
            return None;
        }
        let Some((grown, wraps)) = growth(last.values, values) else {
            self.counts.resets += 1;
            return None;
        };
        self.counts.wraps += wraps;
        named(sample, last.time_ns, grown)
    }

    fn period(
        &mut self,
        sample: &CounterSample,
        start_ns: i64,
        mut values: Fields<u64>,
        last: Option<Last>,
    ) -> Option<Growth> {
        let mut told = values;
        if let Some(last) = last.filter(|last| start_ns < last.time_ns) {
            if (last.start_ns, last.time_ns) != (Some(start_ns), sample.time_ns) {
                // Some of it was told already.
                self.counts.unordered += 1;
                return None;
            }
            // The same period again: another metric's file, or the same twice.
            for ((value, told), before) in values.iter_mut().zip(&mut told).zip(last.values) {
                if before.is_some() {
                    (*value, *told) = (None, before);
                }
            }
        }
        let growth = named(sample, start_ns, values).filter(|_| start_ns < sample.time_ns);
        if growth.is_none() {
            self.counts.unordered += 1;
            return None;
        }
        let start_ns = Some(start_ns);
        self.remember(sample, Last { time_ns: sample.time_ns, start_ns, values: told });
        growth
    }

    fn remember(&mut self, sample: &CounterSample, last: Last) {
        if let Some(known) = self.last.get_mut(&sample.subject) {
            *known = last;
        } else {
            self.last.insert(sample.subject.clone(), last);
        }
    }

    /// Forgets a quarter of the subjects, those whose last sample is oldest, when there
    /// are as many as may be: so that it costs little for each new one.
    fn make_room(&mut self) {
        if self.last.len() < self.max_subjects {
            return;
        }
        let mut times: Vec<_> = self.last.values().map(|last| last.time_ns).collect();
        let quarter = self.max_subjects / 4;
        let (_, &mut oldest_ns, _) = times.select_nth_unstable(quarter);
        let mut room = quarter + 1;
        self.last.retain(|_, last| {
            let goes = room > 0 && last.time_ns <= oldest_ns;
            room -= usize::from(goes);
            self.counts.forgotten += u64::from(goes);
            !goes
        });
    }
}

fn fields(sample: &CounterSample) -> Fields<u64> {
    [
        sample.received_bytes,
        sample.sent_bytes,
        sample.received_packets,
        sample.sent_packets,
        sample.received_drops,
        sample.sent_drops,
    ]
}

/// Nothing where no field grew by a known amount.
fn named(sample: &CounterSample, start_ns: i64, grown: Fields<u64>) -> Option<Growth> {
    let [received_bytes, sent_bytes, received_packets, sent_packets, received_drops, sent_drops] =
        grown;
    grown.iter().any(Option::is_some).then(|| Growth {
        subject: sample.subject.clone(),
        start_ns,
        end_ns: sample.time_ns,
        received_bytes,
        sent_bytes,
        received_packets,
        sent_packets,
        received_drops,
        sent_drops,
    })
}

/// What each field grew by and how many wrapped; nothing where one was reset, for
/// then all were.
fn growth(before: Fields<u64>, now: Fields<u64>) -> Option<(Fields<u64>, u64)> {
    let mut grown = Fields::default();
    let mut wraps = 0;
    for (grown, (before, now)) in grown.iter_mut().zip(before.into_iter().zip(now)) {
        let (Some(before), Some(now)) = (before, now) else { continue };
        *grown = match now.checked_sub(before) {
            Some(grown) => Some(grown),
            None => {
                wraps += 1;
                Some(wrapped(before, now)?)
            }
        };
    }
    Some((grown, wraps))
}

/// Growth over the end of 32 bits: at most half of them, for after a reset a counter
/// that stood anywhere would seem to have grown by the rest.
fn wrapped(before: u64, now: u64) -> Option<u64> {
    const RANGE: u64 = 1 << 32;
    let grown = RANGE.checked_sub(before)?.checked_add(now)?;
    (grown < RANGE / 2).then_some(grown)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::counters::snapshot::totals;

    fn subject(name: &str) -> Subject {
        Subject { interface: name.into(), ..Subject::default() }
    }

    fn total(time_ns: i64, bytes: u64) -> CounterSample {
        CounterSample { sent_bytes: Some(bytes), ..totals(time_ns, subject("eth0")) }
    }

    fn period(start_ns: i64, end_ns: i64, bytes: u64) -> CounterSample {
        CounterSample { reading: Reading::Since { start_ns }, ..total(end_ns, bytes) }
    }

    #[test]
    fn two_totals_make_a_growth() {
        let mut series = Series::default();
        assert_eq!(series.take(&total(10, 100)), None);
        let growth = series.take(&total(20, 150)).unwrap();
        assert_eq!((growth.start_ns, growth.end_ns, growth.sent_bytes), (10, 20, Some(50)));
        // What the source does not count is absent, not zero.
        assert_eq!(growth.received_bytes, None);
        assert_eq!(series.counts, Counts { first: 1, ..Counts::default() });
    }

    #[test]
    fn a_reset_makes_none_and_the_next_one_counts_from_there() {
        let mut series = Series::default();
        series.take(&total(10, 5_000_000_000));
        assert_eq!(series.take(&total(20, 70)), None);
        assert_eq!(series.take(&total(30, 100)).unwrap().sent_bytes, Some(30));
        assert_eq!(series.counts.resets, 1);
    }

    #[test]
    fn a_wrap_at_32_bits_is_growth_where_it_is_near() {
        let mut series = Series::default();
        series.take(&total(10, u64::from(u32::MAX) - 9));
        assert_eq!(series.take(&total(20, 90)).unwrap().sent_bytes, Some(100));
        // From further away it is a reset.
        series.take(&total(30, 1 << 31));
        assert_eq!(series.take(&total(40, 0)), None);
        assert_eq!((series.counts.wraps, series.counts.resets), (1, 1));
    }

    #[test]
    fn a_reset_of_one_field_is_one_of_all() {
        let mut series = Series::default();
        let sample = |time_ns, bytes, packets| CounterSample {
            sent_packets: Some(packets),
            ..total(time_ns, bytes)
        };
        // The bytes alone look like a wrap, and like growth.
        series.take(&sample(10, u64::from(u32::MAX), 1_000_000));
        assert_eq!(series.take(&sample(20, 90, 1)), None);
        series.take(&sample(30, 200, 1_000_000));
        assert_eq!(series.take(&sample(40, 300, 2)), None);
        assert_eq!((series.counts.wraps, series.counts.resets), (0, 2));
    }

    #[test]
    fn a_field_that_was_away_begins_anew() {
        let mut series = Series::default();
        let bare = |time_ns| totals(time_ns, subject("eth0"));
        series.take(&total(10, 100));
        assert_eq!(series.take(&bare(20)), None);
        assert_eq!(series.take(&total(30, 900)), None);
        assert_eq!(series.take(&total(40, 950)).unwrap().sent_bytes, Some(50));
    }

    #[test]
    fn periods_are_growth_once() {
        let mut series = Series::default();
        let growth = series.take(&period(0, 300, 7)).unwrap();
        assert_eq!((growth.start_ns, growth.end_ns, growth.sent_bytes), (0, 300, Some(7)));
        assert_eq!(series.take(&period(0, 300, 7)), None);
        assert_eq!(series.take(&period(200, 500, 7)), None);
        assert_eq!(series.take(&period(600, 600, 7)), None);
        assert_eq!(series.take(&period(300, 600, 8)).unwrap().sent_bytes, Some(8));
        assert_eq!(series.counts.unordered, 3);
        // The other direction's file has the same periods.
        let other =
            CounterSample { sent_bytes: Some(99), received_bytes: Some(5), ..period(300, 600, 0) };
        let growth = series.take(&other).unwrap();
        assert_eq!((growth.received_bytes, growth.sent_bytes), (Some(5), None));
        assert_eq!(series.take(&other), None);
        // Totals have nothing to do with it.
        assert_eq!(series.take(&total(700, 1000)), None);
        assert_eq!(series.take(&total(800, 1001)).unwrap().sent_bytes, Some(1));
        assert_eq!(series.counts, Counts { first: 1, unordered: 4, ..Counts::default() });
    }

    #[test]
    fn the_subjects_that_were_silent_longest_are_forgotten() {
        let mut series = Series::new(100);
        for n in 0..1000_i64 {
            let mut sample = total(n, 1);
            sample.subject.interface = format!("veth{n}").into();
            series.take(&sample);
            assert!(series.subjects() <= 100);
        }
        assert_eq!(series.counts.forgotten, 1000 - series.subjects() as u64);
        let last = CounterSample { subject: subject("veth999"), ..total(1000, 5) };
        assert_eq!(series.take(&last).unwrap().sent_bytes, Some(4));
    }

    proptest! {
        /// Counters of either width that only grow give back all that they grew by.
        #[test]
        fn growth_adds_up(start: u32, steps in prop::collection::vec(0_u64..1 << 31, 1..50), is_narrow: bool) {
            let mut series = Series::default();
            let (mut all, mut grown) = (u64::from(start), 0);
            series.take(&total(0, all));
            for (n, step) in steps.iter().enumerate() {
                all += step;
                let shown = if is_narrow { all % (1 << 32) } else { all };
                grown += series.take(&total(n as i64 + 1, shown)).unwrap().sent_bytes.unwrap();
            }
            prop_assert_eq!(grown, steps.iter().sum::<u64>());
            prop_assert_eq!(series.counts.resets, 0);
        }

        /// Whatever comes, growth is that of the time it says, never more than what
        /// 64-bit counters went up by or half of 32 bits, and all samples are accounted for.
        #[test]
        fn any_samples_give_plausible_growth(
            samples in prop::collection::vec((0_i64..40, any::<u64>().prop_map(|n| n >> (n % 64)), 0_u8..3), 0..80),
        ) {
            let mut series = Series::new(2);
            let names: [Arc<str>; 3] = ["a", "b", "c"].map(Arc::from);
            let mut told = 0;
            for &(time_ns, bytes, of) in &samples {
                let mut sample = total(time_ns, bytes);
                sample.subject.interface = names[usize::from(of)].clone();
                let before = series.last.get(&sample.subject).copied();
                let growth = series.take(&sample);
                prop_assert!(series.subjects() <= 2);
                let Some(growth) = growth else { continue };
                told += 1;
                let before = before.unwrap();
                prop_assert_eq!((growth.start_ns, growth.end_ns), (before.time_ns, time_ns));
                prop_assert!(growth.start_ns < growth.end_ns);
                let grown = growth.sent_bytes.unwrap();
                let before = before.values[1].unwrap();
                prop_assert!(
                    bytes.checked_sub(before) == Some(grown) || (bytes < before && grown < 1 << 31)
                );
            }
            let counts = series.counts;
            prop_assert_eq!(told + counts.first + counts.resets + counts.unordered, samples.len() as u64);
        }
    }
}
