//! Tunnels by what they send, and pings that are none.

use super::*;
use crate::baseline::Baselines;
use crate::detect::analytic::Inputs;
use crate::detect::analytic::testing::{alert_of, process, show};
use crate::detect::{DetectSettings, Names};
use crate::engine::window::Seed;
use crate::engine::window::features::tests::{Seen, echo, features};

const CLIENT: u8 = 1;
const SERVER: u8 = 2;
const START_S: i64 = 3_000;

fn judged(seconds: impl Iterator<Item = Vec<Seen>>) -> Vec<Finding> {
    judged_of(None, seconds)
}

fn judged_of(who: Option<&Arc<Who>>, seconds: impl Iterator<Item = Vec<Seen>>) -> Vec<Finding> {
    judged_with(&DetectSettings::default(), who, seconds)
}

fn judged_with(
    settings: &DetectSettings,
    who: Option<&Arc<Who>>,
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
    let mut detector = IcmpTunnel::default();
    let mut out = Vec::new();
    for (second, seen) in (START_S..).zip(seconds) {
        let told = features(&seen);
        for (key, stats) in told.echo.sorted() {
            let echo = EchoSecond { second, key, stats, seed, who: who.cloned() };
            show(&mut detector, &Event::Echo(&echo), &ctx, &mut out);
        }
    }
    out
}

/// `each` requests a second for four minutes, with what comes back.
fn pings(
    each: u16,
    data: impl Fn(u16) -> Vec<u8>,
    back: impl Fn(u16, Vec<u8>) -> Vec<u8>,
) -> impl Iterator<Item = Vec<Seen>> {
    pings_for(240, each, data, back)
}

fn pings_for(
    seconds: u16,
    each: u16,
    data: impl Fn(u16) -> Vec<u8>,
    back: impl Fn(u16, Vec<u8>) -> Vec<u8>,
) -> impl Iterator<Item = Vec<Seen>> {
    (0..seconds).map(move |second| {
        let numbers = (0..each).map(|n| second * each + n);
        let both = |n| {
            let sent = data(n);
            let came = back(n, sent.clone());
            [echo(CLIENT, SERVER, 8, 77, n, &sent), echo(SERVER, CLIENT, 0, 77, n, &came)]
        };
        numbers.flat_map(both).collect()
    })
}

fn alike(_: u16, data: Vec<u8>) -> Vec<u8> {
    data
}

/// As iputils fills it.
fn linux(n: u16, len: usize) -> Vec<u8> {
    let stamp = |at: usize| (u32::from(n).wrapping_mul(2_654_435_761) >> (at % 24)) as u8;
    (0..len).map(|at| if at < 16 { stamp(at) } else { at as u8 }).collect()
}

fn random(n: u16, len: usize) -> Vec<u8> {
    (0..len).map(|at| Seed::default().mix(u64::from(n), at as u64) as u8).collect()
}

#[test]
fn packets_in_echoes_are_a_tunnel() {
    let sizes = [88, 140, 612, 1_300, 95, 88, 300, 204];
    let out = |n: u16| random(n, sizes[usize::from(n) % 8]);
    let found = judged(pings(10, out, |n, _| random(n ^ 0x8000, sizes[usize::from(n) % 5])));
    let first = found.first().expect("a tunnel");
    assert!(first.second - START_S < 10, "told at once: {}", first.second - START_S);
    let last = found.last().expect("a tunnel");
    assert_eq!(last.entity.id, "10.0.0.1");
    let case = last.case.as_ref().expect("a case");
    assert_eq!((&case.analytics[..], &case.possible_analytics[..]), (&[][..], &["AN0031"][..]));
    assert_eq!(case.score.recompute(), case.score.value);
    assert!(case.score.value > 75.0, "{:?}", case.score);
}

#[test]
fn the_process_behind_it_is_named() {
    let back = |n: u16, _| random(n ^ 0x8000, 200);
    let found = judged_of(Some(&process("/opt/icmptunnel")), pings(10, |n| random(n, 300), back));
    let summary = &found[0].case.as_ref().expect("a case").summary;
    assert!(summary.starts_with("icmptunnel (pid 7) and 10.0.0.2 sent"), "{summary}");
}

#[test]
fn a_slow_shell_in_replies_is_a_tunnel() {
    let out = |n: u16| random(n, 40 + usize::from(n % 6));
    assert!(
        !judged(pings(1, out, |n, _| random(n + 5_000, 64 + usize::from(n % 9) * 7))).is_empty()
    );
}

/// As even as text.
fn text(n: u16, len: usize) -> Vec<u8> {
    random(n, len)
        .iter()
        .map(|byte| b"etaoinshrdlucmfwyp,. gbv\n"[usize::from(byte % 25)])
        .collect()
}

