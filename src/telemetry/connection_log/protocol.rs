//! IP protocols by the names that flow tools print.

use std::net::IpAddr;

pub(super) const ICMP: u8 = 1;
pub(super) const ICMPV6: u8 = 58;

/// By name in any case, or by number (Suricata writes three digits for those that it
/// has no name for).
pub(super) fn number(name: &[u8]) -> Option<u8> {
    let digits = name.iter().position(|&byte| byte != b'0').map_or(name, |at| &name[at..]);
    if let Some(number) =
        crate::telemetry::text::number(if digits.is_empty() { name } else { digits })
    {
        return Some(number);
    }
    NAMES.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name)).map(|row| row.1)
}

/// ICMP of the addresses' own version, by a tool that has one name for both.
pub(super) fn icmp_of(address: IpAddr) -> u8 {
    if address.is_ipv6() { ICMPV6 } else { ICMP }
}

pub(super) fn is_icmp(protocol: u8) -> bool {
    matches!(protocol, ICMP | ICMPV6)
}

/// The most frequent first. IANA's keywords, and where tools print other ones, those too.
const NAMES: &[(&str, u8)] = &[
    ("TCP", 6),
    ("UDP", 17),
    ("ICMP", ICMP),
    ("ICMP6", ICMPV6),
    ("IPv6-ICMP", ICMPV6),
    ("ICMPv6", ICMPV6),
    ("GRE", 47),
    ("ESP", 50),
    ("AH", 51),
    ("SCTP", 132),
    ("IGMP", 2),
    ("IPIP", 4),
    ("IP-in-IP", 4),
    ("IPv4", 4),
    ("IPv6", 41),
    ("EGP", 8),
    ("IGP", 9),
    ("DCCP", 33),
    ("RSVP", 46),
    ("EIGRP", 88),
    ("OSPF", 89),
    ("OSPFIGP", 89),
    ("PIM", 103),
    ("IPComp", 108),
    ("VRRP", 112),
    ("L2TP", 115),
    ("UDPLite", 136),
    ("UDPLt", 136),
];
