//! AN0031's payload shift, by service.

use super::payload_tests::{INSIDE, NOW_S, OUTSIDE, Run, Traffic, minute};
use super::*;
use crate::entity::Leg;
use crate::host::process::Context;

const EXE: &str = "/opt/backup/agent";

/// All of a minute's traffic at once.
fn together(start_s: i64, parts: &[Traffic]) -> Minute {
    let mut parts = parts.iter().map(|traffic| minute(EXE, Context::None, start_s, traffic));
    let mut all = parts.next().unwrap();
    for part in parts {
        let (all, part) = (&mut all.measures, part.measures);
        for (sum, more) in [(&mut all.sent, part.sent), (&mut all.external, part.external)] {
            sum.packets += more.packets;
            sum.wire_bytes += more.wire_bytes;
            sum.payload_bytes += more.payload_bytes;
            sum.sizes.iter_mut().zip(more.sizes).for_each(|(sum, more)| *sum += more);
        }
        all.received.payload_bytes += part.received.payload_bytes;
        all.top.extend(part.top);
        all.services.extend(part.services);
        all.spoken.extend(part.spoken);
    }
    all
}

/// As a version before this, or a source without ports, has it.
fn as_a_whole(mut minute: Minute) -> Minute {
    minute.measures.spoken.clear();
    minute
}

fn learned(parts: &[Traffic], seen: impl Fn(Minute) -> Minute) -> Run {
    let mut run = Run::default();
    for hour in 0..9 * 24 {
        let minute = seen(together(hour * 3_600, parts));
        assert!(shifts(&run.minute(&minute)).is_empty());
        run.baselines.learn(&minute);
    }
    run
}

fn shifts(found: &[Finding]) -> Vec<&Finding> {
    found.iter().filter(|finding| finding.detector == "payload_shift").collect()
}

const BULK: Traffic =
    Traffic { sizes: [(1_448, 40_000), (90, 2_000)], received: 900_000, to: INSIDE, port: 443 };
const SMALL: Traffic =
    Traffic { sizes: [(90, 200), (300, 60)], received: 90_000, to: INSIDE, port: 8_443 };
const JUNK: Traffic =
    Traffic { sizes: [(512, 4_000), (0, 0)], received: 1_000, to: OUTSIDE, port: 8_443 };

#[test]
fn a_shift_on_a_small_service_under_a_big_one_is_found_and_named() {
    let now = together(NOW_S, &[BULK, JUNK]);
    let mut blind = learned(&[BULK, SMALL], as_a_whole);
    assert!(shifts(&blind.minute(&as_a_whole(now.clone()))).is_empty(), "a tenth of the packets");

    let mut run = learned(&[BULK, SMALL], |minute| minute);
    assert!(shifts(&run.minute(&together(NOW_S, &[BULK, SMALL]))).is_empty());
    let found = run.minute(&now);
    let [shift] = shifts(&found)[..] else { panic!("{}", found.len()) };
    let case = shift.case.as_ref().unwrap();
    for part in
        ["to 192.0.2.9 over tcp/8443", "not its own there", "threshold 0.15", "4,000 packets"]
    {
        assert!(case.summary.contains(part), "{part}: {}", case.summary);
    }
    assert!(case.baseline.contains("of tcp/8443 in 216 minutes"), "{}", case.baseline);
    assert_eq!(shift.details["service"], "tcp/8443");
    assert_eq!(shift.to_ports, [8_443], "where what moved went");
    let judged = shift.details["services"].as_array().unwrap();
    assert_eq!((judged.len(), &judged[0]["service"]), (2, &"tcp/443".into()));
    assert!(judged[0]["divergence"].as_f64() < judged[0]["threshold"].as_f64());
    assert_eq!(shift.traffic.sizes.iter().sum::<u64>(), 4_000, "of what moved");
    assert_eq!(shift.traffic.packets, 46_000, "bounds of entries are about all of it");
    assert_eq!(shift.act.map(|act| act.to.map(|to| to.ip())), None, "nothing known of the sender");
    assert_eq!(case.score.recompute(), case.score.value);
    // Sent to somebody new, and not to whom the rest goes.
    assert!(
        case.score.terms.iter().any(|term| term.name == "new_destination" && term.points > 0.0)
    );
    assert!(!case.score.terms.iter().any(|term| term.name == "times_own_q99"));
}

