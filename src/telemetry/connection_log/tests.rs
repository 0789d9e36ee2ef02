use super::*;
use crate::telemetry::decode::{Bad, Context, Out};
use crate::telemetry::label;
use crate::telemetry::observation::{
    Action, FlowDirection, FlowReport, Measures, Observation, Span,
};
use crate::telemetry::tests::decode;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/connection_log/",
            $name
        ))
    };
}

fn read(kind: &Kind, bytes: &[u8]) -> (Vec<FlowReport>, Out, Vec<Bad>) {
    let (mut out, bad) = decode(kind, &Context::default(), bytes);
    let flows = std::mem::take(&mut out.observations).into_iter().map(|observation| {
        let Observation::Flow(flow) = observation else { panic!("{observation:?}") };
        *flow
    });
    (flows.collect(), out, bad)
}

fn label<'a>(flow: &'a FlowReport, name: &str) -> Option<&'a str> {
    flow.labels.iter().find(|(known, _)| &**known == name).map(|(_, value)| &**value)
}

fn s(s: f64) -> i64 {
    (s * 1e6).round() as i64 * 1000
}

#[test]
fn zeek_connections_have_both_sides() {
    let (flows, out, bad) = read(&zeek::TSV, fixture!("zeek-conn.log"));
    assert_eq!(bad, []);
    assert_eq!(flows.len(), 9);
    assert_eq!(out.passed, [("record of another log", 1)].into());
    let tls = &flows[0];
    assert_eq!(
        (tls.start_ns, tls.end_ns, tls.span),
        (s(1_772_360_102.114), s(1_772_360_103.364), Span::Packets)
    );
    assert_eq!((tls.src.to_string(), tls.src_port), ("192.0.2.10".into(), Some(40_112)));
    assert_eq!((tls.dst.to_string(), tls.dst_port), ("198.51.100.7".into(), Some(443)));
    assert_eq!((tls.protocol, tls.icmp, tls.originator_known), (Some(6), None, true));
    let side = |packets, ip_bytes, payload_bytes| Measures {
        packets: Some(packets),
        ip_bytes: Some(ip_bytes),
        payload_bytes: Some(payload_bytes),
        missed_bytes: Some(0),
        ..Measures::default()
    };
    assert_eq!(tls.fwd, side(8, 1041, 617));
    assert_eq!(tls.rev, Some(side(7, 3172, 2800)));
    assert_eq!((tls.state.as_deref(), tls.app.as_deref()), (Some("SF"), Some("ssl")));
    assert_eq!(label(tls, label::UID), Some("Cx1aB2yzKq7LmN8Pqe"));
    assert_eq!(label(tls, "zeek.history"), Some("ShADadFf"));
    assert_eq!(label(tls, "zeek.local_orig"), Some("T"));
    assert_eq!(label(tls, "zeek.tunnel_parents"), None);

    // A single packet has no duration, and what was not counted is absent, not zero.
    let dns = &flows[1];
    assert_eq!((dns.start_ns, dns.end_ns), (s(1_772_360_102.500_001), s(1_772_360_102.500_001)));
    assert_eq!((dns.fwd.payload_bytes, dns.fwd.packets), (None, Some(1)));
    assert_eq!(dns.rev.unwrap().packets, Some(0));

    let icmp: Vec<_> = flows[2..5].iter().map(|flow| (flow.protocol, flow.icmp)).collect();
    assert_eq!(
        icmp,
        [(Some(1), Some((8, 0))), (Some(58), Some((128, 0))), (Some(1), Some((3, 1)))]
    );
    assert!(flows[2..5].iter().all(|flow| flow.src_port.is_none() && flow.dst_port.is_none()));

    // Gaps are counted for both sides together: neither side's, and told as lost.
    let gaps = &flows[5];
    assert_eq!((gaps.fwd.missed_bytes, gaps.rev.unwrap().missed_bytes), (None, None));
    assert_eq!(label(gaps, "zeek.missed_bytes"), Some("4344"));
    assert_eq!(out.lost, [("missed bytes", 4344)].into());
    assert_eq!(label(gaps, "zeek.tunnel_parents"), Some("CParentAfZr6Qo8PtU,CParentBgAs7Rp9QuV"));
    assert_eq!(flows[6].protocol, None);

    // The second header has another order and fields of packages.
    let ssh = &flows[7];
    assert_eq!((ssh.src_port, ssh.dst_port, ssh.protocol), (Some(51_000), Some(22), Some(6)));
    assert_eq!(ssh.end_ns - ssh.start_ns, s(60.5));
    assert_eq!((ssh.fwd.packets, ssh.fwd.ip_bytes), (Some(50), None));
    assert_eq!(label(ssh, label::VLAN), Some("12"));
    assert_eq!(label(ssh, label::COMMUNITY_ID), Some("1:LQU9qZlK+B5F3KDmev6m5PMibrg="));
    assert_eq!(label(ssh, "zeek.site"), Some("lab\tone"));
    assert_eq!(out.unknown_fields, [("site".into(), 1)].into());
    assert_eq!(flows[8].protocol, Some(132));
}

