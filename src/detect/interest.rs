//! What of a second can matter to a detector at all.
//!
//! A second's rows are looked at twice: the first pass counts in filters, the
//! second adds to the tables of a slice what may matter. This file says what
//! that is; [`Interest::of`] has every figure with its reader. It must be no
//! less than what the detectors read, and may be more: the tables are exact for
//! what is in them, so that more costs time and changes no finding.
//!
//! | reader | reads | let through by |
//! |---|---|---|
//! | [`super::victims`], floods, reflection at the victim | receivers with `traffic` packets; all their pairs both ways; what they sent; their services | `traffic` |
//! | [`super::sender_flood`] | senders with `traffic` packets; all their pairs both ways; what they received | `traffic` |
//! | [`super::carpet`] | prefixes with `prefix_packets` to `prefix_members` addresses; all pairs both ways; what the prefix sent | `prefix_*` |
//! | [`super::connection_flood`] | pairs with SYN at addresses with `syn` of them, both ways; the address as receiver | `syn` |
//! | [`super::reflection`] at the reflector | service and peer sample of a sender of `traffic` responses or `amplified_bytes` | `traffic`, `amplified_bytes` |
//! | [`super::storm`] | links and stations (never filtered); pairs to group addresses once there are `group_frames` | `group_frames` |
//! | [`super::scan`] | pairs that probe or answer late, both ways | [`may_probe`] |
//! | [`super::arp_sweep`] | links | never filtered |
//! | all | totals | never filtered |
//!
//! A host counts with what it sent and received together, which is never less
//! than either; a host that counts is in full in both roles.

use super::reflection::REFLECTOR_BYTES_A_SECOND;
use super::{DetectSettings, Kind};
use crate::engine::window::Tally;
use crate::packet::PacketClass as C;
use crate::packet::facts::PACKET_CLASSES;

/// Sums from which a host, a prefix or a link of one second can matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Packets of a host, sent and received.
    pub traffic: u64,
    /// SYNs to a host.
    pub syn: u64,
    /// Wire bytes of UDP that a host sent from amplifying ports.
    pub amplified_bytes: u64,
    /// Packets to a prefix.
    pub prefix_packets: u64,
    /// Distinct registers that the addresses of a prefix must fill at least.
    pub prefix_members: u32,
    /// Broadcast, multicast and non-IP frames.
    pub group_frames: u64,
}

impl Interest {
    pub fn of(settings: &DetectSettings) -> Self {
        let floor = settings.unanswered_rate_threshold;
        let interest = Self {
            // `victims::find` takes the lower of both for one kind of packet,
            // sender floods and reflectors the first; a host has at least as
            // many packets as of one kind.
            traffic: floor.min(settings.packet_rate_threshold),
            // A pair over the lower figure has its target over it as well. Connection floods
            // look at no pair where no receiver got so many.
            syn: settings.empty_connection_rate_threshold.min(settings.connection_rate_threshold),
            // Reflectors with fewer than `traffic` responses, all large.
            amplified_bytes: REFLECTOR_BYTES_A_SECOND,
            // `carpet::candidates`.
            prefix_packets: floor,
            prefix_members: members_at_least(settings.carpet_addresses),
            // `Storm::observe` looks at nothing below.
            group_frames: settings.storm_rate_threshold.min(settings.bulk_storm_rate_threshold),
        };
        match settings.watch {
            // Somebody asks what there is far below.
            Some(_) => Self { traffic: 1, syn: 1, ..interest },
            None => interest,
        }
    }

    /// Whether any host of a second with these totals can reach a sum above.
    pub(crate) fn hosts_can_matter(&self, total: &Tally) -> bool {
        total.packets() >= self.traffic
            || total.class(C::TcpSyn) >= self.syn
            || total.wire_bytes >= self.amplified_bytes
    }

    /// Whether any prefix of a second with these totals can.
    pub(crate) fn prefixes_can_matter(&self, total: &Tally) -> bool {
        Kind::ALL.into_iter().any(|kind| kind.count(total) >= self.prefix_packets)
    }
}

