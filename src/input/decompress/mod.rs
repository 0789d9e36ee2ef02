//! Compressed captures, unpacked by threads of their own.
//!
//! Zstandard frames and BGZF members (bgzip's gzip) stand alone and say how long
//! they are, so `split` cuts the packed stream between them without unpacking,
//! and `parallel` unpacks several at once, in order. Everything else has one
//! thread: a single frame, gzip without BGZF's length field (where a member ends
//! is known only once it is unpacked), LZ4, xz. Every buffer and queue is
//! bounded, so memory stays the same however large a stream unfolds.
//!
//! Start at [`decoder`] for a plain reader, [`spawn`] for the threads.

mod gzip;
mod lz4;
mod parallel;
mod split;

#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Read};

use super::sniff::Compression;
use gzip::Gzip;
use lz4::Lz4;
pub(super) use parallel::spawn;

/// Compressed bytes read at a time.
pub(super) const READ_BYTES: usize = 256 << 10;

/// zstd's window, `--long=27`: what its own tool accepts without being asked.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Enough for `xz -9` (65 MiB); a header that asks for more is refused.
const XZ_MEMORY_BYTES: u64 = 256 << 20;

/// What is worth keeping from one use of a decoder to the next.
pub(super) struct Context {
    /// Tables and window of a zstd decoder: most of a MiB.
    zstd: Option<zstd::zstd_safe::DCtx<'static>>,
}

impl Context {
    pub(super) fn new() -> Self {
        Self { zstd: None }
    }

    fn zstd(&mut self) -> io::Result<&mut zstd::zstd_safe::DCtx<'static>> {
        if self.zstd.is_none() {
            let mut context = zstd::zstd_safe::DCtx::try_create()
                .ok_or_else(|| io::Error::other("no memory for a zstd decoder"))?;
            context
                .set_parameter(zstd::zstd_safe::DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
                .map_err(|code| io::Error::other(zstd::zstd_safe::get_error_name(code)))?;
            self.zstd = Some(context);
        }
        self.zstd.as_mut().ok_or_else(|| io::Error::other("no zstd decoder"))
    }
}

/// A reader of the unpacked bytes: all members, frames or streams of the file.
/// Without a context it has one of its own.
pub(super) fn decoder<'a>(
    compression: Compression,
    packed: impl BufRead + Send + 'a,
    context: Option<&'a mut Context>,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match compression {
        Compression::Gzip => Box::new(Gzip::new(packed)),
        Compression::Zstd => match context {
            Some(context) => {
                Box::new(zstd::stream::read::Decoder::with_context(packed, context.zstd()?))
            }
            None => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        },
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
