//! Escapes of quoted fields undone, without losing a byte.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use memchr::memchr;

use crate::telemetry::names::Names;

/// How a log writes what would break its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escapes {
    /// Not at all: a field ends where what follows it in the format comes.
    None,
    /// `\x16`, `\"`, `\\`, `\n`, `\u0016`: nginx writes the first alone, or JSON's;
    /// Apache all but the last. Each escapes its backslashes, so one reader serves them.
    Backslash,
    /// `\"` and `\x16` alone, other backslashes being the client's: AWS does not say
    /// how it escapes.
    Quotes,
    /// `#16`: HAProxy.
    Hash,
}

impl Escapes {
    fn mark(self) -> Option<u8> {
        match self {
            Self::None => None,
            Self::Backslash | Self::Quotes => Some(b'\\'),
            Self::Hash => Some(b'#'),
        }
    }

    /// Whether the byte at `at` is what it is, not part of an escape.
    pub(super) fn bare(self, bytes: &[u8], at: usize) -> bool {
        if !matches!(self, Self::Backslash | Self::Quotes) {
            return true;
        }
        let backslashes = bytes[..at].iter().rev().take_while(|&&byte| byte == b'\\').count();
        backslashes % 2 == 0
    }
}

/// The field as the client sent it. An escape that is none stays as it is.
pub(super) fn undone(field: &[u8], escapes: Escapes) -> Cow<'_, [u8]> {
    let Some(mark) = escapes.mark() else { return Cow::Borrowed(field) };
    let Some(first) = memchr(mark, field) else { return Cow::Borrowed(field) };
    let mut bytes = field[..first].to_vec();
    let mut rest = &field[first..];
    while let Some((&byte, after)) = rest.split_first() {
        let escape = if byte == mark { escape(after, escapes, &mut bytes) } else { None };
        if let Some(n) = escape {
            rest = &after[n..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    Cow::Owned(bytes)
}

/// What an escape after its mark stands for, to `bytes`; how long it is.
fn escape(after: &[u8], escapes: Escapes, bytes: &mut Vec<u8>) -> Option<usize> {
    if escapes == Escapes::Hash {
        bytes.push(hex(after.get(..2)?)? as u8);
        return Some(2);
    }
    let byte = match (after.first()?, escapes) {
        (b'x', _) => {
            bytes.push(hex(after.get(1..3)?)? as u8);
            return Some(3);
        }
        (b'"', _) => b'"',
        (_, Escapes::Quotes) => return None,
        (b'u', _) => {
            let letter = char::from_u32(hex(after.get(1..5)?)?)?;
            bytes.extend(letter.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(5);
        }
        (&byte @ (b'\\' | b'/'), _) => byte,
        (b'n', _) => b'\n',
        (b't', _) => b'\t',
        (b'r', _) => b'\r',
        (b'b', _) => 8,
        (b'v', _) => 11,
        (b'f', _) => 12,
        _ => return None,
    };
    bytes.push(byte);
    Some(1)
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
}

/// As text; bytes that are no UTF-8 as `\xff`, for the bytes of an attack are what
/// is looked for.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String can't fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    Cow::Owned(text)
}

/// The field as the client sent it, as text.
pub(super) fn clear(field: &[u8], escapes: Escapes) -> Cow<'_, str> {
    match undone(field, escapes) {
        Cow::Borrowed(bytes) => text(bytes),
        Cow::Owned(bytes) => Cow::Owned(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => text(error.as_bytes()).into_owned(),
        }),
    }
}

/// The same as a name.
pub(super) fn name(field: &[u8], escapes: Escapes, names: &mut Names) -> Arc<str> {
    names.of(clear(field, escapes).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_log_has_its_own_escapes() {
        let nginx = br"/a\x22\x5C\xE2\x82\xAC\x00";
        assert_eq!(clear(nginx, Escapes::Backslash), "/a\"\\\u{20ac}\0");
        assert_eq!(clear(br#"\"\\x41\t\x16\u00e9\/"#, Escapes::Backslash), "\"\\x41\t\x16\u{e9}/");
        assert_eq!(clear(br#"\"C:\\temp\x41\n"#, Escapes::Quotes), "\"C:\\\\tempA\\n");
        assert_eq!(clear(b"/#3c#22#zz#", Escapes::Hash), "/<\"#zz#");
        assert_eq!(clear(br"\x41#41", Escapes::None), r"\x41#41");
    }

    #[test]
    fn what_is_no_utf_8_and_no_escape_stays_to_be_seen() {
        assert_eq!(clear(br"/\xff\xc0\xafa", Escapes::Backslash), r"/\xff\xc0\xafa");
        assert_eq!(clear(b"/\xffa", Escapes::None), r"/\xffa");
        assert_eq!(clear(br"\q \x4 \u12 \uD800 \", Escapes::Backslash), r"\q \x4 \u12 \uD800 \");
    }
}
