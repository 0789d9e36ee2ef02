//! Scans are called scans, floods floods, and busy clients neither.

use serde_json::json;

use super::traffic::{Run, alerts_of_seconds, delta, detectors, host, ports, stranger};
use crate::alert::Severity;
use crate::detect::DetectSettings;
use crate::engine::window::{Delta, Host, LinkDelta};
use crate::packet::PacketClass as C;

const T: i64 = 1_700_000_040; // a full minute, so that buckets are known

fn probe(class: C, dst_port: u16) -> Delta {
    let one = delta(host("203.0.113.66"), host("10.0.0.5"), class, 1, 0);
    ports(one, 51_234, dst_port)
}

fn reset(of: &Delta) -> Delta {
    ports(delta(of.dst, of.src, C::TcpRst, 1, 0), of.dst_port, of.src_port)
}

#[test]
fn every_flag_style_of_port_scan_is_a_port_scan() {
    for class in [C::TcpSyn, C::TcpOdd, C::TcpAck, C::TcpFin, C::Udp] {
        for answered in [false, true] {
            let second: Vec<Delta> = (1..=1_000)
                .map(|port| probe(class, port))
                .flat_map(
                    |p| if answered && class != C::Udp { vec![p, reset(&p)] } else { vec![p] },
                )
                .collect();
            // Twice in a row at 1,000 packets/s without an answer: no flood.
            let alerts = alerts_of_seconds(&[(T, second.clone()), (T + 1, second)]);
            assert_eq!(detectors(&alerts), ["port_scan"], "{class:?}");
            let alert = &alerts[0];
            assert_eq!(alert.entity.id, "203.0.113.66");
            assert_eq!(alert.peers[0].address.to_string(), "10.0.0.5");
            assert_eq!(alert.severity, Severity::Low);
            assert!(alert.analytics.is_empty());
        }
    }
}

#[test]
fn a_slow_port_scan_is_found_over_minutes() {
    let seconds: Vec<_> = (0..240).map(|s| (T + 2 * s, vec![probe(C::TcpSyn, s as u16)])).collect();
    let alerts = alerts_of_seconds(&seconds);
    assert_eq!(detectors(&alerts), ["port_scan"]);
    assert_eq!(alerts[0].start_ns, T * 1_000_000_000, "from the first probe");
    let few: Vec<_> = (0..40).map(|s| (T + 2 * s, vec![probe(C::TcpSyn, s as u16)])).collect();
    assert!(alerts_of_seconds(&few).is_empty());
}

#[test]
fn a_syn_flood_over_random_ports_is_a_flood_and_no_scan() {
    let (source, victim) = (host("172.16.0.5"), host("192.168.50.4"));
    let second: Vec<_> = (0..20_000u32)
        .map(|n| ports(delta(source, victim, C::TcpSyn, 1, 0), 1_234, (n * 7_919 % 65_521) as u16))
        .collect();
    let alerts = alerts_of_seconds(&[(T, second)]);
    assert_eq!(detectors(&alerts), ["tcp_syn_flood"]);
    assert_eq!(alerts[0].analytics, ["AN0972"], "both ends are at home, the sender is known");
    assert_eq!(alerts[0].entity.id, "172.16.0.5");
}

#[test]
fn what_goes_on_past_every_port_is_no_scan_any_more() {
    let seconds: Vec<_> = (0..40i64)
        .map(|s| {
            let many = (0..5_000u32).map(|n| probe(C::TcpSyn, (s as u32 * 5_000 + n) as u16));
            (T + s, many.collect())
        })
        .collect();
    let alerts = alerts_of_seconds(&seconds);
    assert!(detectors(&alerts).contains(&"tcp_syn_flood"), "{:?}", detectors(&alerts));
}

fn syn_to(n: u64, port: u16) -> Delta {
    ports(delta(host("10.0.0.66"), stranger(n), C::TcpSyn, 1, 0), 40_000 + n as u16, port)
}

fn syn_ack(of: &Delta) -> Delta {
    ports(delta(of.dst, of.src, C::TcpSynAck, 1, 0), of.dst_port, of.src_port)
}

#[test]
fn one_port_at_many_hosts_is_a_host_scan() {
    let second: Vec<_> = (0..60).map(|n| syn_to(n, 445)).collect();
    let alerts = alerts_of_seconds(&[(T, second)]);
    assert_eq!(detectors(&alerts), ["host_scan"]);
    assert_eq!(alerts[0].severity, Severity::Medium, "from inside");
    // Mirai: two ports, one host every two seconds, for ten minutes.
    let slow: Vec<_> = (0..300)
        .map(|s| (T + 2 * s, vec![syn_to(s as u64, if s % 10 == 0 { 2_323 } else { 23 })]))
        .collect();
    assert_eq!(detectors(&alerts_of_seconds(&slow)), ["host_scan"]);
}

