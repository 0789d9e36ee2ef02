use super::*;
use crate::host::process::Process;
use crate::telemetry::observation::Observation;
use crate::telemetry::tests::decode;

const XML: &[u8] = include_bytes!("../../../../tests/fixtures/process_log/sysmon-linux.log");
const JSON: &[u8] = include_bytes!("../../../../tests/fixtures/process_log/sysmon-linux.jsonl");

fn read(bytes: &[u8]) -> (Vec<What>, Out) {
    let (mut out, bad) = decode(&SYSMON, &Context::default(), bytes);
    assert_eq!(bad, []);
    let whats = out.observations.drain(..).map(|observation| match observation {
        Observation::Host(report) => {
            assert_eq!(&*report.host, "web1");
            report.event.what
        }
        other => panic!("{other:?}"),
    });
    (whats.collect(), out)
}

fn programs(whats: &[What]) -> Vec<&Process> {
    let of = |what| match what {
        &What::ProcessStart(ref process) | &What::ProcessExec(ref process) => Some(&**process),
        _ => None,
    };
    whats.iter().filter_map(of).collect()
}

#[test]
fn programs_connections_and_ends_are_read_from_syslog() {
    let (whats, out) = read(XML);
    let programs = programs(&whats);
    let [parent, shell, curl, server, again] = &programs[..] else { panic!("{programs:?}") };
    assert_eq!((parent.exe.as_str(), parent.id.pid), ("/usr/sbin/sshd", 812));
    assert_eq!(shell.parent, Some(parent.id));
    assert_eq!(shell.args, ["bash", "-c", "curl -u ann:*** 'https://shop.example/?a=1&b=<2>'"]);
    // Another program of the same process, then another process with its number.
    assert_eq!((curl.id, again.id.pid), (shell.id, shell.id.pid));
    assert_ne!(again.id, shell.id);
    assert_eq!((curl.name.as_str(), curl.user.as_str()), ("curl", "ann"));
    assert_eq!(server.exe, "/srv/my server");
    let ends: Vec<_> = whats
        .iter()
        .filter_map(|what| match what {
            What::SocketOpen(socket) | What::SocketUse(socket) => Some((
                socket.process.unwrap().pid,
                socket.protocol,
                socket.local.unwrap().to_string(),
                socket.local_port,
                socket.remote.unwrap().to_string(),
                socket.remote_port,
            )),
            _ => None,
        })
        .collect();
    assert_eq!(
        ends,
        [
            (901, 6, "192.0.2.10".to_owned(), 40112, "203.0.113.9".to_owned(), 443),
            (1200, 6, "192.0.2.10".to_owned(), 8080, "203.0.113.77".to_owned(), 50412),
            (1200, 17, "2001:db8::7".to_owned(), 40113, "2001:db8::53".to_owned(), 53),
        ]
    );
    assert_eq!(whats.iter().filter(|what| matches!(what, What::ProcessExit(_))).count(), 1);
    assert_eq!(out.passed.get("other event"), Some(&1));
    assert_eq!(out.passed.get("other line of syslog"), Some(&1));
}

#[test]
fn json_says_the_same_in_each_form() {
    let (whats, _) = read(JSON);
    let programs = programs(&whats);
    assert_eq!(programs.len(), 2);
    let sockets: Vec<_> = whats
        .iter()
        .filter_map(|what| match what {
            What::SocketOpen(socket) => Some(socket),
            _ => None,
        })
        .collect();
    assert_eq!(sockets.len(), 3);
    for socket in &sockets {
        assert_eq!(*socket, sockets[0]);
        assert_eq!((socket.local_port, socket.remote_port), (40112, 443));
    }
    for line in JSON.split_inclusive(|&byte| byte == b'\n') {
        assert!(recognise(&Head::new(line, true)), "{}", String::from_utf8_lossy(line));
    }
}

#[test]
fn events_that_make_no_sense_are_bad() {
    let sample = SYSMON.sample.trim_end();
    for (from, to, reason) in [
        ("</EventData></Event>", "", "an event that is cut off"),
        ("<EventID>3<", "<EventID>x<", "not an event"),
        (">tcp<", ">sctp<", "unknown protocol"),
        (">true<", ">maybe<", "unknown side"),
        (">192.0.2.10<", ">here<", "not an address"),
        (">443<", ">70000<", "not a port"),
        (">901<", ">-1<", "no process number"),
    ] {
        let text = sample.replace(from, to);
        assert_ne!(text, sample);
        let (_, bad) = decode(&SYSMON, &Context::default(), text.as_bytes());
        assert_eq!(bad.first().map(|bad| bad.reason), Some(reason));
    }
}
