//! A profile as bytes: a version, its parts, a digest. Whatever bytes are read, there
//! is a profile or none.

use super::calendar::Calendar;
use super::destinations::{Destinations, Names};
use super::drift::Ceilings;
use super::metric::Metric;
use super::profile::{MOST_BYTES, Profile, VERDICTS};
use super::season::Season;
use super::services::Services;
use super::sketch::Sketch;
use super::verdict::{Said, Verdict};
use super::wire::{Reader, Writer, digest};

/// Rises when older programs can't read what newer ones write.
const VERSION: u8 = 5;
/// Without sizes by service, which come last; who has none is still written so.
const BEFORE_SERVICES: u8 = 4;
/// Without names either, which come before those.
const BEFORE_NAMES: u8 = 3;
/// Without peaks of unanswered packets either, which come before those.
const BEFORE_UNANSWERED: u8 = 2;
/// Without hours of answers either, which come before all.
const BEFORE_ANSWERS: u8 = 1;

/// What a profile gives up, one after the other, where it is too large: figures of
/// the least known hours, then the oldest destinations and names, then the fineness of
/// quantiles, then sizes of the least used services.
const STEPS: [(usize, usize, u8, usize); 5] =
    [(120, 48, 0, 6), (72, 32, 0, 6), (72, 32, 1, 6), (24, 16, 1, 4), (0, 8, 2, 2)];

/// Whether programs that know files of format 1 alone can't read this profile.
pub(super) fn is_newer(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|&version| version > BEFORE_UNANSWERED)
}

impl Profile {
    pub fn encode(&self) -> Vec<u8> {
        let bytes = self.to_bytes();
        if bytes.len() <= MOST_BYTES {
            return bytes;
        }
        let smaller = STEPS.iter().map(|&(hours, destinations, collapses, services)| {
            let mut smaller = self.clone();
            smaller.season.keep_heaviest(hours);
            smaller.answers.iter_mut().for_each(|answers| answers.keep_heaviest(hours));
            while smaller.destinations.leave_out(destinations).is_some() {}
            while smaller.names.leave_out(destinations).is_some() {}
            for sketch in &mut smaller.sketches {
                (0..collapses).for_each(|_| sketch.collapse());
            }
            smaller.services.keep(services);
            smaller.to_bytes()
        });
        smaller.into_iter().find(|bytes| bytes.len() <= MOST_BYTES).unwrap_or_default()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(2048));
        let unanswered = &self.sketches[Metric::PeakUnanswered as usize];
        let has_unanswered = !unanswered.is_empty() || self.ceilings.has(Metric::PeakUnanswered);
        let version = match (has_unanswered, &self.answers) {
            _ if !self.services.is_empty() => VERSION,
            _ if self.named_since > 0 => BEFORE_SERVICES,
            (true, _) => BEFORE_NAMES,
            (false, Some(_)) => BEFORE_UNANSWERED,
            (false, None) => BEFORE_ANSWERS,
        };
        out.byte(version);
        out.signed(self.age);
        out.number(self.minutes);
        self.sketches[..Metric::FIRST].iter().for_each(|sketch| sketch.encode(&mut out));
        self.season.encode(&mut out);
        self.sizes.iter().for_each(|&packets| out.number(packets));
        self.distances.encode(&mut out);
        self.destinations.encode(&mut out);
        self.calendar.encode(&mut out);
        self.legs.iter().for_each(|&bytes| out.number(bytes));
        self.ceilings.encode(&mut out);
        out.number(self.verdicts.len() as u64);
        for said in &self.verdicts {
            out.signed(said.day);
            out.byte(said.verdict.code());
        }
        if version >= BEFORE_NAMES {
            out.byte(self.answers.is_some().into());
        }
        self.answers.iter().for_each(|answers| answers.encode(&mut out));
        if version >= BEFORE_NAMES {
            unanswered.encode(&mut out);
        }
        if version >= BEFORE_SERVICES {
            out.number(self.named_since.into());
            self.names.encode_short(&mut out);
            self.destinations.encode_named(&mut out);
        }
        if version == VERSION {
            self.services.encode(&mut out);
        }
        let Writer(mut bytes) = out;
        let sum = digest(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    /// Nothing of bytes that are damaged, or of another version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, sum) = bytes.split_last_chunk()?;
        if digest(bytes) != u32::from_le_bytes(*sum) {
            return None;
        }
        Self::decode_checked(bytes)
    }

    /// The same of bytes whose digest was right.
    #[doc(hidden)]
    pub fn decode_checked(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        let version = from.byte().filter(|it| (BEFORE_ANSWERS..=VERSION).contains(it))?;
        let mut profile = Self { age: from.signed()?, minutes: from.number()?, ..Self::default() };
        for sketch in &mut profile.sketches[..Metric::FIRST] {
            *sketch = Sketch::decode(&mut from)?;
        }
        profile.season = Season::decode(&mut from)?;
        for packets in &mut profile.sizes {
            *packets = from.number()?;
        }
        profile.distances = Sketch::decode(&mut from)?;
        profile.destinations = Destinations::decode(&mut from)?;
        profile.calendar = Calendar::decode(&mut from)?;
        for bytes in &mut profile.legs {
            *bytes = from.number()?;
        }
        profile.ceilings = Ceilings::decode(&mut from)?;
        for _ in 0..from.up_to(VERDICTS as u64)? {
            let day = from.signed()?;
            profile.verdicts.push(Said { day, verdict: Verdict::of_code(from.byte()?)? });
        }
        let has_answers = match version {
            BEFORE_NAMES.. => from.up_to(1)? == 1,
            version => version == BEFORE_UNANSWERED,
        };
        if has_answers {
            profile.answers = Some(Box::new(Season::decode(&mut from)?));
        }
        if version >= BEFORE_NAMES {
            profile.sketches[Metric::PeakUnanswered as usize] = Sketch::decode(&mut from)?;
        }
        if version >= BEFORE_SERVICES {
            profile.named_since = u16::try_from(from.number()?).ok()?;
            if version == BEFORE_SERVICES && profile.named_since == 0 {
                return None;
            }
            profile.names = Names::decode_short(&mut from)?;
            profile.destinations.decode_named(&mut from)?;
        }
        if version == VERSION {
            profile.services = Services::decode(&mut from)?;
        }
        from.0.is_empty().then_some(profile)
    }
}
