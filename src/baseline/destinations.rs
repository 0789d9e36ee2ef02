//! Where an entity has sent to of its own accord, by prefix: /24 of IPv4, /48 of IPv6.
//! Whom it answered is not among them: a visit does not make its visitor known, and a
//! server's clients don't take the places of those that it reaches.
//!
//! The [`MOST_PREFIXES`] that were seen last are known one by one; at the bound the one not
//! seen for longest goes. How likely the next one is new is Good and Turing's
//! estimate: of all meetings, the share of those with prefixes that were met once
//! (Good 1953). An entity that meets new ones every minute gains nothing from "new".
//!
//! Names that it reached are kept the same way ([`super::names`]); a prefix has how many
//! flows to it had one.

use super::wire::{Reader, Writer};
use crate::engine::window::Host;
use crate::packet::IpVersion;

/// Prefixes; steps of [`super::code`] begin with as many.
const MOST_PREFIXES: usize = 48;
/// Names: what a service asks for is a dozen, what a person does is always new.
const MOST_NAMES: usize = 32;
/// Meetings from which the share of new ones says anything: the first is always new, and a
/// server that has reached two mirrors does not meet new ones all the time.
const ENOUGH: u32 = 20;

/// A destination prefix that the entity has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Days since the epoch.
    pub first_day: i64,
    pub last_day: i64,
    pub bytes: u64,
}

/// A prefix in one number: the highest bit tells IPv6.
pub(crate) type Prefix = u64;

const V6: u64 = 1 << 63;

pub(crate) fn prefix_of(host: &Host) -> Prefix {
    let [.., a, b, c, _] = host.address;
    let [f, g, h, i, j, k, ..] = host.address;
    match host.version {
        IpVersion::V4 => u64::from_be_bytes([0, 0, 0, 0, 0, a, b, c]),
        IpVersion::V6 => u64::from_be_bytes([0, 0, f, g, h, i, j, k]) | V6,
    }
}

