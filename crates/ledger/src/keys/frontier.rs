//! Checkpoints of the log's frontier, so that the root of any prefix takes few hashes.
//!
//! ```text
//! key    product 00 size:u64, a multiple of CHECKPOINT_ENTRIES
//! value  JSON of the frontier at that size
//! ```

use civicmesh_model::log::Frontier;
use civicmesh_store::Keyspace;

use super::{from_json, to_json};
use crate::error::LedgerError;

pub(crate) use super::entry::key;

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("frontier");

/// Entries between two checkpoints: the root of a prefix hashes at most this many leaves.
pub(crate) const CHECKPOINT_ENTRIES: u64 = 1024;

pub(crate) fn to_bytes(frontier: &Frontier) -> Vec<u8> {
    to_json(frontier)
}

pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Frontier, LedgerError> {
    from_json(bytes)
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
