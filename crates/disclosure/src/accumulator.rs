//! The accumulator: raw rows in, one exact rollup a window out, whatever their order and batching.
//!
//! Coordinates are numbers while rows come in: every dimension's texts are interned once, a cell is found by its row
//! of numbers without allocating, and texts come back only in [`Accumulator::finish`].

use std::collections::HashMap;
use std::fmt;

use arrow::array::{Array, BooleanArray};
use civicmesh_model::contract::{Contract, DistinctColumn, Measure};
use civicmesh_model::grain::Window;
use civicmesh_model::hash::Hash32;
use civicmesh_model::names::ProductId;
use civicmesh_model::number::MeasureState;
use civicmesh_model::release::{CELLS_MAX, RefusalReason};
use civicmesh_model::time::UtcMicros;
use civicmesh_observation::Observations;

use crate::columns::Columns;
use crate::error::DisclosureError;
use crate::rollup::{CellRollup, Rollup};
use crate::sketched::{Sketches, Sketching};
use crate::tally::{Contribution, Counting, Tally};

/// Most bytes that the sketches of a window take; a window with more is refused as a whole, as no release has room for
/// so much.
const SKETCHES_BYTES_MAX: usize = 16 << 20;

/// Bounds on what an accumulator holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most cells in one window; a window with more is refused as a whole.
    pub cells_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cells_max: CELLS_MAX }
    }
}

/// Sums rows into cells for some windows of one product. Its memory is bounded by windows × `cells_max`, that of
/// sketches by windows × `SKETCHES_BYTES_MAX`; identities are kept only while a cell is under its threshold.
pub struct Accumulator {
    product: ProductId,
    contract: Hash32,
    counting: Counting,
    limits: Limits,
    dimensions: Vec<Interned>,
    measures: Vec<Measure>,
    distinct: Vec<DistinctColumn>,
    sketching: Sketching,
    sketch_bytes_max: usize,
    windows: Vec<WindowCells>,
}

impl Accumulator {
    /// An accumulator over `windows`, which must be sorted and disjoint; rows outside them are passed over.
    pub fn new(contract: &Contract, windows: Vec<Window>, limits: Limits) -> Result<Self, DisclosureError> {
        for pair in windows.windows(2) {
            if pair[1].start < pair[0].end {
                return Err(DisclosureError::WindowsNotSorted { window: pair[1] });
            }
        }
        let counting = Counting::of(contract)?;
        Ok(Self {
            product: contract.product.clone(),
            contract: contract.hash(),
            counting,
            sketching: Sketching::of(contract, counting),
            sketch_bytes_max: SKETCHES_BYTES_MAX,
            distinct: contract.distinct.clone(),
            limits: Limits { cells_max: limits.cells_max.min(CELLS_MAX) },
            dimensions: contract.dimensions.iter().map(|dimension| Interned::new(&dimension.name)).collect(),
            measures: contract.measures.clone(),
            windows: windows.into_iter().map(WindowCells::new).collect(),
        })
    }

    /// Counts these rows, but for those that `superseded` marks with true. Nothing is counted when it fails.
    pub fn observe(
        &mut self,
        observations: &Observations,
        superseded: Option<&BooleanArray>,
    ) -> Result<(), DisclosureError> {
        let rows = observations.rows();
        if let Some(marks) = superseded.filter(|marks| marks.len() != rows) {
            return Err(DisclosureError::MarksMismatch { marks: marks.len(), rows });
        }
        let mut columns = Columns::of(observations, &self.dimensions, &self.measures, &self.distinct, self.counting)?;
        let mut coordinate = vec![0_u32; self.dimensions.len()];
        let mut near = 0;
        for row in 0..rows {
            if superseded.is_some_and(|marks| marks.is_valid(row) && marks.value(row)) {
                continue;
            }
            let Some(place) = self.place(columns.time(row), near) else {
                continue;
            };
            near = place;
            for (index, id) in coordinate.iter_mut().enumerate() {
                *id = columns.dimension(index, row, &mut self.dimensions[index]);
            }
            let window = &mut self.windows[place];
            let Some(cell) = window.cell(&coordinate, self.measures.len(), self.counting, self.limits) else {
                continue;
            };
            let fits = cell.observe(&columns, row);
            if self.sketching.any() {
                let sketches = cell.sketches.get_or_insert_with(|| Box::new(self.sketching.sketches()));
                let before = sketches.bytes();
                self.sketching.observe(sketches, &columns, row, columns.contribution(row));
                let more = sketches.bytes().saturating_sub(before);
                window.sketched(more, self.sketch_bytes_max);
            }
            window.overflowed |= !fits;
        }
        Ok(())
    }

