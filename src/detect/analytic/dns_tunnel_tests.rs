//! Tunnels by what they send, and who looks like one.

use super::*;
use crate::baseline::Baselines;
use crate::detect::analytic::Inputs;
use crate::detect::analytic::testing::{alert_of, process, show};
use crate::detect::{DetectSettings, Names};
use crate::engine::window::Seed;
use crate::engine::window::features::tests::{Seen, dns, features, udp};

const CLIENT: u8 = 1;
const RESOLVER: u8 = 2;
const START_S: i64 = 3_000;

/// Shown second by second; the last finding.
fn judged(settings: &DetectSettings, seconds: impl Iterator<Item = Vec<Seen>>) -> Vec<Finding> {
    judged_of(None, settings, seconds)
}

fn judged_of(
    who: Option<&Arc<Who>>,
    settings: &DetectSettings,
    seconds: impl Iterator<Item = Vec<Seen>>,
) -> Vec<Finding> {
    judged_by(|_| who.cloned(), settings, seconds)
}

/// By whom may differ from second to second.
fn judged_by(
    who: impl Fn(i64) -> Option<Arc<Who>>,
    settings: &DetectSettings,
    seconds: impl Iterator<Item = Vec<Seen>>,
) -> Vec<Finding> {
    let (baselines, inputs) = (Baselines::default(), Inputs::default());
    let seed = Seed::default();
    let ctx = AnalyticContext {
        settings,
        baselines: &baselines,
        inputs: &inputs,
        names: &Names::default(),
        seed,
    };
    let mut detector = DnsTunnel::default();
    let mut out = Vec::new();
    for (second, seen) in (START_S..).zip(seconds) {
        let told = features(&seen);
        for (key, stats) in told.dns.sorted() {
            let dns = DnsSecond { second, key, stats, who: who(second - START_S) };
            show(&mut detector, &Event::Dns(&dns), &ctx, &mut out);
        }
    }
    out
}

/// A question of `kind` and its answer, `each` a second for four minutes.
fn asked(kind: u16, each: usize, answer: usize, name: impl Fn(usize) -> String) -> Vec<Vec<Seen>> {
    let second = |second: usize| {
        let names = (0..each).map(|n| name(second * each + n));
        names.flat_map(|name| exchange(CLIENT, RESOLVER, &name, kind, answer)).collect()
    };
    (0..240).map(second).collect()
}

fn exchange(from: u8, to: u8, name: &str, kind: u16, answer: usize) -> [Seen; 2] {
    [
        udp((from, 40_000), (to, 53), &dns(name, kind, None)),
        udp((to, 53), (from, 40_000), &dns(name, kind, Some((0, answer)))),
    ]
}

/// Digits that look random, in an alphabet.
fn encoded(n: usize, len: usize, alphabet: &[u8]) -> String {
    let seed = Seed::default();
    let letter = |at: usize| {
        let index = seed.mix(n as u64, at as u64) as usize % alphabet.len();
        char::from(alphabet[index])
    };
    (0..len).map(letter).collect()
}

const BASE32: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
const HEX: &[u8] = b"0123456789abcdef";

fn settings() -> DetectSettings {
    DetectSettings::default()
}

/// Nothing is allowed by name.
fn strict() -> DetectSettings {
    DetectSettings { dns_tunnel_allowed_domains: Vec::new(), ..settings() }
}

#[test]
fn data_in_names_and_answers_are_a_tunnel() {
    let name =
        |n| format!("{}.{}.t.example.com", encoded(n, 60, BASE32), encoded(n + 7, 40, BASE32));
    let found = judged(&settings(), asked(10, 5, 500, name).into_iter());
    let first = found.first().expect("a tunnel");
    assert!(first.second - START_S < 30, "told within half a minute: {}", first.second - START_S);
    let last = found.last().expect("a tunnel");
    assert_eq!(
        (last.entity.id.as_str(), last.details["domain"].as_str()),
        ("10.0.0.1", Some("example.com"))
    );
    let case = last.case.as_ref().expect("a case");
    assert_eq!(case.decided_by, DecidedBy::Pattern);
    assert_eq!((&case.analytics[..], &case.possible_analytics[..]), (&[][..], &["AN0031"][..]));
    assert_eq!(case.missing, ["process_map"]);
    assert_eq!(case.score.recompute(), case.score.value);
    assert!(case.score.value > 80.0, "{:?}", case.score);
}

