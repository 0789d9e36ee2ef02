//! Packed streams cut between frames, by their headers alone.
//!
//! A [`Splitter`] reads the packed bytes and hands out [`Unit`]s of whole frames
//! or members; what it can't measure, or what is too long to be held, it lets
//! through as it comes ([`Cut::Streamed`]). It believes lengths but promises
//! nothing: whoever unpacks a unit finds out whether they were true, since a
//! unit that was cut elsewhere than between two frames does not unpack.

use std::io::{self, BufRead, Read};

use super::READ_BYTES;
use crate::input::sniff::Compression;

/// Packed bytes from which a unit is long enough: BGZF members have at most
/// 64 KiB, too few to be worth handing over one by one.
const UNIT_BYTES: usize = 256 << 10;

/// Longest frame that is held: `pzstd` makes frames of 8 MiB unpacked and `-19`
/// ones of 32 MiB, which are hardly longer than this packed.
const HELD_BYTES: usize = 16 << 20;

/// What came of the bytes fed to a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fed {
    /// All used, the frame goes on.
    All,
    /// The frame ends after so many of the bytes.
    End(usize),
    /// No header that is known: where this frame ends can't be said.
    Unknown,
}

/// Finds the end of a frame by its headers.
#[derive(Debug)]
struct Measure {
    format: Format,
    header: Vec<u8>,
    /// Bytes of `header` that are needed before it can be understood.
    want: usize,
    /// Bytes to pass over until the next header.
    skip: u64,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Zstd,
    Bgzf,
    /// Can't be cut.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Start,
    /// Between the blocks of a zstd frame.
    Blocks {
        checksum: bool,
    },
    /// What is skipped is the frame's last.
    Last,
}

impl Measure {
    fn new(compression: Compression) -> Self {
        let format = match compression {
            Compression::Zstd => Format::Zstd,
            Compression::Gzip => Format::Bgzf,
            Compression::Lz4 | Compression::Xz => Format::Other,
        };
        let mut measure =
            Self { format, header: Vec::new(), want: 0, skip: 0, stage: Stage::Start };
        measure.restart();
        measure
    }

    /// What comes next is the first byte of a frame.
    fn restart(&mut self) {
        self.header.clear();
        self.stage = Stage::Start;
        self.skip = 0;
        self.want = match self.format {
            Format::Zstd => 5,
            Format::Bgzf => 18,
            Format::Other => 1,
        };
    }

    fn feed(&mut self, bytes: &[u8]) -> Fed {
        let mut rest = bytes;
        loop {
            let passed = rest.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            rest = rest.get(passed..).unwrap_or_default();
            self.skip -= passed as u64;
            if self.skip > 0 {
                return Fed::All;
            }
            if self.stage == Stage::Last {
                self.restart();
                return Fed::End(bytes.len() - rest.len());
            }
            let missing = self.want.saturating_sub(self.header.len()).min(rest.len());
            let (taken, after) = rest.split_at(missing);
            self.header.extend_from_slice(taken);
            rest = after;
            if self.header.len() < self.want {
                return Fed::All;
            }
            let understood = match self.format {
                Format::Zstd => self.zstd_header(),
                Format::Bgzf => self.bgzf_header(),
                Format::Other => None,
            };
            if understood.is_none() {
                return Fed::Unknown;
            }
        }
    }

