//! Own releases, replicas, log, and what peers said.
//!
//! A [`Ledger`] is the truth of what was released. For each product it holds the Merkle log (entries, leaves, frontier,
//! signed head), an index by time that says which entry is newest about each window, and the contracts by their hash;
//! beside them the vault's sequence that an own entry counted, and what peers said: reached or not, confirmed,
//! refused, found out.
//!
//! Two types keep strangers out. [`Ledger::append`] takes `Disclosed`, which only the gate makes; [`Ledger::admit`]
//! takes [`Replica`], which only [`Replica::verify`] makes:
//!
//! ```
//! use civicmesh_ledger::{Ledger, LedgerError, Replica};
//! fn admit(ledger: &Ledger, replica: Replica, now: civicmesh_model::time::UtcMicros) -> Result<(), LedgerError> {
//!     ledger.admit(replica, now).map(|_| ())
//! }
//! ```
//! ```compile_fail,E0451
//! fn forge(product: civicmesh_model::names::ProductId) -> civicmesh_ledger::Replica {
//!     civicmesh_ledger::Replica { product, ..panic!() }
//! }
//! ```
//!
//! Each change is one durable batch. Time comes in as an argument.

mod append;
mod bodies;
mod contracts;
mod counting;
mod decoded;
mod error;
mod expire;
mod forget;
mod growth;
mod keys;
mod leaves;
mod ledger;
mod merge;
mod pieces;
mod replica;
mod said;
mod segment;
mod signing;
mod snapshot;
mod timeline;

#[cfg(test)]
mod tests;

pub use counting::{CountError, Counted, VaultMark};
pub use error::{Held, LedgerError, Rejection};
pub use ledger::{Ledger, LogState, Options, Stored};
pub use pieces::Piece;
pub use replica::{Cursor, PAGE_ENTRIES_MAX, Replica};
pub use said::{Contact, FoundOut, Outcome, PeerContact, Refusal, RefusalKind};
pub use segment::{Numbers, RowKind, Segment, SegmentRow, Sketches, States, Wanted};
pub use signing::{KeyError, SigningKey, VerifyingKey};
pub use snapshot::{ProductState, Snapshot};
