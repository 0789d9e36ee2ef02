//! `flowtap live` on veth pairs between network namespaces, with real programs
//! at both ends.
#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod clock;
#[path = "../common/mod.rs"]
mod common;
mod lab;
mod ledger;
mod parity;
mod privacy;
mod programs;
mod recorded;
#[path = "../support/mod.rs"]
mod support;
mod watched;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use common::{Dir, captures, text};
use lab::{Lab, alerts, complete, read, shape, written};
use support::netns::{Link, LinkOptions, Netns, wait_for};

/// In the folder of a run without a summary.
const SO_FAR: &str = ".flowtap.coverage";

#[test]
fn a_flood_of_pings_is_counted_to_the_packet() {
    let Some(lab) = Lab::or_skip("ping", &["ping"], LinkOptions::default()) else { return };
    for workers in ["1", "2"] {
        let live = lab.listen(&["--workers", workers]);
        let address = &lab.link.ipv4[1];
        lab.net.run(0, ["ping", "-q", "-f", "-c", "2000", address]);
        let summary = live.stop();
        complete(&summary);
        assert_eq!(summary["protocols"]["icmp"]["packets"], 4000, "asked and answered");
        assert_eq!(summary["protocols"]["icmp"]["flows"], 1, "both directions meet");
    }
}

#[test]
fn libpcap_hears_the_same() {
    let Some(lab) = Lab::or_skip("libpcap", &["ping"], LinkOptions::default()) else { return };
    let live = lab.listen(&["--capture", "libpcap"]);
    lab.net.run(0, ["ping", "-q", "-f", "-c", "2000", &lab.link.ipv4[1]]);
    let summary = live.stop();
    complete(&summary);
    assert_eq!(summary["protocols"]["icmp"]["packets"], 4000);
}

#[test]
fn a_syn_flood_is_told_while_it_goes_on() {
    let Some(lab) = Lab::or_skip("hping3", &["hping3"], LinkOptions::default()) else { return };
    let mut live = lab.listen(&[]);
    let address = &lab.link.ipv4[1];
    let flood = ["hping3", "-q", "-S", "-p", "80", "-c", "60000", "-i", "u50", "--rand-source"];
    let mut command = lab.net.command(0, flood);
    command.arg(address).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let mut flood = lab.net.spawn(command);
    live.wait_for("flood");
    let told = start.elapsed();
    flood.child.kill().unwrap();
    flood.wait(Duration::from_secs(5));
    let summary = live.stop();
    assert!(!alerts(&summary).is_empty());
    // hping3 has to start; the window has to end, be late for a second, and be put together.
    assert!(told < Duration::from_secs(8), "{told:?}");
}

#[test]
fn the_memory_of_a_flood_can_be_had_before_there_is_one() {
    let Some(lab) = Lab::or_skip("memory", &["ping"], LinkOptions::default()) else { return };
    // What is resident, once it is `least` or more and no longer changes.
    let resident_mib = |least: u64, args: &[&str]| {
        let ring = ["--ring-mib", "8", "--max-flows", "1000000"];
        let live = lab.listen(&[&ring, args].concat());
        lab.net.run(0, ["ping", "-q", "-c", "1", &lab.link.ipv4[1]]);
        let status = format!("/proc/{}/status", live.running.child.id());
        let (mut mib, mut looks_alike) = (0, 0);
        wait_for("memory", || {
            let status = fs::read_to_string(&status).unwrap();
            let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
            let now = line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10;
            looks_alike = if now == mib { looks_alike + 1 } else { 0 };
            mib = now;
            now >= least && looks_alike >= 30
        });
        complete(&live.stop());
        mib
    };
    for workers in ["1", "2"] {
        let few = resident_mib(0, &["--workers", workers]);
        // At least 128 bytes a flow, at most 260 and what pages are rounded up to.
        let all = resident_mib(few + 122, &["--workers", workers, "--preallocate"]);
        assert!((few + 122..few + 260).contains(&all), "{few} and {all} MiB with {workers}");
    }
}

