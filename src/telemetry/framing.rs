//! Bytes to records: lines, JSON values, files.
//!
//! Bounded: a record over [`Framing::max_record_bytes`] is passed over to its end
//! and counted. Start at [`Records::next_record`].
//!
//! An input that has nothing for now says `WouldBlock`: the next call goes on in
//! the record where this one stopped. [`Records::mark`] is where to begin again
//! after a restart.

use std::io::{self, BufRead, ErrorKind};

use memchr::{memchr, memchr3};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::decode::MAX_RECORD_BYTES;

/// How the records of a kind lie in its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One a line.
    Lines,
    /// JSON values one after the other, on one line each or not. Of an array each
    /// element is a record, also of an array that is the whole of an object's member
    /// named in [`RECORD_ARRAYS`].
    Json,
    /// The same, of records that hold thousands of flows each: one of Azure's is all
    /// that an interface saw in a minute.
    LargeJson,
    /// The decoder reads the whole file ([`super::Decoder::file`]); it can't be
    /// followed or come from a pipe.
    File,
    /// Datagrams, from a socket or out of a capture.
    Datagrams,
}

/// Longest record of [`Framing::LargeJson`]: some 800,000 flows.
const MAX_LARGE_RECORD_BYTES: usize = 64 << 20;

impl Framing {
    /// Longer records are passed over and counted.
    pub fn max_record_bytes(self) -> usize {
        match self {
            Self::LargeJson => MAX_LARGE_RECORD_BYTES,
            Self::Lines | Self::Json | Self::File | Self::Datagrams => MAX_RECORD_BYTES,
        }
    }
}

/// Members of a wrapping object that hold the records: of Azure's storage files, of
/// AWS and Google command-line exports.
pub const RECORD_ARRAYS: &[&str] = &["records", "Records", "entries", "events", "Events"];

/// A record, or what came instead.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    Record(&'a [u8]),
    /// One that was longer than is read; nothing of it is kept.
    TooLong,
    /// JSON that is none: the rest of its line was passed over.
    NoJson,
    End,
}

/// A place between two records, at which reading can begin again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Bytes of the source before it.
    pub offset: u64,
    /// Line that it is in, from 1.
    pub line: u64,
    /// Within an array whose elements are records: how many objects are around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<u32>,
}

impl Mark {
    pub const START: Self = Self { offset: 0, line: 1, within: None };
}

/// Cuts a stream into records.
pub struct Records<R> {
    input: R,
    framing: Framing,
    record: Vec<u8>,
    /// Line that the next byte is in, from 1.
    line: u64,
    /// Line that the last record began in.
    began: u64,
    /// Within an array whose elements are records: how many objects around it.
    wrapped: Option<Wrapped>,
    read_bytes: u64,
    mark: Mark,
    within: Within,
    scan: Scan,
    too_long: bool,
    /// The input grows: a start that could yet be one of an array waits for more.
    pub(super) grows: bool,
}

/// In the middle of what the stream stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Nothing,
    Line,
    Value,
    /// What is no JSON, up to the end of its line.
    NoJson,
    /// What follows an array of records.
    Leaving,
}

/// Where in a document of many records the stream stands.
#[derive(Clone, Copy, Debug)]
struct Wrapped {
    /// Brackets that close after the array.
    outer: u32,
}

impl<R: BufRead> Records<R> {
    pub fn new(input: R, framing: Framing) -> Self {
        Self::from_mark(input, framing, Mark::START)
    }

    /// Goes on at a mark: the next byte of `input` is the one behind it.
    pub fn from_mark(input: R, framing: Framing, mark: Mark) -> Self {
        Self {
            input,
            framing,
            record: Vec::new(),
            line: mark.line,
            began: mark.line,
            wrapped: mark.within.map(|outer| Wrapped { outer }),
            read_bytes: mark.offset,
            mark,
            within: Within::Nothing,
            scan: Scan::default(),
            too_long: false,
            grows: false,
        }
    }

    pub fn input_mut(&mut self) -> &mut R {
        &mut self.input
    }

    /// Behind the last whole record: what was read of a further one is not before it.
    pub fn mark(&self) -> Mark {
        match self.within {
            Within::Nothing => self.here(),
            _ => self.mark,
        }
    }

    fn here(&self) -> Mark {
        let within = self.wrapped.map(|wrapped| wrapped.outer);
        Mark { offset: self.read_bytes, line: self.line, within }
    }

    fn begin(&mut self, within: Within) {
        self.mark = self.here();
        self.within = within;
        self.record.clear();
        // One large record among small ones does not keep its memory.
        self.record.shrink_to(MAX_RECORD_BYTES);
        self.scan = Scan::default();
        self.too_long = false;
    }

