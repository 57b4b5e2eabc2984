//! Which product was last released from a dataset.
//!
//! ```text
//! dataset name -> the product's full name
//! ```

use crate::VaultError;
use civicmesh_model::names::{DatasetName, ProductId};
use civicmesh_store::{Batch, Keyspace, Read};

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("claims");

pub(crate) fn get(reader: &impl Read, dataset: &DatasetName) -> Result<Option<ProductId>, VaultError> {
    let Some(value) = reader.get(KEYSPACE, dataset.as_str().as_bytes())? else { return Ok(None) };
    let product = std::str::from_utf8(&value).ok().and_then(|name| name.parse().ok());
    Ok(Some(product.ok_or(VaultError::Damaged(KEYSPACE.name()))?))
}

pub(crate) fn put(batch: &mut Batch<'_>, dataset: &DatasetName, product: &ProductId) {
    batch.put(KEYSPACE, dataset.as_str(), product.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::store;

    #[test]
    fn it_reads_back() {
        let store = store();
        let dataset: DatasetName = "taxi_trips".parse().unwrap();
        assert_eq!(get(&store, &dataset).unwrap(), None);
        let mut batch = store.batch();
        put(&mut batch, &dataset, &"traffic.taxi".parse().unwrap());
        store.commit(batch).unwrap();
        assert_eq!(get(&store, &dataset).unwrap(), Some("traffic.taxi".parse().unwrap()));
    }
}
