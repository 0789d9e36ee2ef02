//! Buffers that come back from the workers, so that the steady state takes no
//! memory from the allocator.

use super::block::Frame;

/// Buffers kept: more blocks than this are never on their way at once.
const KEPT: usize = 64;

#[derive(Debug)]
pub(super) struct Pool {
    bytes: Vec<Vec<u8>>,
    frames: Vec<Vec<Frame>>,
    /// Larger buffers (one huge record) are freed instead of kept.
    largest_bytes: usize,
}

impl Pool {
    pub(super) fn new(block_bytes: usize) -> Self {
        Self { bytes: Vec::new(), frames: Vec::new(), largest_bytes: block_bytes.saturating_mul(2) }
    }

    /// A buffer of any length with any content.
    pub(super) fn bytes(&mut self) -> Vec<u8> {
        self.bytes.pop().unwrap_or_default()
    }

    pub(super) fn frames(&mut self) -> Vec<Frame> {
        self.frames.pop().unwrap_or_default()
    }

    pub(super) fn give_bytes(&mut self, bytes: Vec<u8>) {
        let useful = 0 < bytes.capacity() && bytes.capacity() <= self.largest_bytes;
        if useful && self.bytes.len() < KEPT {
            self.bytes.push(bytes);
        }
    }

    pub(super) fn give_frames(&mut self, mut frames: Vec<Frame>) {
        frames.clear();
        if frames.capacity() > 0 && self.frames.len() < KEPT {
            self.frames.push(frames);
        }
    }
}
