//! Time at the rim: `i64` nanoseconds UTC inside, RFC 3339 outside.

use jiff::Timestamp;

/// RFC 3339 with nine digits and `Z`.
pub fn rfc3339(time_ns: i64) -> String {
    // Every i64 of nanoseconds (1677 to 2262) is within jiff's range.
    Timestamp::from_nanosecond(i128::from(time_ns))
        .map_or_else(|_| time_ns.to_string(), |time| format!("{time:.9}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_nine_digits_and_z() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123456789Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(rfc3339(i64::MAX), "2262-04-11T23:47:16.854775807Z");
    }
}
