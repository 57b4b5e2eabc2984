//! Contracts by their hash: the one in force of each product, and all that its log names.

use std::sync::Arc;

use civicmesh_model::contract::Contract;
use civicmesh_model::hash::Hash32;
use civicmesh_model::names::ProductId;
use civicmesh_model::time::UtcMicros;
use civicmesh_store::Read;

use crate::error::LedgerError;
use crate::keys::contract;
use crate::keys::product::{self, ProductRecord};
use crate::ledger::{Ledger, locked, record, records};

/// Most contracts of one product, over all its time.
const CONTRACTS_MAX: usize = 1024;
/// Most products, own and replicas.
const PRODUCTS_MAX: usize = 4096;
/// Most contracts kept in memory as read; beyond, reading begins anew.
const CONTRACTS_READ_MAX: usize = 4096;

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
        if known.is_none() && records(&self.store)?.len() >= PRODUCTS_MAX {
            return Err(LedgerError::TooMany { what: "products", max: PRODUCTS_MAX });
        }
        let mut known = known.unwrap_or_else(|| ProductRecord {
            contract: hash,
            contracts: Vec::new(),
            named: Default::default(),
            log: None,
            expired_through: None,
        });
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

    /// Every contract of a product by its hash, in the order in which they were first seen.
    pub fn contract_history(&self, product: &ProductId) -> Result<Vec<Hash32>, LedgerError> {
        Ok(record(&self.store, product)?.map(|known| known.contracts).unwrap_or_default())
    }

    /// The contract whose public document has this hash.
    pub fn contract_by_hash(&self, hash: &Hash32) -> Result<Option<Arc<Contract>>, LedgerError> {
        if let Some(contract) = locked(&self.contracts).get(hash) {
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
        let mut read = locked(&self.contracts);
        if read.len() >= CONTRACTS_READ_MAX {
            read.clear();
        }
        read.insert(*hash, contract.clone());
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
                return Err(LedgerError::TooMany { what: "contracts of one product", max: CONTRACTS_MAX });
            }
            known.contracts.push(hash);
            let value = contract::to_bytes(now, contract.public_document());
            batch.put(contract::KEYSPACE, contract::key(&hash), value);
        }
        batch.put(product::KEYSPACE, product::key(&contract.product), known.to_bytes());
        Ok(self.store.commit(batch)?)
    }
}

/// A hash that a product's record names and that has no contract.
const MISSING: LedgerError = LedgerError::Damaged("a contract that is named and missing");
