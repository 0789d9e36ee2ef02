//! Unusual egress, from real tools and real formats to alerts, by the real binary.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "common/frames.rs"]
mod frames;
mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::netns::{LinkOptions, Netns};
use support::pcap::{self, Packet};

/// The alerts of `flowtap read` on some inputs.
fn alerts(inputs: &[&Path], more: &[&str]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowtap"));
    command.args(["read", "--quiet", "--json"]).args(more).args(inputs);
    let output = command.env("XDG_STATE_HOME", folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    summary["alerts"].as_array().unwrap().clone()
}

fn of<'a>(alerts: &'a [Value], detector: &str) -> Vec<&'a Value> {
    alerts.iter().filter(|alert| alert["detector"] == detector).collect()
}

/// Runs iperf3 from one namespace to another and gives what a witness saw.
fn iperf3(name: &str, arguments: &[&str]) -> Option<tempfile::TempDir> {
    let mut net = Netns::or_skip(name, 2, &["iperf3", "tcpdump"])?;
    let link = net.join(0, 1, LinkOptions::default());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seen.pcap");
    let mut command = net.command(0, ["tcpdump", "-n", "-s", "128", "-B", "65536", "-Z", "root"]);
    command.args(["-i", &link.names[0], "-w"]).arg(&file);
    let mut witness = net.spawn(command);
    let _server = net.spawn(net.command(1, ["iperf3", "-s"]));
    std::thread::sleep(Duration::from_secs(1));
    let mut client = vec!["iperf3", "-c", &link.ipv4[1]];
    client.extend(arguments);
    net.run(0, client);
    std::thread::sleep(Duration::from_secs(1));
    witness.signal("INT");
    witness.wait(Duration::from_secs(10));
    Some(folder)
}

#[test]
fn iperf3_over_udp_to_one_address_is_unusual_egress_at_default_floors() {
    // Over 75 MB even if a minute ends in the middle.
    let arguments = ["-u", "-b", "300M", "-l", "1400", "-t", "12"];
    let Some(folder) = iperf3("iperf3_over_udp", &arguments) else { return };
    let alerts = alerts(&[&folder.path().join("seen.pcap")], &[]);
    let egress = of(&alerts, "egress");
    assert_eq!(egress.len(), 1, "{alerts:#?}");
    let alert = egress[0];
    assert_eq!(alert["analytics"], serde_json::json!(["AN0972"]));
    assert_eq!(alert["evidence"]["decided_by"], "absolute_threshold");
    let reason = alert["severity_reason"].as_str().unwrap();
    assert!(
        ["medium", "high"].iter().any(|own| reason.contains(&format!("itself {own}"))),
        "{reason}"
    );
    // It is one act with the flood between the two addresses, which stands for both.
    let floods = of(&alerts, "udp_flood");
    assert_eq!(floods.len(), 1, "{alerts:#?}");
    assert_eq!(alert["part_of"]["id"], floods[0]["id"]);
    assert_eq!(floods[0]["parts"][0]["id"], alert["id"]);
    assert_eq!(floods[0]["analytics"], serde_json::json!(["AN0972"]));
    assert!(["high", "critical"].contains(&floods[0]["severity"].as_str().unwrap()));
    let standing = alerts.iter().filter(|alert| alert.get("part_of").is_none());
    assert_eq!(standing.count(), 1, "{alerts:#?}");
}

#[test]
fn iperf3_over_tcp_and_a_call_are_at_most_informational() {
    for arguments in [
        &["-t", "4"][..],
        // 3 Mbit/s each way.
        &["-u", "-b", "3M", "--bidir", "-l", "1100", "-t", "6"],
    ] {
        let Some(folder) = iperf3("iperf3_over_tcp", arguments) else { return };
        let alerts = alerts(&[&folder.path().join("seen.pcap")], &[]);
        for alert in of(&alerts, "egress") {
            assert_eq!(alert["severity"], "informational", "{arguments:?}: {alert:#}");
        }
        assert!(of(&alerts, "relay").is_empty(), "{arguments:?}");
    }
}

