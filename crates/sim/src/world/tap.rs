//! What passes between nodes, seen where TLS would take it over: counted, searched for what must not leave, and changed
//! where a fault says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::check::egress::{Needles, Search};

/// Most egress findings that are kept: one is too many.
const LEAKS_MAX: usize = 20;

/// What passed in one direction between two nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Bytes.
    pub bytes: u64,
    /// Writes.
    pub writes: u64,
    /// When the last byte was written, in seconds since the start; none before the first.
    pub last: Option<u64>,
}

/// Something that left its owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak {
    /// Who sent it.
    pub sender: String,
    /// Who received it.
    pub receiver: String,
    /// Which canary, in words without its value.
    pub canary: String,
}

/// Changes bytes before they are counted and searched: how a test plants what a checker must find.
pub type Tamper = dyn Fn(&str, &str, &mut Vec<u8>) + Send + Sync;

#[derive(Default)]
struct Inner {
    passed: BTreeMap<(String, String), Passed>,
    corrupt: BTreeMap<(String, String), u64>,
    leaks: BTreeSet<Leak>,
    now: u64,
}

/// All wires of the city.
pub struct Wires {
    inner: Mutex<Inner>,
    needles: Needles,
    tamper: Option<Box<Tamper>>,
}

impl Wires {
    /// Wires on which `needles` must not pass.
    pub fn new(needles: Needles, tamper: Option<Box<Tamper>>) -> Wires {
        Wires { inner: Mutex::default(), needles, tamper }
    }

    /// Tells the time, in seconds since the start.
    pub fn tell(&self, now: u64) {
        self.inner().now = now;
    }

    /// Changes a byte in each `every`-th write from one node to another; 0 ends that.
    pub fn corrupt(&self, sender: &str, receiver: &str, every: u64) {
        let pair = (sender.to_owned(), receiver.to_owned());
        match every {
            0 => drop(self.inner().corrupt.remove(&pair)),
            every => drop(self.inner().corrupt.insert(pair, every)),
        }
    }

    /// What passed, by sender and receiver.
    pub fn passed(&self) -> BTreeMap<(String, String), Passed> {
        self.inner().passed.clone()
    }

    /// When the last byte went from `sender` to `receiver`.
    pub fn last(&self, sender: &str, receiver: &str) -> Option<u64> {
        self.inner().passed.get(&(sender.to_owned(), receiver.to_owned())).and_then(|passed| passed.last)
    }

    /// What left its owner.
    pub fn leaks(&self) -> Vec<Leak> {
        self.inner().leaks.iter().cloned().collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One direction of one connection.
pub struct Tap {
    sender: String,
    receiver: String,
    search: Search,
}

impl Tap {
    /// A tap on what `sender` writes to `receiver`.
    pub fn new(sender: &str, receiver: &str) -> Tap {
        Tap { sender: sender.to_owned(), receiver: receiver.to_owned(), search: Search::default() }
    }

    /// The bytes as they pass on, if they are not those that were written. To be called once a write.
    pub fn pass(&mut self, wires: &Wires, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut changed = None;
        if let Some(tamper) = &wires.tamper {
            let mut tampered = bytes.to_vec();
            tamper(&self.sender, &self.receiver, &mut tampered);
            changed = (tampered.as_slice() != bytes).then_some(tampered);
        }
        let seen = changed.as_deref().unwrap_or(bytes);
        let found = self.search.feed(&wires.needles, seen);
        let mut inner = wires.inner();
        for canary in found {
            if inner.leaks.len() < LEAKS_MAX {
                let (sender, receiver) = (self.sender.clone(), self.receiver.clone());
                inner.leaks.insert(Leak { sender, receiver, canary });
            }
        }
        let pair = (self.sender.clone(), self.receiver.clone());
        let every = inner.corrupt.get(&pair).copied();
        let now = inner.now;
        let passed = inner.passed.entry(pair).or_default();
        passed.bytes += bytes.len() as u64;
        passed.writes += 1;
        passed.last = Some(now);
        if let Some(every) = every
            && passed.writes.is_multiple_of(every)
            && !bytes.is_empty()
        {
            let mut corrupted = changed.unwrap_or_else(|| bytes.to_vec());
            let at = (passed.writes as usize).wrapping_mul(31) % corrupted.len();
            corrupted[at] ^= 1 << (passed.writes % 8);
            changed = Some(corrupted);
        }
        changed
    }
}