/// Whether an entry for these peers and this port covers a tunnel through so many servers,
/// asked in turn.
fn is_allowed_towards(servers: u8, peers: &[&str], port: u16) -> bool {
    let name = |n: usize, at: usize| format!("{}.t.example.com", encoded(n * 5 + at, 60, BASE32));
    let second = |n: usize| {
        let server = RESOLVER + n as u8 % servers;
        (0..5).flat_map(|at| exchange(CLIENT, server, &name(n, at), 10, 500)).collect()
    };
    let towards = crate::alert::Towards {
        peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(),
        ports: vec![port],
    };
    alerts_of((0..240).map(second), towards, None).is_empty()
}

#[test]
fn an_entry_for_servers_and_their_port_covers_a_tunnel_through_them_alone() {
    assert!(is_allowed_towards(1, &[], 53));
    assert!(!is_allowed_towards(1, &[], 54));
    assert!(is_allowed_towards(1, &["10.0.0.2/32"], 53));
    assert!(!is_allowed_towards(1, &["10.0.0.3/32"], 53));
    // Not whichever is asked last.
    assert!(!is_allowed_towards(2, &["10.0.0.2/32"], 53));
    assert!(!is_allowed_towards(2, &["10.0.0.3/32"], 53));
    assert!(is_allowed_towards(2, &["10.0.0.2/31"], 53));
    assert!(!is_allowed_towards(5, &["10.0.0.0/8"], 53), "more than are told apart");
}

#[test]
fn the_process_that_asks_is_named() {
    let name = |n| format!("{}.t.example.com", encoded(n, 60, BASE32));
    let seconds = asked(10, 5, 500, name).into_iter();
    let found = judged_of(Some(&process("/usr/sbin/iodine")), &settings(), seconds);
    let summary = &found[0].case.as_ref().expect("a case").summary;
    assert!(summary.starts_with("iodine (pid 7) asked for "), "{summary}");
}

#[test]
fn a_shell_in_hexadecimal_is_a_tunnel_too() {
    // dnscat2: TXT, CNAME and MX in turn, one name never twice.
    let kinds = [16, 5, 15];
    let seconds = (0..240).map(|second| {
        let name = format!("{}.shell.example.net", encoded(second, 50, HEX));
        exchange(CLIENT, RESOLVER, &name, kinds[second % 3], 80).to_vec()
    });
    assert!(!judged(&settings(), seconds).is_empty());
}

#[test]
fn exfiltration_by_addresses_alone_is_one() {
    let name =
        |n| format!("{}.{}.x.example.org", encoded(n, 63, BASE32), encoded(n + 9, 63, BASE32));
    assert!(!judged(&settings(), asked(1, 2, 16, name).into_iter()).is_empty());
}

#[test]
fn to_its_own_server_below_no_top_level_it_is_one() {
    let name = |n| format!("{}.tunnel", encoded(n, 60, BASE32));
    let found = judged(&settings(), asked(10, 2, 300, name).into_iter());
    assert_eq!(found.last().expect("a tunnel").details["domain"], "tunnel");
}

#[test]
fn below_any_top_level_the_domain_is_named() {
    let name = |n| format!("{}.data.example", encoded(n, 60, BASE32));
    let found = judged(&settings(), asked(10, 2, 300, name).into_iter());
    assert_eq!(found.last().expect("a tunnel").details["domain"], "data.example");
}

#[test]
fn block_lists_are_quiet_by_their_shape() {
    let name = |n: usize| format!("{}.{}.{}.{}.bl.example.org", n % 251, n % 13, n % 199, n % 223);
    assert_eq!(judged(&strict(), asked(1, 10, 16, name).into_iter()), []);
}

