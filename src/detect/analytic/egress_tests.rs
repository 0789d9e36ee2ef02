use serde_json::json;

use super::*;
use crate::alert::Severity;
use crate::detect::analytic::testing::{Bench, Stream, address, minute};
use crate::entity::{ReportedFacts, Who};
use crate::host::inventory::Instance;

const OUTSIDE: &str = "203.0.113.9";

/// 40 Mbit/s of full datagrams that nobody answers.
fn flood() -> Stream {
    Stream::udp(OUTSIDE, 5_001, (3_500, 1_470), (0, 0))
}

/// 500 Mbit/s over TCP, acknowledged.
fn bulk(peer: &str) -> Stream {
    Stream::tcp(peer, 443, (42_000, 1_514), (9_000, 66))
}

/// A call: 3 Mbit/s each way.
fn call() -> Stream {
    Stream::udp(OUTSIDE, 3_478, (330, 1_150), (310, 1_150))
}

fn quiet() -> Stream {
    Stream::tcp("198.51.100.7", 443, (20, 400), (20, 900))
}

fn bench() -> Bench<Egress> {
    Bench::new(Egress::default())
}

fn severity(found: &[Finding]) -> Option<Severity> {
    found.first().map(|finding| finding.case.as_ref().unwrap().severity)
}

#[test]
fn a_one_way_stream_of_datagrams_is_an_alert_without_a_baseline() {
    let who = address("10.0.0.1");
    let mut bench = bench();
    let found = bench.minute(&minute(&who, 0, &[flood(), quiet()]));
    let case = found[0].case.as_ref().unwrap();
    assert!(found[0].opens);
    assert_eq!(case.decided_by, DecidedBy::AbsoluteThreshold);
    assert_eq!(case.severity, Severity::High);
    assert_eq!(case.analytics, ["AN0972"]);
    assert!(case.missing.contains(&"baseline") && case.confidence() <= 0.6);
    assert!(case.summary.contains("to 203.0.113.9 (udp/5001)"), "{}", case.summary);
    let before = case.confidence();
    let again = bench.minute(&minute(&who, 60, &[flood(), quiet()]));
    assert!(again[0].case.as_ref().unwrap().confidence() >= before);
}

#[test]
fn look_alikes_are_at_most_informational_without_a_baseline() {
    let who = address("10.0.0.1");
    // Nothing at all: a call, syslog over UDP, metrics, a camera's stream.
    for stream in [
        call(),
        Stream::udp("10.0.0.9", 514, (400, 300), (0, 0)),
        Stream::udp("10.0.0.9", 8_125, (900, 120), (0, 0)),
        Stream::udp("10.0.0.9", 5_004, (700, 1_400), (0, 0)),
    ] {
        assert_eq!(bench().minute(&minute(&who, 0, &[stream])).len(), 0, "{stream:?}");
    }
    // A backup, replication at home, a push to a CDN over QUIC, video to a group.
    for stream in [
        bulk(OUTSIDE),
        bulk("10.0.0.9"),
        Stream::udp(OUTSIDE, 443, (20_000, 1_300), (2_100, 80)),
        Stream::udp("239.1.2.3", 5_004, (10_000, 1_400), (0, 0)),
        Stream::udp(OUTSIDE, 51_820, (12_000, 1_400), (11_000, 1_400)),
    ] {
        let found = bench().minute(&minute(&who, 0, &[stream]));
        assert_eq!(severity(&found), Some(Severity::Informational), "{stream:?}");
    }
    // A fast download is no egress, however many acknowledgements it takes.
    let download = Stream::tcp(OUTSIDE, 443, (20_000, 66), (60_000, 1_514));
    assert_eq!(bench().minute(&minute(&who, 0, &[download])).len(), 0);
}

#[test]
fn what_is_spread_over_destinations_and_services_is_no_case() {
    let streams: Vec<Stream> = (0..40)
        .map(|at| Stream::udp(&format!("198.51.100.{at}"), 1_000 + at, (300, 1_400), (0, 0)))
        .collect();
    let minute = minute(&address("10.0.0.1"), 0, &streams);
    assert_eq!(bench().minute(&minute).len(), 0);
}

#[test]
fn a_learned_backup_stays_quiet_and_ten_times_as_much_does_not() {
    let who = address("10.0.0.1");
    let backup = |at: i64, packets| {
        minute(&who, at, &[Stream::tcp("10.9.9.9", 873, (packets, 1_514), (packets / 4, 66))])
    };
    let mut bench = bench();
    bench.learn(14, |at| Some(backup(at, 4_000)));
    assert_eq!(bench.minute(&backup(0, 5_000)).len(), 0, "as every night");
    let found = bench.minute(&backup(60, 40_000));
    let case = found[0].case.as_ref().unwrap();
    assert_eq!(case.decided_by, DecidedBy::Baseline);
    assert!(case.baseline_mature && case.severity > Severity::Informational);
    assert!(case.baseline.contains("median"), "{}", case.baseline);
    assert_eq!(found[0].details["new_destination"], json!(false));
}

