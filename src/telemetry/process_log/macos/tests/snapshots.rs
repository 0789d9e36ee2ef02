//! Snapshots.

use super::*;

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
fn every_snapshot_says_when_it_was_made_whatever_changed() {
    for (fixture, kind, times) in [
        (fixture!("lsof-macos.txt"), "lsof", &[2][..]),
        (fixture!("ps-macos.txt"), "ps", &[2, 17]),
        (fixture!("nettop-sockets.csv"), "nettop", &[0, 15]),
        (fixture!("nettop-processes.csv"), "nettop", &[0, 15]),
    ] {
        let name = fixture.0;
        let (out, bad) = read(fixture, kind);
        assert_eq!(bad, []);
        let looked = out.observations.iter().filter_map(|observation| match observation {
            Observation::Host(report) if report.event.what == What::Time => {
                Some((report.event.time_ns - T) / S)
            }
            _ => None,
        });
        assert_eq!(looked.collect::<Vec<_>>(), times, "{name}");
    }
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
