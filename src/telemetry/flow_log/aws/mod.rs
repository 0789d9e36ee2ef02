//! AWS flow logs, of network interfaces and of transit gateways: text and Parquet.
//!
//! Each record counts one direction over an aggregation interval. The order of
//! fields comes from the header line, from the user's format, or is AWS's default.
//! Start at [`Log`], the decoder of text; [`fields`] has the fields' meanings.

mod fields;
pub(super) mod parquet;
mod record;
#[cfg(test)]
mod tests;
mod words;

use self::fields::Field;
use self::record::Parts;
use self::words::Words;
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Kind};
use crate::telemetry::text::number;

/// Version 2: the default format, without a header in CloudWatch.
const VPC_FIELDS: &str = "version account-id interface-id srcaddr dstaddr srcport dstport \
    protocol packets bytes start end action log-status";

/// All fields up to version 6: the default format of transit gateways.
const TGW_FIELDS: &str = "version resource-type account-id tgw-id tgw-attachment-id \
    tgw-src-vpc-account-id tgw-dst-vpc-account-id tgw-src-vpc-id tgw-dst-vpc-id \
    tgw-src-subnet-id tgw-dst-subnet-id tgw-src-eni tgw-dst-eni tgw-src-az-id tgw-dst-az-id \
    tgw-pair-attachment-id srcaddr dstaddr srcport dstport protocol packets bytes start end \
    log-status type packets-lost-no-route packets-lost-blackhole packets-lost-mtu-exceeded \
    packets-lost-ttl-expired tcp-flags region flow-direction pkt-src-aws-service \
    pkt-dst-aws-service";

/// Fields of a header that are read: AWS has about eighty, of all kinds of flow log.
const MAX_FIELDS: usize = 256;

pub(super) static VPC: Kind = Kind {
    name: "aws-vpc",
    title: "AWS VPC flow log",
    gives: Gives::Flows,
    versions: "2 to 8 and the fields resource-id and encryption-status of later ones; text, any \
        order of fields by its header or --fields; CloudWatch exports and aws logs tail, with \
        their times in front",
    source: "Amazon VPC User Guide: Flow log records; Flow log record examples; Flow log limitations",
    sample: "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets \
        bytes start end action log-status\n\
        2 111122223333 eni-0a1b2c3d 10.0.1.5 203.0.113.9 40112 53 17 120 9600 1760000000 1760000058 ACCEPT OK\n",
    sees: "egress volume, concentration and protocols per interface or instance (AN0972)",
    absent: "metadata, Amazon DNS, DHCP and time traffic; sizes and times of packets; ICMP types; \
        of TCP flags all but FIN, SYN, RST and SYN with ACK",
    // Aggregation of at most 600 s, delivery to a bucket about 600 s.
    lateness_s: 1200,
    framing: Framing::Lines,
    recognise: |head| is_vpc(head.line()),
    decoder: |context| Log::boxed(context, VPC_FIELDS),
};

pub(super) static TGW: Kind = Kind {
    name: "aws-tgw",
    title: "AWS Transit Gateway flow log",
    gives: Gives::Flows,
    versions: "6: text in the default order of its 36 fields, or any by its header or --fields",
    source: "AWS Transit Gateway guide: Transit Gateway Flow Logs",
    sample: "6 TransitGateway 111122223333 tgw-0a1b2c3d tgw-attach-0a1b 111122223333 444455556666 \
        vpc-0a vpc-0b subnet-0a subnet-0b eni-0a eni-0b use1-az1 use1-az2 tgw-attach-0c2d 10.0.1.5 \
        10.1.2.6 40112 53 17 120 9600 1760000000 1760000058 OK IPv4 0 3 0 0 0 us-east-1 ingress - -\n",
    sees: "volume between networks and attachments, packets without a route",
    absent: "what was rejected; multicast; sizes and times of packets; ICMP types",
    // Aggregation of 60 s, always; delivery as of VPC flow logs.
    lateness_s: 660,
    framing: Framing::Lines,
    recognise: |head| is_tgw(head.line()),
    decoder: |context| Log::boxed(context, TGW_FIELDS),
};

fn is_vpc(line: &[u8]) -> bool {
    match header_names(line) {
        Some(names) => !names.iter().any(|name| name.starts_with(b"tgw-")),
        None => is_default_vpc_record(without_cloudwatch_prefix(line)),
    }
}

fn is_tgw(line: &[u8]) -> bool {
    match header_names(line) {
        Some(names) => names.iter().any(|name| name.starts_with(b"tgw-")),
        None => is_default_tgw_record(without_cloudwatch_prefix(line)),
    }
}

