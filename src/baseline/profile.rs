//! What is known of one entity.

use std::collections::BTreeMap;

use super::metric::Metric;
use super::normal::{Basis, Normal};
use crate::engine::window::{Host, SIZE_BINS};
use crate::entity::Minute;

/// A destination prefix that the entity has sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Days since the epoch.
    pub first_day: i64,
    pub last_day: i64,
    pub bytes: u64,
}

/// One entity's normal.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    values: BTreeMap<Metric, Vec<f64>>,
    sizes: [u64; SIZE_BINS],
    destinations: BTreeMap<Host, Destination>,
    first_s: Option<i64>,
    last_s: i64,
}

const DAY_S: i64 = 86_400;

impl Profile {
    /// Days between the first and the last minute that were learned.
    pub fn days(&self) -> f64 {
        self.first_s.map_or(0.0, |first_s| (self.last_s - first_s) as f64 / DAY_S as f64)
    }

    /// Minutes in which it was active.
    pub fn minutes(&self) -> u64 {
        self.values.get(&Metric::EgressBytes).map_or(0, |values| values.len() as u64)
    }

    /// Seconds since the entity was last active before this time, and since it was
    /// first seen.
    pub fn quiet_s(&self, now_s: i64) -> i64 {
        now_s - self.last_s
    }

    /// What is usual at a time, of the narrowest kind of minutes that there are enough
    /// of; nothing before there are 30.
    pub fn normal(&self, metric: Metric, _at_s: i64) -> Option<Normal> {
        let mut values = self.values.get(&metric)?.clone();
        if values.len() < 30 {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let median = values[values.len() / 2];
        let mut off: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
        off.sort_by(f64::total_cmp);
        Some(Normal {
            median,
            sigma: 1.4826 * off[off.len() / 2],
            q99: values[values.len() * 99 / 100],
            max: values[values.len() - 1],
            minutes: values.len() as u64,
            basis: Basis::All,
        })
    }

    /// Packets sent by payload size, in the coarse bins of windows.
    pub fn sizes(&self) -> &[u64; SIZE_BINS] {
        &self.sizes
    }

    /// When it sent to this address, or to others of its prefix (/24, /48), before.
    pub fn destination(&self, host: &Host) -> Option<Destination> {
        self.destinations.get(host).copied()
    }

    /// Takes a minute in.
    pub(super) fn learn(&mut self, minute: &Minute) {
        for metric in Metric::ALL {
            self.values.entry(metric).or_default().push(metric.of(minute));
        }
        for (sum, packets) in self.sizes.iter_mut().zip(&minute.measures.sent.sizes) {
            *sum += packets;
        }
        let day = minute.start_s.div_euclid(DAY_S);
        for peer in &minute.measures.top {
            let known = self.destinations.entry(peer.key).or_insert(Destination {
                first_day: day,
                last_day: day,
                bytes: 0,
            });
            known.last_day = day;
            known.bytes += peer.sent_bytes;
        }
        self.first_s.get_or_insert(minute.start_s);
        self.last_s = minute.start_s;
    }
}
