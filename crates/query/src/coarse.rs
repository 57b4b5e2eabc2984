//! Cells merged while they are read, as far as the question cannot tell them apart (see [`crate::functions`]). A year
//! of minutes asked for by month and district becomes twelve cells a district before anything is planned over them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::row::{OwnedRow, RowConverter, SortField};
use civicmesh_model::hash::Hash32;
use civicmesh_model::release::ShareBand;
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::PhysicalExpr;

use crate::block::{Block, Needed, states_array};
use crate::error::QueryError;
use crate::merged::{FEWER_MIN, Kind, Merged};
use crate::product::{Product, Read};
use crate::scans::Predicate;
use crate::sketched::sketches_array;
use crate::sums::{SketchSlots, Sums, Taken};

const NONE: u32 = u32::MAX;
/// Windows by which it is guessed how many cells a question makes one.
const GUESSED_BY: usize = 64;

/// How a question reads a product's cells, where they may be merged.
#[derive(Clone)]
pub(crate) struct Apart {
    /// A filter of the time alone.
    pub time: Predicate,
    /// A filter of the dimensions alone.
    pub dimensions: Predicate,
    /// What tells times apart.
    pub functions: Vec<Arc<dyn PhysicalExpr>>,
    /// The columns and functions of columns by which no two merged cells are alike, where they are known.
    pub keys: Option<Vec<Expr>>,
}

/// Cells on their way into merged ones.
pub(crate) struct Coarse {
    product: Arc<Product>,
    columns: Vec<usize>,
    needed: Needed,
    apart: Apart,
    /// The number of its kind, once it was asked for.
    kind: Option<u64>,
    /// The dimensions that are told apart.
    dimensions: Vec<usize>,
    rows: Option<RowConverter>,
    /// What tells times apart, as it was met, with its place.
    groups: HashMap<OwnedRow, usize>,
    last: Option<(OwnedRow, usize)>,
    known: HashMap<Vec<String>, u32>,
    /// Of each place, the slot of each coordinate.
    slots: Vec<Vec<u32>>,
    cells: MergedCells,
    /// Bytes that were asked for.
    asked: usize,
}

/// Merged cells, filtered.
pub(crate) struct MergedCells {
    /// Of each place, a time.
    places: Vec<i64>,
    coordinates: Vec<Vec<String>>,
    /// Of each slot: its place and coordinate.
    slots: Vec<(usize, u32)>,
    /// Where they are asked for.
    weights: Option<Vec<u64>>,
    sums: Vec<Option<Sums>>,
    quantiles: Vec<Option<SketchSlots>>,
    distinct: Vec<Option<SketchSlots>>,
    /// Cells that the filters let through, before they were merged.
    pub passing: u64,
    pub suppressed: u64,
    /// The largest share that a window holds back of which a suppressed cell passed.
    pub share: ShareBand,
}

impl Coarse {
    pub(crate) fn new(product: Arc<Product>, columns: Vec<usize>, needed: &Needed, apart: Apart) -> Result<Self> {
        let schema = product.cells_schema().project(&[0])?;
        let field = |function: &Arc<dyn PhysicalExpr>| function.data_type(&schema).map(SortField::new);
        let fields = apart.functions.iter().map(field).collect::<Result<Vec<_>>>()?;
        let rows = if fields.is_empty() { None } else { Some(RowConverter::new(fields)?) };
        let dimensions = 1..=product.contract.dimensions.len();
        let dimensions = columns.iter().filter(|column| dimensions.contains(column)).map(|column| column - 1).collect();
        let weighs = columns.last() == Some(&(product.cells_schema().fields().len() - 1));
        Ok(Self {
            cells: MergedCells::new(needed, weighs),
            needed: needed.clone(),
            kind: None,
            dimensions,
            product,
            columns,
            apart,
            rows,
            groups: HashMap::new(),
            last: None,
            known: HashMap::new(),
            slots: Vec::new(),
            asked: 0,
        })
    }

    /// The same question with nothing merged.
    pub(crate) fn empty(&self) -> Result<Self> {
        let empty = Self::new(self.product.clone(), self.columns.clone(), &self.needed, self.apart.clone())?;
        Ok(Self { kind: self.kind, ..empty })
    }

