//! Lines that are not endless.

use std::io::{self, Read};

/// Far over any row of the sets, which have some hundred bytes.
const LONGEST_BYTES: usize = 1 << 20;

/// Fails where a line is longer than any row: it would have to be held whole.
pub(super) struct ShortLines<R> {
    inner: R,
    line: u64,
    since_break: usize,
}

impl<R> ShortLines<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, line: 1, since_break: 0 }
    }
}

impl<R: Read> Read for ShortLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let bytes = buffer.get(..n).unwrap_or_default();
        match bytes.iter().rposition(|&byte| byte == b'\n') {
            None => self.since_break += n,
            Some(at) => {
                self.line += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
                self.since_break = n - at - 1;
            }
        }
        if self.since_break > LONGEST_BYTES {
            let line = self.line;
            return Err(io::Error::other(format!(
                "line {line}: over {LONGEST_BYTES} bytes long: no row of labels"
            )));
        }
        Ok(n)
    }
}
