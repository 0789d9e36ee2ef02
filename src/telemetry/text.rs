//! Fields of log lines to values.

use std::net::{IpAddr, Ipv4Addr};

/// A number in decimal digits, nothing else; `None` where it does not fit.
pub fn number<T: TryFrom<u64>>(field: &[u8]) -> Option<T> {
    if field.is_empty() {
        return None;
    }
    let mut number = 0_u64;
    for &byte in field {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    T::try_from(number).ok()
}

/// An address; IPv4 in IPv6's form becomes IPv4, as packets have it. A zone
/// (`%eth0`) is left out.
pub fn address(field: &[u8]) -> Option<IpAddr> {
    if let Some(address) = ipv4(field) {
        return Some(IpAddr::V4(address));
    }
    let text = std::str::from_utf8(field).ok()?;
    let text = text.split_once('%').map_or(text, |(address, _)| address);
    Some(text.parse::<IpAddr>().ok()?.to_canonical())
}

/// Four numbers with points between; what most logs have is read in one pass.
fn ipv4(field: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let (mut octet, mut digits) = (0_u16, 0);
    let mut before = 0;
    for &byte in field {
        match byte {
            // Some read a number that begins with 0 as an octal one.
            b'0'..=b'9' if digits == 0 || octet != 0 => {
                octet = octet * 10 + u16::from(byte - b'0');
                digits += 1;
                if octet > 255 {
                    return None;
                }
            }
            b'.' if digits > 0 && before < 3 => {
                octets[before] = octet as u8;
                before += 1;
                (octet, digits) = (0, 0);
            }
            _ => return None,
        }
    }
    octets[3] = octet as u8;
    (before == 3 && digits > 0).then(|| octets.into())
}

/// `192.0.2.1:443`, `[2001:db8::1]:443`, and IPv6 without brackets with the port
/// behind the last colon.
pub fn address_and_port(field: &[u8]) -> Option<(IpAddr, u16)> {
    let colon = field.iter().rposition(|&byte| byte == b':')?;
    let (host, port) = (&field[..colon], &field[colon + 1..]);
    let host = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    Some((address(host)?, number(port)?))
}

/// RFC 3339, with `Z` or an offset, or ISO 8601 without one (then UTC), to
/// nanoseconds since the epoch.
pub fn rfc3339_ns(field: &[u8]) -> Option<i64> {
    usual_rfc3339_ns(field).or_else(|| {
        let text = std::str::from_utf8(field).ok()?;
        let time = text.parse::<jiff::Timestamp>().ok().or_else(|| {
            let civil: jiff::civil::DateTime = text.parse().ok()?;
            civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|time| time.timestamp())
        })?;
        i64::try_from(time.as_nanosecond()).ok()
    })
}

/// The shape that logs have, `2026-03-01T10:15:02.114903Z`, ten times as fast as a
/// parser of all that the standards allow.
fn usual_rfc3339_ns(field: &[u8]) -> Option<i64> {
    let (civil, rest) = field.split_first_chunk::<19>()?;
    let &[_, _, _, _, b'-', _, _, b'-', _, _, b'T', _, _, b':', _, _, b':', _, _] = civil else {
        return None;
    };
    let century = two_digits(civil, 0)?;
    let s = epoch_s(
        century * 100 + two_digits(civil, 2)?,
        two_digits(civil, 5)?,
        two_digits(civil, 8)?,
        [two_digits(civil, 11)?, two_digits(civil, 14)?, two_digits(civil, 17)?],
    )?;
    let (fraction_ns, zone) = fraction_ns(rest)?;
    let offset_s = match zone {
        b"" | b"Z" => 0,
        zone => zone_s(zone)?,
    };
    s.checked_sub(offset_s)?.checked_mul(NS_PER_S)?.checked_add(fraction_ns)
}

/// The common log format's time, `01/Mar/2026:10:15:02 +0000`, with or without a
/// fraction of the second and the offset (without it UTC), to nanoseconds since the
/// epoch.
pub fn clf_ns(field: &[u8]) -> Option<i64> {
    let (civil, rest) = field.split_first_chunk::<20>()?;
    let &[_, _, b'/', a, b, c, b'/', _, _, _, _, b':', _, _, b':', _, _, b':', _, _] = civil else {
        return None;
    };
    let month = MONTHS.iter().position(|month| month.as_bytes() == [a, b, c])? + 1;
    let century = two_digits(civil, 7)?;
    let s = epoch_s(
        century * 100 + two_digits(civil, 9)?,
        month as i64,
        two_digits(civil, 0)?,
        // A leap second, which has no place in the count, is the one before it.
        [two_digits(civil, 12)?, two_digits(civil, 15)?, two_digits(civil, 18)?.min(59)],
    )?;
    let (fraction_ns, zone) = fraction_ns(rest)?;
    let offset_s = match zone {
        b"" => 0,
        zone => zone_s(zone.strip_prefix(b" ")?)?,
    };
    s.checked_sub(offset_s)?.checked_mul(NS_PER_S)?.checked_add(fraction_ns)
}

