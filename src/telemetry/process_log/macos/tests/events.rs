//! Events and logs.

use super::*;

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
