//! A line's fields, eight bytes of it at a time: they are short, and there are fourteen
//! to a line of a hundred bytes.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = ONES << 7;

/// What stands between spaces and tabs, of which there may be several.
pub(super) struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    pub(super) fn of(line: &'a [u8]) -> Self {
        Self { rest: line }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.rest.iter().position(|&byte| !is_between(byte))?;
        let (word, rest) = self.rest[start..].split_at(length(&self.rest[start..]));
        // One byte between words is what logs have.
        self.rest = rest.get(1..).unwrap_or_default();
        Some(word)
    }
}

fn is_between(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Of the word that the bytes begin with.
fn length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let eight = u64::from_le_bytes(*eight);
        let between =
            zeros(eight ^ (ONES * u64::from(b' '))) | zeros(eight ^ (ONES * u64::from(b'\t')));
        if between != 0 {
            return at + between.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + bytes[at..].iter().take_while(|&&byte| !is_between(byte)).count()
}

/// The high bit of each byte that is zero. Bytes above the lowest of them may be wrong: the
/// subtraction takes from them.
fn zeros(bytes: u64) -> u64 {
    bytes.wrapping_sub(ONES) & !bytes & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_are_those_that_a_split_has(
            text in "([a-z0-9.\t !\n\u{80}-\u{ff}]{0,3} ){0,20}[a-z0-9.]{0,20}|[ \t]{0,20}", bytes: Vec<u8>,
        ) {
            for line in [text.as_bytes(), &bytes] {
                let split = line.split(|&byte| is_between(byte)).filter(|word| !word.is_empty());
                let expected: Vec<&[u8]> = split.collect();
                prop_assert_eq!(Words::of(line).collect::<Vec<_>>(), expected);
            }
        }
    }
}
