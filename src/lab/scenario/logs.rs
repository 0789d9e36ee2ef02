//! Logs that belong to the traffic: a web server's, and flow logs of interfaces that are
//! counted from the very packets.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;

use jiff::Timestamp;

use super::play::Notes;
use super::talk::{LogLine, Talk};
use super::world::World;
use crate::lab::synth::frame::ip_proto;

const SECOND_NS: i64 = 1_000_000_000;

/// AWS aggregates over ten minutes by default, and over one where it is asked to.
const INTERVAL_S: i64 = 60;

const ETHERNET_BYTES: u64 = 14;

/// nginx's `combined`.
#[derive(Debug, Default)]
pub(super) struct AccessLog {
    text: String,
}

impl AccessLog {
    pub(super) fn write(
        &mut self,
        time_ns: i64,
        line: &LogLine,
        notes: &mut dyn Notes,
    ) -> io::Result<()> {
        use std::fmt::Write as _;
        let time = Timestamp::from_second(time_ns.div_euclid(SECOND_NS)).unwrap_or_default();
        let time = time.strftime("%d/%b/%Y:%H:%M:%S +0000");
        self.text.clear();
        let LogLine { client, request, status, bytes, agent } = line;
        let _ = write!(self.text, "{client} - - [{time}] \"");
        escape(&mut self.text, request);
        let _ = write!(self.text, "\" {status} {bytes} \"-\" \"");
        escape(&mut self.text, agent);
        self.text.push_str("\"\n");
        notes.access_line(&self.text)
    }
}

/// As nginx does by default.
fn escape(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\x22"),
            '\\' => out.push_str("\\x5C"),
            letter => out.push(letter),
        }
    }
}

/// AWS VPC flow logs, version 2 in the default order.
#[derive(Debug)]
pub(super) struct VpcLog {
    interfaces: BTreeMap<IpAddr, String>,
    minute: i64,
    rows: HashMap<Row, Sums>,
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
struct Sums {
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

    pub(super) fn begin(&self, notes: &mut dyn Notes) -> io::Result<()> {
        if self.interfaces.is_empty() {
            return Ok(());
        }
        notes.vpc_line(
            "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n",
        )
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
            let sums =
                self.rows.entry(row).or_insert_with(|| Sums { first_s: second, ..Sums::default() });
            sums.packets += 1;
            sums.bytes += (frame_bytes as u64).saturating_sub(ETHERNET_BYTES);
            sums.last_s = second;
        }
    }

    pub(super) fn finish(&mut self, notes: &mut dyn Notes) -> io::Result<()> {
        let mut rows: Vec<(Row, Sums)> = self.rows.drain().collect();
        rows.sort_unstable_by_key(|&(row, sums)| (sums.first_s, row));
        for (row, sums) in rows {
            let interface = self.interfaces.get(&row.owner).map_or("-", String::as_str);
            let Row { src, dst, src_port, dst_port, proto, .. } = row;
            let Sums { packets, bytes, first_s, last_s } = sums;
            notes.vpc_line(&format!(
                "2 111122223333 {interface} {src} {dst} {src_port} {dst_port} {proto} {packets} {bytes} {first_s} {last_s} ACCEPT OK\n"
            ))?;
        }
        Ok(())
    }
}
