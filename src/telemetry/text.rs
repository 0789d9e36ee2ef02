//! Fields of log lines to values.

use std::net::IpAddr;
use std::str::FromStr;

/// A number in decimal digits, nothing else; `None` where it does not fit.
pub fn number<T: FromStr>(field: &[u8]) -> Option<T> {
    if field.is_empty() || !field.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// An address; IPv4 in IPv6's form becomes IPv4, as packets have it. A zone
/// (`%eth0`) is left out.
pub fn address(field: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(field).ok()?;
    let text = text.split_once('%').map_or(text, |(address, _)| address);
    Some(text.parse::<IpAddr>().ok()?.to_canonical())
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
    let text = std::str::from_utf8(field).ok()?;
    let time = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|time| time.timestamp())
    })?;
    i64::try_from(time.as_nanosecond()).ok()
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
