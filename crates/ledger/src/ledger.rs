//! The ledger itself: opening it, and what can be read of it as of now.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use civicmesh_model::grain::Window;
use civicmesh_model::log::SignedHead;
use civicmesh_model::names::{DomainName, ProductId};
use civicmesh_model::time::{UtcMicros, Zone};
use civicmesh_store::{Direction, DirectoryMode, Environment, Hook, KeyRange, Read, Store};

use crate::bodies::Bodies;
use crate::contracts::ReadContracts;
use crate::counting;
use crate::decoded::Decoded;
use crate::error::LedgerError;
use crate::keys::product::{self, ProductRecord};
use crate::keys::vault::VaultRecord;
use crate::keys::{KEYSPACES, prefix_of_domain};
use crate::merge::LeftBehind;
use crate::said::Said;

/// How a ledger is opened.
#[derive(Clone)]
pub struct Options {
    /// The domain whose ledger it is: its products are its own, all others are replicas.
    pub domain: DomainName,
    /// The city's zone, in which windows lie.
    pub zone: Zone,
    /// Where the bytes go.
    pub environment: Environment,
    /// Fails batches on purpose.
    pub hook: Option<Arc<dyn Hook>>,
}

/// The state of a product's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// The newest signed head; of a replica, the newest that was verified.
    pub head: SignedHead,
    /// Every window that ends by then is in the log.
    pub closed_through: UtcMicros,
    /// The latest window in the log, be it released, refused or empty.
    pub newest_window: Window,
}

/// What of a product's log is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Entries: their leaves stay for good.
    pub entries: u64,
    /// Bytes of the bodies that are kept.
    pub body_bytes: u64,
}

/// Own releases, replicas, their logs and contracts, and what peers said. Share it behind an `Arc`.
pub struct Ledger {
    pub(crate) store: Store,
    pub(crate) domain: DomainName,
    pub(crate) zone: Zone,
    /// Held from reading what a change rests on until it is stored.
    pub(crate) writing: Mutex<()>,
    pub(crate) contracts: Mutex<ReadContracts>,
    /// The size of each log when there was nothing left to merge in it.
    pub(crate) merged: Mutex<BTreeMap<ProductId, u64>>,
    pub(crate) left_behind: Mutex<LeftBehind>,
    pub(crate) said: Mutex<Said>,
    /// The vault that own releases are counted from.
    pub(crate) vault: Mutex<Option<VaultRecord>>,
    /// Columns of segments that questions decoded.
    pub(crate) decoded: Decoded,
}

impl Ledger {
    /// Opens the ledger in a directory, which is made if it does not exist.
    pub fn open(path: &Path, options: Options) -> Result<Self, LedgerError> {
        let Options { domain, zone, environment, hook } = options;
        let directory_mode = DirectoryMode::OwnerAndGroup;
        let options = civicmesh_store::Options { keyspaces: KEYSPACES, directory_mode, environment, hook };
        let store = Store::open(path, &options)?;
        let said = Mutex::new(Said::read(&store)?);
        let vault = Mutex::new(counting::read(&store)?);
        Ok(Self {
            store,
            domain,
            zone,
            writing: Mutex::default(),
            contracts: Mutex::default(),
            merged: Mutex::default(),
            left_behind: Mutex::default(),
            said,
            vault,
            decoded: Decoded::default(),
        })
    }

    /// Whether this domain owns the product.
    pub fn owns(&self, product: &ProductId) -> bool {
        product.domain == self.domain
    }

    /// Every product of one domain of which a contract is known, in the order of their names: what costs as much however
    /// many others there are in the city.
    pub fn products_of(&self, domain: &DomainName) -> Result<Vec<ProductId>, LedgerError> {
        Ok(records_of(&self.store, domain)?.into_iter().map(|(product, _)| product).collect())
    }

    /// The state of a product's log, once it has an entry.
    pub fn log(&self, product: &ProductId) -> Result<Option<LogState>, LedgerError> {
        Ok(record(&self.store, product)?.and_then(|record| LogState::of(&record)))
    }

    /// What of a product is stored here.
    pub fn stored(&self, product: &ProductId) -> Result<Stored, LedgerError> {
        let known = record(&self.store, product)?;
        Ok(known.map_or(Stored::default(), |known| Stored { entries: known.size(), body_bytes: known.body_bytes }))
    }

    /// The canonical bytes of the entries from `from` on, with their indexes: as many as fit into `bytes_max`, but one
    /// at least; none at the end of the log.
    pub fn entries(
        &self,
        product: &ProductId,
        from: u64,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, LedgerError> {
        let moment = self.store.snapshot();
        let size = record(&moment, product)?.map_or(0, |record| record.size());
        if from > size {
            return Err(LedgerError::BeyondTheLog { product: product.clone(), asked: from, size });
        }
        let mut bodies = Bodies::new(&moment, product);
        let (mut entries, mut bytes) = (Vec::new(), 0_usize);
        for index in from..size {
            let Some(body) = bodies.body(index)? else {
                break;
            };
            bytes = bytes.saturating_add(body.len());
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push((index, body));
        }
        if entries.is_empty() && from < size {
            return Err(LedgerError::Expired { product: product.clone(), index: from });
        }
        Ok(entries)
    }

    /// Bytes that the ledger takes on the disk and in memory tables.
    pub fn size_bytes(&self) -> Result<u64, LedgerError> {
        Ok(self.store.size_bytes()?)
    }

    /// Writes what is in memory to tables, so that the next opening is quick.
    pub fn flush(&self) -> Result<(), LedgerError> {
        Ok(self.store.flush()?)
    }

    /// What is known of a product, or the error that nothing is.
    pub(crate) fn known(&self, product: &ProductId) -> Result<ProductRecord, LedgerError> {
        record(&self.store, product)?.ok_or_else(|| LedgerError::UnknownProduct(product.clone()))
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("domain", &self.domain).field("store", &self.store).finish_non_exhaustive()
    }
}

impl LogState {
    pub(crate) fn of(record: &ProductRecord) -> Option<Self> {
        let log = record.log.as_ref()?;
        let closed_through = log.head.head.closed_through;
        Some(Self { head: log.head.clone(), closed_through, newest_window: log.newest })
    }
}

/// What is known of a product.
pub(crate) fn record(read: &impl Read, product: &ProductId) -> Result<Option<ProductRecord>, LedgerError> {
    let stored = read.get(product::KEYSPACE, &product::key(product))?;
    stored.map(|stored| ProductRecord::from_bytes(&stored)).transpose()
}

/// What is known of every product.
pub(crate) fn records(read: &impl Read) -> Result<Vec<(ProductId, ProductRecord)>, LedgerError> {
    records_in(read, KeyRange::all())
}

/// What is known of every product of a domain.
pub(crate) fn records_of(
    read: &impl Read,
    domain: &DomainName,
) -> Result<Vec<(ProductId, ProductRecord)>, LedgerError> {
    records_in(read, KeyRange::prefix(prefix_of_domain(domain)))
}

fn records_in(read: &impl Read, range: KeyRange) -> Result<Vec<(ProductId, ProductRecord)>, LedgerError> {
    let stored = read.iterate(product::KEYSPACE, range, Direction::Forward);
    stored
        .map(|stored| {
            let (key, value) = stored?;
            Ok((product::parse(&key)?, ProductRecord::from_bytes(&value)?))
        })
        .collect()
}

/// The lock, also after a holder panicked: what these locks guard is changed in one step, or not at all.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