#[test]
fn zeek_json_says_the_same_in_any_of_its_times() {
    let (tsv, ..) = read(&zeek::TSV, fixture!("zeek-conn.log"));
    let (json, out, bad) = read(&zeek::JSON, fixture!("zeek-conn.json"));
    assert_eq!(bad, []);
    assert_eq!(out.passed, [("record of another log", 1)].into());
    assert_eq!(json.len(), 4);
    assert_eq!(json[0], tsv[0]);
    assert_eq!(
        (json[1].start_ns, json[1].fwd, json[1].rev),
        (tsv[1].start_ns, tsv[1].fwd, tsv[1].rev)
    );
    assert_eq!((json[2].start_ns, json[2].end_ns), (tsv[2].start_ns, tsv[2].end_ns));
    assert_eq!(json[2].icmp, Some((8, 0)));
    assert_eq!(label(&json[3], "zeek.tunnel_parents"), label(&tsv[5], "zeek.tunnel_parents"));
    assert_eq!(label(&json[3], "zeek.site"), Some("lab\tone"));
    assert_eq!(out.lost, [("missed bytes", 4344)].into());
}

#[test]
fn zeek_numbers_out_of_range_are_told() {
    for (ts, duration) in
        [("1e300", "1"), ("1772360102.5", "1e16"), ("-1e300", "1"), ("18446744073709551615", "1")]
    {
        let record = format!(
            r#"{{"ts":{ts},"duration":{duration},"id.orig_h":"192.0.2.1","id.resp_h":"192.0.2.2","conn_state":"SF"}}"#
        );
        let (flows, _, bad) = read(&zeek::JSON, record.as_bytes());
        assert_eq!((flows.len(), bad.len()), (0, 1), "{record}");
    }
}

#[test]
fn zeek_records_without_a_header_are_read_by_the_users_fields() {
    let context = Context {
        format: Some("ts id.orig_h id.resp_h conn_state orig_pkts".into()),
        ..Context::default()
    };
    let record = b"1772360102.114000\t192.0.2.10\t198.51.100.7\tSF\t8\n";
    let (out, bad) = decode(&zeek::TSV, &context, record);
    assert_eq!((out.observations.len(), bad), (1, vec![]));
    let (_, bad) = decode(&zeek::TSV, &Context::default(), record);
    assert_eq!(bad[0].reason, "no #fields before it");
    let context = Context { format: Some("ts uid".into()), ..Context::default() };
    assert!((zeek::TSV.decoder)(&context).is_err());
}

#[test]
fn zeek_separators_are_the_headers() {
    let log = b"#separator \\x7c\n#unset_field|none\n\
        #fields|ts|id.orig_h|id.resp_h|conn_state|orig_pkts|note\n\
        1772360102.5|192.0.2.10|198.51.100.7|SF|none|a\\x7cb\n";
    let (flows, _, bad) = read(&zeek::TSV, log);
    assert_eq!(bad, []);
    assert_eq!(flows[0].fwd.packets, None);
    assert_eq!(label(&flows[0], "zeek.note"), Some("a|b"));
}

