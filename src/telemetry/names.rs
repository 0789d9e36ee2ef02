//! One copy of each text that comes again and again.

use std::collections::HashMap;
use std::sync::Arc;

/// Texts that are kept; more are made anew each time. A log of a fleet has some
/// thousand interfaces and instances.
const MAX_NAMES: usize = 1 << 14;
/// Longer texts hardly come twice.
const MAX_NAME_BYTES: usize = 256;

/// Texts that came lately: an account, a region and some dozen interfaces alternate.
const RECENT: usize = 64;

/// Texts by their bytes.
#[derive(Debug)]
pub struct Names {
    known: HashMap<Box<[u8]>, Arc<str>, ahash::RandomState>,
    /// By their length and end, where names of one kind differ: found without a hash of all.
    recent: [Option<Arc<str>>; RECENT],
}

impl Default for Names {
    fn default() -> Self {
        Self { known: HashMap::default(), recent: [const { None }; RECENT] }
    }
}

impl Names {
    /// The text; bytes that are no UTF-8 become U+FFFD.
    pub fn of(&mut self, bytes: &[u8]) -> Arc<str> {
        let recent = place(bytes);
        if let Some(name) = &self.recent[recent]
            && name.as_bytes() == bytes
        {
            return Arc::clone(name);
        }
        let name = match self.known.get(bytes) {
            Some(name) => Arc::clone(name),
            None => {
                let name: Arc<str> = String::from_utf8_lossy(bytes).into();
                if self.known.len() < MAX_NAMES && bytes.len() <= MAX_NAME_BYTES {
                    self.known.insert(bytes.into(), Arc::clone(&name));
                }
                name
            }
        };
        self.recent[recent] = Some(Arc::clone(&name));
        name
    }
}

fn place(bytes: &[u8]) -> usize {
    let end = match *bytes {
        [.., tens, ones] => usize::from(tens) * 10 + usize::from(ones),
        [one] => usize::from(one),
        [] => 0,
    };
    (end + bytes.len() * 7) % RECENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_itself_whatever_came_at_its_place_before() {
        let mut names = Names::default();
        // Of one length and with one end: all at one place.
        let texts: Vec<_> = (0..100).map(|n| format!("eni-{n:03}-end")).collect();
        assert!(texts.iter().all(|text| place(text.as_bytes()) == place(texts[0].as_bytes())));
        let mut of_all = || texts.iter().map(|text| names.of(text.as_bytes())).collect::<Vec<_>>();
        let (first, again) = (of_all(), of_all());
        assert!(first.iter().zip(&texts).all(|(name, text)| **name == **text));
        assert!(first.iter().zip(&again).all(|(one, other)| Arc::ptr_eq(one, other)));
        assert_eq!((&*names.of(b""), &*names.of(b"a"), &*names.of(b"\xff")), ("", "a", "\u{fffd}"));
    }
}
