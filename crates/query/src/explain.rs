//! EXPLAIN: beside the plan, which releases the question reads, from whom, of which revisions, and how much of the disk.
//!
//! A row a line of the plan, as DataFusion has it, then a row a product: `plan_type` is `releases`, `plan` says it in
//! words, and the columns after it, null in the plan's rows, say it to programs. What is read is read from the disk
//! anew, whatever was kept of other questions.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use civicmesh_ledger::{RowKind, Segment};
use civicmesh_model::release::{Entry, Release};
use civicmesh_model::time::{UtcMicros, Zone};
use datafusion::common::Result;

use crate::civil::time_type;
use crate::completeness::{self, ProductCompleteness};
use crate::error::QueryError;

/// What `plan_type` says of a product's row.
const RELEASES: &str = "releases";

/// What was read of a product.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail {
    releases: i64,
    revised: i64,
    /// The lowest and the highest.
    revisions: Option<(u32, u32)>,
    cells: i64,
    refusals: i64,
    empty_windows: i64,
    /// From the first one's start until the last one's end.
    stretch: Option<(UtcMicros, UtcMicros)>,
    /// The first and the last index in the owner's log.
    log: Option<(u64, u64)>,
    segments: i64,
    entries: i64,
    bytes: u64,
    /// Where the segment that was read last begins, and how much of it was read.
    last: Option<(UtcMicros, u64)>,
}

/// A product's row.
pub(crate) struct TrailRow {
    product: String,
    owner: String,
    contract_version: String,
    method: String,
    trail: Trail,
}

impl Trail {
    fn stands(&mut self, index: u64, start: UtcMicros, end: UtcMicros) {
        self.log = Some(self.log.map_or((index, index), |(first, last)| (first.min(index), last.max(index))));
        self.stretch = Some(self.stretch.map_or((start, end), |(from, until)| (from.min(start), until.max(end))));
    }

    fn release(&mut self, revision: u32, cells: usize) {
        self.releases += 1;
        self.revised += i64::from(revision > 0);
        let (least, greatest) = self.revisions.unwrap_or((revision, revision));
        self.revisions = Some((least.min(revision), greatest.max(revision)));
        self.cells += cells as i64;
    }

    /// An entry that is in no segment.
    pub(crate) fn entry(&mut self, index: u64, entry: &Entry) {
        let window = entry.window();
        self.stands(index, window.start, window.end);
        match entry {
            Entry::Release(Release { revision, cells, .. }) => self.release(*revision, cells.len()),
            Entry::Refusal(_) => self.refusals += 1,
            Entry::Empty(run) => self.empty_windows += run.windows as i64,
        }
        self.entries += 1;
        self.bytes += entry.encode().len() as u64;
    }

    /// Rows of a segment, after its columns were read.
    pub(crate) fn rows(&mut self, segment: &Segment<'_>, rows: Range<usize>) {
        for row in rows {
            let at = &segment.rows()[row];
            self.stands(at.index, at.start, at.end);
            match at.kind {
                RowKind::Release => self.release(at.revision, segment.cells_of(row..row + 1).len()),
                RowKind::Refusal => self.refusals += 1,
                RowKind::Empty { .. } => self.empty_windows += at.windows as i64,
            }
        }
        let Some(first) = segment.rows().first() else { return };
        let read = segment.bytes_read();
        match self.last {
            Some((start, before)) if start == first.start => self.bytes += read - before,
            _ => {
                self.segments += 1;
                self.bytes += read;
            }
        }
        self.last = Some((first.start, read));
    }

    /// The row of the product that was read with this completeness.
    pub(crate) fn row(self, of: &ProductCompleteness) -> TrailRow {
        TrailRow {
            product: of.product.to_string(),
            owner: of.owner.to_string(),
            contract_version: of.contract_version.clone(),
            method: completeness::method(of.method),
            trail: self,
        }
    }
}

