use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::telemetry::Observation;
use crate::telemetry::export::fixture::datagrams;
use crate::telemetry::observation::{Action, FlowDirection, FlowReport, Span};

mod samplers;

const S: i64 = 1_000_000_000;
const EXPORTED_S: u32 = 1_772_360_102;
const EXPORTED_NS: i64 = EXPORTED_S as i64 * S;

fn exporter() -> SocketAddr {
    "192.0.2.1:40000".parse().unwrap()
}

/// What comes of datagrams that must all be whole.
fn read<'a>(all: impl IntoIterator<Item = &'a Vec<u8>>) -> Out {
    let (mut netflow, mut out) = (Netflow::new(), Out::default());
    for datagram in all {
        netflow.datagram(exporter(), 0, datagram, &mut out).unwrap();
    }
    netflow.end(&mut out);
    out
}

fn flows(out: &Out) -> Vec<&FlowReport> {
    out.observations
        .iter()
        .map(|it| match it {
            Observation::Flow(flow) => &**flow,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn label<'a>(flow: &'a FlowReport, name: &str) -> Option<&'a str> {
    flow.labels.iter().find(|(known, _)| &**known == name).map(|(_, value)| &**value)
}

fn u16s(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

fn u32s(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

fn set(id: u16, content: &[u8]) -> Vec<u8> {
    [&u16s(&[id, content.len() as u16 + 4])[..], content].concat()
}

fn ipfix(sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let sets = sets.concat();
    let length = sets.len() as u16 + 16;
    [u16s(&[10, length]), u32s(&[EXPORTED_S, sequence, 7]), sets].concat()
}

fn v9(uptime_ms: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    [u16s(&[9, 1]), u32s(&[uptime_ms, EXPORTED_S, sequence, 0]), sets.concat()].concat()
}

/// A template of IANA's elements.
fn template(set_id: u16, id: u16, fields: &[(u16, u16)]) -> Vec<u8> {
    let fields: Vec<_> = fields.iter().flat_map(|&(id, length)| [id, length]).collect();
    set(set_id, &[u16s(&[id, fields.len() as u16 / 2]), u16s(&fields)].concat())
}

/// Source, destination, protocol, packets.
const SHORT: &[(u16, u16)] = &[(8, 4), (12, 4), (4, 1), (2, 2)];

fn short(host: u8) -> Vec<u8> {
    vec![198, 51, 100, host, 203, 0, 113, 9, 17, 0, 5]
}

#[test]
fn exports_of_one_capture_have_the_packets_and_bytes_that_softflowd_says_it_counted() {
    // From its own statistics of web.pcap: TCP 182 packets, 117035 bytes; ICMPv6 4, 248.
    let all = [
        ("v5", &include_bytes!("../../../../tests/fixtures/export/softflowd-v5.pcap")[..], false),
        ("v9", include_bytes!("../../../../tests/fixtures/export/softflowd-v9.pcap"), true),
        ("IPFIX", include_bytes!("../../../../tests/fixtures/export/softflowd-v10.pcap"), true),
        ("ns", include_bytes!("../../../../tests/fixtures/export/softflowd-v10-nano.pcap"), true),
        ("bi", include_bytes!("../../../../tests/fixtures/export/softflowd-v10-biflow.pcap"), true),
        ("pmacct", include_bytes!("../../../../tests/fixtures/export/pmacct-v9.pcap"), true),
        ("pmacct", include_bytes!("../../../../tests/fixtures/export/pmacct-v10.pcap"), true),
    ];
    for (name, capture, with_ipv6) in all {
        let out = read(&datagrams(capture));
        let flows = flows(&out);
        let sum = |protocol: u8| {
            let of = flows.iter().filter(|flow| flow.protocol == Some(protocol));
            let measures = of.flat_map(|flow| [Some(flow.fwd), flow.rev]).flatten();
            measures.fold((0, 0), |(packets, bytes), it| {
                (packets + it.packets.unwrap(), bytes + it.ip_bytes.unwrap())
            })
        };
        if with_ipv6 {
            assert_eq!((sum(6), sum(58)), ((182, 117_035), (4, 248)), "{name}");
        } else {
            assert_eq!(sum(6), (112, 69_594), "{name}");
        }
        assert!(out.lost.is_empty() && out.bad_parts.is_empty(), "{name}: {out:?}");
        assert!(out.unknown_fields.is_empty(), "{name}: {:?}", out.unknown_fields);
        // All lies within a few seconds on 2026-11-21, whatever the encoding of times.
        let first = flows.iter().map(|flow| flow.start_ns).min().unwrap();
        let last = flows.iter().map(|flow| flow.end_ns).max().unwrap();
        assert!(first / S >= 1_795_267_092 && last / S <= 1_795_267_098, "{name} {first} {last}");
        assert!(flows.iter().all(|flow| &*flow.observer == "192.0.2.1"), "{name}");
    }
}

#[test]
fn fields_of_v5_are_read() {
    let header = [u16s(&[5, 2]), u32s(&[100_000, EXPORTED_S, 500_000_000, 40])].concat();
    let engine_and_sampling = u16s(&[0x0102, 0x4000 | 100]);
    let tcp = [
        u32s(&[0xc633_6401, 0xcb00_7109, 0xc000_02fe]),
        u16s(&[3, 4]),
        u32s(&[12, 3400, 90_000, 99_000]),
        u16s(&[40_112, 443]),
        vec![0, 0x1b, 6, 0xb8],
        u16s(&[64_496, 64_497, 0x1818, 0]),
    ]
    .concat();
    let ping = [
        u32s(&[0xc633_6401, 0xcb00_7109, 0]),
        u16s(&[0, 0]),
        u32s(&[1, 84, 100_000, 100_000]),
        u16s(&[0, 0x0800]),
        vec![0, 0, 1, 0],
        u16s(&[0, 0, 0, 0]),
    ]
    .concat();
    let out = read(&[[header, engine_and_sampling, tcp, ping].concat()]);
    let flows = flows(&out);
    let [tcp, ping] = flows[..] else { panic!("{flows:?}") };
    let mut expected = FlowReport::between(
        "198.51.100.1".parse().unwrap(),
        "203.0.113.9".parse().unwrap(),
        EXPORTED_NS + S / 2 - 10 * S,
        EXPORTED_NS + S / 2 - S,
    );
    (expected.src_port, expected.dst_port, expected.protocol) = (Some(40_112), Some(443), Some(6));
    (expected.fwd.packets, expected.fwd.ip_bytes) = (Some(12), Some(3400));
    expected.fwd.tcp_flags = Some(0x1b);
    (expected.observer, expected.sampled_1_of) = ("192.0.2.1".into(), Some(100));
    expected.labels = [
        ("input_interface", "3"),
        ("output_interface", "4"),
        ("next_hop", "192.0.2.254"),
        ("src_as", "64496"),
        ("dst_as", "64497"),
        ("tos", "tos 184"),
        ("netflow.domain", "258"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .into();
    assert_eq!(*tcp, expected);
    assert_eq!((ping.icmp, ping.src_port, ping.dst_port), (Some((8, 0)), None, None));
    assert_eq!(ping.fwd.tcp_flags, None);
}

#[test]
fn v7_records_are_longer() {
    let header = [u16s(&[7, 2]), u32s(&[1000, EXPORTED_S, 0, 0, 0])].concat();
    let mut record = u32s(&[0xc633_6401, 0xcb00_7109, 0, 0, 1, 40, 0, 0]);
    record.extend([u16s(&[1, 2]), vec![0, 2, 6, 0], u32s(&[0, 0, 0xc000_02fe])].concat());
    assert_eq!(record.len(), 52);
    let out = read(&[[header, record.clone(), record].concat()]);
    let sources: Vec<_> = flows(&out).iter().map(|flow| flow.src.to_string()).collect();
    assert_eq!(sources, ["198.51.100.1", "198.51.100.1"]);
}

#[test]
fn data_waits_for_its_template() {
    let data = ipfix(0, &[set(300, &[short(1), short(2)].concat())]);
    let other = ipfix(2, &[set(301, &short(3))]);
    let late = ipfix(3, &[template(2, 300, SHORT)]);
    let out = read(&[data.clone(), other, late]);
    assert_eq!(flows(&out).len(), 2);
    assert_eq!(out.bad_parts["data set whose template never came"], 1);
    assert_eq!(read(&[data]).bad_parts["data set whose template never came"], 1);
}

#[test]
fn what_waits_is_bounded() {
    let (mut netflow, mut out) = (Netflow::new(), Out::default());
    for sequence in 0..100 {
        let datagram = ipfix(sequence, &[set(300, &vec![1; 60_000])]);
        netflow.datagram(exporter(), 0, &datagram, &mut out).unwrap();
    }
    let dropped = out.bad_parts["data set whose template never came"];
    assert!((80..90).contains(&dropped), "{dropped}");
    netflow.end(&mut out);
    assert_eq!(out.bad_parts["data set whose template never came"], 100);
}

#[test]
fn exporters_and_domains_have_templates_of_their_own() {
    let (mut netflow, mut out) = (Netflow::new(), Out::default());
    let give = ipfix(0, &[template(2, 300, SHORT)]);
    let take = ipfix(0, &[set(300, &short(1))]);
    netflow.datagram(exporter(), 0, &give, &mut out).unwrap();
    netflow.datagram("192.0.2.2:40000".parse().unwrap(), 0, &take, &mut out).unwrap();
    let mut other_domain = take.clone();
    other_domain[15] = 8;
    netflow.datagram(exporter(), 0, &other_domain, &mut out).unwrap();
    assert_eq!(out.observations.len(), 0);
    netflow.datagram(exporter(), 0, &take, &mut out).unwrap();
    assert_eq!(flows(&out).len(), 1);
    assert_eq!(label(flows(&out)[0], "netflow.domain"), Some("7"));
}

#[test]
fn a_template_is_replaced_and_withdrawn() {
    let given = ipfix(0, &[template(2, 300, SHORT)]);
    let longer = ipfix(0, &[template(2, 300, &[(8, 4), (12, 4), (2, 4)])]);
    let wide = set(300, &[&short(1)[..8], &[0, 1, 0, 0]].concat());
    let out = read(&[given.clone(), longer, ipfix(0, &[wide])]);
    assert_eq!(flows(&out)[0].fwd.packets, Some(65_536));
    for withdrawal in [template(2, 300, &[]), template(2, 2, &[])] {
        let out = read(&[given.clone(), ipfix(0, &[withdrawal, set(300, &short(1))])]);
        assert_eq!(flows(&out).len(), 0);
    }
}

#[test]
fn applications_are_named_by_options() {
    let options = set(3, &u16s(&[400, 2, 1, 95, 4, 96, 8]));
    let name = set(400, b"\x0d\x00\x00\x2atelnet\0\0");
    let flow = template(2, 300, &[(8, 4), (12, 4), (95, 4)]);
    let data = set(300, &[&short(1)[..8], &[13, 0, 0, 42]].concat());
    let out = read(&[ipfix(0, &[options, name, flow, data])]);
    assert_eq!(label(flows(&out)[0], "netflow.applicationId"), Some("13:42"));
    assert_eq!(label(flows(&out)[0], "netflow.applicationName"), Some("telnet"));
}

#[test]
fn elements_of_enterprises_and_of_own_length_are_read() {
    let reverse = 29305_u32.to_be_bytes();
    let fields = [
        &u16s(&[300, 8, 8, 4, 12, 4, 1, 8, 0x8001, 4])[..],
        &reverse,
        &u16s(&[239, 1, 0x8000 | 77, 0xffff]),
        &32473_u32.to_be_bytes(),
        &u16s(&[500, 0xffff, 152, 8]),
    ]
    .concat();
    let record = |direction: u8| {
        let mut record = short(1)[..8].to_vec();
        record.extend(3400_u64.to_be_bytes());
        record.extend([0, 0, 0, 40, direction]);
        record.extend([&[255, 0, 4][..], b"edge", &[2, 1, 0]].concat());
        record.extend((EXPORTED_NS as u64 / 1_000_000 - 1500).to_be_bytes());
        record
    };
    let data = set(300, &[record(1), record(2)].concat());
    let out = read(&[ipfix(0, &[set(2, &fields), data])]);
    let flows = flows(&out);
    let [first, second] = flows[..] else { panic!("{out:?}") };
    assert_eq!(label(first, "netflow.32473.77"), Some("edge"));
    assert_eq!(label(first, "netflow.500"), Some("256"));
    assert_eq!(out.unknown_fields["netflow.32473.77"], 2);
    assert_eq!(first.start_ns, EXPORTED_NS - 3 * S / 2);
    assert_eq!(first.fwd.ip_bytes, Some(3400));
    assert_eq!(first.rev.unwrap().ip_bytes, Some(40));
    assert!(first.originator_known && second.originator_known);
    // The other way round: who began is the record's destination.
    assert_eq!((second.src, second.dst), (first.dst, first.src));
    assert_eq!(second.fwd.ip_bytes, Some(40));
    assert_eq!(second.rev.unwrap().ip_bytes, Some(3400));
}

#[test]
fn events_of_a_firewall_are_flows_of_two_directions() {
    let fields = [
        (8, 4),
        (12, 4),
        (7, 2),
        (11, 2),
        (4, 1),
        (225, 4),
        (227, 2),
        (231, 4),
        (232, 4),
        (233, 1),
        (323, 8),
    ];
    let record = |event: u8| {
        let mut record = short(1)[..8].to_vec();
        record.extend([u16s(&[40_112, 443]), vec![6, 192, 0, 2, 77]].concat());
        record.extend([u16s(&[1025]), u32s(&[100, 2000]), vec![event]].concat());
        record.extend((EXPORTED_NS as u64 / 1_000_000).to_be_bytes());
        record
    };
    let data = set(300, &[record(2), record(3)].concat());
    let out = read(&[v9(1000, 0, &[template(0, 300, &fields), data])]);
    let flows = flows(&out);
    assert_eq!(flows[0].fwd.ip_bytes, Some(100));
    assert_eq!(flows[0].rev.unwrap().ip_bytes, Some(2000));
    assert!(flows[0].originator_known);
    assert_eq!(label(flows[0], "nat_src"), Some("192.0.2.77:1025"));
    assert_eq!(
        (flows[0].action, flows[1].action),
        (Some(Action::Accepted), Some(Action::Rejected))
    );
    assert_eq!((flows[0].start_ns, flows[0].end_ns), (EXPORTED_NS, EXPORTED_NS));
    assert_eq!(flows[1].state.as_deref(), Some("flow denied"));
}

/// Start and end of a record with these two elements.
fn span(fields: [(u16, u16); 2], values: [u64; 2]) -> (i64, i64, Span) {
    let fields = [(8, 4), (12, 4), fields[0], fields[1]];
    let mut record = short(1)[..8].to_vec();
    for (&(_, length), value) in fields[2..].iter().zip(values) {
        record.extend(&value.to_be_bytes()[8 - usize::from(length)..]);
    }
    let out = read(&[ipfix(0, &[template(2, 300, &fields), set(300, &record)])]);
    let flow = flows(&out)[0].clone();
    (flow.start_ns, flow.end_ns, flow.span)
}

#[test]
fn times_are_read_in_every_encoding() {
    let (s, ms) = (u64::from(EXPORTED_S), u64::from(EXPORTED_S) * 1000);
    let ntp = |s: u64, fraction: u64| (s + 2_208_988_800) << 32 | fraction;
    let at =
        |start_ns: i64, end_ns: i64| (EXPORTED_NS + start_ns, EXPORTED_NS + end_ns, Span::Packets);
    assert_eq!(span([(150, 4), (151, 4)], [s - 9, s - 1]), at(-9 * S, -S));
    assert_eq!(span([(152, 8), (153, 8)], [ms - 900, ms - 1]), at(-900_000_000, -1_000_000));
    let half = 1 << 31;
    assert_eq!(span([(154, 8), (155, 8)], [ntp(s - 1, half), ntp(s, 0)]), at(-S / 2, 0));
    assert_eq!(span([(156, 8), (157, 8)], [ntp(s - 1, half), ntp(s, 0)]), at(-S / 2, 0));
    assert_eq!(span([(158, 4), (159, 4)], [2000, 0]), at(-2_000_000, 0));
    assert_eq!(span([(152, 8), (161, 4)], [ms - 900, 400]), at(-900_000_000, -500_000_000));
    assert_eq!(span([(153, 8), (162, 4)], [ms, 5]), at(-5_000, 0));
    // None at all: the moment of the export, and no packet is claimed to be there.
    assert_eq!(span([(1, 4), (2, 4)], [1, 1]), (EXPORTED_NS, EXPORTED_NS, Span::Interval));
}

#[test]
fn times_since_the_system_started_may_run_over() {
    let record = |first: u32, last: u32| [&short(1)[..8], &u32s(&[first, last])].concat();
    let data = set(300, &record(u32::MAX - 999, 500));
    let fields = template(0, 300, &[(8, 4), (12, 4), (22, 4), (21, 4)]);
    let out = read(&[v9(1000, 0, &[fields, data])]);
    let flow = flows(&out)[0];
    assert_eq!((flow.start_ns, flow.end_ns), (EXPORTED_NS - 2 * S, EXPORTED_NS - S / 2));
}

/// As [`v9`], exported so many seconds later.
fn v9_later(after_s: u32, uptime_ms: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let mut datagram = v9(uptime_ms, sequence, sets);
    datagram[8..12].copy_from_slice(&(EXPORTED_S + after_s).to_be_bytes());
    datagram
}

#[test]
fn an_exporter_that_began_anew_is_not_read_by_its_old_templates_and_samplers() {
    let options = set(1, &u16s(&[400, 4, 4, 1, 4, 34, 4]));
    let sampled = set(400, &[vec![192, 0, 2, 1], u32s(&[1000])].concat());
    let swapped = [(12, 4), (8, 4), (4, 1), (2, 2)];
    let data = set(300, &short(1));
    // Short of half of the range of uptimes, and beyond it.
    for before_ms in [10_000_000, 3_000_000_000] {
        let first = [template(0, 300, SHORT), options.clone(), sampled.clone(), data.clone()];
        let out = read(&[
            v9(before_ms, 70, &first),
            v9_later(60, 50_000, 0, std::slice::from_ref(&data)),
            v9_later(61, 51_000, 1, &[template(0, 300, &swapped)]),
        ]);
        let told: Vec<_> =
            flows(&out).iter().map(|flow| (flow.src.to_string(), flow.sampled_1_of)).collect();
        let expected = [("198.51.100.1".to_owned(), Some(1000)), ("203.0.113.9".to_owned(), None)];
        assert_eq!(told, expected, "{before_ms}");
        assert!(out.lost.is_empty() && out.bad_parts.is_empty(), "{out:?}");
    }
    // What waited for a template of before is not read by one of after.
    let waits = v9(10_000_000, 70, std::slice::from_ref(&data));
    let out = read(&[waits, v9_later(60, 50_000, 0, &[template(0, 300, SHORT)])]);
    assert_eq!(flows(&out).len(), 0);
    assert_eq!(out.bad_parts["data set whose template never came"], 1);
}

#[test]
fn an_uptime_that_runs_over_or_was_overtaken_keeps_templates() {
    let data = set(300, &short(1));
    let then = |after_s: u32, uptime_ms: u32, sequence: u32| {
        v9_later(after_s, uptime_ms, sequence, std::slice::from_ref(&data))
    };
    let first = |uptime_ms| v9(uptime_ms, 70, &[template(0, 300, SHORT)]);
    let near = u32::MAX - 999;
    // Over the end, back by a datagram from before it, and on.
    let out = read(&[first(near), then(2, 1000, 71), then(1, near + 500, 72), then(3, 2000, 73)]);
    assert_eq!(flows(&out).len(), 3);
    // Over the end after an hour of silence.
    assert_eq!(flows(&read(&[first(near), then(3601, 3_600_000, 71)])).len(), 1);
    let overtaken = [first(10_000_000), then(0, 9_970_000, 71), then(1, 10_001_000, 72)];
    assert_eq!(flows(&read(&overtaken)).len(), 2);
}

#[test]
fn gaps_are_counted_as_the_source_counts() {
    let flow = template(2, 300, SHORT);
    let data = |n: usize| set(300, &short(1).repeat(n));
    let message = |sequence, n| ipfix(sequence, &[flow.clone(), data(n)]);
    let out = read(&[message(100, 3), message(103, 2), message(115, 1)]);
    assert_eq!(out.lost["netflow records"], 10);
    // Numbers that include the message's own records, as softflowd has them.
    let out = read(&[message(3, 3), message(8, 5), message(10, 2), message(14, 4), message(21, 4)]);
    assert_eq!(out.lost["netflow records"], 3);
    let out = read(&[v9(10, 1, &[]), v9(20, 2, &[]), v9(30, 5, &[])]);
    assert_eq!(out.lost["netflow v9 datagrams"], 2);
    let restarted = read(&[v9(9_000_000, 70_000, &[]), v9(20, 0, &[]), v9(30, 1, &[])]);
    assert!(restarted.lost.is_empty(), "{:?}", restarted.lost);
}

#[test]
fn what_is_cut_off_is_counted() {
    let fields = set(2, &u16s(&[300, 3, 8, 4, 12, 4, 82, 0xffff]));
    let record = |name: &[u8]| [&short(1)[..8], &[4], name].concat();
    let data = set(300, &[record(b"eth0"), record(b"et")].concat());
    let cut = set(2, &u16s(&[301, 3, 8, 4]));
    let out = read(&[ipfix(0, &[fields, data, cut])]);
    assert_eq!(flows(&out).len(), 1);
    assert_eq!(out.bad_parts["record cut off"], 1);
    assert_eq!(out.bad_parts["template cut off"], 1);
}

#[test]
fn both_families_in_one_template() {
    let fields = [(8, 4), (12, 4), (27, 16), (28, 16), (61, 1)];
    let v6 = |host: u8| [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[host]].concat();
    let four = [&short(1)[..8], &[0; 32], &[1]].concat();
    let six = [&[0; 8][..], &v6(1), &v6(2), &[0]].concat();
    let data = set(300, &[four, six].concat());
    let out = read(&[ipfix(0, &[template(2, 300, &fields), data])]);
    let flows = flows(&out);
    assert_eq!(flows[0].src.to_string(), "198.51.100.1");
    assert_eq!(flows[0].direction, Some(FlowDirection::Egress));
    assert_eq!(flows[1].dst.to_string(), "2001:db8::2");
}

#[test]
fn templates_of_hostile_exporters_are_bounded() {
    let (mut netflow, mut out) = (Netflow::new(), Out::default());
    let no_length = ipfix(0, &[template(2, 300, &[(8, 0); 5]), set(300, &[0; 60_000])]);
    netflow.datagram(exporter(), 0, &no_length, &mut out).unwrap();
    assert_eq!(out.bad_parts["template of records of no length"], 1);
    // Work is by the bytes of a record, not by the fields of its template.
    let mut idle = vec![(999, 0); 500];
    idle.extend([(8, 4), (12, 4)]);
    let idle = ipfix(0, &[template(2, 310, &idle), set(310, &short(1)[..8].repeat(7000))]);
    let before = out.unknown_fields.len();
    netflow.datagram(exporter(), 0, &idle, &mut out).unwrap();
    assert_eq!((out.observations.len(), out.unknown_fields.len()), (7000, before));
    for id in 256..3000 {
        let many = ipfix(0, &[template(2, id, &[(999, 1); 50])]);
        netflow.datagram(exporter(), 0, &many, &mut out).unwrap();
    }
    assert!(out.bad_parts["template over the bound on templates"] > 2000);
    for host in 0..20_000_u32 {
        let from = SocketAddr::new(std::net::Ipv4Addr::from(host).into(), 1);
        let datagram = ipfix(0, &[template(2, 300, &[(8, 4); 400])]);
        netflow.datagram(from, 0, &datagram, &mut out).unwrap();
    }
    let (count, weight) = netflow.domains.held();
    assert!(count <= 4096 && weight <= (1 << 18) + 1000, "{count} {weight}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_decoded_without_a_panic(version in prop::sample::select(vec![5_u8, 7, 9, 10]), bytes: Vec<u8>) {
        let (mut netflow, mut out) = (Netflow::new(), Out::default());
        let datagram = [&[0, version][..], &bytes].concat();
        let _ = netflow.datagram(exporter(), 0, &datagram, &mut out);
        netflow.end(&mut out);
    }

    #[test]
    fn damaged_exports_are_decoded_without_a_panic(
        which in 0_usize..3, changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..12), cut: usize,
    ) {
        let captures: [&[u8]; 3] = [
            include_bytes!("../../../../tests/fixtures/export/softflowd-v9.pcap"),
            include_bytes!("../../../../tests/fixtures/export/softflowd-v10-biflow.pcap"),
            include_bytes!("../../../../tests/fixtures/export/softflowd-v5.pcap"),
        ];
        let (mut netflow, mut out) = (Netflow::new(), Out::default());
        for mut datagram in datagrams(captures[which]) {
            for (at, byte) in &changes {
                let at = at % datagram.len();
                datagram[at] = *byte;
            }
            datagram.truncate(datagram.len() - cut % 20);
            let _ = netflow.datagram(exporter(), 0, &datagram, &mut out);
        }
        netflow.end(&mut out);
        prop_assert!(out.observations.len() < 10_000);
    }
}
