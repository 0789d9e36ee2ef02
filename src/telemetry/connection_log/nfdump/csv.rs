//! `nfdump -o csv`: columns by the header.

use std::net::{IpAddr, Ipv4Addr};

use memchr::memchr_iter;

use super::{action, tcp_flags};
use crate::telemetry::connection_log::protocol;
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::kind::Head;
use crate::telemetry::label;
use crate::telemetry::observation::{FlowDirection, FlowReport, Measures, Span};
use crate::telemetry::text::{address, epoch_s_ns, number, rfc3339_ns};

const NS_PER_S: i64 = 1_000_000_000;

pub(super) fn recognise(head: &Head<'_>) -> bool {
    is_header(head.line())
}

/// Begins with both times and has addresses, by the names of before 1.7.4 or since.
fn is_header(line: &[u8]) -> bool {
    let has = |name: &[u8]| line.split(|&byte| byte == b',').any(|column| column == name);
    (line.starts_with(b"ts,te,td,") && has(b"sa") && has(b"da"))
        || (line.starts_with(b"firstSeen,duration,") && has(b"srcAddr") && has(b"dstAddr"))
}

pub(super) fn decoder(context: &Context) -> Result<Box<dyn Decoder>, String> {
    let columns: Vec<_> = match &context.format {
        Some(format) => format.split(',').map(|name| Column::named(name.trim())).collect(),
        None => Vec::new(),
    };
    match &context.format {
        Some(format) if !columns.contains(&Column::SourceAddress) => {
            Err(format!("the columns '{format}' have no sa"))
        }
        _ => Ok(Box::new(Csv { columns, in_summary: false })),
    }
}

/// What a column is to a flow report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    First,
    Last,
    Duration,
    SourceAddress,
    DestinationAddress,
    SourcePort,
    DestinationPort,
    Protocol,
    Flags,
    ForwardingStatus,
    InPackets,
    InBytes,
    OutPackets,
    OutBytes,
    Direction,
    Router,
    /// 0 where the exporter did not send it.
    Number(&'static str),
    /// An address of zeros where it did not.
    Address(&'static str),
    Skipped,
}

impl Column {
    fn named(name: &str) -> Self {
        match name {
            "ts" | "firstSeen" => Self::First,
            "te" | "lastSeen" => Self::Last,
            "td" | "duration" => Self::Duration,
            "sa" | "srcAddr" => Self::SourceAddress,
            "da" | "dstAddr" => Self::DestinationAddress,
            "sp" | "srcPort" => Self::SourcePort,
            "dp" | "dstPort" => Self::DestinationPort,
            "pr" | "proto" => Self::Protocol,
            "flg" | "flags" => Self::Flags,
            "fwd" => Self::ForwardingStatus,
            "ipkt" | "packets" => Self::InPackets,
            "ibyt" | "bytes" => Self::InBytes,
            "opkt" => Self::OutPackets,
            "obyt" => Self::OutBytes,
            "dir" => Self::Direction,
            "ra" => Self::Router,
            "stos" => Self::Number(label::TOS),
            "in" => Self::Number(label::INPUT_INTERFACE),
            "out" => Self::Number(label::OUTPUT_INTERFACE),
            "sas" => Self::Number(label::SRC_AS),
            "das" => Self::Number(label::DST_AS),
            "svln" => Self::Number(label::VLAN),
            "dvln" => Self::Number("nfdump.dvln"),
            "exid" => Self::Number("nfdump.exid"),
            "nh" => Self::Address(label::NEXT_HOP),
            // Masks, hardware addresses, MPLS labels, latencies: nothing needs them yet.
            _ => Self::Skipped,
        }
    }
}

struct Csv {
    columns: Vec<Column>,
    /// Behind the records a summary follows, with a header of its own.
    in_summary: bool,
}

impl Decoder for Csv {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        if is_header(record) {
            let names = record.split(|&byte| byte == b',').map(String::from_utf8_lossy);
            self.columns = names.map(|name| Column::named(&name)).collect();
            self.in_summary = false;
            return Ok(());
        }
        if record == b"Summary" || record.starts_with(b"Summary:") {
            self.in_summary = true;
        }
        if self.in_summary || record == b"No matching flows" {
            out.pass("summary");
            return Ok(());
        }
        if self.columns.is_empty() {
            return Err(Bad::new("no header before it"));
        }
        let mut parts = Parts::default();
        let mut begin = 0;
        let mut ends = memchr_iter(b',', record).chain([record.len()]);
        for &column in &self.columns {
            let end = ends.next().ok_or_else(|| Bad::new("fewer fields than the header"))?;
            parts.take(column, record[begin..end].trim_ascii(), out)?;
            begin = end + 1;
        }
        if ends.next().is_some() {
            return Err(Bad::new("more fields than the header"));
        }
        parts.report(out)
    }
}

struct Parts<'a> {
    flow: FlowReport,
    rev: Measures,
    src: Option<IpAddr>,
    dst: Option<IpAddr>,
    first_ns: Option<i64>,
    last_ns: Option<i64>,
    duration_ns: Option<i64>,
    /// The time has no fraction: it was cut to the second.
    is_cut: bool,
    dst_port: &'a [u8],
}

