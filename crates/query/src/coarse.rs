//! Cells merged while they are read, as far as the question cannot tell them apart (see [`crate::functions`]). A year
//! of minutes asked for by month and district becomes twelve cells a district before anything is planned over them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, StringArray, TimestampMicrosecondArray, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::row::{OwnedRow, RowConverter, SortField};
use civicmesh_ledger::{Numbers, States, Wanted};
use civicmesh_model::hash::Hash32;
use civicmesh_model::number::{COUNT_MAX, MeasureState};
use civicmesh_model::release::ShareBand;
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::PhysicalExpr;

use crate::block::{Block, BlockWindow, Needed, states_array};
use crate::error::QueryError;
use crate::merged::{FEWER_MIN, Kind, Merged, Part};
use crate::product::Product;
use crate::scans::Predicate;

const NONE: u32 = u32::MAX;

/// How a question reads a product's cells, where they may be merged.
#[derive(Clone)]
pub(crate) struct Apart {
    /// A filter of the time alone.
    pub time: Predicate,
    /// A filter of the dimensions alone.
    pub dimensions: Predicate,
    /// What tells times apart.
    pub functions: Vec<Arc<dyn PhysicalExpr>>,
}

/// Merged cells.
pub(crate) struct Coarse {
    product: Arc<Product>,
    columns: Vec<usize>,
    needed: Needed,
    apart: Apart,
    /// The number of its kind, once it was asked for.
    kind: Option<u64>,
    rows: Option<RowConverter>,
    /// What tells times apart, as it was met, with its place.
    groups: HashMap<OwnedRow, usize>,
    last: Option<(OwnedRow, usize)>,
    /// Of each place: a time, and the slot of each coordinate.
    places: Vec<(i64, Vec<u32>)>,
    known: HashMap<Vec<String>, u32>,
    coordinates: Vec<Vec<String>>,
    /// Of each slot: its place and coordinate.
    slots: Vec<(usize, u32)>,
    weights: Vec<u64>,
    states: Vec<Option<(Wanted, Vec<Merging>)>>,
    /// Bytes that were asked for.
    asked: usize,
    pub passing: u64,
    pub suppressed: u64,
    pub share: ShareBand,
}

/// A state on its way. Sums stay far below their bounds as long as the count does, which is looked at in the end.
#[derive(Clone, Copy, Default)]
struct Merging {
    count: u64,
    sum: i128,
    squares: i128,
    min: Option<i64>,
    max: Option<i64>,
    /// Whether a part that has values lacks an extreme.
    no_min: bool,
    no_max: bool,
}

impl Coarse {
    pub(crate) fn new(product: Arc<Product>, columns: Vec<usize>, needed: &Needed, apart: Apart) -> Result<Self> {
        let schema = product.cells_schema().project(&[0])?;
        let field = |function: &Arc<dyn PhysicalExpr>| function.data_type(&schema).map(SortField::new);
        let fields = apart.functions.iter().map(field).collect::<Result<Vec<_>>>()?;
        let rows = if fields.is_empty() { None } else { Some(RowConverter::new(fields)?) };
        let states = needed.measures.iter().map(|wanted| wanted.map(|wanted| (wanted, Vec::new())));
        Ok(Self {
            states: states.collect(),
            needed: needed.clone(),
            kind: None,
            product,
            columns,
            apart,
            rows,
            groups: HashMap::new(),
            last: None,
            places: Vec::new(),
            known: HashMap::new(),
            coordinates: Vec::new(),
            slots: Vec::new(),
            weights: Vec::new(),
            asked: 0,
            passing: 0,
            suppressed: 0,
            share: ShareBand::None,
        })
    }

    /// Merges a whole segment in, which `read` reads where nothing is kept of it.
    pub(crate) fn take_segment(
        &mut self,
        content: Hash32,
        starts: Vec<i64>,
        merged: &Merged,
        read: impl FnOnce() -> Result<Block, QueryError>,
        memory: &MemoryReservation,
    ) -> Result<()> {
        let windows = starts.len();
        // of what is read in part nothing is kept
        if self.apart.time.0.is_some() && self.apart.time.passing(&self.times(starts)?)?.true_count() < windows {
            return self.take(&read()?, memory);
        }
        let kind = match self.kind {
            Some(kind) => kind,
            None => *self.kind.insert(merged.kind(Kind {
                contract: self.product.contract.hash(),
                columns: self.columns.clone(),
                needed: self.needed.clone(),
                dimensions: self.apart.dimensions.0.clone(),
                functions: self.apart.functions.clone(),
            })),
        };
        let part = match merged.part(kind, content) {
            Some(part) => part,
            None => {
                let mut alone =
                    Self::new(self.product.clone(), self.columns.clone(), &self.needed, self.apart.clone())?;
                let block = read()?;
                alone.take(&block, memory)?;
                memory.shrink(alone.asked);
                let part = Arc::new(alone.into_part());
                if part.block.cells.len() * FEWER_MIN <= block.cells.len() {
                    merged.keep(kind, content, part.clone());
                }
                part
            }
        };
        self.take_some(&part.block, true, memory)?;
        self.passing += part.passing;
        self.suppressed += part.suppressed;
        self.share = self.share.max(part.share);
        Ok(())
    }

