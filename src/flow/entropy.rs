//! Byte entropy of a flow's first payload bytes.

use std::sync::LazyLock;

/// Payload bytes that entropy is computed over: enough for a verdict (under 256
/// bytes even random data falls far short of 8 bits), few enough to cost little.
pub(crate) const ENTROPY_BYTES: usize = 256;

/// Terms are integers in units of 2^-32 bits: their sum is the same in any
/// order and off by less than a millionth of a bit per byte.
const UNIT: f64 = (1u64 << 32) as f64;

/// What one more of a byte value seen `c` times adds to the sum of
/// `c * log2(c)`.
static STEPS: LazyLock<[u64; ENTROPY_BYTES]> = LazyLock::new(|| {
    let term =
        |count: usize| if count == 0 { 0.0 } else { count as f64 * libm::log2(count as f64) };
    let units = |count: usize| libm::round(term(count) * UNIT) as u64;
    std::array::from_fn(|count| units(count + 1) - units(count))
});

/// Logarithms of the numbers of bytes.
static LOG2: LazyLock<[f64; ENTROPY_BYTES + 1]> =
    LazyLock::new(|| std::array::from_fn(|n| libm::log2(n.max(1) as f64)));

/// Shannon entropy in bits per byte of the first [`ENTROPY_BYTES`] bytes (the
/// plug-in estimate), and how many bytes that was. Nothing for no bytes.
pub(crate) fn byte_entropy(bytes: &[u8]) -> Option<(f32, u16)> {
    let bytes = bytes.get(..ENTROPY_BYTES).unwrap_or(bytes);
    if bytes.is_empty() {
        return None;
    }
    let steps = &*STEPS;
    // Runs over only with the last of 256 equal bytes.
    let mut counts = [0u8; 256];
    let mut sum = 0;
    for &byte in bytes {
        let count = &mut counts[usize::from(byte)];
        sum += steps[usize::from(*count)];
        *count = count.wrapping_add(1);
    }
    // H = log2 n - (1/n) sum c log2 c
    let n = bytes.len();
    let entropy = LOG2[n] - sum as f64 / UNIT / n as f64;
    Some((entropy.max(0.0) as f32, n as u16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_entropies() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(byte_entropy(&all), Some((8.0, 256)));
        assert_eq!(byte_entropy(&[7; 100]), Some((0.0, 100)));
        assert_eq!(byte_entropy(b"abab"), Some((1.0, 4)));
        assert_eq!(byte_entropy(b""), None);
    }

    proptest! {
        #[test]
        fn is_the_sum_over_all_byte_values(bytes in proptest::collection::vec(0u8..20, 1..400)) {
            let seen = &bytes[..bytes.len().min(ENTROPY_BYTES)];
            let share = |value: u8| {
                seen.iter().filter(|&&byte| byte == value).count() as f64 / seen.len() as f64
            };
            let expected: f64 = (0..20).map(share).filter(|&p| p > 0.0).map(|p| -p * p.log2()).sum();
            let (entropy, n) = byte_entropy(&bytes).expect("not empty");
            prop_assert!((f64::from(entropy) - expected).abs() < 1e-5, "{} {}", entropy, expected);
            prop_assert_eq!(usize::from(n), seen.len());
        }
    }
}
