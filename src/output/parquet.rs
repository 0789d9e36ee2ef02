//! `flows.parquet`: the flat table in columns, for DuckDB, Spark and pandas.
//!
//! Columns are those of `flows.csv`, typed; lists of pairs are nested. Records
//! are collected into row groups, so memory stays bounded and a reader can skip
//! groups by their minima and maxima.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, RecordBatch,
    StringBuilder, StructBuilder, TimestampNanosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::FlowWriter;
use super::columns::{Kind, Value, columns, each_cell};
use crate::flow::FlowRecord;

/// Records kept as builders before they are encoded.
const BATCH_RECORDS: usize = 4096;

/// Records of a row group: some 20 MiB before compression, enough for
/// dictionaries to pay and few enough to skip.
const ROW_GROUP_RECORDS: usize = 65_536;

/// Beyond 3 zstd gains little on columns that are dictionaries already.
const ZSTD_LEVEL: i32 = 3;

/// Writes `flows.parquet`.
pub struct ParquetWriter<W: Write + Send> {
    file: ArrowWriter<W>,
    schema: Arc<Schema>,
    builders: Vec<Builder>,
    records: usize,
}

impl<W: Write + Send> ParquetWriter<W> {
    /// Writes the format's magic; the schema follows at the end.
    pub fn new(out: W) -> io::Result<Self> {
        let columns = columns();
        let fields: Fields =
            columns.iter().map(|(name, kind)| Field::new(name, data_type(*kind), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(io::Error::other)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(ROW_GROUP_RECORDS))
            .build();
        let file = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties))
            .map_err(io::Error::other)?;
        let builders = columns.iter().map(|(_, kind)| Builder::new(*kind)).collect();
        Ok(Self { file, schema, builders, records: 0 })
    }

    fn flush_batch(&mut self) -> io::Result<()> {
        if self.records == 0 {
            return Ok(());
        }
        self.records = 0;
        let arrays = self.builders.iter_mut().map(Builder::finish).collect();
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(io::Error::other)?;
        self.file.write(&batch).map_err(io::Error::other)
    }
}

