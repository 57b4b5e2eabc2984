//! The world that simulated nodes live in: network, clock, disks, randomness and links, with the taps and hooks by which
//! faults come in and checkers look on.
//!
//! Every host is one node. What a node cannot tell from the outside is real: it is `civicmesh_node::Node` in its own
//! runtime. Bytes that pass between nodes go through a `tap::Tap`, commits through a `disk::Trap`.

pub mod clock;
pub mod disk;
pub mod executor;
pub mod links;
pub mod network;
pub mod tap;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use civicmesh_node::Environment;
use civicmesh_node::environment::Storage;
use civicmesh_store::{MemoryDisk, StoreError};

use self::clock::{SimClock, SimEntropy};
use self::disk::Trap;
use self::executor::Inline;
use self::links::Plain;
use self::network::SimNetwork;
use self::tap::Wires;

/// The port at which a node listens for peers.
pub const CITY_PORT: u16 = 7400;
/// The port at which it listens for its own department, on its own loopback.
pub const DEPARTMENT_PORT: u16 = 7500;

/// One host: what of a node outlives its process.
pub struct Machine {
    /// The domain, which is also the host's name.
    pub domain: String,
    /// Its clock.
    pub clock: Arc<SimClock>,
    /// What stands between the vault and its disk.
    pub vault: Arc<Trap>,
    /// What stands between the ledger and its disk.
    pub ledger: Arc<Trap>,
    /// The process is dead, though its futures may not have been dropped yet: nothing that it does is seen any more.
    pub dead: Arc<AtomicBool>,
    /// Where its storage and parsing run.
    pub executor: Arc<Inline>,
    entropy: Arc<SimEntropy>,
    network: Arc<SimNetwork>,
    vault_disk: MemoryDisk,
    ledger_disk: Mutex<MemoryDisk>,
}

impl Machine {
    /// A host for the node of `domain`, with empty disks.
    pub fn new(domain: &str, seed: u64, warp: u64, wires: &Arc<Wires>) -> Result<Machine, StoreError> {
        let dead = Arc::new(AtomicBool::new(false));
        Ok(Machine {
            domain: domain.to_owned(),
            clock: Arc::new(SimClock::new(warp)),
            vault: Arc::new(Trap::new(Arc::clone(&dead))),
            ledger: Arc::new(Trap::new(Arc::clone(&dead))),
            executor: Arc::default(),
            entropy: Arc::new(SimEntropy::new(seed, domain)),
            network: Arc::new(SimNetwork::new(domain, Arc::clone(&dead), Arc::clone(wires))),
            vault_disk: MemoryDisk::new()?,
            ledger_disk: Mutex::new(MemoryDisk::new()?),
            dead,
        })
    }

    /// What the node takes from the world.
    pub fn environment(&self) -> Environment {
        let vault = self.vault_disk.clone();
        let ledger = self.ledger_disk.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let storage = |disk, trap: &Arc<Trap>| Storage {
            environment: civicmesh_store::Environment::Memory(disk),
            hook: Some(Arc::clone(trap) as _),
        };
        Environment {
            clock: Arc::clone(&self.clock) as _,
            entropy: Arc::clone(&self.entropy) as _,
            network: Arc::clone(&self.network) as _,
            handshake: Arc::new(Plain),
            blocking: Arc::clone(&self.executor) as _,
            vault: storage(vault, &self.vault),
            ledger: storage(ledger, &self.ledger),
        }
    }

    /// The disk under the ledger is another one, and empty; to be called while no node runs.
    pub fn lose_ledger(&self) -> Result<(), StoreError> {
        *self.ledger_disk.lock().unwrap_or_else(PoisonError::into_inner) = MemoryDisk::new()?;
        Ok(())
    }

    /// A new process: it may be seen again.
    pub fn revive(&self) {
        self.dead.store(false, SeqCst);
    }
}
