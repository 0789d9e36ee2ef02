//! Sums over ended flows, for the summary. Every shard keeps its own; they add
//! up.

use std::collections::BTreeMap;

use ahash::HashMap;

use super::live::{Bins, Live};
use super::record::EndReason;
use super::sizes::{BINS, bin_of};
use super::slab::Slab;
use super::stub::Stub;
use crate::packet::{Address, IpVersion, row_flag};

/// Addresses that top talkers are chosen from, for each shard: 64 bytes each.
/// Above it, new addresses are only counted.
const MAX_TALKERS: usize = 1 << 19;

/// What one address sent and received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Talker {
    pub sent_packets: u64,
    pub sent_bytes: u64,
    pub received_packets: u64,
    pub received_bytes: u64,
    pub flows: u64,
}

/// Sums over ended flows.
#[derive(Clone, Debug)]
pub struct FlowTotals {
    pub flows_by_protocol: [u64; 256],
    pub ends: BTreeMap<EndReason, u64>,
    /// Packets by payload size, see [`super::sizes`].
    pub size_bins: [u64; BINS],
    /// Over packets with payload; 0 when there are none.
    pub size_min: u32,
    pub size_max: u32,
    pub size_sum: u64,
    pub size_squares: u128,
    pub talkers: HashMap<(IpVersion, Address), Talker>,
    /// Addresses of flows that found no place among the talkers.
    pub talkers_dropped: u64,
}

impl Default for FlowTotals {
    fn default() -> Self {
        Self {
            flows_by_protocol: [0; 256],
            ends: BTreeMap::new(),
            size_bins: [0; BINS],
            size_min: 0,
            size_max: 0,
            size_sum: 0,
            size_squares: 0,
            talkers: HashMap::default(),
            talkers_dropped: 0,
        }
    }
}

impl FlowTotals {
    pub(crate) fn add_stub(&mut self, stub: &Stub, reason: EndReason) {
        let key = &stub.key;
        self.end(key.proto, reason);
        self.size_bins[bin_of(stub.payload_bytes)] += 1;
        if stub.payload_bytes > 0 {
            self.sizes(stub.payload_bytes, stub.payload_bytes);
            self.size_sum += u64::from(stub.payload_bytes);
            self.size_squares += u128::from(stub.payload_bytes).pow(2);
        }
        let sent = (1, u64::from(stub.wire_bytes));
        let forward = stub.is(row_flag::FORWARD);
        let (from_a, from_b) = if forward { (sent, (0, 0)) } else { ((0, 0), sent) };
        self.talker((key.version, key.a), from_a, from_b);
        self.talker((key.version, key.b), from_b, from_a);
    }

    pub(crate) fn add_live(&mut self, live: &Live, bins: &Slab<Bins>, reason: EndReason) {
        self.end(live.key.proto, reason);
        for direction in 0..2 {
            live.each_bin(direction, bins, |bin, count| self.size_bins[bin] += count);
            let half = &live.halves[direction];
            if half.size_max > 0 {
                self.sizes(half.size_min, half.size_max);
                self.size_sum += half.payload_bytes;
                self.size_squares += half.size_squares();
            }
        }
        let [a, b] = &live.halves;
        let from_a = (a.packets, a.wire_bytes);
        let from_b = (b.packets, b.wire_bytes);
        self.talker((live.key.version, live.key.a), from_a, from_b);
        self.talker((live.key.version, live.key.b), from_b, from_a);
    }

    fn end(&mut self, proto: u8, reason: EndReason) {
        self.flows_by_protocol[usize::from(proto)] += 1;
        *self.ends.entry(reason).or_default() += 1;
    }

    fn sizes(&mut self, min: u32, max: u32) {
        self.size_min = if self.size_min == 0 { min } else { self.size_min.min(min) };
        self.size_max = self.size_max.max(max);
    }

    fn talker(&mut self, who: (IpVersion, Address), sent: (u64, u64), received: (u64, u64)) {
        if self.talkers.len() >= MAX_TALKERS && !self.talkers.contains_key(&who) {
            self.talkers_dropped += 1;
            return;
        }
        self.talkers.entry(who).or_default().add(Talker {
            sent_packets: sent.0,
            sent_bytes: sent.1,
            received_packets: received.0,
            received_bytes: received.1,
            flows: 1,
        });
    }

    /// Adds another shard's sums.
    pub(crate) fn merge(&mut self, other: Self) {
        for (mine, theirs) in self.flows_by_protocol.iter_mut().zip(&other.flows_by_protocol) {
            *mine += theirs;
        }
        for (reason, flows) in other.ends {
            *self.ends.entry(reason).or_default() += flows;
        }
        for (mine, theirs) in self.size_bins.iter_mut().zip(&other.size_bins) {
            *mine += theirs;
        }
        if other.size_max > 0 {
            self.sizes(other.size_min, other.size_max);
        }
        self.size_sum += other.size_sum;
        self.size_squares += other.size_squares;
        if self.talkers.is_empty() {
            self.talkers = other.talkers;
        } else {
            for (who, talker) in other.talkers {
                self.talkers.entry(who).or_default().add(talker);
            }
        }
        self.talkers_dropped += other.talkers_dropped;
    }
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