impl Default for Parts<'_> {
    fn default() -> Self {
        let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            flow: FlowReport::between(unspecified, unspecified, 0, 0),
            rev: Measures::default(),
            src: None,
            dst: None,
            first_ns: None,
            last_ns: None,
            duration_ns: None,
            is_cut: false,
            dst_port: b"",
        }
    }
}

impl<'a> Parts<'a> {
    fn take(&mut self, column: Column, value: &'a [u8], out: &mut Out) -> Result<(), Bad> {
        let count = || number::<u64>(value).ok_or_else(|| Bad::value("not a number", value));
        let of_address = || address(value).ok_or_else(|| Bad::value("not an address", value));
        let (fwd, rev) = (&mut self.flow.fwd, &mut self.rev);
        match column {
            Column::First => {
                self.is_cut = !value.contains(&b'.');
                self.first_ns = Some(local_ns(value)?);
            }
            Column::Last => self.last_ns = Some(local_ns(value)?),
            Column::Duration => self.duration_ns = epoch_s_ns(value),
            Column::SourceAddress => self.src = Some(of_address()?),
            Column::DestinationAddress => self.dst = Some(of_address()?),
            Column::SourcePort => {
                let port = number(value).ok_or_else(|| Bad::value("not a port", value))?;
                self.flow.src_port = Some(port);
            }
            // Whether it is one, the protocol says.
            Column::DestinationPort => self.dst_port = value,
            Column::Protocol => {
                self.flow.protocol = protocol::number(value);
                if self.flow.protocol.is_none() {
                    out.bad_part("unknown protocol");
                }
            }
            Column::Flags => fwd.tcp_flags = tcp_flags(value),
            Column::ForwardingStatus => self.flow.action = action(count()?),
            Column::InPackets => fwd.packets = Some(count()?),
            Column::InBytes => fwd.ip_bytes = Some(count()?),
            Column::OutPackets => rev.packets = Some(count()?),
            Column::OutBytes => rev.ip_bytes = Some(count()?),
            // 0 is ingress, and what stands where the exporter does not say.
            Column::Direction if value == b"1" => self.flow.direction = Some(FlowDirection::Egress),
            Column::Router if !is_zeros(value) => self.flow.observer = out.names.of(value),
            Column::Number(name) if !is_zeros(value) => self.label(name, value, out),
            Column::Address(name) if !is_zeros(value) => self.label(name, value, out),
            Column::Direction
            | Column::Router
            | Column::Number(_)
            | Column::Address(_)
            | Column::Skipped => {}
        }
        Ok(())
    }

    fn label(&mut self, name: &str, value: &[u8], out: &mut Out) {
        self.flow.labels.push((out.names.of(name.as_bytes()), out.names.of(value)));
    }

    fn report(self, out: &mut Out) -> Result<(), Bad> {
        let (src, dst) = self.src.zip(self.dst).ok_or_else(|| Bad::new("no address"))?;
        let first_ns = self.first_ns.ok_or_else(|| Bad::new("no time"))?;
        let last_ns = self.last_ns.or_else(|| first_ns.checked_add(self.duration_ns?));
        let mut flow = self.flow;
        (flow.src, flow.dst, flow.start_ns) = (src, dst, first_ns);
        flow.end_ns = last_ns.unwrap_or(first_ns).max(first_ns);
        if self.is_cut {
            // The packets lie somewhere in these whole seconds.
            flow.end_ns = flow.end_ns.saturating_add(NS_PER_S);
            flow.span = Span::Interval;
        }
        if flow.protocol != Some(6) {
            flow.fwd.tcp_flags = None;
        }
        if flow.protocol.is_some_and(protocol::is_icmp) {
            flow.icmp = icmp(self.dst_port);
            flow.src_port = None;
        } else {
            flow.dst_port = match number(self.dst_port) {
                Some(port) => Some(port),
                None if self.dst_port.is_empty() => None,
                None => return Err(Bad::value("not a port", self.dst_port)),
            };
        }
        // Zero is what stands there of a record of one direction.
        if self.rev.packets.is_some_and(|packets| packets > 0) {
            flow.rev = Some(self.rev);
        }
        out.flow(flow);
        Ok(())
    }
}

/// `2048` (type times 256, and code) or `8.0`.
fn icmp(dst_port: &[u8]) -> Option<(u8, u8)> {
    if let Some(both) = number::<u16>(dst_port) {
        let [kind, code] = both.to_be_bytes();
        return Some((kind, code));
    }
    let dot = dst_port.iter().position(|&byte| byte == b'.')?;
    Some((number(&dst_port[..dot])?, number(&dst_port[dot + 1..])?))
}

/// Whether a number or an address is nothing but zeros.
fn is_zeros(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b'0' | b'.' | b':'))
}

/// `2026-03-01 10:15:02`, with a fraction or not.
fn local_ns(value: &[u8]) -> Result<i64, Bad> {
    const LONGEST: usize = "2026-03-01 10:15:02.114903221".len();
    let mut text = [0; LONGEST];
    let time = text.get_mut(..value.len()).and_then(|text| {
        text.copy_from_slice(value);
        *text.get_mut(10)? = b'T';
        rfc3339_ns(text)
    });
    time.ok_or_else(|| Bad::value("not a time", value))
}
