//! Every packet read, exactly once: `packets = in_flows + non_ip + malformed +
//! filtered + duplicate + untracked`, and the same for wire bytes.

use std::collections::BTreeMap;

use crate::input::Shed;
use crate::packet::MalformedReason;

/// Packets and wire bytes of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub packets: u64,
    pub wire_bytes: u64,
}

impl Count {
    pub fn add(&mut self, wire_bytes: u32) {
        self.packets += 1;
        self.wire_bytes += u64::from(wire_bytes);
    }

    pub fn merge(&mut self, other: Self) {
        self.packets += other.packets;
        self.wire_bytes += other.wire_bytes;
    }
}

/// The ledger. Each worker keeps its own; they add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounting {
    pub in_flows: Count,
    pub non_ip: Count,
    pub malformed: Count,
    pub filtered: Count,
    pub duplicate: Count,
    /// IP packets of new flows that a full table refused.
    pub untracked: Count,
    /// By EtherType or pseudo type (see [`crate::packet::link::non_ip_name`]).
    pub non_ip_types: BTreeMap<u16, u64>,
    pub malformed_reasons: BTreeMap<MalformedReason, u64>,
    /// In flows and untracked, by IP protocol.
    pub protocols: Box<[Count; 256]>,
    /// IP packets whose captured part does not hold all of the headers' length.
    pub cut: u64,
    /// Packets that went to flows while so much was left out; see [`Shed`].
    pub shed: [u64; Shed::ALL.len()],
}

impl Default for Accounting {
    fn default() -> Self {
        Self {
            in_flows: Count::default(),
            non_ip: Count::default(),
            malformed: Count::default(),
            filtered: Count::default(),
            duplicate: Count::default(),
            untracked: Count::default(),
            non_ip_types: BTreeMap::new(),
            malformed_reasons: BTreeMap::new(),
            protocols: Box::new([Count::default(); 256]),
            cut: 0,
            shed: [0; Shed::ALL.len()],
        }
    }
}

impl Accounting {
    pub fn merge(&mut self, other: &Self) {
        self.in_flows.merge(other.in_flows);
        self.non_ip.merge(other.non_ip);
        self.malformed.merge(other.malformed);
        self.filtered.merge(other.filtered);
        self.duplicate.merge(other.duplicate);
        self.untracked.merge(other.untracked);
        for (&name, &packets) in &other.non_ip_types {
            *self.non_ip_types.entry(name).or_default() += packets;
        }
        for (&reason, &packets) in &other.malformed_reasons {
            *self.malformed_reasons.entry(reason).or_default() += packets;
        }
        for (mine, theirs) in self.protocols.iter_mut().zip(other.protocols.iter()) {
            mine.merge(*theirs);
        }
        self.cut += other.cut;
    }

    /// Sum over all kinds; equals what was read.
    pub fn total(&self) -> Count {
        let mut total = self.in_flows;
        for count in [self.non_ip, self.malformed, self.filtered, self.duplicate, self.untracked] {
            total.merge(count);
        }
        total
    }
}
