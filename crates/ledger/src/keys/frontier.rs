//! Checkpoints of the log's frontier, so that the root of any prefix takes few hashes.
//!
//! ```text
//! key    product 00 size:u64, a multiple of CHECKPOINT_ENTRIES
//! value  postcard of the frontier at that size (see [`super::to_bytes`])
//! ```

use civicmesh_model::log::Frontier;
use civicmesh_store::Keyspace;

use crate::error::LedgerError;

pub(crate) use super::entry::key;

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("frontier");

/// Entries between two checkpoints: the root of a prefix hashes at most this many leaves.
pub(crate) const CHECKPOINT_ENTRIES: u64 = 1024;

pub(crate) fn to_bytes(frontier: &Frontier) -> Vec<u8> {
    super::to_bytes(frontier)
}

pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Frontier, LedgerError> {
    super::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use civicmesh_model::log::leaf_hash;

    use super::*;

    #[test]
    fn values_round_trip() {
        let mut frontier = Frontier::new();
        for index in 0..11_u8 {
            frontier.append(leaf_hash(&[index]));
        }
        assert_eq!(from_bytes(&to_bytes(&frontier)).unwrap(), frontier);
        assert!(from_bytes(b"{}").is_err());
    }
}
