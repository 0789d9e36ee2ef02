//! A log format as text and fields in turn, and the records that fit it.

use memchr::{memchr, memmem};

use super::draft::{Clock, Draft, Field};
use super::escape::Escapes;
use crate::telemetry::decode::{Bad, Out};
use crate::telemetry::request::Request;

/// A piece of a log format as its user writes it.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Text(String),
    Field {
        field: Field,
        /// As the user wrote it, to say what is wrong with it.
        written: String,
        /// Spaces in each value.
        spaces: usize,
    },
}

impl Piece {
    pub(super) fn field(field: Field, written: &str) -> Self {
        Self::Field { field, written: written.into(), spaces: 0 }
    }
}

/// A log format, ready to be held against records.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// What every record begins with.
    head: Box<[u8]>,
    parts: Vec<Part>,
    escapes: Escapes,
    /// How the time's parts together are written, as for strftime.
    time_format: Option<String>,
}

#[derive(Clone, Debug)]
struct Part {
    field: Field,
    extent: Extent,
    /// The text between it and the next, or the end of the record.
    after: Box<[u8]>,
}

/// Where a field ends.
#[derive(Clone, Copy, Debug)]
enum Extent {
    /// Where the text after it comes, so many times passed over that are its own.
    Text { own: usize },
    /// Where the text after it comes, but not within `a, b : c`.
    List,
    /// Where the text after it comes last before the text after the time that is next:
    /// a user's name may have spaces and brackets in it, no bare quotes.
    BeforeTime,
    /// A request line that is not in quotes: after its version.
    Line,
    /// Before the version, which is next: what is decoded has spaces of its own.
    BeforeVersion,
    /// Before the `/` that the next field begins with.
    Slash,
    /// So far to the right that the fields after it fit: nothing tells its own quotes
    /// from those around it.
    Rightmost,
}

