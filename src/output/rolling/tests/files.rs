//! What the files hold, when they are begun, and what they are called.

use proptest::prelude::*;

use super::super::names::{ALERTS, FLOWS_NDJSON};
use super::*;

/// What an owner may do.
#[derive(Clone, Debug)]
enum Step {
    Records(usize),
    Alert,
    /// So many seconds later.
    Second(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1usize..1500).prop_map(Step::Records),
        1 => Just(Step::Alert),
        4 => prop_oneof![Just(1), 0..200i64].prop_map(Step::Second),
    ];
    prop::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn all_files_together_are_what_one_file_would_be(
        steps in steps(), every_s in prop::option::of(1u64..120),
        bytes in prop::option::of(1000u64..300_000), threads in 1usize..4, seed: u64,
    ) {
        let folder = tempfile::tempdir().expect("folder");
        let rotation = Rotation { every: every_s.map(Duration::from_secs), bytes };
        let options = RollingOptions { rotation, threads, ..options(folder.path()) };
        let mut output = RollingOutput::open(&options, START_NS).expect("opened");
        let (mut records, mut alerts) = (Vec::new(), Vec::new());
        let mut now_ns = START_NS;
        for step in &steps {
            match step {
                Step::Records(count) => {
                    for _ in 0..*count {
                        // Few different ones: making them takes longer than writing them.
                        let record = samples::random(seed.wrapping_add(records.len() as u64 % 50));
                        output.record(record.clone());
                        records.push(record);
                    }
                }
                Step::Alert => {
                    let alert = Alert { revision: alerts.len() as u32 + 1, ..samples::alert() };
                    output.alert(&alert);
                    alerts.push(alert);
                }
                Step::Second(seconds) => {
                    now_ns += seconds * SECOND_NS;
                    output.second(now_ns);
                }
            }
        }
        let finished = output.finish(PATIENCE);
        prop_assert!(finished.complete && finished.events.is_empty(), "{:?}", finished.events);
        let files = files(folder.path());
        for format in [Format::Ndjson, Format::Csv, Format::Zeek] {
            let stem = Kind::Flows(format).stem();
            prop_assert_eq!(lines(&files, stem), expected(format, &records), "{}", format.name());
        }
        let (eve_alerts, eve_flows) = eve_lines(&files);
        prop_assert_eq!(eve_flows, expected(Format::Eve, &records));
        prop_assert_eq!(eve_alerts, alerts.iter().map(eve_alert).collect::<Vec<_>>());
        let alert_lines: Vec<_> =
            alerts.iter().map(|alert| serde_json::to_string(alert).expect("JSON")).collect();
        prop_assert_eq!(lines(&files, ALERTS), alert_lines);
        // The books agree with the folder.
        let counters = finished.counters;
        prop_assert_eq!((counters.lost(), counters.queued_records), (0, 0));
        prop_assert_eq!(counters.kinds.iter().map(|kind| kind.files).sum::<u64>(), files.len() as u64);
        let sizes: usize = files.values().map(Vec::len).sum();
        prop_assert_eq!(counters.kinds.iter().map(|kind| kind.written_bytes).sum::<u64>(), sizes as u64);
        for kind in &counters.kinds {
            let expected = match kind.kind {
                Kind::Alerts => alerts.len(),
                Kind::Flows(Format::Eve) => records.len() + alerts.len(),
                Kind::Flows(_) => records.len(),
                Kind::Observed(_) => 0,
            };
            prop_assert_eq!(kind.written, expected as u64, "{}", kind.kind.name());
        }
        if let Some(bytes) = bytes {
            // A piece alone may be larger; this one is not.
            let largest = files.iter().filter(|(name, _)| name.starts_with("alerts")).map(|(_, file)| file.len());
            prop_assert!(largest.max().unwrap_or(0) as u64 <= bytes.max(2000));
        }
    }
}

/// One record at the start of each of these seconds; names of the files.
fn names_after(every_s: u64, seconds: &[i64]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("folder");
    let rotation = Rotation { every: Some(Duration::from_secs(every_s)), bytes: None };
    let formats = vec![Format::Ndjson];
    let options = RollingOptions { rotation, formats, ..options(folder.path()) };
    let mut output = RollingOutput::open(&options, START_NS).expect("opened");
    for second in seconds {
        output.second(START_NS + second * SECOND_NS);
        output.record(samples::tcp());
    }
    assert!(output.finish(PATIENCE).complete);
    files(folder.path()).into_keys().collect()
}

