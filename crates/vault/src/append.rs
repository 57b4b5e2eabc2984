//! Taking rows in: one write to the store a batch.

use crate::keys::batches::{self, BatchRecord};
use crate::keys::blocks::{self, Block, BlockKey};
use crate::keys::datasets::DatasetRecord;
use crate::keys::files::FileRecord;
use crate::keys::{
    FileNumber, Partition, SourceNumber, dirty, expired, files, meta, reliance, rows, sources, tombstones,
};
use crate::resolve::{Resolved, resolve};
use crate::{FileKey, Vault, VaultError};
use civicmesh_model::hash::Hash32;
use civicmesh_model::names::DatasetName;
use civicmesh_model::time::UtcMicros;
use civicmesh_observation::{HASH_BYTES, Observations};
use civicmesh_store::Batch;
use std::collections::{BTreeMap, BTreeSet};

/// The most observations in one batch.
pub const ROWS_MAX: usize = 1 << 20;

/// A stretch of a file: its observations, and how many of its rows became none.
#[derive(Debug)]
pub struct Append<'a> {
    /// The dataset, begun with [`Vault::begin_file`].
    pub dataset: &'a DatasetName,
    /// Hash of the contract under which the rows were read.
    pub contract_hash: Hash32,
    /// The file.
    pub file: FileKey,
    /// The first row of the stretch; it must be where the file stands.
    pub rows_from: u64,
    /// The row after the last.
    pub rows_to: u64,
    /// Rows that are to be kept.
    pub observations: Observations,
    /// Rows that are not.
    pub counts: RowCounts,
    /// The clock.
    pub now: UtcMicros,
    /// The latest event time that may move a watermark: a row further ahead of the clock is kept all the same, for it
    /// may be the clock that is wrong, and closes nothing.
    pub watermark_max: UtcMicros,
}

/// Rows that became no observations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Left out by the contract's filter.
    pub filtered: u64,
    /// Refused.
    pub rejected: u64,
}

/// What became of a batch. It is durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appended {
    /// Rows stored for the first time.
    pub accepted: u64,
    /// Rows that were stored before.
    pub duplicate: u64,
    /// Rows that changed one that was stored before.
    pub corrected: u64,
    /// Rows for days whose observations are past their retention; not kept.
    pub expired: u64,
    /// Of all of these, rows that are later than what may move a watermark.
    pub ahead: u64,
    /// The batch had been stored before, and nothing was changed.
    pub retried: bool,
}

impl Vault {
    /// Takes a stretch of a file in. When it returns, the rows are durable and the file stands at `rows_to`; a
    /// stretch that lies before where the file stands changes nothing.
    pub fn append(&self, append: Append<'_>) -> Result<Appended, VaultError> {
        let rows = append.observations.rows();
        if rows > ROWS_MAX {
            return Err(VaultError::TooManyRows { rows });
        }
        let _writing = self.write();
        let set = self.dataset(&self.store, append.dataset)?;
        if let Some(undoing) = set.undoing {
            return Err(VaultError::Undoing(undoing));
        }
        let mut file = self.file(&self.store, append.dataset, &set, append.file)?;
        if append.rows_from <= append.rows_to && append.rows_to <= file.totals.rows {
            return Ok(Appended { retried: true, ..Appended::default() });
        }
        check(&append, &file)?;
        let mut feed = self.source(&self.store, &set, &file.source)?;
        let stretch = Stretch {
            set: &set,
            file: file.number(),
            source: SourceNumber(feed.number),
            sequence: meta::sequence(&self.store)? + 1,
            now: append.now,
        };
        let (placed, resolved) = self.place(&set, &append.observations)?;
        let mut batch = self.store.batch();
        self.put_blocks(&mut batch, &stretch, &append.observations, &placed, &resolved)?;
        put_versions(&mut batch, &stretch, &append.observations, &placed, &resolved);
        let appended = Appended {
            accepted: resolved.accepted,
            duplicate: resolved.duplicate,
            corrected: resolved.corrected,
            expired: rows as u64 - resolved.accepted - resolved.duplicate - resolved.corrected,
            ahead: ahead(&append).count() as u64,
            retried: false,
        };
        count(&mut file, &append, appended);
        feed.heard_at = feed.heard_at.max(append.now);
        files::put(&mut batch, set.number(), append.file, &file);
        sources::put(&mut batch, set.number(), &file.source, &feed);
        meta::put_sequence(&mut batch, stretch.sequence);
        self.store.commit(batch)?;
        Ok(appended)
    }

    /// The partition of each row, and which rows are to be stored.
    fn place(
        &self,
        set: &DatasetRecord,
        observations: &Observations,
    ) -> Result<(Vec<Partition>, Resolved), VaultError> {
        let placed = self.days.of_all(observations.times().values());
        let mut gone = BTreeSet::new();
        for partition in placed.iter().collect::<BTreeSet<_>>() {
            if expired::contains(&self.store, set.number(), *partition)? {
                gone.insert(*partition);
            }
        }
        let live = (0..observations.rows() as u32).filter(|row| !gone.contains(&placed[*row as usize])).collect();
        let resolved = resolve(&self.store, set.number(), observations, live)?;
        Ok((placed, resolved))
    }

