//! Changes that are stored together or not at all.

use crate::{KeyRange, Keyspace, Store};

/// Changes to one store, made by [`Store::batch`] and stored by [`Store::commit`].
pub struct Batch<'s> {
    pub(crate) store: &'s Store,
    pub(crate) changes: rocksdb::WriteBatch,
}

impl Batch<'_> {
    /// Sets the value of a key.
    pub fn put(&mut self, keyspace: Keyspace, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.changes.put_cf(self.store.family(keyspace), key, value);
    }

    /// Removes a key; one that does not exist is no error.
    pub fn delete(&mut self, keyspace: Keyspace, key: impl AsRef<[u8]>) {
        self.changes.delete_cf(self.store.family(keyspace), key);
    }

    /// Removes every key in `range` that was stored before, or set earlier in this batch.
    ///
    /// # Panics
    /// Where the range has no end: what is to be removed is always known.
    pub fn delete_range(&mut self, keyspace: Keyspace, range: &KeyRange) {
        let end = range.end.as_ref().expect("a range that is removed has an end");
        self.changes.delete_range_cf(self.store.family(keyspace), &range.start, end);
    }

    /// Bytes that the changes take.
    pub fn bytes(&self) -> usize {
        self.changes.size_in_bytes()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}
