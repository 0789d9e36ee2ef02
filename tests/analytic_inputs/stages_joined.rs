//! AN0223, its stages from sources that know a host by different names: a balancer by its
//! address, a flow log by address, telemetry of processes by its name.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::access_logs::requests;
use super::common::{Dir, text};
use super::frames::{eth, ipv4, tcp};
use super::process_logs::processes;
use super::{START_S, iso, pcap};

/// The target of the balancer's log, and the host that the processes' telemetry names.
const TARGET: [u8; 4] = [10, 0, 3, 21];
const HOST: &str = "web1";
const NEW: &str = "203.0.113.9";
const EXPLOIT: &str = "/item?id=1%27%20union%20select%201,2,3--";
const INVENTORY: &str = "id,address,name\ni-web,10.0.3.21,web1\n";

/// The chain's alerts: severity, entity and what happened. Files that are no inputs are
/// named by an option.
fn chains(files: &[(&str, &[u8])], more: &[&str]) -> Vec<(String, String, Vec<String>)> {
    let dir = Dir::new();
    let mut args = vec!["read", "--quiet", "--out", "run"];
    args.extend(more);
    for (name, bytes) in files {
        dir.write(name, bytes);
        if !more.contains(name) {
            args.push(name);
        }
    }
    let output = dir.run(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = std::fs::read_to_string(dir.path("run/alerts.ndjson")).expect("alerts");
    let of = |value: &Value| value.as_str().expect("a text").to_owned();
    let alerts = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let chains = alerts.filter(|alert| alert["detector"] == "chain");
    chains
        .map(|alert| {
            let timeline = alert["case"]["timeline"].as_array().expect("a timeline");
            let mut story: Vec<String> = timeline.iter().map(|sign| of(&sign["what"])).collect();
            story.dedup();
            (of(&alert["severity"]), of(&alert["entity"]["id"]), story)
        })
        .collect()
}

fn told(severity: &str, entity: &str, story: &[&str]) -> (String, String, Vec<String>) {
    let story = story.iter().map(|&what| what.to_owned()).collect();
    (severity.to_owned(), entity.to_owned(), story)
}

fn whole(entity: &str) -> (String, String, Vec<String>) {
    told("high", entity, &["exploit_request", "shell_from_service", "new_destination"])
}

/// A flow log with a new destination of an address, a minute after the request.
fn egress(from: &str) -> String {
    let (start, end) = (START_S + 60, START_S + 118);
    format!(
        "2 123456789010 eni-0a000000000000006 {from} {NEW} 41000 4444 6 60 30000 {start} {end} ACCEPT OK\n\
         2 123456789010 eni-0a000000000000006 {NEW} {from} 4444 41000 6 60 9000 {start} {end} ACCEPT OK\n"
    )
}

/// A map that says a host's addresses and nothing of sockets.
fn map(host: &str, addresses: &[&str]) -> String {
    let time = iso(START_S - 60);
    let mut lines =
        vec![json!({"time": time, "event": "map.start", "version": 1, "host": host, "boot": host,
               "providers": ["ebpf"], "netns": 1})];
    lines.extend(addresses.iter().map(|address| {
        json!({"time": time, "event": "address.up", "address": address, "interface": "eth0",
               "interface_index": 2, "netns": 1})
    }));
    lines.push(json!({"time": iso(START_S + 300), "event": "map.time"}));
    let mut out = String::new();
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
    out
}

/// Balancer, flow log and telemetry of processes.
fn logs<'a>(alb: &'a str, vpc: &'a str, kind: &'a str, shell: &'a str) -> [(&'a str, &'a [u8]); 3] {
    [("alb", alb.as_bytes()), ("vpc", vpc.as_bytes()), (kind, shell.as_bytes())]
}

