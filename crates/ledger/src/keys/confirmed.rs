//! When the owner of a replica last confirmed its head.
//!
//! ```text
//! key    product 00
//! value  time8
//! ```

use civicmesh_model::time::UtcMicros;
use civicmesh_store::Keyspace;

use super::{done, take, time_bytes, time_of};
use crate::error::LedgerError;

pub(crate) use super::product::{key, parse};

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("confirmed");

pub(crate) fn to_bytes(at: UtcMicros) -> [u8; 8] {
    time_bytes(at)
}

pub(crate) fn from_bytes(mut bytes: &[u8]) -> Result<UtcMicros, LedgerError> {
    let at = time_of(take(&mut bytes)?);
    done(bytes)?;
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip() {
        assert_eq!(from_bytes(&to_bytes(UtcMicros(-7))).unwrap(), UtcMicros(-7));
        assert!(from_bytes(&[0; 9]).is_err());
    }
}
