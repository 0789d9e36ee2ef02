//! As much of XML as these events are: elements that hold text or elements, no
//! comments, no sections. Nothing is nested deeper than what is looked for.

use std::borrow::Cow;

use super::Event;
use crate::telemetry::process_log::fields::Fields;

/// An event from its first bracket on.
pub(super) fn event(text: &str) -> Option<Event<'_>> {
    let system = element(text, "System")?;
    let data = element(text, "EventData").unwrap_or_default();
    let time = attribute(tag(system, "TimeCreated").unwrap_or_default(), "SystemTime");
    let host = unescaped(element(system, "Computer").unwrap_or_default()).into_owned();
    let id = element(system, "EventID")?.trim();
    Event::from_parts(id, host, time.unwrap_or_default(), fields(data))
}

/// `<Data Name="name">value</Data>`, one after the other.
fn fields(data: &str) -> Fields<'_> {
    let mut fields = Fields::default();
    let mut rest = data;
    while let Some(at) = rest.find("<Data ") {
        rest = &rest[at + 1..];
        let Some(end) = rest.find('>') else { break };
        let (tag, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        let Some(name) = attribute(tag, "Name") else { continue };
        if tag.ends_with('/') {
            continue;
        }
        let Some(end) = rest.find("</Data>") else { break };
        fields.push(unescaped(name), unescaped(&rest[..end]));
        rest = &rest[end..];
    }
    fields
}

/// What lies between `<name>` and `</name>`.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let open = format!("<{name}>");
    let start = text.find(&open)? + open.len();
    let length = text[start..].find(&format!("</{name}>"))?;
    Some(&text[start..start + length])
}

/// What lies in `<name ...>`.
fn tag<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let open = format!("<{name} ");
    let start = text.find(&open)? + open.len();
    let length = text[start..].find('>')?;
    Some(&text[start..start + length])
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let open = format!("{name}=\"");
    let start = tag.find(&open)? + open.len();
    let length = tag[start..].find('"')?;
    Some(&tag[start..start + length])
}

fn unescaped(text: &str) -> Cow<'_, str> {
    /// The longest reference: `&#x10FFFF;`.
    const MAX_REFERENCE_BYTES: usize = 10;
    if !text.contains('&') {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(MAX_REFERENCE_BYTES).position(|byte| byte == b';');
        let letter = end.and_then(|end| referred(&rest[1..end]));
        match (letter, end) {
            (Some(letter), Some(end)) => {
                plain.push(letter);
                rest = &rest[end + 1..];
            }
            // Not everybody escapes.
            _ => {
                plain.push('&');
                rest = &rest[1..];
            }
        }
    }
    plain.push_str(rest);
    plain.into()
}

fn referred(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn references_are_undone_and_others_stay() {
        assert_eq!(unescaped("a &lt;b&gt; &amp;&quot;&#39;&#x41;"), "a <b> &\"'A");
        assert_eq!(unescaped("a&b &nosuch; &#xD800; &"), "a&b &nosuch; &#xD800; &");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(<Event>|<System>|</System>|<EventID>|</EventID>|<EventData>|</EventData>|<Data Name=\"|\"|>|/>|</Data>|&#?|;|\\PC){0,30}") {
            let _ = event(&text);
            let _ = (unescaped(&text), fields(&text));
        }
    }
}
