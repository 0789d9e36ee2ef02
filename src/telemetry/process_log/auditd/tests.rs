use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::*;
use crate::host::attribution::Basis;
use crate::host::event::{Socket, SocketKind};
use crate::host::process::{Context as Where, Process};
use crate::telemetry::observation::Observation;
use crate::telemetry::tests::decode;

const RAW: &[u8] = include_bytes!("../../../../tests/fixtures/process_log/auditd-raw.log");
const ENRICHED: &[u8] =
    include_bytes!("../../../../tests/fixtures/process_log/auditd-enriched.log");
/// What `ausearch -i` makes of them.
const RAW_BY_AUSEARCH: &str =
    include_str!("../../../../tests/fixtures/process_log/auditd-raw.ausearch");
const ENRICHED_BY_AUSEARCH: &str =
    include_str!("../../../../tests/fixtures/process_log/auditd-enriched.ausearch");

fn read(bytes: &[u8]) -> (Vec<(i64, What)>, Out) {
    let (mut out, bad) = decode(&AUDITD, &Context::default(), bytes);
    assert_eq!(bad, []);
    let whats = out.observations.drain(..).map(|observation| match observation {
        Observation::Host(report) => (report.event.time_ns, report.event.what),
        other => panic!("{other:?}"),
    });
    (whats.collect(), out)
}

fn sockets(whats: &[(i64, What)]) -> impl Iterator<Item = &Socket> {
    whats.iter().filter_map(|(_, what)| match what {
        What::SocketOpen(socket) | What::SocketUse(socket) => Some(socket),
        _ => None,
    })
}

fn programs(whats: &[(i64, What)]) -> impl Iterator<Item = &Process> {
    whats.iter().filter_map(|(_, what)| match what {
        What::ProcessStart(process) | What::ProcessExec(process) => Some(&**process),
        _ => None,
    })
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let at = line.find(&format!(" {name}="))? + name.len() + 2;
    line[at..].split_ascii_whitespace().next()
}

/// Socket addresses of internet families by what was done with them, as ausearch has
/// them: an event's `SOCKADDR` comes before its `SYSCALL`.
fn addresses_by_ausearch(text: &str) -> Vec<(u32, String, SocketAddr)> {
    let mut found = Vec::new();
    let mut last = None;
    for line in text.lines() {
        if line.starts_with("type=SOCKADDR") {
            last = field(line, "laddr").map(|address| {
                SocketAddr::new(
                    address.parse().unwrap(),
                    field(line, "lport").unwrap().parse().unwrap(),
                )
            });
        } else if line.starts_with("type=SYSCALL")
            && let Some(address) = last.take()
        {
            let pid = field(line, "pid").unwrap().parse().unwrap();
            found.push((pid, field(line, "syscall").unwrap().to_owned(), address));
        }
    }
    found.sort();
    found
}

#[test]
fn the_same_sockets_are_found_as_by_ausearch() {
    for (log, text) in [(RAW, RAW_BY_AUSEARCH), (ENRICHED, ENRICHED_BY_AUSEARCH)] {
        let (whats, _) = read(log);
        let mut found: Vec<_> = whats
            .iter()
            .filter_map(|(_, what)| {
                let (socket, used) = match what {
                    What::SocketOpen(socket) => (socket, false),
                    What::SocketUse(socket) => (socket, true),
                    _ => return None,
                };
                let call = match (socket.kind, used, socket.since_ns) {
                    (_, true, _) => "sendto",
                    (_, _, Some(_)) => "accept4",
                    _ if socket.local.is_some() => "bind",
                    _ => "connect",
                };
                let (address, port) = match socket.local {
                    Some(local) => (local, socket.local_port),
                    None => (socket.remote.unwrap(), socket.remote_port),
                };
                let pid = socket.process.unwrap().pid;
                Some((pid, call.to_owned(), SocketAddr::new(address, port)))
            })
            .collect();
        found.sort();
        let expected = addresses_by_ausearch(text);
        assert!(expected.len() >= 9, "{expected:?}");
        assert_eq!(found, expected);
    }
}

