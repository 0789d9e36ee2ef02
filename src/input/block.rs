//! A run of frames on its way to a worker.

use std::sync::Arc;

use memmap2::Mmap;

use crate::packet::LinkType;

/// Frames in stream order with the bytes that they point into. Without frames,
/// it says how far the stream's clock went on while nothing came.
#[derive(Debug)]
pub struct Block {
    /// 0, 1, 2, ... in stream order.
    pub sequence: u64,
    /// Index in the whole stream of this block's first frame.
    pub first_frame: u64,
    pub bytes: BlockBytes,
    pub frames: Vec<Frame>,
    /// Windows of seconds before this one are closed once this block and all
    /// before it have been processed: later frames of those seconds carry
    /// [`frame_flag::LATE`].
    pub closed_before_s: i64,
    /// Latest time stamp of the stream up to the end of this block.
    pub latest_ns: i64,
    /// What to leave out of this block's packets, because a live capture falls
    /// behind. Nothing offline.
    pub shed: Shed,
}

/// What is left out, each step with those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shed {
    #[default]
    Nothing,
    /// Application hints.
    Hints,
    /// Payload entropy.
    Entropy,
    /// New flows, all but one in [`Shed::NEW_FLOWS_KEPT`]. Their packets are
    /// counted as untracked and in the windows.
    NewFlows,
}

impl Shed {
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Hints, Self::Entropy, Self::NewFlows];

    /// One new flow in so many is taken in, chosen by its hash, so that both of
    /// its directions are.
    pub const NEW_FLOWS_KEPT: u64 = 8;

    /// The next step.
    pub fn more(self) -> Self {
        Self::ALL[(self as usize + 1).min(Self::ALL.len() - 1)]
    }

    /// The step before.
    pub fn less(self) -> Self {
        Self::ALL[(self as usize).saturating_sub(1)]
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Hints => "application_hints",
            Self::Entropy => "payload_entropy",
            Self::NewFlows => "new_flows_sampled",
        }
    }
}

/// The captured bytes that [`Frame::offset`] counts in.
#[derive(Debug, Clone)]
pub enum BlockBytes {
    Owned(Vec<u8>),
    /// `base` is the offset in the file that frame offsets start from.
    Mapped {
        map: Arc<Mmap>,
        base: usize,
    },
}

impl BlockBytes {
    /// Everything that frame offsets count in.
    pub fn all(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Mapped { map, base } => map.get(*base..).unwrap_or_default(),
        }
    }

    /// Captured bytes of a frame of this block.
    pub fn frame(&self, frame: &Frame) -> &[u8] {
        frame.bytes_in(self.all())
    }
}

/// One frame: what the capture format says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// UTC, already set right (see [`frame_flag::TIME_ANOMALY`]).
    pub time_ns: i64,
    pub offset: u32,
    pub captured_bytes: u32,
    /// Length on the wire as claimed; over 16 MiB replaced by what was
    /// captured and marked [`frame_flag::LENGTH_ANOMALY`].
    pub wire_bytes: u32,
    pub link: LinkType,
    /// Index into [`crate::input::Input::interfaces`].
    pub interface: u16,
    pub flags: u32,
}

impl Frame {
    /// Captured bytes, from all bytes of the frame's block.
    #[inline]
    pub fn bytes_in<'a>(&self, all: &'a [u8]) -> &'a [u8] {
        let start = self.offset as usize;
        all.get(start..start + self.captured_bytes as usize).unwrap_or_default()
    }
}

/// Bits of [`Frame::flags`].
pub mod frame_flag {
    /// Belongs to a window that is already closed: counted there as late.
    pub const LATE: u32 = 1;
    /// Time stamp was unusable; carries the previous frame's time.
    pub const TIME_ANOMALY: u32 = 2;
    pub const LENGTH_ANOMALY: u32 = 4;
    /// The time stamp is before that of the frame before it.
    pub const BACKWARD: u32 = 8;
}
