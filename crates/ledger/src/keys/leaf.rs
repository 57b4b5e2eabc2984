//! The leaves of the log: what stays of an entry for good. That of a release in a segment is reckoned from it instead,
//! unless an earlier version made the segment.
//!
//! ```text
//! key    product 00 index:u64
//! value  leaf hash:32  closed-through:time8  end of the entry's last window:time8  body kept:u8 (0 or 1)
//! ```

use civicmesh_model::hash::Hash32;
use civicmesh_model::log::leaf_hash;
use civicmesh_model::names::ProductId;
use civicmesh_model::release::Entry;
use civicmesh_model::time::UtcMicros;
use civicmesh_store::Keyspace;

use super::{done, take, time_bytes, time_of};
use crate::error::LedgerError;

pub(crate) use super::entry::{index, key};

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("leaf");

/// A leaf of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) hash: Hash32,
    pub(crate) closed_through: UtcMicros,
    pub(crate) end: UtcMicros,
    pub(crate) body_kept: bool,
}

impl Leaf {
    /// That of an entry whose body is kept.
    pub(crate) fn of(entry: &Entry) -> Self {
        Self::of_body(entry, &entry.encode())
    }

    /// The same of an entry with its canonical bytes.
    pub(crate) fn of_body(entry: &Entry, body: &[u8]) -> Self {
        let (closed_through, end) = (entry.closed_through(), entry.window().end);
        Self { hash: leaf_hash(body), closed_through, end, body_kept: true }
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let Self { hash, closed_through, end, body_kept } = self;
        [&hash.0[..], &time_bytes(closed_through), &time_bytes(end), &[u8::from(body_kept)]].concat()
    }

    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Result<Self, LedgerError> {
        let hash = Hash32(take(&mut bytes)?);
        let closed_through = time_of(take(&mut bytes)?);
        let end = time_of(take(&mut bytes)?);
        let body_kept = match take(&mut bytes)? {
            [0] => false,
            [1] => true,
            _ => {
                return Err(LedgerError::Damaged("a leaf that neither has a body nor lacks one"));
            }
        };
        done(bytes)?;
        Ok(Self { hash, closed_through, end, body_kept })
    }
}

/// Where the leaves of a product from `index` on begin, up to and without `until`.
pub(crate) fn range(product: &ProductId, from: u64, until: u64) -> civicmesh_store::KeyRange {
    civicmesh_store::KeyRange::between(key(product, from), key(product, until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip() {
        let leaf =
            Leaf { hash: Hash32([7; 32]), closed_through: UtcMicros(-5), end: UtcMicros(i64::MAX), body_kept: true };
        let bytes = leaf.to_bytes();
        assert_eq!(bytes.len(), 49);
        assert_eq!(Leaf::from_bytes(&bytes).unwrap(), leaf);
        assert!(Leaf::from_bytes(&bytes[1..]).is_err());
        assert!(Leaf::from_bytes(&[&bytes[..48], &[2]].concat()).is_err());
    }
}
