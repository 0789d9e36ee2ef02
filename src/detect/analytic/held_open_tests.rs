//! What holds connections open, and what only looks like it.

use std::net::IpAddr;

use super::*;
use crate::detect::analytic::testing::Bench;
use crate::flow::Outline;
use crate::packet::FlowKey;
use crate::packet::key::from_ip;

const S: i64 = 1_000_000_000;
const SERVER: &str = "10.0.0.80";

/// A connection: from which client and port, from when to when, packets and bytes of both.
fn flow(
    client: &str,
    port: u16,
    (start_s, end_s): (i64, i64),
    packets: u64,
    bytes: u64,
) -> Outline {
    let parsed = |ip: &str| from_ip(ip.parse::<IpAddr>().unwrap());
    let ((version, a), (_, b)) = (parsed(client), parsed(SERVER));
    Outline {
        key: FlowKey {
            port_a: port,
            port_b: 80,
            echo_id: 0,
            vlan: 0,
            vni: 0,
            proto: TCP,
            version,
            a,
            b,
        },
        forward_is_a_to_b: true,
        originator_guessed: false,
        start_ns: start_s * S,
        end_ns: end_s * S,
        decided_ns: (end_s + 5) * S,
        packets: [packets / 2, packets / 2],
        tcp_flags: [0, 0],
        wire_bytes: bytes,
        sent_ip_bytes: bytes / 2,
        had_response: true,
        is_cut: false,
    }
}

/// Lines of a header that never ends, one each ten seconds, acknowledged.
fn dripping(client: &str, port: u16, span: (i64, i64)) -> Outline {
    let packets = 6 + 2 * (span.1 - span.0) as u64 / 10;
    let flow = flow(client, port, span, packets, packets * 66 + 400);
    Outline { had_response: false, ..flow }
}

fn found(flows: &[Outline]) -> Vec<Finding> {
    let mut bench = Bench::new(HeldOpen::default());
    let mut found = Vec::new();
    let mut second = i64::MIN;
    for outline in flows {
        let known_s = outline.decided_ns / S;
        if known_s > second {
            second = known_s;
            found.extend(bench.see(&Event::Time { second }));
        }
        let end = FlowEnd { outline, app: None, hosts: None };
        found.extend(bench.see(&Event::Flow(&end)));
    }
    found.extend(bench.see(&Event::End));
    found
}

fn severities(flows: &[Outline]) -> Vec<Severity> {
    found(flows).iter().map(|finding| finding.case.as_ref().unwrap().severity).collect()
}

#[test]
fn requests_that_never_end_are_found_when_the_time_out_cuts_them() {
    let flows: Vec<Outline> =
        (0..150).map(|at| dripping("203.0.113.9", 20_000 + at, (100, 400))).collect();
    let found = found(&flows);
    assert_eq!(found.len(), 1, "those that end together are told of together");
    let finding = &found[0];
    assert_eq!((finding.measured, finding.entity.id.as_str()), (150, SERVER));
    assert_eq!(finding.direction, Direction::Inbound);
    assert_eq!(finding.peers[0].host.ip().to_string(), "203.0.113.9");
    let case = finding.case.as_ref().unwrap();
    assert_eq!(case.severity, Severity::Medium);
    assert!(case.summary.contains("203.0.113.9 held 150 connections at 10.0.0.80 port 80"));
}

#[test]
fn at_the_threshold_half_a_minute_without_an_answer_suffices() {
    let of = |count: u16, lasts_s: i64| {
        let span = (100, 100 + lasts_s);
        let flows: Vec<_> =
            (0..count).map(|at| dripping("203.0.113.9", 20_000 + at, span)).collect();
        severities(&flows)
    };
    assert_eq!(of(127, 35), []);
    for (count, lasts_s) in [(128, 35), (135, 45), (150, 105)] {
        assert_eq!(of(count, lasts_s), [Severity::Medium], "{count} for {lasts_s} s");
    }
    let answered: Vec<_> =
        (0..150).map(|at| flow("203.0.113.9", 20_000 + at, (100, 400), 40, 20_000)).collect();
    assert_eq!(severities(&answered), [], "held for as long as can be, and answered");
}

#[test]
fn what_ends_after_the_first_telling_is_told_of_before_all_is_over() {
    let flows: Vec<Outline> = (0..200)
        .map(|at| dripping("203.0.113.9", 20_000 + at, (100, 400 + i64::from(at >= 160) * 2)))
        .collect();
    let found = found(&flows);
    let measured: Vec<u64> = found.iter().map(|finding| finding.measured).collect();
    assert_eq!(measured, [160, 200]);
    let told: u64 = found.iter().map(|finding| finding.traffic.packets).sum();
    let sent: u64 = flows.iter().map(|flow| flow.packets[0] + flow.packets[1]).sum();
    assert_eq!(told, sent);
    assert!(found.iter().all(|finding| finding.busiest().packets == 0));
}

