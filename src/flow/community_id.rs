//! Community ID v1 (github.com/corelight/community-id-spec): the name that
//! Zeek, Suricata, Arkime and others give to the same flow.
//!
//! The hash covers addresses, protocol and, for protocols that have them,
//! ports. It never covers VLANs, tunnels or the ICMP echo identifier, so flows
//! that differ only there share an ID. [`FlowKey`] already has the endpoints
//! in the order that the specification wants. Start at
//! [`CommunityId::of`]; [`community_id`] is the same as a [`String`].

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::packet::{FlowKey, IpVersion};

/// Length of the text form: `1:` and 20 bytes in padded base64.
pub const TEXT_BYTES: usize = 30;

/// The text form of a flow's Community ID, `1:` and base64.
///
/// `seed` separates domains of use; everybody's default is 0.
pub fn community_id(key: &FlowKey, seed: u16) -> String {
    CommunityId::of(key, seed).to_string()
}

/// A Community ID as its 20 hash bytes; [`fmt::Display`] gives the text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommunityId(pub [u8; 20]);

impl CommunityId {
    /// Hashes a key. Allocates nothing.
    pub fn of(key: &FlowKey, seed: u16) -> Self {
        let mut hash = Sha1::new();
        hash.update(seed.to_be_bytes());
        let skip = match key.version {
            IpVersion::V4 => 12,
            IpVersion::V6 => 0,
        };
        hash.update(&key.a[skip..]);
        hash.update(&key.b[skip..]);
        // The zero is padding to a 32-bit boundary, required by the specification.
        hash.update([key.proto, 0]);
        if hashes_ports(key.proto) {
            hash.update(key.port_a.to_be_bytes());
            hash.update(key.port_b.to_be_bytes());
        }
        Self(hash.finalize().into())
    }

    /// The text form without an allocation; always ASCII.
    pub fn text(&self) -> [u8; TEXT_BYTES] {
        let mut text = [b'='; TEXT_BYTES];
        text[..2].copy_from_slice(b"1:");
        let encoded = STANDARD.encode_slice(self.0, &mut text[2..]);
        debug_assert_eq!(encoded, Ok(TEXT_BYTES - 2));
        text
    }
}

impl fmt::Display for CommunityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Base64 is ASCII, so nothing is ever replaced.
        f.pad(&String::from_utf8_lossy(&self.text()))
    }
}

