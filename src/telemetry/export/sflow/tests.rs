use proptest::prelude::*;

use super::*;
use crate::telemetry::Observation;
use crate::telemetry::export::fixture::datagrams;
use crate::telemetry::observation::{Action, FlowDirection, FlowReport, Span};
use crate::telemetry::sample::{CounterSample, Reading};

const RECEIVED_NS: i64 = 1_772_360_102_000_000_000;
const PMACCT: &[u8] = include_bytes!("../../../../tests/fixtures/export/pmacct-sflow.pcap");

fn exporter() -> SocketAddr {
    "127.0.0.1:40000".parse().unwrap()
}

fn read<'a>(all: impl IntoIterator<Item = &'a Vec<u8>>) -> Out {
    let (mut sflow, mut out) = (Sflow::new(), Out::default());
    for datagram in all {
        sflow.datagram(exporter(), RECEIVED_NS, datagram, &mut out).unwrap();
    }
    sflow.end(&mut out);
    out
}

fn flows(out: &Out) -> Vec<&FlowReport> {
    let flow = |it: &'_ Observation| matches!(it, Observation::Flow(_));
    assert!(out.observations.iter().all(flow), "{out:?}");
    out.observations
        .iter()
        .filter_map(|it| if let Observation::Flow(flow) = it { Some(&**flow) } else { None })
        .collect()
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

/// A record or sample with its format and length.
fn framed(format: u32, content: &[u8]) -> Vec<u8> {
    [&words(&[format, content.len() as u32])[..], content].concat()
}

fn datagram(number: u32, samples: &[Vec<u8>]) -> Vec<u8> {
    let head = words(&[5, 1, 0xc000_0201, 0, number, 60_000, samples.len() as u32]);
    [head, samples.concat()].concat()
}

/// A sample of interface 3 of one in 512 packets.
fn flow_sample(drops: u32, input: u32, output: u32, records: &[Vec<u8>]) -> Vec<u8> {
    let head = words(&[1, 3, 512, 5120, drops, input, output, records.len() as u32]);
    framed(1, &[head, records.concat()].concat())
}

/// 198.51.100.1:40112 to 203.0.113.9:443 in VLAN 7, SYN and ACK, 100 bytes of payload, of
/// which the first are sampled.
fn tcp() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 7, 8, 0];
    frame.extend([0x45, 0xb8, 0, 140, 0, 1, 0, 0, 64, 6, 0, 0, 198, 51, 100, 1, 203, 0, 113, 9]);
    frame.extend([0x9c, 0xb0, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x12, 1, 0, 0, 0, 0, 0]);
    frame.extend([0; 6]);
    frame
}

fn header_record(protocol: u32, frame_bytes: u32, frame: &[u8]) -> Vec<u8> {
    let mut content = words(&[protocol, frame_bytes, 4, frame.len() as u32]);
    content.extend(frame);
    content.extend(vec![0; frame.len().wrapping_neg() % 4]);
    framed(1, &content)
}

#[test]
fn pmaccts_samples_are_those_that_tshark_reads() {
    let out = read(&datagrams(PMACCT));
    let flows = flows(&out);
    // tshark 4.0.17 -T fields -e ip.len -e ipv6.plen: of the sampled headers.
    assert_eq!(flows.len(), 41);
    let ip_bytes: u64 = flows.iter().filter_map(|flow| flow.fwd.ip_bytes).sum();
    assert_eq!(ip_bytes, 27_243);
    for flow in flows {
        assert_eq!(flow.sampled_1_of, Some(4));
        assert_eq!(flow.fwd.packets, Some(1));
        // Ethernet without a VLAN, and its checksum left out.
        assert_eq!(flow.fwd.wire_bytes, flow.fwd.ip_bytes.map(|bytes| bytes + 14));
        assert_eq!(&*flow.observer, "192.0.2.1");
    }
    assert!(out.lost.is_empty() && out.bad_parts.is_empty(), "{out:?}");
}