/// `192.0.2.0/24`, `2001:db8::/48`.
pub(super) fn prefix_text(prefix: Prefix) -> String {
    match prefix & V6 {
        0 => format!("{}/24", std::net::Ipv4Addr::from((prefix as u32) << 8)),
        _ => format!("{}/48", std::net::Ipv6Addr::from(u128::from(prefix & !V6) << 80)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Known {
    prefix: Prefix,
    bytes: f32,
    first_day: u16,
    last_day: u16,
    /// Times met, as far as one and more go.
    again: bool,
    /// Of a prefix, flows to it with a name, and without: both halved where one is full.
    named: [u8; 2],
}

/// Prefixes that were reached.
pub(super) type Destinations = Met<MOST_PREFIXES>;
/// Digests of names that were.
pub(super) type Names = Met<MOST_NAMES>;

/// What was met, the `MOST` that were seen last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Met<const MOST: usize> {
    known: Vec<Known>,
    /// A prefix met in a minute is a meeting.
    meetings: u32,
    /// Prefixes met once.
    once: u32,
}

/// What became of the list of prefixes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) come: Option<Prefix>,
    pub(super) gone: Option<Prefix>,
}

/// Days are kept in 16 bits: to the year 2149.
pub(super) fn short(day: i64) -> u16 {
    u16::try_from(day.max(0)).unwrap_or(u16::MAX)
}

impl<const MOST: usize> Met<MOST> {
    pub(super) fn get(&self, prefix: Prefix) -> Option<Destination> {
        self.known.iter().find(|known| known.prefix == prefix).map(Known::told)
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// By bytes, most first.
    pub(super) fn all(&self) -> Vec<(Prefix, Destination)> {
        let mut all: Vec<_> = self.known.iter().map(|known| (known.prefix, known.told())).collect();
        all.sort_by_key(|&(prefix, known)| (u64::MAX - known.bytes, prefix));
        all
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.known.iter().map(|known| known.prefix)
    }

    /// Probability that the next one it meets is new; nothing of too few meetings.
    pub(super) fn newness(&self) -> Option<f64> {
        (self.meetings >= ENOUGH).then(|| f64::from(self.once) / f64::from(self.meetings))
    }

    pub(super) fn meet(&mut self, prefix: Prefix, day: i64, bytes: u64) -> Change {
        let day = short(day);
        self.meetings = self.meetings.saturating_add(1);
        if let Some(known) = self.known.iter_mut().find(|known| known.prefix == prefix) {
            if !known.again {
                known.again = true;
                self.once = self.once.saturating_sub(1);
            }
            known.last_day = known.last_day.max(day);
            known.bytes += bytes as f32;
            return Change::default();
        }
        self.once = self.once.saturating_add(1);
        let new = Known {
            prefix,
            bytes: bytes as f32,
            first_day: day,
            last_day: day,
            again: false,
            named: [0; 2],
        };
        self.known.reserve_exact(1);
        self.known.push(new);
        Change { come: Some(prefix), gone: self.leave_out(MOST) }
    }

    /// A flow to a prefix that is known had a name, or none.
    pub(super) fn note_name(&mut self, prefix: Prefix, is_named: bool) {
        if let Some(known) = self.known.iter_mut().find(|known| known.prefix == prefix) {
            let count = &mut known.named[usize::from(!is_named)];
            *count = count.saturating_add(1);
            known.fit_counts();
        }
    }

    /// Whether flows to a prefix usually have a name.
    pub(super) fn is_named(&self, prefix: Prefix) -> bool {
        let known = self.known.iter().find(|known| known.prefix == prefix);
        known.is_some_and(|known| known.named[0] > known.named[1])
    }

    /// Leaves out the one seen least recently, where there are more.
    pub(super) fn leave_out(&mut self, most: usize) -> Option<Prefix> {
        if self.known.len() <= most {
            return None;
        }
        let age = |known: &Known| (known.last_day, known.bytes.to_bits(), known.prefix);
        let (at, _) = self.known.iter().enumerate().min_by_key(|(_, known)| age(known))?;
        Some(self.known.swap_remove(at).prefix)
    }

    pub(super) fn halve(&mut self, times: u32) {
        self.meetings = self.meetings.checked_shr(times).unwrap_or(0);
        self.once = self.once.checked_shr(times).unwrap_or(0).min(self.meetings);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.meetings = self.meetings.saturating_add(other.meetings);
        self.once = self.once.saturating_add(other.once);
        for theirs in &other.known {
            let mine = self.known.iter_mut().find(|known| known.prefix == theirs.prefix);
            let Some(mine) = mine else {
                self.known.push(*theirs);
                continue;
            };
            let single = u32::from(!mine.again) + u32::from(!theirs.again);
            self.once = self.once.saturating_sub(single);
            mine.again = true;
            mine.bytes += theirs.bytes;
            for (count, more) in mine.named.iter_mut().zip(theirs.named) {
                *count = count.saturating_add(more);
            }
            mine.fit_counts();
            mine.first_day = mine.first_day.min(theirs.first_day);
            mine.last_day = mine.last_day.max(theirs.last_day);
        }
        while self.leave_out(MOST).is_some() {}
        self.known.sort_unstable_by_key(|known| known.prefix);
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.known.capacity() * size_of::<Known>()
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.number(self.meetings.into());
        out.number(self.once.into());
        out.number(self.known.len() as u64);
        for known in &self.known {
            // The version's bit goes last: IPv4 takes four bytes.
            out.number(known.prefix.rotate_left(1));
            out.short_real(known.bytes);
            out.number(known.last_day.into());
            out.number(u64::from(known.last_day.saturating_sub(known.first_day)));
            out.byte(known.again.into());
        }
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Option<Self> {
        let meetings = u32::try_from(from.number()?).ok()?;
        let once = u32::try_from(from.number()?).ok()?;
        let len = from.up_to(MOST as u64)?;
        let mut known = Vec::with_capacity(len as usize);
        for _ in 0..len {
            let prefix = from.number()?.rotate_right(1);
            let bytes = from.short_real().filter(|&bytes| bytes >= 0.0)?;
            let last_day = u16::try_from(from.number()?).ok()?;
            let first_day = last_day.checked_sub(u16::try_from(from.number()?).ok()?)?;
            let again = from.byte()? != 0;
            let named = [0; 2];
            known.push(Known { prefix, bytes, first_day, last_day, again, named });
        }
        Some(Self { known, meetings, once })
    }
}

impl Destinations {
    /// Counts of flows with names, in the order of the prefixes.
    pub(super) fn encode_named(&self, out: &mut Writer) {
        self.known.iter().flat_map(|known| known.named).for_each(|count| out.byte(count));
    }

    pub(super) fn decode_named(&mut self, from: &mut Reader<'_>) -> Option<()> {
        for count in self.known.iter_mut().flat_map(|known| &mut known.named) {
            *count = from.byte()?;
        }
        Some(())
    }
}

impl Names {
    /// Digests have no short form, and no bytes are known of them.
    pub(super) fn encode_short(&self, out: &mut Writer) {
        out.number(self.meetings.into());
        out.number(self.once.into());
        out.number(self.known.len() as u64);
        for known in &self.known {
            out.0.extend(known.prefix.to_le_bytes());
            out.number(known.last_day.into());
            out.number(u64::from(known.last_day.saturating_sub(known.first_day)));
            out.byte(known.again.into());
        }
    }

    pub(super) fn decode_short(from: &mut Reader<'_>) -> Option<Self> {
        let meetings = u32::try_from(from.number()?).ok()?;
        let once = u32::try_from(from.number()?).ok()?;
        let len = from.up_to(MOST_NAMES as u64)?;
        let mut known = Vec::with_capacity(len as usize);
        for _ in 0..len {
            let (digest, rest) = from.0.split_first_chunk()?;
            *from = Reader(rest);
            let last_day = u16::try_from(from.number()?).ok()?;
            let first_day = last_day.checked_sub(u16::try_from(from.number()?).ok()?)?;
            let again = from.byte()? != 0;
            let (prefix, bytes, named) = (u64::from_le_bytes(*digest), 0.0, [0; 2]);
            known.push(Known { prefix, bytes, first_day, last_day, again, named });
        }
        Some(Self { known, meetings, once })
    }
}

impl Known {
    fn fit_counts(&mut self) {
        if self.named.contains(&u8::MAX) {
            self.named = self.named.map(|count| count / 2);
        }
    }

    fn told(&self) -> Destination {
        Destination {
            first_day: self.first_day.into(),
            last_day: self.last_day.into(),
            bytes: self.bytes as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        prefix_of(&Host::from(text.parse::<IpAddr>().expect("an address")))
    }

    #[test]
    fn addresses_of_a_prefix_are_one_destination() {
        assert_eq!(prefix_text(prefix("192.0.2.77")), "192.0.2.0/24");
        assert_eq!(prefix_text(prefix("2001:db8:1:2::77")), "2001:db8:1::/48");
        assert_ne!(prefix("192.0.3.1"), prefix("192.0.2.1"));
    }

    #[test]
    fn the_one_not_seen_for_longest_gives_way() {
        let mut known = Destinations::default();
        for n in 0..MOST_PREFIXES as u64 {
            assert_eq!(known.meet(n, 100 + n as i64, 10).gone, None);
        }
        known.meet(0, 200, 10);
        assert_eq!(known.meet(999, 201, 10).gone, Some(1));
        assert_eq!(known.len(), MOST_PREFIXES);
        let first = known.get(0).expect("seen again");
        assert_eq!((first.first_day, first.last_day, first.bytes), (100, 200, 20));
    }

    #[test]
    fn who_always_meets_new_ones_is_told_from_who_never_does() {
        let (mut wanderer, mut settled) = (Destinations::default(), Destinations::default());
        for n in 0..500 {
            wanderer.meet(n, 1, 1);
            settled.meet(n % 5, 1, 1);
        }
        assert!(wanderer.newness() > Some(0.99));
        assert_eq!(settled.newness(), Some(0.0));
        // Of two meetings nobody is taken for a wanderer.
        let mut young = Destinations::default();
        for n in 0..2 {
            young.meet(n, 1, 1);
        }
        assert_eq!(young.newness(), None);
    }
}
