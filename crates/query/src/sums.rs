//! States of merged cells, a column a statistic.

use arrow::array::{ArrayRef, Int64Array};
use civicmesh_ledger::{Numbers, Sketches, States, Wanted};
use civicmesh_model::number::COUNT_MAX;

use crate::error::QueryError;
use crate::sketched::Merged as Sketch;
use crate::state::columns_of;

/// Which cells go into which slots.
pub(crate) enum Taken<'t> {
    /// These cells, one into each of the slots.
    Some { cells: &'t [u32], slots: &'t [u32] },
    /// All from `first` on: so many windows a run, one after the other, each with a cell for each of the run's slots.
    /// Every run has as many slots.
    Runs { first: usize, runs: &'t [usize], slots: &'t [u32] },
}

impl<'t> Taken<'t> {
    /// All from `first` on, one into each of the slots.
    pub(crate) fn all(first: usize, slots: &'t [u32]) -> Self {
        Self::Runs { first, runs: &[1], slots }
    }

    /// How many cells are taken.
    pub(crate) fn len(&self) -> usize {
        match *self {
            Self::Some { slots, .. } => slots.len(),
            Self::Runs { runs, slots, .. } => of_runs(runs, slots).map(|(windows, slots)| windows * slots.len()).sum(),
        }
    }

    /// The slot and the value of each cell that is taken.
    #[inline]
    pub(crate) fn each<T: Copy>(&self, values: &[T], mut add: impl FnMut(usize, T)) {
        match *self {
            Self::Some { cells, slots } => {
                cells.iter().zip(slots).for_each(|(cell, slot)| add(*slot as usize, values[*cell as usize]));
            }
            Self::Runs { first, runs, slots } => {
                let mut values = &values[first..first + self.len()];
                for (windows, slots) in of_runs(runs, slots) {
                    let (run, rest) = values.split_at(windows * slots.len());
                    for window in run.chunks_exact(slots.len()) {
                        window.iter().zip(slots).for_each(|(value, slot)| add(*slot as usize, *value));
                    }
                    values = rest;
                }
            }
        }
    }

    /// The slot and the number of each cell that is taken, up to the first error.
    fn each_cell<E>(&self, mut take: impl FnMut(usize, usize) -> Result<(), E>) -> Result<(), E> {
        match *self {
            Self::Some { cells, slots } => {
                cells.iter().zip(slots).try_for_each(|(cell, slot)| take(*slot as usize, *cell as usize))
            }
            Self::Runs { first, runs, slots } => {
                let windows = of_runs(runs, slots).flat_map(|(windows, slots)| std::iter::repeat_n(slots, windows));
                windows.flatten().zip(first..).try_for_each(|(slot, cell)| take(*slot as usize, cell))
            }
        }
    }
}

/// The windows and the slots of each run.
fn of_runs<'t>(runs: &'t [usize], slots: &'t [u32]) -> impl Iterator<Item = (usize, &'t [u32])> {
    let width = slots.len() / runs.len().max(1);
    runs.iter().copied().zip(slots.chunks_exact(width.max(1)))
}

/// The least or the greatest of the values so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Extreme {
    /// There are none.
    #[default]
    None,
    Known(i64),
    /// A part that has values does not say it.
    Unsaid,
}

impl Extreme {
    fn add(&mut self, other: Self, of: fn(i64, i64) -> i64) {
        *self = match (*self, other) {
            (known, Self::None) | (Self::None, known) => known,
            (Self::Known(one), Self::Known(other)) => Self::Known(of(one, other)),
            _ => Self::Unsaid,
        };
    }

    fn known(self) -> Option<i64> {
        match self {
            Self::Known(value) => Some(value),
            Self::None | Self::Unsaid => None,
        }
    }
}

/// The states of one measure in merged cells, as far as they are wanted. Sums stay far below their bounds as long as
/// counts do, which are looked at in the end.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    wanted: Wanted,
    count: Vec<u64>,
    sum: Vec<i128>,
    squares: Vec<i128>,
    min: Vec<Extreme>,
    max: Vec<Extreme>,
}

