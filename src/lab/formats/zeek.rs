//! Zeek's conn.log with `LogAscii::use_json`: a line once a connection is over.

use serde_json::{Map, Value, json};

use super::{Conversation, Sums};
use crate::lab::synth::frame::ip_proto;

pub(super) fn line(of: &Conversation) -> String {
    let is_echo = matches!(of.proto, ip_proto::ICMP | ip_proto::ICMPV6);
    let is_answered = of.received.packets > 0;
    let (proto, state, history) = match of.proto {
        ip_proto::TCP if of.is_over => ("tcp", "SF", "ShADadFf"),
        ip_proto::TCP => ("tcp", "S1", "ShADad"),
        ip_proto::UDP if is_answered => ("udp", "SF", "Dd"),
        ip_proto::UDP => ("udp", "S0", "D"),
        _ if is_echo => ("icmp", "OTH", ""),
        _ => ("unknown_transport", "OTH", ""),
    };
    // Of an echo, type and code.
    let echo = if of.proto == ip_proto::ICMP { (8, 0) } else { (128, 129) };
    let ports = if is_echo { echo } else { (of.client.1, of.server.1) };
    let seconds = |ns: i64| ns as f64 / 1e9;
    let mut record = Map::new();
    let mut set = |name: &str, value: Value| record.insert(name.to_owned(), value);
    set("ts", json!(seconds(of.start_ns)));
    set("uid", json!(format!("C{:016x}", of.number)));
    set("id.orig_h", json!(of.client.0));
    set("id.orig_p", json!(ports.0));
    set("id.resp_h", json!(of.server.0));
    set("id.resp_p", json!(ports.1));
    set("proto", json!(proto));
    set("duration", json!(seconds(of.end_ns - of.start_ns)));
    set("orig_bytes", json!(of.sent.payload_bytes));
    set("resp_bytes", json!(of.received.payload_bytes));
    set("conn_state", json!(state));
    set("missed_bytes", json!(0));
    if !history.is_empty() {
        set("history", json!(history));
    }
    for (side, Sums { packets, ip_bytes, .. }) in [("orig", of.sent), ("resp", of.received)] {
        set(&format!("{side}_pkts"), json!(packets));
        set(&format!("{side}_ip_bytes"), json!(ip_bytes));
    }
    format!("{}\n", Value::Object(record))
}
