//! TCP as a passive observer sees it: handshake, end, and whether bytes of a
//! direction were sent before.
//!
//! No reassembly and no buffers: one highest sequence number and one gap for
//! each direction, which tells retransmissions from reordered segments except
//! when several gaps are open at once (then a late filler of an older gap
//! counts as retransmitted).

use crate::packet::facts::tcp_flag::{ACK, FIN, RST, SYN};

/// How far a direction's sequence numbers are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Watch {
    /// No bytes were seen.
    #[default]
    Nothing,
    /// Bytes were seen, and may be ones that were acknowledged before.
    Midstream,
    /// What comes after the highest number is new: a SYN was seen, or the other
    /// side had acknowledged no more than what was.
    Synchronised,
    /// Numbers contradict each other: two streams share the key.
    Lost,
}

/// What one direction has sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SendSide {
    /// One past the highest sequence number sent.
    next: u32,
    /// Newest hole in what was seen, `[gap_start, gap_end)`; empty when equal.
    gap_start: u32,
    gap_end: u32,
    pub(crate) retransmitted: u32,
    pub(crate) out_of_order: u32,
}

/// What a segment was that asks for a closer look; see [`super::missed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Oddity {
    /// In order, while it is not known yet whether the stream before it is.
    NotSynchronised,
    /// Starts past what was sent before: `[start, end)` is missing so far.
    Ahead { start: u32, end: u32 },
    /// Bytes from before, sent again or late.
    Behind { seq: u32, end: u32 },
}

/// `a` is before `b` in sequence space (RFC 9293 section 3.4).
#[inline]
pub(super) fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

impl SendSide {
    /// One past the highest sequence number sent.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Takes in a segment; `payload` by the headers' lengths. `watch` lies with
    /// the caller's other flags.
    #[inline(always)]
    pub(crate) fn segment(
        &mut self,
        watch: &mut Watch,
        seq: u32,
        payload: u32,
        flags: u16,
    ) -> Option<Oddity> {
        let length = payload
            .wrapping_add(u32::from(flags & SYN != 0))
            .wrapping_add(u32::from(flags & FIN != 0));
        if flags & RST != 0 || length == 0 {
            return None;
        }
        let end = seq.wrapping_add(length);
        if *watch == Watch::Nothing {
            let began = flags & SYN != 0;
            *watch = if began { Watch::Synchronised } else { Watch::Midstream };
            self.next = end;
            return None;
        }
        if !before(seq, self.next) {
            let start = std::mem::replace(&mut self.next, end);
            if seq != start {
                self.gap_start = start;
                self.gap_end = seq;
                return Some(Oddity::Ahead { start, end: seq });
            }
            return (*watch == Watch::Midstream).then_some(Oddity::NotSynchronised);
        }
        // A keep-alive repeats the last byte on purpose (RFC 9293 section 3.8.4).
        if payload <= 1 && flags & (SYN | FIN) == 0 && seq == self.next.wrapping_sub(1) {
            return None;
        }
        let fills_gap = self.gap_start != self.gap_end
            && before(seq, self.gap_end)
            && before(self.gap_start, end);
        if fills_gap || before(self.next, end) {
            self.out_of_order = self.out_of_order.saturating_add(1);
            if fills_gap {
                if !before(self.gap_start, seq) {
                    self.gap_start = if before(end, self.gap_end) { end } else { self.gap_end };
                } else {
                    self.gap_end = seq;
                }
            }
            if before(self.next, end) {
                self.next = end;
            }
        } else {
            self.retransmitted = self.retransmitted.saturating_add(1);
        }
        Some(Oddity::Behind { seq, end })
    }
}

/// What was seen of a connection's life, both directions (0: from `key.a`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Life {
    bits: u8,
}

const SYN_FROM_A: u8 = 1;
const SYN_FROM_B: u8 = 2;
const SYNACK_FROM_A: u8 = 4;
const SYNACK_FROM_B: u8 = 8;
const FIN_FROM_A: u8 = 16;
const FIN_FROM_B: u8 = 32;
const RESET: u8 = 64;
const ACKED: u8 = 128;

impl Life {
    #[inline(always)]
    pub(crate) fn packet(&mut self, direction: usize, flags: u16) {
        if flags & (SYN | FIN | RST) == 0 {
            self.bits |= if flags & ACK != 0 { ACKED } else { 0 };
            return;
        }
        let side = direction as u8;
        match flags & (SYN | ACK) {
            SYN => self.bits |= SYN_FROM_A << side,
            both if both == SYN | ACK => self.bits |= SYNACK_FROM_A << side,
            _ => {}
        }
        if flags & FIN != 0 && flags & SYN == 0 {
            self.bits |= FIN_FROM_A << side;
        }
        if flags & RST != 0 {
            self.bits |= RESET;
        }
        if flags & ACK != 0 {
            self.bits |= ACKED;
        }
    }

