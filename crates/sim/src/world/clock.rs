//! Time and randomness.

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use civicmesh_exchange::link::{Clock, Entropy};
use civicmesh_model::time::{Span, UtcMicros};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// A host's clock: the simulation's, sped up, and wrong where a fault says so.
///
/// The network's time is that of the node's timeouts; a second of it is `warp` seconds of the city's, so that days go by
/// in few steps. The time that a node measures without its clock, to judge whether that jumped, goes by as fast, and no
/// fault puts it wrong.
pub struct SimClock {
    warp: u64,
    skew_us: AtomicI64,
    skew_us_most: AtomicI64,
    /// When it was last set otherwise, by true time.
    shifted_us: AtomicI64,
    secret: Mutex<Option<Secret>>,
}

/// What is wrong with a clock and no checker knows: how a test plants what one must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// It is ahead by so many seconds.
    Ahead(i64),
    /// What the node measures without it goes by as the network's time does.
    Crawls,
    /// It and what the node measures without it go by so many times as fast as they should.
    Races(u64),
}

impl SimClock {
    /// A clock that is right.
    pub fn new(warp: u64) -> SimClock {
        SimClock {
            warp,
            skew_us: AtomicI64::new(0),
            skew_us_most: AtomicI64::new(0),
            shifted_us: AtomicI64::new(i64::MIN),
            secret: Mutex::new(None),
        }
    }

    /// Puts it ahead by so many seconds, on top of what it is; `now` is the true time.
    pub fn shift(&self, seconds: i64, now: UtcMicros) {
        let by = seconds.saturating_mul(MICROS_PER_SECOND);
        let skew = self.skew_us.fetch_add(by, SeqCst).saturating_add(by);
        self.skew_us_most.fetch_max(skew, SeqCst);
        self.shifted_us.store(now.0, SeqCst);
    }

    /// Plants what is wrong with it.
    pub fn plant(&self, secret: Secret) {
        *self.secret.lock().unwrap_or_else(PoisonError::into_inner) = Some(secret);
    }

    fn secret(&self) -> Option<Secret> {
        *self.secret.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it was last set otherwise, by true time; long ago if never.
    pub fn shifted(&self) -> UtcMicros {
        UtcMicros(self.shifted_us.load(SeqCst))
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
        let (since, elapsed) = (turmoil::since_epoch(), turmoil::sim_elapsed());
        UtcMicros(since.map_or(0, micros) - elapsed.map_or(0, micros) + self.elapsed_us())
    }

    /// Microseconds of the city since its start, for the host that is running.
    fn elapsed_us(&self) -> i64 {
        turmoil::sim_elapsed().map_or(0, micros).saturating_mul(self.warp as i64)
    }
}

impl Clock for SimClock {
    fn now(&self) -> UtcMicros {
        let secret_us = match self.secret() {
            Some(Secret::Ahead(seconds)) => seconds.saturating_mul(MICROS_PER_SECOND),
            Some(Secret::Races(times)) => self.elapsed_us().saturating_mul(times as i64 - 1),
            Some(Secret::Crawls) | None => 0,
        };
        UtcMicros(self.truth().0.saturating_add(self.skew_us()).saturating_add(secret_us))
    }

    fn measured(&self) -> Span {
        let elapsed_us = self.elapsed_us();
        Span::from_micros(match self.secret() {
            Some(Secret::Crawls) => elapsed_us / self.warp as i64,
            Some(Secret::Races(times)) => elapsed_us.saturating_mul(times as i64),
            Some(Secret::Ahead(_)) | None => elapsed_us,
        })
    }
}

fn micros(of: Duration) -> i64 {
    i64::try_from(of.as_micros()).unwrap_or(i64::MAX)
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
