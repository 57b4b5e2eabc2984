//! Blocks: the observations of one batch that lie in one partition.
//!
//! ```text
//! blocks  dataset 4 · partition 4 · sequence 8 -> file 4 · source 4 · rows 4 · oldest 8 · newest 8 · arrived 8
//! bodies  the same key                         -> the encoded observations, without their keys
//! keys    the same key                         -> row key 16, once a row; only where the dataset has a key
//! ```
//! What says whether a block is wanted is small and apart, so that a pass over a long partition reads only the bodies
//! it needs; row keys are incompressible and needed by corrections, undo and retention alone.

use super::{DatasetNumber, Fields, FileNumber, Partition, SourceNumber, rows::RowKey};
use crate::VaultError;
use civicmesh_model::time::UtcMicros;
use civicmesh_observation::{HASH_BYTES, Observations};
use civicmesh_store::{Batch, Direction, KeyRange, Keyspace, Read, Value};

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("blocks");
pub(crate) const BODIES: Keyspace = Keyspace::new("bodies").with_blobs();
pub(crate) const KEYS: Keyspace = Keyspace::new("keys").with_blobs();

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockKey {
    pub(crate) dataset: DatasetNumber,
    pub(crate) partition: Partition,
    pub(crate) sequence: u64,
}

/// What a block holds. Times are event times, but for `arrived`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) file: FileNumber,
    pub(crate) source: SourceNumber,
    pub(crate) rows: u32,
    pub(crate) oldest: UtcMicros,
    pub(crate) newest: UtcMicros,
    pub(crate) arrived: UtcMicros,
}

impl BlockKey {
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.dataset.partition_prefix(self.partition));
        bytes[8..].copy_from_slice(&self.sequence.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, VaultError> {
        let mut fields = Fields::of(KEYSPACE, bytes);
        let dataset = DatasetNumber(fields.u32()?);
        let key = Self { dataset, partition: fields.partition()?, sequence: fields.u64()? };
        fields.end()?;
        Ok(key)
    }
}

impl Block {
    fn to_bytes(self) -> [u8; 36] {
        let mut bytes = [0; 36];
        bytes[..4].copy_from_slice(&self.file.0.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.source.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.rows.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.oldest.0.to_be_bytes());
        bytes[20..28].copy_from_slice(&self.newest.0.to_be_bytes());
        bytes[28..].copy_from_slice(&self.arrived.0.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, VaultError> {
        let mut fields = Fields::of(KEYSPACE, bytes);
        let block = Self {
            file: FileNumber(fields.u32()?),
            source: SourceNumber(fields.u32()?),
            rows: fields.u32()?,
            oldest: UtcMicros(fields.i64()?),
            newest: UtcMicros(fields.i64()?),
            arrived: UtcMicros(fields.i64()?),
        };
        fields.end()?;
        Ok(block)
    }
}

pub(crate) fn put(batch: &mut Batch<'_>, key: BlockKey, block: Block, body: &[u8], keys: Option<&[u8]>) {
    let key = key.to_bytes();
    batch.put(KEYSPACE, key, block.to_bytes());
    batch.put(BODIES, key, body);
    if let Some(keys) = keys {
        batch.put(KEYS, key, keys);
    }
}

pub(crate) fn delete(batch: &mut Batch<'_>, key: BlockKey) {
    let key = key.to_bytes();
    for keyspace in [KEYSPACE, BODIES, KEYS] {
        batch.delete(keyspace, key);
    }
}

pub(crate) fn get(reader: &impl Read, key: BlockKey) -> Result<Option<Block>, VaultError> {
    reader.get(KEYSPACE, &key.to_bytes())?.map(|value| Block::from_bytes(&value)).transpose()
}

/// The observations of a block.
pub(crate) fn body(reader: &impl Read, key: BlockKey) -> Result<Observations, VaultError> {
    let value = reader.get(BODIES, &key.to_bytes())?.ok_or(VaultError::Damaged(BODIES.name()))?;
    Ok(Observations::decode(&value)?)
}

/// The row keys of a block, in the order of its rows; none where the dataset had no key.
pub(crate) fn row_keys(reader: &impl Read, key: BlockKey) -> Result<Option<RowKeys<'_>>, VaultError> {
    let value = reader.get(KEYS, &key.to_bytes())?;
    match value {
        Some(value) if value.len() % HASH_BYTES != 0 => Err(VaultError::Damaged(KEYS.name())),
        value => Ok(value.map(RowKeys)),
    }
}

/// Row keys as stored.
pub(crate) struct RowKeys<'r>(Value<'r>);

