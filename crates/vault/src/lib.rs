//! Raw observations: takes them in, keeps them, and closes windows into rollups.
//!
//! A [`Vault`] holds the datasets of one domain. Observations come in files, file by file in batches; a batch is
//! one write to the store together with the file's offset, so that what was acknowledged is kept, and a file that is
//! sent again counts once. They lie in partitions, one a civil day of the city, and [`Vault::close`] passes over each
//! partition once for all windows and products that are due in it. What leaves is a rollup, which only
//! `civicmesh-disclosure` can open.
//!
//! Time comes in as an argument. All methods take `&self` and may be called from any thread: those that change
//! something take turns, those that read see one moment.

mod append;
mod clock;
mod close;
mod error;
mod expire;
mod files;
mod keys;
mod late;
mod partition;
mod resolve;
mod retained;
mod sources;
mod superseded;
mod undo;
mod vault;
mod watermark;

#[cfg(test)]
mod tests;

pub use append::{Append, Appended, ROWS_MAX, RowCounts};
pub use clock::{CLOCK_STEADY, ClockLook};
pub use close::{Closed, Closing, Due};
pub use error::VaultError;
pub use files::{DatasetCounts, FileEntry, FileKey, FileProgress, FileTotals};
pub use late::DirtyPartition;
pub use retained::KeptDay;
pub use sources::SourceEntry;
pub use undo::Undone;
pub use vault::{Options, Vault};
pub use watermark::Watermark;
