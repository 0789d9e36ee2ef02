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

/// Bytes acknowledged past the highest number seen. One byte alone may as well be
/// a FIN that was not seen.
pub(crate) fn at_end(next: u32, acked: u32, fin_seen: bool) -> u64 {
    let over = acked.wrapping_sub(next);
    let is_fin = over == 1 && !fin_seen;
    if over >= MAX_WINDOW || is_fin { 0 } else { u64::from(over) }
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