    /// Adds what another accumulator of the same contract, windows and limits has counted over other rows.
    pub fn merge(&mut self, other: Self) -> Result<(), DisclosureError> {
        let same_windows = self.windows.iter().map(|cells| cells.window).eq(other.windows.iter().map(|c| c.window));
        if self.contract != other.contract || self.limits != other.limits || !same_windows {
            return Err(DisclosureError::ContractMismatch { product: self.product.clone() });
        }
        let mut renumbered = Vec::with_capacity(self.dimensions.len());
        for (mine, theirs) in self.dimensions.iter_mut().zip(other.dimensions) {
            renumbered.push(theirs.texts.iter().map(|text| mine.id(text)).collect::<Vec<u32>>());
        }
        for (mine, theirs) in self.windows.iter_mut().zip(other.windows) {
            mine.overflowed |= theirs.overflowed;
            if theirs.crowded {
                mine.crowd();
                continue;
            }
            let WindowCells { slots, mut cells, .. } = theirs;
            for (ids, slot) in slots {
                let ids: Vec<u32> = ids.iter().zip(&renumbered).map(|(id, map)| map[*id as usize]).collect();
                let Some(cell) = mine.cell(&ids, self.measures.len(), self.counting, self.limits) else {
                    break;
                };
                let before = cell.sketch_bytes();
                let fits = cell.merge(std::mem::take(&mut cells[slot as usize]));
                let more = cell.sketch_bytes().saturating_sub(before);
                mine.overflowed |= !fits;
                mine.sketched(more, self.sketch_bytes_max);
            }
        }
        Ok(())
    }

    /// One rollup a window, in the windows' order, also for windows without a row.
    pub fn finish(self) -> Vec<Rollup> {
        let Self { contract, dimensions, windows, .. } = self;
        let rollup = |cells: WindowCells| Rollup { window: cells.window, contract, content: cells.finish(&dimensions) };
        windows.into_iter().map(rollup).collect()
    }

    /// The window that holds `time`; `near` is tried first, for rows mostly come in runs.
    fn place(&self, time: UtcMicros, near: usize) -> Option<usize> {
        let holds = |place: usize| {
            let window = self.windows.get(place)?.window;
            (window.start <= time && time < window.end).then_some(place)
        };
        holds(near).or_else(|| holds(self.windows.partition_point(|cells| cells.window.end <= time)))
    }
}

impl fmt::Debug for Accumulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Accumulator({}, {} windows, redacted)", self.product, self.windows.len())
    }
}

/// The texts of one dimension, numbered as they come.
pub(crate) struct Interned {
    pub(crate) name: String,
    ids: HashMap<String, u32>,
    texts: Vec<String>,
}

impl Interned {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ids: HashMap::new(), texts: Vec::new() }
    }

    /// The number of this text.
    pub(crate) fn id(&mut self, text: &str) -> u32 {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = u32::try_from(self.texts.len()).expect("fewer texts than rows in memory, and those are under 2^32");
        self.ids.insert(text.to_owned(), id);
        self.texts.push(text.to_owned());
        id
    }
}

/// The cells of one window.
struct WindowCells {
    window: Window,
    slots: HashMap<Box<[u32]>, u32>,
    cells: Vec<Cell>,
    /// A checked addition failed. Cells are counted on, so that the reason given depends on no order.
    overflowed: bool,
    /// More cells, or more bytes of their sketches, than the limit; they are dropped and no more are made.
    crowded: bool,
    sketch_bytes: usize,
}

impl WindowCells {
    fn new(window: Window) -> Self {
        Self { window, slots: HashMap::new(), cells: Vec::new(), overflowed: false, crowded: false, sketch_bytes: 0 }
    }

    /// The cell of this coordinate, made if need be; `None` once the window holds too many.
    fn cell(&mut self, ids: &[u32], measures: usize, counting: Counting, limits: Limits) -> Option<&mut Cell> {
        if self.crowded {
            return None;
        }
        let slot = match self.slots.get(ids) {
            Some(slot) => *slot as usize,
            None if self.cells.len() >= limits.cells_max => {
                self.crowd();
                return None;
            }
            None => {
                let slot = self.cells.len();
                self.slots.insert(ids.into(), u32::try_from(slot).expect("a window's cells are under 2^32"));
                self.cells.push(Cell::new(measures, counting));
                slot
            }
        };
        self.cells.get_mut(slot)
    }

    /// Notes that sketches have grown.
    fn sketched(&mut self, more: usize, bytes_max: usize) {
        self.sketch_bytes += more;
        if self.sketch_bytes > bytes_max {
            self.crowd();
        }
    }

    fn crowd(&mut self) {
        self.crowded = true;
        self.slots = HashMap::new();
        self.cells = Vec::new();
    }

    fn finish(mut self, dimensions: &[Interned]) -> Result<Vec<CellRollup>, RefusalReason> {
        if self.crowded {
            return Err(RefusalReason::TooManyCells);
        }
        if self.overflowed {
            return Err(RefusalReason::Overflow);
        }
        let mut rollups = Vec::with_capacity(self.cells.len());
        for (ids, slot) in self.slots {
            let text = |(id, dimension): (&u32, &Interned)| dimension.texts[*id as usize].clone();
            let cell = std::mem::take(&mut self.cells[slot as usize]);
            rollups.push(CellRollup {
                coordinate: ids.iter().zip(dimensions).map(text).collect(),
                observations: cell.observations,
                contributors: cell.contributors.number(),
                measures: cell.measures.into_iter().map(|(state, tally)| (state, tally.number())).collect(),
                sketches: cell.sketches.map(|sketches| *sketches).unwrap_or_default(),
            });
        }
        rollups.sort_unstable_by(|a, b| a.coordinate.cmp(&b.coordinate));
        Ok(rollups)
    }
}

