//! Profiles and baselines as others use them.

use std::net::IpAddr;
use std::slice;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::engine::window::Host;
use crate::entity::{Leg, Measures, Minute, PeerSums, Service, Spoken, Who};
use crate::host::side::ProcessView;

const DAY_S: i64 = 86_400;
/// A Monday.
pub(super) const START_S: i64 = 20_783 * DAY_S;

/// Noise of the same numbers on every machine: 0.5 to 1.5.
pub(super) fn noise(at: i64) -> f64 {
    let mixed = (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    0.5 + (mixed % 1000) as f64 / 1000.0
}

pub(super) fn host(text: &str) -> Host {
    Host::from(text.parse::<IpAddr>().expect("an address"))
}

/// A minute of this many bytes to one peer, in packets of 1,000.
pub(super) fn minute(who: &Arc<Who>, start_s: i64, bytes: f64, peer: &str) -> Minute {
    let mut measures = Measures::default();
    let (bytes, packets) = (bytes as u64, (bytes / 1_000.0) as u64);
    measures.sent.wire_bytes = bytes;
    measures.sent.packets = packets;
    measures.sent.sizes[5] = packets;
    measures.busiest = (start_s, packets / 30, bytes / 30, bytes / 30);
    measures.top.push(PeerSums {
        key: host(peer),
        sent_bytes: bytes,
        sent_packets: packets.max(1),
        sent_payload: bytes,
        opened_bytes: bytes,
        unasked_bytes: 0,
        received_bytes: 0,
        received_packets: 0,
        received_payload: 0,
        error_bytes: 0,
        service: crate::entity::OneService::None,
    });
    Minute {
        who: Arc::clone(who),
        start_s,
        length_s: 60,
        source: "packets".into(),
        measures,
        reported: None,
    }
}

pub(super) fn learned_minutes(baselines: &Baselines, who: &Who) -> u64 {
    baselines.profile(&who.baseline).map_or(0, Profile::minutes)
}

/// An alert of it alone.
pub(super) fn freeze(baselines: &mut Baselines, who: &Who, until_s: i64) {
    let cause = Arc::clone(&who.baseline);
    let (keys, addresses) = (Vec::new(), Vec::new());
    baselines.freeze(&Freeze { cause, alert: None, keys, addresses, all: false, until_s });
}

/// A verdict on its alert of that time, whatever the alert's id.
pub(super) fn judge(
    baselines: &mut Baselines,
    key: &Arc<str>,
    (from_s, until_s): (i64, i64),
    verdict: Verdict,
) -> Judged {
    let key = key.to_string();
    baselines.judge(&Word { key, alert: None, from_s, until_s, verdict, at_s: from_s })
}

fn server() -> Arc<Who> {
    Arc::new(Who::address(&host("10.0.0.1")))
}

/// Baselines that have learned so many days, a minute each `step_s`.
fn learned(days: i64, step_s: i64, bytes: impl Fn(i64) -> f64) -> (Baselines, Arc<Who>) {
    let mut baselines = Baselines::in_memory(BaselineSettings::default(), true);
    let who = server();
    for at_s in (START_S..START_S + days * DAY_S).step_by(step_s as usize) {
        baselines.learn(&minute(&who, at_s, bytes(at_s), "192.0.2.1"));
    }
    (baselines, who)
}

fn q99(baselines: &Baselines, who: &Who, at_s: i64) -> f64 {
    let profile = baselines.profile(&who.baseline).expect("learned");
    profile.normal(Metric::EgressBytes, at_s).expect("minutes enough").q99
}

#[test]
fn an_attack_lies_far_above_what_two_weeks_taught() {
    let (baselines, who) = learned(14, 60, |at_s| 1e6 * noise(at_s));
    let profile = baselines.profile(&who.baseline).expect("learned");
    let at_s = START_S + 14 * DAY_S;
    let normal = profile.normal(Metric::EgressBytes, at_s).expect("minutes enough");
    assert!((normal.median / 1e6 - 1.0).abs() < 0.2, "{normal:?}");
    assert!((normal.q99 / 1.5e6 - 1.0).abs() < 0.2, "{normal:?}");
    assert!(normal.above(5e7) > 50.0, "{normal:?}");
    assert!(normal.times_q99(5e7) > 20.0);
    assert!(normal.above(1.4e6) < 3.5, "{normal:?}");
    assert!(baselines.is_mature(&who.baseline));
    assert_eq!(profile.minutes(), 14 * 1440);
    assert_eq!(profile.active_days(), 14);
}

#[test]
fn a_minute_of_backup_each_night_is_a_habit_from_the_third_night_on() {
    let backup = |at_s: i64| at_s.rem_euclid(DAY_S) == 2 * 3600 + 1_200;
    let bytes = |at_s| if backup(at_s) { 1e9 } else { 1e6 };
    let regular = |days: i64, hour: i64| {
        let (baselines, who) = learned(days, 60, bytes);
        let profile = baselines.profile(&who.baseline).expect("learned");
        let at_s = START_S + days * DAY_S + hour * 3600;
        profile.normal(Metric::EgressBytes, at_s).expect("minutes enough").regular
    };
    assert!(regular(2, 2) < 2e6);
    for days in [3, 8, 28] {
        assert!((regular(days, 2) / 1e9 - 1.0).abs() < 0.2, "{days} days: {}", regular(days, 2));
        assert!(regular(days, 3) < 2e6);
    }
}

#[test]
fn a_nightly_backup_is_normal_at_night_alone() {
    let backup = |at_s: i64| at_s.rem_euclid(DAY_S) / 3600 == 2;
    let bytes = |at_s| if backup(at_s) { 1e9 } else { 1e6 } * noise(at_s);
    let (baselines, who) = learned(28, 60, bytes);
    let profile = baselines.profile(&who.baseline).expect("learned");
    let next = START_S + 28 * DAY_S;
    let at = |hour: i64| {
        profile.normal(Metric::EgressBytes, next + hour * 3600).expect("minutes enough")
    };
    let (night, noon) = (at(2), at(12));
    assert!(night.above(1e9) < 3.5, "{night:?}");
    assert!(night.times_q99(1e9) < 1.5, "{night:?}");
    assert!(noon.above(1e9) > 20.0, "{noon:?}");
    assert!(noon.times_q99(1e9) > 10.0, "{noon:?}");
    assert_eq!((night.basis, noon.basis), (Basis::HourOfWeek, Basis::HourOfWeek));
}

/// A target with hours of two answers a minute and, at three each night, failures.
fn failing_at_night(days: i64) -> Profile {
    let mut baselines = Baselines::in_memory(BaselineSettings::default(), true);
    let target: Arc<str> = "target:10.0.0.1 port 80".into();
    for at_s in (START_S..START_S + days * DAY_S).step_by(120) {
        let is_night = at_s.rem_euclid(DAY_S) / 3600 == 3;
        let failures = if is_night { 50.0 * noise(at_s) } else { 0.0 };
        baselines.learn_value(&target, Metric::Errors4xx, at_s, 2.0);
        baselines.learn_value(&target, Metric::Errors5xx, at_s, failures);
    }
    baselines.profile(&target).cloned().expect("learned")
}

#[test]
fn failures_each_night_are_normal_at_night_alone() {
    let profile = failing_at_night(14);
    let at = |hour: i64| {
        let at_s = START_S + 14 * DAY_S + hour * 3600;
        profile.normal(Metric::Errors5xx, at_s).expect("minutes enough")
    };
    let (night, noon) = (at(3), at(12));
    assert!(night.q99 > 60.0 && night.q99 < 90.0, "{night:?}");
    assert!((night.regular / 75.0 - 1.0).abs() < 0.2, "{night:?}");
    // Of all minutes 4 % are of that hour: their 99th percentile is the night's.
    assert!(noon.q99 < 5.0 && noon.max > 70.0, "{noon:?}");
    assert_eq!(noon.regular, 0.0);
    // What is the same all day stays so.
    let usual = profile.normal(Metric::Errors4xx, START_S + 14 * DAY_S).expect("minutes enough");
    assert!((usual.q99 - 2.0).abs() < 0.3, "{usual:?}");
}

#[test]
fn profiles_of_before_there_were_hours_of_answers_are_read_and_go_on() {
    let with = failing_at_night(3);
    assert_eq!(Profile::decode(&with.encode()).as_ref(), Some(&with));
    assert_eq!(with.encode()[0], 2);
    let before = Profile { answers: None, ..with.clone() };
    let bytes = before.encode();
    assert_eq!(bytes[0], 1);
    let mut read = Profile::decode(&bytes).expect("an older profile");
    assert_eq!(read, before);
    let at_s = START_S + 3 * DAY_S;
    let normal = read.normal(Metric::Errors5xx, at_s).expect("minutes enough");
    assert_eq!(normal.basis, Basis::All);
    let rules = BaselineSettings::default().rules();
    read.learn_value(Metric::Errors5xx, at_s, (7.0, true), &rules);
    assert_eq!(read.encode()[0], 2);
    // Those of the one version and of the other are put together.
    read.merge(&with);
    assert_eq!(Profile::decode(&read.encode()), Some(read));
    // Who has no answers is written so that older programs read it.
    assert_eq!(some_profile(1, 100).encode()[0], 1);
}

#[test]
fn profiles_of_before_unanswered_packets_were_counted_are_read_and_go_on() {
    let before = failing_at_night(3);
    let bytes = before.encode();
    assert_eq!(bytes[0], 2);
    let mut read = Profile::decode(&bytes).expect("an older profile");
    let at_s = START_S + 3 * DAY_S;
    assert_eq!(read.normal(Metric::PeakUnanswered, at_s), None);
    let view = Arc::new(ProcessView::default());
    let program = Arc::new(Who::process("host", "boot", &view, None, 1.0));
    let rules = BaselineSettings::default().rules();
    for at in 0..60 {
        let mut minute = minute(&program, at_s + at * 60, 1e6, "192.0.2.1");
        minute.measures.most_unanswered = 7;
        read.learn(&minute, &rules);
    }
    let normal = read.normal(Metric::PeakUnanswered, at_s).expect("minutes enough");
    assert_eq!((normal.max, normal.minutes), (7.0, 60));
    let bytes = read.encode();
    assert_eq!((bytes[0], Profile::decode(&bytes)), (3, Some(read.clone())));
    // Without hours of answers as well.
    let without = Profile { answers: None, ..read };
    assert_eq!(Profile::decode(&without.encode()), Some(without));
    // Only programs have it.
    let (baselines, who) = learned(1, 600, |_| 1e6);
    let profile = baselines.profile(&who.baseline).expect("learned");
    assert_eq!(profile.encode()[0], 1);
}

#[test]
fn a_short_history_falls_back_to_wider_hours() {
    let basis = |days| {
        let (baselines, who) = learned(days, 60, |_| 1e6);
        let profile = baselines.profile(&who.baseline).expect("learned");
        profile.normal(Metric::EgressBytes, START_S + days * DAY_S).expect("minutes").basis
    };
    assert_eq!([1, 5, 28].map(basis), [Basis::All, Basis::HourOfDay, Basis::HourOfWeek]);
}

/// Each day the attacker sends a tenth more than is normal, or all it can.
#[test]
fn slow_poisoning_is_held_to_the_drift_of_a_day() {
    let (mut baselines, who) = learned(10, 60, |at_s| 1e6 * noise(at_s));
    let before = q99(&baselines, &who, START_S + 10 * DAY_S);
    for day in 10..20 {
        for at in (0..DAY_S).step_by(60) {
            baselines.learn(&minute(&who, START_S + day * DAY_S + at, 1e9, "192.0.2.1"));
        }
        let now = q99(&baselines, &who, START_S + day * DAY_S + DAY_S - 60);
        let most = before * 1.1_f64.powi(day as i32 - 9) * 1.001;
        assert!(now <= most, "day {day}: {now} of {most}");
    }
    let profile = baselines.profile(&who.baseline).expect("learned");
    assert!(profile.clipped() > 10 * 1440, "{}", profile.clipped());
    let normal = profile.normal(Metric::EgressBytes, START_S + 20 * DAY_S).expect("minutes");
    assert!(normal.times_q99(1e9) > 100.0, "{normal:?}");
    // A service that grows is followed.
    assert!(normal.q99 > before * 2.0, "{normal:?}");
}

#[test]
fn nothing_of_an_alerting_entity_is_learned_before_a_verdict() {
    let judged = |verdict| {
        let (mut baselines, who) = learned(10, 60, |_| 1e6);
        let from_s = START_S + 10 * DAY_S;
        let before = q99(&baselines, &who, from_s);
        freeze(&mut baselines, &who, from_s + 3600);
        for at in (0..3600).step_by(60) {
            baselines.learn(&minute(&who, from_s + at, 1e9, "203.0.113.7"));
        }
        let profile = baselines.profile(&who.baseline).expect("learned");
        assert_eq!(profile.minutes(), 14_400);
        assert_eq!(profile.destination(&host("203.0.113.7")), None);
        let told = judge(&mut baselines, &who.baseline, (from_s, from_s + 3600), verdict);
        let (others, waiting, learned) = (0, 0, verdict.is_learned());
        assert_eq!(told, Judged { spans: 1, minutes: 60, others, waiting, learned });
        let profile = baselines.profile(&who.baseline).expect("learned");
        assert_eq!(profile.verdicts().map(|(_, said)| said).collect::<Vec<_>>(), [verdict]);
        let known = profile.destination(&host("203.0.113.7")).is_some();
        (profile.minutes(), known, profile.ceiling(Metric::EgressBytes).is_none(), before)
    };
    assert!(matches!(judged(Verdict::True), (14_400, false, false, _)));
    assert!(matches!(judged(Verdict::Expected), (14_460, true, true, _)));
    assert!(matches!(judged(Verdict::False), (14_460, true, true, _)));
}

/// A process sends from its address: an alert about either says what of that is learned.
#[test]
fn what_the_same_traffic_counts_for_waits_for_the_same_verdict() {
    let view = Arc::new(ProcessView::default());
    let process = Arc::new(Who::process("web", "", &view, None, 1.0));
    let address = server();
    let at = |who: &Arc<Who>, from_s: i64| {
        let mut minute = minute(who, from_s, 1e6, "203.0.113.7");
        minute.measures.own = Some((host("10.0.0.1"), 1));
        minute
    };
    let knows = |baselines: &Baselines, who: &Who| {
        let profile = baselines.profile(&who.baseline);
        profile.is_some_and(|profile| profile.destination(&host("203.0.113.7")).is_some())
    };
    let known = |baselines: &Baselines| [&process, &address].map(|who| knows(baselines, who));
    let freeze = |cause: &Who, all: bool| Freeze {
        cause: Arc::clone(&cause.baseline),
        alert: None,
        keys: Vec::new(),
        addresses: vec![host("10.0.0.1")],
        all,
        until_s: START_S + 100,
    };
    let run = |freezes: &[Freeze], verdicts: &[(&Arc<Who>, Verdict)]| {
        let mut baselines = Baselines::in_memory(BaselineSettings::default(), true);
        freezes.iter().for_each(|freeze| baselines.freeze(freeze));
        baselines.learn(&at(&process, START_S));
        baselines.learn(&at(&address, START_S));
        assert!(freezes.is_empty() || !knows(&baselines, &address));
        for (who, verdict) in verdicts {
            judge(&mut baselines, &who.baseline, (START_S + 30, START_S + 60), *verdict);
        }
        known(&baselines)
    };
    let (by_process, by_address) = (freeze(&process, false), freeze(&address, true));
    assert_eq!(run(&[], &[]), [true, true]);
    assert_eq!(run(slice::from_ref(&by_process), &[]), [false, false]);
    assert_eq!(run(slice::from_ref(&by_process), &[(&process, Verdict::Expected)]), [true, true]);
    assert_eq!(run(slice::from_ref(&by_process), &[(&process, Verdict::True)]), [false, false]);
    assert_eq!(run(slice::from_ref(&by_address), &[]), [false, false]);
    assert_eq!(run(slice::from_ref(&by_address), &[(&address, Verdict::False)]), [true, true]);
    // Of two alerts both must be none.
    let both = [by_process, by_address];
    assert_eq!(run(&both, &[(&process, Verdict::False)]), [false, false]);
    let (one, other) = ((&process, Verdict::False), (&address, Verdict::Expected));
    assert_eq!(run(&both, &[one, other]), [true, true]);
    assert_eq!(run(&both, &[one, (&address, Verdict::True)]), [false, false]);
    // Another process at that address is not guilty, but of an alert about all of it.
    let mut baselines = Baselines::in_memory(BaselineSettings::default(), true);
    baselines.freeze(&freeze(&Who::process("web", "", &view, None, 1.0), false));
    let other = Arc::new(Who::process("other", "", &view, None, 1.0));
    baselines.learn(&at(&other, START_S));
    assert!(knows(&baselines, &other));
}

#[test]
fn spans_without_a_verdict_are_dropped_after_a_week() {
    let (mut baselines, who) = learned(10, 600, |_| 1e6);
    let from_s = START_S + 10 * DAY_S;
    freeze(&mut baselines, &who, from_s + 60);
    baselines.learn(&minute(&who, from_s, 1e9, "192.0.2.1"));
    assert_eq!(baselines.pending(), 1);
    baselines.tick(from_s + 6 * DAY_S);
    assert_eq!(baselines.pending(), 1);
    baselines.tick(from_s + 8 * DAY_S);
    assert_eq!(baselines.pending(), 0);
    assert_eq!(baselines.counters().pending_dropped, 1);
}

#[test]
fn what_was_is_forgotten() {
    let (mut baselines, who) = learned(7, 600, |_| 1e6);
    for at in (30 * DAY_S..170 * DAY_S).step_by(3600) {
        baselines.learn(&minute(&who, START_S + at, 1e5, "192.0.2.1"));
    }
    assert!(q99(&baselines, &who, START_S + 170 * DAY_S) < 2e5);
}

#[test]
fn profiles_stay_small_whatever_the_entity_does() {
    use Metric::{CounterBytes, Errors4xx, Errors5xx, Requests};
    let view = Arc::new(ProcessView::default());
    let program = Arc::new(Who::process("host", "boot", &view, None, 1.0));
    // Of a program nobody tells requests, of all else nobody unanswered packets.
    let all: [(_, &[Metric]); 2] =
        [(server(), &[Requests, Errors4xx, Errors5xx, CounterBytes]), (program, &[CounterBytes])];
    for (who, told) in all {
        let mut baselines = Baselines::in_memory(BaselineSettings::default(), true);
        for at in 0..40 * 1440_i64 {
            let wild = libm::exp2((noise(at * 7) - 0.5) * 40.0) * noise(at);
            let peer = format!("198.{}.{}.1", at % 199, at % 251);
            let mut minute = minute(&who, START_S + at * 60, wild, &peer);
            minute.measures.received.wire_bytes = wild as u64 / 3;
            minute.measures.most_unanswered = wild as u64 / 7;
            // Six services in all sizes, and strangers.
            for n in [at % 6, at % 5, at % 7, at] {
                let service = Service { proto: 17, port: (n % 60_000) as u16, leg: Leg::Opened };
                let mut spoken = Spoken::new(service);
                for bin in 1..12 {
                    let packets = libm::exp2(noise(at * 13 + i64::from(bin)) * 20.0);
                    spoken.send(bin as usize, packets as u32, 1_000);
                }
                minute.measures.spoken.push(spoken);
            }
            baselines.learn(&minute);
            let name = NameDigest::of(&format!("n{}.example", at % 251));
            let hosts = (&host("10.0.0.1"), &host(&peer));
            baselines.learn_names(&who.baseline, hosts, &[name], minute.start_s);
            if at % 60 == 0 {
                for &metric in told {
                    let value = libm::exp2(noise(at * 31) * 30.0);
                    baselines.learn_value(&who.baseline, metric, minute.start_s, value);
                }
            }
        }
        let profile = baselines.profile(&who.baseline).expect("learned");
        let bytes = profile.encode();
        assert!(bytes.len() <= MOST_BYTES, "{}", bytes.len());
        assert!(bytes.len() > 2_000, "{}", bytes.len());
        assert_eq!(profile.services().len(), 6);
        // A gibibyte for 100,000 of them.
        assert!(profile.bytes() < (1 << 30) / 100_000, "{}", profile.bytes());
        assert!(profile.names().len() == 32 && profile.name_newness() > Some(0.5));
        let read = Profile::decode(&bytes).expect("whole");
        assert!(!read.names().is_empty() && read.named_since() == profile.named_since());
        assert!(profile.newness() > Some(0.5), "{:?}", profile.newness());
    }
}

#[test]
fn what_few_know_is_rare() {
    let mut baselines = Baselines::in_memory(BaselineSettings::default(), true);
    for n in 0..50 {
        let who = Arc::new(Who::address(&host(&format!("10.0.0.{n}"))));
        baselines.learn(&minute(&who, START_S, 1e6, "192.0.2.1"));
        if n == 0 {
            baselines.learn(&minute(&who, START_S + 60, 1e6, "203.0.113.1"));
        }
    }
    let share = |text: &str| baselines.others(&host(text), &[]).share();
    assert_eq!(share("192.0.2.99"), 1.0);
    assert_eq!(share("203.0.113.1"), 0.02);
    assert_eq!(share("198.51.100.1"), 0.0);
}

#[test]
fn what_one_host_reaches_is_not_what_others_reach() {
    let mut baselines = Baselines::in_memory(BaselineSettings::default(), true);
    let own = Arc::new(Who::address(&host("10.0.0.1")));
    let view = Arc::new(ProcessView::default());
    let container = crate::host::workload::Workload { container: "c".into(), ..Default::default() };
    let container = Arc::new(container);
    let parts =
        [Arc::new(Who::process("web", "", &view, None, 1.0)), Arc::new(Who::workload(&container))];
    // One flow counts for the address, the process and the workload that it is of.
    for who in parts.iter().chain([&own]) {
        baselines.learn(&minute(who, START_S, 1e6, "203.0.113.1"));
    }
    let others = |baselines: &Baselines, own: &[Arc<str>]| {
        let others = baselines.others(&host("203.0.113.9"), own);
        (others.know, others.of)
    };
    assert_eq!(others(&baselines, &[]), (1, 1));
    assert_eq!(others(&baselines, &[Arc::clone(&own.baseline)]), (0, 0));
    let other = Arc::new(Who::address(&host("10.0.0.2")));
    baselines.learn(&minute(&other, START_S, 1e6, "192.0.2.1"));
    assert_eq!(others(&baselines, &[Arc::clone(&own.baseline)]), (0, 1));
    assert_eq!(others(&baselines, &[Arc::clone(&other.baseline)]), (1, 1));
    // Whoever is given up counts no more, in memory alone as well.
    assert!(baselines.forget(&own.baseline));
    assert_eq!(others(&baselines, &[]), (0, 1));
}

#[test]
fn sizes_of_its_own_minutes_calibrate_the_distance() {
    let (baselines, who) = learned(1, 60, |at_s| 1e6 * noise(at_s));
    let distances = baselines.profile(&who.baseline).and_then(Profile::distances);
    let distances = distances.expect("minutes enough");
    assert!(distances.q995 < 0.01 && distances.minutes > 1_000.0, "{distances:?}");
}

#[test]
fn memory_without_a_file_is_bounded() {
    let settings = BaselineSettings { held: 10, ..BaselineSettings::default() };
    let mut baselines = Baselines::in_memory(settings, true);
    for n in 0..100 {
        let who = Arc::new(Who::address(&host(&format!("10.0.0.{n}"))));
        baselines.learn(&minute(&who, START_S + n, 1e6, "192.0.2.1"));
    }
    assert!(baselines.len() <= 10);
    assert!(baselines.profile("address:10.0.0.99").is_some());
    assert!(baselines.profile("address:10.0.0.0").is_none());
    assert_eq!(baselines.counters().forgotten as usize, 100 - baselines.len());
}

/// Every third has names.
fn some_profile(seed: i64, minutes: i64) -> Profile {
    let who = server();
    let mut baselines = Baselines::in_memory(BaselineSettings::default(), true);
    for at in 0..minutes {
        let (start_s, peer) = (START_S + (seed + at) * 60, format!("192.0.{}.1", (seed + at) % 20));
        baselines.learn(&minute(&who, start_s, 1e5 * noise(seed + at), &peer));
        if seed % 3 == 0 {
            let name = NameDigest::of(&format!("www.n{}.example", (seed + at) % 40));
            let names = [name];
            let names = if at % 4 == 0 { &[] } else { &names[..] };
            let hosts = (&host("10.0.0.1"), &host(&peer));
            baselines.learn_names(&who.baseline, hosts, names, start_s);
        }
    }
    baselines.profile(&who.baseline).cloned().unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn two_profiles_merge_the_same_either_way(a in 0..5_000_i64, b in 0..5_000_i64) {
        let (x, y) = (some_profile(a, 200), some_profile(b, 100));
        let (mut one, mut other) = (x.clone(), y.clone());
        one.merge(&y);
        other.merge(&x);
        prop_assert_eq!(one.encode(), other.encode());
        prop_assert_eq!(one.minutes(), 300);
    }

    #[test]
    fn profiles_come_back_from_bytes(seed in 0..5_000_i64) {
        let profile = some_profile(seed, 300);
        prop_assert_eq!(Profile::decode(&profile.encode()), Some(profile));
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(Profile::decode(&bytes), None);
        let _ = Profile::decode_checked(&bytes);
    }

    #[test]
    fn no_damage_makes_decoding_panic(seed in 0..50_i64, at: usize, to: u8, cut: usize) {
        let mut bytes = some_profile(seed, 100).encode();
        let len = bytes.len();
        bytes[at % len] = to;
        if let Some(mut damaged) = Profile::decode_checked(&bytes[..len - 4]) {
            // And what came of it can be used.
            let _ = damaged.normal(Metric::EgressBytes, START_S);
            let whole = some_profile(seed, 10);
            damaged.merge(&whole);
            let _ = damaged.encode();
        }
        let _ = Profile::decode_checked(&bytes[..cut % len]);
    }
}

/// A sensor that starts with a clock of next year forgot all that it had learned.
#[test]
fn most_of_what_is_known_is_not_forgotten_at_once() {
    let mut baselines = Baselines::in_memory(BaselineSettings::default(), true);
    let who = |n: u8| Arc::new(Who::address(&host(&format!("10.0.0.{n}"))));
    let see = |baselines: &mut Baselines, n: u8, from_s: i64| {
        baselines.learn(&minute(&who(n), from_s, 1e6, "203.0.113.7"));
        baselines.tick(from_s);
        baselines.tick(from_s + DAY_S);
        (baselines.len(), baselines.take_notes().len())
    };
    for n in 0..3 {
        see(&mut baselines, n, START_S);
    }
    let later_s = START_S + 200 * DAY_S;
    assert_eq!(see(&mut baselines, 10, later_s), (4, 1), "three of four would go");
    assert_eq!(see(&mut baselines, 10, later_s + 5 * DAY_S), (4, 0), "said once");
    // When others are seen again, who is not goes.
    assert_eq!(see(&mut baselines, 1, later_s + 10 * DAY_S), (2, 0));
}