    /// Merges a block in. What it takes is asked of `memory` before it is made.
    pub(crate) fn take(&mut self, block: &Block, memory: &MemoryReservation) -> Result<()> {
        let cells = self.take_some(block, false, memory)?;
        self.passing += cells as u64;
        Ok(())
    }

    /// Merges a block in, which may have been filtered before; gives how many of its cells.
    fn take_some(&mut self, block: &Block, filtered: bool, memory: &MemoryReservation) -> Result<usize> {
        if block.cells.is_empty() && block.suppressed.is_empty() {
            return Ok(0);
        }
        let times = self.times(block.windows.iter().map(|window| window.start).collect())?;
        let passing = match filtered {
            true => BooleanArray::from(vec![true; times.num_rows()]),
            false => self.apart.time.passing(&times)?,
        };
        let windows: Vec<usize> = (0..block.windows.len()).filter(|window| passing.value(*window)).collect();
        let codes = self.codes(block, filtered)?;
        let times = filter_record_batch(&times, &passing)?;
        let places = self.places(block, &windows, &times)?;
        self.ask(self.slots.len(), memory)?;
        let (mut cells, mut slots) = (Vec::new(), Vec::new());
        for (window, place) in windows.into_iter().zip(places) {
            let before = self.suppressed;
            let held = block.suppressed_of(window);
            self.suppressed += held.filter(|cell| codes[block.suppressed_codes[*cell] as usize] != NONE).count() as u64;
            if self.suppressed > before {
                self.share = self.share.max(block.windows[window].share);
            }
            let of_place = &mut self.places[place].1;
            of_place.resize(self.coordinates.len(), NONE);
            for cell in block.cells_of(window) {
                let code = codes[block.codes[cell] as usize];
                if code == NONE {
                    continue;
                }
                let slot = &mut of_place[code as usize];
                if *slot == NONE {
                    *slot = self.slots.len() as u32;
                    self.slots.push((place, code));
                }
                cells.push(cell as u32);
                slots.push(*slot);
            }
        }
        self.ask(self.slots.len(), memory)?;
        self.add(block, &cells, &slots)?;
        Ok(cells.len())
    }

    /// A batch of times alone.
    fn times(&self, starts: Vec<i64>) -> Result<RecordBatch> {
        let times = TimestampMicrosecondArray::from(starts).with_timezone(self.product.zone().name());
        Ok(RecordBatch::try_new(Arc::new(self.product.cells_schema().project(&[0])?), vec![Arc::new(times)])?)
    }

    /// What was merged so far, as cells again: a window for each place, coordinates without what nobody asks for.
    fn into_part(self) -> Part {
        let dimensions = self.product.contract.dimensions.len();
        let wanted: Vec<usize> =
            self.columns.iter().copied().filter(|column| (1..=dimensions).contains(column)).collect();
        let whole = |told: &Vec<String>| {
            let mut coordinate = vec![String::new(); dimensions];
            wanted.iter().zip(told).for_each(|(column, text)| coordinate[column - 1].clone_from(text));
            coordinate
        };
        let mut order: Vec<usize> = (0..self.slots.len()).collect();
        order.sort_by_key(|slot| self.slots[*slot]);
        let mut windows = Vec::with_capacity(self.places.len());
        for (place, (start, _)) in self.places.iter().enumerate() {
            let first_cell = order.partition_point(|slot| self.slots[*slot].0 < place);
            windows.push(BlockWindow { start: *start, first_cell, first_suppressed: 0, share: ShareBand::None });
        }
        let states = self.states.iter().map(|merging| {
            let (wanted, merging) = merging.as_ref()?;
            let merging = |slot: &usize| merging.get(*slot).copied().unwrap_or_default();
            let each = || order.iter().map(merging);
            Some(Arc::new(States {
                count: each().map(|merging| merging.count as i64).collect(),
                sums: wanted.sums.then(|| Numbers::Wide(each().map(|merging| merging.sum).collect())),
                squares: wanted.squares.then(|| Numbers::Wide(each().map(|merging| merging.squares).collect())),
                min: wanted.min.then(|| each().map(|merging| merging.min.filter(|_| !merging.no_min)).collect()),
                max: wanted.max.then(|| each().map(|merging| merging.max.filter(|_| !merging.no_max)).collect()),
            }))
        });
        let weight = |slot: &usize| self.weights.get(*slot).map_or(0, |weight| *weight as i64);
        let block = Block {
            windows,
            cells: 0..order.len(),
            suppressed: 0..0,
            coordinates: Arc::new(self.coordinates.iter().map(whole).collect()),
            codes: Arc::new(order.iter().map(|slot| self.slots[*slot].1).collect()),
            suppressed_codes: Arc::default(),
            observations: Arc::new(order.iter().map(weight).collect()),
            states: states.collect(),
            // of cells with sketches nothing is merged here
            quantiles: vec![None; self.needed.quantiles.len()],
            distinct: vec![None; self.needed.distinct.len()],
        };
        Part { block, passing: self.passing, suppressed: self.suppressed, share: self.share }
    }

