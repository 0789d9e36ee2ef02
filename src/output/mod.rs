//! Flow records to files, one format a room.
//!
//! Every writer takes finished [`FlowRecord`]s in the order in which they are
//! to stand in the file and gives the same bytes for the same records: no wall
//! clock, no random identifier. Writers never look at a packet, never sort and
//! never drop a record. Texts that came off the wire were made safe to print
//! where they were read (see [`crate::flow::app`]); here they are only quoted
//! as the format wants.
//!
//! A format is two things: an [`Encoder`], which turns a chunk of records into
//! a piece of the file and may do so in any thread, and a [`FlowWriter`], which
//! puts the pieces into the file in order. [`Pipeline`] drives both.
//!
//! [`rolling`] writes files for a run that lasts months, [`privacy`] is what
//! may be left out of or changed in them.
//!
//! Start at [`Format::create`]; [`ndjson`] is the format that everything else
//! of flowtap reads back, its schema is [`FLOW_SCHEMA`].

pub(crate) mod access;
pub mod analytics;
mod ascii;
pub mod capture;
mod columns;
pub mod csv;
pub mod eve;
pub(crate) mod folder_lock;
mod hosts;
mod identity;
mod json;
pub mod names;
pub mod ndjson;
pub mod observed;
#[cfg(feature = "parquet")]
pub mod parquet;
mod pipeline;
pub(crate) mod printable;
pub mod privacy;
pub mod recording;
pub mod reread;
pub mod rolling;
pub mod run_folder;
pub mod sources;
mod spread;
pub mod summary;
mod text;
pub mod zeek;

#[cfg(test)]
pub(crate) mod samples;

use std::io;
use std::path::Path;
use std::sync::Arc;

use self::access::Access;
use crate::flow::FlowRecord;

pub use self::folder_lock::LockError;
pub use self::pipeline::Pipeline;
pub use self::summary::Summary;
pub use self::text::TextWriter;

/// Version of the flow record's layout; raised when a field changes its meaning
/// or goes away, not when one is added.
pub const SCHEMA_VERSION: u32 = 2;

/// JSON Schema (2020-12) of a line of `flows.ndjson`.
pub const FLOW_SCHEMA: &str = include_str!("schema/flow.schema.json");
/// JSON Schema of a line of `alerts.ndjson`.
pub const ALERT_SCHEMA: &str = include_str!("schema/alert.schema.json");
/// JSON Schema of `summary.json`.
pub const SUMMARY_SCHEMA: &str = include_str!("schema/summary.schema.json");
/// JSON Schema of a line of `reported_flows.ndjson`.
pub const REPORTED_FLOW_SCHEMA: &str = include_str!("schema/reported_flow.schema.json");
/// JSON Schema of a line of `requests.ndjson`.
pub const REQUEST_SCHEMA: &str = include_str!("schema/request.schema.json");
/// JSON Schema of a line of `counters.ndjson`.
pub const COUNTER_SCHEMA: &str = include_str!("schema/counter.schema.json");

/// Turns records into pieces of a format's file. Knows neither the file nor
/// what came before, so chunks can be encoded in any order.
pub trait Encoder: Send + Sync {
    /// Encodes `records` into `piece`, which is empty.
    fn encode(&self, records: &[FlowRecord], piece: &mut Piece) -> io::Result<()>;

    /// Records that make a good piece.
    fn chunk_records(&self) -> usize {
        CHUNK_RECORDS
    }
}

/// Records of a chunk in formats that do not mind: under a megabyte as records
/// and as text, so chunks under way fit the caches; a write call each.
const CHUNK_RECORDS: usize = 512;

/// A piece of a file: what an [`Encoder`] made of a chunk of records.
#[derive(Default)]
pub struct Piece {
    /// Of text formats.
    bytes: Vec<u8>,
    /// Start of the first record and decision on the last, where there are any.
    span_ns: Option<(i64, i64)>,
    #[cfg(feature = "parquet")]
    row_group: parquet::RowGroup,
}

impl Piece {
    /// Length of a text format's piece.
    pub fn text_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Empties it for the next chunk and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.span_ns = None;
        #[cfg(feature = "parquet")]
        self.row_group.clear();
    }
}

/// Puts pieces into the file of one format.
pub trait FlowWriter: Send {
    /// Makes the pieces.
    fn encoder(&self) -> Arc<dyn Encoder>;

    /// Adds a piece that the encoder made.
    fn append(&mut self, piece: &mut Piece) -> io::Result<()>;

    /// Writes the format's end. A file without it may be unreadable.
    fn finish(self: Box<Self>) -> io::Result<()>;

    /// Encodes and adds records in this thread.
    fn write(&mut self, records: &[FlowRecord]) -> io::Result<()> {
        let mut piece = Piece::default();
        self.encoder().encode(records, &mut piece)?;
        self.append(&mut piece)
    }
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
    pub fn create(self, folder: &Path) -> io::Result<Box<dyn FlowWriter>> {
        self.writer(Access::Group.create(&folder.join(self.file_name()))?)
    }

    /// The format's writer into anything; needs no buffer.
    fn writer(self, out: impl io::Write + Send + 'static) -> io::Result<Box<dyn FlowWriter>> {
        Ok(match self {
            Self::Ndjson => Box::new(ndjson::writer(out)),
            Self::Csv => Box::new(csv::writer(out)),
            #[cfg(feature = "parquet")]
            Self::Parquet => Box::new(parquet::ParquetWriter::new(out)?),
            Self::Eve => Box::new(eve::writer(out)),
            Self::Zeek => Box::new(zeek::ZeekWriter::new(out)),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::samples;
    use super::*;
    use crate::engine::{RunOptions, run};
    use crate::host::coverage::{Coverage, Share};
    use crate::input::{Input, InputOptions};

    #[test]
    fn every_format_gives_the_same_bytes_for_the_same_records() {
        let records: Vec<_> = (0..200).map(samples::random).collect();
        for &format in Format::ALL {
            let files: Vec<_> = (0..2)
                .map(|_| {
                    let folder = tempfile::tempdir().expect("folder");
                    let mut writer = format.create(folder.path()).expect("file");
                    writer.write(&records).expect("written");
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
                writer.write(std::slice::from_ref(&record))?;
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
            "severity_reason": "high: sustained",
            "confidence_terms": [{"name": "base", "points": 0.4}],
            "confidence_cap": 0.6,
            "confidence_reason": "0.4: base",
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
            "severity_reason",
            "confidence_terms",
            "confidence_cap",
            "confidence_reason",
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
        let share = Share { flows: 3, packets: 4, wire_bytes: 340 };
        let coverage = Coverage {
            attributed: [("ebpf", share)].into(),
            unattributed: [("no_socket", share)].into(),
            ..Coverage::default()
        };
        summary["coverage"] = serde_json::to_value(&coverage).expect("JSON");
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
            ("/coverage/attributed", json!({"guessed": share})),
            ("/coverage/unattributed/no_socket/flows", json!(-1)),
            ("/coverage/no_host", json!(7)),
        ] {
            let mut summary = summary.clone();
            *summary.pointer_mut(pointer).expect(pointer) = bad;
            assert!(!schema.is_valid(&summary), "{pointer}");
        }
    }
}
