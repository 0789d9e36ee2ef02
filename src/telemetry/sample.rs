//! A reading of counters.

use std::sync::Arc;

use super::observation::Labels;

/// What some counters stood at, or by how much they grew.
#[derive(Clone, Debug, PartialEq)]
pub struct CounterSample {
    pub time_ns: i64,
    pub reading: Reading,
    /// Whose counters: of equal subjects readings follow one another.
    pub subject: Subject,
    pub received_bytes: Option<u64>,
    pub sent_bytes: Option<u64>,
    pub received_packets: Option<u64>,
    pub sent_packets: Option<u64>,
    pub received_drops: Option<u64>,
    pub sent_drops: Option<u64>,
    /// What else the source says, as in a flow report.
    pub labels: Labels,
}

/// What the numbers of a sample are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Totals since the counter began: two make a difference.
    Total,
    /// What was counted from this time to the sample's.
    Since { start_ns: i64 },
}

/// Whose counters. What does not apply is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    pub host: Arc<str>,
    /// Cloud instance.
    pub instance: Arc<str>,
    /// Full container id, or what of it the source has.
    pub container: Arc<str>,
    pub container_name: Arc<str>,
    pub pod: Arc<str>,
    pub namespace: Arc<str>,
    pub image: Arc<str>,
    /// Process, where the source counts by process (macOS `nettop`): `name.pid`.
    pub process: Arc<str>,
    /// Network interface; empty where they are added up.
    pub interface: Arc<str>,
    /// Inode of the network namespace.
    pub netns: Option<u64>,
}
