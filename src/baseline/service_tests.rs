//! Payload sizes by service: what is kept of them, for how long, and in older files.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use redb::ReadableTable as _;

use super::tests::{START_S, host, minute, noise};
use super::*;
use crate::engine::window::SIZE_BINS;
use crate::entity::{Leg, Minute, Service, Spoken, Who};

const WEB: Service = Service { proto: 6, port: 443, leg: Leg::Opened };
const NAMES: Service = Service { proto: 17, port: 53, leg: Leg::Opened };

fn who() -> Arc<Who> {
    Arc::new(Who::address(&host("10.0.0.1")))
}

fn port(port: u16) -> Service {
    Service { proto: 17, port, leg: Leg::Opened }
}

/// Packets in two bins to each of these services.
fn speaking(at: i64, spoken: &[(Service, [u32; 2])]) -> Minute {
    let mut minute = minute(&who(), START_S + at * 60, 1e5, "192.0.2.1");
    for &(service, packets) in spoken {
        let mut sums = Spoken::new(service);
        for (bin, packets) in [(2, packets[0]), (6, packets[1])] {
            sums.send(bin, packets, u64::from(packets) * 100);
        }
        minute.measures.spoken.push(sums);
    }
    minute
}

fn empty() -> Baselines {
    Baselines::in_memory(BaselineSettings::default(), true)
}

fn profile(baselines: &Baselines) -> &Profile {
    baselines.profile(&who().baseline).expect("learned")
}

fn usual(baselines: &Baselines, service: Service) -> Option<f64> {
    let known = profile(baselines).service(service);
    known.and_then(KnownService::distances).map(|usual| usual.rarely_over())
}

#[test]
fn each_service_has_its_own_sizes_and_its_own_usual_distance() {
    let mut baselines = empty();
    for at in 0..100 {
        let wavers = if at % 2 == 0 { [90, 10] } else { [10, 90] };
        baselines.learn(&speaking(at, &[(WEB, [100, 10_000]), (NAMES, wavers)]));
    }
    let of = |service| profile(&baselines).service(service).expect("known");
    assert_eq!((of(WEB).minutes(), of(WEB).packets()), (100, 1_010_000));
    assert_eq!((of(NAMES).sizes()[2], of(NAMES).sizes()[6]), (5_000, 5_000));
    assert!(usual(&baselines, WEB) < Some(0.01), "{:?}", usual(&baselines, WEB));
    assert!(usual(&baselines, NAMES) > Some(0.1), "{:?}", usual(&baselines, NAMES));
    assert_eq!(profile(&baselines).service(port(9)), None);
}

#[test]
fn a_minute_far_off_does_not_make_the_next_one_usual() {
    let mut baselines = empty();
    for at in 0..60 {
        baselines.learn(&speaking(at, &[(WEB, [1_000, 100])]));
    }
    for at in 60..65 {
        baselines.learn(&speaking(at, &[(WEB, [0, 100])]));
    }
    assert!(usual(&baselines, WEB) <= Some(0.2), "{:?}", usual(&baselines, WEB));
}

#[test]
fn what_is_spoken_each_minute_outlives_a_crowd_and_what_is_not_goes() {
    let mut baselines = empty();
    let steady = [WEB, NAMES, port(123), port(514), port(4_500)];
    for at in 0..50 {
        let all: Vec<_> = steady.iter().map(|&service| (service, [30, 0])).collect();
        baselines.learn(&speaking(at, &all));
    }
    // One of them falls silent and another begins; others come once, more than there are
    // places for.
    let begins = port(3_478);
    for at in 50..400_u16 {
        let mut all: Vec<_> = steady[..4].iter().map(|&service| (service, [30, 0])).collect();
        all.push((begins, [30, 0]));
        all.push((port(10_000 + at), [9_000, 0]));
        all.push((port(20_000 + at), [9_000, 0]));
        baselines.learn(&speaking(at.into(), &all));
    }
    for service in &steady[..4] {
        let known = profile(&baselines).service(*service).expect("still spoken");
        assert!(known.minutes() > 300, "{known:?}");
    }
    assert_eq!(profile(&baselines).service(steady[4]), None);
    let known = profile(&baselines).service(begins).expect("spoken each minute");
    assert!(known.minutes() > 300, "{known:?}");
    assert_eq!(profile(&baselines).services().len(), 6);
}

#[test]
fn counts_that_have_no_room_keep_their_shape() {
    let mut baselines = empty();
    for at in 0..40 {
        baselines.learn(&speaking(at, &[(WEB, [1_000_000_000, 500_000_000])]));
    }
    let sizes = profile(&baselines).service(WEB).expect("known").sizes();
    let share = sizes[2] as f64 / (sizes[2] + sizes[6]) as f64;
    assert!((share - 2.0 / 3.0).abs() < 1e-6, "{sizes:?}");
    assert!(usual(&baselines, WEB) < Some(0.01));
}

#[test]
fn a_service_is_forgotten_like_everything_else() {
    let mut baselines = empty();
    for at in 0..40 {
        baselines.learn(&speaking(at, &[(WEB, [100, 0]), (NAMES, [100, 0])]));
    }
    let half_life = 21 * 1_440;
    baselines.learn(&speaking(half_life, &[(WEB, [100, 0])]));
    let of = |baselines: &Baselines, service| {
        profile(baselines).service(service).map(|known| (known.minutes(), known.packets()))
    };
    assert_eq!(of(&baselines, WEB), Some((21, 2_100)));
    assert_eq!(of(&baselines, NAMES), Some((20, 2_000)));
    baselines.learn(&speaking(7 * half_life, &[(WEB, [100, 0])]));
    assert_eq!(of(&baselines, NAMES), None);
}

