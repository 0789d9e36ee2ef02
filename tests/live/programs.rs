//! Real clients and servers on a link, whose own logs are held against the flows.
//! Offloads are on: frames over the MTU, checksums not yet computed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, complete, written};
use crate::support::netns::{LinkOptions, Running};

/// The flows that were written into the folder `live`.
fn flows(lab: &Lab) -> Vec<Value> {
    let text = written(&lab.dir.path("live"), "flows");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn listen(lab: &Lab) -> crate::lab::Live {
    lab.listen(&["--out", lab.dir.path("live").to_str().unwrap()])
}

fn sum(flows: &[Value], pointer: &str) -> u64 {
    flows.iter().filter_map(|flow| flow.pointer(pointer)?.as_u64()).sum()
}

/// A server beside flowtap; waits until a TCP connection to it is taken.
fn serve(lab: &Lab, words: &[&str], port: u16) -> Running {
    let mut command = lab.net.command(1, words);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let running = lab.net.spawn(command);
    crate::support::netns::wait_for(words[0], || {
        let listening = lab.net.run(1, ["cat", "/proc/net/tcp"]).stdout;
        String::from_utf8_lossy(&listening).contains(&format!(":{port:04X} 00000000:0000 0A"))
    });
    running
}

#[test]
fn curl_and_nginx_agree_with_the_flows_to_the_byte() {
    let programs = ["nginx", "curl"];
    let Some(lab) = Lab::or_skip("curl", &programs, LinkOptions::default()) else { return };
    let folder = lab.dir.path("www");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("large"), vec![b'x'; 3_000_000]).unwrap();
    fs::write(folder.join("small"), "hello\n").unwrap();
    let log = lab.dir.path("access.log");
    let configuration = lab.dir.path("nginx.conf");
    let text = format!(
        "daemon off; master_process off; pid {pid}; error_log stderr;
         events {{}}
         http {{
             log_format sums '$request_length $bytes_sent';
             access_log {log} sums;
             server {{ listen {address}:80; root {root}; }}
         }}",
        pid = lab.dir.path("nginx.pid").display(),
        log = log.display(),
        address = lab.link.ipv4[1],
        root = folder.display(),
    );
    fs::write(&configuration, text).unwrap();
    let mut server = serve(&lab, &["nginx", "-c", configuration.to_str().unwrap()], 80);
    let live = listen(&lab);
    for path in ["small", "large", "not-there", "small", "large"] {
        let url = format!("http://{}/{path}?token=secret", lab.link.ipv4[1]);
        lab.net.run(0, ["curl", "-s", "-o", "/dev/null", &url]);
    }
    let summary = live.stop();
    server.signal("TERM");
    server.wait(Duration::from_secs(10));
    complete(&summary);
    let lines: Vec<_> =
        BufReader::new(fs::File::open(log).unwrap()).lines().map_while(Result::ok).collect();
    assert_eq!(lines.len(), 5);
    let [mut asked_bytes, mut answered_bytes] = [0; 2];
    for line in &lines {
        let (asked, answered) = line.split_once(' ').unwrap();
        asked_bytes += asked.parse::<u64>().unwrap();
        answered_bytes += answered.parse::<u64>().unwrap();
    }
    let mut http = flows(&lab);
    http.retain(|flow| flow["proto"] == 6);
    assert_eq!(http.len(), 5);
    assert_eq!(sum(&http, "/fwd/payload_bytes"), asked_bytes);
    // On a machine that does much else at once the kernel sends some of it again.
    let (repeated, longest) = (sum(&http, "/rev/retransmitted"), 65_536);
    let more = sum(&http, "/rev/payload_bytes") - answered_bytes;
    assert!((repeated..=repeated * longest).contains(&more), "{more}, in {repeated} segments");
    let statuses: u64 = sum(&http, "/app/http/status");
    assert_eq!(statuses, 4 * 200 + 404);
    for flow in &http {
        assert_eq!(flow["state"], "closed", "{flow}");
        let path = flow.pointer("/app/http/path").unwrap().as_str().unwrap();
        assert!(!path.contains("secret"), "values of queries are masked: {path}");
    }
    let longest = http.iter().filter_map(|flow| flow["rev"]["payload_sizes"]["max"].as_u64()).max();
    assert!(longest > Some(1_460), "frames over the MTU are among them: {longest:?}");
}

