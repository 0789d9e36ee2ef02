//! Words of an expression, with their places.

use std::ops::Range;

use super::Mistake;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) what: What,
    pub(super) at: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A field, a value, `and`, `or`, `not`, `in`.
    Word(String),
    /// In quotes: always a value.
    Text(String),
    Operator(&'static str),
    Open,
    Close,
    Comma,
}

/// The longer ones first.
const OPERATORS: [&str; 9] = ["==", "!=", "<=", ">=", "!~", "=", "<", ">", "~"];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Mistake> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(letter) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = text.get(at..).unwrap_or_default();
        let end = at + letter.len_utf8();
        let (what, end) = match letter {
            letter if letter.is_whitespace() => {
                at = end;
                continue;
            }
            '(' => (What::Open, end),
            ')' => (What::Close, end),
            ',' => (What::Comma, end),
            '"' | '\'' => {
                let Some(length) = rest[1..].find(letter) else {
                    return Err(Mistake::new(at..text.len(), "the text does not end"));
                };
                (What::Text(rest[1..=length].to_owned()), at + length + 2)
            }
            _ => match OPERATORS.into_iter().find(|operator| rest.starts_with(operator)) {
                Some(operator) => (What::Operator(operator), at + operator.len()),
                None => {
                    let ends =
                        |letter: char| letter.is_whitespace() || "()=<>!~,\"'".contains(letter);
                    let length = rest.find(ends).unwrap_or(rest.len());
                    if length == 0 {
                        return Err(Mistake::new(at..end, "no operator"));
                    }
                    (What::Word(rest[..length].to_owned()), at + length)
                }
            },
        };
        tokens.push(Token { what, at: at..end });
        at = end;
    }
    Ok(tokens)
}
