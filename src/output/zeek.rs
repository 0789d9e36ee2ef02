//! Zeek's `conn.log` in its tab-separated form, for tools that read Zeek.
//!
//! Columns and types are Zeek's own, with `community_id` at the end as Zeek's
//! package for it has it. What a flow record does not know stays unset (`-`):
//! the order of flags (`history`), which side is local, and the connections of
//! the tunnels; `missed_bytes` where loss can't be told. Our own columns at the end
//! say who saw it, and who sat at its ends. Times of `#open` and `#close` are packet times.

use std::io::{self, Write};
use std::sync::Arc;

use super::columns::{HOST, Kind, OfHost, Value};
use super::identity::Identity;
use super::json::{push_decimal, push_ip, push_uint};
use super::names::{ICMP, ICMPV6, TCP, UDP};
use super::text::TextWriter;
use super::{Encoder, FlowWriter, Piece};
use crate::flow::app::AppInfo;
use crate::flow::community_id::CommunityId;
use crate::flow::{ConnState, FlowRecord};
use crate::input::Origin;
use crate::packet::facts::tcp_flag::{FIN, RST, SYN};
use crate::time::{push_epoch_s, rfc3339_bytes};

/// What is told of the host at each end, behind `orig_` and `resp_`: what one looks for.
/// The rest is in `flows.ndjson`.
const HOST_COLUMNS: [&str; 8] = [
    "process_pid",
    "process_name",
    "process_command_line",
    "process_user",
    "container",
    "attribution_method",
    "attribution_certainty",
    "attribution_reason",
];

/// Name and Zeek type of each column before those.
const COLUMNS: [(&str, &str); 27] = [
    ("ts", "time"),
    ("uid", "string"),
    ("id.orig_h", "addr"),
    ("id.orig_p", "port"),
    ("id.resp_h", "addr"),
    ("id.resp_p", "port"),
    ("proto", "enum"),
    ("service", "string"),
    ("duration", "interval"),
    ("orig_bytes", "count"),
    ("resp_bytes", "count"),
    ("conn_state", "string"),
    ("local_orig", "bool"),
    ("local_resp", "bool"),
    ("missed_bytes", "count"),
    ("history", "string"),
    ("orig_pkts", "count"),
    ("orig_ip_bytes", "count"),
    ("resp_pkts", "count"),
    ("resp_ip_bytes", "count"),
    ("tunnel_parents", "set[string]"),
    ("ip_proto", "count"),
    ("community_id", "string"),
    ("sensor", "string"),
    ("interface", "string"),
    ("other_interface", "string"),
    ("clock_synchronised", "bool"),
];

/// Writes `conn.log`.
pub struct ZeekWriter<W> {
    text: TextWriter<W>,
    /// Time of the last record's decision; None before the header is written.
    last_ns: Option<i64>,
}

impl<W: Write + Send> ZeekWriter<W> {
    /// Needs no buffered `out`. The header follows with the first record, whose
    /// time it bears.
    pub fn new(out: W) -> Self {
        Self { text: TextWriter::new(out, line), last_ns: None }
    }

    fn header(&mut self, ns: i64) -> io::Result<()> {
        let of_flow = COLUMNS.iter().map(|&(name, kind)| (name.to_owned(), kind));
        let of_hosts = ["orig", "resp"].into_iter().flat_map(|side| {
            host_columns().map(move |(name, kind, _)| (format!("{side}_{name}"), zeek_type(*kind)))
        });
        let (names, types): (Vec<_>, Vec<_>) = of_flow.chain(of_hosts).unzip();
        let lines = [
            "#separator \\x09".to_owned(),
            "#set_separator\t,".to_owned(),
            "#empty_field\t(empty)".to_owned(),
            "#unset_field\t-".to_owned(),
            "#path\tconn".to_owned(),
            format!("#open\t{}", stamp(ns)),
            format!("#fields\t{}", names.join("\t")),
            format!("#types\t{}\n", types.join("\t")),
        ];
        self.text.out.write_all(lines.join("\n").as_bytes())
    }
}

impl<W: Write + Send> FlowWriter for ZeekWriter<W> {
    fn encoder(&self) -> Arc<dyn Encoder> {
        self.text.encoder()
    }

