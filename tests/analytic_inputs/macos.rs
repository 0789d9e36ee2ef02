//! AN0971 from what a Mac records: `nettop -L` and the unified log. Either says which
//! process a socket is of; that it floods is seen in packets.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::frames::{eth, ipv4, udp};
use super::{START_S, alerts, alerts_beside, at, pcap, read};

const MAC: [u8; 4] = [10, 0, 5, 10];
const PEER: [u8; 4] = [203, 0, 113, 9];
const PORT: u16 = 50_123;

/// Datagrams of a process, 1,500 a second for twenty seconds, answered or not.
fn packets(is_answered: bool) -> Vec<u8> {
    const GAP_US: i64 = 667;
    let frame = |src, dst, ports: (u16, u16)| {
        eth(0x0800, &ipv4(17, src, dst, &udp(ports.0, ports.1, &[0x55; 100])))
    };
    let there = frame(MAC, PEER, (PORT, 9_999));
    let back = frame(PEER, MAC, (9_999, PORT));
    let times = (0..30_000).map(|at| (START_S + 2) * 1_000_000 + at * GAP_US);
    pcap(times.flat_map(|time_us| {
        let answer = is_answered.then(|| (time_us + 300, back.clone()));
        [Some((time_us, there.clone())), answer].into_iter().flatten()
    }))
}

const NETTOP_HEADER: &str = "time,,interface,state,bytes_in,bytes_out,rx_dupe,rx_ooo,re-tx,rtt_avg,rcvsize,\
    tx_win,tc_class,tc_mgt,cc_algo,P,C,R,W,arch,";

/// Samples of one process and its socket, after the time at which they begin.
fn nettop(samples: impl IntoIterator<Item = (i64, u64)>) -> String {
    let mut out = at(START_S, "%Y-%m-%dT%H:%M:%SZ\n");
    for (second, sent) in samples {
        let clock = at(second, "%H:%M:%S.520020");
        let _ = writeln!(out, "{NETTOP_HEADER}\n{clock},sender.501,,,0,{sent},0,0,0,,,,,,,,,,,,");
        let _ = writeln!(
            out,
            "{clock},udp4 10.0.5.10:{PORT}<->203.0.113.9:9999,en0,,0,{sent},,,,,786896,,BE,,,,,,,so,"
        );
    }
    out
}

/// `launchd` starts a job, and the kernel tells of its connection at both ends: the summary
/// alone comes too late for the packets before it.
fn unified_log() -> String {
    let entry = |second: i64, pid: u32, image: &str, subsystem: &str, message: &str| {
        json!({
            "timezoneName": "", "messageType": "Default", "eventType": "logEvent",
            "source": null, "formatString": "%s", "userID": 0, "activityIdentifier": 0,
            "subsystem": subsystem, "category": "", "threadID": 7, "processImagePath": image,
            "senderImagePath": image, "timestamp": at(second, "%Y-%m-%d %H:%M:%S.114903+0000"),
            "machTimestamp": 1, "eventMessage": message, "traceID": 1, "processID": pid,
            "senderProgramCounter": 1, "parentActivityIdentifier": 0,
        })
        .to_string()
    };
    let spawned = entry(
        START_S + 1,
        1,
        "/sbin/launchd",
        "user/501/com.example.sender [501]",
        "Successfully spawned sender[501] because ipc (mach)",
    );
    let summary = format!(
        "udp_connection_summary [10.0.5.10:{PORT}<->203.0.113.9:9999] interface: en0 (skipped: 0)\n\
         so_gencnt: 4711 so_state: 0x0002 process: sender:501 Duration: 21.000 sec bytes in/out: \
         0/3000000 pkts in/out: 0/30000 rxnospace pkts/bytes: 0/0 so_error: 0 svc/tc: 0"
    );
    let connect = format!(
        "udp connect: [10.0.5.10:{PORT}<->203.0.113.9:9999] interface: en0 (skipped: 0)\n\
         so_gencnt: 4711 so_state: 0x0002 process: sender:501 bytes in/out: 0/0 pkts in/out: 0/0 \
         rxnospace pkts/bytes: 0/0 so_error: 0"
    );
    let kernel = |second, message: &str| entry(second, 0, "/kernel", "", message);
    let (begins, ends) = (kernel(START_S + 1, &connect), kernel(START_S + 23, &summary));
    format!("{spawned}\n{begins}\n{ends}\n")
}

