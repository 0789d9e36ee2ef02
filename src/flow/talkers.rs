//! What each address sent and received, for the summary's top talkers.
//!
//! Exact up to a cap of addresses; beyond it new addresses are only counted.
//! Every ended flow asks for two addresses, so the table lets its memory be
//! asked for ahead.

use std::hash::{BuildHasher, Hasher};

use super::index::Index;
use super::slab::Slab;
use crate::packet::{Address, IpVersion};

/// Addresses kept, for each shard: 64 bytes each and their place in the index.
const MAX_TALKERS: usize = 1 << 19;

/// Bits of the filter, a power of two: 1 MiB, which stays in the second-level cache where
/// the index does not. With [`MAX_TALKERS`] of them set, one address in 16 that has no
/// entry is looked for all the same.
const FILTER_BITS: usize = 1 << 23;

/// What one address sent and received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Talker {
    pub sent_packets: u64,
    pub sent_bytes: u64,
    pub received_packets: u64,
    pub received_bytes: u64,
    pub flows: u64,
}

impl Talker {
    fn add(&mut self, other: Self) {
        self.sent_packets += other.sent_packets;
        self.sent_bytes += other.sent_bytes;
        self.received_packets += other.received_packets;
        self.received_bytes += other.received_bytes;
        self.flows += other.flows;
    }
}

/// One line of the cache for most machines.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Entry {
    sums: Talker,
    address: Address,
    version: IpVersion,
}

/// An address that will be added to: its hash, and where it may be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sought {
    hash: u64,
    guess: Guess,
}

#[derive(Clone, Copy, Debug, Default)]
enum Guess {
    #[default]
    Unknown,
    /// First entry under its hash.
    Entry(u32),
    /// It has no entry and gets none.
    NoRoom,
}

/// Sums by address.
#[derive(Debug)]
pub struct Talkers {
    index: Index,
    entries: Slab<Entry>,
    hash_state: ahash::RandomState,
    /// Of the addresses, once there is no room for more: a flood of others asks for
    /// each of its own just once.
    filter: Vec<u64>,
    /// Addresses of flows that found no place.
    pub dropped: u64,
}

impl Talkers {
    pub(crate) fn new(hash_state: ahash::RandomState) -> Self {
        Self {
            index: Index::new(),
            entries: Slab::new(),
            hash_state,
            filter: Vec::new(),
            dropped: 0,
        }
    }

    /// Takes the memory for so many addresses now.
    pub(crate) fn preallocate(&mut self, addresses: usize) {
        let addresses = addresses.min(MAX_TALKERS);
        self.index.preallocate(addresses);
        self.entries.preallocate(addresses);
    }

    /// Addresses with their sums, in no order.
    pub fn iter(&self) -> impl Iterator<Item = ((IpVersion, Address), &Talker)> {
        (0..self.entries.high_water()).map(|id| {
            let entry = &self.entries[id];
            ((entry.version, entry.address), &entry.sums)
        })
    }

    #[inline]
    fn hash(&self, version: IpVersion, address: &Address) -> u64 {
        let mut hasher = self.hash_state.build_hasher();
        match version {
            IpVersion::V4 => {
                let [.., a, b, c, d] = *address;
                hasher.write_u32(u32::from_ne_bytes([a, b, c, d]));
            }
            IpVersion::V6 => hasher.write_u128(u128::from_ne_bytes(*address)),
        }
        hasher.finish()
    }

    /// First step for an address that will be added to soon.
    #[inline]
    pub(crate) fn seek(&self, version: IpVersion, address: &Address) -> Sought {
        let hash = self.hash(version, address);
        if !self.filter.is_empty() && !self.may_be_known(hash) {
            return Sought { hash, guess: Guess::NoRoom };
        }
        self.index.prefetch(hash);
        Sought { hash, guess: Guess::Unknown }
    }

    /// By the filter.
    #[inline]
    fn may_be_known(&self, hash: u64) -> bool {
        let (word, bit) = filter_place(hash);
        self.filter[word] & bit != 0
    }

    /// From now on no address is entered.
    #[cold]
    fn fill_filter(&mut self) {
        self.filter = vec![0; FILTER_BITS / 64];
        for id in 0..self.entries.high_water() {
            let entry = &self.entries[id];
            let (word, bit) = filter_place(self.hash(entry.version, &entry.address));
            self.filter[word] |= bit;
        }
    }

