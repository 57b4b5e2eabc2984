//! Parquet: typed columns, read a batch at a time.
//!
//! A hostile file can make the `parquet` crate panic; the panic is caught here and says that the file is damaged. It
//! could also make the crate reserve more memory than there is, which nothing catches: so the footer ([`super::thrift`])
//! and the header of each page ([`super::pages`]) are looked at before they are decoded, and texts are read as views
//! into their pages, so that a value that a dictionary holds once is not copied for each row that has it.

use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use civicmesh_model::contract::InputKind;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::{FooterTail, ParquetMetaDataReader};

use super::cell::Cell;
use super::error::IngestError;
use super::pages::Pages;
use super::spool::Spool;
use super::thrift;

/// Rows decoded at a time.
const BATCH_ROWS: usize = 1_024;
/// Longest footer, in bytes.
const FOOTER_BYTES_MAX: usize = 16 << 20;
/// Bytes at the end of a file: the footer's length, and that it is Parquet.
const TAIL_BYTES: usize = 8;

const DAMAGED: IngestError = IngestError::Damaged("it is not readable as Parquet");

/// Rows of a Parquet file, of which some columns are read.
pub(super) struct ParquetRows {
    batches: ParquetRecordBatchReader,
    pages: Pages,
    /// For each column of the contract, its place among those read.
    places: Vec<usize>,
    batch: Vec<ArrayRef>,
    next: usize,
    length: usize,
    row: u64,
    rows_total: u64,
}

/// The columns of a Parquet file.
pub(super) fn schema(spool: &Spool) -> Result<SchemaRef, IngestError> {
    Ok(Arc::clone(metadata(spool)?.schema()))
}

/// The file's footer, decoded once it has been walked.
fn metadata(spool: &Spool) -> Result<ArrowReaderMetadata, IngestError> {
    let footer = footer(spool)?;
    thrift::check_footer(&footer).map_err(|fault| match fault {
        thrift::Fault::Columns => IngestError::TooWide { columns_max: thrift::COLUMNS_MAX },
        thrift::Fault::Short | thrift::Fault::Malformed => DAMAGED,
    })?;
    let decoded = guarded(|| {
        let metadata = Arc::new(ParquetMetaDataReader::decode_metadata(&footer)?);
        let found = ArrowReaderMetadata::try_new(Arc::clone(&metadata), ArrowReaderOptions::new())?;
        let views = Arc::new(with_views(found.schema()));
        ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new().with_schema(views))
    });
    decoded?.map_err(|_| DAMAGED)
}

/// The bytes of the file's footer.
fn footer(spool: &Spool) -> Result<Vec<u8>, IngestError> {
    let file = spool.file()?;
    let read = |length: usize, end: u64| {
        let start = end.checked_sub(length as u64).ok_or(DAMAGED)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, start).map_err(IngestError::io("reading the upload"))?;
        Ok::<_, IngestError>(bytes)
    };
    let tail = FooterTail::try_from(read(TAIL_BYTES, spool.bytes)?.as_slice()).map_err(|_| DAMAGED)?;
    if tail.is_encrypted_footer() {
        return Err(IngestError::Foreign { what: "encrypted Parquet", mend: "decrypt it first" });
    }
    if tail.metadata_length() > FOOTER_BYTES_MAX {
        return Err(IngestError::Damaged("its footer is longer than is read"));
    }
    read(tail.metadata_length(), spool.bytes - TAIL_BYTES as u64)
}

/// The same columns, texts as views.
fn with_views(schema: &Schema) -> Schema {
    let viewed = |field: &Arc<Field>| match field.data_type() {
        DataType::Dictionary(_, values) if is_text(values) => {
            Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View))
        }
        holds if is_text(holds) => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        _ => Arc::clone(field),
    };
    let fields: Vec<_> = schema.fields().iter().map(viewed).collect();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

fn is_text(holds: &DataType) -> bool {
    matches!(holds, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn rows_total(builder: &ParquetRecordBatchReaderBuilder<Pages>) -> Result<u64, IngestError> {
    u64::try_from(builder.metadata().file_metadata().num_rows()).map_err(|_| DAMAGED)
}

fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, IngestError> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| DAMAGED)
}

