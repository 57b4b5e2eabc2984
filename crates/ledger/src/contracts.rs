//! Contracts by their hash: the one in force of each product, and all that its log names.

use std::collections::BTreeMap;
use std::sync::Arc;

use civicmesh_model::contract::Contract;
use civicmesh_model::hash::Hash32;
use civicmesh_model::names::ProductId;
use civicmesh_model::time::UtcMicros;
use civicmesh_store::Read;

use crate::error::LedgerError;
use crate::keys::contract;
use crate::keys::product::{self, ProductRecord};
use crate::ledger::{Ledger, locked, record, records_of};

/// Most contracts of one product, over all its time.
pub(crate) const CONTRACTS_MAX: usize = 256;
/// Most own products, over all time.
const OWN_PRODUCTS_MAX: usize = 4096;
/// Most products of one peer: its own bound, so that it takes no other's place.
pub(crate) const PRODUCTS_PER_PEER_MAX: usize = 256;
/// Most bytes that the documents of all contracts of one peer take.
pub(crate) const CONTRACT_BYTES_PER_PEER_MAX: u64 = 16 << 20;
/// Most bytes of documents whose contracts are kept in memory as read; beyond, reading begins anew.
pub(crate) const CONTRACTS_READ_BYTES_MAX: usize = 32 << 20;

/// Contracts that were read, by their hash.
#[derive(Default)]
pub(crate) struct ReadContracts {
    by_hash: BTreeMap<Hash32, Arc<Contract>>,
    /// Bytes of their documents.
    bytes: usize,
}

impl ReadContracts {
    /// Bytes of the documents of what is kept.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn keep(&mut self, hash: Hash32, contract: Arc<Contract>) {
        let bytes = contract.public_document().len();
        if self.bytes + bytes > CONTRACTS_READ_BYTES_MAX {
            *self = Self::default();
        }
        if self.by_hash.insert(hash, contract).is_none() {
            self.bytes += bytes;
        }
    }
}

impl Ledger {
    /// Takes a contract, own or a peer's, for the one in force. Refused if it contradicts one under which entries are
    /// in the log: grain, dimensions, the unit or decimals of a measure. One's own is refused, too, if it is another
    /// than such a contract and bears the same version. True if it was not in force before.
    pub fn adopt_contract(&self, contract: &Contract, now: UtcMicros) -> Result<bool, LedgerError> {
        let _writing = locked(&self.writing);
        let known = record(&self.store, &contract.product)?;
        let hash = contract.hash();
        if known.as_ref().is_some_and(|known| known.contract == hash) {
            return Ok(false);
        }
        let mut known = match known {
            Some(known) => known,
            None => self.new_product(&contract.product, hash)?,
        };
        for named in &known.named {
            let older = self.contract_by_hash(named)?.ok_or(MISSING)?;
            self.breaks(contract, &older)?;
            // a peer's word about its own versions is its own affair: its entries name contracts by hash
            if *named != hash && older.version == contract.version && self.owns(&contract.product) {
                let (product, version) = (contract.product.clone(), contract.version.clone());
                return Err(LedgerError::SameVersion { product, version });
            }
        }
        known.contract = hash;
        let closed_through = known.log.as_ref().map(|log| log.head.head.closed_through);
        self.store_contract(contract, known, now)?;
        let Contract { product, version, .. } = contract;
        match closed_through.filter(|_| self.owns(product)) {
            Some(from) => {
                tracing::info!(%product, contract = %hash, %version, %from, "contract adopted; it applies from there on")
            }
            None => tracing::info!(%product, contract = %hash, %version, "contract adopted"),
        }
        Ok(true)
    }

    /// A product of which nothing is known yet, if its domain may have another one.
    fn new_product(&self, product: &ProductId, contract: Hash32) -> Result<ProductRecord, LedgerError> {
        let (what, max) = match self.owns(product) {
            true => ("products of its own domain", OWN_PRODUCTS_MAX),
            false => ("products of one peer", PRODUCTS_PER_PEER_MAX),
        };
        if records_of(&self.store, &product.domain)?.len() >= max {
            return Err(LedgerError::TooMany { what, max: max as u64 });
        }
        Ok(ProductRecord {
            contract,
            contracts: Vec::new(),
            named: Default::default(),
            contract_bytes: 0,
            log: None,
            expired_through: None,
            body_bytes: 0,
        })
    }