impl Sums {
    pub(crate) fn new(wanted: Wanted) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// Bytes that a slot takes.
    pub(crate) fn slot_bytes(&self) -> usize {
        let Wanted { sums, squares, min, max } = self.wanted;
        size_of::<u64>()
            + (usize::from(sums) + usize::from(squares)) * size_of::<i128>()
            + (usize::from(min) + usize::from(max)) * size_of::<Extreme>()
    }

    /// Makes room for so many slots.
    pub(crate) fn resize(&mut self, slots: usize) {
        let Wanted { sums, squares, min, max } = self.wanted;
        self.count.resize(slots, 0);
        self.sum.resize(if sums { slots } else { 0 }, 0);
        self.squares.resize(if squares { slots } else { 0 }, 0);
        self.min.resize(if min { slots } else { 0 }, Extreme::None);
        self.max.resize(if max { slots } else { 0 }, Extreme::None);
    }

    /// Adds cells.
    pub(crate) fn add(&mut self, states: &States, taken: &Taken<'_>) -> Result<(), QueryError> {
        let mut too_many = false;
        taken.each(&states.count, |slot, count| {
            let over;
            (self.count[slot], over) = self.count[slot].overflowing_add(count as u64);
            too_many |= over;
        });
        if too_many {
            return Err(QueryError::Overflow);
        }
        if self.wanted.sums {
            add_numbers(&mut self.sum, states.sums.as_ref(), taken);
        }
        if self.wanted.squares {
            add_numbers(&mut self.squares, states.squares.as_ref(), taken);
        }
        let extreme = |of: &Option<Vec<Option<i64>>>, cell: usize| match of.as_ref().and_then(|of| of[cell]) {
            _ if states.count[cell] == 0 => Extreme::None,
            Some(value) => Extreme::Known(value),
            None => Extreme::Unsaid,
        };
        if !self.wanted.min && !self.wanted.max {
            return Ok(());
        }
        taken.each_cell(|slot, cell| {
            if self.wanted.min {
                self.min[slot].add(extreme(&states.min, cell), i64::min);
            }
            if self.wanted.max {
                self.max[slot].add(extreme(&states.max, cell), i64::max);
            }
            Ok(())
        })
    }

    /// Adds merged cells, each into the slot that `slots` says.
    pub(crate) fn absorb(&mut self, other: &Self, slots: &[u32]) -> Result<(), QueryError> {
        let taken = Taken::all(0, slots);
        let mut too_many = false;
        taken.each(&other.count, |slot, count| {
            let over;
            (self.count[slot], over) = self.count[slot].overflowing_add(count);
            too_many |= over;
        });
        if too_many {
            return Err(QueryError::Overflow);
        }
        let Wanted { sums, squares, min, max } = self.wanted;
        if sums {
            taken.each(&other.sum, |slot, sum| self.sum[slot] = self.sum[slot].wrapping_add(sum));
        }
        if squares {
            taken.each(&other.squares, |slot, squares| self.squares[slot] = self.squares[slot].wrapping_add(squares));
        }
        if min {
            taken.each(&other.min, |slot, min| self.min[slot].add(min, i64::min));
        }
        if max {
            taken.each(&other.max, |slot, max| self.max[slot].add(max, i64::max));
        }
        Ok(())
    }

    /// The states of the slots as columns.
    pub(crate) fn columns(&self) -> Result<Vec<ArrayRef>, QueryError> {
        let slots = self.count.len();
        if self.count.iter().any(|count| *count > COUNT_MAX) {
            return Err(QueryError::Overflow);
        }
        let numbers = |wanted, numbers: &[i128]| if wanted { numbers.to_vec() } else { vec![0; slots] };
        let known = |wanted, extremes: &[Extreme]| match wanted {
            true => extremes.iter().map(|extreme| extreme.known()).collect(),
            false => Int64Array::new_null(slots),
        };
        let Wanted { sums, squares, min, max } = self.wanted;
        let sums = [numbers(sums, &self.sum), numbers(squares, &self.squares)];
        Ok(columns_of(self.count.clone(), sums, [known(min, &self.min), known(max, &self.max)]))
    }
}