    /// RFC 8878, section 3: a frame's header, a skippable frame's, or a block's.
    fn zstd_header(&mut self) -> Option<()> {
        const MAGIC: u32 = 0xfd2f_b528;
        const SKIPPABLE: u32 = 0x184d_2a50;
        if let Stage::Blocks { checksum } = self.stage {
            let header = self.header.first_chunk::<3>()?;
            let field = u32::from_le_bytes([header[0], header[1], header[2], 0]);
            let length = u64::from(field >> 3);
            let is_last = field & 1 != 0;
            // Raw, one byte repeated, compressed; the fourth is reserved.
            self.skip = match field >> 1 & 3 {
                0 | 2 => length,
                1 => 1,
                _ => return None,
            };
            if is_last {
                self.skip += if checksum { 4 } else { 0 };
                self.stage = Stage::Last;
            }
            self.header.clear();
            return Some(());
        }
        let header = self.header.first_chunk::<5>()?;
        let magic = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        if magic & 0xffff_fff0 == SKIPPABLE {
            let Some(header) = self.header.first_chunk::<8>() else {
                self.want = 8;
                return Some(());
            };
            let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
            self.skip = u64::from(length);
            self.stage = Stage::Last;
        } else if magic == MAGIC {
            let descriptor = header[4];
            let single_segment = descriptor & 0x20 != 0;
            let window = u64::from(!single_segment);
            let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
            let content_size = match descriptor >> 6 {
                0 => u64::from(single_segment),
                1 => 2,
                2 => 4,
                _ => 8,
            };
            self.skip = window + dictionary + content_size;
            self.stage = Stage::Blocks { checksum: descriptor & 4 != 0 };
            self.want = 3;
        } else {
            return None;
        }
        self.header.clear();
        Some(())
    }

    /// RFC 1952 with the extra field of the SAM specification, section 4.1:
    /// "BC", length 2, then the member's length less one. Writers put it first.
    fn bgzf_header(&mut self) -> Option<()> {
        const HEADER_BYTES: u64 = 18;
        let header = self.header.first_chunk::<18>()?;
        let extra_bytes = u16::from_le_bytes([header[10], header[11]]);
        if header[..4] != [0x1f, 0x8b, 8, 4] || extra_bytes < 6 || header[12..16] != *b"BC\x02\0" {
            return None;
        }
        let length = u64::from(u16::from_le_bytes([header[16], header[17]])) + 1;
        self.skip = length.checked_sub(HEADER_BYTES)?;
        self.stage = Stage::Last;
        Some(())
    }
}

/// Packed bytes, with the ends of the pieces in which they were read: a decoder
/// that is given the same pieces loses the same bytes before damage.
#[derive(Debug, Default)]
pub(super) struct Unit {
    packed: Vec<u8>,
    ends: Vec<usize>,
}

impl Unit {
    fn clear(&mut self) {
        self.packed.clear();
        self.ends.clear();
    }

    /// Moves what lies behind `at` into `left`.
    fn cut(&mut self, at: usize, left: &mut Self) {
        left.clear();
        left.packed.extend_from_slice(self.packed.get(at..).unwrap_or_default());
        left.ends.extend(self.ends.iter().filter(|&&end| end > at).map(|end| end - at));
        self.packed.truncate(at);
        self.ends.retain(|&end| end < at);
        self.ends.push(at);
    }

    /// Reads one piece more; false at the end.
    fn read(&mut self, from: &mut dyn Read) -> io::Result<bool> {
        let length = self.packed.len();
        self.packed.resize(length + READ_BYTES, 0);
        let result = loop {
            match from.read(self.packed.get_mut(length..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        let n = result.as_ref().map_or(0, |n| *n);
        self.packed.truncate(length + n);
        if n > 0 {
            self.ends.push(length + n);
        }
        result.map(|n| n > 0)
    }

    pub(super) fn reader(&self) -> Held<'_> {
        Held { unit: self, at: 0 }
    }

    /// The rest of the piece that `at` lies in.
    fn piece(&self, at: usize) -> &[u8] {
        let end = self.ends.get(self.ends.partition_point(|&end| end <= at));
        self.packed.get(at..end.copied().unwrap_or(at)).unwrap_or_default()
    }
}

/// What became of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Whole frames: [`Unit::reader`] has them.
    Whole,
    /// Goes on behind what is held: [`Splitter::stream`] has it.
    Streamed,
    /// The stream has ended.
    Nothing,
}

/// The packed stream.
pub(super) struct Splitter {
    read: Box<dyn Read + Send>,
    measure: Measure,
    /// Read, but in no unit yet: it begins with a frame.
    left: Unit,
    ended: bool,
    /// The frames can't be told apart any more.
    opaque: bool,
    /// Comes after everything that was read before it.
    error: Option<io::Error>,
}

impl Splitter {
    pub(super) fn new(compression: Compression, read: Box<dyn Read + Send>) -> Self {
        Self {
            read,
            measure: Measure::new(compression),
            left: Unit::default(),
            ended: false,
            opaque: false,
            error: None,
        }
    }

