//! Connections whose addresses the kernel translates (NAT), by ctnetlink.
//!
//! Told when they begin and end, and what there was when the watch began: of these the
//! kernel need not tell the end. Connections that are only tracked are not told.

use std::io;
use std::net::IpAddr;

use ahash::{AHashMap, AHashSet};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::ProviderError;
use super::interfaces::address;
use super::netlink::{Netlink, attribute};
use crate::host::event::{Ends, Nat, What};

/// Subsystem 1, message 1: get; new ones come as message 0, those that end as 2.
const GET: u16 = 0x0101;
const NEW: u16 = 0x0100;
const END: u16 = 0x0102;

/// Multicast groups of connections that begin and that end.
const NEW_GROUP: u32 = 1;
const END_GROUP: u32 = 3;

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

/// Translated connections of the text table, and how they are answered.
#[derive(Default)]
pub(super) struct Told(AHashMap<(u8, Ends), Ends>);

/// What stays open in a namespace.
pub(super) enum ConnectionTable {
    Netlink {
        notices: Netlink,
        /// For what there was; a socket of its own, so that notices that come meanwhile
        /// wait in theirs. Nothing once used.
        present: Option<Box<Netlink>>,
    },
    /// `/proc/net/nf_conntrack`, read again and again.
    Text { file: std::fs::File, told: Told },
}

impl ConnectionTable {
    /// In the namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        match Netlink::notices(NETLINK_NETFILTER, &[NEW_GROUP, END_GROUP]) {
            Ok(notices) => {
                let present = Some(Box::new(Netlink::open(NETLINK_NETFILTER)?));
                Ok(Self::Netlink { notices, present })
            }
            Err(error) => std::fs::File::open("/proc/thread-self/net/nf_conntrack")
                .map(|file| Self::Text { file, told: Told::default() })
                .map_err(|_| error),
        }
    }

    /// True where each look costs a whole table.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self, Self::Text { .. })
    }

    /// Translated connections that began and ended since the last call, and how often some
    /// were lost.
    pub(super) fn take(&mut self, netns: u64, mut each: impl FnMut(What)) -> io::Result<u64> {
        let netns = Some(netns);
        let mut tell = |payload: &[u8], what: fn(Nat) -> What| {
            if let Some(nat) = parse(payload).filter(is_translated) {
                each(what(Nat { netns, ..nat }));
            }
        };
        match self {
            Self::Netlink { notices, present } => {
                if let Some(mut present) = present.take() {
                    present.dump(GET, &[0; HEADER_BYTES], |kind, payload| {
                        if kind == NEW {
                            tell(payload, What::Nat);
                        }
                    })?;
                }
                notices.take_notices(|kind, payload| match kind {
                    NEW => tell(payload, What::Nat),
                    END => tell(payload, What::NatEnd),
                    _ => {}
                })
            }
            Self::Text { file, told } => {
                use std::io::{Read as _, Seek as _};
                let mut text = String::new();
                file.rewind()?;
                file.take(MAX_TEXT_BYTES).read_to_string(&mut text)?;
                let is_whole = (text.len() as u64) < MAX_TEXT_BYTES;
                told.compare(&text, is_whole, |what, nat| each(what(Nat { netns, ..nat })));
                Ok(0)
            }
        }
    }
}

impl Told {
    /// Tells what is new in the table, and what is no longer.
    fn compare(&mut self, text: &str, is_whole: bool, mut tell: impl FnMut(fn(Nat) -> What, Nat)) {
        let mut there = AHashSet::new();
        for nat in text.lines().filter_map(parse_line).filter(is_translated) {
            let key = (nat.protocol, nat.original);
            there.insert(key);
            if self.0.get(&key) == Some(&nat.reply) {
                continue;
            }
            // What finds no room is told each time, and its end is not.
            if is_whole && (self.0.len() < MAX_TOLD || self.0.contains_key(&key)) {
                self.0.insert(key, nat.reply);
            }
            tell(What::Nat, nat);
        }
        if !is_whole {
            return;
        }
        self.0.retain(|key, reply| {
            let goes_on = there.contains(key);
            if !goes_on {
                let (protocol, original) = *key;
                let reply = *reply;
                let nat = Nat { protocol, original, reply, netns: None };
                tell(What::NatEnd, nat);
            }
            goes_on
        });
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
    let (original, reply) = (parse_ends(original)?, parse_ends(reply)?);
    Some(Nat { protocol, original, reply, netns: None })
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

    #[test]
    fn what_is_no_longer_in_the_table_has_ended() {
        let line = |port| {
            format!(
                "ipv4     2 udp      17 29 src=10.77.0.1 dst=10.77.1.2 sport={port} dport=53 src=10.77.1.2 dst=10.77.1.1 sport=53 dport={} mark=0 use=1\n",
                port + 1
            )
        };
        let mut told = Told::default();
        let mut compare = |ports: &[u16], is_whole| {
            let (text, mut changes) =
                (ports.iter().map(|&port| line(port)).collect::<String>(), vec![]);
            told.compare(&text, is_whole, |what, nat| {
                let port = nat.original.src_port;
                assert_eq!(nat.reply.dst_port, port + 1);
                changes.push((matches!(what(nat), What::Nat(_)), port));
            });
            changes.sort_unstable();
            changes
        };
        assert_eq!(compare(&[4000, 5000], true), [(true, 4000), (true, 5000)]);
        assert_eq!(compare(&[5000, 6000], true), [(false, 4000), (true, 6000)]);
        // Of a table that is cut nobody knows what it has not.
        assert_eq!(compare(&[5000, 7000], false), [(true, 7000)]);
        assert_eq!(compare(&[], true), [(false, 5000), (false, 6000)]);
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
