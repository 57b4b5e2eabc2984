//! Files of a dataset, by the hash of their bytes.
//!
//! ```text
//! dataset 4 · sha-256 32 -> JSON: how far the file was taken in, what became of its rows, what it closed
//! ```

use super::{DatasetNumber, FileNumber, from_json, to_json};
use crate::{FileKey, FileTotals, VaultError};
use civicmesh_model::hash::Hash32;
use civicmesh_model::names::SourceName;
use civicmesh_model::time::UtcMicros;
use civicmesh_store::{Batch, Direction, KeyRange, Keyspace, Read};
use serde::{Deserialize, Serialize};

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("files");

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileRecord {
    pub(crate) number: u32,
    pub(crate) source: SourceName,
    /// What its sender calls it.
    pub(crate) name: String,
    pub(crate) begun_at: UtcMicros,
    pub(crate) finished: bool,
    pub(crate) totals: FileTotals,
    /// Event time through which it tells everything: set when it is finished, if it holds a row.
    pub(crate) through: Option<UtcMicros>,
    /// Event time through which an operator declared the dataset complete with this file.
    pub(crate) completed_through: Option<UtcMicros>,
    /// Hash of the contract under which its last rows were taken in.
    pub(crate) contract: Option<Hash32>,
}

impl FileRecord {
    pub(crate) fn number(&self) -> FileNumber {
        FileNumber(self.number)
    }
}

fn key(dataset: DatasetNumber, file: FileKey) -> [u8; 36] {
    let mut key = [0; 36];
    key[..4].copy_from_slice(&dataset.prefix());
    key[4..].copy_from_slice(&file.0.0);
    key
}

pub(crate) fn get(reader: &impl Read, dataset: DatasetNumber, file: FileKey) -> Result<Option<FileRecord>, VaultError> {
    reader.get(KEYSPACE, &key(dataset, file))?.map(|value| from_json(KEYSPACE, &value)).transpose()
}

pub(crate) fn put(batch: &mut Batch<'_>, dataset: DatasetNumber, file: FileKey, record: &FileRecord) {
    batch.put(KEYSPACE, key(dataset, file), to_json(record));
}

pub(crate) fn delete(batch: &mut Batch<'_>, dataset: DatasetNumber, file: FileKey) {
    batch.delete(KEYSPACE, key(dataset, file));
}

/// All files of a dataset, in the order in which they came.
pub(crate) fn all(reader: &impl Read, dataset: DatasetNumber) -> Result<Vec<(FileKey, FileRecord)>, VaultError> {
    let entries = reader.iterate(KEYSPACE, KeyRange::prefix(dataset.prefix()), Direction::Forward);
    let mut files = Vec::new();
    for entry in entries {
        let (key, value) = entry?;
        let hash = key.last_chunk().ok_or(VaultError::Damaged(KEYSPACE.name()))?;
        files.push((FileKey(Hash32(*hash)), from_json::<FileRecord>(KEYSPACE, &value)?));
    }
    files.sort_by_key(|(_, record)| record.number);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::store;

    #[test]
    fn it_reads_back_in_the_order_of_arrival() {
        let store = store();
        let record = |number| FileRecord {
            number,
            source: "trips".parse().unwrap(),
            name: "january.csv".into(),
            begun_at: UtcMicros(1),
            finished: number == 0,
            totals: FileTotals { rows: 5, accepted: 3, newest: Some(UtcMicros(4)), ..FileTotals::default() },
            through: Some(UtcMicros(4)),
            completed_through: None,
            contract: Some(Hash32([1; 32])),
        };
        let mut batch = store.batch();
        put(&mut batch, DatasetNumber(0), FileKey(Hash32([9; 32])), &record(0));
        put(&mut batch, DatasetNumber(0), FileKey(Hash32([3; 32])), &record(1));
        put(&mut batch, DatasetNumber(1), FileKey(Hash32([3; 32])), &record(0));
        store.commit(batch).unwrap();
        let expected = [(FileKey(Hash32([9; 32])), record(0)), (FileKey(Hash32([3; 32])), record(1))];
        assert_eq!(all(&store, DatasetNumber(0)).unwrap(), expected);
        assert_eq!(get(&store, DatasetNumber(0), FileKey(Hash32([3; 32]))).unwrap(), Some(record(1)));
        let mut batch = store.batch();
        delete(&mut batch, DatasetNumber(0), FileKey(Hash32([3; 32])));
        store.commit(batch).unwrap();
        assert_eq!(all(&store, DatasetNumber(0)).unwrap().len(), 1);
    }
}