#[test]
fn the_same_programs_are_found_as_by_ausearch() {
    for (log, text) in [(RAW, RAW_BY_AUSEARCH), (ENRICHED, ENRICHED_BY_AUSEARCH)] {
        let (whats, _) = read(log);
        // Of each process its exec: executable and user. ausearch has names for users.
        let mut expected = BTreeMap::new();
        for line in text.lines().filter(|line| line.contains("syscall=execve success=yes")) {
            let exe = field(line, "exe").unwrap().to_owned();
            let parent: u32 = field(line, "ppid").unwrap().parse().unwrap();
            expected.insert(field(line, "pid").unwrap().parse::<u32>().unwrap(), (exe, parent));
        }
        assert!(expected.len() > 8);
        let mut found = BTreeMap::new();
        for process in programs(&whats) {
            let parent = process.parent.unwrap().pid;
            found.insert(process.id.pid, (process.exe.clone(), parent));
            assert_eq!(process.uid, Some(65534));
            assert_eq!((process.login_uid, process.context), (None, Some(Where::None)));
        }
        found.retain(|pid, _| expected.contains_key(pid));
        assert_eq!(found, expected);
    }
}

#[test]
fn arguments_are_whole_and_masked() {
    let (whats, _) = read(RAW);
    let echoes: Vec<_> = programs(&whats).filter(|process| process.name == "echo").collect();
    let [words, long] = &echoes[..] else { panic!("{echoes:?}") };
    assert_eq!(
        words.args,
        ["/bin/echo", "two words", "quote\"s", "tab\there", "--password", "***", "café", ""]
    );
    assert!(!words.args_cut);
    assert_eq!(long.args[..1], ["/bin/echo"]);
    assert!(long.args_cut && long.args[1].len() > 4000 && long.args[1].bytes().all(|b| b == b'a'));
}

#[test]
fn processes_begin_run_programs_and_end() {
    let (whats, out) = read(ENRICHED);
    let (_, What::Start(start)) = &whats[0] else { panic!("{:?}", whats[0]) };
    assert_eq!((start.host.as_str(), &start.providers[..]), ("web1", &[Method::Imported][..]));
    let count = |is: fn(&What) -> bool| whats.iter().filter(|(_, what)| is(what)).count();
    let exits = ENRICHED_BY_AUSEARCH.matches("syscall=exit_group").count();
    assert_eq!(count(|what| matches!(what, What::ProcessExit(_))), exits);
    assert_eq!(count(|what| matches!(what, What::Start(_))), 1);
    // Each child is told at its fork with its parent, then again with its program.
    let forks = ENRICHED_BY_AUSEARCH.matches("syscall=clone success=yes").count();
    let started: Vec<_> = programs(&whats).filter(|process| process.started_ns.is_some()).collect();
    assert_eq!(started.len(), forks);
    for child in &started {
        assert!(programs(&whats).any(|parent| Some(parent.id) == child.parent));
        assert_eq!(child.user, "nobody");
    }
    assert_eq!(out.lost.len(), 0);
    assert_eq!(out.bad_parts.len(), 0);
}

#[test]
fn protocols_are_those_that_sockets_were_made_with() {
    let (whats, _) = read(RAW);
    for socket in sockets(&whats) {
        let port = socket.remote_port.max(socket.local_port);
        let (kind, protocol) = match port {
            53 | 123 => (SocketKind::Datagram, 17),
            _ if socket.local.is_some() => (SocketKind::Listener, 6),
            _ => (SocketKind::Stream, 6),
        };
        assert_eq!((socket.kind, socket.protocol), (kind, protocol), "{socket:?}");
        let basis = match (socket.remote, socket.since_ns) {
            // Nobody says from which port.
            (Some(_), None) => Basis::ConnectedTo,
            // Who was accepted or received from is known.
            (Some(_), Some(_)) if port == 53 => Basis::Used,
            _ => Basis::Opened,
        };
        assert_eq!(socket.basis, basis, "{socket:?}");
    }
}