#[test]
fn what_is_replayed_is_heard_as_it_is_read() {
    let Some(lab) = Lab::or_skip("replay", &[], LinkOptions::quiet()) else { return };
    // Tags that the kernel takes out, tunnels, fragments, both IP versions.
    for name in [
        "crafted-vlan.pcap",
        "crafted-qinq.pcap",
        "crafted-vxlan-vlan-inside.pcap",
        "crafted-geneve-options.pcap",
        "crafted-gtpu.pcap",
        "crafted-mpls.pcap",
        "crafted-ipv4-fragments.pcap",
        "crafted-ipv6-fragments.pcap",
        "crafted-non-ip.pcap",
        "dns.pcap",
        "ping.pcap",
        "ssh.pcap",
    ] {
        let path = captures().join(name);
        let path = path.to_str().unwrap();
        let live = lab.listen(&["--workers", "2"]);
        let sent = lab.replay(&["--speed", "2000pps", path]);
        let summary = live.stop();
        assert_eq!(complete(&summary), sent["sent_packets"].as_u64().unwrap(), "{name}");
        let fields = ["packets", "wire_bytes", "accounting", "conversations"];
        let file = read(&[path]);
        for field in fields {
            assert_eq!(summary[field], file[field], "{name}: {field}");
        }
    }
}

#[test]
fn what_was_recorded_and_is_read_gives_the_same_flows_and_alerts() {
    let Some(lab) = Lab::or_skip("parity", &["hping3"], LinkOptions::default()) else { return };
    let (out, ring) = (lab.dir.path("live"), lab.dir.path("ring"));
    let [out_text, ring_text] = [&out, &ring].map(|path| path.to_str().unwrap());
    let named = ["--sensor-id", "tap-7", "--udp-idle", "1s"];
    let live = lab.listen(&[&["--out", out_text, "--record", ring_text], &named[..]].concat());
    let address = lab.link.ipv4[1].as_str();
    let flood = ["hping3", "-q", "--udp", "-p", "53", "-c", "12000", "-i", "u100", address];
    // Nothing answers, which hping3 ends with an error for.
    lab.net.command(0, flood).output().unwrap();
    for name in ["web.pcap", "dns.pcap", "crafted-vxlan-vlan-inside.pcap", "tcp-trouble.pcap"] {
        let path = captures().join(name);
        let replay = [env!("CARGO_BIN_EXE_flowtap"), "replay", "-q", "--speed", "2000pps", "-i"];
        // Frames that are too long for the link stay behind: the rest will do.
        lab.net.command(0, replay).arg(&lab.link.names[0]).arg(path).output().unwrap();
    }
    // Flows time out while nothing comes: the recording must say that time passed.
    std::thread::sleep(Duration::from_secs(3));
    let summary = live.stop();
    complete(&summary);
    let again = lab.dir.path("again");
    let offline = read(&["--out", again.to_str().unwrap(), "--udp-idle", "1s", ring_text]);
    assert_eq!(shape(&summary), shape(&offline));
    assert_eq!(summary["alerts"], offline["alerts"]);
    assert!(alerts(&summary).iter().any(|[detector, ..]| detector == "udp_flood"));
    let flows = written(&out, "flows");
    for reason in ["idle", "end_of_input"] {
        assert!(flows.contains(&format!("\"end_reason\":\"{reason}\"")), "{reason}");
    }
    assert!(flows == written(&again, "flows"), "the same bytes");
    // Who saw it stands in each record, and comes back from the recording.
    let clock = summary["capture"]["clock_synchronised"].as_bool().expect("the kernel knows");
    let origin = format!(
        "\"sensor\":\"tap-7\",\"interface\":\"{}\",\"clock_synchronised\":{clock}",
        lab.interface()
    );
    assert!(flows.lines().all(|flow| flow.contains(&origin)), "{origin}");
    let alert = &offline["alerts"][0];
    assert_eq!(alert["sensor"], "tap-7");
    assert_eq!(alert["interface"], lab.interface());
    assert_eq!(alert["clock_synchronised"], clock);
}

