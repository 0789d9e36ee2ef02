//! How many places know a destination, by its prefix or by its name: what few know is rare.
//!
//! Places are addresses and instances: a flow counts for one of them at each of its ends
//! at home. Its process and its workload are parts of that place; counted beside it, what
//! one host reaches would be what three reach. Who asks is left out of the count and of
//! those who could be in it: what it reached itself makes nothing common.
//!
//! Bounded: [`MOST`] prefixes, and as many names. At the bound those that one place knows are dropped
//! (they are asked for as rare, and dropped they count as known to nobody); while
//! that makes no room, further ones are not counted.

use ahash::HashMap;

use super::destinations::{Change, Met};
use super::profile::Profile;
use super::store::FleetBytes;
use super::wire::{Reader, Writer};

const MOST: usize = 1 << 16;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fleet {
    pub(super) prefixes: Places,
    pub(super) names: Places,
}

/// Places by what they know: a prefix, or a name's digest.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Places {
    places: HashMap<u64, u32>,
    /// Places that know any.
    talkers: u64,
    changed: bool,
}

/// What a place has learned, of prefixes and of names.
#[derive(Debug, Default)]
pub(super) struct Learned {
    pub(super) prefixes: Vec<Change>,
    pub(super) names: Vec<Change>,
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
    /// A place has learned; `was_silent` says of prefixes and of names whether it knew none.
    pub(super) fn learned(&mut self, was_silent: [bool; 2], learned: &Learned) {
        self.prefixes.learned(was_silent[0], &learned.prefixes);
        self.names.learned(was_silent[1], &learned.names);
    }

    /// A place was the one, and is the other now.
    pub(super) fn became(&mut self, before: &Profile, after: &Profile) {
        self.prefixes.became(&before.destinations, &after.destinations);
        self.names.became(&before.names, &after.names);
    }

    /// A place is given up.
    pub(super) fn lost(&mut self, profile: &Profile) {
        self.prefixes.became(&profile.destinations, &Met::default());
        self.names.became(&profile.names, &Met::default());
    }

    pub(super) fn bytes(&self) -> FleetBytes {
        FleetBytes { prefixes: self.prefixes.encode(), names: Some(self.names.encode()) }
    }

    pub(super) fn has_changed(&self) -> bool {
        self.prefixes.changed || self.names.changed
    }

    pub(super) fn written(&mut self) {
        (self.prefixes.changed, self.names.changed) = (false, false);
    }
}

impl Places {
    /// Who knows this, beside the places that these are what they know.
    pub(super) fn others<'a, const MOST: usize>(
        &self,
        key: u64,
        own: impl Iterator<Item = &'a Met<MOST>>,
    ) -> Others {
        let known = self.places.get(&key).copied().unwrap_or(0);
        let mut others = Others { know: known.into(), of: self.talkers };
        for own in own.filter(|own| own.len() > 0) {
            others.of = others.of.saturating_sub(1);
            let knows = own.get(key).is_some();
            others.know = others.know.saturating_sub(knows.into());
        }
        others
    }

    fn learned(&mut self, was_silent: bool, changes: &[Change]) {
        self.talkers += u64::from(was_silent && !changes.is_empty());
        for change in changes {
            change.come.into_iter().for_each(|key| self.come(key));
            change.gone.into_iter().for_each(|key| self.gone(key));
        }
    }

    fn became<const MOST: usize>(&mut self, before: &Met<MOST>, after: &Met<MOST>) {
        match (before.len(), after.len()) {
            (0, 1..) => self.talkers += 1,
            (1.., 0) => self.talkers = self.talkers.saturating_sub(1),
            _ => {}
        }
        let come = after.keys().filter(|&key| before.get(key).is_none());
        come.for_each(|key| self.come(key));
        let gone = before.keys().filter(|&key| after.get(key).is_none());
        gone.for_each(|key| self.gone(key));
    }

    fn come(&mut self, key: u64) {
        self.changed = true;
        if self.places.len() >= MOST && !self.places.contains_key(&key) {
            self.places.retain(|_, known| *known > 1);
            if self.places.len() >= MOST {
                return;
            }
        }
        *self.places.entry(key).or_default() += 1;
    }

    fn gone(&mut self, key: u64) {
        self.changed = true;
        if let Some(known) = self.places.get_mut(&key) {
            *known = known.saturating_sub(1);
            if *known == 0 {
                self.places.remove(&key);
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(self.talkers);
        let mut all: Vec<_> = self.places.iter().collect();
        all.sort_unstable();
        let mut before = 0;
        for (&key, &known) in all {
            out.number(key.wrapping_sub(before));
            out.number(known.into());
            before = key;
        }
        out.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        let mut places = Self { talkers: from.number()?, ..Self::default() };
        let mut key = 0_u64;
        while !from.0.is_empty() && places.places.len() < MOST {
            key = key.wrapping_add(from.number()?);
            places.places.insert(key, u32::try_from(from.number()?).ok()?);
        }
        Some(places)
    }
}
