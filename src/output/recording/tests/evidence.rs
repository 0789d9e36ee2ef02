//! Evidence: an alert's packets, all of them or a sample that says so.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{SECOND_NS, START_NS, blocks, interfaces, one_packet, read_back};
use crate::alert::{Alert, AlertPeer, Entity, EntityKind, Known};
use crate::detect::PeerRole;
use crate::engine::window::Host;
use crate::lab::synth::frame::Frame as Built;
use crate::output::recording::*;
use crate::output::rolling::Limits;
use crate::output::samples;
use crate::packet::IpVersion;
use crate::packet::key::from_ip;
use crate::time::rfc3339;

fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

fn udp(from: u8, to: u8) -> Vec<u8> {
    let mut frame = Built::default();
    frame.payload(b"evidence").udp(1_000, 2_000).ip(address(from), address(to));
    let ip = frame.bytes().to_vec();
    let ethernet = [[2, 0, 0, 0, 0, to], [2, 0, 0, 0, 0, from]].concat();
    [&ethernet[..], &[8, 0], &ip].concat()
}

fn alert(entity: Entity, start_s: i64, end_s: i64) -> Alert {
    let peer = AlertPeer {
        address: address(9),
        role: PeerRole::Source,
        packets: None,
        wire_bytes: None,
        known: Known::default(),
    };
    Alert {
        id: crate::alert::alert_id("test", &entity, start_s),
        start_ns: START_NS + start_s * SECOND_NS,
        end_ns: START_NS + end_s * SECOND_NS,
        entity,
        peers: vec![peer],
        ..samples::alert()
    }
}

fn entity_of(last: u8) -> Entity {
    let (version, address) = from_ip(address(last));
    assert_eq!(version, IpVersion::V4);
    Entity::address(&Host { version, address })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn evidence_is_what_the_entity_sent_and_received_in_the_span(
        ends in prop::collection::vec((1_u8..6, 1_u8..6), 200),
        start_s in 0_i64..60,
        length_s in 1_i64..40,
        told_after in 0_usize..150,
        closed_after in 1_usize..60,
        file_bytes in 2_000_u64..20_000,
        wanted in prop_oneof![
            (1_u8..6).prop_map(entity_of),
            Just(Entity {
                kind: EntityKind::Prefix, id: "10.0.0.2/31".to_owned(),
                labels: std::collections::BTreeMap::new(),
            }),
            (1_u8..6).prop_map(|last| Entity {
                kind: EntityKind::Mac, id: format!("02:00:00:00:00:0{last}"),
                labels: std::collections::BTreeMap::new(),
            }),
        ],
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let settings = RecordingSettings {
            chunk_bytes: 500,
            queue_chunks: 1_000,
            evidence: Some(EvidenceSettings::default()),
            ..RecordingSettings::new(dir.path(), file_bytes * RING_FILES * 100)
        };
        let (recording, mut tap) = Recording::start(&settings).expect("started");
        let alert = alert(wanted.clone(), start_s, start_s + length_s);
        // Half a second from packet to packet.
        let time_ns = |at: usize| START_NS + at as i64 * SECOND_NS / 2;
        for (at, &(from, to)) in ends.iter().enumerate() {
            let stream = [one_packet(time_ns(at), &udp(from, to))];
            tap.block(&blocks(&stream)[0], &interfaces());
            if at == told_after {
                recording.alert(&alert, false);
            }
            if at == told_after + closed_after {
                recording.alert(&alert, true);
            }
        }
        drop(tap);
        let closed = told_after + closed_after < ends.len();
        let counters = recording.finish().0;
        prop_assert_eq!(counters.evidence_errors + counters.evidence_gaps, 0);
        prop_assert_eq!(counters.lost_packets, 0);

        let is_wanted = |last: u8| match wanted.kind {
            EntityKind::Prefix => (2..4).contains(&last),
            EntityKind::Mac => wanted.id.ends_with(&format!("0{last}")),
            _ => address(last).to_string() == wanted.id,
        };
        let from_ns = alert.start_ns - 10 * SECOND_NS;
        let to_ns = if closed { alert.end_ns + 10 * SECOND_NS } else { i64::MAX };
        let expected: Vec<(i64, Vec<u8>)> = ends
            .iter()
            .enumerate()
            .filter(|&(at, &(from, to))| {
                (is_wanted(from) || is_wanted(to)) && (from_ns..=to_ns).contains(&time_ns(at))
            })
            .map(|(at, &(from, to))| (time_ns(at), udp(from, to)))
            .collect();
        let path = dir.path().join("evidence").join(format!("{}.pcapng", alert.id));
        let bytes = fs::read(&path).expect("evidence");
        let ((found, _), _) = read_back(&[path]);
        let found: Vec<_> = found.into_iter().map(|(p, _)| (p.time_ns, p.data)).collect();
        prop_assert_eq!(&found, &expected);
        // The id on each packet, the alert itself in the section's comment.
        let ids = bytes.windows(16).filter(|w| *w == alert.id.as_bytes()).count();
        prop_assert_eq!(ids, expected.len() + 1);
        let json = serde_json::to_vec(&alert).expect("JSON");
        prop_assert!(bytes.windows(json.len()).any(|window| window == json));
    }
}

