//! TCP bytes that were acknowledged and never seen: what a tap, a SPAN port or
//! our own ring lost.
//!
//! A hole is noted where a segment starts past what was sent before; later
//! segments fill it. What of the holes lies below the highest number that the
//! other side acknowledged, and what it acknowledged past the last segment seen,
//! is missing: the receiver got it, we did not. That is decided when the record
//! ends, so that an acknowledgement may overtake its data on the way to us.
//!
//! Only streams without loss are common, so holes lie beside the flow, and only a
//! segment out of order comes here. Lengths are the headers', so that a snap
//! length loses nothing. A SYN or FIN has a number as a byte has (RFC 9293
//! section 3.4): of a lost last segment its FIN counts with it.

use super::tcp::{Oddity, Watch, before};
use crate::packet::facts::tcp_flag::SYN;

/// Holes of a direction that may still be filled. Beyond it those that are
/// acknowledged are settled, and else the oldest is given up.
const MAX_HOLES: usize = 32;

/// Largest window (RFC 7323 section 2.2: 65,535 shifted by 14): nothing further
/// past what was acknowledged can have been sent. A longer jump is another stream.
const MAX_WINDOW: u32 = 1 << 30;

/// An acknowledgement further ahead than a large window of data in flight is
/// forged: whoever spoofs one draws its number from four thousand million.
const MAX_UNSEEN: u32 = 16 << 20;
/// The same from a side that never sent a byte: a window without scaling
/// (RFC 9293, section 3.1).
const MAX_UNSEEN_FROM_NOBODY: u32 = 1 << 16;

/// Bytes of a direction that may be missing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holes {
    open: Vec<Hole>,
    /// Bytes of holes that nothing can fill any more.
    settled_bytes: u64,
    /// Bytes of all holes, when they were noted.
    noted_bytes: u64,
}

/// `[start, end)` in sequence numbers.
#[derive(Clone, Copy, Debug)]
struct Hole {
    start: u32,
    end: u32,
    /// How much the direction had sent when it was noted: numbers alone tell no
    /// more than 2 GiB apart.
    at_bytes: u64,
}

/// What a direction has sent, with the segment in question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Payload seen, repeats too.
    pub(crate) bytes: u64,
    /// One past the highest number.
    pub(crate) next: u32,
    pub(crate) flags: u16,
    /// Highest number that the other side acknowledged.
    pub(crate) acked: Option<u32>,
}

/// Follows a segment that was out of order, or came before the stream was known.
/// `holes` gives those of the direction, and makes room for them.
pub(crate) fn follow<'a>(
    watch: &mut Watch,
    odd: Oddity,
    sent: Sent,
    any_holes: bool,
    holes: impl FnOnce() -> &'a mut Holes,
) {
    match odd {
        Oddity::NotSynchronised => {}
        // A SYN is a stream's first segment: in place, or of another stream.
        Oddity::Ahead { .. } if sent.flags & SYN != 0 => *watch = Watch::Lost,
        Oddity::Behind { end, .. } if sent.flags & SYN != 0 && end != sent.next => {
            *watch = Watch::Lost;
        }
        Oddity::Ahead { start, end } if end.wrapping_sub(start) >= MAX_WINDOW => {
            *watch = Watch::Lost;
        }
        Oddity::Behind { end, .. } if sent.next.wrapping_sub(end) >= MAX_WINDOW => {
            *watch = Watch::Lost;
        }
        Oddity::Ahead { start, end } if *watch == Watch::Synchronised => {
            holes().note(start, end, sent);
        }
        Oddity::Behind { seq, end } if *watch == Watch::Synchronised => {
            // What is repeated and fills none needs no memory.
            if any_holes {
                holes().fill(seq, end, sent);
            }
        }
        Oddity::Ahead { .. } | Oddity::Behind { .. } => {}
    }
    if *watch == Watch::Midstream && sent.acked.is_some_and(|acked| !before(sent.next, acked)) {
        *watch = Watch::Synchronised;
    }
}

/// Bytes acknowledged past the highest number seen, from a side that sent
/// `seen_bytes`. One byte alone may as well be a FIN that was not seen.
pub(crate) fn at_end(next: u32, acked: u32, fin_seen: bool, seen_bytes: u64) -> u64 {
    let over = acked.wrapping_sub(next);
    let is_fin = over == 1 && !fin_seen;
    let most = if seen_bytes == 0 { MAX_UNSEEN_FROM_NOBODY } else { MAX_UNSEEN };
    if over >= most || is_fin { 0 } else { u64::from(over) }
}

impl Holes {
    /// Bytes of the holes below `acked`, when so many bytes were seen.
    pub(crate) fn missed(&self, acked: u32, seen_bytes: u64) -> u64 {
        let position = seen_bytes + self.noted_bytes;
        let missed = |hole: &Hole| {
            if hole.is_old(position) { hole.bytes() } else { hole.below(acked) }
        };
        self.settled_bytes + self.open.iter().map(missed).sum::<u64>()
    }

