//! `flows.parquet`: the flat table in columns, for DuckDB, Spark and pandas.
//!
//! Columns are those of `flows.csv`, typed; lists of pairs are nested. A chunk
//! of records is a row group: encoded and compressed on its own, in any thread,
//! so memory stays bounded and a reader can skip groups by their minima and
//! maxima.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, StringBuilder,
    StructBuilder, TimestampNanosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::add_encoded_arrow_schema_to_metadata;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;

use super::columns::{Kind, Value, columns, each_cell};
use super::{Encoder, FlowWriter, Piece};
use crate::flow::FlowRecord;

/// Records of a row group: enough for dictionaries to pay, few enough to skip
/// and to hold some of them as records (15 MB each) at once.
const ROW_GROUP_RECORDS: usize = 16_384;

/// Records kept as columns before they are encoded: their columns stay in the
/// second-level cache.
const BATCH_RECORDS: usize = 1024;

/// Level 1: columns are dictionaries already, and higher levels gain little on
/// what is left.
const ZSTD_LEVEL: i32 = 1;

/// Writes `flows.parquet`. What differs from record to record gets no
/// dictionary: building one and giving it up is what costs most.
pub struct ParquetWriter<W: Write + Send> {
    file: SerializedFileWriter<W>,
    encoder: Arc<RowGroups>,
}

/// The encoded columns of a row group; none when empty.
#[derive(Default)]
pub(super) struct RowGroup(Vec<ArrowColumnChunk>);

