//! Files of a run as its users find them: same bytes by any number of threads,
//! written while the capture is still being read, honest about a full disk.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Dir, captures, text};
use flowtap::output::Format;

fn synth(dir: &Dir, args: &[&str]) {
    let mut command = dir.command(["lab", "synth"]);
    let output = command.args(args).output().expect("the binary starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

fn all_formats() -> String {
    Format::ALL.iter().map(|format| format.name()).collect::<Vec<_>>().join(",")
}

/// Of the beacon one direction alone: on such a link nobody answers.
#[test]
fn alerts_are_the_same_with_records_and_without() {
    let dir = Dir::new();
    for (scenario, filter, detector) in [
        ("beacon", "src net 10.0.0.0/8", "beacon"),
        ("held-open", "ip or ip6", "held_open"),
        ("udp-flood", "ip or ip6", "udp_flood"),
    ] {
        let made = dir.command(["lab", "make", scenario, "-o", scenario]).output().expect("starts");
        assert!(made.status.success(), "{}", text(&made.stderr));
        let capture = format!("{scenario}/traffic.pcap");
        let alerts = |more: &[&str]| {
            let summary = dir.summary([more, &["--filter", filter, &capture]].concat());
            summary["alerts"].as_array().expect("alerts").clone()
        };
        let without = alerts(&[]);
        assert!(without.iter().any(|alert| alert["detector"] == detector), "{scenario}");
        assert_eq!(alerts(&["--out", &format!("{scenario}/run")]), without, "{scenario}");
    }
}

#[test]
fn files_of_every_format_are_the_same_bytes_for_any_number_of_workers() {
    let dir = Dir::new();
    let capture = captures().join("demo-udp-flood.pcap.zst");
    let written = |workers: &str| -> Vec<Vec<u8>> {
        let mut command = dir.command(["read", "-q", "--out", workers, "--workers", workers]);
        let command = command.args(["--format", &all_formats()]).arg(&capture);
        let output = command.output().expect("the binary starts");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let folder = dir.path(workers);
        let file = |format: &Format| std::fs::read(folder.join(format.file_name())).expect("file");
        Format::ALL.iter().map(file).collect()
    };
    let alone = written("1");
    // 53,003 records: over a hundred chunks.
    assert_eq!(alone[0].iter().filter(|&&byte| byte == b'\n').count(), 53_003);
    for workers in ["2", "5"] {
        for (format, (one, many)) in Format::ALL.iter().zip(alone.iter().zip(written(workers))) {
            assert!(*one == many, "{} by {workers} workers", format.name());
        }
    }
}

#[test]
fn flows_that_end_along_the_way_are_written_while_reading_goes_on() {
    let dir = Dir::new();
    // One-packet UDP flows, over after 60 s: most of them end before the file does.
    synth(&dir, &["flood", "--packets", "200000", "--seconds", "400", "-o", "long.pcap"]);
    let capture = std::fs::read(dir.path("long.pcap")).expect("synthesised");
    let mut command = dir.command(["read", "-q", "--out", "out", "-"]);
    let mut reader = command.stdin(Stdio::piped()).spawn().expect("the binary starts");
    let mut pipe = reader.stdin.take().expect("piped");
    let (most, last) = capture.split_at(capture.len() - 16);
    pipe.write_all(most).expect("taken");
    let file = dir.path("out").join("flows.ndjson");
    let bytes = || std::fs::metadata(&file).map_or(0, |file| file.len());
    let started = Instant::now();
    while bytes() == 0 && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let early = bytes();
    pipe.write_all(last).expect("taken");
    drop(pipe);
    assert!(reader.wait().expect("it ran").success());
    assert!(early > 0, "nothing was written before the end of the input");
    let flows = std::fs::read_to_string(&file).expect("flows");
    assert_eq!(flows.lines().count(), 200_000);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_and_the_summary_still_written() {
    for format in Format::ALL {
        let dir = Dir::new();
        std::fs::create_dir(dir.path("out")).expect("folder");
        let file = dir.path("out").join(format.file_name());
        std::os::unix::fs::symlink("/dev/full", file).expect("link");
        let mut command = dir.command(["read", "-q", "--out", "out", "--format"]);
        let command = command.arg(format.name()).arg(captures().join("web.pcap"));
        let output = command.output().expect("the binary starts");
        assert!(!output.status.success(), "{}", format.name());
        let said = text(&output.stderr);
        assert!(said.contains("could not be written") && said.contains("No space left"), "{said}");
        let summary = std::fs::read_to_string(dir.path("out/summary.json")).expect("summary");
        assert!(summary.contains("No space left"), "{}: {summary}", format.name());
    }
}
