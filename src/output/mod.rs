//! Flow records to files, one format a room.
//!
//! Every writer takes finished [`FlowRecord`]s in the order in which they are
//! to stand in the file and gives the same bytes for the same records: no wall
//! clock, no random identifier. Writers never look at a packet, never sort and
//! never drop a record. Texts that came off the wire were made safe to print
//! where they were read (see [`crate::flow::app`]); here they are only quoted
//! as the format wants.
//!
//! Start at [`Format::create`]; [`ndjson`] is the format that everything else
//! of flowtap reads back, its schema is [`FLOW_SCHEMA`].

mod columns;
pub mod csv;
pub mod eve;
mod identity;
mod json;
pub mod names;
pub mod ndjson;
#[cfg(feature = "parquet")]
pub mod parquet;
mod spread;
pub mod summary;
pub mod zeek;

#[cfg(test)]
mod samples;

use std::fs::File;
use std::io;
use std::path::Path;

use crate::flow::FlowRecord;

pub use self::summary::Summary;

/// Version of the record layouts; raised when a field changes its meaning or
/// goes away, not when one is added.
pub const SCHEMA_VERSION: u32 = 1;

/// JSON Schema (2020-12) of a line of `flows.ndjson`.
pub const FLOW_SCHEMA: &str = include_str!("schema/flow.schema.json");
/// JSON Schema of a line of `alerts.ndjson`.
pub const ALERT_SCHEMA: &str = include_str!("schema/alert.schema.json");
/// JSON Schema of `summary.json`.
pub const SUMMARY_SCHEMA: &str = include_str!("schema/summary.schema.json");

/// Writes flow records in one format.
pub trait FlowWriter {
    /// Adds a record. Records are buffered: an error may concern an earlier one.
    fn write(&mut self, record: &FlowRecord) -> io::Result<()>;

    /// Writes what is buffered and the format's end. A file without it may be
    /// unreadable.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Formats of the flow file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Format {
    Ndjson,
    Csv,
    #[cfg(feature = "parquet")]
    Parquet,
    Eve,
    Zeek,
}

impl Format {
    /// All formats of this build.
    pub const ALL: &[Self] = &[
        Self::Ndjson,
        Self::Csv,
        #[cfg(feature = "parquet")]
        Self::Parquet,
        Self::Eve,
        Self::Zeek,
    ];

