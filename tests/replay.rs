//! `flowtap replay` over a veth pair, with tcpdump at the other end.
#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod common;
mod support;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{Dir, captures, manifest, text};
use serde_json::Value;
use support::netns::{Link, LinkOptions, Netns};
use support::pcap::{self, Packet};
use support::tcpdump::Tcpdump;

const ETHERNET: u32 = 1;
const SECOND_NS: i64 = 1_000_000_000;

/// Two namespaces, a quiet link, and a folder.
struct Lab {
    net: Netns,
    link: Link,
    dir: Dir,
}

impl Lab {
    fn or_skip(test: &str, options: LinkOptions) -> Option<Self> {
        let mut net = Netns::or_skip(test, 2, &["tcpdump", "setpriv"])?;
        let link = net.join(0, 1, options);
        Some(Self { net, link, dir: Dir::new() })
    }

    /// The link's sending end; the other one is `listen`'s.
    fn interface(&self) -> &str {
        &self.link.names[0]
    }

    fn listen(&self) -> Tcpdump {
        Tcpdump::start(&self.net, 1, &self.link.names[1], &self.dir.path("arrived.pcap"))
    }

    fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let replay = [env!("CARGO_BIN_EXE_flowtap"), "replay", "-i", self.interface()];
        let mut command = self.net.command(0, replay);
        command.args(args);
        command
    }

    fn replay<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.command(args).output().unwrap()
    }

    /// Replays with `--json`, and gives what it says.
    fn report<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Value {
        let output = self.command(["--json"]).args(args).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        report_of(&output)
    }

    /// Packets that arrived at the other end, by the interface's own count.
    fn arrived(&self) -> u64 {
        self.net.counter(1, &self.link.names[1], "rx_packets")
    }

    /// A capture with nanoseconds of packets over this many seconds.
    fn synth(&self, packets: u32, seconds: f64) -> PathBuf {
        let path = self.dir.path("made.pcap");
        let (packets, seconds) = (packets.to_string(), seconds.to_string());
        let output = self.dir.run([
            "lab",
            "synth",
            "many",
            "--flows",
            "50",
            "--format",
            "pcap-ns",
            "--packets",
            &packets,
            "--seconds",
            &seconds,
            "-o",
            "made.pcap",
        ]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        path
    }
}

fn report_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

fn count(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}: {report}"))
}

fn figure(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {report}"))
}

fn packets_of(path: &Path) -> Vec<Packet> {
    pcap::read(path).unwrap().1
}

fn frames(packets: &[Packet]) -> Vec<&[u8]> {
    packets.iter().map(|packet| &packet.bytes[..]).collect()
}

/// Says where they first differ; whole lists of frames help nobody.
fn assert_same_frames(sent: &[&[u8]], arrived: &[Packet]) {
    for (index, (sent, arrived)) in sent.iter().zip(arrived).enumerate() {
        assert!(*sent == arrived.bytes, "frame {index}: sent {sent:02x?}, arrived {arrived:02x?}");
    }
    assert_eq!(sent.len(), arrived.len());
}

#[test]
fn every_whole_ethernet_capture_arrives_byte_for_byte_in_order() {
    let Some(lab) = Lab::or_skip("every_whole_ethernet_capture", LinkOptions::quiet()) else {
        return;
    };
    /// Of each capture: floods repeat themselves.
    const MOST: usize = 4_000;
    let listening = lab.listen();
    let mut expected: Vec<Packet> = Vec::new();
    let mut replayed = 0;
    for entry in manifest() {
        let name = entry["file"].as_str().unwrap();
        let Some((ETHERNET, mut packets)) = pcap::read(&captures().join(name)) else { continue };
        if packets.iter().any(|packet| !packet.is_whole() || packet.bytes.len() > 1_514) {
            continue;
        }
        packets.truncate(MOST);
        let limit = MOST.to_string();
        let report = lab.report([
            OsStr::new("--speed"),
            "max".as_ref(),
            "--limit".as_ref(),
            limit.as_ref(),
            captures().join(name).as_ref(),
        ]);
        assert_eq!(count(&report, "/sent_packets"), packets.len() as u64, "{name}");
        let bytes: usize = packets.iter().map(|packet| packet.bytes.len()).sum();
        assert_eq!(count(&report, "/sent_bytes"), bytes as u64, "{name}");
        expected.append(&mut packets);
        replayed += 1;
    }
    let arrived = listening.finish(expected.len());
    assert_same_frames(&frames(&expected), &arrived);
    // Guards against a comparison of nothing.
    assert!(replayed > 30 && expected.len() > 20_000, "{replayed}: {}", expected.len());
}

