//! `flows.ndjson`: one JSON object a line, everything that a record holds.
//!
//! Fields that a record does not have are left out. The layout is
//! [`super::FLOW_SCHEMA`].

use std::io::{self, Write};

use serde::Serialize;

use super::json::Json;
use super::names::{
    Icmp, TCP, TCP_FLAGS, dns_response_code, dns_type, proto_name, quic_version, tls_version,
};
use super::spread::Spread;
use super::{FlowWriter, SCHEMA_VERSION};
use crate::flow::app::AppInfo;
use crate::flow::community_id::CommunityId;
use crate::flow::sizes::{bin_range, stddev};
use crate::flow::{Direction, FlowRecord, Sizes};
use crate::packet::TunnelLayer;
use crate::packet::key::to_ip;

/// Bytes kept before they are handed on: few system calls, little memory.
const FLUSH_BYTES: usize = 256 * 1024;

/// Writes `flows.ndjson`.
#[derive(Debug)]
pub struct NdjsonWriter<W> {
    out: W,
    json: Json,
}

impl<W: Write> NdjsonWriter<W> {
    /// Needs no buffered `out`.
    pub fn new(out: W) -> Self {
        Self { out, json: Json::default() }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.json.bytes)?;
        self.json.bytes.clear();
        Ok(())
    }
}