    /// Name as in `--format`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            #[cfg(feature = "parquet")]
            Self::Parquet => "parquet",
            Self::Eve => "eve",
            Self::Zeek => "zeek",
        }
    }

    /// Name of the file in a run directory: the one that the format's own
    /// consumers look for.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Ndjson => "flows.ndjson",
            Self::Csv => "flows.csv",
            #[cfg(feature = "parquet")]
            Self::Parquet => "flows.parquet",
            Self::Eve => "eve.json",
            Self::Zeek => "conn.log",
        }
    }

    /// Creates the format's file in a folder, replacing one that is there.
    pub fn create(self, folder: &Path) -> io::Result<Box<dyn FlowWriter + Send>> {
        let file = File::create(folder.join(self.file_name()))?;
        Ok(match self {
            Self::Ndjson => Box::new(ndjson::NdjsonWriter::new(file)),
            Self::Csv => Box::new(csv::CsvWriter::new(file)?),
            #[cfg(feature = "parquet")]
            Self::Parquet => Box::new(parquet::ParquetWriter::new(file)?),
            Self::Eve => Box::new(eve::EveWriter::new(file)),
            Self::Zeek => Box::new(zeek::ZeekWriter::new(file)),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::samples;
    use super::*;
    use crate::engine::{RunOptions, run};
    use crate::input::{Input, InputOptions};

    #[test]
    fn every_format_gives_the_same_bytes_for_the_same_records() {
        let records: Vec<_> = (0..200).map(samples::random).collect();
        for &format in Format::ALL {
            let files: Vec<_> = (0..2)
                .map(|_| {
                    let folder = tempfile::tempdir().expect("folder");
                    let mut writer = format.create(folder.path()).expect("file");
                    for record in &records {
                        writer.write(record).expect("written");
                    }
                    writer.finish().expect("finished");
                    std::fs::read(folder.path().join(format.file_name())).expect("read back")
                })
                .collect();
            assert!(!files[0].is_empty(), "{}", format.name());
            assert_eq!(files[0], files[1], "{}", format.name());
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_at_the_end_at_the_latest() {
        let record = samples::tcp();
        for &format in Format::ALL {
            let folder = tempfile::tempdir().expect("folder");
            let file = folder.path().join(format.file_name());
            std::os::unix::fs::symlink("/dev/full", file).expect("link");
            let result = format.create(folder.path()).and_then(|mut writer| {
                writer.write(&record)?;
                writer.finish()
            });
            let error = result.expect_err(format.name());
            assert!(error.to_string().contains("No space left"), "{}: {error}", format.name());
        }
    }

    fn schema(text: &str) -> jsonschema::Validator {
        let schema: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        jsonschema::draft202012::new(&schema).expect("a valid schema")
    }

    /// Takes each of `names` away in turn.
    fn refuses_each_missing(schema: &jsonschema::Validator, good: &Value, names: &[&str]) {
        assert!(schema.is_valid(good));
        for name in names {
            let mut without = good.clone();
            without.as_object_mut().and_then(|fields| fields.remove(*name)).expect(name);
            assert!(!schema.is_valid(&without), "without {name}");
        }
    }

    #[test]
    fn the_alert_schema_wants_every_field_that_scripts_read() {
        let alert = json!({
            "id": "00112233445566ff", "revision": 1, "detector": "udp_flood",
            "analytics": ["AN0972"], "possible_analytics": [], "severity": "high",
            "confidence": 0.6,
            "start": "2026-11-21T09:30:00.000000000Z", "end": "2026-11-21T09:30:20.000000000Z",
            "entity": {"kind": "address", "id": "192.0.2.1", "labels": {}},
            "peers": [{"address": "198.51.100.7", "packets": 10, "wire_bytes": null}],
            "evidence": {"packets": 10}, "missing_telemetry": ["baseline"],
        });
        let schema = schema(ALERT_SCHEMA);
        let wanted = [
            "id",
            "revision",
            "detector",
            "analytics",
            "severity",
            "confidence",
            "start",
            "end",
            "entity",
            "peers",
            "evidence",
            "missing_telemetry",
        ];
        refuses_each_missing(&schema, &alert, &wanted);
        for (pointer, bad) in [
            ("/id", json!("0011")),
            ("/severity", json!("severe")),
            ("/confidence", json!(1.1)),
            ("/entity/kind", json!("planet")),
            ("/analytics/0", json!("T1498")),
        ] {
            let mut alert = alert.clone();
            *alert.pointer_mut(pointer).expect(pointer) = bad;
            assert!(!schema.is_valid(&alert), "{pointer}");
        }
    }

    #[test]
    fn the_summary_schema_wants_every_field_that_scripts_read() {
        let bytes = json!({
            "in_flows": 340, "non_ip": 60, "malformed": 0, "filtered": null, "duplicate": 0,
            "untracked": 0,
        });
        // A run over nothing, with what a capture would add.
        let input = Input::from_bytes(Vec::new(), InputOptions::default());
        let report = run(input, &RunOptions::default(), &mut |_: &FlowRecord| {});
        let summary = Summary::new(&report, std::time::Duration::from_millis(10));
        let mut summary = serde_json::to_value(&summary).expect("JSON");
        summary["protocols"]["udp"] = json!({"packets": 3, "wire_bytes": 340, "flows": 1});
        summary["first_packet"] = json!("2026-11-21T09:30:00.000000000Z");
        let schema = schema(SUMMARY_SCHEMA);
        let wanted = [
            "packets",
            "wire_bytes",
            "accounting",
            "accounting_bytes",
            "flows",
            "conversations",
            "protocols",
            "payload_sizes",
            "first_packet",
            "last_packet",
            "alerts",
            "elapsed_s",
            "workers",
        ];
        refuses_each_missing(&schema, &summary, &wanted);
        for (pointer, bad) in [
            ("/accounting/non_ip", json!(null)),
            ("/accounting", bytes),
            ("/protocols/udp/flows", json!("1")),
            ("/workers", json!(0)),
            ("/first_packet", json!(1_795_253_400)),
        ] {
            let mut summary = summary.clone();
            *summary.pointer_mut(pointer).expect(pointer) = bad;
            assert!(!schema.is_valid(&summary), "{pointer}");
        }
    }
}
