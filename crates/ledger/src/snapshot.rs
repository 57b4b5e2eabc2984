//! One moment of the ledger, for a query: it does not change while others write.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use civicmesh_model::contract::Contract;
use civicmesh_model::grain::{Calendar, Window};
use civicmesh_model::hash::Hash32;
use civicmesh_model::names::ProductId;
use civicmesh_model::release::{EmptyRun, Entry};
use civicmesh_model::time::UtcMicros;
use civicmesh_store::{Direction, Iter, KeyRange, Read};

use crate::error::LedgerError;
use crate::keys::product::ProductRecord;
use crate::keys::window::{self, Covered};
use crate::keys::{self, entry};
use crate::ledger::{Ledger, LogState, locked, record, records};
use crate::said::{FoundOut, PeerContact, Refusal, Said, found_out, refusals};
use crate::timeline::last_before;

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
        let Range { start, end } = range.unwrap_or(UtcMicros::MIN..UtcMicros::MAX);
        let first = last_before(&self.moment, product, UtcMicros(start.0.saturating_add(1)))?;
        let from = first.filter(|(_, covered)| covered.end > start).map_or(start, |(covering, _)| covering);
        let until = end.max(from);
        let known = record(&self.moment, product)?;
        let contract = known.as_ref().map(|known| self.ledger.contract_by_hash(&known.contract)).transpose()?;
        Ok(Current {
            moment: &self.moment,
            product: product.clone(),
            calendar: contract.flatten().map(|contract| contract.calendar(self.ledger.zone)),
            expired_through: known.and_then(|known| known.expired_through),
            range: start..end,
            stretches: self.moment.iterate(window::KEYSPACE, window::between(product, from, until), Direction::Forward),
            bodies: None,
            failed: false,
        })
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

/// The newest entries of a product in the order of time.
struct Current<'s> {
    moment: &'s civicmesh_store::Snapshot<'s>,
    product: ProductId,
    calendar: Option<Calendar>,
    expired_through: Option<UtcMicros>,
    range: Range<UtcMicros>,
    stretches: Iter<'s>,
    /// Bodies in the order of the log, and the index of the next: mostly it is also the next in time.
    bodies: Option<(u64, Iter<'s>)>,
    failed: bool,
}

impl Current<'_> {
    /// The next entry, or what is left of it; none at the end.
    fn read(&mut self) -> Result<Option<Entry>, LedgerError> {
        while let Some(stored) = self.stretches.next() {
            let (key, value) = stored?;
            let (start, covered) = (window::start(&key)?, Covered::from_bytes(&value)?);
            match self.body(covered.index)? {
                Some(body) => {
                    let entry = Entry::decode(&body);
                    let entry = entry.map_err(|_| LedgerError::Damaged("an entry that cannot be read"))?;
                    let stretch = Window { start, end: covered.end };
                    if let Some(entry) = self.cut(entry, stretch) {
                        return Ok(Some(entry));
                    }
                }
                None if self.expired_through < Some(covered.end) => {
                    return Err(LedgerError::Damaged("an entry without its body"));
                }
                None => {}
            }
        }
        Ok(None)
    }

    fn body(&mut self, index: u64) -> Result<Option<Box<[u8]>>, LedgerError> {
        let (_, mut bodies) = match self.bodies.take() {
            Some(bodies) if bodies.0 == index => bodies,
            _ => {
                let range = KeyRange::prefix_from(keys::prefix(&self.product), entry::key(&self.product, index));
                (index, self.moment.iterate(entry::KEYSPACE, range, Direction::Forward))
            }
        };
        let Some(stored) = bodies.next() else {
            return Ok(None);
        };
        let (key, body) = stored?;
        if entry::index(&key)? != index {
            return Ok(None);
        }
        self.bodies = Some((index + 1, bodies));
        Ok(Some(body))
    }

    /// What of the entry is about this stretch, within the range.
    fn cut(&self, entry: Entry, stretch: Window) -> Option<Entry> {
        let (Entry::Empty(run), Some(calendar)) = (&entry, &self.calendar) else {
            return Some(entry);
        };
        let start = stretch.start.max(calendar.align_down(self.range.start));
        let end = stretch.end.min(calendar.align_up(self.range.end));
        if (start, end) == (run.start, run.end) {
            return Some(entry);
        }
        let windows = calendar.count(start, end);
        (windows > 0).then(|| Entry::Empty(EmptyRun { start, end, windows, ..run.clone() }))
    }
}

impl Iterator for Current<'_> {
    type Item = Result<Entry, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let read = self.read();
        // Nothing comes after an error: what is missing would not be noticed.
        self.failed = read.is_err();
        read.transpose()
    }
}