    /// Stores the rows that are kept, one block a partition, and what is needed to take them back.
    fn put_blocks(
        &self,
        batch: &mut Batch<'_>,
        stretch: &Stretch<'_>,
        observations: &Observations,
        placed: &[Partition],
        resolved: &Resolved,
    ) -> Result<(), VaultError> {
        let mut parts: BTreeMap<Partition, Vec<u32>> = BTreeMap::new();
        for row in &resolved.kept {
            parts.entry(placed[*row as usize]).or_default().push(*row);
        }
        for (partition, rows) in &parts {
            let part = if rows.len() == observations.rows() { observations.clone() } else { observations.take(rows) };
            put_block(batch, stretch, *partition, &part)?;
            dirty::put(batch, stretch.set.number(), *partition, stretch.sequence);
        }
        let partitions = parts.into_keys().collect();
        let corrections = resolved.corrections.iter().map(|(_, row, before)| (*row, *before)).collect();
        let record = BatchRecord { partitions, corrections };
        if record != BatchRecord::default() {
            batches::put(batch, stretch.set.number(), stretch.file, stretch.sequence, &record);
        }
        Ok(())
    }
}

/// Where a batch stands.
struct Stretch<'a> {
    set: &'a DatasetRecord,
    file: FileNumber,
    source: SourceNumber,
    sequence: u64,
    now: UtcMicros,
}

fn check(append: &Append<'_>, file: &FileRecord) -> Result<(), VaultError> {
    let Append { rows_from: from, rows_to: to, counts, observations, .. } = append;
    if file.finished {
        return Err(VaultError::Finished);
    }
    if *from != file.totals.rows || to < from {
        return Err(VaultError::Offset { stored: file.totals.rows, from: *from, to: *to });
    }
    let told = observations.rows() as u64 + counts.filtered + counts.rejected;
    if told != to - from {
        return Err(VaultError::Unaccounted { rows: to - from, told });
    }
    Ok(())
}

fn put_block(
    batch: &mut Batch<'_>,
    stretch: &Stretch<'_>,
    partition: Partition,
    part: &Observations,
) -> Result<(), VaultError> {
    let times = part.times().values();
    let extreme = |time: Option<&i64>| UtcMicros(*time.expect("a part has a row"));
    let block = Block {
        file: stretch.file,
        source: stretch.source,
        rows: part.rows() as u32,
        oldest: extreme(times.iter().min()),
        newest: extreme(times.iter().max()),
        arrived: stretch.now,
    };
    let key = BlockKey { dataset: stretch.set.number(), partition, sequence: stretch.sequence };
    let keys = part.keys().map(|keys| &keys.value_data()[..part.rows() * HASH_BYTES]);
    blocks::put(batch, key, block, &part.without_keys().encode()?, keys);
    Ok(())
}

/// Sets the newest versions of keyed rows, and marks the versions that they replace.
fn put_versions(
    batch: &mut Batch<'_>,
    stretch: &Stretch<'_>,
    observations: &Observations,
    placed: &[Partition],
    resolved: &Resolved,
) {
    let dataset = stretch.set.number();
    let (Some(keys), Some(contents)) = (observations.keys(), observations.contents()) else {
        return;
    };
    for row in &resolved.by_key {
        let version = rows::Version {
            content: contents.value(*row as usize).try_into().expect("the layout fixes the length"),
            partition: placed[*row as usize],
            sequence: stretch.sequence,
            file: stretch.file,
        };
        let key = keys.value(*row as usize).try_into().expect("the layout fixes the length");
        rows::put(batch, dataset, key, version);
    }
    for (row, key, before) in &resolved.corrections {
        tombstones::put(batch, dataset, before.partition, key, stretch.sequence);
        if placed[*row as usize] != before.partition {
            dirty::put(batch, dataset, before.partition, stretch.sequence);
        }
    }
    for on in resolved.relied_on.iter().filter(|on| **on != stretch.file) {
        reliance::put(batch, dataset, *on, stretch.file);
    }
}

/// The event times that are later than what may move a watermark.
fn ahead(append: &Append<'_>) -> impl Iterator<Item = i64> {
    append.observations.times().values().iter().copied().filter(|time| *time > append.watermark_max.0)
}

fn count(file: &mut FileRecord, append: &Append<'_>, appended: Appended) {
    let Appended { accepted, duplicate, corrected, expired, ahead, retried: _ } = appended;
    let totals = &mut file.totals;
    totals.rows = append.rows_to;
    totals.accepted += accepted;
    totals.duplicate += duplicate;
    totals.corrected += corrected;
    totals.expired += expired;
    totals.ahead += ahead;
    totals.add_counts(append.counts);
    let times = append.observations.times().values();
    totals.oldest = totals.oldest.into_iter().chain(times.iter().min().map(|time| UtcMicros(*time))).min();
    let told = times.iter().map(|time| UtcMicros(*time)).filter(|time| *time <= append.watermark_max);
    totals.newest = totals.newest.max(told.max());
    file.contract = Some(append.contract_hash);
}
