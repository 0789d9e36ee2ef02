//! Samplers that exporters announce in options records, and which of them a flow was
//! counted through.
//!
//! A rate is announced for a sampler that flows name (NetFlow v9 FLOW_SAMPLER_ID, IPFIX
//! selectorId; RFC 5477 section 8.2), for an interface or line card (scopes of RFC 3954
//! section 6.1; ingressInterface, egressInterface and lineCardId of RFC 7012), for a
//! selection sequence (RFC 5476 section 6.5.1), or for all flows of the exporter. The
//! closest that a flow names is its own; what names none has the rate that all have.
//!
//! Announcements are repeated, and of most samplers nobody ever says that they are gone:
//! one that is left out while its template's others are told again and again counts for
//! flows no more that do not name it.

use std::cell::Cell;
use std::collections::HashMap;

use super::record::Sampled;
use crate::telemetry::observation::FlowDirection;

/// Samplers of one domain: the interfaces of a large router.
const MAX_SAMPLERS: usize = 2048;
/// A sampler that is missing in so many whole rounds of announcements is gone: hardly ever
/// is the same one lost twice in a row.
const MISSING_ROUNDS: u32 = 2;
/// Of announcements by another template, which may have rounds of its own: four times the
/// half hour that Cisco's exporters repeat options by unless told otherwise.
const MISSING_NS: i64 = 4 * 1800 * 1_000_000_000;

/// Whose rate it is: what is named beside it. Of a sampler with a number the place only says
/// where it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Key {
    id: Option<u64>,
    place: Option<Place>,
}

/// Where a rate or a sampler is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// By its SNMP index, whichever way packets go.
    Interface(u64),
    LineCard(u64),
    Sequence(u64),
}

#[derive(Clone, Copy, Debug)]
struct Sampler {
    one_of: u32,
    told: Told,
}

/// When something was announced last: by which template, in which of its rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    template: u16,
    round: u32,
    at_ns: i64,
}

/// What samplers a flow may be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rate {
    /// None that is known.
    None,
    OneOf(u32),
    /// Any of several.
    Unclear,
}

/// Of one domain.
#[derive(Debug, Default)]
pub(super) struct Samplers {
    known: HashMap<Key, Sampler, ahash::RandomState>,
    /// The latest of a number, wherever it is used: a flow may name no place, or another one.
    numbered: HashMap<u64, Sampler, ahash::RandomState>,
    /// Which sampler is used at a place, of which no rate is said there.
    used: HashMap<Place, u64, ahash::RandomState>,
    /// By template the round of announcements that is under way.
    rounds: HashMap<u16, u32, ahash::RandomState>,
    /// When the last announcement of all came; clocks are also set back.
    now_ns: i64,
    /// What flows that name nothing have.
    common: Cell<Option<Common>>,
}

/// The rates that count for flows which do not say whose they are.
#[derive(Clone, Copy, Debug)]
struct Common {
    /// Of what is for all flows.
    general: Rate,
    /// Of samplers that are not those of an interface: what an interface without a rate has.
    anywhere: Rate,
    all: Rate,
}

impl Samplers {
    /// Takes what an options record says of sampling, by the exporter's time. False where
    /// there is no room for it.
    pub(super) fn learn(&mut self, said: &Sampled, template: u16, at_ns: i64) -> bool {
        let key = Key { id: said.id, place: said.place };
        let Some(one_of) = said.one_of() else {
            if said.is_off() {
                self.known.remove(&key);
                if let Some(id) = key.id {
                    self.numbered.remove(&id);
                }
                if key.place.is_some() {
                    self.known.remove(&Key { id: None, ..key });
                }
                self.common.set(None);
            } else if let (Some(place), Some(id)) = (said.place, said.id)
                && (self.used.len() < MAX_SAMPLERS || self.used.contains_key(&place))
            {
                self.used.insert(place, id);
            }
            return true;
        };
        let round = self.round_of(&key, template, at_ns);
        let told = Told { template, round, at_ns };
        let fits = self.insert(key, Sampler { one_of, told });
        // Flows that do not name the sampler may name the place.
        if let (Some(id), Some(_)) = (key.id, key.place) {
            self.insert(Key { id: None, ..key }, Sampler { one_of, told });
            if self.numbered.len() < MAX_SAMPLERS || self.numbered.contains_key(&id) {
                self.numbered.insert(id, Sampler { one_of, told });
            }
        }
        fits
    }

