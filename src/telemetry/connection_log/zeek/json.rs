//! The JSON form: the same names, and unset fields left out.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::record::{Connection, Field, Value};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::kind::Head;

pub(super) fn recognise(head: &Head<'_>) -> bool {
    head.json_has(&["/ts", "/id.orig_h", "/id.resp_h", "/proto", "/conn_state"])
}

pub(super) fn decoder(_: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(Json))
}

struct Json;

impl Decoder for Json {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let mut parts =
            Parts { connection: Connection::default(), bad: None, is_other: false, out };
        let mut json = serde_json::Deserializer::from_slice(record);
        let read = json.deserialize_map(&mut parts).and_then(|()| json.end());
        read.map_err(|error| Bad { reason: "no JSON object", detail: error.to_string() })?;
        let Parts { connection, bad, is_other, out } = parts;
        match bad {
            _ if is_other => {
                out.pass("record of another log");
                Ok(())
            }
            Some(bad) => Err(bad),
            None => connection.report(out),
        }
    }
}

/// Takes the members of a record as they come.
struct Parts<'o> {
    connection: Connection,
    /// The first value that made no sense.
    bad: Option<Bad>,
    /// A stream of all logs says so in `_path`.
    is_other: bool,
    out: &'o mut Out,
}

impl<'de> Visitor<'de> for &mut Parts<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(name)) = map.next_key()? {
            let Member(Some(value)) = map.next_value()? else { continue };
            if name == "_path" {
                self.is_other = value != Value::Text(Cow::Borrowed(b"conn"));
            }
            if self.is_other || self.bad.is_some() {
                continue;
            }
            match Field::named(&name) {
                Some(field) => self.bad = self.connection.take(&field, &value, self.out).err(),
                None => {
                    let label = self.out.names.of(format!("zeek.{name}").as_bytes());
                    self.connection.unknown(&name, &label, &value, self.out);
                }
            }
        }
        Ok(())
    }
}

/// A member's name, borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// A member's value; nothing where it is null or an object.
struct Member<'a>(Option<Value<'a>>);

impl<'de> Deserialize<'de> for Member<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemberVisitor).map(Self)
    }
}

struct MemberVisitor;

impl<'de> Visitor<'de> for MemberVisitor {
    type Value = Option<Value<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Value::Text(Cow::Borrowed(text.as_bytes()))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Value::Text(Cow::Owned(text.into()))))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(Value::Unsigned(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(Value::Real(value as f64)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(Value::Real(value)))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(Value::Bool(value)))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    /// A set: its texts with commas between, as in the tab-separated form.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Member(value)) = seq.next_element()? {
            let Some(Value::Text(text)) = value else { continue };
            if !all.is_empty() {
                all.push(b',');
            }
            all.extend_from_slice(&text);
        }
        Ok((!all.is_empty()).then_some(Value::Text(Cow::Owned(all))))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}
