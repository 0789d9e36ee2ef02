//! Numbers to bytes and back: variable length, little end first. Reading never
//! panics: what is not there is `None`.

#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Seven bits a byte; small numbers are short.
    pub(super) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Small ones of either sign are short.
    pub(super) fn signed(&mut self, value: i64) {
        self.number((value << 1 ^ value >> 63) as u64);
    }

    pub(super) fn real(&mut self, value: f64) {
        self.0.extend(value.to_bits().to_le_bytes());
    }

    pub(super) fn short_real(&mut self, value: f32) {
        self.0.extend(value.to_bits().to_le_bytes());
    }
}

#[derive(Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(super) fn real(&mut self) -> Option<f64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        let value = f64::from_bits(u64::from_le_bytes(*bytes));
        value.is_finite().then_some(value)
    }

    pub(super) fn short_real(&mut self) -> Option<f32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        let value = f32::from_bits(u32::from_le_bytes(*bytes));
        value.is_finite().then_some(value)
    }

    /// A number that is at most `most`.
    pub(super) fn up_to(&mut self, most: u64) -> Option<u64> {
        self.number().filter(|&value| value <= most)
    }
}

/// FNV-1a (Fowler, Noll, Vo): tells what a disk or an editor changed, no attacker.
pub(super) fn digest(bytes: &[u8]) -> u32 {
    let mix = |sum: u32, &byte: &u8| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, mix)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(value: u64, signed: i64, real in -1e300..1e300) {
            let mut writer = Writer::default();
            writer.number(value);
            writer.signed(signed);
            writer.real(real);
            let mut reader = Reader(&writer.0);
            prop_assert_eq!(reader.number(), Some(value));
            prop_assert_eq!(reader.signed(), Some(signed));
            prop_assert_eq!(reader.real(), Some(real));
            prop_assert_eq!(reader.byte(), None);
        }
    }
}
