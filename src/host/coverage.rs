//! How much of what was seen has a process, by which method, and why the rest has
//! not. Counted as records are joined.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::attribution::Method;
use super::map::MapCounters;
use super::side::Reason;

/// Flows and what was in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    pub flows: u64,
    pub packets: u64,
    pub wire_bytes: u64,
}

impl Share {
    pub(super) fn add_all(&mut self, flows: u64, packets: u64, wire_bytes: u64) {
        self.flows += flows;
        self.packets += packets;
        self.wire_bytes += wire_bytes;
    }

    fn add(&mut self, packets: u64, wire_bytes: u64) {
        self.add_all(1, packets, wire_bytes);
    }

    pub fn plus(self, other: Self) -> Self {
        Self {
            flows: self.flows + other.flows,
            packets: self.packets + other.packets,
            wire_bytes: self.wire_bytes + other.wire_bytes,
        }
    }
}

/// A process that is named with less certainty is one of many that it could have
/// been: it does not count as found.
const FOUND_CERTAINTY: f64 = 0.5;

/// Row of flows for which there are only such candidates.
const CANDIDATES_ONLY: &str = "candidates_only";

/// Every flow is in exactly one row: that of a method, of a reason, or one of the two for
/// others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// A process at one end or both, by the method that named it (the originator's
    /// where both have one).
    pub attributed: BTreeMap<&'static str, Share>,
    /// Flows of a host with a map, or to a group or all hosts of a link, that have no
    /// process, by the reason (the originator's where both have one).
    pub unattributed: BTreeMap<&'static str, Share>,
    /// Neither end belongs to a host with a map.
    pub no_host: Share,
    /// Flows that nobody answered, above so many a second, where no records are written: who
    /// sent them was not asked.
    pub not_looked_up: Share,
    /// Of the attributed: a container is known.
    pub in_workloads: Share,
    /// Flows with an instance of the inventory at one end or both.
    pub with_instance: Share,
    /// Seconds that were closed before the watchers were up to date with them.
    pub late_seconds: u64,
    pub map: MapCounters,
}

/// The process at one end of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) method: Method,
    pub(super) certainty: f64,
    pub(super) in_workload: bool,
}

impl Coverage {
    /// Counts a flow by who was found at its ends, the originator's first: nothing where the
    /// address belongs to no host with a map.
    pub(super) fn count(
        &mut self,
        ends: [Option<Result<Found, Reason>>; 2],
        has_instance: bool,
        packets: u64,
        wire_bytes: u64,
    ) {
        if has_instance {
            self.with_instance.add(packets, wire_bytes);
        }
        let found = || ends.iter().filter_map(|end| (*end)?.ok());
        if let Some(found) = found().find(|found| found.certainty >= FOUND_CERTAINTY) {
            self.attributed.entry(found.method.name()).or_default().add(packets, wire_bytes);
            if found.in_workload {
                self.in_workloads.add(packets, wire_bytes);
            }
            return;
        }
        if found().next().is_some() {
            let row = self.unattributed.entry(CANDIDATES_ONLY).or_default();
            row.add(packets, wire_bytes);
            return;
        }
        match ends.iter().find_map(|end| (*end)?.err()) {
            Some(reason) => {
                let row = self.unattributed.entry(reason.name());
                row.or_default().add(packets, wire_bytes);
            }
            None => self.no_host.add(packets, wire_bytes),
        }
    }

    /// Flows of hosts with a map.
    pub fn of_hosts(&self) -> Share {
        self.named().plus(sum(&self.unattributed))
    }

    /// All flows that were counted.
    pub fn all(&self) -> Share {
        self.of_hosts().plus(self.no_host).plus(self.not_looked_up)
    }

    /// Flows with a process.
    pub fn named(&self) -> Share {
        sum(&self.attributed)
    }
}

fn sum(rows: &BTreeMap<&'static str, Share>) -> Share {
    rows.values().fold(Share::default(), |sum, &row| sum.plus(row))
}
