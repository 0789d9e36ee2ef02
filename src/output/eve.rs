//! Suricata's EVE JSON: `flow` and `alert` events, for tools that read it.
//!
//! Field names and meanings are Suricata's; application hints stand in the
//! blocks that its events have (`dns`, `tls`, `http`, `ssh`, `quic`). Time
//! stamps have microseconds and are packet times. `host` is the sensor's id and
//! `in_iface` the interface of the first packet; what Suricata has no field for
//! stands in `flowtap`: the hosts at both ends as in `flows.ndjson`, by the
//! names `src_host` and `dest_host`.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;

use super::hosts::{host_side, is_known};
use super::identity::Identity;
use super::json::Json;
use super::names::{ICMP, ICMPV6, Icmp, SCTP, TCP, UDP, dns_response_code, dns_type, quic_version};
use super::ndjson::duration_ns;
use super::text::TextWriter;
use crate::alert::{Alert, Case, Severity};
use crate::detect::PeerRole;
use crate::flow::app::{AppInfo, SshInfo};
use crate::flow::community_id::CommunityId;
use crate::flow::{ConnState, Direction, EndReason, FlowRecord};
use crate::host::side::HostSide;
use crate::packet::facts::tcp_flag;
use crate::time::suricata;

const NS_PER_S: u64 = 1_000_000_000;
/// IP protocol number of GRE (RFC 2784).
const GRE: u8 = 47;

/// Writes `eve.json`. Needs no buffered `out`.
pub fn writer<W: Write + Send>(out: W) -> TextWriter<W> {
    TextWriter::new(out, |record, out| Json::append_line(out, |json| flow_event(json, record)))
}

/// What an `alert` event says. Suricata's numbers for severity run from 1
/// (high) to 3 (low).
#[derive(Clone, Debug)]
pub struct AlertEvent<'a> {
    pub time_ns: i64,
    /// Our alert's identifier; goes to the metadata.
    pub id: &'a str,
    /// Detector; goes to the metadata.
    pub detector: &'a str,
    /// Stable number of the detector.
    pub signature_id: u32,
    /// Revision of the alert.
    pub revision: u32,
    /// One line for people.
    pub signature: &'a str,
    pub category: &'a str,
    pub severity: u8,
    /// The entity and its first peer, where they are addresses.
    pub src_ip: Option<IpAddr>,
    pub dst_ip: Option<IpAddr>,
    /// IP protocol number, if the alert is about one.
    pub proto: Option<u8>,
    /// Empty where they are not known.
    pub sensor: &'a str,
    pub interface: &'a str,
    pub clock_synchronised: Option<bool>,
    /// 0 to 1.
    pub confidence: f64,
    /// Why the severity is what it is.
    pub severity_reason: &'a str,
    pub analytics: &'a [String],
    /// Of an entity's alert.
    pub case: Option<&'a Case>,
}

/// Adds alerts to the `eve.json` of a finished run folder, behind its flows.
pub fn append_alerts(folder: &Path, alerts: &[Alert]) -> io::Result<()> {
    let path = folder.join(super::Format::Eve.file_name());
    let mut file = File::options().append(true).open(path)?;
    write_alerts(&mut file, alerts.iter().map(AlertEvent::new))
}

/// Writes alerts as lines of `eve.json`.
pub fn write_alerts<'a>(
    out: &mut impl Write,
    alerts: impl IntoIterator<Item = AlertEvent<'a>>,
) -> io::Result<()> {
    let mut json = Json::default();
    for alert in alerts {
        json.line(|json| alert_event(json, &alert));
    }
    out.write_all(&json.bytes)
}

impl<'a> AlertEvent<'a> {
    pub fn new(alert: &'a Alert) -> Self {
        let entity: Option<IpAddr> = alert.entity.id.parse().ok();
        let peer = alert.peers.first();
        let (src_ip, dst_ip) = match peer.map(|peer| peer.role) {
            Some(PeerRole::Source) => (peer.map(|peer| peer.address), entity),
            Some(PeerRole::Destination) => (entity, peer.map(|peer| peer.address)),
            None => (None, entity),
        };
        let is_v6 = entity.or(dst_ip).is_some_and(|ip| ip.is_ipv6());
        let proto = match alert.evidence.class.as_str() {
            "udp" => Some(UDP),
            "icmp" if is_v6 => Some(ICMPV6),
            "icmp" => Some(ICMP),
            "gre" => Some(GRE),
            class if class.starts_with("tcp") => Some(TCP),
            _ => None,
        };
        Self {
            time_ns: alert.start_ns,
            id: &alert.id,
            detector: &alert.detector,
            signature_id: signature_id(&alert.detector),
            revision: alert.revision,
            signature: &alert.summary,
            category: match alert.case {
                Some(_) => "Unusual behaviour of a host",
                None => "Network flood or scan",
            },
            severity: match alert.severity {
                Severity::Critical | Severity::High => 1,
                Severity::Medium => 2,
                Severity::Low | Severity::Informational => 3,
            },
            src_ip,
            dst_ip,
            proto,
            sensor: &alert.sensor,
            interface: &alert.interface,
            clock_synchronised: alert.clock_synchronised,
            confidence: alert.confidence,
            severity_reason: &alert.grade.severity_reason,
            analytics: &alert.analytics,
            case: alert.case.as_deref(),
        }
    }
}