/// Whether a column that holds `holds` can be what the contract says.
pub(super) fn can_be(holds: &DataType, kind: InputKind) -> bool {
    let holds = match holds {
        DataType::Dictionary(_, values) => values,
        other => other,
    };
    let text = is_text(holds);
    let number = holds.is_floating() || holds.is_decimal();
    match kind {
        _ if text || matches!(holds, DataType::Null) => true,
        InputKind::Text => holds.is_integer() || number || matches!(holds, DataType::Boolean),
        InputKind::Integer | InputKind::Number => holds.is_integer() || number,
        InputKind::Boolean => holds.is_integer() || matches!(holds, DataType::Boolean),
        InputKind::Timestamp => {
            holds.is_integer() || matches!(holds, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
        }
    }
}

impl ParquetRows {
    /// Reads the columns at `roots` (places in the file's schema), one for each of the contract's.
    pub fn new(spool: &Spool, roots: &[usize]) -> Result<Self, IngestError> {
        let metadata = metadata(spool)?;
        let file = spool.file()?;
        let pages = guarded(|| Pages::new(file, spool.bytes, metadata.metadata()))?.ok_or(DAMAGED)?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(pages.clone(), metadata);
        let rows_total = rows_total(&builder)?;
        let mut read = roots.to_vec();
        read.sort_unstable();
        read.dedup();
        let place = |root: &usize| read.binary_search(root).expect("each root is among those read");
        let places = roots.iter().map(place).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), read.iter().copied());
        let rows = if is_copied(&builder, &mask) { 1 } else { BATCH_ROWS };
        let batches = guarded(|| builder.with_projection(mask).with_batch_size(rows).build())?.map_err(|_| DAMAGED)?;
        Ok(ParquetRows { batches, pages, places, batch: Vec::new(), next: 0, length: 0, row: 0, rows_total })
    }

    /// Goes on to the next row and gives its number, counted from 1; None at the end.
    pub fn advance(&mut self) -> Result<Option<u64>, IngestError> {
        self.next += 1;
        while self.next >= self.length {
            self.pages.begin_batch();
            let Some(batch) = guarded(|| self.batches.next())? else {
                return Ok(None);
            };
            let batch = batch.map_err(|_| self.pages.refused().unwrap_or(DAMAGED))?;
            let columns = self.places.iter().map(|&place| plain(batch.column(place)));
            self.batch = columns.collect::<Result<_, _>>()?;
            (self.next, self.length) = (0, batch.num_rows());
        }
        self.row += 1;
        Ok(Some(self.row))
    }

    /// How much of the file's `bytes` the rows passed so far stand for.
    pub fn consumed(&self, bytes: u64) -> u64 {
        let share = self.row as f64 / self.rows_total.max(1) as f64;
        (share * bytes as f64) as u64
    }

    /// Bytes of the current row's texts.
    pub fn text_bytes(&self) -> usize {
        let text = |array: &ArrayRef| array.as_string_view_opt().map_or(0, |texts| texts.value(self.next).len());
        self.batch.iter().map(text).sum()
    }

    /// The current row's cell of the n-th column.
    pub fn cell(&self, column: usize) -> Cell<'_> {
        let (array, row) = (&self.batch[column], self.next);
        if array.is_null(row) {
            return Cell::Null;
        }
        match array.data_type() {
            DataType::Boolean => Cell::Boolean(array.as_boolean().value(row)),
            DataType::Int64 => Cell::Integer(array.as_primitive::<Int64Type>().value(row)),
            DataType::Float32 => Cell::Single(array.as_primitive::<Float32Type>().value(row)),
            DataType::Float64 => Cell::Double(array.as_primitive::<Float64Type>().value(row)),
            DataType::Utf8View => Cell::Text(array.as_string_view().value(row).as_bytes()),
            DataType::Timestamp(_, zone) => {
                let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
                if zone.is_some() { Cell::Instant(micros) } else { Cell::Local(micros) }
            }
            _ => Cell::Null,
        }
    }
}

/// Whether some column that is read is copied value by value: decimals held as bytes, of which each may be as long as its
/// page. Such a file is read row by row.
fn is_copied(builder: &ParquetRecordBatchReaderBuilder<Pages>, mask: &ProjectionMask) -> bool {
    let schema = builder.parquet_schema();
    (0..schema.num_columns()).filter(|&leaf| mask.leaf_included(leaf)).any(|leaf| {
        let holds = builder.schema().field(schema.get_column_root_idx(leaf)).data_type();
        schema.column(leaf).physical_type() == PhysicalType::BYTE_ARRAY && *holds != DataType::Utf8View
    })
}

/// The array as one of the few types that a cell is read from.
fn plain(array: &ArrayRef) -> Result<ArrayRef, IngestError> {
    use DataType::{
        Boolean, Date32, Date64, Dictionary, Float16, Float32, Float64, Int64, Null, Timestamp, UInt64, Utf8View,
    };
    let micros = |zone: &Option<_>| Timestamp(TimeUnit::Microsecond, Option::clone(zone));
    let wanted = match array.data_type() {
        Dictionary(_, values) => {
            let values = cast(array, values).map_err(|_| DAMAGED)?;
            return plain(&values);
        }
        Boolean => Boolean,
        Float16 | Float32 => Float32,
        Float64 => Float64,
        Utf8View => return Ok(Arc::clone(array)),
        // beyond i64; the reader of cells knows what to do with text
        UInt64 => Utf8View,
        Timestamp(_, zone) => micros(zone),
        Date32 | Date64 => micros(&None),
        Null => Utf8View,
        integer if integer.is_integer() => Int64,
        _ => Utf8View,
    };
    cast(array, &wanted).map_err(|_| DAMAGED)
}
