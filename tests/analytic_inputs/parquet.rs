//! AN0972 from AWS VPC flow logs in Parquet, with the types that AWS documents.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::json;

use super::flow_logs::{BACKUP, FLOOD, MINUTES, Volume};
use super::{SENDER, START_S, TARGET, alerts};

fn columns(volumes: &[Volume]) -> Vec<u8> {
    let (here, there) = ((SENDER, 40_112), (TARGET, 9_999));
    let mut rows = Vec::new();
    for start_s in (0..MINUTES).map(|minute| START_S + 60 * minute) {
        for volume in volumes {
            rows.push((here, there, volume.protocol, volume.sent, start_s));
            rows.push((there, here, volume.protocol, volume.received, start_s));
        }
    }
    rows.retain(|(.., (packets, _), _)| *packets > 0);
    type Row = ((&'static str, i32), (&'static str, i32), u8, (u64, u64), i64);
    let rows: &[Row] = &rows;
    let text = |of: fn(&Row) -> &str| {
        Arc::new(StringArray::from(rows.iter().map(of).collect::<Vec<_>>())) as ArrayRef
    };
    let int = |of: fn(&Row) -> i32| {
        Arc::new(Int32Array::from(rows.iter().map(of).collect::<Vec<_>>())) as ArrayRef
    };
    let long = |of: fn(&Row) -> i64| {
        Arc::new(Int64Array::from(rows.iter().map(of).collect::<Vec<_>>())) as ArrayRef
    };
    let batch = RecordBatch::try_from_iter([
        ("version", int(|_| 2)),
        ("account_id", text(|_| "123456789010")),
        ("interface_id", text(|_| "eni-0a000000000000006")),
        ("srcaddr", text(|row| row.0.0)),
        ("dstaddr", text(|row| row.1.0)),
        ("srcport", int(|row| row.0.1)),
        ("dstport", int(|row| row.1.1)),
        ("protocol", int(|row| row.2.into())),
        ("packets", long(|row| row.3.0 as i64)),
        ("bytes", long(|row| row.3.1 as i64)),
        ("start", long(|row| row.4)),
        ("end", long(|row| row.4 + 58)),
        ("action", text(|_| "ACCEPT")),
        ("log_status", text(|_| "OK")),
    ]);
    let batch = batch.expect("columns of one length");
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.into_inner().expect("closed")
}

#[test]
fn an0972_from_columns_alone() {
    let kind = "aws-vpc-parquet";
    // As in text: that nothing came back shows only where records of other flows come back.
    let answered = Volume { sent: (9, 900), received: (9, 900), ..BACKUP };
    let found = alerts(kind, &columns(&[FLOOD, answered]), &[]);
    assert_eq!(found.len(), 1, "{found:#?}");
    let alert = &found[0];
    assert_eq!((&alert["detector"], &alert["severity"]), (&"egress".into(), &"high".into()));
    assert_eq!(alert["analytics"], json!(["AN0972"]));
    assert_eq!(alert["entity"]["id"], SENDER);
    assert_eq!(alert["peers"][0]["address"], TARGET);
    assert!(alerts(kind, &columns(&[BACKUP]), &[]).is_empty(), "a backup");
}