impl TrailRow {
    /// In words.
    fn text(&self, zone: Zone) -> String {
        let Self { product, owner, contract_version, method, trail } = self;
        let local = |at: UtcMicros| zone.to_local(at).format("%Y-%m-%d %H:%M");
        let (Some((from, until)), Some((first, last))) = (trail.stretch, trail.log) else {
            return format!("{product} of {owner}: nothing is read");
        };
        let revisions = match trail.revisions {
            Some((least, greatest)) if greatest > 0 => {
                format!(" of revisions {least} to {greatest}, {} revised", trail.revised)
            }
            _ => String::new(),
        };
        format!(
            "{product} of {owner}, contract {contract_version}, {method}: {} releases{revisions}, {} refusals, {} empty \
             windows, from {} until {}, entries {first} to {last} of its log; {} cells, from {} segments and {} entries, \
             {} bytes",
            trail.releases,
            trail.refusals,
            trail.empty_windows,
            local(from),
            local(until),
            trail.cells,
            trail.segments,
            trail.entries,
            trail.bytes,
        )
    }
}

/// The columns of every EXPLAIN: they only grow at the end.
pub(crate) fn schema(zone: Zone) -> SchemaRef {
    let always = |name: &str| Field::new(name, DataType::Utf8, false);
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    let time = |name: &str| Field::new(name, time_type(zone), true);
    Arc::new(Schema::new(vec![
        always("plan_type"),
        always("plan"),
        text("product"),
        text("owner"),
        text("contract_version"),
        text("method"),
        time("windows_from"),
        time("windows_until"),
        number("releases"),
        number("releases_revised"),
        number("revision_min"),
        number("revision_max"),
        number("refusals"),
        number("windows_empty"),
        number("log_first"),
        number("log_last"),
        number("cells"),
        number("segments"),
        number("entries"),
        number("bytes"),
    ]))
}

fn blank<T: Clone>(rows: usize) -> impl Iterator<Item = Option<T>> {
    std::iter::repeat_n(None, rows)
}

/// The plan's rows, then a row for each product.
pub(crate) fn beside(plan: &[RecordBatch], rows: &[TrailRow], zone: Zone) -> Result<Vec<RecordBatch>> {
    let schema = schema(zone);
    let planned: usize = plan.iter().map(RecordBatch::num_rows).sum();
    let of_plan = |column: usize, then: StringArray| -> Result<ArrayRef> {
        let texts = plan.iter().map(|batch| cast(batch.column(column), &DataType::Utf8));
        let mut texts = texts.collect::<std::result::Result<Vec<_>, _>>()?;
        texts.push(Arc::new(then));
        Ok(concat(&texts.iter().map(AsRef::as_ref).collect::<Vec<_>>())?)
    };
    let text = |of: fn(&TrailRow) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter(blank(planned).chain(rows.iter().map(|row| Some(of(row))))))
    };
    let number = |of: &dyn Fn(&Trail) -> Option<i64>| -> ArrayRef {
        Arc::new(Int64Array::from_iter(blank(planned).chain(rows.iter().map(|row| of(&row.trail)))))
    };
    let time = |of: fn((UtcMicros, UtcMicros)) -> UtcMicros| -> ArrayRef {
        let times = blank(planned).chain(rows.iter().map(|row| row.trail.stretch.map(|stretch| of(stretch).0)));
        Arc::new(TimestampMicrosecondArray::from_iter(times).with_timezone(zone.name()))
    };
    let columns = vec![
        of_plan(0, StringArray::from_iter_values(rows.iter().map(|_| RELEASES)))?,
        of_plan(1, StringArray::from_iter_values(rows.iter().map(|row| row.text(zone))))?,
        text(|row| &row.product),
        text(|row| &row.owner),
        text(|row| &row.contract_version),
        text(|row| &row.method),
        time(|(from, _)| from),
        time(|(_, until)| until),
        number(&|trail| Some(trail.releases)),
        number(&|trail| Some(trail.revised)),
        number(&|trail| trail.revisions.map(|(least, _)| least.into())),
        number(&|trail| trail.revisions.map(|(_, greatest)| greatest.into())),
        number(&|trail| Some(trail.refusals)),
        number(&|trail| Some(trail.empty_windows)),
        number(&|trail| trail.log.and_then(|(first, _)| i64::try_from(first).ok())),
        number(&|trail| trail.log.and_then(|(_, last)| i64::try_from(last).ok())),
        number(&|trail| Some(trail.cells)),
        number(&|trail| Some(trail.segments)),
        number(&|trail| Some(trail.entries)),
        number(&|trail| i64::try_from(trail.bytes).ok()),
    ];
    let rows = RecordBatch::try_new(schema, columns);
    Ok(vec![rows.map_err(|_| QueryError::Internal("EXPLAIN has other columns than it says"))?])
}
