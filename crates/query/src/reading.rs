//! Reads a product's cells for a question out of one snapshot, and finds on the way how complete they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder, StructArray, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use civicmesh_model::contract::{Contract, Method, Statistic};
use civicmesh_model::grain::Window;
use civicmesh_model::hash::Hash32;
use civicmesh_model::number::MeasureState;
use civicmesh_model::release::{EmptyRun, Entry, MethodTag, Release, ShareBand};
use civicmesh_model::time::UtcMicros;
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};

use crate::completeness::ProductCompleteness;
use crate::error::{QueryError, RefusalCode};
use crate::limits::Limits;
use crate::product::{Product, Read};
use crate::scans::{Predicate, Scans};
use crate::shelf::{Shelf, Standing};
use crate::state::{state_columns, state_fields};

/// Cells in one batch.
const BATCH_CELLS: usize = 8_192;

/// What reading needs, whatever the product.
pub(crate) struct Reader<'a> {
    pub shelf: &'a Shelf<'a>,
    pub state: &'a SessionState,
    pub now: UtcMicros,
    pub limits: &'a Limits,
    /// The memory of all that was read so far for the question.
    pub memory: MemoryReservation,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(shelf: &'a Shelf<'a>, state: &'a SessionState, now: UtcMicros, limits: &'a Limits) -> Self {
        let memory = MemoryConsumer::new("cells").register(&state.runtime_env().memory_pool);
        Self { shelf, state, now, limits, memory }
    }

    /// Reads what the scans need, lays it down at the product, and says how complete it is.
    pub(crate) fn read(&self, scans: &Scans, standing: &Standing) -> Result<ProductCompleteness> {
        let product = &scans.product;
        let stretch = scans.stretch();
        let range = stretch.from.unwrap_or(UtcMicros::MIN)..stretch.until.unwrap_or(UtcMicros::MAX);
        let mut pass = Pass::new(scans, self)?;
        if range.start < range.end {
            self.shelf.visit::<DataFusionError>(product.id(), range, &mut |entry| pass.take(&entry))?;
        }
        pass.cells.flush(&self.memory)?;
        let count = self.count(scans, standing, &pass.seen)?;
        let (cells, read) = pass.cells.into_read();
        product.lay(read)?;
        let Standing {
            own, granted, closed_through, newest_window, head_confirmed_at, unreachable_since, found_out, ..
        } = standing.clone();
        let completeness = ProductCompleteness {
            product: product.id().clone(),
            owner: product.id().domain.clone(),
            own,
            granted,
            windows_expected: count.expected,
            windows_present: count.present,
            windows_empty: count.empty,
            windows_missing: count.missing,
            windows_refused: count.refused,
            windows_open: count.open,
            windows_expired: count.expired,
            closed_through,
            newest_window,
            head_confirmed_at,
            head_age_us: head_confirmed_at.map(|at| self.now.since(at).micros()),
            unreachable_since,
            cells,
            cells_suppressed: pass.suppressed.passing,
            suppressed_share: pass.share,
            method: method(&product.contract),
            contract_version: product.contract.version.clone(),
            revision_max: count.revision_max,
            found_out,
            exact: false,
            note: String::new(),
        };
        Ok(completeness.conclude())
    }

    /// Counts the windows that the question expects by what became of them.
    fn count(&self, scans: &Scans, standing: &Standing, seen: &[Seen]) -> Result<Count> {
        let product = &scans.product;
        let zone = product.zone();
        let times = Arc::new(product.cells_schema().project(&[0])?);
        let windows = scans.predicate(self.state, &times)?;
        let coverage = &product.contract.coverage;
        let stretch = scans.stretch();
        let start = zone.start_of_local(coverage.start);
        let end = coverage.end.map(|end| zone.start_of_local(end));
        let from = stretch.from.map_or(start, |from| from.max(start));
        let until = match (stretch.until, end) {
            (Some(until), Some(end)) => until.min(end),
            (Some(until), None) => until,
            (None, Some(end)) => end,
            (None, None) => standing.closed_through.unwrap_or(start),
        };
        let until = until.min(self.now);
        let touched = |starts: Vec<i64>| -> Result<_> {
            let column = TimestampMicrosecondArray::from(starts).with_timezone(zone.name());
            let batch = RecordBatch::try_new(times.clone(), vec![Arc::new(column)])?;
            windows.passing(&batch)
        };
        let mut count = Count::default();
        let passing = touched(seen.iter().map(|seen| seen.window.start.0).collect())?;
        for (seen, passing) in seen.iter().zip(passing.values().iter()) {
            if let (SeenKind::Released { revision, lacking }, true) = (&seen.kind, passing) {
                count.revision_max = count.revision_max.max(Some(*revision));
                if let Some((measure, statistic)) = lacking {
                    return Err(not_yet_published(product, *measure, *statistic, seen.window).into());
                }
            }
        }
        let expected: Vec<Window> = product.calendar.windows(from, until).take(self.limits.windows_max + 1).collect();
        if expected.len() > self.limits.windows_max {
            let limit = self.limits.windows_max as u64;
            return Err(QueryError::TooLarge { what: "the number of windows of one product", limit }.into());
        }
        let passing = touched(expected.iter().map(|window| window.start.0).collect())?;
        let mut seen = seen.iter().peekable();
        for (window, passing) in expected.iter().zip(passing.values().iter()) {
            while seen.next_if(|seen| seen.window.end <= window.start).is_some() {}
            if passing {
                let found = seen.peek().filter(|seen| seen.window.contains(window.start));
                let expired = standing.expired_through.is_some_and(|expired| window.end <= expired);
                count.add(found.map(|seen| &seen.kind), expired);
            }
        }
        Ok(count)
    }
}

