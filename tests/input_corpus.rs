//! The readers against captures that nobody here wrote, and the counts that
//! independent tools made of them. Needs FLOWTAP_CORPUS.

#![expect(clippy::expect_used, reason = "a test that can't be set up has to stop")]

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
    linktypes: String,
    packets_capinfos: Option<u64>,
    packets_own: Option<u64>,
    wire_bytes: Option<u64>,
    first_ts: String,
    last_ts: String,
    status: String,
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
                linktypes: field("linktypes").to_owned(),
                packets_capinfos: field("packets_capinfos").parse().ok(),
                packets_own: field("packets_own_parser").parse().ok(),
                wire_bytes: field("wire_bytes").parse().ok(),
                first_ts: field("first_ts").to_owned(),
                last_ts: field("last_ts").to_owned(),
                status: field("status").to_owned(),
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

/// Where our count is not the other tools', and why.
fn expected_packets(row: &Row) -> Option<u64> {
    match row.capture.as_str() {
        // capinfos reads Network Monitor and snoop files; they are refused by name.
        "cicflowmeter__ftpv6-1__6ef818.pcap" | "pcapplusplus__solaris__b03042.snoop" => Some(0),
        // Three sections of a packet each, the second of pcapng version 2.0:
        // capinfos stops there, the other reader takes it for 1.0; it is passed over.
        "gopacket__test901__7e4c10.pcapng" | "gopacket__test901__429b1c.pcapng" => Some(2),
        _ => row.packets_capinfos.or(row.packets_own),
    }
}

/// Captures (by the part of their name before the id) with something wrong,
/// and what the report has to say about it.
const NOT_CAPTURES: &[(&str, &str)] = &[
    ("cicflowmeter__ftpv6-1", "Network Monitor"),
    ("pcapplusplus__solaris", "snoop capture"),
    ("vector__coalesced", "text"),
    ("drill__dhcp-big-endian", "text mode"),
    ("drill__dhcp-little-endian", "text mode"),
    ("drill__many-interfaces", "text mode"),
    ("pcaps__evidence02", "tar archive inside gzip"),
    ("pcaps__evidence05", "tar archive inside gzip"),
];

fn nanoseconds(stamp: &str) -> Option<i64> {
    let (seconds, fraction) = stamp.split_once('.')?;
    let fraction = format!("{fraction:0<9}");
    let seconds: i64 = seconds.parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction.parse().ok()?)
}

#[test]
fn every_capture_has_the_packets_that_others_count() {
    let Some(corpus) = corpus() else { return };
    let rows = rows(&corpus);
    assert!(rows.len() > 100, "only {} captures in the catalogue", rows.len());
    let mut differences = Vec::new();
    let mut times_compared = 0;
    for row in &rows {
        let found = read(&corpus.join("captures").join(&row.capture), Mapping::Auto);
        let mut differ = |what: &str, ours: String, theirs: String| {
            if ours != theirs {
                differences.push(format!("{}: {what} {ours}, not {theirs}", row.capture));
            }
        };
        let packets = expected_packets(row);
        differ("packets", format!("{:?}", Some(found.frames)), format!("{packets:?}"));
        if packets != row.packets_capinfos {
            continue;
        }
        // Wire lengths over 16 MiB are replaced by what was captured, and counted.
        // capinfos takes the four bytes of its pseudo header off SunATM frames.
        let sun_atm = row.linktypes == "SUNATM";
        if let Some(wire_bytes) = row.wire_bytes
            && found.length_anomalies == 0
        {
            let wire_bytes = wire_bytes + if sun_atm { 4 * found.frames } else { 0 };
            differ("wire bytes", found.wire_bytes.to_string(), wire_bytes.to_string());
        }
        // Stamps out of their range are replaced, and counted.
        let stamps = (nanoseconds(&row.first_ts), nanoseconds(&row.last_ts));
        if let (Some(first), Some(last)) = stamps
            && found.time_anomalies == 0
        {
            times_compared += 1;
            differ("first", format!("{:?}", found.first_ns), format!("{:?}", Some(first)));
            differ("last", format!("{:?}", found.latest_ns), format!("{:?}", Some(last)));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(times_compared > rows.len() * 8 / 10, "only {times_compared} time ranges compared");
}

#[test]
fn what_is_no_capture_is_named_and_nothing_else_is_refused() {
    let Some(corpus) = corpus() else { return };
    for row in rows(&corpus) {
        let found = read(&corpus.join("captures").join(&row.capture), Mapping::Auto);
        let error = found.report.error.as_ref();
        let named = NOT_CAPTURES.iter().find(|(name, _)| row.capture.starts_with(name));
        match (named, error.map(|e| &e.kind)) {
            (Some((_, words)), Some(kind @ InputErrorKind::NotACapture { .. })) => {
                assert!(kind.to_string().contains(words), "{}: {kind}", row.capture);
            }
            (Some(_), other) => panic!("{}: {other:?}", row.capture),
            (None, None) => {}
            (None, Some(InputErrorKind::Damaged { .. })) => {
                assert!(row.status.contains("absurd caplen"), "{}: {}", row.capture, row.status);
            }
            (None, Some(InputErrorKind::SectionVersion { .. })) => {
                assert!(row.capture.contains("test901"), "{}", row.capture);
            }
            (None, Some(other)) => panic!("{}: {other}", row.capture),
        }
        if row.status == "ok" {
            assert_eq!(found.report.truncated_records, 0, "{}", row.capture);
        }
        assert!(!row.format.starts_with("pcap") || !found.report.format.is_empty());
    }
}

#[test]
fn mapped_and_read_captures_are_the_same() {
    let Some(corpus) = corpus() else { return };
    for row in rows(&corpus).iter().step_by(3) {
        let path = corpus.join("captures").join(&row.capture);
        let [mapped, read] = [Mapping::Always, Mapping::Never].map(|m| read(&path, m));
        assert_eq!(mapped.report, read.report);
        assert_eq!((mapped.first_ns, mapped.latest_ns), (read.first_ns, read.latest_ns));
        assert_eq!(mapped.time_anomalies, read.time_anomalies, "{}", row.capture);
    }
}

#[test]
fn the_whole_corpus_merged_loses_nothing() {
    let Some(corpus) = corpus() else { return };
    let names: Vec<String> = rows(&corpus).into_iter().map(|row| row.capture).collect();
    let alone: u64 = names
        .iter()
        .map(|name| read(&corpus.join("captures").join(name), Mapping::Auto).frames)
        .sum();
    let paths: Vec<PathBuf> = names.iter().map(|name| corpus.join("captures").join(name)).collect();
    let mut input = Input::open(&paths, InputOptions::default()).expect("paths were named");
    while input.next_block().is_some() {}
    assert_eq!(input.counters().frames, alone);
}
