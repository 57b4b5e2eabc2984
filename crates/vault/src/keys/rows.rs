//! The newest version of each keyed row.
//!
//! ```text
//! dataset 4 · row key 16 -> content 8 · partition 4 · sequence 8 · file 4
//! ```
//! `content` is the hash of all that the row holds, `partition` and `sequence` say which block holds it, `file` which
//! file brought it.

use super::{DatasetNumber, Fields, FileNumber, Partition};
use crate::VaultError;
use civicmesh_observation::{CONTENT_BYTES, HASH_BYTES};
use civicmesh_store::{Batch, Keyspace, Read};

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("rows").with_bloom();

/// The hash that names a row.
pub(crate) type RowKey = [u8; HASH_BYTES];

/// Bytes of a version as stored.
pub(crate) const VERSION_BYTES: usize = CONTENT_BYTES + Partition::BYTES + 8 + 4;
const KEY_BYTES: usize = 4 + HASH_BYTES;

/// One version of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) content: [u8; CONTENT_BYTES],
    pub(crate) partition: Partition,
    pub(crate) sequence: u64,
    pub(crate) file: FileNumber,
}

impl Version {
    pub(crate) fn to_bytes(self) -> [u8; VERSION_BYTES] {
        let mut bytes = [0; VERSION_BYTES];
        bytes[..8].copy_from_slice(&self.content);
        bytes[8..12].copy_from_slice(&self.partition.to_bytes());
        bytes[12..20].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[20..].copy_from_slice(&self.file.0.to_be_bytes());
        bytes
    }

    pub(crate) fn take(fields: &mut Fields<'_>) -> Result<Self, VaultError> {
        Ok(Self {
            content: fields.take()?,
            partition: fields.partition()?,
            sequence: fields.u64()?,
            file: FileNumber(fields.u32()?),
        })
    }
}

pub(crate) fn key(dataset: DatasetNumber, row: &RowKey) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..4].copy_from_slice(&dataset.prefix());
    key[4..].copy_from_slice(row);
    key
}

/// The newest versions of rows, in the rows' order; fastest when that is sorted.
pub(crate) fn newest(
    reader: &impl Read,
    dataset: DatasetNumber,
    rows: impl Iterator<Item = RowKey>,
) -> Result<Vec<Option<Version>>, VaultError> {
    let mut keys = Vec::with_capacity(rows.size_hint().0 * KEY_BYTES);
    rows.for_each(|row| keys.extend_from_slice(&key(dataset, &row)));
    let values = reader.multi_get(KEYSPACE, keys.chunks_exact(KEY_BYTES))?;
    let version = |value: &[u8]| {
        let mut fields = Fields::of(KEYSPACE, value);
        let version = Version::take(&mut fields)?;
        fields.end()?;
        Ok(version)
    };
    values.into_iter().map(|value| value.map(|value| version(&value)).transpose()).collect()
}

pub(crate) fn put(batch: &mut Batch<'_>, dataset: DatasetNumber, row: &RowKey, version: Version) {
    batch.put(KEYSPACE, key(dataset, row), version.to_bytes());
}

pub(crate) fn delete(batch: &mut Batch<'_>, dataset: DatasetNumber, row: &RowKey) {
    batch.delete(KEYSPACE, key(dataset, row));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::store;

    #[test]
    fn it_reads_back() {
        let store = store();
        let version = Version {
            content: [1, 2, 3, 4, 5, 6, 7, 8],
            partition: Partition(737_484),
            sequence: 1 << 40,
            file: FileNumber(12),
        };
        let mut batch = store.batch();
        put(&mut batch, DatasetNumber(1), &[5; 16], version);
        put(&mut batch, DatasetNumber(1), &[6; 16], version);
        delete(&mut batch, DatasetNumber(1), &[6; 16]);
        store.commit(batch).unwrap();
        let rows = [[5; 16], [6; 16], [7; 16]].into_iter();
        assert_eq!(newest(&store, DatasetNumber(1), rows.clone()).unwrap(), [Some(version), None, None]);
        assert_eq!(newest(&store, DatasetNumber(2), rows).unwrap(), [None; 3]);
    }
}
