//! The batch of raw rows: a newtype over Arrow, and its codec.
//!
//! An [`Observations`] is what ingest hands to the vault and what the vault hands to an accumulator.
//! Its columns are fixed by a [`Layout`], which follows from a dataset and the contracts over it.
//! Nothing here prints a value: neither `Debug` nor an error.

mod codec;
mod error;
mod layout;
mod observations;

pub use codec::BLOCK_BYTES_MAX;
pub use error::ObservationError;
pub use layout::{CONTENT_BYTES, ContributorColumn, HASH_BYTES, Layout, MeasureColumn};
pub use observations::Observations;