    /// Second step, some addresses later.
    #[inline]
    pub(crate) fn guess(&self, sought: &mut Sought) {
        if matches!(sought.guess, Guess::NoRoom) {
            return;
        }
        if let Some(id) = self.index.guess(sought.hash) {
            self.entries.prefetch(id, 0);
            sought.guess = Guess::Entry(id);
        } else if self.entries.len() == MAX_TALKERS {
            sought.guess = Guess::NoRoom;
        }
    }

    /// Last step: adds to the address's sums.
    #[inline]
    pub(crate) fn add(
        &mut self,
        version: IpVersion,
        address: &Address,
        sought: Sought,
        sums: Talker,
    ) {
        let entries = &self.entries;
        let is_it = |id| {
            let entry: &Entry = &entries[id];
            entry.address == *address && entry.version == version
        };
        let found = match sought.guess {
            Guess::Entry(id) if is_it(id) => Some(id),
            Guess::NoRoom => None,
            // It may have been entered since.
            Guess::Unknown | Guess::Entry(_) => self.index.find(sought.hash, is_it),
        };
        if let Some(id) = found {
            self.entries[id].sums.add(sums);
        } else if self.entries.len() < MAX_TALKERS {
            let id = self.entries.insert(Entry { sums, address: *address, version });
            self.index.insert(sought.hash, id);
            if self.entries.len() == MAX_TALKERS {
                self.fill_filter();
            }
        } else {
            self.dropped += 1;
        }
    }

    /// Adds another shard's sums; together they may be more than the cap.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.dropped += other.dropped;
        for ((version, address), sums) in other.iter() {
            let hash = self.hash(version, &address);
            let entries = &self.entries;
            let found = self.index.find(hash, |id| {
                let entry = &entries[id];
                entry.address == address && entry.version == version
            });
            if let Some(id) = found {
                self.entries[id].sums.add(*sums);
            } else {
                let id = self.entries.insert(Entry { sums: *sums, address, version });
                self.index.insert(hash, id);
            }
        }
    }
}

/// The index takes the low bits of a hash.
#[inline]
fn filter_place(hash: u64) -> (usize, u64) {
    let bit = (hash >> 32) as usize % FILTER_BITS;
    (bit / 64, 1 << (bit % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::key::mapped;

    fn talkers() -> Talkers {
        Talkers::new(ahash::RandomState::with_seeds(1, 2, 3, 4))
    }

    fn add(talkers: &mut Talkers, n: u32, sent_bytes: u64) {
        let address = mapped(n.to_be_bytes());
        let mut sought = talkers.seek(IpVersion::V4, &address);
        if n.is_multiple_of(2) {
            talkers.guess(&mut sought);
        }
        let sums = Talker { sent_bytes, flows: 1, ..Talker::default() };
        talkers.add(IpVersion::V4, &address, sought, sums);
    }

    #[test]
    fn sums_are_the_same_in_one_table_and_in_two_merged() {
        let (mut whole, mut left, mut right) = (talkers(), talkers(), talkers());
        for n in 0..10_000u32 {
            let (who, bytes) = (n % 977, u64::from(n));
            add(&mut whole, who, bytes);
            add(if n % 3 == 0 { &mut left } else { &mut right }, who, bytes);
        }
        left.merge(&right);
        let sorted = |talkers: &Talkers| {
            let mut all: Vec<_> = talkers.iter().map(|(who, sums)| (who, *sums)).collect();
            all.sort_unstable_by_key(|&(who, _)| who);
            all
        };
        assert_eq!(sorted(&whole), sorted(&left));
        assert_eq!(whole.iter().map(|(_, sums)| sums.flows).sum::<u64>(), 10_000);
    }

    #[test]
    fn at_the_cap_known_addresses_go_on_and_new_ones_are_counted() {
        let mut talkers = talkers();
        for n in 0..MAX_TALKERS as u32 + 100 {
            add(&mut talkers, n, 1);
        }
        add(&mut talkers, 7, 5);
        assert_eq!((talkers.dropped, talkers.iter().count()), (100, MAX_TALKERS));
        let seven = talkers.iter().find(|((_, address), _)| *address == mapped([0, 0, 0, 7]));
        assert_eq!(seven.map(|(_, sums)| sums.sent_bytes), Some(6));
    }
}
