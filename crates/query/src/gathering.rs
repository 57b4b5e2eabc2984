//! One pass over what is newest of a product: cells on their way into batches, merged where the question allows it,
//! and what became of each window.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use civicmesh_ledger::{Piece, RowKind, Segment};
use civicmesh_model::contract::Statistic;
use civicmesh_model::grain::Window;
use civicmesh_model::hash::Hash32;
use civicmesh_model::release::{EmptyRun, Entry, Release, ShareBand};
use civicmesh_model::time::UtcMicros;
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryReservation;

use crate::block::{Block, Needed};
use crate::coarse::{Coarse, MergedCells};
use crate::error::QueryError;
use crate::explain::Trail;
use crate::merged::Merged;
use crate::product::{Need, Product, Read};
use crate::reading::Reader;
use crate::scans::{Predicate, Scans};
use crate::shelf::Shelf;

/// Cells in one batch.
const BATCH_CELLS: usize = 8_192;

/// One pass over a product, or over a stretch of its time.
pub(crate) struct Pass<'a> {
    product: &'a Product,
    /// Where each window counts, whatever its time.
    whole: Option<Range<UtcMicros>>,
    memory: &'a MemoryReservation,
    merged: &'a Merged,
    versions: Versions<'a>,
    needed: Needed,
    /// Releases of one contract that no segment holds, until there are enough of them.
    waiting: Vec<Release>,
    waiting_cells: usize,
    gathering: Gathering,
    /// What the question rests on, where it is to be explained.
    trail: Option<Trail>,
    /// What became of windows, in the order of time.
    seen: Vec<Seen>,
}

/// What was gathered.
pub(crate) struct Gathered {
    pub read: Read,
    pub cells: u64,
    pub suppressed: u64,
    /// The largest share that a window holds back of which a suppressed cell passed.
    pub share: ShareBand,
    pub seen: Vec<Seen>,
    pub trail: Option<Trail>,
}

/// How cells are gathered.
enum Gathering {
    Coarse(Box<Coarse>),
    Fine(Fine),
}

/// Cells as they are, with a count of those that the question's filters let through.
struct Fine {
    columns: Vec<usize>,
    schema: SchemaRef,
    filter: Predicate,
    held: Predicate,
    batches: Vec<RecordBatch>,
    passing: u64,
    suppressed: u64,
    share: ShareBand,
}

impl<'a> Pass<'a> {
    /// A pass for these scans; within `whole` no window is told from another by its time.
    pub(crate) fn new(scans: &'a Scans, reader: &'a Reader<'_>, whole: Option<Range<UtcMicros>>) -> Result<Self> {
        let product = &scans.product;
        let columns: Vec<usize> = scans.columns.iter().copied().collect();
        let needed = Needed::of(product, columns.iter().copied());
        let gathering = match scans.apart(reader.state)? {
            Some(apart) => Gathering::Coarse(Box::new(Coarse::new(product.clone(), columns, &needed, apart)?)),
            None => {
                let schema: Schema = product.cells_schema().project(&columns)?;
                let keys: Vec<usize> = (0..=product.contract.dimensions.len()).collect();
                let held = scans.predicate(reader.state, &product.cells_schema().project(&keys)?)?;
                let filter = scans.predicate(reader.state, &schema)?;
                Gathering::Fine(Fine::new(columns, Arc::new(schema), filter, held))
            }
        };
        Ok(Self {
            memory: &reader.memory,
            merged: reader.merged,
            versions: Versions::new(product, reader.shelf),
            needed,
            waiting: Vec::new(),
            waiting_cells: 0,
            gathering,
            trail: reader.explains.then(Trail::default),
            seen: Vec::new(),
            whole,
            product,
        })
    }

    /// The same with nothing gathered.
    pub(crate) fn empty(&self) -> Result<Self> {
        Ok(Self {
            memory: self.memory,
            merged: self.merged,
            versions: Versions::new(self.product, self.versions.shelf),
            needed: self.needed.clone(),
            waiting: Vec::new(),
            waiting_cells: 0,
            gathering: match &self.gathering {
                Gathering::Coarse(coarse) => Gathering::Coarse(Box::new(coarse.empty()?)),
                Gathering::Fine(fine) => Gathering::Fine(fine.empty()),
            },
            trail: self.trail.as_ref().map(|_| Trail::default()),
            seen: Vec::new(),
            whole: self.whole.clone(),
            product: self.product,
        })
    }

