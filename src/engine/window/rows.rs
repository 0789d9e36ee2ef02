//! What each flow did in a second, for stages that join flows to something else:
//! bounded, whatever the second holds.
//!
//! Up to a cap every row is handed out. Beyond it the rows with the most bytes are,
//! and of the rest one in so many by a hash of its flow, which stands for that many:
//! sums stay right on average, and which rows they are depends on the set of rows
//! alone. A flow has a row for each packet where the table had no place for it, and several
//! where it ended and came again or came in fragments or copies. Start at
//! [`Assembled::flows`].

use super::hash::halves;
use super::log::{FlowSecond, Log, Single};
use super::{Assembled, Delta, Host, Seed};
use crate::packet::PacketClass;

/// Ports from here on are handed out to clients (Linux; IANA from 49,152).
pub const EPHEMERAL: u16 = 32_768;

/// Both directions of a flow in one second: `there` from its key's first end to the
/// second.
#[derive(Clone, Copy, Debug)]
pub struct FlowRow {
    pub there: Delta,
    pub back: Delta,
    /// Identifier of ICMP echo, 0 for all else.
    pub echo_id: u16,
    /// Flows that it stands for.
    pub scale: u64,
    /// Whether the first packet of the second is one of `there`; unknown where several rows
    /// of the flow say different things.
    pub first_there: Option<bool>,
}

impl FlowRow {
    /// What tells it from the others of its second.
    pub fn key(&self) -> (Host, Host, u16, u16, u8, u16) {
        let there = &self.there;
        let ports = (there.src_port, there.dst_port);
        (there.src, there.dst, ports.0, ports.1, there.proto, self.echo_id)
    }

    /// Adds a row of the same flow.
    pub fn merge(&mut self, other: &Self) {
        self.there.merge(&other.there);
        self.back.merge(&other.back);
        self.scale = self.scale.max(other.scale);
        self.first_there = self.first_there.filter(|_| self.first_there == other.first_there);
    }

    /// Bytes on the wire, both ways.
    pub(crate) fn wire_bytes(&self) -> u64 {
        self.there.wire_bytes.saturating_add(self.back.wire_bytes)
    }
}

/// A row where it lies, and the flows that it stands for: to be asked before it is copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lying<'a> {
    row: Row<'a>,
    scale: u64,
}

#[derive(Clone, Copy, Debug)]
enum Row<'a> {
    Flow(&'a FlowSecond),
    Single(&'a Single),
}

impl Lying<'_> {
    /// Both ends of the flow, as its key has them.
    #[inline]
    pub(crate) fn ends(&self) -> [Host; 2] {
        match self.row {
            Row::Flow(row) => [row.host_a(), row.host_b()],
            Row::Single(row) if row.direction() == 0 => [row.src(), row.dst()],
            Row::Single(row) => [row.dst(), row.src()],
        }
    }

    #[inline]
    fn ports(&self) -> (u16, u16) {
        match self.row {
            Row::Flow(row) => (row.port_a, row.port_b),
            Row::Single(row) if row.direction() == 0 => (row.src_port, row.dst_port),
            Row::Single(row) => (row.dst_port, row.src_port),
        }
    }

    #[inline]
    fn proto_and_echo(&self) -> (u8, u16) {
        match self.row {
            Row::Flow(row) => (row.proto, row.echo_id),
            Row::Single(row) => (row.proto, row.echo_id),
        }
    }

    /// As [`FlowRow::key`].
    pub(crate) fn key(&self) -> (Host, Host, u16, u16, u8, u16) {
        let ([a, b], ports, (proto, echo_id)) = (self.ends(), self.ports(), self.proto_and_echo());
        (a, b, ports.0, ports.1, proto, echo_id)
    }

    /// Of the flow, the same in any run.
    #[inline]
    pub(crate) fn hash(&self, seed: Seed) -> u64 {
        let ([a, b], ports, (proto, echo_id)) = (self.ends(), self.ports(), self.proto_and_echo());
        let rest = u64::from(proto) << 48 | u64::from(echo_id) << 32;
        hash_of(seed, &a, &b, rest | ports_of(ports.0, ports.1))
    }

    /// Bytes on the wire, both ways.
    #[inline]
    pub(crate) fn wire_bytes(&self) -> u64 {
        match self.row {
            Row::Flow(row) => bytes_of(row),
            Row::Single(row) => row.wire_bytes.into(),
        }
    }

    /// Whether it is one packet.
    pub(crate) fn is_packet(&self) -> bool {
        matches!(self.row, Row::Single(_))
    }

    /// Flows that it stands for.
    pub(crate) fn scale(&self) -> u64 {
        self.scale
    }

    /// Whether it says who began where ports do not.
    pub(crate) fn tells(&self) -> bool {
        match self.row {
            Row::Flow(row) => tells(row),
            Row::Single(row) => is_between_clients(row.proto, (row.src_port, row.dst_port)),
        }
    }

    pub(crate) fn copied(&self) -> FlowRow {
        let (scale, echo_id) = (self.scale, self.proto_and_echo().1);
        let (there, back, first_there) = match self.row {
            Row::Flow(row) => (row.delta(0), row.delta(1), row.first == 0),
            Row::Single(row) => {
                let (delta, is_there) = (row.delta(), row.direction() == 0);
                let Delta { src, dst, proto, src_port, dst_port, .. } = delta;
                let other = Delta::new(dst, src, proto, dst_port, src_port);
                if is_there { (delta, other, true) } else { (other, delta, false) }
            }
        };
        FlowRow { there, back, echo_id, scale, first_there: Some(first_there) }
    }
}

