//! Bytes by value.
//!
//! As they came while they are few: in most seconds most pairs echo a message and its
//! answer, for which a table of counts is an allocation and sixteen lines of the cache.

use super::dns::add_all;

/// How often each byte came.
type Counts = [u32; 256];

/// Two messages as most ping programs send them, and a size of 128 bytes.
const FEW: usize = 119;

/// Randomness is judged of 256 bytes and more, which must be counted by then.
const _: () = assert!(FEW < 256);

#[derive(Clone, Debug)]
pub struct Symbols {
    /// Bytes that are not counted yet: none any more once there are counts.
    few: [u8; FEW],
    len: u8,
    counts: Option<Box<Counts>>,
}

impl Default for Symbols {
    fn default() -> Self {
        Self { few: [0; FEW], len: 0, counts: None }
    }
}

impl Symbols {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let len = usize::from(self.len);
        if self.counts.is_none()
            && let Some(room) = self.few.get_mut(len..len + bytes.len())
        {
            room.copy_from_slice(bytes);
            self.len += bytes.len() as u8;
        } else {
            count(bytes, self.counted());
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.add(other.few());
        if let Some(more) = &other.counts {
            add_all(self.counted(), &more[..]);
        }
    }

    /// Nothing of so few bytes that they are still as they came.
    pub fn counts(&self) -> Option<&[u32; 256]> {
        self.counts.as_deref()
    }

    fn few(&self) -> &[u8] {
        self.few.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Counts from here on.
    fn counted(&mut self) -> &mut Counts {
        let Self { few, len, counts } = self;
        counts.get_or_insert_with(|| {
            let mut counts = Box::new([0; 256]);
            count(few.get(..usize::from(std::mem::take(len))).unwrap_or_default(), &mut counts);
            counts
        })
    }
}

fn count(bytes: &[u8], counts: &mut Counts) {
    for &byte in bytes {
        let sum = &mut counts[usize::from(byte)];
        *sum = sum.saturating_add(1);
    }
}

/// Whatever the order they came in.
impl PartialEq for Symbols {
    fn eq(&self, other: &Self) -> bool {
        let [mut mine, mut theirs] = [self.clone(), other.clone()];
        mine.counted() == theirs.counted()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(messages: &[Vec<u8>]) -> Symbols {
        let mut symbols = Symbols::default();
        messages.iter().for_each(|message| symbols.add(message));
        symbols
    }

    proptest! {
        #[test]
        fn any_split_counts_each_byte(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..9),
            at: prop::sample::Index,
        ) {
            let (before, after) = messages.split_at(at.index(messages.len() + 1));
            let mut merged = filled(after);
            merged.merge(&filled(before));
            prop_assert_eq!(&merged, &filled(&messages));
            let bytes = messages.concat();
            prop_assert!(merged.counts().is_some() || bytes.len() <= FEW);
            let mut counts = [0; 256];
            count(&bytes, &mut counts);
            prop_assert_eq!(*merged.counted(), counts);
        }
    }
}
