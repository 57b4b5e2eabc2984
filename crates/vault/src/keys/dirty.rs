//! Partitions that changed and that the publisher has not settled since.
//!
//! ```text
//! dataset 4 · partition 4 -> sequence 8, the last that changed it
//! ```

use super::{DatasetNumber, Fields, Partition};
use crate::VaultError;
use civicmesh_store::{Batch, Direction, KeyRange, Keyspace, Read};

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("dirty");

pub(crate) fn put(batch: &mut Batch<'_>, dataset: DatasetNumber, partition: Partition, sequence: u64) {
    batch.put(KEYSPACE, dataset.partition_prefix(partition), sequence.to_be_bytes());
}

pub(crate) fn get(reader: &impl Read, dataset: DatasetNumber, partition: Partition) -> Result<Option<u64>, VaultError> {
    let value = reader.get(KEYSPACE, &dataset.partition_prefix(partition))?;
    value.map(|value| Fields::of(KEYSPACE, &value).u64()).transpose()
}

pub(crate) fn delete(batch: &mut Batch<'_>, dataset: DatasetNumber, partition: Partition) {
    batch.delete(KEYSPACE, dataset.partition_prefix(partition));
}

/// All of a dataset, earliest partition first.
pub(crate) fn all(reader: &impl Read, dataset: DatasetNumber) -> Result<Vec<(Partition, u64)>, VaultError> {
    let entries = reader.iterate(KEYSPACE, KeyRange::prefix(dataset.prefix()), Direction::Forward);
    entries
        .map(|entry| {
            let (key, value) = entry?;
            let mut fields = Fields::of(KEYSPACE, &key);
            fields.u32()?;
            let partition = fields.partition()?;
            fields.end()?;
            Ok((partition, Fields::of(KEYSPACE, &value).u64()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::store;

    #[test]
    fn it_reads_back_in_order() {
        let store = store();
        let dataset = DatasetNumber(1);
        let mut batch = store.batch();
        put(&mut batch, dataset, Partition(300), 2);
        put(&mut batch, dataset, Partition(-1), 1);
        put(&mut batch, DatasetNumber(2), Partition(0), 3);
        store.commit(batch).unwrap();
        assert_eq!(all(&store, dataset).unwrap(), [(Partition(-1), 1), (Partition(300), 2)]);
        assert_eq!(get(&store, dataset, Partition(300)).unwrap(), Some(2));
        let mut batch = store.batch();
        delete(&mut batch, dataset, Partition(-1));
        store.commit(batch).unwrap();
        assert_eq!(get(&store, dataset, Partition(-1)).unwrap(), None);
    }
}
