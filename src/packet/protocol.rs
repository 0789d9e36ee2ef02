//! Names of IP protocol numbers (IANA Protocol Numbers), lower case.

use std::borrow::Cow;

/// Name of an IP protocol; `ip_proto_N` for those that have no name here.
pub fn protocol_name(proto: u8) -> Cow<'static, str> {
    Cow::Borrowed(match proto {
        0 => "hopopt",
        1 => "icmp",
        2 => "igmp",
        4 => "ipip",
        6 => "tcp",
        8 => "egp",
        17 => "udp",
        33 => "dccp",
        41 => "ipv6",
        46 => "rsvp",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "icmpv6",
        59 => "ipv6_no_next",
        88 => "eigrp",
        89 => "ospf",
        94 => "ipip_94",
        97 => "etherip",
        103 => "pim",
        112 => "vrrp",
        115 => "l2tp",
        132 => "sctp",
        136 => "udplite",
        137 => "mpls_in_ip",
        other => return Cow::Owned(format!("ip_proto_{other}")),
    })
}
