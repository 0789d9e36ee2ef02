//! JSON values to fields, as tolerant as the sources need.

use std::sync::Arc;

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