    /// Merges a whole segment in, which `read` reads where nothing is kept of it.
    pub(crate) fn take_segment(
        &mut self,
        content: Hash32,
        starts: impl FnOnce() -> Vec<i64>,
        merged: &Merged,
        read: impl FnOnce() -> Result<Block, QueryError>,
        memory: &MemoryReservation,
    ) -> Result<()> {
        // of what is read in part nothing is kept
        if self.apart.time.0.is_some() && self.apart.time.passing(&self.times(starts())?)?.has_false() {
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
        if let Some(part) = merged.part(kind, content) {
            return self.absorb(&part, memory);
        }
        let block = read()?;
        if !self.makes_few(&block)? {
            return self.take(&block, memory);
        }
        let mut alone = self.empty()?;
        alone.take(&block, memory)?;
        let (part, asked) = alone.into_cells();
        let part = Arc::new(part);
        memory.shrink(asked);
        if part.slots.len() * FEWER_MIN <= block.cells.len() {
            merged.keep(kind, content, part.clone());
        }
        self.absorb(&part, memory)
    }

    /// Merges a block in. What it takes is asked of `memory` before it is made.
    pub(crate) fn take(&mut self, block: &Block, memory: &MemoryReservation) -> Result<()> {
        if block.cells.is_empty() && block.suppressed.is_empty() {
            return Ok(());
        }
        let times = self.times(block.windows.iter().map(|window| window.start).collect())?;
        let passing = self.apart.time.passing(&times)?;
        let mut windows: Vec<usize> = passing.values().set_indices().collect();
        let codes = self.codes(block)?;
        for window in &windows {
            let held = block.suppressed_of(*window);
            let held = held.filter(|cell| codes[block.suppressed_codes[*cell] as usize] != NONE).count();
            if held > 0 {
                self.cells.suppressed += held as u64;
                self.cells.share = self.cells.share.max(block.windows[*window].share);
            }
        }
        windows.retain(|window| block.cells_of(*window).any(|cell| codes[block.codes[cell] as usize] != NONE));
        let starts = windows.iter().map(|window| block.windows[*window].start).collect();
        let places = self.places(starts)?;
        self.ask(memory)?;
        let taken: usize = windows.iter().map(|window| block.cells_of(*window).len()).sum();
        let whole = taken == block.cells.len() && !codes.contains(&NONE);
        let first = block.cells.start;
        if let (true, Some(alike)) = (whole, block.alike()) {
            let (mut runs, mut slots) = (Vec::new(), Vec::new());
            for places in places.chunk_by(|one, next| one == next) {
                runs.push(places.len());
                slots.extend(alike.iter().map(|code| self.slot(places[0], codes[*code as usize])));
            }
            return self.add(block, &Taken::Runs { first, runs: &runs, slots: &slots }, memory);
        }
        let (mut cells, mut slots) = (Vec::new(), Vec::with_capacity(block.cells.len()));
        for (window, place) in windows.into_iter().zip(places) {
            let of_window = block.cells_of(window);
            for (cell, code) in of_window.clone().zip(&block.codes[of_window]) {
                let code = codes[*code as usize];
                if code == NONE {
                    continue;
                }
                slots.push(self.slot(place, code));
                if !whole {
                    cells.push(cell as u32);
                }
            }
        }
        let taken = if whole { Taken::all(first, &slots) } else { Taken::Some { cells: &cells, slots: &slots } };
        self.add(block, &taken, memory)
    }

    /// Adds a block's cells to their slots.
    fn add(&mut self, block: &Block, taken: &Taken<'_>, memory: &MemoryReservation) -> Result<()> {
        self.ask(memory)?;
        self.cells.passing += taken.len() as u64;
        self.cells.add(block, taken)?;
        self.ask(memory)
    }

    /// The slot of a coordinate at a place.
    #[inline]
    fn slot(&mut self, place: usize, code: u32) -> u32 {
        let of_place = &mut self.slots[place];
        if of_place.len() <= code as usize {
            of_place.resize(self.cells.coordinates.len(), NONE);
        }
        let slot = &mut of_place[code as usize];
        if *slot == NONE {
            *slot = self.cells.slots.len() as u32;
            self.cells.slots.push((place, code));
        }
        *slot
    }

    /// Merges in what another one of the same question merged.
    pub(crate) fn join(&mut self, other: Self, memory: &MemoryReservation) -> Result<()> {
        let (cells, asked) = other.into_cells();
        self.absorb(&cells, memory)?;
        memory.shrink(asked);
        Ok(())
    }

    fn absorb(&mut self, other: &MergedCells, memory: &MemoryReservation) -> Result<()> {
        let places = self.places(other.places.clone())?;
        let codes: Vec<u32> = other.coordinates.iter().map(|told| self.code(told.clone())).collect();
        self.ask(memory)?;
        let mut slots = Vec::with_capacity(other.slots.len());
        for (place, code) in &other.slots {
            slots.push(self.slot(places[*place], codes[*code as usize]));
        }
        self.ask(memory)?;
        self.cells.absorb(other, &slots)?;
        self.ask(memory)
    }

    /// Whether so few merged cells are to be expected of the block's that they are worth being kept.
    fn makes_few(&self, block: &Block) -> Result<bool> {
        let windows = &block.windows[..block.windows.len().min(GUESSED_BY)];
        let starts = windows.iter().map(|window| window.start).collect();
        let mut places = 1;
        if let (Some(rows), false) = (&self.rows, windows.is_empty()) {
            // a function may fail of a window of which no cell is asked for
            let Ok(told) = self.told(&self.times(starts)?) else { return Ok(false) };
            let told = rows.convert_columns(&told)?;
            places += (1..told.num_rows()).filter(|row| told.row(*row) != told.row(*row - 1)).count();
        }
        let mut told: Vec<Vec<&str>> = block.coordinates.iter().map(|coordinate| self.telling(coordinate)).collect();
        told.sort_unstable();
        told.dedup();
        // a cell of each window in each coordinate, against one of each place
        Ok(windows.len() * block.coordinates.len() >= FEWER_MIN * places * told.len())
    }

    /// A batch of times alone.
    fn times(&self, starts: Vec<i64>) -> Result<RecordBatch> {
        let times = TimestampMicrosecondArray::from(starts).with_timezone(self.product.zone().name());
        Ok(RecordBatch::try_new(Arc::new(self.product.cells_schema().project(&[0])?), vec![Arc::new(times)])?)
    }

    /// Asks for what so many slots, all coordinates at every place and sketches take.
    fn ask(&mut self, memory: &MemoryReservation) -> Result<()> {
        let place = size_of::<(i64, Vec<u32>)>() + self.cells.coordinates.len() * size_of::<u32>();
        let bytes = self.cells.bytes().saturating_add(self.cells.places.len().saturating_mul(place));
        memory.try_grow(bytes.saturating_sub(self.asked))?;
        self.asked = self.asked.max(bytes);
        Ok(())
    }

    /// What of a coordinate is told apart.
    fn telling<'c>(&self, coordinate: &'c [String]) -> Vec<&'c str> {
        self.dimensions.iter().map(|dimension| coordinate[*dimension].as_str()).collect()
    }

    /// Of each of the block's coordinates the one it is told from others by, or none where the filter drops it.
    fn codes(&mut self, block: &Block) -> Result<Vec<u32>> {
        let dimensions = self.product.contract.dimensions.len();
        let all: Vec<u32> = (0..block.coordinates.len() as u32).collect();
        let passing = match self.apart.dimensions.0 {
            None => BooleanArray::from(vec![true; all.len()]),
            Some(_) => {
                let schema = self.product.cells_schema().project(&(1..=dimensions).collect::<Vec<_>>())?;
                let columns = (0..dimensions).map(|dimension| block.dimension(dimension, &all)).collect();
                self.apart.dimensions.passing(&RecordBatch::try_new(Arc::new(schema), columns)?)?
            }
        };
        let code = |(coordinate, passes): (&Vec<String>, bool)| match passes {
            true => self.code(self.telling(coordinate).into_iter().map(str::to_owned).collect()),
            false => NONE,
        };
        Ok(block.coordinates.iter().zip(passing.values().iter()).map(code).collect())
    }

    fn code(&mut self, told: Vec<String>) -> u32 {
        let coordinates = &mut self.cells.coordinates;
        let next = coordinates.len() as u32;
        *self.known.entry(told).or_insert_with_key(|told| {
            coordinates.push(told.clone());
            next
        })
    }

    /// What tells these times apart.
    fn told(&self, times: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let told = |function: &Arc<dyn PhysicalExpr>| function.evaluate(times)?.into_array(times.num_rows());
        self.apart.functions.iter().map(told).collect()
    }

    /// Of each of these times the place that it is told from others by. Of a window of which no cell is asked for no
    /// function may be computed, it may fail there.
    fn places(&mut self, starts: Vec<i64>) -> Result<Vec<usize>> {
        let Some(converter) = &self.rows else {
            if self.cells.places.is_empty() {
                self.cells.places.extend(starts.first());
                self.slots.resize(self.cells.places.len(), Vec::new());
            }
            return Ok(vec![0; starts.len()]);
        };
        let rows = converter.convert_columns(&self.told(&self.times(starts.clone())?)?)?;
        let mut places = Vec::with_capacity(starts.len());
        for (row, start) in rows.iter().zip(starts) {
            let place = match &self.last {
                Some((last, place)) if last.row() == row => *place,
                _ => {
                    let row = row.owned();
                    let next = self.cells.places.len();
                    let place = *self.groups.entry(row.clone()).or_insert(next);
                    if place == next {
                        self.cells.places.push(start);
                        self.slots.push(Vec::new());
                    }
                    self.last = Some((row, place));
                    place
                }
            };
            places.push(place);
        }
        Ok(places)
    }

    /// What was merged, and the bytes that were asked for it.
    fn into_cells(self) -> (MergedCells, usize) {
        (self.cells, self.asked)
    }

    /// What was merged.
    pub(crate) fn cells(&self) -> &MergedCells {
        &self.cells
    }

    /// The merged cells as a batch.
    pub(crate) fn read(self) -> Result<Read> {
        let schema: Schema = self.product.cells_schema().project(&self.columns)?;
        let batch = self.cells.batch(&self.product, &self.columns, &self.dimensions, Arc::new(schema))?;
        Ok(Read { columns: self.columns, batches: vec![batch], keys: self.apart.keys })
    }
}

