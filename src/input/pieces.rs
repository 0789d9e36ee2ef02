//! A plain file's pieces, joined to whole records for the walk.

use std::io;
use std::sync::Arc;

use super::ahead::{HEADROOM_BYTES, Piece, ReadAhead};
use super::pool::Pool;
use super::walk::{Found, Limits};

/// Least worth a system call.
const LEAST_BYTES: usize = 64 << 10;

/// Read for each frame of a block before any was seen: a whole packet of most
/// links. Blocks of few frames must not carry a megabyte from one to the next.
const FRAME_BYTES: usize = 2 << 10;

pub(super) struct Pieces {
    pub(super) ahead: Arc<ReadAhead>,
    /// Read but not walked over yet: the start of a record, or what is beyond
    /// a block's limit of frames.
    pub(super) carry: Vec<u8>,
    /// `carry` holds whole records: the walk stopped before its end.
    pub(super) more_in_carry: bool,
    /// The same where it is more than what was walked over.
    pub(super) rest: Option<Rest>,
    pub(super) ended: bool,
    pub(super) error: Option<io::Error>,
}

/// A buffer of which a small part at the front was walked over; that part was
/// copied, so that marks every few frames don't have the rest copied each time.
pub(super) struct Rest {
    pub(super) buffer: Vec<u8>,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Pieces {
    /// What was carried and what follows it, at least `need` bytes while there
    /// are so many: a buffer, and where in it they begin and end. Nothing stays
    /// in the carry.
    pub(super) fn join(&mut self, need: usize, pool: &mut Pool) -> Rest {
        if let Some(rest) = self.rest.take() {
            return rest;
        }
        if !self.more_in_carry
            && self.carry.len() <= HEADROOM_BYTES
            && let Some(Piece { mut buffer, end, .. }) = self.next(pool)
        {
            let start = HEADROOM_BYTES - self.carry.len();
            buffer[start..HEADROOM_BYTES].copy_from_slice(&self.carry);
            self.carry.clear();
            return Rest { buffer, start, end };
        }
        let mut buffer = pool.bytes();
        buffer.clear();
        buffer.append(&mut self.carry);
        while !self.more_in_carry
            && buffer.len() < need
            && let Some(piece) = self.next(pool)
        {
            buffer.extend_from_slice(&piece.buffer[HEADROOM_BYTES..piece.end]);
            pool.give_bytes(piece.buffer);
        }
        let end = buffer.len();
        Rest { buffer, start: 0, end }
    }

    fn next(&mut self, pool: &mut Pool) -> Option<Piece> {
        if self.ended {
            return None;
        }
        let mut piece = self.ahead.take(|| pool.bytes());
        match &mut piece {
            Some(Piece { last: None, .. }) => {}
            Some(Piece { last: Some(last), .. }) => {
                self.ended = true;
                self.error = std::mem::replace(last, Ok(())).err();
            }
            None => self.ended = true,
        }
        piece
    }

    /// Pieces end a little before the limit of frames, so that nothing but the
    /// start of a record is carried.
    pub(super) fn aim(&self, consumed: usize, frames: usize, limits: Limits) {
        let full = (consumed / frames.max(1) + 1).saturating_mul(limits.frames);
        self.ahead.aim((full - full / 16).max(least_bytes(limits)).min(limits.bytes));
    }
}

/// The bytes that were walked over, by themselves, with the frames' offsets set
/// right; they lay at `start`.
pub(super) fn copy_front(
    walked: &[u8],
    start: usize,
    mut front: Vec<u8>,
    found: &mut Found,
) -> Vec<u8> {
    front.clear();
    front.extend_from_slice(walked);
    for frame in &mut found.frames {
        // Frames lie within what was walked over.
        frame.offset -= start as u32;
    }
    front
}

/// What to read before the frames' lengths are known.
pub(super) fn first_bytes(limits: Limits) -> usize {
    limits.frames.saturating_mul(FRAME_BYTES).min(limits.bytes)
}

pub(super) fn least_bytes(limits: Limits) -> usize {
    first_bytes(limits).min(LEAST_BYTES)
}