/// Registers of a 64-register HyperLogLog that are filled at least when twice
/// its estimate reaches `addresses`: carpet bombing asks for that.
///
/// Up to 160 the estimate is `64 ln(64 / empty)` or, where registers are high
/// for their number, more than 160; but then 46 are filled, since each empty
/// one adds 1 to a sum that must stay under 18.2.
fn members_at_least(addresses: u64) -> u32 {
    const HIGH: u32 = 46;
    (0..HIGH)
        .find(|&filled| {
            let estimate = 64.0 * libm::log(64.0 / f64::from(64 - filled));
            libm::round(estimate) as u64 * 2 >= addresses
        })
        .unwrap_or(HIGH)
}

/// One direction of a row or of a pair, as far as probes go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glance<'a, N> {
    pub(crate) classes: &'a [N; PACKET_CLASSES],
    /// There are ICMP requests among the packets.
    pub(crate) requests: bool,
}

impl<N: Copy + Into<u64>> Glance<'_, N> {
    #[inline]
    fn class(&self, class: C) -> u64 {
        self.classes[class as usize].into()
    }
}

/// Whether the pair that this row is part of may be a probe or a late answer
/// because of this row. If the scan detector sees something in a pair, it is so
/// for at least one of its rows, however the pair's packets are split over
/// rows:
///
/// - FIN, NULL, XMAS and echo requests: some row has one.
/// - SYN: over half of the pair's SYNs have no SYN-ACK. If in each row at most
///   half of them had none, at most half of the sum would: the excess of a sum
///   is at most the sum of the excesses. Late SYN-ACKs: the same.
/// - lone ACK and FIN: nothing else is in the pair, hence in none of its rows.
/// - UDP and other protocols: if in each row a twentieth came back, a twentieth
///   of the sum did.
#[inline]
pub(crate) fn may_probe<N: Copy + Into<u64>>(
    to: &Glance<'_, N>,
    back: &Glance<'_, N>,
    one_sided: bool,
) -> bool {
    let syn = to.class(C::TcpSyn);
    let unanswered = syn.saturating_sub(back.class(C::TcpSynAck)) * 2 > syn;
    if to.class(C::TcpOdd) > 0
        || to.class(C::TcpSynAck) > back.class(C::TcpSyn)
        || syn > 0 && (one_sided || unanswered)
    {
        return true;
    }
    if one_sided {
        return false;
    }
    let (ack, fin) = (to.class(C::TcpAck), to.class(C::TcpFin));
    let lone = (ack > 0) != (fin > 0)
        && syn == 0
        && [C::TcpSynAck, C::TcpData, C::TcpAck, C::TcpFin].iter().all(|&c| back.class(c) == 0)
        && to.class(C::TcpData) == 0;
    let other = |glance: &Glance<'_, N>| glance.class(C::OtherIp) + glance.class(C::Gre);
    lone || to.requests
        || back.class(C::Udp) * 20 < to.class(C::Udp)
        || other(back) * 20 < other(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::window::Hll;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_prefix_with_enough_members_fills_enough_registers(
            hashes in prop::collection::vec(any::<u64>(), 0..200),
            high in prop::collection::vec((0u64..64, 40u32..63), 0..64),
            addresses in 0u64..200,
        ) {
            let mut members = Hll::default();
            let mut bits = 0u64;
            let crafted = high.into_iter().map(|(register, rank)| register | 1 << rank);
            for hash in hashes.into_iter().chain(crafted) {
                members.insert(hash);
                bits |= 1 << (hash % 64);
            }
            if members.estimate() * 2 >= addresses {
                prop_assert!(bits.count_ones() >= members_at_least(addresses));
            }
        }
    }

    #[test]
    fn sixteen_addresses_need_eight_registers() {
        assert_eq!(members_at_least(16), 8);
        assert_eq!(members_at_least(0), 0);
        assert_eq!(members_at_least(u64::MAX), 46);
    }
}
