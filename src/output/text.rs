//! What text formats have in common: pieces are bytes.

use std::io::{self, Write};
use std::sync::Arc;

use super::{Encoder, FlowWriter, Piece};
use crate::flow::FlowRecord;

/// Appends a record as text.
pub(super) type Encode = fn(&FlowRecord, &mut Vec<u8>);

struct TextEncoder(Encode);

impl Encoder for TextEncoder {
    fn encode(&self, records: &[FlowRecord], piece: &mut Piece) -> io::Result<()> {
        records.iter().for_each(|record| (self.0)(record, &mut piece.bytes));
        piece.span_ns = records
            .first()
            .zip(records.last())
            .map(|(first, last)| (first.start_ns, last.decided_ns));
        Ok(())
    }
}

/// A file whose pieces stand one after another: see [`super::ndjson::writer`],
/// [`super::csv::writer`], [`super::eve::writer`].
pub struct TextWriter<W> {
    pub(super) out: W,
    encode: Encode,
    /// What stands before the first piece; empty once written.
    head: Vec<u8>,
}

impl<W: Write> TextWriter<W> {
    /// Needs no buffered `out`.
    pub(super) fn new(out: W, encode: Encode) -> Self {
        Self { out, encode, head: Vec::new() }
    }

    /// Puts `head` before the first piece, also where there is none.
    pub(super) fn with_head(self, head: Vec<u8>) -> Self {
        Self { head, ..self }
    }

    fn write_head(&mut self) -> io::Result<()> {
        self.out.write_all(&std::mem::take(&mut self.head))
    }
}

impl<W: Write + Send> FlowWriter for TextWriter<W> {
    fn encoder(&self) -> Arc<dyn Encoder> {
        Arc::new(TextEncoder(self.encode))
    }

    fn append(&mut self, piece: &mut Piece) -> io::Result<()> {
        self.write_head()?;
        self.out.write_all(&piece.bytes)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.write_head()?;
        self.out.flush()
    }
}
