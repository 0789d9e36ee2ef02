//! `flow` and `netflow` events to flow reports.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, de};

use crate::telemetry::connection_log::protocol;
use crate::telemetry::decode::{Bad, Out};
use crate::telemetry::label;
use crate::telemetry::observation::{Action, FlowReport, Measures};
use crate::telemetry::text::{address, rfc3339_ns};

#[derive(Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, default)]
    timestamp: Cow<'a, str>,
    #[serde(default)]
    pub(super) flow_id: Option<u64>,
    #[serde(default)]
    parent_id: Option<u64>,
    #[serde(borrow, default)]
    in_iface: Cow<'a, str>,
    /// The sensor's name.
    #[serde(borrow, default)]
    host: Cow<'a, str>,
    #[serde(default, deserialize_with = "one_or_many")]
    vlan: Vec<u16>,
    #[serde(borrow, default)]
    src_ip: Cow<'a, str>,
    #[serde(default)]
    src_port: Option<u16>,
    #[serde(borrow, default)]
    dest_ip: Cow<'a, str>,
    #[serde(default)]
    dest_port: Option<u16>,
    #[serde(borrow, default)]
    proto: Cow<'a, str>,
    #[serde(default)]
    icmp_type: Option<u8>,
    #[serde(default)]
    icmp_code: Option<u8>,
    #[serde(borrow, default)]
    app_proto: Cow<'a, str>,
    #[serde(borrow, default)]
    community_id: Cow<'a, str>,
    #[serde(borrow, default)]
    flow: Option<Flow<'a>>,
    #[serde(borrow, default)]
    netflow: Option<Netflow<'a>>,
    #[serde(borrow, default)]
    tcp: Option<Tcp<'a>>,
    /// Ours, in eve.json that flowtap wrote.
    #[serde(default)]
    flowtap: Option<Own>,
}

#[derive(Deserialize)]
struct Flow<'a> {
    #[serde(default)]
    pkts_toserver: Option<u64>,
    #[serde(default)]
    pkts_toclient: Option<u64>,
    #[serde(default)]
    bytes_toserver: Option<u64>,
    #[serde(default)]
    bytes_toclient: Option<u64>,
    #[serde(borrow, default)]
    start: Cow<'a, str>,
    #[serde(borrow, default)]
    end: Cow<'a, str>,
    #[serde(borrow, default)]
    state: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Cow<'a, str>,
    #[serde(borrow, default)]
    bypass: Cow<'a, str>,
    #[serde(borrow, default)]
    action: Cow<'a, str>,
    #[serde(default)]
    alerted: bool,
    #[serde(default)]
    emergency: bool,
}

#[derive(Deserialize)]
struct Netflow<'a> {
    #[serde(default)]
    pkts: Option<u64>,
    #[serde(default)]
    bytes: Option<u64>,
    #[serde(borrow, default)]
    start: Cow<'a, str>,
    #[serde(borrow, default)]
    end: Cow<'a, str>,
    #[serde(default)]
    min_ttl: Option<u8>,
    #[serde(default)]
    max_ttl: Option<u8>,
}

#[derive(Deserialize)]
struct Tcp<'a> {
    #[serde(borrow, default)]
    tcp_flags: Cow<'a, str>,
    #[serde(borrow, default)]
    tcp_flags_ts: Cow<'a, str>,
    #[serde(borrow, default)]
    tcp_flags_tc: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Own {
    #[serde(default)]
    missed_bytes_toserver: Option<u64>,
    #[serde(default)]
    missed_bytes_toclient: Option<u64>,
}

