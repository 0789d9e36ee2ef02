//! JSON documents that are one array of records, and grow: each time a record is put
//! in before the brackets that close it (flow logs of Azure are, for an hour each).

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use super::super::super::framing::{Mark, array_depth};
use super::super::print::{Print, bytes_at};

/// Bytes at a document's start that show that it is such an array.
const START_BYTES: usize = 256;

/// Bytes at its end that the closing brackets are looked for in.
const END_BYTES: u64 = 64;

/// Where the closing brackets of a document are, and what shows that another version
/// of it is the same up to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Closing {
    pub(super) mark: Mark,
    pub(super) head: Print,
    pub(super) tail: Print,
}

impl Closing {
    /// Of a file that was read up to `end`, in line `line`.
    pub(super) fn of(file: &File, end: u64, line: u64) -> io::Result<Option<Self>> {
        let Some(depth) = array_depth(&bytes_at(file, 0, START_BYTES)?) else { return Ok(None) };
        let from = end.saturating_sub(END_BYTES);
        let last = bytes_at(file, from, (end - from) as usize)?;
        let mut before = last.trim_ascii_end();
        if depth > 0 {
            let Some(rest) = before.strip_suffix(b"}") else { return Ok(None) };
            before = rest.trim_ascii_end();
        }
        let Some(before) = before.strip_suffix(b"]") else { return Ok(None) };
        // The space before a bracket moves with it.
        let before = before.trim_ascii_end();
        let offset = from + before.len() as u64;
        let lines = memchr::memchr_iter(b'\n', &last[before.len()..]).count() as u64;
        let mark = Mark { offset, line: line.saturating_sub(lines), within: Some(depth) };
        let (head, tail) = (Print::head(file, offset)?, Print::before(file, offset)?);
        Ok(Some(Self { mark, head, tail }))
    }

    pub(super) fn is_in(&self, file: &File) -> io::Result<bool> {
        Ok(file.metadata()?.len() >= self.mark.offset
            && self.head.begins_file(file)?
            && self.tail.ends_at(file, self.mark.offset)?)
    }
}
