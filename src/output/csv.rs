//! `flows.csv`: a flat table with a header line (RFC 4180).
//!
//! Absent values are empty cells. Lists of pairs are written `a:b` with spaces
//! between.

use std::io::Write;

use super::columns::{Value, columns, each_cell};
use super::json::{push_decimal, push_uint};
use super::text::TextWriter;
use crate::flow::FlowRecord;
use crate::time::rfc3339_bytes;

/// Writes `flows.csv`. Needs no buffered `out`.
pub fn writer<W: Write + Send>(out: W) -> TextWriter<W> {
    let names: Vec<_> = columns().into_iter().map(|(name, _)| name).collect();
    TextWriter::new(out, line).with_head(format!("{}\n", names.join(",")).into_bytes())
}

fn line(record: &FlowRecord, out: &mut Vec<u8>) {
    let mut first = true;
    each_cell(record, |value| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        push(out, value);
    });
    out.push(b'\n');
}

/// Text off the wire may hold anything: quoted where RFC 4180 wants it.
fn push_text(out: &mut Vec<u8>, text: &str) {
    if !text.bytes().any(|byte| matches!(byte, b'"' | b',' | b'\r' | b'\n')) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for (position, part) in text.split('"').enumerate() {
        if position > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}

fn push(cell: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Null => {}
        Value::Int(number) => push_int(cell, number),
        Value::Float(number) => push_decimal(cell, number),
        Value::Bool(yes) => cell.extend_from_slice(if yes { b"true" } else { b"false" }),
        Value::Text(text) => push_text(cell, &text),
        Value::Ascii(text) => cell.extend_from_slice(text.as_bytes()),
        Value::Time(ns) => cell.extend_from_slice(&rfc3339_bytes(ns)),
        Value::Pairs(pairs) => {
            let mut first = true;
            pairs.for_each(|left, right| {
                if !std::mem::take(&mut first) {
                    cell.push(b' ');
                }
                push_int(cell, left);
                cell.push(b':');
                push_int(cell, right);
            });
        }
    }
}

