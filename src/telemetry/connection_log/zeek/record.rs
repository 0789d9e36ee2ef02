//! Fields of a connection to a flow report, whatever they were written as.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::telemetry::connection_log::protocol;
use crate::telemetry::decode::{Bad, Out};
use crate::telemetry::label;
use crate::telemetry::observation::{FlowReport, Measures};
use crate::telemetry::text::{address, epoch_s_ns, number, rfc3339_ns};

/// A field's value that is set.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Text(Cow<'a, [u8]>),
    Unsigned(u64),
    Real(f64),
    Bool(bool),
}

impl Value<'_> {
    fn unsigned(&self) -> Option<u64> {
        match self {
            Self::Text(text) => number(text),
            Self::Unsigned(value) => Some(*value),
            Self::Real(_) | Self::Bool(_) => None,
        }
    }

    /// Seconds or, too large for those, milliseconds since the epoch; ISO 8601.
    fn time_ns(&self) -> Option<i64> {
        /// As seconds the year 5138, as milliseconds 1973.
        const LEAST_MS: f64 = 1e11;
        match self {
            Self::Text(text) => epoch_s_ns(text).or_else(|| rfc3339_ns(text)),
            Self::Unsigned(value) if *value as f64 >= LEAST_MS => {
                i64::try_from(*value).ok()?.checked_mul(1_000_000)
            }
            Self::Real(value) if *value >= LEAST_MS => real_ns(*value / 1000.0),
            _ => self.interval_ns(),
        }
    }

    fn interval_ns(&self) -> Option<i64> {
        match self {
            Self::Text(text) => epoch_s_ns(text),
            Self::Unsigned(value) => i64::try_from(*value).ok()?.checked_mul(1_000_000_000),
            Self::Real(value) => real_ns(*value),
            Self::Bool(_) => None,
        }
    }

    fn text(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Unsigned(value) => Cow::Owned(value.to_string().into_bytes()),
            Self::Real(value) => Cow::Owned(value.to_string().into_bytes()),
            Self::Bool(value) => Cow::Borrowed(if *value { b"T" } else { b"F" }),
        }
    }
}

/// Zeek writes microseconds, and a double since the epoch holds no more.
fn real_ns(seconds: f64) -> Option<i64> {
    let us = (seconds * 1e6).round();
    (us.abs() < 9e15).then(|| us as i64 * 1000)
}

/// What a field is to a flow report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Ts,
    Uid,
    OrigH,
    OrigP,
    RespH,
    RespP,
    Proto,
    IpProto,
    Service,
    Duration,
    OrigBytes,
    RespBytes,
    ConnState,
    MissedBytes,
    OrigPkts,
    OrigIpBytes,
    RespPkts,
    RespIpBytes,
    CommunityId,
    Observer,
    Label(&'static str),
    /// Says nothing that a report needs.
    Skipped,
}