const START_S: i64 = 1_795_000_020;

/// Records of AWS in their default order: a flow, a minute.
fn vpc_log(flows: &[(&str, &str, u16, u8, u64, u64)], minutes: i64, action: &str) -> String {
    let mut text = String::new();
    for minute in 0..minutes {
        let (start_s, end_s) = (START_S + minute * 60, START_S + minute * 60 + 58);
        let mut record = |(src, from), (dst, to), protocol, packets, bytes, action: &str| {
            let _ = writeln!(
                text,
                "2 123456789010 eni-1 {src} {dst} {from} {to} {protocol} {packets} {bytes} \
                 {start_s} {end_s} {action} OK"
            );
        };
        for &(src, dst, port, protocol, packets, bytes) in flows {
            record((src, 40_000), (dst, port), protocol, packets, bytes, action);
            if protocol == 6 {
                record((dst, port), (src, 40_000), protocol, packets / 2, packets * 26, action);
            }
        }
    }
    text
}

#[test]
fn a_flow_log_alone_tells_of_a_flood_and_what_was_rejected_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let flows = [
        ("10.0.0.5", "203.0.113.9", 9_999, 17, 200_000, 280_000_000),
        ("10.0.0.6", "203.0.113.8", 443, 6, 900, 900_000),
        // A backup.
        ("10.0.0.7", "203.0.113.7", 443, 6, 900_000, 1_300_000_000),
    ];
    let text = vpc_log(&flows, 3, "ACCEPT");
    let log = folder.path().join("vpc.log");
    fs::write(&log, &text).unwrap();
    let found = alerts(&[&log], &[]);
    let egress = of(&found, "egress").into_iter();
    let told = egress.map(|alert| ["entity", "severity"].map(|of| alert[of].clone()));
    let told: Vec<_> = told.map(|[entity, severity]| (entity["id"].clone(), severity)).collect();
    let expected = [("10.0.0.5", "high"), ("10.0.0.7", "informational")];
    let expected = expected.map(|(id, severity)| (Value::from(id), Value::from(severity)));
    assert_eq!(told, expected, "a backup of 173 Mbit/s is answered: {found:#?}");
    // The same flood, rejected.
    let rejected = folder.path().join("rejected.log");
    fs::write(&rejected, vpc_log(&flows[..1], 3, "REJECT") + &vpc_log(&flows[1..2], 3, "ACCEPT"))
        .unwrap();
    assert!(of(&alerts(&[&rejected], &[]), "egress").is_empty());
}

#[test]
fn a_one_way_flood_in_a_flow_log_of_nothing_else_is_found_and_less_is_told_to_who_asks() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("vpc.log");
    // 40 Mbit/s, 5,000 packets/s.
    fs::write(
        &log,
        vpc_log(&[("10.0.0.5", "203.0.113.9", 9_999, 17, 300_000, 300_000_000)], 3, "ACCEPT"),
    )
    .unwrap();
    let found = alerts(&[&log], &[]);
    let egress = of(&found, "egress");
    assert_eq!(egress.len(), 1, "{found:#?}");
    assert_eq!(
        (&egress[0]["severity"], &egress[0]["evidence"]["answer_ratio"]),
        (&"high".into(), &0.0.into())
    );

    // 4 Mbit/s, to one place and to three.
    let small = ("10.0.0.5", "203.0.113.9", 9_999, 17, 30_000, 30_000_000);
    let spread = |to, port| ("10.0.0.6", to, port, 17, 30_000, 60_000_000);
    let three = [("203.0.113.1", 7_001), ("203.0.113.2", 7_002), ("203.0.113.3", 7_003)];
    let [a, b, c] = three.map(|(to, port)| spread(to, port));
    fs::write(&log, vpc_log(&[small, a, b, c], 3, "ACCEPT")).unwrap();
    let flowtap = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowtap"));
        command.args(arguments).current_dir(folder.path());
        let output = command.env("XDG_STATE_HOME", folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    flowtap(&["read", "--quiet", "--out", "run", "vpc.log"]);
    for (who, value, threshold) in
        [("10.0.0.5", 30_000_000.0, 75_000_000.0), ("10.0.0.6", 33.3, 60.0)]
    {
        let told = flowtap(&["why-not", who, "--run", "run", "--json"]);
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["alerts"], serde_json::json!([]));
        let near = &told["findings"][0];
        assert_eq!((&near["detector"], &near["entity"]), (&"egress".into(), &who.into()));
        assert!((near["value"].as_f64().unwrap() - value).abs() < 0.1, "{near}");
        assert_eq!(near["threshold"], threshold, "{near}");
        let page = flowtap(&["why-not", who, "--run", "run"]);
        assert!(page.contains("below the threshold") && !page.contains("Nothing of it"), "{page}");
    }
}

