use super::*;
use crate::host::attribution::Basis;
use crate::host::event::{SocketKind, What};
use crate::host::process::{Process, ProcessId};
use crate::telemetry::observation::Observation;
use crate::telemetry::sample::CounterSample;
use crate::telemetry::tests::decode;

const RESULTS: &[u8] = include_bytes!("../../../../tests/fixtures/process_log/osquery.jsonl");

/// By host; times in seconds after 10:15.
fn read() -> (Vec<(String, f64, What)>, Vec<CounterSample>, Out) {
    let (mut out, bad) = decode(&OSQUERY, &Context::default(), RESULTS);
    assert_eq!(bad, []);
    let (mut whats, mut samples) = (Vec::new(), Vec::new());
    for observation in out.observations.drain(..) {
        match observation {
            Observation::Host(report) => {
                let seconds = (report.event.time_ns - 1_772_360_100_000_000_000) as f64 / 1e9;
                whats.push((report.host.to_string(), seconds, report.event.what));
            }
            Observation::Counter(sample) => samples.push(*sample),
            other => panic!("{other:?}"),
        }
    }
    (whats, samples, out)
}

fn program(whats: &[(String, f64, What)], pid: u32) -> (f64, &Process) {
    let mut programs = whats.iter().filter_map(|(_, seconds, what)| match what {
        What::ProcessStart(process) | What::ProcessExec(process) => Some((*seconds, &**process)),
        _ => None,
    });
    programs.find(|(_, process)| process.id.pid == pid).unwrap()
}

#[test]
fn process_events_are_read_in_each_form_of_line() {
    let (whats, _, out) = read();
    let (seconds, curl) = program(&whats, 901);
    assert_eq!(seconds, 2.0);
    assert_eq!(curl.args, ["curl", "-u", "ann:***", "https://shop.example/"]);
    assert_eq!((curl.name.as_str(), curl.uid, curl.login_uid), ("curl", Some(1000), Some(1000)));
    assert_eq!(curl.parent.map(|parent| parent.pid), Some(812));
    let (seconds, resolver) = program(&whats, 1300);
    // BPF's own time is since boot: the query's is later by the interval.
    assert_eq!((seconds, resolver.args.len()), (12.0, 2));
    let (_, other) = program(&whats, 902);
    assert_eq!(other.exe, "/usr/bin/curl");
    assert!(whats.iter().any(|(host, _, what)| host == "web2" && matches!(what, What::Start(_))));
    let (_, cron) = program(&whats, 77);
    assert_eq!(cron.id, ProcessId { pid: 77, start_ticks: 177_235_000_000 });
    assert_eq!(cron.started_ns, Some(1_772_350_000_000_000_000));
    let (_, child) = program(&whats, 502);
    assert_eq!(child.parent, Some(program(&whats, 501).1.id));
    let ended: Vec<_> = whats
        .iter()
        .filter_map(|(_, seconds, what)| match what {
            What::ProcessExit(id) => Some((*seconds, id.pid)),
            _ => None,
        })
        .collect();
    assert_eq!(ended, [(40.0, 77), (52.0, 502)]);
    assert_eq!(out.passed.get("removed event"), Some(&1));
    assert_eq!(out.passed.get("row without a process"), Some(&1));
}

#[test]
fn sockets_are_claimed_as_far_as_they_are_known() {
    let (whats, _, out) = read();
    let found: Vec<_> = whats
        .iter()
        .filter_map(|(_, seconds, what)| match what {
            What::SocketOpen(socket) => Some((*seconds, socket)),
            _ => None,
        })
        .map(|(seconds, socket)| {
            let pid = socket.process.map(|process| process.pid);
            let (kind, basis) = (socket.kind, socket.basis);
            (seconds, pid, kind, socket.protocol, socket.local_port, socket.remote_port, basis)
        })
        .collect();
    use Basis::{ConnectedTo, Holds, Opened};
    use SocketKind::{Datagram, Listener, Stream};
    assert_eq!(
        found,
        [
            // That it was in progress says that it was TCP.
            (2.0, Some(901), Stream, 6, 0, 443, ConnectedTo),
            (2.0, Some(1200), Stream, 6, 8080, 50412, Opened),
            (12.0, Some(1300), Datagram, 17, 40113, 53, Opened),
            (20.0, Some(1200), Listener, 6, 8080, 0, Holds),
            (20.0, Some(901), Stream, 6, 40112, 443, Holds),
            (20.0, None, Stream, 6, 40119, 443, Holds),
            (20.0, Some(1300), Datagram, 17, 5353, 0, Holds),
            (30.0, Some(1200), Listener, 6, 8080, 0, Holds),
        ]
    );
    let closed: Vec<_> = whats
        .iter()
        .filter_map(|(_, seconds, what)| match what {
            What::SocketClose(socket) => Some((*seconds, socket.inode.unwrap())),
            _ => None,
        })
        .collect();
    assert_eq!(closed, [(30.0, 7002), (30.0, 7003), (30.0, 7004)]);
    assert_eq!(out.passed.get("socket call that failed"), Some(&1));
}

#[test]
fn statistics_of_containers_are_totals() {
    let (_, samples, _) = read();
    let [sample] = &samples[..] else { panic!("{samples:?}") };
    assert_eq!(sample.time_ns, 1_772_360_109_000_000_000);
    assert_eq!((sample.received_bytes, sample.sent_bytes), (Some(1200), Some(98_000)));
    assert_eq!((&*sample.subject.container_name, &*sample.subject.host), ("web", "web1"));
}

#[test]
fn lines_that_are_no_results_are_bad() {
    for (line, reason) in [
        (r#"{"name":"x","unixTime":1,"action":"added"}"#, "no rows"),
        (r#"{"name":"x","unixTime":1,"action":"changed","columns":{}}"#, "unknown action"),
        (r#"{"name":"x","action":"added","columns":{}}"#, "no time"),
        (r#"{"name":"x","unixTime":1,"columns":[1]}"#, "not a result"),
    ] {
        let (_, bad) = decode(&OSQUERY, &Context::default(), line.as_bytes());
        assert_eq!(bad.first().map(|bad| bad.reason), Some(reason));
    }
}