#[test]
fn several_alerts_at_once_each_get_their_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = RecordingSettings {
        chunk_bytes: 1_000,
        evidence: Some(EvidenceSettings { most_alerts: 3, ..EvidenceSettings::default() }),
        ..RecordingSettings::new(dir.path(), LEAST_RING_BYTES)
    };
    let (recording, mut tap) = Recording::start(&settings).expect("started");
    let alerts: Vec<Alert> =
        (1..6).map(|last| alert(entity_of(last), i64::from(last), 30)).collect();
    for at in 0..60 {
        let last = 1 + (at % 5) as u8;
        let step = one_packet(START_NS + at * SECOND_NS, &udp(last, 100));
        tap.block(&blocks(&[step])[0], &interfaces());
        if at % 10 == 5
            && let Some(alert) = alerts.get(at as usize / 10)
        {
            recording.alert(alert, false);
        }
    }
    drop(tap);
    let counters = recording.finish().0;
    assert_eq!((counters.evidence_alerts, counters.evidence_refused), (3, 2));
    for (alert, last) in alerts.iter().zip(1..4) {
        let path = dir.path().join("evidence").join(format!("{}.pcapng", alert.id));
        let ((found, _), _) = read_back(&[path]);
        assert!(found.iter().all(|(packet, _)| packet.data == udp(last, 100)));
        assert_eq!(found.len(), 12, "every fifth packet, from the first on");
    }
}

#[test]
fn the_oldest_evidence_goes_when_there_is_too_much_and_nothing_that_is_not_ours() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("evidence");
    fs::create_dir(&folder).expect("made");
    let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    for (name, age_h) in [("00000000000000aa.pcapng", 2), ("00000000000000bb.pcapng", 1)] {
        let file = fs::File::create(folder.join(name)).expect("made");
        file.set_len(4_000).expect("long");
        file.set_modified(hour_ago - Duration::from_secs(age_h * 3600)).expect("old");
    }
    fs::write(folder.join("notes.pcapng"), [0; 9_000]).expect("written");
    let keep = Limits { max_age: None, max_bytes: Some(7_000) };
    let settings = RecordingSettings {
        evidence: Some(EvidenceSettings { keep, ..EvidenceSettings::default() }),
        ..RecordingSettings::new(dir.path(), LEAST_RING_BYTES)
    };
    let (recording, mut tap) = Recording::start(&settings).expect("started");
    let left = |name: &str| folder.join(name).exists();
    assert!(!left("00000000000000aa.pcapng"), "at the start, as of earlier runs");
    assert!(left("00000000000000bb.pcapng") && left("notes.pcapng"));
    let alert = alert(entity_of(2), 0, 30);
    recording.alert(&alert, true);
    for at in 0..50 {
        tap.block(
            &blocks(&[one_packet(START_NS + at * SECOND_NS / 10, &udp(1, 2))])[0],
            &interfaces(),
        );
    }
    drop(tap);
    assert_eq!(recording.finish().0.evidence_alerts, 1);
    assert!(!left("00000000000000bb.pcapng"), "an alert that is over needs the room");
    assert!(left(&format!("{}.pcapng", alert.id)) && left("notes.pcapng"));
}

#[test]
fn evidence_says_what_had_left_the_ring_before_its_alert() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = RecordingSettings {
        chunk_bytes: 500,
        queue_chunks: 1_000,
        evidence: Some(EvidenceSettings::default()),
        ..RecordingSettings::new(dir.path(), 2_000 * RING_FILES)
    };
    let (recording, mut tap) = Recording::start(&settings).expect("started");
    // Ten seconds before the alert's first of them on belong to it.
    let alert = alert(entity_of(2), 10, 1_000);
    (0..5_000).for_each(|at| {
        let stream = one_packet(START_NS + at * SECOND_NS / 10, &udp(1, 2));
        tap.block(&blocks(&[stream])[0], &interfaces());
    });
    // All but what a chunk holds back.
    let begun = Instant::now();
    while recording.counters().packets < 4_990 {
        assert!(begun.elapsed() < Duration::from_secs(20), "not written");
        thread::yield_now();
    }
    recording.alert(&alert, false);
    // Nothing more comes: what leaves the ring under the reader would be gaps as well.
    drop(tap);
    let counters = recording.finish().0;
    assert_eq!(counters.evidence_gaps, 1);
    let path = dir.path().join("evidence").join(format!("{}.pcapng", alert.id));
    let text = String::from_utf8_lossy(&fs::read(&path).expect("evidence")).into_owned();
    let ((found, _), _) = read_back(&[path]);
    let gone = text.split("Packets until ").nth(1).and_then(|rest| rest.get(..30));
    let before = rfc3339(found[0].0.time_ns - SECOND_NS / 10);
    assert_eq!(gone, Some(&*before), "the last one before the first that is there");
}

#[test]
fn a_flood_is_sampled_and_the_file_says_how() {
    let dir = tempfile::tempdir().expect("a folder");
    let evidence = EvidenceSettings { most_packets: 100, ..EvidenceSettings::default() };
    let settings = RecordingSettings {
        queue_chunks: 1_000,
        evidence: Some(evidence),
        ..RecordingSettings::new(dir.path(), LEAST_RING_BYTES)
    };
    let (recording, mut tap) = Recording::start(&settings).expect("started");
    let alert = alert(entity_of(2), 0, 30);
    recording.alert(&alert, true);
    for at in 0..2_000 {
        let step = one_packet(START_NS + at * SECOND_NS / 1_000, &udp(1, 2));
        tap.block(&blocks(&[step])[0], &interfaces());
    }
    drop(tap);
    let counters = recording.finish().0;
    assert_eq!(counters.evidence_packets + counters.evidence_sampled_out, 2_000);
    let path = dir.path().join("evidence").join(format!("{}.pcapng", alert.id));
    let text = String::from_utf8_lossy(&fs::read(&path).expect("evidence")).into_owned();
    let ((found, _), _) = read_back(&[path]);
    assert!((60..=100).contains(&found.len()), "{}", found.len());
    assert_eq!(found.len() as u64, counters.evidence_packets);
    assert!(text.contains("Packets 1 to 50: each stands for 1; 51 to 75: each stands for 8"));
    assert!(text.contains(&format!("{}, stands for 8", alert.id)));
}
