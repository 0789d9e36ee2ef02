//! A place in a frame that knows two ends: where the capture stops and where
//! the headers read so far say that the layer stops on the wire.
//!
//! Reading past the first means that the snap length cut the frame; reading
//! past the second means that a header lied. The two must never be mixed up.

use super::facts::{MalformedReason, Verdict};

/// Where in the frame a layer starts and, on the wire, ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    frame: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(frame: &'a [u8], wire_bytes: u32) -> Self {
        // More captured than was on the wire is a lie of the record header;
        // the bytes are there all the same.
        Self { frame, at: 0, end: frame.len().max(wire_bytes as usize) }
    }

    /// Offset in the frame; may lie past the captured bytes.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Bytes of this layer that were on the wire.
    pub(super) fn wire_left(&self) -> usize {
        self.end - self.at
    }

    /// Bytes of this layer that were captured.
    pub(super) fn captured(&self) -> &'a [u8] {
        self.frame.get(self.at..self.frame.len().min(self.end)).unwrap_or_default()
    }

    /// The next `N` bytes, without moving on.
    pub(super) fn peek<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.captured().first_chunk()
    }

    /// The next `N` bytes. A wire that is too short for them is `reason`.
    pub(super) fn take<const N: usize>(
        &mut self,
        reason: MalformedReason,
    ) -> Result<&'a [u8; N], Verdict> {
        let Some(bytes) = self.peek() else { return Err(self.missing(N, reason)) };
        self.at += N;
        Ok(bytes)
    }

    /// Moves over `count` bytes, captured or not.
    pub(super) fn skip(&mut self, count: usize, reason: MalformedReason) -> Result<(), Verdict> {
        if count > self.wire_left() {
            return Err(Verdict::Malformed(reason));
        }
        self.at += count;
        Ok(())
    }

    /// Moves over `count` bytes or to the end of the layer.
    pub(super) fn advance(&mut self, count: usize) {
        self.at += count.min(self.wire_left());
    }

    /// Offset in the frame, at most the end of the captured bytes.
    pub(super) fn captured_at(&self) -> usize {
        self.at.min(self.frame.len())
    }

    /// Why `count` bytes can't be read here: `reason` if the wire did not have
    /// them, else the snap length.
    pub(super) fn missing(&self, count: usize, reason: MalformedReason) -> Verdict {
        Verdict::Malformed(if count > self.wire_left() {
            reason
        } else {
            MalformedReason::CutInHeaders
        })
    }

    /// This place with the layer ending `bytes` on, if it does not end before.
    pub(super) fn limited(self, bytes: usize) -> Self {
        Self { end: self.end.min(self.at.saturating_add(bytes)), ..self }
    }

    /// This place with an end that no longer binds: what follows was cut
    /// before it was put on this wire, so that its own headers decide.
    pub(super) fn unlimited(self) -> Self {
        Self { end: self.at.saturating_add(usize::from(u16::MAX) + 64), ..self }
    }
}

/// Big-endian 16-bit field.
pub(super) fn be16(bytes: [u8; 2]) -> u16 {
    u16::from_be_bytes(bytes)
}
