//! Times as programs of a Mac print them.

use crate::telemetry::text::number;

const NS_PER_S: i64 = 1_000_000_000;
const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// A line that says when what follows was recorded: what `date -u`, `date +%s`, or
/// `date` with a format of ISO 8601 prints. A time in a zone that has a name alone
/// is none.
pub(super) fn date_line(line: &[u8]) -> Option<i64> {
    let line = line.trim_ascii();
    if (9..=11).contains(&line.len())
        && let Some(s) = number::<i64>(line)
    {
        return s.checked_mul(NS_PER_S);
    }
    if line.first().is_some_and(u8::is_ascii_digit) {
        return zoned_ns(line);
    }
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let first = [fields.next()?, fields.next()?, fields.next()?, fields.next()?];
    let [zone, year] = [fields.next()?, fields.next()?];
    if !matches!(zone, b"UTC" | b"GMT") || fields.next().is_some() {
        return None;
    }
    civil_s(&[first[0], first[1], first[2], first[3], year])?.checked_mul(NS_PER_S)
}

/// ISO 8601 with an offset, with a space or a `T` in between:
/// `2026-03-01 10:15:02.114903+0000`.
pub(super) fn zoned_ns(text: &[u8]) -> Option<i64> {
    // What is no time is not worth a parser's error message.
    if text.len() < 20 || text.len() > 40 || text.get(4) != Some(&b'-') {
        return None;
    }
    let time: jiff::Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

/// `Sun Mar  1 10:15:02 2026`, and with the day before the month, in five fields, as
/// seconds since the epoch if it were UTC.
pub(super) fn civil_s(fields: &[&[u8]; 5]) -> Option<i64> {
    let [_, month, day, clock, year] = *fields;
    let (month, day) = match number::<i8>(day) {
        Some(day) => (month, day),
        None => (day, number(month)?),
    };
    let month = i8::try_from(MONTHS.iter().position(|name| *name == month)? + 1).ok()?;
    let clock = clock_ns(clock)?;
    if clock % NS_PER_S != 0 {
        return None;
    }
    let date = jiff::civil::Date::new(number(year)?, month, day).ok()?;
    let days = date.since(jiff::civil::date(1970, 1, 1)).ok()?.get_days();
    Some(i64::from(days) * 86_400 + clock / NS_PER_S)
}

/// `10:15:02.114903` as nanoseconds since midnight.
pub(super) fn clock_ns(text: &[u8]) -> Option<i64> {
    let mut parts = text.splitn(3, |&byte| byte == b':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    let two_digits = |field: &[u8], below: i64| {
        number::<i64>(field).filter(|&value| field.len() == 2 && value < below)
    };
    let second_ns = crate::telemetry::text::epoch_s_ns(second)?;
    if second_ns >= 61 * NS_PER_S {
        return None;
    }
    Some((two_digits(hour, 24)? * 3600 + two_digits(minute, 60)? * 60) * NS_PER_S + second_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-01T10:15:02Z.
    const S: i64 = 1_772_360_102;

    #[test]
    fn lines_of_date_are_times() {
        for line in [
            "2026-03-01T10:15:02Z",
            "2026-03-01T11:15:02+0100",
            "2026-03-01 05:15:02-05:00",
            "1772360102",
            "Sun Mar  1 10:15:02 UTC 2026",
            "Sun  1 Mar 10:15:02 GMT 2026\r",
        ] {
            assert_eq!(date_line(line.as_bytes()), Some(S * NS_PER_S), "{line}");
        }
        for line in [
            "2026-03-01T10:15:02",
            "Sun Mar  1 10:15:02 CET 2026",
            "Sun Mar  1 10:15:02 UTC 2026 x",
            "Sun Mar 32 10:15:02 UTC 2026",
            "501",
            "alice",
            "",
        ] {
            assert_eq!(date_line(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_civil_time_is_read_in_both_orders() {
        let fields = |text: &'static str| {
            let fields: Vec<_> = text.split(' ').map(str::as_bytes).collect();
            civil_s(&fields.try_into().expect("five fields"))
        };
        assert_eq!(fields("Sun Mar 1 10:15:02 2026"), Some(S));
        assert_eq!(fields("So. 1 Mar 10:15:02 2026"), Some(S));
        assert_eq!(fields("Sun Mar 1 24:15:02 2026"), None);
        assert_eq!(fields("Sun Feb 29 10:15:02 2026"), None);
        assert_eq!(fields("Sun Mar 1 10:15:02 99999999"), None);
    }

    #[test]
    fn the_clock_has_two_digits_a_part() {
        assert_eq!(clock_ns(b"10:15:02.114903"), Some(36_902_114_903_000));
        assert_eq!(clock_ns(b"1:15:02"), None);
        assert_eq!(clock_ns(b"10:60:02"), None);
        assert_eq!(clock_ns(b"10:15"), None);
    }
}
