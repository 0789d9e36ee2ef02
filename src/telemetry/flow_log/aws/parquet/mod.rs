//! AWS flow logs in Parquet, as AWS puts them into a bucket: the same fields, one a
//! column.
//!
//! That a Parquet file is a flow log is known from its columns, when it is opened.
//! Memory is bounded by one page of each column, of at most 256 MiB, and a thousand rows, whatever the
//! size of the file and of its row groups.

#[cfg(feature = "parquet")]
mod columns;
#[cfg(test)]
#[cfg(feature = "parquet")]
mod tests;

use crate::telemetry::decode::{Context, Decoder};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Kind};

pub(in crate::telemetry::flow_log) static KIND: Kind = Kind {
    name: "aws-vpc-parquet",
    title: "AWS flow log in Parquet",
    gives: Gives::Flows,
    versions: "of VPC flow logs 2 to 8, of transit gateways 6; columns with - or _ in their names, \
        GZIP as AWS writes them, SNAPPY, ZSTD or uncompressed",
    source: "Amazon VPC User Guide: Flow log records (Parquet data types), Flow log files; \
        Amazon Athena User Guide: Create tables for flow logs in Apache Parquet format",
    sample: "PAR1",
    sees: super::VPC.sees,
    absent: super::VPC.absent,
    lateness_s: super::VPC.lateness_s,
    framing: Framing::File,
    recognise: |head| head.bytes.starts_with(b"PAR1"),
    decoder,
};

#[cfg(not(feature = "parquet"))]
fn decoder(_: &Context) -> Result<Box<dyn Decoder>, String> {
    Err("this build reads no Parquet: build it with the feature 'parquet'".to_owned())
}

#[cfg(feature = "parquet")]
fn decoder(_: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(columns::Columns::default()))
}