const NS_PER_S: i64 = 1_000_000_000;

/// Months as logs in English have them.
pub const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn two_digits(field: &[u8], at: usize) -> Option<i64> {
    match *field.get(at..at + 2)? {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
        }
        _ => None,
    }
}

/// Seconds since the epoch of a date and a time of day in UTC, from year 1.
fn epoch_s(year: i64, month: i64, day: i64, [hour, minute, second]: [i64; 3]) -> Option<i64> {
    const DAYS_BEFORE: [i64; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];
    /// Days from 1 January of year 1 to that of 1970.
    const DAYS_TO_EPOCH: i64 = 719_162;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let index = usize::try_from(month).ok()?.checked_sub(1)?;
    let (before, after) = (*DAYS_BEFORE.get(index)?, *DAYS_BEFORE.get(index + 1)?);
    let length = after - before + i64::from(leap && month == 2);
    if year < 1 || day < 1 || day > length || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let past = year - 1;
    let days = past * 365 + past / 4 - past / 100 + past / 400 - DAYS_TO_EPOCH
        + before
        + i64::from(leap && month > 2)
        + (day - 1);
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// `.114903` at the start of `rest` as nanoseconds, none being zero, and what follows.
fn fraction_ns(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let n = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if n == 0 || n > 9 {
        return None;
    }
    let (digits, rest) = digits.split_at(n);
    let ns = digits.iter().fold(0, |ns, digit| ns * 10 + i64::from(digit - b'0'));
    Some((ns * 10_i64.pow(9 - n as u32), rest))
}

/// `+01:00` or `+0100` in seconds.
fn zone_s(zone: &[u8]) -> Option<i64> {
    let sign = match zone.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let minutes_at = match (zone.len(), zone.get(3)) {
        (6, Some(b':')) => 4,
        (5, _) => 3,
        _ => return None,
    };
    let (hours, minutes) = (two_digits(zone, 1)?, two_digits(zone, minutes_at)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes) * 60)
}

/// Seconds since the epoch with up to nine digits after the point.
pub fn epoch_s_ns(field: &[u8]) -> Option<i64> {
    let point = field.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&field[..at], &field[at + 1..]),
        None => (field, &b""[..]),
    };
    let mut ns = number::<i64>(whole)?.checked_mul(1_000_000_000)?;
    let mut unit = 100_000_000;
    for &digit in fraction {
        if !digit.is_ascii_digit() {
            return None;
        }
        ns = ns.checked_add(i64::from(digit - b'0') * unit)?;
        unit /= 10;
    }
    Some(ns)
}

/// A path or URL with `%XX` decoded, again where that leaves more of them (attackers
/// encode twice), at most twice. `None` where nothing changes. What is no UTF-8 then
/// becomes U+FFFD.
pub fn decoded_uri(uri: &str) -> Option<Box<str>> {
    const ROUNDS: usize = 2;
    memchr::memchr(b'%', uri.as_bytes())?;
    let mut bytes = uri.as_bytes().to_vec();
    let mut changed = false;
    for _ in 0..ROUNDS {
        let Some(decoded) = percent_decoded(&bytes) else { break };
        bytes = decoded;
        changed = true;
    }
    changed.then(|| String::from_utf8_lossy(&bytes).into())
}

