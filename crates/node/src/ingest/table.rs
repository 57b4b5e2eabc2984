//! Rows read from a file, on their way from cells to typed columns.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::util::display::array_value_to_string;
use civicmesh_model::time::UtcMicros;

use super::cell::Cell;
use super::column::ColumnBuilder;
use super::error::IngestError;
use super::reject::{Reason, Reject, shown};

/// Columns under construction.
pub(super) struct Table {
    columns: Vec<ColumnBuilder>,
    /// The line of each row that is not broken.
    lines: Vec<u64>,
    rejected: Vec<usize>,
    rejects: Vec<Reject>,
    rows_read: u64,
    rows_from: u64,
}

/// A stretch of a file's rows as columns. Rows that are rejected or filtered drop out as it goes on.
pub(super) struct Chunk {
    /// The rows of the file that it stands for.
    pub rows: Range<u64>,
    /// The physical line on which each row that is left starts, counted from 1; in Parquet the row.
    pub lines: Vec<u64>,
    /// The columns so far: inputs first, then what lookups and expressions add.
    pub columns: Vec<ArrayRef>,
    /// Exact decimals, for each input column that is a measure as it stands.
    pub exact: Vec<Option<ArrayRef>>,
    /// Rows that are not taken.
    pub rejects: Vec<Reject>,
    /// Rows that the contract's filter left out.
    pub filtered: u64,
    /// How many values the contract turned into nulls, by column.
    pub nulled: BTreeMap<Arc<str>, u64>,
}

impl Table {
    pub fn new(columns: Vec<ColumnBuilder>) -> Self {
        let (lines, rejected, rejects) = (Vec::new(), Vec::new(), Vec::new());
        Table { columns, lines, rejected, rejects, rows_read: 0, rows_from: 0 }
    }

    /// Tells what the node's clock shows.
    pub fn set_clock(&mut self, now: UtcMicros) {
        self.columns.iter_mut().for_each(|column| column.set_clock(now));
    }

    /// Takes the row on `line`, whose cell for the n-th column is `cell(n)`.
    pub fn row<'a>(&mut self, line: u64, mut cell: impl FnMut(usize) -> Cell<'a>) {
        let mut fault: Option<(usize, Reason)> = None;
        for (index, column) in self.columns.iter_mut().enumerate() {
            match fault {
                Some(_) => column.push_null(),
                None => fault = column.push(cell(index)).err().map(|reason| (index, reason)),
            }
        }
        if let Some((index, reason)) = fault {
            let column = Some(self.columns[index].name.clone());
            self.rejects.push(Reject { line, column, value: shown(&cell(index).shown()), reason });
            self.rejected.push(self.lines.len());
        }
        self.lines.push(line);
        self.rows_read += 1;
    }

    /// Rejects what stands on `line` as a whole; `start` is shown.
    pub fn broken(&mut self, line: u64, reason: Reason, start: &[u8]) {
        let value = shown(&String::from_utf8_lossy(start));
        self.rejects.push(Reject { line, column: None, value, reason });
        self.rows_read += 1;
    }

    /// Bytes of the rows since the last [`Table::take`], near enough: text, and eight bytes for what else a column
    /// holds.
    pub fn bytes(&self) -> usize {
        let text: usize = self.columns.iter().map(ColumnBuilder::text_bytes).sum();
        text + self.lines.len() * self.columns.len() * 8
    }

    /// The rows since the last call.
    pub fn take(&mut self) -> Chunk {
        let rows = self.rows_from..self.rows_read;
        self.rows_from = self.rows_read;
        let nulled = self.columns.iter_mut().map(|column| (column.name.clone(), std::mem::take(&mut column.nulled)));
        let nulled = nulled.filter(|(_, values)| *values > 0).collect();
        let (columns, exact) = self.columns.iter_mut().map(ColumnBuilder::finish).unzip();
        let mut chunk = Chunk {
            rows,
            lines: std::mem::take(&mut self.lines),
            columns,
            exact,
            rejects: std::mem::take(&mut self.rejects),
            filtered: 0,
            nulled,
        };
        let rejected = std::mem::take(&mut self.rejected);
        chunk.drop_rows(&rejected);
        chunk
    }
}

impl Chunk {
    /// How many rows are left.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Rejects the rows at these positions (ascending) on account of `column`, whose values are shown.
    pub fn reject(&mut self, faults: &[(usize, Reason)], column: &Arc<str>, values: Option<&dyn Array>) {
        for &(at, reason) in faults {
            let value = values.and_then(|values| array_value_to_string(values, at).ok()).unwrap_or_default();
            let (line, column) = (self.lines[at], Some(column.clone()));
            self.rejects.push(Reject { line, column, value: shown(&value), reason });
        }
        let rows: Vec<usize> = faults.iter().map(|fault| fault.0).collect();
        self.drop_rows(&rows);
    }

    /// Notes that `values` values of `column` became null.
    pub fn note_nulled(&mut self, column: &Arc<str>, values: usize) {
        if values > 0 {
            *self.nulled.entry(column.clone()).or_default() += values as u64;
        }
    }

    /// Leaves out the rows at these positions, ascending.
    pub fn drop_rows(&mut self, rows: &[usize]) {
        if rows.is_empty() {
            return;
        }
        let mut keep = vec![true; self.len()];
        rows.iter().for_each(|&at| keep[at] = false);
        let mut kept = keep.iter();
        self.lines.retain(|_| *kept.next().expect("one flag a row"));
        let keep = BooleanArray::from(keep);
        let filtered = |array: &ArrayRef| filter(array, &keep).expect("one flag a row, in types that filter knows");
        for array in self.columns.iter_mut().chain(self.exact.iter_mut().flatten()) {
            *array = filtered(array);
        }
    }

    /// The rows that are left, as a batch of the first columns, which are those of `schema`.
    pub fn batch(&self, schema: &SchemaRef) -> Result<RecordBatch, IngestError> {
        let columns = self.columns[..schema.fields().len()].to_vec();
        let options = RecordBatchOptions::new().with_row_count(Some(self.len()));
        RecordBatch::try_new_with_options(schema.clone(), columns, &options)
            .map_err(|_| IngestError::Contract(format!("columns of other types than {}", names(schema))))
    }
}

fn names(schema: &Schema) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    names.join(", ")
}
