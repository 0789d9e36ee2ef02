//! What logs say of the traffic, counted from the very packets: flows of interfaces, and
//! conversations. How it is written down: [`crate::lab::formats`].

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;

use super::play::Notes;
use super::talk::Talk;
use super::world::World;
use crate::lab::formats::{Conversation, Interval, Sums};
use crate::lab::synth::frame::ip_proto;

const SECOND_NS: i64 = 1_000_000_000;

/// AWS aggregates over ten minutes by default, and over one where it is asked to.
const INTERVAL_S: i64 = 60;

const ETHERNET_BYTES: u64 = 14;

/// What of a conversation somebody on the way has seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Of the first packet: time, and whether it was the client's.
    first: Option<(i64, bool)>,
    last_ns: i64,
    forward: Sums,
    backward: Sums,
}

impl Seen {
    pub(super) fn count(&mut self, now_ns: i64, forward: bool, frame: &[u8]) {
        self.first.get_or_insert((now_ns, forward));
        self.last_ns = now_ns;
        let sums = if forward { &mut self.forward } else { &mut self.backward };
        sums.packets += 1;
        sums.ip_bytes += (frame.len() as u64).saturating_sub(ETHERNET_BYTES);
        sums.payload_bytes += payload_bytes(frame).unwrap_or(0);
    }

    /// Nothing where no packet was seen. Who sent first is the client.
    pub(super) fn conversation(
        &self,
        number: u64,
        talk: &Talk,
        is_over: bool,
    ) -> Option<Conversation> {
        let (start_ns, is_clients) = self.first?;
        let ends = (&talk.client, &talk.server);
        let (client, server) = if is_clients { ends } else { (ends.1, ends.0) };
        let sums = (self.forward, self.backward);
        let (sent, received) = if is_clients { sums } else { (sums.1, sums.0) };
        Some(Conversation {
            number,
            client: (client.seat.address, client.port),
            server: (server.seat.address, server.port),
            proto: talk.proto(),
            start_ns,
            end_ns: self.last_ns,
            sent,
            received,
            is_over,
        })
    }
}

/// Behind Ethernet, IP without options or extensions, and the transport's header.
fn payload_bytes(frame: &[u8]) -> Option<u64> {
    let ip = frame.get(ETHERNET_BYTES as usize..)?;
    let (proto, header_bytes) = match ip.first()? >> 4 {
        4 => (*ip.get(9)?, 20),
        _ => (*ip.get(6)?, 40),
    };
    let transport = ip.get(header_bytes..)?;
    let own_bytes = match proto {
        ip_proto::TCP => usize::from(*transport.get(12)? >> 4) * 4,
        _ => 8,
    };
    Some(transport.len().saturating_sub(own_bytes) as u64)
}

/// Flows of interfaces by the minute, as AWS VPC flow logs have them.
#[derive(Debug)]
pub(super) struct VpcLog {
    interfaces: BTreeMap<IpAddr, String>,
    minute: i64,
    rows: HashMap<Row, Counted>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Row {
    owner: IpAddr,
    src: IpAddr,
    dst: IpAddr,
    src_port: u16,
    dst_port: u16,
    proto: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    packets: u64,
    bytes: u64,
    first_s: i64,
    last_s: i64,
}

impl VpcLog {
    pub(super) fn new(world: &World) -> Self {
        let named = world.hosts.iter().filter_map(|host| {
            let interface = host.interface.clone()?;
            Some((host.address, interface))
        });
        Self { interfaces: named.collect(), minute: i64::MIN, rows: HashMap::new() }
    }

    pub(super) fn advance(&mut self, now_ns: i64, notes: &mut dyn Notes) -> io::Result<()> {
        if self.interfaces.is_empty() {
            return Ok(());
        }
        let minute = now_ns.div_euclid(SECOND_NS * INTERVAL_S);
        if minute != self.minute {
            self.finish(notes)?;
            self.minute = minute;
        }
        Ok(())
    }

    pub(super) fn count(&mut self, now_ns: i64, talk: &Talk, forward: bool, frame_bytes: usize) {
        if self.interfaces.is_empty() {
            return;
        }
        let (src, dst) =
            if forward { (&talk.client, &talk.server) } else { (&talk.server, &talk.client) };
        let second = now_ns.div_euclid(SECOND_NS);
        let is_echo = matches!(talk.proto(), ip_proto::ICMP | ip_proto::ICMPV6);
        let port = |port: u16| if is_echo { 0 } else { port };
        for owner in [src.seat.address, dst.seat.address] {
            if !self.interfaces.contains_key(&owner) {
                continue;
            }
            let row = Row {
                owner,
                src: src.seat.address,
                dst: dst.seat.address,
                src_port: port(src.port),
                dst_port: port(dst.port),
                proto: talk.proto(),
            };
            let sums = self
                .rows
                .entry(row)
                .or_insert_with(|| Counted { first_s: second, ..Counted::default() });
            sums.packets += 1;
            sums.bytes += (frame_bytes as u64).saturating_sub(ETHERNET_BYTES);
            sums.last_s = second;
        }
    }

    pub(super) fn finish(&mut self, notes: &mut dyn Notes) -> io::Result<()> {
        let mut rows: Vec<(Row, Counted)> = self.rows.drain().collect();
        rows.sort_unstable_by_key(|&(row, sums)| (sums.first_s, row));
        for (row, sums) in rows {
            let interface = self.interfaces.get(&row.owner).map_or("-", String::as_str);
            let Counted { packets, bytes, first_s, last_s } = sums;
            notes.interval(&Interval {
                interface,
                src: (row.src, row.src_port),
                dst: (row.dst, row.dst_port),
                proto: row.proto,
                packets,
                bytes,
                first_s,
                last_s,
            })?;
        }
        Ok(())
    }
}