fn push_int(cell: &mut Vec<u8>, number: i64) {
    if number < 0 {
        cell.push(b'-');
    }
    push_uint(cell, number.unsigned_abs());
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::host::side::{FlowHosts, HostSide};
    use crate::output::printable::is_obeyed;
    use crate::output::{FlowWriter, samples};

    /// Rows as maps from column to cell, read back with another reader's rules.
    fn written(records: &[FlowRecord]) -> Vec<HashMap<String, String>> {
        let file = tempfile::NamedTempFile::new().expect("file");
        let mut writer = Box::new(writer(file.reopen().expect("file")));
        writer.write(records).expect("written");
        writer.finish().expect("finished");
        let mut table = csv::Reader::from_path(file.path()).expect("table");
        table.deserialize().map(|row| row.expect("row")).collect()
    }

    #[test]
    fn a_table_without_records_has_its_header() {
        let mut table = Vec::new();
        Box::new(writer(&mut table)).finish().expect("finished");
        assert!(table.starts_with(b"start,end,duration_ns,src_ip,") && table.ends_with(b"\n"));
    }

    #[test]
    fn a_full_record_fills_its_cells() {
        let rows = written(&[samples::tcp(), samples::dns(), samples::icmp()]);
        let tcp = &rows[0];
        for (column, expected) in [
            ("start", "2026-11-21T09:30:00.000000000Z"),
            ("duration_ns", "1250000001"),
            ("src_ip", "192.0.2.10"),
            ("dst_port", "443"),
            ("proto_name", "tcp"),
            ("vlans", "10 20"),
            ("vni", "4096"),
            ("src_mac", "02:00:00:00:00:0a"),
            ("tunnels", "vxlan/4096/10.0.0.1>10.0.0.2"),
            ("sequence", "517:0 -1400:20000000"),
            ("fwd_payload_mean", "308.5"),
            ("fwd_payload_histogram", "0:3 96:1 512:1"),
            ("rev_tcp_flags", "SAF"),
            ("tls_alpn", "h2 http/1.1"),
            ("tls_version", "TLS 1.3"),
            ("icmp_type", ""),
            ("src_process_pid", ""),
            ("dst_attribution_reason", ""),
        ] {
            assert_eq!(tcp[column], expected, "{column}");
        }
        let dns = &rows[1];
        assert_eq!((&*dns["dns_query"], &*dns["rev_payload_min"]), ("a\\\"b.example", ""));
        assert_eq!((&*dns["rev_packets"], &*dns["rev_ttl_min"]), ("0", ""));
        assert_eq!((&*rows[2]["icmp_type"], &*rows[2]["icmp_id"]), ("8", "77"));
    }

    #[test]
    fn what_is_known_of_hosts_fills_their_cells() {
        let hosts = Some(Box::new(samples::hosts::hosts()));
        let rows = written(&[FlowRecord { hosts, ..samples::tcp() }]);
        for (column, expected) in [
            ("src_process_pid", "4720"),
            ("src_process_name", "curl"),
            ("src_process_exe", "/tmp/curl"),
            ("src_process_user", "ann-curl"),
            ("src_process_start", "2026-11-21T09:29:59.995000000Z"),
            ("src_container", &"0123456789abcdef".repeat(4)),
            ("src_image", "registry.example/web:1.27"),
            ("src_pod", "web-7d9f"),
            ("src_namespace", "shop-web"),
            ("src_instance", "192.0.2.10"),
            ("src_attribution_method", "ebpf"),
            ("src_attribution_certainty", "0.5"),
            ("src_attribution_reason", ""),
            ("src_attribution_basis", "used"),
            ("src_attribution_others", "4721"),
            ("src_attribution_translated", "true"),
            ("src_attribution_provoked", "false"),
            ("dst_process_pid", ""),
            ("dst_attribution_method", ""),
            ("dst_attribution_certainty", ""),
            ("dst_attribution_reason", "no_socket"),
            ("dst_attribution_basis", ""),
            ("dst_attribution_others", ""),
            ("dst_attribution_translated", ""),
            ("dst_attribution_provoked", ""),
        ] {
            assert_eq!(rows[0][column], expected, "{column}");
        }
        let line = &rows[0]["src_process_command_line"];
        assert!(line.ends_with(" 'http://192.0.2.10/curl?a=b c'"), "{line}");
    }

    #[test]
    fn a_process_with_an_odd_name_makes_neither_lines_nor_commands() {
        let view = samples::hosts::process(samples::hosts::HOSTILE);
        let side = HostSide { process: Some(Arc::new(view)), ..HostSide::default() };
        let hosts = Some(Box::new(FlowHosts { src: Some(side), dst: None }));
        let mut out = Vec::new();
        line(&FlowRecord { hosts, ..samples::dns() }, &mut out);
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(!text.trim_end_matches('\n').chars().any(is_obeyed), "{text}");
    }

    proptest! {
        #[test]
        fn texts_are_quoted_as_another_writer_does(text: String, more in "[a\",\r\n ]{0,6}") {
            let mut ours = Vec::new();
            push_text(&mut ours, &text);
            ours.push(b',');
            push_text(&mut ours, &more);
            ours.push(b'\n');
            let mut theirs = csv::Writer::from_writer(Vec::new());
            theirs.write_record([&text, &more]).expect("written");
            prop_assert_eq!(ours, theirs.into_inner().expect("written"));
        }

        #[test]
        fn any_record_reads_back(seed: u64) {
            let record = samples::random(seed);
            let rows = written(std::slice::from_ref(&record));
            prop_assert_eq!(rows.len(), 1);
            let query = record.app.as_ref().and_then(|app| app.dns.as_ref());
            prop_assert_eq!(&*rows[0]["dns_query"], query.map_or("", |dns| &*dns.query));
            prop_assert_eq!(&rows[0]["fwd_wire_bytes"], &record.fwd.wire_bytes.to_string());
        }
    }
}