impl RowKeys<'_> {
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = RowKey> {
        self.0.chunks_exact(HASH_BYTES).map(|key| key.try_into().expect("chunks are of that length"))
    }
}

/// The blocks of partitions `first` to `last`, partition by partition, in the order in which they were stored.
pub(crate) fn between<R: Read>(
    reader: &R,
    dataset: DatasetNumber,
    first: Partition,
    last: Partition,
) -> impl Iterator<Item = Result<(BlockKey, Block), VaultError>> + use<'_, R> {
    let after_last = Partition(last.0.saturating_add(1));
    let range = KeyRange::between(dataset.partition_prefix(first), dataset.partition_prefix(after_last));
    reader.iterate(KEYSPACE, range, Direction::Forward).map(read)
}

/// All blocks of a dataset.
pub(crate) fn all<R: Read>(
    reader: &R,
    dataset: DatasetNumber,
) -> impl Iterator<Item = Result<(BlockKey, Block), VaultError>> + use<'_, R> {
    reader.iterate(KEYSPACE, KeyRange::prefix(dataset.prefix()), Direction::Forward).map(read)
}

type Entry = Result<(Box<[u8]>, Box<[u8]>), civicmesh_store::StoreError>;

fn read(entry: Entry) -> Result<(BlockKey, Block), VaultError> {
    let (key, value) = entry?;
    Ok((BlockKey::from_bytes(&key)?, Block::from_bytes(&value)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::store;

    fn key(partition: i32, sequence: u64) -> BlockKey {
        BlockKey { dataset: DatasetNumber(1), partition: Partition(partition), sequence }
    }

    const BLOCK: Block = Block {
        file: FileNumber(2),
        source: SourceNumber(3),
        rows: 2,
        oldest: UtcMicros(-4),
        newest: UtcMicros(5),
        arrived: UtcMicros(6),
    };

    #[test]
    fn it_reads_back_by_partition_and_sequence() {
        let store = store();
        let mut batch = store.batch();
        for (partition, sequence) in [(2, 9), (2, 300), (1, 400), (4, 1)] {
            put(&mut batch, key(partition, sequence), BLOCK, b"", Some(&[7; 32]));
        }
        put(&mut batch, BlockKey { dataset: DatasetNumber(2), ..key(1, 1) }, BLOCK, b"", None);
        store.commit(batch).unwrap();
        let found: Vec<_> = between(&store, DatasetNumber(1), Partition(1), Partition(3)).map(Result::unwrap).collect();
        assert_eq!(found, [(key(1, 400), BLOCK), (key(2, 9), BLOCK), (key(2, 300), BLOCK)]);
        assert_eq!(all(&store, DatasetNumber(1)).count(), 4);
        let keys = row_keys(&store, key(4, 1)).unwrap().unwrap();
        assert_eq!(keys.iter().collect::<Vec<_>>(), [[7; 16]; 2]);
        let mut batch = store.batch();
        delete(&mut batch, key(2, 9));
        store.commit(batch).unwrap();
        assert_eq!(get(&store, key(2, 9)).unwrap(), None);
        assert_eq!(get(&store, key(2, 300)).unwrap(), Some(BLOCK));
        assert!(row_keys(&store, key(2, 9)).unwrap().is_none());
    }
}
