//! What the vault stores, one file a keyspace: the layout of its keys and values, and a test that reads them back.
//!
//! Numbers in keys are big endian, so that keys sort as their numbers do; a partition's sign bit is flipped for the
//! same reason. Records that are written once a batch or less are JSON, what there is one of a row or a block is binary.

pub(crate) mod batches;
pub(crate) mod blocks;
pub(crate) mod claims;
pub(crate) mod datasets;
pub(crate) mod dirty;
pub(crate) mod expired;
pub(crate) mod files;
pub(crate) mod meta;
pub(crate) mod reliance;
pub(crate) mod retained;
pub(crate) mod rows;
pub(crate) mod sources;
pub(crate) mod tombstones;

use crate::VaultError;
use civicmesh_store::Keyspace;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Every keyspace of the vault.
pub(crate) const ALL: &[Keyspace] = &[
    meta::KEYSPACE,
    datasets::KEYSPACE,
    sources::KEYSPACE,
    files::KEYSPACE,
    batches::KEYSPACE,
    blocks::KEYSPACE,
    blocks::BODIES,
    blocks::KEYS,
    rows::KEYSPACE,
    tombstones::KEYSPACE,
    dirty::KEYSPACE,
    reliance::KEYSPACE,
    retained::KEYSPACE,
    expired::KEYSPACE,
    claims::KEYSPACE,
];

/// A dataset's number, given when its first file comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DatasetNumber(pub(crate) u32);

/// A file's number within its dataset, in the order in which files came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileNumber(pub(crate) u32);

/// A source's number within its dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceNumber(pub(crate) u32);

/// A civil day in the city's zone, as days since 1 January of the year 1: where an observation is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Partition(pub(crate) i32);

impl Partition {
    pub(crate) const BYTES: usize = 4;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        (self.0 as u32 ^ SIGN).to_be_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self((u32::from_be_bytes(bytes) ^ SIGN) as i32)
    }
}

const SIGN: u32 = 1 << 31;

impl DatasetNumber {
    /// The prefix of all keys of the dataset.
    pub(crate) fn prefix(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    /// The prefix of all keys of a partition of the dataset.
    pub(crate) fn partition_prefix(self, partition: Partition) -> [u8; 8] {
        let mut prefix = [0; 8];
        prefix[..4].copy_from_slice(&self.prefix());
        prefix[4..].copy_from_slice(&partition.to_bytes());
        prefix
    }
}

/// Takes fixed-width fields off the front of stored bytes.
pub(crate) struct Fields<'b> {
    keyspace: &'static str,
    rest: &'b [u8],
}

impl<'b> Fields<'b> {
    pub(crate) fn of(keyspace: Keyspace, bytes: &'b [u8]) -> Self {
        Self { keyspace: keyspace.name(), rest: bytes }
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], VaultError> {
        let (first, rest) = self.rest.split_first_chunk().ok_or(VaultError::Damaged(self.keyspace))?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, VaultError> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, VaultError> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, VaultError> {
        Ok(i64::from_be_bytes(self.take()?))
    }

    pub(crate) fn partition(&mut self) -> Result<Partition, VaultError> {
        Ok(Partition::from_bytes(self.take()?))
    }

    pub(crate) fn end(self) -> Result<(), VaultError> {
        if self.rest.is_empty() { Ok(()) } else { Err(VaultError::Damaged(self.keyspace)) }
    }
}

pub(crate) fn to_json(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("records hold nothing that JSON cannot")
}

pub(crate) fn from_json<R: DeserializeOwned>(keyspace: Keyspace, bytes: &[u8]) -> Result<R, VaultError> {
    serde_json::from_slice(bytes).map_err(|_| VaultError::Damaged(keyspace.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn partitions_sort_as_their_bytes(one in any::<i32>(), other in any::<i32>()) {
            let (one, other) = (Partition(one), Partition(other));
            prop_assert_eq!(one.cmp(&other), one.to_bytes().cmp(&other.to_bytes()));
            prop_assert_eq!(Partition::from_bytes(one.to_bytes()), one);
        }
    }

    #[test]
    fn keyspaces_have_names_of_their_own() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(Keyspace::name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
