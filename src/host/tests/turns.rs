//! Sockets that go from hand to hand, and processes that run one program after
//! another.

use super::*;

fn used(time_ns: i64, process: u32) -> HostEvent {
    at(time_ns, What::SocketUse(tcp(process, Basis::Used)))
}

/// As a turn is told: with the call's end, reaching back over its packet.
fn took_over(time_ns: i64, process: u32) -> HostEvent {
    let since_ns = Some(time_ns - S / 100);
    at(time_ns, What::SocketUse(Socket { alone: true, since_ns, ..tcp(process, Basis::Used) }))
}

fn runs(time_ns: i64, process: u32, exe: &str) -> HostEvent {
    let process = Process { id: pid(process), exe: exe.to_owned(), ..Process::default() };
    at(time_ns, What::ProcessExec(Box::new(process)))
}

fn held(time_ns: i64, since_ns: Option<i64>, holders: &[u32]) -> HostEvent {
    let basis = if holders.len() > 1 { Basis::SharesIt } else { Basis::Holds };
    let shared_with = holders[1..].iter().map(|&holder| pid(holder)).collect();
    let method = Method::SockDiag;
    let socket = Socket { method, shared_with, since_ns, ..tcp(holders[0], basis) };
    at(time_ns, What::SocketOpen(socket))
}

fn names(map: &HostMap, question: &Question) -> (u32, Vec<u32>) {
    let found = answer(map, question);
    (found.process.id.pid, found.others.iter().map(|other| other.id.pid).collect())
}

fn program(map: &HostMap, question: &Question) -> String {
    let found = answer(map, question);
    map.program_of(&found, question).expect("known").process.exe.clone()
}

const MS: i64 = S / 1000;

#[test]
fn who_was_given_a_socket_is_named_for_what_it_sends_and_not_who_gave_it() {
    let map = map([used(7 * S, 1), took_over(10 * S + MS, 2)]);
    assert_eq!(names(&map, &from_here()), (2, vec![]));
    let before = Question { start_ns: 7 * S, end_ns: 8 * S, ..from_here() };
    assert_eq!(names(&map, &before), (1, vec![]));
    // Of one packet the call ends after it.
    let packet = Question { end_ns: 10 * S, ..from_here() };
    assert_eq!(names(&map, &packet), (2, vec![]));
}

#[test]
fn of_two_that_used_the_socket_in_a_flow_who_had_it_longer_is_named() {
    let map = map([used(10 * S, 1), took_over(10 * S + 50 * MS, 2)]);
    assert_eq!(names(&map, &from_here()), (2, vec![1]));
    let map = self::map([used(10 * S, 1), took_over(11 * S + 900 * MS, 2)]);
    assert_eq!(names(&map, &from_here()), (1, vec![2]));
}

#[test]
fn who_takes_the_socket_back_has_it_again() {
    let map = map([used(8 * S, 1), took_over(9 * S, 2), took_over(10 * S, 1)]);
    assert_eq!(names(&map, &from_here()), (1, vec![]));
}

#[test]
fn without_word_of_a_turn_all_that_used_the_socket_are_meant() {
    let map = map([used(8 * S, 1), used(9 * S, 2)]);
    assert_eq!(names(&map, &from_here()), (1, vec![2]), "as a map of an earlier version");
}

#[test]
fn the_program_that_used_the_socket_is_named_not_the_one_before_it() {
    // A server forks, its child runs what serves and that reads.
    let map = map([
        runs(10 * S, 2, "/bin/inetd"),
        runs(10 * S + 2 * MS, 2, "/bin/cat"),
        used(10 * S + 3 * MS, 2),
    ]);
    assert_eq!(program(&map, &from_here()), "/bin/cat");
}

#[test]
fn of_two_programs_that_used_the_socket_who_had_it_longer_is_named() {
    let connects_and_execs = |execs_ns| {
        map([
            runs(S, 2, "/bin/python"),
            used(10 * S, 2),
            runs(execs_ns, 2, "/bin/bash"),
            took_over(execs_ns + MS, 2),
        ])
    };
    let map = connects_and_execs(10 * S + 20 * MS);
    assert_eq!(
        (names(&map, &from_here()).1, program(&map, &from_here())),
        (vec![], "/bin/bash".to_owned())
    );
    assert_eq!(program(&connects_and_execs(11 * S + 900 * MS), &from_here()), "/bin/python");
}

#[test]
fn a_program_that_inherits_a_socket_and_never_uses_it_is_not_named() {
    let map =
        map([runs(S, 2, "/bin/curl"), used(10 * S, 2), runs(10 * S + 20 * MS, 2, "/bin/sleep")]);
    assert_eq!(program(&map, &from_here()), "/bin/curl");
}

#[test]
fn who_holds_a_socket_is_named_as_what_it_ran_longest_in_the_flow() {
    let holds = |execs_ns| {
        map([runs(S, 2, "/bin/ip"), held(9 * S, None, &[2]), runs(execs_ns, 2, "/bin/dig")])
    };
    assert_eq!(program(&holds(10 * S + 500 * MS), &from_here()), "/bin/dig");
    assert_eq!(program(&holds(11 * S + 500 * MS), &from_here()), "/bin/ip");
}

#[test]
fn who_was_told_to_hold_a_socket_alone_does_not_once_others_are_found() {
    let map = map([held(8 * S, None, &[1]), held(13 * S, Some(9 * S), &[1, 2])]);
    let found = answer(&map, &from_here());
    assert_eq!((found.process.id, found.basis, found.others.len()), (pid(1), Basis::SharesIt, 1));
    // A child that was born after the flow had no share in it.
    let born_later = self::map([held(8 * S, None, &[1]), held(12 * S + 20 * MS, None, &[1, 2])]);
    assert_eq!(answer(&born_later, &from_here()).basis, Basis::Holds);
    // When nobody knew yet.
    let early = Question { known_ns: 12 * S, ..from_here() };
    assert_eq!(answer(&map, &early).basis, Basis::Holds);
}

#[test]
fn who_is_left_with_a_socket_holds_it_alone() {
    let closed = at(9 * S, What::SocketClose(tcp(1, Basis::SharesIt)));
    let map = map([held(8 * S, None, &[1, 2]), closed, held(9 * S, None, &[2])]);
    let found = answer(&map, &from_here());
    assert_eq!((found.process.id, found.basis), (pid(2), Basis::Holds));
}

#[test]
fn another_user_of_the_same_program_is_another_version_and_no_new_program() {
    let as_user = |uid| Process {
        uid: Some(uid),
        exe: "/bin/a".to_owned(),
        id: pid(2),
        ..Process::default()
    };
    let exec = |time_ns, uid| at(time_ns, What::ProcessExec(Box::new(as_user(uid))));
    let map = map([exec(2 * S, 0), exec(9 * S, 33), used(10 * S, 2)]);
    let found = answer(&map, &from_here());
    assert_eq!(map.program_of(&found, &from_here()).expect("known").process.uid, Some(33));
    let hosts = crate::host::join::HostKnowledge { map: Some(map), ..Default::default() };
    let begun = crate::host::join::Joiner::new(hosts).take_execs(i64::MAX);
    assert_eq!(begun.iter().map(|exec| exec.time_ns).collect::<Vec<_>>(), [2 * S]);
}