/// The names of a header line; of any other line nothing, soon.
fn header_names(line: &[u8]) -> Option<Vec<&[u8]>> {
    // No name of a field begins with a digit: most records do, with their version.
    if line.first().is_none_or(u8::is_ascii_digit) || memchr::memmem::find(line, b"addr").is_none()
    {
        return None;
    }
    let names: Vec<_> = Words::of(line).take(MAX_FIELDS).collect();
    let has = |either: &[u8], or: &[u8]| names.iter().any(|&name| name == either || name == or);
    let is_name = |name: &&[u8]| name.iter().all(|&byte| is_name_byte(byte));
    let is_header = (has(b"srcaddr", b"pkt-srcaddr") || has(b"pkt_srcaddr", b"srcaddr"))
        && (has(b"dstaddr", b"pkt-dstaddr") || has(b"pkt_dstaddr", b"dstaddr"))
        && names.iter().all(is_name);
    is_header.then_some(names)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
}

fn is_account(field: &[u8]) -> bool {
    // Interfaces that a service of AWS made.
    field == b"unknown" || (field.len() == 12 && number::<u64>(field).is_some())
}

/// A record of version 2 without a header: account, interface, status.
fn is_default_vpc_record(line: &[u8]) -> bool {
    let fields: Vec<_> = Words::of(line).take(MAX_FIELDS).collect();
    let &[version, account, interface, .., status] = fields.as_slice() else { return false };
    fields.len() == VPC_FIELDS.split_ascii_whitespace().count()
        && version == b"2"
        && is_account(account)
        && interface.starts_with(b"eni-")
        && matches!(status, b"OK" | b"NODATA" | b"SKIPDATA")
}

fn is_default_tgw_record(line: &[u8]) -> bool {
    let fields: Vec<_> = Words::of(line).take(MAX_FIELDS).collect();
    let &[version, resource, account, gateway, ..] = fields.as_slice() else { return false };
    fields.len() == TGW_FIELDS.split_ascii_whitespace().count()
        && number::<u8>(version).is_some()
        && resource == b"TransitGateway"
        && is_account(account)
        && gateway.starts_with(b"tgw-")
}

/// A line as it was before CloudWatch's export put its time in front of it, and `aws
/// logs tail` the log stream's name too (`eni-0a1b2c3d-all`).
fn without_cloudwatch_prefix(line: &[u8]) -> &[u8] {
    let is_time = matches!(line, [a, b, c, d, b'-', _, _, b'-', _, _, b'T', ..]
        if [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()));
    if !is_time {
        return line;
    }
    let rest = after_field(line);
    let stream = Words::of(rest).next().unwrap_or_default();
    let is_stream = stream.starts_with(b"eni-")
        && [&b"-all"[..], b"-accept", b"-reject"].iter().any(|end| stream.ends_with(end));
    if is_stream { after_field(rest) } else { rest }
}

fn after_field(line: &[u8]) -> &[u8] {
    let end = memchr::memchr2(b' ', b'\t', line).unwrap_or(line.len());
    line[end..].trim_ascii_start()
}

/// Reads a flow log in text.
struct Log {
    fields: Vec<Field>,
    /// How many of them can become labels.
    labels: usize,
}

impl Log {
    fn boxed(context: &Context, default: &str) -> Result<Box<dyn Decoder>, String> {
        let format = context.format.as_deref().unwrap_or(default);
        // As in the header, or as AWS's console and its interface have it: `${srcaddr}`.
        let names = format
            .split(|letter: char| letter.is_ascii_whitespace() || letter == ',')
            .map(|name| name.trim_start_matches("${").trim_end_matches('}'))
            .filter(|name| !name.is_empty());
        let log = Self::of(names.map(Field::named).collect());
        if !log.fields.iter().any(|field| matches!(field, Field::Source | Field::PacketSource)) {
            return Err(format!("the fields '{format}' have no srcaddr"));
        }
        Ok(Box::new(log))
    }

    fn of(fields: Vec<Field>) -> Self {
        let labels = fields.iter().filter(|field| field.is_label()).count();
        Self { fields, labels }
    }
}

impl Decoder for Log {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        if let Some(names) = header_names(record) {
            if names.len() == MAX_FIELDS {
                return Err(Bad::new("a header of too many fields"));
            }
            let names = names.into_iter().map(String::from_utf8_lossy);
            *self = Self::of(names.map(|name| Field::named(&name)).collect());
            return Ok(());
        }
        let mut parts = Parts::new(self.labels);
        let mut values = Words::of(without_cloudwatch_prefix(record));
        for field in &self.fields {
            let value = values.next().ok_or_else(|| Bad::new("fewer fields than the format"))?;
            if value != b"-" {
                parts.take(field, value, out)?;
            }
        }
        if values.next().is_some() {
            return Err(Bad::new("more fields than the format"));
        }
        parts.report(out)
    }
}