fn method(contract: &Contract) -> MethodTag {
    match &contract.method {
        Method::Open { .. } => MethodTag::Open,
        Method::Threshold { k, .. } => MethodTag::Threshold { k: *k },
    }
}

fn not_yet_published(product: &Product, measure: usize, statistic: Statistic, window: Window) -> QueryError {
    let name = &product.contract.measures[measure].name;
    let local = product.zone().to_local(window.start).format("%Y-%m-%d %H:%M");
    QueryError::Refused {
        code: RefusalCode::Statistic,
        message: format!(
            "the window of {} that starts at {local} was released under an earlier contract that did not publish the {} of {name}",
            product.id(),
            statistic.as_str()
        ),
        instead: format!("a later stretch of time, with {} >= …, or another statistic", product.time()),
    }
}

/// One pass over a product's entries.
struct Pass<'a> {
    product: &'a Product,
    memory: &'a MemoryReservation,
    versions: Versions<'a>,
    cells: Gathering,
    suppressed: Gathering,
    /// The largest share that a window holds back of which a suppressed cell passed.
    share: ShareBand,
    seen: Vec<Seen>,
}

impl<'a> Pass<'a> {
    fn new(scans: &'a Scans, reader: &'a Reader<'_>) -> Result<Self> {
        let product = &scans.product;
        let keys = 0..=product.contract.dimensions.len();
        let columns = || scans.columns.iter().copied();
        Ok(Self {
            memory: &reader.memory,
            versions: Versions::new(product, reader.shelf),
            cells: Gathering::new(scans, columns().collect(), reader)?,
            suppressed: Gathering::new(scans, columns().filter(|column| keys.contains(column)).collect(), reader)?,
            share: ShareBand::None,
            seen: Vec::new(),
            product,
        })
    }

    fn take(&mut self, entry: &Entry) -> Result<()> {
        let kind = match entry {
            Entry::Release(release) => self.take_release(release)?,
            Entry::Refusal(_) => SeenKind::Refused,
            Entry::Empty(EmptyRun { zero, .. }) => SeenKind::Empty { zero: *zero },
        };
        self.seen.push(Seen { window: entry.window(), kind });
        Ok(())
    }