impl MergedCells {
    fn new(needed: &Needed, weighs: bool) -> Self {
        let sketches = |needed: &[bool], of_quantiles| -> Vec<Option<SketchSlots>> {
            needed.iter().map(|needed| needed.then(|| SketchSlots::new(of_quantiles))).collect()
        };
        Self {
            places: Vec::new(),
            coordinates: Vec::new(),
            slots: Vec::new(),
            weights: weighs.then(Vec::new),
            sums: needed.measures.iter().map(|wanted| wanted.map(Sums::new)).collect(),
            quantiles: sketches(&needed.quantiles, true),
            distinct: sketches(&needed.distinct, false),
            passing: 0,
            suppressed: 0,
            share: ShareBand::None,
        }
    }

    /// About how many bytes its slots take.
    pub(crate) fn bytes(&self) -> usize {
        let weights = if self.weights.is_some() { size_of::<u64>() } else { 0 };
        let sums: usize = self.sums.iter().flatten().map(Sums::slot_bytes).sum();
        let sketches = self.quantiles.iter().chain(&self.distinct).flatten().map(SketchSlots::bytes).sum();
        let slots = self.slots.len().saturating_mul(size_of::<(usize, u32)>() + weights + sums);
        slots.saturating_add(sketches)
    }

    /// Makes room for the slots that there are by now.
    fn resize(&mut self) {
        let slots = self.slots.len();
        self.weights.iter_mut().for_each(|weights| weights.resize(slots, 0));
        self.sums.iter_mut().flatten().for_each(|sums| sums.resize(slots));
        self.quantiles.iter_mut().chain(&mut self.distinct).flatten().for_each(|sketches| sketches.resize(slots));
    }

