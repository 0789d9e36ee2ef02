use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::*;
use crate::telemetry::decode::Out;
use crate::telemetry::flow_log::seen::kind_of;
use crate::telemetry::observation::Observation;
use crate::telemetry::tests::decode;

/// The rows of `LOG` in the types that AWS documents.
fn batch(separator: &str, rows: usize) -> RecordBatch {
    let text = |value: &str| Arc::new(StringArray::from(vec![value; rows])) as ArrayRef;
    let int = |value: i32| Arc::new(Int32Array::from(vec![value; rows])) as ArrayRef;
    let long = |value: i64| Arc::new(Int64Array::from(vec![value; rows])) as ArrayRef;
    let columns = [
        ("version", int(5)),
        ("account-id", text("111122223333")),
        ("interface-id", text("eni-0a1b2c3d")),
        ("srcaddr", text("10.0.1.5")),
        ("dstaddr", text("203.0.113.9")),
        ("srcport", int(40_112)),
        ("dstport", int(53)),
        ("protocol", int(17)),
        ("packets", long(120)),
        ("bytes", long(9_600_000_000)),
        ("start", long(1_772_360_100)),
        ("end", long(1_772_360_158)),
        ("action", text("ACCEPT")),
        ("log-status", text("OK")),
        ("vpc-id", text("vpc-0a")),
        ("flow-direction", text("egress")),
        ("traffic-path", Arc::new(Int32Array::from(vec![Some(8); rows])) as ArrayRef),
        ("pkt-dst-aws-service", text("-")),
    ];
    let columns = columns.map(|(name, cells)| (name.replace('-', separator), cells));
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

const LOG: &[u8] = b"version account-id interface-id srcaddr dstaddr srcport dstport protocol \
    packets bytes start end action log-status vpc-id flow-direction traffic-path \
    pkt-dst-aws-service\n\
    5 111122223333 eni-0a1b2c3d 10.0.1.5 203.0.113.9 40112 53 17 120 9600000000 1772360100 \
    1772360158 ACCEPT OK vpc-0a egress 8 -\n";

fn write(path: &Path, batch: &RecordBatch, compression: Compression) {
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(1500))
        .build();
    let file = File::create(path).expect("a file");
    let mut writer =
        ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
    writer.write(batch).expect("written");
    writer.close().expect("closed");
}

/// All of a file, and the most observations that were handed out at once.
fn read(path: &Path) -> io::Result<(Out, usize)> {
    let mut decoder = (KIND.decoder)(&Context::default()).expect("a decoder");
    let (mut out, mut all, mut most) = (Out::default(), Vec::new(), 0);
    decoder.file(path, &mut out)?;
    while decoder.next_part(&mut out)? {
        most = most.max(out.observations.len());
        all.append(&mut out.observations);
    }
    out.observations = all;
    Ok((out, most))
}

fn of_text() -> Observation {
    let (out, bad) = decode(&crate::telemetry::flow_log::aws::VPC, &Context::default(), LOG);
    assert_eq!(bad, []);
    out.observations.into_iter().next().expect("a flow")
}

#[test]
fn columns_give_what_text_gives_with_any_codec_and_either_spelling() {
    let folder = tempfile::tempdir().expect("a folder");
    let gzip = Compression::GZIP(GzipLevel::default());
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let ways = [
        ("-", gzip),
        ("_", gzip),
        ("-", Compression::SNAPPY),
        ("-", zstd),
        ("-", Compression::UNCOMPRESSED),
    ];
    for (separator, compression) in ways {
        let path = folder.path().join("log.parquet");
        write(&path, &batch(separator, 4000), compression);
        let head = std::fs::read(&path).expect("bytes");
        assert_eq!(kind_of(&head), Some("aws-vpc-parquet"));
        let (out, most) = read(&path).expect("read");
        assert_eq!(out.observations.len(), 4000);
        assert!(most <= 1024, "{most}");
        assert!(out.bad_parts.is_empty() && out.unknown_fields.is_empty());
        let text = of_text();
        assert!(out.observations.iter().all(|flow| *flow == text), "{:?}", out.observations[0]);
    }
}

