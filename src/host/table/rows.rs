//! Rows of a CSV file, each value with its place.
//!
//! Commas separate, quotes as in RFC 4180, `#` begins a comment line. Start at
//! [`Rows`].

use csv::{ByteRecord, ReaderBuilder};

use super::error::{Place, characters};
use super::{Content, MAX_ENTRIES, MAX_VALUE_BYTES, TableError, Warning, shown};

/// Names of unknown columns that a warning lists.
const NAMED_UNKNOWN: usize = 8;

pub(in crate::host) struct Rows<'a> {
    file: &'a str,
    bytes: &'a [u8],
    reader: csv::Reader<&'a [u8]>,
    record: ByteRecord,
    read: usize,
}

/// One row that has a value at all.
pub(in crate::host) struct Row<'r> {
    file: &'r str,
    bytes: &'r [u8],
    record: &'r ByteRecord,
    /// First byte of it.
    start: usize,
    pub(in crate::host) line: u64,
}

impl<'a> Rows<'a> {
    pub(in crate::host) fn new(content: &'a Content) -> Self {
        let bytes = content.text();
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).comment(Some(b'#'));
        Self {
            file: &content.file,
            bytes,
            reader: builder.from_reader(bytes),
            record: ByteRecord::new(),
            read: 0,
        }
    }

    pub(in crate::host) fn next(&mut self) -> Result<Option<Row<'_>>, TableError> {
        loop {
            let position = self.reader.position();
            let (at, line) = (position.byte() as usize, position.line());
            let more = self.reader.read_byte_record(&mut self.record);
            let file = || self.file.to_owned();
            // A slice in memory, records of any length: nothing is left to fail.
            let failed =
                |error: csv::Error| TableError::File { file: file(), what: error.to_string() };
            if !more.map_err(failed)? {
                return Ok(None);
            }
            if self.record.iter().all(|field| field.trim_ascii().is_empty()) {
                continue;
            }
            self.read += 1;
            // The header is one more.
            if self.read > MAX_ENTRIES + 1 {
                let what = format!("has more than {MAX_ENTRIES} entries: split it");
                return Err(TableError::File { file: file(), what });
            }
            let (start, line) = skip_empty_lines(self.bytes, at, line);
            let end = self.reader.position().byte() as usize;
            let Self { file, bytes, record, .. } = self;
            let row = Row { file, bytes, record, start, line };
            if let Some(column) = open_quote(bytes.get(start..end).unwrap_or_default()) {
                let what = "this quote is not closed, and takes rows below it into one value: \
                            close it, or write \"\" for a quote in a value";
                return Err(row.wrong(column, what.to_owned()));
            }
            return Ok(Some(row));
        }
    }
}

/// The reader's position is where it was before it skipped empty lines and comments.
fn skip_empty_lines(bytes: &[u8], mut at: usize, mut line: u64) -> (usize, u64) {
    loop {
        match bytes.get(at) {
            Some(b'\n') => line += 1,
            Some(b'\r') => {}
            Some(b'#') => {
                let end = bytes[at..].iter().position(|&byte| byte == b'\n');
                at = end.map_or(bytes.len(), |end| at + end);
                continue;
            }
            _ => return (at, line),
        }
        at += 1;
    }
}

/// The column whose quote is never closed in a row, or on a line below by what was another
/// value's: other text follows then.
fn open_quote(row: &[u8]) -> Option<usize> {
    if !row.contains(&b'"') {
        return None;
    }
    let (mut column, mut at) = (0, 0);
    loop {
        let from = at;
        if row.get(at) == Some(&b'"') {
            loop {
                at += 1;
                match (row.get(at), row.get(at + 1)) {
                    (None, _) => return Some(column),
                    (Some(b'"'), Some(b'"')) => at += 1,
                    (Some(b'"'), _) => break,
                    _ => {}
                }
            }
        }
        let closed = at;
        while row.get(at).is_some_and(|byte| !matches!(byte, b',' | b'\n' | b'\r')) {
            at += 1;
        }
        let after = row.get(closed + 1..at).unwrap_or_default();
        if row[from..closed].contains(&b'\n') && !after.trim_ascii().is_empty() {
            return Some(column);
        }
        if row.get(at) != Some(&b',') {
            return None;
        }
        at += 1;
        column += 1;
    }
}

