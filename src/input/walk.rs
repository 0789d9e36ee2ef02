//! What the readers of all formats share: a walk over bytes at hand.
//!
//! A walker looks at record headers only and says where each frame's bytes
//! lie. It never reads, waits, or copies: when the bytes end inside a record
//! it says how many it needs.

use super::block::{Frame, frame_flag};
use super::pcap::PcapWalker;
use super::pcapng::PcapngWalker;
use super::report::{FileReport, InterfaceTable};
use crate::packet::LinkType;

/// Longest record read. No link has longer frames; libpcap itself stops at
/// 256 KiB (128 MiB for USB and D-Bus).
pub(super) const MAX_CAPTURED_BYTES: u32 = 16 << 20;

/// Longest frame believed to have been on the wire.
pub(super) const MAX_WIRE_BYTES: u32 = 16 << 20;

/// Inside [`Frame::flags`] between reader and [`super::clock`] only: the format
/// gave this frame no time stamp, which is no anomaly.
pub(super) const UNTIMED: u32 = 1 << 31;

/// Longest stretch of one walk: frames in all, and the offset behind which no
/// frame begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

/// Where a walk ended.
#[derive(Debug)]
pub(super) struct Walked {
    /// Offset in the bytes of what comes next.
    pub(super) at: usize,
    pub(super) stop: Stop,
}

#[derive(Debug)]
pub(super) enum Stop {
    /// A limit was reached, or a clock mark behind frames; there may be more.
    Limit,
    /// The next record takes this many bytes from there on.
    Need(usize),
    /// What lies there makes no sense: nothing after it can be found.
    Damage(String),
    /// The header of another capture lies there, whose records are of another form.
    Another,
}

/// Where walkers leave what is no frame.
pub(super) struct Notes<'a> {
    pub(super) interfaces: &'a mut InterfaceTable,
    pub(super) report: &'a mut FileReport,
    pub(super) file: u32,
}

/// What the later stages want to know of many frames at once, so that they
/// need not look at each: ordinary captures have nothing to set right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    pub(super) least_ns: i64,
    pub(super) latest_ns: i64,
    pub(super) last_ns: i64,
    /// A time stamp lies before the one that precedes it.
    pub(super) backward: bool,
    /// All [`Frame::flags`] together.
    pub(super) flags: u32,
    pub(super) wire_bytes: u64,
    pub(super) captured_bytes: u64,
}

impl Tally {
    pub(super) const NOTHING: Self = Self {
        least_ns: i64::MAX,
        latest_ns: i64::MIN,
        last_ns: i64::MIN,
        backward: false,
        flags: 0,
        wire_bytes: 0,
        captured_bytes: 0,
    };

    pub(super) fn of(frames: &[Frame]) -> Self {
        let mut tally = Self::NOTHING;
        frames.iter().for_each(|frame| tally.add(frame));
        tally
    }

    #[inline(always)]
    pub(super) fn add(&mut self, frame: &Frame) {
        self.widen(frame);
        self.add_unbounded(frame);
    }

    /// Without the least and the latest time, which [`Self::bound`] adds for many frames at
    /// once: in order they are the first and the last.
    #[inline(always)]
    pub(super) fn add_unbounded(&mut self, frame: &Frame) {
        self.backward |= frame.time_ns < self.last_ns;
        self.last_ns = frame.time_ns;
        self.flags |= frame.flags;
        self.wire_bytes += u64::from(frame.wire_bytes);
        self.captured_bytes += u64::from(frame.captured_bytes);
    }

    /// Adds the bounds of frames that were added without.
    pub(super) fn bound(&mut self, frames: &[Frame]) {
        if self.backward {
            frames.iter().for_each(|frame| self.widen(frame));
        } else {
            frames.first().into_iter().chain(frames.last()).for_each(|frame| self.widen(frame));
        }
    }

    #[inline(always)]
    fn widen(&mut self, frame: &Frame) {
        self.least_ns = self.least_ns.min(frame.time_ns);
        self.latest_ns = self.latest_ns.max(frame.time_ns);
    }
}

/// Frames as they are found, and their tally.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) frames: Vec<Frame>,
    pub(super) tally: Tally,
    /// The stream's clock had come to this before the first frame.
    pub(super) mark_ns: Option<i64>,
}

impl Found {
    /// Starts with an empty list, which keeps its room.
    pub(super) fn new(frames: Vec<Frame>) -> Self {
        Self { frames, tally: Tally::NOTHING, mark_ns: None }
    }

    /// Worth handing on: there are frames, or, where there will be no more, a
    /// clock mark.
    pub(super) fn is_batch(&self, last: bool) -> bool {
        !self.frames.is_empty() || (last && self.mark_ns.is_some())
    }

    #[inline(always)]
    pub(super) fn push(&mut self, frame: Frame) {
        self.tally.add(&frame);
        self.frames.push(frame);
    }
}

#[derive(Debug)]
pub(super) enum Walker {
    Pcap(PcapWalker),
    Pcapng(Box<PcapngWalker>),
}

impl Walker {
    /// Adds the frames of `bytes` from `at` on to `found`, with offsets into
    /// `bytes`.
    pub(super) fn walk(
        &mut self,
        bytes: &[u8],
        at: usize,
        limits: Limits,
        found: &mut Found,
        notes: &mut Notes<'_>,
    ) -> Walked {
        match self {
            Self::Pcap(walker) => walker.walk(bytes, at, limits, found, notes),
            Self::Pcapng(walker) => walker.walk(bytes, at, limits, found, notes),
        }
    }

    /// True when the bytes so far end inside a block that is being skipped.
    pub(super) fn is_inside_record(&self) -> bool {
        match self {
            Self::Pcap(_) => false,
            Self::Pcapng(walker) => walker.is_inside_block(),
        }
    }
}

/// A frame with its wire length set right. `offset` is bounded by the limits of
/// the walk, which fit in 32 bits.
#[inline(always)]
pub(super) fn frame(
    time_ns: i64,
    offset: usize,
    captured_bytes: u32,
    claimed_bytes: u32,
    link: LinkType,
    interface: u16,
    flags: u32,
) -> Frame {
    // A claim below what was captured stands: capture tools put pseudo-headers
    // into the frame that were never on the wire.
    let odd = claimed_bytes > MAX_WIRE_BYTES;
    Frame {
        time_ns,
        offset: offset as u32,
        captured_bytes,
        wire_bytes: if odd { captured_bytes } else { claimed_bytes },
        link,
        interface,
        flags: if odd { flags | frame_flag::LENGTH_ANOMALY } else { flags },
    }
}
