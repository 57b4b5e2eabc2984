//! The gate: the only way out of a department.
//!
//! An `open` product is about no person: every cell leaves with the statistics that its contract publishes.
//!
//! A `threshold` product lets a cell leave only when no value in it can be led back to fewer than `k` contributors:
//!
//! - A cell with fewer than `k` contributors is suppressed: its coordinate is listed with the reason, and nothing else.
//! - A cell leaves whole or not at all. Where some measure has values, but from fewer than `k` contributors (the
//!   others are null), its count, sum and sum of squares would give those few values away; where it has values in all
//!   rows but fewer than `k`, another measure of the same column would give away the values left out, by the
//!   difference. So the cell is suppressed like one that is too small. Publishing the measure as "no value" instead
//!   would state something untrue. A measure without any value tells nothing and holds no cell back.
//! - Only count, sum and sum of squares leave, whatever the contract says; a least or greatest value is one
//!   contributor's own, and a sketch of quantiles holds single values.
//! - A sketch of distinct values leaves with its cell: what is held of few values by the rule above holds for the column
//!   too, and the values themselves are at least `k`. Their hashes are keyed, so that nobody can look for a person; but
//!   one who is in two cells leaves the same trace in both, and of few that trace would tell who goes where.
//! - Where each row says how many contributors it stands for, no sum of squares leaves either: a cell of enough
//!   contributors may rest on two rows, and count, sum and sum of squares give both.
//! - The suppressed share is a band, taken of the suppressed observations rounded up to a multiple of `k`, and of at
//!   least `k` for each suppressed cell: the edge of a band cannot tell one suppressed row from two, nor that each
//!   suppressed cell holds just one. So a band may be too wide, and is never too narrow.
//! - Coverage counts the observations in published cells only, and tells no number of sources: one whose rows are all
//!   suppressed would be counted.
//! - Each window leaves once, as revision 0: the difference of two revisions would be the late rows.
//! - No time is finer than a window: closed-through is aligned down to a window's edge.
//!
//! What a threshold does not stop, here: a cell in which all contributors share one value shows that value; one
//! contributor whose values dwarf the others' dominates the sum; how many values of a measure are null is visible in
//! its count; and two measures of one column that each leave out `k` rows or more, but not the same ones, give the
//! sum of the rows between them by the difference.

use std::fmt;

use civicmesh_model::contract::{Contract, EmptyWindows, Method, Statistic, Status};
use civicmesh_model::grain::Window;
use civicmesh_model::number::{COUNT_MAX, MeasureState};
use civicmesh_model::release::{
    CELLS_MAX, COORDINATE_BYTES_MAX, COORDINATES_BYTES_MAX, Cell, EmptyRun, Entry, MethodTag, RefusalReason,
    RefusedWindow, Release, ReleaseCoverage, STATES_MAX, ShareBand, SketchColumn, SketchKind, Suppressed,
    SuppressionReason, sketches_fit,
};
use civicmesh_model::time::{UtcMicros, Zone};

use crate::error::DisclosureError;
use crate::rollup::{CellRollup, Rollup};
use crate::salt::SaltKey;
use crate::sketched::DistinctSketch;
use crate::tally::Tally;

/// What a coordinate's length takes at most among the [`COORDINATES_BYTES_MAX`] of an entry.
const COORDINATE_LENGTH_BYTES_MAX: usize = 2;

/// An entry that passed the gate: all that the ledger appends. Its content anyone may read; nobody else makes one.
pub struct Disclosed(Entry);

impl Disclosed {
    /// What leaves.
    pub fn entry(&self) -> &Entry {
        &self.0
    }
}

impl fmt::Debug for Disclosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Entry::Release(_) => "release",
            Entry::Refusal(_) => "refusal",
            Entry::Empty(_) => "empty run",
        };
        write!(f, "Disclosed({kind} of {})", self.0.product())
    }
}

/// Under what a rollup leaves.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The contract that the rollup was accumulated under.
    pub contract: &'a Contract,
    /// The city's zone, in which windows lie.
    pub zone: Zone,
    /// 0 for a window's first entry, then one more each time.
    pub revision: u32,
    /// Every window that ends by then is closed. What leaves is the last window edge by then.
    pub closed_through: UtcMicros,
    /// Sources that fed the dataset.
    pub sources: u32,
    /// The domain's secret for salts.
    pub salt_key: &'a SaltKey,
}

