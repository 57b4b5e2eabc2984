//! Why the vault refuses, in words that hold no observation's value.

use crate::FileKey;
use civicmesh_disclosure::DisclosureError;
use civicmesh_model::grain::Window;
use civicmesh_model::names::{DatasetName, SourceName};
use civicmesh_model::time::Zone;
use civicmesh_observation::ObservationError;
use civicmesh_store::StoreError;

/// Why the vault refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored block cannot be read, or observations cannot be stored.
    #[error(transparent)]
    Observations(#[from] ObservationError),
    /// Observations do not fit the contract that is closed.
    #[error(transparent)]
    Disclosure(#[from] DisclosureError),
    /// Stored bytes are not what this version writes.
    #[error("the vault is damaged: an entry of `{0}` cannot be read")]
    Damaged(&'static str),
    /// Another version wrote this vault.
    #[error("this vault has format {stored}, and this version of civicmesh reads format {known}")]
    Format {
        /// The vault's format.
        stored: u32,
        /// The format that this version knows.
        known: u32,
    },
    /// The vault's partitions are civil days of another zone.
    #[error("this vault was made for the zone {stored}, and the city's zone is {given}")]
    Zone {
        /// The vault's zone.
        stored: Zone,
        /// The city's zone.
        given: Zone,
    },
    /// No file ever came for this dataset.
    #[error("the vault has no dataset {0}")]
    UnknownDataset(DatasetName),
    /// The dataset has no such file.
    #[error("dataset {dataset} has no file {file}")]
    UnknownFile {
        /// The dataset.
        dataset: DatasetName,
        /// The file.
        file: FileKey,
    },
    /// The same file came under another source.
    #[error("this file was taken in as part of source {0}: the same file counts once")]
    OtherSource(SourceName),
    /// The file is finished and takes no more rows.
    #[error("this file is finished")]
    Finished,
    /// Rows do not begin where the file stands.
    #[error("the file stands at row {stored}, and these rows are {from} to {to}")]
    Offset {
        /// Rows of the file that are done.
        stored: u64,
        /// The first of these rows.
        from: u64,
        /// The row after the last.
        to: u64,
    },
    /// Rows are missing from the count, or counted twice.
    #[error("{told} rows were told of in a batch of {rows}")]
    Unaccounted {
        /// Rows that the batch spans.
        rows: u64,
        /// Observations, filtered and rejected rows together.
        told: u64,
    },
    /// More rows than one batch may hold.
    #[error("a batch of {rows} rows is too large: {} is the most", crate::ROWS_MAX)]
    TooManyRows {
        /// Its rows.
        rows: usize,
    },
    /// A file is being taken back; nothing can be closed or added until that ends.
    #[error("file {0} is being taken back")]
    Undoing(FileKey),
    /// Later files repeat or correct rows of this one.
    #[error("later files build on this one and must be taken back first: {}", .0.join(", "))]
    ReliedOn(Vec<String>),
    /// The file has rows in a window that was released.
    #[error("this file has rows in a window that was released: what was released does not change")]
    Released,
    /// Raw observations of this window are past their retention.
    #[error("raw observations of the window that starts at {} are past their retention and gone", .0.start)]
    Expired(Window),
}