#[test]
fn an_accept_that_waited_is_told_when_it_ended() {
    let (whats, _) = read(RAW);
    let mut latest_ns = 0;
    let mut waited = 0;
    for (time_ns, what) in &whats {
        if let What::SocketOpen(Socket { since_ns: Some(since_ns), .. }) = what {
            waited += u32::from(time_ns - since_ns > 100_000_000);
        }
        // The queue of the log itself is within a scheduler's turn in order.
        assert!(*time_ns >= latest_ns - 50_000_000, "{what:?}");
        latest_ns = latest_ns.max(*time_ns);
    }
    assert!(waited >= 1);
}

fn syscall(number: u32, serial: u64, rest: &str) -> String {
    format!(
        "type=SYSCALL msg=audit(1772360102.000:{serial}): arch=c000003e syscall={number} {rest} \
         ppid=1 auid=1000 uid=1000 tty=pts0 comm=\"x\" exe=\"/tmp/x\"\n"
    )
}

fn address(serial: u64, digits: &str) -> String {
    format!("type=SOCKADDR msg=audit(1772360102.000:{serial}): saddr={digits}\n")
}

#[test]
fn records_of_several_events_may_be_mixed() {
    let one = [syscall(42, 1, "success=yes exit=0 pid=5"), address(1, "02000035C0000201")];
    let two = [syscall(42, 2, "success=no exit=-115 pid=6"), address(2, "020001BBC0000202")];
    let text = [&one[0][..], &two[0], &two[1], &one[1]].concat();
    let (whats, _) = read(text.as_bytes());
    let mut found: Vec<_> = sockets(&whats)
        .map(|socket| (socket.process.unwrap().pid, socket.protocol, socket.remote_port))
        .collect();
    found.sort_unstable();
    // Of a socket that nobody saw made both protocols are possible, unless it does
    // not wait.
    assert_eq!(found, [(5, 6, 53), (5, 17, 53), (6, 6, 443)]);
    let process = programs(&whats).next().unwrap();
    assert_eq!((process.terminal.as_str(), process.context), ("pts/0", Some(Where::Terminal)));
    assert!(process.exe_in_writable_folder);
    assert_eq!(process.login_uid, Some(1000));
}

#[test]
fn an_event_waits_two_seconds_for_its_records_and_no_longer() {
    let begin = syscall(42, 1, "success=yes exit=0 pid=5");
    let at = |seconds: u32| {
        let later = begin.replace("102.000:1)", &format!("{}.500:2)", 102 + seconds));
        later.replace("pid=5", "pid=6")
    };
    for (seconds, sockets_found) in [(1, 2), (2, 0)] {
        let text = [&begin[..], &at(seconds), &address(1, "02000035C0000201")].concat();
        let (whats, out) = read(text.as_bytes());
        assert_eq!(sockets(&whats).count(), sockets_found);
        let parts = out.passed.get("part of an event without its system call");
        assert_eq!(parts.is_some(), sockets_found == 0);
        assert_eq!(programs(&whats).count(), 2);
    }
}

#[test]
fn what_sent_nothing_makes_no_claim() {
    for (number, rest, digits) in [
        (42, "success=no exit=-13 pid=5", "02000035C0000201"),
        (42, "success=yes exit=0 pid=5", "01002F72756E2F78"),
        (42, "success=yes exit=0 pid=5", "02000000C0000201"),
        (42, "success=yes exit=0 pid=5", "0000"),
        (49, "success=no exit=-98 pid=5", "02000035C0000201"),
        (43, "success=no exit=-11 pid=5", "02000035C0000201"),
    ] {
        let text = [syscall(number, 1, rest), address(1, digits)].concat();
        let (whats, _) = read(text.as_bytes());
        assert_eq!(sockets(&whats).count(), 0, "{text}");
    }
    let refused = [syscall(42, 1, "success=no exit=-111 pid=5"), address(1, "02000035C0000201")];
    assert_eq!(sockets(&read(refused.concat().as_bytes()).0).count(), 2);
}

