//! The two checksums that frames carry.

/// Ones' complement sum of RFC 1071, not yet complemented. Sums of pieces add
/// up as long as every piece but the last has an even length.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    // The order of bytes does not matter to the sum but for a swap at its end
    // (RFC 1071, section 2): words are added as this machine holds them.
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let word = |word: &[u8; 4]| u64::from(u32::from_ne_bytes(*word));
    let total = words.iter().map(word).sum::<u64>() + word(&last);
    u64::from(u16::from_be_bytes(carried(total).to_ne_bytes()))
}

/// Folds a sum to the value that goes into the header.
pub(super) fn fold(total: u64) -> u16 {
    !carried(total)
}

/// Adds the carries back in until 16 bits hold the sum.
fn carried(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// CRC32c (Castagnoli), reflected, as SCTP uses it (RFC 9260 appendix A).
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sum_equals_the_worked_example_of_rfc_1071() {
        assert_eq!(!fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }

    proptest! {
        #[test]
        fn sum_equals_adding_big_endian_words_one_by_one(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut expected = 0u32;
            for pair in bytes.chunks(2) {
                expected += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low));
                expected = (expected & 0xffff) + (expected >> 16);
            }
            prop_assert_eq!(!fold(sum(&bytes)), expected as u16);
        }
    }

    #[test]
    fn crc32c_equals_the_check_value_of_its_definition() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