impl Field {
    /// `None` for a field that is not Zeek's own, nor of a package that is known.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ts" => Self::Ts,
            "uid" => Self::Uid,
            "id.orig_h" => Self::OrigH,
            "id.orig_p" => Self::OrigP,
            "id.resp_h" => Self::RespH,
            "id.resp_p" => Self::RespP,
            "proto" => Self::Proto,
            "ip_proto" => Self::IpProto,
            "service" => Self::Service,
            "duration" => Self::Duration,
            "orig_bytes" => Self::OrigBytes,
            "resp_bytes" => Self::RespBytes,
            "conn_state" => Self::ConnState,
            "missed_bytes" => Self::MissedBytes,
            "orig_pkts" => Self::OrigPkts,
            "orig_ip_bytes" => Self::OrigIpBytes,
            "resp_pkts" => Self::RespPkts,
            "resp_ip_bytes" => Self::RespIpBytes,
            "community_id" => Self::CommunityId,
            "sensor" | "_system_name" => Self::Observer,
            "interface" => Self::Label(label::INTERFACE),
            "vlan" => Self::Label(label::VLAN),
            "history" => Self::Label("zeek.history"),
            "local_orig" => Self::Label("zeek.local_orig"),
            "local_resp" => Self::Label("zeek.local_resp"),
            "tunnel_parents" => Self::Label("zeek.tunnel_parents"),
            "inner_vlan" => Self::Label("zeek.inner_vlan"),
            "orig_l2_addr" => Self::Label("zeek.orig_l2_addr"),
            "resp_l2_addr" => Self::Label("zeek.resp_l2_addr"),
            "other_interface" => Self::Label("zeek.other_interface"),
            "clock_synchronised" => Self::Label("zeek.clock_synchronised"),
            "_path" | "_write_ts" => Self::Skipped,
            _ => return None,
        })
    }

    /// What it is kept under, where a report has no place of its own for it.
    pub(super) fn label(&self) -> Option<&'static str> {
        match self {
            Self::Uid => Some(label::UID),
            Self::CommunityId => Some(label::COMMUNITY_ID),
            Self::Label(name) => Some(name),
            _ => None,
        }
    }

    /// Has another value for nearly each connection: none to be remembered.
    fn is_unique(&self) -> bool {
        match self {
            Self::Uid | Self::CommunityId => true,
            Self::Label(name) => *name == "zeek.tunnel_parents",
            _ => false,
        }
    }
}

/// What the fields of a connection have said so far.
#[derive(Debug)]
pub(super) struct Connection {
    flow: FlowReport,
    rev: Measures,
    ts_ns: Option<i64>,
    duration_ns: i64,
    orig: Option<IpAddr>,
    resp: Option<IpAddr>,
    orig_p: Option<u16>,
    resp_p: Option<u16>,
    is_icmp: bool,
    has_state: bool,
}

impl Default for Connection {
    fn default() -> Self {
        let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            flow: FlowReport::between(unspecified, unspecified, 0, 0),
            rev: Measures::default(),
            ts_ns: None,
            duration_ns: 0,
            orig: None,
            resp: None,
            orig_p: None,
            resp_p: None,
            is_icmp: false,
            has_state: false,
        }
    }
}

impl Connection {
    pub(super) fn take(
        &mut self,
        field: &Field,
        value: &Value<'_>,
        out: &mut Out,
    ) -> Result<(), Bad> {
        let bad = |reason| Bad::value(reason, &value.text());
        let count = || value.unsigned().ok_or_else(|| bad("not a count"));
        let port = || {
            let port = value.unsigned().and_then(|port| u16::try_from(port).ok());
            port.ok_or_else(|| bad("not a port"))
        };
        let address = || match value {
            Value::Text(text) => address(text).ok_or_else(|| bad("not an address")),
            _ => Err(bad("not an address")),
        };
        let (fwd, rev) = (&mut self.flow.fwd, &mut self.rev);
        match field {
            Field::Ts => self.ts_ns = Some(value.time_ns().ok_or_else(|| bad("not a time"))?),
            Field::Duration => {
                self.duration_ns = value.interval_ns().ok_or_else(|| bad("not a duration"))?;
            }
            Field::OrigH => self.orig = Some(address()?),
            Field::RespH => self.resp = Some(address()?),
            Field::OrigP => self.orig_p = Some(port()?),
            Field::RespP => self.resp_p = Some(port()?),
            Field::Proto => match &*value.text() {
                b"icmp" => self.is_icmp = true,
                b"unknown_transport" => {}
                name => self.flow.protocol = protocol::number(name),
            },
            Field::IpProto => {
                let protocol = value.unsigned().and_then(|number| u8::try_from(number).ok());
                self.flow.protocol = Some(protocol.ok_or_else(|| bad("not a protocol"))?);
            }
            Field::Service => self.flow.app = Some(out.names.of(&value.text())),
            Field::ConnState => {
                self.has_state = true;
                self.flow.state = Some(out.names.of(&value.text()));
            }
            Field::OrigBytes => fwd.payload_bytes = Some(count()?),
            Field::RespBytes => rev.payload_bytes = Some(count()?),
            Field::OrigPkts => fwd.packets = Some(count()?),
            Field::RespPkts => rev.packets = Some(count()?),
            Field::OrigIpBytes => fwd.ip_bytes = Some(count()?),
            Field::RespIpBytes => rev.ip_bytes = Some(count()?),
            Field::MissedBytes => self.missed(count()?, out),
            Field::Observer => self.flow.observer = out.names.of(&value.text()),
            Field::Uid | Field::CommunityId | Field::Label(_) => {
                let label = out.names.of(field.label().unwrap_or_default().as_bytes());
                self.label(field, &label, value, out);
            }
            Field::Skipped => {}
        }
        Ok(())
    }

