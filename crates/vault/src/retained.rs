//! How long raw observations are kept, also once no contract says so any more.

use crate::keys::{blocks, datasets, retained};
use crate::{Vault, VaultError};
use civicmesh_model::grain::Window;
use civicmesh_model::names::DatasetName;
use civicmesh_model::time::{Span, UtcMicros};

/// A civil day of which raw observations are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptDay {
    /// The day, in the city's zone.
    pub day: Window,
    /// Rows, corrected ones included.
    pub rows: u64,
    /// When the last of them came.
    pub arrived: UtcMicros,
}

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

    /// The days of which observations are stored, earliest first; none of a dataset that is not known.
    pub fn kept(&self, dataset: &DatasetName) -> Result<Vec<KeptDay>, VaultError> {
        let snapshot = self.store.snapshot();
        let Some(set) = datasets::get(&snapshot, dataset)? else {
            return Ok(Vec::new());
        };
        let mut kept: Vec<KeptDay> = Vec::new();
        for found in blocks::all(&snapshot, set.number()) {
            let (key, block) = found?;
            let (day, rows) = (self.days.window(key.partition), u64::from(block.rows));
            match kept.last_mut().filter(|last| last.day == day) {
                Some(last) => {
                    last.rows += rows;
                    last.arrived = last.arrived.max(block.arrived);
                }
                None => kept.push(KeptDay { day, rows, arrived: block.arrived }),
            }
        }
        Ok(kept)
    }
}