impl Terms<'_> {
    /// The window edge through which all is closed, if a window that ends at `end` may leave under these terms.
    fn closed_through(&self, end: UtcMicros) -> Result<UtcMicros, DisclosureError> {
        let product = || self.contract.product.clone();
        if self.contract.status != Status::Active {
            return Err(DisclosureError::NotActive { product: product() });
        }
        if self.revision > 0 && matches!(self.contract.method, Method::Threshold { .. }) {
            return Err(DisclosureError::RevisionOfThreshold { product: product(), revision: self.revision });
        }
        let closed_through = self.contract.calendar(self.zone).align_down(self.closed_through);
        if closed_through < end {
            return Err(DisclosureError::NotClosed { end, closed_through });
        }
        Ok(closed_through)
    }

    /// How many sources a release names: none for a threshold product, or one whose rows are all suppressed would show.
    fn sources_told(&self) -> u32 {
        match self.contract.method {
            Method::Open { .. } => self.sources,
            Method::Threshold { .. } => 0,
        }
    }

    fn salt(&self, window: Window) -> [u8; 32] {
        self.salt_key.salt(&self.contract.product, window.start, window.end, self.revision)
    }
}

/// Makes of a rollup what its contract's method lets out: a release, a refusal where the window cannot be released,
/// or a run of one empty window where nothing was observed. A window that lost all its rows after it was released
/// leaves as a revision without cells.
pub fn disclose(rollup: Rollup, terms: &Terms<'_>) -> Result<Disclosed, DisclosureError> {
    let Rollup { window, contract, content } = rollup;
    if contract != terms.contract.hash() {
        return Err(DisclosureError::ContractMismatch { product: terms.contract.product.clone() });
    }
    let closed_through = terms.closed_through(window.end)?;
    let published = match content {
        Ok(cells) if cells.is_empty() && terms.revision == 0 => {
            return empty(window.start, window.end, terms);
        }
        Ok(cells) => publish(&cells, terms.contract),
        Err(reason) => Preview::refused(reason),
    };
    disclosed(match published.refusal {
        Some(reason) => Entry::Refusal(refused(window, reason, closed_through, terms)),
        None => Entry::Release(Release {
            product: terms.contract.product.clone(),
            window,
            revision: terms.revision,
            contract,
            method: method_tag(&terms.contract.method),
            closed_through,
            dimensions: terms.contract.dimensions.iter().map(|dimension| dimension.name.clone()).collect(),
            measures: terms.contract.measures.iter().map(|measure| measure.name.clone()).collect(),
            decimals: terms.contract.measures.iter().map(|measure| measure.decimals).collect(),
            sketches: sketch_columns(terms.contract),
            coverage: ReleaseCoverage { observations: published.observations, sources: terms.sources_told() },
            cells: published.cells,
            suppressed: published.suppressed,
            suppressed_share: published.share,
            salt: terms.salt(window),
        }),
    })
}

/// A run of windows, `start` to `end`, in which nothing was observed. Both must be window edges.
pub fn empty(start: UtcMicros, end: UtcMicros, terms: &Terms<'_>) -> Result<Disclosed, DisclosureError> {
    let closed_through = terms.closed_through(end)?;
    let calendar = terms.contract.calendar(terms.zone);
    if start >= end || !calendar.is_edge(start) || !calendar.is_edge(end) {
        return Err(DisclosureError::NoWholeWindows { start, end });
    }
    disclosed(Entry::Empty(EmptyRun {
        product: terms.contract.product.clone(),
        start,
        end,
        windows: calendar.count(start, end),
        contract: terms.contract.hash(),
        closed_through,
        zero: terms.contract.coverage.empty == EmptyWindows::Zero,
        salt: terms.salt(Window { start, end }),
    }))
}

