//! Packets in, sums out, whatever the split.

use proptest::prelude::*;

use super::*;
use crate::input::Frame;
use crate::packet::{Decoder, Facts, LinkType, Verdict};

const CLIENT: u8 = 1;
const SERVER: u8 = 2;

/// A packet with the bytes of its frame.
pub(crate) type Seen = (PacketRow, Vec<u8>);

fn packet(proto: u8, from: u8, to: u8, transport: &[u8]) -> Seen {
    let mut bytes = vec![2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 8, 0];
    let len = (20 + transport.len()) as u16;
    bytes.extend_from_slice(&[
        0x45,
        0,
        (len >> 8) as u8,
        len as u8,
        0,
        0,
        0x40,
        0,
        64,
        proto,
        0,
        0,
    ]);
    bytes.extend_from_slice(&[10, 0, 0, from, 10, 0, 0, to]);
    bytes.extend_from_slice(transport);
    let mut facts = Facts::default();
    let wire_bytes = bytes.len() as u32;
    let verdict = Decoder::default().decode(LinkType::ETHERNET, &bytes, wire_bytes, &mut facts);
    assert_eq!(verdict, Verdict::Flow);
    let frame = Frame {
        time_ns: 5_000_000_000,
        offset: 0,
        captured_bytes: wire_bytes,
        wire_bytes,
        link: LinkType::ETHERNET,
        interface: 0,
        flags: 0,
    };
    (*facts.row_of(&frame, 7, 0, 5_000_000_000), bytes)
}

pub(crate) fn udp(from: (u8, u16), to: (u8, u16), payload: &[u8]) -> Seen {
    let mut bytes = Vec::new();
    for word in [from.1, to.1, 8 + payload.len() as u16, 0] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    bytes.extend_from_slice(payload);
    packet(17, from.0, to.0, &bytes)
}

pub(crate) fn tcp(from: (u8, u16), to: (u8, u16), payload: &[u8]) -> Seen {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&from.1.to_be_bytes());
    bytes.extend_from_slice(&to.1.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(payload);
    packet(6, from.0, to.0, &bytes)
}

pub(crate) fn echo(from: u8, to: u8, kind: u8, id: u16, sequence: u16, data: &[u8]) -> Seen {
    let mut bytes = vec![kind, 0, 0, 0];
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(data);
    packet(1, from, to, &bytes)
}

