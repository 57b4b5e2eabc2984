//! The bodies of log entries.
//!
//! ```text
//! key    product 00 index:u64
//! value  the entry's canonical bytes
//! ```
//!
//! A body may be dropped when its retention is over; its leaf never is.

use civicmesh_model::names::ProductId;
use civicmesh_store::Keyspace;

use super::{rest, within};
use crate::error::LedgerError;

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("entry");

pub(crate) fn key(product: &ProductId, index: u64) -> Vec<u8> {
    within(product, &index.to_be_bytes())
}

/// The index that a key names.
pub(crate) fn index(key: &[u8]) -> Result<u64, LedgerError> {
    Ok(u64::from_be_bytes(rest(key)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_and_sort_by_index() {
        let product: ProductId = "traffic.taxi".parse().unwrap();
        for number in [0, 255, 256, u64::MAX] {
            assert_eq!(index(&key(&product, number)).unwrap(), number);
        }
        assert!(key(&product, 255) < key(&product, 256));
        assert!(index(&[&key(&product, 1)[..], &[0]].concat()).is_err());
    }
}
