//! Hosts beyond the exact table: a linear sketch that gives heavy ones back.
//!
//! Combinatorial group testing (Cormode and Muthukrishnan, "What's hot and
//! what's not", 2003): rows of buckets, each bucket a full set of sums and one
//! counter for each bit of the address. Where one address has the majority of a
//! bucket, its bits can be read off; hashing it back to the same bucket
//! confirms it. Everything is a sum or a maximum, so sketches merge exactly.
//!
//! Sums read back are estimates: those of the emptiest of the address's
//! buckets, less what an average address adds to it.

use super::Host;
use super::counted::{Classes, Counted};
use super::hash::Seed;
use super::table::Merge;
use super::tally::{HostStats, Tally, add_each};
use crate::packet::IpVersion;
use crate::packet::facts::PACKET_CLASSES;

/// Rows: a heavy host is lost only if another heavy one falls into its bucket
/// in each of them.
const ROWS: usize = 3;

#[derive(Clone, Debug, PartialEq)]
struct Bucket<const BITS: usize> {
    stats: HostStats,
    ones: [u32; BITS],
}

/// Sketch for one IP version: `BITS` is 32 or 128.
#[derive(Clone, Debug, PartialEq)]
struct Rows<const BITS: usize> {
    /// Buckets of one row.
    width: usize,
    buckets: Vec<Bucket<BITS>>,
}

impl<const BITS: usize> Rows<BITS> {
    fn new(width: usize) -> Self {
        let width = width.max(2);
        let empty = Bucket { stats: HostStats::default(), ones: [0; BITS] };
        Self { width, buckets: vec![empty; ROWS * width] }
    }

    fn indices(&self, hash: u64) -> [usize; ROWS] {
        // Different bits of one good hash are independent enough.
        std::array::from_fn(|row| row * self.width + (hash >> (row * 16)) as usize % self.width)
    }

    fn update(
        &mut self,
        host: &Host,
        hash: u64,
        packets: u32,
        mut add: impl FnMut(&mut HostStats),
    ) {
        let value = u128::from_be_bytes(host.address);
        for index in self.indices(hash) {
            let bucket = &mut self.buckets[index];
            add(&mut bucket.stats);
            for (bit, ones) in bucket.ones.iter_mut().enumerate() {
                *ones = ones.saturating_add(packets * (value >> bit & 1) as u32);
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            mine.stats.merge(&theirs.stats);
            add_each(&mut mine.ones, &theirs.ones);
        }
    }

    /// Hosts that have the majority of some bucket with at least `floor`
    /// packets, each once.
    fn heavy(&self, seed: Seed, version: IpVersion, floor: u64) -> Vec<(Host, HostStats)> {
        let mut found = Vec::new();
        for (index, bucket) in self.buckets.iter().enumerate() {
            let packets = bucket.stats.tally.packets();
            if packets < floor.max(1) {
                continue;
            }
            let mut value = 0u128;
            for (bit, &ones) in bucket.ones.iter().enumerate() {
                value |= u128::from(u64::from(ones) * 2 > packets) << bit;
            }
            if version == IpVersion::V4 {
                value |= MAPPED_PREFIX;
            }
            let host = Host { version, address: value.to_be_bytes() };
            if !self.indices(seed.host(&host)).contains(&index) {
                continue;
            }
            let stats = self.estimate(seed, &host);
            if stats.tally.packets() >= floor {
                found.push((host, stats));
            }
        }
        found.sort_unstable_by_key(|&(host, _)| host);
        found.dedup_by_key(|(host, _)| *host);
        found
    }

    fn estimate(&self, seed: Seed, host: &Host) -> HostStats {
        let indices = self.indices(seed.host(host));
        let emptiest = indices
            .into_iter()
            .min_by_key(|&index| (self.buckets[index].stats.tally.packets(), index))
            .unwrap_or(indices[0]);
        let row = emptiest / self.width;
        let mut stats = self.buckets[emptiest].stats.clone();
        remove_average(&mut stats.tally, &self.row_total(row), self.width);
        stats
    }

    fn row_total(&self, row: usize) -> Tally {
        let mut total = Tally::default();
        for bucket in &self.buckets[row * self.width..(row + 1) * self.width] {
            total.merge(&bucket.stats.tally);
        }
        total
    }
}

/// IPv4-mapped prefix of an IPv4 host's 16 bytes.
const MAPPED_PREFIX: u128 = 0xffff << 32;

/// Takes off what the other buckets of the row hold on average.
fn remove_average(tally: &mut Tally, row: &Tally, width: usize) {
    let others = width as u32 - 1;
    let less = |mine: u32, all: u32| mine.saturating_sub(all.saturating_sub(mine) / others);
    let less_bytes =
        |mine: u64, all: u64| mine.saturating_sub(all.saturating_sub(mine) / u64::from(others));
    for class in 0..PACKET_CLASSES {
        tally.classes[class] = less(tally.classes[class], row.classes[class]);
    }
    for (mine, &all) in tally.sizes.iter_mut().zip(&row.sizes) {
        *mine = less(*mine, all);
    }
    tally.wire_bytes = less_bytes(tally.wire_bytes, row.wire_bytes);
    tally.payload_bytes = less_bytes(tally.payload_bytes, row.payload_bytes);
    tally.fragments = less(tally.fragments, row.fragments);
    tally.icmp_requests = less(tally.icmp_requests, row.icmp_requests);
    tally.icmp_replies = less(tally.icmp_replies, row.icmp_replies);
    tally.icmp_errors = less(tally.icmp_errors, row.icmp_errors);
}

/// Sketch of hosts of both versions, each allocated with its first host.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HostSketch {
    width: usize,
    v4: Option<Box<Rows<32>>>,
    v6: Option<Box<Rows<128>>>,
}

