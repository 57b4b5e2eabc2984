//! Time and randomness.

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

use civicmesh_exchange::link::{Clock, Entropy};
use civicmesh_model::time::UtcMicros;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A host's clock: the simulation's, sped up, and wrong where a fault says so.
///
/// The network's time is that of the node's timeouts; a second of it is `warp` seconds of the city's, so that days go by
/// in few steps. Nodes measure time without their clock only to judge whether it jumped: where `warp` is not 1 they find
/// that it does all the time, and so drop nothing for its age.
pub struct SimClock {
    warp: u64,
    skew_us: AtomicI64,
    skew_us_most: AtomicI64,
}

impl SimClock {
    /// A clock that is right.
    pub fn new(warp: u64) -> SimClock {
        SimClock { warp, skew_us: AtomicI64::new(0), skew_us_most: AtomicI64::new(0) }
    }

    /// Puts it ahead by so many seconds, on top of what it is.
    pub fn shift(&self, seconds: i64) {
        let by = seconds.saturating_mul(1_000_000);
        let skew = self.skew_us.fetch_add(by, SeqCst).saturating_add(by);
        self.skew_us_most.fetch_max(skew, SeqCst);
    }

    /// How far ahead it was at the most, in microseconds; never below 0.
    pub fn skew_us_most(&self) -> i64 {
        self.skew_us_most.load(SeqCst)
    }

    /// How far ahead it is, in microseconds.
    pub fn skew_us(&self) -> i64 {
        self.skew_us.load(SeqCst)
    }

    /// The true time of the host that is running.
    pub fn truth(&self) -> UtcMicros {
        let micros = |of: std::time::Duration| i64::try_from(of.as_micros()).unwrap_or(i64::MAX);
        let (since, elapsed) = (turmoil::since_epoch(), turmoil::sim_elapsed());
        let (since, elapsed) = (since.map_or(0, micros), elapsed.map_or(0, micros));
        UtcMicros(since - elapsed + elapsed.saturating_mul(self.warp as i64))
    }
}

impl Clock for SimClock {
    fn now(&self) -> UtcMicros {
        UtcMicros(self.truth().0.saturating_add(self.skew_us()))
    }
}

/// A host's randomness, drawn from the seed.
pub struct SimEntropy(Mutex<ChaCha8Rng>);

impl SimEntropy {
    /// The randomness of one host.
    pub fn new(seed: u64, domain: &str) -> SimEntropy {
        let hash = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(domain).finalize();
        SimEntropy(Mutex::new(ChaCha8Rng::from_seed(hash.into())))
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
    }
}