fn percent_decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let escape = |at: usize| {
        let [b'%', high, low] = *bytes.get(at..at + 3)? else { return None };
        Some(digit(high)? << 4 | digit(low)?)
    };
    let first = (0..bytes.len()).find(|&at| escape(at).is_some())?;
    let mut decoded = bytes[..first].to_vec();
    let mut at = first;
    while at < bytes.len() {
        match escape(at) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::{Offset, TimeZone};
    use proptest::prelude::*;

    use super::*;

    fn ns(time: Timestamp) -> i64 {
        i64::try_from(time.as_nanosecond()).unwrap()
    }

    proptest! {
        #[test]
        fn numbers_are_those_of_the_standard_library(
            text in "[0-9]{0,22}|[0-9]{1,5}|[+-]?[0-9]{1,3}|0{0,30}[0-9]{1,3}|[0-9a :]{0,6}", number_of: u64,
        ) {
            let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let text_of = |plain: bool| if plain { text.as_str() } else { "none" };
            let plain = text_of(is_plain);
            prop_assert_eq!(number(text.as_bytes()), plain.parse::<u64>().ok());
            prop_assert_eq!(number(text.as_bytes()), plain.parse::<i64>().ok());
            prop_assert_eq!(number(text.as_bytes()), plain.parse::<u16>().ok());
            prop_assert_eq!(number(text.as_bytes()), plain.parse::<u8>().ok());
            prop_assert_eq!(number(number_of.to_string().as_bytes()), Some(number_of));
        }

        #[test]
        fn addresses_are_those_of_the_standard_library(
            text in "[0-9]{1,4}(\\.[0-9]{0,4}){2,4}|[0-9.:a-f]{0,20}", bytes: [u8; 4],
        ) {
            let standard = text.parse::<IpAddr>().ok().map(|address| address.to_canonical());
            prop_assert_eq!(address(text.as_bytes()), standard);
            let of_any = IpAddr::from(bytes);
            prop_assert_eq!(address(of_any.to_string().as_bytes()), Some(of_any));
        }
    }

    #[test]
    fn times_that_are_none_have_no_value() {
        for text in [
            "",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-03-00T00:00:00Z",
            "2026-03-01T24:00:00Z",
            "2026-03-01T10:60:00Z",
            "2026-03-01T10:15:02.Z",
            "2026-03-01T10:15:02.1234567890Z",
            "2026-03-01T10:15:02+1",
            "9999-03-01T10:15:02Z",
            "2026-03-01T10:15:02Z trailing",
        ] {
            assert_eq!(rfc3339_ns(text.as_bytes()), None, "{text}");
        }
        for text in [
            "",
            "01/Mar/2026",
            "29/Feb/2026:00:00:00 +0000",
            "01/mar/2026:10:15:02 +0000",
            "01/Mar/2026:10:15:02+0000",
            "01/Mar/2026:10:15:02 Z",
            "01/Mar/2026:10:15:02 +0000 ",
            "01/Mar/9999:10:15:02 +0000",
        ] {
            assert_eq!(clf_ns(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_leap_second_is_the_one_before_it() {
        let before = rfc3339_ns(b"2016-12-31T23:59:59Z");
        assert!(before.is_some());
        assert_eq!(rfc3339_ns(b"2016-12-31T23:59:60Z"), before);
        assert_eq!(clf_ns(b"31/Dec/2016:23:59:60 +0000"), before);
    }

    #[test]
    fn a_uri_that_was_encoded_twice_is_decoded_twice() {
        assert_eq!(decoded_uri("/a?b=%252e%252E/").as_deref(), Some("/a?b=../"));
        assert_eq!(decoded_uri("/100%/%zz"), None);
        assert_eq!(decoded_uri("/%ff").as_deref(), Some("/\u{fffd}"));
    }

    proptest! {
        #[test]
        fn the_fast_forms_are_those_of_the_general_parser(
            second in -9_223_372_036_i64..=9_223_372_035, nanosecond in 0_i32..1_000_000_000,
            offset_minutes in -1439_i32..=1439, digits in 0_usize..=9,
        ) {
            let unit = 10_i32.pow(9 - digits as u32);
            let time = Timestamp::new(second, nanosecond / unit * unit).unwrap();
            prop_assume!(i64::try_from(time.as_nanosecond()).is_ok());
            let zone = TimeZone::fixed(Offset::from_seconds(offset_minutes * 60).unwrap());
            let zoned = time.to_zoned(zone);
            let civil = zoned.datetime();
            let fraction = match digits {
                0 => String::new(),
                _ => format!(".{:0digits$}", civil.subsec_nanosecond() / unit),
            };
            let sign = if offset_minutes < 0 { '-' } else { '+' };
            let (hours, minutes) = (offset_minutes.abs() / 60, offset_minutes.abs() % 60);
            let day = civil.strftime("%Y-%m-%dT%H:%M:%S");
            for text in [
                format!("{day}{fraction}{sign}{hours:02}:{minutes:02}"),
                format!("{day}{fraction}{sign}{hours:02}{minutes:02}"),
            ] {
                prop_assert_eq!(usual_rfc3339_ns(text.as_bytes()), Some(ns(time)), "{}", text);
                prop_assert_eq!(text.parse::<Timestamp>().unwrap(), time);
            }
            let day = civil.strftime("%d/%b/%Y:%H:%M:%S");
            let text = format!("{day}{fraction} {sign}{hours:02}{minutes:02}");
            prop_assert_eq!(clf_ns(text.as_bytes()), Some(ns(time)), "{}", text);
            let utc = time.to_zoned(TimeZone::UTC).datetime();
            for zone in ["Z", ""] {
                let text = format!("{}{fraction}{zone}", utc.strftime("%Y-%m-%dT%H:%M:%S"));
                prop_assert_eq!(usual_rfc3339_ns(text.as_bytes()), Some(ns(time)), "{}", text);
            }
            let text = format!("{}{fraction}", utc.strftime("%d/%b/%Y:%H:%M:%S"));
            prop_assert_eq!(clf_ns(text.as_bytes()), Some(ns(time)), "{}", text);
        }

        /// What looks like a time is one for both or for neither.
        #[test]
        fn the_fast_form_takes_no_time_that_the_general_parser_refuses(
            text in "[0-2][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,10})?(Z|[+-][0-2][0-9]:?[0-6][0-9])",
        ) {
            if let Some(fast) = usual_rfc3339_ns(text.as_bytes()) {
                prop_assert_eq!(text.parse::<Timestamp>().map(ns).ok(), Some(fast));
            }
        }
    }
}
