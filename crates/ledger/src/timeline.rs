//! The rules of a log, the same for its owner and for its replicas: what may follow the entries that are there.
//!
//! - An entry covers whole windows of its contract's calendar, in the city's zone.
//! - Closed-through is a window edge, never goes back, and is never before the entry's end.
//! - A window without an entry gets revision 0; a window with one gets the next revision, unless the product is a
//!   threshold product, which releases a window once. A run of empty windows counts as revision 0 of each of them.
//! - An entry has the columns, method and statistics of its contract, and no more.

use std::collections::BTreeMap;

use civicmesh_model::contract::{Contract, EmptyWindows, Method, Statistic, Status};
use civicmesh_model::grain::{Calendar, Window};
use civicmesh_model::names::ProductId;
use civicmesh_model::release::{Entry, MethodTag, Release};
use civicmesh_model::time::{UtcMicros, Zone};
use civicmesh_store::{Direction, Read, Store};

use crate::error::{Held, LedgerError, Rejection};
use crate::keys::window::{self, Covered};

/// What the log covers, with the changes of entries that are about to be stored.
pub(crate) struct Timeline<'a> {
    store: &'a Store,
    product: &'a ProductId,
    zone: Zone,
    /// What is to be stored in the index by time. Nothing is ever to be deleted from it.
    changes: BTreeMap<UtcMicros, Covered>,
    /// The latest window.
    newest: Option<Window>,
    closed_through: UtcMicros,
}

impl<'a> Timeline<'a> {
    pub(crate) fn new(
        store: &'a Store,
        product: &'a ProductId,
        zone: Zone,
        newest: Option<Window>,
        closed_through: UtcMicros,
    ) -> Self {
        Self { store, product, zone, changes: BTreeMap::new(), newest, closed_through }
    }

    /// The changes of the index by time, and the latest window.
    pub(crate) fn into_parts(self) -> (BTreeMap<UtcMicros, Covered>, Option<Window>) {
        (self.changes, self.newest)
    }

    /// Takes in the entry at `index`, or says which rule it breaks.
    pub(crate) fn place(
        &mut self,
        index: u64,
        entry: &Entry,
        contract: &Contract,
        sequence: u64,
    ) -> Result<(), LedgerError> {
        let reject = |rejection: Rejection| rejection.of(self.product);
        fits(entry, contract).map_err(|what| reject(Rejection::ContractMismatch { index, what }))?;
        let calendar = contract.calendar(self.zone);
        let Window { start, end } = entry.window();
        if !covers_whole_windows(entry, &calendar) {
            return Err(reject(Rejection::Misaligned { index, start, end }));
        }
        let closed_through = entry.closed_through();
        if closed_through < self.closed_through || !calendar.is_edge(closed_through) {
            return Err(reject(Rejection::ClosedThrough { index, closed_through, before: self.closed_through }));
        }
        let revision = entry.revision();
        let covered = Covered { end, index, revision, sequence };
        if revision == 0 {
            self.cover_anew(start, covered)?;
        } else if matches!(contract.method, Method::Threshold { .. }) {
            return Err(reject(Rejection::RevisionOfThreshold { index, start }));
        } else {
            self.revise(start, covered)?;
        }
        self.closed_through = closed_through;
        let last = calendar.window_of(UtcMicros(end.0 - 1));
        self.newest = self.newest.max(Some(last));
        Ok(())
    }

    fn cover_anew(&mut self, start: UtcMicros, covered: Covered) -> Result<(), LedgerError> {
        // Mostly the window is later than all before it, and there is nothing to look for.
        let later = self.newest.is_none_or(|newest| newest.end <= start);
        let held = if later { None } else { self.last_before(covered.end)? };
        if let Some((held, _)) = held.filter(|(_, held)| held.end > start) {
            let start = held.max(start);
            return Err(Rejection::AlreadyReleased { index: covered.index, start }.of(self.product));
        }
        self.changes.insert(start, covered);
        Ok(())
    }

