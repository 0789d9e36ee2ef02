//! Texts and maps of texts out of JSON that others wrote, within bounds.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

/// Longest text that a workload keeps: twice Kubernetes' longest name.
pub(super) const MAX_TEXT_BYTES: usize = 512;

/// Labels of one workload, each with its key; more than that is left out. There
/// can be thousands of workloads.
pub(super) const MAX_LABELS_BYTES: usize = 4 << 10;

/// Of a map that is only looked into: annotations can be whole documents.
const MAX_VALUE_BYTES: usize = 8 << 10;
const MAX_ENTRIES: usize = 512;

/// The text, cut at the last character that fits.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

pub(super) fn kept(text: &str) -> String {
    cut(text, MAX_TEXT_BYTES).to_owned()
}

/// As many labels as fit, in the order of their keys.
pub(super) fn kept_labels<'a>(
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> BTreeMap<String, String> {
    let mut room = MAX_LABELS_BYTES;
    let mut all = BTreeMap::new();
    for (key, value) in labels {
        let (key, value) = (cut(key, MAX_TEXT_BYTES), cut(value, MAX_TEXT_BYTES));
        let Some(left) = room.checked_sub(key.len() + value.len()) else { break };
        room = left;
        all.insert(key.to_owned(), value.to_owned());
    }
    all
}

/// A map of texts; what is no text is passed over, `null` is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Texts(BTreeMap<String, String>);

impl Texts {
    /// Empty where there is none.
    pub(super) fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Of lines `key=value`.
    pub(super) fn from_pairs<'a>(pairs: impl IntoIterator<Item = &'a str>) -> Self {
        let pairs = pairs.into_iter().filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(key, value)| (key.to_owned(), cut(value, MAX_VALUE_BYTES).into()));
        Self(pairs.take(MAX_ENTRIES).collect())
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of texts")
    }

    fn visit_none<E>(self) -> Result<Texts, E> {
        Ok(Texts::default())
    }

    fn visit_unit<E>(self) -> Result<Texts, E> {
        Ok(Texts::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Texts, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
        let mut texts = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if texts.len() >= MAX_ENTRIES {
                map.next_value::<IgnoredAny>()?;
            } else if let Text(Some(value)) = map.next_value()? {
                texts.insert(key, value);
            }
        }
        Ok(Texts(texts))
    }
}

/// A text within bounds; nothing for any other value.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Any {
            Text(String),
            Other(IgnoredAny),
        }
        Ok(Self(match Any::deserialize(deserializer)? {
            Any::Text(text) => Some(cut(&text, MAX_VALUE_BYTES).to_owned()),
            Any::Other(_) => None,
        }))
    }
}

/// For fields that may be `null`.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_keeps_its_texts_alone() {
        let texts: Texts =
            serde_json::from_str(r#"{"a":"1","b":2,"c":null,"d":{"e":[1]},"f":"6"}"#).unwrap();
        assert_eq!(texts.iter().collect::<Vec<_>>(), [("a", "1"), ("f", "6")]);
        assert_eq!(texts.get("b"), "");
        assert_eq!(serde_json::from_str::<Texts>("null").unwrap(), Texts::default());
        assert!(serde_json::from_str::<Texts>("7").is_err());
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("añb", 2), "a");
        assert_eq!(cut("añb", 3), "añ");
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_VALUE_BYTES + 1));
        let texts: Texts = serde_json::from_str(&long).unwrap();
        assert_eq!(texts.get("a").len(), MAX_VALUE_BYTES);
    }

    #[test]
    fn labels_have_a_bound_together() {
        let texts: Vec<(String, String)> =
            (0..100).map(|n| (format!("key{n}"), "x".repeat(MAX_TEXT_BYTES * 2))).collect();
        let labels = kept_labels(texts.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let bytes: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!((MAX_LABELS_BYTES / 2..=MAX_LABELS_BYTES).contains(&bytes), "{bytes}");
        assert!(labels.values().all(|value| value.len() == MAX_TEXT_BYTES));
    }
}