    fn take_release(&mut self, release: &Release) -> Result<SeenKind> {
        let layout = Layout::of(self.product, release)?;
        let start = release.window.start;
        for cell in &release.cells {
            self.cells.push(start, &cell.coordinate, &cell.measures, cell.observations, &layout);
        }
        self.cells.flush_full(self.memory)?;
        let before = self.suppressed.passing;
        for cell in &release.suppressed {
            self.suppressed.push(start, &cell.coordinate, &[], 0, &layout);
        }
        self.suppressed.flush_and_drop()?;
        if self.suppressed.passing > before {
            self.share = self.share.max(release.suppressed_share);
        }
        let lacking = if release.cells.is_empty() { None } else { self.versions.lacking(release)? };
        Ok(SeenKind::Released { revision: release.revision, lacking })
    }
}

/// What became of some windows.
struct Seen {
    window: Window,
    kind: SeenKind,
}

enum SeenKind {
    Released {
        revision: u32,
        /// A statistic that the question needs and the release does not have.
        lacking: Option<(usize, Statistic)>,
    },
    Refused,
    Empty {
        zero: bool,
    },
}

/// Expected windows by what became of them.
#[derive(Default)]
struct Count {
    expected: u64,
    present: u64,
    empty: u64,
    missing: u64,
    refused: u64,
    open: u64,
    expired: u64,
    revision_max: Option<u32>,
}

impl Count {
    fn add(&mut self, kind: Option<&SeenKind>, expired: bool) {
        self.expected += 1;
        match kind {
            Some(SeenKind::Released { .. }) => self.present += 1,
            Some(SeenKind::Refused) => self.refused += 1,
            Some(SeenKind::Empty { zero }) => {
                self.empty += 1;
                self.missing += u64::from(!zero);
            }
            None if expired => self.expired += 1,
            None => self.open += 1,
        }
    }
}

/// Which statistics the contracts that releases were made under do not have.
struct Versions<'a> {
    product: &'a Product,
    shelf: &'a Shelf<'a>,
    lacking: BTreeMap<Hash32, Option<(usize, Statistic)>>,
}

impl<'a> Versions<'a> {
    fn new(product: &'a Product, shelf: &'a Shelf<'a>) -> Self {
        Self { product, shelf, lacking: BTreeMap::new() }
    }

    fn lacking(&mut self, release: &Release) -> Result<Option<(usize, Statistic)>, QueryError> {
        if let Some(lacking) = self.lacking.get(&release.contract) {
            return Ok(*lacking);
        }
        let contract = match release.contract == self.product.contract.hash() {
            true => Some(self.product.contract.clone()),
            false => self.shelf.contract(&release.contract)?,
        };
        let contract = contract.ok_or(QueryError::Ledger)?;
        let has = |(measure, statistic): &(usize, Statistic)| {
            let name = &self.product.contract.measures[*measure].name;
            let measure = contract.measures.iter().find(|measure| measure.name == *name);
            measure.is_some_and(|measure| *statistic == Statistic::Count || measure.publishes(*statistic))
        };
        let lacking = self.product.needs().into_iter().find(|need| !has(need));
        self.lacking.insert(release.contract, lacking);
        Ok(lacking)
    }
}

/// Where a release has what its product's contract in force names.
struct Layout {
    dimensions: Vec<usize>,
    /// None where the release does not have the measure.
    measures: Vec<Option<usize>>,
}

impl Layout {
    fn of(product: &Product, release: &Release) -> Result<Self, QueryError> {
        let contract = &product.contract;
        let place = |names: &[String], name: &str| names.iter().position(|other| other == name);
        let dimensions = contract.dimensions.iter().map(|dimension| place(&release.dimensions, &dimension.name));
        Ok(Self {
            dimensions: dimensions.collect::<Option<_>>().ok_or(QueryError::Ledger)?,
            measures: contract.measures.iter().map(|measure| place(&release.measures, &measure.name)).collect(),
        })
    }
}

