//! How much of what was seen has a process, by which method, and why the rest has
//! not. Counted as records are joined.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::map::MapCounters;
use super::side::{FlowHosts, HostSide};

/// Flows and what was in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    pub flows: u64,
    pub packets: u64,
    pub wire_bytes: u64,
}

impl Share {
    fn add(&mut self, packets: u64, wire_bytes: u64) {
        self.flows += 1;
        self.packets += packets;
        self.wire_bytes += wire_bytes;
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

/// Every flow is in exactly one row: that of a method, of a reason, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// A process at one end or both, by the method that named it (the originator's
    /// where both have one).
    pub attributed: BTreeMap<&'static str, Share>,
    /// Flows of a host with a map that have no process, by the reason (the
    /// originator's where both have one).
    pub unattributed: BTreeMap<&'static str, Share>,
    /// Neither end belongs to a host with a map.
    pub no_host: Share,
    /// Of the attributed: a container is known.
    pub in_workloads: Share,
    /// Flows with an instance of the inventory at one end or both.
    pub with_instance: Share,
    /// Seconds that were closed before the watchers were up to date with them.
    pub late_seconds: u64,
    pub map: MapCounters,
}

impl Coverage {
    pub(super) fn count(&mut self, hosts: Option<&FlowHosts>, packets: u64, wire_bytes: u64) {
        let sides = || {
            hosts.into_iter().flat_map(|hosts| [&hosts.src, &hosts.dst]).filter_map(Option::as_ref)
        };
        if sides().any(|side| side.instance.is_some()) {
            self.with_instance.add(packets, wire_bytes);
        }
        let certainty =
            |side: &HostSide| side.attribution.as_ref().map_or(0.0, |how| how.certainty);
        let named =
            sides().find(|side| side.process.is_some() && certainty(side) >= FOUND_CERTAINTY);
        if let Some(side) = named {
            let method = side.attribution.as_ref().and_then(|how| how.method);
            let row = self.attributed.entry(method.map_or("imported", |method| method.name()));
            row.or_default().add(packets, wire_bytes);
            if side.workload.is_some() {
                self.in_workloads.add(packets, wire_bytes);
            }
            return;
        }
        if sides().any(|side| side.process.is_some()) {
            let row = self.unattributed.entry(CANDIDATES_ONLY).or_default();
            row.add(packets, wire_bytes);
            return;
        }
        match sides().find_map(|side| side.attribution.as_ref()?.reason) {
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

    /// Flows with a process.
    pub fn named(&self) -> Share {
        sum(&self.attributed)
    }
}

fn sum(rows: &BTreeMap<&'static str, Share>) -> Share {
    rows.values().fold(Share::default(), |sum, &row| sum.plus(row))
}