fn add_numbers(sums: &mut [i128], numbers: Option<&Numbers>, taken: &Taken<'_>) {
    match numbers {
        None => {}
        Some(Numbers::Narrow(numbers)) => {
            taken.each(numbers, |slot, number| sums[slot] = sums[slot].wrapping_add(i128::from(number)));
        }
        Some(Numbers::Wide(numbers)) => {
            taken.each(numbers, |slot, number| sums[slot] = sums[slot].wrapping_add(number));
        }
    }
}

/// The sketches of one column in merged cells.
#[derive(Debug)]
pub(crate) struct SketchSlots {
    of_quantiles: bool,
    sketches: Vec<Sketch>,
    bytes: usize,
}

impl SketchSlots {
    pub(crate) fn new(of_quantiles: bool) -> Self {
        Self { of_quantiles, sketches: Vec::new(), bytes: 0 }
    }

    /// About how many bytes they take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes room for so many slots.
    pub(crate) fn resize(&mut self, slots: usize) {
        self.sketches.resize(slots, Sketch::None);
    }

    /// Adds cells.
    pub(crate) fn add(&mut self, sketches: &Sketches, taken: &Taken<'_>) -> Result<(), QueryError> {
        taken.each_cell(|slot, cell| {
            let of_quantiles = self.of_quantiles;
            self.change(slot, |sketch| sketch.add(sketches.get(cell), of_quantiles))
        })
    }

    /// Adds merged cells, each into the slot that `slots` says.
    pub(crate) fn absorb(&mut self, other: &Self, slots: &[u32]) -> Result<(), QueryError> {
        other
            .sketches
            .iter()
            .zip(slots)
            .try_for_each(|(sketch, slot)| self.change(*slot as usize, |merged| merged.merge(sketch.clone())))
    }

    fn change(
        &mut self,
        slot: usize,
        change: impl FnOnce(&mut Sketch) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let sketch = &mut self.sketches[slot];
        let before = sketch.bytes();
        change(sketch)?;
        self.bytes = (self.bytes + sketch.bytes()).saturating_sub(before);
        Ok(())
    }

    /// The bytes of each slot's sketch, empty where there is no value.
    pub(crate) fn stored(&self) -> Vec<Vec<u8>> {
        self.sketches.iter().map(Sketch::to_bytes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_windows_that_are_alike_are_what_their_cells_are_one_by_one() {
        // three windows at one place and one at another, two cells each, behind a cell of somebody else's
        let (runs, slots) = ([3, 1], [0, 1, 2, 0]);
        let spread = [0, 1, 0, 1, 0, 1, 2, 0];
        let (values, cells): (Vec<i64>, Vec<u32>) = ((100..109).collect(), (1..9).collect());
        let all = [
            Taken::Runs { first: 1, runs: &runs, slots: &slots },
            Taken::all(1, &spread),
            Taken::Some { cells: &cells, slots: &spread },
        ];
        for taken in all {
            let (mut sums, mut numbers) = ([0; 3], Vec::new());
            taken.each(&values, |slot, value| sums[slot] += value);
            let each = taken.each_cell(|slot, cell| {
                numbers.push((slot as u32, cell));
                if cell == 8 { Err(cell) } else { Ok(()) }
            });
            assert_eq!((sums, each, taken.len()), ([101 + 103 + 105 + 108, 102 + 104 + 106, 107], Err(8), 8));
            assert_eq!(numbers, spread.into_iter().zip(1..9).collect::<Vec<_>>());
        }
        let nothing = Taken::Runs { first: 1, runs: &[], slots: &[] };
        nothing.each(&values, |_, _| panic!("there is no cell"));
        assert_eq!(nothing.len(), 0);
    }
}