#[test]
fn iperf3_reports_the_datagrams_that_the_flow_has() {
    let Some(lab) = Lab::or_skip("iperf3", &["iperf3"], LinkOptions::default()) else { return };
    let address = lab.link.ipv4[1].as_str();
    let mut server = serve(&lab, &["iperf3", "-s", "-1", "-B", address], 5201);
    let live = listen(&lab);
    let client = ["iperf3", "-J", "-u", "-b", "60M", "-l", "1200", "-t", "2", "-c", address];
    let report: Value = serde_json::from_slice(&lab.net.run(0, client).stdout).unwrap();
    server.wait(Duration::from_secs(10));
    let summary = live.stop();
    complete(&summary);
    let mut udp = flows(&lab);
    udp.retain(|flow| flow["proto"] == 17 && flow["dst_port"] == 5201);
    let [flow] = udp.as_slice() else { panic!("one stream: {udp:?}") };
    let sent = &report["end"]["sum"];
    // Both ends greet with one datagram of four bytes.
    let greeting = (1, 4);
    let fwd = |name: &str| flow["fwd"][name].as_u64().unwrap();
    assert_eq!(fwd("packets"), sent["packets"].as_u64().unwrap() + greeting.0);
    assert_eq!(fwd("payload_bytes"), sent["bytes"].as_u64().unwrap() + greeting.1);
    assert_eq!(
        fwd("packets"),
        1 + flow["fwd"]["payload_sizes"]["histogram"][1][1].as_u64().unwrap()
    );
}

#[test]
fn dig_and_dnsmasq_make_one_conversation_a_question() {
    let programs = ["dig", "dnsmasq"];
    let Some(lab) = Lab::or_skip("dig", &programs, LinkOptions::default()) else { return };
    let address = lab.link.ipv4[1].as_str();
    let listen_at = format!("--listen-address={address}");
    let words = [
        "dnsmasq",
        "--no-daemon",
        "--conf-file=/dev/null",
        "--no-hosts",
        "--no-resolv",
        "--user=root",
        "--pid-file=",
        "--bind-interfaces",
        "--address=/lab.test/192.0.2.7",
        &listen_at,
    ];
    let mut server = serve(&lab, &words, 53);
    let live = listen(&lab);
    let server_at = format!("@{address}");
    let names = ["one.lab.test", "two.lab.test", "three.lab.test"];
    for name in names {
        let answer = lab.net.run(0, ["dig", &server_at, "+short", "+tries=1", name]).stdout;
        assert_eq!(String::from_utf8_lossy(&answer).trim(), "192.0.2.7");
    }
    let over_tcp = lab.net.run(0, ["dig", &server_at, "+short", "+tcp", names[0]]).stdout;
    assert_eq!(String::from_utf8_lossy(&over_tcp).trim(), "192.0.2.7");
    let summary = live.stop();
    server.signal("TERM");
    server.wait(Duration::from_secs(10));
    complete(&summary);
    let mut dns = flows(&lab);
    dns.retain(|flow| flow["dst_port"] == 53);
    let asked = |proto: u64| -> Vec<&str> {
        let of_proto = dns.iter().filter(|flow| flow["proto"] == proto);
        of_proto.map(|flow| flow.pointer("/app/dns/query").unwrap().as_str().unwrap()).collect()
    };
    assert_eq!(asked(17), names, "{dns:?}");
    assert_eq!(asked(6), names[..1]);
    assert!(dns.iter().all(|flow| flow["answered"] == true));
}
