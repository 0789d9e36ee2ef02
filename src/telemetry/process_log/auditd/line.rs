//! One line of an audit log: what is in front of a record, its time and serial
//! number, its fields.

use std::borrow::Cow;

use memchr::memmem;

use crate::telemetry::text::{epoch_s_ns, number};

/// Begins what auditd adds to a record in its enriched format.
const ENRICHMENT: u8 = 0x1d;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Syscall,
    Execve,
    Address,
    Title,
    /// Nothing follows of the event.
    End,
    /// Says more of files than is used.
    File,
    /// A process ended by a signal that it did not catch.
    Abend,
    Boot,
    Other,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// Empty where the line does not say.
    pub(super) host: &'a [u8],
    pub(super) is: Type,
    pub(super) time_ns: i64,
    pub(super) serial: u64,
    body: &'a [u8],
    enrichment: &'a [u8],
}

impl<'a> Line<'a> {
    /// Of `audit.log`, also with what its plugin for syslog, syslog itself or the
    /// kernel's own log put in front of it.
    pub(super) fn of(record: &'a [u8]) -> Option<Self> {
        let at = type_at(record)?;
        let (before, rest) = record.split_at(at);
        let rest = &rest[b"type=".len()..];
        let end = rest.iter().position(|&byte| byte == b' ')?;
        let (name, rest) = (&rest[..end], &rest[end + 1..]);
        let rest = rest.strip_prefix(b"msg=").unwrap_or(rest).strip_prefix(b"audit(")?;
        let end = rest.iter().take(40).position(|&byte| byte == b')')?;
        let (stamp, rest) = (&rest[..end], &rest[end + 1..]);
        let colon = stamp.iter().position(|&byte| byte == b':')?;
        let body = rest.strip_prefix(b":")?;
        let end = body.iter().position(|&byte| byte == ENRICHMENT);
        let (body, enrichment) = match end {
            Some(end) => (&body[..end], &body[end + 1..]),
            None => (body, &b""[..]),
        };
        Some(Self {
            host: host(before),
            is: type_of(name),
            time_ns: epoch_s_ns(&stamp[..colon])?,
            serial: number(&stamp[colon + 1..])?,
            body,
            enrichment,
        })
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = (&'a [u8], Value<'a>)> + use<'a> {
        Fields { rest: self.body }
    }

    /// What the numbers of the record are in words, under the fields' names in
    /// capitals.
    pub(super) fn in_words(&self) -> impl Iterator<Item = (&'a [u8], Value<'a>)> + use<'a> {
        Fields { rest: self.enrichment }
    }
}

/// Where the record begins: the first `type=` that is a word's beginning.
fn type_at(record: &[u8]) -> Option<usize> {
    if record.starts_with(b"type=") {
        return Some(0);
    }
    memmem::find(record, b" type=").map(|at| at + 1)
}

/// The host in `node=NAME `, or in what syslog puts in front.
pub(super) fn host(before: &[u8]) -> &[u8] {
    let mut words = before.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let is_clock = |word: &[u8]| word.len() == 8 && word[2] == b':' && word[5] == b':';
    if let Some(node) = words.clone().find_map(|word| word.strip_prefix(b"node=")) {
        return node;
    }
    match words.next() {
        // `2026-03-01T10:15:02+00:00 host program:`
        Some(time) if time.len() > 18 && time[10] == b'T' => words.next().unwrap_or_default(),
        // `Mar  1 10:15:02 host program:`
        Some(_) => match (words.next(), words.next()) {
            (Some(_), Some(clock)) if is_clock(clock) => words.next().unwrap_or_default(),
            _ => b"",
        },
        None => b"",
    }
}

/// By name, or by number as the kernel's own log has it.
fn type_of(name: &[u8]) -> Type {
    match name {
        b"SYSCALL" | b"1300" => Type::Syscall,
        b"EXECVE" | b"1309" => Type::Execve,
        b"SOCKADDR" | b"1306" => Type::Address,
        b"PROCTITLE" | b"1327" => Type::Title,
        b"EOE" | b"1320" => Type::End,
        b"PATH" | b"1302" | b"CWD" | b"1307" | b"SOCKETCALL" | b"1304" => Type::File,
        b"ANOM_ABEND" | b"1701" => Type::Abend,
        b"SYSTEM_BOOT" | b"1127" => Type::Boot,
        _ => Type::Other,
    }
}

