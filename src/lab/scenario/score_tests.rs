use super::*;

const BASE: &str = "2026-03-02T00:00:00Z";

fn at(seconds: i64) -> String {
    crate::alert::time_text(time(BASE).unwrap() + seconds * 1_000_000_000)
}

fn expected(name: &str, entity: &str, start_s: i64, until_s: i64) -> Expected {
    Expected {
        name: name.to_owned(),
        detectors: vec!["*flood".to_owned()],
        entities: vec![entity.to_owned()],
        analytic: Some("AN0972".to_owned()),
        severity: Severity::Medium,
        start: at(start_s),
        until: at(until_s),
    }
}

/// A day of 50 hosts with an attack by `a` and one by `b`, both from second 1000 to 1100.
fn truth() -> Truth {
    let attack = |label: &str, entity: &str| Attack {
        label: label.to_owned(),
        start: at(1_000),
        end: at(1_100),
        entities: vec![entity.to_owned(), "victim".to_owned()],
    };
    Truth {
        schema: String::new(),
        scenario: String::new(),
        seed: 0,
        start: at(0),
        end: at(86_400),
        home_hosts: 50,
        log_host: None,
        packets: 0,
        wire_bytes: 0,
        attacks: vec![attack("one", "a"), attack("two", "b")],
        expects: vec![expected("one", "a", 1_000, 1_160), expected("two", "b", 1_000, 1_160)],
        quiets: vec![super::super::truth::Quieted {
            name: "backup".to_owned(),
            entities: vec!["vault".to_owned()],
            below: Severity::Informational,
        }],
    }
}

fn alert(entity: &str, start_s: i64, end_s: i64) -> Scored {
    Scored {
        id: format!("{entity}{start_s}"),
        detector: "udp_flood".to_owned(),
        analytics: vec!["AN0972".to_owned()],
        severity: Severity::High,
        entity: entity.to_owned(),
        start_ns: time(&at(start_s)).unwrap(),
        end_ns: time(&at(end_s)).unwrap(),
        told_ns: None,
        summary: String::new(),
    }
}

/// By hand: of two attacks one is hit, twice; another entity of it is related; two alerts
/// are false. Precision 2/(2+2), recall 1/2, F1 1/2; the earliest is 5 s after the start.
#[test]
fn figures_are_those_worked_out_by_hand() {
    let informational = Scored { severity: Severity::Informational, ..alert("c", 10, 20) };
    let alerts = [
        alert("a", 1_005, 1_050),
        alert("a", 1_060, 1_090),
        alert("victim", 1_010, 1_020),
        alert("c", 5_000, 5_010),
        alert("a", 40_000, 40_010),
        informational,
    ];
    let report = score(&truth(), &alerts, Severity::Low).unwrap();
    let all = &report.all;
    assert_eq!((all.expected, all.hit), (2, 1));
    assert_eq!((all.true_alerts, all.related_alerts, all.false_alerts), (2, 1, 2));
    assert_eq!((all.precision, all.recall, all.f1), (Some(0.5), Some(0.5), Some(0.5)));
    assert_eq!(all.time_to_detect_s, Some(5.0));
    assert_eq!((report.false_per_day, report.false_per_day_and_100_hosts), (2.0, 4.0));
    assert_eq!(report.missed, ["two"]);
    assert_eq!(report.by_analytic["AN0972"], *all);
    assert_eq!(report.by_detector["udp_flood"].false_alerts, 2);
}

#[test]
fn no_alerts_are_no_precision_and_no_recall() {
    let report = score(&truth(), &[], Severity::Low).unwrap();
    let all = &report.all;
    assert_eq!((all.precision, all.recall, all.f1), (None, Some(0.0), Some(0.0)));
    assert_eq!((all.time_to_detect_s, report.false_per_day), (None, 0.0));
    assert_eq!(report.missed.len(), 2);
}