    /// Asks for what so many slots and all coordinates at every place take.
    fn ask(&mut self, slots: usize, memory: &MemoryReservation) -> Result<()> {
        let measures = self.states.iter().flatten().count();
        let slot = size_of::<(usize, u32)>() + size_of::<u64>() + measures * size_of::<Merging>();
        let place = size_of::<(i64, Vec<u32>)>() + self.coordinates.len() * size_of::<u32>();
        let bytes = slots.saturating_mul(slot).saturating_add(self.places.len().saturating_mul(place));
        memory.try_grow(bytes.saturating_sub(self.asked))?;
        self.asked = self.asked.max(bytes);
        Ok(())
    }

    /// Of each of the block's coordinates the one it is told from others by, or none where the filter drops it.
    fn codes(&mut self, block: &Block, filtered: bool) -> Result<Vec<u32>> {
        let dimensions = self.product.contract.dimensions.len();
        let all: Vec<u32> = (0..block.coordinates.len() as u32).collect();
        let passing = match dimensions {
            _ if filtered => BooleanArray::from(vec![true; all.len()]),
            0 => BooleanArray::from(vec![true; all.len()]),
            _ => {
                let schema = self.product.cells_schema().project(&(1..=dimensions).collect::<Vec<_>>())?;
                let columns = (0..dimensions).map(|dimension| block.dimension(dimension, &all)).collect();
                self.apart.dimensions.passing(&RecordBatch::try_new(Arc::new(schema), columns)?)?
            }
        };
        let wanted: Vec<usize> =
            self.columns.iter().filter(|column| (1..=dimensions).contains(*column)).map(|column| column - 1).collect();
        let code = |(coordinate, passes): (&Vec<String>, bool)| {
            if !passes {
                return NONE;
            }
            let told: Vec<String> = wanted.iter().map(|dimension| coordinate[*dimension].clone()).collect();
            let next = self.coordinates.len() as u32;
            *self.known.entry(told).or_insert_with_key(|told| {
                self.coordinates.push(told.clone());
                next
            })
        };
        Ok(block.coordinates.iter().zip(passing.values().iter()).map(code).collect())
    }

    /// Of each of these windows of the block the place that its time is told from others by. `times` are theirs alone:
    /// of a window that is filtered out no function may be computed, it may fail there.
    fn places(&mut self, block: &Block, windows: &[usize], times: &RecordBatch) -> Result<Vec<usize>> {
        let told = |function: &Arc<dyn PhysicalExpr>| function.evaluate(times)?.into_array(times.num_rows());
        let told = self.apart.functions.iter().map(told).collect::<Result<Vec<ArrayRef>>>()?;
        let Some(converter) = &self.rows else {
            if self.places.is_empty() {
                self.places.extend(windows.first().map(|window| (block.windows[*window].start, Vec::new())));
            }
            return Ok(vec![0; windows.len()]);
        };
        let rows = converter.convert_columns(&told)?;
        let mut places = Vec::with_capacity(windows.len());
        for (at, window) in windows.iter().enumerate() {
            let row = rows.row(at);
            let place = match &self.last {
                Some((last, place)) if last.row() == row => *place,
                _ => {
                    let row = row.owned();
                    let next = self.places.len();
                    let place = *self.groups.entry(row.clone()).or_insert(next);
                    if place == next {
                        self.places.push((block.windows[*window].start, Vec::new()));
                    }
                    self.last = Some((row, place));
                    place
                }
            };
            places.push(place);
        }
        Ok(places)
    }

