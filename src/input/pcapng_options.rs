//! Options of pcapng blocks, and the units of time they state.

use super::pcapng_codes::{OUR_APPLICATION, Observer, option::*};

/// `if_tsresol` when it is absent: microseconds (draft, section 4.2).
const DEFAULT_TSRESOL: u8 = 6;

/// What is used of an interface description's options.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InterfaceOptions {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) tsresol: u8,
    pub(super) tsoffset_s: i64,
    pub(super) fcs_bytes: Option<u8>,
    /// What comments say of it; means something in our own sections only.
    pub(super) observer: Observer,
}

impl InterfaceOptions {
    pub(super) fn read(bytes: &[u8], big_endian: bool) -> Self {
        let mut found = Self {
            name: String::new(),
            description: String::new(),
            tsresol: DEFAULT_TSRESOL,
            tsoffset_s: 0,
            fcs_bytes: None,
            observer: Observer::default(),
        };
        for (code, value) in (Options { rest: bytes, big_endian }) {
            match (code, value) {
                (COMMENT, text) => found.observer.read(text),
                (IF_NAME, text) => found.name = to_text(text),
                (IF_DESCRIPTION, text) => found.description = to_text(text),
                (IF_TSRESOL, [tsresol]) => found.tsresol = *tsresol,
                // In bits by the draft; writers that mean bytes are known.
                (IF_FCSLEN, [fcs]) => {
                    found.fcs_bytes = Some(if *fcs > 8 { fcs / 8 } else { *fcs });
                }
                (IF_TSOFFSET, value) => {
                    if let Some(offset_s) = to_u64(value, big_endian) {
                        found.tsoffset_s = offset_s.cast_signed();
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// True when the options of a section header say that flowtap recorded it.
pub(super) fn is_our_section(bytes: &[u8], big_endian: bool) -> bool {
    Options { rest: bytes, big_endian }
        .any(|(code, value)| code == SHB_USERAPPL && value.starts_with(OUR_APPLICATION.as_bytes()))
}

/// `isb_ifdrop` and `isb_osdrop` among the options of a statistics block.
pub(super) fn statistics(bytes: &[u8], big_endian: bool) -> (Option<u64>, Option<u64>) {
    let mut drops = (None, None);
    for (code, value) in (Options { rest: bytes, big_endian }) {
        match code {
            ISB_IFDROP => drops.0 = to_u64(value, big_endian),
            ISB_OSDROP => drops.1 = to_u64(value, big_endian),
            _ => {}
        }
    }
    drops
}

/// `epb_dropcount` among the options of an enhanced packet block.
pub(super) fn lost_before_packet(bytes: &[u8], big_endian: bool) -> Option<u64> {
    Options { rest: bytes, big_endian }
        .find_map(|(code, value)| (code == EPB_DROPCOUNT).then(|| to_u64(value, big_endian))?)
}

/// Turns the ticks of an interface into nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resolution {
    unit: Unit,
    offset_ns: i128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// A tick is this many nanoseconds.
    Multiply(u64),
    /// This many ticks are a nanosecond.
    Divide(u128),
    /// 2 to this power ticks are a second.
    Binary(u32),
}

impl Resolution {
    /// From `if_tsresol` and `if_tsoffset`.
    pub(super) fn new(tsresol: u8, tsoffset_s: i64) -> Self {
        let exponent = u32::from(tsresol & 0x7f);
        let unit = if tsresol & 0x80 != 0 {
            Unit::Binary(exponent)
        } else if exponent <= 9 {
            Unit::Multiply(10_u64.pow(9 - exponent))
        } else {
            // Beyond 10^38 a u64 of ticks is 0 ns, as with the largest divisor.
            Unit::Divide(10_u128.checked_pow(exponent - 9).unwrap_or(u128::MAX))
        };
        Self { unit, offset_ns: i128::from(tsoffset_s) * 1_000_000_000 }
    }

    /// `None` outside 1970 to 2262.
    #[inline]
    pub(super) fn to_ns(self, ticks: u64) -> Option<i64> {
        if let (Unit::Multiply(unit_ns), 0) = (self.unit, self.offset_ns) {
            return i64::try_from(ticks.checked_mul(unit_ns)?).ok();
        }
        let ticks = u128::from(ticks);
        let ns = match self.unit {
            Unit::Multiply(unit_ns) => ticks * u128::from(unit_ns),
            Unit::Divide(ticks_a_ns) => ticks / ticks_a_ns,
            // At most 2^64 * 10^9, far below 2^128; shifts over 127 give 0.
            Unit::Binary(power) => (ticks * 1_000_000_000).checked_shr(power).unwrap_or(0),
        };
        let ns = i128::try_from(ns).ok()?.checked_add(self.offset_ns)?;
        i64::try_from(ns).ok().filter(|&ns| ns >= 0)
    }
}

impl Resolution {
    /// The last tick that is not after the time; `None` where there is none.
    pub(super) fn ticks(self, time_ns: i64) -> Option<u64> {
        let ns = u128::try_from(i128::from(time_ns).checked_sub(self.offset_ns)?).ok()?;
        let ticks = match self.unit {
            Unit::Multiply(unit_ns) => ns / u128::from(unit_ns),
            Unit::Divide(ticks_a_ns) => ns.checked_mul(ticks_a_ns)?,
            Unit::Binary(power) => {
                let scale = 1_u128.checked_shl(power)?;
                // The last tick whose whole nanosecond is not after the time.
                ((ns + 1).checked_mul(scale)? - 1) / 1_000_000_000
            }
        };
        u64::try_from(ticks).ok()
    }
}

/// Code and value of each option; stops at the first that makes no sense.
struct Options<'a> {
    rest: &'a [u8],
    big_endian: bool,
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let field = |at: usize| {
            let bytes = *self.rest.get(at..)?.first_chunk::<2>()?;
            Some(if self.big_endian {
                u16::from_be_bytes(bytes)
            } else {
                u16::from_le_bytes(bytes)
            })
        };
        let (code, length) = (field(0)?, usize::from(field(2)?));
        if code == END {
            return None;
        }
        let value = self.rest.get(4..4 + length)?;
        self.rest = self.rest.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    }
}

fn to_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

fn to_u64(bytes: &[u8], big_endian: bool) -> Option<u64> {
    let bytes = <[u8; 8]>::try_from(bytes).ok()?;
    Some(if big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimal_and_binary_resolutions_agree_with_their_definition() {
        for (tsresol, offset_s, ticks, expected) in [
            (6, 0, 1_700_000_000_123_456, Some(1_700_000_000_123_456_000)),
            (9, 0, 1_700_000_000_123_456_789, Some(1_700_000_000_123_456_789)),
            (0, 0, 1_700_000_000, Some(1_700_000_000_000_000_000)),
            (12, 0, 1_000_000_000_001, Some(1_000_000_000)),
            (0x80 | 10, 0, 1_024 * 5 + 512, Some(5_500_000_000)),
            (0x80 | 32, 0, (7 << 32) + (1 << 31), Some(7_500_000_000)),
            (6, 1_700_000_000, 5_000_000, Some(1_700_000_005_000_000_000)),
            (6, -10, 5_000_000, None),
            (127, 0, u64::MAX, Some(0)),
            (0xff, 0, u64::MAX, Some(0)),
            (0, 0, u64::MAX, None),
            (9, i64::MAX, 0, None),
            (9, i64::MIN, 0, None),
        ] {
            let resolution = Resolution::new(tsresol, offset_s);
            assert_eq!(resolution.to_ns(ticks), expected, "tsresol {tsresol}, offset {offset_s}");
        }
    }

    proptest! {
        #[test]
        fn options_of_arbitrary_bytes_end(bytes: Vec<u8>, big_endian: bool) {
            let count = Options { rest: &bytes, big_endian }.count();
            prop_assert!(count <= bytes.len() / 4);
            let _ = InterfaceOptions::read(&bytes, big_endian);
            let _ = statistics(&bytes, big_endian);
            let _ = lost_before_packet(&bytes, big_endian);
        }

        /// It is not after the time, and the next one that is another time is.
        #[test]
        fn ticks_are_the_last_that_are_not_after_the_time(
            tsresol in prop_oneof![0_u8..=12, 0x80_u8..=0xa0],
            offset in -1_000_i64..2_000_000_000,
            time_ns in 2_000_000_000_000_000_000_i64..3_000_000_000_000_000_000,
        ) {
            let resolution = Resolution::new(tsresol, offset);
            if let Some(ticks) = resolution.ticks(time_ns) {
                prop_assert!(resolution.to_ns(ticks).unwrap() <= time_ns);
                let next = ticks + if tsresol & 0x80 == 0 { 10_u64.pow(u32::from(tsresol).saturating_sub(9)) } else { 1 };
                prop_assert!(resolution.to_ns(next).unwrap() > time_ns);
            }
        }

        #[test]
        fn any_resolution_gives_a_time_in_range_or_none(tsresol: u8, offset: i64, ticks: u64) {
            if let Some(ns) = Resolution::new(tsresol, offset).to_ns(ticks) {
                prop_assert!(ns >= 0);
            }
        }
    }
}
