//! How many entities know a destination prefix: what few know is rare.
//!
//! Bounded: [`MOST`] prefixes. At the bound those that one entity knows are dropped
//! (they are asked for as rare, and dropped they count as known to nobody); while
//! that makes no room, further ones are not counted.

use ahash::HashMap;

use super::destinations::{Change, Prefix};
use super::wire::{Reader, Writer};

const MOST: usize = 1 << 16;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fleet {
    entities: HashMap<Prefix, u32>,
    /// Entities that have any destination.
    pub(super) talkers: u64,
    pub(super) changed: bool,
}

impl Fleet {
    pub(super) fn share(&self, prefix: Prefix) -> f64 {
        let known = self.entities.get(&prefix).copied().unwrap_or(0);
        f64::from(known) / self.talkers.max(1) as f64
    }

    pub(super) fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            change.come.into_iter().for_each(|prefix| self.come(prefix));
            change.gone.into_iter().for_each(|prefix| self.gone(prefix));
        }
    }

    pub(super) fn come(&mut self, prefix: Prefix) {
        self.changed = true;
        if self.entities.len() >= MOST && !self.entities.contains_key(&prefix) {
            self.entities.retain(|_, known| *known > 1);
            if self.entities.len() >= MOST {
                return;
            }
        }
        *self.entities.entry(prefix).or_default() += 1;
    }

    pub(super) fn gone(&mut self, prefix: Prefix) {
        self.changed = true;
        if let Some(known) = self.entities.get_mut(&prefix) {
            *known = known.saturating_sub(1);
            if *known == 0 {
                self.entities.remove(&prefix);
            }
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(self.talkers);
        let mut all: Vec<_> = self.entities.iter().collect();
        all.sort_unstable();
        let mut before = 0;
        for (&prefix, &known) in all {
            out.number(prefix.wrapping_sub(before));
            out.number(known.into());
            before = prefix;
        }
        out.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        let mut fleet = Self { talkers: from.number()?, ..Self::default() };
        let mut prefix = 0_u64;
        while !from.0.is_empty() && fleet.entities.len() < MOST {
            prefix = prefix.wrapping_add(from.number()?);
            fleet.entities.insert(prefix, u32::try_from(from.number()?).ok()?);
        }
        Some(fleet)
    }
}