/// A number for a detector that never changes: its name's FNV-1a hash within
/// the range that Suricata leaves to local rules (from 1,000,000).
fn signature_id(detector: &str) -> u32 {
    let hash = detector
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    1_000_000 + hash % 999_000
}

fn flow_event(json: &mut Json, record: &FlowRecord) {
    let key = &record.key;
    let community = CommunityId::of(key, 0);
    json.plain("timestamp", &suricata(record.decided_ns));
    json.uint("flow_id", Identity::of(record, &community).flow_id());
    if let Some(origin) = &record.origin {
        place(json, &origin.sensor, &origin.interface);
    }
    json.plain("event_type", b"flow");
    if !record.vlans.is_empty() {
        json.array("vlan", |json| record.vlans.iter().for_each(|&vlan| json.uint_element(vlan)));
    }
    let icmp = Icmp::of(key.proto, record.src_port(), record.dst_port());
    json.ip("src_ip", record.src_ip());
    if has_ports(key.proto) {
        json.uint("src_port", record.src_port());
    }
    json.ip("dest_ip", record.dst_ip());
    if has_ports(key.proto) {
        json.uint("dest_port", record.dst_port());
    }
    json.text("proto", &proto(key.proto));
    if let Some(icmp) = icmp {
        json.uint("icmp_type", icmp.kind);
        if let Some(code) = icmp.code {
            json.uint("icmp_code", code);
        } else if record.answered {
            json.uint("response_icmp_type", record.dst_port());
        }
    }
    if let Some(name) = app_proto(record.app.as_deref()) {
        json.text("app_proto", name);
    }
    json.plain("community_id", &community.text());
    json.object("flow", |json| {
        json.uint("pkts_toserver", record.fwd.packets);
        json.uint("pkts_toclient", record.rev.packets);
        json.uint("bytes_toserver", record.fwd.wire_bytes);
        json.uint("bytes_toclient", record.rev.wire_bytes);
        json.plain("start", &suricata(record.start_ns));
        json.plain("end", &suricata(record.end_ns));
        json.uint("age", duration_ns(record) / NS_PER_S);
        json.text("state", state(record.state));
        json.text("reason", reason(record.end_reason));
    });
    if key.proto == TCP {
        json.object("tcp", |json| tcp(json, record));
    }
    if let Some(info) = record.app.as_deref() {
        app(json, info);
    }
    own(json, record);
}

/// Where it was seen, by Suricata's names.
fn place(json: &mut Json, sensor: &str, interface: &str) {
    for (name, text) in [("host", sensor), ("in_iface", interface)] {
        if !text.is_empty() {
            json.text(name, text);
        }
    }
}

/// What Suricata has no field for; left out where there is nothing of it.
fn own(json: &mut Json, record: &FlowRecord) {
    let missed = |side: &Direction| side.missed_bytes.filter(|&bytes| bytes > 0);
    let (to_server, to_client) = (missed(&record.fwd), missed(&record.rev));
    let origin = record.origin.as_deref();
    let clock = origin.and_then(|origin| origin.clock_synchronised);
    let other = origin.map_or("", |origin| &origin.other_interface);
    let hosts = record.hosts.as_deref();
    let (src, dst) = hosts.map_or((None, None), |hosts| (hosts.src.as_ref(), hosts.dst.as_ref()));
    let is_bare = to_server.or(to_client).is_none() && clock.is_none() && other.is_empty();
    if is_bare && ![src, dst].into_iter().flatten().any(is_known) {
        return;
    }
    json.object("flowtap", |json| {
        if !other.is_empty() {
            json.text("other_interface", other);
        }
        if let Some(synchronised) = clock {
            json.bool("clock_synchronised", synchronised);
        }
        for (name, bytes) in
            [("missed_bytes_toserver", to_server), ("missed_bytes_toclient", to_client)]
        {
            if let Some(bytes) = bytes {
                json.uint(name, bytes);
            }
        }
        host_side(json, "src_host", src);
        host_side(json, "dest_host", dst);
    });
}

