//! One node: configuration, composition, ingest, publisher, and the two listeners.
//!
//! [`Node::start`] makes a node of a folder and an [`Environment`], from which it takes time, randomness, sockets,
//! threads and the disk; nothing here is global, so many nodes live in one process. [`client`] asks a node that runs;
//! [`check`](check()), [`contracts`] and [`office`] need none.

mod check;
mod city;
pub mod client;
pub mod completeness;
mod compose;
pub mod config;
pub mod contracts;
mod department;
pub mod door;
pub mod environment;
pub mod ingest;
mod listener;
mod metrics;
mod open_files;
pub mod preview;
mod publisher;
pub mod raw;
mod reflection;
mod requests;
pub mod status;
mod upkeep;

#[cfg(test)]
mod tests;

pub use check::{Check, CheckState, Report, check};
pub use civicmesh_exchange::office;
pub use civicmesh_model as model;
pub use civicmesh_query as query;
pub use compose::{Node, Running, StartError, VERSION};
pub use environment::{Environment, free_addresses, runtime, termination};
pub use open_files::raise_open_files;
