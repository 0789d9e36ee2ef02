//! SIGHUP while `flowtap live` is under load: what can change does, and not a
//! packet or a flow is lost.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod common;
mod support;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixDatagram;
use std::process::{ChildStderr, Stdio};
use std::time::{Duration, Instant};

use common::{Dir, text};
use serde_json::Value;
use support::netns::{Link, LinkOptions, Netns, Running};

const FLOWTAP: &str = env!("CARGO_BIN_EXE_flowtap");

/// High enough that no flood is one.
const DEAF: &str = "[detect]\npacket_rate_threshold = 1_000_000_000\n\
                    unanswered_rate_threshold = 1_000_000_000\n";

struct Lab {
    net: Netns,
    link: Link,
    dir: Dir,
}

impl Lab {
    fn or_skip(test: &str, programs: &[&str]) -> Option<Self> {
        let mut net = Netns::or_skip(test, 2, programs)?;
        let link = net.join(0, 1, LinkOptions::quiet());
        Some(Self { net, link, dir: Dir::new() })
    }

    fn configure(&self, toml: &str) {
        // As editors do it.
        let new = self.dir.write("flowtap.toml.new", toml.as_bytes());
        std::fs::rename(new, self.dir.path("flowtap.toml")).unwrap();
    }

    fn listen(&self, args: &[&str]) -> Live {
        let mut command = self.net.command(1, [FLOWTAP, "live", "--json"]);
        command.args(args).args(["-i", &self.link.names[1]]).current_dir(self.dir.path("."));
        command.env("XDG_STATE_HOME", self.dir.path("state"));
        command.env("NOTIFY_SOCKET", self.dir.path("notify"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = self.net.spawn(command);
        let said = BufReader::new(running.child.stderr.take().unwrap());
        let mut live = Live { running, said, lines: Vec::new() };
        live.wait_for("listening on");
        live
    }

    fn synth(&self, kind: &str, packets: u64, more: &[&str]) {
        let name = format!("{kind}.pcap");
        let packets = packets.to_string();
        let made = ["lab", "synth", kind, "--packets", &packets, "-o", &name];
        let output = self.dir.run(made.iter().chain(more));
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    /// Sends a capture of [`Self::synth`].
    fn send(&self, kind: &str, speed: &str) -> Running {
        let mut command = self.net.command(0, [FLOWTAP, "replay", "--json", "--speed", speed]);
        command.args(["-i", &self.link.names[0]]).arg(self.dir.path(&format!("{kind}.pcap")));
        command.stdout(Stdio::piped());
        self.net.spawn(command)
    }
}

/// Waits for a replay; what it sent.
fn sent(mut replay: Running) -> u64 {
    let mut json = String::new();
    replay.child.stdout.take().unwrap().read_to_string(&mut json).unwrap();
    assert!(replay.wait(Duration::from_secs(60)).success());
    serde_json::from_str::<Value>(&json).unwrap()["sent_packets"].as_u64().unwrap()
}

struct Live {
    running: Running,
    said: BufReader<ChildStderr>,
    lines: Vec<String>,
}

impl Live {
    /// Waits for a line that holds `what`.
    fn wait_for(&mut self, what: &str) -> String {
        let start = Instant::now();
        loop {
            let mut line = String::new();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "no '{what}': {:?}", self.lines);
            self.lines.push(line.clone());
            if line.contains(what) {
                return line;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "no '{what}': {:?}", self.lines);
        }
    }

    fn reload(&mut self) -> String {
        self.running.signal("HUP");
        self.wait_for("flowtap.toml")
    }

    /// Ends it in order; its summary.
    fn stop(mut self) -> Value {
        self.running.signal("INT");
        let mut json = String::new();
        self.running.child.stdout.take().unwrap().read_to_string(&mut json).unwrap();
        assert!(self.running.wait(Duration::from_secs(30)).success());
        serde_json::from_str(&json).unwrap()
    }
}

#[test]
fn under_load_thresholds_change_and_no_packet_and_no_flow_is_lost() {
    let Some(lab) = Lab::or_skip("reload under load", &["curl"]) else { return };
    let manager = UnixDatagram::bind(lab.dir.path("notify")).unwrap();
    // Every flow has its packets all over the capture: any cut would show.
    lab.synth("growth", 300_000, &["--flows", "2000"]);
    lab.synth("flood", 60_000, &["--seconds", "3"]);
    lab.configure(DEAF);
    let never = ["--udp-idle", "never", "--tcp-idle", "never", "--tcp-half-open", "never"];
    let mut args = vec!["--config", "flowtap.toml", "--workers", "2", "--metrics", "127.0.0.1:0"];
    args.extend(never);
    args.extend(["--active", "never"]);
    let mut live = lab.listen(&args);
    let metrics =
        live.lines.iter().find_map(|line| line.trim().strip_prefix("flowtap: metrics at "));
    let metrics = metrics.unwrap().to_owned();

    let load = lab.send("growth", "50000pps");
    lab.configure(&format!("home-net = ['192.0.2.0/24']\n{DEAF}"));
    assert!(live.reload().contains("flowtap.toml read again"));
    lab.configure(&format!("{DEAF}[live]\nring-mib = 32\n"));
    assert!(live.reload().contains("read again; takes effect at restart: ring-mib"));
    lab.configure("[detect]\npacket_rate_treshold = 10\n");
    let kept = live.reload();
    assert!(
        kept.contains("configuration kept as it was: flowtap.toml:2: packet_rate_treshold"),
        "{kept}"
    );
    // Many at once do no harm.
    for _ in 0..20 {
        live.running.signal("HUP");
    }
    live.wait_for("kept as it was");
    let mut packets = sent(load);
    // What was in force before the broken file still is.
    packets += sent(lab.send("flood", "20000pps"));
    // Settings hold for seconds that are closed later: these first.
    std::thread::sleep(Duration::from_secs(5));

    lab.configure("quiet = false\n");
    live.running.signal("HUP");
    // The last of the many before may have been told a moment ago.
    live.wait_for("read again");
    assert!(!live.lines.iter().any(|line| line.contains("flood")), "{:?}", live.lines);
    packets += sent(lab.send("flood", "20000pps"));
    live.wait_for("flood");

    let page = text(&lab.net.run(1, ["curl", "-sf", &metrics]).stdout);
    let figure = |name: &str| -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name}: {page}")).trim().parse().unwrap()
    };
    assert!((figure("flowtap_config_reloads_total{result=\"done\"}") - 3.0).abs() < 0.1);
    assert!(figure("flowtap_config_reloads_total{result=\"failed\"}") >= 2.0);
    assert!(figure("flowtap_config_last_reload_timestamp_seconds") > 1.7e9);

