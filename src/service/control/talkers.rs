//! Who talked most in a second: from what each flow did in it.
//!
//! The windows' own tables hold what a detector can ask for, which is less than
//! who talks most. So this looks at the second's rows: at all of them while they
//! are few; beyond that, a first pass sums them up in buckets and a second one
//! only lists those whose bucket is among the heaviest. What is listed is exact.
//! Where the rows were given up, hosts come from the window's sketch.
//!
//! Runs only while somebody watches, or for a report. Start at [`Second::new`].

use std::hash::Hash;

use ahash::{HashMap, RandomState};

use crate::engine::window::{Assembled, Delta, FineSizes, Host};
use crate::output::names::{ICMP, TCP, UDP};
use crate::packet::PacketClass;

/// Entries kept of a second, by bytes and again by packets: several times what
/// is shown, so that who is steady but not first is in every second.
pub(super) const KEPT: usize = 256;
/// Rows up to which no filter is needed.
const FEW_ROWS: usize = 1 << 15;
const BUCKETS: usize = 1 << 14;
/// Entries listed at most. With a million flows of one packet each, the
/// heaviest buckets hold some 60 flows each.
const LISTED: usize = 1 << 16;

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Sum {
    pub(crate) fn add(&mut self, other: Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Both directions: for a host sent and received, for a conversation from the
/// smaller end and to it.
pub(crate) type Both = [Sum; 2];

pub(crate) fn total(both: &Both) -> Sum {
    let mut sum = both[0];
    sum.add(both[1]);
    sum
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tuple {
    pub(crate) a: (Host, u16),
    pub(crate) b: (Host, u16),
    pub(crate) proto: u8,
}

impl Tuple {
    /// And the direction.
    fn of(delta: &Delta) -> (Self, usize) {
        let (src, dst) = ((delta.src, delta.src_port), (delta.dst, delta.dst_port));
        let proto = delta.proto;
        if src <= dst {
            (Self { a: src, b: dst, proto }, 0)
        } else {
            (Self { a: dst, b: src, proto }, 1)
        }
    }
}

/// What a second leaves behind.
#[derive(Debug)]
pub(crate) struct Second {
    pub(crate) second: i64,
    pub(crate) hosts: Ranked<Host>,
    pub(crate) hosts_estimated: bool,
    /// `None` where the rows were given up.
    pub(crate) conversations: Option<Ranked<Tuple>>,
    pub(crate) protocols: Vec<(ProtocolKey, Sum)>,
    pub(crate) sizes: Option<Box<FineSizes>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ProtocolKey {
    Ip(u8),
    /// Of a second whose rows were given up: no bytes are known.
    Class(&'static str),
    NonIp,
}

/// The heaviest, in no order.
#[derive(Debug, Default)]
pub(crate) struct Ranked<K> {
    pub(crate) entries: Vec<(K, Both)>,
    /// No entry was left out.
    pub(crate) complete: bool,
}

impl Second {
    pub(crate) fn new(window: &Assembled, hasher: &RandomState) -> Self {
        let slice = &window.slice;
        let rows = window.deltas().take(FEW_ROWS + 1).count();
        let given_up = rows == 0 && slice.total().packets() > 0;
        let mut protocols = if given_up { classes(window) } else { ip_protocols(window) };
        if slice.non_ip_frames() > 0 {
            let sum = Sum { packets: slice.non_ip_frames(), bytes: slice.non_ip_bytes() };
            protocols.push((ProtocolKey::NonIp, sum));
        }
        let (hosts, conversations) = if given_up {
            (sketched_hosts(window), None)
        } else {
            let (hosts, tuples) = listed(window, rows > FEW_ROWS, hasher);
            (hosts, Some(tuples))
        };
        Self {
            second: slice.second(),
            hosts,
            hosts_estimated: given_up,
            conversations,
            protocols,
            sizes: window.sizes.clone(),
        }
    }
}

fn sum_of(delta: &Delta) -> Sum {
    Sum { packets: u64::from(delta.packets()), bytes: delta.wire_bytes }
}

/// A host that talks to itself has sent and received.
fn host_parts(delta: &Delta) -> [(Host, usize); 2] {
    [(delta.src, 0), (delta.dst, 1)]
}

fn listed(window: &Assembled, many: bool, hasher: &RandomState) -> (Ranked<Host>, Ranked<Tuple>) {
    let (mut host_filter, mut tuple_filter) = (None, None);
    if many {
        let (mut hosts, mut tuples) = (Buckets::new(), Buckets::new());
        for delta in window.deltas() {
            let sum = sum_of(&delta);
            for (host, _) in host_parts(&delta) {
                hosts.add(hasher.hash_one(host), sum);
            }
            tuples.add(hasher.hash_one(Tuple::of(&delta).0), sum);
        }
        host_filter = Some(hosts.filter());
        tuple_filter = Some(tuples.filter());
    }
    let mut hosts = Listed::new(host_filter, hasher);
    let mut tuples = Listed::new(tuple_filter, hasher);
    for delta in window.deltas() {
        let sum = sum_of(&delta);
        for (host, direction) in host_parts(&delta) {
            hosts.add(host, direction, sum);
        }
        let (tuple, direction) = Tuple::of(&delta);
        tuples.add(tuple, direction, sum);
    }
    (hosts.ranked(), tuples.ranked())
}

/// Sums by hash: never less than that of any key in the bucket.
struct Buckets {
    packets: Vec<u64>,
    bytes: Vec<u64>,
}

fn bucket(hash: u64) -> usize {
    (hash % BUCKETS as u64) as usize
}

impl Buckets {
    fn new() -> Self {
        Self { packets: vec![0; BUCKETS], bytes: vec![0; BUCKETS] }
    }

    fn add(&mut self, hash: u64, sum: Sum) {
        let at = bucket(hash);
        self.packets[at] = self.packets[at].saturating_add(sum.packets);
        self.bytes[at] = self.bytes[at].saturating_add(sum.bytes);
    }

    /// For each bucket whether its keys are listed: the heaviest by either sum.
    fn filter(&self) -> Vec<bool> {
        let floor = |sums: &[u64]| {
            let mut sums = sums.to_vec();
            *sums.select_nth_unstable_by_key(KEPT, |&sum| std::cmp::Reverse(sum)).1
        };
        let (packets, bytes) = (floor(&self.packets), floor(&self.bytes));
        let sums = self.packets.iter().zip(&self.bytes);
        sums.map(|(&p, &b)| p > packets || b > bytes).collect()
    }
}

struct Listed<'a, K> {
    filter: Option<Vec<bool>>,
    hasher: &'a RandomState,
    table: HashMap<K, Both>,
    full: bool,
}

impl<'a, K: Copy + Eq + Hash + Ord> Listed<'a, K> {
    fn new(filter: Option<Vec<bool>>, hasher: &'a RandomState) -> Self {
        Self { filter, hasher, table: HashMap::default(), full: false }
    }

    fn add(&mut self, key: K, direction: usize, sum: Sum) {
        if let Some(filter) = &self.filter
            && !filter[bucket(self.hasher.hash_one(key))]
        {
            return;
        }
        if self.table.len() >= LISTED && !self.table.contains_key(&key) {
            self.full = true;
            return;
        }
        self.table.entry(key).or_default()[direction].add(sum);
    }

    fn ranked(self) -> Ranked<K> {
        let complete = self.filter.is_none() && !self.full;
        let entries = self.table.into_iter().collect();
        let mut ranked = Ranked { entries, complete };
        ranked.truncate(KEPT);
        ranked
    }
}

impl<K: Copy + Ord> Ranked<K> {
    /// Keeps so many by bytes and so many by packets, most bytes first.
    pub(crate) fn truncate(&mut self, kept: usize) {
        let by_packets = |(key, both): &(K, Both)| (std::cmp::Reverse(total(both).packets), *key);
        let by_bytes = |(key, both): &(K, Both)| (std::cmp::Reverse(total(both).bytes), *key);
        let entries = &mut self.entries;
        if entries.len() > kept {
            let mut order: Vec<_> = entries.iter().map(by_packets).collect();
            let last = *order.select_nth_unstable(kept - 1).1;
            entries.select_nth_unstable_by_key(kept, by_bytes);
            let mut rest = entries.split_off(kept);
            let before = rest.len();
            rest.retain(|entry| by_packets(entry) <= last);
            self.complete &= rest.len() == before;
            entries.append(&mut rest);
        }
        entries.sort_unstable_by_key(by_bytes);
    }
}

fn ip_protocols(window: &Assembled) -> Vec<(ProtocolKey, Sum)> {
    let mut sums = [Sum::default(); 256];
    for delta in window.deltas() {
        sums[usize::from(delta.proto)].add(sum_of(&delta));
    }
    let sums = (0..=u8::MAX).zip(sums).filter(|(_, sum)| sum.packets > 0);
    sums.map(|(proto, sum)| (ProtocolKey::Ip(proto), sum)).collect()
}

fn classes(window: &Assembled) -> Vec<(ProtocolKey, Sum)> {
    let tally = window.slice.total();
    let (tcp, udp, icmp) =
        (tally.tcp(), tally.class(PacketClass::Udp), tally.class(PacketClass::Icmp));
    let other = tally.packets().saturating_sub(tcp + udp + icmp);
    let named = [
        (crate::output::names::proto_name(TCP), tcp),
        (crate::output::names::proto_name(UDP), udp),
        (crate::output::names::proto_name(ICMP), icmp),
        ("other", other),
    ];
    let sums = named.into_iter().filter(|&(_, packets)| packets > 0);
    sums.map(|(name, packets)| (ProtocolKey::Class(name), Sum { packets, bytes: 0 })).collect()
}

/// Hosts that stand out of the sketch.
fn sketched_hosts(window: &Assembled) -> Ranked<Host> {
    /// Below it a host is lost in the noise of a bucket.
    const SHARE: u64 = 2_048;
    let slice = &window.slice;
    let floor = slice.total().packets() / SHARE;
    let mut table = HashMap::<Host, Both>::default();
    for (direction, hosts) in [(0, slice.senders()), (1, slice.receivers())] {
        for (host, stats) in hosts.heavy(slice.seed(), floor) {
            let sum = Sum { packets: stats.tally.packets(), bytes: stats.tally.wire_bytes };
            table.entry(host).or_default()[direction].add(sum);
        }
    }
    let mut ranked = Ranked { entries: table.into_iter().collect(), complete: false };
    ranked.truncate(KEPT);
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heavy_among_very_many_are_listed_exactly() {
        const HEAVY: u32 = 50;
        let hasher = RandomState::new();
        // A flow of one packet each, and some that have a few hundred more.
        let rows = || {
            let light = (0..200_000u32).map(|key| (key, Sum { packets: 1, bytes: 60 }));
            let heavy = (0..300 * HEAVY).map(|n| (n % HEAVY, Sum { packets: 1, bytes: 60 }));
            light.chain(heavy)
        };
        let mut buckets = Buckets::new();
        rows().for_each(|(key, sum)| buckets.add(hasher.hash_one(key), sum));
        let mut listed = Listed::new(Some(buckets.filter()), &hasher);
        rows().for_each(|(key, sum)| listed.add(key, 0, sum));
        assert!(listed.table.len() < LISTED / 4, "{}", listed.table.len());
        let ranked = listed.ranked();
        assert!(!ranked.complete);
        let first: Vec<_> = ranked.entries.iter().take(HEAVY as usize).collect();
        let expected = |key| (key, [Sum { packets: 301, bytes: 301 * 60 }, Sum::default()]);
        assert_eq!(first, (0..HEAVY).map(expected).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    }
}
