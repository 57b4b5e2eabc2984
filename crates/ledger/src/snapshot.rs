//! One moment of the ledger, for a query: it does not change while others write.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use civicmesh_model::contract::Contract;
use civicmesh_model::hash::Hash32;
use civicmesh_model::names::ProductId;
use civicmesh_model::release::Entry;
use civicmesh_model::time::UtcMicros;

use crate::bodies;
use crate::decoded::{Decoded, SEGMENTS_OF_A_SCAN_MAX};
use crate::error::LedgerError;
use crate::keys::product::ProductRecord;
use crate::ledger::{Ledger, LogState, locked, record, records};
use crate::pieces::{Found, Piece, Pieces, Unmerged};
use crate::said::{FoundOut, PeerContact, Refusal, Said, found_out, refusals};

/// Segments of a stretch that is read by itself.
const SEGMENTS_OF_A_STRETCH: usize = 8;

/// One moment of the ledger.
pub struct Snapshot<'l> {
    ledger: &'l Ledger,
    moment: civicmesh_store::Snapshot<'l>,
    said: Said,
}

/// What is known of a product at that moment.
#[derive(Clone, Debug)]
pub struct ProductState {
    /// The product.
    pub id: ProductId,
    /// The contract in force, as peers see it; none where this version cannot read it.
    pub contract: Option<Arc<Contract>>,
    /// Whether this domain owns it.
    pub own: bool,
    /// Whether its owner gives it to this domain; what came before a refusal is still here.
    pub granted: bool,
    /// Its log, once it has an entry.
    pub log: Option<LogState>,
    /// When its owner last confirmed the head; none for an own product.
    pub head_confirmed_at: Option<UtcMicros>,
    /// The way to its owner; none for an own product, or where it was never tried.
    pub contact: Option<PeerContact>,
    /// Entries about windows that end by then are past their retention, and gone.
    pub expired_through: Option<UtcMicros>,
    /// Where its owner was found out, oldest first.
    pub found_out: Vec<FoundOut>,
}

impl Ledger {
    /// This moment.
    pub fn snapshot(&self) -> Snapshot<'_> {
        let said = locked(&self.said).clone();
        Snapshot { ledger: self, moment: self.store.snapshot(), said }
    }
}

