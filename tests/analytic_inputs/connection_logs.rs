//! AN0031 from connection logs.

use serde_json::json;

use super::{SENDER, START_S, TARGET, alerts, at};

/// Connections of one client with one server, so long after one another.
fn connections(kind: &str, gaps_s: impl Iterator<Item = i64>) -> String {
    let mut out = String::new();
    if kind == "zeek-conn" {
        out.push_str(
            "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n\
             #fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\t\
             orig_bytes\tresp_bytes\tconn_state\tmissed_bytes\thistory\torig_pkts\torig_ip_bytes\t\
             resp_pkts\tresp_ip_bytes\n",
        );
    }
    let mut start = START_S;
    for (number, gap_s) in gaps_s.enumerate() {
        start += gap_s;
        let port = 40_000 + number;
        let line = match kind {
            "zeek-conn" => format!(
                "{start}.000000\tC{number}\t{SENDER}\t{port}\t{TARGET}\t443\ttcp\tssl\t0.400000\t617\t2800\tSF\t\
                 0\tShADadFf\t8\t1041\t7\t3172"
            ),
            "zeek-conn-json" => json!({
                "ts": start, "uid": format!("C{number}"), "id.orig_h": SENDER, "id.orig_p": port,
                "id.resp_h": TARGET, "id.resp_p": 443, "proto": "tcp", "service": "ssl",
                "duration": 0.4, "orig_bytes": 617, "resp_bytes": 2_800, "conn_state": "SF",
                "missed_bytes": 0, "history": "ShADadFf", "orig_pkts": 8, "orig_ip_bytes": 1_041,
                "resp_pkts": 7, "resp_ip_bytes": 3_172,
            })
            .to_string(),
            _ => {
                let time = |second| at(second, "%Y-%m-%dT%H:%M:%S.000000+0000");
                json!({
                    "timestamp": time(start + 60), "flow_id": 10_935_172_412_077_usize + number,
                    "event_type": "flow", "src_ip": SENDER, "src_port": port, "dest_ip": TARGET,
                    "dest_port": 443, "proto": "TCP", "app_proto": "tls",
                    "flow": {
                        "pkts_toserver": 8, "pkts_toclient": 7, "bytes_toserver": 1_153,
                        "bytes_toclient": 3_270, "start": time(start), "end": time(start + 1),
                        "age": 1, "state": "closed", "reason": "timeout", "alerted": false,
                    },
                })
                .to_string()
            }
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[test]
fn an0031_from_each_kind_of_connection_log_alone() {
    // The minutes of the golden section: far from even, and the same each time.
    let odd = |at: i64| 20 + at * 618_034 % 1_000_000 * at % 2_399;
    for kind in ["zeek-conn", "zeek-conn-json", "suricata-eve"] {
        let found = alerts(kind, &connections(kind, (0..144).map(|_| 600)), &[]);
        assert_eq!(found.len(), 1, "{kind}: {found:#?}");
        assert_eq!(found[0]["detector"], "beacon", "{kind}");
        assert_eq!(found[0]["entity"]["id"], SENDER);
        // Without a process it can only be possible.
        assert_eq!(found[0]["analytics"], json!([]), "{kind}");
        assert_eq!(found[0]["possible_analytics"], json!(["AN0031"]), "{kind}");
        let person = alerts(kind, &connections(kind, (0..144).map(odd)), &[]);
        assert!(person.is_empty(), "{kind}: calls without a rhythm: {person:#?}");
    }
}
