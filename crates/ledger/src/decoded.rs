//! Columns of segments as questions decoded them, kept for the questions that come after: a hundred clients that each ask
//! for a day read the same segment a hundred times.
//!
//! What is kept is told from what stands in its place later by the hash of all its columns, so a question never sees
//! another moment than its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use civicmesh_model::hash::Hash32;
use civicmesh_model::names::ProductId;
use civicmesh_model::time::UtcMicros;

use crate::ledger::locked;
use crate::segment::{Columns, Header};

/// Most bytes of decoded columns; what was used longest ago goes first.
const BYTES_MAX: usize = 64 << 20;
/// Most segments.
const SEGMENTS_MAX: usize = 1_024;
/// A question that reads more segments of a product than this reads past what is kept, and keeps nothing: it would push
/// out what others come back for.
pub(crate) const SEGMENTS_OF_A_SCAN_MAX: usize = 16;

/// What is kept.
#[derive(Debug, Default)]
pub(crate) struct Decoded(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    segments: BTreeMap<(ProductId, UtcMicros), Slot>,
    turn: u64,
    /// Bytes of all columns that were decoded, those in use after they went included.
    bytes: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Slot {
    content: Hash32,
    columns: Arc<Columns>,
    used: u64,
}

impl Decoded {
    /// The columns of a segment, as far as they are decoded.
    pub(crate) fn columns(&self, product: &ProductId, start: UtcMicros, header: &Header) -> Arc<Columns> {
        // one of a version that did not say what it holds
        let Some(content) = header.content else { return Arc::default() };
        let mut kept = locked(&self.0);
        kept.turn += 1;
        kept.make_room();
        let Kept { segments, turn, bytes } = &mut *kept;
        let slot = || Slot { content, columns: Arc::new(Columns::counted(bytes.clone())), used: *turn };
        let slot = match segments.entry((product.clone(), start)) {
            std::collections::btree_map::Entry::Vacant(vacant) => vacant.insert(slot()),
            std::collections::btree_map::Entry::Occupied(occupied) => {
                let known = occupied.into_mut();
                if known.content != content {
                    *known = slot();
                }
                known
            }
        };
        slot.used = *turn;
        slot.columns.clone()
    }

    /// Forgets a product.
    pub(crate) fn forget(&self, product: &ProductId) {
        locked(&self.0).segments.retain(|(of, _), _| of != product);
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> (usize, usize) {
        let kept = locked(&self.0);
        (kept.segments.len(), kept.bytes.load(Ordering::Relaxed))
    }
}

impl Kept {
    fn make_room(&mut self) {
        let mut bytes = self.bytes.load(Ordering::Relaxed);
        while bytes > BYTES_MAX || self.segments.len() >= SEGMENTS_MAX {
            let oldest = self.segments.iter().min_by_key(|(_, slot)| slot.used).map(|(of, _)| of.clone());
            let Some(slot) = oldest.and_then(|oldest| self.segments.remove(&oldest)) else { return };
            bytes = bytes.saturating_sub(slot.columns.bytes());
        }
    }
}