#[test]
fn megabytes_of_new_data_are_a_tunnel_though_each_is_echoed() {
    let found = judged(pings(10, |n| random(n, 1_400), alike));
    let case = found.last().expect("a tunnel").case.as_ref().expect("a case");
    assert!(case.score.value >= 50.0, "{:?}", case.score);
    let names = case.confidence_terms.iter().map(|term| term.name);
    assert!(names.clone().any(|name| name == "data_ever_new"), "{:?}", names.collect::<Vec<_>>());
    assert!(!judged(pings_for(480, 10, |n| text(n, 1_400), alike)).is_empty(), "text");
    let unanswered = pings(10, |n| random(n, 1_400), alike).map(|mut seen| {
        seen.retain(|(row, _)| row.macs.src()[5] == CLIENT);
        seen
    });
    assert!(!judged(unanswered).is_empty(), "requests alone");
    // Slower, over windows.
    assert!(!judged(pings_for(2_700, 1, |n| random(n, 1_400), alike)).is_empty(), "1 a second");
}

#[test]
fn new_data_in_many_sizes_is_a_tunnel_in_one_direction_too() {
    let size = |n: u16| 100 + usize::from(n) * 5;
    let requests = |data: fn(u16, usize) -> Vec<u8>| {
        pings_for(40, 5, move |n| data(n, size(n)), alike).map(|mut seen| {
            seen.retain(|(row, _)| row.macs.src()[5] == CLIENT);
            seen
        })
    };
    let found = judged(requests(random));
    let case = found.last().expect("a tunnel").case.as_ref().expect("a case");
    assert_eq!(case.score.recompute(), case.score.value);
    // A time stamp that is not known before a filling, and what ping sends itself.
    let stamped = |n, len| [random(n, 20), vec![b'-'; len - 20]].concat();
    assert_eq!(judged(requests(stamped)), [], "a monitor in many sizes");
    assert_eq!(judged(requests(linux)), [], "ping in many sizes");
    // The search for a path's MTU with random data, again and again.
    let sizes = [1_472, 736, 1_104, 1_288, 1_380, 1_426, 1_449, 1_437, 1_443, 1_446, 1_447];
    let search = |n: u16| random(n, sizes[usize::from(n) % sizes.len()]);
    assert_eq!(judged(pings_for(60, 1, search, alike)), [], "path MTU");
}

#[test]
fn an_hour_of_random_monitoring_is_none() {
    assert_eq!(judged(pings_for(3_600, 5, |n| random(n, 56), alike)), [], "fping -R");
    // Smokeping: 20 each five minutes, as large as they fit.
    let rounds = (0..3_600_u16).map(|second| {
        let n = second / 300 * 20 + second % 300;
        let data = random(n, 1_400);
        let ask = [echo(CLIENT, SERVER, 8, 77, n, &data), echo(SERVER, CLIENT, 0, 77, n, &data)];
        if second % 300 < 20 { ask.to_vec() } else { Vec::new() }
    });
    assert_eq!(judged(rounds), [], "smokeping");
}

#[test]
fn time_stamps_before_a_filling_make_no_new_data() {
    // 20 random bytes: no stamp that is known.
    let stamped = |n: u16| [random(n, 20), vec![b'-'; 1_380]].concat();
    assert_eq!(judged(pings(10, stamped, alike)), []);
}

#[test]
fn pings_of_any_size_and_rate_are_none() {
    assert_eq!(judged(pings(1, |n| linux(n, 56), alike)), []);
    assert_eq!(judged(pings(1, |n| linux(n, 1_400), alike)), [], "-s 1400");
    assert_eq!(judged(pings(100, |n| linux(n, 1_400), alike)), [], "-f -s 1400");
    assert_eq!(judged(pings(1, |n| linux(n, 1_200 + usize::from(n) * 2), alike)), [], "path MTU");
}

#[test]
fn monitoring_is_none() {
    assert_eq!(judged(pings(5, |_| vec![0; 56], alike)), [], "fping");
    assert_eq!(judged(pings(5, |n| random(n, 56), alike)), [], "fping -R");
    assert_eq!(judged(pings(20, |_| random(1, 400), alike)), [], "nping --data-length");
}

#[test]
fn a_few_bad_replies_are_none() {
    let back = |n: u16, data: Vec<u8>| if n.is_multiple_of(40) { random(n, 56) } else { data };
    assert_eq!(judged(pings(1, |n| linux(n, 56), back)), []);
}

#[test]
fn what_went_through_it_is_in_the_findings_each_packet_once() {
    let found = judged(pings(10, |n| random(n, 400), |n, _| random(n ^ 0x8000, 300)));
    let (packets, bytes) = found.iter().fold((0, 0), |(packets, bytes), finding| {
        (packets + finding.traffic.packets, bytes + finding.traffic.wire_bytes)
    });
    let last = found.last().expect("a tunnel");
    let seconds = (last.second - START_S + 1) as u64;
    assert_eq!(packets, seconds * 20);
    let second = 10 * (2 * (14 + 20 + 8) + 400 + 300);
    assert_eq!(bytes, seconds * second);
    assert_eq!(last.bytes_per_minute(), Some(60 * second));
    assert_eq!(last.packets_per_s(), Some(20));
    let sizes: u64 = last.traffic.sizes.iter().sum();
    assert_eq!(sizes, last.traffic.packets);
    assert_eq!(last.peers[0].wire_bytes, Some(last.traffic.wire_bytes));
}

