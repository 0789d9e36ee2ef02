//! Bytes as they come to whole records: what is cut off waits for its rest.

use std::io::{self, BufRead, ErrorKind, Read};

use super::super::framing::{Framing, Mark, Next, Records};

/// Cuts the bytes of one source into records. Holds at most one record and what was
/// fed last.
pub struct Cutter {
    records: Records<Fed>,
}

impl Cutter {
    /// Begins at a mark: the first byte that is fed is the one behind it.
    pub fn new(framing: Framing, from: Mark) -> Self {
        let mut records = Records::from_mark(Fed::default(), framing, from);
        records.grows = true;
        Self { records }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.records.input_mut().feed(bytes);
    }

    /// No more will come: what was cut off is a record as it is.
    pub fn end(&mut self) {
        self.records.grows = false;
        self.records.input_mut().ended = true;
    }

    /// The next whole record; nothing where more bytes are needed.
    pub fn next_record(&mut self) -> Option<Next<'_>> {
        match self.records.next_record() {
            Ok(Next::End) | Err(_) => None,
            Ok(next) => Some(next),
        }
    }

    /// Behind the last record that was handed out.
    pub fn mark(&self) -> Mark {
        self.records.mark()
    }

    /// Line in which the last record began, from 1.
    pub fn began_in_line(&self) -> u64 {
        self.records.began_in_line()
    }
}

impl std::fmt::Debug for Cutter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cutter").field("mark", &self.mark()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Fed {
    bytes: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Fed {
    fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }
}

impl Read for Fed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Fed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = &self.bytes[self.at.min(self.bytes.len())..];
        if left.is_empty() && !self.ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(left)
    }

    fn consume(&mut self, n: usize) {
        self.at = (self.at + n).min(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owned(next: &Next<'_>) -> String {
        match next {
            Next::Record(record) => String::from_utf8_lossy(record).into(),
            other => format!("{other:?}"),
        }
    }

    fn drain(cutter: &mut Cutter, into: &mut Vec<String>) {
        while let Some(next) = cutter.next_record() {
            into.push(owned(&next));
        }
    }

    #[test]
    fn a_line_waits_for_its_end() {
        let mut cutter = Cutter::new(Framing::Lines, Mark::START);
        cutter.feed(b"one\ntw");
        assert_eq!(cutter.next_record(), Some(Next::Record(b"one")));
        assert_eq!(cutter.next_record(), None);
        assert_eq!(cutter.mark(), Mark { offset: 4, line: 2, within: None });
        cutter.feed(b"o\n");
        assert_eq!(cutter.next_record(), Some(Next::Record(b"two")));
        cutter.feed(b"three");
        assert_eq!(cutter.next_record(), None);
        cutter.end();
        assert_eq!(cutter.next_record(), Some(Next::Record(b"three")));
        assert_eq!(cutter.next_record(), None);
        assert_eq!(cutter.mark().offset, 13);
    }

    #[test]
    fn an_array_of_records_is_known_however_its_start_comes() {
        let document = br#"{"records":[{"a":1},{"b":[2]}]}"#;
        let mut cutter = Cutter::new(Framing::Json, Mark::START);
        let mut found = Vec::new();
        for byte in document {
            cutter.feed(&[*byte]);
            drain(&mut cutter, &mut found);
        }
        assert_eq!(found, [r#"{"a":1}"#, r#"{"b":[2]}"#]);
    }

    proptest! {
        /// However the bytes come, the records are those of the whole; and from any
        /// mark on, the rest of them.
        #[test]
        fn records_depend_on_bytes_alone(
            parts in prop::collection::vec(prop_oneof![
                Just("{\"records\":["), Just("]}"), Just("{\"a\":\"x\"},"), Just("[{\"b\":1}"), Just("]"),
                Just("line\n"), Just("\n"), Just("{\"c\":{"), Just("}}"), Just("\""),
            ], 0..20),
            sizes in prop::collection::vec(1_usize..20, 1..8), json: bool, stop: usize,
        ) {
            let bytes = parts.concat().into_bytes();
            let framing = if json { Framing::Json } else { Framing::Lines };
            let mut whole = Vec::new();
            let mut records = Records::new(&bytes[..], framing);
            loop {
                match records.next_record() {
                    Ok(Next::End) => break,
                    Ok(next) => whole.push(owned(&next)),
                    Err(error) => panic!("{error}"),
                }
            }
            // In pieces, beginning anew at a mark in the middle.
            let mut cutter = Cutter::new(framing, Mark::START);
            let (mut found, mut at) = (Vec::new(), 0);
            for (n, size) in sizes.iter().cycle().enumerate() {
                if at == bytes.len() {
                    break;
                }
                let piece = &bytes[at..(at + size).min(bytes.len())];
                at += piece.len();
                cutter.feed(piece);
                drain(&mut cutter, &mut found);
                if n == stop % 16 && cutter.mark().offset > 0 {
                    let mark = cutter.mark();
                    at = usize::try_from(mark.offset).expect("small");
                    cutter = Cutter::new(framing, mark);
                }
            }
            cutter.end();
            drain(&mut cutter, &mut found);
            prop_assert_eq!(found, whole);
            prop_assert_eq!(cutter.mark().offset, bytes.len() as u64);
        }
    }
}
