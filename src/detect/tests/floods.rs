//! Floods at one address: what opens an alert, what it says, what stays quiet.

use serde_json::json;

use super::traffic::{Run, alerts_of_seconds, back, delta, detectors, host, ports, stranger};
use crate::alert::{Severity, State, alert_id};
use crate::detect::{DetectSettings, Direction, Shape, Telemetry};
use crate::engine::window::{Caps, Delta, Host};
use crate::packet::PacketClass as C;

const T: i64 = 1_700_000_000;

fn udp(packets: u32) -> Delta {
    delta(host("203.0.113.9"), host("10.0.0.5"), C::Udp, packets, 100)
}

#[test]
fn one_window_at_the_absolute_threshold_opens_an_alert_and_one_packet_less_does_not() {
    assert!(alerts_of_seconds(&[(T, vec![udp(9_999)])]).is_empty());
    let alerts = alerts_of_seconds(&[(T, vec![udp(10_000)])]);
    assert_eq!(detectors(&alerts), ["udp_flood"]);
    let alert = &alerts[0];
    assert_eq!(alert.entity.id, "10.0.0.5");
    assert_eq!(alert.evidence.direction, Direction::Inbound);
    assert_eq!(alert.evidence.shape, Shape::OneToOne);
    assert_eq!(alert.evidence.peak.packets_per_s, 10_000);
    assert_eq!(alert.evidence.peak.bits_per_s, 10_000 * 142 * 8);
    assert_eq!(alert.evidence.rule.name, "absolute_rate");
    assert_eq!(alert.evidence.answer_ratio, Some(0.0));
    assert_eq!(alert.state, State::Provisional);
    assert!(alert.analytics.is_empty(), "comes from outside");
    assert_eq!(alert.missing_telemetry, ["baseline", "process_map"]);
    assert_eq!(alert.peers[0].address.to_string(), "203.0.113.9");
    assert_eq!(alert.peers[0].packets, Some(10_000));
}

#[test]
fn two_unanswered_windows_in_a_row_open_an_alert_from_the_first_one() {
    assert!(alerts_of_seconds(&[(T, vec![udp(1_000)])]).is_empty());
    assert!(alerts_of_seconds(&[(T, vec![udp(1_000)]), (T + 1, vec![udp(999)])]).is_empty());
    assert!(
        alerts_of_seconds(&[(T, vec![udp(1_000)]), (T + 2, vec![udp(1_000)])]).is_empty(),
        "a pause of a second is no row"
    );
    let alerts = alerts_of_seconds(&[(T, vec![udp(1_000)]), (T + 1, vec![udp(1_200)])]);
    assert_eq!(detectors(&alerts), ["udp_flood"]);
    let alert = &alerts[0];
    assert_eq!(alert.start_ns, T * 1_000_000_000);
    assert_eq!(alert.end_ns, (T + 2) * 1_000_000_000);
    assert_eq!(alert.evidence.packets, 2_200);
    assert_eq!(alert.evidence.active_seconds, 2);
    assert_eq!(alert.evidence.peak.packets_per_s, 1_200);
    assert_eq!(alert.evidence.rule.name, "unanswered_rate");
    assert_eq!(alert.id, alert_id("udp_flood", &alert.entity, T));
    assert_eq!(alert.id.len(), 16);
}

#[test]
fn an_answered_stream_is_no_flood_at_any_rate() {
    // A QUIC download, a VPN, iperf with answers: one packet back for twenty.
    for rate in [2_000, 9_000, 80_000] {
        let stream = udp(rate);
        let quiet: Vec<_> =
            (0..5).map(|s| (T + s, vec![stream, back(stream, rate / 20)])).collect();
        assert!(alerts_of_seconds(&quiet).is_empty(), "{rate}");
        let loud: Vec<_> =
            (0..5).map(|s| (T + s, vec![stream, back(stream, rate / 20 - 1)])).collect();
        assert_eq!(detectors(&alerts_of_seconds(&loud)), ["udp_flood"], "{rate}");
    }
}

#[test]
fn a_tool_that_changes_its_port_for_each_packet_floods_even_if_it_is_answered() {
    let mut deltas = Vec::new();
    for port in 0..12_000u16 {
        let one = ports(udp(1), port, 9);
        deltas.extend([one, back(one, 1)]);
    }
    let alerts = alerts_of_seconds(&[(T, deltas)]);
    assert_eq!(detectors(&alerts), ["udp_flood"]);
    assert_eq!(alerts[0].entity.id, "10.0.0.5");
}

