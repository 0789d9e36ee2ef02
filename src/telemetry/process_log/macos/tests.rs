//! Fixtures through recognition, framing and decoder. What made them stands in
//! `tests/fixtures/macos/README.md`.

use crate::host::attribution::Basis;
use crate::host::event::{Presence, Socket, SocketKind, What};
use crate::host::process::{Context as Seat, Process, ProcessId};
use crate::telemetry::decode::{Bad, Context, Out};
use crate::telemetry::kind::{Head, Kind, recognise};
use crate::telemetry::observation::Observation;
use crate::telemetry::sample::{CounterSample, Reading};
use crate::telemetry::tests::decode;

const S: i64 = 1_000_000_000;
/// 2026-03-01T10:15:00Z.
const T: i64 = 1_772_360_100 * S;

macro_rules! fixture {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/macos/", $name))
                .as_slice(),
        )
    };
}

fn kind_of(bytes: &[u8]) -> Option<&'static Kind> {
    recognise(&Head::new(bytes, true))
}

fn read((name, bytes): (&str, &[u8]), kind: &str) -> (Out, Vec<Bad>) {
    read_at(name, bytes, kind, None)
}

fn read_at(name: &str, bytes: &[u8], kind: &str, modified_ns: Option<i64>) -> (Out, Vec<Bad>) {
    let found = kind_of(bytes).unwrap_or_else(|| panic!("{name} is not recognised"));
    assert_eq!(found.name, kind, "{name}");
    let context = Context { modified_ns, host: Some("mac1".into()), ..Context::default() };
    decode(found, &context, bytes)
}

/// What a host said, and when, in its order; who speaks comes first.
fn events(out: &Out) -> Vec<(i64, &What)> {
    let mut events = out.observations.iter().filter_map(|observation| match observation {
        Observation::Host(report) => {
            assert_eq!(&*report.host, "mac1");
            Some((report.event.time_ns, &report.event.what))
        }
        _ => None,
    });
    let Some((_, What::Start(start))) = events.next() else { panic!("nobody speaks") };
    assert_eq!(start.host, "mac1");
    events.collect()
}

fn samples(out: &Out) -> Vec<&CounterSample> {
    let samples = out.observations.iter().filter_map(|observation| match observation {
        Observation::Counter(sample) => Some(&**sample),
        _ => None,
    });
    samples.collect()
}

fn started<'a>(events: &[(i64, &'a What)], pid: u32) -> &'a Process {
    let found = events.iter().find_map(|(_, what)| match what {
        What::ProcessStart(process) if process.id.pid == pid => Some(&**process),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{pid} did not start"))
}

fn execs<'a>(events: &[(i64, &'a What)]) -> Vec<&'a Process> {
    let of = |what: &&'a What| match what {
        What::ProcessExec(process) => Some(&**process),
        _ => None,
    };
    events.iter().filter_map(|(_, what)| of(what)).collect()
}

fn opened<'a>(events: &[(i64, &'a What)]) -> Vec<&'a Socket> {
    let of = |what: &&'a What| match what {
        What::SocketOpen(socket) => Some(socket),
        _ => None,
    };
    events.iter().filter_map(|(_, what)| of(what)).collect()
}

fn count(events: &[(i64, &What)], is: fn(&What) -> bool) -> usize {
    events.iter().filter(|(_, what)| is(what)).count()
}

#[test]
fn eslogger_tells_who_ran_what() {
    let (out, bad) = read(fixture!("eslogger.ndjson"), "eslogger");
    assert_eq!(bad, []);
    let events = events(&out);
    let [ping, curl] = execs(&events)[..] else { panic!("two programs") };
    assert_eq!(ping.args, ["ping", "-f", "192.0.2.1"]);
    assert_eq!((&*ping.exe, &*ping.name, &*ping.terminal), ("/sbin/ping", "ping", "ttys001"));
    assert_eq!((ping.uid, ping.login_uid, ping.session), (Some(501), Some(501), Some(400)));
    assert_eq!(ping.context, Some(Seat::Terminal));
    assert_eq!(ping.id, ProcessId { pid: 501, start_ticks: 177_236_010_200 });
    assert_eq!(ping.started_ns, Some(T + 2 * S + 100_000_000));
    // The shell that forked it, by its start.
    assert_eq!(ping.parent, Some(ProcessId { pid: 400, start_ticks: 177_235_566_000 }));
    assert_eq!(started(&events, 400).exe, "/bin/zsh");
    assert_eq!(started(&events, 501).exe, "/bin/zsh");
    // Audit tokens as numbers; a job of launchd, whose start nobody told.
    assert_eq!(curl.parent, Some(ProcessId { pid: 1, start_ticks: 0 }));
    assert_eq!((curl.context, curl.uid, &*curl.terminal), (Some(Seat::None), Some(501), ""));
    assert_eq!(started(&events, 390).context, Some(Seat::Gui));
    let exit = (T + 90 * S, &What::ProcessExit(ping.id));
    assert_eq!(events.last(), Some(&exit));
}

