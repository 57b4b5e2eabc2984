//! What came after its window was released.

use crate::keys::{Partition, blocks, datasets, dirty};
use crate::superseded::Superseded;
use crate::{Vault, VaultError};
use civicmesh_model::grain::Window;
use civicmesh_model::names::DatasetName;
use civicmesh_model::time::UtcMicros;

/// A civil day whose observations changed since the publisher last settled it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirtyPartition {
    /// Where the day starts.
    pub start: UtcMicros,
    /// Where it ends.
    pub end: UtcMicros,
    /// The last sequence that changed it.
    pub sequence: u64,
}

impl Vault {
    /// Partitions that changed and were not [cleaned](Vault::clean) since, earliest first.
    pub fn dirty(&self, dataset: &DatasetName) -> Result<Vec<DirtyPartition>, VaultError> {
        let snapshot = self.store.snapshot();
        let Some(set) = datasets::get(&snapshot, dataset)? else {
            return Ok(Vec::new());
        };
        let entries = dirty::all(&snapshot, set.number())?.into_iter().map(|(partition, sequence)| {
            let Window { start, end } = self.days.window(partition);
            DirtyPartition { start, end, sequence }
        });
        Ok(entries.collect())
    }

    /// Settles the partitions that start at `starts`, but for those that changed after `up_to_sequence`.
    pub fn clean(&self, dataset: &DatasetName, starts: &[UtcMicros], up_to_sequence: u64) -> Result<(), VaultError> {
        let _writing = self.write();
        let set = self.dataset(&self.store, dataset)?;
        let mut batch = self.store.batch();
        for start in starts {
            let partition = self.days.of(*start);
            if dirty::get(&self.store, set.number(), partition)?.is_some_and(|sequence| sequence <= up_to_sequence) {
                dirty::delete(&mut batch, set.number(), partition);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        Ok(self.store.commit(batch)?)
    }

    /// How many observations lie in these windows and were stored after the sequence that was counted into each.
    pub fn late_rows(&self, dataset: &DatasetName, windows: &[(Window, u64)]) -> Result<u64, VaultError> {
        let snapshot = self.store.snapshot();
        let Some(set) = datasets::get(&snapshot, dataset)? else {
            return Ok(0);
        };
        let mut windows = windows.to_vec();
        windows.sort_unstable();
        let (Some(first), Some(last)) = (windows.first(), windows.iter().map(|(window, _)| window.end).max()) else {
            return Ok(0);
        };
        let (first, last): (Partition, Partition) = self.days.around(Window { start: first.0.start, end: last });
        let mut superseded = Superseded::default();
        let mut rows = 0;
        for found in blocks::between(&snapshot, set.number(), first, last) {
            let (key, block) = found?;
            let late: Vec<Window> = windows
                .iter()
                .filter(|(window, counted)| {
                    *counted < key.sequence && window.start <= block.newest && block.oldest < window.end
                })
                .map(|(window, _)| *window)
                .collect();
            if late.is_empty() {
                continue;
            }
            let observations = blocks::body(&snapshot, key)?;
            let marks = superseded.rows(&snapshot, key)?;
            let times = observations.times().values().iter().enumerate();
            let live = times.filter(|(row, _)| !marks.as_ref().is_some_and(|marks| marks.value(*row)));
            let within = |t| {
                let place = late.partition_point(|window| window.end <= t);
                late.get(place).is_some_and(|window| window.contains(t))
            };
            rows += live.filter(|(_, time)| within(UtcMicros(**time))).count() as u64;
        }
        Ok(rows)
    }
}
