//! What is no DNS at its port, and what may be there.

use super::super::dns_tunnel::DnsTunnel;
use super::super::testing::{Bench, alert_of};
use super::super::{Analytic, Event};
use super::*;
use crate::engine::window::features::tests::{Seen, dns, features, udp};

const CLIENT: (u8, u16) = (1, 40_000);
const SERVER: (u8, u16) = (2, 53);
const START_S: i64 = 3_000;

fn judged(seconds: impl Iterator<Item = Vec<Seen>>) -> Vec<Finding> {
    let mut bench = Bench::new(DnsTunnel::default());
    let mut found = Vec::new();
    for (second, seen) in (START_S..).zip(seconds) {
        let told = features(&seen);
        for (key, stats) in told.not_dns.sorted() {
            let seen = NotDnsSecond { second, key, stats, who: None };
            found.extend(bench.see(&Event::NotDns(&seen)));
        }
        for (key, stats) in told.dns.sorted() {
            found.extend(bench.see(&Event::Dns(&DnsSecond { second, key, stats, who: None })));
        }
    }
    found
}

/// So many packets of so many bytes behind `head` in each second of a minute, both ways.
fn minute(head: &[u8], each: usize, bytes: usize) -> Vec<Vec<Seen>> {
    let payload = |n: usize| {
        // Bytes that a cipher could have made, without a sign of it.
        let noise = (0..bytes).map(|at| ((0x9e37 * (n + 1) * (at + 7)) >> 5) as u8);
        [head, &noise.collect::<Vec<u8>>()].concat()
    };
    let second = |second: usize| {
        let one = |n: usize| {
            let (from, to) = if n.is_multiple_of(2) { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
            udp(from, to, &payload(second * each + n))
        };
        (0..each).map(one).collect()
    };
    (0..60).map(second).collect()
}

const IODINE: &[u8] = &[0x10, 0xd1, 0x9e, 0x20, 0x78, 0xda];
/// Of a VPN: data, and the number of a peer.
const OTHER: &[u8] = &[0x04, 0, 0, 0, 0x9a, 0x9a];

#[test]
fn raw_packets_of_iodine_are_a_tunnel_with_all_that_they_carried() {
    let found = judged(minute(IODINE, 20, 1_000).into_iter());
    let first = found.first().expect("a tunnel");
    assert!(first.second - START_S < 10, "{}", first.second - START_S);
    assert_eq!(first.to_ports, [53]);
    let (alert, _) = alert_of(found);
    assert_eq!((alert.entity.id.as_str(), alert.severity), ("10.0.0.1", Severity::High));
    assert_eq!(alert.peers[0].address.to_string(), "10.0.0.2");
    let seconds = (alert.end_ns - alert.start_ns) as u64 / 1_000_000_000;
    assert!(seconds > 50, "{seconds}");
    assert_eq!(alert.evidence.packets, seconds * 20);
    assert_eq!(alert.evidence.details["bytes_not_dns"], seconds * 20 * 1_006);
    assert!(alert.summary.contains("not DNS at all: iodine's raw packets"), "{}", alert.summary);
}

#[test]
fn few_packets_or_few_bytes_are_none_and_a_shell_over_both_floors_is_one() {
    assert_eq!(judged(minute(IODINE, 20, 40).into_iter().take(20)), []);
    assert_eq!(judged(minute(IODINE, 1, 1_400).into_iter().take(49)), []);
    let found = judged(minute(IODINE, 20, 80).into_iter());
    let case = found.first().expect("a tunnel").case.as_ref().expect("a case");
    assert_eq!(case.severity, Severity::Medium);
    assert_eq!(case.score.recompute(), case.score.value);
}

#[test]
fn whatever_fills_packets_is_one_and_what_is_as_small_as_games_is_none() {
    let found = judged(minute(OTHER, 20, 900).into_iter());
    let case = found.last().expect("a tunnel").case.as_ref().expect("a case");
    assert!(case.summary.contains("not DNS at all (100 %"), "{}", case.summary);
    assert_eq!(judged(minute(OTHER, 60, 130).into_iter()), []);
}

#[test]
fn protocols_that_say_what_they_are_are_none() {
    let quic = [0xc3, 0, 0, 0, 1, 8];
    let begun = || minute(&quic, 2, 1_200).into_iter().take(1);
    let short = || minute(&[0x55], 20, 1_200).into_iter();
    assert_eq!(judged(begun().chain(short())), [], "QUIC");
    assert_eq!(judged(short()), [], "QUIC, whose beginning was missed");
    let dtls = [23, 0xfe, 0xfd, 0, 1];
    assert_eq!(judged(minute(&dtls, 20, 1_200).into_iter()), []);
    let raw = minute(IODINE, 20, 1_000).into_iter();
    assert!(!judged(begun().chain(raw)).is_empty(), "one packet of QUIC hides nothing else");
}

#[test]
fn a_resolver_that_sends_some_strange_packets_is_none() {
    let seconds = minute(OTHER, 2, 1_300).into_iter().map(|mut seen| {
        let question = dns("www.example.com", 1, None);
        seen.extend((0..4).map(|_| udp(CLIENT, SERVER, &question)));
        seen
    });
    assert_eq!(judged(seconds), []);
}

#[test]
fn a_flood_of_pairs_is_bounded() {
    let mut bench = Bench::new(DnsTunnel::default());
    let stats = NotDnsStats::default();
    for number in 0..MAX_PAIRS as u32 + 10 {
        let client = Host::from(std::net::IpAddr::from(number.to_be_bytes()));
        let key = NotDnsKey { client, server: client };
        let seen = NotDnsSecond { second: START_S, key: &key, stats: &stats, who: None };
        assert_eq!(bench.see(&Event::NotDns(&seen)), []);
    }
    assert_eq!(bench.detector.refused(), 10);
}