#[test]
fn an_alert_is_on_disk_while_it_goes_on_and_its_packets_are_shown() {
    let Some(lab) = Lab::or_skip("evidence", &["hping3"], LinkOptions::default()) else { return };
    let (out, ring) = (lab.dir.path("live"), lab.dir.path("ring"));
    let [out_text, ring_text] = [&out, &ring].map(|path| path.to_str().unwrap());
    let mut live = lab.listen(&["--out", out_text, "--record", ring_text, "--evidence"]);
    let address = lab.link.ipv4[1].as_str();
    let flood = ["hping3", "-q", "--udp", "-p", "53", "-c", "20000", "-i", "u50", address];
    lab.net.command(0, flood).output().unwrap();
    live.wait_for("flood");
    wait_for("the alert in its file", || written(&out, "alerts").contains("udp_flood"));
    // The flows have not ended yet.
    for (command, told) in [(&["alerts", "list"][..], address), (&["flows"], "flows")] {
        let output = lab.dir.command(command).args(["--run", out_text]).output().unwrap();
        assert!(output.status.success(), "while it goes on: {}", text(&output.stderr));
        assert!(text(&output.stdout).contains(told), "{}", text(&output.stdout));
    }
    wait_for("what it covers so far", || out.join(SO_FAR).is_file());
    let coverage = || {
        let output = lab.dir.run(["coverage", "--json", "--run", out_text]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        (serde_json::from_slice::<Value>(&output.stdout).unwrap(), text(&output.stderr))
    };
    let (so_far, told) = coverage();
    let as_of = so_far["as_of"].as_str().expect("a time");
    assert!(told.contains("still going") && told.contains(as_of), "{told}");
    let summary = live.stop();
    let (whole, told) = coverage();
    assert_eq!((&whole["as_of"], told.as_str()), (&Value::Null, ""));
    let analytics = |told: &Value| told["analytics"].as_array().expect("a list").len();
    assert_eq!((analytics(&so_far), analytics(&whole)), (5, 5));
    assert!(!out.join(SO_FAR).exists());
    let id = summary["alerts"][0]["id"].as_str().unwrap();
    let pcap = lab.dir.path("alert.pcapng");
    let show = ["show", "alert", id, "--run", out_text, "--pcap", pcap.to_str().unwrap()];
    let output = lab.dir.run(show);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let packets = |path: &Path| read(&[path.to_str().unwrap()])["packets"].as_u64().unwrap();
    assert!(packets(&pcap) >= 20_000);
    assert!(packets(&ring.join(format!("evidence/{id}.pcapng"))) >= 20_000);
}

#[test]
fn what_a_killed_capture_had_written_is_found_again() {
    let Some(lab) = Lab::or_skip("SIGKILL", &["ping"], LinkOptions::default()) else { return };
    let out = lab.dir.path("live");
    let args = ["--out", out.to_str().unwrap(), "--icmp-idle", "1s"];
    let mut live = lab.listen(&args);
    lab.net.run(0, ["ping", "-q", "-f", "-c", "100", &lab.link.ipv4[1]]);
    wait_for("the flow's record", || written(&out, "flows").contains("icmp"));
    wait_for("what it covers so far", || out.join(SO_FAR).is_file());
    live.running.signal("KILL");
    live.running.wait(Duration::from_secs(5));
    assert!(unfinished(&out) > 0);
    let coverage = || {
        let output = lab.dir.run(["coverage", "--run", out.to_str().unwrap()]);
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (told, page, state) = coverage();
    assert!(told && page.contains("AN0971"), "{page}");
    assert!(state.contains("before it could write its summary"), "{state}");
    let again = lab.listen(&args);
    assert!(!coverage().2.contains("before it could"), "an earlier start's");
    assert!(again.lines.iter().any(|line| line.contains("flows-")), "{:?}", again.lines);
    assert_eq!(unfinished(&out), 0, "completed, and nothing new was written");
    assert!(written(&out, "flows").contains("icmp"));
    again.stop();
}

fn unfinished(dir: &Path) -> usize {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().ends_with(".part")).count()
}

#[test]
fn a_run_is_watched_by_metrics_receivers_and_a_service_manager() {
    let programs = ["hping3", "curl"];
    let Some(lab) = Lab::or_skip("watched", &programs, LinkOptions::default()) else { return };
    let (alerts, notify) = (lab.dir.path("alerts"), lab.dir.path("notify"));
    let receiver = UnixListener::bind(&alerts).unwrap();
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let told = || {
        let mut message = [0; 4096];
        let length = manager.recv(&mut message).unwrap();
        text(&message[..length])
    };
    let target = format!("unix:{}", alerts.display());
    let args = ["--alert-to", &target, "--metrics", "127.0.0.1:0"];
    let watched = [("NOTIFY_SOCKET", notify.as_path())];
    let mut live = lab.listen_in(1, &[lab.interface()], &args, &watched);
    assert!(told().contains("READY=1"));
    let at = live.lines.iter().find_map(|line| line.trim().strip_prefix("flowtap: metrics at "));
    let at = at.unwrap().to_owned();
    let address = lab.link.ipv4[1].as_str();
    let flood = ["hping3", "-q", "--udp", "-p", "53", "-c", "20000", "-i", "u50", address];
    lab.net.command(0, flood).output().unwrap();
    live.wait_for("flood");
    let (connection, _) = receiver.accept().unwrap();
    let mut first = String::new();
    BufReader::new(connection).read_line(&mut first).unwrap();
    let alert: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(alert["detector"], "udp_flood");
    let page = lab.net.run(1, ["curl", "-sf", &at]).stdout;
    let page = text(&page);
    assert!(page.contains("flowtap_alerts_total"), "{page}");
    let health = at.replace("/metrics", "/health");
    let health = lab.net.run(1, ["curl", "-sf", &health]).stdout;
    assert!(text(&health).contains("\"ok\""));
    live.stop();
    while !told().contains("STOPPING=1") {}
}

#[test]
fn a_filter_means_the_same_live_and_offline_also_behind_a_vlan_tag() {
    let Some(lab) = Lab::or_skip("filter", &[], LinkOptions::quiet()) else { return };
    let path = captures().join("crafted-vlan.pcap");
    let path = path.to_str().unwrap();
    for filter in ["udp", "vlan and udp", "vlan", "not vlan", "less 100"] {
        let live = lab.listen(&["--filter", filter]);
        lab.replay(&["--speed", "2000pps", path]);
        let summary = live.stop();
        let file = read(&["--filter", filter, path]);
        let passed =
            file["packets"].as_u64().unwrap() - file["accounting"]["filtered"].as_u64().unwrap();
        assert_eq!(complete(&summary), passed, "{filter}");
        assert_eq!(summary["accounting"]["filtered"], Value::Null);
        assert_eq!(summary["capture"]["filter_in_kernel"], true);
    }
}

#[test]
fn libpcap_does_not_pass_by_a_filter_what_has_a_vlan_tag() {
    let Some(lab) = Lab::or_skip("pcap-filter", &[], LinkOptions::quiet()) else { return };
    let path = captures().join("crafted-vlan.pcap");
    let path = path.to_str().unwrap();
    for filter in ["udp", "not vlan"] {
        let live = lab.listen(&["--filter", filter, "--capture", "libpcap"]);
        lab.replay(&["--speed", "2000pps", path]);
        let file = read(&["--filter", filter, path]);
        let passed =
            file["packets"].as_u64().unwrap() - file["accounting"]["filtered"].as_u64().unwrap();
        assert_eq!(complete(&live.stop()), passed, "{filter}");
    }
}

#[test]
fn an_interface_that_goes_and_comes_back_is_taken_up_again() {
    let Some(mut lab) = Lab::or_skip("faults", &["ping"], LinkOptions::default()) else { return };
    let other = lab.net.join(0, 1, LinkOptions::default());
    let (name, stays) = (lab.interface().to_owned(), other.names[1].clone());
    let mut live = lab.listen_on(1, &[&name, &stays], &[]);
    let ping = |address: &str| {
        lab.net.run(0, ["ping", "-q", "-f", "-c", "100", address]);
    };
    let link = |args: &[&str]| {
        lab.net.run(1, ["ip", "link"].iter().chain(args));
    };
    ping(&lab.link.ipv4[1]);
    link(&["set", &name, "down"]);
    live.wait_for("is down");
    ping(&other.ipv4[1]);
    link(&["set", &name, "up"]);
    live.wait_for("is up");
    link(&["set", &name, "name", "renamed0"]);
    live.wait_for("is called renamed0 now");
    link(&["set", "renamed0", "name", &name]);
    live.wait_for("is called");
    ping(&lab.link.ipv4[1]);
    link(&["del", &name]);
    live.wait_for("is gone");
    ping(&other.ipv4[1]);
    link(&["add", &name, "type", "veth", "peer", "name", "far0"]);
    link(&["set", &name, "up"]);
    link(&["set", "far0", "up"]);
    live.wait_for("is back");
    // Something is heard on the new interface of the old name.
    let heard = || lab.net.counter(1, &name, "rx_packets");
    wait_for("packets on the new interface", || heard() > 0);
    std::thread::sleep(Duration::from_millis(100));
    let expected = heard() + lab.net.counter(1, &name, "tx_packets");
    let summary = live.stop();
    let interfaces = summary["capture"]["interfaces"].as_array().unwrap();
    assert_eq!(interfaces[1]["name"], *stays);
    assert_eq!(summary["protocols"]["icmp"]["packets"], 800, "pings while others were gone too");
    assert!(interfaces[0]["packets"].as_u64().unwrap() >= 400 + expected.min(1));
}

#[test]
fn an_interface_that_goes_down_with_its_last_packet_is_as_silent_as_before() {
    let Some(lab) = Lab::or_skip("silent", &[], LinkOptions::quiet()) else { return };
    let mut live = lab.listen(&["--silent-after", "2s"]);
    let path = captures().join("ping.pcap");
    let packets = || lab.replay(&["--speed", "2000pps", path.to_str().unwrap()]);
    let set = |to: &str| lab.net.run(1, ["ip", "link", "set", lab.interface(), to]);
    packets();
    live.wait_for("no packet for 2 s");
    packets();
    set("down");
    live.wait_for("is down");
    let down = live.lines.len();
    set("up");
    live.wait_for("is up");
    let resumed = live.lines[down..].iter().any(|line| line.contains("again"));
    assert!(!resumed, "not while it was down: {:?}", live.lines);
    packets();
    live.wait_for("packets come in again");
    live.stop();
}

#[test]
fn a_port_that_fell_silent_before_a_restart_is_told_after_it() {
    let Some(lab) = Lab::or_skip("restart", &[], LinkOptions::quiet()) else { return };
    let out = lab.dir.path("run");
    let args = ["--silent-after", "2s", "--out", out.to_str().unwrap()];
    let live = lab.listen(&args);
    lab.replay(&["--speed", "2000pps", captures().join("ping.pcap").to_str().unwrap()]);
    complete(&live.stop());
    // Twice: it is not forgotten by a start that heard nothing either.
    for _ in 0..2 {
        let mut live = lab.listen(&args);
        live.wait_for("since the start; an earlier run heard the last at 20");
        live.stop();
    }
}

#[test]
fn what_happens_is_told_as_json_to_whoever_wants_that() {
    let Some(lab) = Lab::or_skip("log", &["ping"], LinkOptions::default()) else { return };
    let mut live = lab.listen(&["--log-format", "json", "--silent-after", "2s"]);
    lab.net.run(0, ["ping", "-q", "-c", "1", &lab.link.ipv4[1]]);
    live.wait_for("sensor.silent");
    let lines: Vec<Value> =
        live.lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    live.stop();
    for line in &lines {
        for field in ["timestamp", "level", "event", "message"] {
            assert!(line[field].is_string(), "{field}: {line}");
        }
    }
    let silent = lines.last().unwrap();
    assert_eq!((&silent["level"], &silent["event"]), (&"WARN".into(), &"sensor.silent".into()));
    assert_eq!(silent["interface"], lab.interface());
    assert!(silent["message"].as_str().unwrap().contains("no packet for 2 s"));
}

#[test]
fn a_device_without_time_stamps_of_its_own_leaves_them_to_the_kernel() {
    let Some(lab) = Lab::or_skip("stamps", &["ping", "curl"], LinkOptions::default()) else {
        return;
    };
    let live = lab.listen(&["--hardware-stamps", "--metrics", "127.0.0.1:9187"]);
    lab.net.run(0, ["ping", "-q", "-c", "20", "-i", "0.05", &lab.link.ipv4[1]]);
    let metrics = ["curl", "-s", "--noproxy", "*", "127.0.0.1:9187/metrics"];
    wait_for("the packets in the metrics", || {
        let page = text(&lab.net.run(1, metrics).stdout);
        let of = |name: &str| -> Option<u64> {
            let line = page.lines().find(|line| line.starts_with(name))?;
            line.rsplit(' ').next()?.parse().ok()
        };
        of("flowtap_interface_packets_total").is_some_and(|packets| packets >= 40)
            && of("flowtap_interface_hardware_stamps_total") == Some(0)
    });
    let summary = live.stop();
    complete(&summary);
    assert_eq!(summary["protocols"]["icmp"]["packets"], 40);
    assert_eq!(summary["time_anomalies"], 0);
}

#[test]
fn silence_is_said_and_its_end_too() {
    let Some(lab) = Lab::or_skip("silence", &["ping"], LinkOptions::quiet()) else { return };
    let path = captures().join("dns.pcap");
    let path = path.to_str().unwrap();
    let mut live = lab.listen(&["--silent-after", "2s"]);
    lab.replay(&["--speed", "max", path]);
    live.wait_for("no packet for 2 s");
    lab.replay(&["--speed", "max", path]);
    live.wait_for("packets come in again");
    live.stop();
}

#[test]
fn an_interface_that_comes_later_than_the_others_is_waited_for() {
    let Some(lab) = Lab::or_skip("later", &["ping"], LinkOptions::default()) else { return };
    let link = |space, args: &[&str]| {
        lab.net.run(space, ["ip"].iter().chain(args));
    };
    let mut live = lab.listen_on(1, &[lab.interface()], &["-i", "later0"]);
    live.wait_for("later0 is not there yet; waiting for it");
    lab.net.run(0, ["ping", "-q", "-f", "-c", "100", &lab.link.ipv4[1]]);
    link(1, &["link", "add", "later0", "type", "veth", "peer", "name", "later1"]);
    link(1, &["link", "set", "later1", "netns", lab.net.name(0)]);
    link(1, &["address", "add", "10.199.0.2/24", "dev", "later0"]);
    link(1, &["link", "set", "later0", "up"]);
    link(0, &["address", "add", "10.199.0.1/24", "dev", "later1"]);
    link(0, &["link", "set", "later1", "up"]);
    live.wait_for("later0 is back");
    lab.net.run(0, ["ping", "-q", "-c", "3", "-i", "0.1", "10.199.0.2"]);
    let summary = live.stop();
    assert_eq!(summary["protocols"]["icmp"]["packets"], 206);
    let late = &summary["capture"]["interfaces"][1];
    assert!(late["name"] == "later0" && late["packets"].as_u64() >= Some(6), "{late}");
}

#[test]
fn an_interface_that_is_not_there_is_named_with_those_that_are() {
    let Some(net) = Netns::or_skip("names", 1, &[]) else { return };
    let output =
        net.command(0, [env!("CARGO_BIN_EXE_flowtap"), "live", "-i", "eth77"]).output().unwrap();
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("eth77: there is no such interface (there are: lo)"));
}

#[test]
fn over_loopback_each_packet_comes_once() {
    let Some(net) = Netns::or_skip("loopback", 1, &["ping"]) else { return };
    let lab = Lab {
        dir: Dir::new(),
        link: Link {
            names: [String::new(), "lo".to_owned()],
            macs: Default::default(),
            ipv4: Default::default(),
            ipv6: Default::default(),
        },
        net,
    };
    let live = lab.listen_on(0, &["lo"], &[]);
    lab.net.run(0, ["ping", "-q", "-f", "-c", "500", "127.0.0.1"]);
    assert_eq!(complete(&live.stop()), 1000);
}
