//! The owner's side of a log: appending, and signing heads.

use civicmesh_disclosure::Disclosed;
use civicmesh_model::hash::Hash32;
use civicmesh_model::log::{Frontier, Head, SignedHead};
use civicmesh_model::names::ProductId;
use civicmesh_model::time::UtcMicros;

use crate::error::LedgerError;
use crate::growth::{Growth, closed_through};
use crate::keys::vault::{self, VaultRecord};
use crate::leaves::Leaves;
use crate::ledger::{Ledger, locked, record};
use crate::signing::SigningKey;

impl Ledger {
    /// Appends what the gate disclosed of an own product, in this order, and signs the new head: one durable batch.
    /// `counted_sequence` is the vault's: all up to it was counted into these entries, and nothing after.
    ///
    /// Refused if the entries break a rule of the log: a window that is released already gets the next revision, and
    /// only where the method allows one.
    pub fn append(
        &self,
        product: &ProductId,
        disclosed: Vec<Disclosed>,
        counted_sequence: u64,
        key: &SigningKey,
        now: UtcMicros,
    ) -> Result<SignedHead, LedgerError> {
        if !self.owns(product) {
            return Err(LedgerError::Owner { product: product.clone(), own: false });
        }
        if disclosed.is_empty() {
            return Err(LedgerError::NothingToAppend(product.clone()));
        }
        let bodies = disclosed.iter().map(|disclosed| disclosed.entry().encode()).collect();
        let _writing = locked(&self.writing);
        let growth = Growth::of(self, product, self.known(product)?, bodies, counted_sequence)?;
        let head = head(product, growth.frontier().size(), growth.frontier().root(), growth.closed_through(), now);
        let head = key.sign(head);
        let mut batch = self.store.batch();
        growth.write(product, head.clone(), None, &mut batch);
        let mut vault = locked(&self.vault);
        let ahead = vault.clone().filter(|known| known.sequence < counted_sequence);
        let ahead = ahead.map(|known| VaultRecord { sequence: counted_sequence, ..known });
        if let Some(ahead) = &ahead {
            batch.put(vault::KEYSPACE, vault::KEY, ahead.to_bytes());
        }
        self.store.commit(batch)?;
        *vault = ahead.or(vault.take());
        Ok(head)
    }

    /// Signs a head for the first `size` entries of an own log, so that a peer can check a page that ends there. A log
    /// of no entries has a head too: it confirms that there are none.
    pub fn head_at(
        &self,
        product: &ProductId,
        size: u64,
        key: &SigningKey,
        now: UtcMicros,
    ) -> Result<SignedHead, LedgerError> {
        if !self.owns(product) {
            return Err(LedgerError::Owner { product: product.clone(), own: false });
        }
        let moment = self.store.snapshot();
        let known = record(&moment, product)?.ok_or_else(|| LedgerError::UnknownProduct(product.clone()))?;
        if size > known.size() {
            return Err(LedgerError::BeyondTheLog { product: product.clone(), asked: size, size: known.size() });
        }
        let leaves = Leaves::new(&moment, product);
        let (root, closed_through) = match (size, &known.log) {
            (0, _) => (Frontier::new().root(), UtcMicros::MIN),
            (_, Some(log)) if size == log.frontier.size() => (log.frontier.root(), closed_through(&known)),
            _ => (leaves.frontier_at(size)?.root(), leaves.closed_through(size - 1)?),
        };
        Ok(key.sign(head(product, size, root, closed_through, now)))
    }
}

fn head(product: &ProductId, size: u64, root: Hash32, closed_through: UtcMicros, at: UtcMicros) -> Head {
    Head { product: product.clone(), size, root, closed_through, at }
}
