//! nfdump's listings of NetFlow files, CSV and JSON.
//!
//! Times are local ones of the machine that ran nfdump, without a zone: they are
//! read as UTC, so run it with `TZ=UTC`. Where nfdump has a column for what an
//! exporter did not send, it prints 0 or an address of zeros: taken as absent.

mod csv;
mod json;

use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Kind};
use crate::telemetry::observation::Action;

const SEES: &str =
    "what a NetFlow, IPFIX or sFlow exporter counted, by direction or (nfdump -b) both ways";
const ABSENT: &str =
    "payload bytes, packet sizes and times; the time zone; 0 and absent are one in CSV";
/// A file of 5 minutes, and the exporter's inactive time-out before that.
const LATENESS_S: i64 = 330;

pub(in crate::telemetry) static CSV: Kind = Kind {
    name: "nfdump-csv",
    title: "nfdump CSV",
    gives: Gives::Flows,
    versions: "nfdump 1.6 to 1.7.3 (ts,te,td...) and from 1.7.4 (firstSeen,duration...), by header",
    source: "nfdump 1.7.1 -o csv; from 1.7.4: its issue 631",
    sample: "ts,te,td,sa,da,sp,dp,pr,flg,fwd,stos,ipkt,ibyt,opkt,obyt,in,out,sas,das\n\
        2026-03-01 10:15:02,2026-03-01 10:15:03,1.250,192.0.2.10,198.51.100.7,40112,443,TCP,...AP.SF,0,0,8,1041,7,3172,2,3,64500,64501\n\
        Summary\n\
        flows,bytes,packets,avg_bps,avg_pps,avg_bpp\n\
        1,1041,8,6662,6,130\n",
    sees: SEES,
    absent: ABSENT,
    lateness_s: LATENESS_S,
    framing: Framing::Lines,
    recognise: csv::recognise,
    decoder: csv::decoder,
};

pub(in crate::telemetry) static JSON: Kind = Kind {
    name: "nfdump-json",
    title: "nfdump JSON",
    gives: Gives::Flows,
    versions: "nfdump 1.6 to 1.7, -o json (an array) and ndjson",
    source: "nfdump 1.7.1 -o json",
    sample: "[\n{\n\t\"type\" : \"FLOW\",\n\t\"sampled\" : 0,\n\t\"export_sysid\" : 1,\n\
        \t\"first\" : \"2026-03-01T10:15:02.114\",\n\t\"last\" : \"2026-03-01T10:15:03.364\",\n\
        \t\"received\" : \"2026-03-01T10:15:20.000\",\n\t\"in_packets\" : 8,\n\t\"in_bytes\" : 1041,\n\
        \t\"proto\" : 6,\n\t\"tcp_flags\" : \"...AP.SF\",\n\t\"src_port\" : 40112,\n\t\"dst_port\" : 443,\n\
        \t\"src_tos\" : 0,\n\t\"src4_addr\" : \"192.0.2.10\",\n\t\"dst4_addr\" : \"198.51.100.7\",\n\
        \t\"label\" : \"<none>\"\n}]\n",
    sees: SEES,
    absent: ABSENT,
    lateness_s: LATENESS_S,
    framing: Framing::Json,
    recognise: json::recognise,
    decoder: json::decoder,
};

/// `...AP.SF`: a letter for each flag that is set.
fn tcp_flags(text: &[u8]) -> Option<u16> {
    let mut flags = 0;
    for letter in text {
        flags |= match letter {
            b'F' => 0x01,
            b'S' => 0x02,
            b'R' => 0x04,
            b'P' => 0x08,
            b'A' => 0x10,
            b'U' => 0x20,
            b'E' => 0x40,
            b'C' => 0x80,
            b'.' | b' ' => 0,
            _ => return None,
        };
    }
    Some(flags)
}

/// IANA's forwarding status: its upper two bits.
fn action(forwarding_status: u64) -> Option<Action> {
    match forwarding_status >> 6 {
        1 => Some(Action::Accepted),
        2 => Some(Action::Rejected),
        _ => None,
    }
}
