//! What can go wrong on the way out. No message holds an observation's value.

use civicmesh_model::grain::Window;
use civicmesh_model::names::ProductId;
use civicmesh_model::release::EntryError;
use civicmesh_model::time::UtcMicros;

/// Why rows cannot be accumulated or a rollup cannot be disclosed. A rollup that the method itself holds back is no
/// error: it leaves as a refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DisclosureError {
    /// Only the owner's contract says who stands behind a row; a peer's public document does not.
    #[error("{product}: the contract at hand is a peer's, without a dataset")]
    NoDataset {
        /// The product.
        product: ProductId,
    },
    /// A threshold counts contributors, and the dataset declares none.
    #[error("{product}: a threshold needs a contributor, and the dataset declares none")]
    NoContributor {
        /// The product.
        product: ProductId,
    },
    /// Windows to accumulate must be sorted and must not overlap.
    #[error("windows must be sorted and disjoint; the one that starts at {} is not", .window.start)]
    WindowsNotSorted {
        /// The first window out of place.
        window: Window,
    },
    /// The rows lack a column that the contract names, or hold it as another type.
    #[error("the observations have no usable column `{column}`")]
    MissingColumn {
        /// The column's name in the contract, or the contributor column's.
        column: String,
    },
    /// The list of rows to leave out does not fit the rows.
    #[error("{marks} marks for {rows} observations")]
    MarksMismatch {
        /// Marks given.
        marks: usize,
        /// Rows given.
        rows: usize,
    },
    /// A draft takes observations in and releases nothing.
    #[error("{product}: the contract is a draft and releases nothing")]
    NotActive {
        /// The product.
        product: ProductId,
    },
    /// Two parts were made under different contracts, windows or limits.
    #[error("{product}: made under another contract")]
    ContractMismatch {
        /// The product of the contract at hand.
        product: ProductId,
    },
    /// The difference of two revisions would be the late rows themselves.
    #[error("{product}: a threshold product releases a window once, not as revision {revision}")]
    RevisionOfThreshold {
        /// The product.
        product: ProductId,
        /// The revision asked for.
        revision: u32,
    },
    /// A window leaves only once it is closed.
    #[error("the window that ends at {end} is not closed: closed through {closed_through}")]
    NotClosed {
        /// End of the window, or of the run of windows.
        end: UtcMicros,
        /// The last window edge that is closed.
        closed_through: UtcMicros,
    },
    /// A run of empty windows has its edges on window edges and holds at least one window.
    #[error("{start} to {end} is no run of whole windows")]
    NoWholeWindows {
        /// Start of the run.
        start: UtcMicros,
        /// End of the run.
        end: UtcMicros,
    },
    /// What would leave breaks a rule of the log's entries.
    #[error("what would leave is no entry of a log: {0}")]
    Entry(#[from] EntryError),
}
