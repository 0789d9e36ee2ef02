//! The first look at a second's rows: what may matter, in fixed memory.
//!
//! Each filter is an array of sums by hash. A sum is that of all keys of its
//! bucket, so at least that of each of them: nothing that reaches a floor is
//! ever missed, and what shares a bucket with it comes along. The first look
//! leaves the buckets of each row behind as its [`Places`]; the second asks
//! [`Filters::roles`] with these in which tables the row belongs, and need not
//! touch the rows that belong in none.

use super::hash::Seed;
use super::log::{Counts, FlowSecond, Single};
use super::services::is_amplifier;
use super::tally::is_icmp_request;
use super::{Host, Roles};
use crate::detect::Interest;
use crate::detect::interest::{Glance, may_probe};
use crate::memory::prefetch;
use crate::packet::facts::PACKET_CLASSES;
use crate::packet::{IpVersion, PacketClass};

/// Buckets by host: 256 KiB a sum stay in the second-level cache, and five
/// million packets spread over them stay far under the floors.
const HOST_BITS: u32 = 16;
/// Buckets by prefix, 16 bytes each.
const PREFIX_BITS: u32 = 15;
/// Bits by pair: as many pairs as a slice may hold set 6 % of them.
const PAIR_BITS: u32 = 20;

/// What is looked for in one second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) one_sided: bool,
    /// Some host may reach a floor.
    pub(super) hosts: bool,
    /// Some prefix may.
    pub(super) prefixes: bool,
    /// Who sends to group addresses is asked for.
    pub(super) group: bool,
    /// So few packets that every pair is kept.
    pub(super) all_pairs: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct PrefixSum {
    /// One bit for each HyperLogLog register that the members would fill.
    members: u64,
    packets: u32,
}

/// Where a row is in the filters. Twelve bytes: there are as many as rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    src: u16,
    dst: u16,
    src_prefix: u16,
    dst_prefix: u16,
    /// Bit of the pair, or one of the values below.
    pair: u32,
}

/// A row's places, and the hashes of its ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) src_hash: u64,
    pub(super) dst_hash: u64,
    pub(super) places: Places,
}

impl Look {
    pub(super) const NONE: Self = Self { src_hash: 0, dst_hash: 0, places: Places::NONE };
}

/// Only what the source is about is still to be counted.
const SOURCE_ONLY: u32 = u32::MAX - 1;
/// Nothing is.
const NOTHING: u32 = u32::MAX;

impl Places {
    /// Of a row whose packet is in another one.
    pub(super) const NONE: Self =
        Self { src: 0, dst: 0, src_prefix: 0, dst_prefix: 0, pair: NOTHING };

    /// Those of packets the other way.
    #[inline]
    pub(super) fn back(self) -> Self {
        let Self { src, dst, src_prefix, dst_prefix, pair } = self;
        Self { src: dst, dst: src, src_prefix: dst_prefix, dst_prefix: src_prefix, pair }
    }
}

#[derive(Debug)]
pub(super) struct Filters {
    seed: Seed,
    /// Pairs that a slice may hold.
    most_pairs: usize,
    traffic: Box<HostSums>,
    syn: Box<HostSums>,
    amplified_bytes: Box<HostSums>,
    prefixes: Vec<PrefixSum>,
    /// Buckets that reached a floor.
    heavy_hosts: Box<[u64; HOSTS / 64]>,
    heavy_prefixes: Vec<u64>,
    any_heavy_prefix: bool,
    pairs: Vec<u64>,
    /// Bits of these that are set.
    pairs_seen: usize,
}

const HOSTS: usize = 1 << HOST_BITS;

/// As many as places can name: none of them has to be checked.
type HostSums = [u32; HOSTS];

const _: () = assert!(HOST_BITS == 16 && PREFIX_BITS <= 16, "places are 16 bits");

#[inline]
fn host_index(hash: u64) -> u16 {
    (hash >> (64 - HOST_BITS)) as u16
}

#[inline]
fn add(sums: &mut HostSums, index: u16, more: u32) {
    let sum = &mut sums[usize::from(index)];
    *sum = sum.saturating_add(more);
}

#[inline]
fn is_set(bits: &[u64], index: usize) -> bool {
    bits[index / 64] >> (index % 64) & 1 == 1
}

impl Filters {
    pub(super) fn new(seed: Seed, most_pairs: usize) -> Self {
        Self {
            seed,
            most_pairs,
            traffic: Box::new([0; HOSTS]),
            syn: Box::new([0; HOSTS]),
            amplified_bytes: Box::new([0; HOSTS]),
            prefixes: vec![PrefixSum::default(); 1 << PREFIX_BITS],
            heavy_hosts: Box::new([0; HOSTS / 64]),
            heavy_prefixes: vec![0; (1 << PREFIX_BITS) / 64],
            any_heavy_prefix: false,
            pairs: vec![0; (1 << PAIR_BITS) / 64],
            pairs_seen: 0,
        }
    }

