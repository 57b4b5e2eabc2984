//! What one peer may take from the ledger. Whether it may is asked of the contract in force, every time.

use std::sync::Arc;

use civicmesh_ledger::{Ledger, LedgerError, PAGE_ENTRIES_MAX, SigningKey};
use civicmesh_model::{
    contract::{Contract, Status},
    hash::Hash32,
    log::SignedHead,
    names::{DomainName, ProductId},
    time::UtcMicros,
};

use crate::wire::{Listed, Page, Reason, Standing};

/// The own domain's products as one peer may see them.
pub(super) struct Shelf {
    pub(super) own: DomainName,
    pub(super) peer: DomainName,
    pub(super) key: Arc<SigningKey>,
    pub(super) now: UtcMicros,
}

/// An answer of the ledger, unless it failed; a refusal is an answer.
type Answer<T> = Result<Result<T, Reason>, LedgerError>;

impl Shelf {
    /// Every product that the domain shares with anyone, with what the peer may know of it.
    pub(super) fn list(&self, ledger: &Ledger) -> Result<Vec<Listed>, LedgerError> {
        let mut listed = Vec::new();
        for product in ledger.products_of(&self.own)? {
            match self.standing(ledger, &product) {
                Ok(standing) => listed.extend(standing.map(|standing| Listed { product, standing })),
                Err(error @ LedgerError::Store(_)) => return Err(error),
                Err(error) => tracing::error!(%product, %error, "a product cannot be listed"),
            }
        }
        Ok(listed)
    }

    /// What the peer may know of a product; nothing of one that is shared with nobody.
    fn standing(&self, ledger: &Ledger, product: &ProductId) -> Result<Option<Standing>, LedgerError> {
        Ok(match self.granted(ledger, product)? {
            Ok(contract) => {
                let head = self.newest_head(ledger, product)?;
                Some(Standing::Granted { contract: contract.hash(), head })
            }
            Err(Reason::UnknownProduct) => None,
            Err(reason) => Some(Standing::Refused(reason)),
        })
    }

    /// A contract that is, or was, in force for a product.
    pub(super) fn contract(&self, ledger: &Ledger, product: &ProductId, hash: &Hash32) -> Answer<Arc<Contract>> {
        if let Err(reason) = self.granted(ledger, product)? {
            return Ok(Err(reason));
        }
        let known = ledger.contract_history(product)?.contains(hash);
        let contract = if known { ledger.contract_by_hash(hash)? } else { None };
        Ok(contract.ok_or(Reason::UnknownContract))
    }

    /// The entries from an index on; nothing at the log's end.
    pub(super) fn page(
        &self,
        ledger: &Ledger,
        product: &ProductId,
        from_index: u64,
        bytes_max: usize,
    ) -> Answer<Option<Page>> {
        if let Err(reason) = self.granted(ledger, product)? {
            return Ok(Err(reason));
        }
        let mut entries = match ledger.entries(product, from_index, bytes_max) {
            Ok(entries) => entries,
            Err(LedgerError::BeyondTheLog { .. }) => return Ok(Err(Reason::BeyondEnd)),
            Err(error) => return Err(error),
        };
        entries.truncate(PAGE_ENTRIES_MAX);
        if entries.is_empty() {
            return Ok(Ok(None));
        }
        let end = from_index + entries.len() as u64;
        Ok(Ok(Some(Page {
            from_index,
            entries: entries.into_iter().map(|(_, bytes)| bytes).collect(),
            page_head: ledger.head_at(product, end, &self.key, self.now)?,
            newest_head: self.newest_head(ledger, product)?,
        })))
    }

    /// The contract in force of an own, active product, if the peer is in its audience.
    fn granted(&self, ledger: &Ledger, product: &ProductId) -> Answer<Arc<Contract>> {
        if product.domain != self.own {
            return Ok(Err(Reason::UnknownProduct));
        }
        Ok(match ledger.contract(product)? {
            Some(contract) if contract.status == Status::Active => {
                let granted = contract.audience.admits(&self.peer);
                if granted { Ok(contract) } else { Err(Reason::NotGranted) }
            }
            Some(_) | None => Err(Reason::UnknownProduct),
        })
    }

    fn newest_head(&self, ledger: &Ledger, product: &ProductId) -> Result<SignedHead, LedgerError> {
        let size = ledger.log(product)?.map_or(0, |log| log.head.head.size);
        ledger.head_at(product, size, &self.key, self.now)
    }
}
