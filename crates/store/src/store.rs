//! The store itself, and a moment of it.

use crate::options::prepare_directory;
use crate::{Batch, Direction, Environment, Hook, Iter, KeyRange, Keyspace, Options, StoreError, tuning};
use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, DBPinnableSlice, IteratorMode, ReadOptions, WriteOptions};
use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

const BLOB_FILES_BYTES: &str = "rocksdb.total-blob-file-size";
const TABLE_FILES_BYTES: &str = "rocksdb.total-sst-files-size";
const MEMTABLES_BYTES: &str = "rocksdb.cur-size-all-mem-tables";

/// One database. Cheap to share behind an `Arc`; every method takes `&self`.
pub struct Store {
    database: DB,
    keyspaces: &'static [Keyspace],
    hook: Option<Arc<dyn Hook>>,
    commits: AtomicU64,
    /// Why nothing more is written until the store is opened anew.
    broken: OnceLock<StoreError>,
}

/// A value, without a copy of it.
pub struct Value<'r>(DBPinnableSlice<'r>);

impl Deref for Value<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// What can be read, either now ([`Store`]) or as of a moment ([`Snapshot`]).
pub trait Read {
    /// The value of a key.
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Value<'_>>, StoreError>;

    /// The values of many keys, in their order. It is fastest on keys that are sorted.
    fn multi_get<'k>(
        &self,
        keyspace: Keyspace,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Result<Vec<Option<Value<'_>>>, StoreError>;

    /// Keys of a range in order, read as they are asked for, all of the moment at which this was called.
    fn iterate(&self, keyspace: Keyspace, range: KeyRange, direction: Direction) -> Iter<'_>;
}

impl Store {
    /// Opens the database in the directory `path`, which is made where it does not exist.
    pub fn open(path: &Path, options: &Options) -> Result<Self, StoreError> {
        Self::open_with(&tuning::database(options), path, options)
    }

    fn open_with(settings: &rocksdb::Options, path: &Path, options: &Options) -> Result<Self, StoreError> {
        let cache = tuning::cache();
        let families = options.keyspaces.iter();
        let families = families.map(|space| ColumnFamilyDescriptor::new(space.name, tuning::keyspace(space, &cache)));
        let path = match options.environment {
            Environment::Disk => {
                prepare_directory(path, options.directory_mode)?;
                path.to_path_buf()
            }
            // RocksDB's binding makes the directory on the real disk too: this one is there already.
            Environment::Memory(_) => std::env::temp_dir(),
        };
        let database = DB::open_cf_descriptors(settings, &path, families);
        let database = database.map_err(|error| StoreError::of_opening(path, error))?;
        let (keyspaces, hook) = (options.keyspaces, options.hook.clone());
        Ok(Self { database, keyspaces, hook, commits: AtomicU64::new(0), broken: OnceLock::new() })
    }

