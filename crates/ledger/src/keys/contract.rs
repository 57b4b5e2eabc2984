//! Contracts by their hash, own and peers', each as its public document.
//!
//! ```text
//! key    hash:32
//! value  first seen:time8  canonical JSON of the public document
//! ```

use civicmesh_model::hash::Hash32;
use civicmesh_model::time::UtcMicros;
use civicmesh_store::Keyspace;

use super::{take, time_bytes, time_of};
use crate::error::LedgerError;

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("contract");

pub(crate) fn key(hash: &Hash32) -> &[u8] {
    &hash.0
}

pub(crate) fn to_bytes(seen: UtcMicros, document: &[u8]) -> Vec<u8> {
    [&time_bytes(seen)[..], document].concat()
}

pub(crate) fn from_bytes(mut bytes: &[u8]) -> Result<(UtcMicros, &[u8]), LedgerError> {
    let seen = time_of(take(&mut bytes)?);
    Ok((seen, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip() {
        let bytes = to_bytes(UtcMicros(-7), b"{}");
        assert_eq!(from_bytes(&bytes).unwrap(), (UtcMicros(-7), &b"{}"[..]));
        assert!(from_bytes(&bytes[..7]).is_err());
    }
}