#[test]
fn one_attack_is_one_alert_that_grows() {
    let mut run = Run::new();
    let mut revisions = Vec::new();
    for second in 0..20 {
        let rate = if second < 10 { 2_000 } else { 30_000 };
        run.second(T + second, &[udp(rate)]);
        revisions.extend(
            run.detection.take_updates().into_iter().map(|u| (u.alert.revision, u.alert.state)),
        );
    }
    let alerts = run.alerts();
    assert_eq!(alerts.len(), 1);
    let alert = &alerts[0];
    assert_eq!(alert.state, State::Sustained);
    assert_eq!(alert.evidence.active_seconds, 20);
    assert_eq!(alert.evidence.packets, 10 * 2_000 + 10 * 30_000);
    assert_eq!(alert.evidence.peak.time_ns, (T + 10) * 1_000_000_000);
    assert_eq!(alert.severity, Severity::High);
    assert_eq!(
        revisions,
        [(1, State::Provisional), (2, State::Provisional), (3, State::Sustained)]
    );
    assert_eq!(alert.revision, 4, "and the end");
}

#[test]
fn it_is_sustained_from_the_fifteenth_second() {
    for (seconds, state) in [(14, State::Provisional), (15, State::Sustained)] {
        let all: Vec<_> = (0..seconds).map(|s| (T + s, vec![udp(2_000)])).collect();
        assert_eq!(alerts_of_seconds(&all)[0].state, state);
    }
}

#[test]
fn a_pause_up_to_the_quiet_time_keeps_the_alert_and_a_longer_one_ends_it() {
    for (pause, count) in [(60, 1), (61, 2)] {
        let flood = vec![udp(20_000)];
        let alerts = alerts_of_seconds(&[(T, flood.clone()), (T + pause, flood)]);
        assert_eq!(alerts.len(), count, "pause of {pause} s");
    }
}

#[test]
fn a_home_sender_is_the_entity_and_the_analytic_is_an0972() {
    let out = delta(host("10.0.0.5"), host("203.0.113.9"), C::Udp, 20_000, 1_400);
    let alerts = alerts_of_seconds(&[(T, vec![out])]);
    let alert = &alerts[0];
    assert_eq!(alert.entity.id, "10.0.0.5");
    assert_eq!(alert.analytics, ["AN0972"]);
    assert_eq!(alert.possible_analytics, ["AN0971", "AN0083"]);
    assert_eq!(alert.evidence.direction, Direction::Outbound);
    assert_eq!(alert.peers[0].address.to_string(), "203.0.113.9");
    assert_eq!(alert.severity, Severity::High, "10,000 packets/s, stateless, outbound");
    assert_eq!(alert.evidence.payload_sizes.len(), 1);
    assert_eq!(alert.evidence.payload_sizes[0].min, 1_024);
}

#[test]
fn confidence_stays_under_its_cap_without_a_baseline() {
    let all: Vec<_> = (0..30).map(|s| (T + s, vec![udp(500_000)])).collect();
    let alert = &alerts_of_seconds(&all)[0];
    assert_eq!(alert.confidence, 0.6);
    assert!(alert.missing_telemetry.contains(&"baseline".to_owned()));
    assert!(alert.summary.contains("without a baseline"), "{}", alert.summary);
}

fn spoofed(class: C, sources: u64, dst: Host) -> Vec<Delta> {
    (0..sources).map(|n| delta(stranger(n), dst, class, 1, 0)).collect()
}

#[test]
fn a_syn_flood_from_spoofed_sources_is_one_alert_at_the_victim() {
    let victim = host("192.168.1.2");
    for sources in [5_000, 60_000, 200_000] {
        // More sources than the tables hold must not change what is found.
        let second = spoofed(C::TcpSyn, sources, victim);
        let alerts = alerts_of_seconds(&[(T, second.clone()), (T + 1, second)]);
        assert_eq!(detectors(&alerts), ["tcp_syn_flood"], "{sources}");
        let alert = &alerts[0];
        assert_eq!(alert.entity.id, "192.168.1.2");
        assert_eq!(alert.evidence.shape, Shape::ManyToOne);
        assert!(alert.evidence.spoofed_sources);
        assert!(!alert.evidence.estimated);
        assert_eq!(alert.evidence.peak.packets_per_s, sources);
    }
}

