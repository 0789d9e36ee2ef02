//! What an alert shows of many seconds: the busiest of them, whole.

use std::net::IpAddr;

use super::super::{Alert, Case, Entity, EntityKind, Score, Severity, State, Term};
use crate::detect::analytic::testing::alert_of;
use crate::detect::{Busiest, Family, Finding, Rule, Subject};
use crate::input::FileReport;

const RULE: Rule = Rule { name: "r", threshold: 100, unit: "packets/s", formula: "f" };

/// A second of a process: packets, bytes, unanswered ones, and the score by then.
fn second(second: i64, packets: u64, wire_bytes: u64, unanswered: u64, score: f64) -> Finding {
    let entity = Entity::new(EntityKind::Process, "boot:7:1".to_owned());
    let family = Family::Case("tool_flood");
    let mut finding = Finding::new("tool_flood", family, second, Subject::Entity(7), entity, RULE);
    finding.opens = true;
    finding.measured = packets;
    (finding.traffic.packets, finding.traffic.wire_bytes) = (packets, wire_bytes);
    finding.unanswered = unanswered;
    let mut case = Case::new(Score::of(vec![Term::new("t", score, 0.0, 100.0, 100.0)], 50.0));
    case.summary = format!("Sent {packets} packets/s.");
    finding.case = Some(Box::new(case));
    finding
}

fn alert(findings: Vec<Finding>) -> Alert {
    alert_of(findings).0
}

#[test]
fn the_busiest_second_is_shown_whole_whatever_its_score() {
    let alert = alert(vec![
        second(10, 900, 90_000, 300, 60.0),
        second(11, 3_583, 1_225_000, 2_000, 70.0),
        second(12, 1_555, 155_000, 1_555, 90.0),
    ]);
    let evidence = &alert.evidence;
    let peak = &evidence.peak;
    assert_eq!((peak.time_ns, peak.packets_per_s), (11_000_000_000, 3_583));
    assert_eq!((peak.unanswered_packets_per_s, peak.bits_per_s), (2_000, 9_800_000));
    assert_eq!(evidence.measured, 3_583);
    let summary = "Sent 3583 packets/s. So it was at 1970-01-01T00:00:11Z; it went on for 1 s.";
    assert_eq!(alert.summary, summary);
    let case = alert.case.expect("a case");
    assert_eq!(case.score.value, 90.0);
    assert_eq!(case.score.recompute(), case.score.value);
    assert_eq!(evidence.packets, 900 + 3_583 + 1_555);
}

/// Of a minute: what was measured of it stands by its score, whichever second was busiest.
#[test]
fn figures_that_are_no_rate_are_those_of_the_highest_score() {
    let minute = |at: i64, score, busiest| {
        let mut finding = second(at * 60 + 59, 5_000, 500_000, 100, score);
        finding.rule.unit = "bytes/minute";
        finding.start_second = at * 60;
        finding.measured = score as u64;
        finding.busiest = Some(busiest);
        finding
    };
    let busy = |second, packets| {
        let (wire_bytes, unanswered) = (packets * 100, packets / 10);
        Busiest { second, packets, wire_bytes, payload_bytes: 0, unanswered }
    };
    let alert = alert(vec![minute(1, 60.0, busy(75, 400)), minute(2, 80.0, busy(140, 300))]);
    let peak = &alert.evidence.peak;
    assert_eq!((peak.time_ns, peak.packets_per_s), (75_000_000_000, 400));
    assert_eq!((peak.unanswered_packets_per_s, peak.bits_per_s), (40, 320_000));
    assert_eq!(alert.evidence.measured, 80);
}

/// ATT&CK's BurstTimeWindow is of seconds, however many of them a source counts at once.
#[test]
fn windows_of_minutes_are_active_for_all_their_seconds() {
    let window = |from: i64, until: i64| {
        let mut finding = second(until - 1, 60_000, 6_000_000, 100, 60.0);
        finding.start_second = from;
        finding
    };
    let one = alert(vec![window(60, 120)]);
    assert_eq!((one.evidence.active_seconds, one.state), (60, State::Sustained));
    let five = (1..6).map(|minute| window(minute * 60, minute * 60 + 60));
    assert_eq!(alert(five.collect()).evidence.active_seconds, 300);
    // A pause is none, and what two windows have in common is counted once.
    let apart = alert(vec![window(0, 10), window(20, 24)]);
    assert_eq!((apart.evidence.active_seconds, apart.state), (14, State::Provisional));
    assert_eq!(alert(vec![window(0, 60), window(30, 90)]).evidence.active_seconds, 90);
    // Where packets tell of each second.
    let mut burst = window(0, 60);
    burst.active_s = Some(12);
    let burst = alert(vec![burst]);
    assert_eq!((burst.evidence.active_seconds, burst.state), (12, State::Provisional));
}

/// A minute by its number, that is no rate, with its severity.
fn judged(at: i64, severity: Severity, score: f64) -> Finding {
    let mut finding = second(at * 60 + 59, 5_000, 500_000, 0, score);
    finding.rule.unit = "bytes/minute";
    finding.details.insert("minute", at.into());
    let case = finding.case.as_mut().unwrap();
    case.severity = severity;
    case.severity_reason = format!("{} in minute {at}.", severity.name());
    case.summary = format!("Minute {at}.");
    finding.start_second = at * 60;
    finding
}

fn reason(alert: &Alert) -> &str {
    &alert.grade.severity_reason
}