    /// Adds a block's cells to their slots.
    fn add(&mut self, block: &Block, taken: &Taken<'_>) -> Result<(), QueryError> {
        self.resize();
        if let Some(weights) = &mut self.weights {
            let mut too_many = false;
            taken.each(&block.observations, |slot, observations| {
                let over;
                (weights[slot], over) = weights[slot].overflowing_add(observations as u64);
                too_many |= over;
            });
            if too_many {
                return Err(QueryError::Overflow);
            }
        }
        for (sums, states) in self.sums.iter_mut().zip(&block.states) {
            if let (Some(sums), Some(states)) = (sums, states) {
                sums.add(states, taken)?;
            }
        }
        let of_block = block.quantiles.iter().chain(&block.distinct);
        for (merged, sketches) in self.quantiles.iter_mut().chain(&mut self.distinct).zip(of_block) {
            if let (Some(merged), Some(sketches)) = (merged, sketches) {
                merged.add(sketches, taken)?;
            }
        }
        Ok(())
    }

    /// Adds merged cells, each to the slot that `slots` says.
    fn absorb(&mut self, other: &Self, slots: &[u32]) -> Result<(), QueryError> {
        self.resize();
        if let (Some(weights), Some(others)) = (&mut self.weights, &other.weights) {
            for (slot, other) in slots.iter().zip(others) {
                let weight = &mut weights[*slot as usize];
                *weight = weight.checked_add(*other).ok_or(QueryError::Overflow)?;
            }
        }
        for (sums, other) in self.sums.iter_mut().zip(&other.sums) {
            if let (Some(sums), Some(other)) = (sums, other) {
                sums.absorb(other, slots)?;
            }
        }
        let others = other.quantiles.iter().chain(&other.distinct);
        for (sketches, other) in self.quantiles.iter_mut().chain(&mut self.distinct).zip(others) {
            if let (Some(sketches), Some(other)) = (sketches, other) {
                sketches.absorb(other, slots)?;
            }
        }
        self.passing += other.passing;
        self.suppressed += other.suppressed;
        self.share = self.share.max(other.share);
        Ok(())
    }