#[test]
fn an0223_three_stages_from_balancer_flow_log_and_process_telemetry() {
    let (alb, vpc) = (requests("aws-alb", EXPLOIT, 200), egress("10.0.3.21"));
    for kind in ["auditd", "tetragon", "osquery", "falco"] {
        let shell = processes(kind, "nginx");
        let log_host: &[&str] = if kind == "auditd" { &["--log-host", HOST] } else { &[] };
        // The inventory says whose address it is, by the host's name.
        let mut files = logs(&alb, &vpc, kind, &shell).to_vec();
        files.push(("inventory.csv", INVENTORY.as_bytes()));
        let more = [log_host, &["--inventory", "inventory.csv"]].concat();
        assert_eq!(chains(&files, &more), [whole(HOST)], "{kind}, by the inventory");
        // Or the user says whose log it is.
        let files = logs(&alb, &vpc, kind, &shell);
        let by_log = chains(&files, &["--log-host", HOST]);
        assert_eq!(by_log, [whole(HOST)], "{kind}, by the log's host");
        // Or a map of the host has the address.
        let addresses = map(HOST, &["10.0.3.21"]);
        let mut files = files.to_vec();
        files.push(("map.jsonl", addresses.as_bytes()));
        let more = [log_host, &["--procs", "map.jsonl"]].concat();
        assert_eq!(chains(&files, &more), [whole(HOST)], "{kind}, by a map");
    }
}

#[test]
fn an0223_is_joined_by_the_address_that_a_socket_told() {
    let connects = json!({
        "process_kprobe": {
            "process": {
                "exec_id": "bjE6MTUyMDAwMDAwMDAwOjkwMQ==", "pid": 901, "uid": 33,
                "binary": "/usr/bin/dash", "arguments": "-c id",
                "start_time": iso(START_S + 30), "parent_exec_id": "bjE6MTIyMDAwMDAwMDAwOjgxMg==",
            },
            "parent": {"exec_id": "bjE6MTIyMDAwMDAwMDAwOjgxMg==", "pid": 812, "binary": "/usr/sbin/nginx"},
            "function_name": "tcp_connect", "action": "KPROBE_ACTION_POST",
            "args": [{"sock_arg": {
                "family": "AF_INET", "type": "SOCK_STREAM", "protocol": "IPPROTO_TCP",
                "saddr": "10.0.3.21", "daddr": "203.0.113.77", "sport": 41_999, "dport": 4_444,
            }}],
        },
        "node_name": HOST, "time": iso(START_S + 62),
    });
    let shell = processes("tetragon", "nginx") + &connects.to_string() + "\n";
    let (alb, vpc) = (requests("aws-alb", EXPLOIT, 200), egress("10.0.3.21"));
    assert_eq!(chains(&logs(&alb, &vpc, "tetragon", &shell), &[]), [whole(HOST)]);
}

#[test]
fn what_is_of_different_hosts_makes_no_chain() {
    let informational = |told: &[(String, String, Vec<String>)]| {
        !told.is_empty() && told.iter().all(|(severity, ..)| severity == "informational")
    };
    let shell = processes("osquery", "nginx");
    let alb = requests("aws-alb", EXPLOIT, 200);
    let elsewhere = alb.replace("10.0.3.21", "10.0.3.22");
    // The balancer's target is another host than the log is said to be of.
    let vpc = egress("10.0.3.22");
    let mut files = logs(&elsewhere, &vpc, "osquery", &shell).to_vec();
    files.push(("inventory.csv", INVENTORY.as_bytes()));
    let more = ["--log-host", HOST, "--inventory", "inventory.csv"];
    let found = chains(&files, &more);
    assert!(informational(&found), "{found:?}");
    assert!(found.iter().any(|(_, entity, _)| entity == HOST), "{found:?}");
    // The egress is another host's.
    let vpc = egress("10.0.3.22");
    let mut files = logs(&alb, &vpc, "osquery", &shell).to_vec();
    files.push(("inventory.csv", INVENTORY.as_bytes()));
    let low = told("low", HOST, &["exploit_request", "shell_from_service"]);
    assert_eq!(chains(&files, &["--inventory", "inventory.csv"]), [low]);
    // Two instances are called so, the address is only one of a network's, or two hosts
    // have it.
    let vpc = egress("10.0.3.21");
    let two = format!("{INVENTORY}i-web2,10.0.3.22,web1\n");
    let network = "id,address,name\nnet,10.0.3.0/24,\ni-web,10.0.9.9,web1\n";
    for inventory in [two.as_str(), network] {
        let mut files = logs(&alb, &vpc, "osquery", &shell).to_vec();
        files.push(("inventory.csv", inventory.as_bytes()));
        let found = chains(&files, &["--inventory", "inventory.csv"]);
        assert!(informational(&found), "{inventory}: {found:?}");
    }
    let maps = [HOST, "web2"].map(|host| map(host, &["10.0.3.21"]));
    let mut files = logs(&alb, &vpc, "osquery", &shell).to_vec();
    files.push(("map1.jsonl", maps[0].as_bytes()));
    files.push(("map2.jsonl", maps[1].as_bytes()));
    let found = chains(&files, &["--procs", "map1.jsonl", "--procs", "map2.jsonl"]);
    assert!(informational(&found), "{found:?}");
}

