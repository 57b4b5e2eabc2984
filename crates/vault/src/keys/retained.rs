//! How long the raw observations of each dataset are kept, as its contract last said: a contract's file may go, and
//! the promise that was made in it does not.
//!
//! ```text
//! dataset name -> microseconds 8
//! ```

use super::Fields;
use crate::VaultError;
use civicmesh_model::names::DatasetName;
use civicmesh_model::time::Span;
use civicmesh_store::{Batch, Direction, KeyRange, Keyspace, Read};

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("retained");

fn from_bytes(value: &[u8]) -> Result<Span, VaultError> {
    let mut fields = Fields::of(KEYSPACE, value);
    let span = Span::from_micros(fields.i64()?);
    fields.end()?;
    Ok(span)
}

pub(crate) fn get(reader: &impl Read, name: &DatasetName) -> Result<Option<Span>, VaultError> {
    reader.get(KEYSPACE, name.as_str().as_bytes())?.map(|value| from_bytes(&value)).transpose()
}

pub(crate) fn put(batch: &mut Batch<'_>, name: &DatasetName, span: Span) {
    batch.put(KEYSPACE, name.as_str(), span.micros().to_be_bytes());
}

pub(crate) fn all(reader: &impl Read) -> Result<Vec<(DatasetName, Span)>, VaultError> {
    let entries = reader.iterate(KEYSPACE, KeyRange::all(), Direction::Forward);
    entries
        .map(|entry| {
            let (key, value) = entry?;
            let name = std::str::from_utf8(&key).ok().and_then(|name| name.parse().ok());
            Ok((name.ok_or(VaultError::Damaged(KEYSPACE.name()))?, from_bytes(&value)?))
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
        let name: DatasetName = "taxi_trips".parse().unwrap();
        assert_eq!(get(&store, &name).unwrap(), None);
        let mut batch = store.batch();
        put(&mut batch, &name, Span::DAY);
        store.commit(batch).unwrap();
        assert_eq!(get(&store, &name).unwrap(), Some(Span::DAY));
        assert_eq!(all(&store).unwrap(), [(name, Span::DAY)]);
    }
}