#[test]
fn reputation_of_files_is_allowed_by_name() {
    let name =
        |n| format!("{}.{}.avts.mcafee.com", encoded(n, 26, BASE32), encoded(n + 3, 26, BASE32));
    let seconds = || asked(16, 2, 60, name).into_iter();
    assert_eq!(judged(&settings(), seconds()), []);
    assert!(!judged(&strict(), seconds()).is_empty(), "it looks the same as a tunnel");
}

#[test]
fn clouds_and_telemetry_are_quiet_by_their_shape() {
    let cdn = |n| format!("r{}---sn-{}.video.example.com", n % 8, encoded(n % 90, 8, BASE32));
    assert_eq!(judged(&strict(), asked(1, 3, 60, cdn).into_iter()), []);
    let unique = |n| format!("{}.metrics.example.com", encoded(n, 32, HEX));
    assert_eq!(judged(&strict(), asked(1, 2, 30, unique).into_iter()), []);
    let backwards = |n| {
        let nibbles: Vec<String> = encoded(n, 32, HEX).chars().map(String::from).collect();
        format!("{}.ip6.arpa", nibbles.join("."))
    };
    assert_eq!(judged(&settings(), asked(12, 3, 60, backwards).into_iter()), []);
}

#[test]
fn what_is_fetched_piece_by_piece_is_a_tunnel_by_its_volume() {
    // A number and a domain; text of 300 bytes, and as much as addresses can be.
    let name = |n| format!("{n}.stage.example.com");
    for (kind, each, answer) in [(16, 8, 300), (28, 12, 560), (1, 12, 640)] {
        let found = judged(&strict(), asked(kind, each, answer, name).into_iter());
        let last = found.last().unwrap_or_else(|| panic!("type {kind}"));
        let summary = &last.case.as_ref().unwrap().summary;
        assert!(summary.contains("bytes of answers"), "{summary}");
        assert_eq!(judged(&strict(), asked(kind, each, 90, name).into_iter()), []);
    }
}

#[test]
fn signed_answers_are_quiet_by_their_shape() {
    // A block list that says, with signatures, that it has none of them.
    let listed =
        |n: usize| format!("{}.{}.{}.{}.bl.example.org", n % 251, n % 13, n % 199, n % 223);
    let seconds = (0..240).map(|second| {
        let names = (0..10).map(|n| listed(second * 10 + n));
        names.flat_map(|name| none_signed(&name)).collect()
    });
    assert_eq!(judged(&strict(), seconds), []);
    // Keys of mail by many selectors, each asked again and again.
    let key = |n| format!("selector{}._domainkey.example.org", n % 12);
    assert_eq!(judged(&strict(), asked(16, 10, 420, key).into_iter()), []);
    // A content network's signed addresses.
    let cdn = |n| format!("r{}---sn-{}.video.example.com", n % 8, encoded(n % 90, 8, BASE32));
    assert_eq!(judged(&strict(), asked(1, 10, 350, cdn).into_iter()), []);
}

fn none_signed(name: &str) -> [Seen; 2] {
    [
        udp((CLIENT, 40_000), (RESOLVER, 53), &dns(name, 1, None)),
        udp((RESOLVER, 53), (CLIENT, 40_000), &dns(name, 1, Some((3, 800)))),
    ]
}

#[test]
fn few_names_or_few_bytes_are_never_judged() {
    let few = |n| format!("{}.example.com", encoded(n % 30, 60, BASE32));
    assert_eq!(judged(&strict(), asked(16, 3, 400, few).into_iter()), []);
    let short = |n| format!("{}.example.com", encoded(n, 4, BASE32));
    assert_eq!(judged(&strict(), asked(16, 2, 400, short).into_iter()), []);
}