impl Assembled {
    /// Whether the flow table had no place for flows, whose packets are a row each, and there
    /// are no more than `cap` rows all the same.
    pub(crate) fn is_crowded_by_few(&self, cap: usize) -> bool {
        self.logs.iter().any(|log| log.is_crowded)
            && self.logs.iter().map(Log::kept_rows).sum::<usize>() <= cap
    }

    /// Rows of the second with at least `least_bytes` on the wire, and those that say who
    /// began where ports do not; beyond `cap` rows the flows that have the most, and a sample
    /// of the others of about `sample`.
    /// None where the second had too many flows to keep rows.
    pub(crate) fn flows(
        &self,
        cap: usize,
        sample: usize,
        least_bytes: u64,
        seed: Seed,
    ) -> impl Iterator<Item = Lying<'_>> {
        let flows = || self.logs.iter().flat_map(|log| log.flows());
        let singles = self.logs.iter().flat_map(|log| log.singles());
        let rows: usize = self.logs.iter().map(|log| log.rows()).sum();
        let (floor, scale) = if rows <= cap {
            (0, 1)
        } else {
            let mut bytes: Vec<u64> = flows().map(bytes_of).collect();
            let floor = match bytes.len().checked_sub(cap) {
                Some(at) if at > 0 => *bytes.select_nth_unstable(at).1,
                _ => 0,
            };
            let rest = rows - bytes.iter().filter(|&&bytes| bytes > floor).count();
            (floor, rest.div_ceil(sample).max(1) as u64)
        };
        let below = u64::MAX / scale;
        // Another sample in each second: nobody is in all of them, or in none.
        let seed = Seed(seed.mix(self.slice.second().cast_unsigned(), scale));
        let chosen = move |a: &Host, b: &Host, ports: u64| hash_of(seed, a, b, ports) <= below;
        let of_flows = flows()
            .filter(move |row| bytes_of(row) >= least_bytes || tells(row))
            .filter_map(move |row| {
                if bytes_of(row) > floor {
                    return Some(Lying { row: Row::Flow(row), scale: 1 });
                }
                let ports = ports_of(row.port_a, row.port_b);
                let is_chosen = chosen(&row.host_a(), &row.host_b(), ports);
                is_chosen.then_some(Lying { row: Row::Flow(row), scale })
            });
        let of_singles = singles
            .filter(move |row| {
                let ports = (row.src_port, row.dst_port);
                u64::from(row.wire_bytes) >= least_bytes || is_between_clients(row.proto, ports)
            })
            .filter_map(move |row| {
                let ports = ports_of(row.src_port, row.dst_port);
                let is_chosen = chosen(&row.src(), &row.dst(), ports);
                is_chosen.then_some(Lying { row: Row::Single(row), scale })
            });
        of_flows.chain(of_singles)
    }
}

fn bytes_of(row: &FlowSecond) -> u64 {
    u64::from(row.counts[0].wire_bytes) + u64::from(row.counts[1].wire_bytes)
}

