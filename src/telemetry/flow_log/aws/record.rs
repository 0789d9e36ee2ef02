//! One record's values to a flow report.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::fields::Field;
use crate::telemetry::decode::{Bad, Out};
use crate::telemetry::flow_log::drop_ports_that_no_packet_had;
use crate::telemetry::label;
use crate::telemetry::observation::{
    Action, FlowDirection, FlowGap, FlowReport, Labels, Seat, Span,
};
use crate::telemetry::text::{address, number};

const NS_PER_S: i64 = 1_000_000_000;
const TCP: u8 = 6;

/// What the fields of a record have said so far.
pub(super) struct Parts {
    /// In its place from the start: it is some hundred bytes to move.
    flow: Box<FlowReport>,
    src: Option<IpAddr>,
    dst: Option<IpAddr>,
    packet_src: Option<IpAddr>,
    packet_dst: Option<IpAddr>,
    start_s: Option<i64>,
    end_s: Option<i64>,
    status: Status,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Ok,
    NoData,
    SkipData,
}

impl Parts {
    pub(super) fn new(labels: usize) -> Self {
        let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let mut flow = Box::new(FlowReport::between(unspecified, unspecified, 0, 0));
        flow.labels = Labels::with_capacity(labels);
        Self {
            flow,
            src: None,
            dst: None,
            packet_src: None,
            packet_dst: None,
            start_s: None,
            end_s: None,
            status: Status::Ok,
        }
    }

    /// One value that is there: not `-`.
    pub(super) fn take(&mut self, field: &Field, value: &[u8], out: &mut Out) -> Result<(), Bad> {
        let flow = &mut self.flow;
        match field {
            Field::Source => self.src = Some(address_of(value)?),
            Field::Destination => self.dst = Some(address_of(value)?),
            Field::PacketSource => self.packet_src = Some(address_of(value)?),
            Field::PacketDestination => self.packet_dst = Some(address_of(value)?),
            Field::SourcePort => flow.src_port = Some(number_of(value)?),
            Field::DestinationPort => flow.dst_port = Some(number_of(value)?),
            Field::Protocol => flow.protocol = Some(number_of(value)?),
            Field::Packets => flow.fwd.packets = Some(number_of(value)?),
            Field::Bytes => flow.fwd.ip_bytes = Some(number_of(value)?),
            Field::Start => self.start_s = Some(number_of(value)?),
            Field::End => self.end_s = Some(number_of(value)?),
            Field::TcpFlags => flow.fwd.tcp_flags = Some(number_of(value)?),
            Field::Action => {
                flow.action = match value {
                    b"ACCEPT" => Some(Action::Accepted),
                    b"REJECT" => Some(Action::Rejected),
                    _ => return Err(Bad::value("unknown action", value)),
                }
            }
            Field::FlowDirection => {
                flow.direction = match value {
                    b"ingress" => Some(FlowDirection::Ingress),
                    b"egress" => Some(FlowDirection::Egress),
                    _ => return Err(Bad::value("unknown direction", value)),
                }
            }
            Field::LogStatus => {
                self.status = match value {
                    b"OK" => Status::Ok,
                    b"NODATA" => Status::NoData,
                    b"SKIPDATA" => Status::SkipData,
                    _ => return Err(Bad::value("unknown log status", value)),
                }
            }
            Field::Observer => flow.observer = out.names.of(value),
            Field::Resource(name) => {
                let value = out.names.of(value);
                if flow.observer.is_empty() {
                    flow.observer = Arc::clone(&value);
                }
                flow.labels.push((Arc::clone(name), value));
            }
            Field::Dropped(_) if value == b"0" => {}
            Field::Label(name) | Field::Dropped(name) => {
                flow.labels.push((Arc::clone(name), out.names.of(value)));
            }
            Field::Unknown { name, label } => {
                out.unknown_field(name);
                flow.labels.push((Arc::clone(label), out.names.of(value)));
            }
            Field::Skipped => {}
        }
        Ok(())
    }

    /// When it was. A format of one of both times alone still says so.
    fn times(&self) -> Result<(i64, i64), Bad> {
        let start_s = self.start_s.or(self.end_s).ok_or_else(|| Bad::new("no start or end"))?;
        let end_s = self.end_s.unwrap_or(start_s);
        let ns = |s: i64| s.checked_mul(NS_PER_S).ok_or_else(|| Bad::new("time out of range"));
        let start_ns = ns(start_s)?;
        Ok((start_ns, ns(end_s)?.max(start_ns)))
    }

    /// The record is over.
    pub(super) fn report(self, out: &mut Out) -> Result<(), Bad> {
        match self.status {
            Status::Ok => {}
            Status::NoData => {
                out.pass("nodata");
                return Ok(());
            }
            Status::SkipData => {
                let has_times = self.start_s.or(self.end_s).is_some();
                // One that is bad counts as that alone.
                let times = if has_times { Some(self.times()?) } else { None };
                // One record, of any number of flows that AWS could not keep.
                out.lost("skipdata", 1);
                if let Some((start_ns, end_ns)) = times {
                    let observer = Arc::clone(&self.flow.observer);
                    out.gap(FlowGap { start_ns, end_ns, observer });
                }
                return Ok(());
            }
        }
        let (start_ns, end_ns) = self.times()?;
        let mut flow = self.flow;
        (flow.start_ns, flow.end_ns) = (start_ns, end_ns);
        let no_address = || Bad::new("no address");
        // Who sent and to whom, not through whose interface: those of a NAT gateway have
        // their own address at one end.
        flow.src = self.packet_src.or(self.src).ok_or_else(no_address)?;
        flow.dst = self.packet_dst.or(self.dst).ok_or_else(no_address)?;
        let ends = [
            (label::INTERFACE_SRC, self.src, flow.src),
            (label::INTERFACE_DST, self.dst, flow.dst),
        ];
        for (name, at_interface, in_packets) in ends {
            if let Some(address) = at_interface.filter(|&address| address != in_packets) {
                let name = out.names.of(name.as_bytes());
                flow.labels.push((name, address.to_string().into()));
            }
        }
        // What a transit gateway counts is at neither end, nor need be what a NAT gateway does:
        // without the addresses at the interface nobody knows.
        let at_interface = self.src.is_some()
            && self.dst.is_some()
            && !flow.observer.starts_with("tgw-")
            && !flow.labels.iter().any(|(name, _)| name.starts_with("aws.tgw-"));
        flow.seat = if at_interface { Seat::Interface } else { Seat::Way };
        // AWS gives the seconds of the first and last packet in the interval, up to a
        // minute late: packets lie anywhere in it.
        flow.span = Span::Interval;
        if flow.protocol.is_some_and(|protocol| protocol != TCP) {
            // Zero there, as of TCP without one of the flags that are looked at.
            flow.fwd.tcp_flags = None;
        }
        drop_ports_that_no_packet_had(&mut flow);
        out.flow(flow);
        Ok(())
    }
}

fn number_of<T: TryFrom<u64>>(value: &[u8]) -> Result<T, Bad> {
    number(value).ok_or_else(|| Bad::value("not a number", value))
}

fn address_of(value: &[u8]) -> Result<IpAddr, Bad> {
    address(value).ok_or_else(|| Bad::value("not an address", value))
}
