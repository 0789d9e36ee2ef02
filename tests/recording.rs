//! Recordings as others see them: flowtap itself reading one, Wireshark's
//! reader, a process that was killed, a disk that is full.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flowtap::engine::{RunOptions, run};
use flowtap::flow::FlowRecord;
use flowtap::input::{Block, BlockBytes, Frame, Input, InputOptions, Interface, Shed};
use flowtap::output::recording::{
    About, LEAST_RING_BYTES, Recording, RecordingCounters, RecordingSettings, files_in,
};
use flowtap::packet::LinkType;
use serde_json::Value;

/// Records captures as if they came off a wire.
fn record(captures: &[PathBuf], dir: &Path) -> RecordingCounters {
    // A test may be faster than the disk: room for all of it.
    let settings =
        RecordingSettings { queue_chunks: 4_096, ..RecordingSettings::new(dir, 1 << 30) };
    let (recording, mut tap) = Recording::start(&settings).expect("a folder");
    let mut input = Input::open(captures, InputOptions::default()).expect("captures");
    while let Some(block) = input.next_block() {
        tap.block(&block, input.interfaces());
    }
    drop(tap);
    let counters = recording.finish().0;
    assert_eq!(counters.lost_packets, 0);
    assert_eq!(counters.packets, input.counters().frames);
    counters
}

fn ring(dir: &Path) -> Vec<PathBuf> {
    files_in(dir).expect("a folder").into_iter().map(|(_, path)| path).collect()
}

/// Flow records and alerts, as they would be written.
fn found_in(captures: &[PathBuf]) -> (Vec<FlowRecord>, String) {
    let input = Input::open(captures, InputOptions::default()).expect("captures");
    let mut flows = Vec::new();
    let options = RunOptions { workers: 2, ..RunOptions::default() };
    let report = run(input, &options, &mut |record: &FlowRecord| flows.push(record.clone()));
    (flows, serde_json::to_string(&report.alerts).expect("JSON"))
}

#[test]
fn flows_and_alerts_of_a_recording_are_those_of_what_was_recorded() {
    let mut recorded = 0;
    for capture in common::all_captures("recording parity") {
        let too_long = fs::metadata(&capture).expect("a capture").len() > 4 << 20;
        if too_long {
            continue;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let captures = [capture.clone()];
        let counters = record(&captures, dir.path());
        if counters.packets == 0 {
            continue;
        }
        let (flows, alerts) = found_in(&captures);
        let (same_flows, same_alerts) = found_in(&ring(dir.path()));
        assert!(flows == same_flows, "flows of {}", capture.display());
        assert_eq!(alerts, same_alerts, "{}", capture.display());
        recorded += 1;
    }
    assert!(recorded > 30, "{recorded}");
}

/// Lines of what tshark says of a capture; `None` without tshark.
fn tshark(capture: &Path, filter: &str, fields: &[&str]) -> Option<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-n").arg("-r").arg(capture).args(["-Y", filter, "-T", "fields"]);
    command.args(["-E", "separator=;", "-o", "ip.defragment:FALSE"]);
    fields.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    let Ok(output) = command.output() else {
        eprintln!("SKIPPED: there is no tshark; nothing was compared");
        return None;
    };
    assert!(output.status.success(), "{}", common::text(&output.stderr));
    Some(common::text(&output.stdout).lines().map(str::to_owned).collect())
}

#[test]
fn wireshark_reads_what_was_recorded() {
    let captures = [common::captures().join("crafted-format-sections.pcapng")];
    let dir = tempfile::tempdir().expect("a folder");
    record(&captures, dir.path());
    let files = ring(dir.path());
    let mut expected = Vec::new();
    let mut input = Input::open(&captures, InputOptions::default()).expect("a capture");
    while let Some(block) = input.next_block() {
        expected.extend(block.frames.iter().map(|frame| {
            let (second, fraction) = (frame.time_ns / 1_000_000_000, frame.time_ns % 1_000_000_000);
            let Frame { wire_bytes, captured_bytes, interface, .. } = *frame;
            format!("{second}.{fraction:09};{wire_bytes};{captured_bytes};{interface}")
        }));
    }
    assert!(input.interfaces().len() > 1 && files.len() == 1);
    let fields = ["frame.time_epoch", "frame.len", "frame.cap_len", "frame.interface_id"];
    let Some(seen) = tshark(&files[0], "frame", &fields) else { return };
    assert_eq!(seen, expected);
}

/// Makes a flood from random sources behind one MAC.
fn spoofed_flood(dir: &common::Dir) -> PathBuf {
    let capture = dir.path("spoofed.pcap");
    let arguments = ["lab", "synth", "flood", "--packets", "40000", "--seconds", "3", "-o"];
    let made = dir.command(arguments).arg(&capture).output().expect("the binary starts");
    assert!(made.status.success(), "{}", common::text(&made.stderr));
    capture
}

