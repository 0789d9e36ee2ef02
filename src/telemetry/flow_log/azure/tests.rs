use super::*;
use crate::telemetry::flow_log::seen::{flows, kind_of, label};
use crate::telemetry::kind::{HEAD_BYTES, recognise};
use crate::telemetry::observation::{Action, FlowDirection, Measures, Seat, Span};
use crate::telemetry::tests::decode;

const NSG_1: &[u8] = include_bytes!("../../../../tests/fixtures/flow_log/azure-nsg-v1.json");
const NSG_2: &[u8] = include_bytes!("../../../../tests/fixtures/flow_log/azure-nsg-v2.json");
const VNET_4: &[u8] = include_bytes!("../../../../tests/fixtures/flow_log/azure-vnet.json");
const S: i64 = 1_000_000_000;

fn read(kind: &Kind, bytes: &[u8]) -> Out {
    let (out, bad) = decode(kind, &Context::default(), bytes);
    assert_eq!((bad, &out.bad_parts), (vec![], &Default::default()));
    assert!(out.unknown_fields.is_empty(), "{:?}", out.unknown_fields);
    out
}

/// A record of an NSG with these tuples, in version 2.
fn nsg(tuples: &[&str]) -> Vec<u8> {
    let tuples = format!("[\"{}\"]", tuples.join("\",\""));
    format!(
        r#"{{"category":"NetworkSecurityGroupFlowEvent","properties":{{"flows":[{{"flows":[{{"flowTuples":{tuples}}}]}}]}}}}"#
    )
    .into_bytes()
}

fn counted(packets: u64, ip_bytes: u64) -> Measures {
    Measures { packets: Some(packets), ip_bytes: Some(ip_bytes), ..Measures::default() }
}

#[test]
fn version_1_has_no_counts() {
    assert_eq!(kind_of(NSG_1), Some("azure-nsg"));
    let out = read(&NSG, NSG_1);
    let flows = flows(&out);
    assert_eq!(flows.len(), 2);
    let flow = flows[0];
    assert_eq!((flow.src_port, flow.dst_port, flow.protocol), (Some(40112), Some(53), Some(17)));
    assert_eq!((flow.fwd, flow.rev, flow.state.as_deref()), (Measures::default(), None, None));
    assert_eq!((flow.start_ns, flow.end_ns), (1_772_360_040 * S, 1_772_360_040 * S));
    assert_eq!(flow.action, Some(Action::Accepted));
    assert_eq!(flow.direction, Some(FlowDirection::Egress));
    // A firewall's has its clients' addresses.
    assert_eq!(flow.seat, Seat::Packets);
    assert_eq!(flows[1].action, Some(Action::Rejected));
    assert_eq!(flows[1].direction, Some(FlowDirection::Ingress));
    assert_eq!(label(flows[1], "rule"), Some("DefaultRule_DenyAllInBound"));
}

#[test]
fn version_2_counts_since_the_record_before() {
    assert_eq!(kind_of(NSG_2), Some("azure-nsg"));
    let out = read(&NSG, NSG_2);
    let flows = flows(&out);
    let [began, goes_on, ends, unseen, denied] = flows[..] else { panic!("{}", flows.len()) };
    assert_eq!((began.fwd, began.rev), (Measures::default(), None));
    assert_eq!((began.span, began.state.as_deref()), (Span::Packets, Some("B")));
    assert_eq!((goes_on.fwd, goes_on.rev), (counted(100, 8000), Some(counted(90, 46_800))));
    assert_eq!((goes_on.start_ns, goes_on.end_ns), (1_772_360_040 * S, 1_772_360_340 * S));
    assert_eq!((goes_on.span, goes_on.originator_known), (Span::Interval, true));
    assert_eq!((ends.start_ns, ends.end_ns), (1_772_360_340 * S, 1_772_360_400 * S));
    assert_eq!(ends.rev, Some(counted(18, 9360)));
    // Its begin is not in the log.
    assert_eq!((unseen.start_ns, unseen.end_ns), (1_772_360_101 * S, 1_772_360_401 * S));
    assert_eq!((denied.action, denied.fwd), (Some(Action::Rejected), Measures::default()));
    assert_eq!(&*began.observer, "000D3A000001");
    assert_eq!(label(began, "rule"), Some("UserRule_out"));
    assert!(label(began, "azure.resource").expect("a resource").ends_with("/WEB-NSG"));
}