    let summary = live.stop();
    let capture = &summary["capture"];
    let drops = |name: &str| capture[name].as_u64().unwrap();
    let lost = drops("kernel_drops") + drops("interface_drops");
    assert_eq!(summary["packets"].as_u64().unwrap() + lost, packets, "the ledger is exact");
    assert_eq!(lost, 0);
    assert_eq!(summary["flows"], summary["conversations"], "no flow was cut");
    let floods = summary["alerts"].as_array().unwrap().iter();
    assert!(floods.filter(|a| a["evidence"]["rule"]["threshold"] == 10_000).count() > 0);

    // The manager heard of each, in order.
    manager.set_nonblocking(true).unwrap();
    let mut heard = Vec::new();
    let mut message = [0; 4096];
    while let Ok(length) = manager.recv(&mut message) {
        heard.push(text(&message[..length]));
    }
    assert!(heard[0].starts_with("READY=1"), "{heard:?}");
    for pair in heard[1..].chunks(2).take(4) {
        assert!(pair[0].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{heard:?}");
        assert!(pair[1].starts_with("READY=1\nSTATUS=listening on"), "{heard:?}");
    }
}

#[test]
fn what_is_allowed_from_now_on_is_not_raised() {
    let Some(lab) = Lab::or_skip("allowed", &[]) else { return };
    lab.synth("flood", 30_000, &["--seconds", "2"]);
    let offline = lab.dir.summary(["flood.pcap"]);
    let raised = offline["alerts"].as_array().unwrap();
    assert!(!raised.is_empty(), "the flood is one");
    lab.configure(DEAF);
    let mut live = lab.listen(&["--config", "flowtap.toml"]);
    // In force at the same moment: low thresholds, and who floods is allowed.
    let mut toml = String::new();
    for alert in raised {
        let entity = alert["entity"]["id"].as_str().unwrap();
        toml.push_str(&format!(
            "[[allow]]\ndetector = 'any'\nentity = '{entity}'\nreason = 'drill'\nowner = 'ops'\n\
             expires = 2199-12-31\n"
        ));
    }
    lab.configure(&toml);
    assert!(live.reload().contains("read again"));
    let packets = sent(lab.send("flood", "20000pps"));
    std::thread::sleep(Duration::from_secs(1));
    let summary = live.stop();
    assert_eq!(summary["packets"], packets);
    let suppressed = summary["alerts_allowed"].as_array().unwrap().iter();
    let suppressed: u64 = suppressed.map(|entry| entry["suppressed"].as_u64().unwrap()).sum();
    assert!(suppressed > 0, "{}", summary["alerts_allowed"]);
    assert_eq!(summary["alerts"], serde_json::json!([]));
}

#[test]
fn an_alert_that_goes_on_is_closed_by_an_entry_that_comes() {
    let Some(lab) = Lab::or_skip("allowed by now", &[]) else { return };
    lab.synth("flood", 200_000, &["--seconds", "10"]);
    let raised = lab.dir.summary(["flood.pcap"])["alerts"].clone();
    lab.configure("quiet = false\n");
    let mut live = lab.listen(&["--config", "flowtap.toml", "--out", "run", "--format", "ndjson"]);
    let flood = lab.send("flood", "20000pps");
    live.wait_for("flood");
    let entry = |alert: &Value| {
        let entity = alert["entity"]["id"].as_str().unwrap();
        format!(
            "[[allow]]\ndetector = 'any'\nentity = '{entity}'\nreason = 'drill'\n\
             owner = 'ops'\nexpires = 2199-12-31\n"
        )
    };
    lab.configure(&raised.as_array().unwrap().iter().map(entry).collect::<String>());
    assert!(live.reload().contains("read again"));
    // Either is told first.
    let closed = "allowed by now (drill, by ops, until 2200";
    if !live.lines.iter().any(|line| line.contains(closed)) {
        live.wait_for(closed);
    }
    sent(flood);
    let summary = live.stop();
    let suppressed = summary["alerts_allowed"].as_array().unwrap().iter();
    assert!(suppressed.map(|entry| entry["suppressed_windows"].as_u64().unwrap()).sum::<u64>() > 0);
    for alert in summary["alerts"].as_array().unwrap() {
        assert_eq!(alert["evidence"]["details"]["closed_as_allowed"]["reason"], "drill");
        assert!(alert["evidence"]["active_seconds"].as_u64().unwrap() < 9, "{alert}");
    }
}

#[test]
fn without_a_file_the_signal_ends_nothing() {
    let Some(lab) = Lab::or_skip("SIGHUP", &[]) else { return };
    let mut live = lab.listen(&[]);
    live.running.signal("HUP");
    live.wait_for("configuration kept as it was: no --config names a file");
    live.stop();
}
