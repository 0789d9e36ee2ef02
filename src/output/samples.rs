//! Records that the writers' tests share.

pub(super) mod hosts;

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::json;

use crate::alert::{
    Alert, AlertPeer, Entity, EntityKind, Evidence, Grade, Known, Peak, Severity, State, alert_id,
    sentence,
};
use crate::detect::{Direction as Way, PeerRole, Rule, Shape};
use crate::flow::app::{
    AppInfo, DnsAddress, DnsInfo, HttpInfo, QuicInfo, Quoted, SshInfo, TlsInfo,
};
use crate::flow::record::{ConnState, Direction, EndReason, FlowRecord, Gaps, SeenAt, SizeStep};
use crate::flow::sizes::Sizes;
use crate::input::Origin;
use crate::packet::facts::tcp_flag;
use crate::packet::key::from_ip;
use crate::packet::{FlowKey, IpVersion, TunnelKind, TunnelLayer};

/// 2026-11-21T09:30:00Z.
pub(super) const START_NS: i64 = 1_795_253_400_000_000_000;

/// A key from originator to responder, and whether `a` is the originator.
fn key(proto: u8, src: (&str, u16), dst: (&str, u16)) -> (FlowKey, bool) {
    let side = |(ip, port): (&str, u16)| {
        let (version, address) = from_ip(ip.parse::<IpAddr>().expect("address"));
        (version, (address, port))
    };
    let ((version, src), (_, dst)) = (side(src), side(dst));
    let (a, b) = if src <= dst { (src, dst) } else { (dst, src) };
    let key = FlowKey { version, proto, port_a: a.1, port_b: b.1, a: a.0, b: b.0, ..FlowKey::ZERO };
    (key, src <= dst)
}

fn direction(payloads: &[u32], header_bytes: u64) -> Direction {
    let mut sizes = Sizes::default();
    payloads.iter().for_each(|&bytes| sizes.record(bytes, 1));
    let packets = payloads.len() as u64;
    let count = packets.saturating_sub(1);
    Direction {
        packets,
        wire_bytes: sizes.sum + packets * (header_bytes + 14),
        ip_bytes: sizes.sum + packets * header_bytes,
        payload_bytes: sizes.sum,
        gaps: Gaps {
            count,
            min_ns: 1000 * count.min(1),
            max_ns: 3000 * count.min(1),
            sum_ns: 2000 * count,
            sum_squares: 5_000_000 * u128::from(count),
        },
        ttl_min: 63,
        ttl_max: 64,
        sizes,
        ..Direction::default()
    }
}

/// An answered HTTPS connection inside VXLAN, closed by both sides.
pub(crate) fn tcp() -> FlowRecord {
    let (key, forward_is_a_to_b) = key(6, ("192.0.2.10", 40_000), ("198.51.100.7", 443));
    FlowRecord {
        key: FlowKey { vni: 4097, ..key },
        forward_is_a_to_b,
        originator_guessed: false,
        continues: false,
        start_ns: START_NS,
        end_ns: START_NS + 1_250_000_001,
        decided_ns: START_NS + 6_000_000_000,
        end_reason: EndReason::Closed,
        state: ConnState::Closed,
        answered: true,
        fwd: Direction {
            tcp_flags: tcp_flag::SYN | tcp_flag::ACK | tcp_flag::PSH | tcp_flag::FIN,
            retransmitted: 1,
            missed_bytes: Some(150),
            entropy: Some((5.25, 256)),
            ..direction(&[0, 0, 517, 100, 0], 52)
        },
        rev: Direction {
            tcp_flags: tcp_flag::SYN | tcp_flag::ACK | tcp_flag::FIN,
            out_of_order: 2,
            missed_bytes: Some(0),
            fragments: 3,
            entropy: Some((7.999, 200)),
            ..direction(&[0, 1400, 1400, 0], 52)
        },
        src_mac: Some([2, 0, 0, 0, 0, 0xa]),
        dst_mac: Some([2, 0, 0, 0, 0xff, 1]),
        vlans: vec![10, 20],
        tunnels: vec![TunnelLayer {
            kind: TunnelKind::Vxlan,
            version: IpVersion::V4,
            id: Some(4096),
            outer_src: from_ip("10.0.0.1".parse::<IpAddr>().expect("address")).1,
            outer_dst: from_ip("10.0.0.2".parse::<IpAddr>().expect("address")).1,
        }],
        sequence: vec![
            SizeStep { fwd: true, payload_bytes: 517, gap_ns: 0 },
            SizeStep { fwd: false, payload_bytes: 1400, gap_ns: 20_000_000 },
        ],
        app: Some(Box::new(AppInfo {
            tls: Some(TlsInfo {
                sni: Some("example.org".to_owned()),
                alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
                version: 0x0304,
                ja4: Some("t13d1516h2_8daaf6152771_e5627efa2ab1".to_owned()),
            }),
            ..AppInfo::default()
        })),
        seen_at: SeenAt { first: 0, other: Some(1) },
        origin: Some(Arc::new(Origin {
            sensor: "tap-7".to_owned(),
            interface: "eth0".to_owned(),
            other_interface: "eth\t1".to_owned(),
            clock_synchronised: Some(true),
        })),
        hosts: None,
    }
}

