//! What is usual of one measure.

use serde::Serialize;

/// The usual of a measure, by robust figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Normal {
    pub median: f64,
    /// 1.4826 times the median absolute deviation: the standard deviation, where the
    /// values are normally distributed (Iglewicz and Hoaglin 1993).
    pub sigma: f64,
    pub q99: f64,
    pub max: f64,
    /// What the busiest minute of that hour of the day reaches on three days of the week
    /// at least: a backup each night. 0 while fewer days are known.
    pub regular: f64,
    /// Minutes behind it.
    pub minutes: u64,
    pub basis: Basis,
}

/// Which minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    HourOfWeek,
    HourOfDay,
    All,
}

impl Normal {
    /// How many sigmas a value lies above the median; sigma is at least a tenth of the
    /// median, since steady entities have hardly any.
    pub fn above(&self, value: f64) -> f64 {
        (value - self.median) / self.sigma.max(self.median * 0.1).max(1.0)
    }

    /// How many times the 99th percentile a value is.
    pub fn times_q99(&self, value: f64) -> f64 {
        value / self.q99.max(1.0)
    }
}