/// TCP, UDP, SCTP, ICMP and ICMPv6 (IANA numbers). The specification names no
/// others: UDP-Lite has ports and still is hashed without them.
fn hashes_ports(proto: u8) -> bool {
    matches!(proto, 1 | 6 | 17 | 58 | 132)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::packet::key::from_ip;

    /// One row of a table: protocol, source, destination, ports if any.
    type Row<'a> = (u8, &'a str, &'a str, Option<(u16, u16)>);

    fn key((proto, src, dst, ports): Row<'_>, one_way: bool) -> FlowKey {
        let (version, src) = from_ip(src.parse::<IpAddr>().expect("source"));
        let (_, dst) = from_ip(dst.parse::<IpAddr>().expect("destination"));
        let (src_port, dst_port) = ports.unwrap_or_default();
        let flip = !one_way && (dst, dst_port) < (src, src_port);
        let (a, b) = if flip { (dst, src) } else { (src, dst) };
        let (port_a, port_b) = if flip { (dst_port, src_port) } else { (src_port, dst_port) };
        FlowKey { version, proto, port_a, port_b, a, b, ..FlowKey::ZERO }
    }

    /// The specification's baseline (baseline/baseline_deflt.json and
    /// baseline_seed1.json): tuple, one-way ICMP type, ID with seed 0 and 1.
    const BASELINE: [(Row<'static>, bool, &str, &str); 15] = [
        (
            (58, "fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea", Some((135, 136))),
            false,
            "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=",
            "1:kHa1FhMYIT6Ym2Vm2AOtoOARDzY=",
        ),
        (
            (58, "fe80::260:97ff:fe07:69ea", "fe80::200:86ff:fe05:80da", Some((135, 136))),
            false,
            "1:zavyT/cezQr1fmImYCwYnMXbgck=",
            "1:2hSqmsDZ2kdcY9kbiUzOEBic0iM=",
        ),
        (
            (58, "3ffe:501:1800:2345::2", "3ffe:507:0:1:200:86ff:fe05:80da", Some((3, 0))),
            true,
            "1:2ObVBgIn28oZvibYZhZMBgh7WdQ=",
            "1:lVEtCZpYu84Xqaa++3lXFyuu2n4=",
        ),
        (
            (
                58,
                "3ffe:501:410:0:2c0:dfff:fe47:33e",
                "3ffe:507:0:1:200:86ff:fe05:80da",
                Some((1, 4)),
            ),
            true,
            "1:hLZd0XGWojozrvxqE0dWB1iM6R0=",
            "1:W8MHwXpWzpoSTD+cGcaJr4u0ys8=",
        ),
        (
            (58, "3ffe:507:0:1:200:86ff:fe05:80da", "3ffe:501:0:1001::2", Some((128, 129))),
            false,
            "1:+TW+HtLHvV1xnGhV1lv7XoJrqQg=",
            "1:GfZxjAkDk2MkegpBYHV6tadtFXQ=",
        ),
        (
            (58, "fe80::200:86ff:fe05:80da", "ff02::2", Some((133, 134))),
            false,
            "1:hO+sN4H+MG5MY/8hIrXPqc4ZQz0=",
            "1:L7Ka0ZMYu+J3bL4ulW2PrqyXNo8=",
        ),
        (
            (58, "fe80::260:97ff:fe07:69ea", "ff02::1", Some((134, 133))),
            false,
            "1:pkvHqCL88/tg1k4cPigmZXUtL00=",
            "1:K/ee5UCqAMAQXDorP5nSa2CGLjc=",
        ),
        (
            (1, "192.168.0.89", "192.168.0.1", Some((8, 0))),
            false,
            "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=",
            "1:03g6IloqVBdcZlPyX8r0hgoE7kA=",
        ),
        (
            (1, "192.168.0.1", "192.168.0.89", Some((0, 8))),
            false,
            "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=",
            "1:03g6IloqVBdcZlPyX8r0hgoE7kA=",
        ),
        (
            (1, "10.0.0.1", "10.0.0.2", Some((11, 0))),
            true,
            "1:YHxtAirCG//0OzkcVAukqKQN9xM=",
            "1:XjUibYHaafLQ3pxQeiMI8g25q20=",
        ),
        (
            (
                6,
                "2001:470:e5bf:dead:4957:2174:e82c:4887",
                "2607:f8b0:400c:c03::1a",
                Some((63943, 25)),
            ),
            false,
            "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=",
            "1:eJYTW6AOzFLlSUoESovMjnu7rMw=",
        ),
        (
            (132, "192.168.170.8", "192.168.170.56", Some((7, 7))),
            false,
            "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs=",
            "1:5w3ZRjeKBzqT3zsaEECDGjUbYeg=",
        ),
        (
            (6, "128.232.110.120", "66.35.250.204", Some((34855, 80))),
            false,
            "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
            "1:3V71V58M3Ksw/yuFALMcW0LAHvc=",
        ),
        (
            (17, "192.168.1.52", "8.8.8.8", Some((54585, 53))),
            false,
            "1:d/FP5EW3wiY1vCndhwleRRKHowQ=",
            "1:Q9We8WO3piVF8yEQBNJF4uiSVrI=",
        ),
        (
            (46, "10.1.12.1", "10.1.12.2", None),
            false,
            "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw=",
            "1:rYir8gphR31noO9iDRQmF/BteEI=",
        ),
    ];

    #[test]
    fn the_specifications_baseline_is_met_in_both_directions_and_with_a_seed() {
        for (row, one_way, seed_0, seed_1) in BASELINE {
            assert_eq!(community_id(&key(row, one_way), 0), seed_0, "{row:?}");
            assert_eq!(community_id(&key(row, one_way), 1), seed_1, "{row:?} with seed 1");
            let (proto, src, dst, ports) = row;
            let back = (proto, dst, src, ports.map(|(src_port, dst_port)| (dst_port, src_port)));
            if !one_way {
                assert_eq!(community_id(&key(back, false), 0), seed_0, "{back:?}");
            }
        }
    }

    #[test]
    fn the_reference_implementation_gives_the_same_ids() {
        let table = include_str!("../../tests/data/community_id.tsv");
        let mut rows = 0;
        for line in table.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [proto, src, dst, first, second, one_way, seed, expected] = fields[..] else {
                panic!("not eight columns: {line}");
            };
            let ports = first.parse().ok().zip(second.parse().ok());
            let row = (proto.parse().expect("protocol"), src, dst, ports);
            let seed = seed.parse().expect("seed");
            assert_eq!(community_id(&key(row, one_way == "1"), seed), expected, "{line}");
            rows += 1;
        }
        assert_eq!(rows, 81);
    }

    #[test]
    fn what_the_specification_leaves_out_does_not_change_the_id() {
        let plain = key(BASELINE[7].0, false);
        let other = FlowKey { echo_id: 77, vlan: 12, vni: 99, ..plain };
        assert_eq!(CommunityId::of(&plain, 0), CommunityId::of(&other, 0));
        // UDP-Lite: "other protocols", so its ports are not hashed.
        let lite = FlowKey { proto: 136, ..plain };
        let ports = FlowKey { port_a: 1, port_b: 2, ..lite };
        assert_eq!(CommunityId::of(&lite, 0), CommunityId::of(&ports, 0));
    }
}
