//! The peers' side of a log: verifying what its owner sent, admitting it, and finding an owner out.

use civicmesh_model::log::{Frontier, Head, SignedHead, leaf_hash};
use civicmesh_model::names::ProductId;
use civicmesh_model::time::UtcMicros;
use civicmesh_store::Read;

use crate::error::{LedgerError, Rejection};
use crate::growth::Growth;
use crate::keys::product::ProductRecord;
use crate::keys::{confirmed, refused};
use crate::leaves::Leaves;
use crate::ledger::{Ledger, LogState, locked, record};
use crate::said::FoundOut;
use crate::signing::VerifyingKey;

/// Most entries that are verified and admitted at once.
pub const PAGE_ENTRIES_MAX: usize = 4096;

/// Where a replica stands: the next entry to ask its owner for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Entries held.
    pub size: u64,
}

/// Entries of a peer's log, with the owner's head over them: verified, not yet stored. It may hold no entry: then it
/// confirms the head that is held.
pub struct Replica {
    product: ProductId,
    growth: Growth,
    head: SignedHead,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Replica({}, entries {} to {})", self.product, self.growth.from(), self.head.head.size)
    }
}

impl Replica {
    /// Verifies `entries`, the ones from `cursor` on, against a head that was signed for exactly their end: signature,
    /// canonical bytes, product, contracts, the rules of a log, and the root. An owner who signed what does not follow
    /// from what is held is found out, and that is remembered.
    ///
    /// [`Rejection::UnknownContract`] asks for [`Ledger::learn_contract`], then for another try.
    pub fn verify(
        ledger: &Ledger,
        cursor: Cursor,
        entries: Vec<Vec<u8>>,
        head: SignedHead,
        key: &VerifyingKey,
        now: UtcMicros,
    ) -> Result<Self, LedgerError> {
        let product = head.head.product.clone();
        if ledger.owns(&product) {
            return Err(LedgerError::Owner { product, own: true });
        }
        if !key.signed(&head) {
            return Err(Rejection::BadSignature.of(&product));
        }
        let verified = Self::verify_signed(ledger, cursor, entries, &head);
        if let Err(LedgerError::Rejected { rejection, .. }) = &verified
            && rejection.convicts()
        {
            let held = record(&ledger.store, &product)?.and_then(|record| record.log).map(|log| log.head);
            ledger
                .remember(&product, &FoundOut { at: now, fault: rejection.to_string(), held, shown: head.clone() })?;
        }
        Ok(Self { product, growth: verified?, head })
    }

    fn verify_signed(
        ledger: &Ledger,
        cursor: Cursor,
        entries: Vec<Vec<u8>>,
        head: &SignedHead,
    ) -> Result<Growth, LedgerError> {
        let head = &head.head;
        let product = &head.product;
        let reject = |rejection: Rejection| Err(rejection.of(product));
        if entries.len() > PAGE_ENTRIES_MAX {
            return reject(Rejection::PageTooLarge { entries: entries.len(), max: PAGE_ENTRIES_MAX });
        }
        let known = ledger.known(product)?;
        let held = known.size();
        if cursor.size != held {
            return Err(LedgerError::Stale { product: product.clone(), from: cursor.size, size: held });
        }
        if head.size < held {
            return Err(ledger.smaller(&known, head)?);
        }
        let end = held + entries.len() as u64;
        if head.size != end {
            return reject(Rejection::WrongSize { head: head.size, entries: end });
        }
        let mut frontier = known.log.as_ref().map_or_else(Frontier::new, |log| log.frontier.clone());
        entries.iter().for_each(|entry| frontier.append(leaf_hash(entry)));
        if frontier.root() != head.root {
            return reject(match entries.is_empty() {
                true => Rejection::Forked { size: head.size },
                false => Rejection::RootMismatch { size: head.size },
            });
        }
        let growth = Growth::of(ledger, product, known, entries, 0)?;
        if growth.closed_through() != head.closed_through {
            return reject(Rejection::HeadMismatch { head: head.closed_through, entry: growth.closed_through() });
        }
        Ok(growth)
    }
}

impl Ledger {
    /// What a head over fewer entries than those held means: another history, a history that shrank, or, if it was
    /// signed before the one that is held, nothing new.
    fn smaller(&self, known: &ProductRecord, head: &Head) -> Result<LedgerError, LedgerError> {
        let (held, product) = (known.size(), &head.product);
        let signed_later = known.log.as_ref().is_none_or(|log| log.head.head.at <= head.at);
        let moment = self.store.snapshot();
        let root = Leaves::new(&moment, product).frontier_at(head.size)?.root();
        Ok(if root != head.root {
            Rejection::Forked { size: head.size }.of(product)
        } else if signed_later {
            Rejection::Shrunk { held, shown: head.size }.of(product)
        } else {
            LedgerError::Stale { product: product.clone(), from: head.size, size: held }
        })
    }

    /// Where the replica of a product stands.
    pub fn cursor(&self, product: &ProductId) -> Result<Cursor, LedgerError> {
        Ok(Cursor { size: record(&self.store, product)?.map_or(0, |record| record.size()) })
    }

    /// Stores verified entries in one durable batch, and confirms the head over them.
    pub fn admit(&self, replica: Replica, now: UtcMicros) -> Result<Option<LogState>, LedgerError> {
        let Replica { product, growth, head } = replica;
        let _writing = locked(&self.writing);
        let known = self.known(&product)?;
        if known.size() != growth.from() {
            return Err(LedgerError::Stale { product, from: growth.from(), size: known.size() });
        }
        let mut batch = self.store.batch();
        let mut record = known;
        if growth.frontier().size() > growth.from() {
            let retention = self.contract(&product)?.map(|contract| contract.retention.releases);
            let expired = retention.map(|retention| now.before(retention));
            record = growth.write(&product, head, expired, &mut batch);
        }
        if self.store.get(refused::KEYSPACE, &refused::key(&product))?.is_some() {
            batch.delete(refused::KEYSPACE, refused::key(&product));
        }
        if locked(&self.said).confirm(&product, now) || !batch.is_empty() {
            batch.put(confirmed::KEYSPACE, confirmed::key(&product), confirmed::to_bytes(now));
            self.store.commit(batch)?;
        }
        Ok(LogState::of(&record))
    }

    /// Takes the owner's newest head without new entries. Where it is over the entries held, their age restarts; where
    /// it is over more, nothing changes and the number of entries yet to ask for comes back.
    pub fn confirm(&self, head: SignedHead, key: &VerifyingKey, now: UtcMicros) -> Result<u64, LedgerError> {
        let cursor = self.cursor(&head.head.product)?;
        if head.head.size > cursor.size && key.signed(&head) {
            return Ok(head.head.size - cursor.size);
        }
        let replica = Replica::verify(self, cursor, Vec::new(), head, key, now)?;
        self.admit(replica, now)?;
        Ok(0)
    }
}