impl HostSketch {
    pub(super) fn new(width: usize) -> Self {
        Self { width, v4: None, v6: None }
    }

    pub(super) fn add(
        &mut self,
        host: &Host,
        hash: u64,
        packets: &impl Counted,
        peer: u64,
        port: u64,
    ) {
        let count = packets.packets_of(Classes::ALL);
        self.update(host, hash, count, |stats| stats.add(packets, peer, port));
    }

    pub(super) fn add_stats(&mut self, host: &Host, hash: u64, add: &HostStats) {
        let packets = u32::try_from(add.tally.packets()).unwrap_or(u32::MAX);
        self.update(host, hash, packets, |stats| stats.merge(add));
    }

    fn update(&mut self, host: &Host, hash: u64, packets: u32, add: impl FnMut(&mut HostStats)) {
        let width = self.width;
        match host.version {
            IpVersion::V4 => {
                let rows = self.v4.get_or_insert_with(|| Box::new(Rows::new(width)));
                rows.update(host, hash, packets, add);
            }
            IpVersion::V6 => {
                let rows = self.v6.get_or_insert_with(|| Box::new(Rows::new(width)));
                rows.update(host, hash, packets, add);
            }
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        match (&mut self.v4, other.v4) {
            (Some(mine), Some(theirs)) => mine.merge(&theirs),
            (mine @ None, theirs) => *mine = theirs,
            (Some(_), None) => {}
        }
        match (&mut self.v6, other.v6) {
            (Some(mine), Some(theirs)) => mine.merge(&theirs),
            (mine @ None, theirs) => *mine = theirs,
            (Some(_), None) => {}
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let v4 = self.v4.as_ref().map_or(0, |rows| size_of_val(rows.buckets.as_slice()));
        let v6 = self.v6.as_ref().map_or(0, |rows| size_of_val(rows.buckets.as_slice()));
        v4 + v6
    }

    pub(super) fn heavy(&self, seed: Seed, floor: u64) -> Vec<(Host, HostStats)> {
        let mut found = Vec::new();
        if let Some(rows) = &self.v4 {
            found.extend(rows.heavy(seed, IpVersion::V4, floor));
        }
        if let Some(rows) = &self.v6 {
            found.extend(rows.heavy(seed, IpVersion::V6, floor));
        }
        found
    }

    pub(super) fn estimate(&self, seed: Seed, host: &Host) -> Option<HostStats> {
        match host.version {
            IpVersion::V4 => self.v4.as_ref().map(|rows| rows.estimate(seed, host)),
            IpVersion::V6 => self.v6.as_ref().map(|rows| rows.estimate(seed, host)),
        }
    }
}