#[test]
fn a_syn_flood_is_one_even_if_the_victim_answers_with_syn_ack() {
    let victim = host("192.168.1.2");
    let mut second = spoofed(C::TcpSyn, 3_000, victim);
    let answers: Vec<_> = second
        .iter()
        .map(|syn| {
            let mut answer = back(*syn, 1);
            answer.classes = [0; 12];
            answer.classes[C::TcpSynAck as usize] = 1;
            answer
        })
        .collect();
    second.extend(answers);
    let alerts = alerts_of_seconds(&[(T, second.clone()), (T + 1, second)]);
    assert_eq!(detectors(&alerts), ["tcp_syn_flood"]);
    assert_eq!(alerts[0].evidence.answer_ratio, Some(1.0));
}

/// A connection as one second sees it: handshake, `data` each way, FINs.
fn connection(client: Host, server: Host, port: u16, data: u32) -> [Delta; 2] {
    let mut out = ports(delta(client, server, C::TcpSyn, 1, 0), port, 443);
    out.classes[C::TcpAck as usize] = 2 + data;
    out.classes[C::TcpData as usize] = data;
    out.classes[C::TcpFin as usize] = 1;
    let mut answer = ports(delta(server, client, C::TcpSynAck, 1, 0), 443, port);
    answer.classes[C::TcpAck as usize] = 1;
    answer.classes[C::TcpData as usize] = 2 * data;
    answer.classes[C::TcpFin as usize] = 1;
    answer.payload_bytes = u64::from(data) * 2_900;
    [out, answer]
}

#[test]
fn a_busy_web_server_is_quiet() {
    let server = host("10.0.0.80");
    let second: Vec<_> =
        (0..3_000).flat_map(|n| connection(stranger(n), server, 50_000, 3)).collect();
    let all: Vec<_> = (0..5).map(|s| (T + s, second.clone())).collect();
    assert!(alerts_of_seconds(&all).is_empty());
}

#[test]
fn a_tcp_download_is_no_ack_flood_and_acks_into_silence_are() {
    let (client, server) = (host("10.0.0.5"), host("203.0.113.80"));
    let acks = delta(client, server, C::TcpAck, 40_000, 0);
    // Segmentation offload: 1,800 captured packets of 64 KiB.
    let mut data = ports(delta(server, client, C::TcpData, 1_800, 65_160), 443, 40_000);
    let quiet: Vec<_> = (0..5).map(|s| (T + s, vec![acks, data])).collect();
    assert!(alerts_of_seconds(&quiet).is_empty());
    data = ports(delta(server, client, C::TcpData, 80_000, 1_448), 443, 40_000);
    let quiet: Vec<_> = (0..5).map(|s| (T + s, vec![acks, data])).collect();
    assert!(alerts_of_seconds(&quiet).is_empty());
    let alerts = alerts_of_seconds(&[(T, vec![acks])]);
    assert_eq!(detectors(&alerts), ["tcp_ack_flood"]);
}

#[test]
fn answers_to_a_flooder_are_no_flood_at_the_flooder() {
    let (flooder, victim) = (host("10.0.0.66"), host("10.0.0.5"));
    // SYN flood on a closed port: as many RSTs come back.
    let syn = delta(flooder, victim, C::TcpSyn, 20_000, 0);
    let mut rst = back(syn, 20_000);
    rst.classes = [0; 12];
    rst.classes[C::TcpRst as usize] = 20_000;
    let alerts = alerts_of_seconds(&[(T, vec![syn, rst])]);
    assert_eq!(detectors(&alerts), ["tcp_syn_flood"]);
    assert_eq!(alerts[0].evidence.direction, Direction::Internal);
    assert_eq!(alerts[0].entity.id, "10.0.0.66");
    // Ping flood that is answered in full.
    let echo = delta(flooder, victim, C::Icmp, 20_000, 56);
    let reply = ports(back(echo, 20_000), 0, 8);
    let alerts = alerts_of_seconds(&[(T, vec![echo, reply])]);
    assert_eq!(detectors(&alerts), ["icmp_flood"]);
    assert_eq!(alerts[0].evidence.details["victim"], json!("10.0.0.5"));
    // UDP flood whose victim sends port unreachable.
    let out = delta(flooder, victim, C::Udp, 20_000, 10);
    let errors = ports(delta(victim, flooder, C::Icmp, 15_000, 38), 3, 3);
    assert_eq!(detectors(&alerts_of_seconds(&[(T, vec![out, errors])])), ["udp_flood"]);
}