impl RowGroup {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Makes row groups.
struct RowGroups {
    kinds: Vec<Kind>,
    schema: Arc<Schema>,
    columns: ArrowRowGroupWriterFactory,
}

impl<W: Write + Send> ParquetWriter<W> {
    /// Writes the format's magic; the schema follows at the end. Needs no
    /// buffered `out`.
    pub fn new(out: W) -> io::Result<Self> {
        let columns = columns();
        let fields: Fields =
            columns.iter().map(|(name, kind)| Field::new(name, data_type(*kind), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(io_error)?;
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            // Row groups are small: minima and maxima of their pages tell little more.
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_column_dictionary_enabled("community_id".into(), false);
        for time in ["start", "end"] {
            properties = properties
                .set_column_dictionary_enabled(time.into(), false)
                .set_column_encoding(time.into(), Encoding::DELTA_BINARY_PACKED);
        }
        let mut properties = properties.build();
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        let root = ArrowSchemaConverter::new().convert(&schema).map_err(io_error)?;
        let file = SerializedFileWriter::new(out, root.root_schema_ptr(), Arc::new(properties))
            .map_err(io_error)?;
        let writers = ArrowRowGroupWriterFactory::new(&file, Arc::clone(&schema));
        let kinds = columns.into_iter().map(|(_, kind)| kind).collect();
        Ok(Self { file, encoder: Arc::new(RowGroups { kinds, schema, columns: writers }) })
    }
}

impl<W: Write + Send> FlowWriter for ParquetWriter<W> {
    fn encoder(&self) -> Arc<dyn Encoder> {
        Arc::clone(&self.encoder) as Arc<dyn Encoder>
    }

    fn append(&mut self, piece: &mut Piece) -> io::Result<()> {
        if piece.row_group.0.is_empty() {
            return Ok(());
        }
        let mut group = self.file.next_row_group().map_err(io_error)?;
        for column in piece.row_group.0.drain(..) {
            column.append_to_row_group(&mut group).map_err(io_error)?;
        }
        group.close().map(drop).map_err(io_error)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.file.close().map(drop).map_err(io_error)
    }
}

impl Encoder for RowGroups {
    fn encode(&self, records: &[FlowRecord], piece: &mut Piece) -> io::Result<()> {
        piece.row_group.0 = self.row_group(records).map_err(io_error)?;
        Ok(())
    }

    fn chunk_records(&self) -> usize {
        ROW_GROUP_RECORDS
    }
}

impl RowGroups {
    fn row_group(&self, records: &[FlowRecord]) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        // Row groups differ by their number only where files are encrypted.
        let mut writers = self.columns.create_column_writers(0)?;
        let mut builders: Vec<_> = self.kinds.iter().map(|&kind| Column::new(kind)).collect();
        for batch in records.chunks(BATCH_RECORDS) {
            for record in batch {
                let mut columns = builders.iter_mut();
                each_cell(record, |value| {
                    if let Some(column) = columns.next() {
                        column.append(value);
                    }
                });
            }
            // A nested column has several writers, one a leaf.
            let mut writers = writers.iter_mut();
            for (field, column) in self.schema.fields().iter().zip(&mut builders) {
                for leaf in compute_leaves(field, &column.finish())? {
                    if let Some(writer) = writers.next() {
                        writer.write(&leaf)?;
                    }
                }
            }
        }
        writers.into_iter().map(|writer| writer.close()).collect()
    }
}

fn io_error(error: ParquetError) -> io::Error {
    io::Error::other(error)
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
struct Column {
    builder: Builder,
    /// Behind its values. Most cells of most columns are null: they are added
    /// together.
    nulls: usize,
}

impl Column {
    fn new(kind: Kind) -> Self {
        Self { builder: Builder::new(kind), nulls: 0 }
    }

    #[inline]
    fn append(&mut self, value: Value<'_>) {
        if matches!(value, Value::Null) {
            self.nulls += 1;
            return;
        }
        self.add_nulls();
        self.builder.append(value);
    }

    fn add_nulls(&mut self) {
        if self.nulls > 0 {
            self.builder.append_nulls(std::mem::take(&mut self.nulls));
        }
    }

    fn finish(&mut self) -> ArrayRef {
        self.add_nulls();
        self.builder.finish()
    }
}

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
            (Self::Text(column), Value::Ascii(text)) => column.append_value(text.as_str()),
            (Self::Text(column), _) => column.append_null(),
            (Self::Time(column), Value::Time(ns)) => column.append_value(ns),
            (Self::Time(column), _) => column.append_null(),
            (Self::Pairs(column), Value::Pairs(pairs)) => {
                let halves = column.values();
                pairs.for_each(|first, second| {
                    for (half, number) in [(0, first), (1, second)] {
                        if let Some(half) = halves.field_builder::<Int64Builder>(half) {
                            half.append_value(number);
                        }
                    }
                    halves.append(true);
                });
                column.append(true);
            }
            (Self::Pairs(column), _) => column.append(false),
        }
    }

    fn append_nulls(&mut self, count: usize) {
        match self {
            Self::Int(column) => column.append_nulls(count),
            Self::Float(column) => column.append_nulls(count),
            Self::Bool(column) => column.append_nulls(count),
            Self::Text(column) => column.append_nulls(count),
            Self::Time(column) => column.append_nulls(count),
            Self::Pairs(column) => column.append_nulls(count),
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
    use arrow::array::{Array, AsArray, RecordBatch};
    use arrow::datatypes::{Int64Type, TimestampNanosecondType};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::output::samples;

    fn written(records: &[FlowRecord]) -> (usize, Vec<RecordBatch>) {
        let file = tempfile::NamedTempFile::new().expect("file");
        let mut writer = Box::new(ParquetWriter::new(file.reopen().expect("file")).expect("new"));
        for chunk in records.chunks(writer.encoder().chunk_records()) {
            writer.write(chunk).expect("written");
        }
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
    fn no_record_is_lost_between_batches_and_row_groups() {
        let records: Vec<_> = (0..ROW_GROUP_RECORDS as u64 + BATCH_RECORDS as u64 + 1)
            .map(|n| samples::random(n % 3000))
            .collect();
        let (groups, batches) = written(&records);
        assert_eq!(groups, 2);
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
