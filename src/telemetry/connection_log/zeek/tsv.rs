//! The tab-separated form, by the header that comes with it.

use std::borrow::Cow;
use std::sync::Arc;

use memchr::memmem::Finder;
use memchr::{memchr, memchr_iter};

use super::record::{Connection, Field, Value};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::kind::Head;

pub(super) fn recognise(head: &Head<'_>) -> bool {
    head.line().starts_with(b"#separator ")
        && head.lines.iter().any(|line| {
            let has = |name: &str| Finder::new(name.as_bytes()).find(line).is_some();
            line.starts_with(b"#fields") && has("id.orig_h") && has("conn_state")
        })
}

pub(super) fn decoder(context: &Context) -> Result<Box<dyn Decoder>, String> {
    let mut tsv = Tsv::default();
    if let Some(format) = &context.format {
        let names = format.split(|letter: char| letter.is_ascii_whitespace() || letter == ',');
        tsv.columns = names.filter(|name| !name.is_empty()).map(Column::named).collect();
        if !tsv.columns.iter().any(|column| column.field == Some(Field::OrigH)) {
            return Err(format!("the fields '{format}' have no id.orig_h"));
        }
    }
    Ok(Box::new(tsv))
}

struct Column {
    field: Option<Field>,
    name: Arc<str>,
    /// What it is kept under, unless a report has a place for it.
    label: Option<Arc<str>>,
}

impl Column {
    fn named(name: &str) -> Self {
        let field = Field::named(name);
        let label = match &field {
            None => Some(format!("zeek.{name}").into()),
            Some(field) => field.label().map(Arc::from),
        };
        Self { field, name: name.into(), label }
    }
}

struct Tsv {
    columns: Vec<Column>,
    separator: u8,
    unset: Vec<u8>,
    empty: Vec<u8>,
    /// The header says that this is another of Zeek's logs.
    is_other: bool,
}

impl Default for Tsv {
    fn default() -> Self {
        Self {
            columns: Vec::new(),
            separator: b'\t',
            unset: b"-".to_vec(),
            empty: b"(empty)".to_vec(),
            is_other: false,
        }
    }
}

impl Decoder for Tsv {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        if let Some(line) = record.strip_prefix(b"#") {
            return self.header(line);
        }
        if self.is_other {
            out.pass("record of another log");
            return Ok(());
        }
        if self.columns.is_empty() {
            return Err(Bad::new("no #fields before it"));
        }
        let mut connection = Connection::default();
        let mut begin = 0;
        let mut ends = memchr_iter(self.separator, record).chain([record.len()]);
        for column in &self.columns {
            let end = ends.next().ok_or_else(|| Bad::new("fewer fields than the header"))?;
            let bytes = &record[begin..end];
            begin = end + 1;
            if bytes == self.unset || bytes == self.empty || bytes.is_empty() {
                continue;
            }
            let value = Value::Text(unescaped(bytes));
            match (&column.field, &column.label) {
                (None, Some(label)) => connection.unknown(&column.name, label, &value, out),
                (Some(field), Some(label)) => connection.label(field, label, &value, out),
                (Some(field), None) => connection.take(field, &value, out)?,
                (None, None) => {}
            }
        }
        if ends.next().is_some() {
            return Err(Bad::new("more fields than the header"));
        }
        connection.report(out)
    }
}

impl Tsv {
    fn header(&mut self, line: &[u8]) -> Result<(), Bad> {
        if let Some(separator) = line.strip_prefix(b"separator ") {
            let &[separator] = &*unescaped(separator) else {
                return Err(Bad::value("separator is not one byte", separator));
            };
            self.separator = separator;
            return Ok(());
        }
        let mut values = line.split(|&byte| byte == self.separator);
        match (values.next().unwrap_or_default(), values.next()) {
            (b"unset_field", Some(sign)) => self.unset = sign.to_vec(),
            (b"empty_field", Some(sign)) => self.empty = sign.to_vec(),
            (b"fields", Some(first)) => {
                let names: Vec<_> =
                    [first].into_iter().chain(values).map(String::from_utf8_lossy).collect();
                self.is_other = !names.iter().any(|name| name == "conn_state");
                self.columns = names.iter().map(|name| Column::named(name)).collect();
            }
            // Sets are kept as they are; types are Zeek's; times are in the records.
            _ => {}
        }
        Ok(())
    }
}

/// With `\xNN` and `\\` undone.
fn unescaped(bytes: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr(b'\\', bytes) else { return Cow::Borrowed(bytes) };
    let mut text = bytes[..first].to_vec();
    let mut rest = &bytes[first..];
    while let [byte, tail @ ..] = rest {
        let (byte, tail) = match rest {
            [b'\\', b'x', high, low, tail @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, tail),
                _ => (b'\\', &rest[1..]),
            },
            [b'\\', b'\\', tail @ ..] => (b'\\', tail),
            _ => (*byte, tail),
        };
        text.push(byte);
        rest = tail;
    }
    Cow::Owned(text)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_what_is_none_stays() {
        for (written, text) in [
            ("plain", &b"plain"[..]),
            ("\\x2d", b"-"),
            ("eth\\x091", b"eth\t1"),
            ("a\\\\x09", b"a\\x09"),
            ("\\xzz\\", b"\\xzz\\"),
            ("\\xc3\\xa9\\x0", b"\xc3\xa9\\x0"),
        ] {
            assert_eq!(&*unescaped(written.as_bytes()), text, "{written}");
        }
    }
}
