//! Which rows of a batch are new, which were seen before, and which correct one that was.

use crate::VaultError;
use crate::keys::rows::{self, RowKey, Version};
use crate::keys::{DatasetNumber, FileNumber};
use civicmesh_observation::{CONTENT_BYTES, HASH_BYTES, Observations};
use civicmesh_store::Read;
use std::collections::BTreeSet;

/// What is to be done with a batch's rows.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// Rows to store, in the batch's order.
    pub(crate) kept: Vec<u32>,
    /// The same rows in the order of their keys; empty where rows have none.
    pub(crate) by_key: Vec<u32>,
    /// Rows that replace a stored version: the row, its key, that version.
    pub(crate) corrections: Vec<(u32, RowKey, Version)>,
    /// Files that hold a version that a row here repeats or replaces.
    pub(crate) relied_on: BTreeSet<FileNumber>,
    pub(crate) accepted: u64,
    pub(crate) duplicate: u64,
    pub(crate) corrected: u64,
}

/// Compares the rows `live` of a batch with what is stored, and with each other. Where a key comes more than once the
/// last row that says something new stands.
pub(crate) fn resolve(
    reader: &impl Read,
    dataset: DatasetNumber,
    observations: &Observations,
    live: Vec<u32>,
) -> Result<Resolved, VaultError> {
    let (Some(keys), Some(contents)) = (observations.keys(), observations.contents()) else {
        return Ok(Resolved { accepted: live.len() as u64, kept: live, ..Resolved::default() });
    };
    let keys = keys.value_data().as_chunks::<HASH_BYTES>().0;
    let contents = contents.value_data().as_chunks::<CONTENT_BYTES>().0;
    // As numbers, keys sort much faster than as bytes, and in the same order.
    let mut order: Vec<(u128, u32)> =
        live.into_iter().map(|row| (u128::from_be_bytes(keys[row as usize]), row)).collect();
    order.sort_unstable();
    let groups = || order.chunk_by(|one, next| one.0 == next.0);
    let mut firsts = Vec::with_capacity(order.len());
    firsts.extend(groups().map(|group| keys[group[0].1 as usize]));
    let stored = rows::newest(reader, dataset, firsts.into_iter())?;
    let mut resolved = Resolved::default();
    for (group, before) in groups().zip(stored) {
        resolved.settle(group, before, contents, &keys[group[0].1 as usize]);
    }
    resolved.kept = resolved.by_key.clone();
    resolved.kept.sort_unstable();
    Ok(resolved)
}

impl Resolved {
    /// The rows of one key, in the batch's order.
    fn settle(
        &mut self,
        group: &[(u128, u32)],
        before: Option<Version>,
        contents: &[[u8; CONTENT_BYTES]],
        key: &RowKey,
    ) {
        let mut current = before.map(|version| version.content);
        let mut last = None;
        for (_, row) in group {
            let content = contents[*row as usize];
            match current {
                None => self.accepted += 1,
                Some(known) if known == content => {
                    self.duplicate += 1;
                    continue;
                }
                Some(_) => self.corrected += 1,
            }
            current = Some(content);
            last = Some(*row);
        }
        self.relied_on.extend(before.map(|version| version.file));
        if let Some(row) = last {
            self.by_key.push(row);
            self.corrections.extend(before.map(|version| (row, *key, version)));
        }
    }
}