/// One unanswered DNS query over IPv6.
pub(crate) fn dns() -> FlowRecord {
    let (key, forward_is_a_to_b) = key(17, ("2001:db8::2", 50_000), ("2001:db8::1", 53));
    FlowRecord {
        key,
        forward_is_a_to_b,
        originator_guessed: true,
        end_ns: START_NS,
        end_reason: EndReason::Idle,
        state: ConnState::OneWay,
        answered: false,
        fwd: direction(&[40], 48),
        rev: Direction::default(),
        src_mac: None,
        dst_mac: None,
        vlans: Vec::new(),
        tunnels: Vec::new(),
        sequence: vec![SizeStep { fwd: true, payload_bytes: 40, gap_ns: 0 }],
        app: Some(Box::new(AppInfo {
            dns: Some(DnsInfo {
                query: "a\\\"b.example".to_owned(),
                query_type: 28,
                response_code: None,
                answers: None,
                addresses: Vec::new(),
            }),
            ..AppInfo::default()
        })),
        seen_at: SeenAt::default(),
        origin: None,
        hosts: None,
        ..tcp_without_vni()
    }
}

/// An answered ping.
pub(crate) fn icmp() -> FlowRecord {
    let (key, forward_is_a_to_b) = key(1, ("203.0.113.9", 8), ("192.0.2.1", 0));
    FlowRecord {
        key: FlowKey { echo_id: 77, ..key },
        forward_is_a_to_b,
        end_reason: EndReason::EndOfInput,
        state: ConnState::Answered,
        fwd: direction(&[56, 56, 56], 28),
        rev: direction(&[56, 56, 56], 28),
        tunnels: Vec::new(),
        app: None,
        seen_at: SeenAt::default(),
        origin: None,
        hosts: None,
        ..tcp_without_vni()
    }
}