#[test]
fn files_change_at_full_minutes_hours_and_days() {
    // From 09:30:00 on.
    assert_eq!(
        names_after(60, &[5, 59, 60, 119, 120, 3600]),
        [
            "flows-20261121T093005Z.ndjson",
            "flows-20261121T093100Z.ndjson",
            "flows-20261121T093200Z.ndjson",
            "flows-20261121T103000Z.ndjson",
        ]
    );
    assert_eq!(
        names_after(3600, &[0, 1799, 1800, 5399]),
        ["flows-20261121T093000Z.ndjson", "flows-20261121T100000Z.ndjson"]
    );
    assert_eq!(
        names_after(86_400, &[0, 52_199, 52_200]),
        ["flows-20261121T093000Z.ndjson", "flows-20261122T000000Z.ndjson"]
    );
    // A clock that is set back begins a file too, and no name is used twice.
    assert_eq!(
        names_after(60, &[60, 0, 60]),
        [
            "flows-20261121T093000Z.ndjson",
            "flows-20261121T093100Z.ndjson",
            "flows-20261121T093100Z_002.ndjson",
        ]
    );
}

#[test]
fn no_file_is_larger_than_asked_for_unless_one_piece_is() {
    let folder = tempfile::tempdir().expect("folder");
    let rotation = Rotation { every: None, bytes: Some(20_000) };
    let options = RollingOptions { rotation, ..options(folder.path()) };
    let mut output = RollingOutput::open(&options, START_NS).expect("opened");
    for n in 1..=200 {
        // A piece a second, each well below the limit.
        output.record(samples::tcp());
        output.second(START_NS);
        settle(&output, n);
    }
    assert!(output.finish(PATIENCE).complete);
    let files = files(folder.path());
    let of =
        |stem: Stem| files.iter().filter(move |(name, _)| FileName::parse(stem, name).is_some());
    assert!(of(FLOWS_NDJSON).count() > 4, "{:?}", files.keys());
    for (name, bytes) in of(FLOWS_NDJSON).chain(of(EVE)).chain(of(FLOWS_CSV)) {
        assert!(bytes.len() <= 20_000, "{name}: {}", bytes.len());
    }
    assert_eq!(lines(&files, FLOWS_NDJSON).len(), 200);
}

#[test]
fn the_file_being_written_is_a_part_and_has_everything_of_the_last_second() {
    let folder = tempfile::tempdir().expect("folder");
    let mut output = RollingOutput::open(&options(folder.path()), START_NS).expect("opened");
    output.record(samples::tcp());
    output.second(START_NS + SECOND_NS);
    settle(&output, 1);
    let now = files(folder.path());
    let names: Vec<_> = now.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "conn-20261121T093000Z.log.part",
            "eve-20261121T093000Z.json.part",
            "flows-20261121T093000Z.csv.part",
            "flows-20261121T093000Z.ndjson.part",
        ]
    );
    let line = &expected(Format::Ndjson, &[samples::tcp()])[0];
    assert_eq!(now[names[3]], format!("{line}\n").as_bytes());
    assert!(output.finish(PATIENCE).complete);
}

#[cfg(unix)]
#[test]
fn files_are_not_for_everybody() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("folder");
    let mut output = RollingOutput::open(&options(folder.path()), START_NS).expect("opened");
    output.record(samples::tcp());
    output.finish(PATIENCE);
    for name in files(folder.path()).keys() {
        let mode = fs::metadata(folder.path().join(name)).expect("file").permissions().mode();
        assert_eq!(mode & 0o007, 0, "{name}: {mode:o}");
    }
}

#[test]
fn a_folder_has_one_writer_at_a_time() {
    let folder = tempfile::tempdir().expect("folder");
    let first = RollingOutput::open(&options(folder.path()), START_NS).expect("opened");
    let second = RollingOutput::open(&options(folder.path()), START_NS);
    assert!(matches!(second, Err(OpenError::Locked(LockError::Held { pid: Some(_), .. }))));
    first.finish(PATIENCE);
    RollingOutput::open(&options(folder.path()), START_NS).expect("free again").finish(PATIENCE);
}

