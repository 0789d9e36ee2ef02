//! Nanoseconds since the epoch to text, without an allocation.
//!
//! A record has two or three time stamps and files have millions of records,
//! so this is done by hand; the tests hold it against jiff.

use std::io::Write as _;

const NS_PER_S: i64 = 1_000_000_000;
const S_PER_DAY: i64 = 86_400;

/// Length of [`rfc3339`]'s text.
pub(crate) const RFC3339_BYTES: usize = 30;

/// RFC 3339 in UTC with nine digits and `Z`: `2026-11-21T09:30:00.000000001Z`.
/// Every `i64` is within the years 1677 to 2262.
pub fn rfc3339(ns: i64) -> String {
    String::from_utf8_lossy(&rfc3339_bytes(ns)).into_owned()
}

/// The same text as ASCII bytes. Records have two or three of them, so numbers are 32 bits
/// wide as early as they fit: those divide in a fraction of the time.
pub(crate) fn rfc3339_bytes(ns: i64) -> [u8; RFC3339_BYTES] {
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    let (second, fraction) = (ns.div_euclid(NS_PER_S), ns.rem_euclid(NS_PER_S) as u32);
    let (days, clock) = (second.div_euclid(S_PER_DAY), second.rem_euclid(S_PER_DAY) as u32);
    let (year, month, day) = civil(days as i32);
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], clock / 3600);
    digits(&mut text[14..16], clock / 60 % 60);
    digits(&mut text[17..19], clock % 60);
    digits(&mut text[20..29], fraction);
    text
}

/// Suricata's form: microseconds and a numeric offset.
pub(crate) fn suricata(ns: i64) -> [u8; 31] {
    let full = rfc3339_bytes(ns);
    let mut text = *b"0000-00-00T00:00:00.000000+0000";
    text[..26].copy_from_slice(&full[..26]);
    text
}

/// Zeek's form of a point in time: seconds with six digits.
pub(crate) fn push_epoch_s(out: &mut Vec<u8>, ns: i64) {
    let us = ns.div_euclid(1000);
    let sign = if us < 0 { "-" } else { "" };
    let us = us.unsigned_abs();
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{sign}{}.{:06}", us / 1_000_000, us % 1_000_000);
}

/// Year, month and day of a day since 1970-01-01 in the proleptic Gregorian
/// calendar, from the year 0 on. Years start in March here, so that the leap day comes last.
fn civil(days: i32) -> (u32, u32, u32) {
    let days = (days + 719_468) as u32; // since 0000-03-01
    let era = days / 146_097; // 400 years
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153; // 0 is March
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, year_shift) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + year_shift, month, day)
}

/// `00` to `99`: two digits for one division.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < pairs.len() {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

#[inline(always)]
fn digits(text: &mut [u8], mut value: u32) {
    let mut pairs = text.rchunks_exact_mut(2);
    for pair in &mut pairs {
        pair.copy_from_slice(&PAIRS[(value % 100) as usize]);
        value /= 100;
    }
    if let [first] = pairs.into_remainder() {
        *first = b'0' + (value % 10) as u8;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_points_in_time() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(rfc3339(951_782_400_000_000_007), "2000-02-29T00:00:00.000000007Z");
        assert_eq!(&suricata(951_782_400_123_456_789), b"2000-02-29T00:00:00.123456+0000");
        let mut epoch = Vec::new();
        push_epoch_s(&mut epoch, 1_491_604_477_251_547_999);
        assert_eq!(epoch, b"1491604477.251547");
    }

    proptest! {
        #[test]
        fn jiff_agrees_on_every_nanosecond(ns: i64) {
            let stamp = jiff::Timestamp::from_nanosecond(i128::from(ns)).expect("in range");
            prop_assert_eq!(rfc3339(ns), format!("{stamp:.9}"));
        }

        #[test]
        fn texts_sort_as_times_do(a: i64, b: i64) {
            prop_assert_eq!(rfc3339(a).cmp(&rfc3339(b)), a.cmp(&b));
        }
    }
}
