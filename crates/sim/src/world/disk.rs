//! Between a database and its disk: counts commits, and fails those that a fault says.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use civicmesh_store::{Hook, StoreError};

/// What a [`Trap`] does at a commit. Commits are counted from when it was set, the first being 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snare {
    /// The process dies at this commit, which is kept or lost.
    Crash {
        /// Which.
        batch: u64,
        /// Whether it reached the disk.
        kept: bool,
    },
    /// The disk is full for some commits.
    Full {
        /// The first.
        batch: u64,
        /// How many.
        batches: u64,
    },
}

#[derive(Debug, Default)]
struct Inner {
    snares: Vec<(Snare, u64)>,
    commits: u64,
    bytes: u64,
    sprung: u64,
}

/// The hook of one database.
pub struct Trap {
    inner: Mutex<Inner>,
    dead: Arc<AtomicBool>,
}

impl Trap {
    /// A trap that does nothing yet. `dead` is what it sets when the process dies.
    pub fn new(dead: Arc<AtomicBool>) -> Trap {
        Trap { inner: Mutex::default(), dead }
    }

    /// Sets one more snare; the next commit is its first.
    pub fn set(&self, snare: Snare) {
        self.inner().snares.push((snare, 0));
    }

    /// Takes all snares away.
    pub fn clear(&self) {
        self.inner().snares.clear();
    }

    /// Snares that are still set.
    pub fn pending(&self) -> usize {
        self.inner().snares.len()
    }

    /// Commits so far.
    pub fn commits(&self) -> u64 {
        self.inner().commits
    }

    /// Bytes of all batches so far.
    pub fn bytes(&self) -> u64 {
        self.inner().bytes
    }

    /// How often a snare was sprung: commits that failed on purpose.
    pub fn sprung(&self) -> u64 {
        self.inner().sprung
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hook for Trap {
    fn before_commit(&self, batch: u64, bytes: usize) -> Result<(), StoreError> {
        if self.dead.load(SeqCst) {
            return Err(StoreError::Injected { batch });
        }
        let mut inner = self.inner();
        let mut failed = None;
        for (snare, seen) in &mut inner.snares {
            *seen += 1;
            match *snare {
                Snare::Crash { batch: at, kept: false } if *seen == at => {
                    self.dead.store(true, SeqCst);
                    failed = Some(StoreError::Injected { batch });
                }
                Snare::Full { batch: first, batches } if (first..first.saturating_add(batches)).contains(seen) => {
                    failed = failed.or(Some(StoreError::DiskFull));
                }
                Snare::Crash { .. } | Snare::Full { .. } => {}
            }
        }
        if let Some(error) = failed {
            inner.sprung += 1;
            return Err(error);
        }
        inner.commits += 1;
        inner.bytes += bytes as u64;
        Ok(())
    }

    fn after_commit(&self, batch: u64) -> Result<(), StoreError> {
        let mut inner = self.inner();
        let dies = inner
            .snares
            .iter()
            .any(|(snare, seen)| matches!(snare, Snare::Crash { batch, kept: true } if batch == seen));
        // it dies once: what it is after is over
        inner.snares.retain(|(snare, seen)| match *snare {
            Snare::Crash { batch, .. } => *seen < batch,
            Snare::Full { batch, batches } => *seen < batch.saturating_add(batches),
        });
        if dies {
            inner.sprung += 1;
            self.dead.store(true, SeqCst);
            return Err(StoreError::Injected { batch });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trap() -> Trap {
        Trap::new(Arc::default())
    }

    fn commit(trap: &Trap) -> Result<(), StoreError> {
        trap.before_commit(1, 10)?;
        trap.after_commit(1)
    }

    #[test]
    fn a_crash_comes_at_its_commit_and_nothing_is_stored_after_it() {
        for (kept, stored) in [(true, 2), (false, 1)] {
            let trap = trap();
            trap.set(Snare::Crash { batch: 2, kept });
            assert_eq!(commit(&trap), Ok(()));
            assert!(commit(&trap).is_err());
            assert!(commit(&trap).is_err(), "dead is dead");
            assert_eq!((trap.commits(), trap.bytes()), (stored, 10 * stored));
            trap.dead.store(false, SeqCst);
            assert_eq!(commit(&trap), Ok(()), "once");
        }
    }

    #[test]
    fn a_disk_is_full_for_as_long_as_it_is_said() {
        let trap = trap();
        trap.set(Snare::Full { batch: 2, batches: 2 });
        let full = Err(StoreError::DiskFull);
        let outcomes: Vec<_> = (0..4).map(|_| commit(&trap)).collect();
        assert_eq!(outcomes, [Ok(()), full.clone(), full, Ok(())]);
        assert_eq!(trap.sprung(), 2);
    }
}