/// A window whose raw observations were gone before it was closed: nobody can tell any more what it held.
pub fn expired(window: Window, terms: &Terms<'_>) -> Result<Disclosed, DisclosureError> {
    let closed_through = terms.closed_through(window.end)?;
    disclosed(Entry::Refusal(refused(window, RefusalReason::Expired, closed_through, terms)))
}

fn refused(window: Window, reason: RefusalReason, closed_through: UtcMicros, terms: &Terms<'_>) -> RefusedWindow {
    RefusedWindow {
        product: terms.contract.product.clone(),
        window,
        revision: terms.revision,
        contract: terms.contract.hash(),
        closed_through,
        reason,
        salt: terms.salt(window),
    }
}

/// The only place where a [`Disclosed`] is made. What no log may hold does not leave, whatever let it come this far.
fn disclosed(entry: Entry) -> Result<Disclosed, DisclosureError> {
    entry.check()?;
    Ok(Disclosed(entry))
}

/// What would leave, for the owner's own terminal: a draft shows it before anything does leave.
pub struct Preview {
    /// Cells that would be published.
    pub cells: Vec<Cell>,
    /// Cells that would be suppressed.
    pub suppressed: Vec<Suppressed>,
    /// Share of the observations that would be suppressed.
    pub share: ShareBand,
    /// Observations in the published cells.
    pub observations: u64,
    /// Why the window as a whole would be refused; there are no cells then.
    pub refusal: Option<RefusalReason>,
}

impl Preview {
    fn refused(reason: RefusalReason) -> Self {
        Self {
            cells: Vec::new(),
            suppressed: Vec::new(),
            share: ShareBand::None,
            observations: 0,
            refusal: Some(reason),
        }
    }
}

impl fmt::Debug for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Preview({} cells, {} suppressed, redacted)", self.cells.len(), self.suppressed.len())
    }
}

/// What [`disclose`] would publish of this rollup. It makes no entry, so it works for a draft too.
pub fn preview(rollup: &Rollup, contract: &Contract) -> Result<Preview, DisclosureError> {
    if rollup.contract != contract.hash() {
        return Err(DisclosureError::ContractMismatch { product: contract.product.clone() });
    }
    Ok(match &rollup.content {
        Ok(cells) => publish(cells, contract),
        Err(reason) => Preview::refused(*reason),
    })
}

fn method_tag(method: &Method) -> MethodTag {
    match method {
        Method::Open { .. } => MethodTag::Open,
        Method::Threshold { k, .. } => MethodTag::Threshold { k: *k },
    }
}

/// Splits cells into those that leave and those that are suppressed, or says what bound of a release they exceed.
fn publish(rollups: &[CellRollup], contract: &Contract) -> Preview {
    if let Some(reason) = exceeded(rollups, contract.measures.len(), sketch_columns(contract).len()) {
        return Preview::refused(reason);
    }
    let (mut cells, mut suppressed) = (Vec::with_capacity(rollups.len()), Vec::new());
    let (mut observations, mut observations_suppressed) = (0, 0);
    for rollup in rollups {
        if leaves(rollup, &contract.method) {
            observations += rollup.observations;
            cells.push(published_cell(rollup, contract));
        } else {
            observations_suppressed += rollup.observations;
            let coordinate = rollup.coordinate.clone();
            suppressed.push(Suppressed { coordinate, reason: SuppressionReason::BelowThreshold });
        }
    }
    let sketches = cells.iter().flat_map(|cell| &cell.sketches).map(Vec::as_slice);
    if !sketches_fit(cells.len() * contract.measures.len(), sketches) {
        return Preview::refused(RefusalReason::TooManyCells);
    }
    let share = match contract.method {
        Method::Open { .. } => ShareBand::None,
        Method::Threshold { k, .. } => share_band(observations_suppressed, suppressed.len(), observations, k),
    };
    Preview { cells, suppressed, share, observations, refusal: None }
}