fn some_profile(seed: i64, minutes: i64) -> Profile {
    let mut baselines = empty();
    for at in 0..minutes {
        let mixed = seed.wrapping_mul(31).wrapping_add(at);
        let packets = (noise(mixed) * 300.0) as u32;
        let strangers = port(7_000 + (mixed % 9) as u16);
        let all = [(WEB, [packets, 900]), (NAMES, [50, packets]), (strangers, [packets, 1])];
        baselines.learn(&speaking(seed + at, &all));
    }
    profile(&baselines).clone()
}

#[test]
fn profiles_of_before_there_were_services_are_read_and_go_on() {
    let with = some_profile(1, 100);
    assert_eq!(with.encode()[0], 5);
    assert_eq!(Profile::decode(&with.encode()).as_ref(), Some(&with));
    let before = Profile { services: services::Services::default(), ..with.clone() };
    let bytes = before.encode();
    assert_eq!(bytes[0], 1, "as versions before wrote it");
    let mut read = Profile::decode(&bytes).expect("an older profile");
    assert_eq!(read, before);
    let rules = BaselineSettings::default().rules();
    read.learn(&speaking(101, &[(WEB, [5, 5])]), &rules);
    assert_eq!((read.encode()[0], read.service(WEB).map(KnownService::minutes)), (5, Some(1)));
    read.merge(&with);
    assert_eq!(Profile::decode(&read.encode()), Some(read));
}

/// The number that says which programs can read a file.
fn format(path: &Path, set: Option<u64>) -> u64 {
    let meta = redb::TableDefinition::<&str, u64>::new("flowtap_baselines");
    let file = redb::Database::open(path).expect("opens");
    let write = file.begin_write().expect("begins");
    let mut table = write.open_table(meta).expect("there");
    let found = table.get("format").expect("read").expect("a format").value();
    if let Some(number) = set {
        table.insert("format", number).expect("inserted");
    }
    drop(table);
    write.commit().expect("committed");
    found
}

#[test]
fn an_older_file_opens_and_older_programs_refuse_it_from_then_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("normal.db");
    let open = |learning| Baselines::open(&path, BaselineSettings::default(), learning);
    let mut before = open(true).expect("made");
    for at in 0..40 {
        before.learn(&speaking(at, &[]));
    }
    assert!(before.flush());
    drop(before);
    format(&path, Some(1));
    let read = open(false).expect("opens to be read");
    assert_eq!(profile(&read).minutes(), 40);
    drop(read);
    assert_eq!(format(&path, None), 1, "who reads changes nothing");
    let mut after = open(true).expect("opens");
    assert_eq!((profile(&after).minutes(), after.counters().damaged), (40, 0));
    after.learn(&speaking(41, &[(WEB, [5, 5])]));
    assert!(after.flush());
    drop(after);
    assert_eq!(format(&path, None), 2);
    let again = open(false).expect("opens");
    assert_eq!((profile(&again).minutes(), profile(&again).services().len()), (41, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn services_merge_the_same_either_way(a in 0..5_000_i64, b in 0..5_000_i64) {
        let (x, y) = (some_profile(a, 60), some_profile(b, 40));
        let (mut one, mut other) = (x.clone(), y.clone());
        one.merge(&y);
        other.merge(&x);
        prop_assert_eq!(one.encode(), other.encode());
        let minutes = one.service(WEB).map(KnownService::minutes);
        prop_assert!(minutes >= Some(50), "{minutes:?}");
    }

    #[test]
    fn services_come_back_from_bytes(seed in 0..5_000_i64) {
        let profile = some_profile(seed, 80);
        prop_assert_eq!(Profile::decode(&profile.encode()), Some(profile));
    }

    #[test]
    fn no_damage_of_services_makes_decoding_panic(at: usize, to: u8, cut: usize) {
        let mut bytes = some_profile(3, 50).encode();
        let len = bytes.len();
        // They come last, before the digest.
        bytes[len - 5 - at % (len / 2)] = to;
        if let Some(mut damaged) = Profile::decode_checked(&bytes[..len - 4]) {
            for known in damaged.services() {
                let _ = (known.distances(), known.packets());
            }
            damaged.merge(&some_profile(4, 10));
            let rules = BaselineSettings::default().rules();
            damaged.learn(&speaking(60, &[(WEB, [900, 900])]), &rules);
            let _ = damaged.encode();
        }
        let _ = Profile::decode_checked(&bytes[..cut % len]);
    }

    #[test]
    fn whatever_is_spoken_has_its_place_or_none(
        minutes in prop::collection::vec(
            prop::collection::vec((0..9_u16, 0..SIZE_BINS, 0..1_000_u32), 0..5),
            0..60,
        ),
    ) {
        let mut baselines = empty();
        for (at, spoken) in (0..).zip(minutes) {
            let mut minute = speaking(at, &[]);
            for (number, bin, packets) in spoken {
                let mut sums = Spoken::new(port(number));
                sums.send(bin, packets, 1);
                minute.measures.spoken.push(sums);
            }
            baselines.learn(&minute);
        }
        if let Some(profile) = baselines.profile(&who().baseline) {
            prop_assert!(profile.services().len() <= 6);
            prop_assert!(profile.services().is_sorted_by_key(KnownService::service));
            prop_assert!(profile.services().iter().all(|known| known.minutes() > 0));
        }
    }
}
