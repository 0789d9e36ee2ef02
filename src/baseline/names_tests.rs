//! Names of destinations: learned, held back, counted, kept, and files of before there were
//! any.

use std::sync::Arc;

use super::tests::{START_S, freeze, host, judge, learned_minutes, minute};
use super::*;
use crate::entity::Who;

const OWN: &str = "10.0.0.1";
const PEER: &str = "203.0.113.7";

/// Five minutes to five prefixes, as written by a program that knew neither answers by hour
/// nor names.
const BEFORE_ANSWERS: &str = "\
    01ba0f050000050000000000bdff408002100810021004100210000005000000000040604060100810021006\
    1002100050000000000000000000005000000000000000000000500000000000000000000000030000000000\
    00104010200a2006100000000000000000000000000000000000000000000000000000000000000000000000\
    000000000000000000000000000000000000000000000000000000000000000000000000000000000000d0f1\
    3c050441014302440145010319011b021d020100050100050000000000ec0300000000000000000005050586\
    80800c0022ba47afa20100008880800c00887447afa20100008a80800c00e8fd47afa20100008c80800c006c\
    e847afa20100008e80800c00c0a847afa201000001e8dcbbb00dc8e0bbb00d0100e8dcbbb00d000000000000\
    f4c95cdb";

/// The same with a failure, as written by one that did not know names.
const BEFORE_NAMES: &str = "\
    02ba0f050000050000000000bdff408002100810021004100210000005000000000040604060100810021006\
    1002100050000000000000000000005000000000000000000000500000000000000000000000030000000000\
    00104010200a2006100000000000000000010000000000001c402e1000000000000000000000000000000000\
    0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    0000000000000000d0f13c050441014302440145010319011b021d020100050100050000000000ec03000000\
    0000000000000505058680800c0022ba47afa20100008880800c00887447afa20100008a80800c00e8fd47af\
    a20100008c80800c006ce847afa20100008e80800c00c0a847afa20100000180dabbb00dc8e0bbb00d0100e8\
    dcbbb00d000000000000000000000000000000000000000000000000000000000000000000000000000000d0\
    f13c0100010c012406556b";

fn name(text: &str) -> NameDigest {
    NameDigest::of(text)
}

fn who(n: u8) -> Arc<Who> {
    Arc::new(Who::address(&host(&format!("10.0.0.{n}"))))
}

fn baselines() -> Baselines {
    Baselines::in_memory(BaselineSettings::default(), true)
}