/// One cell while rows come in.
struct Cell {
    observations: u64,
    contributors: Tally,
    /// In the contract's order, each with the contributors behind its values that are not null.
    measures: Vec<(MeasureState, Tally)>,
    /// None of a product without sketches.
    sketches: Option<Box<Sketches>>,
}

impl Cell {
    fn new(measures: usize, counting: Counting) -> Self {
        let measure = || (MeasureState::default(), counting.tally());
        Self {
            observations: 0,
            contributors: counting.tally(),
            measures: std::iter::repeat_with(measure).take(measures).collect(),
            sketches: None,
        }
    }

    fn sketch_bytes(&self) -> usize {
        self.sketches.as_ref().map_or(0, |sketches| sketches.bytes())
    }

    /// Counts one row; false when an addition overflows.
    fn observe(&mut self, columns: &Columns<'_>, row: usize) -> bool {
        let contribution: Contribution = columns.contribution(row);
        let mut fits = true;
        self.observations += 1;
        self.contributors.add(contribution);
        for (index, (state, tally)) in self.measures.iter_mut().enumerate() {
            if let Some(value) = columns.measure(index, row) {
                fits &= state.observe(value).is_ok();
                tally.add(contribution);
            }
        }
        fits
    }

    /// Adds the same cell of other rows; false when an addition overflows.
    fn merge(&mut self, other: Self) -> bool {
        let mut fits = true;
        self.observations += other.observations;
        self.contributors.merge(other.contributors);
        for ((state, tally), (their_state, their_tally)) in self.measures.iter_mut().zip(other.measures) {
            fits &= state.merge(&their_state).is_ok();
            tally.merge(their_tally);
        }
        match (&mut self.sketches, other.sketches) {
            (Some(mine), Some(theirs)) => fits &= mine.merge(*theirs),
            (None, theirs) => self.sketches = theirs,
            (Some(_), None) => {}
        }
        fits
    }
}

/// What `mem::take` leaves behind.
impl Default for Cell {
    fn default() -> Self {
        Self { observations: 0, contributors: Tally::Number(0), measures: Vec::new(), sketches: None }
    }
}

#[cfg(test)]
mod tests {
    use civicmesh_model::number::COUNT_MAX;

    use crate::tests::{accumulator, cell, contracts, observations};

    use super::*;

    #[test]
    fn a_sum_out_of_bounds_refuses_its_window_by_rows_and_by_merges() {
        let contract = &contracts()[0];
        let rows = observations(contract, &cell(2));
        let nearly_full = || {
            let mut full = accumulator(contract);
            full.observe(&rows, None).unwrap();
            full.windows[0].cells[0].measures[0].0.count = COUNT_MAX - 1;
            full
        };
        let mut by_rows = nearly_full();
        by_rows.observe(&rows, None).unwrap();
        let mut by_merge = nearly_full();
        let mut more = accumulator(contract);
        more.observe(&rows, None).unwrap();
        by_merge.merge(more).unwrap();
        for accumulator in [by_rows, by_merge] {
            let rollups = accumulator.finish();
            assert!(matches!(rollups[0].content, Err(RefusalReason::Overflow)));
            assert!(!rollups[0].is_empty() && rollups[1].is_empty());
        }
        assert!(nearly_full().finish()[0].content.is_ok());
    }

    #[test]
    fn sketches_beyond_their_bound_refuse_the_window_in_any_order() {
        let text = crate::tests::text("active", crate::tests::OPEN, "none");
        let text = text.replace("publish: [count, sum]", "publish: [sum, quantiles]");
        let contract = Contract::parse(&text, "trips.yaml").unwrap().0;
        let refused = |bytes_max: usize, parts: [u8; 3]| {
            let mut whole = accumulator(&contract);
            whole.sketch_bytes_max = bytes_max;
            for (place, rows) in parts.into_iter().enumerate() {
                let mut part = accumulator(&contract);
                part.sketch_bytes_max = bytes_max;
                let rows: Vec<_> =
                    cell(rows).into_iter().map(|row| crate::tests::Row { borough: place as u8, ..row }).collect();
                part.observe(&observations(&contract, &rows), None).unwrap();
                whole.merge(part).unwrap();
            }
            matches!(whole.finish()[0].content, Err(RefusalReason::TooManyCells))
        };
        for parts in [[9, 4, 7], [4, 7, 9], [7, 9, 4]] {
            assert!(refused(20 * 8 - 1, parts) && !refused(20 * 8, parts), "{parts:?}");
        }
    }
}
