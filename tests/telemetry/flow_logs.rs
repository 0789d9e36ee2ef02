//! Flow logs of clouds: files written from their documentation, and by pyarrow.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flowtap::output::REPORTED_FLOW_SCHEMA;
use serde_json::Value;
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/flow_log").join(name)
}

/// Runs `flowtap read` on a file into a folder of its own.
fn run(folder: &TempDir, file: &Path) -> (PathBuf, Output) {
    let out = folder.path().join("out").join(file.file_name().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowtap"));
    command.args(["read", "--quiet", "--format", "ndjson", "--out"]).arg(&out).arg(file);
    let output = command.env("XDG_STATE_HOME", folder.path().join("state")).output().unwrap();
    (out, output)
}

/// The only source of a run that read one log, and the flows that it reports.
fn read(folder: &TempDir, file: &Path) -> (Value, Vec<Value>) {
    let (out, output) = run(folder, file);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value =
        serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
    let sources = summary["sources"].as_array().unwrap();
    assert_eq!(sources.len(), 1);
    let flows = fs::read_to_string(out.join("reported_flows.ndjson")).unwrap();
    let flows = flows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (sources[0].clone(), flows)
}

#[test]
fn every_flow_log_is_recognised_and_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let schema: Value = serde_json::from_str(REPORTED_FLOW_SCHEMA).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for (name, kind, flows) in [
        ("aws-vpc-v2.log", "aws-vpc", 5),
        ("aws-vpc-v10-any-order.log", "aws-vpc", 4),
        ("aws-vpc-cloudwatch-export.log", "aws-vpc", 2),
        ("aws-vpc-logs-tail.log", "aws-vpc", 2),
        ("aws-tgw.log", "aws-tgw", 1),
        ("azure-nsg-v1.json", "azure-nsg", 2),
        ("azure-nsg-v2.json", "azure-nsg", 5),
        ("azure-vnet.json", "azure-vnet", 5),
        ("gcp-vpc.ndjson", "gcp-vpc", 5),
        ("gcp-vpc-array.json", "gcp-vpc", 3),
    ] {
        let (source, reported) = read(&folder, &fixture(name));
        assert_eq!((&source["kind"], &source["flows"]), (&kind.into(), &flows.into()), "{name}");
        for key in ["bad", "bad_parts", "error"] {
            assert_eq!(source.get(key), None, "{name}: {source}");
        }
        assert_eq!(reported.len(), flows, "{name}");
        for flow in reported {
            let errors: Vec<_> = schema.iter_errors(&flow).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{name}: {errors:?}\n{flow}");
        }
    }
}

#[test]
fn what_a_flow_log_lost_and_what_says_nothing_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (source, _) = read(&folder, &fixture("aws-vpc-v2.log"));
    assert_eq!(source["lost"]["skipdata"], 1, "{source}");
    assert_eq!(source["passed"]["nodata"], 1, "{source}");
}

#[test]
fn a_log_is_read_compressed_as_it_lies_in_a_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("log.gz");
    let file = fs::File::create(&packed).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    gzip.write_all(&fs::read(fixture("aws-vpc-v2.log")).unwrap()).unwrap();
    gzip.finish().unwrap();
    assert_eq!(read(&folder, &packed).1, read(&folder, &fixture("aws-vpc-v2.log")).1);
}

#[test]
#[cfg(feature = "parquet")]
fn columns_report_what_text_reports() {
    let folder = tempfile::tempdir().unwrap();
    for (columns, text) in [
        ("aws-vpc-v2.parquet", "aws-vpc-v2.log"),
        ("aws-vpc-v10.parquet", "aws-vpc-v10-any-order.log"),
    ] {
        let (source, of_columns) = read(&folder, &fixture(columns));
        assert_eq!(source["kind"], "aws-vpc-parquet");
        let (_, mut of_text) = read(&folder, &fixture(text));
        for flow in &mut of_text {
            // Of the two only the name of the log differs.
            flow["source"] = of_columns[0]["source"].clone();
        }
        assert_eq!(of_columns, of_text, "{columns}");
    }
}

#[test]
#[cfg(not(feature = "parquet"))]
fn a_build_without_parquet_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (_, output) = run(&folder, &fixture("aws-vpc-v2.parquet"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("this build reads no Parquet"), "{said}");
}
