//! The columns of a flow log to flow reports, row by row.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

use crate::telemetry::decode::{Bad, Decoder, Out};
use crate::telemetry::flow_log::aws::fields::Field;
use crate::telemetry::flow_log::aws::record::Parts;

/// Rows that are handed out at once.
const BATCH_ROWS: usize = 1024;

/// Reads a flow log in columns.
#[derive(Default)]
pub(super) struct Columns {
    reader: Option<ParquetRecordBatchReader>,
    /// Of the columns that are read.
    fields: Vec<Field>,
}

impl Decoder for Columns {
    fn record(&mut self, _: &[u8], _: &mut Out) -> Result<(), Bad> {
        Err(Bad::new("Parquet is read as a whole file"))
    }

    fn file(&mut self, path: &Path, out: &mut Out) -> io::Result<()> {
        let file = Pages(File::open(path)?);
        guarded(|| self.open(file, out))
    }

    fn next_part(&mut self, out: &mut Out) -> io::Result<bool> {
        let Some(reader) = &mut self.reader else { return Ok(false) };
        let batch = guarded(|| reader.next().transpose().map_err(invalid))?;
        let Some(batch) = batch else {
            self.reader = None;
            return Ok(false);
        };
        self.rows(&batch, out)?;
        Ok(true)
    }
}

impl Columns {
    fn open(&mut self, file: Pages, out: &mut Out) -> io::Result<()> {
        // By the types of the file itself, whatever wrote it thought of them.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
            .map_err(invalid)?;
        let mut read = Vec::new();
        for (index, column) in builder.schema().fields().iter().enumerate() {
            let is_read = is_text(column.data_type()) || column.data_type().is_integer();
            if is_read {
                read.push(index);
                self.fields.push(Field::named(column.name()));
            } else {
                out.unknown_field(column.name());
            }
        }
        self.check().map_err(|missing| {
            let names = builder.schema().fields().iter().map(|field| field.name().as_str());
            let names = names.take(8).collect::<Vec<_>>().join(", ");
            invalid(format!("no flow log of AWS: {missing} among its columns ({names}, ...)"))
        })?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), read);
        let builder = builder.with_projection(mask).with_batch_size(BATCH_ROWS);
        self.reader = Some(builder.build().map_err(invalid)?);
        Ok(())
    }

    /// What a flow log can't be without.
    fn check(&self) -> Result<(), &'static str> {
        let any = |wanted: fn(&Field) -> bool| self.fields.iter().any(wanted);
        if !any(|field| matches!(field, Field::Source | Field::PacketSource)) {
            Err("no srcaddr")
        } else if !any(|field| matches!(field, Field::Destination | Field::PacketDestination)) {
            Err("no dstaddr")
        } else if !any(|field| matches!(field, Field::Start | Field::End)) {
            Err("no start or end")
        } else {
            Ok(())
        }
    }

    fn rows(&self, batch: &RecordBatch, out: &mut Out) -> io::Result<()> {
        let columns: Vec<_> = batch.columns().iter().map(Cells::of).collect::<Result<_, _>>()?;
        let labels = self.fields.iter().filter(|field| field.is_label()).count();
        for row in 0..batch.num_rows() {
            let mut parts = Parts::new(labels);
            let taken = self.fields.iter().zip(&columns).try_for_each(|(field, cells)| {
                cells.with(row, |value| parts.take(field, value, out)).unwrap_or(Ok(()))
            });
            if let Err(bad) = taken.and_then(|()| parts.report(out)) {
                out.bad_part(bad.reason);
            }
        }
        Ok(())
    }
}

fn is_text(data_type: &DataType) -> bool {
    // Writers that leave out the annotation have bytes.
    matches!(data_type, DataType::Utf8 | DataType::Binary)
}

/// The values of a column.
enum Cells {
    Text(ArrayRef),
    Bytes(ArrayRef),
    Number(ArrayRef),
}

impl Cells {
    fn of(column: &ArrayRef) -> io::Result<Self> {
        Ok(match column.data_type() {
            DataType::Utf8 => Self::Text(column.clone()),
            DataType::Binary => Self::Bytes(column.clone()),
            _ => Self::Number(cast(column, &DataType::Int64).map_err(invalid)?),
        })
    }

    /// Of a row that has one: null, and `-` as in text, is none.
    fn with<T>(&self, row: usize, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let mut digits = itoa::Buffer::new();
        let value = match self {
            Self::Text(cells) | Self::Bytes(cells) | Self::Number(cells) if cells.is_null(row) => {
                return None;
            }
            Self::Text(cells) => cells.as_string::<i32>().value(row).as_bytes(),
            Self::Bytes(cells) => cells.as_binary::<i32>().value(row),
            Self::Number(cells) => {
                digits.format(cells.as_primitive::<Int64Type>().value(row)).as_bytes()
            }
        };
        (value != b"-").then(|| take(value))
    }
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// Calls the library, which panics on some damaged files (a test damages them).
fn guarded<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    crate::guarded::guarded(call)
        .unwrap_or_else(|| Err(invalid("damaged so that its columns can't be read")))
}

/// A file whose pages are looked at before the library unpacks them: it goes on for
/// as long as GZIP has more, whatever the page's header says.
struct Pages(File);

/// Writers make pages of about 1 MiB, some of 100.
const MAX_PAGE_BYTES: u64 = 256 << 20;

/// GZIP unpacks to at most 1032 times as much: less than this can't be too long.
const UNSUSPECTED_BYTES: usize = (MAX_PAGE_BYTES / 1032) as usize;

impl Length for Pages {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Pages {
    type T = <File as ChunkReader>::T;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        self.0.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let page = self.0.get_bytes(start, length)?;
        if page.len() > UNSUSPECTED_BYTES && unpacks_too_long(&page) {
            return Err(ParquetError::General("a page that unpacks to too much".to_owned()));
        }
        Ok(page)
    }
}

/// Whether anything in a page is GZIP of more than a page has. Levels, which are not
/// packed, may come before it.
fn unpacks_too_long(page: &[u8]) -> bool {
    const MAGIC: &[u8] = b"\x1f\x8b\x08";
    /// By chance there are a few; more are made to keep us busy.
    const MOST_STARTS: usize = 64;
    let (mut left, mut starts) = (MAX_PAGE_BYTES, 0);
    for start in memchr::memmem::find_iter(page, MAGIC) {
        starts += 1;
        let mut unpacked = MultiGzDecoder::new(&page[start..]).take(left);
        // Where it is no GZIP after all it ends with an error.
        let mut sink = Counted(0);
        let _ = io::copy(&mut unpacked, &mut sink);
        left = left.saturating_sub(sink.0);
        if left == 0 || starts > MOST_STARTS {
            return true;
        }
    }
    false
}

/// Counts what is written, until an error too.
struct Counted(u64);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
