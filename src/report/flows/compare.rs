//! One comparison: an operator and a value as it was typed, held against a flow's.

use std::cmp::Ordering;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::kind::Kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    More,
    AtLeast,
    Contains,
    NotContains,
}

/// A value as it was typed, and as what its field has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Literal {
    text: String,
    number: Option<f64>,
    address: Option<IpAddr>,
    prefix: Option<IpNet>,
    caseless: bool,
    /// Less precise than a record's: equal is what begins so.
    time: bool,
}

impl Operator {
    pub(super) fn of(text: &str) -> Self {
        match text {
            "!=" => Self::NotEqual,
            "<" => Self::Less,
            "<=" => Self::AtMost,
            ">" => Self::More,
            ">=" => Self::AtLeast,
            "~" => Self::Contains,
            "!~" => Self::NotContains,
            _ => Self::Equal,
        }
    }

    fn looks_inside(self) -> bool {
        matches!(self, Self::Contains | Self::NotContains)
    }

    fn chooses(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual)
    }

    pub(super) fn holds(self, value: &Value, literal: &Literal) -> bool {
        let text = match value {
            Value::Array(all) => return all.iter().any(|one| self.holds(one, literal)),
            Value::Number(number) => {
                let (Some(value), Some(wanted)) = (number.as_f64(), literal.number) else {
                    return self == Self::Contains && number.to_string().contains(&literal.text);
                };
                return match self {
                    Self::Contains => number.to_string().contains(&literal.text),
                    _ => self.orders(value.total_cmp(&wanted)),
                };
            }
            Value::Bool(true) => "true",
            Value::Bool(false) => "false",
            Value::String(text) => text,
            Value::Null | Value::Object(_) => return false,
        };
        let lower;
        let text = if literal.caseless {
            lower = text.to_ascii_lowercase();
            &lower
        } else {
            text
        };
        match self {
            Self::Contains => text.contains(&literal.text),
            Self::Equal => literal.is(text),
            _ => self.orders(literal.order(text)),
        }
    }

    fn orders(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::More => order.is_gt(),
            Self::AtLeast => order.is_ge(),
            Self::NotEqual | Self::Contains | Self::NotContains => false,
        }
    }
}

impl Literal {
    /// A value for a field of this kind, or what belongs there instead.
    pub(super) fn new(text: &str, kind: &Kind, operator: Operator) -> Result<Self, String> {
        let mut literal = Self {
            text: text.to_owned(),
            number: number(text),
            address: text.parse().ok(),
            prefix: None,
            caseless: kind.is_caseless(),
            time: *kind == Kind::Time,
        };
        if literal.caseless {
            literal.text.make_ascii_lowercase();
        }
        match kind {
            Kind::Mac => literal.text = literal.text.replace('-', ":"),
            Kind::Time => literal.text = as_recorded(text),
            Kind::Address if operator.chooses() => literal.prefix = text.parse().ok(),
            _ => {}
        }
        if literal.fits(kind, operator) { Ok(literal) } else { Err(kind.told()) }
    }

    fn fits(&self, kind: &Kind, operator: Operator) -> bool {
        let part = operator.looks_inside();
        match kind {
            Kind::Number { .. } if part => self.text.bytes().all(|b| b"0123456789.-".contains(&b)),
            Kind::Number { least, most } => self.number.is_some_and(|number| {
                least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most)
            }),
            Kind::Address => part || self.address.is_some() || self.prefix.is_some(),
            Kind::Mac => part || is_mac(&self.text),
            Kind::Time => part || is_time(&self.text),
            // What is left out where it does not hold is never false in a record.
            Kind::Flag { only_true } => self.text == "true" || self.text == "false" && !only_true,
            Kind::Choice(choices) => {
                part || choices.iter().any(|choice| choice.eq_ignore_ascii_case(&self.text))
            }
            Kind::Text { .. } | Kind::Parts(_) | Kind::Any => true,
        }
    }

    fn is(&self, text: &str) -> bool {
        if text == self.text || self.time && text.starts_with(&self.text) {
            return true;
        }
        if self.address.is_none() && self.prefix.is_none() {
            return false;
        }
        // Addresses are the same however they are written.
        text.parse::<IpAddr>().is_ok_and(|address| {
            self.address == Some(address)
                || self.prefix.is_some_and(|prefix| prefix.contains(&address))
        })
    }

    fn order(&self, text: &str) -> Ordering {
        // A day is all of its times.
        if self.time && text.starts_with(&self.text) {
            return Ordering::Equal;
        }
        match (text.parse::<IpAddr>(), self.address) {
            (Ok(one), Some(other)) => one.cmp(&other),
            _ => text.cmp(&self.text),
        }
    }
}

fn is_mac(text: &str) -> bool {
    let parts = text.split(':');
    let right = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    parts.clone().count() == 6 && parts.into_iter().all(right)
}

/// As records write times: `T` between day and hour, and as much of the rest as was
/// typed; a record's fraction comes before the `Z`.
fn as_recorded(text: &str) -> String {
    let text = text.trim_end_matches(['Z', 'z']);
    text.replacen([' ', 't'], "T", 1)
}

/// Begins as a time does that records have.
fn is_time(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00.000000000";
    let right = |(byte, form): (u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        form => byte == *form,
    };
    (4..=FORM.len()).contains(&text.len()) && text.bytes().zip(FORM).all(right)
}

/// `1500`, `1.5M` (decimal units), `200ms` (as nanoseconds).
fn number(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 9] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("ms", 1e6),
        ("min", 6e10),
        ("s", 1e9),
        ("h", 3.6e12),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
    ];
    let plain = |text: &str| {
        let starts = text.starts_with(|first: char| first.is_ascii_digit() || first == '-');
        text.parse::<f64>().ok().filter(|_| starts)
    };
    let with_unit =
        UNITS.iter().find_map(|&(unit, times)| Some(plain(text.strip_suffix(unit)?)? * times));
    plain(text).or(with_unit)
}
