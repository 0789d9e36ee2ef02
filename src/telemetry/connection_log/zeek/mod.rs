//! Zeek's `conn.log`, tab-separated and JSON.
//!
//! A record is a whole connection, written when it is over. What Zeek's scripts or
//! packages add is kept under its own name; flowtap's own `conn.log` is read back.

mod json;
mod record;
mod tsv;

use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Kind};

const SEES: &str = "connections with both sides' packets, bytes, state and service";
const ABSENT: &str = "packet sizes and times, TCP flags one by one, connections still open";
/// `tcp_inactivity_timeout` of 5 minutes before a silent connection is written, and
/// the writer's buffer.
const LATENESS_S: i64 = 310;

pub(in crate::telemetry) static TSV: Kind = Kind {
    name: "zeek-conn",
    title: "Zeek conn.log",
    gives: Gives::Flows,
    versions: "Zeek 3 to 8 with its header lines (any fields, order and separator); without them by --fields",
    source: "Zeek documentation, conn.log and The Zeek Logging Framework",
    sample: "#separator \\x09\n\
        #set_separator\t,\n\
        #empty_field\t(empty)\n\
        #unset_field\t-\n\
        #path\tconn\n\
        #fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\tmissed_bytes\thistory\torig_pkts\torig_ip_bytes\tresp_pkts\tresp_ip_bytes\ttunnel_parents\n\
        1772360102.114000\tCx1aB2yzKq7LmN8Pqe\t192.0.2.10\t40112\t198.51.100.7\t443\ttcp\tssl\t1.250000\t617\t2800\tSF\t0\tShADadFf\t8\t1041\t7\t3172\t(empty)\n",
    sees: SEES,
    absent: ABSENT,
    lateness_s: LATENESS_S,
    framing: Framing::Lines,
    recognise: tsv::recognise,
    decoder: tsv::decoder,
};

pub(in crate::telemetry) static JSON: Kind = Kind {
    name: "zeek-conn-json",
    title: "Zeek conn.log as JSON",
    gives: Gives::Flows,
    versions: "Zeek 3 to 8, times as seconds, milliseconds or ISO 8601; other logs between are passed over",
    source: "Zeek documentation, conn.log and Zeek Log Formats and Inspection",
    sample: "{\"ts\":1772360102.114,\"uid\":\"Cx1aB2yzKq7LmN8Pqe\",\"id.orig_h\":\"192.0.2.10\",\"id.orig_p\":40112,\
        \"id.resp_h\":\"198.51.100.7\",\"id.resp_p\":443,\"proto\":\"tcp\",\"service\":\"ssl\",\"duration\":1.25,\
        \"orig_bytes\":617,\"resp_bytes\":2800,\"conn_state\":\"SF\",\"missed_bytes\":0,\"history\":\"ShADadFf\",\
        \"orig_pkts\":8,\"orig_ip_bytes\":1041,\"resp_pkts\":7,\"resp_ip_bytes\":3172}\n",
    sees: SEES,
    absent: ABSENT,
    lateness_s: LATENESS_S,
    framing: Framing::Json,
    recognise: json::recognise,
    decoder: json::decoder,
};
