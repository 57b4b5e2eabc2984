//! The checkers, one an invariant. Each is shown to catch a planted bug by a test beside it or in `tests`.

pub mod bounds;
pub mod conservation;
pub mod convergence;
pub mod egress;
pub mod honesty;
pub mod immutability;
pub mod retention;

use civicmesh_ledger::{Ledger, LedgerError};
use civicmesh_model::names::ProductId;
use civicmesh_model::release::Entry;

use crate::city::WEIGHT;

/// Every checker, and what it means that it found nothing.
pub const CHECKERS: [(&str, &str, &str); 8] = [
    ("conservation", "Every acknowledged row is in its product once, and no other is", "windows"),
    ("convergence", "Once the network is whole, every node has what each owner has", "logs"),
    ("immutability", "An entry of a log is the same bytes for everybody and for good", "entries"),
    ("retention", "Raw rows are gone once their contract's time is over, and not before", "days"),
    ("honesty", "What an answer claims to hold is what the node holds", "answers"),
    ("egress", "No canary passed between nodes or stands in a log", "bytes"),
    ("bounds", "No node took more places or memory than it says", "samples"),
    ("running", "No node ended without a fault that says why", "starts"),
];

/// What a node holds of a product, counted from the entries themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Windows that are released.
    pub released: u64,
    /// Windows in which nothing was observed.
    pub empty: u64,
    /// Windows that could not be released.
    pub refused: u64,
    /// Published cells.
    pub cells: u64,
    /// Cells that are held back.
    pub suppressed: u64,
    /// Observations in published cells.
    pub rows: u64,
    /// The sum of their weights; 0 where the product has none.
    pub weight: i128,
}

impl Held {
    /// Counts what a ledger holds of a product now.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub fn of(ledger: &Ledger, product: &ProductId) -> Result<Held, LedgerError> {
        let mut held = Held::default();
        for entry in ledger.snapshot().current(product, None)? {
            held.count(&entry?);
        }
        Ok(held)
    }

    fn count(&mut self, entry: &Entry) {
        match entry {
            Entry::Release(release) => {
                self.released += 1;
                self.suppressed += release.suppressed.len() as u64;
                let weight = release.measures.iter().position(|name| name == WEIGHT);
                for cell in &release.cells {
                    self.cells += 1;
                    self.rows += cell.observations;
                    self.weight += weight.map_or(0, |at| cell.measures[at].sum);
                }
            }
            Entry::Refusal(_) => self.refused += 1,
            Entry::Empty(run) => self.empty += run.windows,
        }
    }
}
