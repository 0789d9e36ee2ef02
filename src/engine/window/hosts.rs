//! Receivers or senders of a second: exact while they are few, a sketch and
//! prefixes when they are many.

use super::counted::Counted;
use super::hash::{Seed, halves};
use super::hll::Hll;
use super::sketch::HostSketch;
use super::table::{Coarse, Coarsen, Merge, Table};
use super::tally::{HostEntry, HostStats};
use super::{Caps, Host};
use crate::packet::{Address, IpVersion};

/// A block of addresses. Levels: /24 and /64, /16 and /48, /8 and /32, all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    pub version: IpVersion,
    /// Bits of the address family (24 of 32, 64 of 128).
    pub bits: u8,
    pub address: Address,
}

const PREFIX_BITS: [(u8, u8); 4] = [(24, 64), (16, 48), (8, 32), (0, 0)];

impl Prefix {
    /// The /24 or /64 that a host is in.
    pub fn of(host: &Host) -> Self {
        Self { version: host.version, bits: 0, address: host.address }.at_level(0)
    }

    pub fn contains(&self, host: &Host) -> bool {
        if self.bits == 0 {
            return true; // the last level holds both versions
        }
        host.version == self.version && masked(&host.address, self.full_bits()) == self.address
    }

    /// Prefix length within the 16 bytes.
    fn full_bits(&self) -> u32 {
        match self.version {
            IpVersion::V4 => 96 + u32::from(self.bits),
            IpVersion::V6 => u32::from(self.bits),
        }
    }

    fn at_level(self, level: u8) -> Self {
        let (v4, v6) = PREFIX_BITS[usize::from(level).min(PREFIX_BITS.len() - 1)];
        if v4 == 0 {
            return Self { version: IpVersion::V4, bits: 0, address: [0; 16] };
        }
        let bits = if self.version == IpVersion::V4 { v4 } else { v6 };
        let prefix = Self { bits, ..self };
        Self { address: masked(&self.address, prefix.full_bits()), ..prefix }
    }
}

fn masked(address: &Address, bits: u32) -> Address {
    let mask = if bits == 0 { 0 } else { u128::MAX << (128 - bits.min(128)) };
    (u128::from_be_bytes(*address) & mask).to_be_bytes()
}

impl Coarsen for Prefix {
    const LEVELS: u8 = PREFIX_BITS.len() as u8;

    fn coarsen(self, level: u8) -> Self {
        self.at_level(level)
    }

    fn hash(&self, seed: Seed) -> u64 {
        let [high, low] = halves(&self.address);
        seed.mix(high ^ u64::from(self.bits) << 32 ^ (self.version as u64) << 48, low)
    }
}

/// What the addresses of a prefix received or sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrefixStats {
    pub stats: HostStats,
    /// Distinct addresses of the prefix that took part.
    pub members: Hll,
}

impl Merge for PrefixStats {
    fn merge(&mut self, other: &Self) {
        self.stats.merge(&other.stats);
        self.members.merge(&other.members);
    }
}

/// One role (receiver or sender) of all hosts in a second.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTable {
    caps: Caps,
    /// Until the distinct hosts exceed the cap; then everything is in `sketched`.
    table: Option<Table<Host, HostEntry>>,
    sketched: Option<Box<Sketched>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Sketched {
    sketch: HostSketch,
    prefixes: Coarse<Prefix, PrefixStats>,
    distinct: Hll,
}

impl HostTable {
    pub(super) fn new(caps: Caps) -> Self {
        Self { caps, table: Some(Table::default()), sketched: None }
    }

    /// Starts anew; keeps the memory of the exact table, if it is still there.
    pub(super) fn clear(&mut self) {
        self.table.get_or_insert_default().clear();
        self.sketched = None;
    }

    #[inline]
    pub(super) fn add(
        &mut self,
        seed: Seed,
        (host, hash): (Host, u64),
        packets: &impl Counted,
        peer: (Host, u64),
        port: u64,
    ) {
        if let Some(table) = &mut self.table {
            if let Some(entry) = table.get_mut(hash, &host) {
                entry.stats.add(packets, peer.1, port);
                entry.sample.insert(peer.1, peer.0);
                return;
            }
            if table.len() < self.caps.hosts {
                let entry = table.insert_new(hash, host, HostEntry::default());
                entry.stats.add(packets, peer.1, port);
                entry.sample.insert(peer.1, peer.0);
                return;
            }
        }
        let sketched = self.sketch(seed);
        sketched.sketch.add(&host, hash, packets, peer.1, port);
        sketched.distinct.insert(hash);
        let prefix = sketched.prefixes.entry(seed, Prefix::of(&host));
        prefix.stats.add(packets, peer.1, port);
        prefix.members.insert(hash);
    }

    pub(super) fn merge(&mut self, seed: Seed, other: Self) {
        if let Some(theirs) = other.sketched {
            let mine = self.sketch(seed);
            mine.sketch.merge(theirs.sketch);
            mine.prefixes.merge(seed, theirs.prefixes);
            mine.distinct.merge(&theirs.distinct);
        }
        for (host, entry) in other.table.iter().flat_map(Table::iter) {
            self.add_entry(seed, host, entry);
        }
    }

