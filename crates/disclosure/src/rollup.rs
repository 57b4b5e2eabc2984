//! A rollup: one window's exact cells, still secret.

use std::fmt;

use civicmesh_model::grain::Window;
use civicmesh_model::hash::Hash32;
use civicmesh_model::number::MeasureState;
use civicmesh_model::release::RefusalReason;

use crate::sketched::Sketches;

/// One window of one product, exact and still secret. Nothing outside this crate can read, copy, compare or write
/// what is in it; the gate takes it, or it is dropped.
pub struct Rollup {
    pub(crate) window: Window,
    /// The contract that it was accumulated under.
    pub(crate) contract: Hash32,
    /// Cells sorted by coordinate, or why the window cannot be released.
    pub(crate) content: Result<Vec<CellRollup>, RefusalReason>,
}

/// One cell, exact.
pub(crate) struct CellRollup {
    pub(crate) coordinate: Vec<String>,
    pub(crate) observations: u64,
    pub(crate) contributors: u64,
    /// In the contract's order, each with the contributors behind its values that are not null.
    pub(crate) measures: Vec<(MeasureState, u64)>,
    /// Of no column where the product has no sketches.
    pub(crate) sketches: Sketches,
}

impl Rollup {
    /// The window it covers.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Whether no observation fell into the window.
    pub fn is_empty(&self) -> bool {
        self.content.as_ref().is_ok_and(Vec::is_empty)
    }
}

impl fmt::Debug for Rollup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rollup({} to {}, redacted)", self.window.start, self.window.end)
    }
}