/// The bound of a release that these cells exceed, were all of them published.
fn exceeded(rollups: &[CellRollup], measures: usize, sketches: usize) -> Option<RefusalReason> {
    let observations = rollups.iter().map(|rollup| u128::from(rollup.observations)).sum::<u128>();
    let values = || rollups.iter().flat_map(|rollup| &rollup.coordinate);
    let columns = measures.max(sketches);
    if rollups.len() > CELLS_MAX || rollups.len() * columns > STATES_MAX {
        Some(RefusalReason::TooManyCells)
    } else if observations > u128::from(COUNT_MAX) {
        Some(RefusalReason::Overflow)
    } else if values().any(|value| value.len() > COORDINATE_BYTES_MAX)
        || values().map(|value| value.len() + COORDINATE_LENGTH_BYTES_MAX).sum::<usize>() > COORDINATES_BYTES_MAX
    {
        Some(RefusalReason::TooLong)
    } else {
        None
    }
}

/// Whether at least `k` contributors stand behind the cell, and each measure that has any value in it has values from
/// at least `k` contributors, and in all rows or in at least `k` fewer. The same of a column whose distinct values are
/// counted, and there are at least `k` of them: a sketch of fewer would follow them from window to window.
fn leaves(rollup: &CellRollup, method: &Method) -> bool {
    match method {
        Method::Open { .. } => true,
        Method::Threshold { k, .. } => {
            let enough = |with: u64, contributors: u64| {
                let without = rollup.observations.saturating_sub(with);
                with == 0 || (contributors >= *k && (without == 0 || without >= *k))
            };
            let enough_distinct = |column: &DistinctSketch| {
                let values = column.values.as_ref().map_or(0, Tally::number);
                enough(column.observations, column.contributors.number().min(values))
            };
            rollup.contributors >= *k
                && rollup.measures.iter().all(|(state, contributors)| enough(state.count, *contributors))
                && rollup.sketches.distinct.iter().all(enough_distinct)
        }
    }
}

fn published_cell(rollup: &CellRollup, contract: &Contract) -> Cell {
    let open = matches!(contract.method, Method::Open { .. });
    let counts = contract.dataset.as_ref().is_none_or(|dataset| dataset.rows_are_counts(&contract.method));
    let measures = contract.measures.iter().zip(&rollup.measures).map(|(measure, (state, _))| MeasureState {
        count: state.count,
        sum: if measure.publishes(Statistic::Sum) { state.sum } else { 0 },
        sum_squares: if !counts && measure.publishes(Statistic::SumSquares) { state.sum_squares } else { 0 },
        min: state.min.filter(|_| open && measure.publishes(Statistic::Min)),
        max: state.max.filter(|_| open && measure.publishes(Statistic::Max)),
    });
    let quantiles = rollup.sketches.quantiles.iter().flatten().filter(|_| open);
    let quantiles = quantiles.map(|sketch| if sketch.count() == 0 { Vec::new() } else { sketch.to_bytes() });
    let distinct = rollup.sketches.distinct.iter().map(|column| match column.observations {
        0 => Vec::new(),
        _ => column.sketch.to_bytes(),
    });
    Cell {
        coordinate: rollup.coordinate.clone(),
        observations: rollup.observations,
        measures: measures.collect(),
        sketches: quantiles.chain(distinct).collect(),
    }
}

/// The columns of [`Cell::sketches`]: quantiles of an open product's measures, then distinct values.
fn sketch_columns(contract: &Contract) -> Vec<SketchColumn> {
    let open = matches!(contract.method, Method::Open { .. });
    let quantiles = contract.measures.iter().filter(|measure| open && measure.publishes(Statistic::Quantiles));
    let quantiles = quantiles.map(|measure| SketchColumn { kind: SketchKind::Quantiles, name: measure.name.clone() });
    let distinct = contract.distinct.iter();
    let distinct = distinct.map(|column| SketchColumn { kind: SketchKind::Distinct, name: column.name.clone() });
    quantiles.chain(distinct).collect()
}

/// The band of the suppressed share, of the suppressed observations rounded up to a multiple of `k`, or of `k` for each
/// suppressed cell if that is more: many cells of one row are as wide as many of `k - 1`.
fn share_band(suppressed: u64, cells: usize, published: u64, k: u64) -> ShareBand {
    let rounded = suppressed.checked_next_multiple_of(k).unwrap_or(suppressed);
    let suppressed = rounded.max(k.saturating_mul(cells as u64));
    ShareBand::of(suppressed, suppressed.saturating_add(published))
}
