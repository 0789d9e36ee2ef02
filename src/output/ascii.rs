//! Short texts of known alphabets without an allocation: addresses, flags.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv6 address needs 39 bytes; nothing here is longer.
const CAPACITY: usize = 40;

/// A short ASCII text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ascii {
    bytes: [u8; CAPACITY],
    length: u8,
}

/// Numbers of an IPv4 address with the dot behind them, and how long that is.
const OCTETS: [([u8; 4], u8); 256] = {
    let mut octets = [([0; 4], 0); 256];
    let mut octet = 0;
    while octet < octets.len() {
        let (text, length) = &mut octets[octet];
        let mut divisor = [100, 10, 1][(octet < 100) as usize + (octet < 10) as usize];
        while divisor > 0 {
            text[*length as usize] = b'0' + (octet / divisor % 10) as u8;
            *length += 1;
            divisor /= 10;
        }
        text[*length as usize] = b'.';
        *length += 1;
        octet += 1;
    }
    octets
};

impl Ascii {
    const EMPTY: Self = Self { bytes: [0; CAPACITY], length: 0 };

    /// What fits of an ASCII text.
    pub(super) fn new(text: &[u8]) -> Self {
        let mut ascii = Self::EMPTY;
        text.iter().for_each(|&byte| ascii.push(byte));
        ascii
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    #[cfg(any(test, feature = "parquet"))]
    pub(super) fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(usize::from(self.length)) {
            *slot = byte;
            self.length += 1;
        }
    }

    fn push_octets(&mut self, ip: Ipv4Addr) {
        for octet in ip.octets() {
            let (text, length) = OCTETS[usize::from(octet)];
            let at = usize::from(self.length);
            if let Some(place) = self.bytes.get_mut(at..at + text.len()) {
                place.copy_from_slice(&text);
                self.length += length;
            }
        }
        // The last has no dot behind it.
        self.length -= 1;
        self.bytes[usize::from(self.length)] = 0;
    }

    fn push_segment(&mut self, segment: u16) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let first = 3 - (segment.max(1).ilog2() / 4) as usize;
        for digit in first..4 {
            self.push(DIGITS[usize::from(segment >> (12 - 4 * digit) & 15)]);
        }
    }
}

impl From<IpAddr> for Ascii {
    /// IPv6 as RFC 5952 wants it: the longest run of at least two zero
    /// segments, the first of equals, becomes `::`.
    fn from(ip: IpAddr) -> Self {
        let mut text = Self::EMPTY;
        match ip {
            IpAddr::V4(v4) => text.push_octets(v4),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => {
                    text = Self::new(b"::ffff:");
                    text.push_octets(v4);
                }
                None => text.push_segments(v6),
            },
        }
        text
    }
}

impl Ascii {
    fn push_segments(&mut self, ip: Ipv6Addr) {
        let segments = ip.segments();
        let (mut gap, mut run) = (0..0, 0..0);
        for (at, &segment) in segments.iter().enumerate() {
            run = if segment == 0 { run.start..at + 1 } else { at + 1..at + 1 };
            if run.len() > gap.len().max(1) {
                gap = run.clone();
            }
        }
        for (at, &segment) in segments.iter().enumerate() {
            if gap.contains(&at) {
                if at == gap.start {
                    self.push(b':');
                    self.push(b':');
                }
                continue;
            }
            if at > 0 && at != gap.end {
                self.push(b':');
            }
            self.push_segment(segment);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn addresses_are_written_as_the_standard_library_does(
            v4: u32,
            v6: u128,
            zeros in prop::array::uniform8(prop_oneof![Just(0_u16), Just(0xffff), any::<u16>()]),
        ) {
            let mapped = Ipv4Addr::from(v4).to_ipv6_mapped();
            for ip in [IpAddr::V4(v4.into()), v6.to_be_bytes().into(), zeros.into(), mapped.into()] {
                let text = Ascii::from(ip);
                prop_assert_eq!(text.as_str(), ip.to_string());
            }
        }

        #[test]
        fn a_text_is_kept_as_far_as_it_fits(text in "[ -~]{0,60}") {
            let kept = Ascii::new(text.as_bytes());
            prop_assert_eq!(kept.as_str(), &text[..text.len().min(CAPACITY)]);
        }
    }
}