#[test]
fn eslogger_counts_what_was_lost_and_passed_over() {
    let (out, _) = read(fixture!("eslogger.ndjson"), "eslogger");
    assert_eq!(out.lost["endpoint security events"], 3);
    assert_eq!(count(&events(&out), |what| matches!(what, What::Lost { events: 3, .. })), 1);
    assert_eq!(out.passed["event other than exec, fork, exit"], 1);
}

#[test]
fn secrets_of_command_lines_and_environments_do_not_show() {
    for (fixture, kind) in [
        (fixture!("eslogger.ndjson"), "eslogger"),
        (fixture!("macos-log-eslogger.ndjson"), "macos-log"),
        (fixture!("ps-macos.txt"), "ps"),
    ] {
        let (out, _) = read(fixture, kind);
        let told = format!("{:?}", out.observations);
        for secret in ["swordfish", "abcdef0123456789", "this-must-not-show"] {
            assert!(!told.contains(secret), "{}: {told}", fixture.0);
        }
    }
    let (out, _) = read(fixture!("eslogger.ndjson"), "eslogger");
    let events = events(&out);
    assert_eq!(execs(&events)[1].args[..3], ["curl", "--user", "alice:***"]);
}

#[test]
fn older_eslogger_events_lack_fields() {
    let line = br#"{"time":"2026-03-01T10:15:02Z","event_type":"ES_EVENT_TYPE_NOTIFY_EXEC","process":{"audit_token":{"pid":7,"pidversion":1,"auid":4294967295,"ruid":0},"executable":{"path":"/bin/sh"}},"event":{"exec":{"target":{"audit_token":{"pid":7,"pidversion":2,"auid":4294967295,"ruid":0},"ppid":1,"executable":{"path":"/sbin/ping"}}}}}"#;
    let (out, bad) = read_at("older", line, "eslogger", None);
    assert_eq!(bad, []);
    let events = events(&out);
    let [ping] = execs(&events)[..] else { panic!("a program") };
    assert_eq!((ping.id.start_ticks, ping.started_ns, ping.login_uid), (0, None, None));
    assert_eq!((ping.parent, ping.session), (Some(ProcessId { pid: 1, start_ticks: 0 }), None));
    assert!(ping.args.is_empty());
}

#[test]
fn the_unified_log_tells_jobs_and_connections() {
    for fixture in [fixture!("macos-log.ndjson"), fixture!("macos-log.json")] {
        let (out, bad) = read(fixture, "macos-log");
        // The line about the filter before the first entry.
        assert_eq!(bad.len(), usize::from(fixture.0.ends_with(".ndjson")), "{bad:?}");
        let events = events(&out);
        let flood = started(&events, 501);
        assert_eq!((&*flood.unit, flood.uid), ("com.example.flood", Some(501)));
        assert_eq!(flood.parent, Some(ProcessId { pid: 1, start_ticks: 0 }));
        let [spoke] = execs(&events)[..] else { panic!("a program") };
        assert_eq!((&*spoke.exe, &*spoke.unit), ("/Users/alice/bin/flood", "com.example.flood"));
        assert_eq!(spoke.id, flood.id);
        let [udp, tcp] = opened(&events)[..] else { panic!("two sockets") };
        assert_eq!((udp.process, udp.cookie, udp.remote_port), (Some(flood.id), Some(4711), 9));
        assert_eq!((tcp.local_port, tcp.remote, tcp.remote_port), (50516, None, 0));
        assert_eq!(started(&events, 777).name, "curl");
        assert_eq!(started(&events, 640).uid, None);
        let used = events.iter().find(|(_, what)| matches!(what, What::SocketUse(_)));
        let Some((at, What::SocketUse(used))) = used else { panic!("no use") };
        assert_eq!((*at, used.since_ns), (T + 32 * S, Some(T + 2 * S + 300_000_000)));
        assert_eq!(events.last(), Some(&(T + 33 * S, &What::ProcessExit(flood.id))));
        let [sample] = samples(&out)[..] else { panic!("a sample") };
        assert_eq!(&*sample.subject.process, "flood.501");
        assert_eq!((sample.sent_packets, sample.sent_bytes), (Some(300_000), Some(42_000_000)));
        assert_eq!(sample.reading, Reading::Since { start_ns: T + 2 * S + 300_000_000 });
        assert_eq!(out.lost["entries of the log"], 17);
        assert_eq!(out.lost["connection messages of the kernel"], 5);
        assert_eq!((out.passed["log message"], out.passed["activity"]), (2, 1));
    }
}