    /// Puts the next frames into `unit`, in place of what it holds.
    pub(super) fn next_unit(&mut self, unit: &mut Unit) -> Cut {
        unit.clear();
        std::mem::swap(unit, &mut self.left);
        self.measure.restart();
        let mut measured = 0;
        let mut whole = 0;
        loop {
            match self.measure.feed(unit.packed.get(measured..).unwrap_or_default()) {
                Fed::End(n) => {
                    measured += n;
                    whole = measured;
                    if whole >= UNIT_BYTES {
                        break;
                    }
                    continue;
                }
                Fed::All => measured = unit.packed.len(),
                Fed::Unknown => {
                    self.opaque = whole == 0;
                    break;
                }
            }
            if self.ended || unit.packed.len() - whole >= HELD_BYTES || !self.read_into(unit) {
                break;
            }
        }
        if whole > 0 {
            unit.cut(whole, &mut self.left);
            Cut::Whole
        } else if unit.packed.is_empty() && self.error.is_none() {
            Cut::Nothing
        } else {
            Cut::Streamed
        }
    }

    /// What [`Cut::Streamed`] left open: the one frame to its end, or all that
    /// is left of a stream that can't be cut. The splitter then goes on.
    pub(super) fn stream<'a>(&'a mut self, unit: &'a mut Unit) -> Streamed<'a> {
        Streamed { splitter: self, unit, at: 0, frame_ended: false }
    }

    /// Nothing more is wanted.
    pub(super) fn stop(&mut self) {
        self.ended = true;
        self.error = None;
        self.left.clear();
    }

    /// False at the end, or before an error.
    fn read_into(&mut self, unit: &mut Unit) -> bool {
        match unit.read(self.read.as_mut()) {
            Ok(more) => self.ended = !more,
            Err(error) => {
                self.ended = true;
                self.error = Some(error);
            }
        }
        !self.ended
    }
}

/// The pieces of a unit.
#[derive(Debug)]
pub(super) struct Held<'a> {
    unit: &'a Unit,
    at: usize,
}

impl BufRead for Held<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.unit.piece(self.at))
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

impl Read for Held<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

/// A frame too long to be held, or a stream that can't be cut.
pub(super) struct Streamed<'a> {
    splitter: &'a mut Splitter,
    unit: &'a mut Unit,
    at: usize,
    frame_ended: bool,
}

impl Streamed<'_> {
    fn refill(&mut self) -> io::Result<()> {
        self.at = 0;
        self.unit.clear();
        if self.frame_ended {
            return Ok(());
        }
        if !self.splitter.ended {
            self.splitter.read_into(self.unit);
        }
        if self.unit.packed.is_empty() {
            return self.splitter.error.take().map_or(Ok(()), Err);
        }
        if !self.splitter.opaque {
            match self.splitter.measure.feed(&self.unit.packed) {
                Fed::All => {}
                Fed::End(n) => {
                    self.unit.cut(n, &mut self.splitter.left);
                    self.frame_ended = true;
                }
                Fed::Unknown => self.splitter.opaque = true,
            }
        }
        Ok(())
    }
}

impl BufRead for Streamed<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.unit.packed.len() {
            self.refill()?;
        }
        Ok(self.unit.piece(self.at))
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

impl Read for Streamed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

fn read_buffered(from: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let n = from.fill_buf()?.read(buffer)?;
    from.consume(n);
    Ok(n)
}
