//! How long raw observations are kept, also once no contract says so any more.

use crate::keys::retained;
use crate::{Vault, VaultError};
use civicmesh_model::names::DatasetName;
use civicmesh_model::time::Span;

impl Vault {
    /// Notes how long a dataset's raw observations are kept, as its contract says.
    pub fn retain(&self, dataset: &DatasetName, raw: Span) -> Result<(), VaultError> {
        let _writing = self.write();
        if retained::get(&self.store, dataset)? == Some(raw) {
            return Ok(());
        }
        let mut batch = self.store.batch();
        retained::put(&mut batch, dataset, raw);
        Ok(self.store.commit(batch)?)
    }

    /// Every dataset that a contract ever took from, with how long its raw observations are kept.
    pub fn retained(&self) -> Result<Vec<(DatasetName, Span)>, VaultError> {
        retained::all(&self.store)
    }
}
