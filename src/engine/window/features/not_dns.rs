//! What is sent to and from UDP port 53 and is no DNS message: by client and server.
//!
//! A server's port says nothing of what is in a packet, and firewalls let this one through:
//! iodine sends whatever it carries there as it is, as soon as the way is free.
//!
//! Not judged: what is cut by the snap length or by fragments, empty packets, both ends at
//! port 53, and an other end below port 1024, which is a server whose client happens to
//! have port 53. A message is held to its form only as far as its first record.

use super::super::Host;
use super::super::table::Merge;
use super::{Carried, Ends, Features, dns};
use crate::packet::PacketRow;

/// Below are the ports of services (RFC 6335, section 6).
const FIRST_OF_CLIENTS: u16 = 1_024;
const HEADER: usize = 12;
/// Nobody sends more than one in practice; the field's random bytes would say thousands.
const MOST_QUESTIONS: u16 = 16;
/// Of a record behind its name: type, class, time to live, length.
const RECORD: usize = 10;

/// "RAW" of iodine (its `common.h`): each packet of its raw mode begins with it.
const IODINE: [u8; 3] = [0x10, 0xd1, 0x9e];
/// RFC 8489, section 5.
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NotDnsKey {
    pub client: Host,
    pub server: Host,
}

/// What was sent between them in a second, both ways.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NotDnsStats {
    pub carried: Carried,
    /// Of the packets, those that the client sent.
    pub sent: u32,
    /// Those that begin as iodine's raw ones do.
    pub iodine: u32,
    /// Those of QUIC's long header, of DTLS and of STUN: protocols that say what they are.
    pub known: u32,
    /// Those that may be of QUIC's short header or of a TURN channel: of random bytes one in
    /// four.
    pub short: u32,
    /// Payload bytes of the known and of the short ones.
    pub known_bytes: u64,
    pub short_bytes: u64,
}

impl Merge for NotDnsStats {
    fn merge(&mut self, other: &Self) {
        self.carried.merge(&other.carried);
        self.sent = self.sent.saturating_add(other.sent);
        self.iodine = self.iodine.saturating_add(other.iodine);
        self.known = self.known.saturating_add(other.known);
        self.short = self.short.saturating_add(other.short);
        self.known_bytes = self.known_bytes.saturating_add(other.known_bytes);
        self.short_bytes = self.short_bytes.saturating_add(other.short_bytes);
    }
}

impl Features {
    /// Reads the payload of a UDP packet that is no question or answer of one.
    pub(super) fn add_not_dns(&mut self, packet: &PacketRow, ends: &Ends, payload: &[u8]) {
        let is_cut = packet.payload_captured < packet.payload_bytes;
        if is_cut || payload.is_empty() || is_message(payload) {
            return;
        }
        let sent = ends.dst_port == dns::PORT;
        let (client, server, port) = match sent {
            true => (ends.src, ends.dst, ends.src_port),
            false => (ends.dst, ends.src, ends.dst_port),
        };
        if port < FIRST_OF_CLIENTS {
            return;
        }
        self.not_dns.messages = self.not_dns.messages.saturating_add(1);
        let seed = self.seed;
        let hash = seed.mix(seed.host(&client), seed.host(&server));
        let Some(stats) = self.not_dns.entry(hash, NotDnsKey { client, server }) else { return };
        stats.carried.add(packet);
        stats.sent = stats.sent.saturating_add(sent.into());
        let bytes = u64::from(packet.payload_bytes);
        if payload.starts_with(&IODINE) {
            stats.iodine = stats.iodine.saturating_add(1);
        } else if says_what_it_is(payload) {
            stats.known = stats.known.saturating_add(1);
            stats.known_bytes = stats.known_bytes.saturating_add(bytes);
        } else if payload[0] & 0xc0 == 0x40 {
            stats.short = stats.short.saturating_add(1);
            stats.short_bytes = stats.short_bytes.saturating_add(bytes);
        }
    }
}

/// Whether these can be a DNS message, of any operation (RFC 1035, 4.1; RFC 2136).
fn is_message(payload: &[u8]) -> bool {
    let Some((header, mut rest)) = payload.split_first_chunk::<HEADER>() else { return false };
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    // Operations up to that of stateful ones (RFC 8490).
    if header[2] >> 3 & 0x0f > 6 || count(4) > MOST_QUESTIONS {
        return false;
    }
    for _ in 0..count(4) {
        let after = after_name(rest).and_then(|after| after.get(4..));
        let Some(after) = after else { return false };
        rest = after;
    }
    if count(6) == 0 && count(8) == 0 && count(10) == 0 {
        // Stateful operations have other fields behind; else nothing is left.
        return rest.is_empty() || header[2] >> 3 & 0x0f == 6 || count(4) > 0;
    }
    // A truncated answer may say that it has records that it lacks.
    rest.is_empty() || after_name(rest).and_then(after_record).is_some()
}

/// What is behind a record whose name was read.
fn after_record(bytes: &[u8]) -> Option<&[u8]> {
    let (fixed, data) = bytes.split_first_chunk::<RECORD>()?;
    data.get(usize::from(u16::from_be_bytes([fixed[8], fixed[9]]))..)
}

