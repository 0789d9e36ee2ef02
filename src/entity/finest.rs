//! Whether a minute decides, or only corroborates what a finer source saw of the same
//! entity and time (CONTRACT: measures are per source and never added; the finest
//! decides).
//!
//! What came first counts: a coarse report that comes before the finer one has
//! decided already.
//!
//! Bounded: [`MAX_ENTITIES`]; a quarter, those seen longest ago, is forgotten to make
//! room. Sources beyond the 255th decide for themselves. Of each entity and source
//! the last 64 minutes are remembered: reports of longer intervals are held against
//! those alone.

use std::sync::Arc;

use ahash::HashMap;

use super::ledger::Minute;
use crate::alert::EntityKind;
use crate::engine::window::Seed;

/// About 90 bytes each.
const MAX_ENTITIES: usize = 65_536;
const MAX_SOURCES: usize = 255;
const MINUTE_S: i64 = 60;

/// Which source saw which entity when.
#[derive(Debug, Default)]
pub(crate) struct Finest {
    sources: Vec<Arc<str>>,
    seen: HashMap<u64, SeenBy>,
}

/// What sources saw of an entity: mostly one did.
#[derive(Debug, Default)]
struct SeenBy {
    first: Option<Seen>,
    others: Vec<Seen>,
}

/// What a source saw of an entity in the last hour.
#[derive(Clone, Copy, Debug)]
struct Seen {
    source: u8,
    length_s: i64,
    /// The newest minute, and a bit for each of the 64 up to it.
    newest: i64,
    minutes: u64,
}

impl Finest {
    /// Remembers the minute and says whether it decides.
    pub(crate) fn decides(&mut self, minute: &Minute) -> bool {
        let entity = &minute.who.entity;
        let counted_by_several = matches!(
            entity.kind,
            EntityKind::Address | EntityKind::Instance | EntityKind::Host | EntityKind::Workload
        );
        let Some(source) = self.source(&minute.source).filter(|_| counted_by_several) else {
            return true;
        };
        let seed = Seed::default();
        let digest =
            entity.id.bytes().fold(entity.kind as u64, |sum, byte| seed.mix(sum, byte.into()));
        if self.seen.len() >= MAX_ENTITIES && !self.seen.contains_key(&digest) {
            self.make_room();
        }
        let seen = self.seen.entry(digest).or_default();
        let first = minute.start_s.div_euclid(MINUTE_S);
        let last_s = minute.start_s.saturating_add(minute.length_s.max(1) - 1);
        let last = last_s.div_euclid(MINUTE_S);
        let decides = !seen.iter().any(|other| {
            other.source != source
                && other.length_s <= minute.length_s
                && other.overlaps(first, last)
        });
        seen.of(source, last).add(first, last, minute.length_s);
        decides
    }

    fn source(&mut self, name: &Arc<str>) -> Option<u8> {
        let at = self.sources.iter().position(|known| known == name).unwrap_or_else(|| {
            if self.sources.len() < MAX_SOURCES {
                self.sources.push(Arc::clone(name));
            }
            self.sources.len() - 1
        });
        self.sources.get(at).filter(|known| *known == name)?;
        u8::try_from(at).ok()
    }

    fn make_room(&mut self) {
        let newest = |seen: &SeenBy| seen.iter().map(|seen| seen.newest).max().unwrap_or(i64::MIN);
        let mut ages: Vec<(i64, u64)> =
            self.seen.iter().map(|(&digest, seen)| (newest(seen), digest)).collect();
        ages.sort_unstable();
        for (_, digest) in ages.iter().take(MAX_ENTITIES / 4) {
            self.seen.remove(digest);
        }
    }
}

impl SeenBy {
    fn iter(&self) -> impl Iterator<Item = &Seen> {
        self.first.iter().chain(&self.others)
    }

    /// A source's own, from `last` on where it is new.
    fn of(&mut self, source: u8, last: i64) -> &mut Seen {
        let new = Seen { source, length_s: 0, newest: last, minutes: 0 };
        let first = self.first.get_or_insert(new);
        if first.source == source {
            return first;
        }
        let at = self.others.iter().position(|other| other.source == source);
        let at = at.unwrap_or_else(|| {
            self.others.push(new);
            self.others.len() - 1
        });
        &mut self.others[at]
    }
}

impl Seen {
    fn add(&mut self, first: i64, last: i64, length_s: i64) {
        self.length_s = length_s;
        if last > self.newest {
            let by = last - self.newest;
            self.minutes = if by < 64 { self.minutes << by } else { 0 };
            self.newest = last;
        }
        self.minutes |= self.mask(first, last);
    }

    fn overlaps(&self, first: i64, last: i64) -> bool {
        self.minutes & self.mask(first, last) != 0
    }

    /// Bits of the minutes from `first` to `last`.
    fn mask(&self, first: i64, last: i64) -> u64 {
        let (low, high) = (self.newest - last, self.newest - first);
        if high < 0 || low > 63 {
            return 0;
        }
        let up_to = |bit: i64| u64::MAX >> (63 - bit.clamp(0, 63));
        let below = if low > 0 { up_to(low - 1) } else { 0 };
        up_to(high) & !below
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::{Measures, Who};

    fn minute(source: &str, start_s: i64, length_s: i64) -> Minute {
        let host = std::net::IpAddr::from([10, 0, 0, 1]).into();
        Minute {
            who: Arc::new(Who::address(&host)),
            start_s,
            length_s,
            source: source.into(),
            measures: Measures::default(),
            reported: None,
        }
    }

    #[test]
    fn the_finest_source_decides_and_others_corroborate() {
        let mut finest = Finest::default();
        for at in 0..10 {
            assert!(finest.decides(&minute("packets", at * 60, 60)));
        }
        assert!(!finest.decides(&minute("flow log", 0, 600)));
        assert!(!finest.decides(&minute("flow log", 540, 60)), "the same length came later");
        assert!(finest.decides(&minute("flow log", 600, 600)), "nobody saw that time");
        assert!(finest.decides(&minute("packets", 600, 60)), "finer than what decided");
    }

    #[test]
    fn a_source_does_not_stand_in_its_own_way() {
        let mut finest = Finest::default();
        assert!(finest.decides(&minute("flow log", 0, 600)));
        assert!(finest.decides(&minute("flow log", 0, 600)));
        assert!(finest.decides(&minute("flow log", i64::MAX - 4_000, 600)));
        assert!(finest.decides(&minute("packets", i64::MIN + 60, 60)));
    }
}