    /// Takes in what another pass gathered of what comes next in time.
    pub(crate) fn join(&mut self, mut other: Self) -> Result<()> {
        self.take_waiting()?;
        other.take_waiting()?;
        self.seen.append(&mut other.seen);
        match (&mut self.gathering, other.gathering) {
            (Gathering::Coarse(coarse), Gathering::Coarse(other)) => coarse.join(*other, self.memory),
            (Gathering::Fine(fine), Gathering::Fine(other)) => {
                fine.join(other);
                Ok(())
            }
            _ => Err(QueryError::Internal("two ways to gather in one question").into()),
        }
    }

    /// Takes in what comes next in time.
    pub(crate) fn take(&mut self, piece: Piece<'_>) -> Result<()> {
        let entry = match piece {
            Piece::Rows(segment, rows) => {
                self.take_waiting()?;
                return self.take_rows(&segment, rows);
            }
            Piece::Entry(index, entry) => {
                if let Some(trail) = &mut self.trail {
                    trail.entry(index, &entry);
                }
                *entry
            }
        };
        let window = entry.window();
        let kind = match entry {
            Entry::Release(release) => {
                let (revision, contract) = (release.revision, release.contract);
                let lacking = if release.cells.is_empty() { None } else { self.versions.lacking(&contract)? };
                if self.waiting.last().is_some_and(|last| last.contract != contract) {
                    self.take_waiting()?;
                }
                self.waiting_cells += release.cells.len() + release.suppressed.len();
                self.waiting.push(release);
                if self.waiting_cells >= BATCH_CELLS {
                    self.take_waiting()?;
                }
                SeenKind::Released { revision, lacking }
            }
            Entry::Refusal(_) => SeenKind::Refused,
            Entry::Empty(EmptyRun { zero, .. }) => SeenKind::Empty { zero },
        };
        self.see(window, kind);
        Ok(())
    }

    /// Notes what became of a window; released ones that nothing tells apart are noted as one.
    fn see(&mut self, window: Window, kind: SeenKind) {
        if let (Some(last), Some(whole), SeenKind::Released { .. }) = (self.seen.last_mut(), &self.whole, kind)
            && (last.kind, last.window.end) == (kind, window.start)
            && whole.start <= last.window.start
            && window.end <= whole.end
        {
            last.window.end = window.end;
            last.windows += 1;
            return;
        }
        self.seen.push(Seen { window, windows: 1, kind });
    }

    fn take_rows(&mut self, segment: &Segment<'_>, rows: Range<usize>) -> Result<()> {
        let lacking = segment.contract().map(|contract| self.versions.lacking(&contract)).transpose()?.flatten();
        for row in rows.clone() {
            let at = &segment.rows()[row];
            let kind = match at.kind {
                RowKind::Release => {
                    let lacking = if segment.cells_of(row..row + 1).is_empty() { None } else { lacking };
                    SeenKind::Released { revision: at.revision, lacking }
                }
                RowKind::Refusal => SeenKind::Refused,
                RowKind::Empty { zero } => SeenKind::Empty { zero },
            };
            self.see(Window { start: at.start, end: at.end }, kind);
        }
        let whole = rows == (0..segment.rows().len());
        if let (Gathering::Coarse(coarse), None, Some(content)) =
            (&mut self.gathering, &self.trail, segment.content().filter(|_| whole))
        {
            let released = || segment.rows().iter().filter(|row| row.kind == RowKind::Release);
            let starts = || released().map(|row| row.start.0).collect();
            let read = || Block::of_segment(self.product, &self.needed, segment, rows);
            return coarse.take_segment(content, starts, self.merged, read, self.memory);
        }
        let block = Block::of_segment(self.product, &self.needed, segment, rows.clone())?;
        if let Some(trail) = &mut self.trail {
            trail.rows(segment, rows);
        }
        self.gathering.take(self.product, &block, self.memory)
    }

    fn take_waiting(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let block = Block::of_releases(self.product, &self.needed, &self.waiting)?;
        self.waiting.clear();
        self.waiting_cells = 0;
        self.gathering.take(self.product, &block, self.memory)
    }

    pub(crate) fn finish(mut self) -> Result<Gathered> {
        self.take_waiting()?;
        let Self { gathering, seen, memory, trail, .. } = self;
        Ok(match gathering {
            Gathering::Fine(Fine { columns, batches, passing: cells, suppressed, share, .. }) => {
                Gathered { read: Read { columns, batches, keys: None }, cells, suppressed, share, seen, trail }
            }
            Gathering::Coarse(coarse) => {
                let MergedCells { passing: cells, suppressed, share, .. } = *coarse.cells();
                let read = coarse.read()?;
                memory.try_grow(read.batches.iter().map(RecordBatch::get_array_memory_size).sum())?;
                Gathered { read, cells, suppressed, share, seen, trail }
            }
        })
    }
}