#[test]
fn nothing_expected_has_no_recall() {
    let truth = Truth { expects: Vec::new(), attacks: Vec::new(), ..truth() };
    let report = score(&truth, &[alert("a", 5, 6)], Severity::Low).unwrap();
    assert_eq!((report.all.recall, report.all.precision, report.all.f1), (None, Some(0.0), None));
}

/// The last second at which it counts is the one that is stated.
#[test]
fn what_comes_late_is_no_hit() {
    let hits = |start_s| {
        let report = score(&truth(), &[alert("a", start_s, start_s + 5)], Severity::Low).unwrap();
        (report.all.hit, report.all.related_alerts, report.all.false_alerts)
    };
    assert_eq!(hits(1_160), (1, 0, 0));
    assert_eq!(hits(1_161), (0, 1, 0), "still traces of it");
    assert_eq!(hits(1_401), (0, 0, 1));
}

/// One that was open before and goes on overlaps; one that ended does not.
#[test]
fn overlapping_attacks_can_be_hit_by_alerts_of_their_own_alone() {
    let alerts = [alert("a", 990, 1_050), alert("b", 900, 1_000)];
    let report = score(&truth(), &alerts, Severity::Low).unwrap();
    assert_eq!((report.all.hit, report.all.false_alerts), (1, 1));
    assert_eq!(report.missed, ["two"]);
    assert_eq!(report.all.time_to_detect_s, Some(0.0));
}

#[test]
fn detector_analytic_and_severity_must_all_fit() {
    let fits = |change: fn(&mut Scored)| {
        let mut alert = alert("a", 1_005, 1_050);
        change(&mut alert);
        score(&truth(), &[alert], Severity::Low).unwrap().all.hit == 1
    };
    assert!(fits(|_| {}));
    assert!(!fits(|alert| alert.detector = "scan".to_owned()));
    assert!(!fits(|alert| alert.analytics = vec!["AN0971".to_owned()]));
    assert!(!fits(|alert| alert.severity = Severity::Low));
}

#[test]
fn a_broken_quiet_is_false_at_any_severity() {
    let alert = Scored { severity: Severity::Informational, ..alert("vault", 1_005, 1_010) };
    let report = score(&truth(), &[alert], Severity::Low).unwrap();
    assert_eq!(report.false_alerts[0].broken_quiet.as_deref(), Some("backup"));
}

#[test]
fn when_it_was_told_counts_where_it_is_known() {
    let told = Scored { told_ns: Some(time(&at(1_012)).unwrap()), ..alert("a", 1_005, 1_050) };
    let report = score(&truth(), &[told], Severity::Low).unwrap();
    assert_eq!((report.all.time_to_detect_s, report.told_times), (Some(12.0), true));
}

#[test]
fn alerts_of_other_tools_are_about_both_ends() {
    let eve = r#"{"timestamp":"2026-03-02T00:16:45.000001+0000","event_type":"alert","src_ip":"a","dest_ip":"x","alert":{"signature":"ET flood","severity":1}}
{"timestamp":"2026-03-02T00:16:45.000001+0000","event_type":"dns"}
{"ts":1772411815.5,"note":"Scan::Port_Scan","src":"b"}"#;
    let alerts = alerts_of(eve).unwrap();
    let entities: Vec<&str> = alerts.iter().map(|alert| alert.entity.as_str()).collect();
    assert_eq!(entities.len(), 3);
    assert!(["a", "x", "b"].iter().all(|entity| entities.contains(entity)));
    assert_eq!(alerts.iter().filter(|alert| alert.severity == Severity::High).count(), 2);
}

#[test]
fn of_revisions_the_last_one_counts() {
    let line = |revision: u32, severity: &str| {
        format!(
            r#"{{"id":"0011223344556677","revision":{revision},"detector":"d","analytics":[],"severity":"{severity}","entity":{{"kind":"address","id":"a"}},"start":"{}","end":"{}"}}"#,
            at(1),
            at(2)
        )
    };
    let alerts = alerts_of(&format!("{}\n{}\n", line(0, "low"), line(1, "high"))).unwrap();
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].severity, Severity::High);
}

