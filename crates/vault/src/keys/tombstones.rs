//! Rows of a partition that a later version replaced.
//!
//! ```text
//! dataset 4 · partition 4 · row key 16 -> sequence 8
//! ```
//! A row with this key that stands in this partition with a lower sequence is superseded: the newer version may stand
//! in the same partition or, where the correction moved the row's time, in another.

use super::{DatasetNumber, Fields, Partition, rows::RowKey};
use crate::VaultError;
use civicmesh_observation::HASH_BYTES;
use civicmesh_store::{Batch, Direction, KeyRange, Keyspace, Read};

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("tombstones").with_bloom();
const KEY_BYTES: usize = 8 + HASH_BYTES;

fn key(dataset: DatasetNumber, partition: Partition, row: &RowKey) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&dataset.partition_prefix(partition));
    key[8..].copy_from_slice(row);
    key
}

/// Whether any row of the partition is superseded.
pub(crate) fn any(reader: &impl Read, dataset: DatasetNumber, partition: Partition) -> Result<bool, VaultError> {
    let range = KeyRange::prefix(dataset.partition_prefix(partition));
    Ok(reader.iterate(KEYSPACE, range, Direction::Forward).next().transpose()?.is_some())
}

/// For each row, the sequence below which it is superseded.
pub(crate) fn below(
    reader: &impl Read,
    dataset: DatasetNumber,
    partition: Partition,
    rows: impl Iterator<Item = RowKey>,
) -> Result<Vec<Option<u64>>, VaultError> {
    let mut keys = Vec::with_capacity(rows.size_hint().0 * KEY_BYTES);
    rows.for_each(|row| keys.extend_from_slice(&key(dataset, partition, &row)));
    let values = reader.multi_get(KEYSPACE, keys.chunks_exact(KEY_BYTES))?;
    let sequence = |value: &[u8]| {
        let mut fields = Fields::of(KEYSPACE, value);
        let sequence = fields.u64()?;
        fields.end()?;
        Ok(sequence)
    };
    values.into_iter().map(|value| value.map(|value| sequence(&value)).transpose()).collect()
}

pub(crate) fn put(
    batch: &mut Batch<'_>,
    dataset: DatasetNumber,
    partition: Partition,
    row: &RowKey,
    below_sequence: u64,
) {
    batch.put(KEYSPACE, key(dataset, partition, row), below_sequence.to_be_bytes());
}

pub(crate) fn delete_partition(batch: &mut Batch<'_>, dataset: DatasetNumber, partition: Partition) {
    batch.delete_range(KEYSPACE, &KeyRange::prefix(dataset.partition_prefix(partition)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::store;

    #[test]
    fn it_reads_back() {
        let store = store();
        let (dataset, day) = (DatasetNumber(1), Partition(5));
        let mut batch = store.batch();
        put(&mut batch, dataset, day, &[5; 16], 7);
        put(&mut batch, dataset, day, &[5; 16], 9);
        put(&mut batch, dataset, Partition(6), &[6; 16], 9);
        store.commit(batch).unwrap();
        assert_eq!(
            below(&store, dataset, day, [[4; 16], [5; 16], [6; 16]].into_iter()).unwrap(),
            [None, Some(9), None]
        );
        assert!(any(&store, dataset, day).unwrap() && !any(&store, dataset, Partition(4)).unwrap());
        let mut batch = store.batch();
        delete_partition(&mut batch, dataset, day);
        store.commit(batch).unwrap();
        assert!(!any(&store, dataset, day).unwrap() && any(&store, dataset, Partition(6)).unwrap());
    }
}