/// Whether the row says who began: a handshake, which is hardly any bytes, or the first of
/// what ports do not tell.
fn tells(row: &FlowSecond) -> bool {
    let has = |way: usize, class: PacketClass| row.counts[way].classes[class as usize] > 0;
    let answers =
        |way: usize| has(way, PacketClass::TcpSynAck) && has(1 - way, PacketClass::TcpSyn);
    (row.proto == 6 && (answers(0) || answers(1)))
        || is_between_clients(row.proto, (row.port_a, row.port_b))
}

/// UDP whose ports are both handed out to clients: WireGuard's 51820 is one.
pub(crate) fn is_between_clients(proto: u8, (one, other): (u16, u16)) -> bool {
    proto == 17 && one.min(other) >= EPHEMERAL
}

fn ports_of(first: u16, second: u16) -> u64 {
    u64::from(first) << 16 | u64::from(second)
}

/// A flood asks for it with each of its rows.
#[inline]
fn hash_of(seed: Seed, a: &Host, b: &Host, rest: u64) -> u64 {
    let word = |host: &Host| {
        let [high, low] = halves(&host.address);
        high.rotate_left(32) ^ low
    };
    seed.pair(word(a) ^ rest.rotate_left(32), word(b))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::any_packet;
    use super::super::{ChunkPool, RowRef, WindowSettings};
    use super::*;
    use crate::engine::feed::WindowFeed;
    use crate::packet::{FlowKey, row_flag};

    /// The rows of at least 4 KiB, and those that say who began, of packets of one flow.
    fn rows(proto: u8, ports: (u16, u16), packets: &[(PacketClass, bool, u32)]) -> Vec<FlowRow> {
        let settings = WindowSettings::default();
        let seed = settings.seed;
        let mut feed = WindowFeed::new(settings, Arc::new(ChunkPool::default()));
        let mut row = RowRef::default();
        for &(class, forward, wire_bytes) in packets {
            let mut packet = any_packet();
            packet.key = FlowKey { proto, port_a: ports.0, port_b: ports.1, ..packet.key };
            packet.flags = if forward { row_flag::FORWARD } else { 0 };
            (packet.class, packet.wire_bytes) = (class, wire_bytes);
            feed.live_packet(&mut row, &packet);
        }
        let window = feed.close_next(1).expect("a second");
        let assembled = Assembled { slice: window.slice, sizes: None, logs: vec![window.log] };
        assembled.flows(16, 16, 4_096, seed).map(|row| row.copied()).collect()
    }

    #[test]
    fn small_rows_are_handed_out_where_they_say_who_began() {
        use PacketClass::{TcpAck, TcpSyn, TcpSynAck, Udp};
        let first = |proto, ports, packets: &[_]| {
            let rows = rows(proto, ports, packets);
            assert!(rows.len() <= 1, "{rows:?}");
            rows.first().map(|row| row.first_there)
        };
        let ports = (40_000, 40_001);
        let opens = [(TcpSyn, false, 60), (TcpSynAck, true, 60), (TcpAck, false, 60)];
        assert_eq!(first(6, ports, &opens), Some(Some(false)));
        assert_eq!(first(6, ports, &opens[..1]), None, "a SYN of a flood");
        assert_eq!(first(6, ports, &opens[2..]), None, "later on");
        for forward in [true, false] {
            let asks = [(Udp, forward, 120), (Udp, !forward, 120), (Udp, !forward, 120)];
            for packets in [&asks[..1], &asks[..]] {
                assert_eq!(first(17, ports, packets), Some(Some(forward)));
                assert_eq!(first(17, (40_000, 1_194), packets), None, "the ports say so");
            }
        }
        let large = [(Udp, false, 4_096), (Udp, true, 60)];
        assert_eq!(first(17, (40_000, 53), &large), Some(Some(false)));
    }

    #[test]
    fn rows_of_a_flow_that_differ_do_not_say_who_was_first() {
        let of = |forward| rows(17, (40_000, 40_001), &[(PacketClass::Udp, forward, 120)])[0];
        let mut same = of(true);
        same.merge(&of(true));
        assert_eq!((same.first_there, same.wire_bytes()), (Some(true), 240));
        same.merge(&of(false));
        assert_eq!(same.first_there, None);
    }
}