/// The same alert in two revisions, an alert twice under other ids, and two alerts that
/// differ in detector alone: what is repeated is true each time, and one hit.
#[test]
fn what_is_told_again_counts_as_true_and_hits_once() {
    let again = Scored { id: "again".to_owned(), ..alert("a", 1_005, 1_050) };
    let other = Scored {
        id: "other".to_owned(),
        detector: "icmp_flood".to_owned(),
        ..alert("a", 1_020, 1_050)
    };
    let alerts = [alert("a", 1_005, 1_050), again, other];
    let report = score(&truth(), &alerts, Severity::Low).unwrap();
    let all = &report.all;
    assert_eq!((all.hit, all.true_alerts, all.false_alerts), (1, 3, 0));
    // 3 of 3; 1 of 2; 2 * 1 * 0.5 / 1.5.
    assert_eq!((all.precision, all.recall, all.f1), (Some(1.0), Some(0.5), Some(0.667)));
    assert_eq!(report.by_detector["udp_flood"].true_alerts, 2);
    assert_eq!(report.by_detector["icmp_flood"].true_alerts, 1);
}

/// Two attacks of one entity that overlap in time are both hit by one alert in both, and
/// one of them by an alert that is in it alone.
#[test]
fn one_alert_hits_all_attacks_that_it_overlaps() {
    let mut truth = truth();
    truth.expects = vec![expected("one", "a", 1_000, 1_100), expected("two", "a", 1_050, 1_200)];
    let hits = |start_s, end_s| {
        let report = score(&truth, &[alert("a", start_s, end_s)], Severity::Low).unwrap();
        (report.all.hit, report.missed, report.all.time_to_detect_s)
    };
    // 20 s after one start and before the other, which counts as 0: the lower median.
    assert_eq!(hits(1_020, 1_080), (2, Vec::<String>::new(), Some(0.0)));
    assert_eq!(hits(1_010, 1_040), (1, vec!["two".to_owned()], Some(10.0)));
    assert_eq!(hits(1_101, 1_140), (1, vec!["one".to_owned()], Some(51.0)));
}

/// Times to detect of 5, 12 and 40 seconds: the median is 12; of two, the lower.
#[test]
fn the_time_to_detect_is_the_median_over_what_was_hit() {
    let mut truth = truth();
    truth.expects = ["a", "b", "c"].map(|it| expected(it, it, 1_000, 1_160)).to_vec();
    let of = |starts: &[(&str, i64)]| {
        let alerts: Vec<Scored> =
            starts.iter().map(|&(entity, start_s)| alert(entity, start_s, start_s + 9)).collect();
        score(&truth, &alerts, Severity::Low).unwrap().all.time_to_detect_s
    };
    assert_eq!(of(&[("a", 1_005), ("b", 1_040), ("c", 1_012)]), Some(12.0));
    // The first of each counts.
    assert_eq!(of(&[("a", 1_150), ("a", 1_005), ("b", 1_040)]), Some(5.0));
    assert_eq!(of(&[("d", 1_005)]), None);
}

/// An attack whose traces go on for five minutes: 1,100 + 300 is the last second.
#[test]
fn what_is_related_is_neither_true_nor_false_while_traces_go_on() {
    let verdict = |start_s| {
        let all = score(&truth(), &[alert("victim", start_s, start_s + 1)], Severity::Low);
        let all = all.unwrap().all;
        (all.true_alerts, all.related_alerts, all.false_alerts, all.precision)
    };
    assert_eq!(verdict(998), (0, 0, 1, Some(0.0)), "it ended before");
    assert_eq!(verdict(1_000), (0, 1, 0, None));
    assert_eq!(verdict(1_400), (0, 1, 0, None));
    assert_eq!(verdict(1_401), (0, 0, 1, Some(0.0)));
}

