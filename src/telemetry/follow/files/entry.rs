//! One file: how far it was read, and what shows that it is still the same.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::super::super::framing::Mark;
use super::super::super::kind::HEAD_BYTES;
use super::super::print::{HEAD_PRINT_BYTES, Print, bytes_at};
use super::super::unpack::{Packing, Unpacked, unpacked_from};
use super::super::{Opened, SourceId};
use super::closing::Closing;
use super::place::{Inode, Stamp};

/// Read at a time: large enough for speed, small enough for a cache.
const PIECE_BYTES: usize = 256 << 10;

/// What is kept of a file across restarts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedFile {
    path: String,
    inode: Option<Inode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    packing: Option<Packing>,
    mark: Mark,
    head: Print,
    tail: Print,
    /// As it was when all of it had been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    whole: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closing: Option<Closing>,
    /// Where it was no longer there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<Gone>,
}

/// How a file went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Gone {
    /// It was read to its end, as far as is known.
    Read,
    /// It was not open: what was added last was not seen.
    Unseen,
    /// Something else is in it.
    Rewritten,
}

impl SavedFile {
    /// When something was added to it last, where all of it was read.
    pub(super) fn changed_ns(&self) -> Option<i64> {
        self.whole.map(|stamp| stamp.modified_ns)
    }
}

pub(super) struct Entry {
    pub(super) path: PathBuf,
    /// Nothing where the content is no longer where it was: truncated away, or gone.
    pub(super) inode: Option<Inode>,
    pub(super) packing: Option<Packing>,
    /// Unpacked where it is packed.
    pub(super) read: u64,
    /// Line that the next byte is in.
    line: u64,
    pub(super) acked: Mark,
    pub(super) head: Print,
    /// Of the bytes before `read`.
    pub(super) tail: Print,
    pub(super) whole: Option<Stamp>,
    /// Of the bytes before `acked`, as far as they were looked at.
    saved_tail: Option<(u64, Print)>,
    /// Of what ends in them where it was read to.
    pub(super) closing: Option<Closing>,
    pub(super) open: Option<File>,
    unpacked: Option<Unpacked>,
    /// As it was when it was found to be cut off.
    pub(super) cut_off_as: Option<Stamp>,
    /// What ended unpacking, told once the bytes before it were handed on.
    failed: Option<io::Error>,
    /// The consumer has it as an open source.
    pub(super) announced: bool,
    /// Where the consumer was when it gave it up.
    pub(super) released: Option<Mark>,
    /// The consumer wants none of it.
    pub(super) ignored: bool,
    /// From the state file, and not yet found again.
    pub(super) is_restored: bool,
    pub(super) ends_in_line_end: bool,
    /// Its content was truncated away, and may have been found in a copy.
    pub(super) is_truncated: bool,
    /// Nothing but zeros so far: what a writer that does not append leaves before its
    /// place in a file that was truncated.
    is_in_hole: bool,
    /// Among what is ready, under this order.
    pub(super) queued: Option<PathBuf>,
    /// Its place among those that rest, or its last one there.
    pub(super) rested: Option<u64>,
    pub(super) last_growth: Instant,
    pub(super) missing_since: Option<Instant>,
    /// How it went, once it is missing.
    pub(super) gone: Gone,
    /// As it was last seen, and since when: what is packed is complete once this stays.
    pub(super) seen: Option<(Stamp, Instant)>,
}

/// What reading gave.
#[derive(Debug)]
pub(super) enum Got {
    /// Where in the buffer.
    Bytes(Range<usize>),
    /// All of it was read.
    Dry,
    /// What was read before is no longer in it: truncated, or written anew.
    Changed,
    /// Compressed, and not complete; or too short to tell.
    NotYet,
}

impl Entry {
    pub(super) fn new(path: PathBuf, inode: Inode, now: Instant) -> Self {
        Self {
            path,
            inode: Some(inode),
            packing: None,
            read: 0,
            line: 1,
            acked: Mark::START,
            head: Print::default(),
            tail: Print::default(),
            whole: None,
            saved_tail: None,
            closing: None,
            open: None,
            unpacked: None,
            cut_off_as: None,
            failed: None,
            announced: false,
            released: None,
            ignored: false,
            is_restored: false,
            ends_in_line_end: true,
            is_truncated: false,
            is_in_hole: true,
            queued: None,
            rested: None,
            last_growth: now,
            missing_since: None,
            gone: Gone::Read,
            seen: None,
        }
    }

    pub(super) fn restored(saved: SavedFile, now: Instant) -> Self {
        let SavedFile { path, inode, packing, mark, head, tail, whole, closing, gone } = saved;
        let inode_or_none = inode.unwrap_or(Inode { device: 0, number: 0 });
        Self {
            inode,
            packing,
            read: mark.offset,
            line: mark.line,
            acked: mark,
            head,
            tail,
            whole,
            closing,
            saved_tail: Some((mark.offset, tail)),
            is_restored: true,
            is_in_hole: mark.offset == 0,
            missing_since: gone.map(|_| now),
            gone: gone.unwrap_or(Gone::Read),
            ..Self::new(path.into(), inode_or_none, now)
        }
    }

