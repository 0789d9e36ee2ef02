//! Who connected, where only the remote end is known: as logs of system calls have it.

use super::*;

/// As a log of system calls has it: who connected to what, and nothing of when it ended.
fn connected(process: u32) -> Socket {
    Socket {
        method: Method::Imported,
        local: None,
        local_port: 0,
        cookie: None,
        netns: None,
        ..tcp(process, Basis::Opened)
    }
}

#[test]
fn who_connected_is_found_by_the_remote_end_and_the_time() {
    let connects = |second: i64, process| at(second * S, What::SocketOpen(connected(process)));
    // The first one comes again, so that three claims are needed for four calls.
    let events = [(10, 1), (11, 1), (30, 2), (50, 1)];
    let map = map(events.map(|(second, process)| connects(second, process)));
    let asked = |second: i64| {
        let start_ns = second * S + S / 1000;
        Question { start_ns, end_ns: start_ns + 20 * S, known_ns: 100 * S, ..from_here() }
    };
    assert_eq!((who(&map, &asked(10)), who(&map, &asked(30)), who(&map, &asked(50))), (1, 2, 1));
    assert_eq!(answer(&map, &asked(30)).others, [], "the one of long before is not as likely");
    // Before all of them somebody else connected.
    let early = asked(2);
    assert_eq!(map.resolve(&early), Err(Reason::NoSocket));
    assert_eq!(map.counters().claims, 3);
    // Another service of the same host, and another host's connection to the same one.
    assert_eq!(map.resolve(&Question { remote_port: 80, ..asked(30) }), Err(Reason::NoSocket));
    assert_eq!(map.resolve(&Question { local: ip("192.0.2.11"), ..asked(30) }), Ok(None));
}

#[test]
fn what_is_known_of_both_ends_goes_before_who_connected() {
    let map = map([
        at(9 * S, What::SocketOpen(tcp(1, Basis::Opened))),
        at(10 * S, What::SocketOpen(connected(2))),
    ]);
    assert_eq!(who(&map, &from_here()), 1);
}

#[test]
fn who_connected_at_nearly_the_same_time_is_named_too() {
    let map = map([
        at(10 * S, What::SocketOpen(connected(1))),
        at(10 * S + S / 2, What::SocketOpen(connected(2))),
    ]);
    let question = Question { start_ns: 10 * S + S / 2, ..from_here() };
    let answer = answer(&map, &question);
    assert_eq!(answer.process.id, pid(2));
    assert_eq!(answer.others.iter().map(|other| other.id).collect::<Vec<_>>(), [pid(1)]);
}

#[test]
fn a_connection_of_known_ends_that_comes_again_is_the_latest_ones() {
    let exact =
        |process| Socket { method: Method::Imported, cookie: None, ..tcp(process, Basis::Opened) };
    let map = map([
        at(5 * S, What::SocketOpen(exact(1))),
        at(10 * S, What::SocketOpen(exact(2))),
        at(40 * S, What::SocketOpen(exact(3))),
    ]);
    assert_eq!(who(&map, &from_here()), 2);
    let used = Socket { basis: Basis::Used, ..connected(4) };
    let map = self::map([at(11 * S, What::SocketUse(used))]);
    assert_eq!(who(&map, &from_here()), 4, "what was used in the middle was there before");
}

#[test]
fn who_connected_is_forgotten_with_the_process_or_after_hours() {
    let map = map([
        at(10 * S, What::SocketOpen(connected(1))),
        at(11 * S, What::SocketOpen(connected(2))),
        at(12 * S, What::SocketOpen(connected(3))),
        at(20 * S, What::ProcessStart(Box::new(Process { id: pid(2), ..Process::default() }))),
        at(30 * S, What::ProcessExit(pid(2))),
    ]);
    map.forget_before(25 * S);
    assert_eq!(map.counters().claims, 3);
    map.forget_before(40 * S);
    assert_eq!(map.counters().claims, 2);
    let hours = |n: i64| n * 3600 * S;
    map.forget_before(hours(6) + 11 * S);
    assert_eq!(map.counters().claims, 1);
    map.forget_before(hours(7));
    assert_eq!(map.counters().claims, 0);
}

#[test]
fn where_many_connect_the_oldest_makes_room_and_is_counted() {
    let connects = (0..5000).map(|n: i64| {
        at(n * S / 100, What::SocketOpen(connected(u32::try_from(n % 2).unwrap() + 1)))
    });
    let map = map(connects);
    let counters = map.counters();
    assert_eq!((counters.claims, counters.refused), (4096, 904));
}
