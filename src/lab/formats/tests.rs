use std::collections::BTreeSet;

use super::*;
use crate::host::event::What;
use crate::host::process::ProcessId;
use crate::telemetry::decode::Context;
use crate::telemetry::kind::{Head, recognise};
use crate::telemetry::observation::Observation;
use crate::telemetry::tests::decode;

const START_NS: i64 = 1_772_360_100_114_903_000;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn line() -> LogLine {
    LogLine {
        client: address("198.51.100.7"),
        request: "GET /item?q=\"a\\b HTTP/1.1".to_owned(),
        status: 404,
        bytes: 1_187,
        agent: "curl/8.5.0".to_owned(),
        host: "shop.example".to_owned(),
        request_bytes: 421,
    }
}

fn process() -> Process {
    Process {
        id: ProcessId { pid: 901, start_ticks: 51_200 },
        started_ns: Some(START_NS),
        parent: Some(ProcessId { pid: 812, start_ticks: 1 }),
        name: "dash".to_owned(),
        exe: "/usr/bin/dash".to_owned(),
        args: ["sh", "-c", "id; echo \"x\""].map(str::to_owned).to_vec(),
        uid: Some(33),
        ..Process::default()
    }
}

/// A record of each format.
fn record(format: Format) -> String {
    let (client, server) = ((address("10.0.0.6"), 40_112), (address("203.0.113.9"), 443));
    let sums = |packets, payload_bytes| Sums {
        packets,
        payload_bytes,
        ip_bytes: payload_bytes + 40 * packets,
    };
    let conversation = Conversation {
        number: 7,
        client,
        server,
        proto: 6,
        start_ns: START_NS,
        end_ns: START_NS + 1_500_000_000,
        sent: sums(8, 617),
        received: sums(7, 2_800),
        is_over: true,
    };
    let interval = Interval {
        interface: "eni-06",
        src: client,
        dst: server,
        proto: 17,
        packets: 12,
        bytes: 3_400,
        first_s: 1_772_360_100,
        last_s: 1_772_360_158,
    };
    let line = line();
    let answered = Answered { time_ns: START_NS, client_port: 50_412, server, line: &line };
    format.head().to_owned()
        + &match format.of() {
            Of::Interfaces => format.interval(&interval),
            Of::Conversations => format.conversation(&conversation),
            Of::Requests => format.request(&answered),
            Of::Processes => format.process("web-1", &process()),
        }
}

#[test]
fn each_format_is_recognised_by_its_name_and_says_what_was_meant() {
    let all = Format::value_variants();
    let names: BTreeSet<&str> = all.iter().map(|format| format.name()).collect();
    assert_eq!(names.len(), all.len());
    for &format in all {
        let value = format.to_possible_value().expect("a name");
        assert_eq!(value.get_name(), format.name());
        let text = record(format);
        let kind = recognise(&Head::new(text.as_bytes(), true)).expect("a kind");
        assert_eq!(kind.name, format.name());
        let (out, bad) = decode(kind, &Context::default(), text.as_bytes());
        assert_eq!(bad, [], "{text}");
        let told = out.observations.iter().filter(|it| is_as_meant(format, it)).count();
        assert_eq!(told, 1, "{text}: {:?}", out.observations);
    }
}

/// False of what a log tells beside its record.
fn is_as_meant(format: Format, observation: &Observation) -> bool {
    match observation {
        Observation::Flow(flow) => {
            assert_eq!((flow.src, flow.src_port), (address("10.0.0.6"), Some(40_112)));
            assert_eq!((flow.dst, flow.dst_port), (address("203.0.113.9"), Some(443)));
            let rev = flow.rev.and_then(|rev| rev.payload_bytes);
            match format {
                Format::AwsVpc => assert_eq!(flow.fwd.ip_bytes, Some(3_400)),
                _ => assert_eq!((flow.fwd.payload_bytes, rev), (Some(617), Some(2_800))),
            }
        }
        Observation::Request(request) => {
            assert_eq!(request.client, Some(address("198.51.100.7")));
            assert_eq!(request.status, Some(404));
            let uri = request.uri.as_deref().unwrap_or_default();
            // A balancer writes the whole URL.
            let before = if format == Format::AwsAlb { "http://shop.example:80" } else { "" };
            assert_eq!(uri.strip_prefix(before), Some("/item?q=\"a\\b"));
            let target = request.target.as_ref().and_then(|target| target.address);
            assert_eq!(target.is_some(), format == Format::AwsAlb);
        }
        Observation::Host(told) => {
            let (What::ProcessStart(process) | What::ProcessExec(process)) = &told.event.what
            else {
                return false;
            };
            if process.id.pid != 901 {
                return false;
            }
            assert_eq!(process.exe, "/usr/bin/dash");
            // osquery has one text, in which quotes are read as a shell reads them.
            let words = match format {
                Format::Osquery => "sh -c id; echo x",
                _ => "sh -c id; echo \"x\"",
            };
            assert_eq!(process.args.join(" "), words, "{format:?}");
            assert_eq!(process.parent.map(|parent| parent.pid), Some(812), "{format:?}");
            assert_eq!(&*told.host, "web-1", "{format:?}");
        }
        other => panic!("{format:?}: {other:?}"),
    }
    true
}
