//! A value's text, kept with it.

use std::sync::OnceLock;

/// Text that a writer made of the value that holds this, so that records which
/// share the value share the text.
///
/// No part of the value: equal to any other, and empty in a copy. So change a copy,
/// never a value that may have its text.
#[derive(Debug, Default)]
pub struct Rendered(OnceLock<Box<str>>);

impl Rendered {
    /// The text, made the first time.
    pub(crate) fn get_or_make(&self, make: impl FnOnce() -> String) -> &str {
        self.0.get_or_init(|| make().into_boxed_str())
    }
}

impl Clone for Rendered {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Rendered {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Rendered {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_made_once_and_stays_with_its_value_alone() {
        let text = Rendered::default();
        assert_eq!(text.get_or_make(|| "first".to_owned()), "first");
        assert_eq!(text.get_or_make(|| "second".to_owned()), "first");
        let copy = text.clone();
        assert_eq!(copy.get_or_make(|| "of the copy".to_owned()), "of the copy");
        assert_eq!(copy, text);
    }
}
