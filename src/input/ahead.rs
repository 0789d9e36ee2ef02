//! A plain file in pieces, read by whoever has time and used in order.
//!
//! Copying a file's bytes takes twice as long as walking over them, and needs
//! no order: threads that wait to take a block in turn call [`ReadAhead::fill`]
//! before they do. Nothing depends on it: a piece that nobody has read yet is
//! read when it is needed.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, PoisonError};

use super::report::Progress;
use crate::lock::Lock;

/// Room before a piece for the start of a record that the piece before it
/// ended in: the longest record of ordinary captures.
pub(super) const HEADROOM_BYTES: usize = 64 << 10;

/// Pieces of a file, read ahead of the walk. Share it between threads.
#[derive(Debug)]
pub struct ReadAhead {
    file: File,
    progress: Option<Arc<Progress>>,
    /// Length of the pieces that are claimed from now on.
    piece_bytes: AtomicUsize,
    queue: Lock<Queue>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Queue {
    /// Offset in the file of the next piece to claim.
    next_offset: u64,
    /// Number of the piece at the front.
    first: u64,
    /// `None` while it is being read.
    pieces: VecDeque<Option<Piece>>,
    /// Nothing further is claimed: a piece came short.
    ended: bool,
}

/// Bytes of the file, from [`HEADROOM_BYTES`] of the buffer up to `end`.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) buffer: Vec<u8>,
    pub(super) end: usize,
    /// The file ends here, or can't be read on.
    pub(super) last: Option<io::Result<()>>,
}

impl ReadAhead {
    pub(super) fn new(
        file: File,
        offset: u64,
        piece_bytes: usize,
        progress: Option<Arc<Progress>>,
    ) -> Self {
        let queue = Queue { next_offset: offset, first: 0, pieces: VecDeque::new(), ended: false };
        Self {
            file,
            progress,
            piece_bytes: AtomicUsize::new(piece_bytes),
            queue: Lock::new(queue),
            arrived: Condvar::new(),
        }
    }

    /// Reads the next piece into `buffer`, unless `most` are waiting already or
    /// the file has ended: then the buffer comes back.
    pub fn fill(&self, mut buffer: Vec<u8>, most: usize) -> Option<Vec<u8>> {
        let (number, offset, length) = {
            let mut queue = self.queue.lock();
            if queue.ended || queue.pieces.len() >= most {
                return Some(buffer);
            }
            let length = self.piece_bytes.load(Ordering::Relaxed);
            let offset = queue.next_offset;
            queue.next_offset += length as u64;
            queue.pieces.push_back(None);
            (queue.first + queue.pieces.len() as u64 - 1, offset, length)
        };
        let full = HEADROOM_BYTES + length;
        if buffer.len() < full {
            // Nothing of it is kept, and zeroed pages come untouched.
            buffer = vec![0; full];
        }
        let mut end = HEADROOM_BYTES;
        let mut last = None;
        while let Some(room) = buffer.get_mut(end..full).filter(|room| !room.is_empty()) {
            match self.file.read_at(room, offset + (end - HEADROOM_BYTES) as u64) {
                Ok(0) => {
                    last = Some(Ok(()));
                    break;
                }
                Ok(n) => end += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    last = Some(Err(error));
                    break;
                }
            }
        }
        if let Some(progress) = &self.progress {
            progress.add((end - HEADROOM_BYTES) as u64);
        }
        let mut queue = self.queue.lock();
        queue.ended |= last.is_some();
        let index = usize::try_from(number.wrapping_sub(queue.first)).unwrap_or(usize::MAX);
        if let Some(place) = queue.pieces.get_mut(index) {
            *place = Some(Piece { buffer, end, last });
        }
        drop(queue);
        self.arrived.notify_all();
        None
    }

    /// The next piece in order; `None` behind the last one.
    pub(super) fn take(&self, mut spare: impl FnMut() -> Vec<u8>) -> Option<Piece> {
        let mut queue = self.queue.lock();
        loop {
            let Some(place) = queue.pieces.front_mut() else {
                if queue.ended {
                    return None;
                }
                drop(queue);
                let _ = self.fill(spare(), 1);
                queue = self.queue.lock();
                continue;
            };
            let Some(piece) = place.take() else {
                queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            queue.pieces.pop_front();
            queue.first += 1;
            if piece.last.is_some() {
                // What was read behind it belongs to a file that changed
                // meanwhile; what is still being read finds no place.
                queue.first = u64::MAX;
                queue.pieces.clear();
            }
            return Some(piece);
        }
    }

    pub(super) fn aim(&self, piece_bytes: usize) {
        self.piece_bytes.store(piece_bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        file
    }

    fn drain(ahead: &ReadAhead) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(piece) = ahead.take(Vec::new) {
            out.extend_from_slice(&piece.buffer[HEADROOM_BYTES..piece.end]);
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn pieces_are_the_file_whoever_reads_them(
            length in 0_usize..200_000,
            offset in 0_usize..300,
            piece_bytes in 1_000_usize..50_000,
            fillers in 0_usize..4,
        ) {
            let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let expected = bytes.get(offset..).unwrap_or_default();
            let ahead = ReadAhead::new(file(&bytes), offset as u64, piece_bytes, None);
            let found = thread::scope(|scope| {
                for _ in 0..fillers {
                    scope.spawn(|| while !ahead.queue.lock().ended {
                        ahead.fill(Vec::new(), 3);
                        thread::yield_now();
                    });
                }
                drain(&ahead)
            });
            prop_assert!(found == expected);
            prop_assert!(ahead.take(Vec::new).is_none());
        }
    }

    #[test]
    fn no_more_pieces_wait_than_are_asked_for() {
        let ahead = ReadAhead::new(file(&[7; 10_000]), 0, 1_000, None);
        assert!(ahead.fill(Vec::new(), 2).is_none());
        assert!(ahead.fill(Vec::new(), 2).is_none());
        assert_eq!(ahead.fill(vec![1, 2], 2), Some(vec![1, 2]));
        assert_eq!(drain(&ahead), [7; 10_000]);
    }

    #[test]
    fn a_file_that_grows_has_no_gap() {
        let mut file = file(&[1; 1_500]);
        let ahead = ReadAhead::new(file.try_clone().expect("a second handle"), 0, 1_000, None);
        assert!(ahead.fill(Vec::new(), 9).is_none());
        assert!(ahead.fill(Vec::new(), 9).is_none());
        file.write_all(&[2; 5_000]).expect("written");
        ahead.fill(Vec::new(), 9);
        assert_eq!(drain(&ahead), [1; 1_500]);
    }
}
