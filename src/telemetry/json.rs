//! JSON values to fields, as tolerant as the sources need.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::names::Names;

/// A whole number, also as a text of digits (protobuf's JSON has 64-bit numbers so).
pub fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => super::text::number(text.as_bytes()),
        _ => None,
    }
}

/// A text that is not empty.
pub fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// The same as a name.
pub fn name(value: &Value, names: &mut Names) -> Option<Arc<str>> {
    text(value).map(|text| names.of(text.as_bytes()))
}

/// A member whatever the case of its name: vendors spell their own both ways.
pub fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    object
        .get(name)
        .or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v))
}

/// A value in a JSON document that holds no others.
#[derive(Clone, Debug, PartialEq)]
pub enum Leaf<'a> {
    /// Borrowed where it has no escapes.
    Text(Cow<'a, str>),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Null,
}

impl Leaf<'_> {
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number, also as a text of digits.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(*number),
            Self::Text(text) => super::text::number(text.as_bytes()),
            _ => None,
        }
    }

    /// As a name, whatever it is; null and empty texts are none.
    pub fn name(&self, names: &mut Names) -> Option<Arc<str>> {
        match self {
            Self::Null => None,
            Self::Text(text) if text.is_empty() => None,
            Self::Text(text) => Some(names.of(text.as_bytes())),
            Self::Unsigned(number) => {
                Some(names.of(itoa::Buffer::new().format(*number).as_bytes()))
            }
            Self::Signed(number) => Some(names.of(itoa::Buffer::new().format(*number).as_bytes())),
            Self::Float(number) => Some(names.of(number.to_string().as_bytes())),
            Self::Bool(bool) => Some(names.of(bool.to_string().as_bytes())),
        }
    }
}

/// Calls `leaf` with each value of a document that holds no others and its path: the
/// names of the objects' members around it, with points between (`connection.src_ip`);
/// elements of an array have the array's. Builds no tree, and allocates for the
/// longest path and texts with escapes alone.
pub fn leaves<'a>(
    json: &'a [u8],
    mut leaf: impl FnMut(&str, Leaf<'a>),
) -> Result<(), serde_json::Error> {
    let mut path = String::new();
    let mut json = serde_json::Deserializer::from_slice(json);
    Walk { path: &mut path, leaf: &mut leaf }.deserialize(&mut json)?;
    json.end()
}

struct Walk<'w, F> {
    path: &'w mut String,
    leaf: &'w mut F,
}

impl<'a, F: FnMut(&str, Leaf<'a>)> Walk<'_, F> {
    fn say<E>(self, leaf: Leaf<'a>) -> Result<(), E> {
        (self.leaf)(self.path, leaf);
        Ok(())
    }
}

impl<'a, F: FnMut(&str, Leaf<'a>)> DeserializeSeed<'a> for Walk<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'a, F: FnMut(&str, Leaf<'a>)> Visitor<'a> for Walk<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        let around = self.path.len();
        while map.next_key_seed(Name(self.path))?.is_some() {
            map.next_value_seed(Walk { path: self.path, leaf: self.leaf })?;
            self.path.truncate(around);
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<(), S::Error> {
        while seq.next_element_seed(Walk { path: self.path, leaf: self.leaf })?.is_some() {}
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<(), E> {
        self.say(Leaf::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.say(Leaf::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.say(Leaf::Unsigned(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.say(Leaf::Signed(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.say(Leaf::Float(number))
    }

    fn visit_bool<E>(self, bool: bool) -> Result<(), E> {
        self.say(Leaf::Bool(bool))
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.say(Leaf::Null)
    }
}

/// Adds a member's name to a path.
struct Name<'w>(&'w mut String);

impl<'a> DeserializeSeed<'a> for Name<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<(), E> {
        if !self.0.is_empty() {
            self.0.push('.');
        }
        self.0.push_str(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_have_their_paths_and_their_values() {
        let mut found = Vec::new();
        let json =
            br#"{"a":{"b":"x","c":[1,{"d":-2}],"e":{}},"f":"q\"uote","g":null,"h":true,"":0.5}"#;
        leaves(json, |path, leaf| found.push((path.to_owned(), leaf))).expect("JSON");
        let text = |text: &str| Leaf::Text(text.to_owned().into());
        let expected = [
            ("a.b", text("x")),
            ("a.c", Leaf::Unsigned(1)),
            ("a.c.d", Leaf::Signed(-2)),
            ("f", text("q\"uote")),
            ("g", Leaf::Null),
            ("h", Leaf::Bool(true)),
            ("", Leaf::Float(0.5)),
        ];
        assert_eq!(found, expected.map(|(path, leaf)| (path.to_owned(), leaf)));
    }

    #[test]
    fn what_is_no_json_or_nested_too_deep_is_an_error() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(1000), "}".repeat(1000));
        for json in ["", "{", "{} {}", "{\"a\":}", &deep] {
            assert!(leaves(json.as_bytes(), |_, _| ()).is_err(), "{json}");
        }
    }
}
