//! Owners that were found out: what they signed that does not follow from what they signed before.
//!
//! ```text
//! key    product 00 ordinal:u64, from 0
//! value  postcard of FoundOut (see [`super::to_bytes`])
//! ```

use civicmesh_store::Keyspace;

use crate::error::LedgerError;
use crate::said::FoundOut;

pub(crate) use super::entry::key;

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("found");

pub(crate) fn to_bytes(found: &FoundOut) -> Vec<u8> {
    super::to_bytes(found)
}

pub(crate) fn from_bytes(bytes: &[u8]) -> Result<FoundOut, LedgerError> {
    super::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use civicmesh_model::hash::Hash32;
    use civicmesh_model::log::{Head, SignedHead};
    use civicmesh_model::time::UtcMicros;

    use super::*;

    #[test]
    fn values_round_trip() {
        let product = "traffic.taxi".parse().unwrap();
        let head = Head { product, size: 2, root: Hash32([1; 32]), closed_through: UtcMicros(3), at: UtcMicros(4) };
        let found = FoundOut {
            at: UtcMicros(5),
            fault: "the log has another root at the same size".into(),
            held: None,
            shown: SignedHead { head, key: Hash32([2; 32]), signature: vec![6; 64] },
        };
        assert_eq!(from_bytes(&to_bytes(&found)).unwrap(), found);
    }
}
