//! What each batch of a file changed, so that it can be taken back.
//!
//! ```text
//! dataset 4 · file 4 · sequence 8 -> partitions 4, then of each: partition 4
//!                                    corrections 4, then of each: row key 16 · the version before it 24
//! ```

use super::rows::{RowKey, Version};
use super::{DatasetNumber, Fields, FileNumber, Partition};
use crate::VaultError;
use civicmesh_store::{Batch, Direction, KeyRange, Keyspace, Read};

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("batches");

/// What one batch changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BatchRecord {
    /// Where its blocks are.
    pub(crate) partitions: Vec<Partition>,
    /// Rows that it corrected, with the version that stood before.
    pub(crate) corrections: Vec<(RowKey, Version)>,
}

impl BatchRecord {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&length(&self.partitions));
        self.partitions.iter().for_each(|partition| bytes.extend_from_slice(&partition.to_bytes()));
        bytes.extend_from_slice(&length(&self.corrections));
        for (row, before) in &self.corrections {
            bytes.extend_from_slice(row);
            bytes.extend_from_slice(&before.to_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, VaultError> {
        let mut fields = Fields::of(KEYSPACE, bytes);
        let mut record = Self::default();
        for _ in 0..fields.u32()? {
            record.partitions.push(fields.partition()?);
        }
        for _ in 0..fields.u32()? {
            record.corrections.push((fields.take()?, Version::take(&mut fields)?));
        }
        fields.end()?;
        Ok(record)
    }
}

fn length<T>(list: &[T]) -> [u8; 4] {
    u32::try_from(list.len()).expect("a batch's rows are counted in 32 bits").to_be_bytes()
}

fn prefix(dataset: DatasetNumber, file: FileNumber) -> [u8; 8] {
    let mut prefix = [0; 8];
    prefix[..4].copy_from_slice(&dataset.prefix());
    prefix[4..].copy_from_slice(&file.0.to_be_bytes());
    prefix
}

fn key(dataset: DatasetNumber, file: FileNumber, sequence: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&prefix(dataset, file));
    key[8..].copy_from_slice(&sequence.to_be_bytes());
    key
}

pub(crate) fn put(
    batch: &mut Batch<'_>,
    dataset: DatasetNumber,
    file: FileNumber,
    sequence: u64,
    record: &BatchRecord,
) {
    batch.put(KEYSPACE, key(dataset, file, sequence), record.to_bytes());
}

pub(crate) fn delete(batch: &mut Batch<'_>, dataset: DatasetNumber, file: FileNumber, sequence: u64) {
    batch.delete(KEYSPACE, key(dataset, file, sequence));
}

/// The batches of a file with their sequences, newest first.
pub(crate) fn newest_first<R: Read>(
    reader: &R,
    dataset: DatasetNumber,
    file: FileNumber,
) -> impl Iterator<Item = Result<(u64, BatchRecord), VaultError>> + use<'_, R> {
    reader.iterate(KEYSPACE, KeyRange::prefix(prefix(dataset, file)), Direction::Backward).map(|entry| {
        let (key, value) = entry?;
        let mut fields = Fields::of(KEYSPACE, &key);
        fields.u64()?;
        let sequence = fields.u64()?;
        fields.end()?;
        Ok((sequence, BatchRecord::from_bytes(&value)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::store;

    #[test]
    fn it_reads_back_newest_first() {
        let store = store();
        let (dataset, file) = (DatasetNumber(1), FileNumber(2));
        let before = Version { content: [1; 8], partition: Partition(-3), sequence: 4, file: FileNumber(0) };
        let record = BatchRecord {
            partitions: vec![Partition(737_484), Partition(737_485)],
            corrections: vec![([9; 16], before), ([8; 16], before)],
        };
        let mut batch = store.batch();
        put(&mut batch, dataset, file, 5, &record);
        put(&mut batch, dataset, file, 300, &BatchRecord::default());
        put(&mut batch, dataset, FileNumber(3), 6, &record);
        put(&mut batch, dataset, file, 7, &record);
        delete(&mut batch, dataset, file, 7);
        store.commit(batch).unwrap();
        let found: Vec<_> = newest_first(&store, dataset, file).map(Result::unwrap).collect();
        assert_eq!(found, [(300, BatchRecord::default()), (5, record)]);
    }
}