#[test]
fn a_known_backup_is_allowed_up_to_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("vpc.log");
    let flows = [
        ("10.0.0.5", "203.0.113.9", 9_999, 17, 200_000, 280_000_000),
        ("10.0.0.6", "203.0.113.8", 443, 6, 900, 900_000),
    ];
    fs::write(&log, vpc_log(&flows, 3, "ACCEPT")).unwrap();
    for (most, raised) in [(300_000_000_u64, 0), (200_000_000, 1)] {
        let config = folder.path().join("config.toml");
        let entry = format!(
            "[[allow]]\ndetector = \"egress\"\nentity = \"10.0.0.5\"\nreason = \"mirror\"\n\
             owner = \"ops\"\nexpires = 2030-01-01\nmax_bytes_per_minute = {most}\n"
        );
        fs::write(&config, entry).unwrap();
        let found = alerts(&[&log], &["--config", config.to_str().unwrap()]);
        assert_eq!(of(&found, "egress").len(), raised, "{most}");
    }
}

#[test]
fn docker_stats_tell_of_an_idle_container_that_relays() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("docker.log");
    let mut text = String::new();
    let (mut sent, mut received) = (1_000_000_u64, 1_000_000_u64);
    for at in 0..60 {
        let more = if at < 40 { 10_000 } else { 60_000_000 };
        (sent, received) = (sent + more, received + more);
        let _ = writeln!(text, "{}", START_S + at * 30);
        let _ = writeln!(
            text,
            "{{\"BlockIO\":\"0B / 0B\",\"CPUPerc\":\"0.00%\",\"Container\":\"931abeeaae46\",\
             \"ID\":\"931abeeaae46\",\"MemPerc\":\"0.00%\",\"MemUsage\":\"1MiB / 1GiB\",\
             \"Name\":\"web-1\",\"NetIO\":\"{received}B / {sent}B\",\"PIDs\":\"1\"}}"
        );
    }
    fs::write(&log, text).unwrap();
    let found = alerts(&[&log], &[]);
    let increases = of(&found, "counter_increase");
    assert_eq!(increases.len(), 1, "{found:#?}");
    assert_eq!(increases[0]["analytics"], serde_json::json!(["AN0083"]));
    assert_eq!(increases[0]["severity"], "medium");
}

#[test]
fn a_relay_on_a_port_that_clients_have_is_found_too() {
    for port in ["8443", "40001"] {
        let folder = tempfile::tempdir().unwrap();
        let [captures, port] = ["captures".to_owned(), format!("relay.port={port}")];
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowtap"));
        command.current_dir(&folder).args(["lab", "make", "relay", "-o", &captures]);
        for change in ["gap_s=1", "relay.start_s=10", "duration_s=240", &port] {
            command.args(["--set", change]);
        }
        assert!(command.output().unwrap().status.success());
        let [traffic, map] =
            ["traffic.pcap", "map.jsonl"].map(|name| folder.path().join(&captures).join(name));
        let found = alerts(&[&traffic], &["--procs", map.to_str().unwrap()]);
        let relays = of(&found, "relay");
        assert_eq!(relays.len(), 1, "{port}: {found:#?}");
        assert_eq!(relays[0]["evidence"]["details"]["legs"], "accepted_and_opened", "{port}");
    }
}