#[test]
fn nulls_and_rows_without_data_are_as_in_text() {
    let texts =
        |values: [Option<&str>; 4]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("srcaddr", texts([Some("192.0.2.1"), Some("-"), None, Some("192.0.2.1")])),
        ("dstaddr", texts([Some("192.0.2.2"), None, Some("-"), Some("192.0.2.2")])),
        ("log_status", texts([Some("OK"), Some("NODATA"), Some("SKIPDATA"), Some("OK")])),
        (
            "start",
            Arc::new(Int64Array::from(vec![Some(1), Some(1), Some(1), Some(-1)])) as ArrayRef,
        ),
        ("bytes", Arc::new(Int64Array::from(vec![None, None, None, Some(2)])) as ArrayRef),
    ]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log.parquet");
    write(&path, &batch.expect("a batch"), Compression::SNAPPY);
    let (out, _) = read(&path).expect("read");
    let [Observation::Flow(flow), Observation::Gap(gap)] = &out.observations[..] else {
        panic!("{out:?}")
    };
    assert_eq!((flow.fwd.ip_bytes, flow.start_ns), (None, 1_000_000_000));
    assert_eq!(gap.start_ns, 1_000_000_000);
    assert_eq!(out.passed, [("nodata", 1)].into_iter().collect());
    assert_eq!(out.lost, [("skipdata", 1)].into_iter().collect());
    assert_eq!(out.bad_parts, [("not a number", 1)].into_iter().collect());
}

#[test]
fn files_that_are_no_flow_log_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("other.parquet");
    let column = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let other = RecordBatch::try_from_iter([("price", column)]).expect("a batch");
    write(&path, &other, Compression::SNAPPY);
    let error = read(&path).expect_err("no flow log").to_string();
    assert_eq!(error, "no flow log of AWS: no srcaddr among its columns (price, ...)");
    std::fs::write(&path, b"PAR1 and something else").expect("written");
    assert!(read(&path).is_err());
}

/// Files that pyarrow wrote, against the text that it was given.
#[test]
fn another_writers_files_are_read() {
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/flow_log"));
    for (columns, text) in [
        ("aws-vpc-v2.parquet", "aws-vpc-v2.log"),
        ("aws-vpc-v10.parquet", "aws-vpc-v10-any-order.log"),
    ] {
        let (out, _) = read(&fixtures.join(columns)).expect("read");
        let text = std::fs::read(fixtures.join(text)).expect("text");
        let (expected, bad) =
            decode(&crate::telemetry::flow_log::aws::VPC, &Context::default(), &text);
        assert_eq!(bad, []);
        assert!(expected.observations.len() > 3);
        assert_eq!(out.observations, expected.observations);
        assert_eq!((out.passed, out.lost), (expected.passed, expected.lost));
    }
}

#[test]
fn a_page_that_unpacks_to_more_than_pages_have_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bomb.parquet");
    // One value, of 300 MiB of the same letter.
    let long = "a".repeat(300 << 20);
    let texts = |value: &str| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("srcaddr", texts(&long)),
        ("dstaddr", texts("192.0.2.2")),
        ("start", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
    ]);
    write(
        &path,
        &batch.expect("a batch"),
        Compression::GZIP(GzipLevel::try_new(1).expect("a level")),
    );
    let error = read(&path).expect_err("too long").to_string();
    assert!(error.contains("a page that unpacks to too much"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_files_are_read_without_a_panic(
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6), cut in 0_usize..2000,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.parquet");
        write(&path, &batch("-", 50), Compression::GZIP(GzipLevel::default()));
        let mut bytes = std::fs::read(&path).expect("bytes");
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if cut > 1000 {
            bytes.truncate(bytes.len().saturating_sub(cut - 1000));
        }
        std::fs::write(&path, &bytes).expect("written");
        if let Ok((out, _)) = read(&path) {
            prop_assert!(out.observations.len() <= 100_000);
        }
    }
}