#[test]
fn echo_requests_without_replies_flood_at_the_lower_rate() {
    let echo = delta(host("10.0.0.2"), host("10.128.0.2"), C::Icmp, 2_500, 0);
    let silent: Vec<_> = (0..5).map(|s| (T + s, vec![echo])).collect();
    assert_eq!(detectors(&alerts_of_seconds(&silent)), ["icmp_flood"]);
    let answered: Vec<_> =
        (0..5).map(|s| (T + s, vec![echo, ports(back(echo, 2_500), 0, 8)])).collect();
    assert!(alerts_of_seconds(&answered).is_empty());
}

#[test]
fn every_kind_of_packet_that_nobody_asked_for_has_its_flood() {
    let (from, to) = (host("198.51.100.7"), host("10.0.0.5"));
    for (class, detector) in [
        (C::Udp, "udp_flood"),
        (C::Icmp, "icmp_flood"),
        (C::Gre, "gre_flood"),
        (C::OtherIp, "ip_flood"),
        (C::TcpSyn, "tcp_syn_flood"),
        (C::TcpSynAck, "tcp_synack_flood"),
        (C::TcpRst, "tcp_rst_flood"),
        (C::TcpFin, "tcp_fin_flood"),
        (C::TcpAck, "tcp_ack_flood"),
        (C::TcpData, "tcp_data_flood"),
        (C::TcpOdd, "tcp_odd_flood"),
    ] {
        let flood = delta(from, to, class, 12_000, 0);
        assert_eq!(detectors(&alerts_of_seconds(&[(T, vec![flood])])), [detector]);
    }
}

#[test]
fn fragments_name_the_flood_that_they_are_nearly_all_of() {
    let mut flood = udp(20_000);
    flood.fragments = 19_000;
    let alerts = alerts_of_seconds(&[(T, vec![flood])]);
    assert_eq!(detectors(&alerts), ["fragment_flood"]);
    assert_eq!(alerts[0].evidence.also_seen, ["udp_flood"]);
    flood.fragments = 11_000;
    let alerts = alerts_of_seconds(&[(T, vec![flood])]);
    assert_eq!(detectors(&alerts), ["udp_flood"]);
    assert_eq!(alerts[0].evidence.also_seen, ["fragment_flood"]);
}

#[test]
fn a_one_sided_capture_uses_no_answer_ratio_and_says_so() {
    let mut run = Run::new();
    run.telemetry = Telemetry {
        one_sided: true,
        missing: vec!["cut_packets".to_owned()],
        ..Telemetry::default()
    };
    for second in 0..5 {
        let acks = delta(host("10.0.0.7"), host("203.0.113.80"), C::TcpAck, 50_000, 0);
        run.second(T + second, &[udp(5_000), acks]);
    }
    assert!(run.detection.alerts_so_far().is_empty());
    run.second(T + 5, &[udp(10_000)]);
    let alert = run.alerts().remove(0);
    assert_eq!(
        alert.missing_telemetry,
        ["baseline", "cut_packets", "one_sided_capture", "process_map"]
    );
    assert_eq!(alert.evidence.answer_ratio, None);
    assert!(alert.confidence < 0.4, "{}", alert.confidence);
}

/// What is told in its second second was lost in the first.
#[test]
fn an_alert_names_what_was_lost_since_its_start_and_nothing_of_before() {
    for (lost_at, named) in [(T, true), (T - 1, false)] {
        let mut run = Run::new();
        run.telemetry.lately = [("packets_lost".to_owned(), lost_at)].into();
        run.second(T, &[udp(5_000)]);
        assert!(run.detection.alerts_so_far().is_empty(), "one second is not enough");
        run.second(T + 1, &[udp(5_000)]);
        let alert = run.alerts().remove(0);
        assert_eq!(alert.start_ns, T * 1_000_000_000);
        assert_eq!(alert.missing_telemetry.contains(&"packets_lost".to_owned()), named);
    }
}