#[test]
fn who_asks_a_resolver_is_named_and_not_the_resolver() {
    let seconds = (0..240).map(|n| {
        let name = format!("{}.{}.example.com", encoded(n, 60, BASE32), encoded(n + 1, 60, BASE32));
        let asked = exchange(CLIENT, RESOLVER, &name, 16, 300);
        [asked, exchange(RESOLVER, 9, &name, 16, 300)].concat()
    });
    let found = judged(&settings(), seconds);
    assert!(!found.is_empty());
    assert!(found.iter().all(|finding| finding.entity.id == "10.0.0.1"));
}

#[test]
fn what_goes_on_over_windows_is_one_tunnel_with_all_that_it_carried() {
    let name = |n| format!("{}.t.example.com", encoded(n, 60, BASE32));
    // Half of it in each window, under 256 KiB. What comes after a pause is another, though
    // its window begins within the pause.
    let pause = |seconds| vec![Vec::<Seen>::new(); seconds];
    let tunnel = || asked(16, 5, 250, name);
    let single = vec![exchange(CLIENT, RESOLVER, &name(0), 16, 250).to_vec()];
    let all = [pause(180), tunnel(), pause(200), single, pause(209), tunnel()].concat();
    let end_s = START_S + 180 + 240;
    let found = judged(&settings(), all.into_iter());
    let (first, other): (Vec<_>, Vec<_>) = found.into_iter().partition(|one| one.second < end_s);
    assert_eq!(other[0].start_second, end_s + 200);
    let seconds = other[0].second - (end_s + 410) + 1;
    assert_eq!(other[0].traffic.packets, 2 + 10 * seconds as u64);
    let (alert, _) = alert_of(first);
    let evidence = &alert.evidence;
    let of = |name: &str| evidence.details[name].as_u64().unwrap();
    let seconds = (alert.end_ns - alert.start_ns) as u64 / 1_000_000_000;
    assert!(seconds > 230, "{seconds}");
    assert_eq!((of("queries"), of("responses")), (seconds * 5, seconds * 5));
    assert_eq!((of("bytes_in_names"), of("longest_name_bytes")), (seconds * 5 * 61, 61));
    assert_eq!(evidence.packets, of("queries") + of("responses"));
    assert!(of("bytes_in_names") + of("answer_bytes") < 2 * (256 << 10));
    assert_eq!(alert.severity, Severity::High, "{}", alert.grade.severity_reason);
    let words = format!(" in {seconds} s");
    assert!(alert.summary.contains(&words), "{}", alert.summary);
}

/// What the book makes of the tunnel where it is allowed up to a bound.
fn alerts_with(max_bytes_per_minute: Option<u64>) -> Vec<crate::alert::Alert> {
    let name = |n| format!("{}.example.com", encoded(n, 60, BASE32));
    let seen = asked(10, 5, 500, name).into_iter();
    alerts_of(seen, Default::default(), max_bytes_per_minute)
}

fn alerts_of(
    seen: impl Iterator<Item = Vec<Seen>>,
    towards: crate::alert::Towards,
    max_bytes_per_minute: Option<u64>,
) -> Vec<crate::alert::Alert> {
    let allow = crate::alert::AllowEntry {
        detector: Some(NAME.to_owned()),
        entity: "10.0.0.1".parse().unwrap(),
        towards,
        reason: "a known agent".to_owned(),
        owner: "ops".to_owned(),
        expires_ns: i64::MAX,
        max_packets_per_s: None,
        max_bytes_per_minute,
    };
    let settings = DetectSettings { allow: vec![allow], ..settings() };
    let mut book = crate::alert::AlertBook::new(&settings);
    for finding in judged(&settings, seen) {
        let telemetry = crate::detect::Telemetry::default();
        book.record(finding.second, &mut vec![finding], &telemetry, &settings);
    }
    book.alerts()
}

