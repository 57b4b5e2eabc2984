//! Files: begun, resumed, finished, listed.

use crate::keys::datasets::{self, DatasetRecord};
use crate::keys::files::{self, FileRecord};
use crate::keys::sources::{self, SourceRecord};
use crate::vault::Vault;
use crate::{RowCounts, VaultError};
use civicmesh_model::contract::TimeSpec;
use civicmesh_model::hash::Hash32;
use civicmesh_model::names::{DatasetName, SourceName};
use civicmesh_model::time::{Span, UtcMicros};
use civicmesh_store::Read;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What names a file: the SHA-256 of its bytes, decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileKey(pub Hash32);

impl fmt::Display for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a file was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileProgress {
    /// Rows that are done, rejected and filtered ones included: an ingest goes on here.
    pub rows_done: u64,
    /// Whether it was taken in whole.
    pub finished: bool,
}

/// What became of a file's rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileTotals {
    /// All rows, those below together.
    pub rows: u64,
    /// Rows stored for the first time.
    pub accepted: u64,
    /// Rows that were stored before.
    pub duplicate: u64,
    /// Rows that changed one that was stored before.
    pub corrected: u64,
    /// Rows that the contract's filter left out.
    pub filtered: u64,
    /// Rows that were refused.
    pub rejected: u64,
    /// Rows that came for a day whose observations are past their retention.
    pub expired: u64,
    /// Of all of these, rows that were later than what may move a watermark.
    #[serde(default)]
    pub ahead: u64,
    /// The earliest event time.
    pub oldest: Option<UtcMicros>,
    /// The latest event time that may move a watermark.
    pub newest: Option<UtcMicros>,
}

/// A file as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Its key.
    pub key: FileKey,
    /// What its sender calls it.
    pub name: String,
    /// The feed that it is part of.
    pub source: SourceName,
    /// When it came first.
    pub begun_at: UtcMicros,
    /// Whether it was taken in whole.
    pub finished: bool,
    /// What became of its rows.
    pub totals: FileTotals,
    /// Event time through which an operator declared the dataset complete with it.
    pub completed_through: Option<UtcMicros>,
}

/// Sums over a dataset's files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DatasetCounts {
    /// Files, unfinished ones included.
    pub files: u64,
    /// What became of their rows.
    pub totals: FileTotals,
    /// Stored rows that retention has removed since.
    pub dropped: u64,
}

impl Vault {
    /// Says how far a file was taken in; one that is new is begun.
    pub fn begin_file(
        &self,
        dataset: &DatasetName,
        source: &SourceName,
        file: FileKey,
        name: &str,
        now: UtcMicros,
    ) -> Result<FileProgress, VaultError> {
        let _writing = self.write();
        let mut batch = self.store.batch();
        let mut set = match datasets::get(&self.store, dataset)? {
            Some(set) => set,
            None => {
                let number = datasets::all(&self.store)?.iter().map(|(_, set)| set.number + 1).max().unwrap_or(0);
                DatasetRecord::new(number)
            }
        };
        if let Some(undoing) = set.undoing {
            return Err(VaultError::Undoing(undoing));
        }
        if let Some(known) = files::get(&self.store, set.number(), file)? {
            if &known.source != source {
                return Err(VaultError::OtherSource(known.source));
            }
            return Ok(FileProgress { rows_done: known.totals.rows, finished: known.finished });
        }
        let mut feed = sources::get(&self.store, set.number(), source)?.unwrap_or_else(|| {
            set.sources += 1;
            SourceRecord { number: set.sources - 1, watermark: None, unfinished: 0, heard_at: now }
        });
        feed.unfinished += 1;
        feed.heard_at = feed.heard_at.max(now);
        let record = FileRecord {
            number: set.files,
            source: source.clone(),
            name: name.to_owned(),
            begun_at: now,
            finished: false,
            totals: FileTotals::default(),
            through: None,
            completed_through: None,
            contract: None,
        };
        set.files += 1;
        files::put(&mut batch, set.number(), file, &record);
        sources::put(&mut batch, set.number(), source, &feed);
        datasets::put(&mut batch, dataset, &set);
        self.store.commit(batch)?;
        Ok(FileProgress { rows_done: 0, finished: false })
    }

    /// Declares a file whole: from here on its rows move its source's watermark, as far as the latest of them tells
    /// under `time`. A file that is finished stays as it is.
    pub fn finish_file(&self, dataset: &DatasetName, file: FileKey, time: &TimeSpec) -> Result<FileTotals, VaultError> {
        let _writing = self.write();
        let set = self.dataset(&self.store, dataset)?;
        let mut record = self.file(&self.store, dataset, &set, file)?;
        if record.finished {
            return Ok(record.totals);
        }
        record.finished = true;
        record.through = record.totals.newest.map(|newest| told_through(newest, time));
        let mut feed = self.source(&self.store, &set, &record.source)?;
        feed.unfinished = feed.unfinished.saturating_sub(1);
        feed.watermark = feed.watermark.max(record.through);
        let mut batch = self.store.batch();
        files::put(&mut batch, set.number(), file, &record);
        sources::put(&mut batch, set.number(), &record.source, &feed);
        self.store.commit(batch)?;
        Ok(record.totals)
    }

