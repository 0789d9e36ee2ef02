//! AWS VPC flow logs as text, one record a line.
//!
//! Each record counts one direction over an aggregation interval. The order of
//! fields comes from the header line, from the user's format, or is version 2's.

use std::sync::Arc;

use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::label;
use crate::telemetry::observation::{Action, FlowDirection, FlowReport, Span};
use crate::telemetry::text::{address, number};

const NS_PER_S: i64 = 1_000_000_000;

/// Version 2: the default format, without a header in CloudWatch.
const DEFAULT_FIELDS: &str = "version account-id interface-id srcaddr dstaddr srcport dstport \
    protocol packets bytes start end action log-status";

pub(super) static VPC: Kind = Kind {
    name: "aws-vpc",
    title: "AWS VPC flow log",
    gives: Gives::Flows,
    versions: "2 and up, any order of fields, text",
    source: "Amazon VPC user guide, flow log records",
    sample: "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets \
        bytes start end action log-status\n\
        2 111122223333 eni-0a1b2c3d 10.0.1.5 203.0.113.9 40112 53 17 120 9600 1760000000 1760000058 ACCEPT OK\n",
    sees: "egress volume, concentration and protocols per interface or instance (AN0972)",
    absent: "metadata, Amazon DNS, DHCP and time traffic; sizes and times of packets; ICMP types",
    // Aggregation of at most 600 s, delivery about 600 s.
    lateness_s: 1200,
    framing: Framing::Lines,
    recognise,
    decoder,
};

fn recognise(head: &Head<'_>) -> bool {
    let line = head.line();
    is_header(line) || is_default_record(line)
}

/// A line of field names.
fn is_header(line: &[u8]) -> bool {
    let names: Vec<_> = fields_of(line).collect();
    [&b"srcaddr"[..], b"dstaddr"].iter().all(|name| names.contains(name))
        && names.iter().all(|name| name.iter().all(|&byte| is_name_byte(byte)))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
}

/// A record of version 2 without a header: account, interface, status.
fn is_default_record(line: &[u8]) -> bool {
    let fields: Vec<_> = fields_of(line).collect();
    let &[version, account, interface, .., status] = fields.as_slice() else { return false };
    fields.len() == DEFAULT_FIELDS.split_ascii_whitespace().count()
        && version == b"2"
        && account.len() == 12
        && number::<u64>(account).is_some()
        && interface.starts_with(b"eni-")
        && matches!(status, b"OK" | b"NODATA" | b"SKIPDATA")
}

fn fields_of(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty())
}

/// What a field of a record is to a flow report.
#[derive(Clone, Debug)]
enum Field {
    Source,
    Destination,
    PacketSource,
    PacketDestination,
    SourcePort,
    DestinationPort,
    Protocol,
    Packets,
    Bytes,
    Start,
    End,
    Action,
    LogStatus,
    TcpFlags,
    FlowDirection,
    Interface,
    /// Says nothing that a report needs.
    Skipped,
    Label(Arc<str>),
    /// A field that came after this was written: kept under AWS's name, and counted.
    Unknown {
        name: Arc<str>,
        label: Arc<str>,
    },
}

impl Field {
    fn named(name: &str) -> Self {
        // Parquet and Athena write underscores.
        let name = name.replace('_', "-");
        let known = |label: &str| Self::Label(label.into());
        match name.as_str() {
            "srcaddr" => Self::Source,
            "dstaddr" => Self::Destination,
            "pkt-srcaddr" => Self::PacketSource,
            "pkt-dstaddr" => Self::PacketDestination,
            "srcport" => Self::SourcePort,
            "dstport" => Self::DestinationPort,
            "protocol" => Self::Protocol,
            "packets" => Self::Packets,
            "bytes" => Self::Bytes,
            "start" => Self::Start,
            "end" => Self::End,
            "action" => Self::Action,
            "log-status" => Self::LogStatus,
            "tcp-flags" => Self::TcpFlags,
            "flow-direction" => Self::FlowDirection,
            "interface-id" => Self::Interface,
            "version" | "type" => Self::Skipped,
            "account-id" => known(label::ACCOUNT),
            "vpc-id" => known(label::VPC),
            "subnet-id" => known(label::SUBNET),
            "instance-id" => known(label::INSTANCE),
            "region" => known(label::REGION),
            "az-id" => known(label::ZONE),
            "pkt-src-aws-service" => known(label::SRC_SERVICE),
            "pkt-dst-aws-service" => known(label::DST_SERVICE),
            "reject-reason" => known(label::REJECT_REASON),
            "sublocation-type" | "sublocation-id" | "traffic-path" => known(&format!("aws.{name}")),
            _ => Self::Unknown { label: format!("aws.{name}").into(), name: name.into() },
        }
    }
}

struct Vpc {
    fields: Vec<Field>,
}

fn decoder(context: &Context) -> Result<Box<dyn Decoder>, String> {
    let format = context.format.as_deref().unwrap_or(DEFAULT_FIELDS);
    let fields: Vec<_> = format
        .split(|letter: char| letter.is_ascii_whitespace() || letter == ',')
        .map(|name| name.trim_start_matches("${").trim_end_matches('}'))
        .filter(|name| !name.is_empty())
        .map(Field::named)
        .collect();
    if !fields.iter().any(|field| matches!(field, Field::Source)) {
        return Err(format!("the fields '{format}' have no srcaddr"));
    }
    Ok(Box::new(Vpc { fields }))
}

