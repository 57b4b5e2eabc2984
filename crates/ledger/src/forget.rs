//! An operator's way to begin anew with a peer's product, once its owner has said which of two stories is true.

use civicmesh_model::names::ProductId;
use civicmesh_store::KeyRange;

use crate::error::LedgerError;
use crate::keys::{KEYSPACES, contact, contract, prefix};
use crate::ledger::{Ledger, locked};

impl Ledger {
    /// Forgets everything that is held of a peer's product: entries, contracts, refusals, and where its owner was found
    /// out. It is pulled anew from its beginning. Returns how many entries were forgotten.
    pub fn drop_replica(&self, product: &ProductId) -> Result<u64, LedgerError> {
        if self.owns(product) {
            return Err(LedgerError::Owner { product: product.clone(), own: true });
        }
        let _writing = locked(&self.writing);
        let known = self.known(product)?;
        let found_out = self.found_out(product)?.len();
        let mut batch = self.store.batch();
        let of_product = KeyRange::prefix(prefix(product));
        for keyspace in KEYSPACES.iter().filter(|keyspace| ![contact::KEYSPACE, contract::KEYSPACE].contains(keyspace))
        {
            batch.delete_range(*keyspace, &of_product);
        }
        for hash in &known.contracts {
            batch.delete(contract::KEYSPACE, contract::key(hash));
        }
        self.store.commit(batch)?;
        locked(&self.said).forget(product);
        locked(&self.merged).remove(product);
        self.decoded.forget(product);
        tracing::warn!(%product, entries = known.size(), found_out, "a replica was dropped; it is pulled anew");
        Ok(known.size())
    }
}