fn alert_event(json: &mut Json, alert: &AlertEvent<'_>) {
    json.plain("timestamp", &suricata(alert.time_ns));
    place(json, alert.sensor, alert.interface);
    json.plain("event_type", b"alert");
    if let Some(ip) = alert.src_ip {
        json.ip("src_ip", ip);
    }
    if let Some(ip) = alert.dst_ip {
        json.ip("dest_ip", ip);
    }
    if let Some(number) = alert.proto {
        json.text("proto", &proto(number));
    }
    json.object("alert", |json| {
        json.plain("action", b"allowed");
        json.uint("gid", 1_u8);
        json.uint("signature_id", alert.signature_id);
        json.uint("rev", alert.revision);
        json.text("signature", alert.signature);
        json.text("category", alert.category);
        json.uint("severity", alert.severity);
        json.object("metadata", |json| {
            json.array("flowtap_id", |json| json.text_element(alert.id));
            json.array("flowtap_detector", |json| json.text_element(alert.detector));
        });
    });
    json.object("flowtap", |json| {
        if let Some(synchronised) = alert.clock_synchronised {
            json.bool("clock_synchronised", synchronised);
        }
        json.decimal("confidence", alert.confidence);
        if !alert.severity_reason.is_empty() {
            json.text("severity_reason", alert.severity_reason);
        }
        if !alert.analytics.is_empty() {
            json.array("analytics", |json| {
                alert.analytics.iter().for_each(|name| json.text_element(name));
            });
        }
        if let Some(case) = alert.case {
            json.decimal("score", case.score.value);
            json.text("decided_by", case.decided_by.name());
            let side = HostSide {
                process: case.process.clone(),
                workload: case.workload.clone(),
                ..HostSide::default()
            };
            host_side(json, "host", Some(&side));
        }
    });
}

fn has_ports(proto: u8) -> bool {
    matches!(proto, TCP | UDP | SCTP)
}

/// Suricata's names; three digits for protocols that it has none for.
fn proto(number: u8) -> Cow<'static, str> {
    match number {
        ICMP => "ICMP",
        2 => "IGMP",
        4 => "IPIP",
        TCP => "TCP",
        UDP => "UDP",
        41 => "IPv6",
        47 => "GRE",
        50 => "ESP",
        51 => "AH",
        ICMPV6 => "IPv6-ICMP",
        89 => "OSPFIGP",
        SCTP => "SCTP",
        _ => return format!("{number:03}").into(),
    }
    .into()
}

fn app_proto(app: Option<&AppInfo>) -> Option<&'static str> {
    match app? {
        AppInfo { quic: Some(_), .. } => Some("quic"),
        AppInfo { tls: Some(_), .. } => Some("tls"),
        AppInfo { dns: Some(_), .. } => Some("dns"),
        AppInfo { http: Some(_), .. } => Some("http"),
        AppInfo { ssh: Some(_), .. } => Some("ssh"),
        _ => None,
    }
}

fn state(state: ConnState) -> &'static str {
    match state {
        ConnState::OneWay | ConnState::HalfOpen => "new",
        ConnState::Answered | ConnState::Established | ConnState::Midstream => "established",
        ConnState::Closed | ConnState::Reset => "closed",
    }
}

fn reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Idle | EndReason::Active | EndReason::Closed => "timeout",
        EndReason::Evicted => "forced",
        EndReason::EndOfInput => "shutdown",
    }
}

/// Flags as two hexadecimal digits, all and by direction, then the set ones.
fn tcp(json: &mut Json, record: &FlowRecord) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let (fwd, rev) = (record.fwd.tcp_flags & 0xff, record.rev.tcp_flags & 0xff);
    for (name, flags) in [("tcp_flags", fwd | rev), ("tcp_flags_ts", fwd), ("tcp_flags_tc", rev)] {
        json.plain(name, &[flags >> 4, flags & 15].map(|digit| HEX[usize::from(digit)]));
    }
    for (name, bit) in [
        ("syn", tcp_flag::SYN),
        ("fin", tcp_flag::FIN),
        ("rst", tcp_flag::RST),
        ("psh", tcp_flag::PSH),
        ("ack", tcp_flag::ACK),
        ("urg", tcp_flag::URG),
        ("ecn", tcp_flag::ECE),
        ("cwr", tcp_flag::CWR),
    ] {
        if (fwd | rev) & bit != 0 {
            json.bool(name, true);
        }
    }
    let state = match record.state {
        ConnState::HalfOpen => "syn_sent",
        ConnState::Closed | ConnState::Reset => "closed",
        _ => "established",
    };
    json.text("state", state);
}

