//! Sources, listed.

use crate::keys::{datasets, sources};
use crate::{Vault, VaultError};
use civicmesh_model::names::{DatasetName, SourceName};
use civicmesh_model::time::UtcMicros;

/// A source as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceEntry {
    /// Its name.
    pub name: SourceName,
    /// Event time through which its finished files have told everything.
    pub watermark: Option<UtcMicros>,
    /// When it was last heard of.
    pub heard_at: UtcMicros,
}

impl Vault {
    /// The dataset's sources by name; none for a dataset that is not known.
    pub fn sources(&self, dataset: &DatasetName) -> Result<Vec<SourceEntry>, VaultError> {
        let snapshot = self.store.snapshot();
        let Some(set) = datasets::get(&snapshot, dataset)? else {
            return Ok(Vec::new());
        };
        let entries = sources::named(&snapshot, set.number())?.into_iter();
        let entries =
            entries.map(|(name, record)| SourceEntry { name, watermark: record.watermark, heard_at: record.heard_at });
        Ok(entries.collect())
    }
}
