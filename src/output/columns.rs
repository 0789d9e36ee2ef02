//! Flow records as a flat table: the columns of CSV and Parquet, stated once.
//!
//! The columns are the same in every file; new ones come behind those of their
//! kind, so readers should go by names.

mod hosts;

use std::borrow::Cow;
use std::fmt::Write as _;

pub(super) use self::hosts::{HOST, OfHost};
use super::ascii::Ascii;
use super::json::mac_text;
use super::names::{
    Icmp, TCP, dns_response_code, dns_type, proto_name, quic_version, tcp_flags, tls_version,
};
use super::ndjson::duration_ns;
use super::spread::Spread;
use crate::flow::app::AppInfo;
use crate::flow::community_id::CommunityId;
use crate::flow::record::SizeStep;
use crate::flow::sizes::{bin_range, stddev};
use crate::flow::{Direction, FlowRecord, Gaps, Sizes};
use crate::input::Origin;
use crate::packet::Mac;
use crate::packet::key::to_ip;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Float,
    Bool,
    Text,
    /// Nanoseconds since the epoch.
    Time,
    /// List of pairs and the names of their two halves.
    Pairs(&'static str, &'static str),
}

/// One cell. Counts are `i64` because not every reader of Parquet knows
/// unsigned numbers; none of them gets near the limit.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Int(i64),
    /// Rounded to three decimals.
    Float(f64),
    Bool(bool),
    Text(Cow<'a, str>),
    Ascii(Ascii),
    Time(i64),
    Pairs(Pairs<'a>),
}

/// The pairs of one cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Pairs<'a> {
    Steps(&'a [SizeStep]),
    Histogram(&'a Sizes),
}

impl Pairs<'_> {
    pub(super) fn for_each(&self, mut take: impl FnMut(i64, i64)) {
        match self {
            Self::Steps(steps) => {
                for step in *steps {
                    let bytes = i64::from(step.payload_bytes);
                    take(if step.fwd { bytes } else { -bytes }, clamp(step.gap_ns));
                }
            }
            Self::Histogram(sizes) => {
                for (bin, &packets) in sizes.bins.iter().enumerate().filter(|(_, n)| **n > 0) {
                    take(i64::from(bin_range(bin).0), i64::from(packets));
                }
            }
        }
    }
}

/// Columns in order: a name, its kind, and how it is read.
pub(super) fn columns() -> Vec<(String, Kind)> {
    let whole = RECORD.iter().map(|column| (column.0.to_owned(), column.1));
    let directions = ["fwd", "rev"].into_iter().flat_map(|side| {
        DIRECTION.iter().map(move |column| (format!("{side}_{}", column.0), column.1))
    });
    let app = APP.iter().map(|column| (column.0.to_owned(), column.1));
    let origin = ORIGIN.iter().map(|column| (column.0.to_owned(), column.1));
    let hosts = ["src", "dst"]
        .into_iter()
        .flat_map(|side| HOST.iter().map(move |column| (format!("{side}_{}", column.0), column.1)));
    whole.chain(directions).chain(app).chain(origin).chain(hosts).collect()
}

/// Hands on the cells of one record, in the order of [`columns`].
pub(super) fn each_cell<'a>(record: &'a FlowRecord, mut take: impl FnMut(Value<'a>)) {
    RECORD.iter().for_each(|column| take((column.2)(record)));
    for direction in [&record.fwd, &record.rev] {
        let side = Side {
            of: direction,
            is_tcp: record.key.proto == TCP,
            spread: Spread::of(&direction.sizes),
        };
        DIRECTION.iter().for_each(|column| take((column.2)(&side)));
    }
    let app = record.app.as_deref();
    APP.iter().for_each(|column| take(app.map_or(Value::Null, column.2)));
    let origin = record.origin.as_deref();
    ORIGIN.iter().for_each(|column| take(origin.map_or(Value::Null, column.2)));
    let hosts = record.hosts.as_deref();
    for side in [hosts.and_then(|h| h.src.as_ref()), hosts.and_then(|h| h.dst.as_ref())] {
        match side {
            Some(side) => HOST.iter().for_each(|column| take((column.2)(side))),
            None => HOST.iter().for_each(|_| take(Value::Null)),
        }
    }
}

/// A direction and what several of its columns need.
struct Side<'a> {
    of: &'a Direction,
    is_tcp: bool,
    spread: Option<Spread>,
}

