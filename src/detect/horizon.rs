//! Distinct targets over minutes: what a scan needs and one window can't show.
//!
//! Five buckets of one minute of event time, aligned to the epoch. The recent
//! past is the current and the last minute, the long one all five.

use crate::engine::window::Hll;

const MINUTES: usize = 5;

#[derive(Clone, Debug, Default)]
pub(crate) struct Horizon {
    minutes: [Minute; MINUTES],
}

#[derive(Clone, Debug, Default)]
struct Minute {
    number: i64,
    sum: Probes,
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

    pub(crate) fn merge(&mut self, other: &Self) {
        self.targets.merge(&other.targets);
        self.ports.merge(&other.ports);
        self.packets += other.packets;
        self.answers += other.answers;
        self.since = match (self.since, other.since) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
    }
}

impl Horizon {
    pub(crate) fn add(&mut self, second: i64, probes: &Probes) {
        let number = second.div_euclid(60);
        let minute = &mut self.minutes[number.rem_euclid(MINUTES as i64) as usize];
        if minute.number != number {
            *minute = Minute { number, sum: Probes::default() };
        }
        minute.sum.merge(probes);
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
        for minute in &self.minutes {
            if minute.number <= now && minute.number >= now - minutes {
                all.merge(&minute.sum);
            }
        }
        all
    }

    /// Packets of the last five minutes; 0 once everything is older.
    pub(crate) fn packets(&self, second: i64) -> u64 {
        let now = second.div_euclid(60);
        self.minutes
            .iter()
            .filter(|minute| minute.number > now - MINUTES as i64)
            .map(|minute| minute.sum.packets)
            .sum()
    }
}
