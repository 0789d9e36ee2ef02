//! Sums over ended flows, for the summary. Every shard keeps its own; they add
//! up.

use serde::Serialize;

use super::live::{Bins, Live, TCP};
use super::record::{END_REASONS, EndReason};
use super::sizes::{BINS, bin_of};
use super::slab::Slab;
use super::stub::Stub;
use super::talkers::{Sought, Talker, Talkers};
use crate::packet::{FlowKey, row_flag};

/// Sums over ended flows.
#[derive(Debug)]
pub struct FlowTotals {
    pub flows_by_protocol: [u64; 256],
    /// That came in VXLAN or GENEVE.
    pub flows_in_vni: u64,
    /// By [`EndReason`].
    pub ends: [u64; END_REASONS],
    /// Packets by payload size, see [`super::sizes`].
    pub size_bins: [u64; BINS],
    /// Over packets with payload; 0 when there are none.
    pub size_min: u32,
    pub size_max: u32,
    pub size_sum: u64,
    pub size_squares: u128,
    pub talkers: Talkers,
    /// By interface, as far as there is any.
    pub inferred_losses: Vec<InferredLoss>,
}

/// TCP bytes of the directions in which loss can be told: where both directions
/// and the stream's start, or its acknowledgements, were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InferredLoss {
    /// Acknowledged and never seen.
    pub missed_bytes: u64,
    /// Payload seen (repeats too) and missed: what a share is of.
    pub expected_bytes: u64,
}

impl InferredLoss {
    pub(crate) fn add(&mut self, other: Self) {
        self.missed_bytes = self.missed_bytes.saturating_add(other.missed_bytes);
        self.expected_bytes = self.expected_bytes.saturating_add(other.expected_bytes);
    }

    /// Missed bytes of a thousand.
    pub fn per_mille(&self) -> u64 {
        let missed = u128::from(self.missed_bytes) * 1000;
        missed.checked_div(u128::from(self.expected_bytes)).map_or(0, |share| share as u64)
    }

    /// Adds sums by interface to others.
    pub(crate) fn add_all(sums: &mut Vec<Self>, more: &[Self]) {
        if sums.len() < more.len() {
            sums.resize(more.len(), Self::default());
        }
        sums.iter_mut().zip(more).for_each(|(sum, more)| sum.add(*more));
    }
}

impl FlowTotals {
    pub(crate) fn new(hash_state: ahash::RandomState) -> Self {
        Self {
            flows_by_protocol: [0; 256],
            flows_in_vni: 0,
            ends: [0; END_REASONS],
            size_bins: [0; BINS],
            size_min: 0,
            size_max: 0,
            size_sum: 0,
            size_squares: 0,
            talkers: Talkers::new(hash_state),
            inferred_losses: Vec::new(),
        }
    }

    pub(crate) fn add_stub(&mut self, stub: &Stub, addresses: [Sought; 2], reason: EndReason) {
        let key = &stub.key;
        self.end(key, reason);
        self.size_bins[bin_of(stub.payload_bytes)] += 1;
        if stub.payload_bytes > 0 {
            self.sizes(stub.payload_bytes, stub.payload_bytes);
            self.size_sum += u64::from(stub.payload_bytes);
            self.size_squares += u128::from(stub.payload_bytes).pow(2);
        }
        let sent = (1, u64::from(stub.wire_bytes));
        let forward = stub.is(row_flag::FORWARD);
        let (from_a, from_b) = if forward { (sent, (0, 0)) } else { ((0, 0), sent) };
        self.talkers.add(key.version, &key.a, addresses[0], talker(from_a, from_b));
        self.talkers.add(key.version, &key.b, addresses[1], talker(from_b, from_a));
    }

    pub(crate) fn add_live(
        &mut self,
        live: &Live,
        bins: &Slab<Bins>,
        addresses: [Sought; 2],
        reason: EndReason,
    ) {
        self.end(&live.key, reason);
        for direction in 0..2 {
            live.each_bin(direction, bins, |bin, count| self.size_bins[bin] += count);
            let half = &live.halves[direction];
            if half.size_max > 0 {
                self.sizes(half.size_min, half.size_max);
                self.size_sum += half.payload_bytes;
                self.size_squares += half.size_squares();
            }
        }
        if live.key.proto == TCP {
            (0..2).for_each(|direction| self.add_missed(live, direction));
        }
        let [a, b] = &live.halves;
        let from_a = (a.packets, a.wire_bytes);
        let from_b = (b.packets, b.wire_bytes);
        let key = &live.key;
        self.talkers.add(key.version, &key.a, addresses[0], talker(from_a, from_b));
        self.talkers.add(key.version, &key.b, addresses[1], talker(from_b, from_a));
    }

    fn add_missed(&mut self, live: &Live, direction: usize) {
        let Some(missed_bytes) = live.missed_bytes(direction) else { return };
        let expected_bytes = live.halves[direction].payload_bytes + missed_bytes;
        let interface = usize::from(live.interface_of(direction));
        if self.inferred_losses.len() <= interface {
            self.inferred_losses.resize(interface + 1, InferredLoss::default());
        }
        self.inferred_losses[interface].add(InferredLoss { missed_bytes, expected_bytes });
    }

    fn end(&mut self, key: &FlowKey, reason: EndReason) {
        self.flows_by_protocol[usize::from(key.proto)] += 1;
        self.flows_in_vni += u64::from(key.vni > 0);
        self.ends[reason as usize] += 1;
    }

    fn sizes(&mut self, min: u32, max: u32) {
        self.size_min = if self.size_min == 0 { min } else { self.size_min.min(min) };
        self.size_max = self.size_max.max(max);
    }

    /// Both addresses of a key, to be added to soon.
    #[inline]
    pub(crate) fn seek_addresses(&self, key: &FlowKey) -> [Sought; 2] {
        [self.talkers.seek(key.version, &key.a), self.talkers.seek(key.version, &key.b)]
    }

    /// Adds another shard's sums.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.flows_by_protocol.iter_mut().zip(&other.flows_by_protocol) {
            *mine += theirs;
        }
        self.flows_in_vni += other.flows_in_vni;
        for (mine, theirs) in self.ends.iter_mut().zip(&other.ends) {
            *mine += theirs;
        }
        for (mine, theirs) in self.size_bins.iter_mut().zip(&other.size_bins) {
            *mine += theirs;
        }
        if other.size_max > 0 {
            self.sizes(other.size_min, other.size_max);
        }
        self.size_sum += other.size_sum;
        self.size_squares += other.size_squares;
        self.talkers.merge(&other.talkers);
        InferredLoss::add_all(&mut self.inferred_losses, &other.inferred_losses);
    }
}

/// Packets and bytes that an address of a flow sent and received.
fn talker(sent: (u64, u64), received: (u64, u64)) -> Talker {
    Talker {
        sent_packets: sent.0,
        sent_bytes: sent.1,
        received_packets: received.0,
        received_bytes: received.1,
        flows: 1,
    }
}
