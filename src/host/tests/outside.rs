//! What a map does not cover, and lines whose time is wrong.

use std::fs;

use super::*;
use crate::host::log::{MapRead, read_map};

fn elsewhere(start_ns: i64, end_ns: i64) -> Question {
    Question { start_ns, end_ns, begun_by_ns: start_ns, known_ns: end_ns + S, ..from_here() }
}

#[test]
fn a_host_before_its_map_began_and_after_it_ended_is_outside_of_it() {
    let begun = |boot: &str, host: &str| {
        What::Start(MapStart {
            boot: boot.to_owned(),
            host: host.to_owned(),
            ..MapStart::default()
        })
    };
    let map = Arc::new(HostMap::new(MapLimits::default()));
    let mut writer = map.writer();
    for event in [
        at(100 * S, begun("a", "h")),
        at(101 * S, address(HERE, 1)),
        at(102 * S, What::SocketUse(tcp(1, Basis::Used))),
        at(110 * S, What::Time),
        at(150 * S, address("192.0.2.11", 1)),
        at(
            180 * S,
            What::AddressDown(Address {
                address: ip("192.0.2.11"),
                broadcast: None,
                interface: String::new(),
                interface_index: 0,
                netns: Some(1),
            }),
        ),
        at(200 * S, What::Time),
    ] {
        writer.apply(&event);
    }
    let later =
        |start_ns, end_ns| Question { local: ip("192.0.2.11"), ..elsewhere(start_ns, end_ns) };
    assert_eq!(map.resolve(&elsewhere(10 * S, 12 * S)), Err(Reason::OutsideMap), "before");
    // What came up later was not known to be the host's, within and before: it may have been another's address.
    assert_eq!(map.resolve(&later(10 * S, 12 * S)), Ok(None));
    assert_eq!(map.resolve(&later(110 * S, 112 * S)), Ok(None));
    assert_eq!(map.resolve(&later(190 * S, 191 * S)), Ok(None));
    let strange = Question { local: ip("203.0.113.1"), ..elsewhere(10 * S, 12 * S) };
    assert_eq!(map.resolve(&strange), Ok(None), "of no host with a map");
    // While it grows nobody knows of later.
    assert_eq!(map.resolve(&later(300 * S, 301 * S)), Ok(None));
    writer.ended(200 * S);
    assert_eq!(map.resolve(&later(300 * S, 301 * S)), Err(Reason::OutsideMap), "after");
    assert_eq!(map.resolve(&elsewhere(300 * S, 301 * S)), Err(Reason::OutsideMap));
    // The same host after its next boot: what it did not have before, it did not have.
    let mut next = map.writer();
    next.apply(&at(400 * S, begun("b", "h")));
    next.apply(&at(401 * S, address("192.0.2.12", 1)));
    let new =
        |start_ns, end_ns| Question { local: ip("192.0.2.12"), ..elsewhere(start_ns, end_ns) };
    assert_eq!(map.resolve(&new(150 * S, 151 * S)), Ok(None));
    assert_eq!(map.resolve(&new(300 * S, 301 * S)), Err(Reason::OutsideMap));
}

#[test]
fn what_a_map_knew_of_a_boot_ends_where_the_next_begins() {
    let map = Arc::new(HostMap::new(MapLimits::default()));
    let mut writer = map.writer();
    for (from_s, boot) in [(100, "a"), (400, "b")] {
        let start = MapStart { boot: boot.into(), host: "h".into(), ..MapStart::default() };
        writer.apply(&at(from_s * S, What::Start(start)));
        writer.apply(&at((from_s + 1) * S, address(HERE, 1)));
        writer.apply(&at((from_s + 50) * S, What::Time));
    }
    writer.ended(450 * S);
    for (start_s, what) in [(10, "before"), (300, "between"), (900, "after")] {
        let found = map.resolve(&elsewhere(start_s * S, (start_s + 1) * S));
        assert_eq!(found, Err(Reason::OutsideMap), "{what}");
    }
}

/// Lines that a watcher writes in ten seconds; a process uses its socket in the fifth.
fn lines() -> Vec<HostEvent> {
    let mut events = vec![start(), at(0, address(HERE, 1))];
    for second in 1..=20 {
        if second == 10 {
            let process = Process { id: pid(1), name: "sender".to_owned(), ..Process::default() };
            events.push(at(10 * S, What::ProcessStart(Box::new(process))));
            events.push(at(10 * S, What::SocketUse(tcp(1, Basis::Used))));
        }
        events.push(at(second * S, What::Time));
    }
    events
}