#[test]
fn a_crawler_with_slow_servers_is_no_scanner() {
    // Every SYN-ACK comes in the next second.
    let mut before: Vec<Delta> = Vec::new();
    let seconds: Vec<_> = (0..60)
        .map(|s| {
            let syns: Vec<_> = (0..20).map(|n| syn_to(s as u64 * 20 + n, 443)).collect();
            let mut all: Vec<Delta> = before.iter().map(syn_ack).collect();
            all.extend(&syns);
            before = syns;
            (T + s, all)
        })
        .collect();
    let alerts = alerts_of_seconds(&seconds[1..]);
    assert!(alerts.is_empty(), "{:?}", alerts.iter().map(|a| &a.summary).collect::<Vec<_>>());
}

#[test]
fn a_peer_to_peer_client_with_dead_peers_is_no_scanner() {
    let seconds: Vec<_> = (0..120)
        .map(|s| {
            let dead = (0..3).map(|n| syn_to(s as u64 * 3 + n, 10_000 + (s * 3 + n as i64) as u16));
            let udp = (0..3).map(|n| {
                let dst = stranger(s as u64 * 3 + n);
                ports(delta(host("10.0.0.66"), dst, C::Udp, 1, 100), 6_881, 20_000 + (s * 3) as u16)
            });
            (T + s, dead.chain(udp).collect())
        })
        .collect();
    assert!(alerts_of_seconds(&seconds).is_empty());
}

#[test]
fn a_traceroute_is_no_udp_scan() {
    let second: Vec<_> = (0..90).map(|n| probe(C::Udp, 33_434 + n)).collect();
    assert!(alerts_of_seconds(&[(T, second)]).is_empty());
}

fn echo(n: u64, answered: bool) -> Vec<Delta> {
    let request = delta(host("10.0.0.66"), stranger(n), C::Icmp, 1, 0);
    let reply = ports(delta(request.dst, request.src, C::Icmp, 1, 0), 0, 8);
    if answered { vec![request, reply] } else { vec![request] }
}

#[test]
fn a_ping_sweep_leaves_many_requests_unanswered_and_monitoring_does_not() {
    let sweep: Vec<_> = (0..25).flat_map(|n| echo(n, n % 2 == 0)).collect();
    assert_eq!(detectors(&alerts_of_seconds(&[(T, sweep)])), ["ping_sweep"]);
    let monitoring: Vec<_> = (0..200).flat_map(|n| echo(n, n % 10 != 0)).collect();
    let all: Vec<_> = (0..5).map(|s| (T + s, monitoring.clone())).collect();
    assert!(alerts_of_seconds(&all).is_empty());
}

#[test]
fn a_protocol_scan_is_found() {
    let second: Vec<_> = (50..80)
        .map(|proto| Delta {
            proto,
            ..delta(host("10.0.0.66"), host("10.0.0.5"), C::OtherIp, 1, 0)
        })
        .collect();
    assert_eq!(detectors(&alerts_of_seconds(&[(T, second)])), ["protocol_scan"]);
}

#[test]
fn an_arp_sweep_counts_distinct_targets() {
    let ask = |n: u8| LinkDelta {
        ether_type: 0x0806,
        src_mac: [2, 0, 0, 0, 0, 1],
        src_mac_known: true,
        dst_mac: [0xff; 6],
        dst_mac_known: true,
        vlan: 0,
        vni: 0,
        frames: 1,
        wire_bytes: 60,
        arp_target: Some([10, 0, 0, n]),
    };
    let mut run = Run::new();
    run.second_with_links(T, &[], &(0..200).map(ask).collect::<Vec<_>>());
    let alerts = run.alerts();
    assert_eq!(detectors(&alerts), ["arp_sweep"]);
    assert_eq!(alerts[0].entity.id, "02:00:00:00:00:01");
    let mut run = Run::new();
    run.second_with_links(T, &[], &(0..200).map(|_| ask(7)).collect::<Vec<_>>());
    assert!(run.alerts().is_empty());
}

#[test]
fn spoofed_single_probes_neither_alert_nor_push_out_a_scanner() {
    let settings = DetectSettings { scan_sources: 64, ..DetectSettings::default() };
    let mut run = Run::with(settings);
    let victim: Host = host("10.0.0.5");
    for s in 0..30i64 {
        let mut deltas: Vec<_> = (0..500)
            .map(|n| delta(stranger(s as u64 * 500 + n), victim, C::TcpSyn, 1, 0))
            .collect();
        deltas.extend((0..3).map(|n| probe(C::TcpSyn, (s * 3 + n) as u16)));
        run.second(T + s, &deltas);
    }
    let (alerts, counters) = run.finish();
    assert_eq!(detectors(&alerts), ["port_scan"]);
    assert_eq!(alerts[0].entity.id, "203.0.113.66");
    assert!(counters.detector_state_refused > 0);
}

#[test]
fn a_one_sided_capture_shows_port_scans_but_no_host_scans() {
    let mut run = Run::new();
    run.telemetry.one_sided = true;
    let web: Vec<_> = (0..500).map(|n| syn_to(n, 443)).collect();
    run.second(T, &web);
    assert!(run.detection.alerts_so_far().is_empty());
    run.second(T + 1, &(0..200).map(|port| probe(C::TcpSyn, port)).collect::<Vec<_>>());
    let alerts = run.alerts();
    assert_eq!(detectors(&alerts), ["port_scan"]);
    assert_eq!(alerts[0].evidence.details["style"], json!("SYN"));
}