#[test]
fn the_thresholds_are_where_alerts_begin() {
    let who = address("10.0.0.1");
    let sends = |packets| minute(&who, 0, &[Stream { sent: (packets, 1_514), ..bulk(OUTSIDE) }]);
    // 97 and 110 Mbit/s without a baseline.
    assert_eq!(bench().minute(&sends(8_000)).len(), 0);
    let found = bench().minute(&sends(9_100));
    assert_eq!(severity(&found), Some(Severity::Informational));
    // Three and a half times and five times as much as every night.
    let mut bench = bench();
    bench.learn(14, |at| {
        Some(minute(&who, at, &[Stream { sent: (4_000, 1_514), ..bulk(OUTSIDE) }]))
    });
    assert_eq!(bench.minute(&sends(14_000)).len(), 0);
    let found = bench.minute(&sends(20_000));
    assert_eq!(severity(&found), Some(Severity::Low));
    assert_eq!(found[0].case.as_ref().unwrap().decided_by, DecidedBy::Baseline);
}

#[test]
fn a_host_that_never_sends_much_alerts_below_the_absolute_threshold() {
    let who = address("10.0.0.1");
    let mut bench = bench();
    bench.learn(14, |at| Some(minute(&who, at, &[quiet()])));
    let upload = Stream::tcp(OUTSIDE, 443, (2_000, 1_514), (500, 66));
    let found = bench.minute(&minute(&who, 0, &[upload]));
    let case = found[0].case.as_ref().unwrap();
    assert_eq!((case.decided_by, case.severity), (DecidedBy::Baseline, Severity::Low));
    assert!(case.score.terms.iter().any(|term| term.name == "new_destination"));
    // A call is over its normal too, but no more than people do.
    assert_eq!(bench.minute(&minute(&who, 60, &[call()])).len(), 0);
}

#[test]
fn a_young_baseline_does_not_call_tonights_backup_an_attack() {
    let who = address("10.0.0.1");
    let mut bench = bench();
    bench.learn(2, |at| Some(minute(&who, at, &[quiet()])));
    let found = bench.see(&Event::Minute(&minute(&who, 0, &[bulk(OUTSIDE)])));
    assert_eq!(severity(&found), Some(Severity::Informational));
    assert!(found[0].case.as_ref().unwrap().missing.contains(&"mature_baseline"));
    let found = bench.see(&Event::Minute(&minute(&who, 60, &[flood()])));
    assert!(severity(&found) >= Some(Severity::Medium), "a flood is one on the first day");
}

#[test]
fn shared_egress_and_what_reports_lack_are_named() {
    let instance = Instance { id: "nat-1".to_owned(), shared_egress: true, ..Instance::default() };
    let who = Arc::new(Who::instance(&Arc::new(instance)));
    let mut of_log = minute(&who, 0, &[flood()]);
    of_log.source = "vpc.log".into();
    of_log.length_s = 600;
    // What a minute held is now over ten.
    let facts = ReportedFacts { sampled_1_of: 10, rejected_flows: 3, ..ReportedFacts::default() };
    of_log.reported = Some(Box::new(facts));
    assert_eq!(bench().minute(&of_log).len(), 0, "the mean of ten minutes is low");
    of_log.length_s = 60;
    let found = bench().minute(&of_log);
    let case = found[0].case.as_ref().unwrap();
    for gap in ["shared_egress", "sampled_packets", "packets"] {
        assert!(case.missing.contains(&gap), "{gap}");
    }
    assert!(case.severity_reason.contains("Others' traffic"));
    assert_eq!(found[0].details["rejected_flows"], json!(3));
}

#[test]
fn answers_that_reports_never_show_are_not_held_to_be_missing() {
    let mut of_log =
        minute(&address("10.0.0.1"), 0, &[Stream { received: (0, 0), ..bulk(OUTSIDE) }]);
    of_log.reported = Some(Box::new(ReportedFacts { one_sided: true, ..Default::default() }));
    let found = bench().minute(&of_log);
    assert_eq!(severity(&found), Some(Severity::Informational));
    assert_eq!(found[0].answer_ratio, None);
}

proptest::proptest! {
    /// A stronger flood never scores less.
    #[test]
    fn more_of_the_same_scores_no_less(packets in 1_000u32..20_000, more in 1u32..20_000) {
        let who = address("10.0.0.1");
        let score = |packets| {
            let stream = Stream { sent: (packets, 1_470), ..flood() };
            let found = bench().minute(&minute(&who, 0, &[stream]));
            found.first().map_or(0.0, |finding| finding.case.as_ref().unwrap().score.value)
        };
        proptest::prop_assert!(score(packets + more) >= score(packets));
    }

    /// Rows of a second may come in any order.
    #[test]
    fn the_order_of_rows_does_not_matter(turn in 0usize..12) {
        let mut streams: Vec<Stream> = (1..12u8)
            .map(|at| Stream::udp(&format!("198.51.100.{at}"), 53, (u32::from(at), 80), (1, 80)))
            .collect();
        streams.push(flood());
        let who = address("10.0.0.1");
        let found = bench().minute(&minute(&who, 0, &streams));
        streams.rotate_left(turn);
        let turned = bench().minute(&minute(&who, 0, &streams));
        proptest::prop_assert_eq!(&found[0].case, &turned[0].case);
    }
}
