//! Compressed captures, unpacked by a thread of their own.
//!
//! The thread hands out blocks over a bounded channel and gets them back, so
//! memory stays the same however large a stream unfolds. Start at [`decoder`]
//! for a plain reader, [`spawn`] to put one on its thread.

use std::io::{self, BufReader, Read};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::sniff::Compression;

/// Unpacked bytes that change hands at a time: some hundred microseconds of
/// work, so that waking the other side costs nothing.
const CHUNK_BYTES: usize = 1 << 20;

/// Chunks in flight: one being filled, one waiting, one being read.
const CHUNKS: usize = 2;

/// Compressed bytes read at a time.
const READ_BYTES: usize = 256 << 10;

/// zstd's window, `--long=27`: what its own tool accepts without being asked.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Enough for `xz -9` (65 MiB); a header that asks for more is refused.
const XZ_MEMORY_BYTES: u64 = 256 << 20;

/// A reader of the unpacked bytes: all members, frames or streams of the file.
pub(super) fn decoder<'a>(
    compression: Compression,
    packed: impl Read + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let packed = BufReader::with_capacity(READ_BYTES, packed);
    Ok(match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Compression::Lz4 => Box::new(Lz4::new(packed)),
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(
                XZ_MEMORY_BYTES,
                liblzma::stream::CONCATENATED,
            )?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(packed, stream))
        }
    })
}

/// Unpacks on a thread of its own, which ends with the stream or when the
/// returned reader is dropped.
pub(super) fn spawn(mut unpacked: Box<dyn Read + Send>) -> io::Result<Unpacked> {
    let (send, chunks) = bounded(CHUNKS);
    let (give_back, used) = bounded(CHUNKS + 1);
    thread::Builder::new()
        .name("decompress".to_owned())
        .spawn(move || unpack(unpacked.as_mut(), &send, &used))?;
    Ok(Unpacked { chunks, give_back, chunk: Vec::new(), at: 0, ended: false })
}

fn unpack(unpacked: &mut dyn Read, send: &Sender<io::Result<Vec<u8>>>, used: &Receiver<Vec<u8>>) {
    loop {
        let mut chunk = used.try_recv().unwrap_or_default();
        chunk.resize(CHUNK_BYTES, 0);
        let mut filled = 0;
        let mut end = None;
        while let Some(room) = chunk.get_mut(filled..).filter(|room| !room.is_empty()) {
            match unpacked.read(room) {
                Ok(0) => {
                    end = Some(None);
                    break;
                }
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    end = Some(Some(error));
                    break;
                }
            }
        }
        chunk.truncate(filled);
        // A send fails when nobody reads any more: nothing left to do.
        if filled > 0 && send.send(Ok(chunk)).is_err() {
            return;
        }
        match end {
            None => {}
            Some(None) => return,
            Some(Some(error)) => {
                let _ = send.send(Err(error));
                return;
            }
        }
    }
}

/// Reads what the thread unpacks.
#[derive(Debug)]
pub(super) struct Unpacked {
    chunks: Receiver<io::Result<Vec<u8>>>,
    give_back: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            if self.ended {
                return Ok(0);
            }
            // When the channel is full or closed the buffer is simply freed.
            let _ = self.give_back.try_send(std::mem::take(&mut self.chunk));
            self.at = 0;
            match self.chunks.recv() {
                Ok(Ok(chunk)) => self.chunk = chunk,
                Ok(Err(error)) => {
                    self.ended = true;
                    return Err(error);
                }
                Err(_) => {
                    self.ended = true;
                    return Ok(0);
                }
            }
        }
        let rest = self.chunk.get(self.at..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

/// LZ4 frames one after the other. The library takes a stream that ends
/// between two blocks of a frame for complete; a frame that lacks its end mark
/// is an error here.
struct Lz4<R: Read> {
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
    fn new(packed: R) -> Self {
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
