//! One direction of a live flow: sums, timing, TCP.

use super::record::{Direction, Gaps};
use super::sizes::Sizes;
use super::tcp::{Oddity, SendSide, Watch, before};
use crate::packet::facts::tcp_flag;
use crate::packet::{PacketRow, row_flag};

/// What [`Half::acks`] counts to, and its other bit: the highest number is known.
const MOST_ACKS: u8 = 3;
const ACK_KNOWN: u8 = 0x80;

/// One direction's counters: two cache lines.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Half {
    pub(crate) packets: u64,
    pub(crate) wire_bytes: u64,
    pub(super) ip_bytes: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) last_ns: i64,
    gap_sum_ns: u64,
    gap_min_ns: u64,
    gap_max_ns: u64,
    gap_squares: [u64; 2],
    size_squares_low: u64,
    pub(crate) size_min: u32,
    pub(crate) size_max: u32,
    tcp: SendSide,
    fragments: u32,
    /// With the low half 80 bits: 2^32 payloads of 16 MiB, squared.
    size_squares_high: u16,
    tcp_flags: u16,
    ttl_min: u8,
    ttl_max: u8,
    /// ACK-bearing segments without SYN or RST, up to 3: the sign that the
    /// other side speaks, seen here or not. Above them [`ACK_KNOWN`].
    acks: u8,
    pub(crate) watch: Watch,
}

impl Half {
    #[inline(always)]
    pub(crate) fn add(&mut self, packet: &PacketRow) {
        if self.packets > 0 {
            // Times are from 1970 on: no difference overflows.
            let gap = (packet.time_ns - self.last_ns).max(0) as u64;
            self.gap_min_ns = if self.packets == 1 { gap } else { self.gap_min_ns.min(gap) };
            self.gap_max_ns = self.gap_max_ns.max(gap);
            self.gap_sum_ns = self.gap_sum_ns.saturating_add(gap);
            // Four gaps of centuries fill it, where all time-outs are off.
            let (squares, over) = self.gap_squares().overflowing_add(u128::from(gap).pow(2));
            self.gap_squares = [squares as u64, (squares >> 64) as u64];
            if over {
                self.gap_squares = [u64::MAX; 2];
            }
            if (self.ttl_min, self.ttl_max) != (packet.ttl, packet.ttl) {
                self.ttl_min = self.ttl_min.min(packet.ttl);
                self.ttl_max = self.ttl_max.max(packet.ttl);
            }
            self.last_ns = self.last_ns.max(packet.time_ns);
        } else {
            self.ttl_min = packet.ttl;
            self.ttl_max = packet.ttl;
            self.last_ns = packet.time_ns;
        }
        self.packets += 1;
        self.wire_bytes += u64::from(packet.wire_bytes);
        self.ip_bytes += u64::from(packet.ip_bytes);
        self.payload_bytes += u64::from(packet.payload_bytes);
        if packet.is(row_flag::LATER_FRAGMENT) {
            self.fragments = self.fragments.saturating_add(1);
        }
        if packet.payload_bytes > 0 {
            let bytes = packet.payload_bytes;
            self.size_min = if self.size_min == 0 { bytes } else { self.size_min.min(bytes) };
            self.size_max = self.size_max.max(bytes);
            let square = u64::from(bytes) * u64::from(bytes);
            let (low, carry) = self.size_squares_low.overflowing_add(square);
            self.size_squares_low = low;
            self.size_squares_high = self.size_squares_high.saturating_add(u16::from(carry));
        }
    }

    /// Counts a TCP segment. `highest_ack` is the highest number that this side
    /// acknowledged.
    #[inline(always)]
    pub(crate) fn add_tcp(&mut self, packet: &PacketRow, highest_ack: &mut u32) -> Option<Oddity> {
        self.tcp_flags |= packet.tcp_flags;
        let speaks = packet.tcp_flags & (tcp_flag::ACK | tcp_flag::SYN | tcp_flag::RST);
        if speaks == tcp_flag::ACK {
            if self.acks & ACK_KNOWN == 0 || before(*highest_ack, packet.tcp_ack) {
                *highest_ack = packet.tcp_ack;
            }
            if self.acks != MOST_ACKS | ACK_KNOWN {
                self.acks = (self.acks() + 1).min(MOST_ACKS) | ACK_KNOWN;
            }
        }
        let Self { tcp, watch, .. } = self;
        tcp.segment(watch, packet.tcp_seq, packet.payload_bytes, packet.tcp_flags)
    }

    /// ACK-bearing segments, up to 3.
    pub(crate) fn acks(&self) -> u8 {
        self.acks & MOST_ACKS
    }

    /// Something is known to be acknowledged.
    pub(crate) fn knows_ack(&self) -> bool {
        self.acks & ACK_KNOWN != 0
    }

    /// The number of the first packet was not kept.
    pub(crate) fn forget_ack(&mut self) {
        self.acks &= MOST_ACKS;
    }

    /// One past the highest sequence number sent.
    pub(crate) fn next_seq(&self) -> u32 {
        self.tcp.next()
    }

    /// Of all that it sent.
    pub(crate) fn tcp_flags(&self) -> u16 {
        self.tcp_flags
    }

    pub(crate) fn has_sent(&self, flag: u16) -> bool {
        self.tcp_flags & flag != 0
    }

    /// Later fragments: TCP bytes whose numbers are not seen.
    pub(crate) fn has_fragments(&self) -> bool {
        self.fragments > 0
    }

    fn gap_squares(&self) -> u128 {
        u128::from(self.gap_squares[1]) << 64 | u128::from(self.gap_squares[0])
    }

    pub(crate) fn size_squares(&self) -> u128 {
        u128::from(self.size_squares_high) << 64 | u128::from(self.size_squares_low)
    }

    /// The direction of a finished record.
    pub(crate) fn direction(
        &self,
        sizes: Sizes,
        entropy: Option<(f32, u16)>,
        missed_bytes: Option<u64>,
    ) -> Direction {
        Direction {
            packets: self.packets,
            wire_bytes: self.wire_bytes,
            ip_bytes: self.ip_bytes,
            payload_bytes: self.payload_bytes,
            sizes,
            gaps: Gaps {
                count: self.packets.saturating_sub(1),
                min_ns: self.gap_min_ns,
                max_ns: self.gap_max_ns,
                sum_ns: self.gap_sum_ns,
                sum_squares: self.gap_squares(),
            },
            tcp_flags: self.tcp_flags,
            ttl_min: self.ttl_min,
            ttl_max: self.ttl_max,
            retransmitted: self.tcp.retransmitted,
            out_of_order: self.tcp.out_of_order,
            missed_bytes,
            fragments: self.fragments,
            entropy,
        }
    }
}