    fn append(&mut self, piece: &mut Piece) -> io::Result<()> {
        let Some((first_ns, last_ns)) = piece.span_ns else { return Ok(()) };
        if self.last_ns.is_none() {
            self.header(first_ns)?;
        }
        self.last_ns = Some(last_ns);
        self.text.append(piece)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if self.last_ns.is_none() {
            self.header(0)?;
        }
        self.text.out.write_all(&close_line(self.last_ns.unwrap_or(0)))?;
        Box::new(self.text).finish()
    }
}

fn line(record: &FlowRecord, out: &mut Vec<u8>) {
    let community = CommunityId::of(&record.key, 0);
    push_epoch_s(out, record.start_ns);
    tab(out, &Identity::of(record, &community).uid());
    for (ip, port) in [(record.src_ip(), record.src_port()), (record.dst_ip(), record.dst_port())] {
        out.push(b'\t');
        push_ip(out, ip);
        number(out, u64::from(port));
    }
    tab(out, proto(record.key.proto).as_bytes());
    tab(out, service(record.app.as_deref()).as_bytes());
    // Zeek has no duration for a single packet.
    if record.fwd.packets + record.rev.packets > 1 {
        out.push(b'\t');
        push_epoch_s(out, record.end_ns.saturating_sub(record.start_ns).max(0));
    } else {
        tab(out, UNSET);
    }
    number(out, record.fwd.payload_bytes);
    number(out, record.rev.payload_bytes);
    tab(out, conn_state(record).as_bytes());
    for _local_orig_local_resp in 0..2 {
        tab(out, UNSET);
    }
    match missed_bytes(record) {
        Some(bytes) => number(out, bytes),
        None => tab(out, UNSET),
    }
    tab(out, UNSET); // history
    for direction in [&record.fwd, &record.rev] {
        number(out, direction.packets);
        number(out, direction.ip_bytes);
    }
    tab(out, UNSET); // tunnel_parents
    number(out, u64::from(record.key.proto));
    tab(out, &community.text());
    origin(out, record.origin.as_deref());
    let hosts = record.hosts.as_deref();
    for side in [hosts.and_then(|h| h.src.as_ref()), hosts.and_then(|h| h.dst.as_ref())] {
        match side {
            Some(side) => host_columns().for_each(|column| cell(out, &(column.2)(side))),
            None => HOST_COLUMNS.iter().for_each(|_| tab(out, UNSET)),
        }
    }
    out.push(b'\n');
}

fn host_columns() -> impl Iterator<Item = &'static OfHost> {
    HOST_COLUMNS.iter().filter_map(|name| HOST.iter().find(|column| column.0 == *name))
}

/// Of the kinds that columns of hosts have.
fn zeek_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Int => "count",
        Kind::Float => "double",
        Kind::Bool => "bool",
        Kind::Time => "time",
        Kind::Text | Kind::Pairs(..) => "string",
    }
}

fn cell(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Int(value) => number(out, u64::try_from(*value).unwrap_or(0)),
        Value::Float(value) => {
            out.push(b'\t');
            push_decimal(out, *value);
        }
        Value::Bool(yes) => tab(out, if *yes { b"T" } else { b"F" }),
        Value::Time(ns) => {
            out.push(b'\t');
            push_epoch_s(out, *ns);
        }
        Value::Text(text) => {
            out.push(b'\t');
            push_text(out, text);
        }
        Value::Ascii(text) => tab(out, text.as_bytes()),
        Value::Null | Value::Pairs(_) => tab(out, UNSET),
    }
}

/// Of both directions, as far as it can be told.
fn missed_bytes(record: &FlowRecord) -> Option<u64> {
    let both = [record.fwd.missed_bytes, record.rev.missed_bytes];
    both.into_iter().flatten().reduce(|sum, bytes| sum.saturating_add(bytes))
}

fn origin(out: &mut Vec<u8>, origin: Option<&Origin>) {
    let Some(Origin { sensor, interface, other_interface, clock_synchronised }) = origin else {
        (0..4).for_each(|_| tab(out, UNSET));
        return;
    };
    for text in [sensor, interface, other_interface] {
        out.push(b'\t');
        push_text(out, text);
    }
    tab(out, clock_synchronised.map_or(UNSET, |yes| if yes { b"T" } else { b"F" }));
}

