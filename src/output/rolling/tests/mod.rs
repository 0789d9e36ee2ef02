//! Rolling output as its users see it: what is in the files afterwards.

mod faults;
mod files;
#[cfg(target_os = "linux")]
mod full_disk;
#[cfg(unix)]
mod killed;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::names::{CONN, EVE, FLOWS_CSV, Stem};
use super::*;
use crate::output::FlowWriter;
use crate::output::eve::AlertEvent;
use crate::output::{eve, samples};

pub(super) const SECOND_NS: i64 = 1_000_000_000;
/// 2026-11-21T09:30:00Z.
pub(super) const START_NS: i64 = 1_795_253_400 * SECOND_NS;
/// Long for any disk that works.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) const TEXT_FORMATS: [Format; 4] =
    [Format::Ndjson, Format::Csv, Format::Eve, Format::Zeek];

/// Text in every format, nothing masked.
pub(super) fn options(folder: &Path) -> RollingOptions {
    RollingOptions {
        formats: TEXT_FORMATS.to_vec(),
        privacy: Arc::new(Privacy::none()),
        ..RollingOptions::new(folder)
    }
}

/// Our files in a folder, by name and so by age.
pub(super) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .expect("folder")
        .map(|entry| entry.expect("entry"))
        .filter(|entry| entry.file_name() != RUN_LOCK)
        .map(|entry| {
            let name = entry.file_name().into_string().expect("UTF-8");
            (name, fs::read(entry.path()).expect("file"))
        })
        .collect()
}

/// Lines of all complete files of a kind, one file after another, without
/// heads and ends. Every file must have its own.
pub(super) fn lines(files: &BTreeMap<String, Vec<u8>>, stem: Stem) -> Vec<String> {
    let mut all = Vec::new();
    for (name, bytes) in files {
        let Some(name) = FileName::parse(stem, name) else { continue };
        assert_eq!(name.state, FileState::Complete, "{}", name.text());
        assert!(bytes.ends_with(b"\n"), "half a line in {}", name.text());
        let text = std::str::from_utf8(bytes).expect("text");
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        match stem {
            FLOWS_CSV => assert!(lines.remove(0).starts_with("start,end,"), "{text}"),
            CONN => {
                assert!(text.starts_with("#separator"), "{text}");
                assert!(lines.last().is_some_and(|line| line.starts_with("#close\t")), "{text}");
                lines.retain(|line| !line.starts_with('#'));
            }
            _ => {}
        }
        assert!(!lines.is_empty(), "{} has no record", name.text());
        all.extend(lines);
    }
    all
}

/// What today's writers give for the same records.
pub(super) fn expected(format: Format, records: &[FlowRecord]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("folder");
    let mut writer: Box<dyn FlowWriter> = format.create(folder.path()).expect("file");
    writer.write(records).expect("written");
    writer.finish().expect("finished");
    let text = fs::read_to_string(folder.path().join(format.file_name())).expect("text");
    let head = usize::from(format == Format::Csv);
    text.lines().skip(head).filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// Waits until the writer is done with so many records in each text format.
pub(super) fn settle(output: &RollingOutput, records: usize) {
    let begin = Instant::now();
    let behind = |counters: &KindCounters| {
        let done = counters.written + counters.lost_disk + counters.lost_queue;
        is_flow_text(counters.kind) && done < records as u64
    };
    while output.counters().kinds.iter().any(behind) {
        assert!(begin.elapsed() < PATIENCE, "the queue is not taken");
        thread::yield_now();
    }
}

fn is_flow_text(kind: Kind) -> bool {
    matches!(kind, Kind::Flows(format) if lane_of(format) == LaneId::Text)
}

pub(super) fn eve_alert(alert: &Alert) -> String {
    let mut line = Vec::new();
    eve::write_alerts(&mut line, [AlertEvent::new(alert)]).expect("line");
    String::from_utf8(line).expect("text").trim_end().to_owned()
}

/// Alerts and flows of `eve.json` apart.
pub(super) fn eve_lines(files: &BTreeMap<String, Vec<u8>>) -> (Vec<String>, Vec<String>) {
    lines(files, EVE).into_iter().partition(|line| line.contains(r#""event_type":"alert""#))
}
