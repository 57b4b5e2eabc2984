//! Sources of a dataset.
//!
//! ```text
//! dataset 4 · source name -> JSON: its number, watermark and when it was last heard of
//! ```

use super::{DatasetNumber, from_json, to_json};
use crate::VaultError;
use civicmesh_model::names::SourceName;
use civicmesh_model::time::UtcMicros;
use civicmesh_store::{Batch, Direction, KeyRange, Keyspace, Read};
use serde::{Deserialize, Serialize};

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("sources");

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceRecord {
    pub(crate) number: u32,
    /// Event time through which its finished files have told everything.
    pub(crate) watermark: Option<UtcMicros>,
    /// Files begun and not finished.
    pub(crate) unfinished: u32,
    pub(crate) heard_at: UtcMicros,
}

fn key(dataset: DatasetNumber, name: &SourceName) -> Vec<u8> {
    [&dataset.prefix(), name.as_str().as_bytes()].concat()
}

pub(crate) fn get(
    reader: &impl Read,
    dataset: DatasetNumber,
    name: &SourceName,
) -> Result<Option<SourceRecord>, VaultError> {
    reader.get(KEYSPACE, &key(dataset, name))?.map(|value| from_json(KEYSPACE, &value)).transpose()
}

pub(crate) fn put(batch: &mut Batch<'_>, dataset: DatasetNumber, name: &SourceName, record: &SourceRecord) {
    batch.put(KEYSPACE, key(dataset, name), to_json(record));
}

pub(crate) fn all(reader: &impl Read, dataset: DatasetNumber) -> Result<Vec<SourceRecord>, VaultError> {
    let named = named(reader, dataset)?;
    Ok(named.into_iter().map(|(_, record)| record).collect())
}

/// The sources of a dataset by name.
pub(crate) fn named(reader: &impl Read, dataset: DatasetNumber) -> Result<Vec<(SourceName, SourceRecord)>, VaultError> {
    let prefix = dataset.prefix();
    let entries = reader.iterate(KEYSPACE, KeyRange::prefix(prefix), Direction::Forward);
    entries
        .map(|entry| {
            let (key, value) = entry?;
            let name = std::str::from_utf8(&key[prefix.len()..]).ok();
            let name = name.and_then(|name| name.parse().ok());
            let name = name.ok_or(VaultError::Damaged(KEYSPACE.name()))?;
            Ok((name, from_json(KEYSPACE, &value)?))
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
        let name: SourceName = "garage.north-1".parse().unwrap();
        let record = SourceRecord { number: 1, watermark: Some(UtcMicros(-5)), unfinished: 2, heard_at: UtcMicros(9) };
        let mut batch = store.batch();
        put(&mut batch, DatasetNumber(1), &name, &record);
        store.commit(batch).unwrap();
        assert_eq!(get(&store, DatasetNumber(1), &name).unwrap(), Some(record.clone()));
        assert_eq!(all(&store, DatasetNumber(1)).unwrap(), std::slice::from_ref(&record));
        assert_eq!(named(&store, DatasetNumber(1)).unwrap(), [(name, record)]);
        assert_eq!(all(&store, DatasetNumber(0)).unwrap(), []);
    }
}