/// A stranger's connection to a port is passed on to another port outside, two minutes long;
/// from the second second on what comes back is first.
fn relayed(proto: u8, served: u16, port: u16) -> Vec<Packet> {
    const CLIENT: [u8; 4] = [203, 0, 113, 5];
    const RELAY: [u8; 4] = [10, 0, 0, 10];
    const TARGET: [u8; 4] = [198, 51, 100, 1];
    let mut packets = Vec::new();
    let mut send = |time_ns, (src, from), (dst, to), flags, payload: usize| {
        let payload = vec![0x5a; payload];
        let inner = match proto {
            6 => frames::tcp(from, to, flags, &payload),
            _ => frames::udp(from, to, &payload),
        };
        let mut bytes = frames::eth(0x0800, &frames::ipv4(proto, src, dst, &inner));
        let wire_bytes = bytes.len();
        bytes.truncate(96);
        packets.push(Packet { time_ns, wire_bytes, bytes });
    };
    let legs = [[(CLIENT, 40_001), (RELAY, served)], [(RELAY, 40_002), (TARGET, port)]];
    let at = |second: i64, ms: i64| (START_S + second) * 1_000_000_000 + ms * 1_000_000;
    for (ms, [client, server]) in (0..).step_by(10).zip(legs) {
        let hello = if proto == 6 { 0 } else { 100 };
        send(at(0, ms), client, server, frames::SYN, hello);
        send(at(0, ms + 100), server, client, frames::SYN | frames::ACK, hello);
        send(at(0, ms + 200), client, server, frames::ACK, hello);
    }
    for second in 1..120 {
        let volume = (second * 7_919 + 13) % 97;
        for nth in 0..volume {
            for (ms, [client, server]) in [(30, legs[0]), (0, legs[1])] {
                send(at(second, ms + nth * 5), server, client, frames::ACK, 1_400);
            }
        }
        for (ms, [client, server]) in [(600, legs[0]), (630, legs[1])] {
            send(at(second, ms), client, server, frames::ACK, 1_400);
        }
    }
    packets.sort_by_key(|packet| packet.time_ns);
    packets
}

#[test]
fn a_relay_on_a_port_of_clients_is_found_where_nothing_is_known_of_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seen.pcap");
    for flow @ (proto, served, port) in [
        (6, 32_700, 443),
        (6, 40_000, 443),
        (17, 1_194, 443),
        (17, 51_820, 443),
        (17, 51_820, 51_820),
    ] {
        pcap::write(&file, 1, &relayed(proto, served, port));
        let found = alerts(&[&file], &[]);
        let relays = of(&found, "relay");
        assert_eq!(relays.len(), 1, "{flow:?}: {found:#?}");
        assert_eq!(relays[0]["entity"]["id"], "10.0.0.10");
        let details = &relays[0]["evidence"]["details"];
        assert_eq!(details["legs"], "accepted_and_opened", "{flow:?}");
        assert_eq!(details["outside_peers"], 1, "{flow:?}");
        assert_eq!(details["outside_share"], 1.0, "{flow:?}");
    }
}

/// Three whole minutes of a flood that leaves, and what comes after it.
fn leaving_and_then(after: impl IntoIterator<Item = i64>) -> Vec<Packet> {
    let begun_s = START_S - START_S % 60;
    let packet = |from: [u8; 4], to: [u8; 4], time_ns, payload: usize| {
        let inner = frames::udp(40_000, 9_999, &vec![0x5a; payload]);
        let mut bytes = frames::eth(0x0800, &frames::ipv4(17, from, to, &inner));
        let wire_bytes = bytes.len();
        bytes.truncate(96);
        Packet { time_ns, wire_bytes, bytes }
    };
    let flood = (0..180 * 900).map(|nth| {
        let time_ns = begun_s * 1_000_000_000 + nth * 1_000_000_000 / 900;
        packet([10, 0, 0, 7], [203, 0, 113, 200], time_ns, 1_400)
    });
    let after = after.into_iter().map(|second| {
        let time_ns = (begun_s + second) * 1_000_000_000 + 500_000_000;
        packet([10, 0, 0, 9], [198, 51, 100, 77], time_ns, 20)
    });
    flood.chain(after).collect()
}

