//! What is known of a product as a whole: its contracts and the state of its log.
//!
//! ```text
//! key    product 00
//! value  postcard of ProductRecord (see [`super::to_bytes`])
//! ```

use std::collections::BTreeSet;

use civicmesh_model::grain::Window;
use civicmesh_model::hash::Hash32;
use civicmesh_model::log::{Frontier, SignedHead};
use civicmesh_model::names::ProductId;
use civicmesh_model::time::UtcMicros;
use civicmesh_store::Keyspace;
use serde::{Deserialize, Serialize};

use super::prefix;
use crate::error::LedgerError;

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("product");

/// What is known of a product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProductRecord {
    /// The contract in force.
    pub(crate) contract: Hash32,
    /// Every contract there was, in the order in which it was first seen.
    pub(crate) contracts: Vec<Hash32>,
    /// Those that entries of the log name.
    pub(crate) named: BTreeSet<Hash32>,
    /// Bytes of the documents of all `contracts`.
    #[serde(default)]
    pub(crate) contract_bytes: u64,
    /// The log, once it has an entry.
    pub(crate) log: Option<LogRecord>,
    /// Bodies of entries about windows that end by then are gone.
    pub(crate) expired_through: Option<UtcMicros>,
    /// Bytes of the bodies that are kept.
    #[serde(default)]
    pub(crate) body_bytes: u64,
}

/// The state of a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogRecord {
    pub(crate) head: SignedHead,
    pub(crate) frontier: Frontier,
    /// The latest window in it; of a run of empty windows, the last one.
    pub(crate) newest: Window,
}

impl ProductRecord {
    /// Entries in the log.
    pub(crate) fn size(&self) -> u64 {
        self.log.as_ref().map_or(0, |log| log.frontier.size())
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        super::to_bytes(self)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, LedgerError> {
        super::from_bytes(bytes)
    }
}

pub(crate) fn key(product: &ProductId) -> Vec<u8> {
    prefix(product)
}

/// The product that a key names.
pub(crate) fn parse(key: &[u8]) -> Result<ProductId, LedgerError> {
    let name = key.strip_suffix(&[0]).and_then(|name| std::str::from_utf8(name).ok());
    let product = name.and_then(|name| name.parse().ok());
    product.ok_or(LedgerError::Damaged("a key without its product"))
}

#[cfg(test)]
mod tests {
    use civicmesh_model::log::Head;

    use super::*;

    #[test]
    fn keys_and_values_round_trip() {
        let product: ProductId = "traffic.taxi".parse().unwrap();
        assert_eq!(parse(&key(&product)).unwrap(), product);
        assert!(parse(b"traffic.taxi").is_err() && parse(b"no product\0").is_err());
        let head =
            Head { product, size: 0, root: Frontier::new().root(), closed_through: UtcMicros(60), at: UtcMicros(61) };
        let record = ProductRecord {
            contract: Hash32([1; 32]),
            contracts: vec![Hash32([2; 32]), Hash32([1; 32])],
            named: BTreeSet::from([Hash32([2; 32])]),
            contract_bytes: 7,
            log: Some(LogRecord {
                head: SignedHead { head, key: Hash32([3; 32]), signature: vec![4; 64] },
                frontier: Frontier::new(),
                newest: Window { start: UtcMicros(0), end: UtcMicros(60) },
            }),
            expired_through: Some(UtcMicros(-1)),
            body_bytes: 8,
        };
        assert_eq!(ProductRecord::from_bytes(&record.to_bytes()).unwrap(), record);
        assert!(ProductRecord::from_bytes(&[record.to_bytes(), vec![0]].concat()).is_err());
        // as older versions wrote it
        assert_eq!(ProductRecord::from_bytes(&super::super::to_json(&record)).unwrap(), record);
        assert!(ProductRecord::from_bytes(b"{}").is_err());
    }
}
