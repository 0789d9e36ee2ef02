//! What the data of an echo look like: those of the ping programs (measured, FORMATS.md
//! section 2), or something else.

/// How a ping program fills its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Template {
    /// No data: hping3, nping.
    Empty,
    /// Each byte is its offset, behind a time stamp of 16 bytes (iputils), of 8 (macOS,
    /// old Linux), or none (iputils `-s` below 16).
    Ramp,
    /// The alphabet up to `w`, again and again: Windows.
    Alphabet,
    /// One pattern of up to 16 bytes again and again, behind a time stamp or none: zeros
    /// (fping, busybox), `-p`, hping3.
    Pattern,
    Other,
}

pub(super) const TEMPLATES: usize = 5;

/// Bytes that a time stamp may take; 0 for none.
const STAMPS: [usize; 4] = [0, LONGEST_STAMP, 8, 4];
const LONGEST_STAMP: usize = 16;
/// Longest pattern that ping programs take (`ping -p`).
const LONGEST_PATTERN: usize = 16;
/// Fewer bytes behind what may be a stamp say nothing.
const LEAST_BEHIND_STAMP: usize = 8;

impl Template {
    pub fn of(data: &[u8]) -> Self {
        if data.is_empty() {
            return Self::Empty;
        }
        if STAMPS.iter().any(|&stamp| is_ramp(data, stamp)) {
            return Self::Ramp;
        }
        if data.iter().enumerate().all(|(at, &byte)| byte == b'a' + (at % 23) as u8) {
            return Self::Alphabet;
        }
        if may_not_repeat(data) {
            return Self::Other;
        }
        let is_filled = |&stamp: &usize| {
            let behind = data.get(stamp..).unwrap_or_default();
            is_pattern(behind) && (stamp == 0 || behind.len() >= LEAST_BEHIND_STAMP)
        };
        if STAMPS.iter().any(is_filled) {
            return Self::Pattern;
        }
        Self::Other
    }
}

/// What repeats from a place on does so from any later one: most data are told by their
/// end alone.
fn may_not_repeat(data: &[u8]) -> bool {
    let behind_all = data.get(LONGEST_STAMP..).unwrap_or_default();
    behind_all.len() >= 2 * LONGEST_PATTERN && !is_pattern(behind_all)
}

/// Needs a byte behind the stamp, unless all of it is the stamp.
fn is_ramp(data: &[u8], stamp: usize) -> bool {
    data.len() >= stamp && data.iter().enumerate().skip(stamp).all(|(at, &byte)| byte == at as u8)
}

/// Twice at least, or of one byte.
fn is_pattern(data: &[u8]) -> bool {
    let repeats = |period: usize| data.get(period..) == data.get(..data.len() - period);
    (1..=LONGEST_PATTERN.min(data.len() / 2)).any(repeats) || data.len() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(stamp: usize, fill: impl Fn(usize) -> u8, len: usize) -> Vec<u8> {
        (0..len)
            .map(|at| if at < stamp { 0x93 ^ (at as u8).wrapping_mul(71) } else { fill(at) })
            .collect()
    }

    #[test]
    fn what_ping_programs_send_has_a_name() {
        let ramp = |at: usize| at as u8;
        for (stamp, len) in [(16, 56), (16, 1_400), (8, 56), (0, 15), (16, 16), (4, 56)] {
            assert_eq!(Template::of(&stamped(stamp, ramp, len)), Template::Ramp, "{stamp} {len}");
        }
        let windows = b"abcdefghijklmnopqrstuvwabcdefghi";
        assert_eq!(Template::of(windows), Template::Alphabet);
        assert_eq!(Template::of(&[0; 56]), Template::Pattern, "fping");
        assert_eq!(Template::of(&stamped(4, |_| 0, 56)), Template::Pattern, "busybox");
        let dead_beef = |at: usize| [0xde, 0xad, 0xbe, 0xef][at % 4];
        assert_eq!(Template::of(&stamped(16, dead_beef, 64)), Template::Pattern, "ping -p");
        assert_eq!(Template::of(&[b'X'; 100]), Template::Pattern, "hping3");
        assert_eq!(Template::of(&[]), Template::Empty);
    }

    #[test]
    fn each_pattern_is_known_behind_each_stamp_and_one_byte_of_it_changed_is_not() {
        for period in 1..=LONGEST_PATTERN {
            for stamp in STAMPS {
                for len in [stamp + 2 * period.max(9), 64, 120] {
                    // No shorter period, and none that the stamp goes on with.
                    let mut data = stamped(stamp, |at| (at % period * 13 + 100) as u8, len);
                    assert_eq!(Template::of(&data), Template::Pattern, "{period} {stamp} {len}");
                    data[len - 1] ^= 0xff;
                    assert_eq!(Template::of(&data), Template::Other, "{period} {stamp} {len}");
                }
            }
        }
    }

    #[test]
    fn data_have_none() {
        assert_eq!(Template::of(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"), Template::Other);
        let packet = [0x45, 0, 0, 52, 0x1c, 0x46, 0x40, 0, 64, 6, 0xb1, 0xe6, 10, 0, 0, 1, 10, 0];
        assert_eq!(Template::of(&packet), Template::Other);
        assert_eq!(Template::of(&stamped(256, |_| 0, 120)), Template::Other);
    }
}