#[test]
fn events_of_eslogger_come_in_the_unified_log_too() {
    let (out, bad) = read(fixture!("macos-log-eslogger.ndjson"), "macos-log");
    assert_eq!(bad, []);
    let events = events(&out);
    assert_eq!(execs(&events)[0].args, ["ping", "-f", "192.0.2.1"]);
}

#[test]
fn lsof_of_macos_tells_who_holds_what() {
    let (out, bad) = read(fixture!("lsof-macos.txt"), "lsof");
    assert_eq!(bad, []);
    let events = events(&out);
    let ping = started(&events, 501);
    assert_eq!((&*ping.name, ping.uid, &*ping.user), ("ping", Some(501), "alice"));
    assert_eq!(ping.parent, Some(ProcessId { pid: 400, start_ticks: 0 }));
    let sockets = opened(&events);
    let kinds: Vec<_> = sockets.iter().map(|socket| (socket.kind, socket.protocol)).collect();
    assert_eq!(
        kinds,
        [
            (SocketKind::Raw, 1),
            (SocketKind::Stream, 6),
            (SocketKind::Listener, 6),
            (SocketKind::Datagram, 17)
        ]
    );
    assert_eq!(sockets[0].process, Some(ping.id));
    assert_eq!((sockets[0].inode, sockets[0].basis), (Some(0x9f2b_3c4d_5e6f_7081), Basis::Holds));
    assert_eq!((sockets[1].local_port, sockets[1].remote_port), (22, 51514));
    assert!(sockets[2].dual_stack && !sockets[3].dual_stack);
    assert_eq!(sockets[3].local, "fe80::aede:48ff:fe00:1122".parse().ok());
    assert!(events.iter().all(|(time_ns, _)| *time_ns == T + 2 * S));
    assert_eq!(out.passed["file that is no internet socket"], 1);
}

#[test]
fn lsof_of_debian_says_the_same_in_all_its_forms() {
    let (text, bad) = read(fixture!("lsof-debian.txt"), "lsof");
    assert_eq!(bad, []);
    let (name, bytes) = fixture!("lsof-debian-nul.txt");
    let time_ns = events(&text)[0].0;
    let (nul, bad) = read_at(name, bytes, "lsof", Some(time_ns));
    assert_eq!(bad, []);
    assert_eq!(text.observations, nul.observations);
    let told = events(&text);
    let sockets = opened(&told);
    assert_eq!(sockets.len(), 6);
    // Parent and child hold them all.
    for socket in &sockets {
        assert_eq!(socket.process.map(|id| id.pid), Some(4));
        assert_eq!(socket.shared_with, [ProcessId { pid: 6, start_ticks: 0 }]);
        assert_eq!(socket.basis, Basis::SharesIt);
        assert!(socket.inode.is_some());
    }
    let ends: Vec<_> =
        sockets.iter().map(|socket| (socket.local_port, socket.remote_port)).collect();
    assert_eq!(
        ends,
        [(18080, 0), (40000, 18080), (18080, 40000), (5353, 0), (18443, 0), (40001, 9)]
    );
    assert_eq!(sockets.iter().filter(|socket| socket.dual_stack).count(), 1);
    let (name, bytes) = fixture!("lsof-debian-all.txt");
    let (all, bad) = read_at(name, bytes, "lsof", Some(time_ns));
    assert_eq!(bad, []);
    let told = events(&all);
    let raw = opened(&told)[6];
    assert_eq!((raw.kind, raw.protocol, raw.remote), (SocketKind::Raw, 1, None));
    assert_eq!(all.passed["file that is no internet socket"], 2);
}

#[test]
fn a_repeated_lsof_tells_what_changed() {
    let (out, bad) = read(fixture!("lsof-debian-repeated.txt"), "lsof");
    assert_eq!(bad, []);
    let events = events(&out);
    // Held by two, then by one, then by none.
    assert_eq!(count(&events, |what| matches!(what, What::SocketOpen(_))), 12);
    assert_eq!(count(&events, |what| matches!(what, What::SocketClose(_))), 6);
    assert_eq!(count(&events, |what| matches!(what, What::ProcessStart(_))), 2);
    let last = events.last().expect("events");
    assert!(matches!(last.1, What::SocketClose(_)));
    assert!(last.0 > events[0].0);
}

