//! Values that several options share.

use std::net::IpAddr;

use ipnet::IpNet;

/// A time: `300s`, `5m`, `1h`, `7d`, `250ms`, plain seconds, or `never`.
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
            "d" => 86_400_000_000_000,
            other => return Err(format!("unknown unit '{other}': use ms, s, m, h, d or 'never'")),
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

/// A prefix; an address alone is one of itself.
pub(crate) fn prefix(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| address())
        .map_err(|_| format!("'{text}' is no prefix: try 10.0.0.0/8 or fd00::/8"))
}

/// An amount of bytes: `64MiB`, `10GB`, plain bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

impl std::str::FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "" | "B" => 1,
            "kB" | "KB" => 1000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            other => {
                return Err(format!("unknown unit '{other}': use KiB, MiB, GiB, TiB or kB to TB"));
            }
        };
        let count: u64 =
            digits.parse().map_err(|_| format!("'{text}' is no size: try 512MiB or 10GiB"))?;
        let bytes = count.checked_mul(unit).filter(|&bytes| bytes > 0);
        bytes.map(Self).ok_or_else(|| format!("'{text}' is out of range"))
    }
}

/// An address to listen at, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listen(pub(crate) Option<std::net::SocketAddr>);

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let address = text.parse();
        address
            .map(|address| Self(Some(address)))
            .map_err(|_| format!("'{text}' is no address with a port: try 127.0.0.1:9184, or none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_units() {
        let bytes = |text: &str| text.parse::<Bytes>().map(|bytes| bytes.0);
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("10GiB"), Ok(10 << 30));
        assert_eq!(bytes("10GB"), Ok(10_000_000_000));
        for bad in ["", "0", "-1", "10G", "GiB", "99999999999999999999", "20000000TiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn timeouts_are_read_with_units() {
        let ns = |text: &str| text.parse::<TimeoutNs>().map(|timeout| timeout.0);
        assert_eq!(ns("300"), Ok(Some(300_000_000_000)));
        assert_eq!(ns("250ms"), Ok(Some(250_000_000)));
        assert_eq!(ns("5m"), Ok(Some(300_000_000_000)));
        assert_eq!(ns("never"), Ok(None));
        for bad in ["", "0", "-5s", "5w", "1e3", "99999999999999999999"] {
            assert!(ns(bad).is_err(), "{bad}");
        }
    }
}
