//! What a log grows by: entries that keep its rules, with everything that is stored with them.

use std::collections::BTreeMap;

use civicmesh_model::grain::Window;
use civicmesh_model::log::{Frontier, SignedHead};
use civicmesh_model::names::ProductId;
use civicmesh_model::release::Entry;
use civicmesh_model::time::UtcMicros;
use civicmesh_store::Batch;

use crate::error::{LedgerError, Rejection};
use crate::keys::leaf::{self, Leaf};
use crate::keys::product::{self, LogRecord, ProductRecord};
use crate::keys::window::{self, Covered};
use crate::keys::{entry, frontier, segment};
use crate::ledger::Ledger;
use crate::timeline::Timeline;

/// Entries that may follow a log, not yet stored.
pub(crate) struct Growth {
    from: u64,
    bodies: Vec<Vec<u8>>,
    leaves: Vec<Leaf>,
    checkpoints: Vec<Frontier>,
    windows: BTreeMap<UtcMicros, Covered>,
    newest: Option<Window>,
    /// What is known of the product, with what the entries add.
    record: ProductRecord,
    frontier: Frontier,
    closed_through: UtcMicros,
}

impl Growth {
    /// Lets the entries follow the log that `record` is the state of, or says which rule they break. `sequence` is the
    /// vault's, which the entries counted.
    pub(crate) fn of(
        ledger: &Ledger,
        product: &ProductId,
        mut record: ProductRecord,
        bodies: Vec<Vec<u8>>,
        sequence: u64,
    ) -> Result<Self, LedgerError> {
        let log = record.log.as_ref();
        let mut frontier = log.map_or_else(Frontier::new, |log| log.frontier.clone());
        let newest = log.map(|log| log.newest);
        let mut closed_through = closed_through(&record);
        let mut timeline = Timeline::new(&ledger.store, product, ledger.zone, newest, closed_through);
        let from = frontier.size();
        let (mut leaves, mut checkpoints) = (Vec::with_capacity(bodies.len()), Vec::new());
        for body in &bodies {
            let index = frontier.size();
            let entry = read(index, body, product)?;
            let hash = entry.contract();
            let contract = record.contracts.contains(&hash).then(|| ledger.contract_by_hash(&hash)).transpose()?;
            let unknown = || Rejection::UnknownContract { index, contract: hash }.of(product);
            let contract = contract.flatten().ok_or_else(unknown)?;
            timeline.place(index, &entry, &contract, sequence)?;
            closed_through = entry.closed_through();
            let leaf = Leaf::of_body(&entry, body);
            frontier.append(leaf.hash);
            leaves.push(leaf);
            record.named.insert(hash);
            if frontier.size().is_multiple_of(frontier::CHECKPOINT_ENTRIES) {
                checkpoints.push(frontier.clone());
            }
        }
        let (windows, newest) = timeline.into_parts();
        Ok(Self { from, bodies, leaves, checkpoints, windows, newest, record, frontier, closed_through })
    }

    /// Entries in the log before it grows.
    pub(crate) fn from(&self) -> u64 {
        self.from
    }

    /// The frontier of the log when it has grown.
    pub(crate) fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Through when the log is closed when it has grown.
    pub(crate) fn closed_through(&self) -> UtcMicros {
        self.closed_through
    }

    /// Puts everything into one batch. Bodies of entries that end by `expired` are left out: their retention is over.
    pub(crate) fn write(
        self,
        product: &ProductId,
        head: SignedHead,
        expired: Option<UtcMicros>,
        batch: &mut Batch<'_>,
    ) -> ProductRecord {
        let Self { from, bodies, leaves, checkpoints, windows, newest, mut record, frontier, .. } = self;
        for (index, (body, mut leaf)) in (from..).zip(bodies.into_iter().zip(leaves)) {
            leaf.body_kept = expired.is_none_or(|expired| leaf.end > expired);
            if leaf.body_kept {
                record.body_bytes += body.len() as u64;
                batch.put(entry::KEYSPACE, entry::key(product, index), body);
            } else {
                record.expired_through = record.expired_through.max(expired);
            }
            batch.put(leaf::KEYSPACE, leaf::key(product, index), leaf.to_bytes());
        }
        for checkpoint in checkpoints {
            let key = frontier::key(product, checkpoint.size());
            batch.put(frontier::KEYSPACE, key, frontier::to_bytes(&checkpoint));
        }
        for (start, covered) in windows {
            batch.put(window::KEYSPACE, window::key(product, start), covered.to_bytes());
            if covered.revision > 0 {
                batch.put(segment::REVISED, segment::key(product, start), []);
            }
        }
        record.log = newest.map(|newest| LogRecord { head, frontier, newest });
        batch.put(product::KEYSPACE, product::key(product), record.to_bytes());
        record
    }
}

/// Through when a log is closed; one without an entry, not at all.
pub(crate) fn closed_through(record: &ProductRecord) -> UtcMicros {
    record.log.as_ref().map_or(UtcMicros::MIN, |log| log.head.head.closed_through)
}

/// The entry of this product that these are the canonical bytes of.
fn read(index: u64, body: &[u8], product: &ProductId) -> Result<Entry, LedgerError> {
    let entry = Entry::decode(body);
    let entry = entry.map_err(|error| Rejection::NotCanonical { index, error }.of(product))?;
    if entry.product() != product {
        return Err(Rejection::WrongProduct { index, found: entry.product().clone() }.of(product));
    }
    Ok(entry)
}