impl Event<'_> {
    pub(super) fn flow_report(&self, out: &mut Out) -> Result<(), Bad> {
        let flow = self.flow.as_ref().ok_or_else(|| Bad::new("flow event without flow"))?;
        let mut report = self.report(&flow.start, &flow.end, out)?;
        let tcp = self.tcp.as_ref();
        let own = self.flowtap.as_ref();
        report.originator_known = true;
        report.fwd = Measures {
            packets: flow.pkts_toserver,
            wire_bytes: flow.bytes_toserver,
            tcp_flags: tcp.and_then(|tcp| flags(&tcp.tcp_flags_ts, out)),
            missed_bytes: own.and_then(|own| own.missed_bytes_toserver),
            ..Measures::default()
        };
        report.rev = Some(Measures {
            packets: flow.pkts_toclient,
            wire_bytes: flow.bytes_toclient,
            tcp_flags: tcp.and_then(|tcp| flags(&tcp.tcp_flags_tc, out)),
            missed_bytes: own.and_then(|own| own.missed_bytes_toclient),
            ..Measures::default()
        });
        report.state = (!flow.state.is_empty()).then(|| out.names.of(flow.state.as_bytes()));
        report.action = match &*flow.action {
            "drop" => Some(Action::Rejected),
            "pass" | "accept" => Some(Action::Accepted),
            _ => None,
        };
        for (name, text) in [("suricata.reason", &flow.reason), ("suricata.bypass", &flow.bypass)] {
            if !text.is_empty() {
                report.labels.push((out.names.of(name.as_bytes()), out.names.of(text.as_bytes())));
            }
        }
        for (name, is_so) in
            [("suricata.alerted", flow.alerted), ("suricata.emergency", flow.emergency)]
        {
            if is_so {
                report.labels.push((out.names.of(name.as_bytes()), out.names.of(b"true")));
            }
        }
        out.flow(report);
        Ok(())
    }

    pub(super) fn netflow_report(&self, out: &mut Out) -> Result<(), Bad> {
        let flow =
            self.netflow.as_ref().ok_or_else(|| Bad::new("netflow event without netflow"))?;
        let mut report = self.report(&flow.start, &flow.end, out)?;
        report.fwd = Measures {
            packets: flow.pkts,
            wire_bytes: flow.bytes,
            tcp_flags: self.tcp.as_ref().and_then(|tcp| flags(&tcp.tcp_flags, out)),
            ..Measures::default()
        };
        for (name, ttl) in [("suricata.min_ttl", flow.min_ttl), ("suricata.max_ttl", flow.max_ttl)]
        {
            if let Some(ttl) = ttl {
                let value = out.names.of(ttl.to_string().as_bytes());
                report.labels.push((out.names.of(name.as_bytes()), value));
            }
        }
        out.flow(report);
        Ok(())
    }

    /// What both events have.
    fn report(&self, start: &str, end: &str, out: &mut Out) -> Result<FlowReport, Bad> {
        let of_address = |text: &str| {
            address(text.as_bytes()).ok_or_else(|| Bad::value("not an address", text.as_bytes()))
        };
        let of_time = |text: &str| {
            rfc3339_ns(text.as_bytes()).ok_or_else(|| Bad::value("not a time", text.as_bytes()))
        };
        let (src, dst) = (of_address(&self.src_ip)?, of_address(&self.dest_ip)?);
        let end_ns = of_time(if end.is_empty() { &self.timestamp } else { end })?;
        let mut report = FlowReport::between(src, dst, of_time(start)?, end_ns);
        report.protocol = protocol::number(self.proto.as_bytes());
        if report.protocol.is_none() && !self.proto.is_empty() {
            out.bad_part("unknown protocol");
        }
        (report.src_port, report.dst_port) = (self.src_port, self.dest_port);
        report.icmp = self.icmp_type.zip(self.icmp_code);
        // Suricata's own words for not knowing.
        if !matches!(&*self.app_proto, "" | "failed" | "unknown") {
            report.app = Some(out.names.of(self.app_proto.as_bytes()));
        }
        if !self.host.is_empty() {
            report.observer = out.names.of(self.host.as_bytes());
        }
        self.labels(&mut report, out);
        Ok(report)
    }

    fn labels(&self, report: &mut FlowReport, out: &mut Out) {
        let mut push = |name: &str, value: Arc<str>| {
            report.labels.push((out.names.of(name.as_bytes()), value));
        };
        if let Some(id) = self.flow_id {
            push(label::UID, id.to_string().into());
        }
        if let Some(id) = self.parent_id {
            push("suricata.parent_id", id.to_string().into());
        }
        if !self.community_id.is_empty() {
            push(label::COMMUNITY_ID, (&*self.community_id).into());
        }
        if !self.in_iface.is_empty() {
            push(label::INTERFACE, (&*self.in_iface).into());
        }
        for vlan in &self.vlan {
            push(label::VLAN, vlan.to_string().into());
        }
    }
}

/// Two hexadecimal digits.
fn flags(text: &str, out: &mut Out) -> Option<u16> {
    if text.is_empty() {
        return None;
    }
    let flags = u16::from_str_radix(text, 16).ok();
    if flags.is_none() {
        out.bad_part("TCP flags are no hexadecimal number");
    }
    flags
}

/// A number, or an array of them: Suricata 4 had one VLAN, later ones have all.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u16>, D::Error> {
    struct OneOrMany;

    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<u16>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a VLAN or an array of them")
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<Vec<u16>, E> {
            Ok(vec![u16::try_from(value).map_err(|_| E::custom("VLAN out of range"))?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u16>, A::Error> {
            let mut all = Vec::new();
            while let Some(vlan) = seq.next_element()? {
                all.push(vlan);
            }
            Ok(all)
        }
    }

    deserializer.deserialize_any(OneOrMany)
}