    fn note(&mut self, start: u32, end: u32, sent: Sent) {
        self.settle_old(sent);
        if self.open.len() >= MAX_HOLES {
            self.settle_acked(sent);
        }
        if self.open.len() >= MAX_HOLES {
            self.open.remove(0);
        }
        self.noted_bytes += u64::from(end.wrapping_sub(start));
        let at_bytes = self.position(sent);
        self.open.push(Hole { start, end, at_bytes });
    }

    /// `[seq, end)` came after all.
    fn fill(&mut self, seq: u32, end: u32, sent: Sent) {
        self.settle_old(sent);
        let mut rest = None;
        self.open.retain_mut(|hole| {
            if !before(seq, hole.end) || !before(hole.start, end) {
                return true;
            }
            let (from_start, to_end) = (!before(hole.start, seq), !before(end, hole.end));
            match (from_start, to_end) {
                (true, true) => return false,
                (true, false) => hole.start = end,
                (false, true) => hole.end = seq,
                (false, false) => {
                    rest = Some(Hole { start: end, ..*hole });
                    hole.end = seq;
                }
            }
            true
        });
        // Holes don't overlap: at most one is parted.
        if let Some(rest) = rest {
            if self.open.len() >= MAX_HOLES {
                self.settle_acked(sent);
            }
            if self.open.len() < MAX_HOLES {
                let at = self.open.partition_point(|hole| before(hole.start, rest.start));
                self.open.insert(at, rest);
            }
        }
    }

    /// How much was sent, so far as it can be told: repeats count too.
    fn position(&self, sent: Sent) -> u64 {
        sent.bytes + self.noted_bytes
    }

    /// A whole window and more was sent since: they were acknowledged.
    fn settle_old(&mut self, sent: Sent) {
        let position = self.position(sent);
        self.settle(|hole| hole.is_old(position));
    }

    /// Those that are acknowledged; what fills them now came too late.
    fn settle_acked(&mut self, sent: Sent) {
        self.settle(|hole| sent.acked.is_some_and(|acked| !before(acked, hole.end)));
    }

    fn settle(&mut self, is_over: impl Fn(&Hole) -> bool) {
        let Self { open, settled_bytes, .. } = self;
        open.retain(|hole| {
            let over = is_over(hole);
            *settled_bytes += if over { hole.bytes() } else { 0 };
            !over
        });
    }
}

impl Hole {
    fn bytes(&self) -> u64 {
        u64::from(self.end.wrapping_sub(self.start))
    }

    fn is_old(&self, position: u64) -> bool {
        position.saturating_sub(self.at_bytes) >= u64::from(MAX_WINDOW)
    }