#[test]
fn privacy_applies_to_flows_and_alerts_of_every_format() {
    use crate::output::privacy::{Key, Pseudonyms};
    let folder = tempfile::tempdir().expect("folder");
    let pseudonyms = Some(Pseudonyms::new(&Key::from_bytes([7; 32])));
    let privacy = Arc::new(Privacy { pseudonyms, no_payload: true, ..Privacy::none() });
    let options = RollingOptions {
        formats: Format::ALL.to_vec(),
        privacy: Arc::clone(&privacy),
        ..options(folder.path())
    };
    let mut output = RollingOutput::open(&options, START_NS).expect("opened");
    output.record(samples::tcp());
    output.alert(&samples::alert());
    assert!(output.finish(PATIENCE).complete);
    let mut record = samples::tcp();
    privacy.record(&mut record);
    let files = files(folder.path());
    assert_eq!(files.len(), Format::ALL.len() + 1);
    for (name, bytes) in &files {
        let text = String::from_utf8_lossy(bytes);
        for secret in ["192.0.2.10", "198.51.100.7", "192.0.2.1", "10.0.0.1", "example.org"] {
            assert!(!text.contains(secret), "{secret} in {name}");
        }
    }
    assert_eq!(lines(&files, FLOWS_NDJSON), expected(Format::Ndjson, &[record]));
    let alert = privacy.alert(&samples::alert());
    assert_eq!(lines(&files, ALERTS), [serde_json::to_string(&alert).expect("JSON")]);
    assert_eq!(eve_lines(&files).0, [eve_alert(&alert)]);
}

#[test]
fn old_files_go_while_output_goes_on() {
    let folder = tempfile::tempdir().expect("folder");
    let rotation = Rotation { every: Some(Duration::from_secs(60)), bytes: None };
    let keep_flows = Limits { max_bytes: Some(3000), max_age: None };
    let formats = vec![Format::Ndjson];
    let options = RollingOptions { rotation, keep_flows, formats, ..options(folder.path()) };
    let mut output = RollingOutput::open(&options, START_NS).expect("opened");
    for minute in 0..20 {
        output.second(START_NS + minute * 60 * SECOND_NS);
        output.record(samples::tcp());
    }
    let finished = output.finish(PATIENCE);
    let files = files(folder.path());
    let sizes: usize = files.values().map(Vec::len).sum();
    assert!(sizes <= 3000 && !files.is_empty(), "{:?}", files.keys());
    // The newest are there.
    assert!(files.contains_key("flows-20261121T094900Z.ndjson"), "{:?}", files.keys());
    let removed = finished.counters.removed_flow_files;
    assert_eq!(removed.files, 20 - files.len() as u64);
    let written = finished.counters.of(Kind::Flows(Format::Ndjson)).expect("kind").written_bytes;
    assert_eq!(removed.bytes, written - sizes as u64);
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_is_complete_each_minute_and_loses_nothing() {
    use arrow::array::AsArray as _;
    use arrow::datatypes::Int64Type;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let folder = tempfile::tempdir().expect("folder");
    let formats = vec![Format::Ndjson, Format::Parquet];
    let options = RollingOptions { formats, ..options(folder.path()) };
    let mut output = RollingOutput::open(&options, START_NS).expect("opened");
    let mut bytes = Vec::new();
    for second in 0..150 {
        for n in 0..200 {
            let record = samples::random(n % 40 + second as u64);
            bytes.push(record.fwd.wire_bytes as i64);
            output.record(record);
        }
        output.second(START_NS + (second + 1) * SECOND_NS);
        settle(&output, bytes.len());
    }
    assert!(output.finish(PATIENCE).complete);
    let names: Vec<_> =
        files(folder.path()).into_keys().filter(|name| name.ends_with(".parquet")).collect();
    // Each is named for its first record, though it is written a minute later.
    assert_eq!(
        names,
        ["0930", "0931", "0932"].map(|minute| format!("flows-20261121T{minute}00Z.parquet"))
    );
    let mut read = Vec::new();
    for name in names {
        let file = fs::File::open(folder.path().join(name)).expect("file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("parquet");
        for batch in reader.build().expect("reader") {
            let batch = batch.expect("batch");
            let column = batch.column_by_name("fwd_wire_bytes").expect("column");
            read.extend_from_slice(column.as_primitive::<Int64Type>().values());
        }
    }
    assert_eq!(read, bytes);
}