/// One column while it grows.
enum Growing {
    Time(Vec<i64>),
    Dimension(usize, StringBuilder),
    Measure(usize, Vec<MeasureState>),
    Weight(Vec<u64>),
}

impl Growing {
    fn take(&mut self, zone: &str) -> ArrayRef {
        match self {
            Self::Time(times) => Arc::new(TimestampMicrosecondArray::from(std::mem::take(times)).with_timezone(zone)),
            Self::Dimension(_, values) => Arc::new(values.finish()),
            Self::Measure(_, states) => {
                let columns = state_columns(&std::mem::take(states));
                Arc::new(StructArray::new(state_fields(), columns, None))
            }
            Self::Weight(weights) => Arc::new(UInt64Array::from(std::mem::take(weights))),
        }
    }
}

/// Cells on their way into batches, with a count of those that the question's filters let through.
struct Gathering {
    columns: Vec<usize>,
    growing: Vec<Growing>,
    rows: usize,
    schema: SchemaRef,
    zone: &'static str,
    filter: Predicate,
    batches: Vec<RecordBatch>,
    passing: u64,
}

impl Gathering {
    fn new(scans: &Scans, columns: Vec<usize>, reader: &Reader<'_>) -> Result<Self> {
        let product = &scans.product;
        let dimensions = product.contract.dimensions.len();
        let growing = |column: &usize| match (*column, product.measure_at(*column)) {
            (0, _) => Growing::Time(Vec::new()),
            (_, Some(measure)) => Growing::Measure(measure, Vec::new()),
            (column, None) if column <= dimensions => Growing::Dimension(column - 1, StringBuilder::new()),
            _ => Growing::Weight(Vec::new()),
        };
        let schema: Schema = product.cells_schema().project(&columns)?;
        Ok(Self {
            growing: columns.iter().map(growing).collect(),
            filter: scans.predicate(reader.state, &schema)?,
            columns,
            rows: 0,
            schema: Arc::new(schema),
            zone: product.zone().name(),
            batches: Vec::new(),
            passing: 0,
        })
    }

    fn push(
        &mut self,
        start: UtcMicros,
        coordinate: &[String],
        measures: &[MeasureState],
        observations: u64,
        layout: &Layout,
    ) {
        self.rows += 1;
        for growing in &mut self.growing {
            match growing {
                Growing::Time(times) => times.push(start.0),
                Growing::Dimension(dimension, values) => {
                    values.append_value(&coordinate[layout.dimensions[*dimension]])
                }
                Growing::Measure(measure, states) => {
                    let state = layout.measures[*measure].map(|place| measures[place].clone());
                    states.push(state.unwrap_or_default());
                }
                Growing::Weight(weights) => weights.push(observations),
            }
        }
    }

    fn take_batch(&mut self) -> Result<RecordBatch> {
        self.rows = 0;
        let columns = self.growing.iter_mut().map(|growing| growing.take(self.zone)).collect();
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        self.passing += self.filter.passing(&batch)?.true_count() as u64;
        Ok(batch)
    }

    fn flush(&mut self, memory: &MemoryReservation) -> Result<()> {
        if self.rows > 0 {
            let batch = self.take_batch()?;
            memory.try_grow(batch.get_array_memory_size())?;
            self.batches.push(batch);
        }
        Ok(())
    }

    fn flush_full(&mut self, memory: &MemoryReservation) -> Result<()> {
        if self.rows >= BATCH_CELLS { self.flush(memory) } else { Ok(()) }
    }

    /// Counts what passes and keeps nothing.
    fn flush_and_drop(&mut self) -> Result<()> {
        if self.rows > 0 {
            self.take_batch()?;
        }
        Ok(())
    }

    fn into_read(self) -> (u64, Read) {
        (self.passing, Read { columns: self.columns, batches: self.batches })
    }
}