impl<W: Write + Send> FlowWriter for ParquetWriter<W> {
    fn write(&mut self, record: &FlowRecord) -> io::Result<()> {
        let mut builders = self.builders.iter_mut();
        each_cell(record, |value| {
            if let Some(builder) = builders.next() {
                builder.append(value);
            }
        });
        self.records += 1;
        if self.records == BATCH_RECORDS { self.flush_batch() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.flush_batch()?;
        self.file.close().map(drop).map_err(io::Error::other)
    }
}

fn data_type(kind: Kind) -> DataType {
    match kind {
        Kind::Int => DataType::Int64,
        Kind::Float => DataType::Float64,
        Kind::Bool => DataType::Boolean,
        Kind::Text => DataType::Utf8,
        Kind::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        Kind::Pairs(first, second) => DataType::List(Arc::new(pair_field(first, second))),
    }
}

fn pair_field(first: &str, second: &str) -> Field {
    Field::new("item", DataType::Struct(pair_fields(first, second)), true)
}

fn pair_fields(first: &str, second: &str) -> Fields {
    [first, second].map(|name| Field::new(name, DataType::Int64, true)).to_vec().into()
}

/// A column in the making.
enum Builder {
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Text(StringBuilder),
    Time(TimestampNanosecondBuilder),
    Pairs(ListBuilder<StructBuilder>),
}

impl Builder {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Int => Self::Int(Int64Builder::new()),
            Kind::Float => Self::Float(Float64Builder::new()),
            Kind::Bool => Self::Bool(BooleanBuilder::new()),
            Kind::Text => Self::Text(StringBuilder::new()),
            Kind::Time => Self::Time(TimestampNanosecondBuilder::new().with_timezone("UTC")),
            Kind::Pairs(first, second) => {
                let halves = StructBuilder::from_fields(pair_fields(first, second), 0);
                let list = ListBuilder::new(halves);
                Self::Pairs(list.with_field(Arc::new(pair_field(first, second))))
            }
        }
    }

    /// A value of another kind than the column's is written as null; the
    /// columns' own test shows that there is none.
    fn append(&mut self, value: Value<'_>) {
        match (self, value) {
            (Self::Int(column), Value::Int(number)) => column.append_value(number),
            (Self::Int(column), _) => column.append_null(),
            (Self::Float(column), Value::Float(number)) => column.append_value(number),
            (Self::Float(column), _) => column.append_null(),
            (Self::Bool(column), Value::Bool(yes)) => column.append_value(yes),
            (Self::Bool(column), _) => column.append_null(),
            (Self::Text(column), Value::Text(text)) => column.append_value(text),
            (Self::Text(column), _) => column.append_null(),
            (Self::Time(column), Value::Time(ns)) => column.append_value(ns),
            (Self::Time(column), _) => column.append_null(),
            (Self::Pairs(column), Value::Pairs(pairs)) => {
                for (first, second) in pairs {
                    let halves = column.values();
                    for (half, number) in [(0, first), (1, second)] {
                        if let Some(half) = halves.field_builder::<Int64Builder>(half) {
                            half.append_value(number);
                        }
                    }
                    halves.append(true);
                }
                column.append(true);
            }
            (Self::Pairs(column), _) => column.append(false),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Int(column) => Arc::new(column.finish()),
            Self::Float(column) => Arc::new(column.finish()),
            Self::Bool(column) => Arc::new(column.finish()),
            Self::Text(column) => Arc::new(column.finish()),
            Self::Time(column) => Arc::new(column.finish()),
            Self::Pairs(column) => Arc::new(column.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Int64Type, TimestampNanosecondType};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::output::samples;

    fn written(records: &[FlowRecord]) -> (usize, Vec<RecordBatch>) {
        let file = tempfile::NamedTempFile::new().expect("file");
        let mut writer = Box::new(ParquetWriter::new(file.reopen().expect("file")).expect("new"));
        records.iter().for_each(|record| writer.write(record).expect("written"));
        writer.finish().expect("finished");
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(file.reopen().expect("file")).expect("footer");
        let groups = reader.metadata().num_row_groups();
        (groups, reader.build().expect("reader").map(|batch| batch.expect("batch")).collect())
    }

    #[test]
    fn records_read_back_with_their_types() {
        let (_, batches) = written(&[samples::tcp(), samples::dns()]);
        let batch = &batches[0];
        let column = |name| batch.column_by_name(name).expect(name);
        let starts = column("start").as_primitive::<TimestampNanosecondType>();
        assert_eq!(starts.value(0), samples::START_NS);
        assert_eq!(column("src_ip").as_string::<i32>().value(1), "2001:db8::2");
        assert_eq!(column("fwd_wire_bytes").as_primitive::<Int64Type>().value(0), 947);
        assert!(column("tls_sni").is_null(1) && !column("tls_sni").is_null(0));
        let histogram = column("fwd_payload_histogram").as_list::<i32>().value(0);
        let low = histogram.as_struct().column_by_name("low_bytes").expect("low");
        assert_eq!(low.as_primitive::<Int64Type>().values(), &[0, 96, 512]);
        let sequence = column("sequence").as_list::<i32>().value(0);
        let sizes = sequence.as_struct().column(0).as_primitive::<Int64Type>();
        assert_eq!(sizes.values(), &[517, -1400]);
    }

    #[test]
    fn no_record_is_lost_between_batches() {
        let records: Vec<_> = (0..BATCH_RECORDS as u64 * 2 + 1).map(samples::random).collect();
        let (groups, batches) = written(&records);
        assert_eq!(groups, 1);
        let mut row = records.iter();
        for batch in &batches {
            let bytes = batch.column_by_name("fwd_wire_bytes").expect("column");
            for &bytes in bytes.as_primitive::<Int64Type>().values() {
                assert_eq!(Some(bytes as u64), row.next().map(|record| record.fwd.wire_bytes));
            }
        }
        assert_eq!(row.next(), None);
    }

    #[test]
    fn a_file_without_records_has_its_columns() {
        let (groups, batches) = written(&[]);
        assert_eq!((groups, batches.len()), (0, 0));
    }
}
