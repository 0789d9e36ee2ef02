//! The readers against captures that nobody here wrote, and the counts that
//! independent tools made of them. Needs FLOWTAP_CORPUS.

use std::path::{Path, PathBuf};

use flowtap::input::{FileReport, Input, InputErrorKind, InputOptions, Mapping};

fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("FLOWTAP_CORPUS").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("SKIPPED: FLOWTAP_CORPUS is not set, no real capture was read");
    }
    folder
}

struct Row {
    capture: String,
    format: String,
    packets_capinfos: Option<u64>,
    packets_own: Option<u64>,
    wire_bytes: Option<u64>,
    first_ts: String,
    last_ts: String,
}

fn rows(corpus: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(corpus.join("catalogue.tsv")).expect("catalogue.tsv");
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().expect("a header").split('\t').collect();
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let field = |name: &str| {
                let at = names.iter().position(|n| *n == name).expect("a known column");
                fields.get(at).copied().unwrap_or("")
            };
            Row {
                capture: field("capture").to_owned(),
                format: field("format").to_owned(),
                packets_capinfos: field("packets_capinfos").parse().ok(),
                packets_own: field("packets_own_parser").parse().ok(),
                wire_bytes: field("wire_bytes").parse().ok(),
                first_ts: field("first_ts").to_owned(),
                last_ts: field("last_ts").to_owned(),
            }
        })
        .collect()
}

struct Read {
    frames: u64,
    wire_bytes: u64,
    first_ns: Option<i64>,
    latest_ns: Option<i64>,
    time_anomalies: u64,
    length_anomalies: u64,
    report: FileReport,
}

fn read(path: &Path, mapping: Mapping) -> Read {
    let options = InputOptions { mapping, ..InputOptions::default() };
    let mut input = Input::open(&[path.to_path_buf()], options).expect("a path was named");
    let mut frames = 0;
    while let Some(block) = input.next_block() {
        frames += block.frames.len() as u64;
    }
    let counters = input.counters();
    assert_eq!(frames, counters.frames);
    Read {
        frames,
        wire_bytes: counters.wire_bytes,
        first_ns: counters.first_ns,
        latest_ns: counters.latest_ns,
        time_anomalies: counters.time_anomalies,
        length_anomalies: counters.length_anomalies,
        report: input.reports()[0].clone(),
    }
}

#[test]
fn every_capture_has_the_packets_that_others_count() {
    let Some(corpus) = corpus() else { return };
    let rows = rows(&corpus);
    assert!(rows.len() > 100, "only {} captures in the catalogue", rows.len());
    let mut differences = Vec::new();
    for row in &rows {
        let found = read(&corpus.join("captures").join(&row.capture), Mapping::Auto);
        println!(
            "{} {:?} {:?} frames {} capinfos {:?} own {:?} wire {} {:?} ta {} la {} first {:?} {} last {:?} {} err {:?} warn {:?}",
            row.capture,
            row.format,
            found.report.format,
            found.frames,
            row.packets_capinfos,
            row.packets_own,
            found.wire_bytes,
            row.wire_bytes,
            found.time_anomalies,
            found.length_anomalies,
            found.first_ns,
            row.first_ts,
            found.latest_ns,
            row.last_ts,
            found.report.error.map(|e| e.to_string()),
            found.report.warnings
        );
        if Some(found.frames) != row.packets_capinfos.or(row.packets_own) {
            differences.push(row.capture.clone());
        }
        if row.wire_bytes.is_some() && Some(found.wire_bytes) != row.wire_bytes {
            differences.push(format!("{} wire", row.capture));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}
