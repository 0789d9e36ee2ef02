//! Connections whose addresses the kernel translates (NAT), by ctnetlink.
//!
//! Told when they begin, and what there was when the watch began. Connections
//! that are only tracked are not told.

use std::io;
use std::net::IpAddr;

use ahash::AHashSet;
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::ProviderError;
use super::interfaces::address;
use super::netlink::{Netlink, attribute};
use crate::host::event::{Ends, Nat};

/// Subsystem 1, message 1: get; new ones come as message 0.
const GET: u16 = 0x0101;
const NEW: u16 = 0x0100;

/// Multicast group of new connections.
const NEW_GROUP: u32 = 1;

const HEADER_BYTES: usize = 4;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTO_ICMP_ID: u16 = 4;
const CTA_PROTO_ICMPV6_ID: u16 = 7;

const ICMP: u8 = 1;
const ICMP6: u8 = 58;

/// Of the text table; a busy gateway's is longer, and cut.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// Connections of the text table remembered as told.
const MAX_TOLD: usize = 1 << 18;

/// What stays open in a namespace.
pub(super) enum ConnectionTable {
    Netlink {
        notices: Netlink,
        /// For what there was; a socket of its own, so that notices that come meanwhile
        /// wait in theirs. Nothing once used.
        present: Option<Box<Netlink>>,
    },
    /// `/proc/net/nf_conntrack`, read again and again.
    Text { file: std::fs::File, told: AHashSet<(u8, Ends)> },
}

impl ConnectionTable {
    /// In the namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        match Netlink::notices(NETLINK_NETFILTER, &[NEW_GROUP]) {
            Ok(notices) => {
                let present = Some(Box::new(Netlink::open(NETLINK_NETFILTER)?));
                Ok(Self::Netlink { notices, present })
            }
            Err(error) => std::fs::File::open("/proc/thread-self/net/nf_conntrack")
                .map(|file| Self::Text { file, told: AHashSet::new() })
                .map_err(|_| error),
        }
    }

    /// True where each look costs a whole table.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self, Self::Text { .. })
    }

    /// Translated connections since the last call, and how often some were lost.
    pub(super) fn take(&mut self, netns: u64, mut each: impl FnMut(Nat)) -> io::Result<u64> {
        let mut tell = |nat: Option<Nat>| {
            if let Some(nat) = nat.filter(is_translated) {
                each(Nat { netns: Some(netns), ..nat });
            }
        };
        match self {
            Self::Netlink { notices, present } => {
                if let Some(mut present) = present.take() {
                    present.dump(GET, &[0; HEADER_BYTES], |kind, payload| {
                        if kind == NEW {
                            tell(parse(payload));
                        }
                    })?;
                }
                notices.take_notices(|kind, payload| {
                    if kind == NEW {
                        tell(parse(payload));
                    }
                })
            }
            Self::Text { file, told } => {
                use std::io::{Read as _, Seek as _};
                let mut text = String::new();
                file.rewind()?;
                file.take(MAX_TEXT_BYTES).read_to_string(&mut text)?;
                for nat in text.lines().filter_map(parse_line) {
                    if told.len() >= MAX_TOLD {
                        told.clear();
                    }
                    if told.insert((nat.protocol, nat.original)) {
                        tell(Some(nat));
                    }
                }
                Ok(0)
            }
        }
    }
}

/// The answer's way is not the original's backwards.
fn is_translated(nat: &Nat) -> bool {
    let (original, reply) = (&nat.original, &nat.reply);
    let ports = if matches!(nat.protocol, ICMP | ICMP6) {
        original.src_port == reply.src_port
    } else {
        (original.src_port, original.dst_port) == (reply.dst_port, reply.src_port)
    };
    !ports || (original.src, original.dst) != (reply.dst, reply.src)
}

fn parse(payload: &[u8]) -> Option<Nat> {
    let attributes = payload.get(HEADER_BYTES..)?;
    let (protocol, original) = parse_tuple(attribute(attributes, CTA_TUPLE_ORIG)?)?;
    let (_, reply) = parse_tuple(attribute(attributes, CTA_TUPLE_REPLY)?)?;
    Some(Nat { protocol, original, reply, netns: None })
}

