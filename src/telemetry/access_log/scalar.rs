//! A value in JSON that is a text for some versions of a program, a number for others.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A text, or what is not one as its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Scalar<'a> {
    /// Null, or an object or array, which are passed over.
    #[default]
    None,
    Text(Cow<'a, str>),
}

impl Scalar<'_> {
    /// What it says; nothing where it is empty or `-`.
    pub(super) fn said(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !matches!(&**text, "" | "-") => Some(text),
            _ => None,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.said().unwrap_or_default().as_bytes()
    }

    pub(super) fn number<T: TryFrom<u64>>(&self) -> Option<T> {
        crate::telemetry::text::number(self.bytes())
    }

    /// A number with a fraction, in units of so many nanoseconds.
    pub(super) fn of_unit(&self, unit_ns: i64) -> Option<i64> {
        let value: f64 = self.said()?.parse().ok()?;
        let ns = value * unit_ns as f64;
        // Over that a float is no whole number of nanoseconds.
        (0.0..9e15).contains(&ns).then_some(ns.round() as i64)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Scalar<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Owned(text.into())))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Owned(itoa::Buffer::new().format(number).into())))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Owned(itoa::Buffer::new().format(number).into())))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Owned(number.to_string())))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Borrowed(if value { "true" } else { "false" })))
            }

            fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
                Ok(Scalar::None)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::None)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar<'de>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::None)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// The members of an object, in its order.
#[derive(Debug)]
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, Scalar<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut all = Vec::with_capacity(32);
                while let Some((Scalar::Text(name), value)) = map.next_entry::<Scalar<'de>, _>()? {
                    all.push((name, value));
                }
                Ok(Members(all))
            }
        }

        deserializer.deserialize_map(All)
    }
}
