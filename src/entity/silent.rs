//! Where what nobody answers goes to, by prefix, in a few places.
//!
//! Misra and Gries (1982): a prefix that has no place takes as much from all that have one
//! as it brings. What is left of each is never more than it got, and at most a
//! seventeenth of all less: what goes to a few is all there, of a spray nothing stays.

use crate::baseline::{Prefix, prefix_of};
use crate::engine::window::Host;

/// Prefixes: backends, collectors and resolvers of one program are fewer.
const PLACES: usize = 16;

/// Packets without an answer, by prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Silent {
    prefixes: [Prefix; PLACES],
    packets: [u64; PLACES],
    len: u8,
}

impl Silent {
    pub(crate) fn add(&mut self, host: &Host, packets: u64) {
        self.add_prefix(prefix_of(host), packets);
    }

    /// What several have together.
    pub(crate) fn join(&mut self, other: &Self) {
        for (prefix, packets) in other.all() {
            self.add_prefix(prefix, packets);
        }
    }

    /// Prefixes with what they got at least.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Prefix, u64)> {
        self.prefixes.iter().copied().zip(self.packets).take(self.len.into())
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    fn add_prefix(&mut self, prefix: Prefix, mut packets: u64) {
        let len = usize::from(self.len);
        if let Some(at) = self.prefixes[..len].iter().position(|&known| known == prefix) {
            self.packets[at] = self.packets[at].saturating_add(packets);
            return;
        }
        if len == PLACES {
            let taken = self.packets.iter().copied().fold(packets, u64::min);
            packets -= taken;
            let mut left = 0;
            for at in 0..PLACES {
                if self.packets[at] > taken {
                    self.prefixes[left] = self.prefixes[at];
                    self.packets[left] = self.packets[at] - taken;
                    left += 1;
                }
            }
            self.len = left as u8;
        }
        // Where it brought more than the least had, that one's place is free.
        if packets > 0 {
            let at = usize::from(self.len);
            (self.prefixes[at], self.packets[at]) = (prefix, packets);
            self.len += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn host(prefix: u8, last: u8) -> Host {
        Host::from(IpAddr::from([10, 0, prefix, last]))
    }

    proptest! {
        #[test]
        fn none_has_more_than_it_got_nor_much_less(
            sent in prop::collection::vec((0u8..40, any::<u8>(), 0u64..1_000), 0..300),
        ) {
            let (mut silent, mut model) = (Silent::default(), BTreeMap::new());
            for &(prefix, last, packets) in &sent {
                silent.add(&host(prefix, last), packets);
                *model.entry(prefix_of(&host(prefix, last))).or_insert(0) += packets;
            }
            let total: u64 = model.values().sum();
            let kept: BTreeMap<_, _> = silent.all().collect();
            prop_assert_eq!(kept.len(), silent.all().count());
            for (prefix, &got) in &model {
                let least = kept.get(prefix).copied().unwrap_or(0);
                prop_assert!(least <= got && got - least <= total / (PLACES as u64 + 1));
            }
            if model.len() <= PLACES {
                prop_assert_eq!(kept.values().sum::<u64>(), total);
            }
        }
    }

    #[test]
    fn of_a_spray_nothing_stays_and_joined_ones_add_up() {
        let mut spray = Silent::default();
        (0..=254).for_each(|prefix| spray.add(&host(prefix, 1), 1));
        assert_eq!(spray.all().map(|(_, packets)| packets).sum::<u64>(), 0);
        let [mut one, mut other] = [Silent::default(), Silent::default()];
        one.add(&host(1, 1), 5);
        other.add(&host(1, 2), 6);
        other.add(&host(2, 1), 7);
        one.join(&other);
        let all: Vec<_> = one.all().collect();
        assert_eq!(all, [(prefix_of(&host(1, 0)), 11), (prefix_of(&host(2, 0)), 7)]);
        one.clear();
        assert_eq!(one.all().count(), 0);
    }
}