    /// Line in which the last record began, from 1.
    pub fn began_in_line(&self) -> u64 {
        self.began
    }

    /// Bytes taken from the stream so far; after a record its end, line break
    /// included.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// The next record that is not empty.
    pub fn next_record(&mut self) -> io::Result<Next<'_>> {
        match self.framing {
            Framing::Json | Framing::LargeJson => self.next_json(),
            Framing::Lines | Framing::File | Framing::Datagrams => self.next_line(),
        }
    }

    fn take(&mut self, n: usize) {
        self.input.consume(n);
        self.read_bytes += n as u64;
    }

    fn next_line(&mut self) -> io::Result<Next<'_>> {
        loop {
            if self.within == Within::Nothing {
                self.begin(Within::Line);
                self.began = self.line;
            }
            let ended = loop {
                let bytes = self.input.fill_buf()?;
                if bytes.is_empty() {
                    break true;
                }
                let end = memchr(b'\n', bytes);
                let n = end.unwrap_or(bytes.len());
                if self.record.len() + n > self.framing.max_record_bytes() {
                    self.too_long = true;
                    self.record.clear();
                } else if !self.too_long {
                    self.record.extend_from_slice(&bytes[..n]);
                }
                self.take(n + usize::from(end.is_some()));
                if end.is_some() {
                    self.line += 1;
                    break false;
                }
            };
            self.within = Within::Nothing;
            if self.record.last() == Some(&b'\r') {
                self.record.pop();
            }
            if self.too_long {
                return Ok(Next::TooLong);
            }
            if !self.record.iter().all(u8::is_ascii_whitespace) {
                return Ok(Next::Record(&self.record));
            }
            if ended {
                return Ok(Next::End);
            }
        }
    }

    fn next_json(&mut self) -> io::Result<Next<'_>> {
        loop {
            match self.within {
                Within::Value => return self.value(),
                Within::NoJson => return self.skip_line(),
                Within::Leaving => self.leave()?,
                Within::Nothing | Within::Line => {}
            }
            let Some(byte) = self.skip_space()? else { return Ok(Next::End) };
            match byte {
                b'[' if self.wrapped.is_none() => {
                    self.take(1);
                    self.wrapped = Some(Wrapped { outer: 0 });
                }
                b']' => {
                    if let Some(Wrapped { outer }) = self.wrapped {
                        self.begin(Within::Leaving);
                        self.scan.depth = u64::from(outer);
                        self.wrapped = None;
                    }
                    self.take(1);
                }
                b',' | b'\x1e' => self.take(1),
                b'{' => {
                    if self.wrapped.is_none() && self.enter_array()? {
                        continue;
                    }
                    self.begin(Within::Value);
                }
                _ => self.begin(Within::NoJson),
            }
        }
    }

    /// The first byte that is no white space, not taken.
    fn skip_space(&mut self) -> io::Result<Option<u8>> {
        loop {
            let bytes = self.input.fill_buf()?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let n = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let found = bytes.get(n).copied();
            self.line += bytes[..n].iter().filter(|&&byte| byte == b'\n').count() as u64;
            self.take(n);
            if found.is_some() {
                self.began = self.line;
                return Ok(found);
            }
        }
    }

    fn skip_line(&mut self) -> io::Result<Next<'_>> {
        loop {
            let bytes = self.input.fill_buf()?;
            let end = memchr(b'\n', bytes);
            let n = end.map_or(bytes.len(), |at| at + 1);
            self.line += u64::from(end.is_some());
            let over = end.is_some() || n == 0;
            self.take(n);
            if over {
                self.within = Within::Nothing;
                return Ok(Next::NoJson);
            }
        }
    }

    /// At an object that does nothing but hold an array of records: takes its start.
    /// Looks no further than what lies in the buffer, and at its first member only.
    fn enter_array(&mut self) -> io::Result<bool> {
        let bytes = self.input.fill_buf()?;
        let n = match array_start(bytes) {
            ArrayStart::Bytes(n) => n,
            ArrayStart::CutOff if self.grows => return Err(ErrorKind::WouldBlock.into()),
            ArrayStart::CutOff | ArrayStart::No => return Ok(false),
        };
        self.line += bytes[..n].iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.take(n);
        self.wrapped = Some(Wrapped { outer: 1 });
        Ok(true)
    }

    /// Passes over what follows an array of records up to the end of what holds it.
    fn leave(&mut self) -> io::Result<()> {
        while self.scan.depth > 0 {
            let bytes = self.input.fill_buf()?;
            if bytes.is_empty() {
                break;
            }
            let (n, lines, over) = self.scan.over(bytes);
            self.line += lines;
            self.take(n);
            if over {
                break;
            }
        }
        self.within = Within::Nothing;
        Ok(())
    }

    /// The object that the stream stands at, to its closing bracket.
    fn value(&mut self) -> io::Result<Next<'_>> {
        loop {
            let bytes = self.input.fill_buf()?;
            if bytes.is_empty() {
                // Cut off: the decoder says so.
                break;
            }
            let (n, lines, over) = self.scan.over(bytes);
            self.line += lines;
            if self.record.len() + n > self.framing.max_record_bytes() {
                self.too_long = true;
                self.record.clear();
            } else if !self.too_long {
                self.record.extend_from_slice(&bytes[..n]);
            }
            self.take(n);
            if over {
                break;
            }
        }
        self.within = Within::Nothing;
        Ok(if self.too_long { Next::TooLong } else { Next::Record(&self.record) })
    }
}