/// A minute to that peer, whose flows have these names.
fn teach(baselines: &mut Baselines, who: &Arc<Who>, at_s: i64, peer: &str, names: &[&str]) {
    baselines.learn(&minute(who, at_s, 1e6, peer));
    let names: Vec<NameDigest> = names.iter().map(|text| name(text)).collect();
    baselines.learn_names(&who.baseline, (&host(OWN), &host(peer)), &names, at_s);
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

#[test]
fn a_name_has_its_days_and_its_prefix_has_names() {
    let (mut baselines, who) = (baselines(), who(1));
    for day in [0, 1, 5] {
        teach(&mut baselines, &who, START_S + day * DAY_S, PEER, &["a.example.com"]);
    }
    let profile = baselines.profile(&who.baseline).unwrap();
    let known = profile.name(name("b.example.com")).expect("the same domain");
    let first = START_S / DAY_S;
    assert_eq!((known.first_day, known.last_day), (first, first + 5));
    assert_eq!(profile.named_since(), Some(first));
    assert_eq!(profile.name(name("example.org")), None);
    assert!(profile.is_named(&host("203.0.113.99")) && !profile.is_named(&host("192.0.2.1")));
    // Where most flows have none its names are not known.
    for at in 0..9 {
        teach(&mut baselines, &who, START_S + 6 * DAY_S + 60 * at, PEER, &[]);
    }
    assert!(!baselines.profile(&who.baseline).unwrap().is_named(&host(PEER)));
}

#[test]
fn the_names_not_seen_for_longest_give_way_and_who_meets_new_ones_is_told() {
    let (mut baselines, who) = (baselines(), who(1));
    for day in 0..40 {
        let new = format!("n{day}.example");
        teach(&mut baselines, &who, START_S + day * DAY_S, PEER, &["usual.example", &new]);
    }
    let profile = baselines.profile(&who.baseline).unwrap();
    assert_eq!(profile.names().len(), 32);
    let known = |text| profile.name(name(text)).is_some();
    assert!(known("usual.example") && known("n39.example") && !known("n3.example"));
    assert!((profile.name_newness().unwrap() - 0.5).abs() < 0.1, "{:?}", profile.name_newness());
}

#[test]
fn names_of_an_alert_wait_for_its_verdict() {
    let judged = |verdict| {
        let (mut baselines, who) = (baselines(), who(1));
        teach(&mut baselines, &who, START_S, PEER, &["usual.example"]);
        freeze(&mut baselines, &who, START_S + 3_600);
        teach(&mut baselines, &who, START_S + 60, PEER, &["evil.example"]);
        let knows = |baselines: &Baselines| {
            let profile = baselines.profile(&who.baseline).unwrap();
            let others = baselines.others_by_name(name("evil.example"), &[]);
            (profile.name(name("evil.example")).is_some(), others.know)
        };
        assert_eq!(knows(&baselines), (false, 0));
        judge(&mut baselines, &who.baseline, (START_S + 60, START_S + 120), verdict);
        knows(&baselines)
    };
    assert_eq!(judged(Verdict::True), (false, 0));
    assert_eq!(judged(Verdict::Expected), (true, 1));
    assert_eq!(judged(Verdict::False), (true, 1));
}

/// A process sends from its address: what its alert holds back is no name of the address.
#[test]
fn names_of_an_address_wait_for_the_alert_of_a_process_at_it() {
    let (mut baselines, at) = (baselines(), who(1));
    teach(&mut baselines, &at, START_S, PEER, &["usual.example"]);
    let cause: Arc<str> = "process:web:/usr/bin/curl:".into();
    let (keys, addresses) = (Vec::new(), vec![host(OWN)]);
    let until_s = START_S + 3_600;
    baselines.freeze(&Freeze { cause, alert: None, keys, addresses, all: false, until_s });
    let hosts = (&host(OWN), &host(PEER));
    let evil = name("evil.example");
    baselines.learn_names(&at.baseline, hosts, &[evil], START_S + 60);
    assert_eq!(baselines.profile(&at.baseline).unwrap().name(evil), None);
    assert_eq!(baselines.pending(), 1);
}

#[test]
fn a_name_that_few_places_know_is_rare_whoever_asks() {
    let mut baselines = baselines();
    for n in 0..50 {
        let own = if n == 0 { "rare.example" } else { "usual.example" };
        teach(&mut baselines, &who(n), START_S, PEER, &[own]);
    }
    // Who has no names is nobody who could know one.
    teach(&mut baselines, &who(99), START_S, PEER, &[]);
    let others = |baselines: &Baselines, text: &str, own: &[Arc<str>]| {
        let others = baselines.others_by_name(name(text), own);
        (others.know, others.of)
    };
    let first = [Arc::clone(&who(0).baseline)];
    assert_eq!(others(&baselines, "rare.example", &[]), (1, 50));
    assert_eq!(others(&baselines, "rare.example", &first), (0, 49));
    assert_eq!(others(&baselines, "usual.example", &first), (49, 49));
    assert!(baselines.forget(&who(1).baseline));
    assert_eq!(others(&baselines, "usual.example", &first), (48, 48));
}

#[test]
fn nobody_is_known_by_a_name_alone_and_a_name_is_no_minute() {
    let (mut baselines, who) = (baselines(), who(1));
    let hosts = (&host(OWN), &host(PEER));
    baselines.learn_names(&who.baseline, hosts, &[name("a.example")], START_S);
    assert_eq!(baselines.len(), 0);
    teach(&mut baselines, &who, START_S, PEER, &["a.example"]);
    assert_eq!((learned_minutes(&baselines, &who), baselines.counters().minutes), (1, 1));
    assert_eq!(baselines.counters().refused, 0);
}

#[test]
fn profiles_of_before_there_were_names_are_read_written_the_same_and_go_on() {
    for (hex, version) in [(BEFORE_ANSWERS, 1), (BEFORE_NAMES, 2)] {
        let old = bytes(hex);
        let mut profile = Profile::decode(&old).expect("an older profile");
        assert_eq!((profile.minutes(), profile.destinations().len()), (5, 5));
        assert_eq!((old[0], profile.named_since()), (version, None));
        let peer = host("192.0.3.9");
        assert!(profile.destination(&peer).is_some() && !profile.is_named(&peer));
        assert_eq!(profile.encode(), old, "who has no names is written so that older ones read it");
        let rules = BaselineSettings::default().rules();
        profile.meet_names(&peer, &[name("a.example")], START_S, &rules);
        assert_eq!(profile.encode()[0], 4);
        assert_eq!(Profile::decode(&profile.encode()).as_ref(), Some(&profile));
        assert!(profile.is_named(&peer) && profile.name(name("a.example")).is_some());
        // One without names and one with are put together.
        let mut other = Profile::decode(&old).unwrap();
        other.merge(&profile);
        assert_eq!(other.named_since(), Some(START_S / DAY_S));
        assert!(other.is_named(&peer));
    }
}