type OfRecord = (&'static str, Kind, fn(&FlowRecord) -> Value<'_>);
type OfDirection = (&'static str, Kind, for<'a> fn(&Side<'a>) -> Value<'a>);
type OfOrigin = (&'static str, Kind, fn(&Origin) -> Value<'_>);
type OfApp = (&'static str, Kind, fn(&AppInfo) -> Value<'_>);

const RECORD: [OfRecord; 25] = [
    ("start", Kind::Time, |r| Value::Time(r.start_ns)),
    ("end", Kind::Time, |r| Value::Time(r.end_ns)),
    ("duration_ns", Kind::Int, |r| int(duration_ns(r))),
    ("src_ip", Kind::Text, |r| Value::Ascii(r.src_ip().into())),
    ("src_port", Kind::Int, |r| int(r.src_port())),
    ("dst_ip", Kind::Text, |r| Value::Ascii(r.dst_ip().into())),
    ("dst_port", Kind::Int, |r| int(r.dst_port())),
    ("proto", Kind::Int, |r| int(r.key.proto)),
    ("proto_name", Kind::Text, |r| text(proto_name(r.key.proto))),
    ("community_id", Kind::Text, |r| ascii(&CommunityId::of(&r.key, 0).text())),
    ("state", Kind::Text, |r| text(r.state.name())),
    ("answered", Kind::Bool, |r| Value::Bool(r.answered)),
    ("originator_guessed", Kind::Bool, |r| Value::Bool(r.originator_guessed)),
    ("continues", Kind::Bool, |r| Value::Bool(r.continues)),
    ("end_reason", Kind::Text, |r| text(r.end_reason.name())),
    ("decided", Kind::Time, |r| Value::Time(r.decided_ns)),
    ("icmp_type", Kind::Int, |r| icmp(r).map_or(Value::Null, |icmp| int(icmp.kind))),
    ("icmp_code", Kind::Int, |r| icmp(r).and_then(|icmp| icmp.code).map_or(Value::Null, int)),
    ("icmp_id", Kind::Int, |r| {
        icmp(r).filter(|icmp| icmp.has_id).map_or(Value::Null, |_| int(r.key.echo_id))
    }),
    ("vlans", Kind::Text, |r| joined(r.vlans.iter().map(u16::to_string))),
    ("vni", Kind::Int, |r| r.key.vni.checked_sub(1).map_or(Value::Null, int)),
    ("tunnels", Kind::Text, tunnels),
    ("src_mac", Kind::Text, |r| mac(r.src_mac.as_ref())),
    ("dst_mac", Kind::Text, |r| mac(r.dst_mac.as_ref())),
    ("sequence", Kind::Pairs("payload_bytes", "gap_ns"), |r| {
        Value::Pairs(Pairs::Steps(&r.sequence))
    }),
];

const DIRECTION: [OfDirection; 26] = [
    ("packets", Kind::Int, |d| int(d.of.packets)),
    ("wire_bytes", Kind::Int, |d| int(d.of.wire_bytes)),
    ("ip_bytes", Kind::Int, |d| int(d.of.ip_bytes)),
    ("payload_bytes", Kind::Int, |d| int(d.of.payload_bytes)),
    ("payload_min", Kind::Int, |d| d.spread.map_or(Value::Null, |_| int(d.of.sizes.min))),
    ("payload_max", Kind::Int, |d| d.spread.map_or(Value::Null, |_| int(d.of.sizes.max))),
    ("payload_mean", Kind::Float, |d| float(d.spread.map(|spread| spread.mean))),
    ("payload_stddev", Kind::Float, |d| float(d.spread.map(|spread| spread.stddev))),
    ("payload_p50", Kind::Int, |d| percentile(d, 0)),
    ("payload_p90", Kind::Int, |d| percentile(d, 1)),
    ("payload_p99", Kind::Int, |d| percentile(d, 2)),
    ("payload_empty", Kind::Int, |d| int(d.of.sizes.empty())),
    ("payload_histogram", Kind::Pairs("low_bytes", "packets"), |d| {
        Value::Pairs(Pairs::Histogram(&d.of.sizes))
    }),
    ("gap_min_ns", Kind::Int, |d| gaps(d).map_or(Value::Null, |g| int(g.min_ns))),
    ("gap_mean_ns", Kind::Float, |d| float(gaps(d).map(|g| g.sum_ns as f64 / g.count as f64))),
    ("gap_max_ns", Kind::Int, |d| gaps(d).map_or(Value::Null, |g| int(g.max_ns))),
    ("gap_stddev_ns", Kind::Float, |d| {
        float(gaps(d).and_then(|g| stddev(g.count, g.sum_ns, g.sum_squares)))
    }),
    ("tcp_flags", Kind::Text, |d| seen(d, d.is_tcp, |d| Value::Ascii(tcp_flags(d.of.tcp_flags)))),
    ("retransmitted", Kind::Int, |d| seen(d, d.is_tcp, |d| int(d.of.retransmitted))),
    ("out_of_order", Kind::Int, |d| seen(d, d.is_tcp, |d| int(d.of.out_of_order))),
    ("ttl_min", Kind::Int, |d| seen(d, true, |d| int(d.of.ttl_min))),
    ("ttl_max", Kind::Int, |d| seen(d, true, |d| int(d.of.ttl_max))),
    ("fragments", Kind::Int, |d| seen(d, true, |d| int(d.of.fragments))),
    ("entropy", Kind::Float, |d| float(d.of.entropy.map(|(bits, _)| f64::from(bits)))),
    ("entropy_bytes", Kind::Int, |d| d.of.entropy.map_or(Value::Null, |(_, bytes)| int(bytes))),
    ("missed_bytes", Kind::Int, |d| d.of.missed_bytes.map_or(Value::Null, int)),
];

const APP: [OfApp; 19] = [
    ("dns_query", Kind::Text, |a| {
        some(a.dns.as_ref().map(|dns| &*dns.query).filter(|query| !query.is_empty()))
    }),
    ("dns_query_type", Kind::Text, |a| {
        let asked = a.dns.as_ref().filter(|dns| !dns.query.is_empty());
        some(asked.map(|dns| dns_type(dns.query_type)))
    }),
    ("dns_response_code", Kind::Text, |a| {
        some(a.dns.as_ref().and_then(|dns| dns.response_code).map(dns_response_code))
    }),
    ("dns_answers", Kind::Int, |a| {
        a.dns.as_ref().and_then(|dns| dns.answers).map_or(Value::Null, int)
    }),
    ("tls_sni", Kind::Text, |a| some(a.tls.as_ref().and_then(|tls| tls.sni.as_deref()))),
    ("tls_alpn", Kind::Text, |a| a.tls.as_ref().map_or(Value::Null, |tls| joined(&tls.alpn))),
    ("tls_version", Kind::Text, |a| {
        some(a.tls.as_ref().filter(|tls| tls.version != 0).map(|tls| tls_version(tls.version)))
    }),
    ("tls_ja4", Kind::Text, |a| some(a.tls.as_ref().and_then(|tls| tls.ja4.as_deref()))),
    ("quic_version", Kind::Text, |a| some(a.quic.as_ref().map(|quic| quic_version(quic.version)))),
    ("quic_sni", Kind::Text, |a| some(a.quic.as_ref().and_then(|quic| quic.sni.as_deref()))),
    ("quic_alpn", Kind::Text, |a| a.quic.as_ref().map_or(Value::Null, |quic| joined(&quic.alpn))),
    ("quic_ja4", Kind::Text, |a| some(a.quic.as_ref().and_then(|quic| quic.ja4.as_deref()))),
    ("http_method", Kind::Text, |a| some(a.http.as_ref().and_then(|h| h.method.as_deref()))),
    ("http_host", Kind::Text, |a| some(a.http.as_ref().and_then(|h| h.host.as_deref()))),
    ("http_path", Kind::Text, |a| some(a.http.as_ref().and_then(|h| h.path.as_deref()))),
    ("http_user_agent", Kind::Text, |a| {
        some(a.http.as_ref().and_then(|h| h.user_agent.as_deref()))
    }),
    ("http_status", Kind::Int, |a| a.http.as_ref().and_then(|h| h.status).map_or(Value::Null, int)),
    ("ssh_client", Kind::Text, |a| some(a.ssh.as_ref().and_then(|ssh| ssh.client.as_deref()))),
    ("ssh_server", Kind::Text, |a| some(a.ssh.as_ref().and_then(|ssh| ssh.server.as_deref()))),
];

const ORIGIN: [OfOrigin; 4] = [
    ("sensor", Kind::Text, |o| named(&o.sensor)),
    ("interface", Kind::Text, |o| named(&o.interface)),
    ("other_interface", Kind::Text, |o| named(&o.other_interface)),
    ("clock_synchronised", Kind::Bool, |o| o.clock_synchronised.map_or(Value::Null, Value::Bool)),
];

fn named(name: &str) -> Value<'_> {
    some(Some(name).filter(|name| !name.is_empty()))
}

