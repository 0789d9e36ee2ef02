//! A script's words, about as a shell would have them.

/// A part of a text. All parts together are the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Word(&'a str),
    /// White space and what ends a command.
    Gap(&'a str),
}

/// Quotes hold a word together, and one that never ends runs to the end.
pub(super) fn split(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let is_gap = is_gap(rest.chars().next()?);
        let end = if is_gap {
            rest.find(|c| !self::is_gap(c)).unwrap_or(rest.len())
        } else {
            word_end(rest)
        };
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(if is_gap { Piece::Gap(piece) } else { Piece::Word(piece) })
    })
}

fn is_gap(c: char) -> bool {
    c.is_whitespace() || matches!(c, ';' | '|' | '&')
}

fn word_end(text: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }
        match quote {
            None if is_gap(c) => return at,
            None if matches!(c, '\'' | '"') => quote = Some(c),
            Some(open) if c == open => quote = None,
            // In single quotes a backslash is one.
            None | Some('"') if c == '\\' => escaped = true,
            _ => {}
        }
    }
    text.len()
}

/// A word without the quotes around all of it, and the quote.
pub(super) fn unquote(word: &str) -> (&str, &str) {
    for quote in ["'", "\""] {
        let inner = word.strip_prefix(quote).and_then(|word| word.strip_suffix(quote));
        if let Some(inner) = inner
            && !inner.contains(quote)
        {
            return (inner, quote);
        }
    }
    (word, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<&str> {
        split(text)
            .filter_map(|piece| match piece {
                Piece::Word(word) => Some(word),
                Piece::Gap(_) => None,
            })
            .collect()
    }

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(
            words("a  'b c' \"d \\\" e\";f g\\ h"),
            ["a", "'b c'", "\"d \\\" e\"", "f", "g\\ h"]
        );
        assert_eq!(words("x --p='a b' 'open end"), ["x", "--p='a b'", "'open end"]);
        assert_eq!(unquote("'a b'"), ("a b", "'"));
        assert_eq!(unquote("'a'b'"), ("'a'b'", ""));
        assert_eq!(unquote("'"), ("'", ""));
    }

    proptest! {
        #[test]
        fn pieces_are_the_text(text in "[ab'\"\\\\;& \\PC]{0,60}") {
            let pieces = split(&text).map(|piece| match piece {
                Piece::Word(part) | Piece::Gap(part) => part,
            });
            prop_assert_eq!(pieces.collect::<String>(), text);
        }
    }
}