    /// Direction of the originator, where a SYN or SYN-ACK tells.
    pub(crate) fn originator(self) -> Option<usize> {
        if self.bits & (SYN_FROM_A | SYNACK_FROM_B) != 0 {
            Some(0)
        } else if self.bits & (SYN_FROM_B | SYNACK_FROM_A) != 0 {
            Some(1)
        } else {
            None
        }
    }

    /// Each side sent a SYN (RFC 9293, 3.5: simultaneous open).
    pub(crate) fn both_began(self) -> bool {
        self.bits & (SYN_FROM_A | SYN_FROM_B) == SYN_FROM_A | SYN_FROM_B
    }

    /// What the idle time-out depends on: over, and half open.
    pub(crate) fn phase(self) -> (bool, bool) {
        (self.is_over(), self.is_half_open())
    }

    /// A SYN was seen, and nobody has acknowledged anything yet.
    pub(crate) fn is_half_open(self) -> bool {
        let answered = SYNACK_FROM_A | SYNACK_FROM_B | ACKED;
        self.bits & (SYN_FROM_A | SYN_FROM_B) != 0 && self.bits & answered == 0
    }

    #[inline(always)]
    pub(crate) fn is_over(self) -> bool {
        // Reset, or finished by both: asked for each packet, as one comparison.
        const { assert!(RESET > FIN_FROM_A | FIN_FROM_B) };
        self.bits & (FIN_FROM_A | FIN_FROM_B | RESET) >= FIN_FROM_A | FIN_FROM_B
    }

    pub(crate) fn is_reset(self) -> bool {
        self.bits & RESET != 0
    }

    pub(crate) fn both_finished(self) -> bool {
        self.bits & (FIN_FROM_A | FIN_FROM_B) == FIN_FROM_A | FIN_FROM_B
    }

    pub(crate) fn handshake_answered(self) -> bool {
        self.bits & (SYNACK_FROM_A | SYNACK_FROM_B) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(segments: &[(u32, u32)]) -> (u32, u32) {
        let (mut side, mut watch) = (SendSide::default(), Watch::default());
        for &(seq, payload) in segments {
            side.segment(&mut watch, seq, payload, ACK);
        }
        (side.retransmitted, side.out_of_order)
    }

    #[test]
    fn in_order_is_neither_also_across_the_wrap() {
        assert_eq!(side(&[(u32::MAX - 50, 100), (49, 100), (149, 1)]), (0, 0));
    }

    #[test]
    fn a_repeat_is_a_retransmission() {
        assert_eq!(side(&[(0, 100), (100, 100), (0, 100), (100, 100)]), (2, 0));
    }

    #[test]
    fn a_filled_gap_is_reordering_and_filling_it_again_is_not() {
        assert_eq!(side(&[(0, 100), (200, 100), (100, 100), (100, 100)]), (1, 1));
        assert_eq!(side(&[(0, 100), (300, 100), (100, 100), (200, 100)]), (0, 2));
        assert_eq!(side(&[(0, 100), (300, 100), (200, 100), (100, 100)]), (0, 2));
    }

    #[test]
    fn what_reaches_into_a_gap_from_before_it_brings_new_bytes() {
        assert_eq!(side(&[(0, 100), (200, 100), (50, 100), (150, 50)]), (0, 2));
        assert_eq!(side(&[(0, 100), (200, 100), (0, 300), (100, 100)]), (1, 1));
        assert_eq!(side(&[(0, 100), (200, 100), (0, 100), (100, 100)]), (1, 1));
    }

    #[test]
    fn keep_alives_and_pure_acks_are_not_retransmissions() {
        assert_eq!(side(&[(0, 100), (99, 1), (99, 0), (100, 0), (100, 10)]), (0, 0));
    }

    #[test]
    fn originator_is_who_sent_syn_or_got_synack() {
        let mut life = Life::default();
        life.packet(0, SYN | ACK);
        assert_eq!(life.originator(), Some(1));
        life.packet(0, FIN | ACK);
        assert!(!life.is_over());
        life.packet(1, FIN | ACK);
        assert!(life.is_over() && !life.is_reset());
    }
}
