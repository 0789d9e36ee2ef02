//! The same traffic as packets and as others report it: the same totals of each
//! conversation. Exports of a real exporter are in `exports.rs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Sender's and receiver's address and port, and the protocol; of ICMP without ports.
type Way = (String, u64, String, u64, u64);

/// Packets and IP bytes.
type Sums = BTreeMap<Way, (u64, u64)>;

const CAPTURES: [&str; 4] = ["web.pcap", "dns.pcap", "ping.pcap", "ssh.pcap"];

fn capture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(name)
}

fn read(input: &Path, out: &Path, format: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_flowtap"))
        .args(["read", "--quiet", "--format", format, "--out"])
        .args([out, input])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn is_icmp(protocol: u64) -> bool {
    matches!(protocol, 1 | 58)
}

/// What flows and reported flows say, which name their fields alike.
fn sums(lines: &[Value]) -> Sums {
    let mut sums = Sums::new();
    for flow in lines {
        let text = |key: &str| flow[key].as_str().unwrap().to_owned();
        let protocol = flow["proto"].as_u64().unwrap();
        let port = |key: &str| if is_icmp(protocol) { 0 } else { flow[key].as_u64().unwrap_or(0) };
        let (src, dst) = ((text("src_ip"), port("src_port")), (text("dst_ip"), port("dst_port")));
        for (way, from, to) in [("fwd", &src, &dst), ("rev", &dst, &src)] {
            let Some(measures) = flow.get(way) else { continue };
            let packets = measures["packets"].as_u64().unwrap();
            if packets > 0 {
                let key = (from.0.clone(), from.1, to.0.clone(), to.1, protocol);
                let sum = sums.entry(key).or_default();
                sum.0 += packets;
                sum.1 += measures["ip_bytes"].as_u64().unwrap();
            }
        }
    }
    sums
}

/// What a VPC flow log of one interface would have, counted by tshark: one direction a
/// record, each minute for itself.
fn vpc_log(capture: &Path) -> String {
    let fields = [
        "frame.time_epoch",
        "ip.src",
        "ip.dst",
        "ipv6.src",
        "ipv6.dst",
        "ip.proto",
        "ipv6.nxt",
        "ip.len",
        "ipv6.plen",
        "tcp.srcport",
        "tcp.dstport",
        "udp.srcport",
        "udp.dstport",
        // Behind extension headers the protocol stands in the last of them.
        "ipv6.fraghdr.nxt",
        "ipv6.hopopts.nxt",
    ];
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-n", "-T", "fields", "-E", "occurrence=f"]);
    fields.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    // Else streams that tshark puts together again have no ports in their segments.
    command.args(["-o", "ip.defragment:FALSE"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut minutes: BTreeMap<(u64, Vec<String>), (u64, u64, u64)> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let cells: Vec<&str> = line.split('\t').collect();
        let first = |places: &[usize]| {
            places.iter().map(|&at| cells[at]).find(|cell| !cell.is_empty()).map(str::to_owned)
        };
        let Some(src) = first(&[1, 3]) else { continue };
        let bytes = match cells[7] {
            "" => 40 + cells[8].parse::<u64>().unwrap(),
            length => length.parse().unwrap(),
        };
        let second: u64 = cells[0].split('.').next().unwrap().parse().unwrap();
        let key = vec![
            src,
            first(&[2, 4]).unwrap(),
            first(&[9, 11]).unwrap_or_else(|| "0".to_owned()),
            first(&[10, 12]).unwrap_or_else(|| "0".to_owned()),
            first(&[13, 14, 5, 6]).unwrap(),
        ];
        let sum = minutes.entry((second / 60, key)).or_insert((0, 0, second));
        *sum = (sum.0 + 1, sum.1 + bytes, second);
    }
    let mut log = String::new();
    for ((minute, key), (packets, bytes, last)) in minutes {
        let (start, key) = (minute * 60, key.join(" "));
        writeln!(
            log,
            "2 111122223333 eni-0a1b2c3d {key} {packets} {bytes} {start} {} ACCEPT OK",
            last + 1
        )
        .unwrap();
    }
    log
}

#[test]
fn a_vpc_flow_log_has_the_totals_of_the_packets() {
    if Command::new("tshark").arg("-v").output().is_err() {
        eprintln!("SKIP: tshark is not installed");
        return;
    }
    for name in CAPTURES {
        let folder = tempfile::tempdir().unwrap();
        let (packets, reported) = (folder.path().join("packets"), folder.path().join("reported"));
        read(&capture(name), &packets, "ndjson");
        let log = folder.path().join("vpc.log");
        fs::write(&log, vpc_log(&capture(name))).unwrap();
        read(&log, &reported, "ndjson");
        let expected = sums(&lines(&packets.join("flows.ndjson")));
        assert!(!expected.is_empty());
        assert_eq!(sums(&lines(&reported.join("reported_flows.ndjson"))), expected, "{name}");
    }
}

#[test]
fn a_zeek_conn_log_has_the_totals_of_the_packets() {
    for name in CAPTURES {
        let folder = tempfile::tempdir().unwrap();
        let (packets, reported) = (folder.path().join("packets"), folder.path().join("reported"));
        read(&capture(name), &packets, "ndjson,zeek");
        read(&packets.join("conn.log"), &reported, "ndjson");
        let expected = sums(&lines(&packets.join("flows.ndjson")));
        let found = sums(&lines(&reported.join("reported_flows.ndjson")));
        assert_eq!(found, expected, "{name}");
    }
}

/// IPv4 and IPv6 flows of softflowd: those of NetFlow v5 have no IPv6.
fn reported_by_softflowd(capture: &Path, version: &str) -> Option<Sums> {
    let program = ["/usr/sbin/softflowd", "/usr/local/sbin/softflowd"];
    let program = program.into_iter().find(|path| Path::new(path).exists())?;
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let out = folder.path().join("out");
    let mut live = Command::new(env!("CARGO_BIN_EXE_flowtap"))
        .args(["live", "--quiet", "--control", "none", "--listen", &address, "--seconds", "5"])
        .arg("--out")
        .arg(&out)
        .spawn()
        .unwrap();
    // It listens before it says anything else; a datagram before that would be refused.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while std::net::UdpSocket::bind(&address).is_ok() {
        assert!(std::time::Instant::now() < until, "it never listened");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let status = Command::new(program)
        .args(["-n", &address, "-v", version, "-d", "-r"])
        .arg(capture)
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert!(live.wait().unwrap().success());
    let files = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
    let file = files
        .into_iter()
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("reported_flows"));
    Some(sums(&lines(&file.expect("reported flows"))))
}

#[test]
fn a_real_exporters_flows_have_the_totals_of_the_packets() {
    for (name, version) in
        [("web.pcap", "5"), ("web.pcap", "9"), ("web.pcap", "10"), ("dns.pcap", "10")]
    {
        let folder = tempfile::tempdir().unwrap();
        let packets = folder.path().join("packets");
        read(&capture(name), &packets, "ndjson");
        let mut expected = sums(&lines(&packets.join("flows.ndjson")));
        if version == "5" {
            expected.retain(|way, _| !way.0.contains(':'));
        }
        let Some(found) = reported_by_softflowd(&capture(name), version) else {
            eprintln!("SKIP: softflowd is not installed");
            return;
        };
        assert!(!expected.is_empty());
        assert_eq!(found, expected, "{name} by NetFlow v{version}");
    }
}