    /// An empty batch for this store.
    pub fn batch(&self) -> Batch<'_> {
        Batch { store: self, changes: rocksdb::WriteBatch::default() }
    }

    /// Stores all of `batch` or nothing, and returns when it is on the disk. A full disk is waited out: writes go on once
    /// there is space. After any other failure of the disk RocksDB takes no write until it is opened anew: then the
    /// store is [broken](Store::broken).
    ///
    /// # Panics
    /// Where the batch was made by another store.
    pub fn commit(&self, batch: Batch<'_>) -> Result<(), StoreError> {
        assert!(std::ptr::eq(self, batch.store), "a batch is committed to the store that made it");
        if let Some(error) = self.broken.get() {
            return Err(error.clone());
        }
        let committed = self.write(batch);
        if let Err(error) = &committed
            && error.is_final()
        {
            // of two that fail at once either tells why
            let _ = self.broken.set(error.clone());
        }
        committed
    }

    /// Why the store takes no more writes until it is opened anew; none while it does.
    pub fn broken(&self) -> Option<&StoreError> {
        self.broken.get()
    }

    fn write(&self, batch: Batch<'_>) -> Result<(), StoreError> {
        let number = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(hook) = &self.hook {
            hook.before_commit(number, batch.bytes())?;
        }
        let mut durable = WriteOptions::default();
        durable.set_sync(true);
        self.database.write_opt(batch.changes, &durable)?;
        match &self.hook {
            Some(hook) => hook.after_commit(number),
            None => Ok(()),
        }
    }

    /// This moment: what is read of it does not change while others write. Hold it no longer than needed, for what
    /// is overwritten meanwhile keeps its space.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { store: self, moment: self.database.snapshot() }
    }

    /// Writes what is in memory to tables, so that the next opening has no log to read.
    pub fn flush(&self) -> Result<(), StoreError> {
        for keyspace in self.keyspaces {
            self.database.flush_cf(self.family(*keyspace))?;
        }
        Ok(())
    }

    /// Rewrites a keyspace without what was removed or overwritten in it, and returns when that is done.
    pub fn compact(&self, keyspace: Keyspace) {
        self.database.compact_range_cf(self.family(keyspace), None::<&[u8]>, None::<&[u8]>);
    }

    /// Bytes of tables and blob files on the disk and of what is yet in memory; without the write-ahead log.
    pub fn size_bytes(&self) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for keyspace in self.keyspaces {
            for property in [TABLE_FILES_BYTES, BLOB_FILES_BYTES, MEMTABLES_BYTES] {
                let part = self.database.property_int_value_cf(self.family(*keyspace), property)?;
                bytes += part.unwrap_or(0);
            }
        }
        Ok(bytes)
    }

    /// The column family of a keyspace.
    ///
    /// # Panics
    /// Where the store was opened without it, which is a mistake in the program.
    pub(crate) fn family(&self, keyspace: Keyspace) -> &ColumnFamily {
        self.database.cf_handle(keyspace.name).expect("the store was opened with each of its keyspaces")
    }

    fn get_with(&self, keyspace: Keyspace, key: &[u8], how: &ReadOptions) -> Result<Option<Value<'_>>, StoreError> {
        Ok(self.database.get_pinned_cf_opt(self.family(keyspace), key, how)?.map(Value))
    }

    fn multi_get_with<'k>(
        &self,
        keyspace: Keyspace,
        keys: impl IntoIterator<Item = &'k [u8]>,
        how: &ReadOptions,
    ) -> Result<Vec<Option<Value<'_>>>, StoreError> {
        let values = self.database.batched_multi_get_cf_opt(self.family(keyspace), keys, false, how);
        values.into_iter().map(|value| Ok(value?.map(Value))).collect()
    }

    fn iterate_with(
        &self,
        keyspace: Keyspace,
        range: KeyRange,
        direction: Direction,
        mut how: ReadOptions,
    ) -> Iter<'_> {
        how.set_iterate_lower_bound(range.start);
        if let Some(end) = range.end {
            how.set_iterate_upper_bound(end);
        }
        let mode = match direction {
            Direction::Forward => IteratorMode::Start,
            Direction::Backward => IteratorMode::End,
        };
        Iter { entries: self.database.iterator_cf_opt(self.family(keyspace), how, mode) }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.database.path()).finish_non_exhaustive()
    }
}

impl Read for Store {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Value<'_>>, StoreError> {
        self.get_with(keyspace, key, &ReadOptions::default())
    }

    fn multi_get<'k>(
        &self,
        keyspace: Keyspace,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Result<Vec<Option<Value<'_>>>, StoreError> {
        self.multi_get_with(keyspace, keys, &ReadOptions::default())
    }

    fn iterate(&self, keyspace: Keyspace, range: KeyRange, direction: Direction) -> Iter<'_> {
        self.iterate_with(keyspace, range, direction, ReadOptions::default())
    }
}

/// A moment of a store.
pub struct Snapshot<'s> {
    store: &'s Store,
    moment: rocksdb::Snapshot<'s>,
}

impl Snapshot<'_> {
    fn how(&self) -> ReadOptions {
        let mut how = ReadOptions::default();
        how.set_snapshot(&self.moment);
        how
    }
}

impl Read for Snapshot<'_> {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Value<'_>>, StoreError> {
        self.store.get_with(keyspace, key, &self.how())
    }

    fn multi_get<'k>(
        &self,
        keyspace: Keyspace,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Result<Vec<Option<Value<'_>>>, StoreError> {
        self.store.multi_get_with(keyspace, keys, &self.how())
    }

    fn iterate(&self, keyspace: Keyspace, range: KeyRange, direction: Direction) -> Iter<'_> {
        self.store.iterate_with(keyspace, range, direction, self.how())
    }
}

#[cfg(test)]
mod tests;
