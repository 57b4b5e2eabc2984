//! Which vault own releases are counted from. A vault that was emptied or restored from a backup has not seen all that
//! was counted: a window counted from it anew would say less than its release did.

use std::collections::BTreeMap;

use civicmesh_model::names::ProductId;
use civicmesh_model::time::UtcMicros;
use civicmesh_model::vault_id::VaultId;
use civicmesh_store::{Direction, KeyRange, Read, Store, StoreError};

use crate::error::LedgerError;
use crate::keys::prefix_of_domain;
use crate::keys::vault::{self, Gone, VaultRecord};
use crate::keys::window::{self, Covered};
use crate::ledger::{Ledger, locked, records_of};
use crate::timeline::last_before;

/// Where a vault stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VaultMark {
    /// The vault.
    pub id: VaultId,
    /// Its last sequence.
    pub sequence: u64,
}

/// What the newest entry about a window counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Its revision.
    pub revision: u32,
    /// The vault's sequence up to which all was counted into it.
    pub sequence: u64,
    /// Its rows are gone: it is not counted again.
    pub gone: bool,
}

/// Why windows may not be counted from a vault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CountError {
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// It has not seen all that was counted.
    #[error(
        "this vault {}: the rows behind what was released are not in it. Restore the vault {counted} with all that it \
         held; or, if those rows are gone for good, say so once with `civicmesh node run NODE_DIR --rows-gone \
         {counted}`: windows that are released then stay as they are, and later ones are closed from the rows that \
         are there",
        shortfall(counted, *sequence, found)
    )]
    RowsMissing {
        /// The vault that was counted from.
        counted: VaultId,
        /// Its highest sequence that was counted.
        sequence: u64,
        /// The vault that was found.
        found: VaultMark,
    },
}

fn shortfall(counted: &VaultId, sequence: u64, found: &VaultMark) -> String {
    if *counted == found.id {
        format!("stands at sequence {}, and releases were counted from it up to {sequence}", found.sequence)
    } else {
        format!("is {}, and releases were counted from {counted}", found.id)
    }
}

impl Ledger {
    /// From here on own windows are counted from this vault. Refused where it lacks what was counted before.
    pub fn count_from(&self, mark: VaultMark) -> Result<(), CountError> {
        let _writing = locked(&self.writing);
        let known = locked(&self.vault).clone();
        let known = match known {
            Some(known) => known,
            // written before ledgers knew their vault: the one that is there is taken for it, if it has all
            None => VaultRecord { id: mark.id, sequence: self.highest_counted()?, gone: BTreeMap::new() },
        };
        if (known.sequence > 0 && known.id != mark.id) || known.sequence > mark.sequence {
            let VaultRecord { id: counted, sequence, .. } = known;
            return Err(CountError::RowsMissing { counted, sequence, found: mark });
        }
        Ok(self.keep_vault(VaultRecord { id: mark.id, ..known })?)
    }

    /// The department states that the rows behind what was released are gone, and goes on with this vault: no window
    /// that is closed is counted again.
    pub fn count_without_earlier_rows(&self, mark: VaultMark) -> Result<(), LedgerError> {
        let _writing = locked(&self.writing);
        let mut gone = BTreeMap::new();
        for (product, record) in records_of(&self.store, &self.domain)? {
            if let Some(log) = record.log {
                let before = log.head.head.closed_through;
                gone.insert(product, Gone { before, sequence: mark.sequence });
            }
        }
        self.keep_vault(VaultRecord { id: mark.id, sequence: mark.sequence, gone })
    }

    /// Why the ledger takes nothing more until it is opened anew; none while it does.
    pub fn broken(&self) -> Option<&StoreError> {
        self.store.broken()
    }

    fn keep_vault(&self, record: VaultRecord) -> Result<(), LedgerError> {
        if locked(&self.vault).as_ref() == Some(&record) {
            return Ok(());
        }
        let mut batch = self.store.batch();
        batch.put(vault::KEYSPACE, vault::KEY, record.to_bytes());
        self.store.commit(batch)?;
        *locked(&self.vault) = Some(record);
        Ok(())
    }

    /// The highest sequence that an own window counted.
    fn highest_counted(&self) -> Result<u64, LedgerError> {
        let own = KeyRange::prefix(prefix_of_domain(&self.domain));
        let mut highest = 0;
        for stored in self.store.iterate(window::KEYSPACE, own, Direction::Forward) {
            highest = highest.max(Covered::from_bytes(&stored?.1)?.sequence);
        }
        Ok(highest)
    }

    /// What the newest entry about the window that starts at `start` counted, if there is one.
    pub fn counted(&self, product: &ProductId, start: UtcMicros) -> Result<Option<Counted>, LedgerError> {
        let covered = last_before(&self.store, product, UtcMicros(start.0.saturating_add(1)))?;
        let Some((_, covered)) = covered.filter(|(_, covered)| covered.end > start) else {
            return Ok(None);
        };
        let vault = locked(&self.vault);
        let gone = vault.as_ref().and_then(|vault| vault.gone.get(product)).filter(|gone| start < gone.before);
        let sequence = gone.map_or(covered.sequence, |gone| gone.sequence);
        Ok(Some(Counted { revision: covered.revision, sequence, gone: gone.is_some() }))
    }

    /// Where the first window of a product's log starts, once it has one.
    pub fn covered_from(&self, product: &ProductId) -> Result<Option<UtcMicros>, LedgerError> {
        let all = window::before(product, UtcMicros::MAX);
        let first = self.store.iterate(window::KEYSPACE, all, Direction::Forward).next().transpose()?;
        first.map(|(key, _)| window::start(&key)).transpose()
    }
}

/// The vault that windows were counted from, as stored.
pub(crate) fn read(store: &Store) -> Result<Option<VaultRecord>, LedgerError> {
    let stored = store.get(vault::KEYSPACE, vault::KEY)?;
    stored.map(|stored| VaultRecord::from_bytes(&stored)).transpose()
}
