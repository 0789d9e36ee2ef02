//! Compressed files that are complete: unpacked from a place on.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use super::print::{HEAD_PRINT_BYTES, Print, TAIL_PRINT_BYTES};

/// zstd's window, `--long=27`: what its own tool accepts without being asked.
const ZSTD_WINDOW_LOG: u32 = 27;

const READ_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// Longest start that tells.
    pub(super) const MAGIC_BYTES: usize = 4;

    pub(super) fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Bytes that could yet become a start of one.
    pub(super) fn may_become(head: &[u8]) -> bool {
        head.len() < Self::MAGIC_BYTES && matches!(head.first(), Some(0x1f | 0x28))
    }

    /// Unpacks a file from its start.
    pub(super) fn reader(self, packed: &File) -> io::Result<Unpacked> {
        self.unpack(FromStart { file: packed.try_clone()?, at: 0 })
    }

    pub(super) fn unpack(self, packed: impl Read + Send + 'static) -> io::Result<Unpacked> {
        let packed = BufReader::with_capacity(READ_BYTES, packed);
        Ok(match self {
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

/// A file with a place of its own: clones of a handle share theirs.
struct FromStart {
    file: File,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

pub(super) type Unpacked = Box<dyn Read + Send>;

/// The unpacked bytes of `packed` from `offset` on; nothing where those before are
/// not what begins with `head` and ends there with `tail`.
pub(super) fn unpacked_from(
    packed: &File,
    packing: Packing,
    offset: u64,
    head: Print,
    tail: Print,
) -> io::Result<Option<Unpacked>> {
    let mut unpacked = packing.reader(packed)?;
    let mut first = Vec::new();
    let mut last = Vec::new();
    let mut left = offset;
    let mut piece = vec![0; READ_BYTES];
    let mut is_begun = false;
    while left > 0 {
        let most = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = match unpacked.read(&mut piece[..most]) {
            Ok(0) => return Ok(None),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        left -= n as u64;
        if first.len() < HEAD_PRINT_BYTES {
            first.extend_from_slice(&piece[..n.min(HEAD_PRINT_BYTES - first.len())]);
        }
        // Early: most files are others, and unpacking them is dear.
        if !is_begun && first.len() >= usize::from(head.bytes) {
            if !head.begins(&first) {
                return Ok(None);
            }
            is_begun = true;
        }
        last.extend_from_slice(&piece[..n]);
        last.drain(..last.len().saturating_sub(TAIL_PRINT_BYTES));
    }
    let ends = last.len() >= usize::from(tail.bytes)
        && Print::of(&last[last.len() - usize::from(tail.bytes)..]) == tail;
    Ok((head.begins(&first) && ends).then_some(unpacked))
}

/// Fingerprint of the first unpacked bytes; of fewer where all of it is shorter.
pub(super) fn head_print(packed: &File, packing: Packing) -> io::Result<Print> {
    let mut first = Vec::new();
    packing.reader(packed)?.take(HEAD_PRINT_BYTES as u64).read_to_end(&mut first)?;
    Ok(Print::of(&first))
}
