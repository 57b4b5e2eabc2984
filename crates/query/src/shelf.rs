//! Where cells come from: one snapshot of the ledger.

use std::ops::Range;
use std::sync::Arc;

#[cfg(test)]
use civicmesh_ledger::Segment;
use civicmesh_ledger::{LedgerError, PeerContact, Piece, ProductState, RefusalKind, Snapshot};
use civicmesh_model::contract::Contract;
use civicmesh_model::hash::Hash32;
use civicmesh_model::names::ProductId;
#[cfg(test)]
use civicmesh_model::release::Entry;
use civicmesh_model::time::UtcMicros;

use crate::error::QueryError;

/// What the ledger knows of one product.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub product: ProductId,
    /// None where only a refusal is known of it, or this version cannot read it.
    pub contract: Option<Arc<Contract>>,
    pub own: bool,
    pub granted: bool,
    pub closed_through: Option<UtcMicros>,
    pub newest_window: Option<UtcMicros>,
    pub head_confirmed_at: Option<UtcMicros>,
    pub unreachable_since: Option<UtcMicros>,
    pub expired_through: Option<UtcMicros>,
    /// Whether its owner told two stories of it.
    pub found_out: bool,
}

impl Standing {
    fn refused(product: ProductId) -> Self {
        Self {
            product,
            contract: None,
            own: false,
            granted: false,
            closed_through: None,
            newest_window: None,
            head_confirmed_at: None,
            unreachable_since: None,
            expired_through: None,
            found_out: false,
        }
    }

    fn of(state: ProductState, granted: bool) -> Self {
        let ProductState { id, contract, own, granted: _, log, head_confirmed_at, contact, expired_through, found_out } =
            state;
        let unreachable_since = contact.and_then(|PeerContact { unreachable_since, .. }| unreachable_since);
        Self {
            product: id,
            contract,
            own,
            granted,
            closed_through: log.as_ref().map(|log| log.closed_through),
            newest_window: log.as_ref().map(|log| log.newest_window.start),
            head_confirmed_at,
            unreachable_since,
            expired_through,
            found_out: !found_out.is_empty(),
        }
    }
}

/// One snapshot: every question reads from one alone.
pub(crate) enum Shelf<'l> {
    Ledger(Snapshot<'l>),
    /// Entries that a test lists.
    #[cfg(test)]
    Listed(Arc<Listed>),
}

/// A ledger's content, for tests of what is above it.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Listed {
    pub standings: Vec<Standing>,
    pub contracts: Vec<Arc<Contract>>,
    pub entries: Vec<Entry>,
    /// Whether they come in segments.
    pub merged: bool,
    /// Of how many entries a stretch is that is visited by itself; zero for all.
    pub stretch_entries: usize,
}

#[cfg(test)]
impl Listed {
    /// The same, in segments or not, in stretches or not.
    pub(crate) fn otherwise(&self, merged: bool, stretch_entries: usize) -> Self {
        let (standings, contracts, entries) = (self.standings.clone(), self.contracts.clone(), self.entries.clone());
        Self { standings, contracts, entries, merged, stretch_entries }
    }

    fn stretches(&self, product: &ProductId, range: Range<UtcMicros>) -> Vec<Range<UtcMicros>> {
        let starts = self.entries.iter().filter(|entry| entry.product() == product).map(|entry| entry.window().start);
        let starts = starts.filter(|start| range.start < *start && *start < range.end);
        let of_each = if self.stretch_entries > 0 { self.stretch_entries } else { usize::MAX };
        let cuts: Vec<UtcMicros> = starts.skip(of_each - 1).step_by(of_each).collect();
        let firsts = std::iter::once(range.start).chain(cuts.clone());
        firsts.zip(cuts.into_iter().chain([range.end])).map(|(start, end)| start..end).collect()
    }
}

impl Shelf<'_> {
    /// Every product that is known, be it by its owner's refusal alone.
    pub(crate) fn standings(&self) -> Result<Vec<Standing>, QueryError> {
        match self {
            Self::Ledger(snapshot) => standings(snapshot).map_err(unreadable),
            #[cfg(test)]
            Self::Listed(listed) => Ok(listed.standings.clone()),
        }
    }

    /// A contract that releases were made under.
    pub(crate) fn contract(&self, hash: &Hash32) -> Result<Option<Arc<Contract>>, QueryError> {
        match self {
            Self::Ledger(snapshot) => snapshot.contract_by_hash(hash).map_err(unreadable),
            #[cfg(test)]
            Self::Listed(listed) => Ok(listed.contracts.iter().find(|contract| contract.hash() == *hash).cloned()),
        }
    }

    /// Parts of a range that can be visited at a time, in order: no window touches two of them. One where little stands
    /// in it.
    pub(crate) fn stretches(
        &self,
        product: &ProductId,
        range: Range<UtcMicros>,
    ) -> Result<Vec<Range<UtcMicros>>, QueryError> {
        match self {
            Self::Ledger(snapshot) => snapshot.stretches(product, range).map_err(unreadable),
            #[cfg(test)]
            Self::Listed(listed) => Ok(listed.stretches(product, range)),
        }
    }

    /// Visits what is newest of a product about windows that touch the range, in the order of windows; `afresh` leaves
    /// out what other questions decoded.
    pub(crate) fn visit<E: From<QueryError>>(
        &self,
        product: &ProductId,
        range: Range<UtcMicros>,
        afresh: bool,
        visit: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Ledger(snapshot) => {
                for piece in snapshot.pieces(product, range, afresh).map_err(unreadable)? {
                    visit(piece.map_err(unreadable)?)?;
                }
                Ok(())
            }
            #[cfg(test)]
            Self::Listed(listed) => {
                let entries = listed.entries.iter().filter(|entry| entry.product() == product);
                let entries =
                    entries.filter(|entry| entry.window().start < range.end && range.start < entry.window().end);
                let entries: Vec<_> = (0..).zip(entries.cloned()).collect();
                if !listed.merged {
                    return entries
                        .into_iter()
                        .try_for_each(|(index, entry)| visit(Piece::Entry(index, Box::new(entry))));
                }
                for segment in Segment::of_entries(&entries).map_err(unreadable)? {
                    let rows = 0..segment.rows().len();
                    visit(Piece::Rows(Arc::new(segment), rows))?;
                }
                Ok(())
            }
        }
    }
}

fn standings(snapshot: &Snapshot<'_>) -> Result<Vec<Standing>, LedgerError> {
    let mut refusals = snapshot.refusals()?;
    refusals.retain(|_, refusal| refusal.kind == RefusalKind::NotGranted);
    let known = snapshot.products()?.into_iter().map(|state| {
        let granted = refusals.remove(&state.id).is_none() || state.own;
        Standing::of(state, granted)
    });
    let mut standings: Vec<Standing> = known.collect();
    standings.extend(refusals.into_keys().map(Standing::refused));
    Ok(standings)
}

fn unreadable(error: LedgerError) -> QueryError {
    tracing::error!(%error, "the ledger could not be read for a question");
    QueryError::Ledger
}