/// What is behind a name, which may end in a pointer.
fn after_name(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let (&length, rest) = bytes.split_first()?;
        match length {
            0 => return Some(rest),
            1..64 => bytes = rest.get(usize::from(length)..)?,
            0xc0.. => return rest.get(1..),
            _ => return None,
        }
    }
}

/// Whether the first bytes are those of QUIC's long header, of DTLS or of STUN.
fn says_what_it_is(payload: &[u8]) -> bool {
    let quic = |version: [u8; 4]| {
        matches!(version, [0, 0, 0, 0 | 1] | [0x6b, 0x33, 0x43, 0xcf] | [0xff, 0, 0, _])
    };
    match *payload {
        // RFC 9000, 17.2; version 2 is RFC 9369's, and 0 offers others.
        [0xc0..=0xff, a, b, c, d, _, ..] if quic([a, b, c, d]) => true,
        // RFC 6347, 4.1: a record's type and version.
        [20..=26, 0xfe, 0xff | 0xfd, _, ..] => payload.len() >= 13,
        [0..4, _, _, _, a, b, c, d, ..] => [a, b, c, d] == STUN_COOKIE,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Seen, dns, features, udp};
    use super::*;

    const CLIENT: (u8, u16) = (1, 40_000);
    const SERVER: (u8, u16) = (2, dns::PORT);

    fn counted(seen: &[Seen]) -> Option<NotDnsStats> {
        let told = features(seen);
        let entries = told.not_dns.sorted();
        assert!(entries.len() <= 1);
        let (key, stats) = entries.first()?;
        assert_eq!(key.client.ip().to_string(), "10.0.0.1");
        Some((*stats).clone())
    }

    #[test]
    fn what_is_no_message_is_counted_both_ways_with_its_bytes() {
        let raw = [&IODINE[..], &[0x20], &[0x78, 0xda, 0x63, 0x68].repeat(20)].concat();
        let ping = [IODINE[0], IODINE[1], IODINE[2], 0x30];
        let stats = counted(&[
            udp(CLIENT, SERVER, &raw),
            udp(SERVER, CLIENT, &raw),
            udp(CLIENT, SERVER, &ping),
            udp(CLIENT, SERVER, &dns("www.example.com", 1, None)),
        ]);
        let stats = stats.expect("packets that are no messages");
        assert_eq!((stats.carried.packets, stats.carried.payload_bytes), (3, 84 + 84 + 4));
        assert_eq!((stats.sent, stats.iodine, stats.known), (2, 3, 0));
    }

    #[test]
    fn messages_of_any_operation_are_messages() {
        let mut update = dns("example.com", 6, None);
        update[2] = 0x28;
        let mut two = dns("example.com", 1, None);
        two[5] = 2;
        two.extend_from_slice(&[0xc0, 12, 0, 28, 0, 1]);
        let mut chaos = dns("version.bind", 16, None);
        let last = chaos.len() - 1;
        chaos[last] = 3;
        let refused = [0, 7, 0x81, 5, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut cookie = dns("example.com", 1, None);
        cookie[11] = 1;
        cookie.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        let several = [dns("a.example.com", 1, None), dns("b.example.com", 1, None)].concat();
        for message in [update, two, chaos, refused.to_vec(), cookie, several] {
            assert_eq!(counted(&[udp(CLIENT, SERVER, &message)]), None, "{message:02x?}");
        }
    }

    #[test]
    fn what_can_not_be_told_is_not_counted() {
        let noise = [0x9a; 200];
        let (mut cut, bytes) = udp(CLIENT, SERVER, &noise);
        cut.payload_captured -= 1;
        assert_eq!(counted(&[(cut, bytes)]), None, "cut by the snap length");
        let (mut cut, bytes) = udp(CLIENT, SERVER, &dns("www.example.com", 1, None));
        cut.payload_captured = 20;
        assert_eq!(counted(&[(cut, bytes)]), None, "a message that is cut in its name");
        assert_eq!(counted(&[udp(CLIENT, SERVER, &[])]), None);
        assert_eq!(counted(&[udp((1, 53), SERVER, &noise)]), None);
        assert_eq!(counted(&[udp((1, 443), SERVER, &noise)]), None, "QUIC's client at port 53");
        assert!(counted(&[udp(CLIENT, SERVER, &noise)]).is_some());
    }

    #[test]
    fn protocols_that_say_what_they_are_are_known() {
        let quic = [&[0xc3, 0, 0, 0, 1, 8][..], &[7; 1_200]].concat();
        let short = [&[0x55][..], &[7; 1_200]].concat();
        let dtls = [&[23, 0xfe, 0xfd, 0, 1][..], &[7; 100]].concat();
        let stun = [&[0, 1, 0, 8][..], &STUN_COOKIE, &[0xee; 20]].concat();
        let seen = [quic, dtls, stun, short].map(|payload| udp(CLIENT, SERVER, &payload));
        let stats = counted(&seen).expect("no messages");
        assert_eq!((stats.known, stats.short, stats.iodine), (3, 1, 0));
        assert_eq!((stats.known_bytes, stats.short_bytes), (1_206 + 105 + 28, 1_201));
    }
}
