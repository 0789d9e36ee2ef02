//! Tunnels of real programs between two namespaces, and programs that look alike.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::netns::{Link, LinkOptions, Netns, wait_for};

const CLIENT: usize = 0;
const SERVER: usize = 1;

/// Captures what goes over the link while `traffic` is made, and gives the alerts that
/// reading it raises, with one worker and with three.
fn alerts_of(
    test: &str,
    programs: &[&str],
    traffic: impl FnOnce(&Netns, &Link, &Path),
) -> Option<Vec<Value>> {
    let mut net = Netns::or_skip(test, 2, &[&["tcpdump"], programs].concat())?;
    let link = net.join(CLIENT, SERVER, LinkOptions::default());
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("seen.pcap");
    let mut tcpdump = net.command(CLIENT, ["tcpdump", "-n", "-U", "-Z", "root", "-B", "65536"]);
    tcpdump.args(["--immediate-mode", "-i", &link.names[0], "-w"]).arg(&capture);
    let mut tcpdump = net.spawn(tcpdump);
    wait_for("a capture", || capture.metadata().is_ok_and(|file| file.len() > 0));
    traffic(&net, &link, folder.path());
    std::thread::sleep(Duration::from_millis(500));
    tcpdump.signal("INT");
    tcpdump.wait(Duration::from_secs(10));
    let [alerts, again] = ["1", "3"].map(|workers| {
        let mut read = Command::new(env!("CARGO_BIN_EXE_flowtap"));
        read.args(["read", "--json", "--workers", workers]).arg(&capture);
        let done = read.env("XDG_STATE_HOME", folder.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let summary: Value = serde_json::from_slice(&done.stdout).unwrap();
        summary["alerts"].as_array().unwrap().clone()
    });
    assert_eq!(alerts, again, "the number of workers changes nothing");
    Some(alerts)
}

/// The one alert there is: by whom, and whether it is about this end of the link.
#[track_caller]
fn assert_is(alerts: &[Value], detector: &str) {
    let raised: Vec<_> = alerts.iter().map(|alert| &alert["detector"]).collect();
    assert_eq!(raised, [detector], "{alerts:#?}");
    let entity = alerts[0]["entity"]["id"].as_str().unwrap();
    assert!(entity.ends_with(".1"), "{entity} is the client");
    assert_eq!(alerts[0]["analytics"], Value::Array(vec![]));
    assert_eq!(alerts[0]["possible_analytics"][0], "AN0031");
    assert!(alerts[0]["confidence"].as_f64().unwrap() <= 0.6);
}

/// Pings of `bytes` through iodine, which is started with these arguments.
fn through_iodine(test: &str, args: &[&str], bytes: &str, count: &str) -> Option<Vec<Value>> {
    alerts_of(test, &["iodine", "iodined", "ping"], |net, link, folder| {
        let server = &link.ipv4[1];
        let domain = "t.example.test";
        let listen = ["iodined", "-f", "-c", "-P", "p", "-l", server, "10.99.0.1/24", domain];
        let _server = net.spawn(net.command(SERVER, listen));
        let log = folder.join("log");
        let mut client = net.command(CLIENT, ["iodine", "-f", "-P", "p"]);
        client.args(args).args([server, domain]);
        let file = std::fs::File::create(&log).unwrap();
        client.stderr(file.try_clone().unwrap()).stdout(file);
        let _client = net.spawn(client);
        wait_for("a tunnel", || {
            std::fs::read_to_string(&log).is_ok_and(|said| said.contains("setup complete"))
        });
        net.run(CLIENT, ["ping", "-q", "-c", count, "-i0.1", "-s", bytes, "10.99.0.1"]);
    })
}

#[test]
fn iodine_is_a_dns_tunnel() {
    let args = ["-r", "-T", "TXT", "-m", "1000"];
    if let Some(alerts) = through_iodine("iodine", &args, "400", "50") {
        assert_is(&alerts, "dns_tunnel");
        assert_eq!(alerts[0]["evidence"]["details"]["domain"], "example.test");
    }
}

#[test]
fn iodine_that_sends_no_dns_at_all_is_one() {
    // 130 packets each way, of a ramp that it makes about as long as a byte's values.
    if let Some(alerts) = through_iodine("iodine-raw", &[], "1000", "130") {
        assert_is(&alerts, "dns_tunnel");
        let summary = alerts[0]["summary"].as_str().unwrap();
        assert!(summary.contains("not DNS at all: iodine's raw packets"), "{summary}");
    }
}

#[test]
fn pings_by_a_person_are_none() {
    let alerts = alerts_of("pings", &["ping"], |net, link, _| {
        let server = &link.ipv4[1];
        net.run(CLIENT, ["ping", "-q", "-c30", "-i0.1", server]);
        net.run(CLIENT, ["ping", "-q", "-c30", "-i0.1", "-s1400", server]);
        net.run(CLIENT, ["ping", "-q", "-c30", "-i0.1", &link.ipv6[1]]);
        net.run(CLIENT, ["ping", "-q", "-f", "-c400", "-s1200", server]);
        net.run(CLIENT, ["ping", "-q", "-c30", "-i0.05", "-p", "ff00aa", server]);
        for size in (1_000..1_480).step_by(32) {
            let size = size.to_string();
            net.run(CLIENT, ["ping", "-q", "-c3", "-i0.05", "-Mdo", "-s", &size, server]);
        }
    });
    if let Some(alerts) = alerts {
        assert_eq!(alerts, [] as [Value; 0]);
    }
}

#[test]
fn many_names_of_one_domain_are_none() {
    let alerts = alerts_of("names", &["dig", "dnsmasq"], |net, link, folder| {
        let server = &link.ipv4[1];
        let listen = format!("--listen-address={server}");
        let args =
            ["dnsmasq", "-k", "-C", "/dev/null", "--no-resolv", "--address=/example.com/192.0.2.1"];
        let mut daemon = net.command(SERVER, args);
        daemon.arg(listen);
        let _daemon = net.spawn(daemon);
        std::thread::sleep(Duration::from_secs(1));
        let names: String =
            (0..400).map(|n| format!("host-{n:04}.rack-{}.example.com A\n", n % 9)).collect();
        let file = folder.join("names");
        std::fs::write(&file, names).unwrap();
        let at = format!("@{server}");
        net.run(CLIENT, ["dig", "-f", file.to_str().unwrap(), &at, "+short"]);
    });
    if let Some(alerts) = alerts {
        assert_eq!(alerts, [] as [Value; 0]);
    }
}
