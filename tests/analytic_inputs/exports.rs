//! AN0972 from datagrams of exporters, in a capture of what they sent to their collector:
//! NetFlow v5 and v9 (Cisco, RFC 3954), IPFIX (RFC 7011), sFlow v5 (sflow.org).

use std::net::Ipv4Addr;

use serde_json::json;

use super::flow_logs::{BACKUP, FLOOD, MINUTES, Volume};
use super::frames::{eth, ipv4, udp};
use super::{SENDER, START_S, TARGET, alerts, pcap};

/// What an exporter counted of one direction of a flow in a minute.
struct Way {
    src: Ipv4Addr,
    dst: Ipv4Addr,
    src_port: u16,
    dst_port: u16,
    protocol: u8,
    packets: u64,
    bytes: u64,
    start_s: i64,
    end_s: i64,
}

fn ways(volume: Volume, minute: i64) -> Vec<Way> {
    let [sender, target]: [Ipv4Addr; 2] =
        [SENDER, TARGET].map(|text| text.parse().expect("an address"));
    let (start_s, end_s) = (START_S + 60 * minute, START_S + 60 * minute + 58);
    let protocol = volume.protocol;
    let way = |(src, src_port), (dst, dst_port), (packets, bytes)| Way {
        src,
        dst,
        src_port,
        dst_port,
        protocol,
        packets,
        bytes,
        start_s,
        end_s,
    };
    let (here, there) = ((sender, 40_112), (target, 9_999));
    let mut ways = vec![way(here, there, volume.sent), way(there, here, volume.received)];
    ways.retain(|way| way.packets > 0);
    ways
}

/// Time since the exporter began, which was ten minutes before.
fn uptime_ms(second: i64) -> u32 {
    ((second - START_S + 600) * 1_000) as u32
}

