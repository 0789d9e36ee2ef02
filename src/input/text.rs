//! Files of lines that are no captures: maps, logs. Plain or compressed, by their
//! content.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use super::decompress;
use super::opening::{Origin, open_path};
use super::sniff::{Sniffed, sniff};

/// Enough to tell a compression by.
const HEAD_BYTES: u64 = 16;

/// Opens a file, or standard input as `-`.
pub(crate) fn open_lines(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    let mut bytes: Box<dyn Read + Send> = match open_path(path)? {
        Origin::File(file) => Box::new(file),
        Origin::Stream(stream) => stream,
    };
    let mut head = Vec::new();
    bytes.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    let sniffed = sniff(&head);
    let whole = BufReader::with_capacity(decompress::READ_BYTES, Cursor::new(head).chain(bytes));
    Ok(match sniffed {
        Sniffed::Compressed(outer) => {
            Box::new(BufReader::new(decompress::decoder(outer, whole, None)?))
        }
        _ => Box::new(whole),
    })
}

/// A line that is longer than `most` bytes is passed over to its end: `Ok(None)`
/// once, with nothing kept. `Ok(Some(false))` is the end of the file.
pub(crate) fn next_line(
    mut lines: &mut dyn BufRead,
    line: &mut Vec<u8>,
    most: usize,
) -> io::Result<Option<bool>> {
    line.clear();
    let n = (&mut lines).take(most as u64 + 1).read_until(b'\n', line)?;
    if n == 0 {
        return Ok(Some(false));
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(true));
    }
    if n <= most {
        return Ok(Some(true));
    }
    line.clear();
    loop {
        let rest = lines.fill_buf()?;
        let end = rest.iter().position(|&byte| byte == b'\n');
        let n = end.map_or(rest.len(), |at| at + 1);
        let over = end.is_some() || rest.is_empty();
        lines.consume(n);
        if over {
            return Ok(None);
        }
    }
}