    /// Puts a revision in the place of what covers its window; a run of empty windows is split around it.
    fn revise(&mut self, start: UtcMicros, covered: Covered) -> Result<(), LedgerError> {
        let Covered { end, index, revision, .. } = covered;
        let held = self.last_before(end)?.filter(|(_, held)| held.end > start);
        let out_of_order = |held| Rejection::RevisionOutOfOrder { index, start, revision, held }.of(self.product);
        let Some((held_start, held)) = held else {
            return Err(out_of_order(Held::Nothing));
        };
        let around = held_start <= start && end <= held.end;
        if !around || held.revision.checked_add(1) != Some(revision) {
            return Err(out_of_order(Held::Revision(held.revision)));
        }
        if held_start < start {
            self.changes.insert(held_start, Covered { end: start, ..held });
        }
        self.changes.insert(start, covered);
        if end < held.end {
            self.changes.insert(end, held);
        }
        Ok(())
    }

    /// What covers the latest stretch that starts before `end`.
    fn last_before(&self, end: UtcMicros) -> Result<Option<(UtcMicros, Covered)>, LedgerError> {
        let changed = self.changes.range(..end).next_back().map(|(start, covered)| (*start, *covered));
        let stored = last_before(self.store, self.product, end)?;
        Ok(match (stored, changed) {
            (Some(stored), Some(changed)) if stored.0 > changed.0 => Some(stored),
            (stored, changed) => changed.or(stored),
        })
    }
}

/// What covers the latest stretch of a product that starts before `end`.
pub(crate) fn last_before(
    read: &impl Read,
    product: &ProductId,
    end: UtcMicros,
) -> Result<Option<(UtcMicros, Covered)>, LedgerError> {
    let mut stretches = read.iterate(window::KEYSPACE, window::before(product, end), Direction::Backward);
    let Some(stored) = stretches.next() else {
        return Ok(None);
    };
    let (key, value) = stored?;
    Ok(Some((window::start(&key)?, Covered::from_bytes(&value)?)))
}

fn covers_whole_windows(entry: &Entry, calendar: &Calendar) -> bool {
    let Window { start, end } = entry.window();
    match entry {
        Entry::Release(_) | Entry::Refusal(_) => calendar.window_of(start) == Window { start, end },
        Entry::Empty(run) => {
            calendar.is_edge(start) && calendar.is_edge(end) && calendar.count(start, end) == run.windows
        }
    }
}

/// Whether the entry is what this contract, which it names, lets out.
fn fits(entry: &Entry, contract: &Contract) -> Result<(), &'static str> {
    let holds = |holds: bool, what: &'static str| if holds { Ok(()) } else { Err(what) };
    holds(contract.status == Status::Active, "the contract is a draft")?;
    match entry {
        Entry::Release(release) => release_fits(release, contract),
        Entry::Refusal(_) => Ok(()),
        Entry::Empty(run) => {
            holds(run.zero == (contract.coverage.empty == EmptyWindows::Zero), "what empty windows mean")
        }
    }
}

fn release_fits(release: &Release, contract: &Contract) -> Result<(), &'static str> {
    let holds = |holds: bool, what: &'static str| if holds { Ok(()) } else { Err(what) };
    let dimensions = contract.dimensions.iter().map(|dimension| &dimension.name);
    holds(release.dimensions.iter().eq(dimensions), "the dimensions")?;
    holds(release.measures.iter().eq(contract.measures.iter().map(|measure| &measure.name)), "the measures")?;
    let decimals = contract.measures.iter().map(|measure| measure.decimals);
    holds(release.decimals.iter().copied().eq(decimals), "the decimals")?;
    let open = match (&contract.method, release.method) {
        (Method::Open { .. }, MethodTag::Open) => true,
        (Method::Threshold { k, .. }, MethodTag::Threshold { k: released }) if *k == released => false,
        _ => return Err("the method"),
    };
    holds(!open || release.suppressed.is_empty(), "an open product suppresses nothing")?;
    for (index, measure) in contract.measures.iter().enumerate() {
        let may = |statistic| measure.publishes(statistic);
        let silent = release.cells.iter().map(|cell| &cell.measures[index]).all(|state| {
            (may(Statistic::Sum) || state.sum == 0)
                && (may(Statistic::SumSquares) || state.sum_squares == 0)
                && (open && may(Statistic::Min) || state.min.is_none())
                && (open && may(Statistic::Max) || state.max.is_none())
        });
        holds(silent, "a statistic that is not published")?;
    }
    Ok(())
}