#[test]
fn icmp_is_told_from_sockets() {
    let text = [
        syscall(41, 1, "success=yes exit=7 a0=2 a1=80802 a2=1 pid=5"),
        syscall(44, 2, "success=yes exit=64 a0=7 pid=5"),
        address(2, "02000000C0000201"),
        syscall(41, 3, "success=yes exit=8 a0=2 a1=3 a2=2f pid=5"),
        syscall(44, 4, "success=yes exit=64 a0=8 pid=5"),
        address(4, "02000000C0000201"),
    ];
    let (whats, _) = read(text.concat().as_bytes());
    let found: Vec<_> = sockets(&whats).map(|socket| (socket.kind, socket.protocol)).collect();
    assert_eq!(found, [(SocketKind::Ping, 1), (SocketKind::Raw, 47)]);
}

#[test]
fn a_number_that_comes_again_is_another_process() {
    let exec = |serial, pid| {
        let text = syscall(59, serial, &format!("success=yes exit=0 pid={pid}"));
        text.replace("102.000", &format!("10{serial}.000"))
    };
    let text = [
        exec(1, 5),
        syscall(231, 2, "a0=0 pid=5"),
        exec(3, 5),
        // A second program of the same process.
        exec(4, 5),
        "type=SYSTEM_BOOT msg=audit(1772360202.000:1): pid=1\n".to_owned(),
        exec(5, 5),
    ];
    let (whats, _) = read(text.concat().as_bytes());
    let of = |what: &What| match what {
        What::Start(_) => "boot",
        What::ProcessStart(_) => "start",
        What::ProcessExec(_) => "exec",
        What::ProcessExit(_) => "exit",
        _ => "other",
    };
    let kinds: Vec<_> = whats.iter().map(|(_, what)| of(what)).collect();
    assert_eq!(kinds, ["boot", "start", "exit", "start", "exec", "boot", "start"]);
    let ids: Vec<_> = programs(&whats).map(|process| process.id.start_ticks).collect();
    assert_eq!(ids, [177_236_010_100, 177_236_010_300, 177_236_010_300, 177_236_010_500]);
}

#[test]
fn what_the_kernel_lost_is_counted_from_its_totals() {
    let lost = |n: u32| {
        format!(
            "Mar  1 10:15:02 web1 kernel: [9.1] audit: audit_lost={n} audit_rate_limit=0 audit_backlog_limit=64\n"
        )
    };
    let record = format!(
        "Mar  1 10:15:02 web1 audisp-syslog: {}",
        syscall(59, 1, "success=yes exit=0 pid=5")
    );
    let text = [record, lost(3), lost(10), lost(2)].concat();
    let (whats, out) = read(text.as_bytes());
    assert_eq!(out.lost.get("audit records"), Some(&12));
    let told: Vec<_> = whats
        .iter()
        .filter_map(|(_, what)| match what {
            What::Lost { events, .. } => Some(*events),
            _ => None,
        })
        .collect();
    assert_eq!(told, [3, 7, 2]);
}

#[test]
fn any_number_of_events_waits_in_bounded_room() {
    let mut decoder = decoder(&Context::default()).unwrap();
    let mut out = Out::default();
    for serial in 0..10_000 {
        let text = syscall(59, serial, &format!("success=yes exit=0 pid={}", serial + 1));
        decoder.record(text.trim_end().as_bytes(), &mut out).unwrap();
    }
    // All but those that still wait were told.
    let told = out.observations.len();
    assert!((9_000..10_001).contains(&told), "{told}");
    decoder.end(&mut out);
    assert_eq!(out.observations.len(), 10_001);
}