#[test]
fn compressed_pcapng_and_standard_input_are_sent_like_files() {
    let Some(lab) = Lab::or_skip("compressed_pcapng_and_standard_input", LinkOptions::quiet())
    else {
        return;
    };
    let plain = captures().join("crafted-ethernet.pcap");
    let original = packets_of(&plain);
    let listening = lab.listen();
    let names =
        ["crafted-ethernet.pcap.gz", "crafted-ethernet.pcap.xz", "crafted-format-be.pcapng"];
    for name in names {
        lab.report([OsStr::new("--speed"), "max".as_ref(), captures().join(name).as_ref()]);
    }
    let output = lab
        .command(["--speed", "max", "--json", "-"])
        .stdin(std::fs::File::open(&plain).unwrap())
        .output()
        .unwrap();
    assert_eq!(count(&report_of(&output), "/sent_packets"), original.len() as u64);
    let arrived = listening.finish(original.len() * 4);
    let expected: Vec<&[u8]> = (0..4).flat_map(|_| frames(&original)).collect();
    assert_same_frames(&expected, &arrived);
}

#[test]
fn several_captures_are_merged_by_time_and_rounds_repeat_them() {
    let Some(lab) = Lab::or_skip("several_captures_are_merged", LinkOptions::quiet()) else {
        return;
    };
    let original = packets_of(&captures().join("iodine.pcap"));
    assert!(original.is_sorted_by(|a, b| a.time_ns < b.time_ns), "needs distinct times");
    let (even, odd): (Vec<_>, Vec<_>) =
        original.iter().cloned().enumerate().partition(|(index, _)| index % 2 == 0);
    let mut paths = Vec::new();
    for (name, half) in [("even.pcap", even), ("odd.pcap", odd)] {
        let packets: Vec<Packet> = half.into_iter().map(|(_, packet)| packet).collect();
        pcap::write(&lab.dir.path(name), ETHERNET, &packets);
        paths.push(lab.dir.path(name));
    }
    let listening = lab.listen();
    let limit = original.len() * 2 + 5;
    let report = lab.report(
        ["--speed", "max", "--loop", "0", "--limit", &limit.to_string()]
            .into_iter()
            .map(OsStr::new)
            .chain(paths.iter().map(|path| path.as_os_str())),
    );
    assert_eq!(report["ended"], "limit");
    assert_eq!((count(&report, "/rounds"), count(&report, "/sent_packets")), (3, limit as u64));
    let arrived = listening.finish(limit);
    let expected: Vec<&[u8]> = (0..3).flat_map(|_| frames(&original)).take(limit).collect();
    assert_same_frames(&expected, &arrived);
}

/// The wall clock's moment at which a report says that the first packet was due.
fn started_ns(report: &Value) -> i64 {
    let started: jiff::Timestamp = report["started"].as_str().unwrap().parse().unwrap();
    i64::try_from(started.as_nanosecond()).unwrap()
}

/// How long it took: what it should at least, and no longer than the latest
/// packet was late. The second is for a machine that stops between two looks
/// at the clock.
fn assert_took(seconds: f64, report: &Value) {
    let took_s = figure(report, "/duration_s");
    let worst_s = figure(report, "/lateness/worst_ns") / 1e9;
    assert!(took_s >= seconds, "took {took_s} s instead of {seconds}");
    assert!(took_s <= seconds + worst_s + 1.0, "took {took_s} s instead of {seconds}: {report}");
}

/// Never early, and late by less than even a busy machine makes half of the
/// packets.
fn assert_on_time(sent: &[Packet], arrived: &[Packet], factor: f64, report: &Value) {
    assert_same_frames(&frames(sent), arrived);
    let start_ns = started_ns(report);
    let mut late_ns: Vec<i64> = sent
        .iter()
        .zip(arrived)
        .map(|(packet, arrived)| {
            let after_ns = (packet.time_ns - sent[0].time_ns) as f64 / factor;
            arrived.time_ns - start_ns - after_ns as i64
        })
        .collect();
    late_ns.sort_unstable();
    // The wall clock may be slewed meanwhile, by at most 0.05 %.
    assert!(late_ns[0] > -SECOND_NS / 1_000, "early by {} ns", -late_ns[0]);
    let median_ns = late_ns[late_ns.len() / 2];
    assert!(median_ns < SECOND_NS / 4, "half of the packets late by {median_ns} ns: {report}");
    let span_ns = sent[sent.len() - 1].time_ns - sent[0].time_ns;
    assert_took(span_ns as f64 / factor / 1e9, report);
    assert!(figure(report, "/lateness/mean_ns") < SECOND_NS as f64 / 4.0, "{report}");
}

