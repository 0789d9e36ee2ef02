use super::*;
use crate::telemetry::flow_log::seen::{flows, kind_of, label};
use crate::telemetry::observation::{Action, FlowDirection, Observation, Span};
use crate::telemetry::tests::decode;

const V2: &[u8] = include_bytes!("../../../../tests/fixtures/flow_log/aws-vpc-v2.log");
const ANY_ORDER: &[u8] =
    include_bytes!("../../../../tests/fixtures/flow_log/aws-vpc-v10-any-order.log");
const EXPORT: &[u8] =
    include_bytes!("../../../../tests/fixtures/flow_log/aws-vpc-cloudwatch-export.log");
const TAIL: &[u8] = include_bytes!("../../../../tests/fixtures/flow_log/aws-vpc-logs-tail.log");
const TGW_LOG: &[u8] = include_bytes!("../../../../tests/fixtures/flow_log/aws-tgw.log");

/// All of a log that has nothing bad.
fn read(kind: &Kind, bytes: &[u8]) -> Out {
    let (out, bad) = decode(kind, &Context::default(), bytes);
    assert_eq!(bad, []);
    out
}

fn bad_of(bytes: &[u8]) -> Vec<&'static str> {
    decode(&VPC, &Context::default(), bytes).1.into_iter().map(|bad| bad.reason).collect()
}

#[test]
fn the_default_format_is_read_field_by_field() {
    assert_eq!(kind_of(V2), Some("aws-vpc"));
    let out = read(&VPC, V2);
    let flows = flows(&out);
    assert_eq!(flows.len(), 5);
    let flow = flows[0];
    assert_eq!(flow.src.to_string(), "10.0.1.5");
    assert_eq!(flow.dst.to_string(), "203.0.113.9");
    assert_eq!((flow.src_port, flow.dst_port, flow.protocol), (Some(40112), Some(53), Some(17)));
    assert_eq!((flow.fwd.packets, flow.fwd.ip_bytes), (Some(120), Some(9600)));
    assert_eq!((flow.fwd.payload_bytes, flow.fwd.wire_bytes, flow.rev), (None, None, None));
    assert_eq!(flow.start_ns, 1_772_360_100_000_000_000);
    assert_eq!(flow.end_ns, 1_772_360_158_000_000_000);
    assert_eq!((flow.span, flow.action), (Span::Interval, Some(Action::Accepted)));
    assert_eq!((&*flow.observer, flow.direction), ("eni-0a1b2c3d", None));
    assert_eq!(label(flow, "account"), Some("111122223333"));
    assert!(!flow.originator_known);
    assert_eq!(flows[2].action, Some(Action::Rejected));
    assert_eq!(flows[4].src.to_string(), "2001:db8:1::5");
}

#[test]
fn ports_that_icmp_does_not_have_are_absent() {
    let out = read(&VPC, V2);
    let icmp = flows(&out)[3];
    assert_eq!((icmp.protocol, icmp.src_port, icmp.dst_port), (Some(1), None, None));
    let tcp_to_zero = b"2 111122223333 eni-a 192.0.2.1 192.0.2.2 9 0 6 1 40 1 2 ACCEPT OK";
    let out = read(&VPC, tcp_to_zero);
    assert_eq!(flows(&out)[0].dst_port, Some(0));
}

#[test]
fn nodata_is_passed_and_skipdata_is_lost() {
    let out = read(&VPC, V2);
    assert_eq!(out.passed.get("nodata"), Some(&1));
    assert_eq!(out.lost.get("skipdata"), Some(&1));
    let gaps = out.observations.iter().filter_map(|observation| match observation {
        Observation::Gap(gap) => {
            Some((&*gap.observer, gap.start_ns / 1_000_000_000, gap.end_ns / 1_000_000_000))
        }
        _ => None,
    });
    let gaps: Vec<_> = gaps.collect();
    assert_eq!(gaps, [("eni-0a1b2c3d", 1_772_360_160, 1_772_360_218)]);
}

