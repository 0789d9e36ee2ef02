//! What is known of the sources of probes over minutes, in bounded memory.
//!
//! Nearly every source that ever sends something unanswered does so once. It is
//! kept as that one probe, in a few bytes, and gets a [`Horizon`] with its
//! second: the same sums, only later.
//!
//! At the cap, sources of which nothing is left in five minutes go first, then
//! the half with the fewest probes, which is counted.

use ahash::RandomState;

use super::horizon::{Horizon, first_second};
use super::scan::Style;
use crate::engine::window::{Host, Register, Table};
use crate::packet::IpVersion;

pub(super) type Key = (Host, Style);

#[derive(Debug, Default)]
pub(super) struct Sources {
    known: Table<Key, Known>,
    keys: RandomState,
    given_up: u64,
    /// Used when there is no room; kept for their memory.
    ranks: Vec<Rank>,
    order: Vec<Rank>,
}

/// Probes of one second that touch no more than one target and one port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Once {
    pub(super) second: i64,
    pub(super) packets: u16,
    pub(super) answers: u16,
    pub(super) target: Register,
    pub(super) port: Register,
}

#[derive(Debug)]
enum Known {
    Once(Once),
    Often(Horizon),
}

/// Who goes first when there is no room: fewest packets, in the high half, then
/// by the key's word. Sources that it can't tell apart go by key.
type Rank = u128;

/// Whether a key's word is that of no other key.
#[inline]
pub(super) fn is_whole_key(word: u64) -> bool {
    word < V6_WORDS
}

/// Words from here on are those of IPv6 sources.
const V6_WORDS: u64 = 1 << 63;

const STYLE_BITS: u32 = 3;
const _: () = assert!(Style::Protocol as u32 >> STYLE_BITS == 0, "the last style fits");

/// A word that sorts as keys do: all of an IPv4 source's, the front of an IPv6
/// one's. Numbers compare faster than addresses.
#[inline]
pub(super) fn word_of((host, style): &Key) -> u64 {
    let address = u128::from_be_bytes(host.address);
    match host.version {
        IpVersion::V4 => u64::from(address as u32) << STYLE_BITS | *style as u64,
        IpVersion::V6 => V6_WORDS | (address >> 65) as u64,
    }
}

impl Known {
    /// Packets since a second that begins a minute.
    fn packets(&self, since_second: i64) -> u64 {
        match self {
            Self::Once(once) if once.second < since_second => 0,
            Self::Once(once) => u64::from(once.packets),
            Self::Often(horizon) => horizon.packets_since(since_second),
        }
    }

    fn rank(&self, key: &Key, since_second: i64) -> Rank {
        u128::from(self.packets(since_second)) << 64 | u128::from(word_of(key))
    }
}

impl Once {
    fn horizon(&self) -> Horizon {
        let mut horizon = Horizon::default();
        let minute = horizon.add(self.second, u64::from(self.packets), u64::from(self.answers));
        minute.targets.raise(self.target);
        minute.ports.raise(self.port);
        horizon
    }
}