#[test]
fn the_packets_of_an_alert_are_written_with_its_id() {
    let dir = common::Dir::new();
    let kept = |name: &str| common::captures().join(name);
    for (capture, kind, field) in [
        (kept("hping3-udp-flood.pcap.zst"), "address", "ip.addr"),
        (kept("hping3-carpet.pcap.zst"), "prefix", "ip.addr"),
        (spoofed_flood(&dir), "mac", "eth.addr"),
    ] {
        let run = format!("run-{kind}");
        let path = capture.to_str().expect("a path");
        let summary = dir.summary([path, "--out", &run]);
        let alert = &summary["alerts"][0];
        let (id, entity) = (alert["id"].as_str().expect("id"), &alert["entity"]);
        assert_eq!(entity["kind"], kind);
        let ring = format!("ring-{kind}");
        record(std::slice::from_ref(&capture), &dir.path(&ring));

        let show = |out: &str, from: &[&str]| {
            let mut command = dir.command(["show", "alert", id, "--run", &run, "--json", "--pcap"]);
            let output = command.arg(out).args(from).output().expect("the binary starts");
            assert!(output.status.success(), "{}", common::text(&output.stderr));
            serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
        };
        let said = show("out.pcapng", &[]);
        let packets = said["packets"].as_u64().expect("a count");
        assert!(packets > 10_000, "{said}");
        assert_eq!(said["files"][0], serde_json::json!({"path": path, "packets": packets}));
        assert_eq!(show("ring.pcapng", &["--from", &ring])["packets"], packets);
        let read = |name: &str| found_in(&[dir.path(name)]);
        assert!(read("out.pcapng") == read("ring.pcapng"));

        // All of these captures are shorter than the span around the alert.
        let filter = format!("{field} == {}", entity["id"].as_str().expect("a name"));
        let Some(expected) = tshark(&capture, &filter, &["frame.time_epoch", "ip.src"]) else {
            return;
        };
        let fields = ["frame.time_epoch", "ip.src", "frame.comment"];
        let found = tshark(&dir.path("out.pcapng"), "frame", &fields).expect("tshark is there");
        let commented: Vec<String> = expected.iter().map(|line| format!("{line};{id}")).collect();
        assert_eq!(found.len(), commented.len());
        assert!(found == commented, "{kind}");
    }
}

#[test]
fn a_run_that_names_its_recording_needs_no_more() {
    let dir = common::Dir::new();
    let capture = common::captures().join("hping3-udp-flood.pcap.zst");
    let summary = dir.summary([capture.to_str().expect("a path"), "--out", "run"]);
    record(&[capture], &dir.path("ring"));
    let run = serde_json::json!({"recording": {"dir": dir.path("ring")}}).to_string();
    dir.write("run/run.json", run.as_bytes());
    let id = summary["alerts"][0]["id"].as_str().expect("an alert");
    let output = dir.run(["show", "alert", &id[..8], "--run", "run", "--pcap", "out.pcapng"]);
    let said = common::text(&output.stdout);
    assert!(output.status.success() && said.contains("ring/flowtap-2026"), "{said}");
}

#[test]
fn an_alert_without_packets_says_where_they_were_sought() {
    let dir = common::Dir::new();
    let capture = common::captures().join("hping3-udp-flood.pcap.zst");
    let summary = dir.summary([capture.to_str().expect("a path"), "--out", "run"]);
    let id = summary["alerts"][0]["id"].as_str().expect("an alert");
    let other = common::captures().join("nmap-syn.pcap");
    let mut command = dir.command(["show", "alert", id, "--run", "run", "--pcap", "o.pcapng"]);
    let output = command.arg("--from").arg(&other).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(1));
    let said = common::text(&output.stderr);
    assert!(said.contains("no packet of") && said.contains("nmap-syn.pcap"), "{said}");
    assert!(!dir.path("o.pcapng").exists());
}

const PACKET_BYTES: usize = 200;

/// A block of numbered packets, a microsecond apart.
fn numbered(first: u64, packets: u64) -> Block {
    let mut bytes = Vec::new();
    let mut frames = Vec::new();
    for number in first..first + packets {
        frames.push(Frame {
            time_ns: 1_700_000_000_000_000_000 + number as i64 * 1_000,
            offset: bytes.len() as u32,
            captured_bytes: PACKET_BYTES as u32,
            wire_bytes: PACKET_BYTES as u32,
            link: LinkType::ETHERNET,
            interface: 0,
            flags: 0,
        });
        bytes.extend(number.to_le_bytes());
        bytes.resize(bytes.len() + PACKET_BYTES - 8, 0xee);
    }
    let latest_ns = frames.last().map_or(0, |frame| frame.time_ns);
    let bytes = BlockBytes::Owned(bytes);
    Block {
        sequence: 0,
        first_frame: 0,
        bytes,
        frames,
        closed_before_s: 0,
        latest_ns,
        shed: Shed::Nothing,
    }
}

