//! Which file builds on which: it repeats or corrects rows of it. A file that others build on cannot be taken back
//! before they are.
//!
//! ```text
//! dataset 4 · file 4 · later file 4 -> (nothing)
//! ```

use super::{DatasetNumber, Fields, FileNumber};
use crate::VaultError;
use civicmesh_store::{Batch, Direction, KeyRange, Keyspace, Read};

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("reliance");

fn key(dataset: DatasetNumber, on: FileNumber, later: FileNumber) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&dataset.prefix());
    key[4..8].copy_from_slice(&on.0.to_be_bytes());
    key[8..].copy_from_slice(&later.0.to_be_bytes());
    key
}

pub(crate) fn put(batch: &mut Batch<'_>, dataset: DatasetNumber, on: FileNumber, later: FileNumber) {
    batch.put(KEYSPACE, key(dataset, on, later), []);
}

pub(crate) fn delete(batch: &mut Batch<'_>, dataset: DatasetNumber, on: FileNumber, later: FileNumber) {
    batch.delete(KEYSPACE, key(dataset, on, later));
}

/// All of a dataset: a file, and a later one that builds on it.
pub(crate) fn all(reader: &impl Read, dataset: DatasetNumber) -> Result<Vec<(FileNumber, FileNumber)>, VaultError> {
    let entries = reader.iterate(KEYSPACE, KeyRange::prefix(dataset.prefix()), Direction::Forward);
    entries
        .map(|entry| {
            let (key, _) = entry?;
            let mut fields = Fields::of(KEYSPACE, &key);
            fields.u32()?;
            let pair = (FileNumber(fields.u32()?), FileNumber(fields.u32()?));
            fields.end()?;
            Ok(pair)
        })
        .collect()
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
        for later in [4, 300] {
            put(&mut batch, dataset, FileNumber(2), FileNumber(later));
        }
        put(&mut batch, DatasetNumber(2), FileNumber(2), FileNumber(3));
        delete(&mut batch, dataset, FileNumber(2), FileNumber(4));
        store.commit(batch).unwrap();
        assert_eq!(all(&store, dataset).unwrap(), [(FileNumber(2), FileNumber(300))]);
    }
}