fn int(value: impl Into<u64>) -> Value<'static> {
    Value::Int(clamp(value.into()))
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn float(value: Option<f64>) -> Value<'static> {
    value.map_or(Value::Null, |value| Value::Float((value * 1000.0).round() / 1000.0))
}

fn text<'a>(value: impl Into<Cow<'a, str>>) -> Value<'a> {
    Value::Text(value.into())
}

fn ascii(text: &[u8]) -> Value<'static> {
    Value::Ascii(Ascii::new(text))
}

fn some<'a>(value: Option<impl Into<Cow<'a, str>>>) -> Value<'a> {
    value.map_or(Value::Null, text)
}

/// Elements with spaces between; null without any.
fn joined(elements: impl IntoIterator<Item = impl AsRef<str>>) -> Value<'static> {
    let mut line = String::new();
    for element in elements {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(element.as_ref());
    }
    if line.is_empty() { Value::Null } else { text(line) }
}

/// `kind/id/outer source>outer destination`, the id only where there is one.
fn tunnels(record: &FlowRecord) -> Value<'_> {
    joined(record.tunnels.iter().map(|layer| {
        let mut line = layer.kind.name().to_owned();
        let [src, dst] = [layer.outer_src, layer.outer_dst].map(|ip| to_ip(layer.version, &ip));
        // Writing to a String cannot fail.
        let _ = match layer.id {
            Some(id) => write!(line, "/{id}/{src}>{dst}"),
            None => write!(line, "/{src}>{dst}"),
        };
        line
    }))
}

