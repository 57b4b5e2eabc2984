//! Which rows of a block a correction has replaced.

use crate::VaultError;
use crate::keys::blocks::{self, BlockKey};
use crate::keys::{Partition, tombstones};
use arrow::array::BooleanArray;
use civicmesh_store::Read;

/// Finds superseded rows, block by block in the order of partitions. Most partitions have none, which is asked once.
#[derive(Debug, Default)]
pub(crate) struct Superseded {
    asked: Option<(Partition, bool)>,
}

impl Superseded {
    /// Marks the rows of a block that a later version replaced; none where there is no such row.
    pub(crate) fn rows(&mut self, reader: &impl Read, block: BlockKey) -> Result<Option<BooleanArray>, VaultError> {
        let any = match self.asked {
            Some((partition, any)) if partition == block.partition => any,
            _ => tombstones::any(reader, block.dataset, block.partition)?,
        };
        self.asked = Some((block.partition, any));
        if !any {
            return Ok(None);
        }
        let Some(keys) = blocks::row_keys(reader, block)? else {
            return Ok(None);
        };
        let below = tombstones::below(reader, block.dataset, block.partition, keys.iter())?;
        let marks = below.into_iter().map(|below| Some(below.is_some_and(|below| block.sequence < below)));
        Ok(Some(marks.collect()))
    }
}
