//! AN0972 from flow logs of clouds and from connection logs.

use serde_json::json;

use super::common::Dir;
use super::frames::{A6, B6, C4, D4, eth, ipv4, ipv6, udp, vxlan};
use super::{SENDER, START_S, TARGET, alerts, at, iso, pcap, read};

/// A minute of one flow, both ways.
#[derive(Clone, Copy)]
pub(super) struct Volume {
    pub(super) protocol: u8,
    /// Packets and bytes.
    pub(super) sent: (u64, u64),
    pub(super) received: (u64, u64),
}

/// One way, stateless, 20 Mbit/s.
pub(super) const FLOOD: Volume =
    Volume { protocol: 17, sent: (300_000, 150_000_000), received: (0, 0) };
/// Answered: a backup.
pub(super) const BACKUP: Volume =
    Volume { protocol: 6, sent: (60_000, 80_000_000), received: (30_000, 1_600_000) };

pub(super) const MINUTES: i64 = 3;

fn flows(kind: &str, volume: Volume) -> String {
    let Volume { protocol, sent: (p, b), received: (rp, rb) } = volume;
    let (name, letter) = if protocol == 6 { ("TCP", "T") } else { ("UDP", "U") };
    let lower = name.to_lowercase();
    let mut out = String::new();
    match kind {
        "zeek-conn" => out.push_str(
            "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n\
             #fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\t\
             orig_bytes\tresp_bytes\tconn_state\tmissed_bytes\thistory\torig_pkts\torig_ip_bytes\t\
             resp_pkts\tresp_ip_bytes\n",
        ),
        "nfdump-csv" => out.push_str(
            "ts,te,td,sa,da,sp,dp,pr,flg,fwd,stos,ipkt,ibyt,opkt,obyt,in,out,sas,das\n",
        ),
        _ => {}
    }
    for minute in 0..MINUTES {
        let (start, end) = (START_S + 60 * minute, START_S + 60 * minute + 58);
        let port = 40_112 + minute;
        let state = if minute + 1 < MINUTES { "C" } else { "E" };
        let payload = b - p * 28;
        let line = match kind {
            "aws-vpc" => {
                let record = |(src, from), (dst, to), packets, bytes| {
                    format!(
                        "2 123456789010 eni-0a000000000000006 {src} {dst} {from} {to} {protocol} \
                         {packets} {bytes} {start} {end} ACCEPT OK"
                    )
                };
                let there = record((SENDER, 40_112), (TARGET, 9_999), p, b);
                match rp {
                    0 => there,
                    _ => there + "\n" + &record((TARGET, 9_999), (SENDER, 40_112), rp, rb),
                }
            }
            "azure-nsg" => json!({"records": [{
                "time": iso(end), "systemId": "s", "category": "NetworkSecurityGroupFlowEvent",
                "resourceId": "/N", "operationName": "NetworkSecurityGroupFlowEvents",
                "properties": {"Version": 2, "flows": [{"rule": "UserRule_out", "flows": [{
                    "mac": "000D3A000001", "flowTuples": [format!(
                        "{end},{SENDER},{TARGET},40112,9999,{letter},O,A,{state},{p},{b},{rp},{rb}"
                    )],
                }]}]},
            }]})
            .to_string(),
            "azure-vnet" => json!({"records": [{
                "time": iso(end), "flowLogVersion": 4, "flowLogGUID": "g",
                "macAddress": "000D3A000001", "category": "FlowLogFlowEvent",
                "flowLogResourceID": "/F", "targetResourceID": "/V",
                "operationName": "FlowLogFlowEvent",
                "flowRecords": {"flows": [{"aclID": "a", "flowGroups": [{
                    "rule": "AllowOut", "flowTuples": [format!(
                        "{end}000,{SENDER},{TARGET},40112,9999,{protocol},O,{state},NX,{p},{b},{rp},{rb}"
                    )],
                }]}]},
            }]})
            .to_string(),
            "gcp-vpc" => json!({
                "logName": "projects/p/logs/compute.googleapis.com%2Fvpc_flows",
                "jsonPayload": {
                    "connection": {
                        "src_ip": SENDER, "src_port": 40_112, "dest_ip": TARGET,
                        "dest_port": 9_999, "protocol": protocol,
                    },
                    "reporter": "SRC", "bytes_sent": b.to_string(), "packets_sent": p.to_string(),
                    "start_time": iso(start), "end_time": iso(end),
                    "src_instance": {"project_id": "p", "vm_name": "web-1", "zone": "z"},
                },
            })
            .to_string(),
            "zeek-conn" => format!(
                "{start}.000000\tC{minute}\t{SENDER}\t{port}\t{TARGET}\t9999\t{lower}\t-\t58.000000\t\
                 {payload}\t{rb}\tSF\t0\tDd\t{p}\t{b}\t{rp}\t{rb}"
            ),
            "zeek-conn-json" => json!({
                "ts": start, "uid": format!("C{minute}"), "id.orig_h": SENDER, "id.orig_p": port,
                "id.resp_h": TARGET, "id.resp_p": 9_999, "proto": lower, "duration": 58.0,
                "orig_bytes": payload, "resp_bytes": rb, "conn_state": "SF", "missed_bytes": 0,
                "history": "Dd", "orig_pkts": p, "orig_ip_bytes": b, "resp_pkts": rp,
                "resp_ip_bytes": rb,
            })
            .to_string(),
            "suricata-eve" => {
                let time = |second| at(second, "%Y-%m-%dT%H:%M:%S.000000+0000");
                json!({
                    "timestamp": time(end + 30), "flow_id": 1_093_517_241_207_781 + minute,
                    "event_type": "flow", "src_ip": SENDER, "src_port": port,
                    "dest_ip": TARGET, "dest_port": 9_999, "proto": name,
                    "flow": {
                        "pkts_toserver": p, "pkts_toclient": rp, "bytes_toserver": b,
                        "bytes_toclient": rb, "start": time(start), "end": time(end), "age": 58,
                        "state": "new", "reason": "timeout", "alerted": false,
                    },
                })
                .to_string()
            }
            _ => {
                let time = |second| at(second, "%Y-%m-%d %H:%M:%S");
                format!(
                    "{},{},58.000,{SENDER},{TARGET},40112,9999,{name},........,0,0,{p},{b},0,0,2,3,0,0",
                    time(start),
                    time(end)
                )
            }
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// At the interface of a NAT gateway, whose own address stands in the place of the far end.
#[test]
fn an0972_through_a_nat_gateway_names_who_was_flooded() {
    let mut log =
        "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets \
                   bytes start end action log-status instance-id pkt-srcaddr pkt-dstaddr \
                   flow-direction\n"
            .to_owned();
    for minute in 0..MINUTES {
        let start = START_S + 60 * minute;
        log += &format!(
            "5 123456789010 eni-nat {SENDER} 10.0.0.220 40112 9999 17 300000 150000000 {start} {} \
             ACCEPT OK i-nat {SENDER} {TARGET} ingress\n",
            start + 58
        );
        // What comes back: from outside, by the gateway.
        log += &format!(
            "5 123456789010 eni-nat 10.0.0.220 10.0.0.7 443 50000 6 40 40000 {start} {} ACCEPT OK \
             i-nat {TARGET} 10.0.0.7 egress\n",
            start + 58
        );
    }
    let found = alerts("aws-vpc", &log, &[]);
    assert_eq!(found.len(), 1, "{found:#?}");
    let alert = &found[0];
    assert_eq!((&alert["detector"], &alert["severity"]), (&"egress".into(), &"high".into()));
    assert_eq!(
        (&alert["entity"]["id"], &alert["evidence"]["direction"]),
        (&SENDER.into(), &"outbound".into())
    );
    assert_eq!(alert["peers"][0]["address"], TARGET);
    assert!(alert["summary"].as_str().expect("text").contains(TARGET), "{}", alert["summary"]);
}

#[test]
fn records_that_aws_skipped_stand_in_the_alert_and_lower_its_confidence() {
    let whole = flows("aws-vpc", FLOOD);
    let skipped = |interface: &str| {
        let skip: String = (0..MINUTES)
            .map(|minute| START_S + 60 * minute)
            .map(|start| {
                format!(
                    "2 123456789010 {interface} - - - - - - - {start} {} - SKIPDATA\n",
                    start + 58
                )
            })
            .collect();
        let found = alerts("aws-vpc", &(whole.clone() + &skip), &[]);
        assert_eq!(found.len(), 1, "{found:#?}");
        let missing = found[0]["missing_telemetry"].as_array().expect("a list");
        // The confidence itself is at its cap both times, as nothing is learned.
        let terms = found[0]["confidence_terms"].as_array().expect("a list");
        let sum: f64 = terms.iter().filter_map(|term| term["points"].as_f64()).sum();
        (missing.contains(&"skipped_records".into()), sum)
    };
    let (of_own, lowered) = skipped("eni-0a000000000000006");
    let (of_other, confidence) = skipped("eni-0a000000000000007");
    assert_eq!((of_own, of_other), (true, false));
    assert!(lowered < confidence, "{lowered:?} {confidence:?}");
}

/// Addresses of IPv6 are global in clouds: no home network has them.
#[test]
fn an0972_of_an_interface_with_a_global_address() {
    let (src, dst) = ("2600:1f18::5", "2a00:1450::9");
    let aws = |direction: &str| {
        let mut log =
            "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets \
                       bytes start end action log-status flow-direction\n"
                .to_owned();
        for minute in 0..MINUTES {
            let start = START_S + 60 * minute;
            log += &format!(
                "5 123456789010 eni-0a000000000000006 {src} {dst} 40112 9999 17 300000 150000000 \
                 {start} {} ACCEPT OK {direction}\n",
                start + 58
            );
        }
        log
    };
    let azure = flows("azure-vnet", FLOOD).replace(SENDER, src).replace(TARGET, dst);
    for (kind, log) in [("aws-vpc", aws("egress")), ("azure-vnet", azure)] {
        let found = alerts(kind, &log, &[]);
        assert_eq!(found.len(), 1, "{kind}: {found:#?}");
        let alert = &found[0];
        assert_eq!((&alert["detector"], &alert["severity"]), (&"egress".into(), &"high".into()));
        assert_eq!(
            (&alert["entity"]["id"], &alert["peers"][0]["address"]),
            (&src.into(), &dst.into())
        );
        assert_eq!(alert["evidence"]["direction"], "outbound");
    }
    // A record that does not say whose interface it is of.
    let (summary, found) = read(&[("input", aws("-").as_bytes())], &[]);
    assert!(found.is_empty(), "{found:#?}");
    let gaps = summary["analytics"][0]["missing"].as_array().expect("gaps");
    let names_it = |gap: &serde_json::Value| gap["what"] == "home network of some senders";
    assert!(gaps.iter().any(names_it), "{gaps:#?}");
}

/// Azure has the addresses of packets: at the interface of a firewall those of its clients.
#[test]
fn clients_of_an_appliance_that_forwards_are_nobody_of_ours() {
    let inbound = |client: &str, server: &str| {
        flows("azure-vnet", FLOOD).replace(SENDER, client).replace(TARGET, server)
    };
    let found = alerts("azure-vnet", &inbound("198.51.100.7", "10.0.2.9"), &[]);
    assert!(found.iter().all(|alert| alert["detector"] != "egress"), "{found:#?}");
    // Of IPv6 it shows by their number.
    let clients = (1..=20).map(|n| inbound(&format!("2001:db8::{n:x}"), "2600:1f18::9"));
    let found = alerts("azure-vnet", &clients.collect::<String>(), &[]);
    assert!(found.iter().all(|alert| alert["detector"] != "egress"), "{found:#?}");
}

#[test]
fn an0972_of_packets_from_a_global_address_that_the_inventory_names() {
    const PACKETS: i64 = 90_000;
    let frame = eth(0x86dd, &ipv6(17, A6, B6, &udp(40_112, 9_999, &[0x5a; 100])));
    let frames =
        (0..PACKETS).map(|n| (START_S * 1_000_000 + n * 59_000_000 / PACKETS, frame.clone()));
    let capture = pcap(frames);
    let inventory = b"id,address,name,owner\ni-0abc,2001:db8::1,web-1,team-a\n";
    let folder = Dir::new();
    folder.write("inventory.csv", inventory);
    let path = folder.path("inventory.csv");
    let (_, found) =
        read(&[("capture", &capture)], &["--inventory", path.to_str().expect("UTF-8")]);
    let egress = found.iter().find(|alert| alert["detector"] == "egress").expect("unusual egress");
    assert_eq!(
        (&egress["entity"]["id"], &egress["analytics"]),
        (&"i-0abc".into(), &json!(["AN0972"]))
    );
    let flood = found.iter().find(|alert| alert["detector"] == "udp_flood").expect("a flood");
    assert_eq!(flood["evidence"]["direction"], "outbound", "{flood:#}");
    let (summary, found) = read(&[("capture", &capture)], &[]);
    assert!(found.iter().all(|alert| alert["detector"] != "egress"), "{found:#?}");
    let gaps = summary["analytics"][0]["missing"].as_array().expect("gaps");
    assert!(gaps.iter().any(|gap| gap["what"] == "home network of some senders"), "{gaps:#?}");
}

/// The inventory has the mirror session alone: the interface's address is the one that all
/// of its flows have.
#[test]
fn an0972_of_a_mirror_session_with_global_addresses() {
    const VNI: u32 = 4711;
    const SECONDS: i64 = 240;
    const A_SECOND: i64 = 150;
    const OTHERS: u8 = 8;
    let other = |n: u8| [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, n];
    let copy = |dst, port| {
        let inner = eth(0x86dd, &ipv6(17, A6, dst, &udp(40_112, port, &[0x5a; 4])));
        eth(0x800, &ipv4(17, C4, D4, &udp(65_000, 4_789, &vxlan(VNI, &inner))))
    };
    let queries: Vec<Vec<u8>> = (0..OTHERS).map(|n| copy(other(n), 123)).collect();
    let flood = copy(B6, 9_999);
    let frames = (0..SECONDS * A_SECOND).map(|n| {
        let query = usize::try_from(n).ok().and_then(|n| queries.get(n));
        let frame = query.unwrap_or(&flood);
        (START_S * 1_000_000 + n * 1_000_000 / A_SECOND, frame.clone())
    });
    let capture = pcap(frames);
    let folder = Dir::new();
    folder.write("inventory.csv", b"id,name,interface\ni-0abc,web-1,vni:4711\n");
    folder.write("config.toml", b"[detect]\negress_packets_per_minute = 6000\n");
    let (inventory, config) = (folder.path("inventory.csv"), folder.path("config.toml"));
    let more = [
        "--inventory",
        inventory.to_str().expect("UTF-8"),
        "--config",
        config.to_str().expect("UTF-8"),
        "--active",
        "30s",
        "--udp-idle",
        "10s",
    ];
    let (_, found) = read(&[("capture", &capture)], &more);
    let egress = found.iter().find(|alert| alert["detector"] == "egress").expect("unusual egress");
    assert_eq!(egress["analytics"], json!(["AN0972"]));
    assert_eq!(egress["entity"]["id"], "2001:db8::1");
    assert_eq!(egress["instance"]["id"], "i-0abc", "{egress:#}");
}

#[test]
fn an0972_from_each_kind_of_flow_log_alone() {
    for kind in
        ["aws-vpc", "azure-nsg", "azure-vnet", "zeek-conn", "zeek-conn-json", "suricata-eve"]
    {
        let found = alerts(kind, &flows(kind, FLOOD), &[]);
        assert_eq!(found.len(), 1, "{kind}: {found:#?}");
        let alert = &found[0];
        assert_eq!((&alert["detector"], &alert["severity"]), (&"egress".into(), &"high".into()));
        assert_eq!(alert["analytics"], json!(["AN0972"]), "{kind}");
        assert_eq!(alert["entity"]["id"], SENDER);
        assert_eq!(alert["peers"][0]["address"], TARGET);
        let missing = alert["missing_telemetry"].as_array().expect("a list");
        assert!(missing.contains(&"packets".into()), "{kind}: {missing:?}");
        assert!(alerts(kind, &flows(kind, BACKUP), &[]).is_empty(), "{kind}: a backup");
    }
    // Sources that tell of one direction can't say what is unanswered: more is needed.
    let large = Volume { sent: (1_000_000, 1_000_000_000), ..FLOOD };
    for (kind, entity) in [("gcp-vpc", "web-1"), ("nfdump-csv", SENDER)] {
        let found = alerts(kind, &flows(kind, large), &[]);
        assert_eq!(found.len(), 1, "{kind}: {found:#?}");
        assert_eq!(found[0]["analytics"], json!(["AN0972"]), "{kind}");
        assert_eq!(
            (&found[0]["severity"], &found[0]["entity"]["id"]),
            (&"medium".into(), &entity.into())
        );
        let missing = found[0]["missing_telemetry"].as_array().expect("a list");
        assert!(missing.contains(&"one_sided_reports".into()), "{kind}: {missing:?}");
        assert!(alerts(kind, &flows(kind, FLOOD), &[]).is_empty(), "{kind}: below its floor");
    }
}