fn netflow_v5(ways: &[Way], now_s: i64, sequence: u32) -> Vec<u8> {
    let mut out = [&5_u16.to_be_bytes()[..], &(ways.len() as u16).to_be_bytes()].concat();
    for word in [uptime_ms(now_s), now_s as u32, 0, sequence] {
        out.extend(word.to_be_bytes());
    }
    // Engine's type and number; no sampling.
    out.extend([0; 4]);
    for way in ways {
        out.extend(way.src.octets());
        out.extend(way.dst.octets());
        // Next hop; interfaces in and out.
        out.extend([0, 0, 0, 0, 0, 2, 0, 3]);
        for word in [way.packets as u32, way.bytes as u32] {
            out.extend(word.to_be_bytes());
        }
        for second in [way.start_s, way.end_s] {
            out.extend(uptime_ms(second).to_be_bytes());
        }
        out.extend([way.src_port, way.dst_port].map(u16::to_be_bytes).concat());
        // Flags, protocol, service; systems, masks and what fills up.
        out.extend([0, 0, way.protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    out
}

/// Elements by number and length, the same in both protocols but for the times.
const FIELDS: [(u16, u16); 7] = [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (2, 8), (1, 8)];

/// A template's set and one with its data; of numbers so wide the times.
fn sets(ways: &[Way], template_set: u16, times: [(u16, u16); 2]) -> Vec<u8> {
    const TEMPLATE: u16 = 256;
    let set = |id: u16, content: Vec<u8>| {
        let mut content = content;
        content.resize(content.len().next_multiple_of(4), 0);
        let length = content.len() as u16 + 4;
        [&id.to_be_bytes()[..], &length.to_be_bytes(), &content].concat()
    };
    let fields: Vec<(u16, u16)> = FIELDS.into_iter().chain(times).collect();
    let mut template = [TEMPLATE.to_be_bytes(), (fields.len() as u16).to_be_bytes()].concat();
    for (element, length) in fields {
        template.extend([element, length].map(u16::to_be_bytes).concat());
    }
    let mut data = Vec::new();
    for way in ways {
        data.extend(way.src.octets());
        data.extend(way.dst.octets());
        data.extend([way.src_port, way.dst_port].map(u16::to_be_bytes).concat());
        data.push(way.protocol);
        data.extend([way.packets, way.bytes].map(u64::to_be_bytes).concat());
        for ((_, length), second) in times.into_iter().zip([way.start_s, way.end_s]) {
            match length {
                4 => data.extend(uptime_ms(second).to_be_bytes()),
                _ => data.extend((second as u64 * 1_000).to_be_bytes()),
            }
        }
    }
    [set(template_set, template), set(TEMPLATE, data)].concat()
}

fn netflow_v9(ways: &[Way], now_s: i64, sequence: u32) -> Vec<u8> {
    // The template counts as a record.
    let count = ways.len() as u16 + 1;
    let mut out = [9_u16.to_be_bytes(), count.to_be_bytes()].concat();
    for word in [uptime_ms(now_s), now_s as u32, sequence, 7] {
        out.extend(word.to_be_bytes());
    }
    // First and last switched, in the exporter's uptime.
    out.extend(sets(ways, 0, [(22, 4), (21, 4)]));
    out
}

fn ipfix(ways: &[Way], now_s: i64, sequence: u32) -> Vec<u8> {
    // flowStartMilliseconds and flowEndMilliseconds.
    let sets = sets(ways, 2, [(152, 8), (153, 8)]);
    let length = sets.len() as u16 + 16;
    let mut out = [10_u16.to_be_bytes(), length.to_be_bytes()].concat();
    for word in [now_s as u32, sequence, 7] {
        out.extend(word.to_be_bytes());
    }
    out.extend(sets);
    out
}

/// One packet of so many is sampled.
const SAMPLED: u64 = 1_000;

/// A flow sample of an Ethernet frame's first bytes.
fn sample(way: &Way, sequence: u32) -> Vec<u8> {
    let ip_bytes = way.bytes / way.packets;
    let mut header = ipv4(way.protocol, way.src.octets(), way.dst.octets(), &{
        let ports = [way.src_port, way.dst_port].map(u16::to_be_bytes).concat();
        let rest: &[u8] = match way.protocol {
            // Numbers, the header's length and ACK.
            6 => &[0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0, 1, 0, 0, 0, 0],
            _ => &[0, 0, 0, 0],
        };
        [&ports, rest].concat()
    });
    header[2..4].copy_from_slice(&(ip_bytes as u16).to_be_bytes());
    let mut header = eth(0x0800, &header);
    let length = header.len() as u32;
    header.resize(header.len().next_multiple_of(4), 0);
    let mut record = Vec::new();
    // Ethernet; the frame with its checksum, which is cut off.
    for word in [1, ip_bytes as u32 + 18, 4, length] {
        record.extend(word.to_be_bytes());
    }
    record.extend(header);
    let mut sample = Vec::new();
    let pool = sequence * SAMPLED as u32;
    // Of interface 2; rate, pool, drops, interfaces in and out; one record, of format 1.
    for word in [sequence, 2, SAMPLED as u32, pool, 0, 2, 3, 1, 1, record.len() as u32] {
        sample.extend(word.to_be_bytes());
    }
    sample.extend(record);
    [&1_u32.to_be_bytes()[..], &(sample.len() as u32).to_be_bytes(), &sample].concat()
}

/// Datagrams with the times at which they come.
fn datagrams(protocol: &str, volumes: &[Volume]) -> Vec<(i64, Vec<u8>)> {
    let mut all = Vec::new();
    let (mut told, mut sampled) = (0, 0);
    for minute in 0..MINUTES {
        let ways: Vec<Way> = volumes.iter().flat_map(|&volume| ways(volume, minute)).collect();
        let now_s = START_S + 60 * minute + 59;
        match protocol {
            "v5" => all.push((now_s, netflow_v5(&ways, now_s, told))),
            "v9" => all.push((now_s, netflow_v9(&ways, now_s, minute as u32))),
            "ipfix" => all.push((now_s, ipfix(&ways, now_s, told))),
            _ => {
                for second in 0..59 {
                    // As many of each as are due by then.
                    let due = |way: &Way, second| way.packets / SAMPLED * second / 59;
                    let now = |way: &Way| due(way, second + 1) - due(way, second);
                    let mut samples = Vec::new();
                    for way in &ways {
                        for _ in 0..now(way) {
                            sampled += 1;
                            samples.push(sample(way, sampled));
                        }
                    }
                    let now_s = START_S + 60 * minute + second as i64 + 1;
                    let agent = u32::from(Ipv4Addr::new(192, 0, 2, 1));
                    told += 1;
                    let words = [5, 1, agent, 0, told, uptime_ms(now_s), samples.len() as u32];
                    let header = words.map(u32::to_be_bytes).concat();
                    all.push((now_s, [header, samples.concat()].concat()));
                }
            }
        }
        if protocol != "sflow" {
            told += ways.len() as u32;
        }
    }
    all
}

/// The datagrams on their way to the collector.
fn capture(protocol: &str, volumes: &[Volume]) -> Vec<u8> {
    let port = if protocol == "sflow" { 6_343 } else { 2_055 };
    let frame = |datagram: &[u8]| {
        let packet = udp(50_000, port, datagram);
        eth(0x0800, &ipv4(17, [192, 0, 2, 1], [192, 0, 2, 2], &packet))
    };
    let sent = datagrams(protocol, volumes).into_iter();
    pcap(sent.map(|(second, datagram)| (second * 1_000_000, frame(&datagram))))
}

#[test]
fn an0972_from_each_kind_of_export_alone() {
    // That nothing came back shows only where records of other flows come back.
    let answered = Volume { sent: (2_000, 200_000), received: (2_000, 200_000), ..BACKUP };
    for (protocol, kind) in
        [("v5", "netflow"), ("v9", "netflow"), ("ipfix", "netflow"), ("sflow", "sflow")]
    {
        let found = alerts(kind, &capture(protocol, &[FLOOD, answered]), &["--as", kind]);
        assert_eq!(found.len(), 1, "{protocol}: {found:#?}");
        let alert = &found[0];
        assert_eq!((&alert["detector"], &alert["severity"]), (&"egress".into(), &"high".into()));
        assert_eq!(alert["analytics"], json!(["AN0972"]), "{protocol}");
        assert_eq!(alert["entity"]["id"], SENDER, "{protocol}");
        assert_eq!(alert["peers"][0]["address"], TARGET, "{protocol}");
        let missing = alert["missing_telemetry"].as_array().expect("a list");
        assert!(missing.contains(&"packets".into()), "{protocol}: {missing:?}");
        // Of samples less is known, and the alert says so.
        assert_eq!(missing.contains(&"sampled_packets".into()), protocol == "sflow", "{missing:?}");
        let backup = alerts(kind, &capture(protocol, &[BACKUP]), &["--as", kind]);
        assert!(backup.is_empty(), "{protocol}: a backup: {backup:#?}");
    }
}
