//! Telemetry beside packets in the correlation stage: which of the two comes next.
//!
//! Both are ordered by when they would be known live: a second of packets when it
//! is closed, an observation when its kind's lateness is over. Offline the stage
//! takes from whichever is behind, so the order, and all that is decided in it, is
//! the same for any number of workers, and neither piles up while the other catches
//! up. Live, whatever is there is taken.

use std::collections::VecDeque;

use crossbeam_channel::Receiver;

use crate::telemetry::feed::Feed;
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