#[test]
fn all_fields_are_read_in_any_order() {
    assert_eq!(kind_of(ANY_ORDER), Some("aws-vpc"));
    let out = read(&VPC, ANY_ORDER);
    assert!(out.unknown_fields.is_empty(), "{:?}", out.unknown_fields);
    let flows = flows(&out);
    assert_eq!(flows.len(), 4);
    let flow = flows[0];
    assert_eq!(flow.direction, Some(FlowDirection::Egress));
    assert_eq!(flow.fwd.tcp_flags, Some(19));
    let expected = [
        ("vpc", "vpc-0a"),
        ("subnet", "subnet-0b"),
        ("instance", "i-0c"),
        ("region", "us-east-1"),
        ("zone", "use1-az1"),
        ("dst_service", "S3"),
        ("aws.traffic-path", "8"),
        ("aws.encryption-status", "0"),
    ];
    for (name, value) in expected {
        assert_eq!(label(flow, name), Some(value), "{name}");
    }
    for absent in ["src_service", "interface_src", "interface_dst", "aws.resource-id", "task"] {
        assert_eq!(label(flow, absent), None, "{absent}");
    }
    let behind_nat = flows[1];
    assert_eq!(behind_nat.src.to_string(), "10.0.7.7");
    assert_eq!(label(behind_nat, "interface_src"), Some("10.0.1.200"));
    assert_eq!(label(behind_nat, "interface_dst"), None);
    assert_eq!(&*behind_nat.observer, "nat-0a1b");
    let blocked = flows[2];
    assert_eq!((blocked.action, blocked.fwd.ip_bytes), (Some(Action::Rejected), None));
    assert_eq!(label(blocked, "reject_reason"), Some("BPA"));
    let task = flows[3];
    assert_eq!((label(task, "cluster"), label(task, "task")), (Some("web"), Some("t1")));
    assert_eq!(
        (label(task, "service"), label(task, "container")),
        (Some("front"), Some("0123abcd"))
    );
    assert_eq!((task.protocol, task.fwd.tcp_flags), (Some(17), None));
}

#[test]
fn fields_may_have_underscores_and_the_header_may_come_again() {
    let log = b"pkt_srcaddr pkt_dstaddr start bytes\n192.0.2.1 192.0.2.2 7 8\n\
        bytes srcaddr dstaddr end\n9 192.0.2.3 192.0.2.4 5\n";
    assert_eq!(kind_of(log), Some("aws-vpc"));
    let out = read(&VPC, log);
    let flows = flows(&out);
    assert_eq!((flows[0].src.to_string(), flows[0].fwd.ip_bytes), ("192.0.2.1".into(), Some(8)));
    assert_eq!((flows[0].start_ns, flows[0].end_ns), (7_000_000_000, 7_000_000_000));
    assert_eq!((flows[1].dst.to_string(), flows[1].start_ns), ("192.0.2.4".into(), 5_000_000_000));
}

#[test]
fn the_users_format_is_taken_as_awss_console_writes_it() {
    let format = Some("${srcaddr} ${dstaddr} ${bytes} ${start} ${end}".to_owned());
    let context = Context { format, ..Context::default() };
    let (out, bad) = decode(&VPC, &context, b"192.0.2.1 192.0.2.2 77 1 2\n");
    assert_eq!(bad, []);
    assert_eq!(flows(&out)[0].fwd.ip_bytes, Some(77));
    let format = Some("bytes,start".to_owned());
    let error = (VPC.decoder)(&Context { format, ..Context::default() }).err();
    assert_eq!(error.as_deref(), Some("the fields 'bytes,start' have no srcaddr"));
}

#[test]
fn what_cloudwatch_puts_in_front_is_passed_over() {
    for log in [EXPORT, TAIL] {
        assert_eq!(kind_of(log), Some("aws-vpc"));
        let out = read(&VPC, log);
        let plain = read(&VPC, V2);
        assert_eq!(flows(&out)[..2], flows(&plain)[..2]);
    }
}

#[test]
fn fields_that_are_not_known_are_kept_and_counted() {
    let out = read(
        &VPC,
        b"srcaddr dstaddr start new-field\n192.0.2.1 192.0.2.2 1 x\n192.0.2.1 192.0.2.2 1 -\n",
    );
    assert_eq!(label(flows(&out)[0], "aws.new-field"), Some("x"));
    assert_eq!(out.unknown_fields.get("new-field"), Some(&1));
}

