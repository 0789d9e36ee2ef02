use super::*;
use crate::telemetry::flow_log::seen::{flows, kind_of, label};
use crate::telemetry::observation::Span;
use crate::telemetry::tests::decode;

const LINES: &[u8] = include_bytes!("../../../../tests/fixtures/flow_log/gcp-vpc.ndjson");
const ARRAY: &[u8] = include_bytes!("../../../../tests/fixtures/flow_log/gcp-vpc-array.json");

fn read(bytes: &[u8]) -> Out {
    assert_eq!(kind_of(bytes), Some("gcp-vpc"));
    let (out, bad) = decode(&VPC, &Context::default(), bytes);
    assert_eq!(bad, []);
    out
}

#[test]
fn an_entry_is_read_field_by_field() {
    let out = read(LINES);
    let flow = flows(&out)[0];
    assert_eq!(
        (flow.src.to_string(), flow.dst.to_string()),
        ("10.0.0.6".into(), "203.0.113.9".into())
    );
    assert_eq!((flow.src_port, flow.dst_port, flow.protocol), (Some(40200), Some(443), Some(6)));
    assert_eq!((flow.fwd.packets, flow.fwd.payload_bytes), (Some(120), Some(9600)));
    assert_eq!((flow.fwd.ip_bytes, flow.rev, flow.action), (None, None, None));
    assert_eq!(flow.start_ns, 1_772_360_100_250_000_000);
    assert_eq!((flow.end_ns, flow.span), (1_772_360_105_000_000_000, Span::Packets));
    assert_eq!(flow.sampled_1_of, None);
    assert_eq!(label(flow, "dst_as"), Some("64500"));
    assert_eq!(label(flow, "gcp.rtt_msec"), Some("12"));
}

#[test]
fn who_reports_is_told_and_gives_the_shared_labels() {
    let out = read(LINES);
    let (at_src, at_dst) = (flows(&out)[1], flows(&out)[2]);
    assert_eq!(
        (label(at_src, "gcp.reporter"), at_src.direction),
        (Some("SRC"), Some(FlowDirection::Egress))
    );
    assert_eq!(
        (label(at_dst, "gcp.reporter"), at_dst.direction),
        (Some("DEST"), Some(FlowDirection::Ingress))
    );
    assert_eq!((&*at_src.observer, &*at_dst.observer), ("web-1", "db-1"));
    let expected = [
        ("instance", "web-1", "db-1"),
        ("account", "p1", "p2"),
        ("zone", "us-central1-a", "europe-west1-b"),
        ("region", "us-central1", "europe-west1"),
        ("vpc", "v1", "v2"),
        ("subnet", "s1", "s2"),
        ("src_instance", "web-1", "web-1"),
        ("dst_instance", "db-1", "db-1"),
    ];
    for (name, src, dst) in expected {
        assert_eq!((label(at_src, name), label(at_dst, name)), (Some(src), Some(dst)), "{name}");
    }
    // What a VM forwards has others' addresses.
    assert_eq!((at_src.seat, at_dst.seat), (Seat::Packets, Seat::Packets));
    assert_eq!(label(at_src, "gcp.dest_instance.zone"), Some("europe-west1-b"));
    assert_eq!(label(at_dst, "gcp.src_instance.zone"), Some("us-central1-a"));
}

#[test]
fn protocols_without_ports_have_none() {
    let out = read(LINES);
    let icmp = flows(&out)[3];
    assert_eq!((icmp.protocol, icmp.src_port, icmp.dst_port), (Some(1), None, None));
}

#[test]
fn gateways_and_later_fields_are_kept() {
    let out = read(LINES);
    let flow = flows(&out)[4];
    assert_eq!((label(flow, "gcp.reporter"), flow.direction), (Some("SRC_GATEWAY"), None));
    assert_eq!((&*flow.observer, label(flow, "instance")), ("s1", None));
    assert_eq!(label(flow, "account"), Some("p1"));
    assert_eq!(label(flow, "gcp.a_later_field.kind"), Some("new"));
    assert_eq!(out.unknown_fields, [("a_later_field.kind".into(), 1)].into_iter().collect());
}

#[test]
fn an_array_is_read_as_lines_are() {
    assert_eq!(read(ARRAY).observations, read(LINES).observations[..3]);
}

#[test]
fn members_may_come_in_any_order() {
    // As tools write them that sort names: the log's name after the payload.
    let line = VPC.sample;
    let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
    let sorted = serde_json::to_string(&value).expect("text");
    assert_ne!(sorted, line);
    assert_eq!(read(sorted.as_bytes()).observations, read(line.as_bytes()).observations);
}

#[test]
fn what_is_no_flow_is_passed_or_bad() {
    let with = |from: &str, to: &str| {
        assert!(VPC.sample.contains(from), "{from}");
        VPC.sample.replacen(from, to, 1)
    };
    let log = [
        with("compute.googleapis.com%2Fvpc_flows", "compute.googleapis.com%2Ffirewall"),
        r#"{"logName":"projects/p/logs/x%2Fvpc_flows","jsonPayload":{}}"#.to_owned(),
        with("10.0.0.6", "somewhere"),
        with("53", "70000"),
        with("\"9600\"", "\"-9600\""),
        with("\"9600\"", "{\"low\":9600}"),
        with("2026-03-01T10:15:00Z", "yesterday"),
        with("src_ip", "source"),
        with("start_time", "began").replacen("end_time", "ended", 1),
        r#"{"logName":"#.to_owned(),
    ];
    let (out, bad) = decode(&VPC, &Context::default(), log.join("\n").as_bytes());
    assert_eq!(out.passed, [("entry of another log", 1)].into_iter().collect());
    let reasons: Vec<_> = bad.into_iter().map(|bad| bad.reason).collect();
    let expected = [
        "no flow in the entry",
        "not an address",
        "not a number",
        "not a number",
        "not a time",
        "no address",
        "no start or end",
        "no entry",
    ];
    assert_eq!(reasons, expected);
    // Kept without its bytes: they are there in a form of a later day.
    assert_eq!(out.observations.len(), 1);
}

#[test]
fn an_interface_is_that_of_the_reporters_own_machine() {
    let address = |machine: &str| {
        let entry = format!(
            r#"{{"logName":"projects/p/logs/compute.googleapis.com%2Fvpc_flows","jsonPayload":{{"connection":{{"src_ip":"10.0.0.6","dest_ip":"203.0.113.9","protocol":17}},"reporter":"SRC","start_time":"2026-03-01T10:15:00Z","end_time":"2026-03-01T10:15:05Z","{machine}":{{"vm_name":"web-1"}}}}}}"#
        );
        let out = read(entry.as_bytes());
        flows(&out)[0].interface_address().map(|address| address.to_string())
    };
    assert_eq!(address("src_instance").as_deref(), Some("10.0.0.6"));
    assert_eq!(address("dest_instance"), None, "the other end's");
}