#[test]
fn time_stamps_set_the_pace_and_the_phase_in_the_second() {
    let Some(lab) = Lab::or_skip("time_stamps_set_the_pace", LinkOptions::quiet()) else { return };
    let capture = lab.synth(3_000, 1.5);
    let sent = packets_of(&capture);
    let listening = lab.listen();
    let report = lab.report([OsStr::new("--align-second"), capture.as_ref()]);
    let arrived = listening.finish(sent.len());
    assert_eq!(
        started_ns(&report).rem_euclid(SECOND_NS),
        sent[0].time_ns.rem_euclid(SECOND_NS),
        "{report}"
    );
    assert_on_time(&sent, &arrived, 1.0, &report);
}

#[test]
fn ten_times_as_fast_takes_a_tenth_of_the_time() {
    let Some(lab) = Lab::or_skip("ten_times_as_fast", LinkOptions::quiet()) else { return };
    let capture = lab.synth(3_000, 10.0);
    let sent = packets_of(&capture);
    let listening = lab.listen();
    let report = lab.report([OsStr::new("--speed"), "10x".as_ref(), capture.as_ref()]);
    let arrived = listening.finish(sent.len());
    assert_on_time(&sent, &arrived, 10.0, &report);
}

#[test]
fn rates_hold_within_three_percent() {
    let Some(lab) = Lab::or_skip("rates_hold", LinkOptions::quiet()) else { return };
    let capture = lab.synth(4_000, 60.0);
    let sent = packets_of(&capture);
    let bits: usize = sent.iter().map(|packet| packet.bytes.len() * 8).sum();
    // Two seconds each.
    let mbps = bits as f64 / 2e6;
    for (speed, pointer, rate) in [
        ("2kpps".to_owned(), "/packets_per_s", 2_000.0),
        (format!("{mbps}Mbps"), "/bits_per_s", mbps * 1e6),
    ] {
        let report = lab.report([OsStr::new("--speed"), speed.as_ref(), capture.as_ref()]);
        // The last one may have been the latest.
        let took_s = figure(&report, "/duration_s");
        let on_time_s = took_s - figure(&report, "/lateness/worst_ns") / 1e9;
        let measured = figure(&report, pointer);
        assert!(measured < rate * 1.03, "{speed}: {report}");
        assert!(measured * took_s / on_time_s > rate * 0.97, "{speed}: {report}");
        assert!(figure(&report, "/lateness/mean_ns") < SECOND_NS as f64 / 4.0, "{report}");
    }
    assert_eq!(lab.arrived(), 2 * sent.len() as u64);
}

#[test]
fn what_would_not_be_what_was_captured_is_not_sent() {
    let Some(lab) =
        Lab::or_skip("what_would_not_be", LinkOptions { mtu: 600, ..LinkOptions::quiet() })
    else {
        return;
    };
    let raw = captures().join("crafted-raw.pcap");
    let report = lab.report([OsStr::new("--speed"), "max".as_ref(), raw.as_ref()]);
    assert_eq!(count(&report, "/not_sent/not_ethernet"), packets_of(&raw).len() as u64);
    assert_eq!((count(&report, "/sent_packets"), lab.arrived()), (0, 0));

    let web = captures().join("web.pcap");
    let longer = packets_of(&web).iter().filter(|packet| packet.bytes.len() > 614).count() as u64;
    let report = lab.report([OsStr::new("--speed"), "max".as_ref(), web.as_ref()]);
    assert!(longer > 0);
    assert_eq!(count(&report, "/not_sent/too_long"), longer);
    assert_eq!(count(&report, "/packets"), packets_of(&web).len() as u64);
    assert_eq!(count(&report, "/packets") - longer, lab.arrived());
}

