//! Products that a peer refused to this domain.
//!
//! ```text
//! key    product 00
//! value  postcard of Refusal (see [`super::to_bytes`])
//! ```

use civicmesh_store::Keyspace;

use crate::error::LedgerError;
use crate::said::Refusal;

pub(crate) use super::product::{key, parse};

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("refused");

pub(crate) fn to_bytes(refusal: &Refusal) -> Vec<u8> {
    super::to_bytes(refusal)
}

pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Refusal, LedgerError> {
    super::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use civicmesh_model::time::UtcMicros;

    use super::*;
    use crate::said::RefusalKind;

    #[test]
    fn values_round_trip() {
        for kind in [RefusalKind::NotGranted, RefusalKind::NoSuchProduct] {
            let refusal = Refusal { kind, at: UtcMicros(5) };
            assert_eq!(from_bytes(&to_bytes(&refusal)).unwrap(), refusal);
        }
    }
}
