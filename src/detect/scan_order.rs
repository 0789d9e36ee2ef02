//! Puts the hits of a second in the order of their sources and styles: what becomes of them
//! may not depend on a table's order. Many are ordered by counting, which takes as long
//! for each whatever their number.

use super::sources::{Key, is_whole_key, word_of};

/// Places of hits in the order of their sources and styles.
#[derive(Debug, Default)]
pub(super) struct Order {
    places: Vec<Place>,
    /// Room to sort in.
    spare: Vec<Place>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Sorts as source and style do, and may be that of several IPv6 sources.
    pub(super) word: u64,
    pub(super) at: u32,
}

/// Places from which counting is quicker than comparing.
const MANY_PLACES: usize = 1_024;

impl Order {
    /// Orders so many hits by their keys.
    pub(super) fn sort(&mut self, hits: usize, key: impl Fn(usize) -> Key) {
        self.places.clear();
        // Caps are far under 2^32 pairs, and a pair has two hits at most.
        let place = |at| Place { word: word_of(&key(at)), at: at as u32 };
        self.places.extend((0..hits).map(place));
        if hits < MANY_PLACES {
            self.places.sort_unstable();
        } else {
            self.count();
        }
        let whole_keys = self.places.partition_point(|place| is_whole_key(place.word));
        for equal in self.places[whole_keys..].chunk_by_mut(|x, y| x.word == y.word) {
            if equal.len() > 1 {
                equal.sort_unstable_by_key(|place| key(place.at as usize));
            }
        }
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Puts the places in order by some bits of their words at a time, the last ones first,
    /// but for bits that all of them share.
    fn count(&mut self) {
        let first = self.places.first().map_or(0, |place| place.word);
        let differ = self.places.iter().fold(0, |bits, place| bits | (place.word ^ first));
        self.spare.resize(self.places.len(), Place::default());
        const BITS: u32 = 12;
        let some = |word: u64, shift: u32| (word >> shift) as usize % (1 << BITS);
        for shift in (0..u64::BITS).step_by(BITS as usize).filter(|&shift| some(differ, shift) > 0)
        {
            let digit = |place: &Place| some(place.word, shift);
            let mut starts = [0u32; 1 << BITS];
            self.places.iter().for_each(|place| starts[digit(place)] += 1);
            let mut start = 0;
            for count in &mut starts {
                start += std::mem::replace(count, start);
            }
            for place in &self.places {
                let to = &mut starts[digit(place)];
                self.spare[*to as usize] = *place;
                *to += 1;
            }
            std::mem::swap(&mut self.places, &mut self.spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::detect::scan::Style;
    use crate::engine::window::Host;
    use crate::packet::IpVersion;
    use crate::packet::key::mapped;

    prop_compose! {
        /// One of few sources, IPv4 or of few /64.
        fn any_key()(v6: bool, prefix in 0u8..3, last in 0u8..8, odd: bool) -> Key {
            let version = if v6 { IpVersion::V6 } else { IpVersion::V4 };
            let mut address = if v6 { [0x20; 16] } else { mapped([10, prefix, 0, last]) };
            if v6 {
                (address[1], address[15]) = (prefix, last);
            }
            (Host { version, address }, if odd { Style::Odd } else { Style::Protocol })
        }
    }

    proptest! {
        #[test]
        fn few_or_many_are_in_the_order_of_their_keys(
            keys in prop::collection::vec(any_key(), 0..60),
            times in prop_oneof![Just(1), Just(50)],
        ) {
            let keys = keys.repeat(times);
            let mut order = Order::default();
            order.sort(keys.len(), |at| keys[at]);
            let places: Vec<_> = order.places().iter().map(|place| place.at as usize).collect();
            let ordered: Vec<_> = places.iter().map(|&at| keys[at]).collect();
            let mut expected = keys.clone();
            expected.sort();
            prop_assert_eq!(ordered, expected);
            let mut all = places;
            all.sort_unstable();
            prop_assert!(all.into_iter().eq(0..keys.len()));
        }
    }
}