#[test]
fn an_allowed_tunnel_that_carries_more_than_its_bound_is_told() {
    // 5 exchanges a second: about 220 kB a minute.
    assert_eq!(alerts_with(None), []);
    assert_eq!(alerts_with(Some(10_000_000)), []);
    let [alert] = &alerts_with(Some(100_000))[..] else { panic!("one alert") };
    assert_eq!(alert.evidence.details["allowed"]["volume_known"], true);
    assert!(alert.summary.contains("Beyond the 100,000 bytes/minute"), "{}", alert.summary);
}

#[test]
fn an_alert_of_a_tunnel_has_its_bytes_and_sizes_each_packet_once() {
    let [alert] = &alerts_with(Some(1))[..] else { panic!("one alert") };
    let evidence = &alert.evidence;
    let sizes: u64 = evidence.payload_sizes.iter().map(|size| size.packets).sum();
    assert_eq!(sizes, evidence.packets);
    let seconds = (alert.end_ns - alert.start_ns) as u64 / 1_000_000_000;
    assert_eq!(evidence.packets, seconds * 10);
    let both_ways = 2 * (14 + 20 + 8 + 12 + 61 + 13 + 4) + 500;
    assert_eq!(evidence.wire_bytes, seconds * 5 * both_ways);
    assert_eq!(evidence.peak.bits_per_s, 5 * both_ways * 8);
    assert_eq!(alert.peers[0].wire_bytes, Some(evidence.wire_bytes));
}

/// So many questions in each second, each with a name of its own, with answers.
fn tunnelled(seconds: usize, each: impl Fn(usize) -> usize) -> Vec<Vec<Seen>> {
    let name = |n| format!("{}.t.example.com", encoded(n, 56, BASE32));
    let second = |second: usize| {
        let numbers = (0..each(second)).map(|n| second * 5 + n);
        numbers.flat_map(|n| exchange(CLIENT, RESOLVER, &name(n), 16, 250)).collect()
    };
    (0..seconds).map(second).collect()
}

#[test]
fn of_two_processes_in_turn_each_is_charged_with_its_own() {
    let first = process("/tmp/tool");
    let mut second = Who::clone(&first);
    second.entity.id.push_str(":other");
    let second = Arc::new(second);
    let seconds = tunnelled(551, |at| match at {
        0..290 => 5,
        290..301 => 0,
        _ => 1,
    });
    let by = |at| Some(Arc::clone(if at < 300 { &first } else { &second }));
    let found = judged_by(by, &settings(), seconds.into_iter());
    let (of_first, of_second): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|one| one.entity == first.entity);
    assert!(of_first.iter().all(|one| one.second < START_S + 290));
    let (alert, _) = alert_of(of_second);
    let evidence = &alert.evidence;
    assert_eq!(alert.start_ns, (START_S + 301) * 1_000_000_000);
    let seconds = (alert.end_ns - alert.start_ns) as u64 / 1_000_000_000;
    assert_eq!(evidence.details["queries"], seconds);
    assert_eq!(evidence.packets, seconds * 2, "nor the packets of the other");
    assert_eq!(alert.severity, Severity::Medium, "{}", alert.grade.severity_reason);
}

#[test]
fn what_another_sent_under_the_floors_is_no_part_of_it() {
    let first = process("/tmp/tool");
    let mut second = Who::clone(&first);
    second.entity.id.push_str(":other");
    let second = Arc::new(second);
    let seconds = tunnelled(660, |at| match at {
        0..290 | 600.. => 5,
        300..330 => 1,
        _ => 0,
    });
    let by = |at| Some(Arc::clone(if (300..330).contains(&at) { &second } else { &first }));
    let found = judged_by(by, &settings(), seconds.into_iter());
    assert!(found.iter().all(|one| one.entity == first.entity));
    let last = found.last().unwrap();
    let seconds = last.second - (START_S + 600) + 1;
    assert!((last.start_second, seconds > 20) == (START_S, true), "{seconds}");
    assert_eq!(last.details["queries"], (290 + seconds) * 5);
}

