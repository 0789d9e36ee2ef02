//! Children that had their parent's socket and were gone before anybody looked.

use super::*;

const MS: i64 = S / 1000;

/// A process that runs a program from then on.
fn runs(process: u32, parent: u32, exe: &str) -> Box<Process> {
    let (parent, exe) = (Some(pid(parent)), exe.to_owned());
    Box::new(Process { id: pid(process), parent, exe, ..Process::default() })
}

fn forked(time_ns: i64, process: u32, parent: u32) -> HostEvent {
    let child = Process { started_ns: Some(time_ns), ..*runs(process, parent, "/bin/serve") };
    at(time_ns, What::ProcessStart(Box::new(child)))
}

fn exits(time_ns: i64, process: u32) -> HostEvent {
    at(time_ns, What::ProcessExit(pid(process)))
}

/// A map in which 1 is found to hold the socket alone, whatever else happens.
fn held_by_1(method: Method, events: impl IntoIterator<Item = HostEvent>) -> Arc<HostMap> {
    let open = Socket { method, since_ns: Some(8 * S), ..tcp(1, Basis::Holds) };
    let server = runs(1, 9, "/bin/serve");
    let before =
        [at(2 * S, What::ProcessExec(server)), at(8 * S + 20 * MS, What::SocketOpen(open))];
    map(before.into_iter().chain(events))
}

fn found(map: &HostMap) -> (u32, Basis, Vec<u32>) {
    let found = answer(map, &from_here());
    let others = found.others.iter().map(|other| other.id.pid).collect();
    (found.process.id.pid, found.basis, others)
}

#[test]
fn who_holds_a_socket_shares_it_with_children_that_were_gone_when_it_was_looked_at() {
    let child = [forked(10 * S, 2, 1), exits(10 * S + 5 * MS, 2)];
    let map = held_by_1(Method::SockDiag, child.clone());
    assert_eq!(found(&map), (1, Basis::SharesIt, vec![2]));
    // Before the flow it began, and was there yet.
    let early = [forked(10 * S - 5 * MS, 2, 1), exits(10 * S + 5 * MS, 2)];
    let two = early.into_iter().chain([forked(11 * S, 3, 1), exits(11 * S + 5 * MS, 3)]);
    assert_eq!(found(&held_by_1(Method::Polling, two)), (1, Basis::SharesIt, vec![2, 3]));
    // Who was seen using it did.
    let used = at(10 * S, What::SocketUse(tcp(1, Basis::Used)));
    let seen = held_by_1(Method::SockDiag, child.into_iter().chain([used]));
    assert_eq!(found(&seen), (1, Basis::Used, vec![]));
}

#[test]
fn who_had_no_share_in_a_socket_takes_none_of_its_holders_certainty() {
    let alone = (1, Basis::Holds, vec![]);
    let ran = |time_ns, process| at(time_ns, What::ProcessExec(runs(process, 1, "/bin/date")));
    for (what, events) in [
        ("ran another program", vec![forked(10 * S, 2, 1), ran(10 * S + MS, 2), exits(11 * S, 2)]),
        ("ended before", vec![forked(9 * S, 2, 1), exits(9 * S + 5 * MS, 2)]),
        ("began after", vec![forked(13 * S, 2, 1), exits(13 * S + 5 * MS, 2)]),
        ("lived on, and was looked at", vec![forked(10 * S, 2, 1), exits(11 * S, 2)]),
        ("of another parent", vec![forked(10 * S, 2, 3), exits(10 * S + 5 * MS, 2)]),
    ] {
        assert_eq!(found(&held_by_1(Method::SockDiag, events)), alone, "{what}");
    }
    // Before the socket was there.
    let open = Socket { method: Method::SockDiag, ..tcp(1, Basis::Holds) };
    let server = at(2 * S, What::ProcessExec(runs(1, 9, "/bin/serve")));
    let child = [forked(10 * S, 2, 1), exits(10 * S + 5 * MS, 2)];
    let later = map([server].into_iter().chain(child).chain([at(11 * S, What::SocketOpen(open))]));
    assert_eq!(found(&later), alone);
}

#[test]
fn children_are_forgotten_with_their_time() {
    let map = held_by_1(Method::SockDiag, [forked(10 * S, 2, 1), exits(10 * S + 5 * MS, 2)]);
    map.forget_before(10 * S);
    assert_eq!(found(&map).1, Basis::SharesIt);
    map.forget_before(11 * S);
    assert_eq!(found(&map).1, Basis::Holds);
}
