//! An inventory as JSON: a list, `{"instances": [...]}`, or objects one after the
//! other (NDJSON).
//!
//! serde_json checks the whole text first and says where it is no JSON. What it
//! accepted is then cut into values by [`Span`], which knows where each stands; the
//! values themselves are serde_json's again. Start at [`parse`].

use std::borrow::Cow;
use std::ops::Range;

use serde::de::IgnoredAny;
use serde_json::{Deserializer, Error};

use super::Instance;
use super::build::Builder;
use super::field::Field;
use crate::host::table::{
    Content, MAX_ENTRIES, MAX_VALUE_BYTES, Place, TableError, Unknown, normal, shown,
};

pub(super) fn parse(content: &Content, builder: &mut Builder<'_>) -> Result<(), TableError> {
    let bytes = content.text();
    let mut reader = Reader {
        file: &content.file,
        bytes,
        line: 1,
        counted: 0,
        unknown: Unknown::default(),
        entries: 0,
    };
    let mut values = Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
    let mut top: Vec<Span> = Vec::new();
    loop {
        let start = skip_space(bytes, values.byte_offset());
        match values.next() {
            None => break,
            Some(Ok(_)) => top.push(start..values.byte_offset()),
            Some(Err(error)) => return Err(reader.syntax(&error)),
        }
        if top.len() > MAX_ENTRIES {
            return Err(reader.too_many());
        }
    }
    let only = if let [only] = &top[..] { Some(only.clone()) } else { None };
    match only {
        Some(list) if bytes[list.start] == b'[' => reader.list(list, builder)?,
        Some(object) if reader.has_list(&object)? => reader.wrapper(object, builder)?,
        _ => top.into_iter().try_for_each(|entry| reader.entry(entry, builder))?,
    }
    builder.warnings.extend(reader.unknown.warning(&content.file, "key"));
    Ok(())
}

/// Where a value stands.
type Span = Range<usize>;

struct Reader<'a> {
    file: &'a str,
    bytes: &'a [u8],
    /// Line of the byte up to which lines were counted.
    line: u64,
    counted: usize,
    unknown: Unknown,
    entries: usize,
}