/// A text as Zeek's writer has it: what is not printable ASCII, and the backslash,
/// as `\x` and two digits, so that a name off a file can't make columns or lines.
fn push_text(out: &mut Vec<u8>, text: &str) {
    // A text that is the sign for none is told apart from it.
    if text.is_empty() {
        out.extend_from_slice(UNSET);
        return;
    }
    let is_sign = text.as_bytes() == UNSET;
    for &byte in text.as_bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'\\' && !is_sign {
            out.push(byte);
        } else {
            // Writing to a vector cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

const UNSET: &[u8] = b"-";

fn tab(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'\t');
    out.extend_from_slice(text);
}

fn number(out: &mut Vec<u8>, value: u64) {
    out.push(b'\t');
    push_uint(out, value);
}

/// Zeek's `transport_proto`.
fn proto(proto: u8) -> &'static str {
    match proto {
        TCP => "tcp",
        UDP => "udp",
        ICMP | ICMPV6 => "icmp",
        _ => "unknown_transport",
    }
}

/// Zeek's names of the analyzers that would have confirmed the protocol.
fn service(app: Option<&AppInfo>) -> &'static str {
    match app {
        Some(AppInfo { quic: Some(quic), .. }) if quic.sni.is_some() => "quic,ssl",
        Some(AppInfo { quic: Some(_), .. }) => "quic",
        Some(AppInfo { tls: Some(_), .. }) => "ssl",
        Some(AppInfo { dns: Some(_), .. }) => "dns",
        Some(AppInfo { http: Some(_), .. }) => "http",
        Some(AppInfo { ssh: Some(_), .. }) => "ssh",
        _ => "-",
    }
}

/// Zeek's summary of a connection, from the state and the flags of each side.
///
/// The order of flags within a side is not known. Where both sides sent RST,
/// the originator's counts.
fn conn_state(record: &FlowRecord) -> &'static str {
    match record.key.proto {
        TCP => {}
        UDP => return if record.answered { "SF" } else { "S0" },
        // Zeek gives every other protocol this state.
        _ => return "OTH",
    }
    let fwd = |flag| record.fwd.tcp_flags & flag != 0;
    let rev = |flag| record.rev.tcp_flags & flag != 0;
    match (record.state, fwd(SYN), rev(SYN)) {
        (ConnState::Reset, true, true) => {
            if fwd(RST) {
                "RSTO"
            } else {
                "RSTR"
            }
        }
        (ConnState::Reset, true, false) => {
            if rev(RST) {
                "REJ"
            } else {
                "RSTOS0"
            }
        }
        (ConnState::Reset, false, true) if rev(RST) => "RSTRH",
        (ConnState::Closed, true, true) => "SF",
        (ConnState::Established, true, true) => match (fwd(FIN), rev(FIN)) {
            (false, false) => "S1",
            (true, false) => "S2",
            (false, true) => "S3",
            (true, true) => "SF",
        },
        (_, true, false) if fwd(FIN) => "SH",
        (_, true, false) if record.rev.packets == 0 => "S0",
        (_, false, true) if rev(FIN) && record.fwd.packets == 0 => "SHR",
        _ => "OTH",
    }
}

/// The log's last line.
pub(super) fn close_line(ns: i64) -> Vec<u8> {
    format!("#close\t{}\n", stamp(ns)).into_bytes()
}

