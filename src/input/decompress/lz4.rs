//! LZ4 frames, told apart by hand: the library does not say where one ended.

use std::io::{self, Read};

/// LZ4 frames one after the other. The library takes a stream that ends
/// between two blocks of a frame for complete; a frame that lacks its end mark
/// is an error here.
pub(super) struct Lz4<R: Read> {
    frames: lz4_flex::frame::FrameDecoder<Packed<R>>,
    frame: Option<Ending>,
}

/// What ends the frame being read.
#[derive(Clone, Copy)]
enum Ending {
    /// Old frames end with the file.
    Legacy,
    /// Four zero bytes, then perhaps a checksum.
    Mark { checksum: bool },
}

impl<R: Read> Lz4<R> {
    pub(super) fn new(packed: R) -> Self {
        let packed = Packed { inner: packed, ahead: [0; 5], ahead_at: 5, last: [0xff; 8] };
        Self { frames: lz4_flex::frame::FrameDecoder::new(packed), frame: None }
    }

    /// Passes skippable frames and looks at the next header; false at the end.
    fn begin_frame(&mut self) -> io::Result<bool> {
        const LEGACY: u32 = 0x184c_2102;
        const SKIPPABLE: u32 = 0x184d_2a50;
        const CONTENT_CHECKSUM: u8 = 0x04;
        let packed = self.frames.get_mut();
        loop {
            let mut header = [0; 5];
            if packed.inner.read(&mut header[..1])? == 0 {
                return Ok(false);
            }
            packed.inner.read_exact(&mut header[1..])?;
            let [a, b, c, d, flags] = header;
            let magic = u32::from_le_bytes([a, b, c, d]);
            if magic & 0xffff_fff0 != SKIPPABLE {
                self.frame = Some(if magic == LEGACY {
                    Ending::Legacy
                } else {
                    Ending::Mark { checksum: flags & CONTENT_CHECKSUM != 0 }
                });
                packed.ahead = header;
                packed.ahead_at = 0;
                return Ok(true);
            }
            let mut length = [flags, 0, 0, 0];
            packed.inner.read_exact(&mut length[1..])?;
            let length = u64::from(u32::from_le_bytes(length));
            if io::copy(&mut (&mut packed.inner).take(length), &mut io::sink())? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl<R: Read> Read for Lz4<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.frame.is_none() && !self.begin_frame()? {
                return Ok(0);
            }
            let n = self.frames.read(buffer)?;
            if n > 0 {
                return Ok(n);
            }
            let last = self.frames.get_ref().last;
            let ended = match self.frame.take() {
                Some(Ending::Mark { checksum: false }) => last[4..] == [0; 4],
                Some(Ending::Mark { checksum: true }) => last[..4] == [0; 4],
                Some(Ending::Legacy) | None => true,
            };
            if !ended {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the stream ends in the middle of a frame",
                ));
            }
        }
    }
}

/// Gives the header that was looked at once more, and remembers the last eight
/// bytes that went through.
struct Packed<R> {
    inner: R,
    ahead: [u8; 5],
    ahead_at: usize,
    last: [u8; 8],
}

impl<R: Read> Read for Packed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = if self.ahead_at < self.ahead.len() {
            let n = (&self.ahead[self.ahead_at..]).read(buffer)?;
            self.ahead_at += n;
            n
        } else {
            self.inner.read(buffer)?
        };
        let read = &buffer[..n];
        if let Some(end) = read.last_chunk::<8>() {
            self.last = *end;
        } else {
            self.last.rotate_left(n);
            self.last[8 - n..].copy_from_slice(read);
        }
        Ok(n)
    }
}
