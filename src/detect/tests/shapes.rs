//! Reflection, carpet bombing, one to many, storms, new connections.

use serde_json::json;

use super::traffic::{Run, alerts_of_seconds, back, delta, detectors, host, ports, stranger};
use crate::detect::{DetectSettings, Direction, Shape};
use crate::engine::window::{Caps, Delta, Host, LinkDelta};
use crate::packet::PacketClass as C;

const T: i64 = 1_700_000_000;

fn responses(sources: u64, each: u32, port: u16, payload: u32, victim: Host) -> Vec<Delta> {
    (0..sources)
        .map(|n| ports(delta(stranger(n), victim, C::Udp, each, payload), port, 40_000 + n as u16))
        .collect()
}

#[test]
fn many_reflectors_are_a_reflection_in_one_second() {
    let victim = host("10.10.10.10");
    for (port, service) in
        [(53, "dns"), (123, "ntp"), (11_211, "memcached"), (4_500, "ipsec_nat_t")]
    {
        let alerts = alerts_of_seconds(&[(T, responses(1_000, 2, port, 450, victim))]);
        assert_eq!(detectors(&alerts), ["reflection"], "{service}");
        let alert = &alerts[0];
        assert_eq!(alert.entity.id, "10.10.10.10");
        assert_eq!(alert.evidence.details["service"], json!(service));
        assert_eq!(alert.evidence.details["mean_response_payload_bytes"], json!(450));
        assert_eq!(alert.evidence.peak.packets_per_s, 2_000);
        assert_eq!(alert.evidence.shape, Shape::ManyToOne);
        assert!(alert.analytics.is_empty());
    }
    assert!(alerts_of_seconds(&[(T, responses(999, 1, 53, 450, victim))]).is_empty());
}

#[test]
fn responses_that_were_asked_for_are_none() {
    let resolver = host("10.0.0.53");
    let mut second = responses(2_000, 5, 53, 1_200, resolver);
    let requests: Vec<_> = second.iter().map(|response| back(*response, 5)).collect();
    second.extend(requests);
    assert!(alerts_of_seconds(&[(T, second.clone()), (T + 1, second)]).is_empty());
}

#[test]
fn reflection_names_the_udp_flood_that_it_is() {
    let flood = responses(4_000, 5, 389, 1_400, host("10.10.10.10"));
    let alerts = alerts_of_seconds(&[(T, flood.clone()), (T + 1, flood)]);
    assert_eq!(detectors(&alerts), ["reflection"]);
    assert_eq!(alerts[0].evidence.also_seen, ["udp_flood"]);
}

#[test]
fn an_unlisted_port_counts_by_what_it_does() {
    let victim = host("10.10.10.10");
    let alerts = alerts_of_seconds(&[(T, responses(500, 4, 17_777, 900, victim))]);
    assert_eq!(detectors(&alerts), ["reflection"]);
    assert_eq!(alerts[0].evidence.details["service"], json!("unlisted"));
    assert_eq!(alerts[0].evidence.details["service_port"], json!(17_777));
    // Small packets from one port are what a flood tool makes.
    assert!(alerts_of_seconds(&[(T, responses(500, 4, 17_777, 20, victim))]).is_empty());
}

#[test]
fn more_reflectors_than_tables_hold_are_still_a_reflection() {
    let mut run = Run::new();
    run.windows.caps = Caps { pairs: 100, services: 1, ..Caps::default() };
    run.second(T, &responses(5_000, 1, 53, 500, host("10.10.10.10")));
    let alerts = run.alerts();
    assert_eq!(detectors(&alerts), ["reflection"]);
    assert_eq!(alerts[0].evidence.details["service"], json!("dns"));
}

