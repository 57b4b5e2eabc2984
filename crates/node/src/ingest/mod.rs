//! Files in: bytes become typed columns and columns observations, or the row is rejected with line and column named.
//!
//! ```text
//! upload --Spool--> content --Rows--> cells --Table--> Chunk --Recipe--> Chunk --Outputs--> Observations --> vault
//!          packing,           CSV, NDJSON,     typed,         lookups, SQL,        exact numbers,
//!          format, hash       Parquet          in range       filter               hashes
//! ```
//!
//! A [`Recipe`] is a contract made ready, once; [`ingest`] takes one file through it. All of it blocks and belongs on
//! the environment's blocking executor. A bad row costs itself; what the contract cannot read at all is refused
//! before anything is stored. Values stand in [`Reject`]s alone, which go to the department's own terminal and to a
//! file of mode 0600; no error and no `Debug` holds one.

mod cell;
mod clock;
mod column;
mod delimited;
mod error;
mod expression;
mod identity;
mod json;
mod lookup;
mod outputs;
mod pages;
mod parquet;
mod raw;
mod recipe;
mod reject;
mod rows;
mod run;
mod sample;
mod spool;
mod table;
mod thrift;
mod window;

#[cfg(test)]
mod tests;

use std::path::Path;

use civicmesh_model::contract::Contract;

pub use error::{Fault, IngestError, MissingColumns};
pub use identity::ContributorSecret;
pub use raw::read_all;
pub use recipe::Recipe;
pub use reject::{REJECT_FILE_BYTES_MAX, REJECT_VALUE_CHARACTERS_MAX, Reason, Reject, RejectCount, expire_rejects};
pub use run::{APPEND_ROWS, Desk, Progress, Summary, Upload, Watch, ingest};
pub use sample::sample;

/// Checks what parsing a contract cannot: its lookups, relative to `folder`, and its SQL.
pub fn check(contract: &Contract, folder: &Path) -> Result<(), IngestError> {
    Recipe::new(contract, folder, &ContributorSecret::new(&[0; 32])).map(drop)
}
