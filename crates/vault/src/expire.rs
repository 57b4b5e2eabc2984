//! Retention of raw observations.

use crate::keys::blocks::{self, Block, BlockKey};
use crate::keys::datasets::DatasetRecord;
use crate::keys::{Partition, datasets, dirty, expired, rows, tombstones};
use crate::{Vault, VaultError};
use civicmesh_model::names::DatasetName;
use civicmesh_model::time::UtcMicros;

impl Vault {
    /// Removes the observations of every civil day that ended before `before` and for which nothing has arrived since
    /// `before` either: retention is reckoned from the later of event and arrival, so that a history that is taken in
    /// late is kept as long as a feed. A day goes whole or not at all; rows that still come for it are not kept.
    /// Returns how many rows were removed.
    pub fn expire(&self, dataset: &DatasetName, before: UtcMicros) -> Result<u64, VaultError> {
        let Some(set) = datasets::get(&self.store, dataset)? else {
            return Ok(0);
        };
        if let Some(undoing) = set.undoing {
            return Err(VaultError::Undoing(undoing));
        }
        let (mut day, mut removed) = (Vec::new(), 0);
        for found in blocks::all(&self.store, set.number()) {
            let found = found?;
            if day.last().is_some_and(|(key, _): &(BlockKey, Block)| key.partition != found.0.partition) {
                removed += self.expire_day(dataset, &set, std::mem::take(&mut day), before)?;
            }
            day.push(found);
        }
        Ok(removed + self.expire_day(dataset, &set, day, before)?)
    }

    /// Removes one day's blocks if it is past its retention.
    fn expire_day(
        &self,
        dataset: &DatasetName,
        set: &DatasetRecord,
        day: Vec<(BlockKey, Block)>,
        before: UtcMicros,
    ) -> Result<u64, VaultError> {
        let Some(partition) = day.first().map(|(key, _)| key.partition) else {
            return Ok(0);
        };
        if !self.mark_expired(set, partition, &day, before)? {
            return Ok(0);
        }
        let mut removed = 0;
        for (key, block) in day {
            self.drop_block(dataset, key)?;
            removed += u64::from(block.rows);
        }
        self.drop_partition(set, partition)?;
        Ok(removed)
    }

    /// Marks a day as expired if it is past its retention; true where it is so now or was before.
    fn mark_expired(
        &self,
        set: &DatasetRecord,
        partition: Partition,
        found: &[(BlockKey, Block)],
        before: UtcMicros,
    ) -> Result<bool, VaultError> {
        let _writing = self.write();
        if expired::contains(&self.store, set.number(), partition)? {
            return Ok(true);
        }
        let blocks = blocks::between(&self.store, set.number(), partition, partition).count();
        let arrived = found.iter().map(|(_, block)| block.arrived).max();
        // Where a block came since they were read, the day is looked at again next time.
        let past = self.days.window(partition).end <= before && arrived < Some(before) && blocks == found.len();
        if past {
            let mut batch = self.store.batch();
            expired::put(&mut batch, set.number(), partition);
            self.store.commit(batch)?;
        }
        Ok(past)
    }

    /// Removes one block with the versions that stand in it.
    fn drop_block(&self, dataset: &DatasetName, key: BlockKey) -> Result<(), VaultError> {
        let _writing = self.write();
        let mut set = self.dataset(&self.store, dataset)?;
        let Some(block) = blocks::get(&self.store, key)? else {
            return Ok(());
        };
        let mut batch = self.store.batch();
        if let Some(keys) = blocks::row_keys(&self.store, key)? {
            let newest = rows::newest(&self.store, key.dataset, keys.iter())?;
            for (row, version) in keys.iter().zip(newest) {
                if version.is_some_and(|version| version.partition == key.partition && version.sequence == key.sequence)
                {
                    rows::delete(&mut batch, key.dataset, &row);
                }
            }
        }
        blocks::delete(&mut batch, key);
        set.dropped += u64::from(block.rows);
        datasets::put(&mut batch, dataset, &set);
        Ok(self.store.commit(batch)?)
    }

    fn drop_partition(&self, set: &DatasetRecord, partition: Partition) -> Result<(), VaultError> {
        let _writing = self.write();
        let mut batch = self.store.batch();
        tombstones::delete_partition(&mut batch, set.number(), partition);
        dirty::delete(&mut batch, set.number(), partition);
        Ok(self.store.commit(batch)?)
    }
}
