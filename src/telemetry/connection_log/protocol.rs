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
    ("UDP-L", 136),
    ("HOPOPT", 0),
    ("GGP", 3),
    ("RDP", 27),
    ("IPv6-Route", 43),
    ("Rte6", 43),
    ("IPv6-Frag", 44),
    ("Frag6", 44),
    ("MOBIL", 55),
    ("IPv6-NoNxt", 59),
    ("NOHE6", 59),
    ("IPv6-Opts", 60),
    ("OPTS6", 60),
    ("ETHIP", 97),
    ("ETHERIP", 97),
    ("ENCAP", 98),
    ("IPcmp", 108),
    ("PGM", 113),
    ("FC", 133),
    ("MPLS", 137),
    ("MPLS-in-IP", 137),
];

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn protocols_have_names_and_numbers() {
        for (name, expected) in [
            ("TCP", Some(6)),
            ("udp", Some(17)),
            ("ICMP6", Some(58)),
            ("IPv6-ICMP", Some(58)),
            ("47", Some(47)),
            ("047", Some(47)),
            ("000", Some(0)),
            ("0", Some(0)),
            ("256", None),
            ("", None),
            ("frobnicate", None),
        ] {
            assert_eq!(number(name.as_bytes()), expected, "{name}");
        }
    }
}