impl Gathering {
    fn take(&mut self, product: &Product, block: &Block, memory: &MemoryReservation) -> Result<()> {
        match self {
            Self::Coarse(coarse) => coarse.take(block, memory),
            Self::Fine(fine) => fine.take(product, block, memory),
        }
    }
}

impl Fine {
    fn new(columns: Vec<usize>, schema: SchemaRef, filter: Predicate, held: Predicate) -> Self {
        let (batches, share) = (Vec::new(), ShareBand::None);
        Self { columns, schema, filter, held, batches, passing: 0, suppressed: 0, share }
    }

    fn empty(&self) -> Self {
        Self::new(self.columns.clone(), self.schema.clone(), self.filter.clone(), self.held.clone())
    }

    fn join(&mut self, mut other: Self) {
        self.batches.append(&mut other.batches);
        self.passing += other.passing;
        self.suppressed += other.suppressed;
        self.share = self.share.max(other.share);
    }

    fn take(&mut self, product: &Product, block: &Block, memory: &MemoryReservation) -> Result<()> {
        let mut times = Vec::with_capacity(block.cells.len());
        for (window, at) in block.windows.iter().enumerate() {
            times.resize(times.len() + block.cells_of(window).len(), at.start);
        }
        let mut times = &times[..];
        let mut from = block.cells.start;
        while from < block.cells.end {
            let until = block.cells.end.min(from + BATCH_CELLS);
            let (now, later) = times.split_at(until - from);
            let batch = block.batch(product, &self.columns, &self.schema, from..until, now.to_vec())?;
            self.passing += self.filter.passing(&batch)?.true_count() as u64;
            memory.try_grow(batch.get_array_memory_size())?;
            self.batches.push(batch);
            (from, times) = (until, later);
        }
        if !block.suppressed.is_empty() {
            let passing: BooleanArray = self.held.passing(&block.suppressed_batch(product)?)?;
            self.suppressed += passing.true_count() as u64;
            let first = block.suppressed.start;
            for (window, at) in block.windows.iter().enumerate() {
                if block.suppressed_of(window).any(|cell| passing.value(cell - first)) {
                    self.share = self.share.max(at.share);
                }
            }
        }
        Ok(())
    }
}

/// What became of some windows.
pub(crate) struct Seen {
    /// From the first one's start to the last one's end.
    pub window: Window,
    /// How many; a run of empty windows counts as one.
    pub windows: u64,
    pub kind: SeenKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeenKind {
    Released {
        revision: u32,
        /// What the question needs and the release does not have.
        lacking: Option<Need>,
    },
    Refused,
    Empty {
        zero: bool,
    },
}

/// What the contracts that releases were made under do not have.
struct Versions<'a> {
    product: &'a Product,
    shelf: &'a Shelf<'a>,
    lacking: BTreeMap<Hash32, Option<Need>>,
}

impl<'a> Versions<'a> {
    fn new(product: &'a Product, shelf: &'a Shelf<'a>) -> Self {
        Self { product, shelf, lacking: BTreeMap::new() }
    }

    fn lacking(&mut self, hash: &Hash32) -> Result<Option<Need>, QueryError> {
        if let Some(lacking) = self.lacking.get(hash) {
            return Ok(*lacking);
        }
        let contract = match *hash == self.product.contract.hash() {
            true => Some(self.product.contract.clone()),
            false => self.shelf.contract(hash)?,
        };
        let contract = contract.ok_or(QueryError::Ledger)?;
        let has = |need: &Need| match need {
            Need::Statistic(measure, statistic) => {
                let name = &self.product.contract.measures[*measure].name;
                let measure = contract.measures.iter().find(|measure| measure.name == *name);
                measure.is_some_and(|measure| *statistic == Statistic::Count || measure.publishes(*statistic))
            }
            Need::Distinct(column) => {
                let name = &self.product.contract.distinct[*column].name;
                contract.distinct.iter().any(|column| column.name == *name)
            }
        };
        let lacking = self.product.needs().into_iter().find(|need| !has(need));
        self.lacking.insert(*hash, lacking);
        Ok(lacking)
    }
}