/// 3 false alerts in 6 hours are 12 a day; of 25 hosts 48 a day and 100 hosts.
#[test]
fn false_alerts_are_scaled_to_a_day_and_a_hundred_hosts() {
    let truth = Truth { end: at(21_600), home_hosts: 25, ..truth() };
    let alerts = [10, 20, 30].map(|start_s| alert("c", start_s, start_s + 1));
    let report = score(&truth, &alerts, Severity::Low).unwrap();
    assert_eq!((report.false_per_day, report.false_per_day_and_100_hosts), (12.0, 48.0));
    // A truth without time has no rate.
    let truth = Truth { end: at(0), home_hosts: 0, ..truth };
    assert_eq!(score(&truth, &alerts, Severity::Low).unwrap().false_per_day, 0.0);
}

#[test]
fn a_truth_with_times_that_are_none_is_an_error() {
    let mut truth = truth();
    truth.attacks[0].end = "soon".to_owned();
    assert!(score(&truth, &[], Severity::Low).unwrap_err().to_string().contains("soon is no time"));
}

/// Severity 1 to 4 of EVE; times with and without a colon in the offset.
#[test]
fn events_of_eve_have_their_severity_and_time() {
    let event = |severity: &str, timestamp: &str| {
        format!(
            r#"{{"timestamp":"{timestamp}","event_type":"alert","src_ip":"192.0.2.1","dest_ip":"192.0.2.1","alert":{{"signature":"GPL ICMP","severity":{severity}}}}}"#
        )
    };
    let of = |text: String| alerts_of(&text).unwrap();
    for (number, severity) in
        [("1", Severity::High), ("2", Severity::Medium), ("3", Severity::Low), ("4", Severity::Low)]
    {
        let alerts = of(event(number, "2026-03-02T01:00:00.250000+0100"));
        assert_eq!(alerts.len(), 1, "both ends are one");
        assert_eq!(
            (alerts[0].severity, alerts[0].start_ns),
            (severity, time(BASE).unwrap() + 250_000_000)
        );
        assert_eq!(alerts, of(event(number, "2026-03-02T00:00:00.25Z")));
    }
    assert!(alerts_of(&event("1", "yesterday")).is_err());
    assert!(alerts_of(r#"{"event_type":"alert","src_ip":"192.0.2.1"}"#).is_err());
}

/// Zeek writes `ts` as seconds, or as RFC 3339 where it is told to; other logs have no note.
#[test]
fn notices_of_zeek_have_seconds_or_a_time() {
    let text = r#"{"ts":1772409600.5,"note":"Scan::Port_Scan","msg":"x","src":"192.0.2.1","dst":"192.0.2.2"}
{"ts":"2026-03-02T00:00:00.500000Z","note":"SSH::Password_Guessing","src":"192.0.2.3"}
{"ts":1772409600.5,"uid":"C1","id.orig_h":"192.0.2.1"}"#;
    let alerts = alerts_of(text).unwrap();
    let known: Vec<(&str, &str, i64)> = alerts
        .iter()
        .map(|it| (it.detector.as_str(), it.entity.as_str(), it.start_ns - time(BASE).unwrap()))
        .collect();
    assert_eq!(
        known,
        [
            ("SSH::Password_Guessing", "192.0.2.3", 500_000_000),
            ("Scan::Port_Scan", "192.0.2.1", 500_000_000),
            ("Scan::Port_Scan", "192.0.2.2", 500_000_000),
        ]
    );
    assert!(alerts_of(r#"{"note":"Scan::Port_Scan","src":"192.0.2.1"}"#).is_err());
    let broken = alerts_of("{\"note\":\"x\",\"ts\":1}\nnot JSON").unwrap_err();
    assert!(format!("{broken:#}").contains("line 2"), "{broken:#}");
}
