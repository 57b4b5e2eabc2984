//! Closing windows: one pass over the partitions for all windows and products that are due.

use crate::keys::blocks::{self, Block};
use crate::keys::{SourceNumber, datasets, expired, meta};
use crate::superseded::Superseded;
use crate::{Vault, VaultError};
use arrow::array::BooleanArray;
use civicmesh_disclosure::{Accumulator, Limits, Rollup};
use civicmesh_model::contract::Contract;
use civicmesh_model::grain::Window;
use civicmesh_model::names::DatasetName;
use civicmesh_model::time::UtcMicros;
use civicmesh_observation::Observations;
use civicmesh_store::Snapshot;

/// Windows of one product that are to be closed.
#[derive(Debug, Clone)]
pub struct Due<'a> {
    /// The product's contract.
    pub contract: &'a Contract,
    /// The windows, sorted and disjoint. Working memory grows with their number times the cells in each, so a caller
    /// closes a long history in parts.
    pub windows: Vec<Window>,
}

/// What was closed.
#[derive(Debug)]
pub struct Closing {
    /// Every change up to this sequence is counted, and none after it.
    pub sequence: u64,
    /// For each [`Due`], its windows in order.
    pub windows: Vec<Vec<Closed>>,
}

/// One closed window.
#[derive(Debug)]
pub struct Closed {
    /// What was observed in it: still secret.
    pub rollup: Rollup,
    /// How many sources it comes from.
    pub sources: u32,
}

impl Vault {
    /// Closes the windows that are due, over one moment of the vault: others may go on appending. Windows without a
    /// row come back empty.
    pub fn close(&self, dataset: &DatasetName, due: &[Due<'_>], limits: Limits) -> Result<Closing, VaultError> {
        let snapshot = self.store.snapshot();
        let sequence = meta::sequence(&snapshot)?;
        let mut passes = due.iter().map(|due| Pass::new(due, limits)).collect::<Result<Vec<_>, _>>()?;
        if let Some(set) = datasets::get(&snapshot, dataset)? {
            if let Some(undoing) = set.undoing {
                return Err(VaultError::Undoing(undoing));
            }
            self.pass(&snapshot, &set, &mut passes)?;
        }
        Ok(Closing { sequence, windows: passes.into_iter().map(Pass::finish).collect() })
    }

    fn pass(
        &self,
        snapshot: &Snapshot<'_>,
        set: &datasets::DatasetRecord,
        passes: &mut [Pass],
    ) -> Result<(), VaultError> {
        for window in passes.iter().flat_map(|pass| &pass.windows) {
            let (first, last) = (self.days.of(window.start), self.days.of(UtcMicros(window.end.0 - 1)));
            if expired::any(snapshot, set.number(), first, last)? {
                return Err(VaultError::Expired(*window));
            }
        }
        let start = passes.iter().filter_map(|pass| pass.windows.first()).map(|window| window.start).min();
        let end = passes.iter().filter_map(|pass| pass.windows.last()).map(|window| window.end).max();
        let (Some(start), Some(end)) = (start, end) else {
            return Ok(());
        };
        let (first, last) = self.days.around(Window { start, end });
        let mut superseded = Superseded::default();
        for found in blocks::between(snapshot, set.number(), first, last) {
            let (key, block) = found?;
            if !passes.iter().any(|pass| pass.wants(&block)) {
                continue;
            }
            let observations = blocks::body(snapshot, key)?;
            let marks = superseded.rows(snapshot, key)?;
            for pass in passes.iter_mut().filter(|pass| pass.wants(&block)) {
                pass.observe(&observations, marks.as_ref(), block.source)?;
            }
        }
        Ok(())
    }
}

/// One product's part in a pass.
struct Pass {
    accumulator: Accumulator,
    windows: Vec<Window>,
    /// The sources with a row in each window.
    sources: Vec<Vec<SourceNumber>>,
}

impl Pass {
    fn new(due: &Due<'_>, limits: Limits) -> Result<Self, VaultError> {
        Ok(Self {
            accumulator: Accumulator::new(due.contract, due.windows.clone(), limits)?,
            sources: vec![Vec::new(); due.windows.len()],
            windows: due.windows.clone(),
        })
    }

    /// The first window that does not end before `t`.
    fn place(&self, t: UtcMicros) -> usize {
        self.windows.partition_point(|window| window.end <= t)
    }

    /// Whether a row of the block may lie in a window.
    fn wants(&self, block: &Block) -> bool {
        self.windows.get(self.place(block.oldest)).is_some_and(|window| window.start <= block.newest)
    }

    fn observe(
        &mut self,
        observations: &Observations,
        superseded: Option<&BooleanArray>,
        source: SourceNumber,
    ) -> Result<(), VaultError> {
        self.accumulator.observe(observations, superseded)?;
        let mut near = None;
        for (row, time) in observations.times().values().iter().enumerate() {
            let t = UtcMicros(*time);
            let known = near.is_some_and(|place: usize| self.windows[place].contains(t));
            if known || superseded.is_some_and(|marks| marks.value(row)) {
                continue;
            }
            let place = self.place(t);
            if self.windows.get(place).is_some_and(|window| window.contains(t)) {
                near = Some(place);
                if !self.sources[place].contains(&source) {
                    self.sources[place].push(source);
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Vec<Closed> {
        let sources = self.sources.into_iter().map(|sources| sources.len() as u32);
        self.accumulator.finish().into_iter().zip(sources).map(|(rollup, sources)| Closed { rollup, sources }).collect()
    }
}
