//! The nested objects of a record, read without a tree of JSON values.
//!
//! Both logs nest objects that hold a few texts, arrays of more of them, and at the
//! bottom tuples: one type holds any of these levels. Names are matched whatever
//! their case: Azure's own documentation spells them both ways.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Which log the tuples below are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Nsg,
    Vnet,
}

/// One object.
#[derive(Debug, Default)]
pub(super) struct Level<'a> {
    pub(super) shape: Option<Shape>,
    pub(super) category: Option<Cow<'a, str>>,
    pub(super) mac: Option<Cow<'a, str>>,
    pub(super) resource: Option<Cow<'a, str>>,
    pub(super) acl: Option<Cow<'a, str>>,
    pub(super) rule: Option<Cow<'a, str>>,
    pub(super) tuples: Vec<Cow<'a, str>>,
    pub(super) inner: Vec<Self>,
    /// Members that are none of Azure's documented ones.
    pub(super) unknown: Vec<Cow<'a, str>>,
}

impl<'a> Level<'a> {
    pub(super) fn read<D: Deserializer<'a>>(json: D) -> Result<Self, D::Error> {
        let mut levels = Vec::new();
        Levels(&mut levels).deserialize(json)?;
        Ok(levels.pop().unwrap_or_default())
    }

    fn member<M: MapAccess<'a>>(
        &mut self,
        name: Cow<'a, str>,
        map: &mut M,
    ) -> Result<(), M::Error> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("flowTuples") {
            return map.next_value_seed(Texts(&mut self.tuples));
        }
        if is("flows") || is("flowGroups") {
            return map.next_value_seed(Levels(&mut self.inner));
        }
        let shape = if is("properties") {
            Some(Shape::Nsg)
        } else if is("flowRecords") {
            Some(Shape::Vnet)
        } else {
            None
        };
        if shape.is_some() {
            let first = self.inner.len();
            map.next_value_seed(Levels(&mut self.inner))?;
            self.inner.iter_mut().skip(first).for_each(|level| level.shape = shape);
            return Ok(());
        }
        let text = if is("category") {
            &mut self.category
        } else if is("mac") || is("macAddress") {
            &mut self.mac
        } else if is("resourceId") || is("targetResourceID") {
            &mut self.resource
        } else if is("aclID") {
            &mut self.acl
        } else if is("rule") {
            &mut self.rule
        } else {
            const SAY_NOTHING: &[&str] = &[
                "time",
                "systemId",
                "operationName",
                "Version",
                "flowLogVersion",
                "flowLogGUID",
                "flowLogResourceID",
            ];
            if !SAY_NOTHING.iter().any(|known| is(known)) {
                self.unknown.push(name);
            }
            return map.next_value::<IgnoredAny>().map(drop);
        };
        let mut texts = Vec::new();
        map.next_value_seed(Texts(&mut texts))?;
        *text = texts.pop();
        Ok(())
    }
}

/// Adds an object, or each of an array, to some levels; what is neither adds nothing.
struct Levels<'v, 'a>(&'v mut Vec<Level<'a>>);

impl<'a> DeserializeSeed<'a> for Levels<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Levels<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array of them")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        let mut level = Level::default();
        let mut names = Vec::new();
        while map.next_key_seed(Texts(&mut names))?.is_some() {
            let name = names.pop().unwrap_or_default();
            level.member(name, &mut map)?;
        }
        self.0.push(level);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<(), S::Error> {
        while seq.next_element_seed(Levels(self.0))?.is_some() {}
        Ok(())
    }
}

/// Adds a text, or each of an array, borrowed where it has no escapes; what is
/// neither adds nothing.
struct Texts<'v, 'a>(&'v mut Vec<Cow<'a, str>>);

impl<'a> DeserializeSeed<'a> for Texts<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Texts<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or an array of them")
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<(), E> {
        self.0.push(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.push(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<(), S::Error> {
        while seq.next_element_seed(Texts(self.0))?.is_some() {}
        Ok(())
    }
}