#[test]
fn virtual_networks_are_read_at_either_unit_of_time() {
    assert_eq!(kind_of(VNET_4), Some("azure-vnet"));
    let out = read(&VNET, VNET_4);
    let flows = flows(&out);
    let [began, goes_on, ends, icmp, denied] = flows[..] else { panic!("{}", flows.len()) };
    assert_eq!(began.start_ns, 1_772_360_040_123_000_000);
    // Zero packets of a flow that began is nothing counted yet.
    assert_eq!((began.fwd, began.rev), (Measures::default(), None));
    assert_eq!(goes_on.start_ns, 1_772_360_040_123_000_000);
    assert_eq!((goes_on.fwd, goes_on.rev), (counted(100, 8000), Some(counted(90, 46_800))));
    assert_eq!((ends.start_ns, ends.end_ns), (1_772_360_340_123_000_000, 1_772_360_400 * S));
    assert_eq!((icmp.protocol, icmp.src_port, icmp.dst_port), (Some(1), None, None));
    assert_eq!(label(icmp, "azure.encryption"), Some("X"));
    assert_eq!((denied.action, denied.state.as_deref()), (Some(Action::Rejected), Some("D")));
    assert_eq!(label(denied, "rule"), Some("DenyAll"));
    assert_eq!(label(denied, "azure.acl"), Some("00000000-0000-0000-0000-000000000003"));
    assert_eq!(label(denied, "mac"), Some("000D3A000001"));
}

#[test]
fn names_are_read_in_any_case_and_any_order() {
    let record = br#"{"FLOWRECORDS":{"Flows":[{"flowgroups":[{"FlowTuples":["1772360100,192.0.2.1,192.0.2.2,1,2,6,I,E,NX,1,2,3,4"],"RULE":"r"}],"aclid":"a"}]},"macaddress":"m","CATEGORY":"FlowLogFlowEvent"}"#;
    let out = read(&VNET, record);
    let flow = flows(&out)[0];
    assert_eq!((label(flow, "rule"), label(flow, "azure.acl")), (Some("r"), Some("a")));
    assert_eq!((&*flow.observer, flow.rev), ("m", Some(counted(3, 4))));
}

#[test]
fn a_flow_is_told_from_one_at_another_interface() {
    let of = |mac: &str, state: &str, time: i64| {
        format!(
            r#"{{"category":"NetworkSecurityGroupFlowEvent","properties":{{"flows":[{{"flows":[{{"mac":"{mac}","flowTuples":["{time},192.0.2.1,192.0.2.2,1,2,T,O,A,{state},1,2,3,4"]}}]}}]}}}}"#
        )
    };
    let log =
        [of("a", "B", 1_772_360_000), of("b", "E", 1_772_360_010), of("a", "E", 1_772_360_020)];
    let out = read(&NSG, log.concat().as_bytes());
    let starts: Vec<_> = flows(&out).iter().map(|flow| flow.start_ns / S).collect();
    assert_eq!(starts, [1_772_360_000, 1_772_359_710, 1_772_360_000]);
}