    fn add_entry(&mut self, seed: Seed, host: &Host, entry: &HostEntry) {
        let hash = seed.host(host);
        if let Some(table) = &mut self.table {
            if let Some(mine) = table.get_mut(hash, host) {
                mine.merge(entry);
                return;
            }
            if table.len() < self.caps.hosts {
                table.insert_new(hash, *host, entry.clone());
                return;
            }
        }
        self.sketch(seed).add_entry(seed, host, hash, entry);
    }

    /// The coarse form; steps to it if the table is still exact.
    fn sketch(&mut self, seed: Seed) -> &mut Sketched {
        let caps = self.caps;
        let sketched = self.sketched.get_or_insert_with(|| {
            Box::new(Sketched {
                sketch: HostSketch::new(caps.sketch_buckets),
                prefixes: Coarse::new(caps.prefixes),
                distinct: Hll::default(),
            })
        });
        if let Some(table) = self.table.take() {
            for (host, entry) in table.iter() {
                sketched.add_entry(seed, host, seed.host(host), entry);
            }
        }
        sketched
    }

    /// Every host is in the table with exact sums.
    pub fn is_exact(&self) -> bool {
        self.table.is_some()
    }

    /// Distinct hosts: exact, or an estimate once the table overflowed.
    pub fn distinct(&self) -> u64 {
        match (&self.table, &self.sketched) {
            (Some(table), _) => table.len() as u64,
            (None, Some(sketched)) => sketched.distinct.estimate(),
            (None, None) => 0,
        }
    }

    /// The exact table, if there is one.
    pub fn exact(&self) -> Option<&Table<Host, HostEntry>> {
        self.table.as_ref()
    }

    /// Hosts with at least `floor` packets by address; estimates once the
    /// table overflowed, and then only those that stand out.
    pub fn heavy(&self, seed: Seed, floor: u64) -> Vec<(Host, HostStats)> {
        match (&self.table, &self.sketched) {
            (Some(table), _) => {
                let mut found: Vec<_> = table
                    .iter()
                    .filter(|(_, entry)| entry.stats.tally.packets() >= floor)
                    .map(|(host, entry)| (*host, entry.stats.clone()))
                    .collect();
                found.sort_unstable_by_key(|&(host, _)| host);
                found
            }
            (None, Some(sketched)) => sketched.sketch.heavy(seed, floor),
            (None, None) => Vec::new(),
        }
    }

    /// One host's sums: exact, or estimated once the table overflowed.
    pub fn get(&self, seed: Seed, host: &Host) -> Option<HostStats> {
        match (&self.table, &self.sketched) {
            (Some(table), _) => table.get(seed.host(host), host).map(|entry| entry.stats.clone()),
            (None, sketched) => sketched.as_ref()?.sketch.estimate(seed, host),
        }
    }

    /// Sample of a host's peers; empty once the table overflowed.
    pub fn sample(&self, seed: Seed, host: &Host) -> Vec<Host> {
        self.exact()
            .and_then(|table| table.get(seed.host(host), host))
            .map(|entry| entry.sample.iter().collect())
            .unwrap_or_default()
    }

    /// Bytes allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        let exact = self.table.as_ref().map_or(0, Table::memory_bytes);
        let coarse = self.sketched.as_ref().map_or(0, |sketched| {
            sketched.sketch.memory_bytes() + sketched.prefixes.table().memory_bytes()
        });
        exact + coarse
    }

    /// Sums by prefix, in order: by /24 and /64 from the exact table, by the
    /// finest level that fits once it overflowed.
    pub fn prefixes(&self, seed: Seed) -> Vec<(Prefix, PrefixStats)> {
        let mut found: Vec<_> = match (&self.table, &self.sketched) {
            (Some(table), _) => {
                let mut prefixes = Coarse::<Prefix, PrefixStats>::new(usize::MAX);
                for (host, entry) in table.iter() {
                    let prefix = prefixes.entry(seed, Prefix::of(host));
                    prefix.stats.merge(&entry.stats);
                    prefix.members.insert(seed.host(host));
                }
                prefixes.table().iter().map(|(key, value)| (*key, value.clone())).collect()
            }
            (None, None) => Vec::new(),
            (None, Some(sketched)) => {
                let table = sketched.prefixes.table();
                table.iter().map(|(key, value)| (*key, value.clone())).collect()
            }
        };
        found.sort_unstable_by_key(|&(prefix, _)| prefix);
        found
    }
}

impl Sketched {
    fn add_entry(&mut self, seed: Seed, host: &Host, hash: u64, entry: &HostEntry) {
        self.sketch.add_stats(host, hash, &entry.stats);
        self.distinct.insert(hash);
        let prefix = self.prefixes.entry(seed, Prefix::of(host));
        prefix.stats.merge(&entry.stats);
        prefix.members.insert(hash);
    }
}
