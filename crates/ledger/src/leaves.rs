//! The leaves of a log: stored, or reckoned from the segment that holds their releases.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Range;

use civicmesh_model::log::Frontier;
use civicmesh_model::names::ProductId;
use civicmesh_model::time::UtcMicros;
use civicmesh_store::{Direction, Read, Snapshot};

use crate::bodies::{open, segments_between};
use crate::error::LedgerError;
use crate::keys::frontier::{self, CHECKPOINT_ENTRIES};
use crate::keys::leaf::{self, Leaf};
use crate::segment::{Header, HeldLeaves, Segment};

const MISSING: LedgerError = LedgerError::Damaged("a leaf is missing");

/// Reads the leaves of a product's log.
pub(crate) struct Leaves<'s> {
    moment: &'s Snapshot<'s>,
    product: ProductId,
    /// The segments that leaves are reckoned from.
    holding: OnceCell<Vec<(HeldLeaves, UtcMicros, Header)>>,
}

impl<'s> Leaves<'s> {
    pub(crate) fn new(moment: &'s Snapshot<'s>, product: &ProductId) -> Self {
        Self { moment, product: product.clone(), holding: OnceCell::new() }
    }

    /// A leaf that is stored.
    pub(crate) fn stored(&self, index: u64) -> Result<Option<Leaf>, LedgerError> {
        let stored = self.moment.get(leaf::KEYSPACE, &leaf::key(&self.product, index))?;
        stored.map(|stored| Leaf::from_bytes(&stored)).transpose()
    }

    /// The segment that the leaf of a release is reckoned from.
    pub(crate) fn holding(&self, index: u64) -> Result<Option<Segment<'s>>, LedgerError> {
        self.segments(index..index + 1)?.next().transpose()
    }

    /// Through when the log is closed up to and with an entry.
    pub(crate) fn closed_through(&self, index: u64) -> Result<UtcMicros, LedgerError> {
        if let Some(leaf) = self.stored(index)? {
            return Ok(leaf.closed_through);
        }
        let segment = self.holding(index)?.ok_or(MISSING)?;
        let row = segment.released().find(|row| row.index == index);
        row.map(|row| row.closed_through).ok_or(MISSING)
    }

    /// The frontier of the log's first `size` entries.
    pub(crate) fn frontier_at(&self, size: u64) -> Result<Frontier, LedgerError> {
        let checkpoint = size - size % CHECKPOINT_ENTRIES;
        let mut frontier = match checkpoint {
            0 => Frontier::new(),
            _ => {
                let stored = self.moment.get(frontier::KEYSPACE, &frontier::key(&self.product, checkpoint))?;
                frontier::from_bytes(&stored.ok_or(LedgerError::Damaged("a checkpoint is missing"))?)?
            }
        };
        let leaves = self.between(checkpoint..size)?;
        if leaves.len() as u64 != size - checkpoint {
            return Err(MISSING);
        }
        leaves.into_values().for_each(|leaf| frontier.append(leaf.hash));
        Ok(frontier)
    }

    fn between(&self, indexes: Range<u64>) -> Result<BTreeMap<u64, Leaf>, LedgerError> {
        let stored = leaf::range(&self.product, indexes.start, indexes.end);
        let stored = self.moment.iterate(leaf::KEYSPACE, stored, Direction::Forward).map(|stored| {
            let (key, value) = stored?;
            Ok((leaf::index(&key)?, Leaf::from_bytes(&value)?))
        });
        let mut leaves = stored.collect::<Result<BTreeMap<_, _>, LedgerError>>()?;
        let mut segments = self.segments(indexes.clone())?;
        while (leaves.len() as u64) < indexes.end - indexes.start
            && let Some(segment) = segments.next().transpose()?
        {
            let reckoned = segment.leaves(&segment.releases()?)?;
            leaves.extend(reckoned.into_iter().filter(|(index, _)| indexes.contains(index)));
        }
        Ok(leaves)
    }

    /// The segments with a release at one of these indexes.
    fn segments(
        &self,
        indexes: Range<u64>,
    ) -> Result<impl Iterator<Item = Result<Segment<'s>, LedgerError>>, LedgerError> {
        if self.holding.get().is_none() {
            let all = segments_between(self.moment, &self.product, UtcMicros(i64::MIN), UtcMicros(i64::MAX))?;
            let holding = all.into_iter().filter_map(|(start, header)| Some((header.leaves?, start, header)));
            let _ = self.holding.set(holding.collect());
        }
        let holding = self.holding.get().into_iter().flatten();
        Ok(holding.filter_map(move |(held, start, header)| {
            let may = held.first < indexes.end && indexes.start <= held.last;
            let opened = may.then(|| open(self.moment, None, &self.product, *start, header.clone()))?;
            let holds = |segment: &Segment<'_>| segment.released().any(|row| indexes.contains(&row.index));
            opened.map_or_else(|error| Some(Err(error)), |segment| holds(&segment).then_some(Ok(segment)))
        }))
    }
}
