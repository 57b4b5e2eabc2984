//! States of merged cells, a column a statistic.

use civicmesh_ledger::{Numbers, Sketches, States, Wanted};
use civicmesh_model::number::{COUNT_MAX, MeasureState};

use crate::error::QueryError;
use crate::sketched::Merged as Sketch;

/// Which cells go into which slots.
pub(crate) struct Taken<'t> {
    /// The cells; none where they are all from `first` on.
    pub cells: Option<&'t [u32]>,
    pub first: usize,
    /// Of each of them.
    pub slots: &'t [u32],
}

impl Taken<'_> {
    /// The slot and the value of each cell that is taken.
    #[inline]
    pub(crate) fn each<T: Copy>(&self, values: &[T], mut add: impl FnMut(usize, T)) {
        match self.cells {
            None => {
                let values = &values[self.first..self.first + self.slots.len()];
                values.iter().zip(self.slots).for_each(|(value, slot)| add(*slot as usize, *value));
            }
            Some(cells) => {
                cells.iter().zip(self.slots).for_each(|(cell, slot)| add(*slot as usize, values[*cell as usize]));
            }
        }
    }

    /// The slot and the number of each cell that is taken.
    fn cells(&self) -> impl Iterator<Item = (usize, usize)> {
        let cell = |place: usize| self.cells.map_or(self.first + place, |cells| cells[place] as usize);
        self.slots.iter().enumerate().map(move |(place, slot)| (*slot as usize, cell(place)))
    }
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
        if self.wanted.min {
            taken.cells().for_each(|(slot, cell)| self.min[slot].add(extreme(&states.min, cell), i64::min));
        }
        if self.wanted.max {
            taken.cells().for_each(|(slot, cell)| self.max[slot].add(extreme(&states.max, cell), i64::max));
        }
        Ok(())
    }

    /// Adds merged cells, each into the slot that `slots` says.
    pub(crate) fn absorb(&mut self, other: &Self, slots: &[u32]) -> Result<(), QueryError> {
        let taken = Taken { cells: None, first: 0, slots };
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

    /// The state of each slot.
    pub(crate) fn states(&self) -> impl Iterator<Item = Result<MeasureState, QueryError>> {
        let number = |numbers: &[i128], slot: usize| numbers.get(slot).copied().unwrap_or(0);
        let extreme = |extremes: &[Extreme], slot: usize| extremes.get(slot).and_then(|extreme| extreme.known());
        (0..self.count.len()).map(move |slot| {
            let count = self.count[slot];
            if count > COUNT_MAX {
                return Err(QueryError::Overflow);
            }
            Ok(MeasureState {
                count,
                sum: number(&self.sum, slot),
                sum_squares: number(&self.squares, slot),
                min: extreme(&self.min, slot),
                max: extreme(&self.max, slot),
            })
        })
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
        taken.cells().try_for_each(|(slot, cell)| {
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