/// A UDP flood at 192.0.2.1 whose texts name addresses of every kind.
pub(crate) fn alert() -> Alert {
    let entity = Entity {
        kind: EntityKind::Address,
        id: "192.0.2.1".to_owned(),
        labels: [("station".to_owned(), "02:00:00:00:00:0a@vlan7".to_owned())].into(),
    };
    let rule = Rule { name: "packet_rate", threshold: 10_000, unit: "packets/s", formula: "p" };
    let evidence = Evidence {
        class: "udp".to_owned(),
        direction: Way::Inbound,
        shape: Shape::OneToOne,
        rule,
        measured: 20_000,
        decided_by: "absolute_threshold".to_owned(),
        baseline: "none".to_owned(),
        peak: Peak {
            time_ns: START_NS,
            packets_per_s: 20_000,
            unanswered_packets_per_s: 20_000,
            bits_per_s: 9_600_000,
            payload_bytes_per_s: 360_000,
        },
        active_seconds: 20,
        packets: 300_000,
        wire_bytes: 18_000_000,
        payload_sizes: Vec::new(),
        distinct_sources: 1,
        distinct_destinations: 1,
        answer_ratio: None,
        top_source_port: None,
        top_destination_port: None,
        spoofed_sources: false,
        estimated: false,
        also_seen: Vec::new(),
        details: [("seen".to_owned(), json!({"near": ["203.0.113.9", 7]}))].into(),
    };
    let mut alert = Alert {
        id: alert_id("udp_flood", &entity, START_NS / 1_000_000_000),
        revision: 1,
        detector: "udp_flood".to_owned(),
        state: State::Provisional,
        analytics: Vec::new(),
        possible_analytics: Vec::new(),
        severity: Severity::High,
        confidence: 0.6,
        grade: Grade::default(),
        start_ns: START_NS,
        end_ns: START_NS + 20_000_000_000,
        entity,
        peers: vec![AlertPeer {
            address: IpAddr::from([198, 51, 100, 7]),
            role: PeerRole::Source,
            packets: Some(300_000),
            wire_bytes: None,
            known: Known::default(),
        }],
        known: Known::default(),
        evidence,
        case: None,
        part_of: None,
        parts: Vec::new(),
        missing_telemetry: vec!["baseline".to_owned()],
        summary: String::new(),
        sensor: String::new(),
        interface: String::new(),
        interfaces: Vec::new(),
        files: Vec::new(),
        further_files: 0,
        clock_synchronised: None,
    };
    alert.summary = sentence(&alert);
    alert
}

fn tcp_without_vni() -> FlowRecord {
    let mut record = tcp();
    record.key.vni = 0;
    record
}