impl<'a> Reader<'a> {
    /// Whether it is an object around the list.
    fn has_list(&self, object: &Span) -> Result<bool, TableError> {
        if self.bytes[object.start] != b'{' {
            return Ok(false);
        }
        for (key, _) in Members::of(self.bytes, object.clone()) {
            if self.text(key)? == "instances" {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn wrapper(&mut self, object: Span, builder: &mut Builder<'_>) -> Result<(), TableError> {
        let mut found = false;
        for (key, value) in Members::of(self.bytes, object) {
            let name = self.text(key.clone())?;
            if name != "instances" {
                self.unknown.add(&name);
            } else if std::mem::replace(&mut found, true) {
                return Err(self.wrong(key, "instances stands here twice: keep one".to_owned()));
            } else if self.bytes[value.start] != b'[' {
                return Err(self.wrong(value, "instances: a list is wanted".to_owned()));
            } else {
                self.list(value, builder)?;
            }
        }
        Ok(())
    }

    fn list(&mut self, list: Span, builder: &mut Builder<'_>) -> Result<(), TableError> {
        let bytes = self.bytes;
        Elements::of(bytes, list).try_for_each(|element| self.entry(element, builder))
    }

    fn entry(&mut self, object: Span, builder: &mut Builder<'_>) -> Result<(), TableError> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(self.too_many());
        }
        if self.bytes[object.start] != b'{' {
            let what = "an instance is an object: {\"id\": ..., \"address\": ...}".to_owned();
            return Err(self.wrong(object, what));
        }
        let mut entry = Instance::default();
        let mut seen: Vec<Field> = Vec::new();
        for (key, value) in Members::of(self.bytes, object.clone()) {
            let name = self.text(key.clone())?;
            let known = Field::of(&name).or_else(|| Field::of(&normal(&name)));
            let Some(field) = known else {
                self.unknown.add(&name);
                continue;
            };
            if seen.contains(&field) {
                let what = format!("{} names what another key is for: keep one", shown(&name));
                return Err(self.wrong(key, what));
            }
            seen.push(field);
            self.value(field, &name, value, &mut entry)?;
        }
        if entry.id.is_empty() {
            let what = "id is missing: name the instance (i-0abc, the host's name)".to_owned();
            return Err(self.wrong(object, what));
        }
        let line = self.line_of(object.start);
        builder.add(entry, line)
    }

    fn value(
        &self,
        field: Field,
        name: &str,
        value: Span,
        entry: &mut Instance,
    ) -> Result<(), TableError> {
        let wrong = |span: Span, what: String| self.wrong(span, format!("{name}: {what}"));
        match self.bytes[value.start] {
            b'[' if field.is_list() => {
                for element in Elements::of(self.bytes, value) {
                    if self.bytes[element.start] != b'"' {
                        return Err(wrong(element, "texts alone may stand here".to_owned()));
                    }
                    let text = self.text(element.clone())?;
                    field.set(text.trim(), entry).map_err(|what| wrong(element, what))?;
                }
                Ok(())
            }
            b'n' => Ok(()),
            b'"' => {
                let text = self.text(value.clone())?;
                field.set(text.trim(), entry).map_err(|what| wrong(value, what))
            }
            b't' | b'f' if field == Field::SharedEgress => {
                let text = if self.bytes[value.start] == b't' { "true" } else { "false" };
                field.set(text, entry).map_err(|what| wrong(value, what))
            }
            _ => {
                let wanted = match field {
                    Field::SharedEgress => "true or false",
                    _ if field.is_list() => "a text or a list of texts",
                    _ => "a text in quotes",
                };
                Err(wrong(value, format!("{wanted} is wanted")))
            }
        }
    }

    /// A text's value.
    fn text(&self, span: Span) -> Result<Cow<'a, str>, TableError> {
        let raw = &self.bytes[span.clone()];
        if let [b'"', plain @ .., b'"'] = raw
            && !plain.contains(&b'\\')
            && plain.len() <= MAX_VALUE_BYTES
            && let Ok(text) = std::str::from_utf8(plain)
        {
            return Ok(Cow::Borrowed(text));
        }
        let text: String = serde_json::from_slice(raw).map_err(|_| {
            let raw = shown(&String::from_utf8_lossy(raw));
            self.wrong(span.clone(), format!("{raw} is no UTF-8 text"))
        })?;
        if text.len() > MAX_VALUE_BYTES {
            let (bytes, text) = (text.len(), shown(&text));
            let what = format!("{text} has {bytes} bytes and at most {MAX_VALUE_BYTES} are kept");
            return Err(self.wrong(span, what));
        }
        Ok(Cow::Owned(text))
    }

    /// Entries come in order: each line is counted once.
    fn line_of(&mut self, at: usize) -> u64 {
        let passed = self.bytes[self.counted..at].iter().filter(|&&byte| byte == b'\n').count();
        (self.line, self.counted) = (self.line + passed as u64, at);
        self.line
    }

    fn wrong(&self, span: Span, what: String) -> TableError {
        let place = Place::of(self.bytes, span.start);
        TableError::At { file: self.file.to_owned(), place, what }
    }

    fn syntax(&self, error: &Error) -> TableError {
        // The message repeats the place.
        let text = error.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        let place = Place { line: error.line() as u64, column: error.column().max(1) as u64 };
        let what = format!("this is no JSON: {text}");
        TableError::At { file: self.file.to_owned(), place, what }
    }

    fn too_many(&self) -> TableError {
        let what = format!("has more than {MAX_ENTRIES} entries: split it");
        TableError::File { file: self.file.to_owned(), what }
    }
}

/// Keys and values of an object that is known to be JSON.
struct Members<'a>(Elements<'a>);

impl<'a> Members<'a> {
    fn of(bytes: &'a [u8], object: Span) -> Self {
        Self(Elements::of(bytes, object))
    }
}

impl Iterator for Members<'_> {
    type Item = (Span, Span);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.next()?;
        Some((key, self.0.next()?))
    }
}

/// Values of a list that is known to be JSON; of an object, keys and values in turn.
struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Elements<'a> {
    fn of(bytes: &'a [u8], container: Span) -> Self {
        Self { bytes, at: container.start + 1, end: container.end - 1 }
    }
}

impl Iterator for Elements<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        while self.at < self.end && is_between(self.bytes[self.at]) {
            self.at += 1;
        }
        if self.at >= self.end {
            return None;
        }
        let start = self.at;
        self.at = value_end(self.bytes, start).min(self.end);
        Some(start..self.at)
    }
}

fn is_between(byte: u8) -> bool {
    matches!(byte, b',' | b':') || byte.is_ascii_whitespace()
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    let space = bytes[at..].iter().position(|byte| !byte.is_ascii_whitespace());
    space.map_or(bytes.len(), |space| at + space)
}

/// The byte after the value that begins here.
fn value_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at += 1;
                while let Some(&byte) = bytes.get(at).filter(|&&byte| byte != b'"') {
                    at += if byte == b'\\' { 2 } else { 1 };
                }
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ if depth == 0 => {
                let scalar = bytes[at..].iter().position(|&byte| is_after_scalar(byte));
                return scalar.map_or(bytes.len(), |length| at + length);
            }
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

fn is_after_scalar(byte: u8) -> bool {
    is_between(byte) || matches!(byte, b']' | b'}')
}
