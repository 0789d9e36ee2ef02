//! `flows.ndjson`: one JSON object a line, everything that a record holds.
//!
//! A line says nothing twice that a reader can tell from the rest of it. Left
//! out are, besides what a record does not have:
//! - a direction without packets, and `payload_sizes` of one without payload;
//! - counts of zero that tell nothing new: `empty`, `fragments`,
//!   `retransmitted`, `out_of_order`, `missed_bytes` (also where they can't be
//!   told); `originator_guessed` and `continues` where that is not so;
//! - the statistics of values that are all the same: where `min` is `max`, the
//!   mean, the percentiles and a deviation of zero; `ttl_max` where there was
//!   one TTL; `duration_ns` of a single packet;
//! - `decided` where nothing was decided because the input ended
//!   (`end_of_input`): it would be the time of the input's last packet;
//! - of hosts what `src_host` and `dst_host` tell otherwise (see `hosts.rs`).
//!
//! Measured zeros stay: `payload_bytes`, `duration_ns` of several packets.
//! The layout is [`super::FLOW_SCHEMA`].

use std::io::{self, Write};

use serde::Serialize;

use super::SCHEMA_VERSION;
use super::hosts::{flag, host_side};
use super::json::Json;
use super::names::{
    Icmp, TCP, dns_response_code, dns_type, proto_name, quic_version, tcp_flags, tls_version,
};
use super::spread::Spread;
use super::text::TextWriter;
use crate::flow::app::AppInfo;
use crate::flow::community_id::CommunityId;
use crate::flow::sizes::{bin_of, bin_range, stddev};
use crate::flow::{Direction, EndReason, FlowRecord, Sizes};
use crate::input::Origin;
use crate::packet::TunnelLayer;
use crate::packet::key::to_ip;

/// Writes `flows.ndjson`. Needs no buffered `out`.
pub fn writer<W: Write + Send>(out: W) -> TextWriter<W> {
    TextWriter::new(out, line)
}

fn line(record: &FlowRecord, out: &mut Vec<u8>) {
    Json::append_line(out, |json| flow(json, record));
}

/// One record as its line, with the line's end.
pub fn flow_line(record: &FlowRecord) -> String {
    let mut out = Vec::new();
    line(record, &mut out);
    String::from_utf8_lossy(&out).into_owned()
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
    if record.fwd.packets + record.rev.packets > 1 {
        json.uint("duration_ns", duration_ns(record));
    }
    if record.end_reason != EndReason::EndOfInput {
        json.time("decided", record.decided_ns);
    }
    json.plain("state", record.state.name().as_bytes());
    json.bool("answered", record.answered);
    if record.originator_guessed {
        json.bool("originator_guessed", true);
    }
    if record.continues {
        json.bool("continues", true);
    }
    json.plain("end_reason", record.end_reason.name().as_bytes());
    if let Some(origin) = &record.origin {
        self::origin(json, origin);
    }
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
    if !record.tunnels.is_empty() {
        json.array("tunnels", |json| record.tunnels.iter().for_each(|layer| tunnel(json, layer)));
    }
    for (name, side) in [("fwd", &record.fwd), ("rev", &record.rev)] {
        if side.packets > 0 {
            json.object(name, |json| direction(json, side, key.proto == TCP));
        }
    }
    if !record.sequence.is_empty() {
        json.array("sequence", |json| {
            for step in &record.sequence {
                json.pair(!step.fwd, u64::from(step.payload_bytes), step.gap_ns);
            }
        });
    }
    if let Some(info) = record.app.as_deref() {
        json.object("app", |json| app(json, info));
    }
    if let Some(hosts) = record.hosts.as_deref() {
        host_side(json, "src_host", hosts.src.as_ref());
        host_side(json, "dst_host", hosts.dst.as_ref());
    }
}