#[test]
fn snapshots_need_a_time() {
    for (fixture, kind, reason) in [
        (
            fixture!("lsof-debian-nul.txt"),
            "lsof",
            "snapshot without a time (date before it, or -r 5m%s)",
        ),
        (fixture!("ps-debian-aux.txt"), "ps", "snapshot without a time (date before it)"),
        (fixture!("nettop-columns.csv"), "nettop", "row without a date (date before the first)"),
    ] {
        let (out, bad) = read(fixture, kind);
        assert_eq!((out.observations.len(), bad.len()), (0, 0));
        assert!(out.bad_parts.contains_key(reason), "{:?}", out.bad_parts);
    }
}

#[test]
fn ps_of_macos_tells_starts_in_its_own_zone() {
    let (out, bad) = read(fixture!("ps-macos.txt"), "ps");
    assert_eq!(bad, []);
    let events = events(&out);
    let ping = started(&events, 501);
    // Its row says 11:14:59, and that of ps 11:15:02 at 10:15:02 UTC.
    assert_eq!(ping.started_ns, Some(T - S));
    assert_eq!(ping.id.start_ticks, 177_236_009_900);
    assert_eq!(ping.parent, Some(started(&events, 400).id));
    assert_eq!(ping.args, ["ping", "-f", "192.0.2.1"]);
    assert_eq!((&*ping.terminal, ping.context), ("ttys001", Some(Seat::Terminal)));
    assert_eq!(ping.session, None);
    let curl = started(&events, 600);
    assert_eq!((&*curl.exe, curl.context), ("/usr/bin/curl", Some(Seat::None)));
    let app = started(&events, 620);
    assert_eq!(app.exe, "/Applications/Net Tool.app/Contents/MacOS/Net Tool");
    assert_eq!((&*app.name, app.context), ("Net Tool", Some(Seat::Gui)));
    assert_eq!(started(&events, 400).exe, "");
    // The second snapshot: what ended, and the new ps.
    let later: Vec<_> = events.iter().filter(|(at, _)| *at == T + 17 * S).collect();
    assert_eq!(later.len(), 3);
    assert!(later.contains(&&(T + 17 * S, &What::ProcessExit(ping.id))));
    assert_eq!(started(&events, 805).started_ns, Some(T + 17 * S));
}

#[test]
fn ps_of_debian_says_the_same_in_every_zone() {
    let (utc, bad) = read(fixture!("ps-debian-utc.txt"), "ps");
    assert_eq!(bad, []);
    let (cet, bad) = read(fixture!("ps-debian-cet.txt"), "ps");
    assert_eq!(bad, []);
    let (utc, cet) = (events(&utc), events(&cet));
    for pid in [1, 4, 6] {
        let process = started(&utc, pid);
        assert_eq!(process, started(&cet, pid));
        let (time_ns, started_ns) = (utc[0].0, process.started_ns.expect("a start"));
        assert!((0..5 * S).contains(&(time_ns - started_ns)), "{started_ns}");
    }
    assert_eq!(started(&utc, 6).parent, Some(started(&utc, 4).id));
    assert_eq!(started(&utc, 4).args, ["/usr/bin/python3", "/srv/rec/sockets.py"]);
    assert_eq!(started(&utc, 4).user, "root");
}

#[test]
fn ps_in_its_own_order_has_no_starts() {
    let (name, bytes) = fixture!("ps-debian-aux.txt");
    let (out, bad) = read_at(name, bytes, "ps", Some(T));
    assert_eq!(bad, []);
    let events = events(&out);
    assert_eq!(events.len(), 4);
    let process = started(&events, 4);
    assert_eq!((process.started_ns, process.id.start_ticks), (None, 0));
    assert_eq!(process.name, "python3");
}

#[test]
fn nettop_counts_by_process() {
    let (out, bad) = read(fixture!("nettop-processes.csv"), "nettop");
    assert_eq!(bad, []);
    let samples = samples(&out);
    assert_eq!(samples.len(), 6);
    let curl: Vec<_> =
        samples.iter().filter(|sample| &*sample.subject.process == "curl.600").collect();
    assert_eq!(curl[0].time_ns, T + 520_044_000);
    assert_eq!(curl[1].time_ns, T + 15 * S + 520_144_000);
    assert_eq!((curl[0].sent_bytes, curl[1].sent_bytes), (Some(1000), Some(450_001_000)));
    assert_eq!((curl[1].reading, curl[1].sent_packets), (Reading::Total, None));
    assert_eq!(&*curl[0].subject.host, "mac1");
    assert_eq!(started(&events(&out), 620).name, "com.example.Net");
    assert!(out.unknown_fields.is_empty(), "{:?}", out.unknown_fields);
}

