//! Partitions whose raw observations retention has removed: a row that still comes for one is counted, not kept.
//!
//! ```text
//! dataset 4 · partition 4 -> (nothing)
//! ```

use super::{DatasetNumber, Partition};
use crate::VaultError;
use civicmesh_store::{Batch, Direction, KeyRange, Keyspace, Read};

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("expired");

pub(crate) fn put(batch: &mut Batch<'_>, dataset: DatasetNumber, partition: Partition) {
    batch.put(KEYSPACE, dataset.partition_prefix(partition), []);
}

pub(crate) fn contains(reader: &impl Read, dataset: DatasetNumber, partition: Partition) -> Result<bool, VaultError> {
    Ok(reader.get(KEYSPACE, &dataset.partition_prefix(partition))?.is_some())
}

/// Whether any partition from `first` to `last` is expired.
pub(crate) fn any(
    reader: &impl Read,
    dataset: DatasetNumber,
    first: Partition,
    last: Partition,
) -> Result<bool, VaultError> {
    let after_last = Partition(last.0.saturating_add(1));
    let range = KeyRange::between(dataset.partition_prefix(first), dataset.partition_prefix(after_last));
    Ok(reader.iterate(KEYSPACE, range, Direction::Forward).next().transpose()?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::store;

    #[test]
    fn it_reads_back() {
        let store = store();
        let dataset = DatasetNumber(1);
        let mut batch = store.batch();
        put(&mut batch, dataset, Partition(3));
        store.commit(batch).unwrap();
        assert!(contains(&store, dataset, Partition(3)).unwrap());
        assert!(!contains(&store, dataset, Partition(4)).unwrap());
        let between = |first, last| any(&store, dataset, Partition(first), Partition(last)).unwrap();
        assert_eq!([between(-5, 2), between(-5, 3), between(3, 3), between(4, 9)], [false, true, true, false]);
    }
}