#[test]
fn syn_acks_that_nobody_asked_for_are_a_tcp_reflection() {
    let victim = host("10.10.10.10");
    let second: Vec<_> = (0..6_000)
        .map(|n| ports(delta(stranger(n), victim, C::TcpSynAck, 1, 0), 443, 1_000 + n as u16))
        .collect();
    let alerts = alerts_of_seconds(&[(T, second)]);
    assert_eq!(detectors(&alerts), ["reflection"]);
    assert_eq!(alerts[0].evidence.class, "tcp_synack");
    assert_eq!(alerts[0].evidence.top_source_port.map(|p| p.port), Some(443));
    // Backscatter at a darknet: five a second.
    let thin: Vec<_> = (0..60)
        .map(|s| {
            let five =
                (0..5).map(|n| delta(stranger(s as u64 * 5 + n), victim, C::TcpSynAck, 1, 0));
            (T + s, five.collect())
        })
        .collect();
    assert!(alerts_of_seconds(&thin).is_empty());
}

#[test]
fn a_reflector_at_home_answers_ten_times_what_it_is_asked() {
    let (server, victim) = (host("10.0.0.53"), host("203.0.113.9"));
    let request = ports(delta(victim, server, C::Udp, 2_000, 40), 5_000, 53);
    for (payload, found) in [(399, false), (400, true)] {
        let response = ports(delta(server, victim, C::Udp, 2_000, payload), 53, 5_000);
        let alerts =
            alerts_of_seconds(&[(T, vec![request, response]), (T + 1, vec![request, response])]);
        assert_eq!(detectors(&alerts).contains(&"reflector"), found, "{payload}");
        if found {
            assert_eq!(detectors(&alerts), ["reflector"]);
            assert_eq!(alerts[0].analytics, ["AN0972"]);
            assert_eq!(alerts[0].evidence.details["amplification"], json!(10.0));
            assert_eq!(alerts[0].start_ns, T * 1_000_000_000);
        }
    }
}

fn carpet(each: u32) -> Vec<Delta> {
    let addresses = (1..=200).map(|n| host(&format!("192.0.2.{n}")));
    addresses
        .enumerate()
        .map(|(n, dst)| {
            ports(delta(stranger(n as u64 % 20), dst, C::Udp, each, 512), 999, n as u16)
        })
        .collect()
}

#[test]
fn a_prefix_is_the_entity_when_no_address_of_it_is_over_the_threshold() {
    let alerts = alerts_of_seconds(&[(T, carpet(100))]);
    assert_eq!(detectors(&alerts), ["carpet_bombing"]);
    let alert = &alerts[0];
    assert_eq!(alert.entity.id, "192.0.2.0/24");
    assert_eq!(alert.evidence.shape, Shape::Carpet);
    assert_eq!(alert.evidence.distinct_destinations, 200);
    assert_eq!(alert.evidence.distinct_sources, 20);
    assert_eq!(alert.evidence.peak.packets_per_s, 20_000);
    assert_eq!(alert.evidence.direction, Direction::Crossing);
    assert!(alerts_of_seconds(&[(T, carpet(49))]).is_empty());
}

#[test]
fn a_network_of_clients_with_answered_streams_is_no_carpet() {
    let second: Vec<_> = carpet(100).into_iter().flat_map(|d| [d, back(d, 10)]).collect();
    assert!(alerts_of_seconds(&[(T, second)]).is_empty());
}

#[test]
fn a_carpet_is_found_when_hosts_and_pairs_are_too_many() {
    let mut run = Run::new();
    run.windows.caps = Caps { hosts: 32, pairs: 32, ..Caps::default() };
    run.second(T, &carpet(100));
    let alerts = run.alerts();
    assert_eq!(detectors(&alerts), ["carpet_bombing"]);
    assert_eq!(alerts[0].entity.id, "192.0.2.0/24");
    assert!(alerts[0].evidence.estimated);
}