#[test]
fn after_a_gap_an_interval_is_five_minutes() {
    let out = read(
        &NSG,
        &nsg(&[
            "1772360000,192.0.2.1,192.0.2.2,1,2,T,O,A,B,,,,",
            "1772361000,192.0.2.1,192.0.2.2,1,2,T,O,A,C,1,2,3,4",
            "1772361301,192.0.2.1,192.0.2.2,1,2,T,O,A,C,1,2,3,4",
            "1772361200,192.0.2.1,192.0.2.2,1,2,T,O,A,E,1,2,3,4",
        ]),
    );
    let starts: Vec<_> = flows(&out).iter().map(|flow| flow.start_ns / S).collect();
    assert_eq!(starts, [1_772_360_000, 1_772_360_700, 1_772_361_000, 1_772_360_900]);
}

#[test]
fn a_bad_tuple_does_not_spoil_its_record() {
    let good = "1772360000,192.0.2.1,192.0.2.2,1,2,T,O,A,B,,,,";
    let with = |from: &str, to: &str| good.replacen(from, to, 1);
    let bad = [
        with("192.0.2.2", "host"),
        with(",1,2,", ",1,65536,"),
        with(",T,", ",X,"),
        with(",O,", ",N,"),
        with(",A,", ",Z,"),
        with(",B,", ",Q,"),
        with(",B,", ",B,x"),
        with("1772360000", "9223372036854775807"),
        "1772360000,192.0.2.1".to_owned(),
    ];
    let mut tuples: Vec<_> = bad.iter().map(String::as_str).collect();
    let (out, bad) = decode(&NSG, &Context::default(), &nsg(&tuples));
    assert_eq!((out.observations.len(), bad.len()), (0, 1));
    assert_eq!(bad[0].to_string(), "not an address: 'host'");
    tuples.push(good);
    let (out, bad) = decode(&NSG, &Context::default(), &nsg(&tuples));
    assert_eq!((out.observations.len(), bad), (1, vec![]));
    let expected = [
        ("a tuple of too few values", 1),
        ("not a number", 2),
        ("not an address", 1),
        ("time out of range", 1),
        ("unknown decision", 1),
        ("unknown direction", 1),
        ("unknown protocol", 1),
        ("unknown state", 1),
    ];
    assert_eq!(out.bad_parts, expected.into_iter().collect());
}

#[test]
fn records_without_flows_are_passed_or_bad() {
    let log = br#"{"category":"NetworkSecurityGroupFlowEvent","properties":{"flows":[]}}
        {"category":"NetworkSecurityGroupEvent","properties":{"vnetResourceGuid":"{1}"}}
        {"other":1} {"properties":"#;
    let (out, bad) = decode(&NSG, &Context::default(), log);
    assert_eq!(out.passed, [("no flows", 1), ("another category", 1)].into_iter().collect());
    let reasons: Vec<_> = bad.into_iter().map(|bad| bad.reason).collect();
    assert_eq!(reasons, ["neither flows nor a category", "no record of a flow log"]);
    assert_eq!(out.unknown_fields.get("other"), Some(&1));
}

#[test]
fn records_of_many_flows_are_read_whole_and_recognised_by_their_start() {
    let tuple = "1772360000,192.0.2.1,192.0.2.2,1,2,T,O,A,B,,,,";
    let record = nsg(&vec![tuple; 60_000]);
    assert!(record.len() > 2 << 20);
    let head = Head::new(&record[..HEAD_BYTES], false);
    assert_eq!(recognise(&head).map(|kind| kind.name), Some("azure-nsg"));
    assert_eq!(read(&NSG, &record).observations.len(), 60_000);
}

#[test]
fn flows_that_are_remembered_are_bounded() {
    let mut updates = Updates::default();
    let mut out = Out::default();
    let observer = "o".into();
    for port in 0..400_000_u32 {
        let (high, low) = (port >> 16, port & 0xffff);
        let tuple = format!("1772360000,192.0.2.{high},192.0.2.2,{low},2,T,O,A,B,,,,");
        let tuple = Tuple::read(Shape::Nsg, tuple.as_bytes(), &mut out).expect("a tuple");
        updates.start_ns(&tuple, &observer);
    }
    assert!(updates.remembered() <= 1 << 18, "{}", updates.remembered());
}