    /// Forgets the second before.
    pub(super) fn clear(&mut self, plan: &Plan) {
        if plan.hosts {
            self.traffic.fill(0);
            self.syn.fill(0);
            self.amplified_bytes.fill(0);
        }
        if plan.prefixes {
            self.prefixes.fill(PrefixSum::default());
        }
        if self.pairs_seen > 0 {
            self.pairs.fill(0);
            self.pairs_seen = 0;
        }
    }

    /// Where a row between these ends will be counted; asks for its memory.
    #[inline]
    pub(super) fn look(&self, src: &Host, dst: &Host, plan: &Plan) -> Look {
        let (src_hash, dst_hash) = (self.seed.host(src), self.seed.host(dst));
        let places = self.places((src, src_hash), (dst, dst_hash), plan);
        if plan.hosts {
            prefetch(&self.traffic[usize::from(places.src)]);
            prefetch(&self.traffic[usize::from(places.dst)]);
        }
        if plan.prefixes {
            prefetch(&self.prefixes[usize::from(places.dst_prefix)]);
        }
        Look { src_hash, dst_hash, places }
    }

    /// First look at a flow's row.
    #[inline]
    pub(super) fn see_flow(&mut self, row: &FlowSecond, look: &Look, plan: &Plan) {
        let &Look { src_hash: hash_a, dst_hash: hash_b, places } = look;
        let [there, back] = &row.counts;
        if plan.hosts {
            let packets = u32::from(there.packets) + u32::from(back.packets);
            add(&mut self.traffic, places.src, packets);
            add(&mut self.traffic, places.dst, packets);
            self.see_direction(there, row.port_a, places);
            self.see_direction(back, row.port_b, places.back());
        }
        if plan.prefixes {
            self.see_prefix(places.dst_prefix, hash_b, u32::from(there.packets));
            self.see_prefix(places.src_prefix, hash_a, u32::from(back.packets));
        }
        if self.wants_pairs(plan) {
            let glance = |counts, port| Glance::<'_, u16> {
                classes: classes_of(counts),
                requests: has_icmp(counts) && is_icmp_request(row.proto, port),
            };
            let (there, back) = (glance(there, row.port_a), glance(back, row.port_b));
            if may_probe(&there, &back, plan.one_sided) || may_probe(&back, &there, plan.one_sided)
            {
                self.see_pair(places);
            }
        }
    }

    /// First look at a packet by itself.
    #[inline]
    pub(super) fn see_single(&mut self, row: &Single, look: &Look, plan: &Plan) {
        let &Look { dst_hash, places, .. } = look;
        if plan.hosts {
            add(&mut self.traffic, places.src, 1);
            add(&mut self.traffic, places.dst, 1);
            if row.class == PacketClass::TcpSyn {
                add(&mut self.syn, places.dst, 1);
            }
            if row.class == PacketClass::Udp && is_amplifier(row.src_port) {
                add(&mut self.amplified_bytes, places.src, row.wire_bytes);
            }
        }
        if plan.prefixes {
            self.see_prefix(places.dst_prefix, dst_hash, 1);
        }
        if self.wants_pairs(plan) && single_may_probe(row, plan.one_sided) {
            self.see_pair(places);
        }
    }

    /// More pairs than a slice may hold are certain to be counted: each bit
    /// stands for another two hosts, and at least one direction between them.
    #[inline]
    pub(super) fn has_too_many_pairs(&self) -> bool {
        self.pairs_seen > self.most_pairs
    }

    /// Tables that a row belongs in whatever is still to be seen, and its
    /// places without what these are about. In a flood that is nearly every
    /// row, and saves it the second look.
    #[inline]
    pub(super) fn early_roles(
        &self,
        places: Places,
        plan: &Plan,
        interest: &Interest,
    ) -> Option<(Roles, Places)> {
        let sum = self.traffic[usize::from(places.dst)];
        let early = plan.hosts && self.has_too_many_pairs() && u64::from(sum) >= interest.traffic;
        let roles = Roles { receiver: true, dst_service: true, ..Roles::NONE };
        early.then_some((roles, Places { pair: SOURCE_ONLY, ..places }))
    }

    /// Finds the buckets over the floors, once all rows were seen.
    pub(super) fn decide(&mut self, plan: &Plan, interest: &Interest) {
        if plan.hosts {
            let heavy = &mut self.heavy_hosts[..];
            heavy.fill(0);
            mark_heavy(heavy, &self.traffic, interest.traffic);
            mark_heavy(heavy, &self.syn, interest.syn);
            mark_heavy(heavy, &self.amplified_bytes, interest.amplified_bytes);
        }
        if plan.prefixes {
            let heavy = |sum: &PrefixSum| {
                u64::from(sum.packets) >= interest.prefix_packets
                    && sum.members.count_ones() >= interest.prefix_members
            };
            let words = self.heavy_prefixes.iter_mut().zip(self.prefixes.as_chunks().0);
            for (word, sums) in words {
                *word = if sums.iter().any(heavy) { bits_of(sums, heavy) } else { 0 };
            }
        }
        self.any_heavy_prefix = plan.prefixes && self.heavy_prefixes.iter().any(|&bits| bits != 0);
    }

    /// Tables that packets with these places belong in, in so far as they are
    /// not counted yet; the one of pairs only where it is still asked for.
    #[inline]
    pub(super) fn roles(
        &self,
        places: Places,
        plan: &Plan,
        pairs: bool,
        is_group: impl FnOnce() -> bool,
    ) -> Roles {
        if places.pair == NOTHING {
            return Roles::NONE;
        }
        let host = |at| plan.hosts && is_set(&self.heavy_hosts[..], usize::from(at));
        let prefix = |at| self.any_heavy_prefix && is_set(&self.heavy_prefixes, usize::from(at));
        let src_heavy = host(places.src);
        let sender = src_heavy || prefix(places.src_prefix);
        if places.pair == SOURCE_ONLY {
            return Roles { sender, src_service: src_heavy, ..Roles::NONE };
        }
        let dst_heavy = host(places.dst);
        let receiver = dst_heavy || prefix(places.dst_prefix);
        let pair = pairs
            && (sender
                || receiver
                || plan.all_pairs
                || is_set(&self.pairs, places.pair as usize)
                || plan.group && is_group());
        Roles { receiver, sender, pair, src_service: src_heavy, dst_service: dst_heavy }
    }

    #[inline]
    fn places(&self, src: (&Host, u64), dst: (&Host, u64), plan: &Plan) -> Places {
        let prefix = |host| if plan.prefixes { self.prefix_index(host) } else { 0 };
        // Nobody asks for the bit where pairs are all kept, or given up.
        let pair = if self.wants_pairs(plan) { self.pair_index(src.1, dst.1) } else { 0 };
        Places {
            src: host_index(src.1),
            dst: host_index(dst.1),
            src_prefix: prefix(src.0),
            dst_prefix: prefix(dst.0),
            pair,
        }
    }

    #[inline]
    fn see_direction(&mut self, counts: &Counts, port: u16, places: Places) {
        let syn = counts.classes[PacketClass::TcpSyn as usize];
        if syn > 0 {
            add(&mut self.syn, places.dst, u32::from(syn));
        }
        if counts.classes[PacketClass::Udp as usize] > 0 && is_amplifier(port) {
            add(&mut self.amplified_bytes, places.src, counts.wire_bytes);
        }
    }

    #[inline]
    fn see_prefix(&mut self, index: u16, dst_hash: u64, packets: u32) {
        if packets > 0 {
            let sum = &mut self.prefixes[usize::from(index)];
            sum.packets = sum.packets.saturating_add(packets);
            sum.members |= 1 << (dst_hash % 64);
        }
    }

    #[inline]
    fn wants_pairs(&self, plan: &Plan) -> bool {
        !plan.all_pairs && !self.has_too_many_pairs()
    }

    #[inline]
    fn see_pair(&mut self, places: Places) {
        let index = places.pair as usize;
        self.pairs_seen += usize::from(!is_set(&self.pairs, index));
        self.pairs[index / 64] |= 1 << (index % 64);
    }

    /// Bucket of the /24 or /64 that a host is in.
    #[inline]
    fn prefix_index(&self, host: &Host) -> u16 {
        let value = u128::from_be_bytes(host.address);
        let prefix = match host.version {
            IpVersion::V4 => value as u64 >> 8,
            IpVersion::V6 => (value >> 64) as u64,
        };
        (self.seed.word(prefix) >> (64 - PREFIX_BITS)) as u16
    }

    /// The same for both directions.
    #[inline]
    fn pair_index(&self, one: u64, other: u64) -> u32 {
        (self.seed.word(one.wrapping_add(other)) >> (64 - PAIR_BITS)) as u32
    }
}