#[test]
fn one_home_sender_that_floods_many_is_one_alert() {
    let sender = host("10.0.0.5");
    let second: Vec<_> = (0..200).map(|n| delta(sender, stranger(n), C::Udp, 100, 512)).collect();
    let alerts = alerts_of_seconds(&[(T, second.clone())]);
    assert_eq!(detectors(&alerts), ["sender_flood"]);
    assert_eq!(alerts[0].entity.id, "10.0.0.5");
    assert_eq!(alerts[0].analytics, ["AN0972"]);
    assert_eq!(alerts[0].evidence.shape, Shape::OneToMany);
    assert_eq!(alerts[0].evidence.distinct_destinations, 200);
    // A media server whose viewers report back.
    let answered: Vec<_> = second.into_iter().flat_map(|d| [d, back(d, 5)]).collect();
    assert!(alerts_of_seconds(&[(T, answered)]).is_empty());
}

#[test]
fn several_victims_of_one_home_sender_are_one_alert() {
    let sender = host("10.0.0.5");
    let second: Vec<_> = (0..5).map(|n| delta(sender, stranger(n), C::Udp, 12_000, 512)).collect();
    let alerts = alerts_of_seconds(&[(T, second)]);
    assert_eq!(detectors(&alerts), ["udp_flood"]);
    assert_eq!(alerts[0].peers.len(), 5);
    assert_eq!(alerts[0].evidence.peak.packets_per_s, 60_000);
    assert_eq!(alerts[0].evidence.shape, Shape::OneToMany);
}

fn frames(ether_type: u16, mac: u8, dst_mac: [u8; 6], frames: u32) -> LinkDelta {
    LinkDelta {
        ether_type,
        src_mac: [2, 0, 0, 0, 0, mac],
        src_mac_known: true,
        dst_mac,
        dst_mac_known: true,
        vlan: 0,
        vni: 0,
        frames,
        wire_bytes: u64::from(frames) * 60,
        arp_target: None,
    }
}

fn link_alerts(links: &[LinkDelta]) -> Vec<crate::alert::Alert> {
    let mut run = Run::new();
    run.second_with_links(T, &[], links);
    run.alerts()
}

#[test]
fn a_storm_is_named_by_station_and_type() {
    let arp = link_alerts(&[frames(0x0806, 9, [0xff; 6], 1_000)]);
    assert_eq!(detectors(&arp), ["non_ip_storm"]);
    assert_eq!(arp[0].entity.id, "02:00:00:00:00:09");
    assert_eq!(arp[0].evidence.details["ether_type"], json!("0x0806"));
    assert!(link_alerts(&[frames(0x0806, 9, [0xff; 6], 999)]).is_empty());
    // Spanning tree in LLC; MACsec in unicast is data.
    let bridges = [1, 0x80, 0xc2, 0, 0, 0];
    assert_eq!(detectors(&link_alerts(&[frames(38, 1, bridges, 1_500)])), ["non_ip_storm"]);
    assert!(link_alerts(&[frames(0x88e5, 1, [2; 6], 50_000)]).is_empty());
    // Stations that change their MAC add up.
    let many: Vec<_> = (0..200).map(|mac| frames(0x0806, mac, [0xff; 6], 60)).collect();
    let alerts = link_alerts(&many);
    assert_eq!(detectors(&alerts), ["non_ip_storm"]);
    assert_eq!(alerts[0].evidence.distinct_sources, 200);
}

#[test]
fn broadcast_storms_and_multicast_media_are_told_apart() {
    let mut flood = delta(host("10.0.0.5"), host("255.255.255.255"), C::Udp, 1_000, 100);
    (flood.dst_is_broadcast, flood.src_mac, flood.src_mac_known) = (true, [2; 6], true);
    let alerts = alerts_of_seconds(&[(T, vec![flood])]);
    assert_eq!(detectors(&alerts), ["broadcast_storm"]);
    assert_eq!(alerts[0].entity.id, "02:02:02:02:02:02");
    assert_eq!(alerts[0].peers[0].address.to_string(), "10.0.0.5");
    let mut video = delta(host("10.0.0.5"), host("239.1.1.1"), C::Udp, 9_000, 1_316);
    (video.dst_is_multicast, video.src_mac_known) = (true, true);
    let all: Vec<_> = (0..5).map(|s| (T + s, vec![video])).collect();
    assert!(alerts_of_seconds(&all).is_empty());
    let mut echo = delta(host("fe80::1"), host("ff02::1"), C::Icmp, 1_000, 16);
    (echo.proto, echo.src_port, echo.dst_is_multicast) = (58, 128, true);
    assert_eq!(detectors(&alerts_of_seconds(&[(T, vec![echo])])), ["multicast_storm"]);
}

