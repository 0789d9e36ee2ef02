//! Writes in a thread of its own, so that making traffic and handing it to the
//! kernel share no core.

use std::io::{self, Write};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

const BUFFER_BYTES: usize = 1 << 20;
/// One being filled, one being written, two for hiccups of either side.
const BUFFERS: usize = 4;

/// Gives `make` a writer to fill; what it wrote and flushed is in `out` when
/// this returns.
pub(in crate::lab) fn write_behind<W: Write + Send, T>(
    mut out: W,
    make: impl FnOnce(Behind) -> io::Result<T>,
) -> io::Result<T> {
    let (full, to_write) = bounded::<Vec<u8>>(BUFFERS);
    let (written, spare) = bounded(BUFFERS);
    for _ in 0..BUFFERS {
        // Room for all of them: this never waits.
        let _ = written.send(Vec::new());
    }
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            for mut buffer in to_write {
                out.write_all(&buffer)?;
                buffer.clear();
                let _ = written.send(buffer);
            }
            out.flush()
        });
        let made = make(Behind { buffer: Vec::with_capacity(BUFFER_BYTES), full, spare });
        // The writer's own error says more than the closed channel that follows it.
        writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        made
    })
}

/// The near end.
#[derive(Debug)]
pub(in crate::lab) struct Behind {
    buffer: Vec<u8>,
    full: Sender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
}

impl Write for Behind {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        let next = self.spare.recv().map_err(|_| closed())?;
        self.full.send(std::mem::replace(&mut self.buffer, next)).map_err(|_| closed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn everything_arrives_in_order(pieces in prop::collection::vec(0usize..400_000, 0..40)) {
            let piece = |index: usize, length: usize| vec![index as u8; length];
            let mut out = Vec::new();
            write_behind(&mut out, |mut behind| {
                for (index, &length) in pieces.iter().enumerate() {
                    behind.write_all(&piece(index, length))?;
                }
                behind.flush()
            }).unwrap();
            let expected: Vec<u8> =
                pieces.iter().enumerate().flat_map(|(index, &length)| piece(index, length)).collect();
            prop_assert!(out == expected);
        }
    }

    #[test]
    fn the_error_of_the_far_end_comes_back_and_nothing_hangs() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let result = write_behind(Full, |mut behind| {
            for _ in 0..100 {
                behind.write_all(&[0; 100_000])?;
            }
            behind.flush()
        });
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
