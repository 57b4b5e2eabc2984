//! Blocking work, done at once and in place.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use civicmesh_exchange::link::Blocking;

/// Runs blocking work where it is asked for, and counts how long that takes in real time: storage, parsing and closing,
/// which is nearly all that a node does.
#[derive(Default)]
pub struct Inline {
    nanos: AtomicU64,
}

impl Inline {
    /// How long the work took so far.
    pub fn worked(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(SeqCst))
    }
}

impl Blocking for Inline {
    #[allow(clippy::disallowed_methods)] // what a run costs is real time
    fn execute(&self, work: Box<dyn FnOnce() + Send>) {
        let begun = Instant::now();
        work();
        self.nanos.fetch_add(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX), SeqCst);
    }

    fn drive(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        drop(tokio::spawn(work));
    }
}