#[test]
fn a_spoofing_station_is_the_entity_when_the_victim_is_not_ours() {
    let victim = host("203.0.113.9");
    let mut second = spoofed(C::Udp, 20_000, victim);
    for one in &mut second {
        (one.src_mac, one.src_mac_known, one.vlan) = ([2, 0, 0, 0, 0, 9], true, 12);
    }
    let alerts = alerts_of_seconds(&[(T, second)]);
    assert_eq!(detectors(&alerts), ["udp_flood"]);
    let alert = &alerts[0];
    assert_eq!(alert.entity.id, "02:00:00:00:00:09@vlan12");
    assert_eq!(alert.evidence.direction, Direction::Crossing);
    assert_eq!(alert.possible_analytics, ["AN0972", "AN0971", "AN0083"]);
    assert!(alert.analytics.is_empty());
}

#[test]
fn a_flood_is_found_among_more_hosts_than_the_tables_hold() {
    let mut run = Run::new();
    run.windows.caps = Caps { hosts: 64, pairs: 64, ..Caps::default() };
    for second in 0..2 {
        let mut deltas: Vec<_> = (0..20_000)
            .map(|n| delta(stranger(n), stranger(n + 50_000), C::TcpData, 1, 500))
            .collect();
        deltas.push(udp(5_000));
        run.second(T + second, &deltas);
    }
    let (alerts, counters) = run.finish();
    assert_eq!(detectors(&alerts), ["udp_flood"]);
    let peak = alerts[0].evidence.peak.packets_per_s;
    assert!((4_900..=5_100).contains(&peak), "{peak}");
    assert!(alerts[0].evidence.estimated);
    assert_eq!((counters.pairs_overflowed_windows, counters.estimated_windows), (2, 2));
}

#[test]
fn alerts_over_the_cap_are_counted() {
    let mut run = Run::with(DetectSettings { open_alerts: 3, ..DetectSettings::default() });
    let deltas: Vec<_> = (0..5)
        .map(|n| delta(stranger(n), host(&format!("10.0.{n}.1")), C::Udp, 20_000, 8))
        .collect();
    run.second(T, &deltas);
    let (alerts, counters) = run.finish();
    assert_eq!((alerts.len(), counters.alerts_suppressed), (3, 2));
}

#[test]
fn the_record_in_json_has_the_agreed_names_and_times() {
    let alerts = alerts_of_seconds(&[(T, vec![udp(10_000)])]);
    let value = serde_json::to_value(&alerts[0]).expect("serialises");
    assert_eq!(value["start"], json!("2023-11-14T22:13:20.000000000Z"));
    assert_eq!(value["end"], json!("2023-11-14T22:13:21.000000000Z"));
    for name in [
        "id",
        "revision",
        "detector",
        "analytics",
        "possible_analytics",
        "severity",
        "confidence",
        "entity",
        "peers",
        "evidence",
        "missing_telemetry",
        "summary",
    ] {
        assert!(!value[name].is_null(), "{name}");
    }
    assert_eq!(value["severity"], json!("medium"));
    assert_eq!(value["entity"], json!({"kind": "address", "id": "10.0.0.5", "labels": {}}));
    assert_eq!(value["evidence"]["peak"]["packets_per_s"], json!(10_000));
}

#[test]
fn a_packet_to_oneself_answers_nothing() {
    let land = delta(host("10.0.0.5"), host("10.0.0.5"), C::Udp, 3_000, 0);
    let alerts = alerts_of_seconds(&[(T, vec![land]), (T + 1, vec![land])]);
    assert_eq!(detectors(&alerts), ["udp_flood"]);
}

#[test]
fn a_window_is_told_once_even_if_the_next_one_confirms_it() {
    // Open, pause, one window over the floor, and the next one too.
    let rates = [(0, 20_000), (1, 500), (2, 1_500), (3, 1_600)];
    let seconds: Vec<_> = rates.iter().map(|&(s, rate)| (T + s, vec![udp(rate)])).collect();
    let alerts = alerts_of_seconds(&seconds);
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].evidence.packets, 20_000 + 1_500 + 1_600);
    assert_eq!(alerts[0].evidence.active_seconds, 3);
    let weak: Vec<_> = (0..4).map(|s| (T + s, vec![udp(1_500 + s as u32)])).collect();
    assert_eq!(alerts_of_seconds(&weak)[0].evidence.peak.packets_per_s, 1_503);
}