    /// Zeek counts both sides' gaps as one number: told as each side's only where there
    /// are none.
    fn missed(&mut self, bytes: u64, out: &mut Out) {
        if bytes == 0 {
            (self.flow.fwd.missed_bytes, self.rev.missed_bytes) = (Some(0), Some(0));
            return;
        }
        out.lost("missed bytes", bytes);
        let name = out.names.of(b"zeek.missed_bytes");
        self.flow.labels.push((name, bytes.to_string().into()));
    }

    /// A field that is kept under a label.
    pub(super) fn label(
        &mut self,
        field: &Field,
        label: &Arc<str>,
        value: &Value<'_>,
        out: &mut Out,
    ) {
        let value = match value.text() {
            text if field.is_unique() => String::from_utf8_lossy(&text).into(),
            text => out.names.of(&text),
        };
        self.flow.labels.push((Arc::clone(label), value));
    }

    /// A field that is not known, under its own name.
    pub(super) fn unknown(
        &mut self,
        name: &str,
        label: &Arc<str>,
        value: &Value<'_>,
        out: &mut Out,
    ) {
        out.unknown_field(name);
        self.flow.labels.push((Arc::clone(label), out.names.of(&value.text())));
    }

    pub(super) fn report(self, out: &mut Out) -> Result<(), Bad> {
        let (Some(src), Some(dst)) = (self.orig, self.resp) else {
            return Err(Bad::new("no address"));
        };
        if !self.has_state {
            // Zeek's other logs of connections have no counts.
            out.pass("record of another log");
            return Ok(());
        }
        let start_ns = self.ts_ns.ok_or_else(|| Bad::new("no time"))?;
        let mut flow = self.flow;
        flow.end_ns = start_ns
            .checked_add(self.duration_ns.max(0))
            .ok_or_else(|| Bad::new("time out of range"))?;
        (flow.src, flow.dst, flow.start_ns) = (src, dst, start_ns);
        flow.originator_known = true;
        flow.rev = Some(self.rev);
        if self.is_icmp && flow.protocol.is_none() {
            flow.protocol = Some(protocol::icmp_of(src));
        }
        if flow.protocol.is_some_and(protocol::is_icmp) {
            flow.icmp =
                self.orig_p.zip(self.resp_p).and_then(|(kind, other)| icmp(src, kind, other));
        } else {
            (flow.src_port, flow.dst_port) = (self.orig_p, self.resp_p);
        }
        out.flow(flow);
        Ok(())
    }
}

/// Type and code of the originator's messages. Of messages with a reply of their own
/// Zeek has the reply's type in place of the code, which is 0 in all of them.
fn icmp(src: IpAddr, kind: u16, other: u16) -> Option<(u8, u8)> {
    const PAIRS_V4: &[(u8, u8)] = &[(8, 0), (10, 9), (13, 14), (15, 16), (17, 18)];
    const PAIRS_V6: &[(u8, u8)] = &[(128, 129), (130, 131), (133, 134), (135, 136), (139, 140)];
    let (kind, other) = (u8::try_from(kind).ok()?, u8::try_from(other).ok()?);
    let pairs = if src.is_ipv6() { PAIRS_V6 } else { PAIRS_V4 };
    let is_pair = pairs.iter().any(|&pair| pair == (kind, other) || pair == (other, kind));
    Some((kind, if is_pair { 0 } else { other }))
}