fn interface() -> [Interface; 1] {
    [Interface {
        file: 0,
        section: 0,
        position: 0,
        name: "eth0".to_owned(),
        description: String::new(),
        link: LinkType::ETHERNET,
        snaplen_bytes: 0,
        tsresol: 9,
        fcs_bytes: None,
        sensor: String::new(),
        clock_synchronised: None,
    }]
}

/// Numbers of the packets in a recording; fails on anything damaged but the end
/// of the last file.
fn numbers(files: &[PathBuf]) -> Vec<u64> {
    let mut numbers = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let last = at + 1 == files.len();
        if last && file.metadata().expect("a file").len() == 0 {
            // Begun and not written to yet; read with its folder it is passed over.
            continue;
        }
        let one = std::slice::from_ref(file);
        let mut input = Input::open(one, InputOptions::default()).expect("a file");
        while let Some(block) = input.next_block() {
            numbers.extend(block.frames.iter().map(|frame| {
                let data = block.bytes.frame(frame);
                assert_eq!(data.len(), PACKET_BYTES);
                u64::from_le_bytes(data[..8].try_into().expect("eight bytes"))
            }));
        }
        let report = &input.reports()[0];
        assert_eq!(report.error, None);
        assert!(report.truncated_records == 0 || last, "{}", report.path);
    }
    numbers
}

const CHILD_DIR: &str = "FLOWTAP_TEST_RECORD_INTO";

#[test]
#[ignore = "the process that another test kills"]
fn records_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let settings = RecordingSettings::new(Path::new(&dir), LEAST_RING_BYTES);
    let (recording, mut tap) = Recording::start(&settings).expect("a folder");
    for block in 0.. {
        tap.block(&numbered(block * 1_000, 1_000), &interface());
        // Not faster than any disk: what is lost is another test's matter.
        while recording.counters().packets + 40_000 < block * 1_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_recording_that_was_killed_is_whole_up_to_its_last_block() {
    let dir = tempfile::tempdir().expect("a folder");
    let test = std::env::current_exe().expect("this program");
    let mut child = Command::new(test)
        .args(["--exact", "records_until_it_is_killed", "--ignored"])
        .env(CHILD_DIR, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("this program starts");
    let started = Instant::now();
    while ring(dir.path()).len() < 4 {
        assert!(started.elapsed() < Duration::from_secs(60), "nothing was recorded");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("SIGKILL");
    child.wait().expect("the child's end");
    let numbers = numbers(&ring(dir.path()));
    assert!(numbers.len() > 10_000, "{}", numbers.len());
    assert!(numbers.windows(2).all(|two| two[0] + 1 == two[1]), "none is missing between");
}

/// A small file system of its own, taken away at the end.
struct Mount(PathBuf);

impl Mount {
    /// Needs root.
    fn new(dir: &Path, size: &str) -> Option<Self> {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(dir);
        let mounted = command.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(dir.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_counted_and_used_again_when_it_has_room() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some(mount) = Mount::new(dir.path(), "size=2m") else {
        eprintln!("SKIPPED a full disk: mounting a file system needs root");
        return;
    };
    let filler = mount.0.join("filler");
    fs::write(&filler, vec![0; 1 << 20]).expect("room");
    let chunk_bytes = 64 << 10;
    let settings =
        RecordingSettings { chunk_bytes, ..RecordingSettings::new(&mount.0, LEAST_RING_BYTES) };
    let (recording, mut tap) = Recording::start(&settings).expect("a folder");
    let wait_for = |packets: u64| {
        let done = |c: RecordingCounters| c.packets + c.lost_packets >= packets;
        let started = Instant::now();
        while !done(recording.counters()) {
            assert!(started.elapsed() < Duration::from_secs(20), "{:?}", recording.counters());
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    // A chunk holds some 270 packets; the last ones wait for their second.
    let mut given = 0;
    for _ in 0..8 {
        tap.block(&numbered(given, 1_000), &interface());
        given += 1_000;
        wait_for(given - 600);
    }
    let full = recording.counters();
    assert!(full.lost_packets > 2_000 && full.write_errors > 5, "{full:?}");
    let told = recording.take_notices();
    assert!(told.len() == 1 && told[0].text.contains("No space left"), "{told:?}");
    fs::remove_file(filler).expect("removed");
    for _ in 0..2 {
        tap.block(&numbered(given, 1_000), &interface());
        given += 1_000;
        wait_for(given - 600);
    }
    drop(tap);
    assert!(recording.take_notices().iter().any(|told| told.about == About::Resumed));
    let counters = recording.finish().0;
    assert_eq!(counters.packets + counters.lost_packets, given);
    assert!(counters.packets > full.packets + 1_000, "{counters:?}");
    assert_eq!(numbers(&ring(&mount.0)).len() as u64, counters.packets);
}
