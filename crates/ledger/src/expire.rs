//! Retention of releases at peers: bodies go when their time is over, leaves stay for good.

use civicmesh_model::names::ProductId;
use civicmesh_model::time::UtcMicros;
use civicmesh_store::{Direction, Read};

use crate::error::LedgerError;
use crate::keys::leaf::{self, Leaf};
use crate::keys::{entry, product};
use crate::ledger::{Ledger, locked, records};

/// Most bodies dropped in one batch.
const EXPIRE_BATCH_ENTRIES_MAX: u64 = 1000;

impl Ledger {
    /// Drops the bodies of replicas' entries that ended longer ago than their contract lets releases be kept. Leaves
    /// and the index by time stay: the log verifies on. Own entries are kept. Returns how many bodies were dropped.
    pub fn expire_releases(&self, now: UtcMicros) -> Result<u64, LedgerError> {
        let mut dropped = 0;
        for (product, _) in records(&self.store)? {
            if self.owns(&product) {
                continue;
            }
            let contract = match self.contract(&product) {
                Ok(Some(contract)) => contract,
                Ok(None) => continue,
                Err(error @ LedgerError::Store(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(%product, %error, "releases past their retention stay: the contract cannot be read");
                    continue;
                }
            };
            let expired = now.before(contract.retention.releases);
            match self.expire_segments(&product, expired) {
                Ok(_) => {}
                Err(error @ LedgerError::Store(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(%product, %error, "releases past their retention stay: a segment cannot be read");
                    continue;
                }
            }
            let mut from = Some(0);
            while let Some(index) = from {
                let some;
                (some, from) = self.expire_some(&product, expired, index)?;
                dropped += some;
            }
        }
        Ok(dropped)
    }

    /// Drops a batch of bodies from an index on; returns how many, and where to go on.
    fn expire_some(
        &self,
        product: &ProductId,
        expired: UtcMicros,
        from: u64,
    ) -> Result<(u64, Option<u64>), LedgerError> {
        let _writing = locked(&self.writing);
        let mut record = self.known(product)?;
        let mut batch = self.store.batch();
        let (mut dropped, mut next) = (0, None);
        let leaves = leaf::range(product, from, record.size());
        for stored in self.store.iterate(leaf::KEYSPACE, leaves, Direction::Forward) {
            let (key, value) = stored?;
            let leaf = Leaf::from_bytes(&value)?;
            if leaf.end > expired || !leaf.body_kept {
                continue;
            }
            let index = leaf::index(&key)?;
            if dropped == EXPIRE_BATCH_ENTRIES_MAX {
                next = Some(index);
                break;
            }
            let entry = entry::key(product, index);
            let body = self.store.get(entry::KEYSPACE, &entry)?.map_or(0, |body| body.len() as u64);
            record.body_bytes = record.body_bytes.saturating_sub(body);
            batch.delete(entry::KEYSPACE, entry);
            batch.put(leaf::KEYSPACE, &key, Leaf { body_kept: false, ..leaf }.to_bytes());
            dropped += 1;
        }
        if dropped > 0 {
            record.expired_through = record.expired_through.max(Some(expired));
            batch.put(product::KEYSPACE, product::key(product), record.to_bytes());
            self.store.commit(batch)?;
        }
        Ok((dropped, next))
    }
}