proptest::proptest! {
    /// What is not judged for being ordinary could not have alerted.
    #[test]
    fn an_ordinary_pair_is_far_from_an_alert(
        counts in proptest::collection::vec(0_u64..1 << 40, 6),
        active_s in 1_u64..300,
        sizes in proptest::collection::vec(proptest::num::u64::ANY, 0..3),
        hour_bytes in 0_u64..1 << 50,
    ) {
        let settings = DetectSettings::default();
        let (baselines, inputs) = (Baselines::default(), Inputs::default());
        let ctx = AnalyticContext {
            settings: &settings,
            baselines: &baselines,
            inputs: &inputs,
            names: &Names::default(),
            seed: Seed::default(),
        };
        let [requests, replies, compared, with_data, alike, unasked] = counts[..] else { panic!() };
        let mut sums = Sums {
            active_s, requests, replies, compared, with_data, alike, unasked, ..Sums::default()
        };
        sizes.iter().for_each(|&size| sums.sizes.insert(size));
        proptest::prop_assert!(sums.is_ordinary());
        let score = sums.score((hour_bytes, 0, sums.randomness()), &ctx);
        proptest::prop_assert!(score.value <= ORDINARY_POINTS, "{:?}", score);
        proptest::prop_assert!(score.threshold > ORDINARY_POINTS);
        (sums.unlike, sums.alike) = (1, 1);
        proptest::prop_assert!(!sums.is_ordinary());
    }
}

#[test]
fn who_asks_is_told_the_score_of_ordinary_pings() {
    let mut settings = DetectSettings::default();
    let watch = crate::detect::Watch::new(vec!["10.0.0.1".parse().unwrap()], Vec::new());
    settings.watch = Some(watch.clone());
    let found = judged_with(&settings, None, pings(1, |n| linux(n, 56), alike));
    assert!(found.is_empty());
    let near = &watch.seen().findings[0];
    assert!((near.detector, near.score.is_some()) == (NAME, true), "{near:?}");
}

/// Known by what it carries in an hour: what came before it was known is part of that.
#[test]
fn a_tunnel_that_is_known_late_has_all_of_its_hour() {
    let found = judged(pings_for(2_700, 1, |n| random(n, 1_400), alike));
    let hour_s = 3_600;
    assert!(found[0].second > hour_s + 600, "over windows: {}", found[0].second);
    let (alert, _) = alert_of(found);
    assert_eq!(alert.start_ns, hour_s * 1_000_000_000);
    let seconds = (alert.end_ns - alert.start_ns) as u64 / 1_000_000_000;
    assert_eq!(alert.evidence.packets, seconds * 2);
    assert_eq!(alert.evidence.wire_bytes, seconds * 2 * (14 + 20 + 8 + 1_400));
}

/// One hour, and pings that keep it in view: of what was over nothing is told again.
#[test]
fn what_comes_after_a_pause_that_ended_the_alert_is_another() {
    let burst: Vec<_> = pings(10, |n| random(n, 400), |n, _| random(n ^ 0x8000, 300)).collect();
    let ping = |second: usize| {
        let data = linux(second as u16, 56);
        [echo(CLIENT, SERVER, 8, 5, 1, &data), echo(SERVER, CLIENT, 0, 5, 1, &data)].to_vec()
    };
    let of_hour = |second: usize| match second {
        600..660 => burst[second - 600].clone(),
        2_400..2_460 => burst[second - 2_400 + 60].clone(),
        _ if second > 600 && second % 60 == 10 => ping(second),
        _ => Vec::new(),
    };
    let all: Vec<Vec<Seen>> = (0..2_500).map(of_hour).collect();
    let found = judged(all.iter().cloned());
    let (first, other): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|one| one.second < START_S + 2_400);
    let over_s = first.last().unwrap().second + QUIET_S;
    let start_s = other[0].start_second;
    assert!((over_s + 1..=over_s + 60).contains(&start_s), "{start_s} after {over_s}");
    let at = |second: i64| (second - START_S) as usize;
    let sent = all[at(start_s)..=at(other[0].second)].iter().map(Vec::len).sum::<usize>();
    assert_eq!(other[0].traffic.packets, sent as u64);
    let (first, other) = (alert_of(first).0, alert_of(other).0);
    assert_ne!(first.id, other.id);
}

#[test]
fn only_seconds_in_which_something_was_sent_are_active() {
    let echoes = pings(10, |n| random(n, 400), |n, _| random(n ^ 0x8000, 300));
    let seconds = echoes.enumerate().map(|(n, seen)| if n % 4 == 0 { seen } else { Vec::new() });
    let (alert, _) = alert_of(judged(seconds));
    let seconds = (alert.end_ns - alert.start_ns) as u64 / 1_000_000_000;
    assert!(seconds > 200, "{seconds}");
    assert_eq!(alert.evidence.active_seconds, seconds.div_ceil(4));
}