/// `2026-11-21-09-30-00`, the form of `#open` and `#close`.
fn stamp(ns: i64) -> String {
    let text = String::from_utf8_lossy(&rfc3339_bytes(ns)[..19]).into_owned();
    text.replace(['T', ':'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Direction;
    use crate::output::samples;
    use crate::packet::facts::tcp_flag::ACK;

    fn written(records: &[FlowRecord]) -> String {
        let file = tempfile::NamedTempFile::new().expect("file");
        let mut writer = Box::new(ZeekWriter::new(file.reopen().expect("file")));
        writer.write(records).expect("written");
        writer.finish().expect("finished");
        std::fs::read_to_string(file.path()).expect("text")
    }

    #[test]
    fn the_header_is_zeeks_and_each_line_has_every_column() {
        let text = written(&[samples::tcp(), samples::dns(), samples::icmp()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..6],
            [
                "#separator \\x09",
                "#set_separator\t,",
                "#empty_field\t(empty)",
                "#unset_field\t-",
                "#path\tconn",
                "#open\t2026-11-21-09-30-00",
            ]
        );
        assert!(lines[6].starts_with("#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\t"));
        assert!(lines[7].starts_with("#types\ttime\tstring\taddr\tport\taddr\tport\tenum\t"));
        assert_eq!(lines[11], "#close\t2026-11-21-09-30-06");
        for line in &lines[8..11] {
            assert_eq!(line.split('\t').count(), lines[6].split('\t').count() - 1, "{line}");
            assert_eq!(line.split('\t').count(), lines[7].split('\t').count() - 1, "{line}");
        }
        let tcp: Vec<&str> = lines[8].split('\t').collect();
        assert_eq!(tcp[0], "1795253400.000000");
        assert_eq!(
            tcp[2..COLUMNS.len()],
            [
                "192.0.2.10",
                "40000",
                "198.51.100.7",
                "443",
                "tcp",
                "ssl",
                "1.250000",
                "617",
                "2800",
                "SF",
                "-",
                "-",
                "150",
                "-",
                "5",
                "877",
                "4",
                "3008",
                "-",
                "6",
                "1:J/xyCth7UBTAVlDILJPkvdXxmZw=",
                "tap-7",
                "eth0",
                "eth\\x091",
                "T",
            ]
        );
        let dns: Vec<&str> = lines[9].split('\t').collect();
        assert_eq!((dns[7], dns[8], dns[11]), ("dns", "-", "S0"));
        let icmp: Vec<&str> = lines[10].split('\t').collect();
        assert_eq!((icmp[3], icmp[5], icmp[6], icmp[11]), ("8", "0", "icmp", "OTH"));
    }

    #[test]
    fn who_sat_at_the_ends_stands_in_columns_of_its_own() {
        let hosts = Some(Box::new(samples::hosts::hosts()));
        let text = written(&[FlowRecord { hosts, ..samples::tcp() }, samples::dns()]);
        let lines: Vec<&str> = text.lines().collect();
        let names: Vec<&str> = lines[6].split('\t').skip(1).collect();
        let cell = |line: usize, name: &str| {
            let column = names.iter().position(|known| *known == name).expect(name);
            lines[line].split('\t').nth(column).expect("a cell")
        };
        for (name, expected) in [
            ("orig_process_pid", "4720"),
            ("orig_process_name", "curl"),
            ("orig_process_user", "ann-curl"),
            ("orig_attribution_method", "ebpf"),
            ("orig_attribution_certainty", "0.5"),
            ("orig_attribution_reason", "-"),
            ("resp_process_pid", "-"),
            ("resp_attribution_reason", "no_socket"),
        ] {
            assert_eq!(cell(8, name), expected, "{name}");
            assert_eq!(cell(9, name), "-", "{name}: of a flow that nothing is known of");
        }
        assert!(cell(8, "orig_process_command_line").contains("http://192.0.2.10/curl"));
        assert_eq!(HOST_COLUMNS.len(), host_columns().count());
    }

    #[test]
    fn a_log_without_records_has_its_header_and_end() {
        let text = written(&[]);
        assert!(text.starts_with("#separator \\x09\n") && text.contains("\n#types\t"));
        assert!(text.ends_with("\n#close\t1970-01-01-00-00-00\n"));
    }

    /// Meanings as Zeek's documentation of `conn_state` gives them.
    #[test]
    fn states_follow_zeeks_definitions() {
        use ConnState::{Closed, Established, HalfOpen, Midstream, Reset};
        let all = SYN | ACK;
        for (state, fwd, rev, expected) in [
            (HalfOpen, SYN, None, "S0"),
            (HalfOpen, SYN | FIN, None, "SH"),
            (Established, all, Some(all), "S1"),
            (Established, all | FIN, Some(all), "S2"),
            (Established, all, Some(all | FIN), "S3"),
            (Closed, all | FIN, Some(all | FIN), "SF"),
            (Closed, ACK | FIN, Some(ACK | FIN), "OTH"),
            (Reset, SYN, Some(RST | ACK), "REJ"),
            (Reset, SYN | RST, None, "RSTOS0"),
            (Reset, all | RST, Some(all), "RSTO"),
            (Reset, all, Some(all | RST), "RSTR"),
            (Reset, ACK, Some(all | RST), "RSTRH"),
            (Reset, ACK | RST, Some(ACK), "OTH"),
            (Midstream, ACK, Some(ACK), "OTH"),
        ] {
            let side = |flags| Direction { packets: 1, tcp_flags: flags, ..Direction::default() };
            let record = FlowRecord {
                state,
                fwd: side(fwd),
                rev: rev.map_or_else(Direction::default, side),
                ..samples::tcp()
            };
            assert_eq!(conn_state(&record), expected, "{state:?} {fwd:#x} {rev:?}");
        }
    }
}