/// What a packet by itself is to [`may_probe`], without counting.
#[inline]
fn single_may_probe(row: &Single, one_sided: bool) -> bool {
    use PacketClass as C;
    match row.class {
        C::TcpOdd | C::TcpSyn | C::TcpSynAck => true,
        C::TcpAck | C::TcpFin | C::Udp | C::Gre | C::OtherIp => !one_sided,
        C::Icmp => !one_sided && is_icmp_request(row.proto, row.src_port),
        C::TcpRst | C::TcpData | C::TcpUnknown => false,
    }
}

fn classes_of(counts: &Counts) -> &[u16; PACKET_CLASSES] {
    &counts.classes
}

fn has_icmp(counts: &Counts) -> bool {
    counts.classes[PacketClass::Icmp as usize] > 0
}

/// Sets the bits of sums that reach a floor. Of most 64 none does, which is soon seen.
fn mark_heavy(words: &mut [u64], sums: &HostSums, floor: u64) {
    let Ok(floor) = u32::try_from(floor) else { return };
    let heavy = |sum: &u32| *sum >= floor;
    for (word, sums) in words.iter_mut().zip(sums.as_chunks().0) {
        if sums.iter().fold(false, |any, sum| any | heavy(sum)) {
            *word |= bits_of(sums, heavy);
        }
    }
}