#[test]
fn bad_records_say_why_and_the_next_are_read() {
    let record = "2 111122223333 eni-a 192.0.2.1 192.0.2.2 9 53 17 1 40 1 2 ACCEPT OK";
    let with = |from: &str, to: &str| record.replacen(from, to, 1);
    let log = [
        with(" OK", ""),
        with(" OK", " OK more"),
        with("192.0.2.1", "192.0.2.256"),
        with("192.0.2.1", "-"),
        with(" 53 ", " 65536 "),
        with(" 17 ", " -17 "),
        with(" 1 2 ", " - - "),
        with(" 1 2 ", " 9223372036854775807 9223372036854775807 "),
        with("ACCEPT", "MAYBE"),
        with("OK", "WELL"),
        record.to_owned(),
    ];
    let (out, bad) = decode(&VPC, &Context::default(), log.join("\n").as_bytes());
    let reasons: Vec<_> = bad.into_iter().map(|bad| bad.reason).collect();
    let expected = [
        "fewer fields than the format",
        "more fields than the format",
        "not an address",
        "no address",
        "not a number",
        "not a number",
        "no start or end",
        "time out of range",
        "unknown action",
        "unknown log status",
    ];
    assert_eq!(reasons, expected);
    assert_eq!(out.observations.len(), 1);
}

#[test]
fn a_header_has_a_bound() {
    let header = format!("srcaddr dstaddr {}", "a ".repeat(100_000));
    assert_eq!(bad_of(header.as_bytes()), ["a header of too many fields"]);
}

#[test]
fn transit_gateways_are_read_with_and_without_a_header() {
    assert_eq!(kind_of(TGW_LOG), Some("aws-tgw"));
    let without = TGW_LOG.splitn(2, |&byte| byte == b'\n').nth(1).expect("a second line");
    assert_eq!(kind_of(without), Some("aws-tgw"));
    let out = read(&TGW, TGW_LOG);
    assert_eq!(out.observations, read(&TGW, without).observations);
    assert_eq!(out.passed.get("nodata"), Some(&1));
    assert!(out.unknown_fields.is_empty(), "{:?}", out.unknown_fields);
    let flow = flows(&out)[0];
    assert_eq!((&*flow.observer, flow.action), ("tgw-attach-0a1b", None));
    assert_eq!(flow.direction, Some(FlowDirection::Ingress));
    assert_eq!(flow.fwd.tcp_flags, Some(27));
    assert_eq!(label(flow, "aws.packets-lost-blackhole"), Some("3"));
    assert_eq!(label(flow, "aws.packets-lost-no-route"), None);
    assert_eq!(label(flow, "aws.tgw-dst-vpc-account-id"), Some("444455556666"));
}

#[test]
fn other_lines_are_not_recognised() {
    let lines = [
        "2 111122223333 eni-a 192.0.2.1",
        "the source srcaddr and dstaddr, in words",
        "2026-03-01T10:15:00Z something else",
        "6 TransitGateway 111122223333 tgw-0a",
        "3 111122223333 eni-a 1 2 3 4 5 6 7 8 9 ACCEPT OK",
    ];
    for line in lines {
        assert_eq!(kind_of(line.as_bytes()), None, "{line}");
    }
}

#[test]
fn a_skipped_record_with_a_bad_time_is_bad_and_not_lost_too() {
    let skipped = b"2 111122223333 eni-a - - - - - - - 10000000000000 1 - SKIPDATA";
    let (out, bad) = decode(&VPC, &Context::default(), skipped);
    assert_eq!((bad.len(), out.lost.get("skipdata")), (1, None));
}

#[test]
fn whose_interface_counted_is_known_where_its_addresses_are() {
    let address = |header: &str, record: &str| {
        let out = read(&VPC, format!("{header}\n{record}\n").as_bytes());
        flows(&out)[0].interface_address().map(|address| address.to_string())
    };
    let packets = "pkt-srcaddr pkt-dstaddr flow-direction start end";
    // Which of both a NAT gateway stands between.
    assert_eq!(address(packets, "203.0.113.9 10.0.1.5 egress 1 2"), None);
    let both = format!("srcaddr dstaddr {packets}");
    let through = "10.0.0.220 10.0.1.5 203.0.113.9 10.0.1.5 egress 1 2";
    assert_eq!(address(&both, through), None);
    let own = "10.0.1.5 203.0.113.9 10.0.1.5 203.0.113.9 egress 1 2";
    assert_eq!(address(&both, own).as_deref(), Some("10.0.1.5"));
}