impl Snapshot<'_> {
    /// Every product of which a contract is known, in the order of their names.
    pub fn products(&self) -> Result<Vec<ProductState>, LedgerError> {
        let refused = refusals(&self.moment)?;
        let known = records(&self.moment)?;
        known.into_iter().map(|(product, known)| self.state(product, &known, &refused)).collect()
    }

    /// What is known of one product.
    pub fn product(&self, product: &ProductId) -> Result<Option<ProductState>, LedgerError> {
        let Some(known) = record(&self.moment, product)? else {
            return Ok(None);
        };
        self.state(product.clone(), &known, &refusals(&self.moment)?).map(Some)
    }

    /// Every product that its owner refuses to this domain, also those of which nothing else is known.
    pub fn refusals(&self) -> Result<BTreeMap<ProductId, Refusal>, LedgerError> {
        refusals(&self.moment)
    }

    /// The contract that an entry names.
    pub fn contract_by_hash(&self, hash: &Hash32) -> Result<Option<Arc<Contract>>, LedgerError> {
        self.ledger.contract_by_hash(hash)
    }

    /// The newest entries about the windows of a product that touch `range`, in the order of time, each window once.
    /// What is left of a run of empty windows, after one of them was revised or where `range` cuts it, comes as a
    /// shorter run. Entries past their retention are left out: see [`ProductState::expired_through`].
    pub fn current(
        &self,
        product: &ProductId,
        range: Option<Range<UtcMicros>>,
    ) -> Result<impl Iterator<Item = Result<Entry, LedgerError>> + use<'_>, LedgerError> {
        let range = range.unwrap_or(UtcMicros::MIN..UtcMicros::MAX);
        let unmerged = Unmerged::new(self.newest(product, range, None)?);
        Ok(unmerged.map(|placed| placed.map(|placed| placed.entry)))
    }

    /// The same, in segments as far as they were merged. What is decoded of them is kept for who comes next, unless it
    /// is to be read `afresh`, as a part of a long range is.
    pub fn pieces(
        &self,
        product: &ProductId,
        range: Range<UtcMicros>,
        afresh: bool,
    ) -> Result<impl Iterator<Item = Result<Piece<'_>, LedgerError>> + use<'_>, LedgerError> {
        let decoded = (!afresh).then_some(&self.ledger.decoded);
        let pieces = self.newest(product, range, decoded)?;
        Ok(pieces.map(|found| {
            found.map(|found| match found {
                Found::Entry(placed) => Piece::Entry(placed.index, Box::new(placed.entry)),
                Found::Rows(segment, rows) => Piece::Rows(segment, rows),
            })
        }))
    }

    /// Parts of a range of which each can be read by itself ([`Self::pieces`]), at a time with the others: together they
    /// are the range, and no window touches two of them. One part where few segments stand in it.
    ///
    /// # Errors
    /// [`LedgerError::Store`] where the disk fails.
    pub fn stretches(
        &self,
        product: &ProductId,
        range: Range<UtcMicros>,
    ) -> Result<Vec<Range<UtcMicros>>, LedgerError> {
        self.parted(product, range, SEGMENTS_OF_A_SCAN_MAX, SEGMENTS_OF_A_STRETCH)
    }

    /// The same of so many segments each, in parts where as many begin as `segments_min`.
    pub(crate) fn parted(
        &self,
        product: &ProductId,
        range: Range<UtcMicros>,
        segments_min: usize,
        segments_each: usize,
    ) -> Result<Vec<Range<UtcMicros>>, LedgerError> {
        let Range { start, end } = range;
        if start >= end {
            return Ok(vec![range]);
        }
        // what is newest before a segment starts ends there
        let segments = bodies::segment_starts(&self.moment, product, UtcMicros(start.0.saturating_add(1)), end)?;
        let cuts: Vec<UtcMicros> = match segments.len() < segments_min {
            true => Vec::new(),
            false => segments.into_iter().skip(segments_each - 1).step_by(segments_each).collect(),
        };
        let starts = std::iter::once(start).chain(cuts.iter().copied());
        Ok(starts.zip(cuts.iter().copied().chain([end])).map(|(start, end)| start..end).collect())
    }

    fn newest<'s>(
        &'s self,
        product: &ProductId,
        range: Range<UtcMicros>,
        decoded: Option<&'s Decoded>,
    ) -> Result<Pieces<'s>, LedgerError> {
        let known = record(&self.moment, product)?;
        let contract = known.as_ref().map(|known| self.ledger.contract_by_hash(&known.contract)).transpose()?;
        let calendar = contract.flatten().map(|contract| contract.calendar(self.ledger.zone));
        let expired_through = known.and_then(|known| known.expired_through);
        Pieces::new(&self.moment, decoded, product, calendar, expired_through, range)
    }

    fn state(
        &self,
        id: ProductId,
        known: &ProductRecord,
        refused: &BTreeMap<ProductId, Refusal>,
    ) -> Result<ProductState, LedgerError> {
        // A contract that cannot be read costs its own product, and no other.
        let contract = match self.ledger.contract_by_hash(&known.contract) {
            Err(error @ LedgerError::Store(_)) => return Err(error),
            Err(error) => {
                tracing::debug!(product = %id, %error, "a contract cannot be read");
                None
            }
            Ok(contract) => contract,
        };
        let own = self.ledger.owns(&id);
        Ok(ProductState {
            contract,
            own,
            granted: own || !refused.contains_key(&id),
            log: LogState::of(known),
            head_confirmed_at: self.said.confirmed(&id),
            contact: self.said.contact(&id.domain).cloned(),
            expired_through: known.expired_through,
            found_out: found_out(&self.moment, &id)?,
            id,
        })
    }
}
