//! Bytes of hosts over time and by hour of the day: what the heat map shows.

use std::collections::BTreeMap;

use ahash::HashMap;

use super::grid::{Width, merged};
use crate::engine::window::Host;
use crate::service::control::talkers::{Second, total};

/// Columns of the heat map at most: they are read one by one.
const COLUMNS: i64 = 48;

/// Hosts kept after each cut; twice as many before it. With their columns and hours some
/// 12 MB.
pub(super) const MOST: usize = 2_048;

const HOUR_S: i64 = 3_600;
const HOURS: usize = 24;

/// Bytes that a host sent and received.
#[derive(Clone, Debug, Default)]
pub(in crate::report::html) struct HostTraffic {
    pub(in crate::report::html) bytes: u64,
    /// By bucket of [`Hosts::width`].
    pub(in crate::report::html) columns: BTreeMap<i64, u64>,
    /// By hour of the day, UTC.
    pub(in crate::report::html) hours: [u64; HOURS],
}

#[derive(Debug)]
pub(in crate::report::html) struct Hosts {
    pub(in crate::report::html) width: Width,
    table: HashMap<Host, HostTraffic>,
    /// Some host was left out of a second, or cut from the table: what is shown of the
    /// others may be less than they had.
    pub(in crate::report::html) cut: bool,
}

impl Default for Hosts {
    fn default() -> Self {
        Self { width: Width::new(COLUMNS), table: HashMap::default(), cut: false }
    }
}

impl Hosts {
    pub(super) fn add(&mut self, second: &Second) {
        let at_s = second.second;
        let before_s = self.width.seconds();
        if self.width.cover(at_s) {
            for traffic in self.table.values_mut() {
                let columns = std::mem::take(&mut traffic.columns);
                traffic.columns = merged(columns, before_s, &self.width, |sum, more: u64| {
                    *sum = sum.saturating_add(more);
                });
            }
        }
        self.cut |= !second.hosts.complete;
        let column = self.width.bucket(at_s);
        let hour = at_s.div_euclid(HOUR_S).rem_euclid(HOURS as i64) as usize;
        for (host, both) in &second.hosts.entries {
            let bytes = total(both).bytes;
            let traffic = self.table.entry(*host).or_default();
            traffic.bytes = traffic.bytes.saturating_add(bytes);
            traffic.hours[hour] = traffic.hours[hour].saturating_add(bytes);
            let sum = traffic.columns.entry(column).or_default();
            *sum = sum.saturating_add(bytes);
        }
        if self.table.len() > 2 * MOST {
            self.cut_to(MOST);
        }
    }

    /// Keeps the hosts with the most bytes; which of equals does not depend on the
    /// table's order.
    fn cut_to(&mut self, most: usize) {
        let mut order: Vec<(std::cmp::Reverse<u64>, Host)> = self
            .table
            .iter()
            .map(|(host, traffic)| (std::cmp::Reverse(traffic.bytes), *host))
            .collect();
        let (_, last, _) = order.select_nth_unstable(most - 1);
        let last = *last;
        self.table.retain(|host, traffic| (std::cmp::Reverse(traffic.bytes), *host) <= last);
        self.cut = true;
    }

    /// Those with the most bytes.
    pub(in crate::report::html) fn top(&self, most: usize) -> Vec<(Host, &HostTraffic)> {
        let mut all: Vec<_> = self.table.iter().map(|(host, traffic)| (*host, traffic)).collect();
        all.sort_unstable_by_key(|(host, traffic)| (std::cmp::Reverse(traffic.bytes), *host));
        all.truncate(most);
        all
    }
}