#[test]
fn zeek_values_that_make_no_sense_are_told() {
    let head = "#fields\tts\tid.orig_h\tid.resp_h\tconn_state\torig_pkts\tduration\n";
    for (record, reason) in [
        ("1772360102.5\t192.0.2.10\t198.51.100.7\tSF\t-8\t1", "not a count"),
        ("1772360102.5\t192.0.2.10\t198.51.100.7\tSF\t99999999999999999999\t1", "not a count"),
        ("1772360102.5\t192.0.2.300\t198.51.100.7\tSF\t8\t1", "not an address"),
        ("yesterday\t192.0.2.10\t198.51.100.7\tSF\t8\t1", "not a time"),
        ("1772360102.5\t192.0.2.10\t198.51.100.7\tSF\t8\t-1", "not a duration"),
        ("9223372035\t192.0.2.10\t198.51.100.7\tSF\t8\t9223372035", "time out of range"),
        ("-\t192.0.2.10\t198.51.100.7\tSF\t8\t1", "no time"),
        ("1772360102.5\t192.0.2.10\t-\tSF\t8\t1", "no address"),
        ("1772360102.5\t192.0.2.10", "fewer fields than the header"),
        ("1772360102.5\t192.0.2.10\t198.51.100.7\tSF\t8\t1\t2", "more fields than the header"),
    ] {
        let (flows, _, bad) = read(&zeek::TSV, format!("{head}{record}\n").as_bytes());
        assert_eq!((flows.len(), bad.len()), (0, 1), "{record}");
        assert_eq!(bad[0].reason, reason, "{record}");
    }
}