/// A whole connection attempt with what the server answers.
fn handshake(client: Host, server: Host, n: u32, syn: u32, data: u32) -> [Delta; 2] {
    let port = 1_024 + n as u16;
    let mut out = ports(delta(client, server, C::TcpSyn, syn, 0), port, 80);
    out.classes[C::TcpAck as usize] = syn;
    out.classes[C::TcpRst as usize] = syn;
    out.classes[C::TcpData as usize] = data;
    let answer = ports(delta(server, client, C::TcpSynAck, syn, 0), 80, port);
    [out, answer]
}

#[test]
fn many_answered_connections_are_a_connection_flood() {
    let server = host("10.0.0.80");
    for (count, found) in [(3_499, false), (3_500, true)] {
        let second: Vec<_> =
            (0..count).flat_map(|n| handshake(stranger(n), server, 7, 1, 1)).collect();
        let alerts = alerts_of_seconds(&[(T, second)]);
        assert_eq!(detectors(&alerts), if found { vec!["connection_flood"] } else { vec![] });
    }
}

#[test]
fn connections_flood_at_the_rate_that_is_set_be_it_under_that_of_empty_ones() {
    let settings = |rate| DetectSettings {
        connection_rate_threshold: rate,
        empty_connection_rate_threshold: 256,
        ..DetectSettings::default()
    };
    // The total is under the other threshold, and above it where each server is under it.
    for servers in [1, 10] {
        let to = |server: u32| {
            let server = host(&format!("10.0.0.{}", 80 + server));
            (0..30).flat_map(move |n| handshake(stranger(n), server, 7, 1, 1))
        };
        let second: Vec<_> = (0..servers).flat_map(to).collect();
        for (rate, found) in [(30, servers as usize), (31, 0)] {
            let mut run = Run::with(settings(rate));
            run.second(T, &second);
            assert_eq!(detectors(&run.alerts()), vec!["connection_flood"; found], "{servers}");
        }
    }
}

#[test]
fn connections_made_to_be_dropped_flood_at_a_lower_rate() {
    let (client, server) = (host("192.168.56.101"), host("192.168.56.103"));
    let second = |data| (0..40).flat_map(|n| handshake(client, server, n, 10, data)).collect();
    let empty: Vec<_> = (0..5).map(|s| (T + s, second(0))).collect();
    let alerts = alerts_of_seconds(&empty);
    assert_eq!(detectors(&alerts), ["connection_flood"]);
    assert_eq!(alerts[0].evidence.details["empty_connections"], json!(true));
    assert_eq!(alerts[0].evidence.active_seconds, 5);
    // A proxy's connections to its backend carry requests.
    let used: Vec<_> = (0..5).map(|s| (T + s, second(10))).collect();
    assert!(alerts_of_seconds(&used).is_empty());
}

#[test]
fn answered_handshakes_that_nobody_completes_are_a_syn_flood() {
    let (client, server) = (host("192.168.1.52"), host("192.168.1.34"));
    let second: Vec<_> = (0..5_000)
        .flat_map(|n| {
            let [mut out, answer] = handshake(client, server, n, 1, 0);
            out.classes[C::TcpAck as usize] = 0;
            [out, answer]
        })
        .collect();
    assert_eq!(detectors(&alerts_of_seconds(&[(T, second)])), ["tcp_syn_flood"]);
}
