//! What a product must tell, reckoned from the rows themselves and not by the code under test.

use std::collections::{BTreeMap, BTreeSet};

use civicmesh_model::number::MeasureState;

/// A cell's dimensions, in the contract's order.
pub type Coordinate = Vec<String>;

/// The truth of one cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellTruth {
    /// Accepted rows.
    pub rows: u64,
    /// The sum of their weights.
    pub weight: i128,
    /// Their measure, after the contract's rounding.
    pub value: MeasureState,
    /// Whom they are from; 0 where the product is about nobody.
    pub contributors: u64,
}

/// The truth of one window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowTruth {
    /// By coordinate.
    pub cells: BTreeMap<Coordinate, CellTruth>,
}

impl WindowTruth {
    /// Accepted rows of all cells.
    pub fn rows(&self) -> u64 {
        self.cells.values().map(|cell| cell.rows).sum()
    }

    /// The sum of all weights.
    pub fn weight(&self) -> i128 {
        self.cells.values().map(|cell| cell.weight).sum()
    }

    /// The cells that `k` contributors or more are behind; all of them without a threshold.
    pub fn published(&self, k: Option<u64>) -> impl Iterator<Item = (&Coordinate, &CellTruth)> {
        self.cells.iter().filter(move |(_, cell)| k.is_none_or(|k| cell.contributors >= k))
    }
}

/// Whom the rows of a cell are from, while it is reckoned.
#[derive(Default)]
pub(super) struct Tally {
    pub truth: CellTruth,
    pub known: BTreeSet<u64>,
}