fn mac(mac: Option<&Mac>) -> Value<'static> {
    mac.map_or(Value::Null, |mac| ascii(&mac_text(mac)))
}

fn icmp(record: &FlowRecord) -> Option<Icmp> {
    Icmp::of(record.key.proto, record.src_port(), record.dst_port())
}

fn gaps<'a>(side: &Side<'a>) -> Option<&'a Gaps> {
    Some(&side.of.gaps).filter(|gaps| gaps.count > 0)
}

fn percentile(side: &Side<'_>, position: usize) -> Value<'static> {
    side.spread.map_or(Value::Null, |spread| int(spread.percentiles[position]))
}

/// Null for a direction that carried nothing or another protocol.
fn seen<'a>(
    side: &Side<'a>,
    applies: bool,
    value: impl FnOnce(&Side<'a>) -> Value<'a>,
) -> Value<'a> {
    if applies && side.of.packets > 0 { value(side) } else { Value::Null }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::samples;

    #[test]
    fn every_cell_is_of_its_columns_kind_or_null() {
        let columns = columns();
        let names: std::collections::BTreeSet<_> = columns.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), columns.len(), "names are distinct");
        let mut filled = vec![0; columns.len()];
        for seed in 0..500 {
            let record = samples::random(seed);
            let mut cells = Vec::new();
            each_cell(&record, |cell| cells.push(cell));
            assert_eq!(cells.len(), columns.len());
            for (position, ((name, kind), cell)) in columns.iter().zip(&cells).enumerate() {
                let fits = match cell {
                    Value::Null => true,
                    Value::Int(_) => *kind == Kind::Int,
                    Value::Float(_) => *kind == Kind::Float,
                    Value::Bool(_) => *kind == Kind::Bool,
                    Value::Text(_) | Value::Ascii(_) => *kind == Kind::Text,
                    Value::Time(_) => *kind == Kind::Time,
                    Value::Pairs(_) => matches!(kind, Kind::Pairs(..)),
                };
                assert!(fits, "{name}: {cell:?}");
                filled[position] += usize::from(*cell != Value::Null);
            }
        }
        // Hints that the generator does not draw.
        let never =
            ["tls_ja4", "quic_alpn", "quic_ja4", "http_host", "http_user_agent", "ssh_server"];
        for ((name, _), filled) in columns.iter().zip(filled) {
            assert_eq!(filled == 0, never.contains(&&**name), "{name}: {filled}");
        }
    }
}
