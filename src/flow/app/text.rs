//! Bytes off the wire to text that is safe to print.
//!
//! Payloads are chosen by an attacker: escape sequences for the terminal,
//! bidirectional overrides and broken UTF-8 must not reach a screen or a log.
//! Printable ASCII is kept; everything else is escaped.

use std::fmt::Write as _;

use super::MAX_TEXT_BYTES;

/// Printable ASCII as it is, backslash doubled, other bytes as `\xNN`. Cut at
/// [`MAX_TEXT_BYTES`], never inside an escape.
pub(super) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().min(MAX_TEXT_BYTES));
    for &byte in bytes {
        let fits = match byte {
            b'\\' => push(&mut text, format_args!("\\\\"), 2),
            b' '..=b'~' => push(&mut text, format_args!("{}", byte as char), 1),
            _ => push(&mut text, format_args!("\\x{byte:02x}"), 4),
        };
        if !fits {
            break;
        }
    }
    text
}

/// Appends `piece` of `len` bytes if the text stays within the bound.
pub(super) fn push(text: &mut String, piece: std::fmt::Arguments<'_>, len: usize) -> bool {
    if text.len() + len > MAX_TEXT_BYTES {
        return false;
    }
    // Writing to a String cannot fail.
    text.write_fmt(piece).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_bytes_quotes_and_bidi_overrides_are_harmless() {
        assert_eq!(escape(b"plain text/1.0"), "plain text/1.0");
        assert_eq!(escape(b"\x1b[2J\\"), "\\x1b[2J\\\\");
        assert_eq!(escape("a\u{202e}b".as_bytes()), "a\\xe2\\x80\\xaeb");
    }

    proptest! {
        #[test]
        fn any_bytes_give_bounded_printable_ascii(bytes: Vec<u8>) {
            let text = escape(&bytes);
            prop_assert!(text.len() <= MAX_TEXT_BYTES);
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }

        #[test]
        fn a_cut_never_splits_an_escape(kept in 0..=MAX_TEXT_BYTES) {
            let mut bytes = vec![b'a'; kept];
            bytes.push(0);
            let text = escape(&bytes);
            prop_assert!(text.ends_with("\\x00") || text.bytes().all(|byte| byte == b'a'));
        }
    }
}