fn parse_tuple(tuple: &[u8]) -> Option<(u8, Ends)> {
    let addresses = attribute(tuple, CTA_TUPLE_IP)?;
    // IPv4's source and destination are 1 and 2, IPv6's 3 and 4.
    let end = |ipv4: u16| {
        attribute(addresses, ipv4).or_else(|| attribute(addresses, ipv4 + 2)).and_then(address)
    };
    let protocol = attribute(tuple, CTA_TUPLE_PROTO)?;
    let port = |kind: u16| {
        let bytes = attribute(protocol, kind)?.first_chunk()?;
        Some(u16::from_be_bytes(*bytes))
    };
    let src_port = port(CTA_PROTO_SRC_PORT)
        .or_else(|| port(CTA_PROTO_ICMP_ID))
        .or_else(|| port(CTA_PROTO_ICMPV6_ID));
    Some((
        *attribute(protocol, CTA_PROTO_NUM)?.first()?,
        Ends {
            src: end(1)?,
            src_port: src_port.unwrap_or(0),
            dst: end(2)?,
            dst_port: port(CTA_PROTO_DST_PORT).unwrap_or(0),
        },
    ))
}

/// `ipv4 2 udp 17 29 src=... dst=... sport=... dport=... [UNREPLIED] src=... ...`
fn parse_line(line: &str) -> Option<Nat> {
    let protocol = line.split_ascii_whitespace().nth(3)?.parse().ok()?;
    let second = line.rfind("src=")?;
    let (original, reply) = line.split_at_checked(second)?;
    Some(Nat { protocol, original: parse_ends(original)?, reply: parse_ends(reply)?, netns: None })
}

fn parse_ends(text: &str) -> Option<Ends> {
    let field = |name: &str| {
        let mut fields = text.split_ascii_whitespace();
        fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    };
    let address = |name| field(name)?.parse::<IpAddr>().ok();
    let port = |name| field(name)?.parse::<u16>().ok();
    Some(Ends {
        src: address("src")?,
        src_port: port("sport").or_else(|| port("id")).unwrap_or(0),
        dst: address("dst")?,
        dst_port: port("dport").unwrap_or(0),
    })
}

/// Whether translated connections of this namespace can be seen.
pub fn available() -> Result<(), ProviderError> {
    ConnectionTable::open().map(drop).map_err(|error| ProviderError::Unavailable {
        what: "translated connections (conntrack)",
        reason: format!(
            "{error}; run with CAP_NET_ADMIN on a kernel with CONFIG_NF_CT_NETLINK or CONFIG_NF_CONNTRACK_PROCFS"
        ),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_of_the_table_are_read_and_only_translated_ones_are_told() {
        let nat = "ipv4     2 udp      17 29 src=10.77.0.1 dst=10.77.1.2 sport=4000 dport=53 [UNREPLIED] src=10.77.1.2 dst=10.77.1.1 sport=53 dport=4001 mark=0 use=1";
        let nat = parse_line(nat).unwrap();
        assert!(is_translated(&nat));
        assert_eq!(nat.original.src_port, 4000);
        assert_eq!(nat.reply.dst_port, 4001);
        assert_eq!(nat.reply.dst, IpAddr::from([10, 77, 1, 1]));

        let plain = "ipv4     2 icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=7 src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=7 mark=0 use=1";
        assert!(!is_translated(&parse_line(plain).unwrap()));
        let other_id = plain.replace("code=0 id=7 mark", "code=0 id=8 mark");
        assert!(is_translated(&parse_line(&other_id).unwrap()));
    }

    proptest! {
        #[test]
        fn arbitrary_input_is_read_without_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            line in "(ipv4 2 udp 17 [ a-z=0-9.:]{0,120}|.{0,120})",
        ) {
            let _ = parse(&bytes);
            let _ = parse_line(&line);
        }
    }
}
