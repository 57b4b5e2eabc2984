//! Accumulator, rollup, gate, disclosed: the only way out.
//!
//! The vault feeds raw rows to an [`Accumulator`], which gives one [`Rollup`] a window: exact, and still secret.
//! Only the [`gate`] turns a rollup into a [`Disclosed`] entry, which is all that the ledger appends. A rollup has
//! no getter for what is in it and cannot be written out; a `Disclosed` has no constructor but the gate:
//!
//! ```
//! fn when(rollup: &civicmesh_disclosure::Rollup) -> civicmesh_model::grain::Window {
//!     rollup.window()
//! }
//! fn published(disclosed: &civicmesh_disclosure::Disclosed) -> &civicmesh_model::release::Entry {
//!     disclosed.entry()
//! }
//! fn written<T: serde::Serialize>() {}
//! written::<String>();
//! ```
//!
//! A rollup cannot be opened:
//!
//! ```compile_fail,E0616
//! fn open(rollup: &civicmesh_disclosure::Rollup) -> usize {
//!     rollup.content.iter().count()
//! }
//! ```
//!
//! nor be written out:
//!
//! ```compile_fail,E0277
//! fn written<T: serde::Serialize>() {}
//! written::<civicmesh_disclosure::Rollup>();
//! ```
//!
//! and nobody but the gate makes a `Disclosed`:
//!
//! ```compile_fail,E0423
//! fn forge(entry: civicmesh_model::release::Entry) -> civicmesh_disclosure::Disclosed {
//!     civicmesh_disclosure::Disclosed(entry)
//! }
//! ```
//!
//! ```compile_fail,E0277
//! fn forge(entry: civicmesh_model::release::Entry) -> civicmesh_disclosure::Disclosed {
//!     entry.into()
//! }
//! ```

mod accumulator;
mod columns;
mod error;
pub mod gate;
mod rollup;
mod salt;
mod sketched;
mod tally;

#[cfg(test)]
mod tests;

pub use accumulator::{Accumulator, Limits};
pub use error::DisclosureError;
pub use gate::{Disclosed, Preview, Terms};
pub use rollup::Rollup;
pub use salt::SaltKey;
