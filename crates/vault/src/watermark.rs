//! How far a dataset's sources have told everything.

use crate::keys::{datasets, sources};
use crate::{Vault, VaultError};
use civicmesh_model::names::DatasetName;
use civicmesh_model::time::{Span, UtcMicros};

/// Event time through which a dataset has told everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    /// The least watermark of the sources that are not idle: a window whose end, with the contract's lateness, lies
    /// at or before it is closed. [`UtcMicros::MIN`] while a source has not finished its first file.
    pub at: UtcMicros,
    /// Declared by an operator: a window that ends by then is closed whatever `at` says.
    pub completed_through: Option<UtcMicros>,
}

impl Vault {
    /// The dataset's watermark; none while nothing is known of it. A source not heard of for longer than `idle_after`
    /// holds nothing open; where all are idle, the furthest counts.
    pub fn watermark(
        &self,
        dataset: &DatasetName,
        now: UtcMicros,
        idle_after: Span,
    ) -> Result<Option<Watermark>, VaultError> {
        let snapshot = self.store.snapshot();
        let Some(set) = datasets::get(&snapshot, dataset)? else {
            return Ok(None);
        };
        let (mut least, mut furthest) = (None::<UtcMicros>, None::<UtcMicros>);
        for source in sources::all(&snapshot, set.number())? {
            let idle = source.heard_at.after(idle_after) < now;
            let holding = match source.watermark {
                Some(watermark) => Some(watermark),
                None => (source.unfinished > 0).then_some(UtcMicros::MIN),
            };
            if !idle && let Some(holding) = holding {
                least = Some(least.map_or(holding, |least| least.min(holding)));
            }
            furthest = furthest.max(source.watermark);
        }
        let completed_through = set.completed_through;
        let at = least.or(furthest);
        Ok((at.is_some() || completed_through.is_some())
            .then_some(Watermark { at: at.unwrap_or(UtcMicros::MIN), completed_through }))
    }
}
