//! The bounds of an entry, and which of its parts must agree.

use super::*;
use crate::number::{COUNT_MAX, DECIMALS_MAX, VALUE_MAX};
use crate::sketch::{Distinct, Quantiles};

impl Entry {
    /// Whether the entry keeps every bound and contradicts itself nowhere.
    ///
    /// # Errors
    /// [`EntryError::Rule`] with the first rule that is broken.
    pub fn check(&self) -> Result<(), EntryError> {
        let Window { start, end } = self.window();
        rule(start < end, "the window is empty")?;
        rule(start.is_in_range() && end.is_in_range(), "the window lies outside the years 1 to 9999")?;
        let closed_through = self.closed_through();
        rule(closed_through.is_in_range(), "closed-through lies outside the years 1 to 9999")?;
        rule(closed_through >= end, "closed-through comes before the window's end")?;
        match self {
            Self::Release(release) => release.check(),
            Self::Refusal(_) => Ok(()),
            Self::Empty(run) => rule(run.windows > 0, "a run of no windows"),
        }
    }
}

pub(super) fn rule(holds: bool, broken: &'static str) -> Result<(), EntryError> {
    if holds { Ok(()) } else { Err(EntryError::Rule(broken)) }
}

impl Release {
    fn check(&self) -> Result<(), EntryError> {
        rule(!matches!(self.method, MethodTag::Threshold { k: 0 }), "a threshold of nothing")?;
        self.check_columns()?;
        self.check_coordinates()?;
        let observations = self.cells.iter().try_fold(0_u64, |sum, cell| sum.checked_add(cell.observations));
        rule(observations == Some(self.coverage.observations), "coverage is not the sum of the cells")?;
        rule(self.coverage.observations <= COUNT_MAX, "more observations than can be summed")?;
        let band = self.suppressed_share;
        rule(self.suppressed.is_empty() == (band == ShareBand::None), "suppressed cells contradict their share")?;
        for cell in &self.cells {
            rule(cell.observations > 0, "a cell without observations")?;
            rule(cell.measures.len() == self.measures.len(), "a cell has not one state for each measure")?;
            cell.measures.iter().try_for_each(check_state)?;
            rule(cell.sketches.len() == self.sketches.len(), "a cell has not one sketch for each column of them")?;
        }
        for measure in 0..self.measures.len() {
            self.check_extreme(|cell| (cell.measures[measure].count, cell.measures[measure].min))?;
            self.check_extreme(|cell| (cell.measures[measure].count, cell.measures[measure].max))?;
        }
        self.check_sketches()
    }