impl Row<'_> {
    pub(in crate::host) fn len(&self) -> usize {
        self.record.len()
    }

    /// The value of a column, without spaces around it; empty where the row has none.
    pub(in crate::host) fn text(&self, column: usize) -> Result<&str, TableError> {
        let bytes = self.record.get(column).unwrap_or_default();
        let text = std::str::from_utf8(bytes).map_err(|_| {
            let bytes = shown(&String::from_utf8_lossy(bytes));
            self.wrong(column, format!("{bytes} is no UTF-8: save the file as UTF-8"))
        })?;
        let text = text.trim();
        if text.len() > MAX_VALUE_BYTES {
            let what = format!(
                "{} has {} bytes and at most {MAX_VALUE_BYTES} are kept: is a quote missing?",
                shown(text),
                text.len()
            );
            return Err(self.wrong(column, what));
        }
        Ok(text)
    }

    /// An error at a column's value.
    pub(in crate::host) fn wrong(&self, column: usize, what: String) -> TableError {
        let place = self.place(column);
        TableError::At { file: self.file.to_owned(), place, what }
    }

    /// Where a value begins: found only when somebody asks.
    fn place(&self, column: usize) -> Place {
        let (mut at, mut passed) = (self.start, 0);
        let mut place = Place { line: self.line, column: 1 };
        while passed < column {
            let quoted = self.bytes.get(at) == Some(&b'"');
            let mut inside = quoted;
            let from = at;
            at += usize::from(quoted);
            let mut line_start = from;
            while let Some(&byte) = self.bytes.get(at) {
                match byte {
                    b'"' if quoted => inside = !inside,
                    b',' if !inside => break,
                    b'\n' | b'\r' if !inside => break,
                    b'\n' => {
                        place = Place { line: place.line + 1, column: 1 };
                        line_start = at + 1;
                    }
                    _ => {}
                }
                at += 1;
            }
            place.column += characters(&self.bytes[line_start.min(at)..at]);
            if self.bytes.get(at) != Some(&b',') {
                break;
            }
            at += 1;
            place.column += 1;
            passed += 1;
        }
        place
    }
}

/// Which column holds which value.
#[derive(Debug)]
pub(in crate::host) struct Columns<F> {
    fields: Vec<Option<F>>,
    /// Columns that mean nothing here.
    pub(in crate::host) warning: Option<Warning>,
}

impl<F: Copy + PartialEq> Columns<F> {
    /// From a header.
    pub(in crate::host) fn named(
        header: &Row<'_>,
        field: impl Fn(&str) -> Option<F>,
    ) -> Result<Self, TableError> {
        let mut unknown = Unknown::default();
        let mut fields: Vec<Option<F>> = Vec::new();
        for column in 0..header.len() {
            let name = header.text(column)?;
            let found = field(&normal(name));
            if found.is_some() && fields.contains(&found) {
                let what = format!("{} names what another column is for: keep one", shown(name));
                return Err(header.wrong(column, what));
            }
            if found.is_none() {
                unknown.add(name);
            }
            fields.push(found);
        }
        Ok(Self { fields, warning: unknown.warning(header.file, "column") })
    }

    /// As they stand where there is no header.
    pub(in crate::host) fn positional(fields: &[F]) -> Self {
        Self { fields: fields.iter().copied().map(Some).collect(), warning: None }
    }

    pub(in crate::host) fn has(&self, field: F) -> bool {
        self.fields.contains(&Some(field))
    }

    /// Where the value stands.
    pub(in crate::host) fn of(&self, field: F) -> Option<usize> {
        self.fields.iter().position(|found| *found == Some(field))
    }

    /// The known columns.
    pub(in crate::host) fn known(&self) -> impl Iterator<Item = (usize, F)> {
        let known = |(column, field): (usize, &Option<F>)| field.map(|field| (column, field));
        self.fields.iter().enumerate().filter_map(known)
    }

    /// Refuses a row with more values than there are columns, or, where `all` are
    /// wanted, with fewer.
    pub(in crate::host) fn check(&self, row: &Row<'_>, all: bool) -> Result<(), TableError> {
        let (has, wanted) = (row.len(), self.fields.len());
        if has > wanted || (all && has < wanted) {
            let what = format!(
                "{has} of {wanted} values: those with commas need quotes, empty ones their comma"
            );
            // Of a row that is too short all is doubtful: a quote may be missing in it.
            return Err(row.wrong(if has > wanted { wanted } else { 0 }, what));
        }
        Ok(())
    }
}

/// A name without what writers do differently: case, spaces, hyphens.
pub(in crate::host) fn normal(name: &str) -> String {
    name.to_lowercase().replace(['-', ' '], "_")
}

/// Names that mean nothing here, to be told of once.
#[derive(Debug, Default)]
pub(in crate::host) struct Unknown {
    names: Vec<String>,
    more: bool,
}

impl Unknown {
    pub(in crate::host) fn add(&mut self, name: &str) {
        let name = shown(name);
        if self.names.contains(&name) {
            return;
        }
        if self.names.len() < NAMED_UNKNOWN {
            self.names.push(name);
        } else {
            self.more = true;
        }
    }

    /// `what` they are: columns, keys.
    pub(in crate::host) fn warning(self, file: &str, what: &str) -> Option<Warning> {
        let plural = if self.names.len() > 1 { "s" } else { "" };
        let more = if self.more { ", and others" } else { "" };
        let names = self.names.join(", ");
        let text = format!("{file}: unknown {what}{plural} left out: {names}{more}");
        (!self.names.is_empty()).then_some(Warning(text))
    }
}
