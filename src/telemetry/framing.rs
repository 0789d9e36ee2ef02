//! Bytes to records: lines, JSON values, files.
//!
//! Bounded: a record over [`MAX_RECORD_BYTES`] is passed over to its end and
//! counted. Start at [`Records::next_record`].

use std::io::{self, BufRead};

use memchr::{memchr, memchr3};
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
    /// The decoder reads the whole file ([`super::Decoder::file`]); it can't be
    /// followed or come from a pipe.
    File,
    /// Datagrams, from a socket or out of a capture.
    Datagrams,
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
}

/// Where in a document of many records the stream stands.
#[derive(Clone, Copy, Debug)]
struct Wrapped {
    /// Brackets that close after the array.
    outer: u32,
}

impl<R: BufRead> Records<R> {
    pub fn new(input: R, framing: Framing) -> Self {
        Self { input, framing, record: Vec::new(), line: 1, began: 1, wrapped: None, read_bytes: 0 }
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
            Framing::Json => self.next_json(),
            Framing::Lines | Framing::File | Framing::Datagrams => self.next_line(),
        }
    }

    fn take(&mut self, n: usize) {
        self.input.consume(n);
        self.read_bytes += n as u64;
    }

    fn next_line(&mut self) -> io::Result<Next<'_>> {
        loop {
            self.record.clear();
            self.began = self.line;
            let mut too_long = false;
            let ended = loop {
                let bytes = self.input.fill_buf()?;
                if bytes.is_empty() {
                    break true;
                }
                let end = memchr(b'\n', bytes);
                let n = end.unwrap_or(bytes.len());
                if self.record.len() + n > MAX_RECORD_BYTES {
                    too_long = true;
                    self.record.clear();
                } else if !too_long {
                    self.record.extend_from_slice(&bytes[..n]);
                }
                self.take(n + usize::from(end.is_some()));
                if end.is_some() {
                    self.line += 1;
                    break false;
                }
            };
            if self.record.last() == Some(&b'\r') {
                self.record.pop();
            }
            if too_long {
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
            let Some(byte) = self.skip_space()? else { return Ok(Next::End) };
            match byte {
                b'[' if self.wrapped.is_none() => {
                    self.take(1);
                    self.wrapped = Some(Wrapped { outer: 0 });
                }
                b']' => {
                    self.take(1);
                    if let Some(Wrapped { outer }) = self.wrapped.take() {
                        self.leave(outer)?;
                    }
                }
                b',' | b'\x1e' => self.take(1),
                b'{' => {
                    if self.wrapped.is_none() && self.enter_array()? {
                        continue;
                    }
                    return self.value();
                }
                _ => {
                    self.skip_line()?;
                    return Ok(Next::NoJson);
                }
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

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let bytes = self.input.fill_buf()?;
            let end = memchr(b'\n', bytes);
            let n = end.map_or(bytes.len(), |at| at + 1);
            self.line += u64::from(end.is_some());
            let over = end.is_some() || n == 0;
            self.take(n);
            if over {
                return Ok(());
            }
        }
    }

    /// At an object that does nothing but hold an array of records: takes its start.
    /// Looks no further than what lies in the buffer, and at its first member only.
    fn enter_array(&mut self) -> io::Result<bool> {
        let bytes = self.input.fill_buf()?;
        let Some(n) = array_start(bytes) else { return Ok(false) };
        self.line += bytes[..n].iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.take(n);
        self.wrapped = Some(Wrapped { outer: 1 });
        Ok(true)
    }

    /// Passes over what follows an array of records up to the end of what holds it.
    fn leave(&mut self, outer: u32) -> io::Result<()> {
        let mut scan = Scan { depth: u64::from(outer), ..Scan::default() };
        while scan.depth > 0 {
            let bytes = self.input.fill_buf()?;
            if bytes.is_empty() {
                break;
            }
            let (n, lines, over) = scan.over(bytes);
            self.line += lines;
            self.take(n);
            if over {
                break;
            }
        }
        Ok(())
    }

    /// The object that the stream stands at, to its closing bracket.
    fn value(&mut self) -> io::Result<Next<'_>> {
        self.record.clear();
        let mut scan = Scan::default();
        let mut too_long = false;
        loop {
            let bytes = self.input.fill_buf()?;
            if bytes.is_empty() {
                // Cut off: the decoder says so.
                break;
            }
            let (n, lines, over) = scan.over(bytes);
            self.line += lines;
            if self.record.len() + n > MAX_RECORD_BYTES {
                too_long = true;
                self.record.clear();
            } else if !too_long {
                self.record.extend_from_slice(&bytes[..n]);
            }
            self.take(n);
            if over {
                break;
            }
        }
        Ok(if too_long { Next::TooLong } else { Next::Record(&self.record) })
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

/// Length of `{"records":[` and the like at the start of `bytes`.
fn array_start(bytes: &[u8]) -> Option<usize> {
    let space =
        |at: usize| at + bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let expect = |at: usize, byte: u8| (bytes.get(at) == Some(&byte)).then_some(at + 1);
    let at = expect(space(expect(0, b'{')?), b'"')?;
    let name = RECORD_ARRAYS.iter().find(|name| {
        bytes[at..].starts_with(name.as_bytes()) && bytes.get(at + name.len()) == Some(&b'"')
    })?;
    let at = expect(space(at + name.len() + 1), b':')?;
    expect(space(at), b'[')
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