pub(crate) fn dns(name: &str, kind: u16, response: Option<(u8, usize)>) -> Vec<u8> {
    let (flags, code) = response.map_or((1, 0), |(code, _)| (0x81, code));
    let answers = response.is_some_and(|(code, answer)| code == 0 && answer > 0);
    let mut message = vec![0, 9, flags, code, 0, 1, 0, answers.into(), 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message.extend(vec![0x55; response.map_or(0, |(_, answer)| answer)]);
    message
}

/// The answer that a name stands for these addresses.
pub(crate) fn resolved(name: &str, addresses: &[[u8; 4]]) -> Vec<u8> {
    let mut message = dns(name, 1, Some((0, 0)));
    message[7] = addresses.len() as u8;
    for address in addresses {
        message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend_from_slice(address);
    }
    message
}

pub(crate) fn features(seen: &[Seen]) -> Features {
    added(Features::new(5, Seed::default()), seen)
}

fn added(mut features: Features, seen: &[Seen]) -> Features {
    for (row, bytes) in seen {
        if concerns(row, bytes) {
            features.add(row, bytes);
        }
    }
    features
}

#[test]
fn a_question_and_its_answer_are_of_one_client() {
    let (client, server) = ((CLIENT, 40_000), (SERVER, 53));
    let seen = [
        udp(client, server, &dns("aGVsbG8.t.Example.com", 16, None)),
        udp(server, client, &dns("aGVsbG8.t.Example.com", 16, Some((0, 150)))),
        udp(server, client, &dns("nowhere.example.com", 1, Some((3, 300)))),
        udp(client, (SERVER, 5_353), &dns("x.example.com", 16, None)),
        udp(client, server, b"no message"),
    ];
    let told = features(&seen);
    assert_eq!(told.dns.messages, 3);
    let entries = told.dns.sorted();
    let [(key, stats)] = entries[..] else { panic!("{entries:?}") };
    assert_eq!(key.client.ip().to_string(), "10.0.0.1");
    assert_eq!((stats.queries, stats.responses, stats.nxdomain), (1, 2, 1));
    assert_eq!((stats.subdomain_bytes, stats.longest_subdomain), (8, 8));
    assert_eq!((stats.answer_bytes, stats.given_bytes, stats.names.estimate()), (450, 50, 2));
    assert_eq!(stats.types[DnsType::Txt as usize], 1);
    assert_eq!(stats.domain.shown(), "example.com");
}

#[test]
fn an_answer_that_is_cut_behind_its_question_counts() {
    let answer = dns("aGVsbG8.t.example.com", 16, Some((0, 150)));
    let (mut cut, bytes) = udp((SERVER, 53), (CLIENT, 40_000), &answer);
    cut.payload_captured = 60;
    let told = features(&[(cut, bytes)]);
    let entries = told.dns.sorted();
    let [(_, stats)] = entries[..] else { panic!("{entries:?}") };
    assert_eq!((stats.queries, stats.responses), (0, 1));
}

#[test]
fn an_answer_says_whom_a_name_stands_for() {
    let (client, server) = ((CLIENT, 40_000), (SERVER, 53));
    let (one, other) = ([203, 0, 113, 9], [192, 0, 2, 9]);
    let mut refused = resolved("no.example.com", &[one]);
    refused[3] |= 5;
    let told = features(&[
        udp(server, client, &resolved("WWW.Example.com", &[one, other])),
        udp(server, client, &resolved("api.example.com", &[one])),
        udp(server, client, &resolved("a.zip", &[one])),
        udp(server, client, &refused),
        // A question tells nothing, whatever hangs on to it.
        udp(client, server, &resolved("b.zip", &[one])),
    ]);
    let mut all: Vec<_> = told.told.sorted();
    all.sort_by_key(|(key, told)| (key.address, told.name));
    let all = all.into_iter().map(|(key, told)| (key.address.ip().to_string(), told.name.shown()));
    let expected = [
        ("192.0.2.9", "www.example.com"),
        ("203.0.113.9", "a.zip"),
        ("203.0.113.9", "api.example.com"),
    ];
    assert!(all.eq(expected.map(|(address, name)| (address.to_owned(), name.to_owned()))));
    assert!(told.told.sorted().iter().all(|(_, told)| told.ttl_s == 60));
}

#[test]
fn dns_over_tcp_is_read_behind_its_length() {
    let message = dns("abc.example.org", 10, None);
    let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
    let told = features(&[tcp((CLIENT, 40_000), (SERVER, 53), &framed)]);
    assert_eq!(told.dns.sorted()[0].1.types[DnsType::Null as usize], 1);
}

#[test]
fn replies_are_held_against_requests() {
    let ramp: Vec<u8> = (0..56).collect();
    let mut seen = Vec::new();
    for sequence in 0..4 {
        seen.push(echo(CLIENT, SERVER, 8, 77, sequence, &ramp));
        let other = [b"something else".as_slice(), &[sequence as u8; 3]].concat();
        let data = if sequence == 3 { &other } else { &ramp };
        seen.push(echo(SERVER, CLIENT, 0, 77, sequence, data));
    }
    seen.push(echo(SERVER, CLIENT, 0, 78, 9, &ramp));
    let told = features(&seen);
    let entries = told.echo.sorted();
    let [(key, stats)] = entries[..] else { panic!("{entries:?}") };
    assert_eq!(key.requester.ip().to_string(), "10.0.0.1");
    assert_eq!((stats.requests, stats.replies), (4, 5));
    assert_eq!((stats.shortest, stats.longest), (17, 56));
    assert_eq!(stats.templates[Template::Ramp as usize], 8);
    assert_eq!(stats.templates[Template::Other as usize], 1);
    assert_eq!(stats.identifiers.estimate(), 2);
    let found = stats.exchanges(None, told.seed());
    assert_eq!(found, Exchanges { alike: 3, unlike: 1, unasked: 1 });
}

#[test]
fn a_reply_in_the_next_second_finds_its_request() {
    let first = features(&[echo(CLIENT, SERVER, 8, 1, 1, b"data")]);
    let then = features(&[echo(SERVER, CLIENT, 0, 1, 1, b"data")]);
    let (_, asked) = first.echo.sorted()[0];
    let (_, answered) = then.echo.sorted()[0];
    let seed = Seed::default();
    assert_eq!(answered.exchanges(None, seed).unasked, 1);
    assert_eq!(answered.exchanges(Some(&asked.asked), seed).alike, 1);
}

#[test]
fn many_exchanges_are_sampled_fairly() {
    let mut seen = Vec::new();
    for sequence in 0..2_000_u16 {
        seen.push(echo(CLIENT, SERVER, 8, 5, sequence, &sequence.to_be_bytes()));
        // One reply in four is lost, one in four is another.
        match sequence % 4 {
            0 => {}
            1 => seen.push(echo(SERVER, CLIENT, 0, 5, sequence, b"no")),
            _ => seen.push(echo(SERVER, CLIENT, 0, 5, sequence, &sequence.to_be_bytes())),
        }
    }
    let told = features(&seen);
    let found = told.echo.sorted()[0].1.exchanges(None, told.seed());
    assert_eq!(found.unasked, 0);
    assert!(found.unlike >= 1 && found.alike >= 4, "{found:?}");
}

#[test]
fn requests_and_status_lines_are_read_on_any_port_but_those_of_tls() {
    let request = b"GET /x?y HTTP/1.1\r\nHost: h\r\nUser-Agent: u\r\n\r\n";
    let seen = [
        tcp((CLIENT, 40_000), (SERVER, 8_081), request),
        tcp((SERVER, 8_081), (CLIENT, 40_000), b"HTTP/1.1 404 Not Found\r\n\r\n"),
        tcp((CLIENT, 40_000), (SERVER, 443), request),
        tcp((CLIENT, 40_000), (SERVER, 8_081), b"\x17\x03\x03ABC"),
    ];
    let told = features(&seen);
    let requests = told.requests.sorted();
    let [(key, line)] = requests[..] else { panic!("{requests:?}") };
    assert_eq!((key.client_port, key.server_port), (40_000, 8_081));
    assert_eq!((line.path.shown(), line.agent.shown()), ("/x?y".to_owned(), "u".to_owned()));
    let answers = told.answers.sorted();
    let [(key, status)] = answers[..] else { panic!("{answers:?}") };
    assert_eq!((key.client_port, key.server_port, status.0), (40_000, 8_081, 404));
}

fn any_packet() -> impl Strategy<Value = Seen> {
    let kind = prop_oneof![Just(1_u16), Just(16), Just(28)];
    prop_oneof![
        (1..5_u8, "[a-c]{1,2}\\.[x-z]\\.(com|org)", kind, prop::option::of((0..4_u8, 0..9_usize)))
            .prop_map(|(host, name, kind, response)| {
                let message = dns(&name, kind, response);
                match response {
                    Some(_) => udp((9, 53), (host, 1_000), &message),
                    None => udp((host, 1_000), (9, 53), &message),
                }
            }),
        (1..5_u8, "[a-c]\\.[x-z]\\.(com|zip)", prop::collection::vec(0..4_u8, 0..4)).prop_map(
            |(host, name, last)| {
                let addresses: Vec<_> = last.iter().map(|&last| [203, 0, 113, last]).collect();
                udp((9, 53), (host, 1_000), &resolved(&name, &addresses))
            }
        ),
        (1..5_u8, any::<bool>(), 0..3_u16, 0..40_u16, prop::collection::vec(0..3_u8, 0..40))
            .prop_map(|(host, ask, id, sequence, data)| match ask {
                true => echo(host, 9, 8, id, sequence, &data),
                false => echo(9, host, 0, id, sequence, &data),
            }),
        (1..5_u8, "GET /[a-z]{0,5} HTTP/1\\.1\r\nHost: [a-z]{1,3}\r\n")
            .prop_map(|(host, text)| tcp((host, 2_000), (9, 80), text.as_bytes())),
        prop::collection::vec(any::<u8>(), 0..60).prop_map(|bytes| udp((1, 53), (2, 53), &bytes)),
        prop::collection::vec(any::<u8>(), 0..60).prop_map(|bytes| tcp((1, 80), (2, 53), &bytes)),
    ]
}

proptest! {
    #[test]
    fn shards_merge_to_the_same_in_any_order(
        seen in prop::collection::vec(any_packet(), 0..120),
        shards in prop::collection::vec(0..3_usize, 120),
    ) {
        let mut whole = features(&seen);
        whole.settle();
        let mut parts = vec![Vec::new(); 3];
        for (packet, &shard) in seen.iter().zip(&shards).rev() {
            parts[shard].push(packet.clone());
        }
        let mut merged = features(&parts[2]);
        merged.merge(&mut features(&parts[0]));
        merged.merge(&mut features(&parts[1]));
        merged.settle();
        prop_assert!(merged == whole);
        // Tables that had another second before.
        let mut again = features(&parts[1]);
        again.begin(5, Seed::default());
        let mut again = added(again, &seen);
        again.settle();
        prop_assert!(again == whole);
    }
}
