//! Members of gzip one after the other, and the zeros that tapes and archives pad them with.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Unpacks members up to the end, or to zeros that go on to the end. Its decoder is used again
/// for each: BGZF has one every 64 KiB.
pub(super) struct Gzip<R: BufRead> {
    member: GzDecoder<Slot<R>>,
    /// Between two members, or before the first.
    packed: Option<R>,
    ended: bool,
}

impl<R: BufRead> Gzip<R> {
    pub(super) fn new(packed: R) -> Self {
        Self { member: GzDecoder::new(Slot(None)), packed: Some(packed), ended: false }
    }

    /// Whether something comes that is no padding.
    fn goes_on(packed: &mut R) -> io::Result<bool> {
        let mut is_padded = false;
        loop {
            let bytes = packed.fill_buf()?;
            let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
            if bytes.is_empty() {
                return Ok(false);
            }
            if zeros < bytes.len() {
                return if is_padded || zeros > 0 {
                    let what = "there are zeros and something else behind a gzip member";
                    Err(io::Error::new(io::ErrorKind::InvalidData, what))
                } else {
                    Ok(true)
                };
            }
            is_padded = true;
            packed.consume(zeros);
        }
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.ended {
                return Ok(0);
            }
            if let Some(packed) = &mut self.packed {
                if !Self::goes_on(packed)? {
                    self.ended = true;
                    return Ok(0);
                }
                self.member.reset(Slot(self.packed.take()));
            }
            let n = self.member.read(buffer)?;
            if n > 0 {
                return Ok(n);
            }
            self.packed = self.member.get_mut().0.take();
            self.ended = self.packed.is_none();
        }
    }
}

/// Lets go of what it reads; it is at its end then.
struct Slot<R>(Option<R>);

impl<R: BufRead> Read for Slot<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.as_mut().map_or(Ok(0), |inner| inner.read(buffer))
    }
}

impl<R: BufRead> BufRead for Slot<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.as_mut().map_or(Ok(&[]), BufRead::fill_buf)
    }

    fn consume(&mut self, n: usize) {
        if let Some(inner) = &mut self.0 {
            inner.consume(n);
        }
    }
}