    fn check_sketches(&self) -> Result<(), EntryError> {
        let Self { cells, sketches, measures, .. } = self;
        let states = cells.len() * measures.len();
        let bytes = cells.iter().flat_map(|cell| &cell.sketches).map(Vec::as_slice);
        rule(sketches_fit(states, bytes), "states and sketches are too long together")?;
        for (place, column) in sketches.iter().enumerate() {
            let sketched = cells.iter().map(|cell| (cell, &cell.sketches[place][..]));
            match column.kind {
                SketchKind::Quantiles => {
                    let measure = measures.iter().position(|measure| *measure == column.name);
                    let measure = measure.ok_or(EntryError::Rule("quantiles of what is no measure"))?;
                    for (cell, bytes) in sketched {
                        let count = if bytes.is_empty() { 0 } else { Quantiles::from_bytes(bytes)?.count() };
                        rule(count == cell.measures[measure].count, "quantiles of another number of values")?;
                    }
                }
                SketchKind::Distinct => {
                    for (_, bytes) in sketched.filter(|(_, bytes)| !bytes.is_empty()) {
                        Distinct::from_bytes(bytes)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn check_columns(&self) -> Result<(), EntryError> {
        let Self { dimensions, measures, decimals, sketches, cells, suppressed, .. } = self;
        rule(dimensions.len() <= DIMENSIONS_MAX, "too many dimensions")?;
        rule(measures.len() <= MEASURES_MAX, "too many measures")?;
        rule(sketches.len() <= SKETCHES_MAX, "too many columns of sketches")?;
        let sketched = sketches.iter().map(|column| &column.name);
        for name in dimensions.iter().chain(measures).chain(sketched) {
            rule((1..=COLUMN_NAME_BYTES_MAX).contains(&name.len()), "the name of a column is empty or too long")?;
        }
        let twice = sketches.iter().enumerate().any(|(place, column)| sketches[..place].contains(column));
        rule(!twice, "a column is sketched twice")?;
        let quantiles = sketches.iter().any(|column| column.kind == SketchKind::Quantiles);
        rule(self.method == MethodTag::Open || !quantiles, "quantiles of a threshold product hold single values")?;
        rule(decimals.len() == measures.len(), "not one number of decimals for each measure")?;
        rule(decimals.iter().all(|decimals| *decimals <= DECIMALS_MAX), "too many decimals")?;
        rule(cells.len() + suppressed.len() <= CELLS_MAX, "too many cells")?;
        rule(cells.len() * measures.len() <= STATES_MAX, "too many states")?;
        rule(cells.len() * sketches.len() <= STATES_MAX, "too many sketches")
    }

    fn check_coordinates(&self) -> Result<(), EntryError> {
        let Self { cells, suppressed, .. } = self;
        let published = || cells.iter().map(|cell| &cell.coordinate);
        let held = || suppressed.iter().map(|cell| &cell.coordinate);
        let mut bytes = 0;
        for coordinate in published().chain(held()) {
            rule(coordinate.len() == self.dimensions.len(), "a coordinate has not one value for each dimension")?;
            for value in coordinate {
                rule(value.len() <= COORDINATE_BYTES_MAX, "a value of a dimension is too long")?;
                bytes += value.len() + layout::COORDINATE_LENGTH_BYTES_MAX;
            }
        }
        rule(bytes <= COORDINATES_BYTES_MAX, "the values of dimensions are too long together")?;
        rule(published().is_sorted_by(|a, b| a < b), "cells are not in order")?;
        rule(held().is_sorted_by(|a, b| a < b), "suppressed cells are not in order")?;
        let both = held().any(|held| cells.binary_search_by(|cell| cell.coordinate.cmp(held)).is_ok());
        rule(!both, "a cell is both published and suppressed")
    }

    /// An extreme is published of all cells that have values, or of none.
    fn check_extreme(&self, of: impl Fn(&Cell) -> (u64, Option<i64>)) -> Result<(), EntryError> {
        let mut published = self.cells.iter().map(of).filter(|(count, _)| *count > 0);
        let first = published.next().map(|(_, extreme)| extreme.is_some());
        let alike = published.all(|(_, extreme)| Some(extreme.is_some()) == first);
        rule(alike, "an extreme is published of some cells only")
    }
}

fn check_state(state: &MeasureState) -> Result<(), EntryError> {
    let MeasureState { count, sum, sum_squares, min, max } = state;
    if *count == 0 {
        return rule(*state == MeasureState::default(), "a sum of no values");
    }
    rule(*count <= COUNT_MAX, "more values than can be summed")?;
    let (count, greatest) = (u128::from(*count), u128::from(VALUE_MAX.unsigned_abs()));
    rule(sum.unsigned_abs() <= count * greatest, "a sum that the values cannot have")?;
    let squares = u128::try_from(*sum_squares).is_ok_and(|squares| squares <= count * greatest * greatest);
    rule(squares, "a sum of squares that the values cannot have")?;
    let extremes = [min, max].into_iter().flatten();
    rule(extremes.into_iter().all(|v| v.unsigned_abs() <= VALUE_MAX.unsigned_abs()), "an extreme is no value")?;
    rule(min.zip(*max).is_none_or(|(min, max)| min <= max), "the least is more than the greatest")
}
