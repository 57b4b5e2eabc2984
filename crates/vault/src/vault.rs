//! The vault itself: opened, and one writer at a time.

use crate::VaultError;
use crate::keys::meta::{self, FORMAT, Identity};
use crate::keys::{self, claims, datasets};
use crate::partition::Days;
use civicmesh_model::names::{DatasetName, ProductId};
use civicmesh_model::time::Zone;
use civicmesh_model::vault_id::VaultId;
use civicmesh_store::{DirectoryMode, Environment, Hook, Store, StoreError};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a vault is opened.
#[derive(Clone)]
pub struct Options {
    /// The city's zone, whose civil days are the partitions.
    pub zone: Zone,
    /// What a vault is called that has no id yet, drawn at random.
    pub fresh_id: VaultId,
    /// Where the bytes go.
    pub environment: Environment,
    /// Fails batches on purpose.
    pub hook: Option<Arc<dyn Hook>>,
}

impl Options {
    /// A vault on the file system, without a hook.
    pub fn new(zone: Zone, fresh_id: VaultId) -> Self {
        Self { zone, fresh_id, environment: Environment::Disk, hook: None }
    }
}

/// The raw observations of one domain.
#[derive(Debug)]
pub struct Vault {
    pub(crate) store: Store,
    pub(crate) days: Days,
    /// Held by whoever changes something, from his first read to his commit: sequences are given and committed in
    /// order, and what a change was reckoned from still holds when it is stored.
    writing: Mutex<()>,
}

impl Vault {
    /// Opens the vault in the directory `path`, which is made, closed to all others, where it does not exist. A file
    /// that was being taken back when the process died is taken back now.
    pub fn open(path: &Path, options: &Options) -> Result<Self, VaultError> {
        let Options { zone, fresh_id, environment, hook } = options.clone();
        let store = civicmesh_store::Options {
            environment,
            hook,
            ..civicmesh_store::Options::new(keys::ALL, DirectoryMode::Owner)
        };
        let store = Store::open(path, &store)?;
        let identity = Identity { format: FORMAT, zone };
        let mut batch = store.batch();
        match meta::identity(&store)? {
            None => meta::put_identity(&mut batch, &identity),
            Some(stored) if stored.format != FORMAT => {
                return Err(VaultError::Format { stored: stored.format, known: FORMAT });
            }
            Some(stored) if stored.zone != zone => {
                return Err(VaultError::Zone { stored: stored.zone, given: zone });
            }
            Some(_) => {}
        }
        if meta::id(&store)?.is_none() {
            meta::put_id(&mut batch, fresh_id);
        }
        if batch.is_empty() {
            drop(batch);
        } else {
            store.commit(batch)?;
        }
        let vault = Self { store, days: Days::new(zone), writing: Mutex::new(()) };
        for (dataset, set) in datasets::all(&vault.store)? {
            if let Some(file) = set.undoing {
                vault.take_back(&dataset, file)?;
            }
        }
        Ok(vault)
    }

    /// What tells this vault from another.
    pub fn id(&self) -> Result<VaultId, VaultError> {
        meta::id(&self.store)?.ok_or(VaultError::Damaged(meta::KEYSPACE.name()))
    }

    /// Calls the vault otherwise: its department has stated that rows which it should hold are gone, and a backup of
    /// it is from now on another vault.
    pub fn rename(&self, id: VaultId) -> Result<(), VaultError> {
        let _writing = self.write();
        let mut batch = self.store.batch();
        meta::put_id(&mut batch, id);
        Ok(self.store.commit(batch)?)
    }

    /// Why the vault takes nothing more until it is opened anew; none while it does.
    pub fn broken(&self) -> Option<&StoreError> {
        self.store.broken()
    }

    /// The sequence of the last change to observations; it never falls.
    pub fn sequence(&self) -> Result<u64, VaultError> {
        meta::sequence(&self.store)
    }

    /// Bytes that the vault takes on the disk, without the write-ahead log.
    pub fn size_bytes(&self) -> Result<u64, VaultError> {
        Ok(self.store.size_bytes()?)
    }

    /// Writes what is in memory to tables, so that the next opening is fast.
    pub fn flush(&self) -> Result<(), VaultError> {
        Ok(self.store.flush()?)
    }

    /// The product that was last released from a dataset.
    pub fn claimant(&self, dataset: &DatasetName) -> Result<Option<ProductId>, VaultError> {
        claims::get(&self.store, dataset)
    }

    /// Notes that windows of `product` are about to be released from a dataset: of two products over the same rows
    /// the difference could show a single one, so whoever starts a second one asks [`Vault::claimant`] first.
    pub fn claim(&self, dataset: &DatasetName, product: &ProductId) -> Result<(), VaultError> {
        let _writing = self.write();
        if claims::get(&self.store, dataset)?.as_ref() == Some(product) {
            return Ok(());
        }
        let mut batch = self.store.batch();
        claims::put(&mut batch, dataset, product);
        self.store.commit(batch)?;
        Ok(())
    }

    /// The right to change something. One who panicked while he held it changed nothing: a batch is stored whole.
    pub(crate) fn write(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
