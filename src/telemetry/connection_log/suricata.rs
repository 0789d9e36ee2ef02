//! Suricata's EVE JSON: `flow` and `netflow` events.
//!
//! Both are written when a flow is over: `flow` of both sides in one event,
//! `netflow` of each side in its own. Read one of them, or the same traffic comes
//! twice. Other events are passed over by name; what Suricata says that it dropped
//! (`stats`) is counted as lost. Sizes are whole frames.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, de};

use super::protocol;
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::label;
use crate::telemetry::observation::{Action, FlowReport, Measures};
use crate::telemetry::text::{address, rfc3339_ns};

pub(in crate::telemetry) static EVE: Kind = Kind {
    name: "suricata-eve",
    title: "Suricata EVE JSON",
    gives: Gives::Flows,
    versions: "Suricata 4 to 8: flow and netflow events; all others are counted and passed over",
    source: "Suricata user guide, EVE JSON format; flowtap's own eve.json",
    sample: "{\"timestamp\":\"2026-03-01T10:16:02.000000+0000\",\"flow_id\":1093517241207781,\"in_iface\":\"eth0\",\
        \"event_type\":\"flow\",\"src_ip\":\"192.0.2.10\",\"src_port\":40112,\"dest_ip\":\"198.51.100.7\",\"dest_port\":443,\
        \"proto\":\"TCP\",\"app_proto\":\"tls\",\"flow\":{\"pkts_toserver\":8,\"pkts_toclient\":7,\"bytes_toserver\":1153,\
        \"bytes_toclient\":3270,\"start\":\"2026-03-01T10:15:02.114000+0000\",\"end\":\"2026-03-01T10:15:03.364000+0000\",\
        \"age\":1,\"state\":\"closed\",\"reason\":\"timeout\",\"alerted\":false},\"tcp\":{\"tcp_flags\":\"1b\",\
        \"tcp_flags_ts\":\"1b\",\"tcp_flags_tc\":\"1b\",\"syn\":true,\"fin\":true,\"psh\":true,\"ack\":true,\"state\":\"closed\"}}\n",
    sees: "connections with both sides' packets, frame bytes, TCP flags, state and application protocol",
    absent: "payload and IP bytes, packet sizes and times, flows still open",
    // An established TCP flow that falls silent is written after 600 s, when the flow
    // manager comes by.
    lateness_s: 610,
    framing: Framing::Json,
    recognise,
    decoder,
};

fn recognise(head: &Head<'_>) -> bool {
    head.json_text("/event_type").is_some()
        && head.json_text("/timestamp").is_some()
        && ["/flow_id", "/stats", "/src_ip"].iter().any(|place| head.json_has(&[place]))
}

fn decoder(_: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(Eve::default()))
}

#[derive(Default)]
struct Eve {
    /// Totals since Suricata began, as last told.
    kernel_drops: u64,
}

impl Decoder for Eve {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        // Most events are others, of any form: looked at no further than this.
        let what: What<'_> = parsed(record)?;
        match &*what.event_type {
            "flow" => parsed::<Event<'_>>(record)?.flow_report(out),
            "netflow" => parsed::<Event<'_>>(record)?.netflow_report(out),
            "stats" => {
                self.stats(&parsed(record)?, out);
                out.pass("event type stats");
                Ok(())
            }
            "" => Err(Bad::new("no event type")),
            other => {
                out.pass(passed_name(other));
                Ok(())
            }
        }
    }
}

impl Eve {
    fn stats(&mut self, event: &StatsEvent, out: &mut Out) {
        let Some(drops) = event.stats.capture.kernel_drops else { return };
        // After a restart it begins at zero.
        let more = drops.checked_sub(self.kernel_drops).unwrap_or(drops);
        self.kernel_drops = drops;
        if more > 0 {
            out.lost("packets the kernel dropped before Suricata", more);
        }
    }
}

fn parsed<'a, T: Deserialize<'a>>(record: &'a [u8]) -> Result<T, Bad> {
    serde_json::from_slice(record)
        .map_err(|error| Bad { reason: "not an event", detail: error.to_string() })
}

/// The event types that Suricata has, so that their names need no memory.
fn passed_name(event_type: &str) -> &'static str {
    macro_rules! names {
        ($($name:literal)*) => {
            match event_type {
                $($name => concat!("event type ", $name),)*
                _ => "event type of another name",
            }
        };
    }
    names!("alert" "anomaly" "arp" "bittorrent_dht" "dcerpc" "dhcp" "dnp3" "dns" "drop" "email"
        "engine" "enip" "fileinfo" "flow_start" "frame" "ftp" "ftp_data" "http" "http2" "ike"
        "ikev2" "krb5" "ldap" "lua" "mdns" "metadata" "modbus" "mqtt" "nfs" "packet" "pgsql"
        "pop3" "quic" "rdp" "rfb" "sip" "smb" "smtp" "snmp" "ssh" "stats" "template" "telnet"
        "tftp" "tls" "websocket")
}

#[derive(Deserialize)]
struct What<'a> {
    #[serde(borrow, default)]
    event_type: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    timestamp: Cow<'a, str>,
    #[serde(default)]
    flow_id: Option<u64>,
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

#[derive(Deserialize)]
struct StatsEvent {
    #[serde(default)]
    stats: Stats,
}

#[derive(Default, Deserialize)]
struct Stats {
    #[serde(default)]
    capture: Capture,
}

#[derive(Default, Deserialize)]
struct Capture {
    #[serde(default)]
    kernel_drops: Option<u64>,
}

impl Event<'_> {
    fn flow_report(&self, out: &mut Out) -> Result<(), Bad> {
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

    fn netflow_report(&self, out: &mut Out) -> Result<(), Bad> {
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
