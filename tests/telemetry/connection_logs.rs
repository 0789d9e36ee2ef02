//! Connection logs: of real nfdump, and flowtap's own logs in other tools' forms.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// Captures of TCP (with loss, and scans), UDP and ICMPv6 that end in whole packets.
const CAPTURES: [&str; 6] = [
    "web.pcap",
    "dns.pcap",
    "ssh.pcap",
    "tcp-trouble.pcap",
    "nmap-udp.pcap",
    "nmap-horizontal.pcap",
];

fn capture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(name)
}

/// Runs `flowtap read` on a file into a folder of its own.
fn read(folder: &TempDir, name: &str, file: &Path, format: &str) -> PathBuf {
    let out = folder.path().join(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowtap"));
    command.args(["read", "--quiet", "--format", format, "--out"]).arg(&out).arg(file);
    let output = command.env("XDG_STATE_HOME", folder.path().join("state")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The only source of a run that read one log, of which nothing was left out.
fn source(out: &Path) -> Value {
    let summary: Value =
        serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
    let sources = summary["sources"].as_array().unwrap();
    assert_eq!(sources.len(), 1);
    let source = sources[0].clone();
    for key in ["bad", "bad_parts", "error"] {
        assert_eq!(source.get(key), None, "{source}");
    }
    source
}

/// Protocol, from whom, to whom; what has no ports has zeros.
type Way = (u64, (IpAddr, u64), (IpAddr, u64));

/// What went each way: packets and the given counts.
fn totals(flows: &[Value], counts: &[&str]) -> BTreeMap<Way, Vec<u64>> {
    const TCP: u64 = 6;
    const UDP: u64 = 17;
    let mut totals = BTreeMap::<Way, Vec<u64>>::new();
    for flow in flows {
        let protocol = flow["proto"].as_u64().unwrap();
        let side = |ip: &str, port: &str| {
            let has_ports = matches!(protocol, TCP | UDP);
            let port = if has_ports { flow[port].as_u64().unwrap() } else { 0 };
            (flow[ip].as_str().unwrap().parse().unwrap(), port)
        };
        let (src, dst) = (side("src_ip", "src_port"), side("dst_ip", "dst_port"));
        for (way, key) in [((protocol, src, dst), "fwd"), ((protocol, dst, src), "rev")] {
            let Some(packets) = flow[key]["packets"].as_u64().filter(|&packets| packets > 0) else {
                continue;
            };
            let values = counts.iter().map(|count| flow[key][count].as_u64().unwrap_or(0));
            let sums = totals.entry(way).or_insert_with(|| vec![0; counts.len() + 1]);
            for (sum, value) in sums.iter_mut().zip([packets].into_iter().chain(values)) {
                *sum += value;
            }
        }
    }
    totals
}

/// Starts to the microsecond, which is what the other forms have.
fn starts_us(flows: &[Value]) -> Vec<i64> {
    let start = |flow: &Value| {
        let time: jiff::Timestamp = flow["start"].as_str().unwrap().parse().unwrap();
        time.as_microsecond()
    };
    let mut starts: Vec<_> = flows.iter().map(start).collect();
    starts.sort_unstable();
    starts
}

fn tcp_flags(flows: &[Value]) -> Vec<String> {
    let mut flags: Vec<_> = flows
        .iter()
        .filter(|flow| flow["proto"] == 6)
        .map(|flow| format!("{} {}", flow["fwd"]["tcp_flags"], flow["rev"]["tcp_flags"]))
        .collect();
    flags.sort_unstable();
    flags
}

#[test]
fn our_own_zeek_log_says_the_same_when_it_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    for name in CAPTURES.iter().chain(&["ping.pcap"]) {
        let ours = read(&folder, &format!("{name}.own"), &capture(name), "ndjson,zeek");
        let back = read(&folder, &format!("{name}.back"), &ours.join("conn.log"), "ndjson");
        assert_eq!(source(&back)["kind"], "zeek-conn");
        let flows = lines(&ours.join("flows.ndjson"));
        let reported = lines(&back.join("reported_flows.ndjson"));
        assert_eq!(flows.len(), reported.len(), "{name}");
        let counts = ["ip_bytes", "payload_bytes"];
        assert_eq!(totals(&flows, &counts), totals(&reported, &counts), "{name}");
        assert_eq!(starts_us(&flows), starts_us(&reported), "{name}");
        assert!(reported.iter().all(|flow| flow["originator_known"] == true));
    }
}

#[test]
fn our_own_eve_log_says_the_same_when_it_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    for name in CAPTURES.iter().chain(&["ping.pcap"]) {
        let ours = read(&folder, &format!("{name}.own"), &capture(name), "ndjson,eve");
        let back = read(&folder, &format!("{name}.back"), &ours.join("eve.json"), "ndjson");
        assert_eq!(source(&back)["kind"], "suricata-eve");
        let flows = lines(&ours.join("flows.ndjson"));
        let reported = lines(&back.join("reported_flows.ndjson"));
        assert_eq!(flows.len(), reported.len(), "{name}");
        assert_eq!(totals(&flows, &["wire_bytes"]), totals(&reported, &["wire_bytes"]), "{name}");
        assert_eq!(starts_us(&flows), starts_us(&reported), "{name}");
    }
}

/// nfpcapd counts the same packets, each way in a record of its own.
#[test]
fn nfdump_and_flowtap_agree_on_what_went_each_way() {
    let folder = tempfile::tempdir().unwrap();
    for name in CAPTURES {
        let ours = read(&folder, &format!("{name}.own"), &capture(name), "ndjson");
        let flows = lines(&ours.join("flows.ndjson"));
        let netflow = folder.path().join(format!("{name}.nf"));
        fs::create_dir(&netflow).unwrap();
        run(Command::new("nfpcapd").arg("-r").arg(capture(name)).arg("-l").arg(&netflow));
        for (format, kind) in [("csv", "nfdump-csv"), ("json", "nfdump-json")] {
            let listing = folder.path().join(format!("{name}.{format}"));
            let mut nfdump = Command::new("nfdump");
            nfdump.env("TZ", "UTC").arg("-R").arg(&netflow).args(["-o", format]);
            fs::write(&listing, run(&mut nfdump)).unwrap();
            let back = read(&folder, &format!("{name}.{format}.back"), &listing, "ndjson");
            assert_eq!(source(&back)["kind"], kind);
            let reported = lines(&back.join("reported_flows.ndjson"));
            let counts = ["ip_bytes"];
            assert_eq!(totals(&flows, &counts), totals(&reported, &counts), "{name} {format}");
            // Flags come in one record for each way.
            let ways = |flows: &[Value]| -> Vec<String> {
                let mut flags: Vec<_> = tcp_flags(flows)
                    .iter()
                    .flat_map(|both| both.split(' ').map(str::to_owned).collect::<Vec<_>>())
                    .filter(|flags| flags != "null")
                    .collect();
                flags.sort_unstable();
                flags
            };
            if name == "ssh.pcap" {
                assert!(!ways(&reported).is_empty());
                assert_eq!(ways(&flows), ways(&reported), "{name} {format}");
            }
        }
    }
}

#[test]
fn logs_of_real_suricata_have_the_totals_of_the_packets() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/connection_log");
    let mut flows = Vec::new();
    for name in ["web.pcap", "dns.pcap"] {
        let ours = read(&folder, name, &capture(name), "ndjson");
        flows.extend(lines(&ours.join("flows.ndjson")));
    }
    for name in ["suricata-8-flow.json", "suricata-8-netflow.json"] {
        let back = read(&folder, name, &fixtures.join(name), "ndjson");
        assert_eq!(source(&back)["kind"], "suricata-eve");
        let reported = lines(&back.join("reported_flows.ndjson"));
        let counts = ["wire_bytes"];
        assert_eq!(totals(&flows, &counts), totals(&reported, &counts), "{name}");
    }
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn every_log_of_another_tool_is_recognised_and_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/connection_log");
    for (name, kind, flows) in [
        ("zeek-conn.log", "zeek-conn", 9),
        ("zeek-conn.json", "zeek-conn-json", 4),
        ("suricata-eve.json", "suricata-eve", 4),
        ("nfdump-web.csv", "nfdump-csv", 18),
        ("nfdump-web-both-ways.csv", "nfdump-csv", 11),
        ("nfdump-1.7.4.csv", "nfdump-csv", 3),
        ("nfdump-web.json", "nfdump-json", 18),
        ("nfdump-softflowd.json", "nfdump-json", 3),
    ] {
        let out = read(&folder, name, &fixtures.join(name), "ndjson");
        let source = source(&out);
        assert_eq!((&source["kind"], &source["flows"]), (&kind.into(), &flows.into()), "{name}");
    }
}