    /// Takes a contract that was in force once, because entries of the log name it. True if it was not known before.
    pub fn learn_contract(&self, contract: &Contract, now: UtcMicros) -> Result<bool, LedgerError> {
        let _writing = locked(&self.writing);
        let known = self.known(&contract.product)?;
        if known.contracts.contains(&contract.hash()) {
            return Ok(false);
        }
        self.breaks(&*self.contract_by_hash(&known.contract)?.ok_or(MISSING)?, contract)?;
        self.store_contract(contract, known, now)?;
        Ok(true)
    }

    /// The contract in force of a product, as peers see it: without its dataset.
    pub fn contract(&self, product: &ProductId) -> Result<Option<Arc<Contract>>, LedgerError> {
        let Some(known) = record(&self.store, product)? else {
            return Ok(None);
        };
        self.contract_by_hash(&known.contract)?.ok_or(MISSING).map(Some)
    }

    /// The hash of the contract in force of a product, whether or not this version can read it.
    pub fn contract_hash(&self, product: &ProductId) -> Result<Option<Hash32>, LedgerError> {
        Ok(record(&self.store, product)?.map(|known| known.contract))
    }

    /// Every contract of a product by its hash, in the order in which they were first seen.
    pub fn contract_history(&self, product: &ProductId) -> Result<Vec<Hash32>, LedgerError> {
        Ok(record(&self.store, product)?.map(|known| known.contracts).unwrap_or_default())
    }

    /// The contract whose public document has this hash.
    pub fn contract_by_hash(&self, hash: &Hash32) -> Result<Option<Arc<Contract>>, LedgerError> {
        if let Some(contract) = locked(&self.contracts).by_hash.get(hash) {
            return Ok(Some(contract.clone()));
        }
        let Some(stored) = self.store.get(contract::KEYSPACE, contract::key(hash))? else {
            return Ok(None);
        };
        let (_, document) = contract::from_bytes(&stored)?;
        let contract = Arc::new(Contract::from_public(document)?);
        if contract.hash() != *hash {
            return Err(LedgerError::Damaged("a contract under the hash of another"));
        }
        locked(&self.contracts).keep(*hash, contract.clone());
        Ok(Some(contract))
    }

    fn breaks(&self, newer: &Contract, older: &Contract) -> Result<(), LedgerError> {
        match newer.breaks(older) {
            Some(reason) => Err(LedgerError::ContractBreaks { product: newer.product.clone(), reason }),
            None => Ok(()),
        }
    }

    fn store_contract(&self, contract: &Contract, mut known: ProductRecord, now: UtcMicros) -> Result<(), LedgerError> {
        let hash = contract.hash();
        let mut batch = self.store.batch();
        if !known.contracts.contains(&hash) {
            if known.contracts.len() >= CONTRACTS_MAX {
                return Err(LedgerError::TooMany { what: "contracts of one product", max: CONTRACTS_MAX as u64 });
            }
            let document = contract.public_document();
            self.has_room_for(&contract.product, document)?;
            known.contracts.push(hash);
            known.contract_bytes += document.len() as u64;
            batch.put(contract::KEYSPACE, contract::key(&hash), contract::to_bytes(now, document));
        }
        batch.put(product::KEYSPACE, product::key(&contract.product), known.to_bytes());
        Ok(self.store.commit(batch)?)
    }
}

impl Ledger {
    fn has_room_for(&self, product: &ProductId, document: &[u8]) -> Result<(), LedgerError> {
        if self.owns(product) {
            return Ok(());
        }
        let known = records_of(&self.store, &product.domain)?;
        let bytes: u64 = known.iter().map(|(_, known)| known.contract_bytes).sum();
        if bytes + document.len() as u64 > CONTRACT_BYTES_PER_PEER_MAX {
            let (what, max) = ("bytes of contracts of one peer", CONTRACT_BYTES_PER_PEER_MAX);
            return Err(LedgerError::TooMany { what, max });
        }
        Ok(())
    }
}

/// A hash that a product's record names and that has no contract.
const MISSING: LedgerError = LedgerError::Damaged("a contract that is named and missing");