/// A field's value. The kernel quotes a text that has nothing in it which could
/// mislead a reader, and writes any other in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Quoted(&'a [u8]),
    Bare(&'a [u8]),
}

impl<'a> Value<'a> {
    pub(super) fn raw(self) -> &'a [u8] {
        match self {
            Self::Quoted(text) | Self::Bare(text) => text,
        }
    }

    pub(super) fn number<T: TryFrom<u64>>(self) -> Option<T> {
        number(self.raw())
    }

    /// Of a text: none for `(null)` and `(none)`.
    pub(super) fn text(self) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Quoted(text) => Some(text.into()),
            Self::Bare(b"(null)" | b"(none)" | b"?" | b"") => None,
            Self::Bare(digits) => Some(hex(digits).map_or(Cow::Borrowed(digits), Cow::Owned)),
        }
    }
}

/// Bytes of hexadecimal digits.
pub(super) fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let start = self.rest.iter().position(|&byte| byte != b' ')?;
            let rest = &self.rest[start..];
            let end = memchr::memchr2(b'=', b' ', rest)?;
            let (name, after) = (&rest[..end], &rest[end + 1..]);
            if rest[end] == b' ' {
                // A word that is no field.
                self.rest = after;
                continue;
            }
            let (value, rest) = match after {
                [b'"', text @ ..] => {
                    let end = memchr::memchr(b'"', text).unwrap_or(text.len());
                    (Value::Quoted(&text[..end]), text.get(end + 1..).unwrap_or_default())
                }
                [b'{', ..] => {
                    let end = memchr::memchr(b'}', after).map_or(after.len(), |end| end + 1);
                    (Value::Bare(&after[..end]), &after[end..])
                }
                _ => {
                    let end = memchr::memchr(b' ', after).unwrap_or(after.len());
                    (Value::Bare(&after[..end]), &after[end..])
                }
            };
            self.rest = rest;
            return Some((name, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_front_of_a_record_says_the_host() {
        let record = "type=SYSCALL msg=audit(1772360102.114:7): arch=c000003e";
        for (before, host) in [
            ("", ""),
            ("node=web1.example ", "web1.example"),
            ("Mar  1 10:15:02 web1 audisp-syslog[12]: ", "web1"),
            ("Mar  1 10:15:02 web1 audisp-syslog[12]: node=web2 ", "web2"),
            ("2026-03-01T10:15:02.114903+00:00 web1 audisp-syslog: ", "web1"),
            ("<30>x ", ""),
        ] {
            let line = format!("{before}{record}");
            let line = Line::of(line.as_bytes()).unwrap();
            assert_eq!(line.host, host.as_bytes());
            assert_eq!((line.is, line.serial), (Type::Syscall, 7));
            assert_eq!(line.time_ns, 1_772_360_102_114_000_000);
        }
        let kernel = b"Mar  1 10:15:02 web1 kernel: [12.5] audit: type=1327 audit(1772360102.114:7): proctitle=6C73";
        let line = Line::of(kernel).unwrap();
        assert_eq!((line.is, line.host), (Type::Title, &b"web1"[..]));
        for bad in [
            "type=",
            "type=SYSCALL msg=audit(1:2",
            "subtype=A msg=audit(1.0:2): ",
            "type=A msg=audit(x:2): ",
        ] {
            assert!(Line::of(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn fields_are_quoted_bare_or_in_braces() {
        let line = b"type=SOCKADDR msg=audit(1.0:2): a0=\"two words\" odd a1=7477 a2=(null) saddr=0200\x1dSADDR={ saddr_fam=inet lport=1 } UID=\"root\"";
        let line = Line::of(line).unwrap();
        let text =
            |value: Value<'_>| value.text().map(|text| String::from_utf8_lossy(&text).into_owned());
        let fields: Vec<_> = line.fields().map(|(name, value)| (name, text(value))).collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            fields,
            [
                (&b"a0"[..], some("two words")),
                (b"a1", some("tw")),
                (b"a2", None),
                (b"saddr", some("\u{2}\0"))
            ]
        );
        let words: Vec<_> = line.in_words().collect();
        assert_eq!(
            words,
            [
                (&b"SADDR"[..], Value::Bare(b"{ saddr_fam=inet lport=1 }")),
                (b"UID", Value::Quoted(b"root"))
            ]
        );
    }
}