fn named<'a>(found: &'a [Value], detector: &str) -> Option<&'a Value> {
    found.iter().find(|alert| alert["detector"] == detector)
}

#[test]
fn an0971_from_packets_and_what_names_the_process() {
    let told = [
        ("nettop", nettop((0..26).map(|at| (START_S + at, 150_000 * at as u64)))),
        ("macos-log", unified_log()),
    ];
    let more = ["--log-host", "mac1"];
    let (flood, call) = (packets(false), packets(true));
    // Packets alone name no process: it is possible, and what is missing is said.
    let (_, found) = read(&[("capture", &flood)], &[]);
    let loudest = found.iter().find(|alert| alert["severity"] != "informational");
    let loudest = loudest.expect("an alert about the address");
    let possible = loudest["possible_analytics"].as_array().expect("a list");
    assert!(possible.contains(&"AN0971".into()), "{loudest:#}");
    assert!(named(&found, "tool_flood").is_none(), "{found:#?}");
    for (kind, log) in &told {
        let found = alerts_beside(kind, log, &flood, &more);
        let alert = named(&found, "tool_flood").expect("an alert about the process");
        // AN0972 is answered by its part, the address.
        assert_eq!(alert["analytics"], json!(["AN0971", "AN0972"]), "{kind}");
        assert_eq!(alert["entity"]["kind"], "process", "{kind}: {alert:#}");
        assert_eq!(alert["entity"]["labels"]["name"], "sender", "{kind}: {alert:#}");
        let id = alert["entity"]["id"].as_str().expect("an id");
        assert!(id.contains(":501:"), "{kind}: {id}");
        // What the address does is part of it, and no alert of its own.
        for other in found.iter().filter(|other| other["id"] != alert["id"]) {
            assert_eq!(other["severity"], "informational", "{kind}: {other:#}");
        }
        let answered = alerts_beside(kind, log, &call, &more);
        assert!(answered.is_empty(), "{kind}: a call is answered: {answered:#?}");
        // Alone it shows no flood: neither seconds nor answers stand in it.
        assert!(alerts(kind, log, &more).is_empty(), "{kind}");
    }
}

#[test]
fn counters_of_a_process_alone_are_a_possible_an0971() {
    // A sample a minute: much the same for an hour, then 20 minutes of far more.
    let samples = |then: u64| {
        let mut total = 0;
        (0..80).map(move |at| {
            total += if at < 60 { 1_000_000 + 1_000 * (at % 7) } else { then };
            (START_S + 60 * at as i64, total)
        })
    };
    let more = ["--log-host", "mac1"];
    let found = alerts("nettop", &nettop(samples(500_000_000)), &more);
    assert_eq!(found.len(), 1, "{found:#?}");
    let alert = &found[0];
    assert_eq!(
        (&alert["detector"], &alert["severity"]),
        (&"counter_increase".into(), &"informational".into())
    );
    assert_eq!(alert["analytics"], json!([]));
    assert_eq!(alert["possible_analytics"], json!(["AN0971"]));
    assert_eq!(alert["entity"]["labels"]["process"], "sender.501");
    let missing = alert["missing_telemetry"].as_array().expect("a list");
    for gap in ["packets", "destinations", "process_ancestry"] {
        assert!(missing.contains(&gap.into()), "{missing:?}");
    }
    assert!(alerts("nettop", &nettop(samples(1_200_000)), &more).is_empty(), "a little more");
}
