//! The vault that own releases are counted from: there is one.
//!
//! ```text
//! key    (nothing)
//! value  postcard of VaultRecord (see [`super::to_bytes`])
//! ```

use std::collections::BTreeMap;

use civicmesh_model::names::ProductId;
use civicmesh_model::time::UtcMicros;
use civicmesh_model::vault_id::VaultId;
use civicmesh_store::Keyspace;
use serde::{Deserialize, Serialize};

use crate::error::LedgerError;

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("vault");
pub(crate) const KEY: &[u8] = b"";

/// The vault that own releases are counted from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VaultRecord {
    pub(crate) id: VaultId,
    /// The highest of its sequences that was counted.
    pub(crate) sequence: u64,
    /// By product, the windows whose rows are gone.
    pub(crate) gone: BTreeMap<ProductId, Gone>,
}

/// Windows whose rows are gone: they stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gone {
    /// They start before this moment.
    pub(crate) before: UtcMicros,
    /// Where the vault stood when that was stated: what it got later came late.
    pub(crate) sequence: u64,
}

impl VaultRecord {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        super::to_bytes(self)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, LedgerError> {
        super::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip() {
        let gone = Gone { before: UtcMicros(-7), sequence: 3 };
        let gone = BTreeMap::from([("traffic.taxi".parse().unwrap(), gone)]);
        let record = VaultRecord { id: VaultId([9; 16]), sequence: u64::MAX, gone };
        assert_eq!(VaultRecord::from_bytes(&record.to_bytes()).unwrap(), record);
        assert!(VaultRecord::from_bytes(b"{}").is_err());
    }
}