fn app(json: &mut Json, info: &AppInfo) {
    if let Some(dns) = info.dns.as_ref().filter(|dns| !dns.query.is_empty()) {
        json.object("dns", |json| {
            json.array("query", |json| {
                json.element(|json| {
                    json.plain("type", b"query");
                    json.text("rrname", &dns.query);
                    json.text("rrtype", &dns_type(dns.query_type));
                });
            });
            if let Some(code) = dns.response_code {
                json.object("answer", |json| {
                    json.plain("type", b"answer");
                    json.text("rrname", &dns.query);
                    json.text("rrtype", &dns_type(dns.query_type));
                    json.text("rcode", &dns_response_code(code));
                });
            }
        });
    }
    if let Some(tls) = &info.tls {
        json.object("tls", |json| {
            json.optional_text("sni", tls.sni.as_deref());
            if tls.version != 0 {
                json.text("version", &tls_version(tls.version));
            }
            if let Some(hash) = &tls.ja4 {
                json.text("ja4", hash);
            }
            names(json, "client_alpns", &tls.alpn);
        });
    }
    if let Some(quic) = &info.quic {
        json.object("quic", |json| {
            json.text("version", &quic_version(quic.version));
            json.optional_text("sni", quic.sni.as_deref());
            json.optional_text("ja4", quic.ja4.as_deref());
        });
    }
    if let Some(http) = &info.http {
        json.object("http", |json| {
            json.optional_text("hostname", http.host.as_deref());
            json.optional_text("url", http.path.as_deref());
            json.optional_text("http_user_agent", http.user_agent.as_deref());
            json.optional_text("http_method", http.method.as_deref());
            if let Some(status) = http.status {
                json.uint("status", status);
            }
        });
    }
    if let Some(SshInfo { client, server }) = &info.ssh {
        json.object("ssh", |json| {
            for (side, line) in [("client", client), ("server", server)] {
                if let Some((proto, software)) = line.as_deref().and_then(ssh_versions) {
                    json.object(side, |json| {
                        json.text("proto_version", proto);
                        json.text("software_version", software);
                    });
                }
            }
        });
    }
}

/// Suricata's spelling.
fn tls_version(number: u16) -> Cow<'static, str> {
    match number {
        0x0300 => "SSLv3".into(),
        0x0301 => "TLSv1".into(),
        _ => super::names::tls_version(number),
    }
}

/// `2.0` and `OpenSSH_9.6` of `SSH-2.0-OpenSSH_9.6 comment`.
fn ssh_versions(line: &str) -> Option<(&str, &str)> {
    let (proto, software) = line.strip_prefix("SSH-")?.split_once('-')?;
    Some((proto, software.split(' ').next().unwrap_or(software)))
}

