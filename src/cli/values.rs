//! Values that several options share.

/// A time-out: `300s`, `5m`, `1h`, `250ms`, plain seconds, or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeoutNs(pub(crate) Option<i64>);

impl std::str::FromStr for TimeoutNs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self(None));
        }
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit_ns = match &text[digits.len()..] {
            "" | "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            other => return Err(format!("unknown unit '{other}': use ms, s, m, h or 'never'")),
        };
        let count: i64 = digits
            .parse()
            .map_err(|_| format!("'{text}' is no time-out: try 300s, 5m or never"))?;
        match count.checked_mul(unit_ns) {
            Some(ns) if ns > 0 => Ok(Self(Some(ns))),
            _ => Err(format!("'{text}' is out of range: use 1ms to 2000000h, or never")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_with_units() {
        let ns = |text: &str| text.parse::<TimeoutNs>().map(|timeout| timeout.0);
        assert_eq!(ns("300"), Ok(Some(300_000_000_000)));
        assert_eq!(ns("250ms"), Ok(Some(250_000_000)));
        assert_eq!(ns("5m"), Ok(Some(300_000_000_000)));
        assert_eq!(ns("never"), Ok(None));
        for bad in ["", "0", "-5s", "5d", "1e3", "99999999999999999999"] {
            assert!(ns(bad).is_err(), "{bad}");
        }
    }
}
