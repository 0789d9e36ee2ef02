//! What can't be read twice, standard input and pipes: its first bytes are looked into
//! and kept in front of the rest, for whoever opens it then.
//!
//! A process has one standard input, and who opens a path is deep below who chose what
//! reads it: so what was looked into is kept here by its path until it is opened.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::decompress;
use super::opening::{Origin, open_path};
use super::sniff::{HEAD_BYTES, Sniffed, sniff};

/// Packed bytes that are taken to look inside: a block of LZ4 has 4 MiB and a little.
const MOST_PACKED: usize = 8 << 20;

static LOOKED_INTO: Mutex<BTreeMap<PathBuf, Kept>> = Mutex::new(BTreeMap::new());

struct Kept {
    first: Vec<u8>,
    rest: Box<dyn Read + Send>,
    head: Peeked,
}

/// How a stream begins.
#[derive(Clone, Debug)]
pub(crate) struct Peeked {
    pub(crate) is_capture: bool,
    /// Its first bytes, unpacked.
    pub(crate) head: Vec<u8>,
    /// There are no more.
    pub(crate) whole: bool,
}

fn kept() -> MutexGuard<'static, BTreeMap<PathBuf, Kept>> {
    LOOKED_INTO.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether it is read once: standard input, a pipe, a device.
pub(crate) fn is_stream(path: &Path) -> bool {
    path == Path::new("-") || (path.exists() && !path.is_file() && !path.is_dir())
}

/// How a stream begins. Waits for its first bytes; of a capture for no more than those.
pub(crate) fn peek(path: &Path) -> io::Result<Peeked> {
    if let Some(kept) = kept().get(path) {
        return Ok(kept.head.clone());
    }
    let mut rest: Box<dyn Read + Send> = match open_path(path)? {
        Origin::File(file) => Box::new(file),
        Origin::Stream(stream) => stream,
    };
    let (first, head) = look(&mut rest)?;
    kept().insert(path.to_owned(), Kept { first, rest, head: head.clone() });
    Ok(head)
}

/// The whole stream, where it was looked into before.
pub(super) fn take(path: &Path) -> Option<Box<dyn Read + Send>> {
    let Kept { first, rest, .. } = kept().remove(path)?;
    Some(Box::new(Cursor::new(first).chain(rest)))
}

fn look(rest: &mut Box<dyn Read + Send>) -> io::Result<(Vec<u8>, Peeked)> {
    /// Enough to tell a capture or a compression by.
    const MAGIC_BYTES: usize = 24;
    let mut first = Vec::new();
    rest.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut first)?;
    match sniff(&first) {
        // A capture may come as slowly as its packets do.
        Sniffed::Pcap | Sniffed::Pcapng => {
            Ok((first, Peeked { is_capture: true, head: Vec::new(), whole: false }))
        }
        Sniffed::Compressed(outer) => {
            let packed = Tee { first, at: 0, rest: std::mem::replace(rest, Box::new(io::empty())) };
            let packed = Arc::new(Mutex::new(packed));
            let mut head = Vec::new();
            let through = BufReader::new(Through(Arc::clone(&packed)));
            let unpacked = decompress::decoder(outer, through, None);
            // Damage is for the reader to tell: what came out before it counts.
            let ended = unpacked
                .and_then(|unpacked| unpacked.take(HEAD_BYTES as u64).read_to_end(&mut head));
            let whole = ended.is_ok() && head.len() < HEAD_BYTES;
            let mut packed = packed.lock().unwrap_or_else(PoisonError::into_inner);
            *rest = std::mem::replace(&mut packed.rest, Box::new(io::empty()));
            let is_capture = matches!(sniff(&head), Sniffed::Pcap | Sniffed::Pcapng);
            Ok((std::mem::take(&mut packed.first), Peeked { is_capture, head, whole }))
        }
        Sniffed::Other { .. } => {
            let left = HEAD_BYTES.saturating_sub(first.len()) as u64;
            rest.by_ref().take(left).read_to_end(&mut first)?;
            let whole = first.len() < HEAD_BYTES;
            Ok((first.clone(), Peeked { is_capture: false, head: first, whole }))
        }
    }
}

/// Keeps what is read through it.
struct Tee {
    first: Vec<u8>,
    at: usize,
    rest: Box<dyn Read + Send>,
}

struct Through(Arc<Mutex<Tee>>);

impl Read for Through {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut tee = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Tee { first, at, rest } = &mut *tee;
        if *at == first.len() && first.len() < MOST_PACKED {
            let n = rest.read(buffer)?;
            first.extend_from_slice(buffer.get(..n).unwrap_or_default());
        }
        let ahead = first.get(*at..).unwrap_or_default();
        let n = ahead.len().min(buffer.len());
        buffer[..n].copy_from_slice(&ahead[..n]);
        *at += n;
        Ok(n)
    }
}