fn read(events: &[HostEvent]) -> (Arc<HostMap>, MapRead) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("map.jsonl");
    let lines = events.iter().map(|event| serde_json::to_string(event).expect("JSON") + "\n");
    fs::write(&path, lines.collect::<String>()).expect("written");
    let map = Arc::new(HostMap::new(MapLimits::default()));
    let read = read_map(&path, &mut map.writer()).expect("a map");
    map.complete();
    (map, read)
}

/// As a capture asks: what is known half a second later.
fn as_captured() -> Question {
    Question { known_ns: 12 * S + S / 2, ..from_here() }
}

#[test]
fn a_map_as_it_was_written_has_no_odd_times() {
    let (map, read) = read(&lines());
    assert_eq!(who(&map, &as_captured()), 1);
    assert_eq!((read.odd_times, read.first_odd), (0, None));
    assert_eq!((read.from_ns, read.until_ns), (0, 20 * S));
    // Telemetry has long pauses, the last before its last line.
    let sparse = [start(), at(3600 * S, What::Time), at(86_400 * S, What::Time)];
    assert_eq!(self::read(&sparse).1.odd_times, 0);
}

const FUTURE: i64 = 7_226_582_400 * S;

#[test]
fn one_line_of_the_future_is_told_and_hides_nothing() {
    let wrong = |what| at(FUTURE, what);
    let other = MapStart { boot: "a".to_owned(), ..MapStart::default() };
    for what in
        [What::Time, What::Unknown, What::SocketUse(tcp(9, Basis::Used)), What::Start(other)]
    {
        for place in 2..lines().len() - 1 {
            let mut events = lines();
            events.insert(place, wrong(what.clone()));
            let (map, read) = read(&events);
            let told = read.first_odd.expect("told");
            assert_eq!(who(&map, &as_captured()), 1, "{what:?} at {place}");
            assert!(told.contains(&format!("map.jsonl, line {}:", place + 1)), "{told}");
            assert!(told.contains("2199-01-01"), "{told}");
            assert_eq!((read.odd_times, read.from_ns, read.until_ns), (1, 0, 20 * S));
        }
    }
}

#[test]
fn a_map_that_begins_in_the_future_begins_with_its_second_line() {
    let mut events = lines();
    events[0].time_ns = FUTURE;
    let (map, read) = read(&events);
    assert_eq!(who(&map, &as_captured()), 1);
    assert_eq!((read.odd_times, read.from_ns), (1, 0));
}

#[test]
fn several_lines_of_the_future_hide_what_is_beside_them_alone() {
    let mut events = lines();
    for place in [6, 6, 6] {
        events.insert(place, at(FUTURE, What::Time));
    }
    let (map, read) = read(&events);
    assert_eq!(who(&map, &as_captured()), 1);
    let told = read.first_odd.expect("told");
    assert!(told.contains("before what the map had come to"), "{told}");
}

#[test]
fn a_map_in_reverse_order_is_told() {
    let mut events = lines();
    events.reverse();
    let (map, read) = read(&events);
    assert!(read.odd_times > 5, "{read:?}");
    assert!(read.first_odd.expect("told").contains("line 3:"));
    assert_eq!(who(&map, &as_captured()), 1);
}

#[test]
fn what_was_open_when_a_recording_stopped_is_open_no_more_unless_the_next_one_finds_it() {
    let server = |process, local| {
        let socket = bound(SocketKind::Datagram, 17, local, 7600, process);
        What::SocketOpen(Socket { method: Method::SockDiag, inode: Some(process.into()), ..socket })
    };
    // Stopped at 5 s; begun again at 8 s, when another server has the port.
    let again = |found: &[HostEvent]| {
        let before = [at(S, server(1, Some(HERE))), at(5 * S, What::Time)];
        let goes_on = [start(), at(8 * S, address(HERE, 1))];
        let goes_on = goes_on.into_iter().map(|event| at(8 * S, event.what));
        map(before.into_iter().chain(goes_on).chain(found.iter().cloned()))
    };
    let question = Question { protocol: 17, local_port: 7600, sent: false, ..from_here() };
    let other = again(&[at(8 * S, server(2, None))]);
    assert_eq!(who(&other, &question), 2);
    let early = Question { start_ns: 2 * S, end_ns: 3 * S, begun_by_ns: 2 * S, ..question };
    assert_eq!(who(&other, &early), 1);
    let same = again(&[at(8 * S, server(1, Some(HERE)))]);
    assert_eq!(who(&same, &question), 1);
    assert!(answer(&same, &question).others.is_empty());
}