    /// Declares the dataset complete through `until`, as `file`'s sender says: windows that end by then are closed
    /// whatever the sources' watermarks say. It holds until the file is taken back.
    pub fn complete(&self, dataset: &DatasetName, file: FileKey, until: UtcMicros) -> Result<(), VaultError> {
        let _writing = self.write();
        let mut set = self.dataset(&self.store, dataset)?;
        let mut record = self.file(&self.store, dataset, &set, file)?;
        record.completed_through = record.completed_through.max(Some(until));
        set.completed_through = set.completed_through.max(record.completed_through);
        let mut batch = self.store.batch();
        datasets::put(&mut batch, dataset, &set);
        files::put(&mut batch, set.number(), file, &record);
        Ok(self.store.commit(batch)?)
    }

    /// Event time through which a finished file tells everything; none if it holds no row or is not finished.
    pub fn last_full(&self, dataset: &DatasetName, file: FileKey) -> Result<Option<UtcMicros>, VaultError> {
        let set = self.dataset(&self.store, dataset)?;
        Ok(self.file(&self.store, dataset, &set, file)?.through)
    }

    /// The dataset's files in the order in which they came; none for a dataset that is not known.
    pub fn files(&self, dataset: &DatasetName) -> Result<Vec<FileEntry>, VaultError> {
        let snapshot = self.store.snapshot();
        let Some(set) = datasets::get(&snapshot, dataset)? else {
            return Ok(Vec::new());
        };
        let entries = files::all(&snapshot, set.number())?.into_iter().map(|(key, record)| {
            let FileRecord { name, source, begun_at, finished, totals, completed_through, .. } = record;
            FileEntry { key, name, source, begun_at, finished, totals, completed_through }
        });
        Ok(entries.collect())
    }

    /// Sums over the dataset's files; nothing for a dataset that is not known.
    pub fn counts(&self, dataset: &DatasetName) -> Result<DatasetCounts, VaultError> {
        let snapshot = self.store.snapshot();
        let Some(set) = datasets::get(&snapshot, dataset)? else {
            return Ok(DatasetCounts::default());
        };
        let mut counts = DatasetCounts { dropped: set.dropped, ..DatasetCounts::default() };
        for (_, record) in files::all(&snapshot, set.number())? {
            counts.files += 1;
            counts.totals.add(&record.totals);
        }
        Ok(counts)
    }

    /// The dataset's record, or the error that there is none.
    pub(crate) fn dataset(&self, reader: &impl Read, name: &DatasetName) -> Result<DatasetRecord, VaultError> {
        datasets::get(reader, name)?.ok_or_else(|| VaultError::UnknownDataset(name.clone()))
    }

    /// A file's record, or the error that there is none.
    pub(crate) fn file(
        &self,
        reader: &impl Read,
        dataset: &DatasetName,
        set: &DatasetRecord,
        file: FileKey,
    ) -> Result<FileRecord, VaultError> {
        let unknown = || VaultError::UnknownFile { dataset: dataset.clone(), file };
        files::get(reader, set.number(), file)?.ok_or_else(unknown)
    }

    /// The source of a file that is known.
    pub(crate) fn source(
        &self,
        reader: &impl Read,
        set: &DatasetRecord,
        name: &SourceName,
    ) -> Result<SourceRecord, VaultError> {
        sources::get(reader, set.number(), name)?.ok_or(VaultError::Damaged(sources::KEYSPACE.name()))
    }
}

impl FileTotals {
    /// Adds another file's.
    fn add(&mut self, other: &Self) {
        let Self { rows, accepted, duplicate, corrected, filtered, rejected, expired, ahead, oldest, newest } = *other;
        self.rows += rows;
        self.accepted += accepted;
        self.duplicate += duplicate;
        self.corrected += corrected;
        self.filtered += filtered;
        self.rejected += rejected;
        self.expired += expired;
        self.ahead += ahead;
        self.oldest = self.oldest.into_iter().chain(oldest).min();
        self.newest = self.newest.max(newest);
    }

    /// Adds rows that never became observations.
    pub(crate) fn add_counts(&mut self, counts: RowCounts) {
        let RowCounts { filtered, rejected } = counts;
        self.filtered += filtered;
        self.rejected += rejected;
    }
}

/// The end of the stretch that a written time stands for. Days are civil ones: where the clock changes, a date stands
/// for 23 or 25 hours.
fn told_through(newest: UtcMicros, time: &TimeSpec) -> UtcMicros {
    let (days, rest) = (time.resolution.micros() / Span::DAY.micros(), time.resolution.micros() % Span::DAY.micros());
    if days == 0 || rest != 0 {
        return newest.after(time.resolution);
    }
    let local = time.zone.to_local(newest);
    match local.checked_add_signed(chrono::TimeDelta::days(days)) {
        Some(next) => time.zone.start_of_local(next),
        None => UtcMicros::MAX,
    }
}
