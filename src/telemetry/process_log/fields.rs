//! JSON objects whose members are single values, as texts.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::telemetry::text::{address, number};

/// More members than any source has; further ones are passed over.
const MAX_FIELDS: usize = 512;

/// Names and values in their order. Numbers and truth values are as JSON has them,
/// `null` is left out, and so is what is no single value.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Fields<'a> {
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// Empty where there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub(super) fn number<T: TryFrom<u64>>(&self, name: &str) -> Option<T> {
        number(self.text(name).as_bytes())
    }

    pub(super) fn address(&self, name: &str) -> Option<IpAddr> {
        address(self.text(name).as_bytes())
    }

    pub(super) fn push(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        if self.0.len() < MAX_FIELDS {
            self.0.push((name.into(), value.into()));
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of single values")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Fields::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        while let Some(Text(Some(name))) = map.next_key()? {
            if let Text(Some(value)) = map.next_value()? {
                fields.push(name, value);
            }
        }
        Ok(fields)
    }
}

/// A single value as a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Option<Cow<'a, str>>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Some(text.into())))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Some(text.to_owned().into())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Text(Some(number.to_string().into())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Text(Some(number.to_string().into())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Text(Some(number.to_string().into())))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Text(Some(if value { "true" } else { "false" }.into())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Text(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_values_become_texts() {
        let json = r#"{"a":"1","b":2,"c":-3,"d":true,"e":null,"f":[1,{"x":2}],"g":{"h":1},"i":"\u0041","a":"later"}"#;
        let fields: Fields<'_> = serde_json::from_str(json).unwrap();
        let all: Vec<_> = fields.0.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(
            all,
            [("a", "1"), ("b", "2"), ("c", "-3"), ("d", "true"), ("i", "A"), ("a", "later")]
        );
        assert_eq!((fields.text("a"), fields.text("x"), fields.number("b")), ("1", "", Some(2_u8)));
        assert_eq!(fields.number::<u8>("c"), None);
        assert!(matches!(fields.0[0].1, Cow::Borrowed(_)));
        assert_eq!(serde_json::from_str::<Fields<'_>>("null").unwrap(), Fields::default());
        assert!(serde_json::from_str::<Fields<'_>>("[1]").is_err());
    }
}
