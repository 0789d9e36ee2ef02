//! What is known beside a window of whom a flood's alert is about.
//!
//! Detectors of windows see addresses and absolute thresholds alone. Whether processes at
//! the address are known, and how much history its baseline has, is for the alert to say:
//! what is missing, and how sure it may be (CONTRACT: at most 0.6 until the baseline is
//! mature). Learned from the entities of seconds that are over, so a process that nobody
//! saw before is known from the second after on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::Finding;
use crate::alert::EntityKind;
use crate::baseline::{Baselines, Profile};
use crate::engine::window::Host;
use crate::entity::SecondOf;

/// Addresses that are remembered of each sort: many times what one map or inventory has.
/// When they are full all are learned anew.
const MAX_ADDRESSES: usize = 1 << 16;

/// What an alert without a case of its own may say of its entity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Background {
    /// Processes at its address are known.
    pub process_map: bool,
    /// Days of history of its baseline; nothing where it has none.
    pub baseline_days: Option<f64>,
    pub baseline_mature: bool,
}

/// Addresses of whom a map or an inventory tells.
#[derive(Debug, Default)]
pub(super) struct KnownAddresses {
    with_processes: BTreeSet<Host>,
    /// With the name of the instance's baseline.
    of_instances: BTreeMap<Host, Arc<str>>,
}

impl KnownAddresses {
    pub(super) fn note(&mut self, entities: &[&SecondOf]) {
        for entity in entities {
            let Some((own, _)) = entity.own else { continue };
            if entity.who.process.is_some() && !self.with_processes.contains(&own) {
                if self.with_processes.len() >= MAX_ADDRESSES {
                    self.with_processes.clear();
                }
                self.with_processes.insert(own);
            }
            if entity.who.entity.kind == EntityKind::Instance
                && self.of_instances.get(&own) != Some(&entity.who.baseline)
            {
                if self.of_instances.len() >= MAX_ADDRESSES {
                    self.of_instances.clear();
                }
                self.of_instances.insert(own, Arc::clone(&entity.who.baseline));
            }
        }
    }

    /// Nothing is known of prefixes and stations.
    pub(super) fn background(&self, finding: &Finding, baselines: &Baselines) -> Background {
        let address = finding.entity.id.parse::<IpAddr>();
        let (EntityKind::Address, Ok(address)) = (finding.entity.kind, address) else {
            return Background::default();
        };
        let host = Host::from(address);
        let key = match self.of_instances.get(&host) {
            Some(key) => Arc::clone(key),
            None => format!("address:{address}").into(),
        };
        Background {
            process_map: self.with_processes.contains(&host),
            baseline_days: baselines.profile(&key).map(Profile::days),
            baseline_mature: baselines.is_mature(&key),
        }
    }
}
