use super::*;
use crate::host::process::Process;
use crate::telemetry::observation::Observation;
use crate::telemetry::tests::decode;

const EVENTS: &[u8] = include_bytes!("../../../../tests/fixtures/process_log/tetragon.jsonl");

#[test]
fn programs_connections_and_ends_are_told_with_their_pods() {
    let (out, bad) = decode(&TETRAGON, &Context::default(), EVENTS);
    assert_eq!(bad, []);
    let whats: Vec<_> = out
        .observations
        .iter()
        .map(|observation| match observation {
            Observation::Host(report) => &report.event.what,
            other => panic!("{other:?}"),
        })
        .collect();
    let what = |what: &What| match what {
        What::Start(_) => "boot",
        What::Workload(_) => "workload",
        What::ProcessStart(process) if process.id.pid == 812 => "parent",
        What::ProcessStart(process) if process.id.pid == 1 => "grandparent",
        What::ProcessStart(_) => "start",
        What::ProcessExec(_) => "exec",
        What::ProcessExit(_) => "exit",
        What::SocketOpen(_) => "open",
        What::SocketUse(_) => "use",
        What::SocketClose(_) => "close",
        What::Lost { .. } => "lost",
        _ => "other",
    };
    let kinds: Vec<_> = whats.iter().map(|event| what(event)).collect();
    assert_eq!(
        kinds,
        [
            "boot",
            "grandparent",
            "workload",
            "parent",
            "start",
            "exec",
            "open",
            "use",
            "close",
            "lost",
            "exit",
            // A quarter of an hour later: the map may have given it up.
            "workload",
            "start"
        ]
    );
    let programs: Vec<&Process> = whats
        .iter()
        .filter_map(|what| match what {
            What::ProcessStart(process) | What::ProcessExec(process) => Some(&**process),
            _ => None,
        })
        .collect();
    let [root, parent, shell, curl, again] = &programs[..] else { panic!("{programs:?}") };
    assert_eq!(parent.parent, Some(root.id));
    assert_eq!((shell.parent, curl.parent), (Some(parent.id), Some(parent.id)));
    assert_eq!(shell.id, curl.id);
    // Hundredths since boot, of the program that it was first seen with.
    assert_eq!((shell.id.pid, shell.id.start_ticks), (901, 12_300));
    assert_eq!((again.id.pid, again.id.start_ticks), (901, 99_900));
    assert_eq!(curl.args, ["/usr/bin/curl", "-H", "Authorization: ***", "https://shop.example/"]);
    assert_eq!(curl.netns, Some(4_026_532_001));
    assert!(shell.started_ns.is_some() && curl.started_ns.is_none());
    let container = "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9";
    assert_eq!(curl.container, container);
    for what in &whats {
        let (What::SocketOpen(socket) | What::SocketUse(socket) | What::SocketClose(socket)) = what
        else {
            continue;
        };
        assert_eq!(socket.process, Some(curl.id));
        assert_eq!((socket.local_port, socket.remote_port, socket.cookie), (40112, 443, Some(77)));
    }
    let What::Workload(workload) = whats[2] else { panic!() };
    assert_eq!((workload.namespace.as_str(), workload.owner.as_str()), ("shop", "Deployment/web"));
    assert_eq!((workload.runtime.as_str(), workload.container.as_str()), ("containerd", container));
    assert_eq!(out.lost.get("events over the rate limit"), Some(&12));
    assert_eq!(out.passed.get("other event"), Some(&1));
}

#[test]
fn exec_ids_say_node_time_and_number() {
    assert_eq!(exec_id("bjE6MTIzMDAwMDAwMDAwOjkwMQ=="), Some((123_000_000_000, 901)));
    for bad in ["", "bjE=", "%", "bjE6eDp5"] {
        assert_eq!(exec_id(bad), None, "{bad}");
    }
}