impl Decoder for Vpc {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        if is_header(record) {
            let names = fields_of(record).map(|name| String::from_utf8_lossy(name));
            self.fields = names.map(|name| Field::named(&name)).collect();
            return Ok(());
        }
        let mut flow = Parts::default();
        let mut values = fields_of(record);
        for field in &self.fields {
            let value = values.next().ok_or_else(|| Bad::new("fewer fields than the header"))?;
            if value != b"-" {
                flow.take(field, value, out)?;
            }
        }
        if values.next().is_some() {
            return Err(Bad::new("more fields than the header"));
        }
        flow.report(out)
    }
}

/// What the fields of a record have said so far.
#[derive(Default)]
struct Parts {
    src: Option<std::net::IpAddr>,
    dst: Option<std::net::IpAddr>,
    start_s: Option<i64>,
    end_s: Option<i64>,
    status: Option<&'static str>,
    flow: Option<FlowReport>,
}

impl Parts {
    fn flow(&mut self) -> &mut FlowReport {
        let unspecified = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        self.flow.get_or_insert_with(|| FlowReport::between(unspecified, unspecified, 0, 0))
    }

    fn take(&mut self, field: &Field, value: &[u8], out: &mut Out) -> Result<(), Bad> {
        fn of<T: std::str::FromStr>(value: &[u8]) -> Result<T, Bad> {
            number(value).ok_or_else(|| Bad::value("not a number", value))
        }
        let of_address =
            |value: &[u8]| address(value).ok_or_else(|| Bad::value("not an address", value));
        match field {
            Field::Source => self.src = Some(of_address(value)?),
            Field::Destination => self.dst = Some(of_address(value)?),
            Field::SourcePort => self.flow().src_port = Some(of(value)?),
            Field::DestinationPort => self.flow().dst_port = Some(of(value)?),
            Field::Protocol => self.flow().protocol = Some(of(value)?),
            Field::Packets => self.flow().fwd.packets = Some(of(value)?),
            Field::Bytes => self.flow().fwd.ip_bytes = Some(of(value)?),
            Field::Start => self.start_s = Some(of(value)?),
            Field::End => self.end_s = Some(of(value)?),
            Field::TcpFlags => self.flow().fwd.tcp_flags = Some(of(value)?),
            Field::Action => {
                self.flow().action = match value {
                    b"ACCEPT" => Some(Action::Accepted),
                    b"REJECT" => Some(Action::Rejected),
                    _ => return Err(Bad::value("unknown action", value)),
                }
            }
            Field::FlowDirection => {
                self.flow().direction = match value {
                    b"ingress" => Some(FlowDirection::Ingress),
                    b"egress" => Some(FlowDirection::Egress),
                    _ => return Err(Bad::value("unknown direction", value)),
                }
            }
            Field::LogStatus => {
                self.status = Some(match value {
                    b"OK" => "ok",
                    b"NODATA" => "nodata",
                    b"SKIPDATA" => "skipdata",
                    _ => return Err(Bad::value("unknown log status", value)),
                });
            }
            Field::Interface => self.flow().observer = out.names.of(value),
            Field::PacketSource => self.label(label::PACKET_SRC, value, out),
            Field::PacketDestination => self.label(label::PACKET_DST, value, out),
            Field::Label(name) => {
                let value = out.names.of(value);
                self.flow().labels.push((Arc::clone(name), value));
            }
            Field::Unknown { name, label } => {
                out.unknown_field(name);
                let value = out.names.of(value);
                self.flow().labels.push((Arc::clone(label), value));
            }
            Field::Skipped => {}
        }
        Ok(())
    }

    fn label(&mut self, name: &str, value: &[u8], out: &mut Out) {
        let (name, value) = (out.names.of(name.as_bytes()), out.names.of(value));
        self.flow().labels.push((name, value));
    }

    fn report(mut self, out: &mut Out) -> Result<(), Bad> {
        match self.status {
            Some("nodata") => {
                out.pass("nodata");
                return Ok(());
            }
            Some("skipdata") => {
                out.lost("skipdata", 1);
                return Ok(());
            }
            _ => {}
        }
        let (src, dst) = self.src.zip(self.dst).ok_or_else(|| Bad::new("no address"))?;
        let (start_s, end_s) =
            self.start_s.zip(self.end_s).ok_or_else(|| Bad::new("no start or no end"))?;
        let ns = |s: i64| s.checked_mul(NS_PER_S).ok_or_else(|| Bad::new("time out of range"));
        let (start_ns, end_ns) = (ns(start_s)?, ns(end_s)?);
        let mut flow = self.flow.take().unwrap_or_else(|| FlowReport::between(src, dst, 0, 0));
        (flow.src, flow.dst, flow.span) = (src, dst, Span::Interval);
        (flow.start_ns, flow.end_ns) = (start_ns, end_ns.max(start_ns));
        out.flow(flow);
        Ok(())
    }
}