#[test]
fn suricata_flows_have_both_sides_and_netflow_one() {
    let (flows, out, bad) = read(&suricata::EVE, fixture!("suricata-eve.json"));
    assert_eq!(bad, []);
    assert_eq!(flows.len(), 4);
    let tls = &flows[0];
    assert_eq!((tls.start_ns, tls.end_ns), (s(1_772_360_102.114), s(1_772_360_103.364)));
    assert_eq!((tls.src_port, tls.dst_port, tls.protocol), (Some(40_112), Some(443), Some(6)));
    let side = |packets, wire_bytes, tcp_flags| Measures {
        packets: Some(packets),
        wire_bytes: Some(wire_bytes),
        tcp_flags: Some(tcp_flags),
        ..Measures::default()
    };
    assert_eq!((tls.fwd, tls.rev), (side(8, 1153, 0x1b), Some(side(7, 3270, 0x13))));
    assert_eq!((tls.state.as_deref(), tls.app.as_deref()), (Some("closed"), Some("tls")));
    assert_eq!((tls.action, tls.originator_known), (Some(Action::Rejected), true));
    assert_eq!(&*tls.observer, "sensor-1");
    for (name, value) in [
        (label::UID, "1093517241207781"),
        (label::COMMUNITY_ID, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        (label::INTERFACE, "eth0"),
        (label::VLAN, "12"),
        ("suricata.reason", "timeout"),
        ("suricata.alerted", "true"),
    ] {
        assert_eq!(label(tls, name), Some(value), "{name}");
    }
    let vlans = tls.labels.iter().filter(|(name, _)| &**name == label::VLAN).count();
    assert_eq!(vlans, 2);

    let ping = &flows[1];
    assert_eq!((ping.protocol, ping.icmp, ping.src_port), (Some(58), Some((128, 0)), None));
    assert_eq!((ping.start_ns, ping.action), (s(1_772_356_503.0), None));
    assert_eq!(ping.fwd.tcp_flags, None);

    // The same connection again, each side in its own record.
    assert_eq!((flows[2].fwd, flows[2].rev), (side(8, 1153, 0x1b), None));
    assert_eq!((flows[3].fwd, flows[3].rev), (side(7, 3270, 0x13), None));
    assert_eq!((flows[2].originator_known, flows[2].app.as_deref()), (false, None));
    assert_eq!((flows[3].src, flows[3].dst), (flows[2].dst, flows[2].src));

    assert_eq!(
        out.passed,
        [("event type alert", 1), ("event type dns", 1), ("event type stats", 3)].into()
    );
    // 25, 15 more, and after a restart 2.
    assert_eq!(out.lost, [("packets the kernel dropped before Suricata", 42)].into());
}

#[test]
fn suricata_flows_in_both_forms_count_once() {
    let log = String::from_utf8(fixture!("suricata-eve.json").to_vec()).unwrap();
    let log = log.replace("1093517241207999", "1093517241207781");
    let (flows, out, bad) = read(&suricata::EVE, log.as_bytes());
    assert_eq!((bad, flows.len()), (vec![], 2));
    assert_eq!(out.passed.get("flow that was told in the other form"), Some(&2));
    assert!(flows.iter().all(|flow| flow.rev.is_some()));
    // The other way round both sides' records count, and the flow's does not.
    let log: Vec<_> = log.lines().rev().collect();
    let (flows, ..) = read(&suricata::EVE, log.join("\n").as_bytes());
    assert_eq!(flows.iter().filter(|flow| flow.rev.is_none()).count(), 2);
    assert_eq!(flows.len(), 3);
}

#[test]
fn suricata_events_that_make_no_sense_are_told() {
    for (event, reason) in [
        (r#"{"event_type":"flow"}"#, "flow event without flow"),
        (r#"{"event_type":"netflow","flow":{}}"#, "netflow event without netflow"),
        (r#"{"event_type":"flow","flow":{},"src_ip":"x"}"#, "not an address"),
        (r#"{"event_type":"flow","flow":{"pkts_toserver":-1}}"#, "not an event"),
        (r#"{"timestamp":"2026-03-01T10:16:02.000000+0000"}"#, "no event type"),
        (r#"{"event_type":["flow"]}"#, "not an event"),
    ] {
        let (flows, _, bad) = read(&suricata::EVE, event.as_bytes());
        assert_eq!((flows.len(), bad.len()), (0, 1), "{event}");
        assert_eq!(bad[0].reason, reason, "{event}");
    }
}

/// Packets and IP bytes of all reports.
fn totals(flows: &[FlowReport]) -> (u64, u64) {
    flows.iter().flat_map(|flow| [Some(flow.fwd), flow.rev]).flatten().fold((0, 0), |sum, side| {
        (sum.0 + side.packets.unwrap_or(0), sum.1 + side.ip_bytes.unwrap_or(0))
    })
}

#[test]
fn nfdump_csv_and_json_say_the_same_of_one_file() {
    let (csv, out, bad) = read(&nfdump::CSV, fixture!("nfdump-web.csv"));
    assert_eq!((bad, out.bad_parts), (vec![], [].into()));
    // What nfdump's own summary says behind the records.
    assert_eq!((csv.len(), totals(&csv)), (18, (186, 117_283)));
    assert_eq!(out.passed, [("summary", 3)].into());
    let (json, out, bad) = read(&nfdump::JSON, fixture!("nfdump-web.json"));
    assert_eq!((bad, out.bad_parts), (vec![], [].into()));
    assert_eq!(json.len(), csv.len());
    for (csv, json) in csv.iter().zip(&json) {
        assert_eq!((csv.src, csv.dst), (json.src, json.dst));
        assert_eq!((csv.src_port, csv.dst_port), (json.src_port, json.dst_port));
        assert_eq!((csv.protocol, csv.icmp), (json.protocol, json.icmp));
        assert_eq!((csv.fwd, csv.rev), (json.fwd, json.rev));
        // Whole seconds in CSV: the packets' times lie within.
        assert_eq!((csv.span, json.span), (Span::Interval, Span::Packets));
        assert!(csv.start_ns <= json.start_ns && json.end_ns < csv.end_ns);
        assert!(csv.end_ns - csv.start_ns <= json.end_ns - json.start_ns + 2_000_000_000);
    }
    assert!(csv.iter().any(|flow| flow.icmp == Some((135, 0))));
    assert!(csv.iter().any(|flow| flow.fwd.tcp_flags == Some(0x1b)));

    let (both, _, bad) = read(&nfdump::CSV, fixture!("nfdump-web-both-ways.csv"));
    assert_eq!(bad, []);
    assert_eq!((both.len(), totals(&both)), (11, totals(&csv)));
    assert!(both.iter().any(|flow| flow.rev.is_some()));
    assert!(both.iter().any(|flow| flow.rev.is_none()));
}

#[test]
fn nfdump_says_who_exported_and_which_way_it_went() {
    let (csv, _, bad) = read(&nfdump::CSV, fixture!("nfdump-softflowd.csv"));
    assert_eq!(bad, []);
    let (json, _, bad) = read(&nfdump::JSON, fixture!("nfdump-softflowd.json"));
    assert_eq!(bad, []);
    assert_eq!((csv.len(), json.len()), (3, 3));
    assert!(csv.iter().chain(&json).all(|flow| &*flow.observer == "127.0.0.1"));
    assert_eq!(
        json.iter().map(|flow| flow.direction).collect::<Vec<_>>(),
        [FlowDirection::Ingress, FlowDirection::Egress, FlowDirection::Ingress].map(Some)
    );
    // CSV has 0 for ingress and for unknown.
    assert_eq!(
        csv.iter().map(|flow| flow.direction).collect::<Vec<_>>(),
        [None, Some(FlowDirection::Egress), None]
    );
    assert_eq!(label(&json[0], "nfdump.export_sysid"), Some("1"));
    assert_eq!(label(&json[0], label::INPUT_INTERFACE), None);
}

#[test]
fn nfdump_pings_have_type_and_code() {
    for (kind, bytes) in [
        (&nfdump::CSV, &fixture!("nfdump-ping.csv")[..]),
        (&nfdump::JSON, fixture!("nfdump-ping.json")),
    ] {
        let (flows, _, bad) = read(kind, bytes);
        assert_eq!(bad, []);
        let icmp: Vec<_> = flows.iter().map(|flow| flow.icmp.unwrap()).collect();
        assert_eq!(icmp, [(8, 0), (0, 0), (8, 0), (0, 0)], "{kind:?}");
        assert!(flows.iter().all(|flow| flow.src_port.is_none() && flow.dst_port.is_none()));
    }
}

#[test]
fn nfdump_csv_of_later_versions_is_read_by_its_header() {
    let (flows, _, bad) = read(&nfdump::CSV, fixture!("nfdump-1.7.4.csv"));
    assert_eq!(bad, []);
    assert_eq!(flows.len(), 3);
    assert_eq!(
        (flows[0].start_ns, flows[0].end_ns, flows[0].span),
        (s(1_772_360_102.114), s(1_772_360_103.364), Span::Packets)
    );
    assert_eq!(totals(&flows), (12, 1413));
    assert_eq!(flows[1].icmp, Some((8, 0)));
    assert_eq!((flows[2].protocol, flows[2].rev), (Some(50), None));
}

#[test]
fn nfdump_lines_that_make_no_sense_are_told() {
    let head = "ts,te,td,sa,da,sp,dp,pr,ipkt,ibyt\n";
    for (record, reason) in [
        (
            "2026-03-01 10:15:02,2026-03-01 10:15:03,1,192.0.2.1,192.0.2.2,1,2,TCP,-1,1",
            "not a number",
        ),
        ("2026-13-01 10:15:02,2026-03-01 10:15:03,1,192.0.2.1,192.0.2.2,1,2,TCP,1,1", "not a time"),
        (
            "2026-03-01 10:15:02,2026-03-01 10:15:03,1,192.0.2.1,192.0.2.2,99999,2,TCP,1,1",
            "not a port",
        ),
        ("2026-03-01 10:15:02,2026-03-01 10:15:03,1,192.0.2.1,,1,2,TCP,1,1", "not an address"),
        ("2026-03-01 10:15:02", "fewer fields than the header"),
    ] {
        let (flows, _, bad) = read(&nfdump::CSV, format!("{head}{record}\n").as_bytes());
        assert_eq!((flows.len(), bad.len()), (0, 1), "{record}");
        assert_eq!(bad[0].reason, reason, "{record}");
    }
}