impl Sources {
    /// Asks for where a look at a source begins.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        self.known.prefetch(hash);
    }

    pub(super) fn contains(&self, key: &Key, hash: u64) -> bool {
        self.known.get(hash, key).is_some()
    }

    /// Notes a source by its one probe. False, and nothing done, when the
    /// source is known already: then its horizon has to take the probe.
    pub(super) fn note(&mut self, key: Key, hash: u64, once: Once, cap: usize) -> bool {
        if self.known.get(hash, &key).is_some() {
            return false;
        }
        self.make_room(once.second, cap);
        self.known.insert_new(hash, key, Known::Once(once));
        true
    }

    /// All that is known of a source.
    pub(super) fn horizon(&mut self, key: Key, hash: u64, second: i64, cap: usize) -> &mut Horizon {
        let known = match self.known.find(hash, &key) {
            Some(place) => self.known.at(place),
            None => {
                self.make_room(second, cap);
                self.known.insert_new(hash, key, Known::Often(Horizon::default()))
            }
        };
        if let Known::Once(once) = known {
            *known = Known::Often(once.horizon());
        }
        match known {
            Known::Often(horizon) => horizon,
            Known::Once(_) => unreachable!("replaced above"),
        }
    }

    /// How many sources were given up while something was known of them.
    pub(super) fn given_up(&self) -> u64 {
        self.given_up
    }

    /// By which a source is found.
    #[inline]
    pub(super) fn hash(&self, key: &Key) -> u64 {
        self.keys.hash_one(key)
    }

    /// Makes room for one source that is not known yet.
    #[inline]
    fn make_room(&mut self, second: i64, cap: usize) {
        let cap = cap.max(2);
        if self.known.len() >= cap {
            self.give_up_some(second, cap);
        }
    }

    fn give_up_some(&mut self, second: i64, cap: usize) {
        let since = first_second(second);
        let Self { known, ranks, order, .. } = self;
        ranks.clear();
        ranks.extend(known.iter().map(|(key, known)| known.rank(key, since)));
        let of_nothing = ranks.iter().filter(|&&rank| rank >> 64 == 0).count();
        if ranks.len() - of_nothing < cap {
            known.retain(|place, _| ranks[place] >> 64 > 0);
            return;
        }
        // More than the cap where it was a higher one before.
        let given_up = ranks.len() - of_nothing - cap.div_ceil(2);
        order.clone_from(ranks);
        let (lower, &mut first_kept, _) = order.select_nth_unstable(of_nothing + given_up);
        // Of sources with equal ranks the first ones go too.
        let tied = lower.iter().filter(|&&rank| rank == first_kept).count();
        if tied > 0 {
            let equal = known.iter().zip(&mut *ranks).filter(|(_, rank)| **rank == first_kept);
            let mut equal: Vec<_> = equal.map(|((key, _), rank)| (*key, rank)).collect();
            equal.sort_unstable_by_key(|(key, _)| *key);
            equal.into_iter().take(tied).for_each(|(_, rank)| *rank = 0);
        }
        known.retain(|place, _| ranks[place] >= first_kept);
        self.given_up += given_up as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::detect::horizon::Probes;
    use crate::packet::key::mapped;

    /// The same with a horizon for every source from the start.
    #[derive(Default)]
    struct Model {
        known: BTreeMap<Key, Horizon>,
        given_up: u64,
    }

    impl Model {
        fn add(&mut self, key: Key, probe: &Seen, second: i64, cap: usize) {
            if self.known.len() >= cap && !self.known.contains_key(&key) {
                self.known.retain(|_, horizon| horizon.packets(second) > 0);
                if self.known.len() >= cap {
                    let mut all: Vec<_> = self
                        .known
                        .iter()
                        .map(|(key, horizon)| (horizon.packets(second), *key))
                        .collect();
                    all.sort();
                    for (_, key) in &all[..cap / 2] {
                        self.known.remove(key);
                    }
                    self.given_up += cap as u64 / 2;
                }
            }
            probe.add_to(self.known.entry(key).or_default(), second);
        }
    }

    fn v6(front: [u8; 8], last: u8) -> Host {
        let mut address = [0; 16];
        address[..8].copy_from_slice(&front);
        address[15] = last;
        Host { version: IpVersion::V6, address }
    }

    /// Probes of a source in one second.
    #[derive(Clone, Debug)]
    struct Seen {
        source: u8,
        odd: bool,
        packets: u64,
        answers: u64,
        /// Hashes of a target and a port each.
        touched: Vec<(u64, u64)>,
        /// Since the probe before.
        seconds: i64,
    }

    impl Seen {
        fn key(&self) -> Key {
            let style = if self.odd { Style::Odd } else { Style::Syn };
            let host = match self.source {
                0..8 => Host { version: IpVersion::V4, address: mapped([10, 0, 0, self.source]) },
                // A third of a /64, and others.
                8..16 => v6([0x20, 1, 13, 0xb8, 0, 0, 0, 1], self.source),
                _ => v6([self.source; 8], 1),
            };
            (host, style)
        }

        fn add_to(&self, horizon: &mut Horizon, second: i64) {
            let minute = horizon.add(second, self.packets, self.answers);
            for &(target, port) in &self.touched {
                minute.targets.insert(target);
                minute.ports.insert(port);
            }
        }
    }

    prop_compose! {
        fn any_seen()(
            source in 0u8..24,
            odd: bool,
            packets in 0u64..5,
            answers in 0u64..2,
            touched in prop::collection::vec(any::<(u64, u64)>(), 0..3),
            seconds in prop_oneof![8 => Just(0i64), 3 => 1i64..50, 1 => 200i64..700],
        ) -> Seen {
            Seen { source, odd, packets, answers, touched, seconds }
        }
    }

    #[test]
    fn under_a_lower_cap_all_at_once_make_room_and_the_busiest_stay() {
        let mut sources = Sources::default();
        let key = |number: u8| {
            let probe = Seen {
                source: number,
                odd: false,
                packets: 0,
                answers: 0,
                touched: Vec::new(),
                seconds: 0,
            };
            probe.key()
        };
        let once = |packets| Once {
            second: 1_790_000_000,
            packets,
            answers: 0,
            target: Register::default(),
            port: Register::default(),
        };
        for number in 0..20 {
            let (key, once) = (key(number), once(u16::from(number) + 1));
            assert!(sources.note(key, sources.hash(&key), once, 100));
        }
        sources.note(key(20), sources.hash(&key(20)), once(1), 4);
        let is_kept = |&number: &u8| sources.contains(&key(number), sources.hash(&key(number)));
        let kept: Vec<u8> = (0..=20).filter(is_kept).collect();
        assert_eq!(kept, [18, 19, 20]);
        assert_eq!(sources.given_up(), 18);
    }

    proptest! {
        #[test]
        fn the_light_form_knows_what_a_horizon_for_every_source_knows(
            seen in prop::collection::vec(any_seen(), 1..150),
            cap in 2usize..20,
        ) {
            let (mut sources, mut model) = (Sources::default(), Model::default());
            let mut second = 1_790_000_000;
            for probe in &seen {
                second += probe.seconds;
                let key = probe.key();
                model.add(key, probe, second, cap);
                let register = |hash: Option<u64>| hash.map(Register::of).unwrap_or_default();
                let touched = probe.touched.first();
                let once = Once {
                    second,
                    packets: probe.packets as u16,
                    answers: probe.answers as u16,
                    target: register(touched.map(|&(target, _)| target)),
                    port: register(touched.map(|&(_, port)| port)),
                };
                let hash = sources.hash(&key);
                if probe.touched.len() > 1 || !sources.note(key, hash, once, cap) {
                    probe.add_to(sources.horizon(key, hash, second, cap), second);
                }
                prop_assert_eq!(sources.given_up(), model.given_up);
                let is_known = |key: &&Key| sources.contains(key, sources.hash(key));
                let known: Vec<_> = model.known.keys().filter(is_known).collect();
                prop_assert_eq!(known.len(), model.known.len());
                prop_assert_eq!(sources.known.len(), model.known.len());
            }
            let all = |horizon: &Horizon| -> [Probes; 2] {
                [horizon.recent(second), horizon.long(second)]
            };
            for (key, horizon) in &model.known {
                let hash = sources.hash(key);
                let known = sources.horizon(*key, hash, second, usize::MAX);
                prop_assert_eq!(known.packets(second), horizon.packets(second));
                prop_assert_eq!(all(known), all(horizon));
            }
        }
    }
}
