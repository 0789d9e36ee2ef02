//! Distinct targets over minutes: what a scan needs and one window can't show.
//!
//! Up to five minutes of event time, aligned to the epoch. The recent past is
//! the current and the last minute, the long one all five. A minute takes
//! memory when something is added in it.

use crate::engine::window::Hll;

const MINUTES: usize = 5;

#[derive(Clone, Debug, Default)]
pub(crate) struct Horizon {
    /// In no order; no two with the same remainder by [`MINUTES`].
    minutes: Vec<Minute>,
    /// Packets of all of them, and the number of the oldest: mostly all that is asked for,
    /// and at hand without going where the minutes lie.
    packets: u64,
    oldest: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct Minute {
    /// Minutes since the epoch.
    number: i64,
    packets: u64,
    pub(crate) targets: Hll,
    pub(crate) ports: Hll,
    answers: u64,
    /// First second that something was added in.
    since: i64,
}

/// What a source tried in some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Probes {
    pub targets: Hll,
    pub ports: Hll,
    pub packets: u64,
    /// Packets that were answered after all.
    pub answers: u64,
    /// First second of it.
    pub since: Option<i64>,
}

impl Probes {
    /// An estimate that no more than one target a probe bounds.
    pub(crate) fn distinct_targets(&self) -> u64 {
        self.targets.estimate().min(self.packets)
    }

    /// An estimate that no more than one port a probe bounds.
    pub(crate) fn distinct_ports(&self) -> u64 {
        self.ports.estimate().min(self.packets)
    }
}

impl Horizon {
    /// Counts packets of a second, of which `answers` earlier ones were answered.
    /// Returns where their targets and ports go.
    pub(crate) fn add(&mut self, second: i64, packets: u64, answers: u64) -> &mut Minute {
        self.packets += packets;
        let minute = self.minute(second);
        minute.packets += packets;
        minute.answers += answers;
        minute.since = minute.since.min(second);
        minute
    }

    /// The second's minute; a new one takes the place of one that is over five
    /// minutes old.
    fn minute(&mut self, second: i64) -> &mut Minute {
        let number = minute_of(second);
        let place = |minute: &Minute| (minute.number - number) % MINUTES as i64 == 0;
        let at = self.minutes.iter().position(place).unwrap_or(self.minutes.len());
        let new = || Minute {
            number,
            packets: 0,
            targets: Hll::default(),
            ports: Hll::default(),
            answers: 0,
            since: second,
        };
        if at == self.minutes.len() {
            // Most sources are heard of in one minute only.
            self.minutes.reserve_exact(if at == 0 { 1 } else { MINUTES - at });
            self.minutes.push(new());
            self.oldest = if at == 0 { number } else { self.oldest.min(number) };
        } else if self.minutes[at].number != number {
            self.packets -= self.minutes[at].packets;
            self.minutes[at] = new();
            let oldest = self.minutes.iter().map(|minute| minute.number).min();
            self.oldest = oldest.unwrap_or(number);
        }
        &mut self.minutes[at]
    }

    /// The current and the last minute.
    pub(crate) fn recent(&self, second: i64) -> Probes {
        self.since(second, 1)
    }

    /// The last five minutes.
    pub(crate) fn long(&self, second: i64) -> Probes {
        self.since(second, MINUTES as i64 - 1)
    }

    fn since(&self, second: i64, minutes: i64) -> Probes {
        let now = minute_of(second);
        let mut all = Probes::default();
        let wanted = |minute: &&Minute| minute.number <= now && minute.number >= now - minutes;
        for minute in self.minutes.iter().filter(wanted) {
            all.targets.merge(&minute.targets);
            all.ports.merge(&minute.ports);
            all.packets += minute.packets;
            all.answers += minute.answers;
            all.since = Some(all.since.map_or(minute.since, |first| first.min(minute.since)));
        }
        all
    }

    /// Packets of the last five minutes; 0 once everything is older.
    pub(crate) fn packets(&self, second: i64) -> u64 {
        self.packets_since(first_second(second))
    }

    /// Packets from a minute's first second on.
    pub(crate) fn packets_since(&self, first_second: i64) -> u64 {
        let first = minute_of(first_second);
        if first <= self.oldest {
            return self.packets;
        }
        let wanted = |minute: &&Minute| minute.number >= first;
        self.minutes.iter().filter(wanted).map(|minute| minute.packets).sum()
    }
}

/// First second of the five minutes up to a second.
pub(crate) fn first_second(second: i64) -> i64 {
    (minute_of(second) - (MINUTES as i64 - 1)) * 60
}

fn minute_of(second: i64) -> i64 {
    second.div_euclid(60)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packets_since_a_second_are_those_of_its_minutes(
            added in prop::collection::vec((0..400_i64, 0..100_u64), 0..40),
            from in 0..500_i64,
        ) {
            let (mut horizon, mut second, mut all) = (Horizon::default(), 600, Vec::new());
            for (later, packets) in added {
                second += later;
                horizon.add(second, packets, 0);
                all.push((second, packets));
            }
            // Older minutes may be gone.
            let first = first_second(second) + from / 60 * 60;
            let since = all.iter().filter(|(at, _)| *at >= first).map(|(_, packets)| packets);
            prop_assert_eq!(horizon.packets_since(first), since.sum::<u64>());
        }
    }
}