#[test]
fn nettop_without_a_date_ends_when_the_file_was_changed() {
    let (name, bytes) = fixture!("nettop-processes.csv");
    let (dated, _) = read((name, bytes), "nettop");
    let from = bytes.iter().position(|&byte| byte == b'\n').expect("a line") + 1;
    let end_ns = T + 15 * S + 520_144_000;
    let (undated, bad) = read_at(name, &bytes[from..], "nettop", Some(end_ns));
    assert_eq!(bad, []);
    assert_eq!(dated.observations, undated.observations);
}

#[test]
fn nettop_tells_sockets_as_they_come_and_go() {
    let (out, bad) = read(fixture!("nettop-sockets.csv"), "nettop");
    assert_eq!(bad, []);
    let events = events(&out);
    let used: Vec<_> = events
        .iter()
        .filter_map(|(_, what)| match what {
            What::SocketUse(socket) => Some(socket),
            _ => None,
        })
        .collect();
    // Not again where nothing moved.
    assert_eq!(used.len(), 4);
    let curl = used[2];
    assert_eq!((curl.local_port, curl.remote_port, curl.basis), (50123, 443, Basis::Used));
    assert_eq!(curl.process, Some(ProcessId { pid: 600, start_ticks: 0 }));
    assert_eq!(used[3].remote, "2001:db8::9".parse().ok());
    let [listener] = opened(&events)[..] else { panic!("a listener") };
    assert_eq!((listener.kind, listener.basis), (SocketKind::Listener, Basis::Holds));
    assert!(listener.dual_stack);
    let closed = (T + 15 * S + 520_021_000, &What::SocketClose((*curl).clone()));
    assert_eq!(events.last(), Some(&closed));
}

#[test]
fn nettop_has_packets_among_chosen_columns() {
    let (name, bytes) = fixture!("nettop-columns.csv");
    let (out, bad) = read_at(name, bytes, "nettop", Some(T));
    assert_eq!(bad, []);
    let samples = samples(&out);
    assert_eq!((samples[0].sent_packets, samples[0].received_packets), (Some(300_100), Some(50)));
    assert!(samples.iter().all(|sample| sample.time_ns == T));
}

#[test]
fn who_is_at_the_machine() {
    let (out, bad) = read(fixture!("console.txt"), "macos-console");
    assert_eq!(bad, []);
    let told: Vec<_> = events(&out)
        .into_iter()
        .map(|(time_ns, what)| match what {
            What::Presence(presence) => ((time_ns - T) / S, presence.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    let at = |user: &str, terminal: &str, idle_ns| Presence {
        user: user.into(),
        terminal: terminal.into(),
        from: None,
        idle_ns,
    };
    let bob = Presence { from: "198.51.100.9".parse().ok(), ..at("bob", "ttys001", None) };
    assert_eq!(
        told,
        [
            (2, at("alice", "console", Some(235_161_083))),
            (2, bob),
            (3602, at("", "console", Some(3_600_000_000_000))),
            (7202, at("alice", "console", Some(7_200_000_000_000))),
        ]
    );
}

#[test]
fn bad_lines_are_told_with_what_is_wrong() {
    for (kind, line, reason) in [
        ("eslogger", &b"{}"[..], "no event"),
        ("macos-log", b"{\"eventMessage\":\"x\"}", "no time"),
        ("macos-log", b"{\"timestamp\":\"yesterday\"}", "no time"),
        ("lsof", b"pxyz", "no process number"),
        ("lsof", b"p1\0f3\0tIPv4\0PTCP\0n*:ssh\0p2\0", "names instead of numbers (lsof -n -P)"),
        ("lsof", b"cping", "field before its process"),
        ("ps", b"  501 ttys001", "row before the header"),
        ("nettop", b"10:15:02.5,curl.501,1,", "row before the header"),
        ("macos-console", b"two words", "no line of date, stat, ioreg or who"),
    ] {
        let kind = crate::telemetry::kind::named(kind).expect("a kind");
        let (_, bad) = decode(kind, &Context::default(), line);
        assert_eq!(bad.first().map(|bad| bad.reason), Some(reason), "{}", kind.name);
    }
}
