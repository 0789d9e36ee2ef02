//! How many places know a destination prefix: what few know is rare.
//!
//! Places are addresses and instances: a flow counts for one of them at each of its ends
//! at home. Its process and its workload are parts of that place; counted beside it, what
//! one host reaches would be what three reach. Who asks is left out of the count and of
//! those who could be in it: what it reached itself makes nothing common.
//!
//! Bounded: [`MOST`] prefixes. At the bound those that one place knows are dropped
//! (they are asked for as rare, and dropped they count as known to nobody); while
//! that makes no room, further ones are not counted.

use ahash::HashMap;

use super::destinations::{Change, Destinations, Prefix};
use super::wire::{Reader, Writer};

const MOST: usize = 1 << 16;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fleet {
    places: HashMap<Prefix, u32>,
    /// Places that have any destination.
    talkers: u64,
    pub(super) changed: bool,
}

/// Places that know a destination, without whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Others {
    pub know: u64,
    /// Of so many that know any.
    pub of: u64,
}

impl Others {
    pub fn share(&self) -> f64 {
        self.know as f64 / self.of.max(1) as f64
    }
}

/// Whether the destinations of a baseline count.
pub(super) fn is_place(key: &str) -> bool {
    key.starts_with("address:") || key.starts_with("instance:")
}

impl Fleet {
    /// Who knows a prefix, beside the places that these are the destinations of.
    pub(super) fn others<'a>(
        &self,
        prefix: Prefix,
        own: impl Iterator<Item = &'a Destinations>,
    ) -> Others {
        let known = self.places.get(&prefix).copied().unwrap_or(0);
        let mut others = Others { know: known.into(), of: self.talkers };
        for own in own.filter(|own| own.len() > 0) {
            others.of = others.of.saturating_sub(1);
            let knows = own.get(prefix).is_some();
            others.know = others.know.saturating_sub(knows.into());
        }
        others
    }

    /// A place has learned.
    pub(super) fn learned(&mut self, was_silent: bool, changes: &[Change]) {
        self.talkers += u64::from(was_silent && !changes.is_empty());
        for change in changes {
            change.come.into_iter().for_each(|prefix| self.come(prefix));
            change.gone.into_iter().for_each(|prefix| self.gone(prefix));
        }
    }

    /// A place knew these, and knows those now.
    pub(super) fn became(&mut self, before: &Destinations, after: &Destinations) {
        self.talkers += u64::from(before.len() == 0 && after.len() > 0);
        let come = after.prefixes().filter(|&prefix| before.get(prefix).is_none());
        come.for_each(|prefix| self.come(prefix));
        let gone = before.prefixes().filter(|&prefix| after.get(prefix).is_none());
        gone.for_each(|prefix| self.gone(prefix));
    }

    /// A place is given up.
    pub(super) fn lost(&mut self, destinations: &Destinations) {
        self.talkers = self.talkers.saturating_sub(u64::from(destinations.len() > 0));
        destinations.prefixes().for_each(|prefix| self.gone(prefix));
    }

    fn come(&mut self, prefix: Prefix) {
        self.changed = true;
        if self.places.len() >= MOST && !self.places.contains_key(&prefix) {
            self.places.retain(|_, known| *known > 1);
            if self.places.len() >= MOST {
                return;
            }
        }
        *self.places.entry(prefix).or_default() += 1;
    }

    fn gone(&mut self, prefix: Prefix) {
        self.changed = true;
        if let Some(known) = self.places.get_mut(&prefix) {
            *known = known.saturating_sub(1);
            if *known == 0 {
                self.places.remove(&prefix);
            }
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(self.talkers);
        let mut all: Vec<_> = self.places.iter().collect();
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
        while !from.0.is_empty() && fleet.places.len() < MOST {
            prefix = prefix.wrapping_add(from.number()?);
            fleet.places.insert(prefix, u32::try_from(from.number()?).ok()?);
        }
        Some(fleet)
    }
}