/// Looks for the end of a JSON value, over as many pieces as it takes.
#[derive(Default)]
struct Scan {
    depth: u64,
    in_text: bool,
    escaped: bool,
}

impl Scan {
    /// How many bytes are of the value, how many lines end in them, and whether it is over.
    fn over(&mut self, bytes: &[u8]) -> (usize, u64, bool) {
        let mut at = 0;
        let mut lines = 0;
        while at < bytes.len() {
            if self.in_text {
                if std::mem::take(&mut self.escaped) {
                    at += 1;
                    continue;
                }
                // No JSON text holds a bare line break: a value whose text is cut off
                // by one has ended there, so that the next line is read again.
                let Some(n) = memchr3(b'"', b'\\', b'\n', &bytes[at..]) else {
                    return (bytes.len(), lines, false);
                };
                at += n + 1;
                match bytes[at - 1] {
                    b'"' => self.in_text = false,
                    b'\\' => self.escaped = true,
                    _ => return (at, lines + 1, true),
                }
                continue;
            }
            match bytes[at] {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return (at + 1, lines, true);
                    }
                }
                b'\n' => lines += 1,
                _ => {}
            }
            at += 1;
        }
        (at, lines, false)
    }
}

/// Whether bytes begin with `{"records":[` and the like.
enum ArrayStart {
    /// So many bytes of them.
    Bytes(usize),
    No,
    /// So far they do.
    CutOff,
}

fn array_start(bytes: &[u8]) -> ArrayStart {
    /// More than any writer has; an endless one is none.
    const MOST_SPACE: usize = 64;
    let space = |at: usize| {
        let space = bytes.iter().skip(at).take_while(|byte| byte.is_ascii_whitespace());
        at + space.take(MOST_SPACE).count()
    };
    let parts: [&[&str]; 6] = [&["{"], &["\""], RECORD_ARRAYS, &["\""], &[":"], &["["]];
    let mut at = 0;
    for (n, tokens) in parts.into_iter().enumerate() {
        // No space within the name's quotes.
        if !matches!(n, 2 | 3) {
            at = space(at);
        }
        let left = bytes.get(at..).unwrap_or_default();
        match tokens.iter().find(|token| left.starts_with(token.as_bytes())) {
            Some(token) => at += token.len(),
            None if tokens.iter().any(|token| token.as_bytes().starts_with(left)) => {
                return ArrayStart::CutOff;
            }
            None => return ArrayStart::No,
        }
    }
    ArrayStart::Bytes(at)
}

/// Of a document that is an array of records: how many objects are around it.
pub(super) fn array_depth(start: &[u8]) -> Option<u32> {
    let start = start.trim_ascii_start();
    match array_start(start) {
        ArrayStart::Bytes(_) => Some(1),
        _ => start.starts_with(b"[").then_some(0),
    }
}

/// Lines in the first bytes of a source: neither empty ones nor, unless this is all
/// there is, the last.
pub(super) fn lines_of(bytes: &[u8], whole: bool) -> Vec<&[u8]> {
    const MOST: usize = 64;
    let mut lines: Vec<_> = bytes.split(|&byte| byte == b'\n').collect();
    if !whole {
        lines.pop();
    }
    let trimmed = lines.into_iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    trimmed.filter(|line| !line.iter().all(u8::is_ascii_whitespace)).take(MOST).collect()
}

/// The first record of a source that begins with JSON.
pub(super) fn first_json(bytes: &[u8]) -> Option<Value> {
    match Records::new(bytes, Framing::Json).next_record() {
        Ok(Next::Record(record)) => serde_json::from_slice(record).ok(),
        _ => None,
    }
}