    /// Bytes of it below `acked`.
    fn below(&self, acked: u32) -> u64 {
        let end = if before(acked, self.end) { acked } else { self.end };
        if before(self.start, end) { u64::from(end.wrapping_sub(self.start)) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::tcp::SendSide;
    use crate::packet::facts::tcp_flag::{ACK, FIN};

    /// A direction as a flow follows it.
    #[derive(Default)]
    struct Side {
        sends: SendSide,
        watch: Watch,
        holes: Holes,
        bytes: u64,
        acked: Option<u32>,
        fin: bool,
    }

    impl Side {
        fn send(&mut self, seq: u32, payload: u32, flags: u16) {
            self.bytes += u64::from(payload);
            self.fin |= flags & FIN != 0;
            let Self { sends, watch, holes, .. } = self;
            let Some(odd) = sends.segment(watch, seq, payload, flags) else { return };
            let sent = Sent { bytes: self.bytes, next: sends.next(), flags, acked: self.acked };
            follow(watch, odd, sent, true, || holes);
        }

        fn acknowledge(&mut self, ack: u32) {
            if self.acked.is_none_or(|acked| before(acked, ack)) {
                self.acked = Some(ack);
            }
        }

        fn missed(&self) -> Option<u64> {
            let acked = self.acked.filter(|_| self.watch == Watch::Synchronised)?;
            let within = self.holes.missed(acked, self.bytes);
            Some(within + at_end(self.sends.next(), acked, self.fin, self.bytes))
        }
    }

    /// After a SYN with this number.
    fn begun(isn: u32) -> Side {
        let mut side = Side::default();
        side.send(isn, 0, SYN);
        side
    }

    /// One step of a connection: a segment that is sent, and perhaps seen here,
    /// again, or late; and how much of what was sent is acknowledged.
    #[derive(Clone, Debug)]
    struct Step {
        payload: u32,
        seen: bool,
        late: bool,
        repeated: bool,
        ack: Option<prop::sample::Index>,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (1_u32..1_500, 0..10, any::<Option<prop::sample::Index>>()).prop_map(
            |(payload, fate, ack)| Step {
                payload,
                seen: fate > 2,
                late: fate == 4,
                repeated: fate == 2 || fate == 5,
                ack,
            },
        );
        prop::collection::vec(step, 1..60)
    }

    proptest! {
        /// Against a map of every byte.
        #[test]
        fn what_is_acknowledged_and_was_never_seen_is_missed(isn: u32, steps in steps()) {
            let mut side = begun(isn);
            let first = isn.wrapping_add(1);
            let mut seen = Vec::new();
            let mut ends = vec![0];
            let mut later: Vec<(u32, u32)> = Vec::new();
            let mut acked = None;
            for step in &steps {
                let at = seen.len() as u32;
                seen.resize(seen.len() + step.payload as usize, false);
                ends.push(seen.len() as u32);
                let range = (at, step.payload);
                let mut show = |side: &mut Side, (at, payload): (u32, u32)| {
                    seen[at as usize..(at + payload) as usize].fill(true);
                    side.send(first.wrapping_add(at), payload, ACK);
                };
                if step.seen && !step.late {
                    show(&mut side, range);
                }
                later.drain(..).for_each(|range| show(&mut side, range));
                if (step.seen && step.late) || step.repeated {
                    later.push(range);
                }
                // Receivers acknowledge whole segments here, and never less than before.
                if let Some(ack) = &step.ack {
                    let ack = (*ack.get(&ends)).max(acked.unwrap_or(0));
                    acked = Some(ack);
                    side.acknowledge(first.wrapping_add(ack));
                }
            }
            let unseen = |below: u32| {
                let all = seen[..below as usize].iter().filter(|&&seen| !seen).count() as u64;
                // A byte after the last one seen may be a FIN.
                let last = seen.iter().rposition(|&seen| seen).map_or(0, |at| at as u32 + 1);
                if below == last + 1 { all - 1 } else { all }
            };
            prop_assert_eq!(side.missed(), acked.map(unseen));
        }

        #[test]
        fn whatever_comes_no_more_is_missed_than_was_acknowledged(
            segments in prop::collection::vec((any::<u32>(), 0_u32..70_000, any::<u16>(), any::<u32>()), 0..300),
        ) {
            let mut side = begun(0);
            for (seq, payload, flags, ack) in segments {
                side.send(seq, payload, flags & 0x1ff);
                side.acknowledge(ack);
                prop_assert!(side.holes.open.len() <= MAX_HOLES);
                let most = side.holes.noted_bytes + u64::from(MAX_WINDOW);
                prop_assert!(side.missed().is_none_or(|missed| missed <= most));
            }
        }
    }

    #[test]
    fn a_capture_that_begins_in_the_middle_misses_nothing_from_before() {
        let mut side = Side::default();
        // An old segment comes again; the other side is far ahead of it.
        side.acknowledge(9_000);
        side.send(1_000, 100, ACK);
        side.send(1_100, 100, ACK);
        side.send(9_000, 100, ACK);
        assert_eq!(side.missed(), Some(0));
        // From here on the stream is known.
        side.send(9_200, 100, ACK);
        assert_eq!(side.missed(), Some(0));
        side.acknowledge(9_150);
        assert_eq!(side.missed(), Some(50));
        side.acknowledge(9_300);
        assert_eq!(side.missed(), Some(100));
    }

    #[test]
    fn nothing_is_told_without_acknowledgements_or_of_two_streams_in_one() {
        let mut side = begun(7);
        side.send(500, 10, ACK);
        assert_eq!(side.missed(), None);
        let mut side = begun(7);
        side.send(900_000, 0, SYN);
        side.acknowledge(900_001);
        assert_eq!(side.missed(), None);
        // Too far ahead, and too far behind.
        for seq in [1_500_000_000, 3_000_000_000] {
            let mut side = begun(7);
            side.send(seq, 10, ACK);
            side.acknowledge(seq + 10);
            assert_eq!(side.missed(), None);
        }
    }

    #[test]
    fn a_hole_of_long_ago_is_still_missing_when_numbers_come_round() {
        let mut side = begun(u32::MAX);
        side.send(1_000, 1_000, ACK);
        let mut seq = 2_000_u32;
        for _ in 0..6_000 {
            side.send(seq, 1 << 20, ACK);
            seq = seq.wrapping_add(1 << 20);
            side.acknowledge(seq);
        }
        assert_eq!(side.missed(), Some(1_000));
        side.send(seq.wrapping_add(10), 1, ACK);
        side.acknowledge(seq.wrapping_add(11));
        assert_eq!(side.missed(), Some(1_010));
    }

    #[test]
    fn keep_alives_and_what_ends_a_connection_miss_nothing() {
        let mut side = begun(0);
        side.send(1, 100, ACK);
        side.acknowledge(101);
        side.send(100, 1, ACK);
        side.send(100, 0, ACK);
        assert_eq!(side.missed(), Some(0));
        let fin_unseen = side.missed();
        side.acknowledge(102);
        assert_eq!((fin_unseen, side.missed()), (Some(0), Some(0)));
        side.send(101, 0, FIN | ACK);
        assert_eq!(side.missed(), Some(0));
    }
}