/// A map may know a process when its socket opens, and not later.
#[test]
fn who_was_told_of_stays_where_nobody_is_known_in_the_next_window() {
    let who = process("/tmp/tool");
    let by = |at| (at < 300).then(|| Arc::clone(&who));
    let found = judged_by(by, &settings(), tunnelled(500, |_| 5).into_iter());
    assert!(found.iter().all(|one| one.entity == who.entity));
    let last = found.last().unwrap();
    assert_eq!(last.start_second, START_S);
    assert!(last.second > START_S + 480);
}

#[test]
fn only_seconds_in_which_something_was_sent_are_active() {
    let seconds = tunnelled(500, |second| if second % 4 == 0 { 5 } else { 0 });
    let (alert, _) = alert_of(judged(&settings(), seconds.into_iter()));
    let seconds = (alert.end_ns - alert.start_ns) as u64 / 1_000_000_000;
    assert!(seconds > 400, "{seconds}");
    assert_eq!(alert.evidence.active_seconds, seconds.div_ceil(4));
}

/// Whether a finding of the first window, and of the second, has it, where each name is
/// asked so many times.
fn not_asked_again(times: [usize; 2]) -> [bool; 2] {
    let name = |n| format!("{}.t.example.com", encoded(n, 56, BASE32));
    let seconds = (0..590).map(|second| {
        let times = times[second / 300];
        let numbers = (0..4).map(|n| (second * 4 + n) / times);
        numbers.flat_map(|n| exchange(CLIENT, RESOLVER, &name(n), 16, 250)).collect()
    });
    let found = judged(&settings(), seconds);
    let has = |one: &Finding| {
        let terms = &one.case.as_ref().unwrap().confidence_terms;
        terms.iter().any(|term| term.name == "names_not_asked_again")
    };
    let of = |from: i64| {
        let mut window =
            found.iter().filter(|one| (from..from + 300).contains(&(one.second - START_S)));
        window.next_back().is_some_and(has)
    };
    [of(0), of(300)]
}

#[test]
fn whether_names_are_asked_again_is_judged_by_the_window_as_the_score_is() {
    assert_eq!(not_asked_again([4, 1]), [false, true]);
    assert_eq!(not_asked_again([1, 4]), [true, false]);
}

#[test]
fn what_the_score_is_of_is_told_where_the_rest_is_of_more() {
    let found = judged(&settings(), tunnelled(500, |_| 5).into_iter());
    let told = |one: &Finding| {
        let case = one.case.as_ref().unwrap();
        let of = |name: &str| one.details[name].as_u64().unwrap();
        let term = |name: &str| case.score.terms.iter().find(|t| t.name == name).unwrap().value;
        assert_eq!(term("bytes_in_names") as u64, of("window_bytes_in_names"));
        let names = (term("distinct_names") as u64).min(of("window_queries"));
        assert_eq!(names, of("window_names"), "no more than were asked");
        let is_all = of("window_queries") == of("queries");
        (is_all, case.summary.contains("score of the last five minutes"))
    };
    assert_eq!(told(&found[0]), (true, false));
    assert_eq!(told(found.last().unwrap()), (false, true));
}

#[test]
fn where_room_is_needed_what_an_alert_is_of_goes_last() {
    let asked = |bytes, told_s: Option<i64>| Asked {
        sums: Sums { bytes, ..Sums::default() },
        before: told_s.map(|_| Box::default()),
        told_s: told_s.unwrap_or_default(),
        ..Asked::default()
    };
    let few = DETAILED_BYTES - 1;
    let left = |most| {
        let all = [
            asked(few, None),
            asked(few, Some(START_S)),
            asked(few, Some(START_S - QUIET_S - 1)),
            asked(few + 1, None),
        ];
        let asked = (0..).zip(all).map(|(n, asked)| ((Host::default(), n), asked)).collect();
        let mut detector = DnsTunnel { asked, ..DnsTunnel::default() };
        detector.clear(START_S, most);
        detector.asked.into_keys().map(|key| key.1).collect::<Vec<_>>()
    };
    assert_eq!(left(4), [1, 3], "nor one whose alert is over");
    assert_eq!(left(2), [3], "bounded all the same");
}
