//! One ring's frames in their order, with the next one's time at hand.

use super::frames::{Cursor, RawFrame};
use super::packet_socket::{PacketSocket, RingStatistics};
use super::pcap_handle::{self, PcapHandle};
use super::rim_clock::RimClock;

/// From a frame's time stamp until it lies in a ring: one processor stamps and
/// copies it without a break, but another may be ahead of it.
const ON_ITS_WAY_NS: i64 = 2_000_000;

/// Frames of one ring, or of one libpcap handle, on their way into the stream.
pub(super) struct Lane {
    source: Source,
    /// Number of its interface.
    pub(super) tap: u16,
    /// Time of the frame at hand; `None` where there is none.
    head_ns: Option<i64>,
    /// Frames have had time stamps of the device's clock.
    pub(super) by_device: bool,
    pub(super) clock: RimClock,
}

enum Source {
    /// With a place in the block at hand, where there is one.
    Ring(PacketSocket, Option<Cursor>),
    Pcap(Box<PcapHandle>),
}

impl Lane {
    pub(super) fn ring(socket: PacketSocket, tap: u16) -> Self {
        Self::new(Source::Ring(socket, None), tap)
    }

    pub(super) fn pcap(handle: PcapHandle, tap: u16) -> Self {
        Self::new(Source::Pcap(Box::new(handle)), tap)
    }

    fn new(source: Source, tap: u16) -> Self {
        Self { source, tap, head_ns: None, by_device: false, clock: RimClock::default() }
    }

    /// Time of the next frame, if one is there.
    #[inline]
    pub(super) fn head_ns(&mut self) -> Option<i64> {
        if self.head_ns.is_none() {
            self.source.fill();
            self.stand();
        }
        self.head_ns
    }

    /// Offers the frame at hand and those behind it, in their order, until
    /// `take` refuses one, which then is at hand, or none is.
    #[inline]
    pub(super) fn offer(&mut self, mut take: impl FnMut(i64, &RawFrame<'_>) -> bool) {
        let Some(mut time_ns) = self.head_ns() else { return };
        let Self { source, head_ns, clock, .. } = self;
        match source {
            Source::Ring(socket, cursor) => {
                let (Some(block), Some(mut here)) = (socket.block(), *cursor) else { return };
                let mut next = here.frame(block);
                while let Some(frame) = next {
                    if !take(time_ns, &frame) {
                        *cursor = Some(here);
                        *head_ns = Some(time_ns);
                        return;
                    }
                    here = here.next(block);
                    next = here.frame(block);
                    if let Some(next) = &next {
                        time_ns = clock.set_right(next.time_ns);
                    }
                }
                *cursor = None;
                socket.release();
            }
            Source::Pcap(handle) => {
                while let Some(frame) = handle.frame() {
                    if !take(time_ns, &frame) {
                        *head_ns = Some(time_ns);
                        return;
                    }
                    handle.advance();
                    if let Some(next) = handle.frame() {
                        time_ns = clock.set_right(next.time_ns);
                    }
                }
            }
        }
        *head_ns = None;
    }

    fn stand(&mut self) {
        let Some(frame) = self.source.frame() else {
            self.head_ns = None;
            return;
        };
        self.by_device |= frame.hardware_stamp;
        self.head_ns = Some(self.clock.set_right(frame.time_ns));
    }

    /// Where no frame is at hand: none older than this will come. `now_ns` was
    /// read before the lane was found empty.
    pub(super) fn nothing_before_ns(&self, now_ns: i64) -> i64 {
        let settled_ns = now_ns - ON_ITS_WAY_NS;
        let raw_ns = match &self.source {
            Source::Ring(socket, _) => {
                socket.filling_since_ns().map_or(settled_ns, |since_ns| since_ns.min(settled_ns))
            }
            Source::Pcap(_) => now_ns - pcap_handle::HIDDEN_NS,
        };
        raw_ns.saturating_add(self.clock.offset_ns())
    }

    /// No frame is at hand, and none is in a block that the kernel fills.
    pub(super) fn is_drained(&mut self, now_ns: i64) -> bool {
        self.head_ns().is_none()
            && match &self.source {
                Source::Ring(socket, _) => socket.filling_since_ns().is_none(),
                Source::Pcap(handle) => handle.is_drained(now_ns),
            }
    }

    /// Nothing more comes in; what is there can still be read.
    pub(super) fn close(&mut self, now_ns: i64) {
        match &mut self.source {
            Source::Ring(socket, _) => socket.close(),
            Source::Pcap(handle) => handle.close(now_ns),
        }
    }

    /// What was counted since this was asked last.
    pub(super) fn statistics(&mut self) -> RingStatistics {
        match &mut self.source {
            // Counting fails only where the socket is closed.
            Source::Ring(socket, _) => socket.statistics().unwrap_or_default(),
            Source::Pcap(handle) => handle.statistics(),
        }
    }

    /// Share of the ring that waits to be read, to an eighth. libpcap does not
    /// tell.
    pub(super) fn fill_percent(&self) -> u8 {
        let Source::Ring(socket, _) = &self.source else { return 0 };
        fill_percent(socket.blocks(), |ahead| socket.is_ready(ahead))
    }
}

/// Share of `blocks` that waits behind the next one, to an eighth, where `is_ready` says
/// whether the block so many ahead does and all before it do if it does. The next one says
/// nothing: the kernel hands over a block after a time, whatever is in it, and of two
/// that would be half.
fn fill_percent(blocks: usize, is_ready: impl Fn(usize) -> bool) -> u8 {
    let behind = blocks.saturating_sub(1);
    let reaches = |eighths: &usize| is_ready((behind * eighths).div_ceil(8));
    ((1..=8).rev().find(reaches).unwrap_or(0) * 100 / 8) as u8
}

impl Source {
    /// Takes the next block, where all of the last one has been passed.
    fn fill(&mut self) {
        match self {
            Self::Ring(socket, cursor) => {
                while cursor.is_none() {
                    let Some(block) = socket.block() else { return };
                    let start = Cursor::start(block);
                    if start.frame(block).is_some() {
                        *cursor = Some(start);
                    } else {
                        // The kernel makes no block without frames, but would be
                        // stuck behind one.
                        socket.release();
                    }
                }
            }
            Self::Pcap(handle) => handle.fill(),
        }
    }

    #[inline]
    fn frame(&self) -> Option<RawFrame<'_>> {
        match self {
            Self::Ring(socket, cursor) => (*cursor)?.frame(socket.block()?),
            Self::Pcap(handle) => handle.frame(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_share_that_waits_is_told_to_an_eighth_for_rings_of_any_size(
            blocks in 2_usize..5_000, share in 0.0..=1.0,
        ) {
            let waiting = (blocks as f64 * share) as usize;
            let told = fill_percent(blocks, |ahead| {
                assert!(ahead < blocks);
                ahead < waiting
            });
            let exact = waiting.saturating_sub(1) as f64 * 100.0 / (blocks - 1) as f64;
            prop_assert!(f64::from(told) <= exact && exact < f64::from(told) + 13.0, "{told} {exact}");
        }
    }
}
