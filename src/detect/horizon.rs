//! Distinct targets over minutes: what a scan needs and one window can't show.
//!
//! Five buckets of one minute of event time, aligned to the epoch. The recent
//! past is the current and the last minute, the long one all five.

use crate::engine::window::Hll;

const MINUTES: usize = 5;

#[derive(Clone, Debug, Default)]
pub(crate) struct Horizon {
    /// Minutes since the epoch, and their packets: what most looks are at.
    numbers: [i64; MINUTES],
    packets: [u64; MINUTES],
    distinct: [Distinct; MINUTES],
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Distinct {
    pub(crate) targets: Hll,
    pub(crate) ports: Hll,
    answers: u64,
    since: Option<i64>,
}

/// What a source tried in some time.
#[derive(Clone, Debug, Default)]
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
    pub(crate) fn add(&mut self, second: i64, packets: u64, answers: u64) -> &mut Distinct {
        let number = second.div_euclid(60);
        let at = number.rem_euclid(MINUTES as i64) as usize;
        if self.numbers[at] != number {
            self.numbers[at] = number;
            self.packets[at] = 0;
            self.distinct[at] = Distinct::default();
        }
        self.packets[at] += packets;
        let distinct = &mut self.distinct[at];
        distinct.answers += answers;
        distinct.since = Some(distinct.since.map_or(second, |since| since.min(second)));
        distinct
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
        let now = second.div_euclid(60);
        let mut all = Probes::default();
        for (at, &number) in self.numbers.iter().enumerate() {
            let distinct = &self.distinct[at];
            // A horizon that nothing was added to is of minute 0.
            let Some(since) = distinct.since.filter(|_| number <= now && number >= now - minutes)
            else {
                continue;
            };
            all.targets.merge(&distinct.targets);
            all.ports.merge(&distinct.ports);
            all.packets += self.packets[at];
            all.answers += distinct.answers;
            all.since = Some(all.since.map_or(since, |first| first.min(since)));
        }
        all
    }

    /// Packets of the last five minutes; 0 once everything is older.
    pub(crate) fn packets(&self, second: i64) -> u64 {
        let now = second.div_euclid(60);
        self.numbers
            .iter()
            .zip(&self.packets)
            .filter(|&(&number, _)| number > now - MINUTES as i64)
            .map(|(_, &packets)| packets)
            .sum()
    }
}