#[test]
fn the_last_minute_of_a_flood_is_of_the_same_alert_whatever_comes_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seen.pcap");
    let told = |after: Vec<i64>| {
        pcap::write(&file, 1, &leaving_and_then(after));
        let found = alerts(&[&file], &[]);
        let egress = of(&found, "egress").into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(egress.len(), 1, "{found:#?}");
        ["id", "severity", "start", "end"].map(|field| egress[0][field].clone())
    };
    let at_once = told((180..1_800).collect());
    assert_eq!(told(vec![1_800]), at_once, "a silence");
    assert_eq!(told((0..1_800).step_by(10).collect()), at_once, "little goes on");
    assert_eq!(told(vec![]), at_once, "nothing");
}

/// Passes on each connection to its port to another address and port.
const RELAY: &str = "
import socket, sys, threading
listen, host, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
def pump(a, b):
    try:
        while True:
            data = a.recv(65536)
            if not data: break
            b.sendall(data)
    except OSError:
        pass
    finally:
        try: b.shutdown(socket.SHUT_WR)
        except OSError: pass
server = socket.create_server(('', listen))
while True:
    near, _ = server.accept()
    far = socket.create_connection((host, port))
    for a, b in ((near, far), (far, near)):
        threading.Thread(target=pump, args=(a, b), daemon=True).start()
";

#[test]
fn a_relay_between_namespaces_is_found_by_its_symmetry() {
    let programs = ["iperf3", "tcpdump", "python3"];
    let Some(mut net) = Netns::or_skip("a_relay_between_namespaces", 3, &programs) else { return };
    // A client, the relay, a target.
    let near = net.join(0, 1, LinkOptions::default());
    let far = net.join(1, 2, LinkOptions::default());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seen.pcap");
    let mut command = net.command(1, ["tcpdump", "-n", "-s", "128", "-B", "65536", "-Z", "root"]);
    command.args(["-i", "any", "-w"]).arg(&file);
    let mut witness = net.spawn(command);
    let _server = net.spawn(net.command(2, ["iperf3", "-s"]));
    let _relay = net.spawn(net.command(1, ["python3", "-c", RELAY, "1080", &far.ipv4[1], "5201"]));
    support::netns::wait_for("the relay", || {
        let listening = net.run(1, ["ss", "-ltn"]).stdout;
        String::from_utf8_lossy(&listening).contains(":1080")
    });
    std::thread::sleep(Duration::from_secs(1));
    net.run(0, ["iperf3", "-c", &near.ipv4[1], "-p", "1080", "-t", "6", "-b", "40M"]);
    std::thread::sleep(Duration::from_secs(1));
    witness.signal("INT");
    witness.wait(Duration::from_secs(10));
    let inventory = folder.path().join("inventory.csv");
    let addresses = format!("{} {}", near.ipv4[1], far.ipv4[0]);
    fs::write(&inventory, format!("id,addresses\nrelay-1,{addresses}\n")).unwrap();
    let found = alerts(&[&file], &["--inventory", inventory.to_str().unwrap()]);
    let relays = of(&found, "relay");
    assert_eq!(relays.len(), 1, "{found:#?}");
    let alert = relays[0];
    assert_eq!(alert["entity"]["id"], "relay-1");
    assert_eq!(alert["possible_analytics"], serde_json::json!(["AN0083"]));
    assert_eq!(alert["severity"], "informational", "nobody outside: {alert:#}");
    assert_eq!(alert["evidence"]["details"]["proxy_port"], 1_080);
    assert!(alert["evidence"]["details"]["symmetry"].as_f64().unwrap() > 0.95);
}