fn names(json: &mut Json, key: &str, names: &[String]) {
    if !names.is_empty() {
        json.array(key, |json| names.iter().for_each(|name| json.text_element(name)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::host::side::{FlowHosts, HostSide};
    use crate::output::ndjson::flow_line;
    use crate::output::samples;

    fn read(record: &FlowRecord) -> Value {
        let mut json = Json::default();
        json.line(|json| flow_event(json, record));
        serde_json::from_slice(&json.bytes).expect("JSON")
    }

    #[test]
    fn a_flow_event_has_suricatas_fields() {
        let mut event = read(&samples::tcp());
        let flow_id = event.as_object_mut().and_then(|event| event.remove("flow_id"));
        assert!(flow_id.and_then(|id| id.as_u64()).is_some_and(|id| id < 1 << 53));
        assert_eq!(
            event,
            json!({
                "timestamp": "2026-11-21T09:30:06.000000+0000",
                "event_type": "flow",
                "host": "tap-7", "in_iface": "eth0",
                "flowtap": {
                    "other_interface": "eth\t1", "clock_synchronised": true,
                    "missed_bytes_toserver": 150,
                },
                "vlan": [10, 20],
                "src_ip": "192.0.2.10", "src_port": 40000,
                "dest_ip": "198.51.100.7", "dest_port": 443,
                "proto": "TCP", "app_proto": "tls",
                "community_id": "1:J/xyCth7UBTAVlDILJPkvdXxmZw=",
                "flow": {
                    "pkts_toserver": 5, "pkts_toclient": 4,
                    "bytes_toserver": 947, "bytes_toclient": 3064,
                    "start": "2026-11-21T09:30:00.000000+0000",
                    "end": "2026-11-21T09:30:01.250000+0000",
                    "age": 1, "state": "closed", "reason": "timeout",
                },
                "tcp": {
                    "tcp_flags": "1b", "tcp_flags_ts": "1b", "tcp_flags_tc": "13",
                    "syn": true, "fin": true, "psh": true, "ack": true, "state": "closed",
                },
                "tls": {
                    "sni": "example.org", "version": "TLS 1.3",
                    "ja4": "t13d1516h2_8daaf6152771_e5627efa2ab1",
                    "client_alpns": ["h2", "http/1.1"],
                },
            })
        );
    }

    #[test]
    fn hosts_stand_among_our_own_fields_as_in_a_flow_record() {
        let hosts = Some(Box::new(samples::hosts::hosts()));
        let record = FlowRecord { hosts, origin: None, ..samples::dns() };
        let line: Value = serde_json::from_str(&flow_line(&record)).expect("JSON");
        let expected = json!({"src_host": line["src_host"], "dest_host": line["dst_host"]});
        assert_eq!(read(&record)["flowtap"], expected);
        let nothing = FlowHosts { src: Some(HostSide::default()), dst: None };
        let record = FlowRecord { hosts: Some(Box::new(nothing)), ..record };
        assert_eq!(read(&record).get("flowtap"), None);
    }

    #[test]
    fn protocols_without_ports_have_none() {
        let event = read(&samples::icmp());
        assert_eq!(event.get("src_port"), None);
        assert_eq!((&event["icmp_type"], &event["response_icmp_type"]), (&json!(8), &json!(0)));
        assert_eq!(
            (&event["proto"], &event["flow"]["reason"]),
            (&json!("ICMP"), &json!("shutdown"))
        );
    }

    #[test]
    fn an_alert_event_has_suricatas_fields() {
        let alert = AlertEvent {
            time_ns: samples::START_NS,
            id: "0123456789abcdef",
            detector: "udp_flood",
            signature_id: 7,
            revision: 2,
            signature: "UDP flood at \"192.0.2.1\"",
            category: "Denial of service",
            severity: 1,
            src_ip: None,
            dst_ip: Some("192.0.2.1".parse().expect("address")),
            proto: Some(UDP),
            sensor: "tap-7",
            interface: "",
            clock_synchronised: Some(false),
            confidence: 0.6,
            severity_reason: "High: sustained.",
            analytics: &["AN0972".to_owned()],
            case: None,
        };
        let mut line = Vec::new();
        write_alerts(&mut line, [alert]).expect("written");
        let event: Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(
            event,
            json!({
                "timestamp": "2026-11-21T09:30:00.000000+0000", "event_type": "alert",
                "host": "tap-7", "flowtap": {
                    "clock_synchronised": false, "confidence": 0.6,
                    "severity_reason": "High: sustained.", "analytics": ["AN0972"],
                },
                "dest_ip": "192.0.2.1", "proto": "UDP",
                "alert": {
                    "action": "allowed", "gid": 1, "signature_id": 7, "rev": 2,
                    "signature": "UDP flood at \"192.0.2.1\"", "category": "Denial of service",
                    "severity": 1,
                    "metadata": {
                        "flowtap_id": ["0123456789abcdef"], "flowtap_detector": ["udp_flood"],
                    },
                },
            })
        );
    }

    #[test]
    fn ssh_lines_are_split_as_suricata_does() {
        assert_eq!(ssh_versions("SSH-2.0-OpenSSH_9.6p1 Debian-3"), Some(("2.0", "OpenSSH_9.6p1")));
        assert_eq!(ssh_versions("SSH-2.0"), None);
    }

    proptest! {
        #[test]
        fn every_event_is_one_line_of_json(seed: u64) {
            let record = samples::random(seed);
            let event = read(&record);
            prop_assert_eq!(event["flow"]["pkts_toserver"].as_u64(), Some(record.fwd.packets));
            prop_assert_eq!(event["dest_ip"].as_str(), Some(&*record.dst_ip().to_string()));
        }
    }
}
