use proptest::prelude::*;

use super::*;
use crate::flow::record::{Gaps, SizeStep};
use crate::flow::sizes::Sizes;
use crate::output::samples;
use crate::packet::FlowKey;

const S: i64 = SECOND_NS;

fn direction(payloads: &[(u32, u32)], headers: u64, span_ns: i64) -> Direction {
    let mut sizes = Sizes::default();
    payloads.iter().for_each(|&(bytes, count)| sizes.record(bytes, count));
    let packets: u64 = sizes.bins.iter().map(|&packets| u64::from(packets)).sum();
    Direction {
        packets,
        payload_bytes: sizes.sum,
        wire_bytes: sizes.sum + packets * headers,
        gaps: Gaps { count: packets.saturating_sub(1), sum_ns: span_ns as u64, ..Gaps::default() },
        sizes,
        ..Direction::default()
    }
}

fn udp(fwd: Direction, seconds: i64, sequence: Vec<SizeStep>) -> FlowRecord {
    FlowRecord {
        key: FlowKey { proto: 17, ..samples::tcp().key },
        start_ns: 100 * S,
        end_ns: (100 + seconds) * S,
        fwd,
        rev: Direction::default(),
        sequence,
        ..samples::tcp()
    }
}

/// Second by second until nothing is left.
fn told(record: &FlowRecord) -> Vec<(i64, [Sums; 2])> {
    let mut pace = Pace::of(record);
    let mut all = Vec::new();
    while let Some(second) = pace.next_second() {
        let sums = pace.until(second);
        assert!(sums.iter().any(|way| way.packets() > 0), "a second that was announced");
        all.push((second, sums));
    }
    all
}

/// 1,001 packets in ten seconds to the very end: the last one begins the eleventh.
#[test]
fn packets_without_known_times_lie_evenly() {
    let record = udp(direction(&[(400, 1001)], 42, 10 * S), 10, Vec::new());
    let packets: Vec<_> = told(&record).iter().map(|(at, ways)| (*at, ways[0].packets())).collect();
    let mut expected: Vec<_> = (100..110).map(|at| (at, 100)).collect();
    expected.push((110, 1));
    assert_eq!(packets, expected);
}

/// Two at once, one eight seconds later: as the sequence says and not every four seconds.
#[test]
fn packets_of_the_sequence_are_when_they_were() {
    let step = |gap_ns| SizeStep { fwd: true, payload_bytes: 100, gap_ns };
    let sequence = vec![step(0), step(1), step(8_000_000_000)];
    let record = udp(direction(&[(100, 3)], 42, 8 * S), 8, sequence);
    let packets: Vec<_> = told(&record).iter().map(|(at, ways)| (*at, ways[0].packets())).collect();
    assert_eq!(packets, [(100, 2), (108, 1)]);
}

#[test]
fn a_connection_opens_with_syn_and_closes_with_fin() {
    let record = samples::tcp();
    let all = told(&record);
    let sum = |way: usize, class: PacketClass| -> u32 {
        all.iter().map(|(_, ways)| ways[way].classes[class as usize]).sum()
    };
    assert_eq!(all[0].1[0].classes[PacketClass::TcpSyn as usize], 1);
    assert_eq!(sum(0, PacketClass::TcpSyn), 1);
    assert_eq!(sum(1, PacketClass::TcpSynAck), 1);
    assert_eq!((sum(0, PacketClass::TcpFin), sum(1, PacketClass::TcpFin)), (1, 1));
    assert_eq!((sum(0, PacketClass::TcpData), sum(1, PacketClass::TcpData)), (2, 2));
}

#[test]
fn packets_that_nobody_answered_are_all_alike() {
    for (flags, class) in [
        (SYN, PacketClass::TcpSyn),
        (SYN | ACK, PacketClass::TcpSynAck),
        (RST, PacketClass::TcpRst),
        (RST | ACK, PacketClass::TcpRst),
        (FIN | ACK, PacketClass::TcpFin),
        (ACK, PacketClass::TcpAck),
        (FIN, PacketClass::TcpOdd),
        (0, PacketClass::TcpOdd),
    ] {
        let fwd = Direction { tcp_flags: flags, ..direction(&[(0, 500)], 54, S) };
        let record = FlowRecord { key: samples::tcp().key, ..udp(fwd, 1, Vec::new()) };
        let packets: u64 =
            told(&record).iter().map(|(_, ways)| u64::from(ways[0].classes[class as usize])).sum();
        assert_eq!(packets, 500, "{flags:#x}");
    }
}

proptest! {
    /// Whatever a record says, what is told of its seconds adds up to it, in seconds of
    /// its life, and ends.
    #[test]
    fn seconds_add_up_to_the_record(seed: u64, packets in 1_u32..200_000, bytes in 0_u32..70_000) {
        let mut record = samples::random(seed);
        if seed % 2 == 0 {
            record.fwd = Direction { tcp_flags: record.fwd.tcp_flags, ..direction(&[(bytes, packets), (0, 3)], 40, S) };
        }
        let all = told(&record);
        for (at, way) in [&record.fwd, &record.rev].into_iter().enumerate() {
            let sum = |of: &dyn Fn(&Sums) -> u64| all.iter().map(|(_, ways)| of(&ways[at])).sum::<u64>();
            prop_assert_eq!(sum(&|way| way.packets()), way.packets);
            prop_assert_eq!(sum(&|way| way.sizes.iter().map(|&n| u64::from(n)).sum()), way.packets);
            prop_assert_eq!(sum(&|way| way.payload_bytes), way.payload_bytes);
            prop_assert_eq!(sum(&|way| way.wire_bytes), way.wire_bytes.max(way.payload_bytes));
            prop_assert_eq!(sum(&|way| u64::from(way.fragments)), u64::from(way.fragments));
        }
        let second = |ns: i64| ns.div_euclid(S);
        prop_assert!(all.iter().all(|(at, _)| (second(record.start_ns)..=second(record.end_ns)).contains(at)));
        prop_assert!(all.is_sorted_by(|x, y| x.0 < y.0));
    }
}