#[test]
fn cut_frames_are_left_out_or_filled_up_with_zeros() {
    let Some(lab) = Lab::or_skip("cut_frames", LinkOptions::quiet()) else { return };
    let path = captures().join("web-snaplen-96.pcap");
    let original: Vec<Packet> =
        packets_of(&path).into_iter().filter(|packet| packet.wire_bytes <= 1_514).collect();
    let (whole, cut): (Vec<_>, Vec<_>) = original.iter().cloned().partition(Packet::is_whole);
    assert!(!whole.is_empty() && !cut.is_empty());
    let listening = lab.listen();
    let args = [OsStr::new("--speed"), "max".as_ref(), path.as_ref()];
    let report = lab.report(args);
    assert_eq!(count(&report, "/not_sent/cut"), cut.len() as u64);
    assert_eq!(count(&report, "/padded_packets"), 0);
    let report = lab.report([OsStr::new("--pad")].iter().chain(&args));
    assert_eq!(count(&report, "/not_sent/cut"), 0);
    assert_eq!(count(&report, "/padded_packets"), cut.len() as u64);

    let mut filled = original;
    filled.iter_mut().for_each(|packet| packet.bytes.resize(packet.wire_bytes, 0));
    let expected = [frames(&whole), frames(&filled)].concat();
    assert_same_frames(&expected, &listening.finish(expected.len()));
}

#[test]
fn a_frame_check_sequence_is_left_to_the_interface() {
    let Some(lab) = Lab::or_skip("a_frame_check_sequence", LinkOptions::quiet()) else { return };
    /// pcap's link type field: four bytes of check sequence, and that it is so.
    const WITH_FCS: u32 = ETHERNET | 0x0400_0000 | 2 << 28;
    let original = packets_of(&captures().join("dns.pcap"));
    let mut with_fcs = original.clone();
    for packet in &mut with_fcs {
        packet.bytes.extend([0xde, 0xad, 0xbe, 0xef]);
        packet.wire_bytes += 4;
    }
    let path = lab.dir.path("fcs.pcap");
    pcap::write(&path, WITH_FCS, &with_fcs);
    let listening = lab.listen();
    lab.report([OsStr::new("--speed"), "max".as_ref(), path.as_ref()]);
    assert_same_frames(&frames(&original), &listening.finish(original.len()));
}

#[test]
fn an_interface_that_leads_out_is_refused_unless_told() {
    let Some(lab) = Lab::or_skip("an_interface_that_leads_out", LinkOptions::default()) else {
        return;
    };
    let path = captures().join("dns.pcap");
    let args = [OsStr::new("--speed"), "max".as_ref(), path.as_ref()];
    let refused = |why: &str| {
        let output = lab.replay(args);
        assert_eq!(output.status.code(), Some(2), "{why}");
        assert!(text(&output.stderr).contains("default route"), "{}", text(&output.stderr));
    };
    let ip = |arguments: &str| {
        lab.net.run(0, std::iter::once("ip").chain(arguments.split_whitespace()));
    };
    let name = lab.interface();
    lab.report(args);
    ip(&format!("route add default via {} dev {name}", lab.link.ipv4[1]));
    refused("IPv4");
    ip("route del default");
    ip(&format!("-6 route add default via {} dev {name}", lab.link.ipv6[1]));
    refused("IPv6");
    ip("-6 route del default");
    lab.report(args);
    // By a bridge that it is a port of.
    ip("link add br0 type bridge");
    ip(&format!("link set {name} master br0"));
    ip("link set br0 up");
    ip("route add default dev br0");
    refused("bridge");
    let sent = lab.report([OsStr::new("--despite-default-route")].iter().chain(&args));
    assert_eq!(count(&sent, "/sent_packets"), packets_of(&path).len() as u64);
}

#[test]
fn what_is_wrong_is_said_and_is_in_the_exit_status() {
    let Some(lab) = Lab::or_skip("what_is_wrong_is_said", LinkOptions::quiet()) else { return };
    let path = captures().join("dns.pcap");
    let fails = |output: Output, status: i32, words: &str| {
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert!(said.contains(words), "{said}");
    };
    let capture = path.to_str().unwrap();
    let other = [env!("CARGO_BIN_EXE_flowtap"), "replay", "-i", "nowhere0", capture];
    fails(lab.net.command(0, other).output().unwrap(), 2, "nowhere0");
    fails(lab.replay(["--speed", "fast", capture]), 2, "50000pps");
    fails(lab.replay(["--loop", "2", "-"]), 2, "only once");
    fails(lab.replay(["/nowhere/at.all"]), 1, "/nowhere/at.all");
    // What can be read is sent all the same.
    let before = lab.arrived();
    fails(lab.replay(["--speed", "max", capture, "/nowhere/at.all"]), 1, "/nowhere/at.all");
    assert_eq!(lab.arrived() - before, packets_of(&path).len() as u64);
    // Root, but without the right to send.
    let unprivileged = ["setpriv", "--bounding-set", "-net_raw", env!("CARGO_BIN_EXE_flowtap")];
    let mut command = lab.net.command(0, unprivileged);
    command.args(["replay", "-i", lab.interface(), capture]);
    fails(command.output().unwrap(), 1, "CAP_NET_RAW");
}