#[test]
fn another_mix_of_the_same_services_is_no_shift() {
    let sent = |count, port| Traffic {
        sizes: [(if port == 443 { 1_448 } else { 512 }, count), (0, 0)],
        received: 1_000,
        to: OUTSIDE,
        port,
    };
    let usual = [sent(4_000, 443), sent(300, 8_443)];
    let other = [sent(100, 443), sent(4_000, 8_443)];
    let told = |seen: fn(Minute) -> Minute| {
        let found = learned(&usual, seen).minute(&seen(together(NOW_S, &other)));
        shifts(&found).len()
    };
    assert_eq!(told(as_a_whole), 1, "as a whole its sizes have moved");
    assert_eq!(told(|minute| minute), 0);
    // Nor where one of them has too few packets today to be judged.
    let mut run = learned(&usual, |minute| minute);
    assert!(shifts(&run.minute(&together(NOW_S, &[sent(6, 443), sent(9_000, 8_443)]))).is_empty());
}

#[test]
fn of_a_service_without_history_the_whole_decides() {
    let mut run = learned(&[BULK, SMALL], |minute| minute);
    let stranger = Traffic { port: 9_999, sizes: [(512, 200_000), (0, 0)], ..JUNK };
    let found = run.minute(&together(NOW_S, &[BULK, SMALL, stranger]));
    let [shift] = shifts(&found)[..] else { panic!("{}", found.len()) };
    let case = shift.case.as_ref().unwrap();
    assert!(case.summary.contains("not its own: divergence"), "{}", case.summary);
    assert!(!shift.details.contains_key("service"), "{:?}", shift.details);
    assert_eq!(shift.to_ports, [443, 9_999], "of a hundredth of all and more");
    assert_eq!(shift.details["services"].as_array().map(Vec::len), Some(2), "both as ever");
    // Before thirty minutes of it the whole decides too, as it did before there were services.
    let mut young = learned(&[BULK], |minute| minute);
    for minute in 1..20 {
        young.baselines.learn(&together(NOW_S - minute * 60, &[BULK, SMALL]));
    }
    let found = young.minute(&together(NOW_S, &[BULK, JUNK]));
    assert!(shifts(&found).is_empty(), "of the whole it is a tenth");
}

#[test]
fn two_services_that_move_at_once_are_one_finding() {
    let mut run = learned(&[BULK, SMALL], |minute| minute);
    let bulk = Traffic { sizes: [(512, 40_000), (0, 0)], to: OUTSIDE, ..BULK };
    let found = run.minute(&together(NOW_S, &[bulk, JUNK]));
    let [shift] = shifts(&found)[..] else { panic!("{}", found.len()) };
    let summary = &shift.case.as_ref().unwrap().summary;
    let both = ["tcp/443", "tcp/8443"].map(|name| summary.contains(name));
    assert_eq!(both, [true, true], "{summary}");
    assert!(summary.contains("So are those of"), "{summary}");
    assert_eq!(shift.to_ports, [443, 8_443]);
}

#[test]
fn a_shift_in_what_is_answered_goes_to_no_port_that_an_entry_could_name() {
    let served = |mut minute: Minute| {
        minute.measures.spoken.iter_mut().for_each(|spoken| spoken.service.leg = Leg::Accepted);
        minute
    };
    let mut run = learned(&[BULK, SMALL], served);
    let found = run.minute(&served(together(NOW_S, &[BULK, JUNK])));
    let [shift] = shifts(&found)[..] else { panic!("{}", found.len()) };
    assert_eq!((&shift.details["service"], &*shift.to_ports), (&"tcp/8443 served".into(), &[][..]));
}

#[test]
fn why_not_names_the_service_that_came_nearest() {
    let mut run = learned(&[BULK, SMALL], |minute| minute);
    let watch = crate::detect::Watch::new(Vec::new(), vec![EXE.to_owned()]);
    run.settings.watch = Some(watch.clone());
    // Other sizes, to whom they always go: a shift alone.
    let odd = Traffic { sizes: [(90, 20), (1_448, 260)], ..SMALL };
    assert!(shifts(&run.minute(&together(NOW_S, &[BULK, odd]))).is_empty());
    let seen = watch.seen();
    let near = seen.findings.iter().find(|near| near.detector == "payload_shift").unwrap();
    assert_eq!(near.service.as_deref(), Some("tcp/8443"));
    assert!(!near.opens && near.value > 0.0);
}
