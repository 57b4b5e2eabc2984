//! Taking a file back, batch by batch from the newest, so that each step is small and a crash between two loses
//! nothing: what is left is taken back when the vault is opened.

use crate::keys::batches::{self, BatchRecord};
use crate::keys::blocks::{self, BlockKey};
use crate::keys::datasets::DatasetRecord;
use crate::keys::{FileNumber, datasets, dirty, expired, files, meta, reliance, rows, sources, tombstones};
use crate::{FileKey, Vault, VaultError};
use civicmesh_model::names::DatasetName;
use civicmesh_model::time::UtcMicros;

/// What was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undone {
    /// Observations that are gone.
    pub rows: u64,
}

impl Vault {
    /// Takes a file back as if it had never come, its watermark and what it completed included.
    ///
    /// `released` says whether a row at an event time would lie in a window that was released: then, and where later
    /// files repeat or correct rows of this one, nothing is changed. The caller keeps the publisher still meanwhile.
    pub fn undo(
        &self,
        dataset: &DatasetName,
        file: FileKey,
        released: &dyn Fn(UtcMicros) -> bool,
    ) -> Result<Undone, VaultError> {
        {
            let _writing = self.write();
            let mut set = self.dataset(&self.store, dataset)?;
            match set.undoing {
                Some(undoing) if undoing == file => {}
                Some(undoing) => return Err(VaultError::Undoing(undoing)),
                None => {
                    let number = self.file(&self.store, dataset, &set, file)?.number();
                    self.check_undo(&set, number, released)?;
                    set.undoing = Some(file);
                    let mut batch = self.store.batch();
                    datasets::put(&mut batch, dataset, &set);
                    self.store.commit(batch)?;
                }
            }
        }
        self.take_back(dataset, file)
    }

    fn check_undo(
        &self,
        set: &DatasetRecord,
        file: FileNumber,
        released: &dyn Fn(UtcMicros) -> bool,
    ) -> Result<(), VaultError> {
        let later: Vec<_> =
            reliance::all(&self.store, set.number())?.into_iter().filter(|(on, _)| *on == file).collect();
        if !later.is_empty() {
            let files = files::all(&self.store, set.number())?.into_iter();
            let named = files.filter(|(_, record)| later.iter().any(|(_, later)| *later == record.number()));
            return Err(VaultError::ReliedOn(named.map(|(key, record)| format!("{} ({key})", record.name)).collect()));
        }
        for found in batches::newest_first(&self.store, set.number(), file) {
            let (sequence, record) = found?;
            for partition in record.partitions {
                let key = BlockKey { dataset: set.number(), partition, sequence };
                let Some(block) = blocks::get(&self.store, key)? else {
                    continue;
                };
                if released(block.oldest) || released(block.newest) {
                    return Err(VaultError::Released);
                }
                let mut last = block.oldest;
                for time in blocks::body(&self.store, key)?.times().values() {
                    let t = UtcMicros(*time);
                    if t != last && released(t) {
                        return Err(VaultError::Released);
                    }
                    last = t;
                }
            }
        }
        Ok(())
    }

    /// Takes back what is left of the file that the dataset says is being taken back.
    pub(crate) fn take_back(&self, dataset: &DatasetName, file: FileKey) -> Result<Undone, VaultError> {
        let mut undone = Undone { rows: 0 };
        let set = self.dataset(&self.store, dataset)?;
        let number = self.file(&self.store, dataset, &set, file)?.number();
        for found in batches::newest_first(&self.store, set.number(), number) {
            let (sequence, record) = found?;
            undone.rows += self.take_batch_back(&set, number, sequence, &record)?;
        }
        self.forget(dataset, file)?;
        Ok(undone)
    }

    /// Removes one batch: its blocks, and each row's version in favour of the one before it.
    fn take_batch_back(
        &self,
        set: &DatasetRecord,
        file: FileNumber,
        sequence: u64,
        record: &BatchRecord,
    ) -> Result<u64, VaultError> {
        let _writing = self.write();
        let dataset = set.number();
        let mut batch = self.store.batch();
        let change = meta::sequence(&self.store)? + 1;
        let mut rows = 0;
        for partition in &record.partitions {
            let key = BlockKey { dataset, partition: *partition, sequence };
            let Some(block) = blocks::get(&self.store, key)? else {
                continue;
            };
            rows += u64::from(block.rows);
            if let Some(keys) = blocks::row_keys(&self.store, key)? {
                keys.iter().for_each(|row| rows::delete(&mut batch, dataset, &row));
            }
            blocks::delete(&mut batch, key);
            dirty::put(&mut batch, dataset, *partition, change);
        }
        for (row, before) in &record.corrections {
            if expired::contains(&self.store, dataset, before.partition)? {
                rows::delete(&mut batch, dataset, row);
                continue;
            }
            rows::put(&mut batch, dataset, row, *before);
            // Rows of this partition that are older than the one before stay superseded.
            tombstones::put(&mut batch, dataset, before.partition, row, before.sequence);
            dirty::put(&mut batch, dataset, before.partition, change);
        }
        batches::delete(&mut batch, dataset, file, sequence);
        meta::put_sequence(&mut batch, change);
        self.store.commit(batch)?;
        Ok(rows)
    }

    /// Removes the file itself; its source stands where its other finished files put it.
    fn forget(&self, dataset: &DatasetName, file: FileKey) -> Result<(), VaultError> {
        let _writing = self.write();
        let mut set = self.dataset(&self.store, dataset)?;
        let record = self.file(&self.store, dataset, &set, file)?;
        let mut feed = self.source(&self.store, &set, &record.source)?;
        let mut others = files::all(&self.store, set.number())?;
        others.retain(|(key, _)| *key != file);
        let completed = others.iter().filter_map(|(_, other)| other.completed_through);
        set.completed_through = completed.max();
        others.retain(|(_, other)| other.source == record.source);
        feed.watermark = others.iter().filter_map(|(_, other)| other.through).max();
        if !record.finished {
            feed.unfinished = feed.unfinished.saturating_sub(1);
        }
        set.undoing = None;
        let mut batch = self.store.batch();
        for (on, later) in reliance::all(&self.store, set.number())? {
            if later == record.number() {
                reliance::delete(&mut batch, set.number(), on, later);
            }
        }
        files::delete(&mut batch, set.number(), file);
        sources::put(&mut batch, set.number(), &record.source, &feed);
        datasets::put(&mut batch, dataset, &set);
        Ok(self.store.commit(batch)?)
    }
}
