//! From a path or a stream to unpacked bytes of a known format.
//!
//! Looks at the first bytes only, through one layer of compression. Start at [`open_path`]
//! and [`Opened::new`]; what comes after the head is [`super::reader`]'s.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use super::error::InputErrorKind;
use super::report::{FileReport, Progress};
use super::sniff::{self, Compression, HEAD_BYTES, Sniffed};
use super::walk::{Limits, Notes, Walker};
use super::{Mapping, decompress, ending, pcap, peek};

/// Where bytes come from.
pub(super) enum Origin {
    File(File),
    Stream(Box<dyn Read + Send>),
}

/// How a file is to be read.
#[derive(Clone)]
pub(super) struct ReadOptions {
    pub(super) limits: Limits,
    pub(super) mapping: Mapping,
    /// Threads to unpack on; 0 unpacks where it is read, for a look at the start.
    pub(super) unpack_threads: usize,
    pub(super) progress: Option<Arc<Progress>>,
}

/// Opens a path; `-` is standard input. A stream that was looked into begins with what
/// was seen.
pub(super) fn open_path(path: &Path) -> io::Result<Origin> {
    if let Some(stream) = peek::take(path) {
        return Ok(Origin::Stream(stream));
    }
    if path == Path::new("-") {
        return stdin();
    }
    let file = File::open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder"));
    }
    Ok(if kind.is_file() {
        Origin::File(file)
    } else {
        Origin::Stream(Box::new(ending::Stream::new(file)))
    })
}

#[cfg(unix)]
fn stdin() -> io::Result<Origin> {
    use std::os::fd::AsFd as _;
    let own = io::stdin().as_fd().try_clone_to_owned()?;
    Ok(Origin::Stream(Box::new(ending::Stream::new(own.into()))))
}

#[cfg(not(unix))]
fn stdin() -> io::Result<Origin> {
    Ok(Origin::Stream(Box::new(io::stdin())))
}

/// A source whose format is known, unpacked.
pub(super) struct Opened {
    /// What comes after the head.
    pub(super) read: Box<dyn Read + Send>,
    /// The first bytes, [`HEAD_BYTES`] where there are as many.
    pub(super) head: Vec<u8>,
    sniffed: Sniffed,
    pub(super) compression: Option<Compression>,
    /// Nothing comes after the head.
    pub(super) ended: bool,
}

impl Opened {
    pub(super) fn new(
        origin: Origin,
        options: &ReadOptions,
        report: &mut FileReport,
    ) -> Result<Self, InputErrorKind> {
        let mut read: Box<dyn Read + Send> = match origin {
            Origin::File(file) => {
                Box::new(Counting { inner: file, progress: options.progress.clone() })
            }
            Origin::Stream(stream) => {
                Box::new(Counting { inner: stream, progress: options.progress.clone() })
            }
        };
        let mut head = read_head(&mut read, Vec::new()).map_err(|e| cannot_open(&e))?;
        let mut sniffed = sniff::sniff(&head);
        let mut compression = None;
        let mut ended = false;
        if let Sniffed::Compressed(outer) = sniffed {
            compression = Some(outer);
            let packed = Cursor::new(head).chain(read);
            read = if options.unpack_threads > 0 {
                decompress::spawn(outer, Box::new(packed), options.unpack_threads)
                    .map(|unpacked| Box::new(unpacked) as _)
            } else {
                let packed = BufReader::with_capacity(decompress::READ_BYTES, packed);
                decompress::decoder(outer, packed, None)
            }
            .map_err(|e| cannot_open(&e))?;
            let mut unpacked = Vec::new();
            if let Err(error) = read_into(&mut read, &mut unpacked, HEAD_BYTES) {
                if unpacked.is_empty() {
                    return Err(cannot_unpack(outer, &error));
                }
                // What came out before may still be the start of a capture.
                warn_damaged(report, outer, unpacked.len() as u64, &error);
                ended = true;
            }
            head = unpacked;
            sniffed = sniff::sniff(&head);
        }
        Ok(Self { read, head, sniffed, compression, ended })
    }

    /// Who walks over it, and where in the head the first record is. Fills in the
    /// report's format.
    pub(super) fn walker(&self, notes: &mut Notes<'_>) -> Result<(Walker, usize), InputErrorKind> {
        let inside = self.compression.map(|c| format!(" inside {}", c.name())).unwrap_or_default();
        let (walker, offset) = match &self.sniffed {
            Sniffed::Pcap => {
                let walker = pcap::parse_header(&self.head, notes)
                    .map_err(|what| InputErrorKind::Header { offset: 0, what })?;
                (Walker::Pcap(walker), pcap::FILE_HEADER_BYTES)
            }
            Sniffed::Pcapng => {
                notes.report.format = "pcapng".to_owned();
                (Walker::Pcapng(Box::default()), 0)
            }
            Sniffed::Compressed(inner) => {
                return Err(InputErrorKind::NotACapture {
                    found: format!("{} data{inside}", inner.name()),
                    advice: "unpack the outer layer first".to_owned(),
                });
            }
            Sniffed::Other { found, advice } => {
                return Err(InputErrorKind::NotACapture {
                    found: format!("{found}{inside}"),
                    advice: (*advice).to_owned(),
                });
            }
        };
        if let Some(compression) = self.compression {
            notes.report.format.push_str(", ");
            notes.report.format.push_str(compression.name());
        }
        Ok((walker, offset))
    }
}

fn read_head(read: &mut dyn Read, mut head: Vec<u8>) -> io::Result<Vec<u8>> {
    read_into(read, &mut head, HEAD_BYTES)?;
    Ok(head)
}

/// Reads up to `length` bytes; on an error those before it are in `head`.
fn read_into(read: &mut dyn Read, head: &mut Vec<u8>, length: usize) -> io::Result<()> {
    read.take(length as u64).read_to_end(head).map(|_| ())
}

/// Counts what is read into the progress.
struct Counting<R> {
    inner: R,
    progress: Option<Arc<Progress>>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if let Some(progress) = &self.progress {
            progress.add(n as u64);
        }
        Ok(n)
    }
}

pub(super) fn warn_damaged(
    report: &mut FileReport,
    compression: Compression,
    offset: u64,
    error: &io::Error,
) {
    report.warn(format!(
        "{} stream damaged or cut short at unpacked offset {offset}: {error}; everything before \
         it was read",
        compression.name()
    ));
}

fn cannot_unpack(compression: Compression, error: &io::Error) -> InputErrorKind {
    let advice = match compression {
        Compression::Zstd => "; windows over 128 MiB are not unpacked here, `zstd -d --long=31` is",
        _ => "",
    };
    InputErrorKind::Unpack {
        compression: compression.name().to_owned(),
        error: error.to_string(),
        advice: advice.to_owned(),
    }
}

pub(super) fn cannot_open(error: &io::Error) -> InputErrorKind {
    InputErrorKind::Open(error.to_string())
}
