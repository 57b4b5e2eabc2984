//! Datasets by name.
//!
//! ```text
//! dataset name -> JSON: its number, the next numbers of its files and sources, what is under way
//! ```

use super::{DatasetNumber, from_json, to_json};
use crate::{FileKey, VaultError};
use civicmesh_model::names::DatasetName;
use civicmesh_model::time::UtcMicros;
use civicmesh_store::{Batch, Direction, KeyRange, Keyspace, Read};
use serde::{Deserialize, Serialize};

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("datasets");

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DatasetRecord {
    pub(crate) number: u32,
    pub(crate) files: u32,
    pub(crate) sources: u32,
    /// Rows that retention has removed.
    pub(crate) dropped: u64,
    /// Event time through which an operator declared the dataset complete: the latest of its files'.
    pub(crate) completed_through: Option<UtcMicros>,
    /// The file that is being taken back.
    pub(crate) undoing: Option<FileKey>,
}

impl DatasetRecord {
    pub(crate) fn new(number: u32) -> Self {
        Self { number, files: 0, sources: 0, dropped: 0, completed_through: None, undoing: None }
    }

    pub(crate) fn number(&self) -> DatasetNumber {
        DatasetNumber(self.number)
    }
}

pub(crate) fn get(reader: &impl Read, name: &DatasetName) -> Result<Option<DatasetRecord>, VaultError> {
    reader.get(KEYSPACE, name.as_str().as_bytes())?.map(|value| from_json(KEYSPACE, &value)).transpose()
}

pub(crate) fn put(batch: &mut Batch<'_>, name: &DatasetName, record: &DatasetRecord) {
    batch.put(KEYSPACE, name.as_str(), to_json(record));
}

pub(crate) fn all(reader: &impl Read) -> Result<Vec<(DatasetName, DatasetRecord)>, VaultError> {
    let entries = reader.iterate(KEYSPACE, KeyRange::all(), Direction::Forward);
    entries
        .map(|entry| {
            let (key, value) = entry?;
            let name = std::str::from_utf8(&key).ok().and_then(|name| name.parse().ok());
            Ok((name.ok_or(VaultError::Damaged(KEYSPACE.name()))?, from_json(KEYSPACE, &value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::store;
    use civicmesh_model::hash::Hash32;

    #[test]
    fn it_reads_back() {
        let store = store();
        let name: DatasetName = "taxi_trips".parse().unwrap();
        assert_eq!(get(&store, &name).unwrap(), None);
        let record = DatasetRecord {
            files: 3,
            completed_through: Some(UtcMicros(5)),
            undoing: Some(FileKey(Hash32([7; 32]))),
            ..DatasetRecord::new(2)
        };
        let mut batch = store.batch();
        put(&mut batch, &name, &record);
        store.commit(batch).unwrap();
        assert_eq!(get(&store, &name).unwrap(), Some(record.clone()));
        assert_eq!(all(&store).unwrap(), [(name, record)]);
    }
}
