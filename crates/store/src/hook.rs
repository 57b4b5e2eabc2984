//! Where a test or the simulation fails a batch, or stops the world after it.

use crate::StoreError;

/// Called around every commit. `batch` counts the commits since the store was opened, from 1.
pub trait Hook: Send + Sync {
    /// An error here fails the batch: nothing of it is stored.
    fn before_commit(&self, batch: u64, bytes: usize) -> Result<(), StoreError>;

    /// The batch is durable. An error here is what the caller sees although it is: a lost acknowledgement.
    fn after_commit(&self, batch: u64) -> Result<(), StoreError>;
}