    pub(super) fn see(&mut self, stamp: Stamp, now: Instant) {
        if self.seen.is_none_or(|(seen, _)| seen != stamp) {
            self.seen = Some((stamp, now));
        }
    }

    /// Opens what is there under its path, where that is still the same file.
    pub(super) fn opened(&mut self) -> io::Result<Option<&File>> {
        if self.open.is_none() {
            let file = match File::open(&self.path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            if Some(Inode::of(&file.metadata()?)) != self.inode {
                return Ok(None);
            }
            self.open = Some(file);
        }
        Ok(self.open.as_ref())
    }

    /// Whether what was read is still in it; nothing where it can't be opened as itself.
    pub(super) fn opened_and_same(&mut self) -> io::Result<Option<bool>> {
        if self.opened()?.is_none() {
            return Ok(None);
        }
        let Some(file) = &self.open else { return Ok(None) };
        self.is_in(file, None).map(Some)
    }

    /// Whether a file begins with what was read. A packed one is held against what it
    /// unpacks to.
    pub(super) fn is_in(&self, file: &File, packing: Option<Packing>) -> io::Result<bool> {
        let Some(packing) = packing else {
            return Ok(file.metadata()?.len() >= self.read
                && self.head.begins_file(file)?
                && self.tail.ends_at(file, self.read)?);
        };
        match unpacked_from(file, packing, self.read, self.head, self.tail) {
            Ok(found) => Ok(found.is_some()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A longer version of the document in a file: goes on before the brackets that
    /// closed it.
    pub(super) fn reopen_document(&mut self, file: &File) -> io::Result<bool> {
        let Some(closing) = self.closing else { return Ok(false) };
        if !closing.is_in(file)? {
            return Ok(false);
        }
        (self.read, self.line) = (closing.mark.offset, closing.mark.line);
        self.acked = closing.mark;
        (self.head, self.tail) = (closing.head, closing.tail);
        self.whole = None;
        Ok(true)
    }

    /// The next bytes, into `buffer`; of what is packed once it did not change for
    /// `settle`.
    pub(super) fn next_piece(
        &mut self,
        now: Instant,
        settle: Duration,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Got> {
        let (read, packing) = (self.read, self.packing);
        let Some(file) = self.opened()? else { return Ok(Got::NotYet) };
        if read == 0 && packing.is_none() {
            let magic = bytes_at(file, 0, Packing::MAGIC_BYTES)?;
            if Packing::may_become(&magic) {
                return Ok(Got::NotYet);
            }
            self.packing = Packing::of(&magic);
            if magic.first() == Some(&0) {
                self.pass_hole()?;
            }
        }
        if self.packing.is_some() && self.seen.is_none_or(|(_, since)| now < since + settle) {
            return Ok(Got::NotYet);
        }
        let got = self.read(buffer)?;
        match got {
            Got::Bytes(ref range) => {
                self.whole = None;
                self.closing = None;
                let bytes = &buffer[range.clone()];
                self.line += memchr::memchr_iter(b'\n', bytes).count() as u64;
                self.ends_in_line_end = bytes.ends_with(b"\n");
            }
            // As the file is now: what is added later changes this.
            Got::Dry if self.packing.is_none() => {
                let about = self.open.as_ref().map(File::metadata).transpose()?;
                self.whole =
                    about.map(|about| Stamp::of(&about)).filter(|stamp| stamp.bytes == self.read);
                if let (Some(file), None) = (&self.open, &self.closing) {
                    self.closing = Closing::of(file, self.read, self.line)?;
                }
            }
            Got::NotYet => self.cut_off_as = self.seen.map(|(stamp, _)| stamp),
            _ => {}
        }
        Ok(got)
    }

    /// Where the next bytes are, as a consumer that begins with them is told.
    pub(super) fn next_mark(&self) -> Mark {
        let marks = [Some(self.acked), self.released];
        let here = marks.into_iter().flatten().find(|mark| mark.offset == self.read);
        here.unwrap_or(Mark { offset: self.read, line: self.line, within: None })
    }

    /// For the consumer, before the bytes from `from` on.
    pub(super) fn announce(&self, source: SourceId, from: Mark) -> Opened {
        Opened {
            modified_ns: self.seen.map(|(stamp, _)| stamp.modified_ns),
            from,
            head: self.head_before(from.offset).unwrap_or_default(),
            ..Opened::new(source, self.path.display().to_string())
        }
    }

    fn head_before(&self, offset: u64) -> io::Result<Vec<u8>> {
        let n = offset.min(HEAD_BYTES as u64) as usize;
        let Some(file) = self.open.as_ref().filter(|_| n > 0) else { return Ok(Vec::new()) };
        let Some(packing) = self.packing else { return bytes_at(file, 0, n) };
        let mut head = Vec::new();
        packing.reader(file)?.take(n as u64).read_to_end(&mut head)?;
        Ok(head)
    }

    fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<Got> {
        match self.packing {
            Some(packing) => self.read_packed(packing, buffer),
            None => self.read_plain(buffer),
        }
    }

    fn read_plain(&mut self, buffer: &mut Vec<u8>) -> io::Result<Got> {
        let Some(file) = &self.open else { return Ok(Got::Dry) };
        // With the bytes before, so that what was truncated and has grown past the place
        // again is told from what goes on there.
        let back = usize::from(self.tail.bytes);
        buffer.resize(back + PIECE_BYTES, 0);
        let n = loop {
            match file.read_at(buffer, self.read - back as u64) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        if n < back || Print::of(&buffer[..back]) != self.tail {
            return Ok(Got::Changed);
        }
        if n == back {
            return Ok(Got::Dry);
        }
        let mut back = back;
        if self.is_in_hole {
            let zeros = buffer[back..n].iter().take_while(|&&byte| byte == 0).count();
            back += zeros;
            self.read += zeros as u64;
            self.acked.offset = self.read;
            self.is_in_hole = back == n;
        }
        // After the bytes were read: had it been truncated before, this shows it.
        if !self.head.begins_file(file)? {
            return Ok(Got::Changed);
        }
        self.read += (n - back) as u64;
        let known = usize::from(self.head.bytes);
        if known < HEAD_PRINT_BYTES {
            let head = bytes_at(file, 0, HEAD_PRINT_BYTES.min(known.max(self.read as usize)))?;
            if !self.head.begins(&head) {
                self.read -= (n - back) as u64;
                return Ok(Got::Changed);
            }
            self.head = Print::of(&head);
        }
        self.tail = Print::of_tail(&buffer[..n]);
        Ok(Got::Bytes(back..n))
    }

    /// To the first bytes that were written, as far as the file system tells.
    fn pass_hole(&mut self) -> io::Result<()> {
        let Some(file) = &self.open else { return Ok(()) };
        let Ok(data) = rustix::fs::seek(file, rustix::fs::SeekFrom::Data(0)) else { return Ok(()) };
        self.read = data;
        self.acked.offset = data;
        self.head = Print::head(file, data)?;
        self.tail = Print::before(file, data)?;
        Ok(())
    }

    fn read_packed(&mut self, packing: Packing, buffer: &mut Vec<u8>) -> io::Result<Got> {
        if self.unpacked.is_none() {
            let Some(file) = &self.open else { return Ok(Got::Dry) };
            match unpacked_from(file, packing, self.read, self.head, self.tail) {
                Ok(Some(unpacked)) => self.unpacked = Some(unpacked),
                Ok(None) => return Ok(Got::Changed),
                Err(error) => return cut_off(error),
            }
        }
        let Some(unpacked) = &mut self.unpacked else { return Ok(Got::Dry) };
        if let Some(error) = self.failed.take() {
            self.unpacked = None;
            return cut_off(error);
        }
        buffer.resize(PIECE_BYTES, 0);
        let mut n = 0;
        while n < PIECE_BYTES {
            match unpacked.read(&mut buffer[n..]) {
                Ok(0) => break,
                Ok(more) => n += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        if n == 0 {
            self.unpacked = None;
            return self.failed.take().map_or(Ok(Got::Dry), cut_off);
        }
        if self.read == 0 {
            self.head = Print::of(&buffer[..n]);
        }
        self.read += n as u64;
        self.tail = Print::of_tail(&buffer[..n]);
        Ok(Got::Bytes(0..n))
    }

    pub(super) fn close_file(&mut self) {
        self.open = None;
        self.unpacked = None;
        self.failed = None;
    }

    pub(super) fn acknowledge(&mut self, mark: Mark) {
        if mark.offset > self.acked.offset && mark.offset <= self.read {
            self.acked = mark;
        }
    }

    /// Everything that was read has been handed on.
    pub(super) fn is_settled(&self) -> bool {
        self.ignored || self.acked.offset == self.read
    }

    /// Nothing where the file is not open, or is already another: the first bytes alone
    /// have to show then that it is the same.
    fn tail_before(&self, offset: u64) -> Option<Print> {
        let file = self.open.as_ref().filter(|_| self.packing.is_none())?;
        let tail = Print::before(file, offset).ok()?;
        self.is_in(file, None).ok()?.then_some(tail)
    }

    pub(super) fn saved(&mut self) -> SavedFile {
        let settled = self.is_settled();
        let offset = self.acked.offset;
        let tail = match self.saved_tail {
            _ if settled => self.tail,
            Some((at, tail)) if at == offset => tail,
            _ => self.tail_before(offset).unwrap_or_default(),
        };
        self.saved_tail = Some((offset, tail));
        let mark = if self.ignored { Mark { offset: self.read, ..self.acked } } else { self.acked };
        SavedFile {
            path: self.path.to_string_lossy().into_owned(),
            inode: self.inode,
            packing: self.packing,
            mark,
            head: self.head,
            tail,
            whole: self.whole.filter(|_| settled),
            closing: self.closing.filter(|_| settled),
            gone: self.missing_since.map(|_| self.gone),
        }
    }
}

fn cut_off(error: io::Error) -> io::Result<Got> {
    match error.kind() {
        ErrorKind::UnexpectedEof => Ok(Got::NotYet),
        _ => Err(error),
    }
}
