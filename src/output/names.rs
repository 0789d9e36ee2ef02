//! Numbers of the wire to the names that people and other tools use.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::ascii::Ascii;
use crate::packet::facts::tcp_flag;

/// ICMP and ICMPv6 (IANA protocol numbers).
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;
pub const SCTP: u8 = 132;

/// IANA's keywords in lower case, where a shorter one is not in common use.
const PROTOCOLS: [(u8, &str); 36] = [
    (0, "hopopt"),
    (ICMP, "icmp"),
    (2, "igmp"),
    (4, "ipip"),
    (TCP, "tcp"),
    (8, "egp"),
    (9, "igp"),
    (UDP, "udp"),
    (27, "rdp"),
    (33, "dccp"),
    (41, "ipv6"),
    (43, "ipv6-route"),
    (44, "ipv6-frag"),
    (46, "rsvp"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (ICMPV6, "icmpv6"),
    (59, "ipv6-nonxt"),
    (60, "ipv6-opts"),
    (88, "eigrp"),
    (89, "ospf"),
    (94, "ipip-94"),
    (97, "etherip"),
    (98, "encap"),
    (103, "pim"),
    (108, "ipcomp"),
    (112, "vrrp"),
    (115, "l2tp"),
    (124, "isis"),
    (SCTP, "sctp"),
    (133, "fc"),
    (135, "mobility"),
    (136, "udplite"),
    (137, "mpls"),
    (139, "hip"),
];

/// Name of an IP protocol; `ip-NNN` where there is no common one.
pub fn proto_name(proto: u8) -> &'static str {
    static NAMES: LazyLock<Vec<Cow<'static, str>>> = LazyLock::new(|| {
        let name = |proto| {
            let known = PROTOCOLS.iter().find(|(number, _)| *number == proto);
            known.map_or_else(|| format!("ip-{proto}").into(), |(_, name)| (*name).into())
        };
        (0..=u8::MAX).map(name).collect()
    });
    &NAMES[usize::from(proto)]
}

/// TCP flags as letters, the handshake's first: `SAPFRUECN` for SYN, ACK, PSH,
/// FIN, RST, URG, ECE, CWR, NS. Empty without flags.
pub(super) fn tcp_flags(flags: u16) -> Ascii {
    let mut letters = [0; TCP_FLAGS.len()];
    let set = TCP_FLAGS.iter().filter(|(bit, _)| flags & bit != 0);
    let count = letters.iter_mut().zip(set).map(|(slot, flag)| *slot = flag.1).count();
    Ascii::new(&letters[..count])
}

const TCP_FLAGS: [(u16, u8); 9] = [
    (tcp_flag::SYN, b'S'),
    (tcp_flag::ACK, b'A'),
    (tcp_flag::PSH, b'P'),
    (tcp_flag::FIN, b'F'),
    (tcp_flag::RST, b'R'),
    (tcp_flag::URG, b'U'),
    (tcp_flag::ECE, b'E'),
    (tcp_flag::CWR, b'C'),
    (tcp_flag::NS, b'N'),
];

/// DNS type; unknown ones as RFC 3597 writes them, `TYPE65280`.
pub fn dns_type(number: u16) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        10 => "NULL",
        12 => "PTR",
        13 => "HINFO",
        15 => "MX",
        16 => "TXT",
        24 => "SIG",
        25 => "KEY",
        28 => "AAAA",
        29 => "LOC",
        33 => "SRV",
        35 => "NAPTR",
        37 => "CERT",
        39 => "DNAME",
        41 => "OPT",
        43 => "DS",
        44 => "SSHFP",
        46 => "RRSIG",
        47 => "NSEC",
        48 => "DNSKEY",
        50 => "NSEC3",
        51 => "NSEC3PARAM",
        52 => "TLSA",
        64 => "SVCB",
        65 => "HTTPS",
        99 => "SPF",
        250 => "TSIG",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        256 => "URI",
        257 => "CAA",
        _ => return Cow::Owned(format!("TYPE{number}")),
    })
}

/// DNS response code (IANA, RFC 6895); unknown ones as `RCODE12`.
pub fn dns_response_code(number: u8) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        11 => "DSOTYPENI",
        _ => return Cow::Owned(format!("RCODE{number}")),
    })
}

/// TLS version as people write it; others in hexadecimal.
pub fn tls_version(number: u16) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        0x0300 => "SSL 3.0",
        0x0301 => "TLS 1.0",
        0x0302 => "TLS 1.1",
        0x0303 => "TLS 1.2",
        0x0304 => "TLS 1.3",
        _ => return Cow::Owned(format!("0x{number:04x}")),
    })
}

/// QUIC version as its RFC counts them; others in hexadecimal.
pub fn quic_version(number: u32) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        1 => "1",
        0x6b33_43cf => "2",
        _ => return Cow::Owned(format!("0x{number:08x}")),
    })
}

/// What an ICMP flow's port pair says. Community ID pairs a type either with
/// the type of its answer or, for one-way types, with the code.
pub(super) struct Icmp {
    pub(super) kind: u16,
    /// Only of one-way types: elsewhere the pair holds the answer's type.
    pub(super) code: Option<u16>,
    /// The exchange has an identifier (echo, timestamp, information, mask).
    pub(super) has_id: bool,
}

impl Icmp {
    /// None if the protocol is not ICMP.
    pub(super) fn of(proto: u8, src_port: u16, dst_port: u16) -> Option<Self> {
        let answered = match proto {
            ICMP => matches!(src_port, 0 | 8 | 9 | 10 | 13..=18),
            ICMPV6 => matches!(src_port, 128..=131 | 133..=136 | 139 | 140 | 144 | 145),
            _ => return None,
        };
        let has_id = match proto {
            ICMP => matches!(src_port, 0 | 8 | 13..=18),
            _ => matches!(src_port, 128 | 129),
        };
        Some(Self { kind: src_port, code: (!answered).then_some(dst_port), has_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_has_its_own_name_in_lower_case() {
        let names: std::collections::BTreeSet<_> = (0..=255).map(proto_name).collect();
        assert_eq!(names.len(), 256);
        assert!(names.iter().all(|name| !name.bytes().any(|byte| byte.is_ascii_uppercase())));
        assert_eq!((proto_name(6), proto_name(58), proto_name(253)), ("tcp", "icmpv6", "ip-253"));
    }

    #[test]
    fn flags_are_letters_in_one_order() {
        assert_eq!(tcp_flags(0x01b).as_str(), "SAPF");
        assert_eq!(tcp_flags(0x1ff).as_str(), "SAPFRUECN");
        assert_eq!(tcp_flags(0).as_str(), "");
    }

    #[test]
    fn codes_of_icmp_are_known_for_one_way_types_alone() {
        let unreachable = Icmp::of(ICMP, 3, 13).expect("icmp");
        assert_eq!((unreachable.kind, unreachable.code, unreachable.has_id), (3, Some(13), false));
        let echo = Icmp::of(ICMPV6, 128, 129).expect("icmpv6");
        assert_eq!((echo.kind, echo.code, echo.has_id), (128, None, true));
        assert!(Icmp::of(TCP, 8, 0).is_none());
    }
}
