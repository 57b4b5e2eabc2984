//! The only crate that sees RocksDB: typed keyspaces, batches, and a hook to fail or crash at the n-th batch.
//!
//! A [`Store`] is one RocksDB directory. Each [`Keyspace`] is a column family. All that belongs together is written
//! as one [`Batch`], and [`Store::commit`] returns when the batch is on the disk, not before: what a caller
//! acknowledges after it survives a crash of the process and a power cut.

mod batch;
mod error;
mod hook;
mod iterate;
mod keyspace;
mod options;
mod store;
mod tuning;

pub use batch::Batch;
pub use error::StoreError;
pub use hook::Hook;
pub use iterate::{Direction, Iter, KeyRange};
pub use keyspace::Keyspace;
pub use options::{DirectoryMode, Environment, MemoryDisk, Options};
pub use store::{Read, Snapshot, Store, Value};