#[test]
fn loopback_takes_frames_and_people_get_a_summary() {
    let Some(lab) = Lab::or_skip("loopback_takes_frames", LinkOptions::quiet()) else { return };
    let path = captures().join("dns.pcap");
    let replay = [env!("CARGO_BIN_EXE_flowtap"), "replay", "-i", "lo", "--speed", "max"];
    let output = lab.net.run(0, replay.iter().map(OsStr::new).chain([path.as_os_str()]));
    let sent = packets_of(&path).len() as u64;
    assert!(text(&output.stdout).starts_with(&format!("{sent} packets, ")));
    assert_eq!(lab.net.counter(0, "lo", "tx_packets"), sent);
    let output =
        lab.replay([OsStr::new("--quiet"), "--speed".as_ref(), "max".as_ref(), path.as_ref()]);
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty());
}

#[test]
fn a_signal_ends_it_in_order_with_a_summary() {
    let Some(lab) = Lab::or_skip("a_signal_ends_it", LinkOptions::quiet()) else { return };
    let path = captures().join("dns.pcap");
    for signal in ["INT", "TERM"] {
        let before = lab.arrived();
        let mut command = lab.command(["--json", "--speed", "0.1pps"]);
        command.arg(&path).stdout(Stdio::piped());
        let mut running = lab.net.spawn(command);
        // The first packet leaves at once; the next would in ten seconds.
        support::netns::wait_for("a packet", || lab.arrived() > before);
        running.signal(signal);
        assert_eq!(running.wait(Duration::from_secs(5)).code(), Some(0));
        let report: Value = serde_json::from_reader(running.child.stdout.take().unwrap()).unwrap();
        assert_eq!((&report["ended"], count(&report, "/sent_packets")), (&"stopped".into(), 1));
    }
}

#[test]
fn a_link_that_is_down_for_a_while_loses_nothing() {
    let Some(lab) = Lab::or_skip("a_link_that_is_down", LinkOptions::quiet()) else { return };
    let path = captures().join("nmap-syn.pcap");
    let far = lab.link.names[1].as_str();
    lab.net.run(1, ["ip", "link", "set", far, "down"]);
    let mut command = lab.command(["--json", "--speed", "max"]);
    command.arg(&path).stdout(Stdio::piped());
    let mut running = lab.net.spawn(command);
    std::thread::sleep(Duration::from_millis(300));
    lab.net.run(1, ["ip", "link", "set", far, "up"]);
    assert_eq!(running.wait(Duration::from_secs(15)).code(), Some(0));
    let report: Value = serde_json::from_reader(running.child.stdout.take().unwrap()).unwrap();
    let sent = packets_of(&path).len() as u64;
    assert!(count(&report, "/full_queue_waits") > 0, "{report}");
    assert_eq!((count(&report, "/sent_packets"), lab.arrived()), (sent, sent));
}

#[test]
fn an_interface_that_goes_away_ends_it_with_what_was_sent() {
    let Some(lab) = Lab::or_skip("an_interface_that_goes_away", LinkOptions::quiet()) else {
        return;
    };
    let path = captures().join("dns.pcap");
    let mut command = lab.command(["--json", "--speed", "5pps"]);
    command.arg(&path).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = lab.net.spawn(command);
    support::netns::wait_for("a packet", || lab.arrived() > 0);
    lab.net.run(0, ["ip", "link", "del", lab.interface()]);
    let output = finished(running);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(lab.interface()), "{}", text(&output.stderr));
    let report = report_of(&output);
    assert_eq!(report["ended"], "failed");
    let (sent, all) = (count(&report, "/sent_packets"), packets_of(&path).len() as u64);
    assert!((1..all).contains(&sent), "{report}");
}

fn finished(mut running: support::netns::Running) -> Output {
    use std::io::Read as _;
    let status = running.wait(Duration::from_secs(15));
    let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
    running.child.stdout.take().unwrap().read_to_end(&mut output.stdout).unwrap();
    running.child.stderr.take().unwrap().read_to_end(&mut output.stderr).unwrap();
    output
}
