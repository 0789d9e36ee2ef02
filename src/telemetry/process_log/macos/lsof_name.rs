//! The ends of a socket as `lsof` and `nettop` write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::telemetry::decode::Bad;
use crate::telemetry::text::{address, number};

/// Absent and zero where the socket is open to any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// Unspecified, of the socket's version, where it is bound to none.
    pub(super) local: Option<IpAddr>,
    pub(super) local_port: u16,
    pub(super) remote: Option<IpAddr>,
    pub(super) remote_port: u16,
}

impl Ends {
    pub(super) fn open(ipv6: bool) -> Self {
        let any = if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        Self { local: Some(any), local_port: 0, remote: None, remote_port: 0 }
    }

    pub(super) fn of(
        ipv6: bool,
        local: (Option<IpAddr>, u16),
        remote: Option<(Option<IpAddr>, u16)>,
    ) -> Self {
        let (remote, remote_port) = remote.unwrap_or((None, 0));
        let open = Self::open(ipv6);
        Self { local: local.0.or(open.local), local_port: local.1, remote, remote_port }
    }
}

/// `192.0.2.7:22->198.51.100.9:51514`, `*:53`, `[2001:db8::1]:443`, `*:*`.
pub(super) fn ends(name: &[u8], ipv6: bool) -> Result<Ends, Bad> {
    let parsed = || {
        let arrow = name.windows(2).position(|pair| pair == b"->");
        let (local, remote) = match arrow {
            Some(at) => (&name[..at], Some(end(&name[at + 2..], b':')?)),
            None => (name, None),
        };
        Some(Ends::of(ipv6, end(local, b':')?, remote))
    };
    parsed().ok_or_else(|| Bad::value("names instead of numbers (lsof -n -P)", name))
}

/// An address and a port with `separator` in between, `*` where any.
pub(super) fn end(text: &[u8], separator: u8) -> Option<(Option<IpAddr>, u16)> {
    if text == b"*" {
        return Some((None, 0));
    }
    let at = text.iter().rposition(|&byte| byte == separator)?;
    let port = match &text[at + 1..] {
        b"*" => 0,
        port => number(port)?,
    };
    let host = &text[..at];
    let host = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    let host = match host {
        b"*" => None,
        host => Some(without_scope(address(host)?)),
    };
    Some((host.filter(|host| !host.is_unspecified()), port))
}

/// The kernel of macOS keeps the interface of a link-local address in its second
/// group, and programs print it there (`fe80:4::1`).
fn without_scope(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            let [first, _, rest @ ..] = v6.segments();
            let [a, b, c, d, e, f] = rest;
            Ipv6Addr::new(first, 0, a, b, c, d, e, f).into()
        }
        address => address,
    }
}

/// `00000000:0001->00000000:0000 st=07`: of a raw socket on Linux the protocol stands
/// in the port's place.
pub(super) fn raw_protocol(name: &[u8]) -> Result<u8, Bad> {
    let parsed = || {
        let local = name.split(|&byte| byte == b'-').next()?;
        let (_, port) = std::str::from_utf8(local).ok()?.split_once(':')?;
        u8::from_str_radix(port.trim_start_matches('0'), 16).ok()
    };
    parsed().ok_or_else(|| Bad::value("unknown protocol", name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_read_as_they_are_written() {
        let of = |name: &str, ipv6| ends(name.as_bytes(), ipv6).expect("ends");
        let ip = |text: &str| text.parse::<IpAddr>().ok();
        let both = of("192.0.2.7:22->198.51.100.9:51514", false);
        assert_eq!((both.local, both.local_port), (ip("192.0.2.7"), 22));
        assert_eq!((both.remote, both.remote_port), (ip("198.51.100.9"), 51514));
        let v6 = of("[2001:db8::1]:443->[2001:db8::2]:50000", true);
        assert_eq!((v6.local, v6.remote_port), (ip("2001:db8::1"), 50000));
        assert_eq!(of("[fe80:4::1]:546", true).local, ip("fe80::1"));
        assert_eq!(of("*:53", false).local, ip("0.0.0.0"));
        assert_eq!(of("*:*", true), Ends::open(true));
        for bad in ["*:ssh", "host:22", "", "192.0.2.7", "1.2.3.4:70000", "a->b"] {
            assert!(ends(bad.as_bytes(), false).is_err(), "{bad}");
        }
    }

    #[test]
    fn ipv6_of_nettop_has_a_point_before_the_port() {
        let found = end(b"2001:db8::7.443", b'.').expect("an end");
        assert_eq!(found, ("2001:db8::7".parse().ok(), 443));
        assert_eq!(end(b"*.*", b'.'), Some((None, 0)));
        assert_eq!(end(b"fe80::1%en0.5353", b'.'), Some(("fe80::1".parse().ok(), 5353)));
    }

    #[test]
    fn the_protocol_of_a_raw_socket_is_in_its_name() {
        assert_eq!(raw_protocol(b"00000000:0001->00000000:0000 st=07"), Ok(1));
        assert_eq!(raw_protocol(b"0000000000000000:003A->0000:0000 st=07"), Ok(58));
        assert!(raw_protocol(b"00000000:0100->").is_err());
    }
}