#[test]
fn one_clients_are_told_as_one_clients() {
    let one: Vec<Outline> =
        (0..600).map(|at| dripping("203.0.113.9", 20_000 + at, (100, 400))).collect();
    let found_of_one = found(&one);
    let [finding] = &found_of_one[..] else { panic!("{}", found_of_one.len()) };
    assert_eq!((finding.measured, finding.shape), (600, Shape::OneToOne));
    let many: Vec<Outline> = (0..600)
        .map(|at| dripping(&format!("203.0.113.{}", at % 200), 20_000 + at, (100, 400)))
        .collect();
    let found_of_many = found(&many);
    let [finding] = &found_of_many[..] else { panic!("{}", found_of_many.len()) };
    assert_eq!((finding.measured, finding.shape), (600, Shape::ManyToOne));
}

#[test]
fn a_server_that_gives_up_after_a_while_is_held_all_the_same() {
    // Each is dropped after forty seconds, and another takes its place.
    let at = |number: i64| (100 + number / 4, 140 + number / 4);
    let flows: Vec<Outline> = (0..600)
        .map(|number| dripping("203.0.113.9", 20_000 + number as u16, at(number)))
        .collect();
    let severities = severities(&flows);
    assert!(!severities.is_empty());
    assert!(severities.iter().all(|&severity| severity == Severity::Medium));
}

#[test]
fn of_our_own_hosts_the_one_that_holds_them_is_named() {
    let flows: Vec<Outline> =
        (0..200).map(|at| dripping("10.0.0.7", 20_000 + at, (100, 400))).collect();
    let found = found(&flows);
    let finding = &found[0];
    assert_eq!(finding.entity.id, "10.0.0.7");
    let case = finding.case.as_ref().unwrap();
    assert_eq!(case.severity, Severity::Low, "a pool of ours may look so");
    assert_eq!(case.possible_analytics, ["AN0971"]);
}

#[test]
fn browsers_chats_pools_and_long_polls_are_none() {
    let span = (100, 400);
    // Six connections of each of a hundred browsers, each of which got a page.
    let browsers: Vec<Outline> = (0..600)
        .map(|at| flow(&format!("203.0.113.{}", at / 6), 20_000 + at, span, 40, 20_000))
        .collect();
    assert!(severities(&browsers).is_empty());
    // A thousand WebSockets through TLS: a ping each thirty seconds, a handshake before.
    let chat: Vec<Outline> = (0..1_000)
        .map(|at| flow(&format!("198.51.{}.{}", at / 200, at % 200), 20_000 + at, span, 50, 9_000))
        .collect();
    assert!(severities(&chat).iter().all(|&severity| severity == Severity::Informational));
    // A pool as large as a database's default lets it be.
    let pool: Vec<Outline> =
        (0..100).map(|at| flow("10.0.0.7", 20_000 + at, span, 30, 4_000)).collect();
    assert!(severities(&pool).is_empty());
    // Larger ones too, as long as they are answered.
    let large: Vec<Outline> =
        (0..600).map(|at| flow("10.0.0.7", 20_000 + at, span, 30, 4_000)).collect();
    assert!(severities(&large).iter().all(|&severity| severity == Severity::Informational));
    // Long polls: an answer each twenty-five seconds.
    let polls: Vec<Outline> =
        (0..200).map(|at| flow("203.0.113.9", 20_000 + at, span, 60, 12_000)).collect();
    assert!(severities(&polls).iter().all(|&severity| severity == Severity::Informational));
    // A load test over kept connections moves data.
    let load: Vec<Outline> =
        (0..500).map(|at| flow("203.0.113.9", 20_000 + at, span, 9_000, 4_000_000)).collect();
    assert!(severities(&load).is_empty());
}

#[test]
fn a_flood_of_services_is_bounded_and_hides_nothing() {
    let mut bench = Bench::new(HeldOpen::default());
    let mut found = Vec::new();
    for number in 0..40_000_u32 {
        let client = IpAddr::from((0xcb00_0000 + number).to_be_bytes()).to_string();
        let mut flows = vec![dripping(&client, 20_000, (100, 400))];
        if number % 100 == 0 {
            flows.push(dripping("203.0.113.9", number as u16, (100, 400)));
        }
        for outline in &flows {
            let end = FlowEnd { outline, app: None, hosts: None };
            found.extend(bench.see(&Event::Flow(&end)));
        }
    }
    found.extend(bench.see(&Event::End));
    assert!(bench.detector.pairs.len() <= MAX_PAIRS);
    assert!(bench.detector.refused() > 0);
    let by_client = found.iter().filter(|finding| finding.shape == Shape::OneToOne);
    assert!(by_client.count() > 0);
}