impl<W: Write> FlowWriter for NdjsonWriter<W> {
    fn write(&mut self, record: &FlowRecord) -> io::Result<()> {
        self.json.line(|json| flow(json, record));
        if self.json.bytes.len() >= FLUSH_BYTES { self.flush() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.flush()?;
        self.out.flush()
    }
}

/// One record as its line, with the line's end.
pub fn flow_line(record: &FlowRecord) -> String {
    let mut json = Json::default();
    json.line(|json| flow(json, record));
    String::from_utf8_lossy(&json.bytes).into_owned()
}

/// Any serialisable record as one line: alerts, events.
pub fn write_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

fn flow(json: &mut Json, record: &FlowRecord) {
    let key = &record.key;
    let (src_port, dst_port) = (record.src_port(), record.dst_port());
    json.uint("schema_version", SCHEMA_VERSION);
    json.plain("community_id", &CommunityId::of(key, 0).text());
    json.ip("src_ip", record.src_ip());
    json.ip("dst_ip", record.dst_ip());
    json.uint("src_port", src_port);
    json.uint("dst_port", dst_port);
    json.uint("proto", key.proto);
    json.plain("proto_name", proto_name(key.proto).as_bytes());
    if let Some(icmp) = Icmp::of(key.proto, src_port, dst_port) {
        json.uint("icmp_type", icmp.kind);
        if let Some(code) = icmp.code {
            json.uint("icmp_code", code);
        }
        if icmp.has_id {
            json.uint("icmp_id", key.echo_id);
        }
    }
    json.time("start", record.start_ns);
    json.time("end", record.end_ns);
    json.uint("duration_ns", duration_ns(record));
    json.time("decided", record.decided_ns);
    json.plain("state", record.state.name().as_bytes());
    json.bool("answered", record.answered);
    json.bool("originator_guessed", record.originator_guessed);
    json.plain("end_reason", record.end_reason.name().as_bytes());
    if let Some(mac) = &record.src_mac {
        json.mac("src_mac", mac);
    }
    if let Some(mac) = &record.dst_mac {
        json.mac("dst_mac", mac);
    }
    if !record.vlans.is_empty() {
        json.array("vlans", |json| record.vlans.iter().for_each(|&vlan| json.uint_element(vlan)));
    }
    if let Some(vni) = key.vni.checked_sub(1) {
        json.uint("vni", vni);
    }
    json.array("tunnels", |json| record.tunnels.iter().for_each(|layer| tunnel(json, layer)));
    let is_tcp = key.proto == TCP;
    json.object("fwd", |json| direction(json, &record.fwd, is_tcp));
    json.object("rev", |json| direction(json, &record.rev, is_tcp));
    json.array("sequence", |json| {
        for step in &record.sequence {
            json.pair(!step.fwd, u64::from(step.payload_bytes), step.gap_ns);
        }
    });
    if let Some(info) = record.app.as_deref() {
        json.object("app", |json| app(json, info));
    }
}

fn tunnel(json: &mut Json, layer: &TunnelLayer) {
    json.element(|json| {
        json.plain("kind", layer.kind.name().as_bytes());
        if let Some(id) = layer.id {
            json.uint("id", id);
        }
        json.ip("outer_src", to_ip(layer.version, &layer.outer_src));
        json.ip("outer_dst", to_ip(layer.version, &layer.outer_dst));
    });
}

fn direction(json: &mut Json, direction: &Direction, is_tcp: bool) {
    json.uint("packets", direction.packets);
    json.uint("wire_bytes", direction.wire_bytes);
    json.uint("ip_bytes", direction.ip_bytes);
    json.uint("payload_bytes", direction.payload_bytes);
    json.object("payload_sizes", |json| payload_sizes(json, &direction.sizes));
    let gaps = &direction.gaps;
    if gaps.count > 0 {
        json.object("gaps", |json| {
            json.uint("min_ns", gaps.min_ns);
            json.decimal("mean_ns", gaps.sum_ns as f64 / gaps.count as f64);
            json.uint("max_ns", gaps.max_ns);
            let deviation = stddev(gaps.count, gaps.sum_ns, gaps.sum_squares);
            json.decimal("stddev_ns", deviation.unwrap_or(0.0));
        });
    }
    if direction.packets == 0 {
        return;
    }
    if is_tcp {
        let mut letters = [0; TCP_FLAGS.len()];
        let set = TCP_FLAGS.iter().filter(|(bit, _)| direction.tcp_flags & bit != 0);
        let count = letters.iter_mut().zip(set).map(|(slot, flag)| *slot = flag.1 as u8).count();
        json.plain("tcp_flags", &letters[..count]);
        json.uint("retransmitted", direction.retransmitted);
        json.uint("out_of_order", direction.out_of_order);
    }
    json.uint("ttl_min", direction.ttl_min);
    json.uint("ttl_max", direction.ttl_max);
    json.uint("fragments", direction.fragments);
    if let Some((entropy, bytes)) = direction.entropy {
        json.decimal("entropy", f64::from(entropy));
        json.uint("entropy_bytes", bytes);
    }
}

fn payload_sizes(json: &mut Json, sizes: &Sizes) {
    if let Some(spread) = Spread::of(sizes) {
        let [p50, p90, p99] = spread.percentiles;
        json.uint("min", sizes.min);
        json.uint("max", sizes.max);
        json.decimal("mean", spread.mean);
        json.decimal("stddev", spread.stddev);
        json.uint("p50", p50);
        json.uint("p90", p90);
        json.uint("p99", p99);
    }
    json.uint("empty", sizes.empty());
    json.array("histogram", |json| {
        for (bin, &count) in sizes.bins.iter().enumerate().filter(|(_, count)| **count > 0) {
            json.pair(false, u64::from(bin_range(bin).0), u64::from(count));
        }
    });
}

fn app(json: &mut Json, info: &AppInfo) {
    if let Some(dns) = &info.dns {
        json.object("dns", |json| {
            // A multicast response has no question.
            if !dns.query.is_empty() {
                json.text("query", &dns.query);
                json.text("query_type", &dns_type(dns.query_type));
            }
            if let Some(code) = dns.response_code {
                json.text("response_code", &dns_response_code(code));
            }
            if let Some(answers) = dns.answers {
                json.uint("answers", answers);
            }
        });
    }
    if let Some(tls) = &info.tls {
        json.object("tls", |json| {
            json.optional_text("sni", tls.sni.as_deref());
            names(json, "alpn", &tls.alpn);
            if tls.version != 0 {
                json.text("version", &tls_version(tls.version));
            }
            json.optional_text("ja4", tls.ja4.as_deref());
        });
    }
    if let Some(quic) = &info.quic {
        json.object("quic", |json| {
            json.text("version", &quic_version(quic.version));
            json.optional_text("sni", quic.sni.as_deref());
            names(json, "alpn", &quic.alpn);
            json.optional_text("ja4", quic.ja4.as_deref());
        });
    }
    if let Some(http) = &info.http {
        json.object("http", |json| {
            json.optional_text("method", http.method.as_deref());
            json.optional_text("host", http.host.as_deref());
            json.optional_text("path", http.path.as_deref());
            json.optional_text("user_agent", http.user_agent.as_deref());
            if let Some(status) = http.status {
                json.uint("status", status);
            }
        });
    }
    if let Some(ssh) = &info.ssh {
        json.object("ssh", |json| {
            json.optional_text("client", ssh.client.as_deref());
            json.optional_text("server", ssh.server.as_deref());
        });
    }
}

fn names(json: &mut Json, key: &str, names: &[String]) {
    if !names.is_empty() {
        json.array(key, |json| names.iter().for_each(|name| json.text_element(name)));
    }
}

/// A record's length; time stamps that run backwards give 0.
pub(super) fn duration_ns(record: &FlowRecord) -> u64 {
    u64::try_from(record.end_ns.saturating_sub(record.start_ns)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::output::{FLOW_SCHEMA, samples};

    fn read(record: &FlowRecord) -> Value {
        serde_json::from_str(&flow_line(record)).expect("JSON")
    }

    fn schema() -> jsonschema::Validator {
        let schema: Value = serde_json::from_str(FLOW_SCHEMA).expect("JSON");
        jsonschema::draft202012::new(&schema).expect("a valid schema")
    }

    #[test]
    fn a_full_record_reads_as_it_was_written_down_by_hand() {
        assert_eq!(
            read(&samples::tcp()),
            serde_json::from_str::<Value>(
                r#"{
                "schema_version": 1,
                "community_id": "1:J/xyCth7UBTAVlDILJPkvdXxmZw=",
                "src_ip": "192.0.2.10", "dst_ip": "198.51.100.7",
                "src_port": 40000, "dst_port": 443,
                "proto": 6, "proto_name": "tcp",
                "start": "2026-11-21T09:30:00.000000000Z",
                "end": "2026-11-21T09:30:01.250000001Z",
                "duration_ns": 1250000001,
                "decided": "2026-11-21T09:30:06.000000000Z",
                "state": "closed", "answered": true, "originator_guessed": false,
                "end_reason": "closed",
                "src_mac": "02:00:00:00:00:0a", "dst_mac": "02:00:00:00:ff:01",
                "vlans": [10, 20], "vni": 4096,
                "tunnels": [{
                    "kind": "vxlan", "id": 4096, "outer_src": "10.0.0.1", "outer_dst": "10.0.0.2"
                }],
                "fwd": {
                    "packets": 5, "wire_bytes": 947, "ip_bytes": 877, "payload_bytes": 617,
                    "payload_sizes": {
                        "min": 100, "max": 517, "mean": 308.5, "stddev": 208.5,
                        "p50": 111, "p90": 517, "p99": 517, "empty": 3,
                        "histogram": [[0, 3], [96, 1], [512, 1]]
                    },
                    "gaps": {"min_ns": 1000, "mean_ns": 2000, "max_ns": 3000, "stddev_ns": 1000},
                    "tcp_flags": "SAPF", "retransmitted": 1, "out_of_order": 0,
                    "ttl_min": 63, "ttl_max": 64, "fragments": 0,
                    "entropy": 5.25, "entropy_bytes": 256
                },
                "rev": {
                    "packets": 4, "wire_bytes": 3064, "ip_bytes": 3008, "payload_bytes": 2800,
                    "payload_sizes": {
                        "min": 1400, "max": 1400, "mean": 1400, "stddev": 0,
                        "p50": 1400, "p90": 1400, "p99": 1400, "empty": 2,
                        "histogram": [[0, 2], [1280, 2]]
                    },
                    "gaps": {"min_ns": 1000, "mean_ns": 2000, "max_ns": 3000, "stddev_ns": 1000},
                    "tcp_flags": "SAF", "retransmitted": 0, "out_of_order": 2,
                    "ttl_min": 63, "ttl_max": 64, "fragments": 3,
                    "entropy": 7.999, "entropy_bytes": 200
                },
                "sequence": [[517, 0], [-1400, 20000000]],
                "app": {"tls": {
                    "sni": "example.org", "alpn": ["h2", "http/1.1"], "version": "TLS 1.3",
                    "ja4": "t13d1516h2_8daaf6152771_e5627efa2ab1"
                }}
            }"#
            )
            .expect("JSON")
        );
    }

    #[test]
    fn absent_fields_are_left_out() {
        let record = read(&samples::dns());
        let names: Vec<&str> =
            record.as_object().expect("object").keys().map(String::as_str).collect();
        for absent in ["src_mac", "dst_mac", "vlans", "vni", "icmp_type", "icmp_id"] {
            assert!(!names.contains(&absent), "{absent}");
        }
        assert_eq!(record["tunnels"], json!([]), "scripts rely on it");
        assert_eq!(record["app"]["dns"], json!({"query": "a\\\"b.example", "query_type": "AAAA"}));
        assert_eq!(
            record["rev"],
            json!({
                "packets": 0, "wire_bytes": 0, "ip_bytes": 0, "payload_bytes": 0,
                "payload_sizes": {"empty": 0, "histogram": []},
            })
        );
        assert_eq!(record["fwd"].get("tcp_flags"), None);
        assert_eq!(record["fwd"].get("gaps"), None, "one packet has no gap");
    }

    #[test]
    fn a_ping_tells_its_identifier_from_the_originators_side() {
        let record = read(&samples::icmp());
        assert_eq!((&record["icmp_type"], &record["icmp_id"]), (&json!(8), &json!(77)));
        assert_eq!(record.get("icmp_code"), None);
        assert_eq!(record["src_ip"], "203.0.113.9");
    }

    #[test]
    fn the_schema_refuses_what_is_no_flow_record() {
        let schema = schema();
        let good = read(&samples::tcp());
        assert!(schema.is_valid(&good));
        for (pointer, bad) in [
            ("/start", json!("2026-11-21 09:30:00")),
            ("/proto", json!(256)),
            ("/state", json!("open")),
            ("/fwd/packets", json!(-1)),
            ("/fwd/payload_sizes/histogram/0", json!([0])),
            ("/community_id", json!("h9lE9jS5")),
            ("/tunnels/0/kind", json!("carrier pigeon")),
            ("/schema_version", json!(2)),
        ] {
            let mut record = good.clone();
            *record.pointer_mut(pointer).expect(pointer) = bad;
            assert!(!schema.is_valid(&record), "{pointer}");
        }
        let mut without = good.clone();
        without.as_object_mut().expect("object").remove("tunnels");
        assert!(!schema.is_valid(&without), "without tunnels");
        let mut more = good;
        more["unheard_of"] = json!(1);
        assert!(!schema.is_valid(&more), "a field that the schema does not name");
    }

    #[test]
    fn lines_are_handed_on_in_order_across_flushes() {
        #[derive(Clone, Default)]
        struct Shared(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);
        impl Write for Shared {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.borrow_mut().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let file = Shared::default();
        let mut writer = Box::new(NdjsonWriter::new(file.clone()));
        let records: Vec<_> = (0..1000).map(samples::random).collect();
        records.iter().for_each(|record| writer.write(record).expect("written"));
        writer.finish().expect("finished");
        let expected: String = records.iter().map(flow_line).collect();
        assert!(expected.len() > 2 * FLUSH_BYTES);
        assert_eq!(String::from_utf8(file.0.take()).expect("UTF-8"), expected);
    }

    proptest! {
        #[test]
        fn every_record_is_valid_by_the_schema_and_keeps_its_sums(seed: u64) {
            let record = samples::random(seed);
            let written = read(&record);
            if let Err(error) = schema().validate(&written) {
                return Err(TestCaseError::fail(format!("{error} at {}", error.instance_path())));
            }
            for (name, direction) in [("fwd", &record.fwd), ("rev", &record.rev)] {
                let histogram = written[name]["payload_sizes"]["histogram"].as_array().expect("list");
                let packets: u64 = histogram.iter().filter_map(|pair| pair[1].as_u64()).sum();
                prop_assert_eq!(packets, direction.packets);
                prop_assert_eq!(written[name]["wire_bytes"].as_u64(), Some(direction.wire_bytes));
            }
            prop_assert_eq!(written["src_ip"].as_str(), Some(&*record.src_ip().to_string()));
            prop_assert_eq!(written["sequence"].as_array().map(Vec::len), Some(record.sequence.len()));
        }
    }
}