/// A record whose every field is drawn from `seed`, within what the types and
/// their documentation allow.
pub(crate) fn random(seed: u64) -> FlowRecord {
    let mut state = seed;
    // SplitMix64: any generator does, this one is four lines.
    let mut next = move |below: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % below
    };
    let proto = [1, 2, 6, 6, 17, 47, 58, 132, 255][next(9) as usize];
    let v6 = next(2) == 1;
    let address = |n: u64| if v6 { format!("2001:db8::{n:x}") } else { format!("192.0.2.{n}") };
    let (src, dst) = (address(next(254)), address(next(254)));
    let types = [0, 3, 8, 11, 13, 128, 135];
    let src_port = match proto {
        1 | 58 => types[next(7) as usize],
        _ => next(65_536) as u16,
    };
    let (mut key, forward_is_a_to_b) = key(proto, (&src, src_port), (&dst, next(65_536) as u16));
    key.echo_id = next(65_536) as u16;
    key.vni = next(3) as u32 * 5;
    let reasons = [
        EndReason::Idle,
        EndReason::Active,
        EndReason::Closed,
        EndReason::Evicted,
        EndReason::EndOfInput,
    ];
    let states = [
        ConnState::OneWay,
        ConnState::Answered,
        ConnState::HalfOpen,
        ConnState::Established,
        ConnState::Closed,
        ConnState::Reset,
        ConnState::Midstream,
    ];
    let mut one_way = |packets: u64| {
        let payloads: Vec<u32> =
            (0..packets).map(|_| [0, next(70_000) as u32][next(2) as usize]).collect();
        if packets == 0 {
            return Direction::default();
        }
        let mut side = direction(&payloads, 40);
        if next(3) == 0 {
            let gaps = &mut side.gaps;
            gaps.min_ns = 2000 * gaps.count.min(1);
            gaps.max_ns = gaps.min_ns;
            gaps.sum_squares = u128::from(gaps.count) * 4_000_000;
        }
        let tcp = u16::from(proto == 6);
        Direction {
            tcp_flags: tcp * next(512) as u16,
            missed_bytes: (tcp == 1 && next(2) == 0).then(|| next(3) * 1000),
            retransmitted: u32::from(tcp) * next(3) as u32,
            out_of_order: u32::from(tcp) * next(3) as u32,
            fragments: next(3) as u32,
            entropy: (next(2) == 0).then(|| (next(8000) as f32 / 1000.0, 1 + next(256) as u16)),
            ..side
        }
    };
    let (fwd, rev) = (one_way(1 + seed % 7), one_way(seed / 7 % 5));
    let start_ns = START_NS + next(1 << 40) as i64;
    let end_ns = start_ns + next(1 << 36) as i64;
    let mac = |on: bool, n: u64| on.then_some([2, 0, 0, 0, (n >> 8) as u8, n as u8]);
    let with_mac = next(2) == 0;
    let kinds = [TunnelKind::Gre, TunnelKind::GtpU, TunnelKind::Teredo];
    let text = ["", "example.org", "a\"b\\\\x1b", "/path?q=1, 2;\t"][next(4) as usize].to_owned();
    FlowRecord {
        key,
        forward_is_a_to_b,
        originator_guessed: next(2) == 0,
        continues: next(2) == 0,
        start_ns,
        end_ns,
        decided_ns: end_ns + next(1 << 38) as i64,
        end_reason: reasons[next(5) as usize],
        state: states[next(7) as usize],
        answered: rev.packets > 0,
        fwd,
        rev,
        src_mac: mac(with_mac, next(65_536)),
        dst_mac: mac(with_mac, next(65_536)),
        vlans: (0..next(5)).map(|n| n as u16 * 100).collect(),
        tunnels: (0..next(3))
            .map(|n| TunnelLayer {
                kind: kinds[n as usize],
                version: key.version,
                id: (n > 0).then_some(next(1 << 32) as u32),
                outer_src: key.a,
                outer_dst: key.b,
            })
            .collect(),
        sequence: (0..next(17))
            .map(|n| SizeStep {
                fwd: next(2) == 0,
                payload_bytes: 1 + next(70_000) as u32,
                gap_ns: if n == 0 { 0 } else { next(1 << 40) },
            })
            .collect(),
        app: (next(2) == 0).then(|| {
            Box::new(AppInfo {
                dns: (next(3) == 0).then(|| DnsInfo {
                    query: text.clone(),
                    query_type: next(300) as u16,
                    response_code: (next(2) == 0).then(|| next(16) as u8),
                    answers: (next(2) == 0).then(|| next(65_536) as u16),
                    addresses: (0..next(3))
                        .map(|n| DnsAddress {
                            address: IpAddr::from([198, 51, 100, n as u8]),
                            ttl_s: next(1 << 32) as u32,
                        })
                        .collect(),
                }),
                tls: (next(3) == 0).then(|| TlsInfo {
                    sni: Some(text.clone()),
                    alpn: vec![text.clone(); next(3) as usize],
                    version: [0, 0x0303, 0x0304, 0x7f1c][next(4) as usize],
                    ja4: None,
                }),
                quic: (next(3) == 0).then(|| QuicInfo {
                    version: 1,
                    sni: Some(text.clone()),
                    ..QuicInfo::default()
                }),
                http: (next(3) == 0).then(|| HttpInfo {
                    method: Some("GET".to_owned()),
                    path: Some(text.clone()),
                    status: (next(2) == 0).then_some(404),
                    ..HttpInfo::default()
                }),
                ssh: (next(3) == 0).then(|| SshInfo { client: Some(text.clone()), server: None }),
                icmp_error: (next(3) == 0).then(|| {
                    Box::new(Quoted {
                        proto: 17,
                        src: IpAddr::from([198, 51, 100, next(256) as u8]),
                        dst: IpAddr::from([192, 0, 2, next(256) as u8]),
                        ports: [next(65_536) as u16, 53],
                        echo_id: 0,
                        several: next(2) == 0,
                    })
                }),
            })
        }),
        seen_at: SeenAt { first: 0, other: None },
        origin: (next(2) == 0).then(|| {
            Arc::new(Origin {
                sensor: ["", "tap-7"][next(2) as usize].to_owned(),
                interface: text.clone(),
                other_interface: ["", "eth1"][next(2) as usize].to_owned(),
                clock_synchronised: [None, Some(false), Some(true)][next(3) as usize],
            })
        }),
        hosts: hosts::random(&mut next),
    }
}