fn origin(json: &mut Json, origin: &Origin) {
    let Origin { sensor, interface, other_interface, clock_synchronised } = origin;
    for (name, text) in
        [("sensor", sensor), ("interface", interface), ("other_interface", other_interface)]
    {
        if !text.is_empty() {
            json.text(name, text);
        }
    }
    if let Some(synchronised) = *clock_synchronised {
        json.bool("clock_synchronised", synchronised);
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
    if direction.sizes.max > 0 {
        json.object("payload_sizes", |json| payload_sizes(json, &direction.sizes));
    }
    let gaps = &direction.gaps;
    if gaps.count > 0 {
        json.object("gaps", |json| {
            json.uint("min_ns", gaps.min_ns);
            json.uint("max_ns", gaps.max_ns);
            if gaps.min_ns != gaps.max_ns {
                json.decimal("mean_ns", gaps.sum_ns as f64 / gaps.count as f64);
                let deviation = stddev(gaps.count, gaps.sum_ns, gaps.sum_squares);
                json.decimal("stddev_ns", deviation.unwrap_or(0.0));
            }
        });
    }
    if is_tcp {
        json.plain("tcp_flags", tcp_flags(direction.tcp_flags).as_bytes());
        json.count("retransmitted", direction.retransmitted);
        json.count("out_of_order", direction.out_of_order);
        if let Some(missed_bytes) = direction.missed_bytes.filter(|&bytes| bytes > 0) {
            json.uint("missed_bytes", missed_bytes);
        }
    }
    json.uint("ttl_min", direction.ttl_min);
    if direction.ttl_max != direction.ttl_min {
        json.uint("ttl_max", direction.ttl_max);
    }
    json.count("fragments", direction.fragments);
    if let Some((entropy, bytes)) = direction.entropy {
        json.decimal("entropy", f64::from(entropy));
        json.uint("entropy_bytes", bytes);
    }
}

fn payload_sizes(json: &mut Json, sizes: &Sizes) {
    json.uint("min", sizes.min);
    json.uint("max", sizes.max);
    if sizes.min != sizes.max
        && let Some(spread) = Spread::of(sizes)
    {
        let [p50, p90, p99] = spread.percentiles;
        json.decimal("mean", spread.mean);
        json.decimal("stddev", spread.stddev);
        json.uint("p50", p50);
        json.uint("p90", p90);
        json.uint("p99", p99);
    }
    json.count("empty", sizes.empty());
    json.array("histogram", |json| {
        let mut bin = |bin: usize| {
            if sizes.bins[bin] > 0 {
                json.pair(false, u64::from(bin_range(bin).0), u64::from(sizes.bins[bin]));
            }
        };
        bin(0);
        // Bins outside are empty, and most flows have few sizes.
        (bin_of(sizes.min)..=bin_of(sizes.max)).for_each(bin);
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
            if !dns.addresses.is_empty() {
                json.array("addresses", |json| {
                    for found in &dns.addresses {
                        json.element(|json| {
                            json.ip("address", found.address);
                            json.uint("ttl_s", found.ttl_s);
                        });
                    }
                });
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
    if let Some(quoted) = &info.icmp_error {
        json.object("icmp_error", |json| {
            json.uint("proto", quoted.proto);
            json.ip("src_ip", quoted.src);
            json.ip("dst_ip", quoted.dst);
            if matches!(quoted.proto, 1 | 58) {
                json.uint("echo_id", quoted.echo_id);
            } else {
                json.uint("src_port", quoted.ports[0]);
                json.uint("dst_port", quoted.ports[1]);
            }
            flag(json, "several", quoted.several);
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
                "schema_version": 2,
                "community_id": "1:J/xyCth7UBTAVlDILJPkvdXxmZw=",
                "src_ip": "192.0.2.10", "dst_ip": "198.51.100.7",
                "src_port": 40000, "dst_port": 443,
                "proto": 6, "proto_name": "tcp",
                "start": "2026-11-21T09:30:00.000000000Z",
                "end": "2026-11-21T09:30:01.250000001Z",
                "duration_ns": 1250000001,
                "decided": "2026-11-21T09:30:06.000000000Z",
                "state": "closed", "answered": true,
                "end_reason": "closed",
                "sensor": "tap-7", "interface": "eth0", "other_interface": "eth\t1",
                "clock_synchronised": true,
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
                    "tcp_flags": "SAPF", "retransmitted": 1, "missed_bytes": 150,
                    "ttl_min": 63, "ttl_max": 64,
                    "entropy": 5.25, "entropy_bytes": 256
                },
                "rev": {
                    "packets": 4, "wire_bytes": 3064, "ip_bytes": 3008, "payload_bytes": 2800,
                    "payload_sizes": {
                        "min": 1400, "max": 1400, "empty": 2,
                        "histogram": [[0, 2], [1280, 2]]
                    },
                    "gaps": {"min_ns": 1000, "mean_ns": 2000, "max_ns": 3000, "stddev_ns": 1000},
                    "tcp_flags": "SAF", "out_of_order": 2,
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
    fn what_a_record_does_not_have_or_tells_otherwise_is_left_out() {
        assert_eq!(
            read(&FlowRecord { end_reason: EndReason::EndOfInput, ..samples::dns() }),
            json!({
                "schema_version": 2,
                "community_id": "1:ae8WTDw3kKrfO3mY5cubKCZdeHA=",
                "src_ip": "2001:db8::2", "dst_ip": "2001:db8::1",
                "src_port": 50_000, "dst_port": 53, "proto": 17, "proto_name": "udp",
                "start": "2026-11-21T09:30:00.000000000Z",
                "end": "2026-11-21T09:30:00.000000000Z",
                "state": "one_way", "answered": false, "originator_guessed": true,
                "end_reason": "end_of_input",
                "fwd": {
                    "packets": 1, "wire_bytes": 102, "ip_bytes": 88, "payload_bytes": 40,
                    "payload_sizes": {"min": 40, "max": 40, "histogram": [[40, 1]]},
                    "ttl_min": 63, "ttl_max": 64,
                },
                "sequence": [[40, 0]],
                "app": {"dns": {"query": "a\\\"b.example", "query_type": "AAAA"}},
            })
        );
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
        let hosts = Some(Box::new(samples::hosts::hosts()));
        let good = read(&FlowRecord { hosts, ..samples::tcp() });
        assert!(schema.is_valid(&good));
        for (pointer, bad) in [
            ("/start", json!("2026-11-21 09:30:00")),
            ("/proto", json!(256)),
            ("/state", json!("open")),
            ("/fwd/packets", json!(0)),
            ("/rev/fragments", json!(0)),
            ("/fwd/payload_sizes/histogram", json!([])),
            ("/fwd/payload_sizes/histogram/0", json!([0])),
            ("/community_id", json!("h9lE9jS5")),
            ("/tunnels/0/kind", json!("carrier pigeon")),
            ("/schema_version", json!(1)),
            ("/src_host", json!({})),
            ("/src_host/process/pid", json!(-1)),
            ("/src_host/process/command_line", json!(["curl"])),
            ("/src_host/attribution/certainty", json!(1.5)),
            ("/dst_host/attribution/reason", json!("tired")),
            ("/dst_host/attribution", json!({"method": "ebpf", "reason": "no_socket"})),
        ] {
            let mut record = good.clone();
            *record.pointer_mut(pointer).expect(pointer) = bad;
            assert!(!schema.is_valid(&record), "{pointer}");
        }
        for name in ["fwd", "decided"] {
            let mut without = good.clone();
            let fields = without.as_object_mut().expect("object");
            fields.remove(name);
            fields.remove("rev");
            assert!(!schema.is_valid(&without), "without {name}");
        }
        let mut more = good;
        more["unheard_of"] = json!(1);
        assert!(!schema.is_valid(&more), "a field that the schema does not name");
    }

    /// Figures of a direction as a reader has them, the omitted ones filled in
    /// as the schema tells.
    fn restored(side: &Value) -> Vec<Option<f64>> {
        let number = |value: &Value| value.as_f64();
        let count = |value: &Value| Some(value.as_f64().unwrap_or(0.0));
        let (sizes, gaps) = (&side["payload_sizes"], &side["gaps"]);
        let (min, min_ns) = (number(&sizes["min"]), number(&gaps["min_ns"]));
        let histogram = sizes["histogram"].as_array().map(Vec::as_slice).unwrap_or_default();
        let without_payload = count(&side["packets"]).filter(|_| min.is_none());
        let mut figures = vec![
            count(&side["packets"]),
            count(&side["wire_bytes"]),
            count(&side["ip_bytes"]),
            count(&side["payload_bytes"]),
            without_payload.or_else(|| count(&sizes["empty"])),
            min,
            number(&sizes["max"]),
            number(&sizes["mean"]).or(min),
            number(&sizes["stddev"]).or_else(|| min.map(|_| 0.0)),
            number(&sizes["p50"]).or(min),
            number(&sizes["p90"]).or(min),
            number(&sizes["p99"]).or(min),
            min_ns,
            number(&gaps["max_ns"]),
            number(&gaps["mean_ns"]).or(min_ns),
            number(&gaps["stddev_ns"]).or_else(|| min_ns.map(|_| 0.0)),
            count(&side["retransmitted"]),
            count(&side["out_of_order"]),
            count(&side["fragments"]),
            number(&side["ttl_min"]),
            number(&side["ttl_max"]).or_else(|| number(&side["ttl_min"])),
        ];
        figures.extend(histogram.iter().flat_map(|bin| [number(&bin[0]), number(&bin[1])]));
        figures
    }

    /// The same figures from the record.
    fn shown(side: &Direction) -> Vec<Option<f64>> {
        let rounded = |value: Option<f64>| value.map(|value| (value * 1000.0).round() / 1000.0);
        let (sizes, gaps) = (&side.sizes, &side.gaps);
        let payload = |value: u32| (sizes.count() > 0).then_some(f64::from(value));
        let gap = |value: f64| (gaps.count > 0).then_some(value);
        let seen = |value: u8| (side.packets > 0).then_some(f64::from(value));
        let percentile = |percent| sizes.percentile(percent).map(f64::from);
        let mean_ns = gap(gaps.sum_ns as f64 / gaps.count as f64);
        let mut figures = vec![
            Some(side.packets as f64),
            Some(side.wire_bytes as f64),
            Some(side.ip_bytes as f64),
            Some(side.payload_bytes as f64),
            Some(f64::from(sizes.empty())),
            payload(sizes.min),
            payload(sizes.max),
            rounded(sizes.mean()),
            rounded(sizes.stddev()),
            percentile(50),
            percentile(90),
            percentile(99),
            gap(gaps.min_ns as f64),
            gap(gaps.max_ns as f64),
            rounded(mean_ns),
            rounded(stddev(gaps.count, gaps.sum_ns, gaps.sum_squares)),
            Some(f64::from(side.retransmitted)),
            Some(f64::from(side.out_of_order)),
            Some(f64::from(side.fragments)),
            seen(side.ttl_min),
            seen(side.ttl_max),
        ];
        // Empty packets alone make no histogram.
        for (bin, &packets) in sizes.bins.iter().enumerate().filter(|_| sizes.count() > 0) {
            if packets > 0 {
                figures.extend([f64::from(bin_range(bin).0), f64::from(packets)].map(Some));
            }
        }
        figures
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
                prop_assert_eq!(&restored(&written[name]), &shown(direction), "{}", name);
            }
            let steps = written["sequence"].as_array().map_or(0, Vec::len);
            prop_assert_eq!(steps, record.sequence.len());
            prop_assert_eq!(written["src_ip"].as_str(), Some(&*record.src_ip().to_string()));
        }
    }
}
