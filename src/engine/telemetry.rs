//! Telemetry beside packets in the correlation stage: which of the two comes next, and what
//! is done with an observation.
//!
//! Both are ordered by when they would be known live: a second of packets when it
//! is closed, an observation when its kind's lateness is over. Offline the stage
//! takes from whichever is behind, so the order, and all that is decided in it, is
//! the same for any number of workers, and neither piles up while the other catches
//! up. Live, whatever is there is taken.

use std::collections::VecDeque;

use crossbeam_channel::Receiver;

use super::correlation::{Correlation, SECOND_NS};
use super::run::Joined;
use crate::telemetry::Observation;
use crate::telemetry::feed::{Feed, SPENT_TOGETHER};
use crate::telemetry::merge::{Batch, Observed};

/// The stream of observations as far as the stage has come.
pub(super) struct Lane {
    /// `None` once it is over.
    batches: Option<Receiver<Batch>>,
    /// Received and not yet taken, by the second in which they are due.
    pending: VecDeque<Observed>,
    /// Nothing that is due before this second is still to come.
    clock_s: i64,
}

/// What the stage does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Seconds of packets before this one may be closed.
    Packets { until_s: i64 },
    /// Observations are due that come before any packet that is not closed yet.
    Observations { due_s: i64 },
}

impl Lane {
    pub(super) fn new(feed: &Feed) -> Self {
        Self { batches: Some(feed.batches.clone()), pending: VecDeque::new(), clock_s: i64::MIN }
    }

    /// Whose turn it is while packets are complete up to `packets_s`. Waits for the
    /// telemetry where it is behind.
    pub(super) fn turn(&mut self, packets_s: i64) -> Turn {
        loop {
            if let Some(next) = self.pending.front() {
                let due_s = next.due_s;
                return if due_s <= packets_s {
                    Turn::Observations { due_s }
                } else {
                    Turn::Packets { until_s: due_s }
                };
            }
            let Some(batches) = &self.batches else { return Turn::Packets { until_s: i64::MAX } };
            if self.clock_s > packets_s {
                return Turn::Packets { until_s: self.clock_s };
            }
            match batches.recv() {
                Ok(batch) => self.receive(batch),
                Err(_) => self.batches = None,
            }
        }
    }

    pub(super) fn receive(&mut self, batch: Batch) {
        self.clock_s = batch.clock_s;
        self.pending.extend(batch.observed);
    }

    /// Observations that are due in this second or before.
    pub(super) fn take_due(&mut self, due_s: i64) -> Option<Observed> {
        self.pending.pop_front_if(|next| next.due_s <= due_s)
    }

    /// Where to wait for more, live.
    pub(super) fn batches(&self) -> Option<&Receiver<Batch>> {
        self.batches.as_ref()
    }

    /// No more will come.
    pub(super) fn over(&mut self) {
        self.batches = None;
    }
}

impl Correlation<'_> {
    /// Hands on the observations that are due by then.
    pub(super) fn take_observations(&mut self, due_s: i64) {
        while let Some(observed) = self.lane.as_mut().and_then(|lane| lane.take_due(due_s)) {
            self.observe_telemetry(observed);
        }
    }

    fn observe_telemetry(&mut self, observed: Observed) {
        let Observed { source, observation, due_s } = observed;
        // Live it is due when it comes.
        let time_s = observation.time_ns().div_euclid(SECOND_NS);
        self.show_execs(if due_s == i64::MIN { time_s } else { due_s });
        let hosts = match (&observation, &mut self.joiner) {
            (Observation::Flow(flow), Some(joiner)) => joiner.join_report(flow),
            _ => None,
        };
        // Two sources may read the same counters: each has its own series.
        let growth = match &observation {
            Observation::Counter(sample) => self.series.entry(source).or_default().take(sample),
            _ => None,
        };
        let joined = Joined { hosts: hosts.as_deref(), growth: growth.as_ref() };
        if self.detects {
            self.show_observation(source, &observation, &joined);
        }
        if let Err(error) = self.sink.observed(source, &observation, &joined)
            && self.write_error.is_none()
        {
            self.write_error = Some(error);
        }
        self.spent.push(observation);
        if self.spent.len() == SPENT_TOGETHER
            && let Some(feed) = &self.telemetry
        {
            feed.give_back(std::mem::replace(&mut self.spent, Vec::with_capacity(SPENT_TOGETHER)));
        }
    }

    /// What telemetry says of the time after the last packet.
    pub(super) fn finish_telemetry(&mut self) {
        // Live it would go on: no more packets come, however that came about.
        self.telemetry.iter().for_each(Feed::stop);
        while let Some(Turn::Observations { due_s }) =
            self.lane.as_mut().map(|lane| lane.turn(i64::MAX))
        {
            self.take_observations(due_s);
        }
        self.show_execs(i64::MAX);
        if let Some(sensor) = &mut self.sensor {
            for notice in self.telemetry.iter().flat_map(Feed::take_notices) {
                sensor.tell_of(&notice.source, notice.kind, notice.text, self.sensor_second);
            }
            for event in sensor.take_events() {
                self.sink.sensor_event(&event);
            }
        }
    }
}