    /// These columns of the product's cells.
    fn batch(
        &self,
        product: &Product,
        columns: &[usize],
        dimensions: &[usize],
        schema: SchemaRef,
    ) -> Result<RecordBatch> {
        let total = self.slots.len();
        let sketches = |sketches: Option<&SketchSlots>| match sketches {
            Some(sketches) => sketches_array(sketches.stored().iter().map(Vec::as_slice)),
            None => BinaryArray::new_null(total),
        };
        let column = |column: &usize| -> Result<ArrayRef> {
            let dimension = dimensions.iter().position(|dimension| dimension + 1 == *column);
            Ok(match (*column, product.measure_at(*column), product.distinct_at(*column)) {
                (0, ..) => {
                    let times = self.slots.iter().map(|(place, _)| self.places[*place]);
                    Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone(product.zone().name()))
                }
                (_, Some(measure), _) => {
                    let sums = self.sums[measure].as_ref().ok_or(QueryError::Internal("a measure was not read"))?;
                    let quantiles = sketches(self.quantiles[measure].as_ref());
                    states_array(&product.contract.measures[measure], sums.columns()?, quantiles)
                }
                (_, _, Some(distinct)) => Arc::new(sketches(self.distinct[distinct].as_ref())),
                _ => match (dimension, &self.weights) {
                    (Some(place), _) => {
                        let values = self.coordinates.iter().map(|coordinate| &coordinate[place]);
                        let codes = UInt32Array::from_iter_values(self.slots.iter().map(|(_, code)| *code));
                        take(&StringArray::from_iter_values(values), &codes, None)?
                    }
                    (None, Some(weights)) => Arc::new(UInt64Array::from(weights.clone())),
                    (None, None) => return Err(QueryError::Internal("a column was not read").into()),
                },
            })
        };
        let arrays = columns.iter().map(column).collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(schema, arrays)?)
    }
}
