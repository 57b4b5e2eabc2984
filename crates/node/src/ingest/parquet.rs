//! Parquet: typed columns, read a batch at a time.
//!
//! A hostile file can make the `parquet` crate panic; the panic is caught here and says that the file is damaged.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType};
use civicmesh_model::contract::InputKind;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::cell::Cell;
use super::error::IngestError;
use super::spool::Spool;

/// Rows decoded at a time.
const BATCH_ROWS: usize = 8_192;

const DAMAGED: IngestError = IngestError::Damaged("it is not readable as Parquet");

/// Rows of a Parquet file, of which some columns are read.
pub(super) struct ParquetRows {
    batches: ParquetRecordBatchReader,
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
    Ok(builder(spool)?.schema().clone())
}

fn builder(spool: &Spool) -> Result<ParquetRecordBatchReaderBuilder<File>, IngestError> {
    let file = spool.file()?;
    guarded(|| ParquetRecordBatchReaderBuilder::try_new(file))?.map_err(|_| DAMAGED)
}

fn rows_total(builder: &ParquetRecordBatchReaderBuilder<File>) -> Result<u64, IngestError> {
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
    let text = matches!(holds, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
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
        let builder = builder(spool)?;
        let rows_total = rows_total(&builder)?;
        let mut read = roots.to_vec();
        read.sort_unstable();
        read.dedup();
        let place = |root: &usize| read.binary_search(root).expect("each root is among those read");
        let places = roots.iter().map(place).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), read.iter().copied());
        let batches =
            guarded(|| builder.with_projection(mask).with_batch_size(BATCH_ROWS).build())?.map_err(|_| DAMAGED)?;
        Ok(ParquetRows { batches, places, batch: Vec::new(), next: 0, length: 0, row: 0, rows_total })
    }

    /// Goes on to the next row and gives its number, counted from 1; None at the end.
    pub fn advance(&mut self) -> Result<Option<u64>, IngestError> {
        self.next += 1;
        while self.next >= self.length {
            let Some(batch) = guarded(|| self.batches.next())? else {
                return Ok(None);
            };
            let batch = batch.map_err(|_| DAMAGED)?;
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
            DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row).as_bytes()),
            DataType::Timestamp(_, zone) => {
                let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
                if zone.is_some() { Cell::Instant(micros) } else { Cell::Local(micros) }
            }
            _ => Cell::Null,
        }
    }
}

/// The array as one of the few types that a cell is read from.
fn plain(array: &ArrayRef) -> Result<ArrayRef, IngestError> {
    use DataType::{
        Boolean, Date32, Date64, Dictionary, Float16, Float32, Float64, Int64, Null, Timestamp, UInt64, Utf8,
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
        // beyond i64; the reader of cells knows what to do with text
        UInt64 => Utf8,
        Timestamp(_, zone) => micros(zone),
        Date32 | Date64 => micros(&None),
        Null => Utf8,
        integer if integer.is_integer() => Int64,
        _ => Utf8,
    };
    cast(array, &wanted).map_err(|_| DAMAGED)
}