impl Template {
    /// What is wrong with the format, in words.
    pub(super) fn new(
        pieces: Vec<Piece>,
        escapes: Escapes,
        time_format: Option<String>,
    ) -> Result<Self, String> {
        let (mut head, mut parts, mut names) = (String::new(), Vec::<Part>::new(), Vec::new());
        let mut after = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) if names.is_empty() => head.push_str(&text),
                Piece::Text(text) => after.push_str(&text),
                Piece::Field { field, written, spaces } => {
                    if let Some(last) = parts.last_mut() {
                        last.after = after.as_bytes().into();
                        if let (Field::Client(_), Field::ClientPort, ":") =
                            (&last.field, &field, after.as_str())
                        {
                            // IPv6 has colons of its own.
                            last.field = Field::ClientAndPort;
                            after.clear();
                            continue;
                        }
                        after.clear();
                    }
                    names.push(written);
                    let extent = Extent::Text { own: spaces };
                    parts.push(Part { field, extent, after: Box::default() });
                }
            }
        }
        if let Some(last) = parts.last_mut() {
            last.after = after.as_bytes().into();
        }
        let mut template = Self { head: head.into_bytes().into(), parts, escapes, time_format };
        template.set_extents(&names)?;
        Ok(template)
    }

    fn set_extents(&mut self, names: &[String]) -> Result<(), String> {
        for at in 0..self.parts.len() {
            let (this, next) = (&self.parts[at], self.parts.get(at + 1));
            let after = &this.after;
            let quoted = after.starts_with(b"\"");
            self.parts[at].extent = match (&this.field, next.map(|next| &next.field)) {
                (_, None) => Extent::Text { own: 0 },
                (_, Some(Field::Uri | Field::Path | Field::PathAndQuery)) if after.is_empty() => {
                    Extent::Slash
                }
                _ if after.is_empty() => {
                    let (this, next) = (&names[at], names.get(at + 1));
                    let next = next.map(String::as_str).unwrap_or_default();
                    return Err(format!("nothing is between {this} and {next}"));
                }
                (Field::UserAgent, _) if self.escapes == Escapes::None && self.plain_after(at) => {
                    Extent::Rightmost
                }
                (Field::Received(Clock::Clf) | Field::Logged(Clock::Clf), _)
                    if **after == *b" " =>
                {
                    Extent::Text { own: 1 }
                }
                (Field::TimePart, _) => {
                    let Extent::Text { own } = this.extent else { continue };
                    Extent::Text { own: if **after == *b" " { own } else { 0 } }
                }
                (_, Some(Field::Received(Clock::Clf) | Field::Logged(Clock::Clf)))
                    if after.ends_with(b"[") && next.is_some_and(|next| !next.after.is_empty()) =>
                {
                    Extent::BeforeTime
                }
                (Field::Line, _) if !quoted => Extent::Line,
                (
                    Field::Uri | Field::Path | Field::PathAndQuery | Field::Query,
                    Some(Field::Version),
                ) if **after == *b" " => Extent::BeforeVersion,
                (Field::Target(_) | Field::TargetStatus | Field::TargetDuration(_), _)
                    if !quoted =>
                {
                    Extent::List
                }
                (Field::Label(name), _) if name.contains(".upstream_") && !quoted => Extent::List,
                _ => Extent::Text { own: 0 },
            };
        }
        Ok(())
    }

    /// The fields after this one have none of their texts in them.
    fn plain_after(&self, at: usize) -> bool {
        self.parts[at + 1..].iter().all(|part| {
            !matches!(
                part.field,
                Field::Target(_) | Field::TargetStatus | Field::TargetDuration(_) | Field::Line
            )
        })
    }

    /// The request that a record is, if it fits.
    pub(super) fn read(&self, record: &[u8], out: &mut Out) -> Result<Request, Bad> {
        let misfit = || Bad::value("not in the format", record);
        let mut draft = Draft::default();
        let mut rest = record.strip_prefix(&*self.head).ok_or_else(misfit)?;
        for (at, part) in self.parts.iter().enumerate() {
            let n = self.end(at, rest).ok_or_else(misfit)?;
            draft.take(&part.field, &rest[..n], self.escapes, out)?;
            rest = &rest[n + part.after.len()..];
        }
        draft.finish(self.time_format.as_deref())
    }

    /// Where the field at `at` ends in `rest`, with all of the text after it behind.
    fn end(&self, at: usize, rest: &[u8]) -> Option<usize> {
        let part = &self.parts[at];
        let after = &*part.after;
        if at + 1 == self.parts.len() {
            let n = rest.strip_suffix(after)?.len();
            let closed = after.starts_with(b"\"") && self.escapes != Escapes::None;
            return (!closed || self.quote(rest)? == n).then_some(n);
        }
        match part.extent {
            Extent::Text { .. } if after.starts_with(b"\"") && self.escapes != Escapes::None => {
                let n = self.quote(rest)?;
                rest[n..].starts_with(after).then_some(n)
            }
            Extent::Text { own: 0 } => find_all(rest, after).next(),
            Extent::Text { own } => {
                // A day of the month may have one more in front of it.
                let padding = |at: usize| at > 0 && rest[at - 1] == b' ';
                find_all(rest, after).filter(|&at| !padding(at)).nth(own)
            }
            Extent::List => find_all(rest, after).find(|&n| !in_list(rest, n)),
            Extent::BeforeTime => {
                let time_after = &*self.parts.get(at + 1)?.after;
                let until = find_all(rest, time_after).next()?;
                memmem::rfind(&rest[..until], after)
            }
            Extent::Line => {
                let version = memmem::find(rest, b" HTTP/");
                let from = version.map_or(0, |at| at + 1);
                find_all(&rest[from..], after).next().map(|n| from + n)
            }
            Extent::BeforeVersion => {
                let next = &*self.parts.get(at + 1)?.after;
                let until = match (next.first()?, self.escapes) {
                    (b'"', Escapes::None) => find_all(rest, next).next(),
                    (b'"', _) => self.quote(rest),
                    _ => None,
                };
                let version = match until {
                    Some(until) => memmem::rfind(&rest[..until], b" HTTP/"),
                    None => memmem::find(rest, b" HTTP/"),
                };
                version.or_else(|| memchr(b' ', rest))
            }
            Extent::Slash => memchr(b'/', rest),
            Extent::Rightmost => {
                let mut end = rest.len();
                for part in self.parts[at..].iter().rev() {
                    end = memmem::rfind(&rest[..end], &part.after)?;
                }
                Some(end)
            }
        }
    }

    /// The first quote that is not escaped.
    fn quote(&self, rest: &[u8]) -> Option<usize> {
        memchr::memchr_iter(b'"', rest).find(|&at| self.escapes.bare(rest, at))
    }
}

/// Where `text`, which is not empty, begins in `bytes`.
fn find_all<'a>(bytes: &'a [u8], text: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let first = text.first().copied().unwrap_or_default();
    memchr::memchr_iter(first, bytes).filter(move |&at| bytes[at..].starts_with(text))
}

/// Whether a space at `at` is within `a, b : c`.
fn in_list(bytes: &[u8], at: usize) -> bool {
    bytes[..at].ends_with(b",") || bytes[..at].ends_with(b" :") || bytes[at..].starts_with(b" : ")
}
