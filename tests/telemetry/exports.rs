//! Captures of exports: NetFlow, IPFIX and sFlow of real exporters (see the fixtures'
//! README), held against flowtap's own flows of what the exporters saw, and against
//! tshark's reading of the same datagrams.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Sender's and receiver's address and port, and the protocol; of ICMP without ports.
type Way = (String, u64, String, u64, u64);

/// Packets and IP bytes.
type Sums = BTreeMap<Way, (u64, u64)>;

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The lines of one of the files that come of reading `input`.
fn read(input: &str, kind: Option<&str>, file: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowtap"));
    command.args(["read", "--quiet", "--format", "ndjson"]);
    if let Some(kind) = kind {
        command.args(["--as", kind]);
    }
    let output = command.arg("--out").arg(&out).arg(in_repository(input)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(out.join(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn sums(flows: &[Value]) -> Sums {
    let mut sums = Sums::new();
    for flow in flows {
        let protocol = flow["proto"].as_u64().unwrap();
        let end = |ip: &str, port: &str| {
            let port = if matches!(protocol, 1 | 58) { None } else { flow[port].as_u64() };
            (flow[ip].as_str().unwrap().to_owned(), port.unwrap_or(0))
        };
        let (src, dst) = (end("src_ip", "src_port"), end("dst_ip", "dst_port"));
        for (way, from, to) in [("fwd", &src, &dst), ("rev", &dst, &src)] {
            let Some(packets) = flow[way]["packets"].as_u64().filter(|&packets| packets > 0) else {
                continue;
            };
            let way_of = (from.0.clone(), from.1, to.0.clone(), to.1, protocol);
            let sum = sums.entry(way_of).or_default();
            sum.0 += packets;
            sum.1 += flow[way]["ip_bytes"].as_u64().unwrap();
        }
    }
    sums
}

#[test]
fn exports_have_the_totals_of_the_packets() {
    let packets = sums(&read("captures/web.pcap", None, "flows.ndjson"));
    for name in [
        "softflowd-v5",
        "softflowd-v9",
        "softflowd-v10",
        "softflowd-v10-biflow",
        "softflowd-v10-nano",
        "pmacct-v9",
        "pmacct-v10",
    ] {
        let capture = format!("tests/fixtures/export/{name}.pcap");
        let found = sums(&read(&capture, Some("netflow"), "reported_flows.ndjson"));
        let mut expected = packets.clone();
        if name == "softflowd-v5" {
            expected.retain(|way, _| !way.0.contains(':'));
        }
        assert!(!expected.is_empty());
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn of_icmp_the_totals_of_the_packets_too() {
    let expected = sums(&read("captures/ping.pcap", None, "flows.ndjson"));
    let capture = "tests/fixtures/export/softflowd-v9-ping.pcap";
    let mut found = Sums::new();
    for (mut way, (packets, bytes)) in
        sums(&read(capture, Some("netflow"), "reported_flows.ndjson"))
    {
        // softflowd gives later fragments of IPv6 no protocol.
        if way.4 == 0 {
            way.4 = 58;
        }
        let sum = found.entry(way).or_default();
        *sum = (sum.0 + packets, sum.1 + bytes);
    }
    assert_eq!(found, expected);
}

#[test]
fn sampled_packets_are_those_that_tshark_finds_in_the_datagrams() {
    let capture = "tests/fixtures/export/pmacct-sflow.pcap";
    let output = Command::new("tshark")
        .arg("-r")
        .arg(in_repository(capture))
        .args(["-n", "-d", "udp.port==6343,sflow", "-T", "fields"])
        .args(["-e", "ip.src", "-e", "ip.dst", "-e", "ip.len"])
        .args(["-e", "ipv6.src", "-e", "ipv6.dst", "-e", "ipv6.plen"])
        .output();
    let Ok(output) = output else {
        eprintln!("SKIP: tshark is not installed");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut expected: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let columns: Vec<Vec<&str>> =
            line.split('\t').map(|cell| cell.split(',').collect()).collect();
        // The first of IPv4 is the datagram's own header.
        for (from, header, more) in [(0, 0, 1), (3, 40, 0)] {
            let lengths = columns[from + 2].iter().enumerate().skip(more);
            for (at, length) in lengths.filter(|(_, length)| !length.is_empty()) {
                let ends = (columns[from][at].to_owned(), columns[from + 1][at].to_owned());
                let sum = expected.entry(ends).or_default();
                sum.0 += 1;
                sum.1 += length.parse::<u64>().unwrap() + header;
            }
        }
    }
    assert!(!expected.is_empty());
    let mut found: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for flow in read(capture, Some("sflow"), "reported_flows.ndjson") {
        let text = |key: &str| flow[key].as_str().unwrap().to_owned();
        let sum = found.entry((text("src_ip"), text("dst_ip"))).or_default();
        sum.0 += flow["fwd"]["packets"].as_u64().unwrap();
        sum.1 += flow["fwd"]["ip_bytes"].as_u64().unwrap();
        assert_eq!(flow["sampled_1_of"], 4, "{flow}");
    }
    assert_eq!(found, expected);
}