    fn insert(&mut self, key: Key, sampler: Sampler) -> bool {
        if self.known.len() >= MAX_SAMPLERS && !self.known.contains_key(&key) {
            self.forget_gone();
            if self.known.len() >= MAX_SAMPLERS {
                return false;
            }
        }
        self.now_ns = sampler.told.at_ns;
        self.known.insert(key, sampler);
        self.common.set(None);
        true
    }

    /// The round in which a sampler is announced: another one, where it was already told in
    /// the last.
    fn round_of(&mut self, key: &Key, template: u16, at_ns: i64) -> u32 {
        /// Who is told again so soon was told twice in the same round: times are in seconds.
        const SAME_ROUND_NS: i64 = 1_000_000_000;
        let round = self.rounds.entry(template).or_default();
        if let Some(Sampler { told, .. }) = self.known.get(key)
            && (told.template, told.round) == (template, *round)
            && at_ns.saturating_sub(told.at_ns) > SAME_ROUND_NS
        {
            *round = round.wrapping_add(1);
        }
        *round
    }

    /// The template means something else from now on, and so did what it announced.
    pub(super) fn forget_template(&mut self, template: u16) {
        self.rounds.remove(&template);
        self.known.retain(|_, sampler| sampler.told.template != template);
        self.numbered.retain(|_, sampler| sampler.told.template != template);
        self.common.set(None);
    }

    /// Of a flow that does not say itself, by the interfaces that it came in and left by and
    /// the one of the two at which it was counted.
    pub(super) fn rate_of(
        &self,
        flow: &Sampled,
        [input, output]: [Option<u64>; 2],
        direction: Option<FlowDirection>,
    ) -> Rate {
        if self.known.is_empty() {
            return Rate::None;
        }
        let counted_at = match direction {
            Some(FlowDirection::Egress) => [output, None],
            Some(FlowDirection::Ingress) => [input, None],
            // Most exporters sample what comes in.
            None => [input, output],
        };
        let interfaces = counted_at.map(|at| at.map(Place::Interface));
        let places = || [flow.place].into_iter().chain(interfaces).flatten();
        let id = flow.id.or_else(|| places().find_map(|place| self.used.get(&place).copied()));
        if let Some(id) = id {
            let at = |place| self.known.get(&Key { id: Some(id), place });
            let here = places().find_map(|place| at(Some(place))).or_else(|| at(None));
            let here = here.or_else(|| self.numbered.get(&id));
            if let Some(sampler) = here {
                return Rate::OneOf(sampler.one_of);
            }
        }
        let at = |place| self.known.get(&Key { id: None, place: Some(place) });
        let is_there = |sampler: &&Sampler| !self.is_gone(sampler);
        if let Some(sampler) = places().find_map(|place| at(place).filter(is_there)) {
            return Rate::OneOf(sampler.one_of);
        }
        let common = self.common.get().unwrap_or_else(|| {
            let common = self.common_rates();
            self.common.set(Some(common));
            common
        });
        match common.general {
            Rate::None if id.is_some() => Rate::None,
            Rate::None if input.or(output).is_some() => common.anywhere,
            Rate::None => common.all,
            general => general,
        }
    }

    fn common_rates(&self) -> Common {
        let mut common = Common { general: Rate::None, anywhere: Rate::None, all: Rate::None };
        for (key, sampler) in self.known.iter().filter(|(_, sampler)| !self.is_gone(sampler)) {
            common.all = common.all.or(sampler.one_of);
            if !matches!(key.place, Some(Place::Interface(_))) {
                common.anywhere = common.anywhere.or(sampler.one_of);
            }
            if *key == Key::default() {
                common.general = common.general.or(sampler.one_of);
            }
        }
        common
    }

    fn is_gone(&self, Sampler { told, .. }: &Sampler) -> bool {
        let round = self.rounds.get(&told.template).copied().unwrap_or(told.round);
        // The round that is under way may tell of it yet.
        round.wrapping_sub(told.round) > MISSING_ROUNDS
            || self.now_ns.saturating_sub(told.at_ns) > MISSING_NS
    }

    fn forget_gone(&mut self) {
        let mut known = std::mem::take(&mut self.known);
        known.retain(|_, sampler| !self.is_gone(sampler));
        self.known = known;
        let mut numbered = std::mem::take(&mut self.numbered);
        numbered.retain(|_, sampler| !self.is_gone(sampler));
        self.numbered = numbered;
    }
}

impl Rate {
    /// With one more sampler.
    fn or(self, one_of: u32) -> Self {
        match self {
            Self::None => Self::OneOf(one_of),
            Self::OneOf(known) if known == one_of => self,
            _ => Self::Unclear,
        }
    }
}
