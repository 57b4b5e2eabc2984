//! Cells of whole segments as they were merged for an earlier question, kept for the next one of the same kind: a
//! dashboard that asks for a year by month, again and again, reads the columns of the newest segments alone.
//!
//! What is kept is told by all that it depends on: the hash of the segment, and what the question tells apart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use civicmesh_model::hash::Hash32;
use datafusion::physical_plan::PhysicalExpr;

use crate::block::Needed;
use crate::coarse::MergedCells;

/// Most kinds of questions.
const KINDS_MAX: usize = 64;
/// Most segments, of all kinds together, and most bytes of their merged cells.
const SEGMENTS_MAX: usize = 8_192;
const BYTES_MAX: usize = 32 << 20;
/// Cells are kept where there are so many fewer of them than before.
pub(crate) const FEWER_MIN: usize = 8;

/// What decides how the cells of a segment are merged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kind {
    /// Of the contract that the product's columns are named by.
    pub contract: Hash32,
    pub columns: Vec<usize>,
    pub needed: Needed,
    pub dimensions: Option<Arc<dyn PhysicalExpr>>,
    pub functions: Vec<Arc<dyn PhysicalExpr>>,
}

/// Parts of segments by kind and content.
#[derive(Default)]
pub(crate) struct Merged(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    kinds: Vec<(Kind, u64)>,
    next: u64,
    parts: BTreeMap<(u64, Hash32), Arc<MergedCells>>,
    bytes: usize,
}

impl Merged {
    /// The number of a kind.
    pub(crate) fn kind(&self, kind: Kind) -> u64 {
        let mut kept = self.locked();
        if let Some(at) = kept.kinds.iter().position(|(known, _)| *known == kind) {
            // the one that was asked for last stands last
            let known = kept.kinds.remove(at);
            let number = known.1;
            kept.kinds.push(known);
            return number;
        }
        while kept.kinds.len() >= KINDS_MAX {
            kept.drop_oldest();
        }
        let number = kept.next;
        kept.next += 1;
        kept.kinds.push((kind, number));
        number
    }

    pub(crate) fn part(&self, kind: u64, content: Hash32) -> Option<Arc<MergedCells>> {
        self.locked().parts.get(&(kind, content)).cloned()
    }

    /// Keeps a part; what was kept for the kinds that were asked for longest ago makes room.
    pub(crate) fn keep(&self, kind: u64, content: Hash32, part: Arc<MergedCells>) {
        let mut kept = self.locked();
        let bytes = part.bytes();
        while kept.kinds.len() > 1 && (kept.parts.len() >= SEGMENTS_MAX || kept.bytes + bytes > BYTES_MAX) {
            kept.drop_oldest();
        }
        let fits = kept.parts.len() < SEGMENTS_MAX && kept.bytes + bytes <= BYTES_MAX;
        // its kind may have made room for another
        if fits
            && kept.kinds.iter().any(|(_, number)| *number == kind)
            && kept.parts.insert((kind, content), part).is_none()
        {
            kept.bytes += bytes;
        }
    }

    fn locked(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> (usize, usize) {
        let kept = self.locked();
        (kept.kinds.len(), kept.parts.len())
    }
}

impl Kept {
    fn drop_oldest(&mut self) {
        let (_, number) = self.kinds.remove(0);
        self.parts.retain(|(kind, _), _| *kind != number);
        self.bytes = self.parts.values().map(|part| part.bytes()).sum();
    }
}