#[test]
fn a_sampled_header_and_what_is_said_of_it_are_read() {
    let gateway = words(&[1, 0xc000_02fe, 64_500, 64_496, 64_496, 1, 2, 2, 64_498, 64_497]);
    let records = [
        header_record(1, 162, &tcp()),
        framed(1001, &words(&[7, 0, 9, 0])),
        framed(1002, &words(&[1, 0xc000_02fd, 24, 24])),
        framed(1003, &gateway),
        framed(1007, &words(&[1, 0xc000_024d, 1, 0xcb00_7109])),
        framed(0x0010_0001, &[0; 4]),
    ];
    let out = read(&[datagram(1, &[flow_sample(0, 3, 4, &records)])]);
    let mut expected = FlowReport::between(
        "198.51.100.1".parse().unwrap(),
        "203.0.113.9".parse().unwrap(),
        RECEIVED_NS - 1_000_000_000,
        RECEIVED_NS,
    );
    expected.span = Span::Interval;
    (expected.src_port, expected.dst_port, expected.protocol) = (Some(40_112), Some(443), Some(6));
    expected.fwd.packets = Some(1);
    (expected.fwd.wire_bytes, expected.fwd.ip_bytes) = (Some(158), Some(140));
    (expected.fwd.payload_bytes, expected.fwd.tcp_flags) = (Some(100), Some(0x12));
    expected.direction = Some(FlowDirection::Ingress);
    expected.observer = "192.0.2.1".into();
    expected.sampled_1_of = Some(512);
    expected.labels = [
        ("vlan", "7"),
        ("sflow.output_vlan", "9"),
        ("next_hop", "192.0.2.253"),
        ("src_as", "64496"),
        ("dst_as", "64497"),
        ("input_interface", "3"),
        ("output_interface", "4"),
        ("tos", "tos 184"),
        ("nat_src", "192.0.2.77"),
        ("nat_dst", "203.0.113.9"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .into();
    assert_eq!(*flows(&out)[0], expected);
    assert_eq!(out.unknown_fields["sflow.256.1"], 1);
}

#[test]
fn fields_in_place_of_a_header() {
    let fields = words(&[140, 6, 0xc633_6401, 0xcb00_7109, 40_112, 443, 0x12, 0xb8]);
    let out = read(&[datagram(1, &[flow_sample(0, 9, 3, &[framed(3, &fields)])])]);
    let flow = flows(&out)[0];
    assert_eq!((flow.src_port, flow.fwd.ip_bytes), (Some(40_112), Some(140)));
    assert_eq!((flow.fwd.tcp_flags, flow.fwd.wire_bytes), (Some(0x12), None));
    assert_eq!(flow.direction, Some(FlowDirection::Egress));
}

#[test]
fn what_is_discarded_is_rejected() {
    let record = header_record(11, 140, &tcp()[18..]);
    let expanded = words(&[1, 0, 3, 512, 5120, 0, 0, 3, 1, 258, 1]);
    let notice = words(&[1, 0, 3, 0, 3, 4, 258, 1]);
    let samples =
        [framed(3, &[expanded, record.clone()].concat()), framed(5, &[notice, record].concat())];
    let out = read(&[datagram(1, &samples)]);
    for flow in flows(&out) {
        assert_eq!(flow.action, Some(Action::Rejected));
        assert!(flow.labels.contains(&("sflow.discarded".into(), "258".into())), "{flow:?}");
        assert_eq!((flow.fwd.ip_bytes, flow.fwd.wire_bytes), (Some(140), None));
    }
    assert_eq!(flows(&out).len(), 2);
}

#[test]
fn drops_and_gaps_are_lost() {
    let sample = |drops| flow_sample(drops, 3, 4, &[header_record(1, 162, &tcp())]);
    let out =
        read(&[datagram(7, &[sample(10)]), datagram(8, &[sample(15)]), datagram(12, &[sample(0)])]);
    assert_eq!(out.lost["sflow samples that the agent dropped"], 5);
    assert_eq!(out.lost["sflow datagrams"], 3);
}

#[test]
fn counters_of_an_interface_are_totals() {
    let mut content = words(&[2, 6]);
    content.extend(1_000_000_000_u64.to_be_bytes());
    content.extend(words(&[1, 3]));
    content.extend(5_000_000_000_u64.to_be_bytes());
    content.extend(words(&[u32::MAX - 9, 20, u32::MAX, 4, 0, 0]));
    content.extend(7_u64.to_be_bytes());
    content.extend(words(&[1, 2, 3, u32::MAX, 0, 0]));
    let sample = framed(2, &[words(&[1, 2, 2]), framed(1, &content), framed(2, &[0; 52])].concat());
    let out = read(&[datagram(1, &[sample])]);
    let expected = CounterSample {
        time_ns: RECEIVED_NS,
        reading: Reading::Total,
        subject: crate::telemetry::sample::Subject {
            host: "192.0.2.1".into(),
            interface: "2".into(),
            ..Default::default()
        },
        received_bytes: Some(5_000_000_000),
        sent_bytes: Some(7),
        // Runs over as one counter of 32 bits would; what is not known is left out.
        received_packets: Some(10),
        sent_packets: Some(6),
        received_drops: Some(4),
        sent_drops: None,
        labels: Vec::new(),
    };
    assert_eq!(out.observations, [Observation::Counter(Box::new(expected))]);
    assert_eq!(out.passed["counters other than of interfaces"], 1);
}

#[test]
fn lengths_that_are_not_there_are_bad() {
    let whole = datagram(1, &[flow_sample(0, 3, 4, &[header_record(1, 162, &tcp())])]);
    for length in 0..whole.len() {
        let (mut sflow, mut out) = (Sflow::new(), Out::default());
        let result = sflow.datagram(exporter(), RECEIVED_NS, &whole[..length], &mut out);
        assert!(result.is_err(), "{length} of {}", whole.len());
    }
    let many = words(&[5, 1, 0xc000_0201, 0, 1, 60_000, u32::MAX]);
    let (mut sflow, mut out) = (Sflow::new(), Out::default());
    assert!(sflow.datagram(exporter(), RECEIVED_NS, &many, &mut out).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn damaged_datagrams_are_decoded_without_a_panic(
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..12), cut: usize,
    ) {
        let (mut sflow, mut out) = (Sflow::new(), Out::default());
        for mut datagram in datagrams(PMACCT) {
            for (at, byte) in &changes {
                let at = at % datagram.len();
                datagram[at] = *byte;
            }
            datagram.truncate(datagram.len() - cut % 20);
            let _ = sflow.datagram(exporter(), RECEIVED_NS, &datagram, &mut out);
        }
        sflow.end(&mut out);
        prop_assert!(out.observations.len() < 1000);
    }
}