/// A connection with one request or some bytes in it, and an answer.
fn connection(
    at_s: i64,
    ports: (u16, u16),
    ends: [[u8; 4]; 2],
    sent: &[u8],
) -> Vec<(i64, Vec<u8>)> {
    let [from, to] = ends;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let there =
        |flags, data: &[u8]| eth(0x0800, &ipv4(6, from, to, &tcp(ports.0, ports.1, flags, data)));
    let back =
        |flags, data: &[u8]| eth(0x0800, &ipv4(6, to, from, &tcp(ports.1, ports.0, flags, data)));
    let frames = [there(2, b""), back(0x12, b""), there(0x18, sent), back(0x18, answer)];
    let at_us = at_s * 1_000_000;
    frames.into_iter().zip(0..).map(|(frame, step)| (at_us + 1_000 * step, frame)).collect()
}

#[test]
fn an0223_from_a_capture_on_the_host_with_and_without_its_addresses() {
    let get = |path: &str, host: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let exploit = get(EXPLOIT, "shop.example");
    let role = get("/latest/meta-data/iam/security-credentials/role", "169.254.169.254");
    for metadata in [[169, 254, 169, 254], [168, 63, 129, 16], [100, 100, 100, 200]] {
        let frames = [
            connection(START_S, (50_412, 80), [[198, 51, 100, 7], TARGET], exploit.as_bytes()),
            connection(START_S + 10, (40_001, 80), [TARGET, metadata], role.as_bytes()),
            connection(START_S + 60, (41_000, 443), [TARGET, [203, 0, 113, 9]], &[7; 400]),
        ];
        let capture = pcap(frames.concat());
        let story = ["exploit_request", "metadata_access", "new_destination"];
        let without = chains(&[("capture", &capture)], &[]);
        assert_eq!(without, [told("high", "10.0.3.21", &story)], "{metadata:?}");
        // A map that knows the address and none of the sockets takes nothing away.
        let addresses = map(HOST, &["10.0.3.21"]);
        let files = [("capture", capture.as_slice()), ("map.jsonl", addresses.as_bytes())];
        let with = chains(&files, &["--procs", "map.jsonl"]);
        assert_eq!(with, [told("high", HOST, &story)], "{metadata:?}");
    }
}

#[test]
fn two_stages_below_the_threshold_are_told_as_that() {
    let dir = Dir::new();
    dir.write("alb", requests("aws-alb", EXPLOIT, 200).as_bytes());
    dir.write("vpc", egress("10.0.3.21").as_bytes());
    let output = dir.run(["read", "--quiet", "--out", "run", "alb", "vpc"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = std::fs::read_to_string(dir.path("run/alerts.ndjson")).expect("alerts");
    let last = lines.lines().last().expect("an alert");
    let alert: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(alert["severity"], "informational");
    let reason =
        alert["case"]["severity_reason"].as_str().or_else(|| alert["severity_reason"].as_str());
    let (reason, summary) = (reason.expect("a reason"), alert["summary"].as_str().expect("a text"));
    assert!(
        reason.contains("below the threshold") && !reason.contains("One stage alone"),
        "{reason}"
    );
    assert!(summary.starts_with("Stages of a chain that are below the threshold at"), "{summary}");
}