#[inline]
fn bits_of<T>(sums: &[T; 64], heavy: impl Fn(&T) -> bool) -> u64 {
    sums.iter().enumerate().fold(0, |bits, (at, sum)| bits | u64::from(heavy(sum)) << at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::window::tests::any_packet;
    use crate::packet::{Address, row_flag};

    #[test]
    fn a_packet_by_itself_is_judged_as_a_row_of_one_packet() {
        for class in PacketClass::ALL {
            for (icmp_type, one_sided) in [(8, false), (8, true), (0, false), (3, false)] {
                let mut packet = any_packet();
                packet.flags |= row_flag::FORWARD;
                packet.class = class;
                packet.key.proto = if class == PacketClass::Icmp { 1 } else { 6 };
                packet.key.port_a = icmp_type;
                let single = Single::new(&packet, 0);
                let mut classes = [0u16; PACKET_CLASSES];
                classes[class as usize] = 1;
                let requests = class == PacketClass::Icmp && icmp_type == 8;
                let to = Glance { classes: &classes, requests };
                let back = Glance { classes: &[0; PACKET_CLASSES], requests: false };
                let expected = may_probe(&to, &back, one_sided);
                assert_eq!(single_may_probe(&single, one_sided), expected, "{class:?}");
            }
        }
    }

    #[test]
    fn no_key_over_a_floor_is_missed_and_few_under_it_come_along() {
        let interest = Interest {
            traffic: 1_000,
            syn: 256,
            amplified_bytes: 1 << 20,
            prefix_packets: 1_000,
            prefix_members: 8,
            group_frames: 1_000,
        };
        let plan =
            Plan { one_sided: false, hosts: true, prefixes: true, group: false, all_pairs: false };
        let seed = Seed::default();
        let mut filters = Filters::new(seed, usize::MAX);
        let host = |value: u32| -> Address { crate::packet::key::mapped(value.to_be_bytes()) };
        let mut see = |src, dst, packets: u32| {
            let mut packet = any_packet();
            packet.class = PacketClass::TcpData;
            (packet.key.a, packet.key.b) = (host(src), host(dst));
            packet.flags |= row_flag::FORWARD;
            let single = Single::new(&packet, 0);
            let look = filters.look(&single.src(), &single.dst(), &plan);
            for _ in 0..packets {
                filters.see_single(&single, &look, &plan);
            }
        };
        // 50 busy hosts, a prefix of 20 that are busy together, 20,000 others.
        for n in 0..50 {
            see(n << 9, 0xff00_0000 | n << 8, 1_000);
        }
        for n in 0..20 {
            see(0xfe00_0000 | n, 0xc633_6400 | n, 50);
        }
        for n in 0..20_000 {
            see(0x2c00_0000 | (n * 7_919 % 0x00ff_ffff), 0x3c00_0000 | n << 8, 3);
        }
        filters.decide(&plan, &interest);
        let roles = |src, dst| {
            let of = |value| Host { version: IpVersion::V4, address: host(value) };
            let (src, dst) = (of(src), of(dst));
            let places = filters.places((&src, seed.host(&src)), (&dst, seed.host(&dst)), &plan);
            filters.roles(places, &plan, true, || false)
        };
        for n in 0..50 {
            let both = roles(n << 9, 0xff00_0000 | n << 8);
            assert!(both.sender && both.receiver && both.pair, "{n}");
            // Also as the other role.
            let both = roles(0xff00_0000 | n << 8, n << 9);
            assert!(both.sender && both.receiver && both.pair, "{n}");
        }
        for n in 0..20 {
            let there = roles(0xfe00_0000 | n, 0xc633_6400 | n);
            assert!(there.receiver && there.pair && !there.dst_service, "{n}");
            assert!(roles(0xc633_6400 | n, 0xfe00_0000 | n).sender);
        }
        let others = (0..20_000)
            .filter(|n| roles(0x2c00_0000 | (n * 7_919 % 0x00ff_ffff), 0x3c00_0000 | n << 8).any())
            .count();
        assert!(others < 100, "{others}");
    }
}