#[test]
fn the_most_severe_finding_tells_the_alert_and_of_as_bad_ones_the_latest() {
    use Severity::{Informational, Low, Medium};
    let mut found = vec![judged(1, Informational, 90.0), judged(2, Low, 60.0)];
    let (alert, _) = alert_of(found.clone());
    assert_eq!((alert.severity, reason(&alert)), (Low, "low in minute 2."));
    assert_eq!(alert.case.as_ref().unwrap().score.value, 60.0);
    found.extend([judged(3, Medium, 55.0), judged(4, Medium, 55.0), judged(5, Low, 99.0)]);
    let (alert, told) = alert_of(found);
    assert_eq!((alert.severity, reason(&alert)), (Medium, "medium in minute 4."));
    assert_eq!(alert.case.as_ref().unwrap().score.value, 55.0);
    assert_eq!(alert.evidence.details["minute"], 4);
    assert_eq!(alert.summary, "Minute 4. So it was at 1970-01-01T00:04:59Z; it went on for 60 s.");
    assert_eq!(told.len(), 3, "told again as it gets more severe, and not when it stays");
}

#[test]
fn what_goes_on_is_told_whole_and_stays_as_severe_as_it_was() {
    let of = |at, severity, score| Finding {
        start_second: 60,
        whole: Some(7),
        ..judged(at, severity, score)
    };
    let (alert, told) = alert_of(vec![
        of(1, Severity::Low, 100.0),
        of(2, Severity::High, 100.0),
        of(3, Severity::Medium, 92.0),
        of(4, Severity::Medium, 81.0),
        of(5, Severity::Medium, 95.0),
        // Another of the same entity, less bad.
        Finding { whole: Some(8), ..of(6, Severity::High, 94.0) },
        of(7, Severity::Medium, 90.0),
    ]);
    assert_eq!(alert.severity, Severity::High);
    let case = alert.case.as_ref().unwrap();
    assert_eq!((case.score.value, case.score.recompute()), (90.0, 90.0));
    assert_eq!((&alert.evidence.details["minute"], &*alert.summary), (&7.into(), "Minute 7."));
    let words = "high in minute 2 (so at 1970-01-01T00:02:59Z; by all of it medium)";
    assert_eq!(reason(&alert), words);
    assert_eq!(told.len(), 2, "a score that sinks and rises is no news");
}

/// A sender floods two victims: what is told of the second is of both.
#[test]
fn the_busiest_second_is_of_all_subjects() {
    let flood = |at, last: u8, packets| {
        let host = IpAddr::from([192, 0, 2, last]).into();
        let entity = Entity::address(&IpAddr::from([10, 0, 0, 1]).into());
        let subject = Subject::Host(host);
        let mut finding = Finding::new("udp_flood", Family::Udp, at, subject, entity, RULE);
        finding.opens = true;
        finding.measured = packets;
        (finding.traffic.packets, finding.traffic.wire_bytes) = (packets, packets * 100);
        finding.unanswered = packets;
        finding
    };
    let alert = alert(vec![flood(10, 1, 600), flood(10, 2, 500), flood(11, 1, 1_000)]);
    let peak = &alert.evidence.peak;
    assert_eq!((peak.time_ns, peak.packets_per_s), (10_000_000_000, 1_100));
    assert_eq!((peak.unanswered_packets_per_s, peak.bits_per_s), (1_100, 880_000));
    assert_eq!(alert.evidence.measured, 600, "of the larger of the two");
}

/// A connection every few seconds has no busiest second.
#[test]
fn sums_of_many_seconds_are_no_peak() {
    let mut beacon = second(300, 310, 31_000, 0, 80.0);
    beacon.rule.unit = "points";
    beacon.start_second = 0;
    let alert = alert(vec![beacon]);
    assert_eq!(alert.evidence.packets, 310);
    assert_eq!(alert.evidence.peak.packets_per_s, 0);
}

/// A refused connection is answered to those who count packets back; a SYN flood's own
/// sentence says what it asks for.
#[test]
fn a_syn_flood_says_that_there_is_no_handshake() {
    let sentence = |kind, answer_ratio| {
        let mut finding = second(10, 1_853, 100_000, 1_853, 0.0);
        finding.case = None;
        (finding.kind, finding.answer_ratio) = (kind, Some(answer_ratio));
        alert(vec![finding]).summary
    };
    let refused = sentence("tcp_syn", 0.0);
    assert!(refused.contains(", without SYN-ACK;"), "{refused}");
    assert!(sentence("udp", 0.0).contains(", unanswered;"));
    assert!(sentence("tcp_syn", 0.5).contains(", answer ratio 0.5;"));
}

#[test]
fn captures_of_its_time_are_named_by_their_first_packet_and_few_of_many() {
    let at_ns = |second: i64| second * 1_000_000_000;
    let capture = |(path, first_s, last_s): (&str, i64, i64)| FileReport {
        path: path.to_owned(),
        span_ns: Some((at_ns(first_s), at_ns(last_s))),
        ..FileReport::default()
    };
    let mut told =
        Alert { start_ns: at_ns(10), end_ns: at_ns(20), ..alert(vec![second(10, 1, 60, 0, 60.0)]) };
    let mut named = |captures: &[FileReport]| {
        told.set_files(captures);
        (told.files.join(" "), told.further_files)
    };
    let ring = [("c", 15, 40), ("a", 0, 9), ("b", 5, 10), ("d", 20, 30), ("e", 12, 13)];
    let ring = ring.map(capture);
    assert_eq!(named(&ring), ("b e c".to_owned(), 0), "the end is no part of it");
    let empty = FileReport { path: "f".to_owned(), ..FileReport::default() };
    assert_eq!(named(&[ring[0].clone(), empty]), (String::new(), 0), "one capture has packets");
    let many: Vec<_> = (0..20).map(|_| capture(("x", 11, 12))).collect();
    let (files, further) = named(&many);
    assert_eq!((files.split(' ').count(), further), (16, 4));
}