    /// Adds the cells to their slots.
    fn add(&mut self, block: &Block, cells: &[u32], slots: &[u32]) -> Result<()> {
        let total = self.slots.len();
        if self.columns.last() == Some(&(self.product.cells_schema().fields().len() - 1)) {
            self.weights.resize(total, 0);
            for (cell, slot) in cells.iter().zip(slots) {
                let weight = &mut self.weights[*slot as usize];
                let more = block.observations[*cell as usize] as u64;
                *weight = weight.checked_add(more).ok_or(QueryError::Overflow)?;
            }
        }
        for (merging, states) in self.states.iter_mut().zip(&block.states) {
            if let Some((wanted, merging)) = merging {
                merging.resize(total, Merging::default());
                if let Some(states) = states {
                    merge(merging, states, *wanted, cells, slots)?;
                }
            }
        }
        Ok(())
    }

    /// The merged cells.
    pub(crate) fn into_batch(self, schema: SchemaRef) -> Result<RecordBatch> {
        let total = self.slots.len();
        let dimensions: Vec<usize> = (1..=self.product.contract.dimensions.len()).collect();
        let wanted: Vec<usize> = self.columns.iter().copied().filter(|column| dimensions.contains(column)).collect();
        let zone = self.product.zone().name();
        let mut states = self.states;
        let column = |column: &usize| -> Result<ArrayRef> {
            Ok(match (*column, self.product.measure_at(*column)) {
                (0, _) => {
                    let times = self.slots.iter().map(|(place, _)| self.places[*place].0);
                    Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone(zone))
                }
                (_, Some(measure)) => {
                    let mut merged = states[measure].take().map(|(_, merged)| merged).unwrap_or_default();
                    merged.resize(total, Merging::default());
                    let merged = merged.into_iter().map(Merging::finish).collect::<Result<Vec<_>, _>>()?;
                    // nothing that asks for sketches lets cells be merged here
                    let sketches = BinaryArray::new_null(total);
                    states_array(&self.product.contract.measures[measure], merged.into_iter(), sketches)
                }
                (column, None) => match wanted.iter().position(|wanted| *wanted == column) {
                    Some(place) => {
                        let value = |(_, code): &(usize, u32)| &self.coordinates[*code as usize][place];
                        Arc::new(StringArray::from_iter_values(self.slots.iter().map(value)))
                    }
                    None => Arc::new(UInt64Array::from(self.weights.clone())),
                },
            })
        };
        let arrays = self.columns.iter().map(column).collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(schema, arrays)?)
    }

    /// The columns of the merged cells.
    pub(crate) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Their schema.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        let schema: Schema = self.product.cells_schema().project(&self.columns)?;
        Ok(Arc::new(schema))
    }
}

fn merge(merging: &mut [Merging], states: &States, wanted: Wanted, cells: &[u32], slots: &[u32]) -> Result<()> {
    let pairs = || cells.iter().zip(slots).map(|(cell, slot)| (*cell as usize, *slot as usize));
    for (cell, slot) in pairs() {
        let count = &mut merging[slot].count;
        *count = count.checked_add(states.count[cell] as u64).ok_or(QueryError::Overflow)?;
    }
    match &states.sums {
        None => {}
        Some(Numbers::Narrow(sums)) => pairs().for_each(|(cell, slot)| merging[slot].sum += i128::from(sums[cell])),
        Some(Numbers::Wide(sums)) => {
            pairs().for_each(|(cell, slot)| merging[slot].sum = merging[slot].sum.wrapping_add(sums[cell]));
        }
    }
    if let Some(squares) = &states.squares {
        pairs().for_each(|(cell, slot)| merging[slot].squares = merging[slot].squares.wrapping_add(squares.get(cell)));
    }
    let has_values = |cell: usize| states.count[cell] > 0;
    if let Some(least) = &states.min {
        for (cell, slot) in pairs().filter(|(cell, _)| has_values(*cell)) {
            let into = &mut merging[slot];
            match least[cell] {
                Some(least) => into.min = Some(into.min.map_or(least, |min| min.min(least))),
                None => into.no_min = true,
            }
        }
    } else if wanted.min {
        pairs().filter(|(cell, _)| has_values(*cell)).for_each(|(_, slot)| merging[slot].no_min = true);
    }
    if let Some(greatest) = &states.max {
        for (cell, slot) in pairs().filter(|(cell, _)| has_values(*cell)) {
            let into = &mut merging[slot];
            into.max = into.max.max(greatest[cell]);
            into.no_max |= greatest[cell].is_none();
        }
    } else if wanted.max {
        pairs().filter(|(cell, _)| has_values(*cell)).for_each(|(_, slot)| merging[slot].no_max = true);
    }
    Ok(())
}

impl Merging {
    fn finish(self) -> Result<MeasureState, QueryError> {
        let Self { count, sum, squares, min, max, no_min, no_max } = self;
        if count > COUNT_MAX {
            return Err(QueryError::Overflow);
        }
        let (min, max) = (min.filter(|_| !no_min), max.filter(|_| !no_max));
        Ok(MeasureState { count, sum, sum_squares: squares, min, max })
    }
}
